"""What the model answers to every example: the stage that performance, errors and cases are read from.

A case is one answer: the class of a text, of one word of a sentence, an answer to a question, what is written next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from interpret.analyzers.answers import likeliest
from interpret.analyzers.target import class_names
from interpret.auditing.answering import exact, f1
from interpret.auditing.encoding import row_of, target_ids
from interpret.auditing.stage import Run
from interpret.errors import UsageError
from interpret.models.batching import Row, head_budget_of, logits, run_batches
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.models.readout import logits_of
from interpret.statistics.intervals import softmax

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Units:
    """What is right or wrong within examples: words that get a class, tokens that are foretold. All are [unit].

    `gold` and `predicted` are class or vocabulary indices, `nats` the negative log probability of `gold`.
    """

    example: IntArray
    gold: IntArray
    predicted: IntArray
    confidence: FloatArray
    nats: FloatArray


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The model's answer to each example as it is shown, with the gold answer where there is one.

    `confidence` [example] is the probability of the answer. `probabilities` [example, label] are those of classifiers
    of texts, and [0, 0] for other tasks. `right` [example] is None where nothing is known to be right. `at` [example]
    is the word whose class is shown and explained, -1 for other tasks. `overlap` [example] is the F1 of an answer's
    words with the accepted answer that is nearest.
    """

    answers: tuple[str, ...]
    gold: tuple[str | None, ...]
    confidence: FloatArray
    right: BoolArray | None
    probabilities: FloatArray
    at: IntArray
    units: Units | None = None
    overlap: FloatArray | None = None

    @property
    def wrong(self) -> list[int]:
        """Numbers of the examples that are answered wrongly."""
        return [] if self.right is None else np.flatnonzero(~self.right).tolist()


def probabilities_of(handle: Handle, encoded: Sequence[Encoded]) -> FloatArray:
    """Class or vocabulary probabilities [example, label]; of language models those of what comes next."""
    return softmax(logits(handle, [Row(e.ids, e.type_ids) for e in encoded]))


def predict(run: Run) -> Predictions:
    """Run every example once."""
    match run.handle.task:
        case "text-classification":
            return _classes(run)
        case "token-classification":
            return _words(run)
        case "question-answering":
            return _spans(run)
        case "seq2seq-lm":
            return _written(run)
        case _:
            return _next(run)


def _nowhere(run: Run) -> IntArray:
    return np.full(len(run), -1, dtype=np.int64)


def _classes(run: Run) -> Predictions:
    found = probabilities_of(run.handle, run.encoded)
    best = found.argmax(axis=1)
    labels, gold = run.handle.labels, run.examples.gold
    return Predictions(
        answers=tuple(labels[index] for index in best),
        gold=(None,) * len(run) if gold is None else tuple(labels[index] for index in gold),
        confidence=found[np.arange(len(found)), best],
        right=None if gold is None else best == gold,
        probabilities=found,
        at=_nowhere(run),
    )


def _words(run: Run) -> Predictions:
    """The class of every labelled word, read at its first token; shown is one random word of each sentence.

    Words that were cut off, and words the tokenizer drops, have no class: they are not counted.
    """
    examples, names = run.examples, class_names(run.handle)
    assert examples.tags is not None
    rng = np.random.default_rng([run.seed, 71])
    example, gold, predicted, confidence, nats = [], [], [], [], []
    shown: list[tuple[str, str, float, int]] = []
    found = logits_of(run.handle, [row_of(run.handle, e) for e in run.encoded])
    for i, (e, lines) in enumerate(zip(run.encoded, found, strict=True)):
        shares = softmax(lines)
        first = {word: place for place, word in reversed(list(enumerate(e.word_index))) if word >= 0}
        here = []
        for word, tag in enumerate(examples.tags[i]):
            if tag is None or word not in first:
                continue
            share, right = shares[first[word]], examples.mapping.pairs[tag]
            best = int(share.argmax())
            example.append(i)
            gold.append(right)
            predicted.append(best)
            confidence.append(float(share[best]))
            nats.append(-float(np.log(max(share[right], np.finfo(np.float64).tiny))))
            here.append((names[best], names[right], float(share[best]), word))
        if not here:
            raise UsageError(
                f"sentence {examples.rows[i]} of {examples.name} has no labelled word that {run.handle.name} sees; "
                "leave it out"
            )
        shown.append(here[int(rng.integers(len(here)))])
    answers, wanted, sure, at = zip(*shown, strict=True)
    return Predictions(
        answers=answers,
        gold=wanted,
        confidence=np.array(sure),
        right=np.array([a == b for a, b in zip(answers, wanted, strict=True)]),
        probabilities=np.zeros((0, 0)),
        at=np.array(at, dtype=np.int64),
        units=Units(
            example=np.array(example, dtype=np.int64),
            gold=np.array(gold, dtype=np.int64),
            predicted=np.array(predicted, dtype=np.int64),
            confidence=np.array(confidence),
            nats=np.array(nats),
        ),
    )


