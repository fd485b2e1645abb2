"""How far each weight moved: relative norm, effective rank, and what rounding alone would explain.

An adapter's change is taken from its low-rank factors: of dW = s B A the singular values are those of an r x r core,
so the product, which is as large as the weight, is never formed. DoRA also sets the length of each output, which no
core holds: there one weight's difference is formed at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor

from interpret.analyzers.comparison.adapters import AdapterChange, adapter_changes
from interpret.analyzers.comparison.names import named_weights
from interpret.analyzers.comparison.pair import Pair
from interpret.results.comparisons import ComparisonRow

#: Spectra of dense differences are taken of matrices whose shorter side is at most this: the work grows with its cube.
MAX_SPECTRUM: Final = 2048
State = Literal["same", "rounding", "changed"]
_LAYER: Final = re.compile(r"\.(?:layers?|h|blocks?|layer_module)\.(\d+)\.")


@dataclass(frozen=True)
class WeightChange:
    """One weight of both models. `norm` is ||dW||, `base_norm` ||W||, Frobenius norms.

    `floor` is the relative norm that rounding to the coarser of the two stored types alone would give.
    """

    name: str
    state: State
    norm: float
    base_norm: float
    singular_values: Tensor | None
    floor: float
    n: int
    n_dims: int
    low_rank: bool = False

    @property
    def relative(self) -> float | None:
        """||dW|| / ||W||; None where the base's weight is all zeros."""
        return self.norm / self.base_norm if self.base_norm else None

    @property
    def effective_rank(self) -> float | None:
        return None if self.singular_values is None else effective_rank(self.singular_values)

    @property
    def layer(self) -> int | None:
        found = _LAYER.search(f".{self.name}")
        return None if found is None else int(found.group(1))


def effective_rank(singular_values: Tensor) -> float | None:
    """Exp of the entropy of the singular values as shares of their sum; None where all are zero.

    Reference: Roy and Vetterli 2007, "The effective rank", EUSIPCO.
    """
    total = singular_values.sum()
    if not float(total) > 0:
        return None
    shares = singular_values / total
    return float(torch.exp(-torch.xlogy(shares, shares).sum()))


def low_rank_spectrum(left: Tensor, right: Tensor) -> Tensor:
    """Singular values of `left @ right` ([out, r] and [r, in]) from an r x r core, without forming the product."""
    r_left = torch.linalg.qr(left.double(), mode="r")[1]
    r_right = torch.linalg.qr(right.double().T, mode="r")[1]
    values: Tensor = torch.linalg.svdvals(r_left @ r_right.T)
    return values


def spectrum(difference: Tensor) -> Tensor | None:
    """Singular values of a matrix in double precision; None where it is too large, or no matrix."""
    if difference.ndim != 2 or min(difference.shape) > MAX_SPECTRUM:
        return None
    matrix = difference.double()
    if max(matrix.shape) <= 4 * min(matrix.shape):
        values: Tensor = torch.linalg.svdvals(matrix)
        return values
    # A long matrix, such as that of embeddings: the spectrum of its short side.
    gram = matrix.T @ matrix if matrix.shape[0] > matrix.shape[1] else matrix @ matrix.T
    roots: Tensor = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    return roots


def coarser(a: str | None, b: str | None) -> torch.dtype:
    """The stored type with fewer digits."""
    known = {name: getattr(torch, name) for name in ("float64", "float32", "float16", "bfloat16")}
    found: list[torch.dtype] = [known.get(name or "", torch.float32) for name in (a, b)]
    return max(found, key=lambda dtype: torch.finfo(dtype).eps)


