"""Explanations made elsewhere, brought into our records so that they can be judged like our own.

Tokens are laid onto their text by walking both from left to right; nothing is guessed. What is not in the
text (special tokens) gets no characters, and what cannot be placed is an error that says where.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from interpret.errors import UsageError
from interpret.results.explanations import (
    Attribution,
    BoolArray,
    ExampleAttribution,
    FloatArray,
    IntArray,
    TargetRecord,
)

#: Tokens of the tokenizers in use that stand for no characters of the text.
_SPECIAL: Final = re.compile(
    r"\[(?:CLS|SEP|PAD|BOS|EOS)\]|</?s>|<(?:pad|bos|eos|cls|sep)>|<\|[a-z_]+\|>|<(?:start|end)_of_turn>",
    re.IGNORECASE,
)
#: Tokens that stand for characters which they do not name.
_UNKNOWN: Final = re.compile(r"\[(?:UNK|MASK)\]|<(?:unk|mask)>", re.IGNORECASE)


class Alignment(NamedTuple):
    """`char_spans` [token, 2], `special` [token] and `word_index` [token] of given tokens in their text."""

    char_spans: IntArray
    special: BoolArray
    word_index: IntArray


def from_scores(
    texts: Sequence[str],
    tokens: Sequence[Sequence[str]],
    scores: Sequence[Any],
    *,
    target: str | Sequence[str] | None = None,
    method: str = "external",
) -> Attribution:
    """Records from plain scores; see `Attribution.from_scores`."""
    if isinstance(texts, str):
        raise UsageError("texts is one string; give a list of texts, with a list of tokens and of scores for each")
    if not len(texts) == len(tokens) == len(scores):
        raise UsageError(
            f"got {len(texts)} texts, {len(tokens)} lists of tokens and {len(scores)} lists of scores; give "
            f"one each per text"
        )
    labels: list[str | None]
    if target is None or isinstance(target, str):
        labels = [target] * len(texts)
    elif len(target) == len(texts):
        labels = list(target)
    else:
        raise UsageError(f"target holds {len(target)} labels for {len(texts)} texts; give one label, or one per text")
    examples = [
        _example(i, text, [str(t) for t in tokens[i]], scores[i], labels[i], method) for i, text in enumerate(texts)
    ]
    return Attribution(examples=tuple(examples), method=method, options={"source": "scores"})


def from_shap(
    explanation: Any,
    *,
    output: int | str | None = None,
    texts: Sequence[str] | None = None,
    method: str = "shap (external)",
) -> Attribution:
    """Records from a `shap.Explanation` of text; see `Attribution.from_shap`."""
    data, values, base = explanation.data, explanation.values, getattr(explanation, "base_values", None)
    if data is None or not len(data):
        raise UsageError("the shap explanation holds no tokens (its data is empty); explain text, not a table")
    if isinstance(data[0], str):
        data, values = [data], [values]
        base = None if base is None else [base]
    names = _output_names(getattr(explanation, "output_names", None))
    found_texts, all_tokens, all_scores, labels = [], [], [], []
    for i, pieces in enumerate(data):
        tokens = [str(piece) for piece in pieces]
        array = np.asarray(values[i], dtype=np.float64)
        if array.shape[0] != len(tokens):
            raise UsageError(
                f"text {i} of the shap explanation has {len(tokens)} tokens and values of shape {array.shape}"
            )
        label: str | None = None
        if array.ndim == 2:
            column = _column(array, None if base is None else base[i], output, names)
            array, label = array[:, column], names[column] if column < len(names) else None
        elif isinstance(output, str):
            label = output
        elif len(names) == 1:
            # An explanation already cut to one output keeps that output's name.
            label = names[0]
        text = "".join(tokens) if texts is None else texts[i]
        found_texts.append(text)
        all_tokens.append(tokens)
        all_scores.append(array)
        labels.append(label)
    chosen = "given" if output is not None else "predicted"
    examples = [
        _example(i, text, all_tokens[i], all_scores[i], labels[i], method, chosen) for i, text in enumerate(found_texts)
    ]
    return Attribution(examples=tuple(examples), method=method, options={"source": "shap"})


def from_captum(
    attributions: Any,
    tokens: Sequence[Any],
    texts: Sequence[str] | str,
    *,
    target: str | Sequence[str] | None = None,
    method: str = "captum (external)",
) -> Attribution:
    """Records from a captum tensor; see `Attribution.from_captum`."""
    array = _to_numpy(attributions)
    single = isinstance(texts, str)
    batch: list[str] = [texts] if isinstance(texts, str) else list(texts)
    if tokens and isinstance(tokens[0], str):
        tokens = [tokens]
    if (
        single
        and array.shape[0] == len(tokens[0])
        and array.ndim in (1, 2)
        and not (array.ndim == 2 and array.shape[0] == 1)
    ):
        array = array[None]
    if array.ndim == 3:
        array = array.sum(axis=-1)
    if array.ndim != 2 or array.shape[0] != len(batch):
        raise UsageError(
            f"attributions have shape {array.shape} for {len(batch)} texts; expected [example, token] or "
            f"[example, token, dim]"
        )
    scores = []
    for i, line in enumerate(array):
        if i < len(tokens) and len(tokens[i]) > len(line):
            raise UsageError(f"text {i} has {len(tokens[i])} tokens and attributions for {len(line)}")
        # Beyond the tokens stands the padding of the batch.
        scores.append(line[: len(tokens[i])] if i < len(tokens) else line)
    return from_scores(batch, tokens, scores, target=target, method=method)


def align(text: str, tokens: Sequence[str]) -> Alignment:
    """Character spans of `tokens` in `text`, walked from left to right.

    Markers of tokenizers ("##", "Ġ", "▁", "Ċ", "</w>", "@@") are dropped, byte-level tokens are decoded, and
    case and accents are ignored where they differ. Tokens without characters of their own get the span (0,
    0). Characters that no token covers are skipped when they are not letters or digits.

    Raises:
        UsageError: a token is not where the text goes on; says which.
    """
    folded, origin = _fold(text)
    n = len(tokens)
    spans = np.zeros((n, 2), dtype=np.int64)
    special = np.zeros(n, dtype=bool)
    cursor = 0
    waiting: list[int] = []
    byte_level = any("Ġ" in token or "Ċ" in token for token in tokens)
    for i, token in enumerate(tokens):
        literal = _fold(token.strip())[0]
        if _SPECIAL.fullmatch(token.strip()) and not (literal and folded.startswith(literal, _skip(folded, cursor))):
            special[i] = True
            continue
        if _UNKNOWN.fullmatch(token.strip()) and not folded.startswith(literal, _skip(folded, cursor)):
            waiting.append(i)
            continue
        forms = _forms(token, byte_level)
        if forms is None:
            waiting.append(i)
            continue
        place = _place(folded, cursor, forms, free=bool(waiting))
        if place is None:
            before, after = text[: _at(origin, cursor)][-20:], text[_at(origin, cursor) :][:20]
            raise UsageError(
                f"token {i} ({token!r}) does not follow in the text: after {before!r} comes {after!r}; "
                "give the text that these tokens were made from"
            )
        start, end = place
        if end == start:
            special[i] = not token.strip()
            continue
        if waiting:
            _share(spans, waiting, folded, origin, cursor, start)
            waiting = []
        spans[i] = origin[start], origin[end - 1] + 1
        cursor = end
    if waiting:
        _share(spans, waiting, folded, origin, cursor, len(folded))
    return Alignment(spans, special, _words(text, tokens, spans, special))


def _example(
    i: int,
    text: str,
    tokens: list[str],
    scores: Any,
    label: str | None,
    method: str,
    chosen: Any = "given",
) -> ExampleAttribution:
    array = np.atleast_1d(_to_numpy(scores))
    if array.shape != (len(tokens),):
        raise UsageError(
            f"text {i} has {len(tokens)} tokens and scores of shape {array.shape}; give one score per token"
        )
    if not np.isfinite(array).all():
        raise UsageError(f"the scores of text {i} hold NaN or infinity; give numbers only")
    try:
        alignment = align(text, tokens)
    except UsageError as err:
        raise UsageError(f"text {i}: {err}") from err
    target = TargetRecord(kind="external") if label is None else TargetRecord(kind="class", label=label, chosen=chosen)
    return ExampleAttribution(
        text=text,
        tokens=tuple(tokens),
        token_ids=np.full(len(tokens), -1, dtype=np.int64),
        scores=array,
        word_index=alignment.word_index,
        char_spans=alignment.char_spans,
        special=alignment.special,
        target=target,
        method=method,
    )


def _to_numpy(values: Any) -> FloatArray:
    """An array from whatever holds numbers; tensors are taken off their device without importing torch."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float().numpy() if hasattr(values, "float") else values
    return np.asarray(values, dtype=np.float64)


