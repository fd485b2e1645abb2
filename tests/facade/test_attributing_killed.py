"""kill -9 at any moment, then the same call again: byte for byte the tables of an uninterrupted run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.facade.killed import N_KILLS, N_LOTS, job, run


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_killed_at_ten_moments(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.facade.killed", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout)
    # The kills must have hit in the middle, or this test would say nothing.
    halfway = [kill for kill in kills if kill["killed"] and not kill["finished"] and 0 < kill["whole"] < N_LOTS]
    assert len(halfway) >= N_KILLS // 2, kills
    assert len({kill["whole"] for kill in halfway}) >= 4, kills
    handle, texts = job()
    expected = contents(tmp_path / "whole")
    assert list(expected) == ["a.examples.parquet", "a.manifest.json", "a.parquet"]
    for kill in kills:
        run(handle, texts, tmp_path / kill["folder"])
        assert contents(tmp_path / kill["folder"]) == expected, kill
