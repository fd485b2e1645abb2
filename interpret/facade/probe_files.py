"""What probes leave in a folder for other programs, and whether a folder holds the run that is asked for."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from interpret.capture.store.disk import write_file
from interpret.errors import UsageError
from interpret.results.record import Message, Record
from interpret.results.store import kind_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from interpret.results.tree import LayerPlot

MANIFEST: Final = "manifest.json"
RESULTS: Final = "results.parquet"
SUMMARY: Final = "summary.json"
PROBES: Final = "probes.safetensors"
#: Cells measured so far, see `analyzers.probing.kept`.
CELLS: Final = "cells"
#: Characters of a name in the name of a file, of at most 4 bytes each: file systems take 255 bytes.
_MAX_NAME: Final = 50


@dataclass(frozen=True)
class Figure:
    """A drawing of curves over layers, with the stem of its files and its text alternative."""

    stem: str
    plot: LayerPlot
    alt: Message


def write_files(
    folder: Path,
    record: Record,
    *,
    frame: pd.DataFrame,
    probes: Mapping[str, npt.NDArray[np.float32]],
    classes: Any,
    summary: Mapping[str, Any],
    figures: Iterable[Figure],
    facts: Mapping[str, Any],
) -> None:
    """The record and its files; the manifest, with `facts`, is written last and holds a digest of each.

    Args:
        folder: where to; the files of an earlier run there, as its manifest names them, are removed.
        record: is saved as every record is.
        frame: becomes `results.parquet`.
        probes: arrays of the fitted probes by name; (x - mean) / deviation @ weights + intercept are their outputs.
        classes: labels in the order of the columns of the probes' weights, as JSON.
        summary: becomes `summary.json`.
        figures: become SVG and PNG.
        facts: what was asked and of what.
    """
    import numpy as np
    from safetensors.numpy import save

    before = read_manifest(folder) or {"files": {}}
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in before["files"]:
        # A name from a file that anybody may have written.
        if Path(name).name == name:
            (folder / name).unlink(missing_ok=True)
    record.save(folder)
    frame.to_parquet(folder / RESULTS, index=False)
    tensors = {name: np.ascontiguousarray(array) for name, array in probes.items()}
    # One entry: of several the order in the file would not be the same each time.
    (folder / PROBES).write_bytes(save(tensors, metadata={"classes": json.dumps(classes)}))
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    names = [f"{kind_of(type(record))}.json", RESULTS, PROBES, SUMMARY]
    for figure in figures:
        names += _draw(folder, figure)
    files = {name: _digest(folder / name) for name in sorted(names)}
    manifest = {"schema": 1, **facts, "files": files}
    write_file(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a finished run of probes; None where there is none.

    Raises:
        UsageError: a manifest of something else, such as a capture store, which is not to be overwritten.
    """
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
        raise UsageError(f"{folder} holds a {MANIFEST} that no run of probes wrote; name another folder")
    return found


def is_whole(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether every file of a run is still what was written."""
    files: dict[str, str] = manifest["files"]
    return all(Path(name).name == name and _digest(folder / name) == digest for name, digest in files.items())


def differences(found: Any, asked: Any, prefix: str = "") -> Iterator[str]:
    """Names of what differs between two requests."""
    if isinstance(found, dict) and isinstance(asked, dict):
        for name in sorted(found.keys() | asked.keys()):
            yield from differences(found.get(name), asked.get(name), f"{prefix}{name}.")
    elif found != asked:
        yield prefix.rstrip(".")


def figure_stems(figures: Sequence[tuple[str, str]]) -> list[str]:
    """The stem of each figure's files, by its task and site: no two are the same file on any file system.

    A task of letters, digits, dots and underscores stands there as it is. One in which something had to be replaced or
    cut is followed by a digest of it, so that its name depends on nothing else; so are tasks of one run that a file
    system without upper and lower case could not tell apart.
    """
    tasks = {task: _readable(task) for task, _ in figures}
    folded = Counter(_folded(task) for task, name in tasks.items() if name == task)
    stems = []
    for task, site in figures:
        name = tasks[task]
        if name != task or folded[_folded(name)] > 1:
            # Dashes in names are replaced, so that with one more of them it cannot be the name of another task.
            name = f"{name}-{hashlib.sha256(task.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
        stems.append(f"layers-{name}-{_readable(site)}")
    return stems


def _readable(name: str) -> str:
    """A part of a file name without anything that a file system, or another program, could take for something else."""
    return re.sub(r"[^\w.]+", "_", name).strip("._")[:_MAX_NAME] or "_"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _draw(folder: Path, figure: Figure) -> tuple[str, str]:
    """Draw, and name the files."""
    from interpret.results.messages import words
    from interpret.results.svg import draw, layer_figure

    say = words("en")
    names = f"{figure.stem}.svg", f"{figure.stem}.png"
    drawing = draw(figure.plot, say, prefix="probes", alt=say.text(figure.alt))
    (folder / names[0]).write_text(drawing, encoding="utf-8")
    # Without the version of the library that drew it: the same numbers give the same bytes.
    layer_figure(figure.plot).savefig(folder / names[1], dpi=150, metadata={"Software": None})
    return names
