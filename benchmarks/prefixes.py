"""What rows of a causal model that begin alike cost when they share it, as ratios within one run.

    python benchmarks/prefixes.py [--model DIR] [--threads N] [--repeats 3]

Each line is one way to explain texts of about a hundred tokens, with sharing and with every row run whole: seconds of
processor time (the least of the repeats), tokens and forwards that go through the model, and the largest difference of
a score. `attribute_each` also reads the outputs of a response off one row.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT.parent / "shared" / "models" / "stories260k"

STORY = (
    "Once upon a time there was a little girl named Lily. She loved to play outside in the park with her friends. One "
    "day she saw a big dog near the tree and she was very happy. The dog wanted to play with the ball. Lily threw the "
    "ball and the dog ran to get it. Then her mom called her and said it was time to go home and eat dinner with the "
    "family."
)
ANSWER = " She was very happy and they all had a good meal."


@contextmanager
def counted(base: Any) -> Any:
    """Tokens, pads included, and forwards that go through the model."""
    numbers = [0, 0]
    forward = base.forward

    @functools.wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        numbers[0] += kwargs["input_ids"].numel()
        numbers[1] += 1
        return forward(*args, **kwargs)

    base.forward = run
    try:
        yield numbers
    finally:
        del base.forward


@contextmanager
def whole_rows() -> Any:
    """Every row through the model as it is."""
    from interpret.models import prefixes, readout

    described, hosts = prefixes._described, readout._hosts
    prefixes._described = lambda handle: False
    readout._hosts = lambda handle, rows: None
    try:
        yield
    finally:
        prefixes._described, readout._hosts = described, hosts


def measured(base: Any, run: Callable[[], list[Any]], repeats: int) -> tuple[float, int, int, list[Any]]:
    run()
    seconds = []
    for _ in range(repeats):
        with counted(base) as numbers:
            start = time.process_time()
            found = run()
            seconds.append(time.process_time() - start)
    return min(seconds), *numbers, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))

    import numpy as np
    import torch

    import interpret
    from interpret.analyzers.attribution import attribute
    from interpret.models.inputs import encode

    torch.set_num_threads(options.threads)
    lm = interpret.load(options.model, device="cpu")
    texts = [STORY, STORY.replace("Lily", "Tom").replace("dog", "cat"), STORY[STORY.index("One") :]]
    encoded = encode(lm.handle, texts)
    sentences = encode(lm.handle, [part.strip() + "." for part in STORY.split(".") if part.strip()])

    def scores(some: Any, method: str, **more: Any) -> Callable[[], list[Any]]:
        return lambda: [example.scores for example in attribute(lm.handle, some, method=method, **more)]

    cases: dict[str, Callable[[], list[Any]]] = {
        "leave_one_out, one text": scores(encoded[:1], "leave_one_out"),
        "leave_one_out, three texts": scores(encoded, "leave_one_out"),
        "leave_one_out, a response": scores(encoded, "leave_one_out", response=ANSWER),
        "occlusion": scores(encoded, "occlusion"),
        "shap": scores(encoded, "shap"),
        "permutation_shap": scores(encoded[:1], "permutation_shap", n_permutations=2),
        "lime": scores(encoded, "lime"),
        "context_cite": lambda: [e.scores for e in lm.cite("Who?", context=STORY, response=ANSWER)],
        "attribute_each": lambda: [
            m.scores for m in lm.attribute_each(texts[:1], method="leave_one_out", response=ANSWER)
        ],
        "leave_one_out, short texts": scores(sentences, "leave_one_out"),
    }
    print(f"{options.model.name}, {', '.join(str(len(e.ids)) for e in encoded)} tokens, {options.threads} thread(s)")
    for name, run in cases.items():
        with whole_rows():
            plain = measured(lm.handle.roles.base, run, options.repeats)
        shared = measured(lm.handle.roles.base, run, options.repeats)
        off = max(float(np.abs(a - b).max()) for a, b in zip(plain[3], shared[3], strict=True))
        print(
            f"{name:28} {plain[0]:7.3f} s -> {shared[0]:7.3f} s  {plain[0] / shared[0]:5.2f} times as fast;  tokens "
            f"{plain[1]:6} -> {shared[1]:6};  forwards {plain[2]:3} -> {shared[2]:3};  largest difference {off:.1e}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
