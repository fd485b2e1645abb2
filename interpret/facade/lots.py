"""Tables made lot by lot: each lot is on the disk whole or not at all, and joined they are always the same bytes.

Beside `scores.parquet` (one row per token) stand `scores.examples.parquet` (one row per text) and
`scores.manifest.json` (what was asked, and the checksums). While the work goes on, the lots that are whole lie in
`scores.parts/`; one that has an entry `lot-00007.json` is whole, because that is written last.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from interpret.capture.store import disk, layout
from interpret.capture.store.request import short
from interpret.errors import StoreError, UsageError

SCHEMA: Final = "interpret.attributions/2"
#: The tables of every lot, and of the whole.
TABLES: Final = ("tokens", "examples")
#: Every name written into the folder of parts; nothing else in it is ever touched.
_OWN: Final = re.compile(r"lot-\d{5,}\.(json|(tokens|examples)\.parquet)(\.part)?")
#: Of a request: what may differ when work is taken up again, because the digests beside it say it all.
_NAMES: Final = frozenset({"model.name", "model.revision", "model.adapter", "data.name"})
_REPLACE: Final = "name another file, or replace it with overwrite=True (--overwrite)"


class Lots:
    """What is done and what is missing of one request; made by `open_lots`."""

    def __init__(self, path: Path, request: Mapping[str, Any], n_lots: int) -> None:
        self.path = path
        self.request = request
        self.n_lots = n_lots
        self.files = files_of(path)
        self.manifest_path = manifest_of(path)
        self.parts = parts_of(path)
        self.entries: dict[int, dict[str, Any]] = {}

    @property
    def missing(self) -> list[int]:
        """Numbers of the lots that are not there whole."""
        return [number for number in range(self.n_lots) if number not in self.entries]

    def write(self, number: int, tables: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Bring one lot to the disk: pyarrow tables by name, and `facts` that the manifest keeps of it."""
        if not self.manifest_path.exists():
            # Only now: what turns out to be wrong with a request when it first runs leaves nothing behind.
            self._write_manifest({**self.request, "complete": False})
        entry: dict[str, Any] = {"facts": dict(facts)}
        for name in TABLES:
            entry[name] = disk.write_file(self.parts / f"lot-{number:05d}.{name}.parquet", _parquet(tables[name]))
        disk.write_file(self.parts / f"lot-{number:05d}.json", layout.json_bytes(entry))
        self.entries[number] = entry

    def finish(self) -> dict[str, Any]:
        """Join the lots, one row group each, say in the manifest that all is there, and remove the parts."""
        files = {name: self._join(name) for name in TABLES}
        facts = [self.entries[number]["facts"] for number in range(self.n_lots)]
        manifest = {**self.request, "complete": True, "files": files, "lots": facts}
        self._write_manifest(manifest)
        self.remove_parts()
        return manifest

    def take_up(self, overwrite: bool) -> dict[str, Any] | None:
        """Find what is there of the same request; returns its manifest if all of it is.

        Raises:
            UsageError: another request, or a file that is none of ours, stands there.
            StoreError: the manifest is damaged.
        """
        if overwrite:
            for path in (self.manifest_path, *self.files.values()):
                path.unlink(missing_ok=True)
            self.remove_parts()
            return None
        found = read_manifest(self.path)
        if found is None:
            standing = [path for path in self.files.values() if path.exists()]
            if standing:
                raise UsageError(f"{standing[0]} is there already, and no attribution that could go on; {_REPLACE}")
            self.remove_parts()
            return None
        differing = list(_differing(found, self.request))
        if differing:
            raise UsageError(f"{self.path} is the place of another attribution: {'; '.join(differing)}; {_REPLACE}")
        if found["complete"] and not any(layout.damage(self.path.parent, found["files"][name]) for name in TABLES):
            self.remove_parts()
            return found
        for number in range(self.n_lots):
            entry = self._whole(number)
            if entry is not None:
                self.entries[number] = entry
        return None

    def remove_parts(self) -> None:
        """Remove the parts, the entries first, so that no entry names a file that is gone."""
        if not self.parts.is_dir():
            return
        own = [path for path in self.parts.iterdir() if _OWN.fullmatch(path.name)]
        for path in sorted(own, key=lambda path: (path.suffix != ".json", path.name)):
            path.unlink()

    def _whole(self, number: int) -> dict[str, Any] | None:
        try:
            entry: dict[str, Any] = json.loads((self.parts / f"lot-{number:05d}.json").read_bytes())
            wrong = [layout.damage(self.parts, entry[name]) for name in TABLES]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return None if any(wrong) else entry

    def _join(self, name: str) -> dict[str, Any]:
        import pyarrow.parquet as pq

        path = self.files[name]
        part = path.with_name(path.name + disk.PART)
        sources = [self.parts / str(self.entries[number][name]["file"]) for number in range(self.n_lots)]
        with pq.ParquetWriter(part, pq.read_schema(sources[0]), compression="zstd") as writer:
            for source in sources:
                writer.write_table(pq.read_table(source))
        with part.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        entry = {"file": path.name, "bytes": part.stat().st_size, "sha256": sha256}
        return disk.finish_file(disk.Begun(path, part, entry))

    def _write_manifest(self, manifest: Mapping[str, Any]) -> None:
        disk.write_file(self.manifest_path, layout.json_bytes(manifest))


@contextmanager
def open_lots(path: Path, request: Mapping[str, Any], n_lots: int) -> Iterator[Lots]:
    """The lots of a request, kept from any other process while the block is open.

    Raises:
        UsageError: another process is writing there, or no folder can be made.
        StoreError: the disk takes no more; what is whole stays.
    """
    lots = Lots(path, request, n_lots)
    try:
        lots.parts.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise UsageError(f"the folder {lots.parts} cannot be made ({err.strerror}); name another place") from err
    try:
        with layout.locked(lots.parts, "attribution"):
            yield lots
    finally:
        if lots.parts.is_dir() and not any(lots.parts.iterdir()):
            lots.parts.rmdir()


def files_of(path: Path) -> dict[str, Path]:
    """Where the joined tables stand, by name."""
    return {"tokens": path, "examples": path.with_name(f"{path.stem}.examples.parquet")}


def manifest_of(path: Path) -> Path:
    """Where it says what was asked."""
    return path.with_name(f"{path.stem}.manifest.json")


def parts_of(path: Path) -> Path:
    """Folder of the lots while they are not joined."""
    return path.with_name(f"{path.stem}.parts")


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Read the manifest that belongs to a file of tokens, None if there is none.

    Raises:
        StoreError: it is damaged, or was not written by an attribution.
    """
    place = manifest_of(path)
    try:
        manifest = json.loads(place.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as err:
        raise StoreError(f"{place} is damaged ({err}); {_REPLACE}") from err
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise StoreError(f"{place} was not written by an attribution of this version; {_REPLACE}")
    return manifest


def _differing(found: Mapping[str, Any], asked: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Say in which points two requests differ."""
    for name in sorted({*found, *asked} if prefix else asked):
        one, other = found.get(name), asked.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _differing(one, other, f"{prefix}{name}.")
        elif one != other and prefix + name not in _NAMES:
            yield f"its {prefix}{name} is {short(one)}, asked was {short(other)}"


def _parquet(table: Any) -> memoryview:
    import pyarrow.parquet as pq

    # In memory first: parquet's own writer neither hashes nor syncs.
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getbuffer()
