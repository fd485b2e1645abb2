"""Characters of tokens where a tokenizer keeps no count of them: from the SentencePiece model that it cuts texts with.

That model changes a text before it cuts it (wide letters become plain ones, a ligature two letters, several spaces
one), and knows of each piece from which characters of the given text it came. The tokenizers of Marian and M2M-100 ask
it for the pieces only. It is asked again here, and what it says is taken if the pieces are the tokenizer's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from interpret.errors import UsageError
from interpret.models.words import Span


class Pieces(NamedTuple):
    """One text: token ids, the characters of each token, and which tokens are special; (0, 0) at those."""

    ids: Sequence[int]
    spans: Sequence[Span]
    special: Sequence[bool]


def cuts_with_sentencepiece(tokenizer: Any) -> bool:
    """Whether the tokenizer has a SentencePiece model of its own to ask."""
    return _model(tokenizer, False) is not None


def pieces_of(tokenizer: Any, text: str, *, target: bool = False, add_special_tokens: bool = True) -> Pieces:
    """Tokenise one text, with the characters of every token.

    Args:
        tokenizer: for which `cuts_with_sentencepiece` holds.
        text: the text.
        target: read it as one to be written; Marian has another model for those.
        add_special_tokens: as the tokenizer takes it.

    Raises:
        UsageError: the tokenizer does not cut the text as its SentencePiece model does, or has two vocabularies.
    """
    if getattr(tokenizer, "separate_vocabs", False):
        raise UsageError(
            f"{type(tokenizer).__name__} has a vocabulary for each language and names tokens of both by one of them; "
            "capture the model's own inputs, with capturing(...) around a call of it"
        )
    with _mode(tokenizer, target):
        tokens = [str(token) for token in tokenizer.tokenize(text)]
        content = [int(token) for token in tokenizer.convert_tokens_to_ids(tokens)]
    named = {"text_target": text} if target and _has_two(tokenizer) else {"text": text}
    ids = [int(i) for i in tokenizer(**named, add_special_tokens=add_special_tokens, verbose=False)["input_ids"]]
    code = _language_code(tokenizer, text)
    pieces, spans = _aligned(_model(tokenizer, target), text[len(code) :])
    in_order = _in_order(spans, len(text) - len(code))
    # Of several pieces that one character became, such as a ligature, only the last is given it: it is each one's.
    spans = [
        (start, start + 1) if start == end < len(text) - len(code) and piece.strip("\u2581 ") else (start, end)
        for piece, (start, end) in zip(pieces, spans, strict=True)
    ]
    spans = [(start + len(code), end + len(code)) for start, end in spans]
    if code:
        pieces, spans = [code, *pieces], [(0, len(code)), *spans]
    n = len(content)
    lead = next((at for at in range(len(ids) - n + 1) if ids[at : at + n] == content), None)
    if pieces != tokens or lead is None or not in_order:
        raise UsageError(
            f"which characters the tokens of {text[:40]!r} stand for is not known: {type(tokenizer).__name__} cuts "
            f"it into {len(tokens)} tokens other than the {len(pieces)} pieces of its SentencePiece model, as it does "
            "where a special token such as </s> is written in a text; leave that out of the text"
        )
    # A language to translate to that is written before the text is an order, as are the tokens that are added.
    ordered = bool(code) and code in tokenizer.get_vocab()
    special = [True] * lead + [ordered and at == 0 for at in range(n)] + [True] * (len(ids) - lead - n)
    placed = [(0, 0)] * lead + spans + [(0, 0)] * (len(ids) - lead - n)
    return Pieces(ids, [(0, 0) if flag else span for flag, span in zip(special, placed, strict=True)], special)


def models_sha256(tokenizer: Any) -> list[str]:
    """Digests of the SentencePiece models that a tokenizer cuts texts with, if it has any."""
    found = [model for target in (False, True) if (model := _model(tokenizer, target)) is not None]
    written = [model.serialized_model_proto() for model in found if hasattr(model, "serialized_model_proto")]
    return list(dict.fromkeys(hashlib.sha256(one).hexdigest() for one in written))


def _aligned(model: Any, text: str) -> tuple[list[str], list[Span]]:
    """The pieces of a text and the characters of the text that each came from.

    Raises:
        UsageError: the installed SentencePiece cannot say.
    """
    try:
        found = model.encode(text, out_type="offset_mapping")
        return [str(piece) for piece in found["pieces"]], [(int(a), int(b)) for a, b in found["offsets"]]
    except (RuntimeError, ValueError, TypeError):
        pass
    try:
        # So it is called up to version 0.2.1.
        parts = model.encode(text, out_type="immutable_proto").pieces
        return [str(part.piece) for part in parts], [(int(part.begin), int(part.end)) for part in parts]
    except (RuntimeError, ValueError, TypeError) as err:
        raise UsageError(
            "the installed sentencepiece does not say which characters its pieces stand for; install version 0.2.0 or "
            "newer"
        ) from err


def _in_order(spans: Sequence[Span], length: int) -> bool:
    """Whether the pieces follow each other in the text; between two of them is only what the model leaves out."""
    ends = [0, *(end for _, end in spans)]
    return all(before <= start <= end <= length for before, (start, end) in zip(ends, spans, strict=False))


def _language_code(tokenizer: Any, text: str) -> str:
    """What Marian takes off the text before its model sees it, such as >>fra<<."""
    taken = getattr(tokenizer, "remove_language_code", None)
    if taken is None:
        return ""
    codes, _ = taken(text)
    return str(codes[0]) if codes else ""


def _has_two(tokenizer: Any) -> bool:
    return hasattr(tokenizer, "spm_target")


def _model(tokenizer: Any, target: bool) -> Any:
    names = ("spm_target" if target else "spm_source", "sp_model")
    models = (getattr(tokenizer, name, None) for name in names)
    return next((model for model in models if hasattr(model, "encode")), None)


@contextmanager
def _mode(tokenizer: Any, target: bool) -> Iterator[None]:
    """Let a tokenizer with two models use the one for texts that are written."""
    if not (target and _has_two(tokenizer)):
        yield
        return
    try:
        tokenizer._switch_to_target_mode()
        yield
    finally:
        tokenizer._switch_to_input_mode()
