"""What a probe is trained and tested on: labelled words in sentences, or labelled texts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from interpret.errors import DataError, UsageError
from interpret.readers.conllu import read_conllu
from interpret.readers.conllu_tasks import DERIVED, read_derived
from interpret.readers.iob import IOB_SUFFIXES, read_iob2

if TYPE_CHECKING:
    import numpy.typing as npt

    from interpret.readers.tables import Table

    IntArray = npt.NDArray[np.int64]

Level = Literal["word", "sentence"]


@dataclass(frozen=True, kw_only=True)
class ProbeData:
    """Labelled words (`level="word"`) or labelled texts (`level="sentence"`).

    `texts` holds one string per sentence. At word level `sentences[i]` are its words and `labels[i]` their labels,
    None where a word has none: it is context, not an item. At sentence level `sentences` is empty and `labels[i]`
    has one entry. `name` is a file name, never a path; `task` is the label's name. `groups` gives identical
    sentences the same number.
    """

    level: Level
    texts: tuple[str, ...]
    labels: tuple[tuple[str | None, ...], ...]
    name: str
    task: str
    sentences: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.texts):
            raise UsageError(f"{self.name}: {len(self.texts)} sentences but labels for {len(self.labels)}")
        if self.level == "sentence":
            widths = [1] * len(self.texts)
        else:
            if len(self.sentences) != len(self.texts):
                raise UsageError(f"{self.name}: {len(self.texts)} texts but {len(self.sentences)} sentences")
            widths = [len(words) for words in self.sentences]
        for i, (width, labels) in enumerate(zip(widths, self.labels, strict=True)):
            if len(labels) != width:
                raise UsageError(f"{self.name}: sentence {i} has {width} items but {len(labels)} labels")

    @classmethod
    def of_words(
        cls,
        sentences: Iterable[Sequence[str]],
        labels: Iterable[Sequence[str | None]],
        *,
        name: str = "words",
        task: str = "label",
    ) -> ProbeData:
        """Word-level data from lists of words and equally long lists of labels."""
        words = tuple(tuple(sentence) for sentence in sentences)
        return cls(
            level="word",
            texts=tuple(" ".join(sentence) for sentence in words),
            labels=tuple(tuple(row) for row in labels),
            name=name,
            task=task,
            sentences=words,
        )

    @classmethod
    def of_texts(
        cls, texts: Iterable[str], labels: Iterable[str | None], *, name: str = "texts", task: str = "label"
    ) -> ProbeData:
        """Sentence-level data from texts and one label each."""
        return cls(
            level="sentence",
            texts=tuple(texts),
            labels=tuple((label,) for label in labels),
            name=name,
            task=task,
        )

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def n_items(self) -> int:
        """Labelled words, or labelled texts."""
        return sum(label is not None for row in self.labels for label in row)

    def take(self, indices: Iterable[int]) -> ProbeData:
        """The sentences at `indices`, in that order."""
        chosen = [int(i) for i in indices]
        return ProbeData(
            level=self.level,
            texts=tuple(self.texts[i] for i in chosen),
            labels=tuple(self.labels[i] for i in chosen),
            name=self.name,
            task=self.task,
            sentences=tuple(self.sentences[i] for i in chosen) if self.level == "word" else (),
        )

    def identity(self, index: int) -> tuple[str, ...]:
        """What makes two sentences the same: their words, or their text up to white space."""
        return self.sentences[index] if self.level == "word" else tuple(self.texts[index].split())


class Split(NamedTuple):
    """Sentence indices of one part each; identical sentences stand in the same part."""

    train: IntArray
    validation: IntArray
    test: IntArray


def split_sentences(data: ProbeData, shares: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int = 0) -> Split:
    """Shuffle groups of identical sentences and cut them by `shares` of sentences; indices come back ascending."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for i in range(len(data)):
        groups.setdefault(data.identity(i), []).append(i)
    members = list(groups.values())
    order = np.random.default_rng(seed).permutation(len(members))
    cuts = np.cumsum(np.asarray(shares) / sum(shares)) * len(data)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    placed = 0
    for index in order.tolist():
        # A group goes where its middle falls, so that one large group does not shift all the others.
        middle = placed + len(members[index]) / 2
        parts[min(int(np.searchsorted(cuts, middle)), 2)].extend(members[index])
        placed += len(members[index])
    return Split(*(np.sort(np.asarray(part, dtype=np.int64)) for part in parts))


def n_duplicates(data: ProbeData) -> int:
    """Sentences that repeat an earlier one."""
    return len(data) - len({data.identity(i) for i in range(len(data))})


