"""Changes of weights against numpy on the difference itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from interpret.analyzers.comparison.adapters import adapter_changes
from interpret.analyzers.comparison.pair import Pair
from interpret.analyzers.comparison.preflight import preflight
from interpret.analyzers.comparison.weights import effective_rank, low_rank_spectrum, spectrum, weight_changes
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.models.load import attach_handle
from tests.conftest import ABSENT
from tests.tiny import tiny


def handle(seed: int = 0, family: str = "bert", task: str = "text-classification") -> Handle:
    model, tokenizer = tiny(family, task, seed)
    return attach_handle(model, tokenizer)


def rank_by_numpy(difference: torch.Tensor) -> float:
    values = np.linalg.svd(difference.double().numpy(), compute_uv=False)
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def test_one_edited_matrix_is_localised() -> None:
    base, tuned = handle(), handle()
    name = "encoder.layer.1.attention.self.query.weight"
    weight = dict(tuned.core.base_model.named_parameters())[name]
    before = weight.detach().clone()
    edit = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * 0.1
    with torch.no_grad():
        weight += edit
    found = {change.name: change for change in weight_changes(Pair(base, tuned))}
    assert [n for n, change in found.items() if change.state != "same"] == [name]
    moved = (weight - before).detach()
    assert found[name].layer == 1
    assert found[name].relative == pytest.approx(float(moved.norm() / before.norm()), rel=1e-5)
    assert found[name].effective_rank == pytest.approx(rank_by_numpy(moved), rel=1e-6)
    assert len(found) == len(list(base.core.parameters()))


def test_the_effective_rank_of_closed_forms() -> None:
    assert effective_rank(torch.ones(5, dtype=torch.float64)) == pytest.approx(5.0)
    assert effective_rank(torch.tensor([3.0, 0.0, 0.0])) == pytest.approx(1.0)
    assert effective_rank(torch.zeros(3)) is None


def test_the_core_has_the_singular_values_of_the_product() -> None:
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    right = torch.randn(4, 30, generator=generator, dtype=torch.float64)
    product = np.linalg.svd((left @ right).numpy(), compute_uv=False)
    assert low_rank_spectrum(left, right).numpy() == pytest.approx(product[:4], rel=1e-9)
    # A rank above both sides.
    wide = low_rank_spectrum(left.T @ left, torch.eye(4, dtype=torch.float64))
    assert len(wide) == 4


def test_long_matrices_have_the_spectrum_of_their_short_side() -> None:
    matrix = torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
    found = spectrum(matrix)
    assert found is not None
    assert np.sort(found.numpy()) == pytest.approx(np.sort(np.linalg.svd(matrix.numpy(), compute_uv=False)), rel=1e-5)
    assert spectrum(torch.ones(3)) is None


def test_rounding_is_told_from_change() -> None:
    base, tuned = handle(), handle()
    with torch.no_grad():
        for weight in tuned.core.parameters():
            weight.copy_(weight.half().float())
    object.__setattr__(tuned, "saved_dtype", "float16")
    found = list(weight_changes(Pair(base, tuned)))
    assert {change.state for change in found} <= {"same", "rounding"}
    rounded = [change for change in found if change.state == "rounding"]
    assert rounded
    for change in rounded:
        assert change.relative == pytest.approx(change.floor, rel=1e-6)
        assert change.floor < 2**-11
    name = rounded[0].name
    with torch.no_grad():
        dict(tuned.core.base_model.named_parameters())[name].mul_(1.01)
    states = {change.name: change.state for change in weight_changes(Pair(base, tuned))}
    assert states[name] == "changed"


def test_other_heads_do_not_hide_the_model_below_them() -> None:
    base, tuned = handle(task="masked-lm"), handle()
    with torch.no_grad():
        below = [one.core.base_model.encoder.parameters() for one in (tuned, base)]
        for a, b in zip(*below, strict=True):
            a.copy_(b)
    states = {change.name: change.state for change in weight_changes(Pair(base, tuned))}
    inside = {name: state for name, state in states.items() if name.startswith("encoder.layer.")}
    assert len(inside) == len(list(base.core.base_model.encoder.parameters()))
    assert set(inside.values()) == {"same"}


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_an_adapter_moves_weights_as_far_as_merging_it_does(family: str, dora: bool) -> None:
    peft = pytest.importorskip("peft", reason=f"{ABSENT} the package peft is not installed")
    task = "text-classification" if family == "bert" else "causal-lm"
    targets = {"bert": ["query", "value"], "llama": ["q_proj", "down_proj"], "gpt2": ["c_attn"]}[family]
    model, tokenizer = tiny(family, task)
    merged_from, _ = tiny(family, task)
    settings = peft.LoraConfig(
        r=3,
        lora_alpha=5,
        target_modules=targets,
        task_type="SEQ_CLS" if family == "bert" else "CAUSAL_LM",
        init_lora_weights=False,
        use_dora=dora,
        fan_in_fan_out=family == "gpt2",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        tuned = peft.get_peft_model(model, settings)
        with torch.no_grad():
            for name, weight in tuned.named_parameters():
                if "lora_magnitude_vector" in name:
                    weight *= 1 + 0.3 * torch.rand_like(weight)
        if family == "bert":
            with torch.no_grad():
                tuned.base_model.model.classifier.modules_to_save["default"].weight += 0.1
    base = attach_handle(merged_from, tokenizer)
    attached = attach_handle(tuned, tokenizer)
    one = {c.name: c for c in weight_changes(Pair(attached, attached, switched=True)) if c.state != "same"}
    two = {c.name: c for c in weight_changes(Pair(base, attached)) if c.state != "same"}
    merged: nn.Module = tuned.merge_and_unload()
    after = dict(merged.named_parameters())
    before = dict(merged_from.named_parameters())
    prefix = merged_from.base_model_prefix + "."
    expected = {n.removeprefix(prefix): after[n] - w for n, w in before.items() if not torch.equal(after[n], w)}
    assert set(one) == set(two) == set(expected)
    # DoRA sets the length of each output, which no product of two thin matrices does.
    assert any(change.low_rank for change in one.values()) is not dora
    for name, difference in expected.items():
        for found in (one[name], two[name]):
            assert found.norm == pytest.approx(float(difference.detach().double().norm()), rel=1e-4)
            if dora and difference.ndim == 2:
                assert found.singular_values is not None
                direct = np.linalg.svd(difference.detach().double().numpy(), compute_uv=False)
                assert np.sort(found.singular_values.numpy())[::-1] == pytest.approx(direct, rel=1e-3, abs=1e-5)
            if found.low_rank:
                assert found.singular_values is not None
                direct = np.linalg.svd(difference.detach().double().numpy(), compute_uv=False)
                assert np.sort(found.singular_values.numpy())[::-1] == pytest.approx(direct[:3], rel=1e-4)


def test_a_dora_that_was_not_trained_adds_nothing_and_its_embedding_counts() -> None:
    peft = pytest.importorskip("peft", reason=f"{ABSENT} the package peft is not installed")
    settings = peft.LoraConfig(
        r=2, target_modules=["q_proj", "embed_tokens"], task_type="CAUSAL_LM", use_dora=True, lora_alpha=3
    )
    model, tokenizer = tiny("llama", "causal-lm")
    tuned = peft.get_peft_model(model, settings)
    attached = attach_handle(tuned, tokenizer)
    pair = Pair(attached, attached, switched=True)
    assert {change.state for change in weight_changes(pair)} == {"same"}
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "embed_tokens" in name and ("magnitude" in name or "lora" in name):
                weight += 0.1
    changed = {change.name: change for change in weight_changes(pair) if change.state != "same"}
    assert set(changed) == {"embed_tokens.weight"}
    before = model.get_input_embeddings().base_layer.weight.detach().clone()
    after = tuned.merge_and_unload().get_input_embeddings().weight.detach()
    expected = float((after.double() - before.double()).norm())
    assert changed["embed_tokens.weight"].norm == pytest.approx(expected, rel=1e-5)


def test_two_adapters_of_which_one_sets_lengths_are_said_not_to_be_known() -> None:
    peft = pytest.importorskip("peft", reason=f"{ABSENT} the package peft is not installed")
    options = {"r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", "init_lora_weights": False}
    model, tokenizer = tiny("llama", "causal-lm")
    tuned = peft.get_peft_model(model, peft.LoraConfig(**options, use_dora=True))
    tuned.add_adapter("second", peft.LoraConfig(**options))
    tuned.base_model.set_adapter(["default", "second"])
    found, unknown = adapter_changes(attach_handle(tuned, tokenizer))
    assert not any(change.magnitude is not None for change in found.values())
    assert all(name.endswith("q_proj.weight") for name in unknown)
    assert len(unknown) == len(tuned.base_model.model.model.layers)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("switched", [False, True])
@pytest.mark.filterwarnings("ignore::UserWarning:peft")
def test_an_adapter_on_a_head_that_is_tied_to_the_embeddings_is_seen(switched: bool, saved: bool, dora: bool) -> None:
    """The head has no weight of its own in the base, and one after tuning."""
    peft = pytest.importorskip("peft", reason=f"{ABSENT} the package peft is not installed")
    model, tokenizer = tiny("gpt2", "causal-lm")
    embeddings = model.get_input_embeddings().weight.detach().clone()
    where = {"target_modules": ["c_fc"], "modules_to_save": ["lm_head"]} if saved else {"target_modules": ["lm_head"]}
    tuned = peft.get_peft_model(model, peft.LoraConfig(r=2, use_dora=dora, init_lora_weights=saved, **where))
    if saved:
        with torch.no_grad():
            tuned.get_submodule("base_model.model.lm_head.modules_to_save.default").weight.add_(0.1)
    handle = attach_handle(tuned, tokenizer)
    pair = Pair(handle if switched else attach_handle(*tiny("gpt2", "causal-lm")), handle, switched=switched)
    found = {change.name: change for change in weight_changes(pair) if change.state == "changed"}
    assert set(found) == {"lm_head.weight"}
    flight = preflight(pair, list(weight_changes(pair)), [Row((1, 2, 3, 4))])
    assert flight.changed
    assert {check.check: check.verdict for check in flight.checks}["weights"] == "pass"
    # Merging leaves the tie, so the head is read off what it does to unit vectors of the stream.
    head = tuned.get_submodule("base_model.model.lm_head")
    with torch.no_grad():
        moved = head(torch.eye(embeddings.shape[1])).T - embeddings
    assert found["lm_head.weight"].norm == pytest.approx(float(moved.norm()), rel=1e-5)
