"""Tiny models that translate, with transformers' own tokenizers for them: NLLB, mBART, mBART-50, M2M, Marian.

Where a tokenizer needs a SentencePiece model, one is trained on a few sentences.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, Final

import sentencepiece
import torch
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
    NllbTokenizer,
)

from tests.tiny import D_MODEL, N_HEADS, N_POSITIONS, TEXTS, WORDS, _merged, seeded

#: What the SentencePiece models are trained on; ligatures and wide letters are for their normaliser.
SENTENCES: Final = (
    *TEXTS, "un film très bon", "le chat était triste", "ein guter Tag", "味道很好, 不贵",
    "\ufb01lm \uff26\uff49\uff4c\uff4d",
)  # fmt: skip
LETTERS: Final = sorted({*"abcdefghijklmnopqrstuvwxyzI0123456789.,!?'-éè"})

SIZES: Final[dict[str, Any]] = {
    **{f"{side}_{name}": n for side in ("encoder", "decoder")
       for name, n in (("layers", 2), ("attention_heads", N_HEADS), ("ffn_dim", 64))},
    "d_model": D_MODEL, "max_position_embeddings": N_POSITIONS, "init_std": 0.25, "scale_embedding": True,
}  # fmt: skip


def spm(path: Path, sentences: tuple[str, ...] = SENTENCES, **options: Any) -> Path:
    """A unigram SentencePiece model at `path`, with the normaliser (NFKC) that these models have."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=written, vocab_size=90, hard_vocab_limit=False,
        character_coverage=1.0, minloglevel=2, **options,
    )  # fmt: skip
    path.write_bytes(written.getvalue())
    return path


def pieces(path: Path) -> list[str]:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return [processor.id_to_piece(i) for i in range(processor.get_piece_size())]


def marian(folder: Path, *, separate: bool = False) -> tuple[Any, Any]:
    """Marian with a source and a target SentencePiece model, and the language token of a model with several."""
    source = spm(folder / "source.spm")
    target = spm(folder / "target.spm", SENTENCES[::-1][:7])
    known = [piece for piece in dict.fromkeys([*pieces(source), *pieces(target)]) if not piece.startswith("<")]
    # One piece that the source model makes is not in the vocabulary, as in the released models.
    known.remove("▁bad")
    vocabulary = ["</s>", "<unk>", ">>fra<<", ">>deu<<", *known, "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(vocabulary)}), encoding="utf-8")
    tokenizer = MarianTokenizer(
        str(source), str(target), str(folder / "vocab.json"), source_lang="en", target_lang="fr",
        model_max_length=N_POSITIONS,
    )  # fmt: skip
    ends = {"eos_token_id": 0, "pad_token_id": tokenizer.pad_token_id, "forced_eos_token_id": None}
    config = MarianConfig(
        **SIZES, **ends, vocab_size=len(vocabulary), decoder_start_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )  # fmt: skip
    return _biased(seeded(lambda: MarianMTModel(config), 0)), tokenizer


def m2m(folder: Path, **options: Any) -> tuple[Any, Any]:
    """M2M-100, whose tokenizer cuts with a SentencePiece model as Marian's does."""
    model = spm(folder / "sentencepiece.bpe.model")
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *(p for p in pieces(model) if not p.startswith("<"))]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(vocabulary)}), encoding="utf-8")
    tokenizer = M2M100Tokenizer(str(folder / "vocab.json"), str(model), src_lang="en", **options)
    return _m2m(tokenizer), tokenizer


def nllb(**options: Any) -> tuple[Any, Any]:
    """NLLB: the language in front of both texts."""
    vocabulary, merges = _merged(["<s>", "<pad>", "</s>", "<unk>", "▁", *LETTERS], [f"▁{word}" for word in WORDS])
    tokenizer = NllbTokenizer(vocab=vocabulary, merges=merges, src_lang="eng_Latn", **options)
    return _m2m(tokenizer), tokenizer


def mbart(kind: type[Any] = MBartTokenizer, **options: Any) -> tuple[Any, Any]:
    """mBART, with the language behind the text; with `MBart50Tokenizer` in front of it."""
    plain = [("▁", -4.0), *((f"▁{word}", -2.0) for word in WORDS), *((letter, -6.0) for letter in LETTERS)]
    vocabulary = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *plain]
    tokenizer = kind(vocab=vocabulary, src_lang="en_XX", **options)
    config = MBartConfig(
        **SIZES, vocab_size=len(tokenizer), forced_eos_token_id=None, decoder_start_token_id=None,
        pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    if kind is MBart50Tokenizer:
        config.decoder_start_token_id = 2
    return _biased(seeded(lambda: MBartForConditionalGeneration(config), 0)), tokenizer


def _m2m(tokenizer: Any) -> Any:
    codes = getattr(tokenizer, "lang_token_to_id", {})
    size = max(len(tokenizer), *(i + 1 for i in (*tokenizer.get_vocab().values(), *codes.values())))
    config = M2M100Config(**SIZES, vocab_size=size, pad_token_id=1, bos_token_id=0, eos_token_id=2,
                          decoder_start_token_id=2)  # fmt: skip
    return seeded(lambda: M2M100ForConditionalGeneration(config), 0)


def _biased(model: Any) -> Any:
    """The buffer that these models add to their logits; as zeros it could be forgotten."""
    generator = torch.Generator().manual_seed(0)
    model.final_logits_bias += 0.1 * torch.randn(model.final_logits_bias.shape, generator=generator)
    return model