def weight_changes(pair: Pair) -> Iterator[WeightChange]:
    """Every weight that both models have under the same name and in the same shape, in the model's order.

    A weight that two modules share stands here once, unless an adapter changes it in the second of them alone, as in an
    output head that is tied to the embeddings.
    """
    base = named_weights(pair.base)
    tuned = base if pair.switched else named_weights(pair.tuned)
    adapted, _ = adapter_changes(pair.tuned)
    if parted := [name for name, change in adapted.items() if name not in base and not change.is_empty]:
        every = [named_weights(handle, tied=True) for handle in (pair.base, pair.tuned)]
        base, tuned = (
            side | {name: of[name] for name in parted if name in of}
            for side, of in zip((base, tuned), every, strict=True)
        )
    dtype = coarser(pair.base.saved_dtype, pair.tuned.saved_dtype)
    for name, before in base.items():
        after = tuned.get(name)
        if after is not None and after.shape == before.shape and before.is_floating_point():
            yield _change(name, before, after, adapted.get(name), dtype)


def _change(
    name: str, before: Tensor, after: Tensor, adapted: AdapterChange | None, dtype: torch.dtype
) -> WeightChange:
    after = after.to(before.device)
    same = before is after or torch.equal(before, after)
    base_norm = float(torch.linalg.vector_norm(before.double()))
    size: dict[str, Any] = {"n": before.numel(), "n_dims": before.ndim, "base_norm": base_norm}
    if adapted is None and same:
        return WeightChange(name, "same", norm=0.0, singular_values=None, floor=0.0, **size)
    if adapted is not None and same and adapted.magnitude is None:
        if adapted.left is not None and adapted.right is not None:
            values = low_rank_spectrum(adapted.left, adapted.right)
            norm = float(torch.linalg.vector_norm(values))
            state: State = "changed" if norm > 0 else "same"
            return WeightChange(name, state, norm=norm, singular_values=values, floor=0.0, low_rank=True, **size)
        if adapted.dense is None:
            return WeightChange(name, "same", norm=0.0, singular_values=None, floor=0.0, low_rank=True, **size)
    # In double precision, so that the subtraction adds no rounding of its own.
    difference = after.double() - before.double()
    added = None if adapted is None else adapted.difference(after)
    if added is not None:
        difference = difference + added.to(difference.device)
    floor = 0.0 if base_norm == 0 else max(_rounding(one, dtype) for one in (before, after)) / base_norm
    rounded = adapted is None and bool((before.to(dtype) == after.to(dtype)).all())
    norm = float(torch.linalg.vector_norm(difference))
    return WeightChange(
        name,
        "rounding" if rounded and norm > 0 else "changed" if norm > 0 else "same",
        norm=norm,
        singular_values=spectrum(difference) if norm > 0 else None,
        floor=floor,
        **size,
    )


def _rounding(weight: Tensor, dtype: torch.dtype) -> float:
    """Norm of what is lost when a weight is stored in `dtype`."""
    return float(torch.linalg.vector_norm(weight.double() - weight.to(dtype).double()))


def weight_rows(changes: list[WeightChange]) -> list[ComparisonRow]:
    """The whole model first, then every weight that moved, the furthest first; those that stayed are only counted."""
    total = sum(c.n for c in changes)
    norm = sum(c.norm**2 for c in changes) ** 0.5
    base = sum(c.base_norm**2 for c in changes) ** 0.5
    moved = [c for c in changes if c.state != "same"]

    def row(name: str, value: float | None, n: int, change: WeightChange | None = None) -> ComparisonRow:
        layer, item = (None, None) if change is None else (change.layer, change.name)
        return ComparisonRow(
            part="weights", name=name, value=value, ci_low=None, ci_high=None, n=n, layer=layer, item=item
        )

    rows = [
        row("relative_norm", norm / base if base else None, total),
        row("changed_weights", len([c for c in changes if c.state == "changed"]) / len(changes), len(changes)),
    ]
    for change in sorted(moved, key=lambda c: (-(c.relative or 0.0), c.name)):
        rows.append(row("relative_norm", change.relative, change.n, change))
        if change.effective_rank is not None:
            rows.append(row("effective_rank", change.effective_rank, change.n, change))
        if change.floor > 0:
            rows.append(row("rounding_floor", change.floor, change.n, change))
    return rows
