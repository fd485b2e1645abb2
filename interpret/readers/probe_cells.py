"""Cells of tables that hold labels and lists, checked, with the line of what is wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from interpret.errors import DataError, UsageError
from interpret.readers.probe_data import Kind, Level, label_number
from interpret.readers.tables import Table

_LINED: Final = (".csv", ".tsv", ".jsonl")


class Asked(NamedTuple):
    """Columns and kinds of data as `read_probe_data` was given them."""

    label: str | None
    text: str | None
    level: Level | None
    kind: Kind | None
    spans: str | None
    second: str | None
    split: str | None
    group: str | None


def at(table: Table, line: int, message: str) -> DataError:
    """An error that says in which line of the file, or in which row, it is."""
    if table.path is not None and table.path.suffix.lower() in _LINED:
        return DataError(message, path=table.path, line=line)
    return DataError(f"{table.name}, row {line}: {message}")


def named_column(table: Table, named: str | None, usual: str) -> str | None:
    """A column that was named, else the one with the usual name, else None.

    Raises:
        UsageError: a column was named that is not there.
    """
    if named is not None and named not in table.columns:
        raise UsageError(
            f"{table.name} has no column {named!r}; its columns are {table.shown_columns}; name another with "
            f"--{usual}-column ({usual}=)"
        )
    return named or (usual if usual in table.columns else None)


def needed(table: Table, label_column: str | None) -> str:
    """The label column, or an error that asks for one."""
    if label_column is None:
        raise UsageError(
            f"{table.name}: a probe needs a label for each item; the columns are {table.shown_columns}; "
            "name one with --label (label=)"
        )
    return label_column


def json_list(written: str) -> list[Any] | None:
    """The list that a cell holds, None where it holds none."""
    if not written.lstrip().startswith("["):
        return None
    try:
        value = json.loads(written)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def as_list(table: Table, line: int, column: str, written: str, hint: str = "") -> list[Any]:
    """The list that a cell must hold."""
    value = json_list(written)
    if value is None:
        raise at(table, line, f"{column} holds {written!r:.40}, which is no list{hint}")
    return value


def label_per_row(table: Table, column: str, kind: Kind | None) -> tuple[list[str | None], Kind]:
    """One label for each row, and their kind: where every cell that holds something holds a list, several hold."""
    cells = table.column(column)
    found = [json_list(cell) for cell in cells]
    if kind is None:
        written = [one is not None for one, cell in zip(found, cells, strict=True) if cell]
        kind = "multilabel" if written and all(written) else "class"
    lists = kind == "multilabel"
    rows = [[one if lists and one is not None else cell or None] for one, cell in zip(found, cells, strict=True)]
    return [row[0] for row in checked_labels(table, column, kind, rows)], kind


def labels_per_row(
    table: Table, column: str, kind: Kind | None, rows: Sequence[Sequence[Any]]
) -> tuple[list[list[str | None]], Kind]:
    """A list of labels for each row, and their kind."""
    if kind is None:
        entries = [value for row in rows for value in row if value is not None]
        kind = "multilabel" if entries and all(isinstance(value, list) for value in entries) else "class"
    return checked_labels(table, column, kind, rows), kind


def checked_labels(table: Table, column: str, kind: Kind, rows: Sequence[Sequence[Any]]) -> list[list[str | None]]:
    """Labels as `ProbeData` keeps them.

    Raises:
        DataError: a label that is not of the kind, with file and line.
    """
    return [
        [None if value is None else _label(table, line, column, kind, value) for value in row]
        for line, row in zip(table.lines, rows, strict=True)
    ]


def _label(table: Table, line: int, column: str, kind: Kind, value: Any) -> str:
    if kind == "multilabel":
        if not isinstance(value, list):
            raise at(table, line, f"{column} holds {value!r:.40}; labels of kind 'multilabel' are lists of names")
        return json.dumps(sorted(set(map(str, value))), ensure_ascii=False)
    if isinstance(value, list | dict):
        wrong = f"{column} holds {value!r:.40} for one item; lists are labels of kind 'multilabel', and then all are"
        raise at(table, line, wrong)
    if kind == "regression":
        try:
            label_number(str(value))
        except UsageError as err:
            raise at(table, line, f"{column}: {err}; without kind='regression' labels are classes") from err
    return str(value)
