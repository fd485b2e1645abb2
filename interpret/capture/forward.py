"""One forward of a model as it was recorded: inputs of its stacks, tensors by site and layer, pads as NaN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

from torch import Tensor

from interpret.capture.points import Key
from interpret.sites import split_site


@dataclass(eq=False)
class StackInputs:
    """What one stack was run on: which of its positions hold something, and what.

    `key_mask` is wider than `mask` when a cache is in use. `name` puts the positions into words when it is asked to.
    """

    mask: Tensor  # bool [example, position]
    key_mask: Tensor  # bool [example, key]
    n_past: int
    causal: bool
    name: Callable[[], tuple[tuple[str, ...], ...]]

    @cached_property
    def tokens(self) -> tuple[tuple[str, ...], ...]:
        return self.name()


@dataclass(eq=False)
class Forward:
    """One forward of the model: a batch with its own widths.

    `tensors` holds what was read; `index` the keys that the largest attention weights belong to; `rows` the query
    positions that were kept, where not all were, with the ones that exist. Attention is kept as it came and blanked
    when somebody asks for it: `raw` gives the axes of the tensors that are not yet.
    """

    stacks: dict[str, StackInputs] = field(default_factory=dict)
    tensors: dict[Key, Tensor] = field(default_factory=dict)
    index: dict[Key, Tensor] = field(default_factory=dict)
    rows: dict[Key, tuple[Tensor, Tensor]] = field(default_factory=dict)
    raw: dict[Key, tuple[str, ...]] = field(default_factory=dict)
    #: Where the masks have no token, by the identity of a mask that this forward holds.
    known: dict[int, tuple[Tensor, Pads]] = field(default_factory=dict)
    #: Prefixes of the stacks whose attention has been looked at for mass on the future.
    looked_at: set[str] = field(default_factory=set)

    def stack_of(self, name: str) -> StackInputs:
        """The stack whose positions (and queries) a site has; that of the logits is the last."""
        prefix, site = split_site(name)
        if site == "logits":
            return self.stacks[next(reversed(self.stacks))]
        if prefix == "cross":
            prefix = "encoder" if site in ("k", "v") else "decoder"
        return self.stacks[prefix]

    def masks(self, key: Key) -> dict[str, Tensor]:
        """Which entries of an axis hold something, bool [example, ...] by the axis' name."""
        own = self.stack_of(key[0])
        query = self.rows[key][1] if key in self.rows else own.mask
        prefix, _ = split_site(key[0])
        keys = self.stacks["encoder"].mask if prefix == "cross" else own.key_mask
        return {"position": own.mask, "query": query, "key": keys}

    def pads(self, key: Key) -> dict[str, Pads]:
        """Which entries of an axis hold nothing; looked up once for each mask."""
        found = {}
        for name, mask in self.masks(key).items():
            held, pads = self.known.get(id(mask), (None, None))
            if held is not mask:
                pads = pads_of(mask)
                self.known[id(mask)] = (mask, pads)
            found[name] = pads
        return found

    def settle(self) -> Self:
        """Blank what was kept as it came."""
        for key, axes in list(self.raw.items()):
            blank_pads(self.tensors[key], axes, self.pads(key))
            del self.raw[key]
        return self

    def __len__(self) -> int:
        return len(next(iter(self.stacks.values())).mask)


#: Positions without a token, example by example: a slice where they stand at one end; None where there are none.
Pads = list[tuple[int, slice | Tensor]] | None


def pads_of(mask: Tensor) -> Pads:
    """Where a mask `[example, position]` has no token."""
    if mask.all():
        return None
    found: list[tuple[int, slice | Tensor]] = []
    n_positions = mask.shape[1]
    for example, (row, n_tokens) in enumerate(zip(mask, mask.sum(1).tolist(), strict=True)):
        if n_tokens == n_positions:
            continue
        # Pads stand at one end as a rule, and a slice is a hundred times cheaper than a mask of the whole tensor.
        if bool(row[:n_tokens].all()):
            found.append((example, slice(n_tokens, None)))
        elif bool(row[n_positions - n_tokens :].all()):
            found.append((example, slice(0, n_positions - n_tokens)))
        else:
            found.append((example, (~row).nonzero()[:, 0]))
    return found


def blank_pads(tensor: Tensor, axes: Sequence[str], pads: dict[str, Pads]) -> None:
    """Write NaN over every value at a pad position (query or key)."""
    for name, where in pads.items():
        if where is None or name not in axes:
            continue
        axis = axes.index(name) - 1
        for example, positions in where:
            part = tensor[example].movedim(axis, 0)
            part[positions] = float("nan")


def widen(tensor: Tensor, size: Sequence[int], blank: float) -> Tensor:
    """Pad with `blank` at the end of every axis but the first."""
    target = [tensor.shape[0], *size]
    if target == list(tensor.shape):
        return tensor
    wide = tensor.new_full(target, blank)
    wide[tuple(slice(size) for size in tensor.shape)] = tensor
    return wide
