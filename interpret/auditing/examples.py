"""The rows of a table as examples of an audit: which were used, under which labels, and what is known of them."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from interpret.errors import UsageError
from interpret.readers.columns import pick_columns, pick_extra, pick_named
from interpret.readers.labels import map_labels
from interpret.readers.tables import Table
from interpret.results.audits import DataSummary, LabelMapping
from interpret.results.record import Message

if TYPE_CHECKING:
    from interpret.models.inputs import Encoded

IntArray = npt.NDArray[np.int64]

#: Values that a column of groups may have.
MAX_VALUES: Final = 20


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What is audited. `rows` are 0-based rows of the data; `gold` are class indices or None without labels.

    Of a treebank `texts` are the words joined with spaces, `words` the words and `tags` their labels. Of questions
    `texts` are the questions, `contexts` what they are asked of and `answers` the accepted answers. `references` are
    the texts that a model should write. `extra` are further columns by name, None where a row has no value.
    """

    name: str
    texts: tuple[str, ...]
    raw_labels: tuple[str, ...] | None
    gold: IntArray | None
    slices: tuple[str | None, ...] | None
    rows: tuple[int, ...]
    n_rows: int
    n_empty: int
    text_column: str
    label_column: str | None
    mapping: LabelMapping
    bad_rows: tuple[Message, ...]
    sampling_seed: int | None
    words: tuple[tuple[str, ...], ...] | None = None
    tags: tuple[tuple[str | None, ...], ...] | None = None
    contexts: tuple[str, ...] | None = None
    answers: tuple[tuple[str, ...], ...] | None = None
    references: tuple[str, ...] | None = None
    extra: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    #: Every text of the file, those left out by sampling among them; in memory only.
    every_text: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, numbers: Sequence[int]) -> Examples:
        """The examples with these numbers, in this order."""
        of_each = ("texts", "raw_labels", "slices", "rows", "words", "tags", "contexts", "answers", "references")
        changed: dict[str, Any] = {}
        for name in of_each:
            values = getattr(self, name)
            changed[name] = None if values is None else tuple(values[i] for i in numbers)
        changed["extra"] = {name: tuple(values[i] for i in numbers) for name, values in self.extra.items()}
        changed["gold"] = None if self.gold is None else self.gold[list(numbers)]
        return replace(self, **changed)


def select_examples(
    table: Table,
    *,
    id2label: Mapping[int, str] | None,
    text: str | None = None,
    label: str | None = None,
    label_map: str | Mapping[str, object] | None = None,
    slices: str | None = None,
    extra: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
) -> Examples:
    """Choose columns, map labels, leave out empty texts (counted) and, over `limit`, draw a seeded sample.

    Args:
        table: what a reader returned.
        id2label: the model's classes; None when the task has none, then labels are not read.
        text: text column; None guesses by name.
        label: label column; None guesses by name.
        label_map: "0=negative,1=positive" where names and ids do not decide.
        slices: slice column; None takes a column called `slice` if there is one.
        extra: further columns, of a few values each.
        limit: at most so many examples.
        seed: of the sample.

    Raises:
        UsageError: a column that is not there, or no usable row.
        LabelError: labels that cannot be matched without guessing.
    """
    text_column, label_column = pick_columns(table, text, label)
    if id2label is None:
        label_column = None
    slice_column = pick_extra(table, slices, "slice")
    kept = [i for i, row in enumerate(table.rows) if row[text_column].strip()]
    if not kept:
        raise UsageError(f"{table.name} has no row with a text in column {text_column!r}: nothing to audit")
    n_empty = len(table.rows) - len(kept)
    mapping = LabelMapping(rule="none", pairs={}, names={})
    raw: tuple[str, ...] | None = None
    gold: IntArray | None = None
    if label_column is not None and id2label is not None:
        # The mapping is settled on every label of the file, so that a sample cannot change what a label means.
        everything = [row[label_column] for row in table.rows]
        mapping = map_labels(everything, id2label, label_map, lines=table.lines)
        raw = tuple(table.rows[i][label_column] for i in kept)
        gold = np.array([mapping.pairs[name] for name in raw], dtype=np.int64)
    examples = Examples(
        name=table.name,
        texts=tuple(table.rows[i][text_column] for i in kept),
        raw_labels=raw,
        gold=gold,
        slices=None if slice_column is None else tuple(table.rows[i].get(slice_column) or None for i in kept),
        rows=tuple(kept),
        n_rows=len(table.rows),
        n_empty=n_empty,
        text_column=text_column,
        label_column=label_column,
        mapping=mapping,
        bad_rows=tuple(
            Message(code="data.bad_row", params={"line": bad.line, "why": bad.why}) for bad in table.bad_rows
        ),
        sampling_seed=None,
        extra={name: _few_values(table, pick_named(table, name), kept, text_column) for name in extra},
        every_text=tuple(row[text_column] for row in table.rows),
    )
    return sample_examples(examples, limit, seed)


