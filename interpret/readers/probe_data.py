"""What a probe is trained and tested on: labelled words, texts, spans and pairs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np

from interpret.errors import UsageError
from interpret.readers.conllu import read_conllu
from interpret.readers.conllu_tasks import DERIVED, read_derived
from interpret.readers.iob import IOB_SUFFIXES, read_iob2

Level = Literal["word", "sentence", "span", "pair"]
Kind = Literal["class", "multilabel", "regression"]
#: Which rows of one table are for what.
Part = Literal["train", "validation", "test"]
#: [start, end) in characters of a text.
Span = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ProbeData:
    """Labelled words, texts, spans of texts, or pairs of spans or of texts, by `level`.

    `texts` holds one string per sentence, `labels[i]` the labels of its items as they are written; None where an item
    has none: it is context. By level:

    - "word": `sentences[i]` are the words, and there is a label for each.
    - "sentence": one label per text.
    - "span": `spans[i]` are ((start, end),), one per label, in characters of `texts[i]`.
    - "pair": `spans[i]` are two spans per label; or `seconds[i]` is the second text of a pair that has one label.

    By `kind` a label is the name of a class, a JSON list of the labels that hold ("multilabel", `label_set`), or a
    number ("regression", `label_number`). `name` is a file name, never a path; `task` is the label's name. `groups`
    names what a sentence comes from, as a document or a speaker; empty names are no group. `splits` says what each
    sentence is for.
    """

    level: Level
    texts: tuple[str, ...]
    labels: tuple[tuple[str | None, ...], ...]
    name: str
    task: str
    sentences: tuple[tuple[str, ...], ...] = ()
    kind: Kind = "class"
    spans: tuple[tuple[tuple[Span, ...], ...], ...] = ()
    seconds: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    splits: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.texts):
            raise UsageError(f"{self.name}: {len(self.texts)} sentences but labels for {len(self.labels)}")
        if self.level == "word" and len(self.sentences) != len(self.texts):
            raise UsageError(f"{self.name}: {len(self.texts)} texts but {len(self.sentences)} sentences")
        if self.level == "pair" and not self.spans and not self.seconds and self.texts:
            raise UsageError(f"{self.name}: a pair is two spans or two texts, and neither spans nor seconds are there")
        for name in _PER_SENTENCE:
            given = len(getattr(self, name))
            if given not in (0, len(self.texts)):
                raise UsageError(f"{self.name}: {len(self.texts)} texts but {given} {name}")
        widths = [len(self._items(i)) for i in range(len(self.texts))]
        for i, (width, labels) in enumerate(zip(widths, self.labels, strict=True)):
            if len(labels) != width:
                raise UsageError(f"{self.name}: sentence {i} has {width} items but {len(labels)} labels")
        n_spans = 1 if self.level == "span" else 2
        for i, row in enumerate(self.spans):
            if any(len(item) != n_spans for item in row):
                raise UsageError(f"{self.name}: at level {self.level} an item of sentence {i} has not {n_spans} spans")
            for start, end in (span for item in row for span in item):
                if not (0 <= start < end <= len(self.texts[i]) and self.texts[i][start:end].strip()):
                    raise UsageError(
                        f"{self.name}: the span [{start}, {end}) of sentence {i} holds nothing of its "
                        f"{len(self.texts[i])} characters"
                    )

    def _items(self, index: int) -> Sequence[Any]:
        if self.level == "word":
            return self.sentences[index]
        return self.spans[index] if self.spans else (None,)

    @classmethod
    def of_words(
        cls,
        sentences: Iterable[Sequence[str]],
        labels: Iterable[Sequence[str | None]],
        *,
        name: str = "words",
        task: str = "label",
        **more: Any,
    ) -> ProbeData:
        """Word-level data from lists of words and equally long lists of labels; `more` are other fields."""
        words = tuple(tuple(sentence) for sentence in sentences)
        return cls(
            level="word",
            texts=tuple(" ".join(sentence) for sentence in words),
            labels=tuple(tuple(row) for row in labels),
            name=name,
            task=task,
            sentences=words,
            **more,
        )

    @classmethod
    def of_texts(
        cls,
        texts: Iterable[str],
        labels: Iterable[str | None],
        *,
        name: str = "texts",
        task: str = "label",
        seconds: Iterable[str] | None = None,
        **more: Any,
    ) -> ProbeData:
        """Sentence-level data from texts and one label each; with `seconds`, pairs of texts."""
        return cls(
            level="sentence" if seconds is None else "pair",
            texts=tuple(texts),
            labels=tuple((label,) for label in labels),
            name=name,
            task=task,
            seconds=() if seconds is None else tuple(seconds),
            **more,
        )

    @classmethod
    def of_spans(
        cls,
        texts: Iterable[str],
        spans: Iterable[Iterable[Sequence[Any]]],
        labels: Iterable[Sequence[str | None]],
        *,
        name: str = "spans",
        task: str = "label",
        **more: Any,
    ) -> ProbeData:
        """Spans [start, end) in characters of each text, or pairs of spans, and equally long lists of labels."""
        rows = tuple(tuple(_as_spans(item) for item in row) for row in spans)
        pairs = any(len(item) == 2 for row in rows for item in row)
        return cls(
            level="pair" if pairs else "span",
            texts=tuple(texts),
            labels=tuple(tuple(row) for row in labels),
            name=name,
            task=task,
            spans=rows,
            **more,
        )

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def n_items(self) -> int:
        """Items with a label."""
        return sum(label is not None for row in self.labels for label in row)

    @property
    def has_forms(self) -> bool:
        """Whether items are words or spans, whose forms come up again; not where whole texts are labelled."""
        return self.level == "word" or bool(self.spans)

    def form(self, sentence: int, place: int) -> str:
        """What is written at an item: its words; of a pair of spans the words of both, by line; empty for texts."""
        if self.level == "word":
            return self.sentences[sentence][place]
        if not self.spans:
            return ""
        return "\n".join(" ".join(self.texts[sentence][a:b].split()) for a, b in self.spans[sentence][place])

    def take(self, indices: Iterable[int]) -> ProbeData:
        """The sentences at `indices`, in that order."""
        chosen = [int(i) for i in indices]
        held: dict[str, Any] = {}
        for name in ("texts", "labels", *_PER_SENTENCE):
            of = getattr(self, name)
            held[name] = tuple(of[i] for i in chosen) if of else ()
        return replace(self, **held)

    @classmethod
    def joined(cls, parts: Sequence[ProbeData]) -> ProbeData:
        """The sentences of all parts, under the name of the first.

        Raises:
            UsageError: parts of two levels or kinds.
        """
        first = parts[0]
        for part in parts:
            if (part.level, part.kind) != (first.level, first.kind):
                raise UsageError(
                    f"{first.name} holds {first.kind} labels of each {first.level} and {part.name} {part.kind} labels "
                    f"of each {part.level}; bring data of one level and one kind"
                )
        held: dict[str, Any] = {}
        for name in ("texts", "labels", *_PER_SENTENCE):
            rows = [getattr(part, name) for part in parts]
            if name in ("groups", "splits") and any(rows):
                # One of two files may name no groups; its sentences then are in none.
                rows = [
                    row or ("" if name == "groups" else "train",) * len(part)
                    for row, part in zip(rows, parts, strict=True)
                ]
            held[name] = tuple(one for row in rows for one in row)
        return replace(first, **held)

    def identity(self, index: int) -> tuple[str, ...]:
        """What makes two sentences the same: their words, or their text up to white space."""
        if self.level == "word":
            return self.sentences[index]
        words = tuple(self.texts[index].split())
        return (*words, "\n", *self.seconds[index].split()) if self.seconds else words


#: Fields with one entry per sentence, or none at all.
_PER_SENTENCE: Final = ("sentences", "spans", "seconds", "groups", "splits")


def _as_spans(item: Sequence[Any]) -> tuple[Span, ...]:
    """(start, end) as one span, ((start, end), (start, end)) as two."""
    if item and not hasattr(item[0], "__len__"):
        item = [item]
    return tuple((int(start), int(end)) for start, end in item)


def label_set(written: str) -> frozenset[str]:
    """The labels that hold, of a label of kind "multilabel"."""
    try:
        found = json.loads(written)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise UsageError(f"a label of several is written as a JSON list of names, not {written!r:.40}")
    return frozenset(map(str, found))


def label_number(written: str) -> float:
    """The number, of a label of kind "regression"."""
    try:
        # Python reads 1_000; nobody writes measurements so.
        value = float("nan" if "_" in written else written)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"a label to be predicted as a number is {written!r:.40}, which is no finite number")
    return value


def limited(data: ProbeData, limit: int | None) -> ProbeData:
    """At most `limit` sentences, evenly spaced over the data: a file's beginning is often of one kind."""
    if limit is None or len(data) <= limit:
        return data
    if limit < 1:
        raise UsageError(f"limit is {limit}; it must be at least 1")
    return data.take(np.linspace(0, len(data) - 1, limit).round().astype(np.int64).tolist())


