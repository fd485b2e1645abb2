"""Whether a word moves the prediction when it is put into a text or taken out, beside other words done the same to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from interpret.analyzers.scheduler import Operator, features, removal, without
from interpret.analyzers.shortcuts.presence import FloatArray
from interpret.errors import UsageError
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, encode
from interpret.models.units import Unit
from interpret.results.shortcuts import CausalKind, CausalRow, CausalVerdict
from interpret.statistics.intervals import MIN_BOOTSTRAP, bootstrap, paired_proportions, resamples, softmax, wilson

#: Rows -> class logits [row, label]; `Scheduler.logits` is one.
Logits = Callable[[Sequence[Row]], FloatArray]

_KINDS: Final[tuple[CausalKind, ...]] = ("insertion", "removal")


class Candidate(NamedTuple):
    """A word that is said to push towards a class; `form` is how it is written into texts.

    `controls` are written in its place for comparison: words of the same frequency that are not said to do so.
    """

    word: str
    form: str
    label: str
    controls: tuple[str, ...]


@dataclass
class _Trial:
    """The texts of one candidate and one kind of change, each with the row changed and the row for comparison."""

    candidate: Candidate
    kind: CausalKind
    before: list[FloatArray] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)
    control: list[Row] = field(default_factory=list)


def causal_check(
    handle: Handle,
    texts: Sequence[str],
    candidates: Sequence[Candidate],
    *,
    logits: Logits,
    n_texts: int = 50,
    unit: Unit = "word",
    alpha: float = 0.05,
    seed: int = 0,
    n_bootstrap: int = 1000,
) -> tuple[CausalRow, ...]:
    """What inserting each word into texts of other classes, and removing it from texts of its class, does.

    Insertion: texts without the word that are not predicted as its class get it before a word drawn at random;
    counted are those predicted as the class then. Removal: in texts with the word that are predicted as its class
    all its places are removed (`scheduler.removal`, on token ids); counted are those predicted otherwise then. The
    comparison does the same, at the same place, with a control word drawn at random, or with as many other words of
    the text: any change of a text flips some predictions. It shows what the model does with such texts, which are
    stranger than those it was made for, and not what the word means.

    Args:
        handle: a classifier; it says how texts become rows.
        texts: held-out texts, which had no part in finding the words.
        candidates: the words; without controls a word is only removed.
        logits: runs rows, such as `Scheduler(handle).logits`.
        n_texts: at most so many texts for each candidate and kind, drawn at random.
        unit: what a word is, as in the attribution.
        alpha: of the adjusted interval that confirms a word; all rows share it (Bonferroni).
        seed: of the drawn texts, places and controls.
        n_bootstrap: resamples for the interval of the change of probability.

    Returns:
        Two rows for each candidate, insertion and removal, in the order of the candidates.

    Raises:
        UsageError: a label that is not one of the model's, or an option that means nothing.

    Reference: Ribeiro et al. 2020, arXiv 2005.04118 (invariance tests); intervals: Wilson 1927, Agresti and Min 2005.
    """
    if n_texts < 1 or n_bootstrap < 100 or not 0.0 < alpha < 1.0:
        raise UsageError(
            f"n_texts={n_texts} must be at least 1, n_bootstrap={n_bootstrap} at least 100 (for a 95% interval), and "
            f"alpha={alpha} between 0 and 1"
        )
    for candidate in candidates:
        if candidate.label not in handle.labels:
            raise UsageError(
                f"{handle.name} has no label {candidate.label!r}; its labels are {', '.join(map(repr, handle.labels))}"
            )
    if not candidates:
        return ()
    encoded = sorted(encode(handle, list(texts), unit=unit), key=lambda e: e.text)
    before = softmax(logits([Row(e.ids, e.type_ids) for e in encoded])) if encoded else np.zeros((0, 1))
    held = [_words(e) for e in encoded]
    operator = removal(handle)
    trials = []
    for candidate in candidates:
        # Of the word alone, so that a longer list of candidates changes nothing for those that were on it.
        rng = np.random.default_rng([seed, *f"{candidate.word}\n{candidate.label}".encode()])
        index = handle.labels.index(candidate.label)
        is_class = before.argmax(axis=1) == index
        trials.append(_insertions(handle, candidate, encoded, held, before, is_class, rng, n_texts, unit))
        trials.append(_removals(candidate, encoded, held, before, is_class, rng, n_texts, operator))
    rows = [row for trial in trials for row in (*trial.changed, *trial.control)]
    after = softmax(logits(rows)) if rows else np.zeros((0, 1))
    out, start = [], 0
    for trial in trials:
        n = len(trial.changed)
        changed, control = after[start : start + n], after[start + n : start + 2 * n]
        index = handle.labels.index(trial.candidate.label)
        out.append(_measured(trial, index, changed, control, 1 - alpha / len(trials), seed, n_bootstrap))
        start += 2 * n
    return tuple(out)


def _insertions(
    handle: Handle,
    candidate: Candidate,
    encoded: Sequence[Encoded],
    held: Sequence[list[str]],
    before: FloatArray,
    is_class: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    rng: np.random.Generator,
    n_texts: int,
    unit: Unit,
) -> _Trial:
    trial = _Trial(candidate, "insertion")
    able = [i for i, words in enumerate(held) if not is_class[i] and words and candidate.word not in words]
    if not candidate.controls or not able:
        return trial
    chosen = rng.permutation(able)[:n_texts].tolist()
    changed, control = [], []
    for i in chosen:
        starts = _starts(encoded[i])
        place = starts[int(rng.integers(len(starts)))]
        other = candidate.controls[int(rng.integers(len(candidate.controls)))]
        changed.append(_inserted(encoded[i].text, place, candidate.form))
        control.append(_inserted(encoded[i].text, place, other))
    pairs = zip(chosen, encode(handle, changed, unit=unit), encode(handle, control, unit=unit), strict=True)
    for i, with_word, with_other in pairs:
        # A full window may have no room for the word, and next to some characters it becomes part of another.
        if candidate.word in _words(with_word):
            trial.before.append(before[i])
            trial.changed.append(Row(with_word.ids, with_word.type_ids))
            trial.control.append(Row(with_other.ids, with_other.type_ids))
    return trial


def _removals(
    candidate: Candidate,
    encoded: Sequence[Encoded],
    held: Sequence[list[str]],
    before: FloatArray,
    is_class: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    rng: np.random.Generator,
    n_texts: int,
    operator: Operator,
) -> _Trial:
    trial = _Trial(candidate, "removal")
    able = [i for i, words in enumerate(held) if is_class[i] and candidate.word in words]
    # As many other words must be there to be removed instead.
    able = [i for i in able if 2 * held[i].count(candidate.word) <= len(held[i])]
    for i in rng.permutation(able)[:n_texts].astype(int).tolist():
        groups = features(encoded[i])
        of_word = [g for g, word in zip(groups, held[i], strict=True) if word == candidate.word]
        others = [g for g, word in zip(groups, held[i], strict=True) if word != candidate.word]
        drawn = [others[j] for j in rng.choice(len(others), size=len(of_word), replace=False).tolist()]
        trial.before.append(before[i])
        trial.changed.append(without(encoded[i], (p for g in of_word for p in g), operator))
        trial.control.append(without(encoded[i], (p for g in drawn for p in g), operator))
    return trial


def _measured(
    trial: _Trial, index: int, changed: FloatArray, control: FloatArray, level: float, seed: int, n_bootstrap: int
) -> CausalRow:
    n = len(trial.changed)
    into = trial.kind == "insertion"
    flips = (changed.argmax(axis=1) == index) == into
    other = (control.argmax(axis=1) == index) == into
    row = CausalRow(
        word=trial.candidate.word,
        label=trial.candidate.label,
        kind=trial.kind,
        n=n,
        **dict.fromkeys(_MEASURED),
        verdict="too_few",
    )
    if n < MIN_BOOTSTRAP:
        return row
    moved = changed[:, index] - np.stack(trial.before)[:, index]
    change = bootstrap(moved if into else -moved, resamples(n, n_bootstrap, seed))
    low, high = paired_proportions(int((flips & ~other).sum()), int((other & ~flips).sum()), n, level)
    verdict: CausalVerdict = "confirmed" if low > 0 else "not_confirmed"
    flip_low, flip_high = wilson(int(flips.sum()), n)
    control_low, control_high = wilson(int(other.sum()), n)
    return CausalRow(
        word=row.word,
        label=row.label,
        kind=row.kind,
        n=n,
        flip_rate=float(flips.mean()),
        flip_low=flip_low,
        flip_high=flip_high,
        control_flip_rate=float(other.mean()),
        control_flip_low=control_low,
        control_flip_high=control_high,
        difference=float(flips.mean() - other.mean()),
        difference_low=low,
        difference_high=high,
        probability_change=change.mean,
        probability_change_low=change.low,
        probability_change_high=change.high,
        verdict=verdict,
    )


_MEASURED: Final = (
    "flip_rate flip_low flip_high control_flip_rate control_flip_low control_flip_high difference difference_low "
    "difference_high probability_change probability_change_low probability_change_high"
).split()


def _words(encoded: Encoded) -> list[str]:
    """The words of a text as `shortcut_words` counts them, one for each of its `features`."""
    spans = encoded.char_spans
    return [encoded.text[spans[g[0]][0] : spans[g[-1]][1]].strip().casefold() for g in features(encoded)]


def _starts(encoded: Encoded) -> list[int]:
    """Where words begin, in characters; only those inside the model's window."""
    return [encoded.char_spans[group[0]][0] for group in features(encoded)]


def _inserted(text: str, place: int, word: str) -> str:
    """The text with the word before the character at `place`; spaces only where the script has them."""
    gap = "" if _is_ideographic(word) else " "
    lead = gap if place and not text[place - 1].isspace() else ""
    return text[:place] + lead + word + gap + text[place:]


def _is_ideographic(word: str) -> bool:
    return bool(word) and all("\u3400" <= c <= "\u9fff" for c in word)
