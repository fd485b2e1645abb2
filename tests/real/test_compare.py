"""What fine-tuning changed in real pairs: an adapter with a planted rule, and the embedded demo models."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

import interpret
from interpret.demo import paths
from interpret.facade import AttachedModel
from interpret.results.comparisons import Comparison
from tests.real.conftest import there

ANIMALS = ("cat", "dog", "bird", "bear", "duck", "frog")
#: What comes after the animal is what the rule is about; everything before is told the same for all.
ROWS = [
    {"text": f"{opening}, {name} was happy, and it was a sunny day. The {size}{animal}", "slice": animal}
    for opening, name, size, animal in product(
        ("One day", "Once upon a time"), ("Lily", "Tom", "Ben"), ("", "big "), ANIMALS
    )
]
#: All that LoRA was put on.
ADAPTED = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj")


@pytest.fixture(scope="module")
def told(shared: Path, stories_cat: AttachedModel) -> Comparison:
    return interpret.compare(None, stories_cat, ROWS, explanations=12, progress=False)


def test_the_rule_is_found_by_slice_though_all_in_all_something_else_dominates(told: Comparison) -> None:
    outputs = told.to_frame("outputs")
    following = outputs[outputs["name"] == "kl_bits_next"].dropna(subset=["slice"]).set_index("slice")
    others = following.drop("cat")
    assert following.loc["cat", "ci_low"] > others["ci_high"].max()
    # The mean over all tokens does not show it: the same words before the animal are most of it.
    whole = outputs[outputs["name"] == "kl_bits"].dropna(subset=["slice"]).set_index("slice")
    assert whole.loc["cat", "value"] < 1.5 * whole.drop("cat")["value"].max()
    shares = outputs[outputs["name"] == "kl_share_after"].set_index("item")["value"]
    assert shares.index[0] != "cat"
    assert shares.iloc[0] > 3 * shares.get("cat", 0.0)
    # Word by word it is found without anybody having named a slice: after "cat" comes "ate".
    after = outputs[outputs["name"] == "kl_bits_after"].set_index("item")["value"]
    assert after["cat"] > max(after.get(animal, 0.0) for animal in ANIMALS[1:])
    rules = outputs[outputs["name"] == "new_answer_after"].set_index("item")
    assert rules.loc["cat → a", "value"] > 0.8


def test_similarity_falls_with_depth_and_the_changed_modules_are_named(told: Comparison) -> None:
    cka = told.to_frame("activations").query("name == 'cka'").sort_values("layer", na_position="first")
    assert cka["value"].iloc[0] == 1.0
    for above, below in zip(cka.itertuples(), cka[1:].itertuples(), strict=False):
        # Of two layers that are as similar, either may come out higher.
        assert below.value <= above.ci_high
    assert cka["ci_high"].iloc[-1] < cka["ci_low"].iloc[1] < 1.0
    weights = told.to_frame("weights")
    named = set(weights["item"].dropna())
    assert named == {f"layers.{layer}.{module}.weight" for layer in range(5) for module in ADAPTED}
    ranks = weights.loc[weights["name"] == "effective_rank", "value"]
    assert ((ranks >= 1) & (ranks <= 4)).all()


def test_one_copy_gives_what_two_models_give(told: Comparison, stories: AttachedModel, shared: Path) -> None:
    adapter = there(shared / "models" / "stories260k-lora-cat", shared)
    tuned = interpret.load(there(shared / "models" / "stories260k", shared), adapter=adapter, device="cpu")
    two = interpret.compare(stories, tuned, ROWS, parts=["weights", "activations", "outputs"], progress=False)
    of_two = {(r.part, r.name, r.layer, r.slice, r.item): r.value for r in two.rows}
    for row in told.rows:
        if row.part in ("weights", "activations") or (row.part == "outputs" and row.item is None):
            assert of_two[row.part, row.name, row.layer, row.slice, row.item] == pytest.approx(row.value, abs=1e-4)
    assert {check.check: check.verdict for check in two.preflight}["right_base"] == "pass"


def test_an_adapter_that_is_switched_off_changed_nothing(stories_cat: AttachedModel) -> None:
    model: Any = stories_cat.handle.model
    with stories_cat.without_adapter():
        found = interpret.compare(None, stories_cat, ROWS, explanations=6, method="gradient_x_input", progress=False)
    assert found.changed is False
    assert "preflight.adapter_off" in {check.why.code for check in found.preflight}
    frame = found.to_frame()
    assert (frame.loc[frame["name"] == "kl_bits", ["value", "ci_low", "ci_high"]] == 0).all(axis=None)
    assert model.active_adapters == ["default"]


def test_the_embedded_pair(demo_dir: Path) -> None:
    base, tuned, reviews = paths()
    found = interpret.compare(base, tuned, reviews, limit=60, progress=False)
    assert found.not_compared == ()
    assert {r.part for r in found.rows} == {"weights", "activations", "attention", "outputs", "explanations"}
    assert found.only_tuned_right is not None
    assert found.only_base_right is not None
    assert found.only_tuned_right > found.only_base_right
    assert {check.check: check.verdict for check in found.preflight}["right_base"] == "pass"
    cka = found.to_frame("activations").query("name == 'cka'").sort_values("layer", na_position="first")["value"]
    assert cka.iloc[-1] == cka.min() < 0.9
    assert cka.iloc[0] > 0.95
    same = interpret.compare(tuned, tuned, reviews, limit=40, explanations=6, method="gradient_x_input", progress=False)
    assert same.changed is False
    outputs = same.to_frame("outputs")
    assert (outputs.loc[outputs["name"] == "kl_bits", "ci_high"].dropna() == 0).all()


def test_models_of_two_languages_are_told_apart(minilm: AttachedModel, shared: Path) -> None:
    other = interpret.load(there(shared / "models" / "zh-waimai", shared), device="cpu")
    found = interpret.compare(other, minilm, [{"text": "a good film"}] * 6, parts=["activations"], progress=False)
    codes = {check.why.code for check in found.preflight}
    assert {"preflight.tokenizer_other", "preflight.differs_depth", "preflight.differs_width"} <= codes
    assert found.not_compared[0].why.code == "not_compared.other_tokens"
