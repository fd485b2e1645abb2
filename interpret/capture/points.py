"""Where each site is read: the module, the side, and the way from the raw tensor to the site and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn

from interpret.capture.attention import on_interface
from interpret.errors import UnknownSiteError
from interpret.models.handle import CLASSIFYING, AttentionRoles, Handle, Modules, Roles
from interpret.models.resolve import widths
from interpret.sites import AXES, CROSS_SITES, Key, axes_of, expand_sites, is_layered, site_names, split_site

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Absence", "Key", "Point", "absence", "check_sites", "n_values", "name_of", "point", "shape_of",
           "sites_frame", "sites_of", "unavailable"]  # fmt: skip


class Point(NamedTuple):
    """One place in one model; `write` is None where the site can only be read.

    A module that serves several layers is passed several times in a forward; `turn` says which time is meant, and is
    None where there is one.
    """

    module: nn.Module
    side: Literal["input", "output"]
    read: Callable[[Tensor], Tensor]
    write: Callable[[Tensor, Tensor], Tensor] | None
    turn: int | None = None


class Absence(NamedTuple):
    """Why a model does not have a site; `architectural` where there is no such thing in models of its kind."""

    reason: str
    architectural: bool


def name_of(key: Key) -> str:
    """`"resid_post.3"`, or the bare site where there are no layers."""
    return key[0] if key[1] is None else f"{key[0]}.{key[1]}"


def sites_of(handle: Handle) -> tuple[str, ...]:
    """Every site the model could have, prefixes included, in order."""
    return site_names(handle.prefixes)


def unavailable(handle: Handle, name: str) -> str | None:
    """Why this model does not have the site; None if it has it."""
    found = absence(handle, name)
    return None if found is None else found.reason


def absence(handle: Handle, name: str) -> Absence | None:
    """Why this model does not have the site, and whether models of its kind could; None if it has it."""
    prefix, site = split_site(name)
    if site == "logits":
        if handle.task == "none":
            return Absence("the model has no head, so it has no logits", True)
        return None
    roles = handle.stack(prefix)
    if roles is None:
        return Absence(f"the model has no stack {prefix!r}", True)
    if prefix == "cross" and site not in CROSS_SITES:
        return Absence("attention to the encoder has no such place of its own", True)
    part = roles.of(prefix == "cross")
    if site == "attn_scores" and not all(map(on_interface, part.attention)):
        attention = type(part.attention[0]).__name__
        return Absence(
            f"{attention} makes its scores inside and hands out only what softmax makes of them, attn_pattern", False
        )
    if site == "final_norm" and roles.final_norm is None:
        post = "each block norms its sum, so there is no norm at the end"
        plain = post if roles.layout.norm == "post" else "no norm at the end was found"
        return Absence(roles.layout.no_final_norm or plain, True)
    if site == "mlp_act" and not roles.mlp_act:
        return Absence("experts share the mlp, so there is no single mlp activation", True)
    if site == "resid_mid" and not part.mid:
        return Absence("attention and mlp run in parallel, so the stream has no value between them", True)
    return None


def check_sites(handle: Handle, written: Sequence[str]) -> list[Key]:
    """Name the (site, layer) pairs of a request, all of which this model has.

    Raises:
        UnknownSiteError: a site or a layer that the model does not have.

    """
    keys = expand_sites(written, handle.layers)
    for site in dict.fromkeys(site for site, _ in keys):
        _require(handle, site)
    return keys


def point(handle: Handle, name: str, layer: int | None) -> Point:
    """Find the place of one site.

    Raises:
        UnknownSiteError: the model does not have it.

    """
    _require(handle, name)
    prefix, site = split_site(name)
    if not is_layered(name):
        if layer is not None:
            raise UnknownSiteError(
                f"{name!r} exists once per model and takes no layer, but layer {layer} was asked for"
            )
        if site == "logits":
            return Point(handle.model, "output", _same, lambda raw, value: value)
    roles = handle.stack(prefix)
    assert roles is not None
    if site == "embed":
        return _at(roles.blocks, 0, "input") if roles.embed is None else _plain(roles.embed, "output")
    if site == "final_norm":
        assert roles.final_norm is not None
        return _plain(roles.final_norm, "output")
    if layer is None or not 0 <= layer < roles.n_layers:
        raise UnknownSiteError(
            f"asked for {name} of layer {layer}, but the {prefix or 'model'} has {roles.n_layers} layers: 0 to "
            f"{roles.n_layers - 1}"
        )
    part = roles.of(prefix == "cross")
    match site:
        case "resid_pre":
            return _at(roles.blocks, layer, "input")
        case "resid_mid":
            return _at(part.mid, layer, part.mid_side)
        case "resid_post":
            return _at(roles.blocks, layer, "output")
        case "q" | "k" | "v":
            return _projection(roles, part, site, layer)
        case "z":
            return _z(roles, part, layer)
        case "attn_out":
            return _at(part.attn_out, layer, "output")
        case "mlp_act":
            return _at(roles.mlp_act, layer, "input")
        case "mlp_out":
            return _at(roles.mlp, layer, "output")
        case "attn_pattern" | "attn_scores":
            # The tee looks on; what it sees is not what the model goes on with.
            return _at(part.attention, layer, "output")._replace(write=None)
    raise UnknownSiteError(f"{name!r} is not a site of {handle.name}")


def n_values(handle: Handle, site: str, n_positions: int, n_keys: int | None = None) -> int:
    """Numbers that one example costs at one layer of one site.

    Args:
        handle: the attached model.
        site: with its prefix.
        n_positions: of the site's stack.
        n_keys: keys that attention has; as many as positions by default.

    """
    total = 1
    for axis, size in zip(axes_of_model(handle, site)[1:], shape_of(handle, site)[1:], strict=True):
        free = n_keys if axis == "key" and n_keys is not None else n_positions
        total *= free if size is None else size
    return total


def axes_of_model(handle: Handle, site: str) -> tuple[str, ...]:
    """Axes of a site in this model; where it does not classify whole examples, logits stand at every position."""
    return axes_of(site, 3 if split_site(site)[1] == "logits" and handle.task not in CLASSIFYING else None)


def n_outputs(handle: Handle) -> int:
    """Numbers that the head gives for an example or a position: classes, start and end, or the vocabulary."""
    if handle.task == "question-answering":
        return 2
    if handle.task in CLASSIFYING or handle.task == "token-classification":
        return int(handle.config.num_labels)
    if not getattr(handle.config, "share_encoder_decoder_embeddings", True):
        # Marian with a vocabulary for each language.
        return int(handle.config.decoder_vocab_size)
    return int(getattr(handle.config, "vocab_size", None) or handle.vocab_size)


def shape_of(handle: Handle, name: str) -> tuple[int | None, ...]:
    """Sizes along the axes; None where the input decides."""
    prefix, site = split_site(name)
    if site == "logits":
        return (None, n_outputs(handle)) if handle.task in CLASSIFYING else (None, None, n_outputs(handle))
    roles = handle.stack(prefix)
    assert roles is not None
    found = widths(roles.mlp_act[0]) if roles.mlp_act and site == "mlp_act" else None
    sizes = {
        "head": roles.n_heads,
        "kv_head": roles.n_kv_heads,
        "d_model": roles.d_model,
        "d_head": roles.d_head,
        "d_mlp": 0 if found is None else found[0],
    }
    return tuple(sizes.get(axis) or None for axis in AXES[site])


def sites_frame(handle: Handle, refused: dict[str, str] | None = None) -> pd.DataFrame:
    """Every site of the vocabulary and whether this model has it.

    Args:
        handle: the attached model.
        refused: sites that the proof at attach refused, and why.

    Returns:
        One row per site and layer: site, layer (missing for sites without layers), axes (a tuple of names),
        shape (a tuple, None where the input decides), available, reason (why not, else "").

    """
    import pandas as pd

    rows = []
    for site in sites_of(handle):
        reason = unavailable(handle, site) or (refused or {}).get(site)
        axes = axes_of_model(handle, site)
        shape = None if reason else shape_of(handle, site)
        n_layers = 0 if site == "logits" else handle.layers[split_site(site)[0]]
        layers: list[int | None] = list(range(n_layers)) if is_layered(site) else [None]
        rows += [(site, layer, axes, shape, reason is None, reason or "") for layer in layers]
    frame = pd.DataFrame(rows, columns=["site", "layer", "axes", "shape", "available", "reason"])
    return frame.astype({"layer": "Int64"})


def _require(handle: Handle, site: str) -> None:
    reason = unavailable(handle, site)
    if reason is not None:
        there = ", ".join(name for name in sites_of(handle) if unavailable(handle, name) is None)
        raise UnknownSiteError(f"{handle.name} has no site {site!r}: {reason}; it has {there}")


def _same(raw: Tensor) -> Tensor:
    return raw


def _plain(module: nn.Module, side: Literal["input", "output"]) -> Point:
    return Point(module, side, _same, lambda raw, value: value)


def _at(modules: Modules, layer: int, side: Literal["input", "output"]) -> Point:
    return _plain(modules[layer], side)._replace(turn=_turn(modules, layer))


def _turn(modules: Modules, layer: int) -> int | None:
    """Which pass through the module is that of the layer; None where the module serves one layer only."""
    module = modules[layer]
    passes = [number for number, other in enumerate(modules) if other is module]
    return passes.index(layer) if len(passes) > 1 else None


def _z(roles: Roles, part: AttentionRoles, layer: int) -> Point:
    """Split the input of the output projection by heads."""
    n_heads = roles.n_heads
    return Point(
        part.attention_output[layer],
        "input",
        lambda raw: raw.reshape(*raw.shape[:-1], n_heads, -1),
        lambda raw, value: value.reshape(raw.shape),
        _turn(part.attention_output, layer),
    )


def _projection(roles: Roles, part: AttentionRoles, site: Literal["q", "k", "v"], layer: int) -> Point:
    """Split the output of a projection by heads: before rotary positions and norms of queries and keys."""
    modules: Modules = getattr(part, site)
    module, turn = modules[layer], 0 if part.used_again else _turn(modules, layer)
    n_heads = roles.n_heads if site == "q" else roles.n_kv_heads

    def by_head(projected: Tensor) -> Tensor:
        return projected.reshape(*projected.shape[:-1], n_heads, -1).transpose(1, 2)

    def flat(value: Tensor) -> Tensor:
        return value.transpose(1, 2).flatten(2)

    if part.fused is None:
        return Point(module, "output", by_head, lambda raw, value: flat(value), turn)
    index = ("q", "k", "v").index(site)
    if part.fused == "by_head":
        # GPT-NeoX: query, key and value of one head lie beside each other.
        def heads(raw: Tensor) -> Tensor:
            return raw.reshape(*raw.shape[:-1], n_heads, 3, -1)

        def replace_head(raw: Tensor, value: Tensor) -> Tensor:
            parts = heads(raw).clone()
            parts[..., index, :] = value.transpose(1, 2)
            return parts.reshape(raw.shape)

        return Point(module, "output", lambda raw: heads(raw)[..., index, :].transpose(1, 2), replace_head, turn)
    sizes = [count * roles.d_head for count in (roles.n_heads, roles.n_kv_heads, roles.n_kv_heads)]

    def replace(raw: Tensor, value: Tensor) -> Tensor:
        thirds = list(torch.split(raw, sizes, dim=-1))
        thirds[index] = flat(value)
        return torch.cat(thirds, dim=-1)

    return Point(module, "output", lambda raw: by_head(torch.split(raw, sizes, dim=-1)[index]), replace, turn)
