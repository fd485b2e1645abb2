"""A zoo of tiny random models for contract tests: many families, every head that transformers has for them.

What `tests.tiny` has stays as it is there; the zoo adds families and heads, padded batches of inputs for every
kind of model, and what padding does to each of them. Nothing is downloaded and each model is built in well
under 0.5 s.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForCausalLM,
    AutoModelForCTC,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForSpeechSeq2Seq,
    AutoModelForTokenClassification,
    BartConfig,
    CLIPConfig,
    DebertaV2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GptOssConfig,
    M2M100Config,
    MarianConfig,
    MBartConfig,
    MistralConfig,
    ModernBertConfig,
    PegasusConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    T5Config,
    ViTConfig,
    Wav2Vec2Config,
    WhisperConfig,
)

from tests.tiny import (
    D_MODEL,
    N_HEADS,
    N_POSITIONS,
    TEXTS,
    config_for,
    gpt2_bpe,
    label,
    llama_bpe,
    marian_bpe,
    mbart_bpe,
    n_parameters,
    nllb_bpe,
    roberta_bpe,
    seeded,
    t5_bpe,
    wordpiece,
)
from tests.tiny import FAMILIES as IN_TINY

TEXT: Final = ("text-classification", "token-classification", "question-answering")
ENCODER: Final = (*TEXT, "masked-lm")
DECODER: Final = ("causal-lm", *TEXT)

#: Family -> tasks. A head that is missing here does not exist in transformers.
ZOO: Final[dict[str, tuple[str, ...]]] = {
    "bert": ENCODER,
    "roberta": ENCODER,
    "distilbert": ENCODER,
    "electra": ENCODER,
    "albert": ENCODER,
    "deberta-v2": ENCODER,
    "modernbert": ENCODER,
    "gpt2": DECODER,
    "gpt_neox": DECODER,
    "llama": DECODER,
    "mistral": DECODER,
    "qwen3": DECODER,
    "gemma3": ("causal-lm", "text-classification"),
    "gpt_oss": ("causal-lm", "text-classification", "token-classification"),
    "t5": ("seq2seq-lm", *TEXT),
    "t5-gated": ("seq2seq-lm", *TEXT),
    "bart": ("seq2seq-lm", "text-classification", "question-answering"),
    "mbart": ("seq2seq-lm", "text-classification", "question-answering"),
    "m2m_100": ("seq2seq-lm",),
    "marian": ("seq2seq-lm",),
    "pegasus": ("seq2seq-lm",),
    "vit": ("image-classification",),
    "clip": ("none", "image-classification"),
    "wav2vec2": ("audio-classification", "ctc"),
    "wav2vec2-stable": ("audio-classification", "ctc"),
    "whisper": ("seq2seq-lm", "audio-classification"),
}

CASES: Final[list[tuple[str, str]]] = [(family, task) for family, tasks in ZOO.items() for task in tasks]

DECODERS: Final = ("gpt2", "gpt_neox", "llama", "mistral", "qwen3", "gemma3", "gpt_oss")
SPEECH: Final = ("wav2vec2", "wav2vec2-stable")

#: Shorter than most of the sentences, so that the mask of a sliding layer differs from that of a full one.
WINDOW: Final = 6
IMAGE_SIZE: Final = 12
PATCH_SIZE: Final = 4
N_MEL_BINS: Final = 16
N_SOURCE_POSITIONS: Final = 20
#: Encoders whose embeddings number positions from the left edge unless they are told otherwise.
ABSOLUTE: Final = ("bert", "distilbert", "electra", "albert")
#: Samples of the sounds; the first is the longest, so that row 0 of a batch is never padded.
N_SAMPLES: Final = (800, 520, 690, 430, 760, 610, 480, 570)

_ABSOLUTE: Final = "positions are numbered from the left edge of the batch, padding included"
_BY_HAND: Final = f"{_ABSOLUTE}, unless position_ids are given"
_FIRST: Final = "the head reads position 0, which is padding"

#: Where an example in a left-padded batch does not get the output it gets alone, by transformers' own doing.
#: RoBERTa numbers positions by the padding tokens it sees, DeBERTa, ModernBERT and T5 have relative positions, and
#: decoders are given their positions: these bear left padding, but for heads on the first position.
LEFT_PADDING_REFUSED: Final[dict[tuple[str, str], str]] = {
    **{(family, task): _BY_HAND for family in ABSOLUTE for task in ENCODER},
    **{(family, "text-classification"): f"{_BY_HAND}; {_FIRST}" for family in ABSOLUTE},
    **{(family, "text-classification"): _FIRST for family in ("roberta", "deberta-v2", "modernbert")},
    **{
        (family, task): f"{_ABSOLUTE}, and position_ids cannot be given"
        for family in ("bart", "mbart", "marian", "pegasus")
        for task in ZOO[family]
    },
    **{
        (family, task): "the mask of the frames is made from the number of real samples, as if they stood at the left"
        for family in SPEECH
        for task in ZOO[family]
    },
}

#: The same for right padding.
RIGHT_PADDING_REFUSED: Final[dict[tuple[str, str], str]] = {
    ("wav2vec2", task): "the group norm after the first convolution takes its moments over the padding too"
    for task in ZOO["wav2vec2"]
}

#: Families whose models cannot be pickled (copying works), and why.
UNPICKLABLE: Final[dict[str, str]] = dict.fromkeys(
    SPEECH, "the weight norm of the convolution over positions is a parametrization, which torch does not pickle"
)

#: Parameters of each case; a change of transformers that changes an architecture is seen here first.
N_PARAMETERS: Final[dict[tuple[str, str], int]] = {
    ("bert", "text-classification"): 24259,
    ("bert", "token-classification"): 23203,
    ("bert", "question-answering"): 23170,
    ("bert", "masked-lm"): 24344,
    ("roberta", "text-classification"): 31907,
    ("roberta", "token-classification"): 30851,
    ("roberta", "question-answering"): 30818,
    ("roberta", "masked-lm"): 32230,
    ("distilbert", "text-classification"): 24195,
    ("distilbert", "token-classification"): 23139,
    ("distilbert", "question-answering"): 23106,
    ("distilbert", "masked-lm"): 24280,
    ("electra", "text-classification"): 21795,
    ("electra", "token-classification"): 20739,
    ("electra", "question-answering"): 20706,
    ("electra", "masked-lm"): 21320,
    ("albert", "text-classification"): 13251,
    ("albert", "token-classification"): 12195,
    ("albert", "question-answering"): 12162,
    ("albert", "masked-lm"): 12776,
    ("deberta-v2", "text-classification"): 22723,
    ("deberta-v2", "token-classification"): 21667,
    ("deberta-v2", "question-answering"): 21634,
    ("deberta-v2", "masked-lm"): 22808,
    ("modernbert", "text-classification"): 25635,
    ("modernbert", "token-classification"): 25635,
    ("modernbert", "question-answering"): 25602,
    ("modernbert", "masked-lm"): 25656,
    ("gpt2", "causal-lm"): 38848,
    ("gpt2", "text-classification"): 38944,
    ("gpt2", "token-classification"): 38947,
    ("gpt2", "question-answering"): 38914,
    ("gpt_neox", "causal-lm"): 39808,
    ("gpt_neox", "text-classification"): 28576,
    ("gpt_neox", "token-classification"): 28579,
    ("gpt_neox", "question-answering"): 28546,
    ("llama", "causal-lm"): 27232,
    ("llama", "text-classification"): 23008,
    ("llama", "token-classification"): 23011,
    ("llama", "question-answering"): 22978,
    ("mistral", "causal-lm"): 27232,
    ("mistral", "text-classification"): 23008,
    ("mistral", "token-classification"): 23011,
    ("mistral", "question-answering"): 22978,
    ("qwen3", "causal-lm"): 33440,
    ("qwen3", "text-classification"): 29216,
    ("qwen3", "token-classification"): 29219,
    ("qwen3", "question-answering"): 29186,
    ("gemma3", "causal-lm"): 29248,
    ("gemma3", "text-classification"): 29344,
    ("gpt_oss", "causal-lm"): 72112,
    ("gpt_oss", "text-classification"): 67888,
    ("gpt_oss", "token-classification"): 67891,
    ("t5", "seq2seq-lm"): 45696,
    ("t5", "text-classification"): 46851,
    ("t5", "token-classification"): 20963,
    ("t5", "question-answering"): 45762,
    ("t5-gated", "seq2seq-lm"): 78464,
    ("t5-gated", "text-classification"): 79619,
    ("t5-gated", "token-classification"): 33251,
    ("t5-gated", "question-answering"): 78530,
    ("bart", "seq2seq-lm"): 58560,
    ("bart", "text-classification"): 59715,
    ("bart", "question-answering"): 58626,
    ("mbart", "seq2seq-lm"): 51616,
    ("mbart", "text-classification"): 52771,
    ("mbart", "question-answering"): 51682,
    ("m2m_100", "seq2seq-lm"): 47264,
    ("marian", "seq2seq-lm"): 51136,
    ("pegasus", "seq2seq-lm"): 51264,
    ("vit", "image-classification"): 19171,
    ("clip", "none"): 43681,
    ("clip", "image-classification"): 19203,
    ("wav2vec2", "audio-classification"): 22663,
    ("wav2vec2", "ctc"): 22480,
    ("wav2vec2-stable", "audio-classification"): 22775,
    ("wav2vec2-stable", "ctc"): 22592,
    ("whisper", "seq2seq-lm"): 61504,
    ("whisper", "audio-classification"): 22979,
}

TOKENIZERS: Final = {
    "bert": wordpiece,
    "distilbert": wordpiece,
    "electra": wordpiece,
    "albert": wordpiece,
    "deberta-v2": wordpiece,
    "modernbert": wordpiece,
    "roberta": roberta_bpe,
    "gpt2": gpt2_bpe,
    "gpt_neox": gpt2_bpe,
    "llama": llama_bpe,
    "mistral": llama_bpe,
    "qwen3": llama_bpe,
    "gemma3": llama_bpe,
    "gpt_oss": llama_bpe,
    "t5": t5_bpe,
    "t5-gated": t5_bpe,
    "bart": roberta_bpe,
    "mbart": mbart_bpe,
    "m2m_100": nllb_bpe,
    "marian": marian_bpe,
    "pegasus": t5_bpe,
    # CLIP pools at the first end token: [SEP] here, which is not the padding token.
    "clip": wordpiece,
    "whisper": roberta_bpe,
}

CLASSES: Final = {
    "text-classification": AutoModelForSequenceClassification,
    "token-classification": AutoModelForTokenClassification,
    "question-answering": AutoModelForQuestionAnswering,
    "masked-lm": AutoModelForMaskedLM,
    "causal-lm": AutoModelForCausalLM,
    "seq2seq-lm": AutoModelForSeq2SeqLM,
    "image-classification": AutoModelForImageClassification,
    "audio-classification": AutoModelForAudioClassification,
    "ctc": AutoModelForCTC,
    "none": AutoModel,
}


class Built(NamedTuple):
    """A random model in eval mode and fp32, and its tokenizer where it reads or writes text."""

    family: str
    task: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast | None


def build(family: str, task: str, seed: int = 0, *, attn_implementation: str | None = None) -> Built:
    """One case of the zoo; the caller's random state is left alone."""
    if task not in ZOO[family]:
        raise ValueError(f"the zoo has no {family} for {task}; it has {', '.join(ZOO[family])}")
    tokenizer = _tokenizer(family) if family in TOKENIZERS else None
    config = config_of(family, tokenizer)
    if task.endswith("-classification"):
        label(config)
    chosen = AutoModelForSpeechSeq2Seq if (family, task) == ("whisper", "seq2seq-lm") else CLASSES[task]
    options: dict[str, Any] = {"dtype": torch.float32}
    if attn_implementation is not None:
        options["attn_implementation"] = attn_implementation
    model = seeded(lambda: chosen.from_config(config, **options), seed)
    if hasattr(model, "final_logits_bias"):
        # BART adds a buffer to its logits; as zeros it could be forgotten.
        generator = torch.Generator().manual_seed(seed)
        model.final_logits_bias += 0.1 * torch.randn(model.final_logits_bias.shape, generator=generator)
    found, expected = n_parameters(model), N_PARAMETERS[family, task]
    assert found == expected, f"{family} for {task} has {found} parameters, expected {expected}"
    if family in ("whisper", "clip") and task.endswith("-classification"):
        tokenizer = None
    return Built(family, task, model, tokenizer)


