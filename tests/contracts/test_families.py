"""What capturing promises, for every family, head and kind of input: one row of `tests/zoo.py` each."""

from __future__ import annotations

import os
import pickle
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interpret.capture.attention import on_interface, resolve_mode
from interpret.capture.capture import Capture, capturing
from interpret.capture.forward import Forward
from interpret.capture.points import absence, name_of, sites_frame, sites_of, unavailable
from interpret.capture.proof import TOLERANCE, prove
from interpret.errors import UnknownSiteError
from interpret.models.families_table import NO_SUCH_PLACE, NOT_AVAILABLE, TABLE, WORKS, as_lines, dumped, read_table
from interpret.models.handle import Handle
from interpret.models.load import attach_handle
from interpret.sites import CROSS_SITES, SITES, is_layered, split_site
from tests import zoo
from tests.capture.support import PADDING_TOLERANCE, PATTERN_TOLERANCE, nothing_global, same_state, state_of

pytestmark = pytest.mark.filterwarnings("ignore:.*attention mask.*")

#: Models that leave out layers in training mode at random are asked not to.
#: The tee against a separate eager model in fp32, behind layers whose results are rounded otherwise (1.3e-6 seen).
ROUNDED = 3e-6
LAYERDROP = ("layerdrop", "encoder_layerdrop", "decoder_layerdrop")


@pytest.fixture(scope="module", params=zoo.CASES, ids="-".join)
def built(request: pytest.FixtureRequest) -> tuple[zoo.Built, Handle]:
    made = zoo.build(*request.param)
    return made, attach_handle(made.model, made.tokenizer)


def available(handle: Handle) -> list[str]:
    return [site for site in sites_of(handle) if unavailable(handle, site) is None]


def forward(handle: Handle, batch: dict[str, Tensor]) -> list[Tensor]:
    with torch.no_grad():
        output = handle.model(**batch)
    return [value for value in output.values() if isinstance(value, Tensor)]


def everything(handle: Handle, batch: dict[str, Tensor]) -> tuple[list[Tensor], Capture]:
    with capturing(handle, *available(handle)) as capture:
        observed = forward(handle, batch)
    return observed, capture


def eager_patterns(
    family: str, task: str, batch: dict[str, Tensor], dtype: torch.dtype
) -> dict[str, tuple[Tensor, ...]]:
    """The patterns that a second model with the same weights hands out when it runs eager attention."""
    model: Any = zoo.build(family, task, attn_implementation="eager").model.to(dtype)
    with torch.no_grad():
        output = model(**batch, output_attentions=True)
    if "vision_model_output" in output:
        return {"vision": output.vision_model_output.attentions, "text": output.text_model_output.attentions}
    if "encoder_attentions" in output:
        names = {"encoder": "encoder_attentions", "decoder": "decoder_attentions", "cross": "cross_attentions"}
        return {prefix: output[name] for prefix, name in names.items()}
    return {"": output.attentions}


def named(prefix: str, site: str) -> str:
    return f"{prefix}.{site}" if prefix else site


@pytest.mark.parametrize("side", ["right", "left"])
def test_observing_changes_nothing_and_patterns_are_the_eager_ones(built: tuple[zoo.Built, Handle], side: str) -> None:
    made, handle = built
    batch = zoo.inputs(made, side=side)
    # Some heads make transformers leave hooks of its own in the model with every plain forward.
    plain = forward(handle, batch)
    before = state_of(handle.model)
    observed, capture = everything(handle, batch)
    assert all(torch.equal(a, b) for a, b in zip(plain, observed, strict=True))
    same_state(before, state_of(handle.model))
    nothing_global()
    assert capture.mode == ("native" if made.family == "deberta-v2" else "tee")
    assert_eager(handle, capture, eager_patterns(made.family, made.task, batch, torch.float32), ROUNDED)


def test_patterns_are_the_eager_ones_where_rounding_is_out_of_the_way(built: tuple[zoo.Built, Handle]) -> None:
    # In fp32 the two models differ by rounding from the first layer on, which the next ones multiply. One example
    # without pads: in float64 eager attention makes NaN of what may look nowhere. Experts of GPT-OSS know no float64.
    made, _ = built
    dtype = torch.float32 if made.family == "gpt_oss" else torch.float64
    twin = zoo.build(made.family, made.task)
    handle = attach_handle(twin.model.to(dtype), twin.tokenizer)
    batch = zoo.alone(made, zoo.inputs(made), 0)
    batch = {name: value.to(dtype) if value.is_floating_point() else value for name, value in batch.items()}
    _, capture = everything(handle, batch)
    assert_eager(handle, capture, eager_patterns(made.family, made.task, batch, dtype), PATTERN_TOLERANCE)


