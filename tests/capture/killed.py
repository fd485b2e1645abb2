"""Captures that are killed; run as a script, so that one process imports the libraries and its forks do the dying.

python -m tests.capture.killed FOLDER: prints, as JSON, what each of the kills found.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from interpret.capture.store import Store, capture_to, layout
from interpret.models.handle import Handle
from interpret.readers.texts import Texts, read_texts
from tests.capture.support import attached
from tests.tiny import WORDS

N_KILLS = 20


def job() -> tuple[Handle, Texts]:
    """What is captured: 150 texts of 1 to 40 words, so that there are many batches and many shards."""
    rng = random.Random(5)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 40))) for _ in range(150)]
    return attached("bert"), read_texts(texts)


def run(handle: Handle, texts: Texts, folder: Path) -> Store:
    sites = ["resid_post", "attn_pattern.0"]
    return capture_to(handle, folder, texts, sites, dtype="float16", token_budget=128, shard_bytes=60_000)


def n_whole(folder: Path) -> int:
    return len(list(folder.glob("shard-*.json"))) if folder.is_dir() else 0


def finished(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / layout.MANIFEST).read_text())["complete"])
    except FileNotFoundError:
        return False


def forked(handle: Handle, texts: Texts, folder: Path) -> int:
    """Start a capture in a fork and return its process.

    This process itself never captures: that starts threads, and a fork made while one of them holds a lock of the
    allocator waits for it forever.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run(handle, texts, folder)
            code = 0
        finally:
            os._exit(code)
    return child


def killed(handle: Handle, texts: Texts, folder: Path, after: int, delay_s: float) -> dict[str, Any]:
    """Kill a capture `delay_s` after its folder holds `after` whole shards; says what was there then."""
    child = forked(handle, texts, folder)
    start = time.monotonic()
    while n_whole(folder) < after and not finished(folder) and time.monotonic() - start < 20:
        time.sleep(0.0005)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return {
        "folder": folder.name,
        "killed": os.WIFSIGNALED(status),
        "whole": n_whole(folder),
        "finished": finished(folder),
        "parts": sum(name.endswith(".part") for name in names),
    }


def main() -> None:
    import torch

    # A fork has one thread; torch must not wait for others.
    torch.set_num_threads(1)
    base = Path(sys.argv[1])
    handle, texts = job()
    start = time.monotonic()
    _, status = os.waitpid(forked(handle, texts, base / "whole"), 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit("the capture that nobody killed did not end well")
    n_shards = len(json.loads((base / "whole" / layout.MANIFEST).read_text())["shards"])
    duration = time.monotonic() - start
    rng = random.Random(0)
    found = []
    for number in range(N_KILLS):
        # Spread over the whole duration by what is done, not by the clock: the machine may be busy.
        after = number * n_shards // N_KILLS
        found.append(killed(handle, texts, base / f"kill-{number}", after, rng.uniform(0, duration / n_shards)))
    # One and the same capture, killed whenever it has got one shard further.
    again = []
    while not again or not again[-1]["finished"]:
        done = n_whole(base / "again")
        again.append(killed(handle, texts, base / "again", done + 1, rng.uniform(0, duration / n_shards)))
        if len(again) > 5 * n_shards:
            break
    print(json.dumps({"n_shards": n_shards, "duration_s": duration, "kills": found, "again": again}))


if __name__ == "__main__":
    main()
