"""Architecture families as data: one row each, no class per family.

A row says where the parts of a model stand: paths from the base model (`model.bert`, `model.transformer`, ...) to
each of its stacks, and from there to its blocks and into one block. A family is supported when `resolve` finds every
path of its row and the proof at attach passes.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

#: How a block adds to the residual stream. "pre": each part reads a normed copy and is added; "post": the sum is
#: normed; "parallel": attention and mlp read the same stream and are added together.
Norm = Literal["pre", "post", "parallel"]
#: How queries, keys and values lie in one projection: a third each, or query, key, value head by head.
Fused = Literal["thirds", "by_head"]
Side = Literal["input", "output"]


class AttentionPaths(NamedTuple):
    """Where one attention and its surroundings stand inside a block."""

    #: The module that calls the attention interface, or forms the pattern itself.
    attention: str
    #: The output projection of attention: its input, split by heads, is `z`.
    output: str
    #: Projections to queries, keys and values; one and the same module where they are fused.
    q: str
    k: str
    v: str
    #: The module at which the stream after this attention can be read, and on which side of it. None where attention
    #: and mlp run in parallel, so that there is no such place.
    mid: str | None
    mid_side: Side = "input"
    #: The module whose output is added to the stream, where that is not the output projection itself.
    added: str | None = None
    fused: Fused | None = None
    #: The projections are used again, on something other than the text, after they have been used on it.
    used_again: bool = False


class Layout(NamedTuple):
    """Where the parts of one stack of blocks stand.

    `root` starts at the base model, the paths after it at the root, those inside a block at the block.
    """

    blocks: str
    attention: AttentionPaths
    #: The module whose output is added to the stream as `mlp_out`.
    mlp: str
    #: The output projection of the mlp: its input is `mlp_act`. None where experts share the work.
    mlp_act: str | None
    norm: Norm
    #: The norm that closes a block; given where `norm` is "post".
    post_norm: str | None = None
    #: Prefix of the stack's sites; "" where the model is one stack.
    prefix: str = ""
    #: Path to the module that is called with the stack's inputs and mask; "" is the base model itself.
    root: str = ""
    modality: Literal["text", "image", "audio"] = "text"
    causal: bool = False
    #: Modules whose output is the site `embed`, the first that exists counts; none: what enters the first block.
    embed: tuple[str, ...] = ()
    final_norm: str | None = None
    #: Why there is no site `final_norm` although something is normed at the end.
    no_final_norm: str | None = None
    #: Attention from a decoder to its encoder.
    cross: AttentionPaths | None = None
    #: Blocks inside what `blocks` lists, used again and again until there are as many layers as the config says.
    shared_blocks: str | None = None
    #: Names of the config's entries.
    n_heads: str = "num_attention_heads"
    n_layers: str = "num_hidden_layers"
    #: Attention rows sum to less than one, because a learned sink takes part.
    sinks: bool = False
    #: Position numbers start after the padding index, which shortens the window.
    positions_after_padding: bool = False


class Family(NamedTuple):
    """One architecture: the model types it goes by and its stacks, the one that makes the output last."""

    name: str
    model_types: tuple[str, ...]
    stacks: tuple[Layout, ...]
    #: Names of a block's children: an unknown model type with exactly these is read by this row.
    children: frozenset[str] = frozenset()


_BERT: Final = Layout(
    # ELECTRA widens narrow embeddings before the first block.
    embed=("embeddings_project", "embeddings"),
    blocks="encoder.layer",
    attention=AttentionPaths(
        attention="attention.self",
        output="attention.output.dense",
        q="attention.self.query",
        k="attention.self.key",
        v="attention.self.value",
        mid="attention.output.LayerNorm",
        mid_side="output",
    ),
    mlp="output.dense",
    mlp_act="output.dense",
    norm="post",
    post_norm="output.LayerNorm",
)
_BERT_CHILDREN: Final = frozenset({"attention", "intermediate", "output"})

_LLAMA: Final = Layout(
    embed=("embed_tokens",),
    blocks="layers",
    attention=AttentionPaths(
        attention="self_attn",
        output="self_attn.o_proj",
        q="self_attn.q_proj",
        k="self_attn.k_proj",
        v="self_attn.v_proj",
        mid="post_attention_layernorm",
    ),
    mlp="mlp",
    mlp_act="mlp.down_proj",
    norm="pre",
    causal=True,
    final_norm="norm",
)


def _t5(prefix: str) -> Layout:
    decoder = prefix == "decoder"

    def attention(layer: int, name: str) -> AttentionPaths:
        at = f"layer.{layer}.{name}"
        # T5 hands the stream itself to each of its layers, which norm it inside.
        return AttentionPaths(at, f"{at}.o", f"{at}.q", f"{at}.k", f"{at}.v", mid=f"layer.{layer + 1}")

    mlp = f"layer.{2 if decoder else 1}.DenseReluDense"
    return Layout(
        prefix=prefix,
        root=prefix,
        blocks="block",
        attention=attention(0, "SelfAttention"),
        cross=attention(1, "EncDecAttention") if decoder else None,
        mlp=mlp,
        mlp_act=f"{mlp}.wo",
        norm="pre",
        causal=decoder,
        final_norm="final_layer_norm",
    )


def _bart(prefix: str, norm: Norm, *, audio: bool = False) -> Layout:
    decoder = prefix == "decoder"

    def attention(name: str, before: str, after: str) -> AttentionPaths:
        # The stream is normed where a part ends ("post"), or where the next one begins ("pre").
        side: Side = "output" if norm == "post" else "input"
        return AttentionPaths(
            attention=name,
            output=f"{name}.out_proj",
            q=f"{name}.q_proj",
            k=f"{name}.k_proj",
            v=f"{name}.v_proj",
            mid=before if norm == "post" else after,
            mid_side=side,
        )

    following = "encoder_attn_layer_norm" if decoder else "final_layer_norm"
    return Layout(
        prefix=prefix,
        root=prefix,
        blocks="layers",
        attention=attention("self_attn", "self_attn_layer_norm", following),
        cross=attention("encoder_attn", "encoder_attn_layer_norm", "final_layer_norm") if decoder else None,
        mlp="fc2",
        mlp_act="fc2",
        norm=norm,
        post_norm="final_layer_norm" if norm == "post" else None,
        modality="audio" if audio and not decoder else "text",
        causal=decoder,
        final_norm="layer_norm" if norm == "pre" else None,
        n_heads=f"{prefix}_attention_heads",
        n_layers=f"{prefix}_layers",
    )


def _clip(prefix: str) -> Layout:
    text = prefix == "text"
    return Layout(
        prefix=prefix,
        root=f"{prefix}_model",
        blocks="encoder.layers",
        attention=AttentionPaths(
            attention="self_attn",
            output="self_attn.out_proj",
            q="self_attn.q_proj",
            k="self_attn.k_proj",
            v="self_attn.v_proj",
            mid="layer_norm2",
        ),
        mlp="mlp",
        mlp_act="mlp.fc2",
        norm="pre",
        modality="text" if text else "image",
        # CLIP's text tower looks back only.
        causal=text,
        final_norm="final_layer_norm" if text else None,
        no_final_norm=None if text else "only the pooled class token is normed at the end, not the positions",
    )


def _wav2vec2(norm: Norm) -> Layout:
    return Layout(
        blocks="encoder.layers",
        attention=AttentionPaths(
            attention="attention",
            output="attention.out_proj",
            q="attention.q_proj",
            k="attention.k_proj",
            v="attention.v_proj",
            mid="layer_norm" if norm == "post" else "final_layer_norm",
            mid_side="output" if norm == "post" else "input",
        ),
        mlp="feed_forward.output_dense",
        mlp_act="feed_forward.output_dense",
        norm=norm,
        post_norm="final_layer_norm" if norm == "post" else None,
        modality="audio",
        # The other variant norms before the first block, not after the last.
        final_norm="encoder.layer_norm" if norm == "pre" else None,
    )


_WAV2VEC2_CHILDREN: Final = frozenset({"attention", "dropout", "layer_norm", "feed_forward", "final_layer_norm"})

_GPT_NEOX: Final = Layout(
    embed=("emb_dropout", "embed_in"),
    blocks="layers",
    attention=AttentionPaths(
        attention="attention",
        output="attention.dense",
        q="attention.query_key_value",
        k="attention.query_key_value",
        v="attention.query_key_value",
        mid=None,
        fused="by_head",
    ),
    mlp="mlp",
    mlp_act="mlp.dense_4h_to_h",
    norm="parallel",
    causal=True,
    final_norm="final_layer_norm",
)

FAMILIES: Final[tuple[Family, ...]] = (
    Family("bert", ("bert", "ernie"), (_BERT,), _BERT_CHILDREN),
    Family(
        "roberta",
        ("roberta", "xlm-roberta", "camembert", "data2vec-text"),
        (_BERT._replace(positions_after_padding=True),),
        _BERT_CHILDREN,
    ),
    Family("electra", ("electra",), (_BERT,), _BERT_CHILDREN),
    Family(
        "deberta-v2",
        ("deberta-v2",),
        (
            _BERT._replace(
                embed=("embeddings",),
                attention=_BERT.attention._replace(
                    q="attention.self.query_proj",
                    k="attention.self.key_proj",
                    v="attention.self.value_proj",
                    # Relative positions go through them too.
                    used_again=True,
                ),
            ),
        ),
        _BERT_CHILDREN,
    ),
    Family(
        "albert",
        ("albert",),
        (
            Layout(
                embed=("encoder.embedding_hidden_mapping_in",),
                blocks="encoder.albert_layer_groups",
                shared_blocks="albert_layers",
                attention=AttentionPaths(
                    attention="attention",
                    output="attention.dense",
                    q="attention.query",
                    k="attention.key",
                    v="attention.value",
                    mid="attention.LayerNorm",
                    mid_side="output",
                ),
                mlp="ffn_output",
                mlp_act="ffn_output",
                norm="post",
                post_norm="full_layer_layer_norm",
            ),
        ),
        frozenset({"full_layer_layer_norm", "attention", "ffn", "ffn_output", "activation", "dropout"}),
    ),
    Family(
        "distilbert",
        ("distilbert",),
        (
            Layout(
                embed=("embeddings",),
                blocks="transformer.layer",
                attention=AttentionPaths(
                    attention="attention",
                    output="attention.out_lin",
                    q="attention.q_lin",
                    k="attention.k_lin",
                    v="attention.v_lin",
                    mid="sa_layer_norm",
                    mid_side="output",
                ),
                mlp="ffn",
                mlp_act="ffn.lin2",
                norm="post",
                post_norm="output_layer_norm",
            ),
        ),
        frozenset({"attention", "sa_layer_norm", "ffn", "output_layer_norm"}),
    ),
    Family(
        "modernbert",
        ("modernbert",),
        (
            Layout(
                embed=("embeddings",),
                blocks="layers",
                attention=AttentionPaths(
                    attention="attn",
                    output="attn.Wo",
                    q="attn.Wqkv",
                    k="attn.Wqkv",
                    v="attn.Wqkv",
                    mid="mlp_norm",
                    fused="thirds",
                ),
                mlp="mlp",
                mlp_act="mlp.Wo",
                norm="pre",
                final_norm="final_norm",
            ),
        ),
        frozenset({"attn_norm", "attn", "mlp_norm", "mlp"}),
    ),
    Family(
        "gpt2",
        ("gpt2",),
        (
            Layout(
                embed=("drop",),
                blocks="h",
                attention=AttentionPaths(
                    attention="attn",
                    output="attn.c_proj",
                    q="attn.c_attn",
                    k="attn.c_attn",
                    v="attn.c_attn",
                    mid="ln_2",
                    fused="thirds",
                ),
                mlp="mlp",
                mlp_act="mlp.c_proj",
                norm="pre",
                causal=True,
                final_norm="ln_f",
            ),
        ),
        frozenset({"ln_1", "attn", "ln_2", "mlp"}),
    ),
    Family(
        "gpt_neox",
        ("gpt_neox",),
        (_GPT_NEOX,),
        frozenset(
            {
                "input_layernorm",
                "post_attention_layernorm",
                "post_attention_dropout",
                "post_mlp_dropout",
                "attention",
                "mlp",
            }
        ),
    ),
    Family(
        "llama",
        ("llama", "mistral", "qwen2", "qwen3", "smollm3"),
        (_LLAMA,),
        frozenset({"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}),
    ),
    Family("gpt_oss", ("gpt_oss",), (_LLAMA._replace(mlp_act=None, sinks=True),)),
    Family(
        "gemma3",
        ("gemma3_text", "gemma2"),
        (
            _LLAMA._replace(
                # What leaves attention and mlp is normed once more before it is added.
                attention=_LLAMA.attention._replace(mid="pre_feedforward_layernorm", added="post_attention_layernorm"),
                mlp="post_feedforward_layernorm",
            ),
        ),
        frozenset(
            {
                "self_attn",
                "mlp",
                "input_layernorm",
                "post_attention_layernorm",
                "pre_feedforward_layernorm",
                "post_feedforward_layernorm",
            }
        ),
    ),
    Family("t5", ("t5", "mt5"), (_t5("encoder"), _t5("decoder"))),
    Family("bart", ("bart",), (_bart("encoder", "post"), _bart("decoder", "post"))),
    Family("mbart", ("mbart",), (_bart("encoder", "pre"), _bart("decoder", "pre"))),
    Family("m2m_100", ("m2m_100",), (_bart("encoder", "pre"), _bart("decoder", "pre"))),
    Family("marian", ("marian",), (_bart("encoder", "post"), _bart("decoder", "post"))),
    Family("pegasus", ("pegasus",), (_bart("encoder", "pre"), _bart("decoder", "pre"))),
    Family("whisper", ("whisper",), (_bart("encoder", "pre", audio=True), _bart("decoder", "pre"))),
    Family(
        "vit",
        ("vit",),
        (
            Layout(
                embed=("embeddings",),
                blocks="layers",
                attention=AttentionPaths(
                    attention="attention",
                    output="attention.o_proj",
                    q="attention.q_proj",
                    k="attention.k_proj",
                    v="attention.v_proj",
                    mid="layernorm_after",
                ),
                mlp="mlp",
                mlp_act="mlp.fc2",
                norm="pre",
                modality="image",
                final_norm="layernorm",
            ),
        ),
        frozenset({"attention", "layernorm_before", "layernorm_after", "mlp", "dropout"}),
    ),
    Family("clip", ("clip",), (_clip("vision"), _clip("text"))),
    Family("clip-vision", ("clip_vision_model",), (_clip("vision")._replace(root="", prefix=""),)),
    Family("clip-text", ("clip_text_model",), (_clip("text")._replace(root="", prefix=""),)),
    Family("wav2vec2", ("wav2vec2",), (_wav2vec2("post"),), _WAV2VEC2_CHILDREN),
    Family("wav2vec2-stable", (), (_wav2vec2("pre"),), _WAV2VEC2_CHILDREN),
)

#: Row by the `model_type` of a config.
BY_MODEL_TYPE: Final[dict[str, Family]] = {
    model_type: family for family in FAMILIES for model_type in family.model_types
}


def family_of(config: object) -> Family | None:
    """The row of a config by its model type; None where there is none."""
    row = BY_MODEL_TYPE.get(str(getattr(config, "model_type", "")))
    return None if row is None else variant(row, config)


def variant(row: Family, config: object) -> Family:
    """The layout that the config's settings choose, where one kind of block has two."""
    if row.name == "wav2vec2" and getattr(config, "do_stable_layer_norm", False):
        return next(family for family in FAMILIES if family.name == "wav2vec2-stable")
    if row.name == "gpt_neox" and not getattr(config, "use_parallel_residual", True):
        one_after_the_other = row.stacks[0]._replace(
            norm="pre", attention=row.stacks[0].attention._replace(mid="post_attention_layernorm")
        )
        return row._replace(stacks=(one_after_the_other,))
    return row
