"""Texts to run a model on, each with an id and, where the data has one, its label; bad ones are named at once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpret.errors import DataError, UsageError
from interpret.readers.characters import not_unicode
from interpret.readers.chats import Chat, is_chat, read_chat
from interpret.readers.columns import holds_chats, pick_columns
from interpret.readers.conllu import read_conllu
from interpret.readers.tables import Table, listed, read_table


@dataclass(frozen=True)
class Texts:
    """Texts in the order of the data; `ids` are distinct, `labels` None where there are none or one is empty.

    `name` is the name of a file without its folder, or the kind of object that was given; `lines[i]` is the
    1-based line or row that text i comes from. `n_left_out` counts rows that could not be used and were left out
    by request, the first of them at `first_left_out`. Of chats `texts` holds them as they are written (JSON), and
    `chats` as messages.
    """

    name: str
    path: Path | None
    texts: tuple[str, ...]
    ids: tuple[str, ...]
    labels: tuple[str | None, ...]
    lines: tuple[int, ...]
    n_left_out: int = 0
    chats: tuple[Chat, ...] | None = None
    first_left_out: int | None = None

    @property
    def given(self) -> tuple[str, ...] | tuple[Chat, ...]:
        """What is explained: the texts, or the chats."""
        return self.texts if self.chats is None else self.chats

    def __len__(self) -> int:
        return len(self.texts)

    def wrong(self, index: int, message: str) -> DataError:
        """Make the error that says what is wrong with one text, and where it stands."""
        return _wrong(self.name, self.path, self.lines[index], message)


@dataclass(frozen=True)
class _Raw:
    name: str
    path: Path | None
    rows: Iterable[tuple[int, str, str | None, str | None]]
    bad: tuple[int, ...] = ()
    chats: bool = False


def read_texts(
    data: Any,
    *,
    text: str | None = None,
    label: str | None = None,
    id: str | None = None,
    header: bool = True,
    columns: Sequence[str] | str | None = None,
    skip_bad_rows: bool = False,
    limit: int | None = None,
    chats: bool = False,
) -> Texts:
    """Read texts from a table, a treebank (its sentences), or a list of strings.

    Args:
        data: a list of strings; a path of a `.csv`, `.tsv`, `.jsonl`, `.parquet` or `.conllu` file or of a folder
            saved by `datasets`; a DataFrame, `datasets.Dataset` or list of dicts; a `Table`; or `Texts`, which are
            returned as they are.
        text: column with the text; None guesses by name.
        label: column with the label; None guesses by name. An empty label is no label.
        id: column with an id that no two rows share; None numbers the rows from 0.
        header: whether the first row of a `.csv` or `.tsv` names the columns.
        columns: names for the columns of a file without header.
        skip_bad_rows: leave rows out that cannot be read or hold no text, and count them.
        limit: the first so many rows only.
        chats: take a column called `messages` for chats, lists of messages with `role` and `content`; and a list of
            chats as data.

    Raises:
        DataError: a row that cannot be read, an empty text, a chat that is none, or an id that occurs twice; with line
            or row.
        UsageError: columns that are not there or cannot be told, or no text at all.
    """
    if isinstance(data, Texts):
        return data
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}; it must be at least 1")
    raw = _raw(data, text, label, id, header, columns, skip_bad_rows, chats)
    read: list[Chat] = []
    texts: list[str] = []
    ids: list[str] = []
    labels: list[str | None] = []
    lines: list[int] = []
    seen: dict[str, int] = {}
    left_out = list(raw.bad)
    for number, (line, written, name, gold) in enumerate(raw.rows):
        if limit is not None and len(texts) == limit:
            break
        identity = str(number) if name is None else name
        wrong = _why_unusable(written, identity, gold)
        if wrong is None and raw.chats:
            try:
                chat = read_chat(written)
            except UsageError as err:
                wrong = str(err)
            else:
                read.append(chat)
        if wrong is not None:
            if not skip_bad_rows:
                remedy = "mend the data, or leave such rows out with --skip-bad-rows (skip_bad_rows=True)"
                raise _wrong(raw.name, raw.path, line, f"{wrong}; {remedy}")
            left_out.append(line)
            continue
        if identity in seen:
            raise _wrong(
                raw.name,
                raw.path,
                line,
                f"the id {identity!r} stands already at {seen[identity]}; give every row an id of its own, or leave "
                "out --id-column (id=) to number the rows",
            )
        seen[identity] = line
        texts.append(written)
        ids.append(identity)
        labels.append(gold or None)
        lines.append(line)
    if not texts:
        raise UsageError(f"{raw.name} has no text that could be run: every row is empty or was left out")
    return Texts(
        name=raw.name,
        path=raw.path,
        texts=tuple(texts),
        ids=tuple(ids),
        labels=tuple(labels),
        lines=tuple(lines),
        n_left_out=len(left_out),
        chats=tuple(read) if raw.chats else None,
        first_left_out=min(left_out, default=None),
    )


def _raw(
    data: Any,
    text: str | None,
    label: str | None,
    id: str | None,
    header: bool,
    columns: Sequence[str] | str | None,
    skip_bad_rows: bool,
    chats: bool,
) -> _Raw:
    if isinstance(data, str | Path) and Path(data).suffix.lower() == ".conllu":
        _refuse_columns(Path(data).name, text, label, id)
        sentences = read_conllu(data)
        return _Raw(Path(data).name, Path(data), ((one.line, one.text, None, None) for one in sentences))
    if isinstance(data, Sequence) and not isinstance(data, str | Path) and any(isinstance(one, str) for one in data):
        _refuse_columns("a list of texts", text, label, id)
        for number, one in enumerate(data, 1):
            if not isinstance(one, str):
                raise DataError(f"texts, row {number}: a {type(one).__name__} stands among texts; give strings only")
        return _Raw("texts", None, ((number, one, None, None) for number, one in enumerate(data, 1)))
    if chats and isinstance(data, Sequence) and not isinstance(data, str) and data and all(map(is_chat, data)):
        _refuse_columns("a list of chats", text, label, id)
        written = (json.dumps([dict(message) for message in chat], ensure_ascii=False, default=str) for chat in data)
        return _Raw("chats", None, ((number, one, None, None) for number, one in enumerate(written, 1)), chats=True)
    if isinstance(data, Table):
        table = data
    else:
        table = read_table(data, header=header, columns=columns, skip_bad_rows=skip_bad_rows)
    text_column, label_column = pick_columns(table, text, label, chats=chats)
    if id is not None and id not in table.columns:
        near = difflib.get_close_matches(id, table.columns, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UsageError(
            f"{table.name} has no column {id!r}{hint}; its columns are {table.shown_columns}; name one with "
            "--id-column (id=), or leave it out to number the rows"
        )
    rows = (
        (line, row[text_column], None if id is None else row[id], None if label_column is None else row[label_column])
        for line, row in zip(table.lines, table.rows, strict=True)
    )
    return _Raw(
        table.name, table.path, rows, tuple(bad.line for bad in table.bad_rows), chats and holds_chats(text_column)
    )


def _refuse_columns(name: str, *columns: str | None) -> None:
    named = [column for column in columns if column is not None]
    if named:
        raise UsageError(f"{name} has no columns, but {listed(named)} was named; leave out text=, label= and id=")


def _why_unusable(text: str, identity: str, label: str | None) -> str | None:
    if not text.strip():
        return "the text is empty"
    for role, value in (("text", text), ("id", identity), ("label", label or "")):
        wrong = not_unicode(value)
        if wrong is not None:
            return f"the {role} holds {wrong}"
    return None


def _wrong(name: str, path: Path | None, line: int, message: str) -> DataError:
    if path is not None and path.suffix.lower() not in ("", ".parquet"):
        return DataError(message, path=path, line=line)
    return DataError(f"{name if path is None else path}, row {line}: {message}")