def n_shared(train: ProbeData, test: ProbeData) -> int:
    """Sentences of `test` that also stand in `train`."""
    known = {train.identity(i) for i in range(len(train))}
    return sum(test.identity(i) in known for i in range(len(test)))


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
) -> ProbeData:
    """Read what a probe needs: `.conllu` and `.iob2` give labelled words, every other table labelled texts.

    A table whose text column is called `tokens` and holds lists (jsonl, parquet, `datasets`) gives labelled words
    too, its label column a list as long.

    Args:
        data: path of a `.conllu`, `.iob2` (or `.iob`, `.bio`), `.csv`, `.tsv`, `.jsonl` or `.parquet` file or
            of a saved `datasets` folder; a DataFrame, a `datasets.Dataset`, a list of dicts; or a
            `ProbeData`, which is returned as it is.
        label: CoNLL-U: `upos` (the default), `xpos`, `deprel`, `feats.Number` ..., or a label of sentences that the
            trees hold: `sentence_length`, `tree_depth`, `tense`, `subject_number`, `object_number`, `bigram_shift`,
            `word_content`; else the column with the label.
        text: the column with the text; guessed by name when None.
        header: whether the first line of a table names the columns.
        columns: the names of the columns of a table without header.
        skip_bad_rows: leave out broken rows of a table instead of stopping at the first.
        limit: at most so many sentences, evenly spaced over the data: a file's beginning is often of one kind.

        vocabulary: of `word_content`: the words to look for, those of the training file when a test file is read.

    Raises:
        DataError: a broken line, or a column that is not there; with file and line.
        UsageError: the label or a column cannot be found.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}; it must be at least 1")
    read = _read(data, label, text, header, columns, skip_bad_rows, vocabulary)
    if limit is None or len(read) <= limit:
        return read
    return read.take(np.linspace(0, len(read) - 1, limit).round().astype(np.int64).tolist())


def _read(
    data: Any,
    label: str | None,
    text: str | None,
    header: bool,
    columns: Sequence[str] | None,
    skip_bad_rows: bool,
    vocabulary: Sequence[str] | None,
) -> ProbeData:
    if isinstance(data, ProbeData):
        return data
    if isinstance(data, str | Path) and Path(data).suffix.lower() == ".conllu":
        task = label or "upos"
        if task in DERIVED:
            derived = read_derived(Path(data), task, vocabulary)
            texts, labels = [one.text for one in derived], [one.label for one in derived]
            return ProbeData.of_texts(texts, labels, name=Path(data).name, task=task)
        read = read_conllu(data, task)
        return ProbeData(
            level="word",
            texts=tuple(sentence.text for sentence in read),
            labels=tuple(sentence.labels for sentence in read),
            name=Path(data).name,
            task=task,
            sentences=tuple(sentence.words for sentence in read),
        )
    if isinstance(data, str | Path) and Path(data).suffix.lower() in IOB_SUFFIXES:
        words, tags = read_iob2(data)
        return ProbeData.of_words(words, tags, name=Path(data).name, task="tag" if label in (None, "label") else label)
    from interpret.readers.columns import pick_columns
    from interpret.readers.tables import read_table

    table = read_table(data, header=header, columns=columns, skip_bad_rows=skip_bad_rows)
    if "tokens" in (text, *(table.columns if text is None else ())):
        return _of_lists(table, label)
    text_column, label_column = pick_columns(table, text, label)
    if label_column is None:
        raise UsageError(
            f"{table.name}: a probe needs a label for each text; the columns are {', '.join(table.columns)}; "
            "name one with --label (label=)"
        )
    return ProbeData.of_texts(
        [row[text_column] for row in table.rows],
        [row[label_column] or None for row in table.rows],
        name=table.name,
        task=label_column,
    )


def _of_lists(table: Table, label: str | None) -> ProbeData:
    """Labelled words from a column `tokens` of lists and a column of equally long lists of labels."""
    if "tokens" not in table.columns or (label_column := label or "labels") not in table.columns:
        raise UsageError(
            f"{table.name}: words and their labels stand in lists in a column tokens and in one named with label=; "
            f"the columns are {', '.join(table.columns)}"
        )
    words, labels = [], []
    for line, row in zip(table.lines, table.rows, strict=True):
        lists = [_list(row[column], column, table, line) for column in ("tokens", label_column)]
        if len(lists[0]) != len(lists[1]):
            wrong = f"{len(lists[0])} tokens but {len(lists[1])} entries of {label_column}"
            raise DataError(f"{table.name}, row or line {line}: {wrong}")
        words.append([str(word) for word in lists[0]])
        labels.append([None if value is None else str(value) for value in lists[1]])
    return ProbeData.of_words(words, labels, name=table.name, task=label_column)


def _list(written: str, column: str, table: Table, line: int) -> list[Any]:
    try:
        value = json.loads(written)
    except ValueError:
        value = None
    if not isinstance(value, list):
        raise DataError(f"{table.name}, row or line {line}: {column} holds {written!r:.40}, which is no list")
    return value
