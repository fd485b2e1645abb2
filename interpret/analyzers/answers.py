"""Where in a text the thing to explain stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from interpret.analyzers.windows import parts_of
from interpret.errors import UsageError
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.models.readout import logits_of
from interpret.models.units import short

FloatArray = npt.NDArray[np.float64]

#: Tokens of an answer at most, as the question-answering pipelines have it by default 15; longer ones are seldom right.
_ANSWER: Final = 30


def first_token(encoded: Encoded, word: int) -> int:
    """The first token of a word, which is the one that carries its class; words count from 0, negative from the end.

    Raises:
        UsageError: there is no such word, or it was cut off.
    """
    n_words = max(encoded.word_index, default=-1) + 1
    wanted = word + n_words if word < 0 else word
    if wanted not in encoded.word_index or wanted < 0:
        raise UsageError(f"asked for word {word} of {short(encoded.text)!r}, which has words 0 to {n_words - 1}")
    return encoded.word_index.index(wanted)


def mask_position(handle: Handle, encoded: Encoded, number: int = 0) -> int | None:
    """Where a mask token stands, the first one by default; None unless the task is to fill it in.

    Raises:
        UsageError: the task is masked-lm and the text holds no such mask token.
    """
    if handle.task != "masked-lm":
        return None
    found = [position for position, token in enumerate(encoded.ids) if token == handle.mask_id]
    if not found:
        mask = getattr(handle.tokenizer, "mask_token", None) or "[MASK]"
        raise UsageError(
            f"a masked language model is explained at its mask token, but the text {short(encoded.text)!r} holds "
            f"none; write {mask} where the model should fill in a word"
        )
    if not -len(found) <= number < len(found):
        raise UsageError(f"asked for mask {number} of {short(encoded.text)!r}, which has {len(found)}")
    return found[number]


def best_span(handle: Handle, encoded: Sequence[Encoded]) -> list[tuple[int, int]]:
    """First and last token of the likeliest answer within the context (the second of a pair), at most 30 tokens.

    Of a text read in windows by the mean over the windows that hold the answer whole.
    """
    parts = [(i, part) for i, e in enumerate(encoded) for part in parts_of(e)]
    rows = [Row(part.encoded.ids, part.encoded.type_ids) for _, part in parts]
    # Of each text [first token, further tokens]; windows that hold an answer all have their say.
    totals = [np.zeros((len(e.ids), _ANSWER)) for e in encoded]
    counts = [np.zeros((len(e.ids), _ANSWER), dtype=np.int64) for e in encoded]
    for (i, part), starts, ends in zip(
        parts, logits_of(handle, rows, "start_logits"), logits_of(handle, rows, "end_logits"), strict=True
    ):
        context = _context(part.encoded)
        allowed = np.array([place in context for place in range(len(part.positions))])
        for further in range(min(_ANSWER, len(allowed))):
            first = np.flatnonzero(allowed[: len(allowed) - further] & allowed[further:])
            at = np.asarray(part.positions)[first]
            totals[i][at, further] += starts[first] + ends[first + further]
            counts[i][at, further] += 1
    out = []
    for total, count in zip(totals, counts, strict=True):
        scores = np.where(count > 0, total / np.maximum(count, 1), -np.inf)
        start, length = np.unravel_index(int(np.argmax(scores)), scores.shape)
        out.append((int(start), int(start + length)))
    return out


def likeliest(encoded: Encoded, starts: FloatArray, ends: FloatArray) -> tuple[int, int]:
    """First and last token of the likeliest answer of one text that is read whole, from its logits [position]."""
    inside = _context(encoded)
    context = np.array([place in inside for place in range(len(encoded.ids))])
    scores = starts[:, None] + ends[None, :]
    allowed = np.triu(np.ones_like(scores, dtype=bool)) & ~np.triu(np.ones_like(scores, dtype=bool), _ANSWER)
    scores = np.where(allowed & context[:, None] & context[None, :], scores, -np.inf)
    start, end = np.unravel_index(int(np.argmax(scores)), scores.shape)
    return int(start), int(end)


def located(encoded: Encoded, answer: str) -> tuple[int, int]:
    """First and last token of an answer that is given by its text, where it first stands in the context.

    Raises:
        UsageError: it does not stand there, or was cut off.
    """
    begin = encoded.text.find(answer, encoded.pair_start or 0) if answer.strip() else -1
    inside = [
        place
        for place in sorted(_context(encoded))
        if encoded.char_spans[place][1] > begin and encoded.char_spans[place][0] < begin + len(answer)
    ]
    if begin < 0 or not inside:
        context = short(encoded.text[encoded.pair_start or 0 :])
        raise UsageError(
            f"the answer {short(answer)!r} does not stand in the context {context!r}; give a part of it, or 'span' "
            "for the predicted answer"
        )
    return inside[0], inside[-1]


def _context(encoded: Encoded) -> set[int]:
    """Tokens of the second text of a pair; of a single text all."""
    first = encoded.pair_start or 0
    return {
        place for place, (start, _) in enumerate(encoded.char_spans) if not encoded.special[place] and start >= first
    }
