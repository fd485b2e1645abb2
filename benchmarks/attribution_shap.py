"""What SHAP on text costs here and in shap itself, as ratios of times measured side by side in one run.

    python benchmarks/attribution_shap.py --model PATH --data FILE
    python benchmarks/attribution_shap.py --model PATH --data FILE --texts 16 --repetitions 3 --json

`--model` is a folder of a text classifier, `--data` a table with the texts (for a file without header, the last
column is taken). `attribute(method="shap")`, which computes in fp32 on the CPU, is compared, with the same number of
evaluations per text, with

1. `shap.Explainer(pipeline("text-classification", model=FOLDER))` as it comes: shap asks for 10 masks at a time, the
   pipeline runs each alone, and transformers computes in the dtype in which the weights were saved;
2. the same with the weights in fp32;
3. the same in fp32 with shap at the batch size that is best for it on this machine, given to explainer and pipeline.

The second has no limit of its own: it says how much of the first is the dtype, if that is not fp32.

A ratio is the median, over repetitions, of the ratio of two runs right after each other, in alternating order.
Both clocks are shown: processor time does not count the time in which others had the processor, wall time is what
a user waits. Everything that is compiled at first use is compiled before the first measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch

import interpret
from interpret.analyzers.attribution import attribute
from interpret.facade import AttachedModel
from interpret.models.inputs import encode
from interpret.readers.tables import read_table

EVALS: Final = 256
BATCHES: Final = (8, 16, 32, 64, 128)
#: Texts on which the best batch size is looked for.
TRIAL: Final = 8
#: What must hold: our time over that of shap as it comes, and over shap at its best batch size.
LIMIT_DEFAULT: Final = 0.12
LIMIT_BEST: Final = 0.75


class Took(NamedTuple):
    """Seconds of one run on both clocks."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Ratio:
    """Our time over theirs."""

    against: str
    limit: float | None
    cpu: float
    wall: float
    seconds: Took
    seconds_against: Took

    @property
    def holds(self) -> bool:
        return self.limit is None or self.cpu <= self.limit


def took(run: Callable[[], object]) -> Took:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Took(time.process_time() - cpu, time.perf_counter() - wall)


def ours(lm: AttachedModel, texts: Sequence[str], evals: int = EVALS) -> Callable[[], object]:
    return lambda: attribute(lm.handle, encode(lm.handle, texts), method="shap", max_evals=evals)


def theirs(
    model: AttachedModel | Path, texts: Sequence[str], evals: int = EVALS, batch_size: int | None = None
) -> Callable[[], object]:
    """shap around a pipeline of the same model object, or of what the pipeline makes of a folder by itself.

    Without `batch_size` both keep their defaults.
    """
    import shap
    from transformers import pipeline

    batched: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    given: dict[str, Any] = {"model": str(model)}
    if isinstance(model, AttachedModel):
        given = {"model": model.handle.model, "tokenizer": model.handle.tokenizer}
    pipe = pipeline("text-classification", **given, top_k=None, device="cpu", **batched)
    explainer = shap.Explainer(pipe)
    return lambda: explainer(list(texts), max_evals=evals, silent=True, **batched)


def best_batch(lm: AttachedModel, texts: Sequence[str], evals: int = EVALS) -> int:
    """The batch size with which shap needs the least processor time on the first texts."""
    return min(BATCHES, key=lambda size: took(theirs(lm, texts[:TRIAL], evals, size)).cpu)


def compare(
    against: str, limit: float | None, mine: Callable[[], object], other: Callable[[], object], repetitions: int
) -> Ratio:
    pairs: list[tuple[Took, Took]] = []
    for number in range(repetitions):
        if number % 2:
            second = took(other)
            pairs.append((took(mine), second))
        else:
            first = took(mine)
            pairs.append((first, took(other)))
    middle = [Took(*(statistics.median(pair[side][clock] for pair in pairs) for clock in (0, 1))) for side in (0, 1)]
    cpu, wall = (statistics.median(a[clock] / b[clock] for a, b in pairs) for clock in (0, 1))
    return Ratio(against, limit, cpu, wall, middle[0], middle[1])


def shap_ratios(
    lm: AttachedModel,
    folder: Path,
    texts: Sequence[str],
    *,
    evals: int = EVALS,
    repetitions: int = 3,
    default_repetitions: int = 1,
) -> list[Ratio]:
    """All comparisons; the slow ones, whose ratio is far from one, may be repeated less."""
    for run in (ours(lm, texts[:2], 16), ours(lm, ["a b c"], 16), theirs(lm, texts[:1], 16, 8)):
        run()
    size = best_batch(lm, texts, evals)
    mine = ours(lm, texts, evals)
    saved = lm.handle.saved_dtype
    return [
        compare(f"shap in fp32, batch size {size}", LIMIT_BEST, mine, theirs(lm, texts, evals, size), repetitions),
        compare("shap in fp32", None, mine, theirs(lm, texts, evals), default_repetitions),
        compare(f"shap as it comes ({saved})", LIMIT_DEFAULT, mine, theirs(folder, texts, evals), default_repetitions),
    ]


def bound(ratio: Ratio) -> str:
    if ratio.limit is None:
        return "no limit"
    return f"at most {ratio.limit}: {'holds' if ratio.holds else 'does not hold'}"


def show(ratios: Sequence[Ratio]) -> None:
    for ratio in ratios:
        print(
            f"ours / {ratio.against}: {ratio.cpu:.3f} of the processor time, {ratio.wall:.3f} of the wall time "
            f"({bound(ratio)}); "
            f"{ratio.seconds.cpu:.1f} s and {ratio.seconds_against.cpu:.1f} s of processor time",
            flush=True,
        )


def read_texts(path: Path, n: int) -> list[str]:
    """The first `n` texts of a table without header, whose last column they are, or of one that names them."""
    if path.suffix in (".tsv", ".csv"):
        table = read_table(path, header=False)
        return [list(row.values())[-1] for row in table.rows[:n]]
    return [row["text"] for row in read_table(path).rows[:n]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--evals", type=int, default=EVALS)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--default-repetitions", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    lm = interpret.load(given.model, device="cpu")
    ratios = shap_ratios(
        lm,
        Path(given.model),
        read_texts(given.data, given.texts),
        evals=given.evals,
        repetitions=given.repetitions,
        default_repetitions=given.default_repetitions,
    )
    if given.json:
        print(json.dumps([{**asdict(ratio), "holds": ratio.holds} for ratio in ratios], indent=2))
    else:
        show(ratios)
    return 0 if all(ratio.holds for ratio in ratios) else 1


if __name__ == "__main__":
    sys.exit(main())