def _spans(run: Run) -> Predictions:
    """The likeliest answer within each context; its confidence is that of its start times that of its end."""
    answers = run.examples.answers
    assert answers is not None
    rows = [row_of(run.handle, e) for e in run.encoded]
    starts, ends = (logits_of(run.handle, rows, name) for name in ("start_logits", "end_logits"))
    said, sure = [], []
    for e, first, last in zip(run.encoded, starts, ends, strict=True):
        start, end = likeliest(e, first, last)
        said.append(e.text[e.char_spans[start][0] : e.char_spans[end][1]])
        sure.append(float(softmax(first)[start] * softmax(last)[end]))
    return Predictions(
        answers=tuple(said),
        gold=tuple(accepted[0] for accepted in answers),
        confidence=np.array(sure),
        right=np.array([exact(a, accepted) for a, accepted in zip(said, answers, strict=True)]),
        probabilities=np.zeros((0, 0)),
        at=_nowhere(run),
        overlap=np.array([f1(a, accepted) for a, accepted in zip(said, answers, strict=True)]),
    )


def _next(run: Run) -> Predictions:
    """What comes next; of causal models also how well each token of the texts was foretold."""
    handle, encoded = run.handle, run.encoded
    found = logits_at(handle, encoded)
    units = None
    if handle.task == "causal-lm":
        rows = [row_of(handle, e) for e in encoded]
        targets = [[-1 if special else token for token, special in zip(e.ids, e.special, strict=True)] for e in encoded]
        units = _foretold(handle, rows, [one[1:] for one in targets])
    return Predictions(
        answers=tuple(_piece(handle, index) for index, _ in found),
        gold=(None,) * len(run),
        confidence=np.array([share for _, share in found]),
        right=None,
        probabilities=np.zeros((0, 0)),
        at=_nowhere(run),
        units=units,
    )


def logits_at(handle: Handle, encoded: Sequence[Encoded], chunk: int = 64) -> list[tuple[int, float]]:
    """The likeliest piece after each text (or at its mask), and its probability; a chunk of vocabularies at a time."""
    out: list[tuple[int, float]] = []
    for start in range(0, len(encoded), chunk):
        shares = probabilities_of(handle, encoded[start : start + chunk])
        out += [(int(line.argmax()), float(line.max())) for line in shares]
    return out


def _written(run: Run) -> Predictions:
    """How well the references were foretold, each token given those before it.

    A reference whose every token is the likeliest is what the model writes greedily, and no other is: so which ones
    are written exactly is known without writing.
    """
    handle, references = run.handle, run.examples.references
    if references is None:
        empty = ("",) * len(run)
        none: tuple[str | None, ...] = (None,) * len(run)
        return Predictions(
            answers=empty, gold=none, confidence=np.zeros(len(run)), right=None,
            probabilities=np.zeros((0, 0)), at=_nowhere(run),
        )  # fmt: skip
    ids = [target_ids(handle, text) for text in references]
    rows = [row_of(handle, e, response) for e, response in zip(run.encoded, ids, strict=True)]
    # What it is made to write, such as a language, it does not foretell.
    free = [[-1] * handle.n_forced(one) + one[handle.n_forced(one) :] for one in ids]
    units = _foretold(handle, rows, free)
    hit = units.gold == units.predicted
    n = np.bincount(units.example, minlength=len(run))
    right = np.bincount(units.example, weights=hit, minlength=len(run)) == n
    nats = np.bincount(units.example, weights=units.nats, minlength=len(run))
    return Predictions(
        answers=tuple(text if sure else "" for text, sure in zip(references, right, strict=True)),
        gold=references,
        confidence=np.exp(-nats),
        right=right,
        probabilities=np.zeros((0, 0)),
        at=_nowhere(run),
        units=units,
    )


def _foretold(handle: Handle, rows: Sequence[Row], targets: Sequence[Sequence[int]]) -> Units:
    """How the head foretells `targets[row]`, one after the other from its first position; -1 is not counted."""
    parts: list[tuple[FloatArray, ...]] = [()] * len(rows)

    def step(batch: dict[str, torch.Tensor], indices: list[int]) -> list[tuple[FloatArray, ...]]:
        with torch.no_grad():
            found = handle.model(**batch, **handle.without_cache).logits
        out = []
        for line, index in zip(found, indices, strict=True):
            wanted = torch.tensor(targets[index], dtype=torch.long, device=line.device)
            shares = line[: len(wanted)].double().log_softmax(-1)
            best = shares.max(-1)
            kept = wanted >= 0
            nats = -shares[torch.arange(len(wanted), device=line.device), wanted.clamp(min=0)]
            columns = (wanted.double(), best.indices.double(), best.values.exp(), nats)
            out.append(tuple(column[kept].cpu().numpy() for column in columns))
        return out

    for indices, found in run_batches(handle, rows, step, token_budget=head_budget_of(handle)):
        for index, one in zip(indices, found, strict=True):
            parts[index] = one
    gold, predicted, confidence, nats = (np.concatenate([part[k] for part in parts]) for k in range(4))
    return Units(
        example=np.repeat(np.arange(len(rows)), [len(part[0]) for part in parts]).astype(np.int64),
        gold=gold.astype(np.int64),
        predicted=predicted.astype(np.int64),
        confidence=confidence,
        nats=nats,
    )


def _piece(handle: Handle, index: int) -> str:
    """The piece of text that an entry of the vocabulary stands for."""
    return str(index) if handle.tokenizer is None else str(handle.tokenizer.decode([index]))
