"""From a model to its roles: by the row of its family, else by a row that fits its structure."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from interpret.errors import LoadError, ProofError
from interpret.models.families import BY_MODEL_TYPE, FAMILIES, Family
from interpret.models.handle import Handle, Roles, unwrapped


class Proof(NamedTuple):
    """The widths that were found in the weights and agree with the config."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    d_head: int
    d_mlp: int | None


class _Missing(NamedTuple):
    """Why a row does not fit: the path that is not there."""

    family: str
    path: str


def resolve(model: nn.Module) -> Roles:
    """Find the parts of `model`, which may be wrapped by PEFT.

    Raises:
        LoadError: no row fits; the message says which rows were tried and what each of them missed.
    """
    core = unwrapped(model)
    config: Any = getattr(core, "config", None)
    if config is None:
        raise LoadError(f"{type(core).__name__} has no config: give a transformers model, or a PEFT model around one")
    if getattr(config, "is_encoder_decoder", False):
        raise LoadError(
            f"{type(core).__name__} is an encoder-decoder model; "
            "encoders and decoders are supported, models of both are not"
        )
    base = getattr(core, getattr(core, "base_model_prefix", "") or "", core)
    model_type = str(getattr(config, "model_type", ""))
    row = BY_MODEL_TYPE.get(model_type)
    if row is not None:
        found = _apply(row, base)
        if isinstance(found, Roles):
            return found
        raise LoadError(
            f"{type(core).__name__} has model type {model_type!r} but no module {found.path!r}, where the "
            "family "
            f"{row.name!r} has it; a model changed after loading, or another version of transformers, "
            "looks like this"
        )
    tried = []
    for candidate in FAMILIES:
        found = _apply(candidate, base, exactly=True)
        if isinstance(found, Roles):
            return found
        tried.append(f"{found.family} (no {found.path})")
    raise LoadError(
        f"{type(core).__name__} of model type {model_type!r} is of no known family; tried "
        f"{', '.join(tried)}; "
        f"known model types are {', '.join(sorted(BY_MODEL_TYPE))}"
    )


def _at(root: nn.Module, path: str) -> nn.Module | None:
    """The module at a dotted path, or None; where an adapter wraps a layer, the wrapper is found."""
    here = root
    for part in path.split("."):
        inner = getattr(here, part, None)
        if not isinstance(inner, nn.Module):
            return None
        here = inner
    return here


def _apply(row: Family, base: nn.Module, *, exactly: bool = False) -> Roles | _Missing:
    """Read `base` by `row`; with `exactly`, only if blocks have the very children the row expects."""
    stack = _at(base, row.blocks)
    if stack is None or not isinstance(stack, nn.ModuleList) or len(stack) == 0:
        return _Missing(row.name, row.blocks)
    blocks = tuple(stack)
    for index, block in enumerate(blocks):
        children = {name for name, _ in block.named_children()}
        if exactly and children != row.children:
            named = ", ".join(sorted(row.children)) or "children by structure"
            return _Missing(row.name, f"{row.blocks}.{index} made of {named}")
    embed = next((module for path in row.embed if (module := _at(base, path)) is not None), None)
    if embed is None:
        return _Missing(row.name, row.embed[-1])
    words = getattr(base, "get_input_embeddings", lambda: None)()
    # An adapter on the embedding wraps it; ids are looked up in the layer inside.
    words = getattr(words, "base_layer", words)
    if not isinstance(words, nn.Embedding):
        return _Missing(row.name, "word embeddings")
    final_norm = None if row.final_norm is None else _at(base, row.final_norm)
    if row.final_norm is not None and final_norm is None:
        return _Missing(row.name, row.final_norm)
    parts: dict[str, tuple[nn.Module, ...]] = {"mlp_act": ()}
    for role in ("attention", "attention_output", "q", "k", "v", "mid", "mlp", "mlp_act"):
        path = getattr(row, role)
        if path is None:
            continue
        modules = [_at(block, path) for block in blocks]
        present = tuple(module for module in modules if module is not None)
        if len(present) < len(blocks):
            return _Missing(row.name, f"{row.blocks}.{modules.index(None)}.{path}")
        parts[role] = present
    return Roles(
        family=row.name,
        kind=row.kind,
        base=base,
        word_embeddings=words,
        embed=embed,
        blocks=blocks,
        final_norm=final_norm,
        mid_side=row.mid_side,
        fused_qkv=row.fused_qkv,
        sinks=row.sinks,
        positions_after_padding=row.positions_after_padding,
        **parts,
    )


def widths(module: nn.Module) -> tuple[int, int] | None:
    """Input and output width of a projection; None without a plain matrix (quantised layers)."""
    layer: Any = getattr(module, "base_layer", module)
    if hasattr(layer, "in_features"):
        return int(layer.in_features), int(layer.out_features)
    weight = getattr(layer, "weight", None)
    # transformers' Conv1D keeps its weight as [input, output].
    return (int(weight.shape[0]), int(weight.shape[1])) if weight is not None and weight.ndim == 2 else None


def prove(handle: Handle) -> Proof:
    """Hold the shapes of the weights against the config; runs nothing.

    That observing leaves the logits alone and that sites behave as they are defined is proven by `capture`.

    Raises:
        ProofError: a width disagrees; the message names the module, what was expected and what was found.
    """
    roles, config = handle.roles, handle.config
    n_layers = int(getattr(config, "num_hidden_layers", handle.n_layers))
    if n_layers != handle.n_layers:
        raise ProofError(f"the config of {handle.name} says {n_layers} layers, the model has {handle.n_layers} blocks")
    if handle.n_heads % handle.n_kv_heads:
        raise ProofError(f"{handle.n_heads} heads cannot share {handle.n_kv_heads} key-value heads evenly")
    if getattr(config, "head_dim", None) is None and handle.d_model % handle.n_heads:
        raise ProofError(f"width {handle.d_model} does not divide into {handle.n_heads} heads")
    d_query, d_key = handle.n_heads * handle.d_head, handle.n_kv_heads * handle.d_head
    d_mlp: int | None = None
    for layer in range(handle.n_layers):
        expected = [("attention_output", roles.attention_output, (d_query, handle.d_model))]
        if roles.fused_qkv:
            expected.append(("q, k and v", roles.q, (handle.d_model, d_query + 2 * d_key)))
        else:
            expected.append(("q", roles.q, (handle.d_model, d_query)))
            expected += [(name, getattr(roles, name), (handle.d_model, d_key)) for name in ("k", "v")]
        for name, modules, shape in expected:
            found = widths(modules[layer])
            if found is not None and found != shape:
                raise ProofError(
                    f"{name} of layer {layer} maps {found[0]} to {found[1]}, but {handle.n_heads} heads "
                    "of width "
                    f"{handle.d_head} ({handle.n_kv_heads} for keys and values) on a stream of "
                    f"{handle.d_model} "
                    f"need {shape[0]} to {shape[1]}"
                )
        found = widths(roles.mlp_act[layer]) if roles.mlp_act else None
        if found is not None and found[1] != handle.d_model:
            raise ProofError(f"the mlp of layer {layer} writes width {found[1]}, the stream has {handle.d_model}")
        d_mlp = found[0] if found is not None else d_mlp
    return Proof(handle.n_layers, handle.n_heads, handle.n_kv_heads, handle.d_model, handle.d_head, d_mlp)
