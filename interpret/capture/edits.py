"""Changing what stands at a site while the model runs: ablation, patching, steering; the basis of causal measures.

    with lm.capturing("logits", edits=[Edit.zero("z.3", heads=[2]), Edit.add("resid_post.4", direction)]) as capture:
        model(**batch)

Edits of one site are made in the order given. Only real positions are changed, never pads. An edit says what this
change does to the output, not what the model would have computed had it been trained without the part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, Unpack

import torch
from torch import Tensor

from interpret.capture.hooks import same_shape
from interpret.capture.points import Key, axes_of_model, check_sites, name_of, shape_of
from interpret.errors import UsageError
from interpret.models.handle import Handle

if TYPE_CHECKING:
    from interpret.capture.tensors import Capture

Kind = Literal["zero", "mean", "resample", "patch", "add", "set", "apply"]
#: Given a site and its tensor, which entries of an axis hold something, by the axis' name; see `Recorder.inputs`.
Inputs = Callable[[Key, Tensor], dict[str, Tensor]]

_HEADS: Final = ("head", "kv_head")
_TOKENS: Final = ("position", "query")


class Where(TypedDict, total=False):
    """Which part of a site an edit is about.

    heads: only these heads (of keys and values: key-value heads).
    positions: only these positions, counted among the tokens of each example whichever side is padded, in generation
        from the first token of the prompt; -1 is the last token of the forward. Of patterns and scores they are
        queries.
    units: only these numbers of the last axis, such as neurons of "mlp_act".
    """

    heads: Sequence[int] | None
    positions: Sequence[int] | None
    units: Sequence[int] | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Edit:
    """One change at one site, written as for `capturing` ("z.3", "mlp_act.0-5"), at all of it or a part (`Where`).

    Make one with `zero`, `mean`, `resample`, `patch`, `add`, `set` or `apply`.
    """

    site: str
    kind: Kind
    heads: tuple[int, ...] | None
    positions: tuple[int, ...] | None
    units: tuple[int, ...] | None
    source: Capture | Tensor | None = None
    change: Callable[[Tensor], Tensor] | None = None
    scale: float = 1.0
    seed: int = 0

    @classmethod
    def zero(cls, site: str, **where: Unpack[Where]) -> Edit:
        """Put zero there: harsher than it looks, since zero is a value the model may never see."""
        return _made(site, "zero", where)

    @classmethod
    def mean(cls, site: str, source: Capture, **where: Unpack[Where]) -> Edit:
        """Put the mean over the tokens of a capture there, so that the part says the same of every input."""
        return _made(site, "mean", where, source=source)

    @classmethod
    def resample(cls, site: str, source: Capture, *, seed: int = 0, **where: Unpack[Where]) -> Edit:
        """Put the values of tokens drawn at random from a capture there, which the model does see elsewhere."""
        return _made(site, "resample", where, source=source, seed=seed)

    @classmethod
    def patch(cls, site: str, source: Capture, **where: Unpack[Where]) -> Edit:
        """Put the values of another run there, token for token; a capture of one example serves every example."""
        return _made(site, "patch", where, source=source)

    @classmethod
    def add(cls, site: str, vector: Tensor, *, scale: float = 1.0, **where: Unpack[Where]) -> Edit:
        """Add a vector times `scale`: `[d]` of the last axis, or with an axis for the heads before it."""
        return _made(site, "add", where, source=torch.as_tensor(vector), scale=scale)

    @classmethod
    def set(cls, site: str, value: Tensor | float, **where: Unpack[Where]) -> Edit:
        """Put a number or a vector there, shaped as for `add`."""
        return _made(site, "set", where, source=torch.as_tensor(value))

    @classmethod
    def apply(cls, site: str, change: Callable[[Tensor], Tensor], **where: Unpack[Where]) -> Edit:
        """Put what a function makes of the whole tensor there; it must not change its argument in place."""
        return _made(site, "apply", where, change=change)


def _made(site: str, kind: Kind, where: Where, **rest: Any) -> Edit:
    parts: dict[str, Any] = {}
    for name in ("heads", "positions", "units"):
        numbers: Any = where.get(name)
        if isinstance(numbers, int):
            raise UsageError(f"{name}={numbers} of an edit must be a list; write {name}=[{numbers}]")
        parts[name] = None if numbers is None else tuple(int(number) for number in numbers)
    unknown = set(where) - set(parts)
    if unknown:
        raise UsageError(f"an edit has no {', '.join(sorted(unknown))}=; it is limited by heads=, positions=, units=")
    return Edit(site=site, kind=kind, **parts, **rest)


def bind(handle: Handle, edits: Sequence[Edit], inputs: Inputs) -> dict[Key, Callable[[Tensor], Tensor]]:
    """Make of edits one function of the tensor for each (site, layer) they name.

    Raises:
        UnknownSiteError: a site or a layer that the model does not have.
        UsageError: heads or units that are not there, or an edit that does not fit its site.
    """
    steps: dict[Key, list[Callable[[Tensor], Tensor]]] = {}
    for edit in edits:
        if not isinstance(edit, Edit):
            raise UsageError(f"an edit is made with Edit.zero, Edit.patch, ...; a {type(edit).__name__} was given")
        for key in check_sites(handle, [edit.site]):
            _check(handle, edit, key)
            steps.setdefault(key, []).append(_step(handle, edit, key, inputs))
    return {key: _in_turn(made) for key, made in steps.items()}


def _in_turn(steps: list[Callable[[Tensor], Tensor]]) -> Callable[[Tensor], Tensor]:
    def run(value: Tensor) -> Tensor:
        for step in steps:
            value = step(value)
        return value

    return run


def _check(handle: Handle, edit: Edit, key: Key) -> None:
    axes, shape = axes_of_model(handle, key[0]), shape_of(handle, key[0])
    size = dict(zip(axes, shape, strict=True))
    heads = next((axis for axis in axes if axis in _HEADS), None)
    for name, numbers, axis in (("heads", edit.heads, heads), ("units", edit.units, axes[-1])):
        if numbers is None:
            continue
        if axis is None or axis == "key":
            raise UsageError(f"{name}= was given for {name_of(key)}, which has axes {', '.join(axes)}; leave it out")
        there = size[axis]
        wrong = [n for n in numbers if n < 0 or (there is not None and n >= there)]
        if wrong:
            raise UsageError(
                f"{name} {', '.join(map(str, wrong))} of {name_of(key)} do not exist; there are {there}, counted from 0"
            )
    if edit.positions is not None and not any(axis in axes for axis in _TOKENS):
        raise UsageError(f"positions= was given for {name_of(key)}, which has axes {', '.join(axes)}; leave it out")
    if edit.kind in ("mean", "resample") and "query" in axes:
        raise UsageError(
            f"{name_of(key)} of texts of different lengths has no {edit.kind}; patch it, set it, or edit z instead"
        )
    if edit.kind in ("mean", "resample", "patch"):
        source = edit.source
        if not hasattr(source, "mask_of"):
            raise UsageError(f"Edit.{edit.kind} takes its values from a Capture; a {type(source).__name__} was given")
        source.key(key)  # type: ignore[union-attr]


def _step(handle: Handle, edit: Edit, key: Key, inputs: Inputs) -> Callable[[Tensor], Tensor]:
    axes = axes_of_model(handle, key[0])
    generator = torch.Generator().manual_seed(edit.seed)

    def run(value: Tensor) -> Tensor:
        masks = {name: mask.to(value.device) for name, mask in inputs(key, value).items()}
        chosen = _chosen(edit, axes, value, masks)
        new = _values(edit, key, axes, value, masks, generator)
        return torch.where(chosen, new, value)

    return run


def _chosen(edit: Edit, axes: Sequence[str], value: Tensor, masks: dict[str, Tensor]) -> Tensor:
    """What of the tensor is changed, bool and broadcastable to it."""
    chosen = torch.ones((1,) * value.ndim, dtype=torch.bool, device=value.device)
    token_axis = next((axis for axis in _TOKENS if axis in axes), None)
    if token_axis is not None:
        real = masks[token_axis]
        if edit.positions is not None:
            real = real & _named(real, masks, edit.positions)
        chosen = chosen & _along(real, axes, token_axis)
    head_axis = next((axis for axis in axes if axis in _HEADS), None)
    for numbers, axis in ((edit.heads, head_axis), (edit.units, axes[-1])):
        if numbers is not None and axis is not None:
            flags = torch.zeros(value.shape[axes.index(axis)], dtype=torch.bool, device=value.device)
            flags[list(numbers)] = True
            shape = [1] * value.ndim
            shape[axes.index(axis)] = -1
            chosen = chosen & flags.view(shape)
    return chosen


def _ranks(mask: Tensor) -> Tensor:
    """How many tokens stand before each position."""
    return mask.int().cumsum(1) - 1


def _named(real: Tensor, masks: dict[str, Tensor], positions: tuple[int, ...]) -> Tensor:
    """Positions that are named from the first token on, or with negative numbers from the last one back."""
    before = masks["before"][:, None]
    rank = _ranks(real) + before
    after = rank - (before + real.sum(1, keepdim=True))
    wanted = torch.tensor(positions, device=real.device)
    return torch.isin(rank, wanted[wanted >= 0]) | torch.isin(after, wanted[wanted < 0])


def _along(mask: Tensor, axes: Sequence[str], axis: str) -> Tensor:
    shape = [1] * len(axes)
    shape[0], shape[axes.index(axis)] = mask.shape
    return mask.view(shape)


def _values(
    edit: Edit, key: Key, axes: Sequence[str], value: Tensor, masks: dict[str, Tensor], generator: torch.Generator
) -> Tensor:
    """What stands there instead, in the whole tensor or broadcastable to it."""
    match edit.kind:
        case "zero":
            return torch.zeros((), dtype=value.dtype, device=value.device)
        case "apply":
            assert edit.change is not None
            return same_shape(key, value, edit.change(value))
        case "set":
            return _vector(edit, key, axes, value)
        case "add":
            return value + edit.scale * _vector(edit, key, axes, value)
        case "mean":
            return _mean(edit, key, axes).to(value)
        case "resample":
            return _resampled(edit, key, axes, value, generator)
    if "query" in axes:
        return _patched_pattern(edit, key, value, masks)
    return _patched(edit, key, axes, value, masks)


def _vector(edit: Edit, key: Key, axes: Sequence[str], value: Tensor) -> Tensor:
    """Give a vector the axes of the site."""
    vector = edit.source
    assert isinstance(vector, Tensor)
    vector = vector.to(value)
    rest = [axis for axis in axes if axis not in ("example", *_TOKENS)]
    sizes = [value.shape[axes.index(axis)] for axis in rest]
    if vector.ndim == 0 or vector.shape == value.shape:
        return vector
    if "key" not in rest and list(vector.shape) in (sizes, sizes[-1:]):
        shape = [1] * value.ndim
        for axis, size in zip(rest[-vector.ndim :], vector.shape, strict=True):
            shape[axes.index(axis)] = size
        return vector.view(shape)
    raise UsageError(
        f"the vector for {name_of(key)} has shape {tuple(vector.shape)}; give {sizes[-1]} numbers, shape "
        f"{tuple(sizes)}, or the whole site, here {tuple(value.shape)}"
    )


def _source(edit: Edit, key: Key) -> tuple[Tensor, Tensor]:
    """The captured tensor and which of its positions hold something."""
    source = edit.source
    assert source is not None
    assert not isinstance(source, Tensor)
    return source[key].detach(), source.mask_of(key[0])


def _tokens_first(tensor: Tensor, axes: Sequence[str]) -> Tensor:
    """`[example, position, ...]`; without positions each example counts as one token."""
    return tensor.movedim(axes.index("position"), 1) if "position" in axes else tensor[:, None]


def _mean(edit: Edit, key: Key, axes: Sequence[str]) -> Tensor:
    tensor, mask = _source(edit, key)
    flat = _tokens_first(tensor, axes)
    rows = flat[mask.to(flat.device)] if "position" in axes else flat.flatten(0, 1)
    mean = rows.double().mean(0)
    shape = [1 if axis in ("example", "position") else tensor.shape[at] for at, axis in enumerate(axes)]
    return mean.reshape(shape)


def _resampled(edit: Edit, key: Key, axes: Sequence[str], value: Tensor, generator: torch.Generator) -> Tensor:
    tensor, mask = _source(edit, key)
    flat = _tokens_first(tensor, axes)
    rows = flat[mask.to(flat.device)] if "position" in axes else flat.flatten(0, 1)
    into = _tokens_first(value, axes)
    drawn = torch.randint(len(rows), (math.prod(into.shape[:2]),), generator=generator)
    new = rows[drawn.to(rows.device)].view(*into.shape[:2], *rows.shape[1:]).to(value)
    return new.movedim(1, axes.index("position")) if "position" in axes else new[:, 0]


def _aligned(key: Key, mask: Tensor, real: Tensor, needed: Tensor) -> Tensor:
    """For each position of the forward the position of the same token in the source, [example, position].

    Raises:
        UsageError: the source has another number of examples, or no such token.
    """
    mask = mask.to(real.device)
    if len(mask) not in (1, len(real)):
        raise UsageError(
            f"{name_of(key)} is patched from a capture of {len(mask)} examples into a forward of {len(real)}; give as "
            "many, or a capture of one"
        )
    mask = mask.expand(len(real), -1)
    rank = _ranks(real).clamp(min=0)
    missing = needed & (rank >= mask.sum(1, keepdim=True))
    if missing.any():
        example = int(missing.any(1).int().argmax())
        raise UsageError(
            f"{name_of(key)} of example {example} is patched from a capture with {int(mask[example].sum())} tokens, "
            f"but the example has {int(real[example].sum())}; name positions= that both have"
        )
    found = torch.searchsorted(_ranks(mask).contiguous(), rank.contiguous())
    return found.clamp(max=mask.shape[1] - 1)


def _patched(edit: Edit, key: Key, axes: Sequence[str], value: Tensor, masks: dict[str, Tensor]) -> Tensor:
    tensor, mask = _source(edit, key)
    if "position" not in axes:
        if len(tensor) not in (1, len(value)):
            raise UsageError(
                f"{name_of(key)} is patched from a capture of {len(tensor)} examples into a forward of {len(value)}; "
                "give as many, or a capture of one"
            )
        return tensor.to(value).expand_as(value)
    real = masks["position"]
    needed = real if edit.positions is None else real & _named(real, masks, edit.positions)
    at = _aligned(key, mask, real, needed)
    source = _tokens_first(tensor.to(value), axes)
    source = source.expand(len(value), *source.shape[1:])
    new = source[torch.arange(len(value), device=value.device)[:, None], at]
    return new.movedim(1, axes.index("position"))


def _patched_pattern(edit: Edit, key: Key, value: Tensor, masks: dict[str, Tensor]) -> Tensor:
    source = edit.source
    assert source is not None
    assert not isinstance(source, Tensor)
    tensor, mask = _source(edit, key)
    looked_at = source.mask_of("encoder.embed") if key[0].startswith("cross.") else mask
    queries, keys = masks["query"], masks["key"]
    needed = queries if edit.positions is None else queries & _named(queries, masks, edit.positions)
    rows = _aligned(key, mask, queries, needed)
    columns = _aligned(key, looked_at, keys, keys)
    moved = tensor.to(value)
    moved = moved.expand(len(value), *moved.shape[1:])
    moved = moved.take_along_dim(rows[:, None, :, None], 2).take_along_dim(columns[:, None, None, :], 3)
    # What the model masks stays as the model has it.
    return torch.where(keys[:, None, None, :], moved, value)
