"""Ridge probes from streamed second moments: one eigendecomposition serves every lambda, task and control."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

#: Penalties in units of the mean eigenvalue of the covariance (which is 1 for standardised features).
LAMBDAS: Final = np.logspace(-6, 2, 15)
_BLOCK: Final = 8192
_SMALL: Final = 1024
#: So much of an array that lies in a file stays in memory.
KEPT_BYTES: Final = 32 * 1024**2


@dataclass(frozen=True)
class Moments:
    """Sums over items in float64: additive, so parts of the data can be streamed and joined.

    `x` [d], `xx` [d, d], `y` [task, class] and `xy` [d, task, class]: sums of X, X'X, Y and X'Y, with Y the one-hot
    labels of each task.
    """

    n: int
    x: FloatArray
    xx: FloatArray
    y: FloatArray
    xy: FloatArray

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.n + other.n, self.x + other.x, self.xx + other.xx, self.y + other.y, self.xy + other.xy)


def moments(X: Float32Array, labels: IntArray, n_classes: int) -> Moments:
    """Second moments of features X [item, d] and labels [task, item], block by block."""
    d, n_tasks = X.shape[1], len(labels)
    x, xx = np.zeros(d), np.zeros((d, d))
    y, xy = np.zeros((n_tasks, n_classes)), np.zeros((d, n_tasks * n_classes))
    # Small blocks in the same memory each time: they stay in the processor's cache.
    held, held_y = np.empty((_SMALL, d)), np.empty((_SMALL, n_tasks, n_classes))
    for part in blocks(X, size=_SMALL):
        size = part.stop - part.start
        block, one_hot = held[:size], held_y[:size]
        block[:] = X[part]
        one_hot[:] = 0.0
        for task in range(n_tasks):
            one_hot[np.arange(size), task, labels[task, part]] = 1.0
        x += block.sum(axis=0)
        xx += block.T @ block
        y += one_hot.sum(axis=0)
        xy += block.T @ one_hot.reshape(size, -1)
    return Moments(len(X), x, xx, y, xy.reshape(d, n_tasks, n_classes))


def slices(n: int, size: int = _BLOCK) -> Iterator[slice]:
    """Cut `n` rows into consecutive slices."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def blocks(X: npt.NDArray[Any], n: int | None = None, size: int = _BLOCK) -> Iterator[slice]:
    """Slices over the first `n` rows of X, or all; what was read from a file is let go on the way."""
    touched = 0
    for part in slices(len(X) if n is None else n, size):
        yield part
        touched += (part.stop - part.start) * X.shape[1] * X.itemsize
        if touched >= KEPT_BYTES:
            release(X)
            touched = 0


def release(X: npt.NDArray[Any]) -> None:
    """Let the pages of an array that lies in a file leave memory; its contents stay."""
    mapped, advice = getattr(X, "_mmap", None), getattr(mmap, "MADV_DONTNEED", None)
    if mapped is not None and advice is not None:
        mapped.madvise(advice)


@dataclass(frozen=True)
class RidgePath:
    """Solutions for every lambda at once, in the eigenbasis of the centred covariance.

    `basis` [d, d] has eigenvectors in its columns, `eigenvalues` [d], `rotated` [d, task, class] is basis' Cov(X, Y),
    `mean_x` [d], `mean_y` [task, class].
    """

    basis: FloatArray
    eigenvalues: FloatArray
    rotated: FloatArray
    mean_x: FloatArray
    mean_y: FloatArray

    @property
    def scale(self) -> float:
        """The mean eigenvalue, the unit of lambda; 1 where all features are constant."""
        return float(self.eigenvalues.mean()) or 1.0

    def of_classes(self, classes: IntArray) -> RidgePath:
        """The path of some classes only; nothing of the others is needed to know theirs."""
        return replace(self, rotated=self.rotated[:, :, classes], mean_y=self.mean_y[:, classes])

    def weights(self, lam: float, task: int) -> tuple[FloatArray, FloatArray]:
        """Weights [d, class] and intercept [class] of one task."""
        shrunk = self.rotated[:, task] / (self.eigenvalues + lam * self.scale)[:, None]
        weights = self.basis @ shrunk
        return weights, self.mean_y[task] - self.mean_x @ weights

    def predict(self, X: Float32Array, lam: float, task: int) -> IntArray:
        """The class with the highest output for each row of X [item, d]."""
        weights, intercept = self.weights(lam, task)
        weights32, intercept32 = weights.astype(np.float32), intercept.astype(np.float32)
        parts = [np.argmax(X[part] @ weights32 + intercept32, axis=1) for part in blocks(X)]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def accuracies(self, X: Float32Array, labels: IntArray, lambdas: FloatArray = LAMBDAS) -> FloatArray:
        """Accuracy [task, lambda] on features X [item, d] with labels [task, item]."""
        d, n_tasks, n_classes = self.rotated.shape
        right = np.zeros((n_tasks, len(lambdas)))
        flat = self.rotated.reshape(d, -1)
        for part in blocks(X, size=_SMALL):
            turned = (X[part] - self.mean_x.astype(np.float32)) @ self.basis.astype(np.float32)
            for i, lam in enumerate(lambdas.tolist()):
                shrunk = flat / (self.eigenvalues + lam * self.scale)[:, None]
                outputs = (turned @ shrunk.astype(np.float32)).reshape(-1, n_tasks, n_classes)
                outputs += self.mean_y.astype(np.float32)
                right[:, i] += (outputs.argmax(axis=2).T == labels[:, part]).sum(axis=1)
        return right / len(X)


def ridge_path(sums: Moments) -> RidgePath:
    """The ridge regression of one-hot labels on features, intercept not penalised, for any lambda."""
    mean_x, mean_y = sums.x / sums.n, sums.y / sums.n
    covariance = sums.xx / sums.n - np.outer(mean_x, mean_x)
    cross = sums.xy / sums.n - mean_x[:, None, None] * mean_y
    eigenvalues, basis = np.linalg.eigh(covariance)
    rotated = np.tensordot(basis, cross, axes=(0, 0))
    return RidgePath(basis, np.clip(eigenvalues, 0.0, None), rotated, mean_x, mean_y)


def choose(accuracies: FloatArray, lambdas: FloatArray = LAMBDAS) -> list[float]:
    """Per task, the lambda with the best validation accuracy [task, lambda]; the largest of equals."""
    best = accuracies.shape[1] - 1 - np.argmax(accuracies[:, ::-1], axis=1)
    return [float(lambdas[i]) for i in best]
