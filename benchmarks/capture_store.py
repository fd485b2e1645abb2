"""What capturing a data set to disk costs: throughput against the plain forward, and growth of memory with the data.

    python benchmarks/capture_store.py [--model DIR] [--data FILE.conllu] [--limit N] [--dtype float16] [--parts 3]

Throughput: the sentences are dealt out to `--parts` parts; on each the plain forward over length-sorted batches and
the whole of `capture_to` (reading nothing, but tokenising, hashing the weights, and writing included) run in turn, so
that other load on the machine falls on both. Memory: peak resident size of a fresh process for 1,200 and for 12,000
sentences.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT.parent / "shared" / "models" / "minilm-sst2"
DATA = ROOT.parent / "shared" / "data" / "ud_en_ewt" / "train.conllu"
FEW, MANY = 1_200, 12_000


class Cost(NamedTuple):
    """Seconds on the clock, and of all processors together."""

    wall_s: float
    cpu_s: float


class Throughput(NamedTuple):
    """Cost of the same tokens, part by part; ratios are the speed of the capture relative to the plain forward."""

    n_tokens: int
    plain: list[Cost]
    capture: list[Cost]

    @property
    def ratio(self) -> float:
        return sum(cost.wall_s for cost in self.plain) / sum(cost.wall_s for cost in self.capture)

    @property
    def cpu_ratio(self) -> float:
        return sum(cost.cpu_s for cost in self.plain) / sum(cost.cpu_s for cost in self.capture)

    @property
    def ratios(self) -> list[float]:
        return [plain.wall_s / capture.wall_s for plain, capture in zip(self.plain, self.capture, strict=True)]


def timed(run: Callable[[], object]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def sentences(path: Path, limit: int | None = None) -> list[str]:
    from interpret.readers.conllu import read_conllu

    return [sentence.text for sentence in read_conllu(path)[:limit]]


def plain_forward(handle: Any, rows: Sequence[Any]) -> None:
    """The forward alone, over the batches that a capture would run."""
    import torch

    from interpret.models.batching import run_batches

    def step(batch: dict[str, Any], indices: list[int]) -> None:
        with torch.no_grad():
            handle.model(**batch)

    for _ in run_batches(handle, rows, step):
        pass


def throughput(
    lm: Any, texts: Sequence[str], folder: Path, *, sites: Sequence[str], dtype: str, parts: int = 4
) -> Throughput:
    """Time both in turn, part by part, and the other way round in every second part."""
    from interpret.models.batching import Row
    from interpret.models.inputs import encode

    found = Throughput(0, [], [])
    for part in range(parts):
        some = list(texts[part::parts])
        rows = [Row(row.ids, row.type_ids) for row in encode(lm.handle, some)]
        found = found._replace(n_tokens=found.n_tokens + sum(len(row.ids) for row in rows))
        if part == 0:
            # The first of each in a process pays for what later ones do not: memory, threads, imports.
            plain_forward(lm.handle, rows[:64])
            lm.capture_to(folder / "first", some[:64], sites, dtype=dtype)
        store = folder / f"part-{part}"
        jobs: list[tuple[list[Cost], Callable[[], object]]] = [
            (found.plain, partial(plain_forward, lm.handle, rows)),
            (found.capture, partial(lm.capture_to, store, some, sites, dtype=dtype)),
        ]
        for costs, job in reversed(jobs) if part % 2 else jobs:
            costs.append(timed(job))
        shutil.rmtree(store)
        print(f"part {part + 1} of {parts}: {found.ratios[-1]:.3f}", file=sys.stderr, flush=True)
    return found


def peak_bytes(model: Path, data: Path, limit: int, dtype: str) -> int:
    """Peak resident size of a fresh process that captures `limit` sentences."""
    options = ["--model", model, "--data", data, "--limit", limit, "--dtype", dtype, "--only-memory"]
    command = [sys.executable, __file__, *map(str, options)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return int(done.stdout.splitlines()[-1])


def _memory_of_this_process(args: argparse.Namespace) -> int:
    import interpret

    lm = interpret.load(args.model)
    texts = sentences(args.data, args.limit)
    with tempfile.TemporaryDirectory() as folder:
        lm.capture_to(Path(folder) / "store", texts, args.sites, dtype=args.dtype)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--limit", type=int, default=None, help="sentences for the throughput; default: all")
    parser.add_argument("--sites", nargs="+", default=["resid_post"])
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--parts", type=int, default=3)
    parser.add_argument(
        "--threads", type=int, default=None, help="of the forward; with 1, processor time is not waiting"
    )
    parser.add_argument("--only-throughput", action="store_true")
    parser.add_argument("--only-memory", action="store_true", help="print the peak of this process, in bytes")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if args.only_memory:
        print(_memory_of_this_process(args))
        return
    if not args.only_throughput:
        # Before anything large is in this process: a child's peak begins with the pages it was forked with.
        few, many = (peak_bytes(args.model, args.data, n, args.dtype) for n in (FEW, MANY))
        print(f"peak memory    {few / 1e6:,.0f} MB for {FEW:,} sentences, {many / 1e6:,.0f} MB for {MANY:,}")
        print(f"difference     {(many - few) / 1e6:,.0f} MB (target: at most 200 MB)", flush=True)
    import torch

    import interpret

    if args.threads is not None:
        torch.set_num_threads(args.threads)
    texts = sentences(args.data, args.limit)
    lm = interpret.load(args.model)
    with tempfile.TemporaryDirectory() as folder:
        found = throughput(lm, texts, Path(folder), sites=args.sites, dtype=args.dtype, parts=args.parts)
    for name, costs in (("plain forward", found.plain), ("capture", found.capture)):
        wall, cpu = sum(cost.wall_s for cost in costs), sum(cost.cpu_s for cost in costs)
        print(f"{name:<15}{found.n_tokens / wall:,.0f} tokens/s ({wall:.1f} s, {cpu:.1f} s of processors)")
    print(f"ratio          {found.ratio:.3f} (target: at least 0.9); of processor time {found.cpu_ratio:.3f}")
    spread = " ".join(f"{ratio:.2f}" for ratio in sorted(found.ratios))
    print(f"by part        median {statistics.median(found.ratios):.3f}; {spread}")


if __name__ == "__main__":
    main()
