"""Attributions that are killed; run as a script, so that one process imports the libraries and its forks do the dying.

python -m tests.facade.killed FOLDER: prints, as JSON, what each of the kills found.
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

from interpret.facade.attributing import AttributionFiles, attribute_to
from interpret.facade.lots import manifest_of, parts_of
from interpret.models.handle import Handle
from interpret.readers.texts import Texts, read_texts
from tests.capture.support import attached
from tests.tiny import WORDS

N_KILLS = 10
N_LOTS = 12


def job() -> tuple[Handle, Texts]:
    """What is explained: 12 lots of 8 texts of 1 to 12 words."""
    rng = random.Random(5)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 12))) for _ in range(8 * N_LOTS)]
    return attached("bert"), read_texts(texts)


def run(handle: Handle, texts: Texts, folder: Path) -> AttributionFiles:
    return attribute_to(handle, folder / "a.parquet", texts, method="gradient_x_input", lot_size=8)


def n_whole(folder: Path) -> int:
    return len(list(parts_of(folder / "a.parquet").glob("lot-*.json")))


def finished(folder: Path) -> bool:
    try:
        return bool(json.loads(manifest_of(folder / "a.parquet").read_bytes())["complete"])
    except FileNotFoundError:
        return False


def forked(handle: Handle, texts: Texts, folder: Path) -> int:
    """Start in a fork and return its process; this process itself never runs the model, which would start threads."""
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
    """Kill it `delay_s` after `after` lots are whole; says what was there then."""
    child = forked(handle, texts, folder)
    start = time.monotonic()
    while n_whole(folder) < after and not finished(folder) and time.monotonic() - start < 60:
        time.sleep(0.0005)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return {
        "folder": folder.name,
        "killed": os.WIFSIGNALED(status),
        "whole": n_whole(folder),
        "finished": finished(folder),
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
        raise SystemExit("the attribution that nobody killed did not end well")
    lot_s = (time.monotonic() - start) / N_LOTS
    rng = random.Random(0)
    found = []
    for number in range(N_KILLS):
        after = number * N_LOTS // N_KILLS
        found.append(killed(handle, texts, base / f"kill-{number}", after, rng.uniform(0, lot_s)))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
