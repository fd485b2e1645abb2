"""How far an explanation marks the words that people marked: plausibility, which is not faithfulness.

plausibility(attribution, [[(4, 11)], [(0, 5), (20, 31)]])      # characters, for each text
plausibility(attribution, [[False, True, False], ...])          # a mask over words, or over tokens
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from interpret.errors import UsageError
from interpret.results.explanations import (
    Attribution,
    BoolArray,
    ExampleAttribution,
    FloatArray,
    IntArray,
    Plausibility,
    PlausibilityRow,
)
from interpret.statistics.intervals import MIN_BOOTSTRAP, bootstrap, resamples

METRICS: Final = ("auprc", "token_f1", "token_f1_eraser", "iou_f1")
#: Shuffled copies of every text's scores.
_N_RANDOM: Final = 20
#: A marked stretch counts as found from this share of common words on.
_IOU: Final = 0.5


class _Text(NamedTuple):
    """Scores and marks [word] of one text that people marked something in, and which of its words these are."""

    scores: FloatArray
    marked: BoolArray
    places: IntArray


def plausibility(
    attribution: Attribution, rationales: Sequence[Any], *, seed: int = 0, n_bootstrap: int = 1000
) -> Plausibility:
    """Likeness of an explanation to human rationales, word by word, mean over texts.

    It does not show that the explanation follows the model; that is `measure` and `battery`. Scores count with their
    sign: explain the class that people gave reasons for. Words of a long text that no window with the target holds have
    no score: they do not count, marked or not, nor does a text of which only such words are marked.

    Args:
        attribution: an explanation of the texts.
        rationales: for each text what people marked: character spans [start, end) (a word counts that shares a
            character with one), or a mask over its words or over its tokens (a word counts with any token of it).
        seed: of the shuffled copies and of the bootstrap.
        n_bootstrap: resamples of texts, from 5 texts on.

    Returns:
        `auprc`: average precision of the scores (to be held against the base rate and against shuffled scores);
        `token_f1`: F1 of the k words with the highest scores, k the number of marked words of this text;
        `token_f1_eraser`: the same with k the mean number of marked words of all texts, rounded, as ERASER has it;
        `iou_f1`: F1 of stretches of neighbouring words among the top k, where one counts as found if it shares at
        least half of the union with a stretch on the other side. All 0 to 1.

    Raises:
        UsageError: another number of rationales than of texts, a span outside its text, or a mask of another length.

    Reference: DeYoung et al. 2020, arXiv 1911.03429, section 4.1 (there average precision by trapezoids, and several
    stretches may find the same one; here a marked stretch is found at most once).
    """
    if len(rationales) != len(attribution):
        raise UsageError(f"rationales holds {len(rationales)} entries for {len(attribution)} texts; give one per text")
    texts = [_text(i, example, marks) for i, (example, marks) in enumerate(zip(attribution, rationales, strict=True))]
    used = [text for text in texts if text is not None]
    k = max(1, round(float(np.mean([text.marked.sum() for text in used])))) if used else None
    own = np.array([_values(text, text.scores, k) for text in used]).reshape(-1, len(METRICS))
    shuffled = np.zeros((len(used), _N_RANDOM, len(METRICS)))
    for i, text in enumerate(used):
        rng = np.random.default_rng([seed, i])
        shuffled[i] = [_values(text, rng.permutation(text.scores), k) for _ in range(_N_RANDOM)]
    rows = [_row(name, own[:, m], shuffled[:, :, m].mean(axis=1), seed, n_bootstrap) for m, name in enumerate(METRICS)]
    return Plausibility(
        rows=tuple(rows),
        method=attribution.method,
        base_rate=float(np.mean([text.marked.mean() for text in used])) if used else None,
        eraser_k=k,
        n_without=len(texts) - len(used),
        n_partly_read=sum(not example.read.all() for example in attribution),
        seed=seed,
    )


def _row(name: str, values: FloatArray, random: FloatArray, seed: int, n_bootstrap: int) -> PlausibilityRow:
    n = len(values)
    interval = bootstrap(values, resamples(n, n_bootstrap, seed)) if n >= MIN_BOOTSTRAP else None
    return PlausibilityRow(
        metric=name,
        value=float(values.mean()) if n else None,
        ci_low=None if interval is None else max(0.0, interval.low),
        ci_high=None if interval is None else min(1.0, interval.high),
        random_mean=float(random.mean()) if n else None,
        n=n,
    )


def _text(number: int, example: ExampleAttribution, marks: Any) -> _Text | None:
    """None where nothing that was read is marked."""
    words = example.words()
    try:
        given = np.asarray(marks)
    except ValueError:  # lists of unequal lengths
        given = np.zeros((1, 1, 1))
    if given.size == 0:
        return None
    if given.ndim == 2 and given.shape[1] == 2 and given.dtype.kind in "iu":
        marked = np.zeros(len(words), dtype=bool)
        for start, end in given.tolist():
            if not 0 <= start < end <= len(example.text):
                raise UsageError(
                    f"rationale {number} marks characters {start} to {end} of a text of {len(example.text)}; "
                    "give (start, end) with 0 <= start < end <= the text's length"
                )
            marked |= np.array([w.char_start < end and start < w.char_end for w in words], dtype=bool)
    elif given.ndim == 1 and (given.dtype == bool or set(np.unique(given).tolist()) <= {0, 1}):
        if len(given) == len(words):
            marked = given.astype(bool)
        elif len(given) == len(example.tokens):
            marked = np.array([bool(given[list(w.positions)].any()) for w in words], dtype=bool)
        else:
            raise UsageError(
                f"rationale {number} is a mask of {len(given)} entries, but its text has {len(words)} words and "
                f"{len(example.tokens)} tokens (special ones counted); give one entry for each of either"
            )
    else:
        raise UsageError(
            f"rationale {number} is neither a list of (start, end) characters nor a mask of True and False"
        )
    read = example.words_read(words)
    scores = np.array([w.score for w in words])
    return _Text(scores[read], marked[read], np.flatnonzero(read)) if marked[read].any() else None


def _values(text: _Text, scores: FloatArray, eraser_k: int | None) -> list[float]:
    """One value for each of `METRICS`."""
    from sklearn.metrics import average_precision_score

    marked = text.marked
    n_marked = int(marked.sum())
    top = _top(scores, n_marked)
    return [
        float(average_precision_score(marked, scores)),
        _f1(top, marked),
        _f1(_top(scores, eraser_k or n_marked), marked),
        _iou_f1(text.places[top], text.places[marked]),
    ]


def _top(scores: FloatArray, k: int) -> BoolArray:
    """The k words with the highest scores, ties in text order."""
    chosen = np.zeros(len(scores), dtype=bool)
    chosen[np.argsort(-scores, kind="stable")[:k]] = True
    return chosen


def _f1(chosen: BoolArray, marked: BoolArray) -> float:
    return float(2 * (chosen & marked).sum() / (chosen.sum() + marked.sum()))


def _iou_f1(chosen: IntArray, marked: IntArray) -> float:
    ours, theirs = _stretches(chosen), _stretches(marked)
    alike = np.array([[len(a & b) / len(a | b) >= _IOU for b in theirs] for a in ours])
    precision, recall = alike.any(axis=1).mean(), alike.any(axis=0).mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _stretches(chosen: IntArray) -> list[set[int]]:
    """Numbers of words in sets of neighbours."""
    out: list[set[int]] = []
    for word in chosen.tolist():
        if out and word - 1 in out[-1]:
            out[-1].add(word)
        else:
            out.append({word})
    return out
