"""Tiny random models and tokenizers of every family from configs: no download, no file, under 0.1 s each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers import models as token_models
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

ENCODER_TASKS: Final = ("text-classification", "masked-lm")
DECODER_TASKS: Final = ("text-classification", "causal-lm")

FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "bert": ENCODER_TASKS,
    "roberta": ENCODER_TASKS,
    "distilbert": ENCODER_TASKS,
    "electra": ENCODER_TASKS,
    "gpt2": DECODER_TASKS,
    "llama": DECODER_TASKS,
}

LABELS: Final = ("a", "b", "c")

#: Sentences of 1 to 17 words, all inside 64 positions for every tokenizer here.
TEXTS: Final = (
    "the film was good",
    "bad",
    "not a good film, but the cat was happy",
    "I don't like it!",
    "she said the well-known story was dull and the end was very sad",
    "never bad, never dull",
    "the cat ate the red fish and then the cat was very happy and not sad at all",
    "a very good day",
)

WORDS: Final = (
    "the film was good bad not a but cat happy like it she said story dull and end very sad "
    "never ate red fish then at all day well known don"
).split()

#: Parameters of each builder; a change of transformers that changes an architecture is seen here first.
N_PARAMETERS: Final[dict[tuple[str, str], int]] = {
    ("bert", "text-classification"): 24259,
    ("bert", "masked-lm"): 24344,
    ("roberta", "text-classification"): 31907,
    ("roberta", "masked-lm"): 32230,
    ("distilbert", "text-classification"): 24195,
    ("distilbert", "masked-lm"): 24280,
    ("electra", "text-classification"): 21795,
    ("electra", "masked-lm"): 21320,
    ("gpt2", "text-classification"): 38944,
    ("gpt2", "causal-lm"): 38848,
    ("llama", "text-classification"): 23008,
    ("llama", "causal-lm"): 27232,
}

N_POSITIONS: Final = 64
D_MODEL: Final = 32
N_HEADS: Final = 4


def wordpiece() -> PreTrainedTokenizerFast:
    """Lower-cased WordPiece with [CLS], [SEP], [MASK]; single letters and a few ideographs are known."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces += [*letters, *(f"##{letter}" for letter in letters), *".,!?'-", *"的不好吃很味道"]
    pieces += [word for word in WORDS if len(word) > 1]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    raw = Tokenizer(token_models.WordPiece(vocabulary, unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    raw.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        model_max_length=N_POSITIONS,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def _merged(alphabet: list[str], words: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A BPE vocabulary in which each of `words` is reached by merging from its left end."""
    vocabulary = {symbol: index for index, symbol in enumerate(alphabet)}
    merges: list[tuple[str, str]] = []
    for word in words:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
                merges.append((word[: end - 1], word[end - 1]))
    return vocabulary, merges


def _byte_level(specials: list[str]) -> tuple[Tokenizer, dict[str, int]]:
    alphabet = specials + sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary, merges = _merged(alphabet, [f"Ġ{word}" for word in WORDS] + ["the", "not", "she", "never"])
    raw = Tokenizer(token_models.BPE(vocab=vocabulary, merges=merges))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return raw, vocabulary


def roberta_bpe() -> PreTrainedTokenizerFast:
    """Byte-level BPE with <s>, </s>, <mask>, numbered as RoBERTa numbers them."""
    raw, vocabulary = _byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    raw.post_processor = processors.RobertaProcessing(
        ("</s>", vocabulary["</s>"]), ("<s>", vocabulary["<s>"]), trim_offsets=True, add_prefix_space=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        model_max_length=N_POSITIONS,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token=AddedToken("<mask>", lstrip=True, special=True),
    )


def gpt2_bpe() -> PreTrainedTokenizerFast:
    """Byte-level BPE as GPT-2 has it: no pad token, nothing added at the ends, spaces inside offsets."""
    raw, _ = _byte_level(["<|endoftext|>"])
    raw.post_processor = processors.ByteLevel(trim_offsets=False)
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token=end, eos_token=end, unk_token=end)


def _metaspace(specials: list[str]) -> tuple[Tokenizer, dict[str, int]]:
    letters = sorted(set("abcdefghijklmnopqrstuvwxyzI0123456789.,!?'-"))
    vocabulary, merges = _merged([*specials, "▁", *letters], [f"▁{word}" for word in WORDS])
    raw = Tokenizer(token_models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=False))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=True)
    raw.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="first")
    return raw, vocabulary


def llama_bpe() -> PreTrainedTokenizerFast:
    """SentencePiece-like BPE: "▁" before each word, <s> in front, unknown characters become <unk>."""
    raw, vocabulary = _metaspace(["<unk>", "<s>", "</s>", "<pad>"])
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def t5_bpe() -> PreTrainedTokenizerFast:
    """As Llama's, but numbered as T5 numbers it: padding is 0, and </s> stands at the end of each text."""
    raw, vocabulary = _metaspace(["<pad>", "</s>", "<unk>"])
    raw.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", vocabulary["</s>"])]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", eos_token="</s>", pad_token="<pad>")


#: The languages that the translators here know, as mBART writes them.
LANGUAGES: Final = ("en_XX", "fr_XX")


def _translating(specials: list[str], single: str, **named: object) -> PreTrainedTokenizerFast:
    """Texts as a model that translates reads them; languages are special tokens."""
    raw, vocabulary = _metaspace(specials)
    used = [token for token in single.split() if token != "$A"]
    raw.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(token, vocabulary[token]) for token in used]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", eos_token="</s>", pad_token="<pad>", model_max_length=N_POSITIONS,
        **named,
    )  # fmt: skip


