"""Measured cells on disk, each under a hash of all it depends on, so that a run that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.rows import Rows

Arrays = dict[str, npt.NDArray[Any]]

_SUFFIX: Final = ".cell"
_FACTS: Final = "facts.json"


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any] | None = None) -> None:
    """Write named arrays and what JSON holds, whole or not at all."""
    from safetensors.numpy import save

    path.parent.mkdir(parents=True, exist_ok=True)
    held = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    if facts is not None:
        held[_FACTS] = np.frombuffer(json.dumps(facts, allow_nan=False).encode(), dtype=np.uint8)
    body = save(held)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    partial.replace(path)


def read_arrays(path: Path) -> tuple[Arrays, dict[str, Any]] | None:
    """What `write_arrays` wrote; None where nothing is, or where it is damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        head, _, body = path.read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != head:
            return None
        arrays: Arrays = load(body)
        facts = arrays.pop(_FACTS, None)
        return arrays, {} if facts is None else json.loads(facts.tobytes())
    except (OSError, SafetensorError, TypeError, ValueError):
        return None


class KeptCells:
    """A folder of cells; None keeps nothing.

    `n_read` cells were found there, `n_written` were measured and put there.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.n_read = self.n_written = 0
        self._used: set[str] = set()

    def read(self, name: str, like: Rows) -> Rows | None:
        """The cell of this name, None where it has to be measured."""
        self._used.add(name)
        found = None if self.folder is None else read_arrays(self.folder / f"{name}{_SUFFIX}")
        if found is None:
            return None
        rows = like.fresh()
        try:
            rows.unpack(*found)
        except (KeyError, TypeError, ValueError):
            return None
        self.n_read += 1
        return rows

    def write(self, name: str, rows: Rows) -> None:
        """Put a measured cell there."""
        self.n_written += 1
        if self.folder is not None:
            write_arrays(self.folder / f"{name}{_SUFFIX}", *rows.packed())

    def drop_others(self) -> None:
        """Remove cells of other runs: of other data, models or options."""
        if self.folder is not None and self.folder.is_dir():
            for path in self.folder.glob(f"*{_SUFFIX}"):
                if path.stem not in self._used:
                    path.unlink()


def cell_name(facts: Mapping[str, Any]) -> str:
    """Hash of all that a cell depends on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
