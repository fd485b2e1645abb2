"""What capturing a data set to disk costs: throughput against the plain forward, and growth of memory with the data.

    python benchmarks/capture_store.py [--model DIR] [--data FILE.conllu] [--limit N] [--dtype float16] [--parts 4]

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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT.parent / "shared" / "models" / "minilm-sst2"
DATA = ROOT.parent / "shared" / "data" / "ud_en_ewt" / "train.conllu"
FEW, MANY = 1_200, 12_000


class Throughput(NamedTuple):
    """Seconds for the same tokens, part by part; `ratio` is the speed of the capture relative to the plain forward."""

    n_tokens: int
    plain_s: list[float]
    capture_s: list[float]

    @property
    def ratio(self) -> float:
        return sum(self.plain_s) / sum(self.capture_s)

    @property
    def ratios(self) -> list[float]:
        return [plain / capture for plain, capture in zip(self.plain_s, self.capture_s, strict=True)]


def sentences(path: Path, limit: int | None = None) -> list[str]:
    from interpret.readers.conllu import read_conllu

    return [sentence.text for sentence in read_conllu(path)[:limit]]


def plain_forward(handle: Any, rows: Sequence[Any]) -> float:
    """Seconds for the forward alone, over the batches that a capture would run."""
    import torch

    from interpret.models.batching import run_batches

    def step(batch: dict[str, Any], indices: list[int]) -> None:
        with torch.no_grad():
            handle.model(**batch)

    start = time.perf_counter()
    for _ in run_batches(handle, rows, step):
        pass
    return time.perf_counter() - start


def throughput(
    lm: Any, texts: Sequence[str], folder: Path, *, sites: Sequence[str], dtype: str, parts: int = 4
) -> Throughput:
    """Time both in turn, part by part, and the other way round in every second part."""
    from interpret.models.batching import Row
    from interpret.models.inputs import encode

    n_tokens = 0
    plain: list[float] = []
    capture: list[float] = []
    for part in range(parts):
        some = list(texts[part::parts])
        rows = [Row(row.ids, row.type_ids) for row in encode(lm.handle, some)]
        n_tokens += sum(len(row.ids) for row in rows)

        def captured(some: list[str] = some, name: str = f"part-{part}") -> float:
            start = time.perf_counter()
            lm.capture_to(folder / name, some, sites, dtype=dtype)
            return time.perf_counter() - start

        if part == 0:
            # The first forward of a process pays for much that later ones do not.
            plain_forward(lm.handle, rows[:64])
        if part % 2:
            capture.append(captured())
            plain.append(plain_forward(lm.handle, rows))
        else:
            plain.append(plain_forward(lm.handle, rows))
            capture.append(captured())
        shutil.rmtree(folder / f"part-{part}")
    return Throughput(n_tokens, plain, capture)


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
    parser.add_argument("--parts", type=int, default=4)
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
    import interpret

    texts = sentences(args.data, args.limit)
    lm = interpret.load(args.model)
    with tempfile.TemporaryDirectory() as folder:
        found = throughput(lm, texts, Path(folder), sites=args.sites, dtype=args.dtype, parts=args.parts)
    plain, capture = sum(found.plain_s), sum(found.capture_s)
    print(f"plain forward  {found.n_tokens / plain:,.0f} tokens/s ({plain:.1f} s)")
    print(f"capture        {found.n_tokens / capture:,.0f} tokens/s ({capture:.1f} s)")
    print(f"ratio          {found.ratio:.3f} (target: at least 0.9)")
    spread = " ".join(f"{ratio:.2f}" for ratio in sorted(found.ratios))
    print(f"by part        median {statistics.median(found.ratios):.3f}; {spread}")


if __name__ == "__main__":
    main()