def assert_eager(handle: Handle, capture: Capture, reference: dict[str, tuple[Tensor, ...]], tolerance: float) -> None:
    assert set(reference) == set(handle.prefixes)
    for prefix, layers in reference.items():
        name = named(prefix, "attn_pattern")
        roles = handle.stack(prefix)
        assert roles is not None
        queries = capture.mask_of(name)
        keys = capture.mask_of("encoder.embed") if prefix == "cross" else queries
        pairs = (queries[:, None, :, None] & keys[:, None, None, :]).expand_as(layers[0])
        for layer, expected in enumerate(layers):
            pattern = capture[name, layer]
            assert torch.equal(pattern.isnan(), ~pairs)
            # The first layer of each stack reads the very same numbers in both models.
            within = tolerance if layer or prefix == "cross" else PATTERN_TOLERANCE
            assert (pattern[pairs] - expected[pairs]).abs().max() < within, name
            if roles.is_causal and prefix != "cross":
                assert pattern.nan_to_num().triu(1).sum() == 0


def test_scores_are_what_softmax_makes_the_pattern_of(built: tuple[zoo.Built, Handle]) -> None:
    made, handle = built
    if not any(split_site(site)[1] == "attn_scores" for site in available(handle)):
        assert not on_interface(handle.roles.attention[0])
        return
    _, capture = everything(handle, zoo.inputs(made))
    for prefix in handle.prefixes:
        scores, pattern = capture[named(prefix, "attn_scores"), 1], capture[named(prefix, "attn_pattern"), 1]
        real = ~pattern.isnan()
        assert torch.equal(scores.isnan(), ~real)
        # NaN at pads would spread over whole rows; what is masked anyway is -inf.
        weights = scores.masked_fill(~real, float("-inf")).softmax(-1).masked_fill(~real, float("nan"))
        roles = handle.stack(prefix)
        assert roles is not None
        if roles.layout.sinks:
            # A sink takes the same share from every key of a row.
            share = pattern.nansum(-1, keepdim=True)
            assert (share[real.any(-1)] < 1).all()
            weights = weights * share
        assert (weights - pattern)[real].abs().max() < 1e-5


@pytest.mark.parametrize("side", ["right", "left"])
def test_alone_is_as_in_a_padded_batch(built: tuple[zoo.Built, Handle], side: str) -> None:
    made, handle = built
    reason = zoo.refused(made.family, made.task, side)
    if reason is not None:
        # transformers itself computes something else here; that it does is tested where the reason is written down.
        assert reason
        return
    batch = zoo.inputs(made, side=side)
    _, together = everything(handle, batch)
    for index in (1, 2):
        _, alone = everything(handle, zoo.alone(made, batch, index, side))
        for key in alone:
            one, many = only_real(alone, key, 0), only_real(together, key, index)
            assert one.shape == many.shape, name_of(key)
            assert torch.allclose(one, many, rtol=0, atol=PADDING_TOLERANCE), name_of(key)


def only_real(capture: Capture, key: Any, example: int) -> Tensor:
    """One example without its pads, wherever they stand."""
    tensor, axes = capture[key][example], capture.axes(key)[1:]
    masks = Forward.masks(capture._all()[0], key)
    for axis in ("position", "query", "key"):
        if axis in axes:
            where = masks[axis][example].nonzero()[:, 0]
            tensor = tensor.index_select(axes.index(axis), where)
    return tensor


def seed_everything() -> None:
    # SpecAugment of speech models draws from numpy.
    torch.manual_seed(7)
    np.random.seed(7)


def test_training_mode_draws_nothing_more(built: tuple[zoo.Built, Handle]) -> None:
    made, handle = built
    batch = zoo.inputs(made)
    config: Any = handle.config
    dropped = {name: getattr(config, name) for name in LAYERDROP if hasattr(config, name)}
    try:
        for name in dropped:
            setattr(config, name, 0.0)
        handle.model.train()
        seed_everything()
        plain = forward(handle, batch)
        drawn = torch.get_rng_state()
        seed_everything()
        observed, _ = everything(handle, batch)
        assert torch.equal(drawn, torch.get_rng_state())
        assert all(torch.equal(a, b) for a, b in zip(plain, observed, strict=True))
        assert all(module.training for module in handle.model.modules())
    finally:
        handle.model.eval()
        for name, value in dropped.items():
            setattr(config, name, value)


def test_after_a_bad_name_and_a_crash_only_other_peoples_hooks_are_left(built: tuple[zoo.Built, Handle]) -> None:
    made, handle = built
    batch = zoo.inputs(made)
    seen: list[int] = []
    foreign = handle.roles.blocks[0].register_forward_pre_hook(lambda *_: seen.append(1))

    def crash(*_: object) -> None:
        raise ZeroDivisionError("inside the model")

    crashing = handle.roles.mlp[-1].register_forward_hook(crash)
    try:
        before = state_of(handle.model)
        with pytest.raises(UnknownSiteError), capturing(handle, *available(handle), "resid_pots"):
            pass
        same_state(before, state_of(handle.model))
        with pytest.raises(ZeroDivisionError), capturing(handle, *available(handle)):
            forward(handle, batch)
        same_state(before, state_of(handle.model))
        nothing_global()
        assert seen
    finally:
        crashing.remove()
        foreign.remove()
    same_state({**before, "hooks": []}, {**state_of(handle.model), "hooks": []})
    left = [hook for module in handle.model.modules() for hook in module._forward_hooks.values()]
    assert {getattr(hook, "__name__", "") for hook in left} <= {"output_capturing_hook"}
    assert not any(module._forward_pre_hooks for module in handle.model.modules())


