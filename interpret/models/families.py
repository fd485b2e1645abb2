"""Architecture families as data: one row each, no class per family.

A row says where the parts of a model stand, as paths from the base model (`model.bert`, `model.transformer`,
...) and from one block. A family is supported when `resolve` finds every path of a row and the proof at
attach passes.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple


class Family(NamedTuple):
    """Where the parts of one architecture stand.

    Paths of the second group start at the base model, paths of the third group at one block. Where several
    paths are given the first one that exists counts.
    """

    name: str
    model_types: tuple[str, ...]
    kind: Literal["encoder", "decoder"]

    #: The module whose output is the site `embed`.
    embed: tuple[str, ...]
    blocks: str
    final_norm: str | None

    #: The module that calls the attention interface.
    attention: str
    #: The output projection of attention: its input, split by heads, is `z`; its output is `attn_out`.
    attention_output: str
    #: Projections to queries, keys and values; one and the same module where they are fused.
    q: str
    k: str
    v: str
    #: The module at which the stream between attention and mlp can be read, and on which side of it.
    mid: str
    mid_side: Literal["input", "output"]
    #: The module whose output is the site `mlp_out`.
    mlp: str
    #: The output projection of the mlp: its input is `mlp_act`. None where experts share the work.
    mlp_act: str | None
    #: Names of a block's children: an unknown model type with exactly these is read by this row.
    children: frozenset[str]

    #: The three projections are one module.
    fused_qkv: bool = False
    #: Attention rows sum to less than one, because a learned sink takes part.
    sinks: bool = False
    #: Position numbers start after the padding index, which shortens the window.
    positions_after_padding: bool = False


def _bert_like(name: str, model_types: tuple[str, ...], *, positions_after_padding: bool = False) -> Family:
    return Family(
        name=name,
        model_types=model_types,
        kind="encoder",
        # ELECTRA widens narrow embeddings before the first block.
        embed=("embeddings_project", "embeddings"),
        blocks="encoder.layer",
        final_norm=None,
        attention="attention.self",
        attention_output="attention.output.dense",
        q="attention.self.query",
        k="attention.self.key",
        v="attention.self.value",
        mid="attention.output",
        mid_side="output",
        mlp="output.dense",
        mlp_act="output.dense",
        children=frozenset({"attention", "intermediate", "output"}),
        positions_after_padding=positions_after_padding,
    )


_LLAMA: Final = Family(
    name="llama",
    model_types=("llama", "mistral", "qwen2", "qwen3", "smollm3"),
    kind="decoder",
    embed=("embed_tokens",),
    blocks="layers",
    final_norm="norm",
    attention="self_attn",
    attention_output="self_attn.o_proj",
    q="self_attn.q_proj",
    k="self_attn.k_proj",
    v="self_attn.v_proj",
    mid="post_attention_layernorm",
    mid_side="input",
    mlp="mlp",
    mlp_act="mlp.down_proj",
    children=frozenset({"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}),
)

FAMILIES: Final[tuple[Family, ...]] = (
    _bert_like("bert", ("bert", "ernie")),
    _bert_like("roberta", ("roberta", "xlm-roberta", "camembert", "data2vec-text"), positions_after_padding=True),
    _bert_like("electra", ("electra",)),
    Family(
        name="distilbert",
        model_types=("distilbert",),
        kind="encoder",
        embed=("embeddings",),
        blocks="transformer.layer",
        final_norm=None,
        attention="attention",
        attention_output="attention.out_lin",
        q="attention.q_lin",
        k="attention.k_lin",
        v="attention.v_lin",
        mid="sa_layer_norm",
        mid_side="output",
        mlp="ffn",
        mlp_act="ffn.lin2",
        children=frozenset({"attention", "sa_layer_norm", "ffn", "output_layer_norm"}),
    ),
    Family(
        name="gpt2",
        model_types=("gpt2",),
        kind="decoder",
        embed=("drop",),
        blocks="h",
        final_norm="ln_f",
        attention="attn",
        attention_output="attn.c_proj",
        q="attn.c_attn",
        k="attn.c_attn",
        v="attn.c_attn",
        mid="ln_2",
        mid_side="input",
        mlp="mlp",
        mlp_act="mlp.c_proj",
        children=frozenset({"ln_1", "attn", "ln_2", "mlp"}),
        fused_qkv=True,
    ),
    _LLAMA,
    _LLAMA._replace(name="gpt_oss", model_types=("gpt_oss",), mlp_act=None, sinks=True, children=frozenset()),
)

#: Row by the `model_type` of a config.
BY_MODEL_TYPE: Final[dict[str, Family]] = {
    model_type: family for family in FAMILIES for model_type in family.model_types
}
