"""Refusing, before anything runs, what was asked about the output of a model that has no such thing."""

from __future__ import annotations

from typing import Any, Final

from interpret.errors import UsageError
from interpret.models.handle import Handle

#: Tasks whose models write, and those with an output at several places of a text.
WRITING: Final = ("causal-lm", "seq2seq-lm")
_PLACED: Final = ("token-classification", "masked-lm", *WRITING)


def refuse_unread(
    handle: Handle,
    *,
    target: Any = None,
    gold: Any = None,
    at: Any = None,
    response: Any = None,
    max_new_tokens: int | None = None,
) -> None:
    """Refuse what would be ignored; the parameters are those of `resolve_targets`.

    Raises:
        UsageError: a parameter that says nothing to the model's task, or to a target that is a function; a length of
            what the model is not asked to write.
    """
    if handle.task not in WRITING:
        # What lets the model write, on the command line, sets `response` too, and was not named so there.
        _refuse(handle, max_new_tokens=max_new_tokens, response=response)
    if callable(target):
        for name, given in (("gold", gold), ("at", at)):
            if given is not None:
                raise UsageError(
                    f"{_named(name)} says nothing to a target that is a function, which reads the output by itself; "
                    "leave it out"
                )
    elif handle.task not in _PLACED:
        _refuse(handle, at=at)
    if handle.task == "question-answering" and isinstance(target, tuple) and len(target) == 2:
        raise UsageError(
            f"target={target!r} asks for one class rather than another, and {handle.name} answers questions, which has "
            "no classes; give 'start', 'end', 'span' or the text of an answer, or a list of these, one for each text"
        )
    if max_new_tokens is None or response is True or (response is None and handle.task == "seq2seq-lm"):
        return
    if response is None:
        raise UsageError(
            "max_new_tokens= is how much the model may write, and it was not asked to write; give response=True too, "
            "or leave it out"
        )
    raise UsageError(
        "max_new_tokens= is how much the model may write, and what was written is given already; leave one of them out"
    )


def _named(parameter: str) -> str:
    """A parameter as it is written in Python and on the command line."""
    return f"{parameter}=" if parameter == "gold" else f"{parameter}= (--{parameter.replace('_', '-')})"


def _refuse(handle: Handle, **given: object) -> None:
    kind = "a model without a head" if handle.task == "none" else f"a {handle.task} model"
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"{_named(name)} says nothing to {kind} such as {handle.name}; leave it out")
