"""The similarity from sums over samples against the definition by n x n matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interpret.analyzers.comparison.cka import Moments


def by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012, equation 5, on kernel matrices."""
    n = len(x)
    ones = np.ones(n)

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        k, m = (one - np.diag(np.diag(one)) for one in (k, m))
        middle = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        return float(np.trace(k @ m) + middle - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3))

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / (hsic(k, k) * hsic(m, m)) ** 0.5


def streamed(x: np.ndarray, y: np.ndarray, *, chunks: int = 3, dtype: torch.dtype = torch.float64) -> float:
    a, b = torch.tensor(x, dtype=dtype), torch.tensor(y, dtype=dtype)
    found = Moments(a[:3].mean(0), b[:3].mean(0))
    for part in zip(a.chunk(chunks), b.chunk(chunks), strict=True):
        one = Moments(found.shift_x, found.shift_y)
        one.add(*part)
        found.merge(one)
    value = found.cka()
    assert value is not None
    return value


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    # Means larger than the spread, as streams have them.
    x = rng.normal(size=(50, 7)) + 30
    return x, np.c_[x[:, :3] @ rng.normal(size=(3, 5)), rng.normal(size=(50, 4))]


def test_sums_give_what_the_definition_gives(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert streamed(*pair) == pytest.approx(by_definition(*pair), abs=1e-9)
    assert streamed(*pair, chunks=1, dtype=torch.float32) == pytest.approx(by_definition(*pair), abs=1e-4)
    assert 0.2 < by_definition(*pair) < 0.9


def test_a_representation_is_like_itself_rotated_and_scaled(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, _ = pair
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(7, 7)))[0]
    assert streamed(x, x) == 1.0
    assert streamed(x, 3 * x @ rotation) == pytest.approx(1.0, abs=1e-9)


def test_independent_data_is_about_0_also_with_more_features_than_samples() -> None:
    rng = np.random.default_rng(2)
    found = [streamed(rng.normal(size=(40, 300)), rng.normal(size=(40, 300))) for _ in range(20)]
    assert abs(float(np.mean(found))) < 0.02
    # Without the correction it would be close to 1.
    x, y = (rng.normal(size=(40, 300)) for _ in range(2))
    x, y = x - x.mean(0), y - y.mean(0)
    biased = np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert biased > 0.8


def test_what_does_not_vary_has_no_similarity() -> None:
    x = torch.ones(10, 3)
    found = Moments(x[0], x[0])
    found.add(x, torch.randn(10, 3, generator=torch.Generator().manual_seed(0)))
    assert found.cka() is None
    few = Moments(torch.zeros(2), torch.zeros(2))
    few.add(torch.eye(2), torch.eye(2))
    assert few.cka() is None
