"""What attributions cost, and how exact integrated gradients are, as ratios within one run.

    python benchmarks/attribution.py [--model DIR] [--data FILE.tsv] [--n 64] [--only gradients shap rows memory]

gradients: integrated gradients, ours, whose completeness error is controlled, against captum's uniform Gauss-Legendre
with as many nodes as it needs to bring 99% of the texts below 1%, and against captum's 50 nodes, which are its
default; both one text at a time, as captum is called, in chunks of the same number of tokens as ours. The error of
single words is printed against 1,024 nodes, for the first --exact texts. shap: see attribution_shap.py. rows: what
leave-one-out and the hard metrics take above the forwards they need, see attribution_faithfulness.py. memory: peak of
a fresh process that attributes 10,000 texts, above one that has loaded the model, without pandas and captum, whose
code alone takes a third of what is allowed; one that attributes 64 texts stands beside them. Exit code 1 if a limit is
broken.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT.parent / "shared" / "models" / "minilm-sst2"
DATA = ROOT.parent / "shared" / "data" / "sst2" / "dev.tsv"
TARGET = 0.01
MANY = 10_000
PARTS = ("gradients", "rows", "shap", "memory")


def sentences(path: Path, n: int) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[1] for line in lines[:n]]


class Captum:
    """captum's integrated gradients at the embeddings of a BERT, from its own documentation, one text at a time."""

    def __init__(self, handle: Any, operator_id: int) -> None:
        from captum.attr import LayerIntegratedGradients

        from interpret.analyzers.attribution.paths import gradient_tokens

        self.handle, self.operator_id, self.chunk = handle, operator_id, gradient_tokens(handle)
        model = handle.model
        self.method = LayerIntegratedGradients(
            lambda ids, types: model(input_ids=ids, token_type_ids=types).logits, model.bert.embeddings
        )

    def run(self, encoded: Any, target: int, n_steps: int) -> Any:
        import torch

        ids = torch.tensor([encoded.ids])
        keep = torch.tensor([encoded.special])
        baseline = torch.where(keep, ids, torch.full_like(ids, self.operator_id))
        found = self.method.attribute(
            ids,
            baselines=baseline,
            additional_forward_args=(torch.tensor([encoded.type_ids]),),
            target=target,
            n_steps=n_steps,
            method="gausslegendre",
            internal_batch_size=max(1, self.chunk // len(encoded.ids)),
        )
        return found.detach().double().sum(-1)[0].numpy()


def gradients(lm: Any, texts: Sequence[str], clock: Callable[[], float], n_exact: int) -> bool:
    import numpy as np

    from interpret.analyzers.attribution import attribute
    from interpret.analyzers.scheduler import removal
    from interpret.models.inputs import encode

    handle = lm.handle
    encoded = encode(handle, texts)
    captum = Captum(handle, removal(handle).token_id)
    attribute(handle, encoded[:4], method="integrated_gradients")

    def ours() -> Any:
        return attribute(handle, encoded, method="integrated_gradients")

    def theirs(n_steps: int) -> list[Any]:
        return [captum.run(e, example.target.index, n_steps) for e, example in zip(encoded, reference, strict=True)]

    def seconds(run: Callable[[], Any]) -> float:
        start = clock()
        run()
        return clock() - start

    reference = ours()
    differences = [example.value - example.baseline_value for example in reference]
    deltas = np.array(list(reference.convergence_delta))
    mean, most = reference.options["evaluations_mean"], reference.options["evaluations_max"]
    share = (deltas < TARGET).mean()
    print(f"ours           {mean:.1f} gradient evaluations a text (at most {most}); delta < 1%: {share:.1%}")
    needed = 0
    for n_steps in range(16, 257, 8):
        found = theirs(n_steps)
        off = np.array([abs(line.sum() - d) / abs(d) for line, d in zip(found, differences, strict=True)])
        if n_steps in (16, 32, 48) or (off < TARGET).mean() >= 0.99:
            print(f"captum, {n_steps:<6} nodes; delta < 1%: {(off < TARGET).mean():.1%}", flush=True)
        if (off < TARGET).mean() >= 0.99:
            needed = n_steps
            break
    times: dict[str, list[float]] = {"ours": [], "needed": [], "default": []}
    for repetition in range(3):
        order: list[tuple[str, Callable[[], Any]]] = [
            ("ours", ours), ("needed", lambda: theirs(needed)), ("default", lambda: theirs(50)),
        ]  # fmt: skip
        for name, run in order if repetition % 2 else order[::-1]:
            times[name].append(seconds(run))
    evaluations = mean / needed
    against_needed = statistics.median(a / b for a, b in zip(times["ours"], times["needed"], strict=True))
    against_default = statistics.median(a / b for a, b in zip(times["ours"], times["default"], strict=True))
    print(f"evaluations    {evaluations:.2f}x of captum with {needed} nodes (target: at most 0.5)")
    print(f"time           {against_needed:.2f}x of captum with {needed} nodes (target: at most 0.55)")
    print(f"time           {against_default:.2f}x of captum with its 50 nodes (target: at most 0.75)")
    exact = attribute(handle, encoded[:n_exact], method="integrated_gradients", n_steps=1024)
    from scipy.stats import spearmanr

    errors, correlations = [], []
    for one, true in zip(reference[:n_exact], exact, strict=True):
        a, b = (np.array([word.score for word in example.words()]) for example in (one, true))
        errors.append(np.abs(a - b).max() / np.abs(b).max())
        correlations.append(spearmanr(a, b).statistic if len(b) > 2 else 1.0)
    print(
        f"words          of {len(exact)} texts against 1,024 nodes: largest error {max(errors):.2%} of the largest "
        f"word (median over texts {np.median(errors):.2%}), rank correlation {np.mean(correlations):.4f} "
        f"(lowest {min(correlations):.4f})",
        flush=True,
    )
    return bool(share >= 0.99 and evaluations <= 0.5 and against_needed <= 0.55 and against_default <= 0.75)


def peak_bytes(args: argparse.Namespace, n: int) -> int:
    """Peak resident size of a fresh process that attributes `n` texts; with 0, what it holds with the model loaded."""
    options = ["--model", args.model, "--data", args.data, "--only-memory", n]
    done = subprocess.run(
        [sys.executable, __file__, *map(str, options)], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return int(done.stdout.splitlines()[-1])


def _memory_of_this_process(args: argparse.Namespace) -> int:
    import tempfile

    import interpret
    from interpret.models.memory import resident_bytes

    lm = interpret.load(args.model)
    texts = sentences(args.data, 10**6)
    many = [{"text": texts[n % len(texts)]} for n in range(args.only_memory)]
    if not many:
        return resident_bytes() or 0
    with tempfile.TemporaryDirectory() as folder:
        lm.attribute_to(Path(folder) / "scores.parquet", many, method="gradient_x_input", quality=False)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--cpu-time", action="store_true", help="processor time; with --threads 1 it is not waiting")
    parser.add_argument("--exact", type=int, default=16, help="texts whose words are held against 1,024 nodes")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--only-memory", type=int, default=None, help="print the peak of this process, in bytes")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if args.only_memory is not None:
        print(_memory_of_this_process(args))
        return
    held: dict[str, bool] = {}
    if "memory" in args.only:
        loaded, few, many = (peak_bytes(args, n) for n in (0, 64, MANY))
        print(f"peak memory    {loaded / 1e6:,.0f} MB with the model loaded, {few / 1e6:,.0f} MB after 64 texts")
        above = many - loaded
        print(f"               {many / 1e6:,.0f} MB after {MANY:,}, {(many - few) / 1e6:,.0f} MB above 64 texts")
        print(f"difference     {above / 1e6:,.0f} MB above the model (target: at most 300 MB)", flush=True)
        held["memory"] = above <= 300e6
    import attribution_faithfulness
    import attribution_shap
    import torch

    import interpret

    if args.threads is not None:
        torch.set_num_threads(args.threads)
    lm = interpret.load(args.model, device="cpu")
    texts = sentences(args.data, args.n)
    if "gradients" in args.only:
        clock = time.process_time if args.cpu_time else time.perf_counter
        held["gradients"] = gradients(lm, texts, clock, args.exact)
    if "rows" in args.only:
        lines = attribution_faithfulness.row_ratios(lm, texts)
        attribution_faithfulness.show(lines)
        held["rows"] = all(line.holds for line in lines)
    if "shap" in args.only:
        ratios = attribution_shap.shap_ratios(lm, args.model, texts, repetitions=1)
        attribution_shap.show(ratios)
        held["shap"] = all(ratio.holds for ratio in ratios)
    print("; ".join(f"{part}: {'holds' if ok else 'does not hold'}" for part, ok in held.items()))
    sys.exit(0 if all(held.values()) else 1)


if __name__ == "__main__":
    main()
