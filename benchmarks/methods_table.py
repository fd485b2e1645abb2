"""How faithful each attribution method is on SST-2 test, and what it takes: the table of the documentation.

    python benchmarks/methods_table.py [--model DIR] [--data FILE.tsv] [--n 500] [--methods ...] > table.md

Operator [MASK], explained is the predicted class. AOPC comprehensiveness is the mean drop of its probability when the
first 5, 10, 20 and 50% of the words go (higher is better), sufficiency when only those stay (lower is better); 95%
intervals by bootstrap over sentences. Lines in `| |` rank the same words without sign. Seconds are
processor time of the attribution alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT.parent / "shared" / "models" / "minilm-sst2"
DATA = ROOT.parent / "shared" / "data" / "sst2" / "test.tsv"
METHODS = (
    "leave_one_out integrated_gradients shap lime gradient_attention gradient_shap deep_lift value_zeroing "
    "attention_rollout smooth_grad saliency gradient_x_input"
).split()


def unsigned(attribution: Any) -> Any:
    """The same words by the size of their scores."""
    import numpy as np

    examples = []
    for example in attribution:
        scores = np.zeros_like(example.scores)
        for word in example.words():
            scores[list(word.positions)] = abs(word.score) / len(word.positions)
        examples.append(replace(example, scores=scores))
    return replace(attribution, examples=tuple(examples))


def line(name: str, quality: Any, seconds: float | None) -> str:
    rows = {row.metric: row for row in quality.rows}
    comprehensiveness, sufficiency = rows["aopc_comprehensiveness"], rows["aopc_sufficiency"]
    cells = [f"{row.value:.3f} ({row.ci_low:.3f} to {row.ci_high:.3f})" for row in (comprehensiveness, sufficiency)]
    took = "" if seconds is None else f"{seconds:.3f}"
    return f"| {name} | {cells[0]} | {cells[1]} | {comprehensiveness.verdict.replace('_', ' ')} | {took} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    import interpret
    from interpret.analyzers.attribution import METHODS as KNOWN
    from interpret.analyzers.attribution import attribute
    from interpret.analyzers.faithfulness import measure
    from interpret.analyzers.scheduler import Scheduler
    from interpret.models.inputs import encode

    lm = interpret.load(args.model)
    texts = [text.split("\t")[1] for text in args.data.read_text(encoding="utf-8").splitlines()[: args.n]]
    encoded = encode(lm.handle, texts)
    print("| method | comprehensiveness | sufficiency | verdict | processor seconds a sentence |")
    print("|---|---|---|---|---|")
    # The rows of random and trivial rankings are the same for every method, and run once.
    shared = Scheduler(lm.handle, max_rows=400_000)
    first = None
    for name in args.methods:
        start = time.process_time()
        found = attribute(lm.handle, encoded, method=name)
        seconds = (time.process_time() - start) / len(texts)
        quality = measure(lm.handle, found, n_random=20, scheduler=shared)
        first = quality if first is None else first
        print(line(name, quality, seconds), flush=True)
        if KNOWN[name].signed:
            print(
                line(f"\\|{name}\\|", measure(lm.handle, unsigned(found), n_random=20, scheduler=shared), None),
                flush=True,
            )
    assert first is not None
    row = first.rows[0]
    print(f"\nrandom rankings {row.random_mean:.3f}; best trivial ranking {row.trivial_mean:.3f} ({row.trivial_name})")


if __name__ == "__main__":
    main()
