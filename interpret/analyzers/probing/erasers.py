"""Affine maps that take a label out of activations: LEACE in closed form, INLP step by step, and random directions.

    fitter = CrossMoments(d, n_classes)
    fitter.update(X, labels)                      # block by block, sums in float64
    eraser = leace(fitter)
    X_without = eraser(X)

Erased means *linearly* erased: no linear probe of the same data is better than the majority. What a probe with
neighbours or hidden units still reads is another question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.ridge import blocks

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Eigenvalues of a correlation matrix, and singular values beside the largest, that count as zero.
_ZERO: Final = 1e-12
#: Rounds of INLP at most; each takes as many directions as there are classes, less one.
MAX_ROUNDS: Final = 20


class CrossMoments:
    """Means, covariance of activations and their cross-covariance with one-hot labels, streamed in float64.

    Blocks are joined by their centred moments (Chan, Golub and LeVeque 1983), so that a mean far from zero costs no
    digits.
    """

    def __init__(self, d: int, n_classes: int) -> None:
        self.n = 0
        self.mean_x = np.zeros(d)
        self.mean_z = np.zeros(n_classes)
        self._xx = np.zeros((d, d))
        self._xz = np.zeros((d, n_classes))

    def update(self, X: npt.NDArray[Any], labels: IntArray) -> CrossMoments:
        """Add activations [item, d] with their classes [item]."""
        for part in blocks(X):
            x = X[part].astype(np.float64)
            z = np.zeros((len(x), len(self.mean_z)))
            z[np.arange(len(x)), labels[part]] = 1.0
            mean_x, mean_z = x.mean(axis=0), z.mean(axis=0)
            total = self.n + len(x)
            step_x, step_z = mean_x - self.mean_x, mean_z - self.mean_z
            weight = self.n * len(x) / total
            self._xx += (x - mean_x).T @ (x - mean_x) + weight * np.outer(step_x, step_x)
            self._xz += (x - mean_x).T @ (z - mean_z) + weight * np.outer(step_x, step_z)
            self.mean_x = self.mean_x + step_x * len(x) / total
            self.mean_z = self.mean_z + step_z * len(x) / total
            self.n = total
        return self

    @property
    def covariance(self) -> FloatArray:
        """Cov(X, X) [d, d]."""
        return self._xx / self.n

    @property
    def cross(self) -> FloatArray:
        """Cov(X, Z) [d, class]."""
        return self._xz / self.n

    @property
    def deviation(self) -> FloatArray:
        """Standard deviation of each dimension [d]; 1 where it is constant."""
        found = np.sqrt(np.clip(np.diag(self._xx), 0.0, None) / self.n)
        return np.where(found <= 1e-7 * (1 + np.abs(self.mean_x)), 1.0, found)


@dataclass(frozen=True, eq=False)
class Eraser:
    """The map x - left right' (x - mean) of rank `rank`; `left` and `right` are [d, rank], `mean` [d]."""

    mean: FloatArray
    left: FloatArray
    right: FloatArray

    @property
    def rank(self) -> int:
        return int(self.left.shape[1])

    def __call__(self, X: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Activations [item, d] without the label, computed in float64, in the type they came in."""
        out = np.empty_like(X)
        for part in blocks(X):
            x = X[part].astype(np.float64)
            out[part] = x - ((x - self.mean) @ self.right) @ self.left.T
        return out

    def left_over(self, statistics: CrossMoments) -> float:
        """The largest correlation, of any dimension with any label's indicator, that is left in the data fitted on."""
        cross = statistics.cross - self.left @ (self.right.T @ statistics.cross)
        spread = np.sqrt(np.clip(statistics.mean_z * (1 - statistics.mean_z), 1e-12, None))
        return float(np.abs(cross / statistics.deviation[:, None] / spread).max())

    def removed_share(self, statistics: CrossMoments) -> float:
        """Mean squared length of what is taken away, as a share of the total variance."""
        total = float(np.trace(statistics.covariance))
        inner = self.right.T @ statistics.covariance @ self.right
        return float(np.trace(self.left @ inner @ self.left.T)) / total if total > 0 else 0.0


@dataclass(frozen=True, eq=False)
class _Whitening:
    """W = D^-1 scaled to unit covariance on the support, and its pseudo-inverse; both [d, d].

    Working on correlations keeps a dimension of huge variance, as transformers have them, from drowning the rest.
    """

    whiten: FloatArray
    colour: FloatArray
    support: FloatArray


def _whitening(statistics: CrossMoments) -> _Whitening:
    deviation = statistics.deviation
    correlation = statistics.covariance / np.outer(deviation, deviation)
    values, vectors = np.linalg.eigh(correlation)
    kept = values > _ZERO * max(float(values[-1]), 1.0)
    support, roots = vectors[:, kept], np.sqrt(values[kept])
    whiten = (support / roots) @ support.T / deviation
    colour = deviation[:, None] * ((support * roots) @ support.T)
    return _Whitening(whiten, colour, support)


def leace(statistics: CrossMoments) -> Eraser:
    """The least change of the activations after which no linear probe of these data finds the label.

    x - W+ P W (x - mean), with W the whitening of X and P the orthogonal projection onto the columns of W Cov(X, Z).
    Of all affine maps that bring Cov(X, Z) to zero it moves the activations least, in every quadratic norm at once.

    Reference: Belrose et al. 2023, arXiv 2306.03819, theorem 4.3.
    """
    found = _whitening(statistics)
    basis, sizes, _ = np.linalg.svd(found.whiten @ statistics.cross, full_matrices=False)
    # A direction as weak as rounding is no direction; one-hot labels always have one, their sum being constant.
    basis = basis[:, sizes > max(_ZERO * float(sizes[0]), 1e-12)] if len(sizes) else basis
    return _spanned(statistics, found, basis)


def random_eraser(statistics: CrossMoments, rank: int, seed: int | Sequence[int], like: str = "leace") -> Eraser:
    """The same kind of map for `rank` directions drawn at random: what LEACE does for labels that mean nothing.

    For "leace" directions are drawn evenly where the activations are whitened, for "inlp" where they are
    standardised; both within the span of the activations.
    """
    rng = np.random.default_rng(seed)
    found = _whitening(statistics)
    n = found.support.shape[1]
    drawn = np.linalg.qr(rng.standard_normal((n, min(rank, n))))[0]
    directions = found.support @ drawn
    return _spanned(statistics, found, directions) if like == "leace" else _orthogonal(statistics, directions)


def displaced(eraser: Eraser, statistics: CrossMoments, seed: int | Sequence[int]) -> Eraser:
    """A change of the same size elsewhere: every activation moves exactly as far as by `eraser`, in random directions.

    As many orthonormal directions as the eraser has are drawn evenly from the span of the activations, and each
    activation is moved along them by the lengths that the eraser takes away. Its label stays where it was. What a
    model loses by this, it loses by changes of this size and not by the loss of the label. (Scaling up the removal of
    random directions would not do: evenly drawn in whitened space they lie mostly along the directions of largest
    variance, which may be those of the label itself.)
    """
    rng = np.random.default_rng(seed)
    deviation = statistics.deviation
    span = np.linalg.qr(deviation[:, None] * _whitening(statistics).support)[0]
    directions = span @ np.linalg.qr(rng.standard_normal((span.shape[1], eraser.rank)))[0]
    return Eraser(eraser.mean, directions @ np.linalg.qr(eraser.left)[1], eraser.right)


def _spanned(statistics: CrossMoments, whitening: _Whitening, basis: FloatArray) -> Eraser:
    return Eraser(statistics.mean_x, whitening.colour @ basis, whitening.whiten.T @ basis)


def _orthogonal(statistics: CrossMoments, basis: FloatArray) -> Eraser:
    deviation = statistics.deviation[:, None]
    return Eraser(statistics.mean_x, deviation * basis, basis / deviation)


def inlp(
    statistics: CrossMoments, still_reads: Callable[[Eraser], float | None], max_rounds: int = MAX_ROUNDS
) -> tuple[Eraser, int]:
    """Take away the weights of one linear probe after the other until `still_reads(eraser)` says None.

    Until then it gives the penalty of the next probe, a ridge regression (in units of the mean eigenvalue) in
    standardised coordinates, where the projection is orthogonal; what is taken away is replaced by its mean. Only the
    moments are needed, since those of projected activations are projections of them. Returns the eraser and the
    rounds it took; the label is not erased if the rounds ran out.

    Reference: Ravfogel et al. 2020, arXiv 2004.07667, algorithm 1, which leaves the linear probe open.
    """
    deviation = statistics.deviation
    correlation = statistics.covariance / np.outer(deviation, deviation)
    cross = statistics.cross / deviation[:, None]
    d = len(deviation)
    basis = np.zeros((d, 0))
    for n_rounds in range(max_rounds + 1):
        eraser = _orthogonal(statistics, basis)
        lam = None if n_rounds == max_rounds or basis.shape[1] >= d else still_reads(eraser)
        if lam is None:
            break
        keep = np.eye(d) - basis @ basis.T
        projected = keep @ correlation @ keep
        scale = float(np.trace(projected)) / d or 1.0
        weights = keep @ np.linalg.solve(projected + max(lam, _ZERO) * scale * np.eye(d), keep @ cross)
        found, sizes, _ = np.linalg.svd(weights, full_matrices=False)
        fresh = found[:, sizes > max(1e-8 * float(sizes[0]), 1e-12)]
        if not fresh.shape[1]:
            break
        basis = np.linalg.qr(np.column_stack([basis, fresh]))[0][:, :d]
    return eraser, n_rounds
