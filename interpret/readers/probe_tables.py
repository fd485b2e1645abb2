"""Tables as what probes are trained on: columns of text or tokens, spans, labels, splits and groups."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from interpret.errors import UsageError
from interpret.readers.columns import pick_columns, pick_label
from interpret.readers.probe_cells import Asked, as_list, at, label_per_row, labels_per_row, named_column, needed
from interpret.readers.probe_data import Part, ProbeData
from interpret.readers.probe_spans import of_spans
from interpret.readers.tables import Table, listed

#: What rows are for, by the names that are in use.
_SPLITS: Final[dict[str, Part]] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "development": "validation",
    "test": "test",
    "testing": "test",
}
#: Usual names of the two texts of a pair.
_PAIRS: Final = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("text", "text2"),
    ("text", "second"),
)


def saved_splits(path: Path) -> list[tuple[str, Part]]:
    """The splits of a folder that `datasets` saved with several, and what each is for; none where it is no such folder.

    Raises:
        UsageError: a split whose name does not say what it is for.
    """
    listing = path / "dataset_dict.json"
    if not listing.is_file():
        return []
    names = [str(name) for name in json.loads(listing.read_text(encoding="utf-8")).get("splits", [])]
    unknown = [name for name in names if name.casefold() not in _SPLITS]
    if unknown:
        raise UsageError(
            f"{path} holds the splits {listed(names)}, and {unknown[0]!r} does not say what it is for (train, "
            f"validation or test); give the folders to train and to test on, such as {path / names[0]}"
        )
    return [(name, _SPLITS[name.casefold()]) for name in names]


def read_labelled(table: Table, asked: Asked) -> ProbeData:
    """The items of a table with their labels, as `read_probe_data` says.

    Raises:
        DataError: a cell does not hold what its column should, with file and line.
        UsageError: a column or a level that the table does not have.
    """
    words = _words(table, asked)
    more: dict[str, Any] = {"name": table.name, "splits": _splits(table, asked), "groups": _groups(table, asked)}
    spans_column = _spans_column(table, asked)
    if spans_column is None and (asked.second is not None or asked.level == "pair"):
        return _of_text_pairs(table, asked, more)
    if words is None:
        text_column, label_column = pick_columns(table, asked.text, asked.label)
        texts: Sequence[str] = table.column(text_column)
    else:
        label_column = pick_label(table, asked.label, "tokens")
        texts = [" ".join(row) for row in words]
    label_column = needed(table, label_column)
    if spans_column is not None:
        return of_spans(table, asked, texts, words, spans_column, label_column, **more)
    if words is not None and asked.level in (None, "word"):
        return _of_words(table, asked, words, label_column, more)
    if asked.level == "word":
        raise UsageError(
            f"{table.name}: labelled words need a column tokens that holds lists of words; its columns are "
            f"{table.shown_columns}"
        )
    labels, kind = label_per_row(table, label_column, asked.kind)
    return ProbeData.of_texts(texts, labels, task=label_column, kind=kind, **more)


def _words(table: Table, asked: Asked) -> list[list[str]] | None:
    if "tokens" not in (asked.text, *(table.columns if asked.text is None else ())):
        return None
    if "tokens" not in table.columns:
        raise UsageError(f"{table.name} has no column tokens; its columns are {table.shown_columns}")
    found = []
    for line, cell in zip(table.lines, table.column("tokens"), strict=True):
        row = as_list(table, line, "tokens", cell)
        wrong = [word for word in row if not isinstance(word, str) or not word.strip()]
        if wrong:
            raise at(table, line, f"{wrong[0]!r:.40} among the tokens is no word; leave it out with its label")
        found.append(row)
    return found


def _of_words(table: Table, asked: Asked, words: list[list[str]], label_column: str, more: dict[str, Any]) -> ProbeData:
    """A list of labels for each list of words."""
    rows = []
    for line, own, cell in zip(table.lines, words, table.column(label_column), strict=True):
        hint = "; where a row has one label, say level='sentence' (--level sentence)"
        entries = as_list(table, line, label_column, cell, hint)
        if len(own) != len(entries):
            raise at(table, line, f"{len(own)} tokens but {len(entries)} entries of {label_column}")
        rows.append(entries)
    labels, kind = labels_per_row(table, label_column, asked.kind, rows)
    return ProbeData.of_words(words, labels, task=label_column, kind=kind, **more)


def _of_text_pairs(table: Table, asked: Asked, more: dict[str, Any]) -> ProbeData:
    if asked.level not in (None, "pair"):
        raise UsageError(
            f"{asked.second!r} was named as the second text of pairs, and level is {asked.level!r}; leave out one of "
            "the two"
        )
    usual = next((pair for pair in _PAIRS if set(pair) <= set(table.columns)), (None, None))
    first, second = asked.text or usual[0], asked.second or usual[1]
    if first is None or second is None or first == second or not {first, second} <= set(table.columns):
        raise UsageError(
            f"{table.name}: pairs are two columns of text, named with --text-column (text=) and --second-column "
            f"(second=), or pairs of spans in a column spans; the columns are {table.shown_columns}"
        )
    label_column = needed(table, pick_label(table, asked.label, first))
    labels, kind = label_per_row(table, label_column, asked.kind)
    return ProbeData.of_texts(
        table.column(first), labels, seconds=table.column(second), task=label_column, kind=kind, **more
    )


def _spans_column(table: Table, asked: Asked) -> str | None:
    if asked.level in ("word", "sentence") or asked.second is not None:
        if asked.spans is not None:
            other = f"level is {asked.level!r}" if asked.second is None else f"{asked.second!r} as the second text"
            raise UsageError(f"{asked.spans!r} was named as the column of spans, and {other}; leave out one of the two")
        return None
    column = named_column(table, asked.spans, "spans")
    if column is None and asked.level == "span":
        raise UsageError(
            f"{table.name} has no column spans; its columns are {table.shown_columns}; name one with "
            "--spans-column (spans=)"
        )
    return column


def _splits(table: Table, asked: Asked) -> tuple[Part, ...]:
    """What each row is for; none where no column says it. A column that was not named must use the usual words."""
    column = named_column(table, asked.split, "split")
    if column is None:
        return ()
    found = [_SPLITS.get(cell.strip().casefold()) for cell in table.column(column)]
    if asked.split is None and not any(found):
        return ()
    parts: list[Part] = []
    for line, cell, part in zip(table.lines, table.column(column), found, strict=True):
        if part is None:
            raise at(table, line, f"{column} holds {cell!r:.40}; a row is for train, validation or test")
        parts.append(part)
    return tuple(parts)


def _groups(table: Table, asked: Asked) -> tuple[str, ...]:
    column = named_column(table, asked.group, "group")
    return () if column is None else table.column(column)
