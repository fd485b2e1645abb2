"""Every output of a text explained at once: each word's class, each token that was written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from interpret.analyzers.asked import WRITING, refuse_unread
from interpret.analyzers.target import Target, resolve_targets
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded


def targets_of_each(
    handle: Handle, encoded: Sequence[Encoded], *, response: Any = None, max_new_tokens: int | None = None
) -> list[list[Target]]:
    """The predicted class of every word of each text, or every token of each response that the model was free in.

    Args:
        handle: a model that gives classes to words, or one that writes.
        encoded: the texts.
        response: what was written, see `resolve_targets`; None and True let the model write.
        max_new_tokens: of a response that is written; None is 20.

    Raises:
        UsageError: the model has one output for each text; or what was asked says nothing to its task.
    """
    refuse_unread(
        handle,
        response=True if response is None and handle.task in WRITING else response,
        max_new_tokens=max_new_tokens,
    )
    if handle.task == "token-classification":
        words = [sorted(set(e.word_index) - {-1}) for e in encoded]
        flat = [e for e, those in zip(encoded, words, strict=True) for _ in those]
        targets = iter(resolve_targets(handle, flat, at=[word for those in words for word in those]))
        return [[next(targets) for _ in those] for those in words]
    if handle.task not in WRITING:
        raise UsageError(
            f"{handle.name} is a {handle.task} model with one output for each text; explain it with attribute()"
        )
    written = resolve_targets(
        handle, encoded, response=True if response is None else response, max_new_tokens=max_new_tokens
    )
    return [
        [
            Target("output_token", token, position=number, response=whole.response, room=whole.room)
            for number, token in enumerate(whole.response)
            if number >= whole.n_forced
        ]
        for whole in written
    ]
