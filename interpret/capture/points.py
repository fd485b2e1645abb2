"""Where each site is read: the module, the side, and the way from the raw tensor to the site and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn

from interpret.errors import UnknownSiteError
from interpret.models.handle import Handle
from interpret.sites import AXES, SITES, UNLAYERED, Site, expand_sites

if TYPE_CHECKING:
    import pandas as pd

#: One captured tensor: a site and its layer, None for a site that exists once per model.
Key = tuple[Site, int | None]


class Point(NamedTuple):
    """One place in one model; `write` is None where the site can only be read."""

    module: nn.Module
    side: Literal["input", "output"]
    read: Callable[[Tensor], Tensor]
    write: Callable[[Tensor, Tensor], Tensor] | None


def name_of(key: Key) -> str:
    """`"resid_post.3"`, or the bare site where there are no layers."""
    return key[0] if key[1] is None else f"{key[0]}.{key[1]}"


def unavailable(handle: Handle, site: Site) -> str | None:
    """Why this model does not have the site; None if it has it."""
    if site == "attn_scores":
        return (
            "no attention implementation hands out its scores before the softmax; attn_pattern is what it makes of them"
        )
    if site == "final_norm" and handle.roles.final_norm is None:
        return f"the {handle.roles.family} family normalises after every block and has no norm at the end"
    if site == "mlp_act" and not handle.roles.mlp_act:
        return f"experts share the mlp in the {handle.roles.family} family, so there is no single mlp activation"
    if site == "logits" and handle.task == "none":
        return "the model has no head, so it has no logits"
    return None


def check_sites(handle: Handle, written: tuple[str, ...] | list[str]) -> list[Key]:
    """Name the (site, layer) pairs of a request, all of which this model has.

    Raises:
        UnknownSiteError: a site or a layer that the model does not have.

    """
    keys = expand_sites(written, handle.n_layers)
    for site in dict.fromkeys(site for site, _ in keys):
        _require(handle, site)
    return keys


def point(handle: Handle, site: Site, layer: int | None) -> Point:
    """Find the place of one site.

    Raises:
        UnknownSiteError: the model does not have it.

    """
    _require(handle, site)
    roles = handle.roles
    if site in UNLAYERED:
        if layer is not None:
            raise UnknownSiteError(
                f"{site!r} exists once per model and takes no layer, but layer {layer} was asked for"
            )
        if site == "embed":
            return _plain(roles.embed, "output")
        if site == "final_norm":
            assert roles.final_norm is not None
            return _plain(roles.final_norm, "output")
        return Point(handle.model, "output", _same, None)
    if layer is None or not 0 <= layer < handle.n_layers:
        raise UnknownSiteError(
            f"asked for {site} of layer {layer}, but the model has {handle.n_layers} layers: 0 to {handle.n_layers - 1}"
        )
    match site:
        case "resid_pre":
            return _plain(roles.blocks[layer], "input")
        case "resid_mid":
            return _plain(roles.mid[layer], roles.mid_side)
        case "resid_post":
            return _plain(roles.blocks[layer], "output")
        case "q" | "k" | "v":
            return _projection(handle, site, layer)
        case "z":
            return _z(handle, layer)
        case "attn_out":
            return _plain(roles.attention_output[layer], "output")
        case "mlp_act":
            return _plain(roles.mlp_act[layer], "input")
        case "mlp_out":
            return _plain(roles.mlp[layer], "output")
        case "attn_pattern":
            # The tee looks on; what it sees is not what the model goes on with.
            return Point(roles.attention[layer], "output", _same, None)
    raise UnknownSiteError(f"{site!r} is not a site of {handle.name}")


def n_values(handle: Handle, site: Site, n_positions: int) -> int:
    """Numbers that one example of this width costs at one layer of one site."""
    shape = shape_of(handle, site)
    total = 1
    for size in shape[1:]:
        total *= n_positions if size is None else size
    return total


def shape_of(handle: Handle, site: Site) -> tuple[int | None, ...]:
    """Sizes along the axes; None where the input decides."""
    if site == "logits" and handle.task != "text-classification":
        return (None, None, handle.vocab_size)
    d_mlp = 0
    if site == "mlp_act":
        from interpret.models.resolve import widths

        found = widths(handle.roles.mlp_act[0]) if handle.roles.mlp_act else None
        d_mlp = 0 if found is None else found[0]
    sizes = {
        "head": handle.n_heads,
        "kv_head": handle.n_kv_heads,
        "d_model": handle.d_model,
        "d_head": handle.d_head,
        "d_mlp": d_mlp,
        "label": len(handle.labels),
    }
    return tuple(sizes.get(axis) or None for axis in AXES[site])


def sites_frame(handle: Handle) -> pd.DataFrame:
    """Every site of the vocabulary and whether this model has it.

    Returns:
        One row per site and layer: site, layer (missing for sites without layers), axes (a tuple of names),
        shape (a tuple, None where the input decides), available, reason (why not, else "").

    """
    import pandas as pd

    rows = []
    for site in SITES:
        reason = unavailable(handle, site)
        axes = AXES[site]
        if site == "logits" and handle.task in ("causal-lm", "masked-lm"):
            axes = ("example", "position", "label")
        shape = None if reason else shape_of(handle, site)
        layers: list[int | None] = [None] if site in UNLAYERED else list(range(handle.n_layers))
        rows += [(site, layer, axes, shape, reason is None, reason or "") for layer in layers]
    frame = pd.DataFrame(rows, columns=["site", "layer", "axes", "shape", "available", "reason"])
    return frame.astype({"layer": "Int64"})


def _require(handle: Handle, site: Site) -> None:
    reason = unavailable(handle, site)
    if reason is not None:
        there = ", ".join(name for name in SITES if unavailable(handle, name) is None)
        raise UnknownSiteError(f"{handle.name} has no site {site!r}: {reason}; it has {there}")


def _same(raw: Tensor) -> Tensor:
    return raw


def _plain(module: nn.Module, side: Literal["input", "output"]) -> Point:
    return Point(module, side, _same, lambda raw, value: value)


def _z(handle: Handle, layer: int) -> Point:
    """Split the input of the output projection by heads."""
    n_heads = handle.n_heads
    return Point(
        handle.roles.attention_output[layer],
        "input",
        lambda raw: raw.reshape(*raw.shape[:-1], n_heads, -1),
        lambda raw, value: value.reshape(raw.shape),
    )


def _projection(handle: Handle, site: Literal["q", "k", "v"], layer: int) -> Point:
    """Split the output of a projection by heads: before rotary positions and norms of queries and keys."""
    module: nn.Module = getattr(handle.roles, site)[layer]
    n_heads = handle.n_heads if site == "q" else handle.n_kv_heads

    def by_head(part: Tensor) -> Tensor:
        return part.reshape(*part.shape[:-1], n_heads, -1).transpose(1, 2)

    def flat(value: Tensor) -> Tensor:
        return value.transpose(1, 2).flatten(2)

    if not handle.roles.fused_qkv:
        return Point(module, "output", by_head, lambda raw, value: flat(value))
    sizes = [count * handle.d_head for count in (handle.n_heads, handle.n_kv_heads, handle.n_kv_heads)]
    index = ("q", "k", "v").index(site)

    def replace(raw: Tensor, value: Tensor) -> Tensor:
        parts = list(torch.split(raw, sizes, dim=-1))
        parts[index] = flat(value)
        return torch.cat(parts, dim=-1)

    return Point(module, "output", lambda raw: by_head(torch.split(raw, sizes, dim=-1)[index]), replace)
