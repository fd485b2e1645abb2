"""Spans of texts and pairs of them, as a column of a table holds them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from interpret.readers.probe_cells import Asked, as_list, at, json_list, labels_per_row
from interpret.readers.probe_data import Level, ProbeData, Span
from interpret.readers.tables import Table


class _Cell(NamedTuple):
    """The items of one row, each of one or two spans; `single` where the row wrote one item and one label."""

    items: list[tuple[Span, ...]]
    single: bool


def of_spans(
    table: Table,
    asked: Asked,
    texts: Sequence[str],
    words: Sequence[Sequence[str]] | None,
    column: str,
    label_column: str,
    **more: Any,
) -> ProbeData:
    """Labelled spans, or pairs of spans, in characters of `texts`; where there are `words` they are counted in those.

    Raises:
        DataError: what is no span, one that lies outside, or not as many labels as spans; with file and line.
    """
    items: list[tuple[tuple[Span, ...], ...]] = []
    entries: list[list[Any]] = []
    level = asked.level
    for number, (line, text) in enumerate(zip(table.lines, texts, strict=True)):
        row = table.rows[number]
        labels = json_list(row[label_column])
        cell = _cell(table, line, column, as_list(table, line, column, row[column]), labels, level)
        for item in cell.items:
            found: Level = "pair" if len(item) == 2 else "span"
            if level not in (None, found):
                raise at(table, line, f"{column} holds a {found} where level is {level!r}; bring items of one level")
            level = found
        if words is not None:
            chars = [tuple(_in_characters(table, line, span, words[number]) for span in item) for item in cell.items]
        else:
            chars = cell.items
        for start, end in (span for item in chars for span in item):
            if not (0 <= start < end <= len(text) and text[start:end].strip()):
                wrong = f"the span [{start}, {end}) of {column} holds nothing of the {len(text)} characters of the text"
                raise at(table, line, wrong)
        if cell.single:
            values = [row[label_column] or None if labels is None else labels]
        else:
            values = as_list(table, line, label_column, row[label_column])
        if len(values) != len(chars):
            raise at(table, line, f"{len(chars)} entries of {column} but {len(values)} of {label_column}")
        items.append(tuple(chars))
        entries.append(values)
    found_labels, kind = labels_per_row(table, label_column, asked.kind, entries)
    return ProbeData(
        level=level or "span",
        texts=tuple(texts),
        labels=tuple(map(tuple, found_labels)),
        task=label_column,
        spans=tuple(items),
        kind=kind,
        **more,
    )


def _cell(
    table: Table, line: int, column: str, value: list[Any], labels: list[Any] | None, level: Level | None
) -> _Cell:
    """Which items a cell holds: how deep its lists go says it, and between two readings the level or the label."""
    depth = _depth(value)
    if depth == 1 and value:
        return _Cell([(_span(table, line, column, value),)], single=True)
    if depth == 2:
        spans = [_span(table, line, column, one) for one in value]
        if level == "pair" or (level is None and labels is None and len(spans) == 2):
            if len(spans) != 2:
                raise at(table, line, f"{column} holds {len(spans)} spans, and a pair is two")
            return _Cell([tuple(spans)], single=True)
        return _Cell([(one,) for one in spans], single=False)
    if depth == 3:
        pairs = [tuple(_span(table, line, column, one) for one in pair) for pair in value if isinstance(pair, list)]
        if len(pairs) != len(value) or any(len(pair) != 2 for pair in pairs):
            raise at(table, line, f"{column} holds lists of spans that are no pairs")
        return _Cell(pairs, single=False)
    if not value:
        return _Cell([], single=False)
    raise at(table, line, f"{column} holds {json.dumps(value):.60}; a span is [start, end)")


def _depth(value: Any) -> int:
    return 1 + _depth(value[0]) if isinstance(value, list) and value else 0


def _span(table: Table, line: int, column: str, value: Any) -> Span:
    # Numbers of jsonl stay as they are written.
    if isinstance(value, list) and len(value) == 2 and all(str(one).isdecimal() for one in value):
        return int(value[0]), int(value[1])
    raise at(table, line, f"{column} holds {value!r:.40} where a span should be; a span is [start, end)")


def _in_characters(table: Table, line: int, span: Span, words: Sequence[str]) -> Span:
    """[start, end) in words as characters of the words joined by spaces."""
    start, end = span
    if not 0 <= start < end <= len(words):
        raise at(table, line, f"the span [{start}, {end}) does not lie in the {len(words)} words of tokens")
    starts = [0, *accumulate(len(word) + 1 for word in words)]
    return starts[start], starts[end] - 1