def test_the_model_pickles_afterwards(built: tuple[zoo.Built, Handle]) -> None:
    made, handle = built
    everything(handle, zoo.inputs(made))
    if made.family in zoo.UNPICKLABLE:
        with pytest.raises(Exception, match="parametriz"):
            pickle.dumps(zoo.build(made.family, made.task).model)
        return
    assert len(pickle.dumps(handle.model)) > 0


def test_forwards_end_after_the_last_site(built: tuple[zoo.Built, Handle]) -> None:
    made, handle = built
    batch = zoo.inputs(made)
    before = state_of(handle.model)
    wanted = named(handle.prefixes[0], "resid_post.0")
    later: list[int] = []
    hook = handle.roles.mlp[-1].register_forward_hook(lambda *_: later.append(1))
    try:
        with capturing(handle, wanted) as whole:
            forward(handle, batch)
        n_whole = len(later)
        with capturing(handle, wanted, stop=True) as part:
            forward(handle, batch)
            raise AssertionError("the block ends where the forward does")
    finally:
        hook.remove()
    # A block that serves several layers has been passed once by then.
    assert len(later) - n_whole == (1 if made.family == "albert" else 0)
    assert n_whole
    assert torch.equal(whole[wanted].nan_to_num(), part[wanted].nan_to_num())
    same_state(before, state_of(handle.model))


def test_proof_and_frame(built: tuple[zoo.Built, Handle]) -> None:
    made, handle = built
    before = state_of(handle.model)
    proof = prove(handle)
    same_state(before, state_of(handle.model))
    assert not proof.refused
    assert max(proof.z_error, proof.stream_error, proof.row_sum_error or 0) < TOLERANCE["float32"]
    assert proof.future_mass == (0 if any(roles.is_causal for roles in handle.stacks) else None)
    frame = sites_frame(handle)
    assert (frame.available == (frame.reason == "")).all()
    _, capture = everything(handle, zoo.inputs(made))
    for row in frame[frame.available].itertuples():
        key = (row.site, int(row.layer) if is_layered(row.site) else None)
        shape, axes = capture[key].shape, capture.axes(key)
        assert axes == row.axes
        assert all(size is None or size == found for size, found in zip(row.shape, shape, strict=True)), key


def measured(models: Iterable[tuple[str, Handle, Collection[str]]]) -> dict[str, Any]:
    """One family's entry, from its models: (task, handle, sites that were captured)."""
    listed = list(models)
    # The model with most stacks speaks for the family; a head may need only one of them.
    _, widest, captured = max(listed, key=lambda model: len(model[1].prefixes))
    stacks: dict[str, dict[str, list[str]]] = {}
    for prefix in widest.prefixes:
        sites = [site for site in SITES if site != "logits" and (prefix != "cross" or site in CROSS_SITES)]
        cells: dict[str, list[str]] = {
            site: _cell(absence(widest, f"{prefix}.{site}" if prefix else site)) for site in sites
        }
        promised = {f"{prefix}.{site}" if prefix else site for site, cell in cells.items() if cell == [WORKS]}
        if not promised <= set(captured):
            raise AssertionError(f"promised but not captured: {', '.join(sorted(promised - set(captured)))}")
        stacks[prefix] = cells
    return {
        "attention": resolve_mode(dict(enumerate(widest.roles.attention)), "auto"),
        "heads": [task for task, _, _ in listed],
        "logits": [WORKS] if any("logits" in sites for _, _, sites in listed) else [NOT_AVAILABLE],
        "stacks": stacks,
    }


def _cell(found: Any) -> list[str]:
    if found is None:
        return [WORKS]
    return [NO_SUCH_PLACE if found.architectural else NOT_AVAILABLE, found.reason]


def test_the_table_of_families_and_sites_is_the_one_that_is_printed() -> None:
    found: dict[str, Any] = {}
    for family, tasks in zoo.ZOO.items():
        handles = []
        for task in tasks:
            made = zoo.build(family, task)
            handle = attach_handle(made.model, made.tokenizer)
            _, capture = everything(handle, zoo.inputs(made))
            for key in capture:
                assert not capture[key].isnan().all(), key
            handles.append((task, handle, {name for name, _ in capture}))
        found[family] = measured(handles)
    if os.environ.get("INTERPRET_WRITE_TABLE"):
        TABLE.write_text(dumped(found), encoding="utf-8")
    assert read_table() == found, "run this test with INTERPRET_WRITE_TABLE=1 and look at what it changed"
    lines = as_lines(found)
    assert lines[0].split()[0] == "family"
    for family, entry in found.items():
        for prefix in entry["stacks"]:
            assert any(line.startswith(f"{family} {prefix}".strip()) for line in lines)
    reasons = {
        cell[1] for entry in found.values() for stack in entry["stacks"].values() for cell in stack.values() if cell[1:]
    }
    assert reasons
    assert all(any(line.endswith(reason) for line in lines) for reason in reasons)
