"""The exception tree. Every error a user can cause is an `InterpretError`.

- `InterpretError`
  - `UsageError` (also a `ValueError`): the request was wrong; exit code 2
    - `UnknownSiteError` (also a `KeyError`): a site or layer the model does not have
    - `DataError`: what was read is not what was promised; carries file and line
    - `LabelError`: data labels and model labels cannot be matched
    - `MissingFileError` (also a `FileNotFoundError`)
  - `RunError` (also a `RuntimeError`): the request was right, the run failed; exit code 3
    - `LoadError` (also an `OSError`): the model, adapter or tokenizer could not be loaded
    - `ProofError`: a site was found but did not behave as its definition says
    - `StoreError`: a saved record or capture is damaged or of another schema
  - `InconclusiveError`: too little data to conclude; exit code 4

A message is one sentence that says what was asked, what was found, what is available and what to change.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal


class InterpretError(Exception):
    """Root of every error this package raises on purpose."""

    exit_code: ClassVar[int] = 3


class UsageError(InterpretError, ValueError):
    """The request cannot be met as it was written."""

    exit_code: ClassVar[int] = 2


class UnknownSiteError(UsageError, KeyError):
    """A site or a layer that this model does not have."""

    def __str__(self) -> str:
        # KeyError would show the repr of the message, quotes and all.
        return str(self.args[0]) if self.args else ""


class DataError(UsageError):
    """The data is not what was promised; `path` and `line` (1-based) say where when they are known."""

    def __init__(self, message: str, *, path: str | Path | None = None, line: int | None = None) -> None:
        where = "" if path is None else f"{path}{'' if line is None else f', line {line}'}: "
        super().__init__(where + message)
        self.path = path
        self.line = line


class LabelError(UsageError):
    """Data labels and model labels cannot be matched without guessing."""


class MissingFileError(UsageError, FileNotFoundError):
    """A path that was given does not exist."""


class RunError(InterpretError, RuntimeError):
    """The request was right but the run failed."""


class LoadError(RunError, OSError):
    """The model, adapter or tokenizer could not be loaded; `no_head` where only the head is missing."""

    def __init__(self, message: str, *, no_head: bool = False) -> None:
        super().__init__(message)
        self.no_head = no_head


class ProofError(RunError):
    """A site was found but does not behave as its definition says."""


class StoreError(RunError):
    """A saved record or capture is damaged or was written by another schema."""


class InconclusiveError(InterpretError):
    """There is too little data to conclude anything; `code` names the reason where a report must put it into words."""

    exit_code: ClassVar[int] = 4

    def __init__(self, message: str, *, code: Literal["thin_data", "one_class", "other"] = "other") -> None:
        super().__init__(message)
        self.code = code
