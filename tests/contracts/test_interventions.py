"""What causes an answer, for every family and head of the zoo: it holds, or it is refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest
import torch

from interpret.analyzers.intervention import ablate, direct_logit_attribution, lens, patch
from interpret.analyzers.intervention.metrics import TASKS
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, encode
from interpret.models.load import attach_handle
from tests import zoo

#: Families whose blocks are used again, or hand on more than the stream: they run whole, and the head is given none.
WHOLE: Final = ("albert", "deberta-v2", "t5", "t5-gated")
#: What heads write is normed before it is added.
NORMED: Final = ("gemma3",)
SINGLE: Final = [
    case
    for case in zoo.CASES
    if case[1] in TASKS and (case[0] not in ("t5", "t5-gated", "bart", "mbart") or case[1] == TASKS[1])
]
OTHERS: Final = [case for case in zoo.CASES if case not in SINGLE and case[1] != "none"]


def made(family: str, task: str) -> tuple[Handle, list[Encoded]]:
    built = zoo.build(family, task)
    handle = attach_handle(built.model, built.tokenizer)
    assert handle.tokenizer is not None
    mask = f" {handle.tokenizer.mask_token}" if task == "masked-lm" else ""
    return handle, encode(handle, [f"the film was {word}{mask}" for word in ("good", "dull")])


@pytest.mark.parametrize(("family", "task"), SINGLE)
def test_it_holds_or_is_refused(family: str, task: str) -> None:
    handle, encoded = made(family, task)
    before = {name: value.clone() for name, value in handle.model.state_dict().items()}
    # A decoder tags the last word with what it has read by then.
    at = 3 if task == "token-classification" else None
    record = patch(handle, encoded[0], encoded[1], target=(0, 1), at=at)
    assert record.late == (family not in WHOLE)
    assert np.abs(record.whole - record.clean).max() < 1e-5
    found = ablate(handle, encoded[:1], parts=["head"], operator="zero", target=(0, 1), at=at)
    assert found.late == record.late
    assert np.abs(found.effects).max() > 1e-6
    asked: list[Callable[[], Any]] = [
        lambda: lens(handle, encoded[0]),
        lambda: direct_logit_attribution(handle, encoded[0], (0, 1), at=at, heads=family not in NORMED),
    ]
    if family in WHOLE:
        for ask in asked:
            with pytest.raises(
                UsageError, match=r"cannot be given the stream of another layer: (one block|its blocks)"
            ):
                ask()
    else:
        reading, parts = (ask() for ask in asked)
        assert np.abs(reading.kl[-1][0 if reading.read is None else reading.read]).max() < 1e-5
        assert sum(part.value for part in parts.parts) + parts.remainder == pytest.approx(record.clean, abs=1e-4)
        if handle.is_decoder:
            assert parts.linear
    if family in NORMED:
        with pytest.raises(UsageError, match="heads=False"):
            direct_logit_attribution(handle, encoded[0], at=at)
    assert all(torch.equal(value, before[name]) for name, value in handle.model.state_dict().items())
    for module in handle.model.modules():
        assert not {*module._forward_hooks, *module._forward_pre_hooks}
        assert "forward" not in vars(module)


@pytest.mark.parametrize(("family", "task"), OTHERS)
def test_other_tasks_and_several_stacks_are_refused(family: str, task: str) -> None:
    built = zoo.build(family, task)
    handle = attach_handle(built.model, built.tokenizer)
    text = Encoded("a", (5, 6), None, ("a", "b"), (0, 1), ((0, 1), (1, 2)), (False, False), 0)
    asked: list[Callable[[], Any]] = [
        lambda: patch(handle, text, text),
        lambda: ablate(handle, [text]),
        lambda: lens(handle, text),
        lambda: direct_logit_attribution(handle, text),
    ]
    for ask in asked:
        with pytest.raises(UsageError, match=rf"task of .* is {task}.*interpret.Edit"):
            ask()
