"""Shared set-up: offline, one thread, and a summary that says which real models and data were missing."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
#: How every reason begins for which a test is skipped because a real model or data set is not there.
ABSENT = "real models and data:"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and data beside the project; tests that ask for it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"{ABSENT} there is no folder {SHARED.name!r} beside the project")
    return SHARED


@pytest.fixture(scope="session")
def demo_dir() -> Path:
    return ROOT / "interpret" / "demo"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A green run without the real models must not look like one with them."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    absent = {reason: n for reason, n in sorted(reasons.items()) if reason.startswith(ABSENT)}
    if absent:
        terminalreporter.section("not tested on real models and data")
        for reason, n in absent.items():
            terminalreporter.write_line(f"{n} skipped: {reason.removeprefix(ABSENT).strip()}")
