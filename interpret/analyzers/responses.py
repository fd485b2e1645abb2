"""What a model wrote after a text, or writes now, as token ids."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from interpret.analyzers.windows import parts_of
from interpret.capture.generation import ended, write, write_together
from interpret.errors import UsageError
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, written_ids
from interpret.models.state import tokenizer_state
from interpret.models.units import short
from interpret.readers.characters import require_unicode

#: Tokens of a response that a model writes, at most, where nothing else was asked for.
N_WRITTEN: Final = 20


class Written(NamedTuple):
    """Token ids of a response.

    `room` is how many tokens the window that it was written in leaves for it; 0: as many as it has.
    """

    ids: tuple[int, ...]
    room: int = 0


def responses_of(
    handle: Handle, encoded: Sequence[Encoded], response: Any, max_new_tokens: int | None, *, whole: bool = False
) -> list[Written]:
    """What was written after each prompt, or is written now, up to `max_new_tokens` (None is 20).

    `whole`: the model reads its last token too.

    Raises:
        UsageError: as many responses as texts were not given, one has no tokens, or it does not fit.
    """
    if response is True:
        max_new_tokens = N_WRITTEN if max_new_tokens is None else max_new_tokens
        if max_new_tokens < 1:
            raise UsageError(f"max_new_tokens is {max_new_tokens}, so nothing would be written; give 1 or more")
        written = _let_write(handle, encoded, max_new_tokens, whole)
    else:
        texts = [response] * len(encoded) if isinstance(response, str) else list(response or ())
        if len(texts) != len(encoded) or not all(isinstance(text, str) for text in texts):
            raise UsageError(
                f"response holds {len(texts)} entries for {len(encoded)} texts; give one string per text, or True to "
                "let the model write"
            )
        written = [Written(_ids(handle, e, text)) for e, text in zip(encoded, texts, strict=True)]
    for e, (ids, room) in zip(encoded, written, strict=True):
        if not ids:
            raise UsageError(f"the response to {short(e.text)!r} has no tokens, so there is nothing to explain")
        if e.windows is not None and handle.task == "causal-lm":
            # Refuses a response beside which no token of the text has room.
            e.windows.leaving(room or len(ids))
        elif len(ids) > _left(handle, e, whole):
            raise _too_long(handle, e, len(ids))
    return written


def _let_write(handle: Handle, encoded: Sequence[Encoded], max_new_tokens: int, whole: bool) -> list[Written]:
    """What the model writes greedily: up to an end token, or `max_new_tokens`.

    An encoder-decoder chooses each token by the mean of its logits over all windows of the text. A causal model reads
    all of a text that fits beside what it writes; of any other the window that leaves room for `max_new_tokens`, in
    which the response is explained too, however long it is: beside more of the text it might be another.
    """
    rooms = [min(max_new_tokens, _left(handle, e, whole)) for e in encoded]
    out: dict[int, Written] = {}
    prompts: dict[int, list[Row]] = {}
    for i, e in enumerate(encoded):
        if rooms[i] >= 1:
            read = [part.encoded for part in parts_of(e)] if handle.task == "seq2seq-lm" else [e]
            prompts[i] = [Row(one.ids, one.type_ids) for one in read]
        elif not _goes_on_in_windows(handle, e):
            raise _too_long(handle, e, max_new_tokens)
    # Refuses, before anything runs, windows without such a room.
    ends = {i: _end_of(e, max_new_tokens) for i, e in enumerate(encoded) if i not in prompts}
    for i, ids in _tried(handle, prompts, rooms):
        if len(ids) < rooms[i] or len(ids) == max_new_tokens or ended(handle, ids):
            out[i] = Written(ids)
        elif _goes_on_in_windows(handle, encoded[i]):
            ends[i] = _end_of(encoded[i], max_new_tokens)
        else:
            raise _too_long(handle, encoded[i], max_new_tokens)
    for i, ids in _tried(handle, ends, [max_new_tokens] * len(encoded)):
        out[i] = Written(ids, max_new_tokens)
    return [out[i] for i in range(len(encoded))]


def _tried(
    handle: Handle, prompts: Mapping[int, Sequence[Row]], rooms: Sequence[int]
) -> list[tuple[int, tuple[int, ...]]]:
    """What the model writes after each prompt in its room; a prompt of several rows is one text in windows."""
    out: list[tuple[int, tuple[int, ...]]] = []
    for room in sorted({rooms[i] for i in prompts}):
        generation = {"do_sample": False, "num_beams": 1, "max_new_tokens": room}
        numbers = [i for i in prompts if rooms[i] == room]
        alone = [i for i in numbers if len(prompts[i]) == 1]
        found = write(handle, [prompts[i][0] for i in alone], seed=0, generation=generation) if alone else []
        out += zip(alone, found, strict=True)
        for i in numbers:
            if len(prompts[i]) > 1:
                out.append((i, write_together(handle, prompts[i], seed=0, generation=generation)))
    # A decoder beside an encoder is given its start token.
    first = 1 if handle.task == "seq2seq-lm" else 0
    return [(i, ids[first:]) for i, ids in out]


def _end_of(encoded: Encoded, room: int) -> list[Row]:
    """The last window that leaves room for as many tokens."""
    assert encoded.windows is not None, "a text that is read whole has no windows"
    end = parts_of(replace(encoded, windows=encoded.windows.leaving(room)))[-1].encoded
    return [Row(end.ids, end.type_ids)]


def _goes_on_in_windows(handle: Handle, encoded: Encoded) -> bool:
    return handle.task == "causal-lm" and encoded.windows is not None


def _left(handle: Handle, encoded: Encoded, whole: bool) -> int:
    """How many tokens of a response the model reads beside all of the text."""
    if handle.task == "causal-lm":
        return handle.max_length - len(encoded.ids)
    # A decoder reads its start token, and the last one written only where all is read.
    return sys.maxsize if handle.decoder_positions is None else handle.decoder_positions - int(whole)


def _too_long(handle: Handle, encoded: Encoded, n: int) -> UsageError:
    if handle.task == "seq2seq-lm":
        return UsageError(
            f"the response to {short(encoded.text)!r} takes {n} tokens, and the decoder of {handle.name} reads "
            f"{handle.decoder_positions}; give a shorter response (or max_new_tokens): a token of it hangs on nothing "
            "that stands behind it, so what follows it can be left out"
        )
    return UsageError(
        f"the text {short(encoded.text)!r} and its response take {len(encoded.ids) + n} tokens, and "
        f"{handle.name} reads {handle.max_length}; shorten one of them (max_new_tokens, if it is written now), or with "
        "long_text='windows' explain what the end of the text that fits has to do with the response"
    )


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
