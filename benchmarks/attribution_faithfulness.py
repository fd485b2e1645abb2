"""What measuring an explanation costs beyond the forwards it needs, as ratios of times measured side by side.

    python benchmarks/attribution_faithfulness.py --model DIR --data dev.tsv
    python benchmarks/attribution_faithfulness.py --model DIR --data dev.tsv --texts 16 --repetitions 3 --json

Run it from the root of the repository. `--model` is a text classifier, `--data` a tab-separated file without a header
whose last column is the text. Compared are

1. `battery(handle, attribution)` without what explains the texts anew: all hard metrics of the explanation, of three
   trivial rankings and of random ones, with intervals;
2. `attribute(..., method="leave_one_out")`;

each with a plain forward over the very same distinct rows: sorted by length, in batches of the same number of padded
tokens, `model(**batch).logits`, and nothing else. The limit of both is 1.15. Texts are taken in groups, and within a
group the two contestants run right after each other, in alternating order, so that what slows the machine down for a
while slows both; a ratio is the sum over groups of the one by the sum of the other, and of several repetitions the
median. Wall and processor time are both shown: on a machine that others use, only the latter, with one thread, is
steady. Exit code 1 if a limit is broken in processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch

import interpret
from interpret.analyzers.attribution import attribute
from interpret.analyzers.faithfulness import battery
from interpret.analyzers.faithfulness.measure import BUDGET
from interpret.analyzers.scheduler import Scheduler
from interpret.models import batching
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.models.inputs import encode
from interpret.results.explanations import Attribution

LIMIT: Final = 1.15


class Seconds(NamedTuple):
    wall: float
    processor: float


def timed(run: Callable[[], object]) -> Seconds:
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return Seconds(time.perf_counter() - wall, time.process_time() - processor)


def plain(handle: Handle, rows: Sequence[Row], token_budget: int) -> None:
    """Forwards over rows as anybody would write them, longest first."""
    rows = sorted(rows, key=lambda row: -len(row.ids))
    start = 0
    while start < len(rows):
        width = len(rows[start].ids)
        part = rows[start : start + max(1, token_budget // width)]
        ids = torch.full((len(part), width), handle.pad_id or 0)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(part):
            ids[i, : len(row.ids)] = torch.tensor(row.ids)
            mask[i, : len(row.ids)] = 1
        with torch.no_grad():
            handle.model(input_ids=ids.to(handle.device), attention_mask=mask.to(handle.device)).logits.cpu()
        start += len(part)


def distinct_rows(run: Callable[[], object]) -> list[Row]:
    """The rows that went through the model while `run` ran."""
    seen: list[Row] = []
    original = batching.logits

    def recording(handle: Handle, rows: Sequence[Row], **options: object) -> object:
        seen.extend(rows)
        return original(handle, rows, **options)  # type: ignore[arg-type]

    batching.logits = recording  # type: ignore[assignment]
    try:
        run()
    finally:
        batching.logits = original
    if len(set(seen)) != len(seen):
        raise SystemExit(f"{len(seen)} rows ran, of which only {len(set(seen))} are distinct")
    return seen


class Line(NamedTuple):
    what: str
    rows: int
    tokens: int
    wall: float
    processor: float
    seconds: float

    @property
    def holds(self) -> bool:
        return self.processor <= LIMIT


def compare(
    what: str, handle: Handle, groups: Sequence[Callable[[], object]], repetitions: int, token_budget: int
) -> Line:
    rows: list[list[Row]] = [[] for _ in groups]
    ratios: list[Seconds] = []
    spent = 0.0
    for repetition in range(repetitions):
        ours, theirs = [], []
        for n, group in enumerate(groups):

            def forward(n: int = n) -> None:
                plain(handle, rows[n], token_budget)

            def measured(n: int = n, group: Callable[[], object] = group) -> None:
                rows[n] = distinct_rows(group)

            if (n + repetition) % 2:
                if not rows[n]:
                    measured()
                theirs.append(timed(forward))
                ours.append(timed(measured))
            else:
                ours.append(timed(measured))
                theirs.append(timed(forward))
        spent = sum(t.wall for t in ours)
        ratios.append(
            Seconds(
                sum(t.wall for t in ours) / sum(t.wall for t in theirs),
                sum(t.processor for t in ours) / sum(t.processor for t in theirs),
            )
        )
    return Line(
        what,
        sum(map(len, rows)),
        sum(len(row.ids) for part in rows for row in part),
        statistics.median(r.wall for r in ratios),
        statistics.median(r.processor for r in ratios),
        spent,
    )


def row_ratios(
    lm: interpret.AttachedModel, texts: Sequence[str], *, group: int = 8, repetitions: int = 1
) -> list[Line]:
    """Both comparisons; leaving out is cheap and repeated three times as often."""
    handle = lm.handle
    budget = batching.token_budget_of(handle)
    parts = [texts[start : start + group] for start in range(0, len(texts), group)]
    encoded = [encode(handle, part) for part in parts]
    made = [attribute(handle, part, method="leave_one_out") for part in encoded]

    def measuring(attribution: Attribution) -> Callable[[], object]:
        # What one call on all texts may spend, shared out over the groups.
        share = BUDGET // len(parts)
        return lambda: battery(handle, attribution, n_random=20, budget=share, scheduler=Scheduler(handle))

    def leaving_out(n: int) -> Callable[[], object]:
        return lambda: attribute(handle, encoded[n], method="leave_one_out", scheduler=Scheduler(handle))

    return [
        compare("leave-one-out", handle, [leaving_out(n) for n in range(len(parts))], repetitions * 3, budget),
        compare("hard metrics", handle, [measuring(a) for a in made], repetitions, budget),
    ]


def show(lines: Sequence[Line]) -> None:
    for line in lines:
        print(
            f"{line.what:14} {line.rows:7,} distinct rows {line.tokens:10,} tokens {line.seconds:7.1f} s   "
            f"x plain forward: wall {line.wall:.3f}, processor {line.processor:.3f}   "
            f"(limit {LIMIT}: {'holds' if line.holds else 'does not hold'})",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--group", type=int, default=8, help="texts that are measured together")
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = given.data.read_text(encoding="utf-8").splitlines()[: given.texts]
    texts = [line.split("\t")[-1] for line in rows]
    lm = interpret.load(given.model, device="cpu")
    found = row_ratios(lm, texts, group=given.group, repetitions=given.repetitions)
    if given.json:
        print(json.dumps([line._asdict() for line in found], indent=1))
    else:
        print(f"{len(texts)} texts, {given.model.name}, {given.threads} thread(s), torch {torch.__version__}")
        show(found)
    return 0 if all(line.holds for line in found) else 1


if __name__ == "__main__":
    sys.exit(main())
