"""Multinomial logistic probes by L-BFGS, preconditioned with what the ridge probe already knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from scipy import optimize

from interpret.analyzers.probing.ridge import RidgePath, blocks

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

#: Penalties l2 in mean cross-entropy + l2/2 |W|^2 (scikit-learn's C is 1 / (l2 n)), strongest first.
PENALTIES: Final = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
_MAX_STEPS: Final = 300
_SEARCH_TOLERANCE: Final = 1e-3
#: The choice needs no more than the first: looser, early stopping would act as a penalty of its own. The final fit
#: starts where the choice ended; against a converged fit 2e-3 costs 0.1 points of accuracy and 0.003 bits.
FINAL_TOLERANCE: Final = 2e-3
_WATCH_EVERY: Final = 8
#: Above so many items the strongest penalty is never the best and is not tried.
_MANY: Final = 2000


@dataclass(frozen=True)
class Logistic:
    """Weights [d, class] and intercept [class]; `converged` is False when the steps ran out."""

    weights: FloatArray
    intercept: FloatArray
    converged: bool = True

    def log_probabilities(self, X: Float32Array) -> FloatArray:
        """Natural logs [item, class]."""
        weights = torch.from_numpy(self.weights.astype(np.float32))
        intercept = torch.from_numpy(self.intercept.astype(np.float32))
        out = np.empty((len(X), len(self.intercept)))
        for part in blocks(X):
            outputs = torch.addmm(intercept, torch.from_numpy(X[part]), weights)
            out[part] = torch.log_softmax(outputs.double(), dim=1).numpy()
        return out


class Preconditioner:
    """Coordinates in which the loss is nearly round: eigenvectors of X, scaled by the Hessian at the class prior.

    There the Hessian is the Kronecker product of X'X/n and diag(p) - pp', and only its diagonal is inverted: a few
    dozen steps then suffice where plain coordinates need hundreds.
    """

    def __init__(self, path: RidgePath, prior: FloatArray, l2: float) -> None:
        self.basis = path.basis
        self.spread = prior * (1 - prior)
        self.weights = 1 / np.sqrt(path.eigenvalues[:, None] * self.spread[None, :] + l2)
        self.intercept = 1 / np.sqrt(self.spread + 1e-6)

    def leave(self, v: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weights and intercept at the point `v`."""
        d, k = self.weights.shape
        return self.basis @ (self.weights * v[:-k].reshape(d, k)), self.intercept * v[-k:]

    def enter(self, weights: FloatArray, intercept: FloatArray) -> FloatArray:
        """The point of given weights and intercept."""
        return np.concatenate([((self.basis.T @ weights) / self.weights).ravel(), intercept / self.intercept])

    def gradient(self, weights: FloatArray, intercept: FloatArray) -> FloatArray:
        """A gradient by weights and intercept, as a gradient by the point."""
        return np.concatenate([(self.weights * (self.basis.T @ weights)).ravel(), self.intercept * intercept])


