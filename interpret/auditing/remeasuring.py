"""A saved audit held against its model and data: whether model, rows, answers and scores are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from interpret.analyzers.attribution import METHODS, attribute
from interpret.auditing.answers import digests_of
from interpret.auditing.config import concept_columns
from interpret.auditing.examples import column_values, rows_sha256
from interpret.auditing.identity import fingerprint
from interpret.errors import UsageError
from interpret.models.batching import Row, logits
from interpret.models.handle import Handle
from interpret.models.inputs import encode
from interpret.readers.tables import Table
from interpret.results.audits import Audit, Case
from interpret.results.examples import Answers
from interpret.results.record import Message
from interpret.results.verification import Deviation, Finding, FindingStatus, Part
from interpret.statistics.intervals import softmax

#: Probabilities may differ this much on another machine, or with another number of threads, by run dtype.
TOLERANCE: Final = {"float64": 1e-4, "float32": 1e-4, "float16": 2e-2, "bfloat16": 2e-2}
#: Scores add up many outputs: relative to the largest score of the example, so many times the tolerance.
SCORES: Final = 10.0


@dataclass
class _Found:
    findings: list[Finding] = field(default_factory=list)
    deviations: list[Deviation] = field(default_factory=list)

    def add(self, part: Part, status: FindingStatus, code: str, subject: str | None = None, **params: Any) -> None:
        why = Message(code=f"verify.{code}", params=params)
        self.findings.append(Finding(part=part, subject=subject, status=status, why=why))


def measure_again(
    handle: Handle, table: Table, audit: Audit, *, sample: int = 50, seed: int = 0
) -> tuple[tuple[Finding, ...], tuple[Deviation, ...]]:
    """Compare the model's digests, texts and labels of every row, named columns, answers of a sample, scores of cases.

    Args:
        handle: the model that is said to have been audited; it is left as it was.
        table: the data that it is said to have been audited on, read as it was then.
        audit: the saved audit.
        sample: at most so many rows are answered again, and so many of the cases explained again.
        seed: of both samples.

    Raises:
        UsageError: a sample of less than 1, an audit without answers to single examples, or data without its columns.
    """
    answers = audit.examples
    if sample < 1:
        raise UsageError(f"sample is {sample}; give the number of rows to measure again, at least 1")
    if answers is None:
        raise UsageError(
            f"the audit ({audit.title}) holds no answers to single examples, because its task ({audit.identity.task}) "
            "gives texts no class or it was saved by an older version; there is nothing to hold the model against"
        )
    column = audit.data.text_column
    if column not in table.columns:
        raise UsageError(
            f"the audit read its texts from the column {column!r}, and {table.name} has {table.shown_columns}; "
            "give the data that was audited, read in the same way (--no-header, --columns, as in the audit's command)"
        )
    found = _Found()
    _model(found, handle, audit)
    there = _texts(found, table, audit, answers)
    _columns(found, table, audit, answers)
    if handle.task != audit.identity.task:
        # Outputs of another kind cannot be laid beside the saved ones.
        found.add("model", "differs", "other_task", "task", saved=audit.identity.task, again=handle.task)
    elif there.any():
        rng = np.random.default_rng([seed, 220])
        drawn = np.sort(rng.permutation(np.flatnonzero(there))[:sample])
        _predictions(found, handle, table, audit, answers, drawn.tolist())
        rows = set(answers.rows[there].tolist())
        cases = [case for case in audit.cases if case.row in rows]
        chosen = np.sort(rng.permutation(len(cases))[:sample])
        _scores(found, handle, table, audit, [cases[i] for i in chosen.tolist()])
    return tuple(found.findings), tuple(found.deviations)


def _model(found: _Found, handle: Handle, audit: Audit) -> None:
    now, then = fingerprint(handle), audit.identity
    for name, digest, saved in (
        ("weights", now.weights, then.weights_sha256_before),
        ("config", now.config, then.config_sha256),
        ("tokenizer", now.tokenizer, then.tokenizer_sha256),
    ):
        same = digest == saved
        found.add("model", "holds" if same else "differs", "same_digest" if same else "other_digest", name)


def _texts(found: _Found, table: Table, audit: Audit, answers: Answers) -> np.ndarray:
    """Which audited rows stand in the table with the same text [example]; labels are compared on those."""
    every = tuple(row[audit.data.text_column] for row in table.rows)
    there = (answers.rows >= 0) & (answers.rows < len(every))
    texts = [every[i] for i in answers.rows[there].tolist()]
    same = (digests_of(texts, every, answers.pairing) == answers.content[there]).all(axis=1)
    there[np.flatnonzero(there)[~same]] = False
    n, n_same = len(answers), int(there.sum())
    if n_same == n:
        found.add("texts", "holds", "texts_same", n=n)
    else:
        found.add("texts", "differs", "texts_differ", n=n - n_same, of=n)
    column = audit.data.label_column
    if answers.gold is None or column is None:
        return there
    if column not in table.columns:
        found.add("labels", "differs", "no_label_column", column=column)
        return there
    pairs = audit.data.mapping.pairs
    raw = (table.rows[i][column] for i in answers.rows[there].tolist())
    other = sum(pairs.get(name) != gold for name, gold in zip(raw, answers.gold[there].tolist(), strict=True))
    if other:
        found.add("labels", "differs", "labels_differ", n=other, of=n_same)
    else:
        found.add("labels", "holds", "labels_same", n=n_same)
    return there


def _columns(found: _Found, table: Table, audit: Audit, answers: Answers) -> None:
    """Whether the columns named as protected or concepts hold what they did, by the sum that is over all of the data.

    Their values were not kept. So where texts or labels are others too, nothing is known of the columns.
    """
    names = concept_columns(audit.config)
    for name in names:
        if name not in table.columns:
            found.add("columns", "differs", "no_label_column", column=name)
            return
    if not names:
        return
    said = ", ".join(names)
    rows = answers.rows[(answers.rows >= 0) & (answers.rows < len(table.rows))].tolist()
    label = audit.data.label_column
    whole = len(rows) == len(answers) and (label is None or label in table.columns)
    if whole:
        text = audit.data.text_column
        parts = [(table.rows[i][text], "" if label is None else table.rows[i][label]) for i in rows]
        if rows_sha256(parts, {name: column_values(table, name, rows) for name in names}) == audit.data.sha256:
            return found.add("columns", "holds", "columns_same", names=said)
        if rows_sha256(parts, {}) == audit.data.sha256:
            return found.add("columns", "not_covered", "columns_not_covered", names=said)
    if any(one.part in ("texts", "labels") and one.status == "differs" for one in found.findings) or not whole:
        return found.add("columns", "skipped", "columns_unknown", names=said)
    return found.add("columns", "differs", "columns_differ", names=said)


def _text_of(table: Table, audit: Audit, rows: Sequence[int]) -> list[str]:
    return [table.rows[row][audit.data.text_column] for row in rows]


def _predictions(
    found: _Found, handle: Handle, table: Table, audit: Audit, answers: Answers, numbers: list[int]
) -> None:
    tolerance = TOLERANCE.get(audit.identity.run_dtype, 1e-4)
    rows = answers.rows[numbers].tolist()
    encoded = encode(handle, _text_of(table, audit, rows))
    again = softmax(logits(handle, [Row(e.ids, e.type_ids) for e in encoded]))
    largest, n_other, before = 0.0, 0, len(found.deviations)
    for row, i, p in zip(rows, numbers, again, strict=True):
        found_here = list(_deviations(handle, answers, row, i, p, tolerance))
        largest = max(largest, abs(float(p.max()) - float(answers.confidence[i])))
        n_other += bool(found_here)
        found.deviations += found_here
    if len(found.deviations) == before:
        found.add("predictions", "holds", "predictions_same", n=len(rows), largest=largest, tolerance=tolerance)
    else:
        found.add("predictions", "differs", "predictions_differ", n=n_other, of=len(rows), tolerance=tolerance)


def _deviations(
    handle: Handle, answers: Answers, row: int, i: int, p: np.ndarray, tolerance: float
) -> Iterator[Deviation]:
    predicted, saved = int(p.argmax()), int(answers.predicted[i])
    # Two outputs that are equal within tolerance may change places.
    if predicted != saved and not (saved < len(p) and float(p.max() - p[saved]) <= tolerance):
        yield Deviation(row=row, quantity="prediction", saved=_name(handle, saved), again=_name(handle, predicted))
    if abs(float(p.max()) - float(answers.confidence[i])) > tolerance:
        yield Deviation(row=row, quantity="confidence", saved=float(answers.confidence[i]), again=float(p.max()))
    if answers.gold is None or answers.gold_probability is None or not 0 <= answers.gold[i] < len(p):
        return
    gold, now = float(answers.gold_probability[i]), float(p[answers.gold[i]])
    if abs(gold - now) > tolerance:
        yield Deviation(row=row, quantity="gold_probability", saved=gold, again=now)


def _name(handle: Handle, index: int) -> str:
    return handle.labels[index] if 0 <= index < len(handle.labels) else str(index)


def _scores(found: _Found, handle: Handle, table: Table, audit: Audit, cases: list[Case]) -> None:
    known = [case for case in cases if case.attribution.method in METHODS]
    if not known:
        found.add("scores", "skipped", "scores_none")
        return
    tolerance = SCORES * TOLERANCE.get(audit.identity.run_dtype, 1e-4)
    largest, before = 0.0, len(found.deviations)
    for method in sorted({case.attribution.method for case in known}):
        of_method = [case for case in known if case.attribution.method == method]
        encoded = encode(handle, _text_of(table, audit, [case.row for case in of_method]))
        again = attribute(handle, encoded, method=method, seed=audit.seed)
        for case, one in zip(of_method, again, strict=True):
            saved = case.attribution.scores
            difference = 1.0
            if saved.shape == one.scores.shape:
                scale = max(float(np.abs(saved).max(initial=0.0)), 1e-6)
                difference = float(np.abs(saved - one.scores).max(initial=0.0)) / scale
            largest = max(largest, difference)
            if difference > tolerance:
                found.deviations.append(Deviation(row=case.row, quantity="scores", saved=None, again=difference))
    n_other = len(found.deviations) - before
    if n_other:
        found.add("scores", "differs", "scores_differ", n=n_other, of=len(known), tolerance=tolerance)
    else:
        found.add("scores", "holds", "scores_same", n=len(known), largest=largest, tolerance=tolerance)
