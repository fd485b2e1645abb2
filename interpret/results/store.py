"""Records on disk: canonical JSON beside safetensors, never pickle; the same record gives the same bytes.

`<kind>.json` (kind: the class name in lower case) holds everything but arrays. Arrays lie pooled by
dtype, one flat tensor each, in `<kind>.safetensors` (of an audit: `arrays.safetensors`), and the JSON refers to them
as `{"$array": [dtype, offset, shape]}`. An audit also gets `run.json` (time and place, outside of the digest),
`audit.resolved.yaml` (its configuration) and `SHA256SUMS` over everything but `run.json`; a report that is rendered
beside them by the command line is listed there too.

What is read back is decided by the type hints of the dataclasses, so a file cannot name a class to be built.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import hashlib
import json
import math
import os
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from interpret.errors import MissingFileError, StoreError, UsageError
from interpret.results.audits import Audit, RunInfo

T = TypeVar("T")

#: Written into every file; raised when a file can no longer be read by an older version.
SCHEMA = 1

ARRAYS = "arrays.safetensors"
SUMS = "SHA256SUMS"
RUN = "run.json"
CONFIG = "audit.resolved.yaml"
REPORT = "report.html"
SIGNATURE = "SHA256SUMS.sig"

_DTYPES = frozenset("bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split())
_DIGEST = re.compile("[0-9a-f]{64}")
_SURROGATE = re.compile("[\ud800-\udfff]")


def to_plain(record: object) -> Any:
    """Turn a record into nested dicts and lists that `json.dumps` takes; arrays become nested lists.

    Raises:
        StoreError: a number is NaN or infinite, or a value has no JSON form; the message names the field.

    """
    return _encode(record, type(record).__name__, None)


def kind_of(cls: type) -> str:
    """Name the kind of a record class, which is the stem of its file."""
    return cls.__name__.lower()


def _arrays_name(kind: str) -> str:
    # Records of several kinds may lie in one folder, so each has arrays of its own.
    return ARRAYS if kind == kind_of(Audit) else f"{kind}.safetensors"


# --- writing ---


class _Pool:
    """Arrays on their way to the file (flat, one pool per dtype) and the count of replaced surrogates."""

    def __init__(self) -> None:
        self.parts: dict[str, list[npt.NDArray[Any]]] = {}
        self.sizes: dict[str, int] = {}
        self.n_replaced = 0

    def add(self, array: npt.NDArray[Any]) -> dict[str, Any]:
        name = array.dtype.name
        offset = self.sizes.get(name, 0)
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        self.parts.setdefault(name, []).append(np.ascontiguousarray(native).reshape(-1))
        self.sizes[name] = offset + array.size
        return {"$array": [name, offset, list(array.shape)]}

    def text(self, value: str) -> str:
        # A lone surrogate cannot be written as UTF-8; the envelope says how many were replaced.
        clean, n = _SURROGATE.subn("\ufffd", value)
        self.n_replaced += n
        return clean

    def to_bytes(self) -> bytes | None:
        if not self.parts:
            return None
        from safetensors.numpy import save

        pooled = {name: np.concatenate(parts) for name, parts in sorted(self.parts.items())}
        data: bytes = save(pooled)
        return data


def _encode(value: object, where: str, pool: _Pool | None) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, np.generic):
        return _encode(value.item(), where, pool)
    if isinstance(value, str):
        return value if pool is None else pool.text(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise StoreError(f"{where} is {value}: a record holds finite numbers, or None and a reason")
        return value
    if isinstance(value, np.ndarray):
        return _encode_array(value, where, pool)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _encode(getattr(value, field.name), f"{where}.{field.name}", pool)
            for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return _encode_mapping(value, where, pool)
    if isinstance(value, tuple | list):
        return [_encode(item, f"{where}[{i}]", pool) for i, item in enumerate(value)]
    raise StoreError(
        f"{where} is a {type(value).__name__}, which has no stored form: use plain values, tuples, mappings, "
        "numpy arrays or records"
    )


def _encode_array(array: npt.NDArray[Any], where: str, pool: _Pool | None) -> Any:
    if array.dtype.name not in _DTYPES:
        raise StoreError(f"{where} is an array of {array.dtype}: only booleans, integers and floats are stored")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise StoreError(f"{where} holds NaN or infinity: a record holds finite numbers, or None and a reason")
    return array.tolist() if pool is None else pool.add(array)


def _encode_mapping(value: Mapping[Any, Any], where: str, pool: _Pool | None) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise StoreError(f"{where} has the key {key!r}: keys are strings or integers")
        name = key if isinstance(key, str) else str(key)
        if pool is not None:
            name = pool.text(name)
        if name in out:
            raise StoreError(f"{where} has two keys that are both written {name!r}")
        out[name] = _encode(item, f"{where}[{key!r}]", pool)
    return out


def _dump(plain: object) -> bytes:
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1)
    return (text + "\n").encode("utf-8")


def save_record(record: object, folder: str | Path) -> Path:
    """Write `record` into `folder` (made if absent), each file whole or not at all; returns the folder.

    Raises:
        UsageError: the folder cannot be one.
        StoreError: the record holds something that has no stored form.

    """
    if not dataclasses.is_dataclass(record) or isinstance(record, type):
        raise UsageError(f"asked to save a {type(record).__name__}, but only records (dataclasses) can be saved")
    folder = Path(folder)
    kind = kind_of(type(record))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as err:
        raise UsageError(f"cannot save into {folder}: it, or a part of it, is a file; name a folder") from err

    pool = _Pool()
    plain = _encode(record, type(record).__name__, pool)
    run = plain.pop("run") if isinstance(record, Audit) else None
    arrays = pool.to_bytes()
    envelope: dict[str, Any] = {
        "arrays_sha256": None if arrays is None else _sha256(arrays),
        "kind": kind,
        "n_replaced_surrogates": pool.n_replaced,
        "record": plain,
        "schema": SCHEMA,
    }
    files: dict[str, bytes] = {f"{kind}.json": _dump(envelope)}
    if arrays is not None:
        files[_arrays_name(kind)] = arrays
    if isinstance(record, Audit):
        files[CONFIG] = _yaml(plain["config"])
        sums = "".join(f"{_sha256(data)}  {name}\n" for name, data in sorted(files.items()))
        files[SUMS] = sums.encode()
        files[RUN] = _dump(run)
    if files.get(SUMS) != _bytes_of(folder / SUMS):
        # It was a signature of what lay here before.
        (folder / SIGNATURE).unlink(missing_ok=True)
    _replace_all(folder, files)
    if arrays is None:
        (folder / _arrays_name(kind)).unlink(missing_ok=True)
    return folder


def _yaml(config: object) -> bytes:
    import yaml

    text: str = yaml.safe_dump(config, sort_keys=True, allow_unicode=True, default_flow_style=False)
    return text.encode("utf-8")


def _bytes_of(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _replace_all(folder: Path, files: Mapping[str, bytes]) -> None:
    # All bytes reach the disk under other names first, so that a full disk leaves the old files as they were.
    temporary = {name: folder / f".{name}.{os.getpid()}.tmp" for name in files}
    try:
        for name, data in files.items():
            temporary[name].write_bytes(data)
        for name, path in temporary.items():
            os.replace(path, folder / name)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


# --- reading ---


def load_record(cls: type[T], folder: str | Path) -> T:
    """Read a record of type `cls` from a folder that `save_record` wrote, verifying its checksums.

    Raises:
        MissingFileError: nothing is stored there.
        StoreError: another kind of record, another schema, or a damaged file; names the file or field.

    """
    folder = Path(folder)
    kind = kind_of(cls)
    path = folder / f"{kind}.json"
    if not path.is_file():
        _explain_missing(folder, kind)
    with _collector_paused():
        return _load(cls, folder, path, kind)


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """What is read holds no cycles, and looking for them among a million new objects takes a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _load(cls: type[T], folder: Path, path: Path, kind: str) -> T:
    sums = _verify_sums(folder)
    data = path.read_bytes()
    envelope = _read_json(path, data)
    if not isinstance(envelope, dict) or not {"schema", "kind", "record"} <= envelope.keys():
        raise StoreError(f"{path} is not a stored record: it lacks schema, kind or record")
    if envelope["schema"] != SCHEMA:
        raise StoreError(
            f"{path} has schema {envelope['schema']}, but this version reads schema {SCHEMA}: "
            "use the version that wrote it, or make the record again"
        )
    if envelope["kind"] != kind:
        raise StoreError(f"{path} holds a record of kind {envelope['kind']!r}, not {kind!r}")
    if cls is Audit:
        needed = {f"{kind}.json", CONFIG} | ({ARRAYS} if envelope.get("arrays_sha256") else set())
        if sums is None or sums != needed:
            found = "is missing" if sums is None else f"lists {', '.join(sorted(sums)) or 'nothing'}"
            raise StoreError(
                f"{folder / SUMS} {found}, but a saved audit lists {', '.join(sorted(needed))}: without it nobody can "
                "tell whether the audit was changed; restore the file or run the audit again"
            )
    plain = envelope["record"]
    if cls is Audit and isinstance(plain, dict):
        plain = {**plain, "run": _read_run(folder)}
    reader = _Reader(path, _read_arrays(folder / _arrays_name(kind), envelope.get("arrays_sha256")))
    record: T = reader.decode(plain, cls, (cls.__name__, None))
    return record


