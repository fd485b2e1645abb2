"""Examples of every task as the model reads them."""

from __future__ import annotations

from collections.abc import Sequence

from interpret.auditing.examples import Examples
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, Text, encode, encode_words, written_ids


def encode_examples(handle: Handle, examples: Examples, numbers: Sequence[int] | None = None) -> list[Encoded]:
    """Tokenise the examples with these numbers, or all: texts, given words, or a question with its context."""
    chosen = examples if numbers is None else examples.take(numbers)
    if chosen.words is not None:
        return encode_words(handle, chosen.words)
    texts: Sequence[Text] = chosen.texts
    if chosen.contexts is not None:
        texts = list(zip(chosen.texts, chosen.contexts, strict=True))
    return encode(handle, texts)


def row_of(handle: Handle, encoded: Encoded, response: Sequence[int] = ()) -> Row:
    """The row of one example; the decoder of an encoder-decoder reads its start and all but the last of `response`."""
    if handle.task != "seq2seq-lm":
        return Row(encoded.ids, encoded.type_ids)
    return Row(encoded.ids, encoded.type_ids, (handle.decoder_start_id, *response[:-1]))


def target_ids(handle: Handle, text: str) -> list[int]:
    """The tokens of a text that an encoder-decoder should write."""
    return list(written_ids(handle, text))[: handle.max_length]


def rows_of(handle: Handle, examples: Examples, encoded: Sequence[Encoded]) -> list[Row]:
    """The rows of examples; the decoder of an encoder-decoder reads the text that should be written, if it is there."""
    if handle.task != "seq2seq-lm" or examples.references is None:
        return [row_of(handle, e) for e in encoded]
    responses = [target_ids(handle, text) for text in examples.references]
    return [row_of(handle, e, response) for e, response in zip(encoded, responses, strict=True)]
