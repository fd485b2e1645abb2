"""From a model to its roles: by the row of its family, else by a row that fits its structure."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from interpret.errors import LoadError, ProofError
from interpret.models.families import BY_MODEL_TYPE, FAMILIES, AttentionPaths, Family, Layout, family_of, variant
from interpret.models.guess import guess
from interpret.models.handle import AttentionRoles, Handle, Modules, Roles, unwrapped
from interpret.models.parts import module_at, word_embeddings


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


def resolve(model: nn.Module) -> tuple[Roles, ...]:
    """Find the parts of `model`, which may be wrapped by PEFT: one `Roles` for each of its stacks of blocks.

    By the row of its model type; without one by the row whose blocks have the very same children, else by the names
    that transformers' models use for their parts. A guess counts for nothing until the proof at attach holds.

    Raises:
        LoadError: no row fits; the message says which rows were tried and what each of them missed.
    """
    core = unwrapped(model)
    config: Any = getattr(core, "config", None)
    if config is None:
        raise LoadError(f"{type(core).__name__} has no config: give a transformers model, or a PEFT model around one")
    base = getattr(core, getattr(core, "base_model_prefix", "") or "", core)
    model_type = str(getattr(config, "model_type", ""))
    row = family_of(config)
    if row is not None:
        found = _apply(row, base, config)
        if not isinstance(found, _Missing):
            return found
        raise LoadError(
            f"{type(core).__name__} has model type {model_type!r} but no module {found.path!r}, where the family "
            f"{row.name!r} has it; a model changed after loading, or another version of transformers, looks like this"
        )
    tried = []
    if getattr(config, "is_encoder_decoder", False):
        tried.append("encoder-decoders are read by their rows only")
    else:
        for candidate in FAMILIES:
            if not candidate.children:
                continue
            found = _apply(variant(candidate, config), base, config, exactly=True)
            if not isinstance(found, _Missing):
                return found
            tried.append(f"{found.family} (no {found.path})")
        guessed = guess(base, config)
        if isinstance(guessed, Family):
            found = _apply(guessed, base, config)
            if not isinstance(found, _Missing):
                return found
            guessed = f"no {found.path}"
        tried.append(f"the names of its parts ({guessed})")
    raise LoadError(
        f"{type(core).__name__} of model type {model_type!r} is of no known family; tried {', '.join(tried)}; "
        f"known model types are {', '.join(sorted(BY_MODEL_TYPE))}"
    )


def _apply(row: Family, base: nn.Module, config: Any, *, exactly: bool = False) -> tuple[Roles, ...] | _Missing:
    """Read `base` by `row`; with `exactly`, only if blocks have the very children the row expects.

    Of a row with several stacks those count that the model has: a classifier of images has no text tower.
    """
    there = [layout for layout in row.stacks if module_at(base, layout.root) is not None]
    if not there:
        return _Missing(row.name, row.stacks[0].root)
    found = []
    for layout in there:
        one = _stack(row, layout if len(there) > 1 else _alone(layout), base, config, exactly)
        if isinstance(one, _Missing):
            return one
        found.append(one)
    return tuple(found)


def _alone(layout: Layout) -> Layout:
    """A stack without the other one of its row: a decoder that has no encoder beside it never looks at one."""
    if layout.cross is None:
        return layout._replace(prefix="")
    own = layout.attention
    if layout.norm == "pre":
        # The norm before the attention to the encoder is not called; the next one reads the same stream.
        own = own._replace(mid=layout.cross.mid, mid_side=layout.cross.mid_side)
    return layout._replace(prefix="", cross=None, attention=own)


def _stack(row: Family, layout: Layout, base: nn.Module, config: Any, exactly: bool) -> Roles | _Missing:
    root = module_at(base, layout.root)
    assert root is not None
    own = getattr(root, "config", config)
    at = f"{layout.root}.{layout.blocks}".lstrip(".")
    stack = module_at(root, layout.blocks)
    if not isinstance(stack, nn.ModuleList) or len(stack) == 0:
        return _Missing(row.name, at)
    blocks = _blocks(stack, layout, own)
    if blocks is None:
        return _Missing(row.name, f"{at}.0.{layout.shared_blocks}")
    for index, block in enumerate(blocks):
        children = {name for name, _ in block.named_children()}
        if exactly and children != row.children:
            return _Missing(row.name, f"{at}.{index} made of {', '.join(sorted(row.children))}")
    embed = next((module for path in layout.embed if (module := module_at(root, path)) is not None), None)
    if layout.embed and embed is None:
        return _Missing(row.name, layout.embed[-1])
    words = word_embeddings(root) or word_embeddings(base)
    if layout.modality == "text" and words is None:
        return _Missing(row.name, "word embeddings")
    final_norm = None if layout.final_norm is None else module_at(root, layout.final_norm)
    if layout.final_norm is not None and final_norm is None:
        return _Missing(row.name, layout.final_norm)
    try:
        attention = _attention(layout.attention, blocks)
        cross = None if layout.cross is None else AttentionRoles(**_attention(layout.cross, blocks))
        rest: dict[str, Any] = {
            name: () if path is None else _each(blocks, path)
            for name, path in (("mlp", layout.mlp), ("mlp_act", layout.mlp_act), ("post_norm", layout.post_norm))
        }
    except LookupError as missing:
        return _Missing(row.name, f"{at}.{missing.args[0]}")
    return Roles(
        family=row.name,
        prefix=layout.prefix,
        layout=layout,
        config=own,
        base=base,
        stack=root,
        word_embeddings=words if layout.modality == "text" else None,
        embed=embed,
        blocks=blocks,
        final_norm=final_norm,
        cross=cross,
        **attention,
        **rest,
    )


def _blocks(stack: nn.ModuleList, layout: Layout, config: Any) -> Modules | None:
    """The block of every layer; blocks that are used again stand there again."""
    if layout.shared_blocks is None:
        return tuple(stack)
    groups = [module_at(group, layout.shared_blocks) for group in stack]
    n_rounds = int(getattr(config, layout.n_layers))
    blocks: list[nn.Module] = []
    for index in range(n_rounds):
        # As ALBERT counts: each group serves an equal share of the rounds.
        group = groups[int(index / (n_rounds / len(groups)))]
        if not isinstance(group, nn.ModuleList):
            return None
        blocks += list(group)
    return tuple(blocks)


def _attention(paths: AttentionPaths, blocks: Modules) -> dict[str, Any]:
    return {
        "attention": _each(blocks, paths.attention),
        "attention_output": _each(blocks, paths.output),
        "attn_out": _each(blocks, paths.added or paths.output),
        "q": _each(blocks, paths.q),
        "k": _each(blocks, paths.k),
        "v": _each(blocks, paths.v),
        "mid": () if paths.mid is None else _each(blocks, paths.mid),
        "mid_side": paths.mid_side,
        "fused": paths.fused,
        "used_again": paths.used_again,
    }


def _each(blocks: Modules, path: str) -> Modules:
    """The module at `path` in every block.

    Raises:
        LookupError: a block without it; carries the number of the block and the path.
    """
    modules = []
    for index, block in enumerate(blocks):
        module = module_at(block, path)
        if module is None:
            raise LookupError(f"{index}.{path}")
        modules.append(module)
    return tuple(modules)


def widths(module: nn.Module) -> tuple[int, int] | None:
    """Input and output width of a projection; None without a plain matrix (quantised layers)."""
    layer: Any = getattr(module, "base_layer", module)
    if hasattr(layer, "in_features"):
        return int(layer.in_features), int(layer.out_features)
    weight = getattr(layer, "weight", None)
    # transformers' Conv1D keeps its weight as [input, output].
    return (int(weight.shape[0]), int(weight.shape[1])) if weight is not None and weight.ndim == 2 else None


def prove(handle: Handle) -> dict[str, Proof]:
    """Hold the shapes of the weights against the config, stack by stack; runs nothing.

    That observing leaves the logits alone and that sites behave as they are defined is proven by `capture`.

    Returns:
        What was found for each prefix.

    Raises:
        ProofError: a width disagrees; the message names the module, what was expected and what was found.
    """
    return {stack.prefix: _prove(handle.name, stack) for stack in handle.stacks}


def _prove(name: str, roles: Roles) -> Proof:
    config = roles.config
    n_layers = int(getattr(config, roles.layout.n_layers, roles.n_layers))
    if roles.layout.shared_blocks is not None:
        # Each round may pass several blocks.
        n_layers = roles.n_layers if roles.n_layers % n_layers == 0 else n_layers
    if n_layers != roles.n_layers:
        raise ProofError(f"the config of {name} says {n_layers} layers, the model has {roles.n_layers} blocks")
    if roles.n_heads % roles.n_kv_heads:
        raise ProofError(f"{roles.n_heads} heads cannot share {roles.n_kv_heads} key-value heads evenly")
    if getattr(config, "head_dim", None) is None and roles.d_model % roles.n_heads:
        raise ProofError(f"width {roles.d_model} does not divide into {roles.n_heads} heads")
    d_query, d_key = roles.n_heads * roles.d_head, roles.n_kv_heads * roles.d_head
    d_mlp: int | None = None
    for layer in range(roles.n_layers):
        expected = []
        for part in [roles] if roles.cross is None else [roles, roles.cross]:
            expected.append(("attention_output", part.attention_output, (d_query, roles.d_model)))
            if part.fused:
                expected.append(("q, k and v", part.q, (roles.d_model, d_query + 2 * d_key)))
                continue
            expected.append(("q", part.q, (roles.d_model, d_query)))
            # Keys and values of attention to an encoder read the encoder's stream, which may be of another width.
            d_read = roles.d_model if part is roles else (widths(part.k[layer]) or (roles.d_model, 0))[0]
            expected += [(kind, getattr(part, kind), (d_read, d_key)) for kind in ("k", "v")]
        for kind, modules, shape in expected:
            found = widths(modules[layer])
            if found is not None and found != shape:
                raise ProofError(
                    f"{kind} of layer {layer} maps {found[0]} to {found[1]}, but {roles.n_heads} heads of width "
                    f"{roles.d_head} ({roles.n_kv_heads} for keys and values) on a stream of {roles.d_model} need "
                    f"{shape[0]} to {shape[1]}"
                )
        found = widths(roles.mlp_act[layer]) if roles.mlp_act else None
        if found is not None and found[1] != roles.d_model:
            raise ProofError(f"the mlp of layer {layer} writes width {found[1]}, the stream has {roles.d_model}")
        d_mlp = found[0] if found is not None else d_mlp
    return Proof(roles.n_layers, roles.n_heads, roles.n_kv_heads, roles.d_model, roles.d_head, d_mlp)
