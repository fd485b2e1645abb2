"""Chats as users bring them: lists of messages, each with a role and the text it says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

from interpret.errors import UsageError

Message = Mapping[str, str]
#: Messages in their order.
Chat = Sequence[Message]

#: The column that holds chats, by its usual name.
MESSAGES: Final = "messages"
_KEYS: Final = ("role", "content")


def is_chat(given: object) -> TypeGuard[Chat]:
    """Whether this is meant as one chat: a list of mappings, whatever they hold."""
    return isinstance(given, list | tuple) and len(given) > 0 and all(isinstance(one, Mapping) for one in given)


def checked(chat: Chat) -> list[dict[str, str]]:
    """The messages as plain dicts of `role` and `content`.

    Raises:
        UsageError: a message without one of them, with anything else, or with a content that is no text.
    """
    out: list[dict[str, str]] = []
    for number, message in enumerate(chat):
        what = f"message {number} of a chat"
        missing = [key for key in _KEYS if key not in message]
        if missing:
            raise UsageError(f'{what} has no {missing[0]!r}; give {{"role": "user", "content": "..."}}')
        further = [str(key) for key, value in message.items() if key not in _KEYS and value is not None]
        if further:
            raise UsageError(
                f"{what} holds {further[0]!r} beside role and content, which would reach the model unexplained; leave "
                "it out"
            )
        for key in _KEYS:
            if not isinstance(message[key], str):
                raise UsageError(
                    f"the {key} of {what} is a {type(message[key]).__name__}, not a string; chats of text are "
                    "explained, without images, sound or calls of tools"
                )
        out.append({key: str(message[key]) for key in _KEYS})
    if not any(message["content"].strip() for message in out):
        raise UsageError("no message of the chat says anything; give at least one with a content")
    return out


def is_answered(chat: Chat) -> bool:
    """Whether the last message is the assistant's."""
    return chat[-1].get("role") == "assistant"


def read_chat(written: str) -> Chat:
    """A chat from its JSON, as a table holds it.

    Raises:
        UsageError: it is no list of messages.
    """
    try:
        found: Any = json.loads(written)
    except (json.JSONDecodeError, RecursionError) as err:
        raise UsageError(f"the chat is no JSON ({getattr(err, 'msg', 'too deep')})") from err
    if not is_chat(found):
        raise UsageError('the chat is no list of messages; write [{"role": "user", "content": "..."}]')
    return checked(found)
