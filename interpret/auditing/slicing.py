"""Looking for slices that fare worse, so that looking at many does not produce findings by itself.

Features of the texts are ranked on one random half; the few that stand out are carried over to the other half, and
only what holds there, with an interval adjusted for those few, is a finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import hypergeom

from interpret.auditing.features import Feature
from interpret.results.record import Estimate, Message
from interpret.results.slices import FoundSlice, FoundSlices
from interpret.statistics.intervals import newcombe, wilson

BoolArray = npt.NDArray[np.bool_]

#: Fewer texts than this are not split into halves.
MIN_SLICED: Final = 40
#: So many texts with a feature and without it must be in the half that is searched, and in the other half.
_LEAST: Final = 10
#: At most so many slices are carried over, those with at most this p-value in the half that is searched.
_CARRIED: Final = 4
_P: Final = 0.1


def find_slices(texts: Sequence[str], right: BoolArray, features: Sequence[Feature], *, seed: int) -> FoundSlices:
    """Slices on which fewer answers are right than on the other texts.

    Args:
        texts: the texts; equal ones fall into the same half, for they are no new evidence.
        right: [example], whether the answer is right.
        features: see `text_features`.
        seed: of the halves.
    """
    first = _half(texts, seed)
    ranked = []
    n_screened = 0
    for feature in features:
        inside, outside = first & feature.has, first & ~feature.has
        if min(inside.sum(), outside.sum()) < _LEAST:
            continue
        n_screened += 1
        gap = float(right[inside].mean() - right[outside].mean())
        wrong, n_wrong = int((~right[inside]).sum()), int((~right[first]).sum())
        # Fisher's exact test, one-sided: as many or more wrong answers among the texts with the feature.
        p = float(hypergeom.sf(wrong - 1, int(first.sum()), n_wrong, int(inside.sum())))
        if gap < 0 and p <= _P:
            ranked.append((p, feature, gap, int(inside.sum())))
    carried = sorted(ranked, key=lambda one: (one[0], one[1].message.code, str(one[1].message.params)))[:_CARRIED]
    rows = tuple(_confirmed(feature, right, ~first, gap, n, len(carried)) for _, feature, gap, n in carried)
    return FoundSlices(rows=rows, n_screened=n_screened, n_searched=int(first.sum()), n_confirming=int((~first).sum()))


def _half(texts: Sequence[str], seed: int) -> BoolArray:
    """A random half, by distinct text."""
    distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    draw = np.random.default_rng([seed, 60]).permutation(len(distinct)) < len(distinct) // 2
    return np.array([bool(draw[distinct[text]]) for text in texts])


def _confirmed(
    feature: Feature, right: BoolArray, half: BoolArray, gap_found: float, n_found: int, n_carried: int
) -> FoundSlice:
    inside, outside = right[half & feature.has], right[half & ~feature.has]
    few = Message(code="estimate.too_few", params={"n": min(len(inside), len(outside))})
    accuracy = Estimate(name="accuracy", value=None, n=len(inside), why=few)
    gap = Estimate(name="gap", value=None, n=len(inside), why=few)
    if len(inside) < _LEAST or len(outside) < _LEAST:
        return FoundSlice(
            feature=feature.message, n_found=n_found, gap_found=gap_found, accuracy=accuracy, gap=gap, verdict="too_few"
        )
    hits, rest = int(inside.sum()), int(outside.sum())
    low, high = wilson(hits, len(inside))
    value = hits / len(inside)
    accuracy = Estimate(name="accuracy", value=value, ci_low=low, ci_high=high, n=len(inside), interval="wilson")
    gap_low, gap_high = newcombe(hits, len(inside), rest, len(outside), 1 - 0.05 / n_carried)
    gap = Estimate(
        name="gap",
        value=value - rest / len(outside),
        ci_low=gap_low,
        ci_high=gap_high,
        n=len(inside),
        interval="newcombe",
    )
    return FoundSlice(
        feature=feature.message,
        n_found=n_found,
        gap_found=gap_found,
        accuracy=accuracy,
        gap=gap,
        verdict="worse" if gap_high < 0 else "not_confirmed",
    )
