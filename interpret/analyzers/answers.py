"""Where in a text, and in what a model wrote, the thing to explain stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from interpret.analyzers.windows import parts_of
from interpret.capture.generation import write, write_together
from interpret.errors import UsageError
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, written_ids
from interpret.models.readout import logits_of
from interpret.models.state import tokenizer_state
from interpret.readers.characters import require_unicode

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
        raise UsageError(f"asked for word {word} of {_short(encoded.text)!r}, which has words 0 to {n_words - 1}")
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
            f"a masked language model is explained at its mask token, but the text {_short(encoded.text)!r} holds "
            f"none; write {mask} where the model should fill in a word"
        )
    if not -len(found) <= number < len(found):
        raise UsageError(f"asked for mask {number} of {_short(encoded.text)!r}, which has {len(found)}")
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
        context = _short(encoded.text[encoded.pair_start or 0 :])
        raise UsageError(
            f"the answer {_short(answer)!r} does not stand in the context {context!r}; give a part of it, or 'span' "
            "for the predicted answer"
        )
    return inside[0], inside[-1]


def responses_of(
    handle: Handle, encoded: Sequence[Encoded], response: Any, max_new_tokens: int
) -> list[tuple[int, ...]]:
    """Token ids of what was written after each prompt, or is written now.

    Raises:
        UsageError: as many responses as texts were not given, or one has no tokens.
    """
    if response is True:
        written = _let_write(handle, encoded, max_new_tokens)
    else:
        texts = [response] * len(encoded) if isinstance(response, str) else list(response or ())
        if len(texts) != len(encoded) or not all(isinstance(text, str) for text in texts):
            raise UsageError(
                f"response holds {len(texts)} entries for {len(encoded)} texts; give one string per text, or True to "
                "let the model write"
            )
        written = [_ids(handle, e, text) for e, text in zip(encoded, texts, strict=True)]
    for e, ids in zip(encoded, written, strict=True):
        if not ids:
            raise UsageError(f"the response to {_short(e.text)!r} has no tokens, so there is nothing to explain")
        if handle.task != "causal-lm":
            continue
        if e.windows is not None:
            # Refuses a response that leaves no room for the text.
            e.windows.leaving(len(ids))
        elif len(e.ids) + len(ids) > handle.max_length:
            raise UsageError(
                f"the text {_short(e.text)!r} and its response take {len(e.ids) + len(ids)} tokens, and "
                f"{handle.name} reads {handle.max_length}; shorten one of them, or with long_text='windows' explain "
                "what the end of the text that fits has to do with the response"
            )
    return written


def _let_write(handle: Handle, encoded: Sequence[Encoded], max_new_tokens: int) -> list[tuple[int, ...]]:
    """What the model writes greedily; of a text that it goes on from, in the window that leaves room for just that.

    An encoder-decoder chooses each token by the mean of its logits over all windows of the text. A causal model that
    ends before it has written `max_new_tokens` left room that the explanation would fill with more of the text, with
    which it may write something else. So it writes again with that room, until the two agree.
    """
    written: list[tuple[int, ...]] = [()] * len(encoded)
    generation = {"do_sample": False, "num_beams": 1, "max_new_tokens": max_new_tokens}
    together = [i for i, e in enumerate(encoded) if handle.task == "seq2seq-lm" and e.windows is not None]
    for i in together:
        rows = [Row(part.encoded.ids, part.encoded.type_ids) for part in parts_of(encoded[i])]
        written[i] = write_together(handle, rows, seed=0, generation=generation)[1:]
    # Texts that are not done, by the room that is left for what is written.
    waiting = {max_new_tokens: [i for i in range(len(encoded)) if i not in together]}
    while waiting:
        room, numbers = waiting.popitem()
        rows = [_prompt(handle, encoded[i], room) for i in numbers]
        found = write(handle, rows, seed=0, generation={**generation, "max_new_tokens": room})
        for i, row, ids in zip(numbers, rows, found, strict=True):
            # A decoder beside an encoder is given its start token.
            written[i] = ids[1:] if handle.task == "seq2seq-lm" else ids
            if written[i] and len(written[i]) < room and _prompt(handle, encoded[i], len(written[i])) != row:
                waiting.setdefault(len(written[i]), []).append(i)
    return written


def _prompt(handle: Handle, encoded: Encoded, room: int) -> Row:
    """What the model goes on from, with room for as many tokens where the text is in windows."""
    if handle.task == "causal-lm" and encoded.windows is not None:
        encoded = parts_of(replace(encoded, windows=encoded.windows.leaving(room)))[-1].encoded
    return Row(encoded.ids, encoded.type_ids)


def _ids(handle: Handle, encoded: Encoded, text: str) -> tuple[int, ...]:
    tokenizer: Any = handle.tokenizer
    require_unicode(text, "a response")
    with tokenizer_state(tokenizer):
        if handle.task == "seq2seq-lm":
            return written_ids(handle, text)
        # As it follows the prompt: alone, some tokenizers put a second space in front of it.
        # A chat's template has written its special tokens already.
        special = not encoded.chat
        whole = tuple(tokenizer.encode(encoded.text + text, add_special_tokens=special, verbose=False)) if text else ()
        if whole[: len(encoded.ids)] == encoded.ids and len(whole) > len(encoded.ids):
            return whole[len(encoded.ids) :]
        return tuple(tokenizer.encode(text, add_special_tokens=False))


def _context(encoded: Encoded) -> set[int]:
    """Tokens of the second text of a pair; of a single text all."""
    first = encoded.pair_start or 0
    return {
        place for place, (start, _) in enumerate(encoded.char_spans) if not encoded.special[place] and start >= first
    }


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
