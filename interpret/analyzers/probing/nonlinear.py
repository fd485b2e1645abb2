"""Probes that are not linear: neighbours and one hidden layer. What they read after an erasure was not erased."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from interpret.analyzers.probing.ridge import slices

IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

N_NEIGHBOURS: Final = 5
#: Rows compared with all others at once.
_QUERIES: Final = 512
_WIDTH: Final = 64
_BATCH: Final = 256
_MAX_EPOCHS: Final = 30
_PATIENCE: Final = 3


def nearest_neighbours(
    train: Float32Array, labels: IntArray, X: Float32Array, n_classes: int, k: int = N_NEIGHBOURS
) -> IntArray:
    """The commonest class of the `k` rows of `train` nearest (Euclidean) to each row of `X`; the first of equals."""
    base = torch.from_numpy(np.ascontiguousarray(train))
    gold = torch.from_numpy(labels)
    # Of |x - t|^2 the part that differs between the rows of `train`.
    squares = (base.double() ** 2).sum(1).float()
    found = []
    for part in slices(len(X), _QUERIES):
        distance = torch.addmm(squares[None], torch.from_numpy(np.ascontiguousarray(X[part])), base.T, alpha=-2.0)
        nearest = gold[distance.topk(min(k, len(base)), dim=1, largest=False).indices]
        votes = torch.zeros(len(nearest), n_classes).scatter_add_(1, nearest, torch.ones(nearest.shape))
        found.append(votes.argmax(1).numpy())
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def hidden_layer(
    X: Float32Array, labels: IntArray, n_train: int, held_out: Float32Array, n_classes: int, seed: int
) -> IntArray:
    """What an MLP with one hidden layer of 64 says of `held_out`; rows of X from `n_train` on tell it when to stop.

    Adam in batches of 256, at most 30 epochs; the weights are those of the best epoch on the validation rows. Draws
    are of its own generator, so the caller's random state stays.
    """
    generator = torch.Generator().manual_seed(seed)
    data, gold = torch.from_numpy(np.ascontiguousarray(X)), torch.from_numpy(labels)
    d = data.shape[1]
    weights = [
        torch.randn(d, _WIDTH, generator=generator) * (2 / d) ** 0.5,
        torch.zeros(_WIDTH),
        torch.randn(_WIDTH, n_classes, generator=generator) * (1 / _WIDTH) ** 0.5,
        torch.zeros(n_classes),
    ]
    for weight in weights:
        weight.requires_grad_()
    optimizer = torch.optim.Adam(weights, lr=2e-3, weight_decay=1e-4)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return torch.addmm(weights[3], torch.relu(torch.addmm(weights[1], x, weights[0])), weights[2])

    best, best_loss, waited = [weight.detach().clone() for weight in weights], float("inf"), 0
    for _ in range(_MAX_EPOCHS):
        order = torch.randperm(n_train, generator=generator).numpy()
        with torch.enable_grad():
            for part in slices(n_train, _BATCH):
                batch = torch.from_numpy(order[part])
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(forward(data[batch]), gold[batch])
                torch.autograd.backward([loss])
                optimizer.step()
        with torch.no_grad():
            held_loss = float(torch.nn.functional.cross_entropy(forward(data[n_train:]), gold[n_train:]))
        if held_loss < best_loss:
            best, best_loss, waited = [weight.detach().clone() for weight in weights], held_loss, 0
        else:
            waited += 1
            if waited == _PATIENCE:
                break
    with torch.no_grad():
        weights = best
        rows = torch.from_numpy(np.ascontiguousarray(held_out))
        parts = [forward(rows[part]).argmax(1) for part in slices(len(rows))]
    return torch.cat(parts).numpy() if parts else np.zeros(0, dtype=np.int64)