def _output_names(names: Any) -> list[str]:
    if names is None:
        return []
    return [names] if isinstance(names, str) else [str(name) for name in names]


def _column(values: FloatArray, base: Any, output: int | str | None, names: list[str]) -> int:
    """Which output of a shap explanation is meant; the one that it says is predicted unless one is given."""
    n = values.shape[1]
    offered = ", ".join(map(repr, names)) if names else f"0 to {n - 1}"
    if isinstance(output, str):
        if output not in names:
            raise UsageError(f"the shap explanation has no output {output!r}; its outputs are {offered}")
        return names.index(output)
    if output is not None:
        if not 0 <= output < n:
            raise UsageError(f"the shap explanation has no output {output}; its outputs are {offered}")
        return int(output)
    total = values.sum(axis=0) + (0.0 if base is None else np.asarray(base, dtype=np.float64))
    return int(np.argmax(total))


def _fold(text: str) -> tuple[str, list[int]]:
    """Lower case without accents, and for each of its characters the index of the one it came from."""
    out: list[str] = []
    origin: list[int] = []
    for i, character in enumerate(text):
        for part in unicodedata.normalize("NFKD", character.lower()):
            if not unicodedata.combining(part):
                out.append(part)
                origin.append(i)
    return "".join(out), origin


def _at(origin: list[int], cursor: int) -> int:
    return origin[cursor] if cursor < len(origin) else (origin[-1] + 1 if origin else 0)


