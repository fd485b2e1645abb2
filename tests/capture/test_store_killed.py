"""kill -9 at any moment, then the same call again: the folder is byte for byte that of an uninterrupted run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.capture.killed import N_KILLS, job, run
from tests.conftest import ROOT


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_killed_at_twenty_moments(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.capture.killed", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    n_shards, kills = found["n_shards"], found["kills"]
    assert n_shards >= 10
    # The kills must have hit in the middle, or this test would say nothing.
    assert len(kills) == N_KILLS
    halfway = [kill for kill in kills if kill["killed"] and not kill["finished"] and 0 < kill["whole"] < n_shards]
    assert len(halfway) >= N_KILLS // 2, kills
    assert len({kill["whole"] for kill in halfway}) >= 5, kills
    assert len([kill for kill in found["again"] if kill["killed"]]) >= 3, found["again"]
    assert found["again"][-1]["finished"], found["again"]

    handle, texts = job()
    expected = contents(tmp_path / "whole")
    assert not [name for name in expected if name.endswith((".part", ".json")) and name != "manifest.json"]
    for folder in [*(tmp_path / kill["folder"] for kill in kills), tmp_path / "again"]:
        run(handle, texts, folder).verify()
        found_files = contents(folder)
        assert found_files.keys() == expected.keys(), folder.name
        for name, content in found_files.items():
            assert content == expected[name], f"{folder.name}/{name}"
