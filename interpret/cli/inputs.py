"""What a command was given to read, so that nothing that it writes takes the place of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from interpret.errors import StoreError, UsageError

#: Parameters that name what is written; every other path that a command is given is read.
_WRITTEN: Final = frozenset({"out", "report", "junit", "init"})
#: Parameters that may be a path, or the name of a model on the hub.
_NAMES: Final = frozenset({"model", "base", "tuned", "adapter"})
#: Kinds of output that are no part of a model or of a data set saved as a folder: in there they may be renewed.
_OUTPUTS: Final = frozenset({".csv", ".html", ".parquet", ".xml"})

_inputs: ContextVar[tuple[Path, ...]] = ContextVar("inputs", default=())


@contextmanager
def reading(given: Mapping[str, Any]) -> Iterator[None]:
    """Hold the paths that a command reads, by the names of its parameters, while it runs."""
    token = _inputs.set((*_inputs.get(), *_paths(given)))
    try:
        yield
    finally:
        _inputs.reset(token)


def also_reading(given: Mapping[str, Any]) -> None:
    """Hold further paths for the rest of the running command, as those that a file of options named."""
    _inputs.set((*_inputs.get(), *_paths(given)))


def _paths(given: Mapping[str, Any]) -> Iterator[Path]:
    for name, value in given.items():
        if name in _WRITTEN:
            continue
        for one in value if isinstance(value, list | tuple) else (value,):
            if isinstance(one, Path) or (isinstance(one, str) and name in _NAMES):
                yield Path(one)


def refuse_input(path: Path, option: str = "--out") -> None:
    """Refuse to write where one of the command's inputs is, whatever links lead there.

    Raises:
        UsageError: the path is an input, or a file of a folder that is one.
    """
    if not path.exists():
        return
    for given in _inputs.get():
        if _same(path, given):
            raise UsageError(f"{option} {path} would replace {given}, which this command reads; name another place")
        if path.is_file() and _holds(given, path):
            raise UsageError(
                f"{option} {path} would replace a file of {given}, which this command reads; name another place"
            )


def _same(path: Path, given: Path) -> bool:
    try:
        return path.samefile(given)
    except OSError:
        return False


def _holds(folder: Path, path: Path) -> bool:
    """Whether an input folder holds the file as a part of its own, and not as something that was written there."""
    try:
        inside = folder.is_dir() and path.resolve().is_relative_to(folder.resolve())
    except OSError:
        return False
    # Not needed before something is there to lose, and not light.
    from interpret.results.store import RUN, SIGNATURE, SUMS, read_sums

    if not inside or not (folder / SUMS).is_file():
        return inside and path.suffix.lower() not in _OUTPUTS
    try:
        parts = {*read_sums(folder / SUMS), SUMS, SIGNATURE, RUN}
    except StoreError:
        return True
    return str(path.resolve().relative_to(folder.resolve())) in parts
