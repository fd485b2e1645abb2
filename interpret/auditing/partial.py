"""What an interrupted audit has finished, kept stage by stage, so that it goes on where it stopped.

Every stage is a record in a folder of its own, written whole or not at all. Its key is a digest of all that its numbers
hang on: weights, configuration and tokenizer of the model and of the base, the data, the counts, the seed, versions,
device and threads. A record with another key is not used. What is kept is read back as it was to the last bit, so that
an audit that was interrupted ends in the same bytes as one that was not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from interpret.auditing.identity import Fingerprint, versions
from interpret.auditing.stage import Scope, Stage
from interpret.errors import InterpretError, UsageError
from interpret.results.audits import Coverage
from interpret.results.record import Scalar
from interpret.results.store import load_record, save_record, to_plain

#: The folder in the folder of an audit.
FOLDER = ".partial"
_FILES = ("partial.json", "partial.safetensors")
#: What a budget came to.
_COUNTS = "counts.json"


class Finished(NamedTuple):
    """What a stage handed over, and what it said of the sections it covers."""

    value: Any
    coverage: tuple[Coverage, ...]
    further: tuple[Coverage, ...]


def key_of(scope: Scope, before: Fingerprint, base: Fingerprint | None) -> str:
    """The digest of everything that the numbers of an audit hang on."""
    handle, examples = scope.handle, scope.examples
    facts = {
        "model": [*before, handle.name, handle.revision, handle.adapter, handle.task, handle.run_dtype],
        "runs_on": [handle.device.type, handle.attn_implementation, handle.max_length, torch.get_num_threads()],
        "base": None if base is None or scope.base is None else [*base, scope.base.name],
        "data": to_plain(examples),
        "config": scope.config.resolved(),
        "seed": scope.seed,
        "versions": versions(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode("utf-8")).hexdigest()


class Kept:
    """The folder with the stages of one audit; without a folder nothing is kept."""

    def __init__(self, folder: Path | None, key: str) -> None:
        if folder is not None and folder.exists() and not folder.is_dir():
            raise UsageError(f"cannot keep finished stages in {folder}: it is a file; move it away")
        self.folder = folder
        self.key = key

    def read(self, stage: Stage) -> Finished | None:
        """What the stage handed over before; None if it did not finish, or something else was asked then."""
        if self.folder is None or not (self.folder / stage.name / _FILES[0]).is_file():
            return None
        try:
            found: Any = load_record(_shape(stage), self.folder / stage.name)
        except InterpretError:
            # Damaged, or written by another version: it is made again.
            return None
        return Finished(found.value, found.coverage, found.further) if found.key == self.key else None

    def write(self, stage: Stage, finished: Finished) -> None:
        """Keep what a stage handed over."""
        if self.folder is None:
            return
        save_record(_shape(stage)(key=self.key, **finished._asdict()), self.folder / stage.name)
        written = json.loads((self.folder / stage.name / _FILES[0]).read_text(encoding="utf-8"))
        if written["n_replaced_surrogates"]:
            # Half a surrogate pair in the data is replaced in files: read back, the record would be another one.
            _remove(self.folder / stage.name)


def read_counts(folder: Path, wanted: Mapping[str, Scalar]) -> Mapping[str, Scalar] | None:
    """The counts that a budget came to when the same configuration was asked for; None if there are none."""
    try:
        found = json.loads((folder / _COUNTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = isinstance(found, dict) and found.get("wanted") == dict(wanted) and isinstance(found.get("counts"), dict)
    return found["counts"] if same else None


def write_counts(folder: Path, wanted: Mapping[str, Scalar], counts: Mapping[str, Scalar]) -> None:
    """Keep what a budget came to, so that an interrupted audit goes on with it."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{_COUNTS}.tmp"
    temporary.write_text(json.dumps({"wanted": dict(wanted), "counts": dict(counts)}), encoding="utf-8")
    temporary.replace(folder / _COUNTS)


def discard(folder: Path) -> None:
    """Remove the kept stages, and nothing else that may lie there."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for stage in sorted(folder.iterdir()):
        if stage.is_dir() and not stage.is_symlink():
            _remove(stage)
    (folder / _COUNTS).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _remove(stage: Path) -> None:
    if all(path.name in _FILES or path.name.endswith(".tmp") for path in stage.iterdir()):
        shutil.rmtree(stage)


@cache
def _shape(stage: Stage) -> Any:
    """The record class of a stage: what is read back is decided by its type hints."""
    fields = {"key": str, "value": stage.result, "coverage": tuple[Coverage, ...], "further": tuple[Coverage, ...]}
    return dataclasses.make_dataclass("Partial", list(fields.items()), frozen=True, kw_only=True)
