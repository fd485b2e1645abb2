"""Reading and editing sites, and leaving only other people's hooks behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from interpret.capture.capture import capturing
from interpret.capture.hooks import hooks
from interpret.capture.points import Key
from interpret.errors import UnknownSiteError, UsageError
from tests.capture.support import CASES, attached, batch_of, logits_of, same_state, state_of

EDITABLE = (
    "embed",
    "resid_pre",
    "resid_mid",
    "resid_post",
    "q",
    "k",
    "v",
    "z",
    "attn_out",
    "mlp_act",
    "mlp_out",
)


@pytest.mark.parametrize(("family", "task"), CASES)
def test_every_site_can_be_overwritten_and_an_edit_that_changes_nothing_changes_nothing(family: str, task: str) -> None:
    handle = attached(family, task)
    batch = batch_of(handle)
    plain = logits_of(handle, batch)
    before = state_of(handle.model)
    sites = [*EDITABLE, *(["final_norm"] if handle.roles.final_norm is not None else [])]
    for site in sites:
        key: Key = (site, None if site in ("embed", "final_norm") else 0)  # type: ignore[assignment]
        with hooks(handle, {}, {key: lambda value: value.clone()}):
            assert torch.equal(plain, logits_of(handle, batch)), site
        with hooks(handle, {}, {key: lambda value: -value.flip(-1)}):
            assert not torch.equal(plain, logits_of(handle, batch)), site
    same_state(before, state_of(handle.model))


def test_a_read_sees_the_edit_and_one_head_can_be_ablated() -> None:
    handle = attached("llama")
    seen: list[Tensor] = []

    def ablate(z: Tensor) -> Tensor:
        z = z.clone()
        z[:, :, 2] = 0
        return z

    with hooks(handle, {("z", 1): seen.append}, {("z", 1): ablate}):
        logits_of(handle, batch_of(handle))
    assert (seen[0][:, :, 2] == 0).all()
    assert (seen[0][:, :, 1] != 0).any()


def test_fused_projections_are_edited_apart() -> None:
    handle = attached("gpt2")
    batch = batch_of(handle)
    with capturing(handle, "q.0", "k.0", "v.0") as plain:
        logits_of(handle, batch)
    with (
        hooks(handle, {}, {("v", 0): torch.zeros_like}),
        capturing(handle, "q.0", "k.0", "v.0", "z.0") as edited,
    ):
        logits_of(handle, batch)
    for site in ("q", "k"):
        assert torch.equal(plain[site, 0].nan_to_num(), edited[site, 0].nan_to_num())
    assert edited["v", 0].nan_to_num().abs().sum() == 0
    assert edited["z", 0].nan_to_num().abs().sum() == 0


def test_edits_come_before_hooks_that_were_there_already() -> None:
    handle = attached("bert")
    seen: list[Tensor] = []
    block = handle.roles.blocks[0]
    foreign = block.register_forward_hook(lambda _, args, output: seen.append(output))
    with hooks(handle, {}, {("resid_post", 0): torch.zeros_like}):
        logits_of(handle, batch_of(handle))
    assert (seen[0] == 0).all()
    assert list(block._forward_hooks) == [foreign.id]
    foreign.remove()


@pytest.mark.parametrize(
    ("reads", "edits", "error", "says"),
    [
        ({("resid_post", 5): print}, {}, UnknownSiteError, "2 layers"),
        ({("resid_post", None): print}, {}, UnknownSiteError, "2 layers"),
        ({("attn_pattern", 2): print}, {}, UnknownSiteError, "2 layers"),
        ({("embed", 0): print}, {}, UnknownSiteError, "takes no layer"),
        ({("final_norm", None): print}, {}, UnknownSiteError, "no norm at the end; it has embed, "),
        ({("cross.z", 0): print}, {}, UnknownSiteError, "no stack 'cross'"),
        ({("z", 0): print}, {("attn_pattern", 4): print}, UnknownSiteError, "2 layers"),
    ],
)
def test_a_wrong_request_registers_nothing(reads: Any, edits: Any, error: type[Exception], says: str) -> None:
    handle = attached("bert")
    before = state_of(handle.model)
    with pytest.raises(error, match=says), hooks(handle, {("embed", None): print, **reads}, edits):
        pass
    same_state(before, state_of(handle.model))


def test_an_edit_of_another_shape_is_refused() -> None:
    handle = attached("bert")
    with (
        hooks(handle, {}, {("z", 0): lambda z: z[:, :1]}),
        pytest.raises(UsageError, match=r"z\.0 returned shape .* but the site has shape"),
    ):
        logits_of(handle, batch_of(handle))
    assert not handle.roles.attention_output[0]._forward_pre_hooks


def test_a_compiled_model_is_refused() -> None:
    handle = attached("bert")
    model: Any = handle.model
    object.__setattr__(handle, "model", torch.compile(model))
    with pytest.raises(UsageError, match=r"torch\.compile"), capturing(handle, "embed"):
        pass
    object.__setattr__(handle, "model", model)
    model.compile()
    with pytest.raises(UsageError, match=r"torch\.compile"), capturing(handle, "embed"):
        pass