def _tokenizer(family: str) -> PreTrainedTokenizerFast:
    tokenizer = TOKENIZERS[family]()
    # As the real tokenizers have it; GPT-2 would embed and add token types if it were given any.
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    if family in ("bert", "electra", "albert", "deberta-v2"):
        tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def config_of(family: str, tokenizer: PreTrainedTokenizerFast | None) -> PreTrainedConfig:
    """The config of a family: 2 layers, width 32, 4 heads, 2 for keys and values where heads are grouped."""
    # Wide initial weights: near-uniform attention and equal logits would let wrong code pass.
    spread = 0.25
    layers = {
        "hidden_size": D_MODEL,
        "num_hidden_layers": 2,
        "num_attention_heads": N_HEADS,
        "intermediate_size": 64,
        "initializer_range": spread,
    }
    if tokenizer is None:
        return _wordless(family, layers)
    text = {
        **layers,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": N_POSITIONS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    grouped = {**text, "num_key_value_heads": 2}
    # Heads of 16 make 4 heads twice as wide as the stream, as in the models of these families.
    wide = {**grouped, "head_dim": 16}
    sides = {
        f"{side}_{name}": n
        for side in ("encoder", "decoder")
        for name, n in (("layers", 2), ("attention_heads", N_HEADS), ("ffn_dim", 64))
    }
    match family:
        case family if family in IN_TINY:
            config = config_for(family, tokenizer)
            config.pad_token_id = tokenizer.pad_token_id
            return config
        case "albert":
            # A narrower embedding, and one set of weights for both layers.
            return AlbertConfig(**text, embedding_size=16)
        case "deberta-v2":
            # As in version 3: relative positions only, in logarithmic buckets, sharing the projections of q and k.
            return DebertaV2Config(
                **text,
                relative_attention=True,
                position_buckets=8,
                norm_rel_ebd="layer_norm",
                share_att_key=True,
                pos_att_type=["p2c", "c2p"],
                position_biased_input=False,
                type_vocab_size=0,
            )
        case "modernbert":
            # By default every third layer attends to everything: the first does, the second has a window.
            return ModernBertConfig(
                **text, local_attention=WINDOW, cls_token_id=tokenizer.cls_token_id, sep_token_id=tokenizer.sep_token_id
            )
        case "gpt_neox":
            return GPTNeoXConfig(**text)
        case "mistral":
            return MistralConfig(**grouped, sliding_window=WINDOW)
        case "qwen3":
            return Qwen3Config(**wide)
        case "gemma3":
            # Scaled by another number than the head width, as in the largest Gemma.
            return Gemma3TextConfig(
                **wide,
                query_pre_attn_scalar=12,
                sliding_window=WINDOW,
                layer_types=["sliding_attention", "full_attention"],
            )
        case "gpt_oss":
            # By default the first layer has the window and the second attends to everything.
            return GptOssConfig(
                **wide,
                sliding_window=WINDOW,
                num_local_experts=4,
                num_experts_per_tok=2,
                # YaRN as in the released models, stretching to the positions there are here.
                rope_parameters={
                    "rope_type": "yarn",
                    "rope_theta": 150000.0,
                    "factor": 4.0,
                    "beta_fast": 32.0,
                    "beta_slow": 1.0,
                    "truncate": False,
                    "original_max_position_embeddings": N_POSITIONS // 4,
                },
            )
        case "t5" | "t5-gated":
            gated = family == "t5-gated"
            return T5Config(
                vocab_size=len(tokenizer),
                d_model=D_MODEL,
                num_layers=2,
                num_heads=N_HEADS,
                d_kv=16 if gated else 8,
                d_ff=64,
                feed_forward_proj="gated-gelu" if gated else "relu",
                # Read by transformers as "do not scale the decoder's output", as in version 1.1.
                tie_word_embeddings=not gated,
                relative_attention_num_buckets=8,
                relative_attention_max_distance=16,
                initializer_factor=1.0,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                decoder_start_token_id=tokenizer.pad_token_id,
            )
        case "bart":
            return BartConfig(
                **sides,
                vocab_size=len(tokenizer),
                d_model=D_MODEL,
                max_position_embeddings=N_POSITIONS,
                init_std=spread,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                decoder_start_token_id=tokenizer.eos_token_id,
                forced_eos_token_id=None,
            )
        case "mbart" | "m2m_100":
            # The language stands at the end of the input, or at its start; the decoder begins with that of the
            # translation, or must write it first. Embeddings are scaled in these models.
            return (MBartConfig if family == "mbart" else M2M100Config)(
                **sides,
                vocab_size=len(tokenizer),
                d_model=D_MODEL,
                max_position_embeddings=N_POSITIONS,
                init_std=spread,
                scale_embedding=True,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                decoder_start_token_id=(
                    tokenizer.convert_tokens_to_ids("fr_XX") if family == "mbart" else tokenizer.eos_token_id
                ),
                **({"forced_eos_token_id": None} if family == "mbart" else {}),
            )
        case "marian" | "pegasus":
            # Their decoder begins with the padding token.
            return (MarianConfig if family == "marian" else PegasusConfig)(
                **sides,
                vocab_size=len(tokenizer),
                d_model=D_MODEL,
                max_position_embeddings=N_POSITIONS,
                init_std=spread,
                scale_embedding=True,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                decoder_start_token_id=tokenizer.pad_token_id,
                forced_eos_token_id=None,
            )
        case "clip":
            factor = {"initializer_factor": 2.0}
            # An end token other than 2: with 2 CLIP takes the highest id for the end, as its first configs had it.
            ends = {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
            image = {**layers, **factor, "image_size": IMAGE_SIZE, "patch_size": PATCH_SIZE, "projection_dim": 24}
            return CLIPConfig(
                text_config={**text, **factor, **ends, "projection_dim": 24},
                vision_config=image,
                projection_dim=24,
                **factor,
            )
        case "whisper":
            return WhisperConfig(
                **sides,
                vocab_size=len(tokenizer),
                d_model=D_MODEL,
                num_mel_bins=N_MEL_BINS,
                max_source_positions=N_SOURCE_POSITIONS,
                max_target_positions=N_POSITIONS,
                init_std=spread,
                classifier_proj_size=16,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                decoder_start_token_id=tokenizer.bos_token_id,
                begin_suppress_tokens=None,
            )
    raise ValueError(f"no {family} in the zoo; there are {', '.join(ZOO)}")


def _wordless(family: str, layers: dict[str, Any]) -> PreTrainedConfig:
    if family == "vit":
        return ViTConfig(**layers, image_size=IMAGE_SIZE, patch_size=PATCH_SIZE)
    stable = family == "wav2vec2-stable"
    return Wav2Vec2Config(
        **layers,
        # The two pairs in which the models exist: the base ones, and the large ones.
        do_stable_layer_norm=stable,
        feat_extract_norm="layer" if stable else "group",
        conv_bias=stable,
        # 40 samples make a frame: 430 to 800 samples make 9 to 18 frames.
        conv_dim=(16, 16, 16),
        conv_kernel=(10, 8, 4),
        conv_stride=(5, 4, 2),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=4,
        classifier_proj_size=16,
        vocab_size=12,
        # Short enough for the few frames there are, or training would refuse.
        mask_time_length=2,
    )


def padded(family: str, task: str | None = None) -> bool:
    """Whether inputs of the family (for the task, if given) can carry padding: images and mel features cannot."""
    if (family, task) in (("clip", "image-classification"), ("whisper", "audio-classification")):
        return False
    return family != "vit"


def refused(family: str, task: str, side: str) -> str | None:
    """Why padding on this side changes the outputs of real positions; None where it does not."""
    table = LEFT_PADDING_REFUSED if side == "left" else RIGHT_PADDING_REFUSED
    return table.get((family, task))


def inputs(built: Built, n: int = 4, side: str = "right") -> dict[str, Tensor]:
    """A padded batch of `n` examples of different lengths, without labels.

    `side` is the side of the padding of the main input. The decoder of a seq2seq-lm is padded on the right; that
    of the other heads reads its input again, one step later, and is padded as the input is, because those heads
    look for the end token of the input at the same position of the decoder.
    """
    assert 1 <= n <= len(TEXTS), n
    assert side in ("left", "right"), side
    if built.family in SPEECH:
        return _sounds(n, side)
    batch: dict[str, Tensor] = {}
    if built.family == "whisper":
        batch["input_features"] = _noise(n, N_MEL_BINS, 2 * N_SOURCE_POSITIONS)
    elif built.tokenizer is not None:
        built.tokenizer.padding_side = side
        batch |= dict(built.tokenizer(list(TEXTS[:n]), return_tensors="pt", padding=True))
        if side == "left" and built.family in (*DECODERS, "clip"):
            # As `generate` numbers them: from the mask, padding at 0.
            mask = batch["attention_mask"]
            batch["position_ids"] = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 0)
    if built.family in ("vit", "clip"):
        batch["pixel_values"] = _noise(n, 3, IMAGE_SIZE, IMAGE_SIZE)
    return batch | _decoder_inputs(built, n, side)


def _decoder_inputs(built: Built, n: int, side: str) -> dict[str, Tensor]:
    """What the decoder of an encoder-decoder reads: the start token, then the target without its last token."""
    if built.tokenizer is None or not built.model.config.is_encoder_decoder:
        return {}
    # Other texts than the encoder's, so that the two sides are of different lengths.
    texts = [TEXTS[-1 - i] for i in range(n)] if built.task == "seq2seq-lm" else list(TEXTS[:n])
    side = "right" if built.task == "seq2seq-lm" else side
    start = int(built.model.config.decoder_start_token_id)
    rows = [[start, *ids[:-1]] for ids in built.tokenizer(texts)["input_ids"]]
    built.tokenizer.padding_side = side
    found = built.tokenizer.pad({"input_ids": rows}, return_tensors="pt")
    return {"decoder_input_ids": found["input_ids"], "decoder_attention_mask": found["attention_mask"]}


def _noise(*shape: int) -> Tensor:
    """Rows that differ and stay the same whatever their number is."""
    rows = [torch.randn(shape[1:], generator=torch.Generator().manual_seed(100 + i)) for i in range(shape[0])]
    return torch.stack(rows)


def _sounds(n: int, side: str) -> dict[str, Tensor]:
    values = _noise(n, max(N_SAMPLES))
    mask = torch.zeros(values.shape, dtype=torch.long)
    for row, length in zip(mask, N_SAMPLES[:n], strict=True):
        row[_real(length, side)] = 1
    return {"input_values": values * mask, "attention_mask": mask}


def _real(length: int, side: str) -> slice:
    return slice(length) if side == "right" else slice(-length, None)


def alone(built: Built, batch: dict[str, Tensor], index: int, side: str = "right") -> dict[str, Tensor]:
    """Example `index` of a batch from `inputs` by itself, without padding on either side of an encoder-decoder.

    Positions are left to the model, which is what makes the comparison with a left-padded batch a test of them.
    """
    found: dict[str, Tensor] = {}
    for name, values in batch.items():
        mask = batch.get("decoder_attention_mask" if name.startswith("decoder_") else "attention_mask")
        if name in ("pixel_values", "input_features"):
            mask = None
        if name != "position_ids":
            found[name] = values[index : index + 1] if mask is None else values[index][mask[index] == 1][None]
    return found


def answer(built: Built, outputs: Any, batch: dict[str, Tensor], index: int) -> Tensor:
    """The output of one example at its real positions: `[outputs]`, or `[positions, outputs]` for token-wise heads.

    Start and end of an answer are the two columns of question answering; CLIP's are its two embeddings, because
    its similarities belong to pairs of examples.
    """
    if built.task == "none":
        return torch.cat([outputs.text_embeds[index], outputs.image_embeds[index]])
    if built.task == "question-answering":
        logits = torch.stack([outputs.start_logits[index], outputs.end_logits[index]], dim=-1)
    else:
        logits = outputs.logits[index]
    if logits.ndim == 1:
        return logits
    if built.task == "ctc":
        model: Any = built.model
        n_frames = int(model._get_feat_extract_output_lengths(batch["attention_mask"][index].sum()))
        return logits[:n_frames]
    mask = batch.get("decoder_attention_mask", batch["attention_mask"] if "attention_mask" in batch else None)
    return logits if mask is None else logits[mask[index] == 1]
