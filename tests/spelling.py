"""Tokenizers of four kinds trained on given texts, and whether the tokens of a word spell it.

What is asserted comes from the tokens' own names, not from offsets: the pieces of WordPiece, the bytes behind the
letters of byte-level BPE, the "▁" and "<0x..>" of SentencePiece.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from interpret.analyzers.probing.features import Items

_BYTE_PIECES: Final = tuple(f"<0x{byte:02X}>" for byte in range(256))
_BYTE_PIECE: Final = re.compile(r"<0x([0-9A-F]{2})>")


def wordpiece(texts: Iterable[str], size: int = 600) -> PreTrainedTokenizerFast:
    """As BERT has it: lower case, without accents, every ideograph by itself."""
    raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    raw.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    )
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def byte_bpe(texts: Iterable[str], size: int = 600) -> PreTrainedTokenizerFast:
    """As GPT-2 has it: bytes, the space in front of a word with it."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.post_processor = processors.ByteLevel(trim_offsets=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<|endoftext|>", pad_token="<|endoftext|>")


def sentencepiece_bpe(texts: Iterable[str], size: int = 800) -> PreTrainedTokenizerFast:
    """As Llama has it: "▁" for spaces, unknown characters as their bytes."""
    raw = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never", split=True)
    special = ["<unk>", "<s>", *_BYTE_PIECES]
    raw.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False))
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", pad_token="<unk>")


def unigram(texts: Iterable[str], size: int = 800, *, over_spaces: bool = False) -> PreTrainedTokenizerFast:
    """As XLM-R and T5 have it: compatibility forms first; with `over_spaces` a token may hold several words."""
    raw = Tokenizer(models.Unigram())
    raw.normalizer = normalizers.NFKC()
    raw.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=not over_spaces)
    special = ["<unk>", "<s>", "</s>", *_BYTE_PIECES]
    raw.train_from_iterator(
        texts,
        trainers.UnigramTrainer(
            vocab_size=size, unk_token="<unk>", special_tokens=special, show_progress=False, max_piece_length=16
        ),
    )
    # The trainer does not know of bytes.
    raw.model = models.Unigram([*_scores(raw)], unk_id=0, byte_fallback=True)
    raw.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", bos_token=AddedToken("<s>", special=True), eos_token="</s>",
        pad_token="<unk>",
    )  # fmt: skip


def _scores(raw: Tokenizer) -> Iterable[tuple[str, float]]:
    import json

    return [(piece, score) for piece, score in json.loads(raw.to_str())["model"]["vocab"]]


TRAINED: Final[dict[str, Callable[..., PreTrainedTokenizerFast]]] = {
    "wordpiece": wordpiece,
    "byte_bpe": byte_bpe,
    "sentencepiece_bpe": sentencepiece_bpe,
    "unigram": unigram,
}


@cache
def byte_alphabet() -> dict[str, int]:
    """The letter that stands for each byte in byte-level BPE (Radford et al. 2019), written anew."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(others)}


def spelt_bytes(kind: str, pieces: Sequence[str]) -> bytes | None:
    """What pieces spell, as bytes, with "▁" or a space in front of words; None where one says that it is unknown."""
    if kind == "wordpiece":
        return None if "[UNK]" in pieces else "".join(piece.removeprefix("##") for piece in pieces).encode()
    if kind == "byte_bpe":
        alphabet = byte_alphabet()
        return bytes(alphabet[letter] for piece in pieces for letter in piece)
    if "<unk>" in pieces:
        return None
    matches = [(piece, _BYTE_PIECE.fullmatch(piece)) for piece in pieces]
    return b"".join(bytes([int(match[1], 16)]) if match else piece.encode() for piece, match in matches)


def spelt(kind: str, pieces: Sequence[str]) -> str | None:
    """The word that pieces spell, without spaces; None where one says that it is unknown."""
    found = spelt_bytes(kind, pieces)
    if found is None:
        return None
    text = found.decode()
    return "".join((text if kind in ("wordpiece", "byte_bpe") else text.replace("▁", " ")).split())


def normal(tokenizer: PreTrainedTokenizerFast, word: str) -> str:
    """A word as its pieces have it: what the tokenizer's own normaliser makes of it, without spaces."""
    normalizer: Any = tokenizer.backend_tokenizer.normalizer
    found: str = word if normalizer is None else normalizer.normalize_str(word)
    metaspace = isinstance(tokenizer.backend_tokenizer.pre_tokenizer, pre_tokenizers.Metaspace)
    if metaspace or (normalizer is not None and "▁" in normalizer.normalize_str("a b")):
        # What is written for a space cannot be told from the same sign in a text.
        found = found.replace("▁", " ")
    return "".join(found.split())


def check(kind: str, tokenizer: PreTrainedTokenizerFast, sentences: Sequence[Sequence[str]], items: Items) -> int:
    """Assert for every item that its tokens are those of its word; the number of items whose names spell it."""
    n_spelt = 0
    for s, segment in enumerate(items.segments):
        row, words = items.encoded[s], sentences[s]
        starts = [0]
        for word in words:
            starts.append(starts[-1] + len(word) + 1)
        shared = {p for p, n in Counter(segment.position.tolist()).items() if n > 1}
        for item in sorted(set(segment.item.tolist())):
            w = int(items.place[item])
            own = segment.position[segment.item == item].tolist()
            assert own, (words, w)
            assert own == list(range(own[0], own[0] + len(own))), f"a gap in the tokens of {words[w]!r}"
            assert items.form[item] == words[w]
            covered = set().union(*(range(*row.char_spans[p]) for p in own))
            inside = set(range(starts[w], starts[w] + len(words[w])))
            if shared.isdisjoint(own):
                outside = "".join(row.text[c] for c in sorted(covered - inside))
                assert not outside.strip(), f"{outside!r} in the tokens of {words[w]!r} of {words}"
                text = spelt(kind, [row.tokens[p] for p in own])
                if text is not None:
                    assert text == normal(tokenizer, words[w]), (
                        f"{[row.tokens[p] for p in own]} for {words[w]!r} in {words}"
                    )
                    n_spelt += 1
            for c in sorted(inside - covered):
                assert is_dropped(tokenizer, words[w], c - starts[w]), (words, w, row.text[c])
    return n_spelt


def is_dropped(tokenizer: PreTrainedTokenizerFast, word: str, place: int) -> bool:
    """Whether the normaliser makes nothing of a character, or joins it to the one before it as a mark to its letter."""
    character = word[place]
    return (
        not normal(tokenizer, character)
        or character.isspace()
        or unicodedata.category(character).startswith("M")
        or len(normal(tokenizer, word[: place + 1])) <= len(normal(tokenizer, word[:place]))
    )