def _few_values(table: Table, column: str, kept: Sequence[int], text_column: str) -> tuple[str | None, ...]:
    """A column of groups: as many values as can be told apart, and never a text or a number of its own in each row.

    Its values are names of groups, which an audit keeps also where it keeps no texts.
    """
    same = sum(table.rows[i].get(column, "").strip() == table.rows[i][text_column].strip() for i in kept)
    if 2 * same > len(kept):
        raise UsageError(
            f"column {column!r} of {table.name} holds the audited texts themselves and no groups; name a column "
            "such as gender"
        )
    values = column_values(table, column, kept)
    different = {value for value in values if value is not None}
    if not 2 <= len(different) <= MAX_VALUES:
        raise UsageError(
            f"column {column!r} of {table.name} has {len(different)} different values; one that is probed needs "
            f"between 2 and {MAX_VALUES}, so put them into groups"
        )
    return values


def column_values(table: Table, column: str, rows: Sequence[int]) -> tuple[str | None, ...]:
    """What a column of groups holds in these rows; None where a row has no value."""
    return tuple(table.rows[i].get(column, "").strip() or None for i in rows)


def sample_examples(examples: Examples, limit: int | None, seed: int) -> Examples:
    """A seeded sample of at most `limit` examples, in their order; all of them where that is not fewer."""
    if limit is None or limit >= len(examples):
        return examples
    rng = np.random.default_rng([seed, 3])
    drawn = sorted(rng.choice(len(examples), size=limit, replace=False).tolist())
    return replace(examples.take(drawn), sampling_seed=seed)


def script_of(character: str) -> str:
    """Coarse script of a letter, from the first word of its Unicode name (LATIN, CJK, CYRILLIC ...)."""
    return unicodedata.name(character, "OTHER").split(" ")[0].split("-")[0].lower()


def _parts(examples: Examples, i: int) -> tuple[str, ...]:
    """Everything that one example consists of; what is read at even places, what is right at odd ones."""
    parts = [examples.texts[i], examples.raw_labels[i] if examples.raw_labels is not None else ""]
    if examples.words is not None and examples.tags is not None:
        parts = ["\t".join(examples.words[i]), "\t".join(tag or "" for tag in examples.tags[i])]
    if examples.references is not None:
        parts[1] = examples.references[i]
    if examples.contexts is not None and examples.answers is not None:
        parts += [examples.contexts[i], "\n".join(examples.answers[i])]
    return tuple(parts)


def _labels(examples: Examples) -> list[str]:
    if examples.tags is not None:
        return [tag for tags in examples.tags for tag in tags if tag is not None]
    return list(examples.raw_labels or ())


def content_sha256(examples: Examples) -> str:
    """The digest of the rows that are used, in order: texts, labels, slices, and the columns that were named."""
    return rows_sha256((_parts(examples, i) for i in range(len(examples))), examples.extra)


def rows_sha256(rows: Iterable[Sequence[str]], columns: Mapping[str, Sequence[str | None]]) -> str:
    """SHA-256 over what each row consists of, then over the columns of groups that were named, in any order.

    Without such columns it is over the rows alone.
    """
    digest = hashlib.sha256()

    def add(part: str) -> None:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little") + raw)

    for parts in rows:
        for part in parts:
            add(part)
    for name, values in sorted(columns.items()):
        # No part is as long as this says, so that a column cannot pass for further rows.
        digest.update(b"\xff" * 8)
        add(name)
        for value in values:
            # A value that is there is never empty.
            add(value or "")
    return digest.hexdigest()


def summarise(examples: Examples, encoded: Sequence[Encoded]) -> DataSummary:
    """The facts of the report's data section, computed from the rows that were used."""
    lengths = np.array([len(e.ids) for e in encoded])
    quantiles = np.percentile(lengths, [5, 50, 95, 100], method="nearest").astype(int).tolist()
    letters = Counter(script_of(c) for text in examples.texts for c in text if c.isalpha())
    total = sum(letters.values()) or 1
    return DataSummary(
        name=examples.name,
        sha256=content_sha256(examples),
        n_rows=examples.n_rows,
        n_used=len(examples),
        sampled=examples.sampling_seed is not None,
        sampling_seed=examples.sampling_seed,
        text_column=examples.text_column,
        label_column=examples.label_column,
        mapping=examples.mapping,
        label_counts=dict(sorted(Counter(_labels(examples)).items())),
        slice_counts=dict(sorted(Counter(s for s in examples.slices or () if s).items())),
        n_truncated=sum(e.n_truncated > 0 for e in encoded),
        n_empty=examples.n_empty,
        n_duplicates=len(examples) - len({_parts(examples, i)[0::2] for i in range(len(examples))}),
        bad_rows=examples.bad_rows,
        length_quantiles=dict(zip(("p5", "p50", "p95", "max"), quantiles, strict=True)),
        scripts={name: round(count / total, 4) for name, count in letters.most_common(5)},
    )
