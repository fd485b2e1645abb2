"""Whether an explanation stays when its text is perturbed: compared on the words that both texts share."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final, NamedTuple

import numpy as np

from interpret.analyzers.faithfulness.agreement import estimate
from interpret.analyzers.faithfulness.stats import spearman
from interpret.results.explanations import ExampleAttribution, FloatArray
from interpret.results.robustness import PerturbationKind, StabilityRow
from interpret.statistics.intervals import MIN_BOOTSTRAP

#: First words that are compared; a pair needs more shared words than that.
TOP: Final = 3
_SHUFFLES: Final = 20


class Explained(NamedTuple):
    """Explanations of the same class for a text and for what a perturbation made of it."""

    kind: PerturbationKind
    before: ExampleAttribution
    after: ExampleAttribution


def shared_scores(before: ExampleAttribution, after: ExampleAttribution) -> tuple[FloatArray, FloatArray]:
    """Scores of the words that stand in both texts in the same order, whatever their case; both `[word]`."""
    ours, theirs = before.words(), after.words()
    matcher = SequenceMatcher(
        None, [w.word.casefold() for w in ours], [w.word.casefold() for w in theirs], autojunk=False
    )
    places = [(a + k, b + k) for a, b, size in matcher.get_matching_blocks() for k in range(size)]
    return np.array([ours[a].score for a, _ in places]), np.array([theirs[b].score for _, b in places])


def stability_rows(pairs: Sequence[Explained], *, seed: int = 0, n_bootstrap: int = 1000) -> tuple[StabilityRow, ...]:
    """All pairs together, then each kind of perturbation with enough of them.

    Pairs that share no more than `TOP` words do not count. A high agreement does not show that the explanations are
    right: a method that always ranks the first words first is perfectly stable.
    """
    measured = []
    for number, pair in enumerate(pairs):
        a, b = shared_scores(pair.before, pair.after)
        if len(a) > TOP:
            rng = np.random.default_rng([seed, number])
            chance = float(np.mean([_overlap(a, rng.permutation(b)) for _ in range(_SHUFFLES)]))
            measured.append((pair.kind, spearman(a, b), _overlap(a, b), chance))
    if not measured:
        return ()
    kinds = dict.fromkeys(kind for kind, *_ in measured)
    enough = [kind for kind in kinds if sum(m[0] == kind for m in measured) >= MIN_BOOTSTRAP]
    return tuple(_row(None if kind is None else kind, measured, seed, n_bootstrap) for kind in (None, *enough))


def _row(
    kind: PerturbationKind | None,
    measured: Sequence[tuple[PerturbationKind, float | None, float, float]],
    seed: int,
    n_bootstrap: int,
) -> StabilityRow:
    of = [m for m in measured if kind is None or m[0] == kind]
    return StabilityRow(
        kind=kind,
        n=len(of),
        k=TOP,
        correlation=estimate("spearman_signed", [m[1] for m in of if m[1] is not None], seed, n_bootstrap),
        overlap=estimate("top_overlap", [m[2] for m in of], seed, n_bootstrap),
        random_overlap=float(np.mean([m[3] for m in of])),
        gain=estimate("top_overlap_gain", [m[2] - m[3] for m in of], seed, n_bootstrap),
    )


def _overlap(a: FloatArray, b: FloatArray) -> float:
    """Share of the `TOP` largest absolute scores that stand at the same words; earlier words win ties."""
    first, second = (set(np.argsort(-np.abs(x), kind="stable")[:TOP].tolist()) for x in (a, b))
    return len(first & second) / TOP
