"""A row for a model type that has none, made from the names that transformers' models use for their parts.

A guess says where to look; that the sites found there are what they are called is for the proof at attach to say.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from torch import nn

from interpret.models.families import AttentionPaths, Family, Fused, Layout, Norm, Side
from interpret.models.parts import module_at, word_embeddings

#: Names in use, by role; the first that exists counts.
_BLOCKS: Final = ("layers", "h", "block", "blocks", "encoder.layer", "encoder.layers", "decoder.layers",
                  "transformer.layer", "transformer.h")  # fmt: skip
_ATTENTION: Final = ("self_attn", "attn", "self_attention", "attention", "attention.self", "attention.attention",
                     "attention.attn")  # fmt: skip
_OUTPUT: Final = ("o_proj", "out_proj", "dense", "out_lin", "c_proj", "wo", "Wo", "o")
_SPLIT: Final = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("query_proj", "key_proj", "value_proj"),
    ("q", "k", "v"),
    ("wq", "wk", "wv"),
)
_FUSED: Final = ("qkv_proj", "c_attn", "Wqkv", "query_key_value", "qkv")
_MLP: Final = ("mlp", "ffn", "feed_forward", "output.dense", "fc2")
_MLP_OUTPUT: Final = ("down_proj", "c_proj", "fc2", "dense_4h_to_h", "output_dense", "lin2", "w2", "Wo", "wo")
_MID_PRE: Final = ("pre_feedforward_layernorm", "post_attention_layernorm", "ln_2", "layer_norm2", "layernorm_after",
                   "mlp_norm", "norm2", "final_layer_norm", "ffn_norm", "pre_mlp_layernorm")  # fmt: skip
_MID_POST: Final = ("attention.output.LayerNorm", "attention.LayerNorm", "self_attn_layer_norm", "sa_layer_norm")
_END_POST: Final = ("output.LayerNorm", "final_layer_norm", "output_layer_norm", "full_layer_layer_norm")
_FINAL: Final = ("norm", "ln_f", "final_layer_norm", "final_layernorm", "final_norm", "layernorm", "layer_norm")


def guess(base: nn.Module, config: Any) -> Family | str:
    """A row of one stack for `base`, or what could not be found."""
    blocks = _first(base, _BLOCKS, nn.ModuleList)
    if blocks is None:
        return "no list of blocks"
    listed: Any = base.get_submodule(blocks)
    if len({type(block) for block in listed}) != 1:
        return f"the blocks in {blocks} are not of one class"
    block: nn.Module = listed[0]
    attention = _attention(block)
    if isinstance(attention, str):
        return attention
    mlp = _first(block, _MLP)
    if mlp is None:
        return f"no mlp in a block made of {', '.join(name for name, _ in block.named_children())}"
    post = _first(block, _MID_POST)
    end = _first(block, _END_POST)
    norm: Norm = "post" if post is not None and end is not None else "pre"
    mid: str | None = post if norm == "post" else _first(block, _MID_PRE)
    if mid is None:
        return "no norm between attention and mlp"
    side: Side = "output" if norm == "post" else "input"
    inner = "" if mlp.endswith((".dense", "fc2")) else _first(block.get_submodule(mlp), _MLP_OUTPUT)
    root = "decoder" if blocks.startswith("decoder.") else ""
    final = None if norm == "post" else _first(base.get_submodule(root), _FINAL)
    layout = Layout(
        # Where only a decoder is left of an encoder-decoder, the head calls it past the base model.
        root=root,
        blocks=blocks.removeprefix(f"{root}."),
        attention=attention._replace(mid=mid, mid_side=side),
        mlp=mlp,
        mlp_act=None if inner is None else f"{mlp}.{inner}".rstrip("."),
        norm=norm,
        post_norm=end if norm == "post" else None,
        modality=_modality(base),
        causal=bool(getattr(block.get_submodule(attention.attention), "is_causal", False)),
        final_norm=final,
    )
    return Family(f"{getattr(config, 'model_type', 'unknown')} (by structure)", (), (layout,))


def _modality(base: nn.Module) -> Literal["text", "image", "audio"]:
    if word_embeddings(base) is not None:
        return "text"
    return "audio" if hasattr(base, "feature_extractor") else "image"


def _attention(block: nn.Module) -> AttentionPaths | str:
    for path in _ATTENTION:
        module = module_at(block, path)
        if module is None:
            continue
        split = next((names for names in _SPLIT if all(module_at(module, name) is not None for name in names)), None)
        whole = _first(module, _FUSED)
        if split is None and whole is None:
            continue
        output = _first(module, _OUTPUT)
        where = f"{path}.{output}"
        if output is None:
            # BERT-like: the projection stands beside the attention, not in it.
            where = f"{path.rpartition('.')[0]}.output.dense".lstrip(".")
            if module_at(block, where) is None:
                return f"no output projection in {path}"
        fused: Fused | None = None if split is not None else "by_head" if whole == "query_key_value" else "thirds"
        q, k, v = split or (whole, whole, whole)
        return AttentionPaths(path, where, f"{path}.{q}", f"{path}.{k}", f"{path}.{v}", mid=None, fused=fused)
    parts = ", ".join(name for name, _ in block.named_children())
    return f"no attention with queries, keys and values in a block made of {parts}"


def _first(root: nn.Module, names: tuple[str, ...], kind: type[nn.Module] = nn.Module) -> str | None:
    return next((name for name in names if isinstance(module_at(root, name), kind)), None)
