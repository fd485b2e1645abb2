"""Shared set-up: offline, one thread, and a summary that says which real models and data were missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and data beside the project; tests that ask for it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"real models and data are not at {SHARED.name}/ beside the project")
    return SHARED


@pytest.fixture(scope="session")
def demo_dir() -> Path:
    return ROOT / "interpret" / "demo"