def _skip(folded: str, cursor: int) -> int:
    while cursor < len(folded) and folded[cursor].isspace():
        cursor += 1
    return cursor


def _place(folded: str, cursor: int, forms: Sequence[str], *, free: bool) -> tuple[int, int] | None:
    """Where the token stands at or after `cursor`; an empty span for a token of white space."""
    for form in forms:
        if not form:
            return cursor, cursor
        start = folded.find(form, cursor)
        if start >= 0 and (free or not any(c.isalnum() for c in folded[cursor:start])):
            return start, start + len(form)
    return None


def _forms(token: str, byte_level: bool) -> list[str] | None:
    """What the token may look like in the folded text, likeliest first; None for a part of a character."""
    decoded = _decoded(token)
    whole = decoded is not None and "\ufffd" not in decoded
    if byte_level and decoded is not None:
        # Read as letters, the stand-ins of bytes would match letters of the text.
        candidates = [decoded] if whole else []
    else:
        bare = token.removesuffix("</w>").removesuffix("@@")
        bare = bare.removeprefix("##") if len(bare) > 2 else bare
        candidates = [bare.replace("▁", " "), token]
        if decoded is not None and whole:
            candidates.append(decoded)
    return list(dict.fromkeys(_fold(candidate.strip())[0] for candidate in candidates)) or None


def _decoded(token: str) -> str | None:
    """The text of a byte-level token, None where it is not one."""
    table = _bytes_by_character()
    if not all(character in table for character in token):
        return None
    return bytes(table[character] for character in token).decode("utf-8", errors="replace")


@cache
def _bytes_by_character() -> Mapping[str, int]:
    """GPT-2's printable stand-in of each byte, reversed."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    rest = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(rest)}


def _share(spans: IntArray, waiting: Sequence[int], folded: str, origin: list[int], start: int, end: int) -> None:
    """Give unknown tokens the words between their neighbours: one each, the last takes what is left."""
    words = [(m.start() + start, m.end() + start) for m in re.finditer(r"\S+", folded[start:end])]
    for n, i in enumerate(waiting):
        if n >= len(words):
            return
        last = words[-1] if n == len(waiting) - 1 else words[n]
        spans[i] = origin[words[n][0]], origin[last[1] - 1] + 1


def _words(text: str, tokens: Sequence[str], spans: IntArray, special: BoolArray) -> IntArray:
    """Tokens that touch inside a run of letters and digits are one word."""
    out = np.full(len(tokens), -1, dtype=np.int64)
    current, previous_end = -1, -1
    for i in range(len(tokens)):
        start, end = spans[i].tolist()
        if special[i] or end == start:
            continue
        # Spans of shap's tokens never hold the white space, so touching means no space between.
        joined = start == previous_end and start > 0 and _alike(text[start - 1], text[start])
        if not joined:
            current += 1
        out[i] = current
        previous_end = end
    return out


def _alike(left: str, right: str) -> bool:
    """Both inside one word; ideographs are words of their own."""
    return left.isalnum() and right.isalnum() and "⺀" > left and "⺀" > right