def _explain_missing(folder: Path, kind: str) -> None:
    if not folder.exists():
        raise MissingFileError(f"asked to load a saved {kind} from {folder}, but that folder does not exist")
    if not folder.is_dir():
        raise MissingFileError(f"asked to load a saved {kind} from {folder}, but that is a file; name its folder")
    found = sorted(p.name for p in folder.glob("*.json") if p.name != RUN)
    held = f"it holds {', '.join(found)}" if found else "it holds no record"
    raise MissingFileError(f"asked to load a saved {kind} from {folder}, but {kind}.json is not there; {held}")


def _read_json(path: Path, data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as err:
        raise StoreError(f"{path} is damaged: it is not JSON in UTF-8 ({err})") from err


def _verify_sums(folder: Path) -> frozenset[str] | None:
    """Names of the record's files listed in `SHA256SUMS`, each checked; None where there is no such file."""
    path = folder / SUMS
    if not path.is_file():
        return None
    names = set()
    for name, digest in read_sums(path).items():
        if name == REPORT:
            # Not part of the record, and somebody may have rendered it in another language since.
            continue
        if not (folder / name).is_file():
            raise StoreError(f"{folder} is damaged: {name}, listed in {SUMS}, is missing")
        if _sha256((folder / name).read_bytes()) != digest:
            raise StoreError(f"{folder / name} is damaged or was changed: its SHA-256 differs from {SUMS}")
        names.add(name)
    return frozenset(names)


def read_sums(path: Path) -> dict[str, str]:
    """The digest of each file that a `SHA256SUMS` lists.

    Raises:
        StoreError: a line that is none, or a name that stands twice or leads elsewhere.
    """
    listed: dict[str, str] = {}
    for line in path.read_bytes().decode("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        if not _DIGEST.fullmatch(digest) or not name or Path(name).name != name or name in listed:
            raise StoreError(f"{path} is damaged: cannot read the line {line!r}")
        listed[name] = digest
    return listed


def _read_run(folder: Path) -> Any:
    path = folder / RUN
    return _read_json(path, path.read_bytes()) if path.is_file() else to_plain(RunInfo())


def _read_arrays(path: Path, expected: object) -> dict[str, npt.NDArray[Any]]:
    if expected is None:
        return {}
    if not path.is_file():
        raise StoreError(f"{path.parent} is damaged: {path.name} is missing")
    data = path.read_bytes()
    if _sha256(data) != expected:
        raise StoreError(f"{path} is damaged or belongs to another record: its SHA-256 is not the recorded one")
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays: dict[str, npt.NDArray[Any]] = load(data)
    except SafetensorError as err:
        raise StoreError(f"{path} is damaged: {err}") from err
    return arrays


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


@functools.cache
def _fields(cls: type) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Type by field, and the fields that must be there."""
    hints = _hints(cls)
    fields = dataclasses.fields(cls)
    missing = dataclasses.MISSING
    needed = tuple(f.name for f in fields if f.default is missing and f.default_factory is missing)
    return {f.name: hints[f.name] for f in fields}, needed


@functools.cache
def _kind(hint: Any) -> tuple[str, tuple[Any, ...]]:
    """How a value of this type is read, and the types within it: asked once per type, not once per value."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        # Whether it may be None, then the types that are tried in turn.
        return "union", (type(None) in args, *(arm for arm in args if arm is not type(None)))
    if origin is Literal:
        return "literal", args
    if origin is np.ndarray or hint is np.ndarray:
        return "array", ()
    if origin is tuple:
        return "tuple", args
    if origin is list:
        return "list", args
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "mapping", args
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return "dataclass", ()
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        return "named_tuple", ()
    return "scalar", ()


#: Where a value stands: the record's name, then field, index or key, each with what it stands in. Only a complaint
#: needs it in words.
Where = tuple[Any, str | int | None]


def _words(where: Where) -> str:
    parts: list[str] = []
    at: Any = where
    while isinstance(at, tuple):
        at, part = at
        if part is not None:
            parts.append(f"[{part}]" if isinstance(part, int) else part)
    return f"{at}{''.join(reversed(parts))}"


class _Reader:
    """Plain values to typed ones, by hint; every complaint names the file and the field."""

    def __init__(self, path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self.path = path
        self.arrays = arrays

    def fail(self, where: Where, problem: str) -> StoreError:
        return StoreError(f"{self.path} does not fit schema {SCHEMA}: {_words(where)} {problem}")

    def decode(self, value: Any, hint: Any, where: Where) -> Any:
        kind, args = _kind(hint)
        if kind == "scalar":
            return self._scalar(value, hint, where)
        if kind == "union":
            return self._union(value, args, where)
        if kind == "literal":
            if value not in args:
                raise self.fail(where, f"is {value!r}, expected one of {', '.join(map(repr, args))}")
            return value
        if kind == "array":
            return self._array(value, where)
        if kind == "tuple":
            return self._tuple(value, args, where)
        if kind == "list":
            items = self._expect(value, list, "a list", where)
            return [self.decode(v, args[0], (where, i)) for i, v in enumerate(items)]
        if kind == "mapping":
            return self._mapping(value, args, where)
        if kind == "dataclass":
            return self._dataclass(value, hint, where)
        return self._named_tuple(value, hint, where)

    def _expect(self, value: Any, kind: type, words: str, where: Where) -> Any:
        if not isinstance(value, kind):
            raise self.fail(where, f"is {type(value).__name__}, expected {words}")
        return value

    def _scalar(self, value: Any, hint: Any, where: Where) -> Any:
        if type(value) is hint or hint is Any or hint is object:
            return value
        if hint is None or hint is type(None):
            return self._expect(value, type(None), "null", where)
        accepted = {str: (str,), bool: (bool,), int: (int,), float: (float, int)}.get(hint)
        if accepted is None:
            raise self.fail(where, f"has the type {hint}, which cannot be read from a file")
        if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
            raise self.fail(where, f"is {type(value).__name__}, expected {hint.__name__}")
        return value

    def _union(self, value: Any, arms: Sequence[Any], where: Where) -> Any:
        optional, *real = arms
        if value is None and optional:
            return None
        for arm in real[:-1]:
            try:
                return self.decode(value, arm, where)
            except StoreError:
                continue
        return self.decode(value, real[-1], where)

    def _tuple(self, value: Any, args: Sequence[Any], where: Where) -> tuple[Any, ...]:
        items = self._expect(value, list, "a list", where)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(self.decode(item, args[0], (where, i)) for i, item in enumerate(items))
        if len(items) != len(args):
            raise self.fail(where, f"has {len(items)} entries, expected {len(args)}")
        return tuple(self.decode(item, arg, (where, i)) for i, (item, arg) in enumerate(zip(items, args, strict=True)))

    def _mapping(self, value: Any, args: Sequence[Any], where: Where) -> dict[Any, Any]:
        items = self._expect(value, dict, "an object", where)
        key_hint, item_hint = args if args else (str, Any)
        out: dict[Any, Any] = {}
        for key, item in items.items():
            if key_hint is int:
                try:
                    out_key: str | int = int(key)
                except ValueError as err:
                    raise self.fail(where, f"has the key {key!r}, expected an integer") from err
            else:
                out_key = key
            out[out_key] = self.decode(item, item_hint, (where, f"[{key!r}]"))
        return out

    def _dataclass(self, value: Any, cls: Any, where: Where) -> Any:
        given = self._expect(value, dict, "an object", where)
        hints, needed = _fields(cls)
        unknown = sorted(given.keys() - hints.keys())
        if unknown:
            raise self.fail(where, f"has the unknown field {unknown[0]!r}")
        for name in needed:
            if name not in given:
                raise self.fail(where, f"lacks the field {name!r}")
        values = {name: self.decode(item, hints[name], (where, f".{name}")) for name, item in given.items()}
        try:
            return cls(**values)
        except (TypeError, ValueError) as err:
            raise self.fail(where, f"is not consistent: {err}") from err

    def _named_tuple(self, value: Any, cls: Any, where: Where) -> Any:
        items = self._expect(value, list, "a list", where)
        hints = _hints(cls)
        if len(items) != len(cls._fields):
            raise self.fail(where, f"has {len(items)} entries, expected {len(cls._fields)}")
        pairs = zip(cls._fields, items, strict=True)
        return cls(*(self.decode(item, hints[name], (where, f".{name}")) for name, item in pairs))

    def _array(self, value: Any, where: Where) -> npt.NDArray[Any]:
        match value:
            case {"$array": [str(dtype), int(offset), list(shape)]} if len(value) == 1:
                pass
            case _:
                raise self.fail(where, "is not a reference to an array")
        pool = self.arrays.get(dtype)
        if pool is None:
            raise self.fail(where, f"refers to {dtype} arrays, of which its file of arrays has none")
        if not all(isinstance(n, int) and n >= 0 for n in shape):
            raise self.fail(where, f"has the impossible shape {shape}")
        size = math.prod(shape)
        if offset < 0 or offset + size > pool.size:
            raise self.fail(where, f"lies outside of the {pool.size} {dtype} values in its file of arrays")
        return pool[offset : offset + size].reshape(shape).copy()
