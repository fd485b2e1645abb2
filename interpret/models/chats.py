"""Chats as the model reads them: written out by the tokenizer's own template, with the place of every content.

rendered = render(handle, [{"role": "user", "content": "Who?"}])
rendered.text           # "<|user|>Who?<|end|><|assistant|>"
rendered.parts          # (ChatPart(message=0, role="user", start=8, end=12, cut=0),)

A chat template is a Jinja program that comes with the tokenizer. transformers runs it in Jinja's sandbox for
immutable data: it can neither import, open files nor change what it is given.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.state import tokenizer_state
from interpret.readers.chats import Chat, checked, is_answered, is_chat
from interpret.results.explanations import ChatPart

#: Private characters, of which two that occur nowhere else mark where a content goes.
_PRIVATE: Final = range(0xE000, 0xE100)


class Rendered(NamedTuple):
    """A chat as one text, and where in it each content stands, in text order; one may stand there several times."""

    text: str
    parts: tuple[ChatPart, ...]


def render(handle: Handle, chat: Chat) -> Rendered:
    """Write a chat out as the model expects it, up to where it would begin to answer.

    A second rendering, with a mark in place of each content, tells the template's own words from what the messages
    say: a content may well read like a role. Spaces that the template takes off the ends of a content are allowed
    for; a template that changes more than that is refused, since nobody could say which characters are whose.

    Raises:
        UsageError: the model is no causal language model, there is no template, it refuses the chat, leaves a
            message out or changes it; or the chat is not one that can be explained.
    """
    tokenizer: Any = handle.tokenizer
    if handle.task != "causal-lm":
        raise UsageError(
            f"a chat was given to {handle.name}, which is loaded for {handle.task!r}; chats are for a causal language "
            "model with a chat template, to other models give texts"
        )
    if tokenizer is None:
        raise UsageError(f"{handle.name} was attached without a tokenizer; attach it with one to pass chats")
    if not getattr(tokenizer, "chat_template", None):
        raise UsageError(
            f"the tokenizer of {handle.name} has no chat template, so nobody knows how this model reads a chat; give "
            "its texts, or set tokenizer.chat_template to the template that the model was trained with"
        )
    messages = checked(chat)
    if is_answered(messages):
        raise UsageError(
            "the chat ends with a message of the assistant, after which nothing is left to be answered; leave it out"
        )
    return _traced(handle, messages, prompt=True)


def split_answers(handle: Handle, texts: Sequence[Any], response: Any) -> tuple[list[Any], Any]:
    """Chats that end with an answer as the chats before it, and the answers as they follow these; others as they are.

    An answer is what the template puts after the prompt for one, spaces included, up to the end of the content.

    Raises:
        UsageError: only some end with an answer, or a response was given too; or the template writes an answer
            elsewhere than after the prompt for it.
    """
    n_answered = sum(is_chat(text) and is_answered(text) for text in texts)
    if not n_answered:
        return list(texts), response
    if n_answered < len(texts):
        raise UsageError(
            f"{n_answered} of {len(texts)} texts are chats that end with the assistant's message, which is then what "
            "is explained; explain those apart from the others"
        )
    if response is not None:
        raise UsageError(
            "the chats end with the assistant's message, which is then what is explained, and response= was given too "
            "(--response, or --max-new-tokens, which lets the model write); leave one of them out"
        )
    pairs = [_split(handle, chat) for chat in texts]
    return [before for before, _ in pairs], [answer for _, answer in pairs]


def _split(handle: Handle, chat: Chat) -> tuple[Chat, str]:
    messages = checked(chat)
    if len(messages) == 1:
        raise UsageError("the chat holds nothing but an answer; give what it answers too")
    prompt = render(handle, messages[:-1]).text
    whole = _traced(handle, messages, prompt=False)
    ends = [part for part in whole.parts if part.message == len(messages) - 1]
    if len(ends) > 1 or ends[0].start < len(prompt) or not whole.text.startswith(prompt):
        raise UsageError(
            f"the chat template of {handle.name} does not write an answer after the prompt for one; leave the last "
            "message out and give response="
        )
    return messages[:-1], whole.text[len(prompt) : ends[0].end]


def _traced(handle: Handle, messages: list[dict[str, str]], *, prompt: bool) -> Rendered:
    """The chat as its template writes it, with or without the prompt for an answer, and where each content stands."""
    text = _applied(handle, messages, prompt)
    begin, end = _marks([text, *(message["content"] for message in messages)])
    marked = [{**message, "content": f"{begin}{n}{end}"} for n, message in enumerate(messages)]
    pieces = re.split(f"{begin}(\\d+){end}", _applied(handle, marked, prompt))
    numbers = [int(number) for number in pieces[1::2]]
    missing = [n for n in range(len(messages)) if n not in numbers]
    if missing:
        role = messages[missing[0]]["role"]
        raise UsageError(
            f"the chat template of {handle.name} leaves message {missing[0]} (of the {role}) out or changes it beyond "
            "recognition; leave it out of the chat, or give the text as the model reads it"
        )
    starts = _placed(text, pieces[::2], [messages[n]["content"] for n in numbers])
    if starts is None:
        raise UsageError(
            f"the chat template of {handle.name} changes what a message of this chat says beyond the spaces at its "
            "ends, so which characters come from which message cannot be told; give the text as the model reads it"
        )
    parts = []
    for n, (start, length, cut) in zip(numbers, starts, strict=True):
        parts.append(ChatPart(message=n, role=messages[n]["role"], start=start, end=start + length, cut=cut))
    return Rendered(text, tuple(parts))


def _applied(handle: Handle, messages: list[dict[str, str]], prompt: bool) -> str:
    tokenizer: Any = handle.tokenizer
    try:
        with tokenizer_state(tokenizer):
            return str(tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, tokenize=False))
    except Exception as err:  # a template is a program: it may raise anything
        raise UsageError(
            f"the chat template of {handle.name} cannot write this chat ({str(err) or type(err).__name__}); its roles "
            f"are {', '.join(message['role'] for message in messages)}, in this order"
        ) from err


def _marks(texts: Sequence[str]) -> tuple[str, str]:
    """Two characters that stand in none of the texts."""
    free = [chr(code) for code in _PRIVATE if not any(chr(code) in text for text in texts)]
    if len(free) < 2:
        raise UsageError("the chat uses all of the characters U+E000 to U+E0FF, one of which must be left to mark it")
    return free[0], free[1]


class _Place(NamedTuple):
    """Where a content starts, how many of its characters are there, and how many are cut off its front."""

    start: int
    length: int
    cut: int


def _placed(text: str, pieces: Sequence[str], contents: Sequence[str]) -> list[_Place] | None:
    """The place of each content, so that pieces and contents in turn are the text; None where they are not it."""
    # Depth first over the ways to trim each content; almost always the first fits.
    waiting: list[tuple[int, list[_Place]]] = [(len(pieces[0]), [])] if text.startswith(pieces[0]) else []
    seen: set[tuple[int, int]] = set()
    while waiting:
        at, found = waiting.pop()
        if (len(found), at) in seen:
            continue
        seen.add((len(found), at))
        if len(found) == len(contents):
            if at == len(text):
                return found
            continue
        content, piece = contents[len(found)], pieces[len(found) + 1]
        for shown in reversed(list(dict.fromkeys((content, content.rstrip(), content.lstrip(), content.strip())))):
            end = at + len(shown)
            if text.startswith(shown, at) and text.startswith(piece, end):
                cut = content.index(shown) if shown else 0
                waiting.append((end + len(piece), [*found, _Place(at, len(shown), cut)]))
    return None
