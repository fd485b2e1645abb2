"""Which columns of a table hold the text, the label, the slice: as named, else by their usual names, never by guess."""

from __future__ import annotations

import difflib
from typing import Literal

from interpret.errors import UsageError
from interpret.readers.chats import MESSAGES
from interpret.readers.tables import Table, listed

TEXT_NAMES = frozenset("text sentence review content comment message document body sms tweet post utterance".split())
LABEL_NAMES = frozenset(
    "label labels class category sentiment target gold rating stars polarity emotion intent".split()
)


def pick_columns(
    table: Table, text: str | None = None, label: str | None = None, *, chats: bool = False
) -> tuple[str, str | None]:
    """Choose the text and the label column: as named, else by the usual names; no label column gives None.

    With `chats` a column called `messages` is a text column too, see `holds_chats`.

    Raises:
        UsageError: a column that is not there, none that could be the text, or several that could be either.

    """
    text_column = _pick(table, text, TEXT_NAMES | {MESSAGES} if chats else TEXT_NAMES, "text")
    if text_column is None:
        headerless = "; if the first row is data, add --no-header --columns" if table.path is not None else ""
        raise UsageError(
            f"cannot tell which column of {table.name} holds the text: its columns are "
            f"{table.shown_columns}; name one with --text-column (text=){headerless}"
        )
    return text_column, pick_label(table, label, text_column)


def pick_label(table: Table, label: str | None, text_column: str) -> str | None:
    """Choose the label column beside a text column; None where there is none.

    Raises:
        UsageError: a column that is not there, that is the text, or several that could be the label.

    """
    label_column = _pick(table, label, LABEL_NAMES - {text_column.casefold()}, "label")
    if label_column == text_column:
        raise UsageError(f"column {text_column!r} was named as text and as label; name two different columns")
    return label_column


def holds_chats(column: str) -> bool:
    """Whether a column holds lists of messages, which its name alone decides."""
    return column.strip().casefold() == MESSAGES


def _pick(table: Table, named: str | None, usual: frozenset[str], role: str) -> str | None:
    if named is not None:
        if named not in table.columns:
            near = difflib.get_close_matches(named, table.columns, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise UsageError(
                f"{table.name} has no column {named!r}{hint}; its columns are {table.shown_columns}; "
                f"name one with --{role}-column ({role}=)"
            )
        return named
    found = [c for c in table.columns if c.strip().casefold() in usual]
    if len(found) > 1:
        raise UsageError(
            f"several columns of {table.name} could be the {role}: {listed(found)}; "
            f"name one with --{role}-column ({role}=)"
        )
    return found[0] if found else None


def pick_named(table: Table, name: str) -> str:
    """A column of that very name.

    Raises:
        UsageError: it is not there.

    """
    if name not in table.columns:
        near = difflib.get_close_matches(name, table.columns, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UsageError(f"{table.name} has no column {name!r}{hint}; its columns are {table.shown_columns}")
    return name


def pick_extra(table: Table, name: str | None, usual: Literal["slice", "pair"]) -> str | None:
    """Choose the column of slices or of pairs: as named, else the one called `slice` or `pair`, else None.

    Raises:
        UsageError: a column was named that is not there.

    """
    if name is None:
        return usual if usual in table.columns else None
    if name not in table.columns:
        raise UsageError(f"{table.name} has no column {name!r} for {usual}s; its columns are {table.shown_columns}")
    return name
