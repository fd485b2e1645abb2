"""Data of every task as examples: rows of a table, sentences of a treebank, questions about contexts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from interpret.analyzers.target import class_names
from interpret.auditing.examples import Examples, select_examples
from interpret.errors import DataError, UsageError
from interpret.models.handle import Handle
from interpret.readers.columns import pick_columns
from interpret.readers.conllu import read_conllu
from interpret.readers.labels import map_labels
from interpret.readers.squad import Question, read_squad
from interpret.readers.tables import Table, read_table
from interpret.results.audits import LabelMapping

_NONE = LabelMapping(rule="none", pairs={}, names={})
#: Columns of a table of questions; there is one answer in a row.
_ASKED = ("question", "context", "answer")


def read_examples(
    handle: Handle,
    data: Any,
    *,
    text: str | None,
    label: str | None,
    label_map: str | Mapping[str, object] | None,
    slices: str | None,
    extra: Sequence[str] = (),
    **reading: Any,
) -> Examples:
    """The examples that a model of this task is audited on; `reading` are options of `read_table`.

    Raises:
        UsageError: data of another kind than the task wants, or a column that is not there.
    """
    if extra and handle.task not in ("text-classification", "causal-lm", "masked-lm"):
        raise UsageError(
            f"whether a column ({extra[0]!r}) is known and used is measured for text-classification, causal-lm and "
            f"masked-lm models; {handle.name} is a {handle.task} model"
        )
    suffix = Path(data).suffix.lower() if isinstance(data, str | Path) else ""
    if handle.task == "token-classification":
        if suffix != ".conllu":
            raise UsageError(
                f"{handle.name} gives every word a class, so it is audited on a treebank, a .conllu file; "
                f"found {_shown(data)}"
            )
        return _tagged(handle, Path(data), label or "upos", label_map)
    if suffix == ".conllu":
        raise UsageError(
            f"{_shown(data)} labels every word, and {handle.name} is a {handle.task} model; give a table of texts, or "
            "a model for token-classification"
        )
    if handle.task == "question-answering":
        questions, n_rows, name = _questions(data, suffix, reading)
        return _asked(questions, n_rows, name)
    table = read_table(data, **reading)
    if handle.task == "seq2seq-lm":
        return _referenced(table, text, label, slices)
    id2label = dict(enumerate(handle.labels)) if handle.task == "text-classification" else None
    return select_examples(
        table, id2label=id2label, text=text, label=label, label_map=label_map, slices=slices, extra=extra
    )


def _shown(data: Any) -> str:
    return Path(data).name if isinstance(data, str | Path) else f"data of type {type(data).__name__}"


def _plain(name: str, texts: tuple[str, ...], **fields: Any) -> Examples:
    whole: dict[str, Any] = {
        "raw_labels": None,
        "gold": None,
        "slices": None,
        "rows": tuple(range(len(texts))),
        "n_rows": len(texts),
        "n_empty": 0,
        "text_column": "text",
        "label_column": None,
        "mapping": _NONE,
        "bad_rows": (),
        "sampling_seed": None,
    }
    return Examples(name=name, texts=texts, **{**whole, **fields})


def _tagged(handle: Handle, path: Path, label: str, label_map: str | Mapping[str, object] | None) -> Examples:
    sentences = read_conllu(path, label)
    tags = [tag for sentence in sentences for tag in sentence.labels if tag is not None]
    mapping = map_labels(tags, dict(enumerate(class_names(handle))), label_map)
    return _plain(
        path.name,
        tuple(" ".join(sentence.words) for sentence in sentences),
        text_column="form",
        label_column=label,
        mapping=mapping,
        words=tuple(sentence.words for sentence in sentences),
        tags=tuple(sentence.labels for sentence in sentences),
    )


def _questions(data: Any, suffix: str, reading: Mapping[str, Any]) -> tuple[list[Question], int, str]:
    if suffix == ".json":
        found = read_squad(data)
        return found, len(found), Path(data).name
    table = read_table(data, **reading)
    missing = [name for name in _ASKED if name not in table.columns]
    if missing:
        raise UsageError(
            f"{table.name} has no column {missing[0]!r}; questions are read from .json in the format of SQuAD, or from "
            f"a table with the columns {', '.join(_ASKED)}"
        )
    rows = [Question(str(i), r["question"], r["context"], (r["answer"],)) for i, r in enumerate(table.rows)]
    for question, line in zip(rows, table.lines, strict=True):
        if not all(part.strip() for part in (question.question, question.context, *question.answers)):
            raise DataError(f"{table.name}, row {line}: an empty question, context or answer; leave the row out")
    return rows, len(table.rows), table.name


def _asked(questions: list[Question], n_rows: int, name: str) -> Examples:
    return _plain(
        name,
        tuple(question.question for question in questions),
        n_rows=n_rows,
        text_column="question",
        label_column="answer",
        contexts=tuple(question.context for question in questions),
        answers=tuple(question.answers for question in questions),
    )


def _referenced(table: Table, text: str | None, label: str | None, slices: str | None) -> Examples:
    """Texts with what should be written, in the label column; without one nothing is scored."""
    examples = select_examples(table, id2label=None, text=text, label=None, slices=slices)
    _, column = pick_columns(table, text, label)
    if column is None:
        return examples
    kept = [i for i, row in enumerate(examples.rows) if table.rows[row][column].strip()]
    if not kept:
        raise UsageError(f"{table.name} has no text in column {column!r}, which should hold what is to be written")
    chosen = examples.take(kept)
    n_empty = examples.n_empty + len(examples) - len(kept)
    references = tuple(table.rows[row][column] for row in chosen.rows)
    return replace(chosen, references=references, label_column=column, n_empty=n_empty)