def fit_logistic(
    X: Float32Array,
    labels: IntArray,
    l2: float,
    path: RidgePath,
    start: Logistic | None = None,
    tolerance: float = 1e-4,
    give_up: Callable[[Logistic], bool] | None = None,
) -> Logistic:
    """Minimise mean cross-entropy + l2/2 |W|^2, intercept not penalised.

    Args:
        X: features [item, d], near standardised.
        labels: class indices [item].
        l2: strength of the penalty.
        path: the ridge path of (about) the same items; only its eigenbasis is used.
        start: where to begin; at the class prior when None.
        tolerance: largest gradient component, in the preconditioned coordinates, at which to stop.
        give_up: asked every few steps whether to stop where it stands.
    """
    n, n_classes = len(X), path.mean_y.shape[1]
    count = np.bincount(labels, minlength=n_classes)
    # Half an item per class keeps the intercept of a class without items finite.
    prior = (count + 0.5) / (n + 0.5 * n_classes)
    coordinates = Preconditioner(path, prior, l2)
    gold = torch.from_numpy(labels)
    minus_one = -torch.ones(1, n)
    n_steps = 0

    def watch(v: FloatArray) -> None:
        nonlocal n_steps
        n_steps += 1
        if give_up is not None and n_steps % _WATCH_EVERY == 0 and give_up(Logistic(*coordinates.leave(v))):
            raise StopIteration

    def loss(v: FloatArray) -> tuple[float, FloatArray]:
        weights, intercept = coordinates.leave(v)
        w, b = torch.from_numpy(weights.astype(np.float32)), torch.from_numpy(intercept.astype(np.float32))
        value, grad_w, grad_b = 0.0, np.zeros_like(weights), np.zeros_like(intercept)
        for part in blocks(X):
            x, y = torch.from_numpy(X[part]), gold[None, part]
            # Classes in rows: the softmax then runs along memory for many items at once.
            log_p = torch.log_softmax(torch.addmm(b[:, None], w.T, x.T), dim=0)
            value -= float(log_p.gather(0, y).sum(dtype=torch.float64))
            residual = log_p.exp_().scatter_add_(0, y, minus_one[:, : y.shape[1]])
            grad_w += (residual @ x).T.numpy()
            grad_b += residual.sum(dim=1, dtype=torch.float64).numpy()
        value = value / n + l2 / 2 * float((weights**2).sum())
        return value, coordinates.gradient(grad_w / n + l2 * weights, grad_b / n)

    if start is None:
        first = coordinates.enter(np.zeros_like(coordinates.weights), np.log(prior))
    else:
        first = coordinates.enter(start.weights, start.intercept)
    options = {"maxiter": _MAX_STEPS, "gtol": tolerance, "ftol": 1e-8, "maxcor": 12}
    # The stubs know neither a jac of True beside a callback nor `maxcor`.
    minimize: Any = optimize.minimize
    found = minimize(
        loss,
        first,
        jac=True,
        method="L-BFGS-B",
        callback=watch,
        options=options,
    )
    weights, intercept = coordinates.leave(found.x)
    # A shift common to all classes changes no probability; without it the penalty is least.
    weights = weights - weights.mean(axis=1, keepdims=True)
    # Status 1 is "steps ran out"; 2 is a line search that reached the noise of float32, which is an arrival.
    return Logistic(weights, intercept, converged=found.status != 1)


def fit_logistic_path(
    X: Float32Array,
    labels: IntArray,
    n_train: int,
    path: RidgePath,
    penalties: tuple[float, ...] = PENALTIES,
) -> tuple[Logistic, float]:
    """Choose l2 by cross-entropy on validation, then fit train and validation together. Returns the probe and its l2.

    Rows before `n_train` train, the rest validate.
    """
    chosen, l2 = choose_penalty(X, labels, n_train, path, penalties)
    return fit_logistic(X, labels, l2, path, chosen, FINAL_TOLERANCE), l2


def choose_penalty(
    X: Float32Array,
    labels: IntArray,
    n_train: int,
    path: RidgePath,
    penalties: tuple[float, ...] = PENALTIES,
) -> tuple[Logistic, float]:
    """The penalty with the least cross-entropy on validation, and the probe that was fitted to training with it.

    Rows before `n_train` train, the rest validate. Penalties are tried from the strongest, each from the last
    solution, until the validation loss has risen.
    """
    train_X, train_y, held_X, held_y = X[:n_train], labels[:n_train], X[n_train:], labels[n_train:]
    # A label without a training item says nothing about the penalty.
    known = np.isin(held_y, np.unique(train_y))

    def held_loss(candidate: Logistic) -> float:
        log_p = candidate.log_probabilities(held_X)[np.arange(len(held_y)), held_y]
        return -float(log_p[known].mean()) if known.any() else 0.0

    best: tuple[float, Logistic, float] | None = None
    current: Logistic | None = None
    for l2 in penalties[1:] if n_train > _MANY and len(penalties) > 1 else penalties:
        seen = [np.inf] if best is None else [best[0]]

        def rising(candidate: Logistic, seen: list[float] = seen, bound: bool = best is not None) -> bool:
            # Steps lead from the best solution so far towards a weaker penalty: a loss that only rises on the way
            # has passed its lowest point.
            seen.append(held_loss(candidate))
            return bound and len(seen) > 2 and seen[-1] > seen[-2] > min(seen[:-2]) >= seen[0]

        current = fit_logistic(train_X, train_y, l2, path, current, _SEARCH_TOLERANCE, rising)
        held = held_loss(current)
        if best is not None and held >= best[0]:
            break
        best = (held, current, l2)
    if best is None:
        raise ValueError("choose_penalty needs at least one penalty")
    return best[1], best[2]
