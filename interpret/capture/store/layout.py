"""The files of a store: their names, what is in the manifest, and how damage is found."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from interpret.capture.store.disk import PART
from interpret.errors import StoreError, UsageError
from interpret.models.sources import STORE

SCHEMA: Final = f"{STORE}1"
MANIFEST: Final = "manifest.json"
EXAMPLES: Final = "examples.parquet"
#: Every name this package writes into a store; nothing else in the folder is ever touched.
_OWN: Final = re.compile(r"(manifest\.json|examples\.parquet|shard-\d{5,}\.(safetensors|parquet|json))(\.part)?")
#: Read and hashed in pieces of 4 MiB.
_PIECE: Final = 1 << 22

#: What values may be stored in; float64 only where the model itself runs in it.
DTYPES: Final[dict[str, torch.dtype]] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}


def values_name(number: int) -> str:
    """File with the values of a shard."""
    return f"shard-{number:05d}.safetensors"


def tokens_name(number: int) -> str:
    """File with one row per token of a shard."""
    return f"shard-{number:05d}.parquet"


def entry_name(number: int) -> str:
    """File that says a shard is whole; there only until the manifest says it."""
    return f"shard-{number:05d}.json"


def own_files(folder: Path) -> list[Path]:
    """The files in a folder that bear a name of ours, the manifest first."""
    found = [path for path in folder.iterdir() if _OWN.fullmatch(path.name)]
    return sorted(found, key=lambda path: (path.name != MANIFEST, path.name))


def foreign_files(folder: Path) -> list[str]:
    """Names of what else is in a folder."""
    return sorted(path.name for path in folder.iterdir() if not _OWN.fullmatch(path.name))


def remove_parts(folder: Path) -> None:
    """Remove the files that a killed run had not finished."""
    for path in own_files(folder):
        if path.name.endswith(PART):
            path.unlink()


def damage(folder: Path, entry: Mapping[str, Any]) -> str | None:
    """Say what is wrong with a file of a store, None if it is what its entry says."""
    path = folder / str(entry["file"])
    digest = hashlib.sha256()
    try:
        n_bytes = path.stat().st_size
        if n_bytes != entry["bytes"]:
            return f"{path.name} has {n_bytes:,} bytes instead of {entry['bytes']:,}"
        with path.open("rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except FileNotFoundError:
        return f"{path.name} is missing"
    except OSError as err:
        return f"{path.name} cannot be read ({err.strerror})"
    return None if digest.hexdigest() == entry["sha256"] else f"{path.name} is not what was written (checksum)"


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """One key a line, one shard a line, sorted, and with a digest over the rest."""
    plain = {name: value for name, value in manifest.items() if name != "digest"}
    plain["digest"] = _digest(plain)
    lines = []
    for name in sorted(plain):
        value = plain[name]
        if isinstance(value, list) and value and isinstance(value[0], dict):
            written = "[\n  " + ",\n  ".join(map(_canonical, value)) + "\n ]"
        else:
            written = _canonical(value)
        lines.append(f" {json.dumps(name)}: {written}")
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode("ascii")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read the manifest of a folder, None if it has none.

    Raises:
        StoreError: it is damaged, or of another schema.
        UsageError: it is no manifest of a store.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as err:
        raise StoreError(
            f"{path} is damaged ({err}); capture again into another folder, or with overwrite=True (--overwrite)"
        ) from err
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if not isinstance(schema, str) or not schema.startswith(STORE):
        raise UsageError(f"{path} was not written by a capture; name another folder")
    if schema != SCHEMA:
        raise StoreError(f"{folder} holds schema {schema!r}, but this version reads {SCHEMA!r}; capture again")
    stated = manifest.pop("digest", None)
    if stated != _digest(manifest):
        raise StoreError(
            f"{path} is not what was written (checksum); capture again into another folder, or with "
            "overwrite=True (--overwrite)"
        )
    found: dict[str, Any] = manifest
    return found


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Canonical JSON."""
    return (_canonical(value) + "\n").encode("ascii")


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(", ", ": "), ensure_ascii=True, allow_nan=False)


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(value).encode("ascii")).hexdigest()


@contextmanager
def locked(folder: Path, what: str = "capture") -> Iterator[None]:
    """Keep a second writer of `what` out of the folder; the lock goes with the process, however it ends.

    Raises:
        UsageError: another process is writing there.
    """
    try:
        import fcntl
    except ImportError:  # there is no flock on Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise UsageError(f"another {what} is writing to {folder}; wait for it or name another folder") from err
        except OSError:
            # Some network file systems have no locks; then nothing is kept out.
            pass
        yield
    finally:
        os.close(descriptor)


def size_text(n_bytes: int) -> str:
    """A size as people read it: powers of 1000, as disks are sold."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.1f} {unit}"
    return f"{n_bytes} bytes"