def mbart_bpe() -> PreTrainedTokenizerFast:
    """As Llama's, numbered as mBART numbers it: the end token and the language behind each text."""
    return _translating(
        ["<s>", "<pad>", "</s>", "<unk>", *LANGUAGES], f"$A </s> {LANGUAGES[0]}", bos_token="<s>",
        extra_special_tokens=list(LANGUAGES),
    )  # fmt: skip


def nllb_bpe() -> PreTrainedTokenizerFast:
    """As mBART's, with the language in front of each text."""
    return _translating(
        ["<s>", "<pad>", "</s>", "<unk>", *LANGUAGES], f"{LANGUAGES[0]} $A </s>", bos_token="<s>",
        extra_special_tokens=list(LANGUAGES),
    )  # fmt: skip


def marian_bpe() -> PreTrainedTokenizerFast:
    """As T5's, numbered as Marian numbers it: the end token is 0."""
    return _translating(["</s>", "<unk>", "<pad>"], "$A </s>")


def config_for(family: str, tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    n_vocabulary = len(tokenizer)
    # Wide initial weights: near-uniform attention and equal logits would let wrong code pass.
    spread = {"initializer_range": 0.25}
    encoder = {
        "vocab_size": n_vocabulary,
        "hidden_size": D_MODEL,
        "num_hidden_layers": 2,
        "num_attention_heads": N_HEADS,
        "intermediate_size": 64,
        "max_position_embeddings": N_POSITIONS,
        "pad_token_id": tokenizer.pad_token_id,
        **spread,
    }
    match family:
        case "bert":
            return BertConfig(**encoder)
        case "roberta":
            # Positions start after the padding index.
            encoder["max_position_embeddings"] = N_POSITIONS + 2
            return RobertaConfig(**encoder, type_vocab_size=1, bos_token_id=0, eos_token_id=2)
        case "electra":
            # A narrower embedding, so that the projection between the two widths is there.
            return ElectraConfig(**encoder, embedding_size=16)
        case "distilbert":
            return DistilBertConfig(
                vocab_size=n_vocabulary,
                dim=D_MODEL,
                n_layers=2,
                n_heads=N_HEADS,
                hidden_dim=64,
                max_position_embeddings=N_POSITIONS,
                pad_token_id=tokenizer.pad_token_id,
                **spread,
            )
        case "gpt2":
            return GPT2Config(
                vocab_size=n_vocabulary,
                n_embd=D_MODEL,
                n_layer=2,
                n_head=N_HEADS,
                n_positions=N_POSITIONS,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                **spread,
            )
        case "llama":
            return LlamaConfig(
                vocab_size=n_vocabulary,
                hidden_size=D_MODEL,
                num_hidden_layers=2,
                num_attention_heads=N_HEADS,
                num_key_value_heads=2,
                intermediate_size=64,
                max_position_embeddings=N_POSITIONS,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                **spread,
            )
    raise ValueError(f"no tiny {family}; there are {', '.join(FAMILIES)}")


TOKENIZERS: Final = {
    "bert": wordpiece,
    "distilbert": wordpiece,
    "electra": wordpiece,
    "roberta": roberta_bpe,
    "gpt2": gpt2_bpe,
    "llama": llama_bpe,
}

CLASSES: Final = {
    "text-classification": AutoModelForSequenceClassification,
    "causal-lm": AutoModelForCausalLM,
    "masked-lm": AutoModelForMaskedLM,
}


def label(config: PreTrainedConfig, n_labels: int = len(LABELS)) -> None:
    """Give the head of a classifier its labels, and with them its width."""
    config.id2label = dict(enumerate(LABELS[:n_labels]))
    config.label2id = {label: index for index, label in config.id2label.items()}


def seeded(create: Callable[[], PreTrainedModel], seed: int) -> PreTrainedModel:
    """The model that `create` makes under `seed`, jittered, in eval mode; the caller's random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim == 1 or name.endswith("bias"):
                    # Zero biases and unit norms hide terms that were forgotten.
                    parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def n_parameters(model: PreTrainedModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def tiny(
    family: str, task: str = "text-classification", seed: int = 0, *, n_labels: int = 3
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A random model in eval mode and fp32 (d 32, 2 layers, 4 heads; Llama 2 kv heads) with its tokenizer.

    The caller's random state is left alone.
    """
    tokenizer = TOKENIZERS[family]()
    config = config_for(family, tokenizer)
    if task == "text-classification":
        label(config, n_labels)
    model = seeded(lambda: CLASSES[task].from_config(config, dtype=torch.float32), seed)
    # As the real tokenizers have it; GPT-2 would embed and add token types if it were given any.
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    if family in ("bert", "electra"):
        tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    found = n_parameters(model)
    expected = N_PARAMETERS[family, task] - (3 - n_labels) * _per_label(family, task)
    assert found == expected, f"tiny {family} for {task} has {found} parameters, expected {expected}"
    return model, tokenizer


def _per_label(family: str, task: str) -> int:
    """Parameters one label costs: a row of the head, and a bias where the head has one."""
    if task != "text-classification":
        return 0
    return D_MODEL if family in ("gpt2", "llama") else D_MODEL + 1
