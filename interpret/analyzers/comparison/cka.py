"""Debiased linear CKA from sums over samples, so that neither the samples nor an n x n matrix is kept.

Of K = X X^T and L = Y Y^T without their diagonals (Song et al. 2012, equation 5):

    HSIC(K, L) = (tr(KL) + 1'K1 1'L1 / ((n-1)(n-2)) - 2/(n-2) 1'KL1) / (n (n-3))

and every term is a sum over samples of products of features. It is 1 for the same representation up to rotation and
scale, and about 0, not above it, for independent ones, also where there are more features than samples.

Reference: Kornblith et al. 2019, arXiv 1905.00414; debiased: Nguyen et al. 2021, arXiv 2010.15327.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: The estimator needs more samples than this.
MIN_SAMPLES = 4


class Moments:
    """Sums over samples of two representations of d and e features; 8 (d^2 + e^2 + de) bytes.

    `shift` is taken off every sample, which changes nothing but the rounding: features of transformers have means
    that are much larger than their spread.
    """

    def __init__(self, shift_x: Tensor, shift_y: Tensor) -> None:
        self.shift_x, self.shift_y = shift_x, shift_y
        d, e = len(shift_x), len(shift_y)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=shift_x.device)

        self.n = 0
        self.xy = zeros(d, e)
        self.xx = zeros(d, d)
        self.yy = zeros(e, e)
        self.sums = [zeros(size) for size in (d, e)]
        #: Of each side its samples, weighted with their squared lengths on either side.
        self.weighted = [[zeros(size) for _ in range(2)] for size in (d, e)]
        #: Sums of squared lengths, and of their products.
        self.lengths = zeros(2)
        self.products = zeros(2, 2)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Take in samples `[n, d]` and `[n, e]`; products are formed in the precision that they come in."""
        x, y = x - self.shift_x, y - self.shift_y
        self.n += len(x)
        self.xy += x.T @ y
        self.xx += x.T @ x
        self.yy += y.T @ y
        squares = torch.stack([x.square().sum(1), y.square().sum(1)]).double()
        for side, samples in enumerate((x, y)):
            wide = samples.double()
            self.sums[side] += wide.sum(0)
            for other in range(2):
                self.weighted[side][other] += squares[other] @ wide
        self.lengths += squares.sum(1)
        self.products += squares @ squares.T

    def merge(self, other: Moments) -> None:
        """Take in the sums of other samples with the same shift."""
        self.n += other.n
        for name in ("xy", "xx", "yy", "lengths", "products"):
            getattr(self, name).add_(getattr(other, name))
        for side in range(2):
            self.sums[side] += other.sums[side]
            for k in range(2):
                self.weighted[side][k] += other.weighted[side][k]

    def cka(self) -> float | None:
        """The similarity, at most 1; None with too few samples, or where one side does not vary."""
        if self.n < MIN_SAMPLES:
            return None
        xy, xx, yy = self._hsic(0, 1, self.xy), self._hsic(0, 0, self.xx), self._hsic(1, 1, self.yy)
        if xx <= 0 or yy <= 0:
            return None
        return float(min(1.0, xy / (xx * yy) ** 0.5))

    def _hsic(self, a: int, b: int, cross: Tensor) -> float:
        """Up to the factor 1 / (n (n - 3)), which cancels in the ratio."""
        n = self.n
        trace = cross.square().sum() - self.products[a, b]
        ones_a = self.sums[a] @ self.sums[a] - self.lengths[a]
        ones_b = self.sums[b] @ self.sums[b] - self.lengths[b]
        both = (
            self.sums[a] @ cross @ self.sums[b]
            - self.weighted[b][a] @ self.sums[b]
            - self.weighted[a][b] @ self.sums[a]
            + self.products[a, b]
        )
        return float(trace + ones_a * ones_b / ((n - 1) * (n - 2)) - 2 / (n - 2) * both)
