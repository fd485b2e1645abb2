"""Tables of texts and labels, from whatever the user holds, as rows of strings with the line each came from.

Everything is text: "NA", "None" and "null" are words, "007" keeps its zeros. What a quote means follows from
the name of the file and never from its content: in `.csv` fields may be quoted (RFC 4180, so a quoted field
may hold commas and line ends), in `.tsv` a quote is a character like any other and a line is a row. Files are
UTF-8, with or without a byte order mark; CRLF and LF both end a line; blank lines are skipped.

A row that cannot be read is an error that names file and line; with `skip_bad_rows` it is listed instead.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from interpret.errors import DataError, MissingFileError, UsageError

#: Why a row was refused: another number of fields than columns, a quote that does not close or closes too
#: early, a missing value, a line that is not JSON, JSON that is not an object.
BadRowReason = Literal["fields", "quote", "null", "json", "not_an_object"]

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_SAVED = ("state.json", "dataset_info.json")
_SPLITS = "dataset_dict.json"


class BadRow(NamedTuple):
    """A row that was left out: its 1-based line (or row, where there are no lines), and why."""

    line: int
    why: BadRowReason
    params: Mapping[str, str | int] = {}

    def explain(self) -> str:
        """Say in English what is wrong with the row."""
        return _WORDS[self.why].format(**self.params)


_WORDS: dict[BadRowReason, str] = {
    "fields": "{found} fields, expected {expected}",
    "quote": "a quote that is not closed, or closed before the end of its field ({found})",
    "null": "no value in column {column!r}",
    "json": "not JSON ({found})",
    "not_an_object": "a JSON {found}, expected an object",
}


@dataclass(frozen=True)
class Table:
    """Rows of strings. `lines[i]` is where row i begins: its 1-based line, or its row in other sources.

    `name` is the name of a file without its folder, or the kind of object that was given. `doubt` says why its columns
    may not be what was meant, and what to do then; else it is empty.
    """

    name: str
    path: Path | None
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    lines: tuple[int, ...]
    bad_rows: tuple[BadRow, ...] = ()
    doubt: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shown_columns(self) -> str:
        """The columns as a message lists them, with the doubt about them."""
        return listed(self.columns) + self.doubt

    def column(self, name: str) -> tuple[str, ...]:
        """Take one column, in row order."""
        return tuple(row[name] for row in self.rows)


@dataclass
class _Draft:
    """A table under construction; `add` sorts rows into good and bad."""

    columns: tuple[str, ...]
    rows: list[dict[str, str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    doubt: str = ""

    def add_fields(self, line: int, fields: Sequence[str]) -> None:
        if len(fields) != len(self.columns):
            self.bad.append(BadRow(line, "fields", {"found": len(fields), "expected": len(self.columns)}))
            return
        self.rows.append(dict(zip(self.columns, fields, strict=True)))
        self.lines.append(line)

    def add_values(self, line: int, values: Mapping[str, object]) -> None:
        row = {}
        for column in self.columns:
            value = _to_text(values.get(column))
            if value is None:
                self.bad.append(BadRow(line, "null", {"column": column}))
                return
            row[column] = value
        self.rows.append(row)
        self.lines.append(line)

    def finish(self, name: str, path: Path | None, skip_bad_rows: bool) -> Table:
        bad = tuple(sorted(self.bad, key=lambda b: b.line))
        if bad and not skip_bad_rows:
            where = f"{name}, " if path is None else ""
            row = f"row {bad[0].line}: " if path is None or path.suffix.lower() not in _LINED else ""
            more = "" if len(bad) == 1 else f", and {len(bad) - 1} more rows cannot be read"
            raise DataError(
                f"{where}{row}{bad[0].explain()}{more}{self.doubt}; mend the data, or leave such rows out "
                "and have them listed with --skip-bad-rows (skip_bad_rows=True)",
                path=path,
                line=bad[0].line if path is not None and path.suffix.lower() in _LINED else None,
            )
        if not self.rows:
            skipped = f" ({len(bad)} bad rows were skipped)" if bad else ""
            raise UsageError(f"{name} has no rows{skipped}: there is nothing to work on")
        return Table(name, path, self.columns, tuple(self.rows), tuple(self.lines), bad, self.doubt)


#: Byte order marks, little and big endian.
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_LINED = frozenset({".csv", ".tsv", ".jsonl"})


def read_table(
    data: object,
    *,
    header: bool = True,
    columns: Sequence[str] | str | None = None,
    skip_bad_rows: bool = False,
) -> Table:
    """Read a table from a path, a DataFrame, a `datasets.Dataset` or a list of dicts.

    Args:
        data: path of a `.csv`, `.tsv`, `.jsonl` or `.parquet` file or of a folder saved by `datasets`; or a
            DataFrame, `datasets.Dataset` or list of dicts. Class labels of a Dataset become their names.
        header: whether the first row of a `.csv` or `.tsv` names the columns.
        columns: names for the columns of a file without header; "label,text" or a sequence.
        skip_bad_rows: leave rows out that cannot be read and list them in `bad_rows`.

    Raises:
        MissingFileError: there is no such file.
        DataError: a row cannot be read, or the file is not what its name says.
        UsageError: a kind of data that is not read, or no rows.

    """
    names = _column_names(columns)
    if names is not None and header:
        raise UsageError(
            f"columns {','.join(names)} were named, but names are for a file without a header row; "
            "add --no-header (header=False), or leave them out to use the header"
        )
    if isinstance(data, str | Path):
        return _read_path(Path(data), header, names, skip_bad_rows)
    if names is not None or not header:
        raise UsageError(f"a {type(data).__name__} has named columns; header and columns are for .csv and .tsv files")
    kind = _kind(data)
    if kind == "DataFrame":
        return _read_frame(data, skip_bad_rows)
    if kind == "Dataset":
        return _read_dataset(data, "dataset", None, skip_bad_rows)
    if kind == "DatasetDict":
        raise UsageError(f"a DatasetDict holds several splits: pass one of them, {listed(data)}")
    if isinstance(data, Sequence) and all(isinstance(row, Mapping) for row in data):
        return _read_objects("rows", None, enumerate(data, 1), [], skip_bad_rows)
    raise UsageError(
        f"cannot read data of type {type(data).__name__}: give a path ({', '.join(SUFFIXES)} or a folder "
        "saved by datasets), a DataFrame, a datasets.Dataset or a list of dicts"
    )


def _column_names(columns: Sequence[str] | str | None) -> tuple[str, ...] | None:
    if columns is None:
        return None
    names = [c.strip() for c in columns.split(",")] if isinstance(columns, str) else [c.strip() for c in columns]
    if not names or "" in names:
        raise UsageError(
            f"the names {','.join(names)!r} of --columns leave a column without a name; write them as label,text"
        )
    return tuple(names)


def _kind(data: object) -> str:
    """Tell pandas and datasets objects by their class, so that neither library is imported to find out."""
    for cls in type(data).__mro__:
        root = cls.__module__.partition(".")[0]
        if (root == "pandas" and cls.__name__ == "DataFrame") or (
            root == "datasets" and cls.__name__ in ("Dataset", "DatasetDict")
        ):
            return cls.__name__
    return ""


def listed(names: Any) -> str:
    """The names as a message lists them."""
    return ", ".join(map(str, names))


# --- files ---


def _read_path(path: Path, header: bool, names: tuple[str, ...] | None, skip_bad_rows: bool) -> Table:
    require(path)
    if path.is_dir():
        return _read_saved(path, skip_bad_rows)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            f"cannot read {path.name}: the name of a data file ends in {', '.join(SUFFIXES)}"
            + (" (a treebank serves probes only)" if suffix == ".conllu" else "")
        )
    if suffix in (".jsonl", ".parquet") and not header:
        raise UsageError(f"{path.name} names its own columns; --no-header is for .csv and .tsv files")
    if suffix == ".parquet":
        return _read_parquet(path, skip_bad_rows)
    text = _read_text(path)
    if suffix == ".jsonl":
        bad: list[BadRow] = []
        return _read_objects(path.name, path, _json_objects(text, bad), bad, skip_bad_rows)
    draft_bad: list[BadRow] = []
    records = _csv_records(text, draft_bad) if suffix == ".csv" else _tsv_records(text)
    return _read_records(path, records, draft_bad, header, names, skip_bad_rows)


def require(path: Path) -> None:
    """Raise MissingFileError, with names that are near, if there is no such file or folder."""
    if not path.exists():
        raise MissingFileError(_missing(path))


def _missing(path: Path) -> str:
    parent = path.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if parent != path.parent:
        return f"there is no file {path}; the nearest folder that exists is {parent}"
    near = difflib.get_close_matches(path.name, [p.name for p in parent.iterdir()], n=3, cutoff=0.6)
    return f"there is no file {path}" + (f"; did you mean {listed(near)}?" if near else "")


def _read_text(path: Path) -> str:
    raw = path.read_bytes()
    if raw.startswith(_UTF_16):
        raise DataError("UTF-16, not UTF-8; save the file as UTF-8", path=path, line=1)
    if b"\0" in raw:
        raise DataError(
            "holds zero bytes, so it is no text file, or one in UTF-16; give a text file saved as UTF-8",
            path=path,
            line=raw.count(b"\n", 0, raw.index(b"\0")) + 1,
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = raw.count(b"\n", 0, err.start) + 1
        raise DataError(
            f"not UTF-8 (byte 0x{raw[err.start]:02x}); save the file as UTF-8", path=path, line=line
        ) from err


def _tsv_records(text: str) -> Iterator[tuple[int, list[str]]]:
    # Not splitlines(): form feeds and U+2028 are characters of a text, not ends of a line.
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if line:
            yield number, line.split("\t")


def _csv_records(text: str, bad: list[BadRow]) -> Iterator[tuple[int, list[str]]]:
    """Yield records and the line each begins on; after a broken one, go on with the very next line.

    Without that a stray quote would swallow every row up to the next quote, or up to the end of the file.
    """
    # Universal line ends only, kept as they are: U+2028 and form feeds are characters of a text.
    lines = list(io.StringIO(text, newline=""))
    start = 0
    with _long_fields():
        while start < len(lines):
            reader = csv.reader(lines[start:], strict=True)
            done = 0
            try:
                for fields in reader:
                    if fields:
                        yield start + done + 1, fields
                    done = reader.line_num
                return
            except csv.Error as err:
                bad.append(BadRow(start + done + 1, "quote", {"found": str(err)}))
                start += done + 1


@contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_records(
    path: Path,
    records: Iterator[tuple[int, list[str]]],
    bad: list[BadRow],
    header: bool,
    names: tuple[str, ...] | None,
    skip_bad_rows: bool,
) -> Table:
    first = next(records, None)
    if first is None:
        raise UsageError(f"{path.name} has no rows: there is nothing to work on")
    line, fields = first
    if header:
        columns = tuple(f.strip() or f"column_{i}" for i, f in enumerate(fields, 1))
    else:
        columns = names or tuple(f"column_{i}" for i in range(1, len(fields) + 1))
    _refuse_repeated(columns, path, line)
    doubt = _doubt(path, fields)
    if names is not None and len(names) != len(fields):
        raise DataError(
            f"{len(fields)} fields, but --columns names {len(names)}: {listed(names)}{doubt}", path=path, line=line
        )
    draft = _Draft(columns, bad=bad, doubt=doubt)
    if not header:
        draft.add_fields(line, fields)
    for line, fields in records:
        draft.add_fields(line, fields)
    return draft.finish(path.name, path, skip_bad_rows)


#: What people put between fields beside what a name promises.
_SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "bars"}


def _doubt(path: Path, first: Sequence[str]) -> str:
    """What to do about a first row that another separator would cut into more fields; empty if none would."""
    own = "\t" if path.suffix.lower() == ".tsv" else ","
    n, other = max((sum(field.count(mark) for field in first), mark) for mark in _SEPARATORS if mark != own)
    # A text may hold a comma or two; names of columns, and rows with more of them than fields, are another matter.
    if n < len(first) or (other == "," and len(first) > 1):
        return ""
    return (
        f" (the file seems to be separated by {_SEPARATORS[other]}, and a {path.suffix} is read with "
        f"{_SEPARATORS[own]} between its fields: save it so, or in Python give pandas.read_csv({path.name!r}, "
        f"sep={other!r}))"
    )


def _refuse_repeated(columns: Sequence[str], path: Path | None, line: int | None) -> None:
    repeated = sorted({c for c in columns if columns.count(c) > 1})
    if repeated:
        raise DataError(f"two columns are called {repeated[0]!r}; give each its own name", path=path, line=line)


def _json_objects(text: str, bad: list[BadRow]) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            # Numbers stay as they are written: 1.0 is not 1, and long ids lose no digit.
            value = json.loads(line, parse_int=str, parse_float=str, parse_constant=lambda _: None)
        except (json.JSONDecodeError, RecursionError) as err:
            bad.append(BadRow(number, "json", {"found": getattr(err, "msg", "too deep")}))
            continue
        if isinstance(value, dict):
            yield number, value
        else:
            kind = "list" if isinstance(value, list) else "null" if value is None else "value"
            bad.append(BadRow(number, "not_an_object", {"found": kind}))


def _read_parquet(path: Path, skip_bad_rows: bool) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as err:
        raise DataError(
            f"cannot be read as parquet ({str(err).splitlines()[0].rstrip('.')}); write it anew, for example with "
            "pandas' to_parquet, or give it as .csv, .tsv or .jsonl",
            path=path,
        ) from err
    return _read_objects(path.name, path, enumerate(table.to_pylist(), 1), [], skip_bad_rows, table.column_names)


def _read_saved(path: Path, skip_bad_rows: bool) -> Table:
    if (path / _SPLITS).is_file():
        splits = json.loads((path / _SPLITS).read_text(encoding="utf-8")).get("splits", [])
        raise UsageError(f"{path} holds several splits: name one of them, {listed(path / s for s in splits)}")
    if not all((path / name).is_file() for name in _SAVED):
        found = sorted(p.name for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        held = f"it holds {listed(found)}: name one of them" if found else "it holds no data file"
        raise UsageError(f"{path} is a folder but not one saved by datasets; {held}")
    try:
        from datasets import load_from_disk
    except ImportError as err:
        raise UsageError(
            f"reading the folder {path} needs the datasets library: pip install 'interpret-lm[data]'"
        ) from err
    try:
        dataset = load_from_disk(str(path))
    except Exception as err:  # datasets raises whatever arrow or its own checks raise
        raise DataError(f"cannot be loaded by datasets ({err})", path=path) from err
    return _read_dataset(dataset, path.name, path, skip_bad_rows)


# --- objects ---


def _read_frame(frame: Any, skip_bad_rows: bool) -> Table:
    columns = [str(c) for c in frame.columns]
    rows = enumerate(frame.itertuples(index=False, name=None), 1)
    objects = ((i, dict(zip(columns, row, strict=True))) for i, row in rows)
    return _read_objects("DataFrame", None, objects, [], skip_bad_rows, columns)


def _read_dataset(dataset: Any, name: str, path: Path | None, skip_bad_rows: bool) -> Table:
    classes = {
        column: list(feature.names)
        for column, feature in dataset.features.items()
        if type(feature).__name__ == "ClassLabel"
    }

    def rows() -> Iterator[tuple[int, Mapping[str, object]]]:
        for i, row in enumerate(dataset, 1):
            for column, names in classes.items():
                # -1 is how datasets writes "no label".
                index = row[column]
                row[column] = None if index is None or index < 0 else names[index]
            yield i, row

    return _read_objects(name, path, rows(), [], skip_bad_rows, dataset.column_names)


def _read_objects(
    name: str,
    path: Path | None,
    objects: Iterable[tuple[int, Mapping[str, object]]],
    bad: list[BadRow],
    skip_bad_rows: bool,
    columns: Sequence[str] | None = None,
) -> Table:
    found = [(line, {str(k): v for k, v in row.items()}) for line, row in objects]
    if columns is None:
        columns = list(dict.fromkeys(key for _, row in found for key in row))
    _refuse_repeated(columns, path, None)
    draft = _Draft(tuple(columns), bad=bad)
    for line, row in found:
        draft.add_values(line, row)
    return draft.finish(name, path, skip_bad_rows)


def _to_text(value: object) -> str | None:
    """Write a value as text; None for what is missing, in any of the ways libraries write that."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return None if math.isnan(value) else repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        return _to_text(item())
    to_list = getattr(value, "tolist", None)
    return _to_text(to_list()) if callable(to_list) else str(value)
