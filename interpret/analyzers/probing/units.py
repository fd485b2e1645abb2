"""Units of a site ranked by what they say about a label, and the maps that take some of them out of a running model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.erasers import CrossMoments, Eraser
from interpret.results.erasure import Chosen, UnitRanking

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Draws of random units for each number of units.
N_DRAWS: Final = 5


class Ablated(NamedTuple):
    """Units that are taken out together, and how they were chosen."""

    chosen: Chosen
    units: IntArray


def scores(statistics: CrossMoments, weights: FloatArray, ranking: UnitRanking) -> FloatArray:
    """What each unit says about the label, [unit].

    "mean_difference": the share of its variance that lies between the classes (eta squared). "probe_weights": the
    length of its row of a linear probe's weights [unit, class] on standardised activations; units that say the same
    share the weight between them.
    """
    if ranking == "probe_weights":
        lengths: FloatArray = np.sqrt((weights**2).sum(axis=1))
        return lengths
    share = np.where(statistics.mean_z > 0, statistics.mean_z, 1.0)
    between: FloatArray = (statistics.cross**2 / share).sum(axis=1) / statistics.deviation**2
    return between


def ranked(found: FloatArray) -> IntArray:
    """Units from the highest score to the lowest, equals in their order."""
    return np.argsort(-found, kind="stable").astype(np.int64)


def ablated(order: IntArray, sizes: Sequence[int], seed: int) -> list[Ablated]:
    """The top, the bottom and random draws of each size."""
    found = []
    for k in sizes:
        found += [Ablated("top", order[:k]), Ablated("bottom", order[len(order) - k :])]
        for n in range(N_DRAWS):
            rng = np.random.default_rng([seed, 11, k, n])
            found.append(Ablated("random", np.sort(rng.choice(len(order), k, replace=False))))
    return found


def mean_ablation(statistics: CrossMoments, units: IntArray) -> Eraser:
    """The map that puts the mean over the training items in the place of some units."""
    only = np.eye(len(statistics.mean_x))[:, units]
    return Eraser(statistics.mean_x, only, only)