def read_probe_data(
    data: Any,
    label: str | None = None,
    text: str | None = None,
    *,
    header: bool = True,
    columns: Sequence[str] | None = None,
    skip_bad_rows: bool = False,
    limit: int | None = None,
    vocabulary: Sequence[str] | None = None,
    level: Level | None = None,
    kind: Kind | None = None,
    spans: str | None = None,
    second: str | None = None,
    split: str | None = None,
    group: str | None = None,
) -> ProbeData:
    """Read what a probe needs: `.conllu` and `.iob2` give labelled words, tables what their columns say.

    A table whose text column is called `tokens` and holds lists gives labelled words, its label column a list as long.
    A column `spans` makes the items spans, or pairs of spans: [start, end) in characters of the text, of a table with
    `tokens` in words, the end excluded. A row holds one span and one label, a list of spans and a list of labels, one
    pair of spans and one label, or a list of pairs and of labels. In csv and tsv lists are written as JSON.

    Args:
        data: path of a `.conllu`, `.iob2` (or `.iob`, `.bio`), `.csv`, `.tsv`, `.jsonl` or `.parquet` file or
            of a saved `datasets` folder, whose splits are taken where it has several; a DataFrame, a
            `datasets.Dataset`, a list of dicts; or a `ProbeData`, which is returned as it is.
        label: CoNLL-U: `upos` (the default), `xpos`, `deprel`, `feats.Number` ..., or a label of sentences that the
            trees hold: `sentence_length`, `tree_depth`, `tense`, `subject_number`, `object_number`, `bigram_shift`,
            `word_content`; else the column with the label.
        text: the column with the text; guessed by name when None.
        header: whether the first line of a table names the columns.
        columns: the names of the columns of a table without header.
        skip_bad_rows: leave out broken rows of a table instead of stopping at the first.
        limit: at most so many sentences, evenly spaced over the data: a file's beginning is often of one kind.
        vocabulary: of `word_content`: the words to look for, those of the training file when a test file is read.
        level: "word", "sentence", "span" or "pair"; None goes by the columns.
        kind: "class", "multilabel" (labels are lists) or "regression" (labels are numbers). None takes lists for
            "multilabel" and everything else, numbers too, for classes.
        spans: the column with the spans; None takes one called `spans`.
        second: the column with the second texts of pairs.
        split: the column that says what a row is for: train, validation or test; None takes one called `split`.
        group: the column with what a row comes from; None takes one called `group`. A group stays together in splits,
            and intervals resample groups.

    Raises:
        DataError: a broken line, or a column that is not there; with file and line.
        UsageError: the label or a column cannot be found, or the data has another level.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}; it must be at least 1")
    if isinstance(data, ProbeData):
        return limited(data, limit)
    for name, value, known in (("level", level, Level), ("kind", kind, Kind)):
        if value is not None and value not in get_args(known):
            raise UsageError(f"{name} is {value!r}; it is one of {', '.join(get_args(known))}")
    path = Path(data) if isinstance(data, str | Path) else None
    suffix = "" if path is None else path.suffix.lower()
    if path is not None and suffix in (".conllu", *IOB_SUFFIXES):
        read = _treebank(path, label, vocabulary) if suffix == ".conllu" else _tagged(path, label)
        named = [n for n, v in (("spans", spans), ("second", second), ("split", split), ("group", group)) if v]
        if named:
            raise UsageError(f"{path.name} has no columns to name; {named[0]}= is for tables")
        if level not in (None, read.level) or kind not in (None, "class"):
            raise UsageError(
                f"the label {read.task} of {path.name} is the class of a {read.level}, and asked was for "
                f"level={level!r}, kind={kind!r}; leave them out"
            )
        return limited(read, limit)
    from interpret.readers.probe_cells import Asked
    from interpret.readers.probe_tables import read_labelled, saved_splits
    from interpret.readers.tables import read_table

    asked = Asked(label, text, level, kind, spans, second, split, group)
    parts = [] if path is None else saved_splits(path)
    if path is not None and parts:
        tables = [read_table(path / name, skip_bad_rows=skip_bad_rows) for name, _ in parts]
        whole = [
            replace(read_labelled(table, asked), splits=(part,) * len(table))
            for table, (_, part) in zip(tables, parts, strict=True)
        ]
        return limited(replace(ProbeData.joined(whole), name=path.name), limit)
    table = read_table(data, header=header, columns=columns, skip_bad_rows=skip_bad_rows)
    return limited(read_labelled(table, asked), limit)


def _treebank(path: Path, label: str | None, vocabulary: Sequence[str] | None) -> ProbeData:
    task = label or "upos"
    if task in DERIVED:
        derived = read_derived(path, task, vocabulary)
        texts, labels = [one.text for one in derived], [one.label for one in derived]
        return ProbeData.of_texts(texts, labels, name=path.name, task=task)
    read = read_conllu(path, task)
    return ProbeData(
        level="word",
        texts=tuple(sentence.text for sentence in read),
        labels=tuple(sentence.labels for sentence in read),
        name=path.name,
        task=task,
        sentences=tuple(sentence.words for sentence in read),
    )


def _tagged(path: Path, label: str | None) -> ProbeData:
    words, tags = read_iob2(path)
    return ProbeData.of_words(words, tags, name=path.name, task="tag" if label in (None, "label") else label)
