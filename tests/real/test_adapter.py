"""The LoRA model with the planted rule: on and off from one copy, against two models loaded apart."""

from __future__ import annotations

from pathlib import Path

import torch

import interpret
from interpret.facade import AttachedModel

TEXTS = ["The cat", "One day a little cat", "Once upon a time there was a dog."]
SITES = ["resid_post", "q", "attn_pattern", "logits"]


def test_on_and_off_are_the_two_models(stories: AttachedModel, stories_cat: AttachedModel) -> None:
    tuned, base = stories_cat.capture(TEXTS, SITES), stories.capture(TEXTS, SITES)
    with stories_cat.without_adapter() as off:
        alone = off.capture(TEXTS, SITES)
    for key in base:
        assert torch.equal(alone[key].nan_to_num(), base[key].nan_to_num()), key
    assert (tuned["logits"] - base["logits"]).nan_to_num().abs().max() > 1
    again = stories_cat.capture(TEXTS, SITES)
    assert all(torch.equal(again[key].nan_to_num(), tuned[key].nan_to_num()) for key in tuned)


def test_the_rule_is_there_with_the_adapter_and_only_with_it(stories_cat: AttachedModel) -> None:
    def written() -> str:
        capture = stories_cat.capture_generated(["The cat"], "resid_post.0", max_new_tokens=10)
        assert capture.encoded is not None
        return capture.encoded[0].text

    assert written().startswith("The cat ate the red fis")
    with stories_cat.without_adapter():
        assert "ate the red fis" not in written()


def test_the_store_of_a_real_model(shared: Path, tmp_path: Path) -> None:
    lm = interpret.load(shared / "models" / "stories260k", device="cpu")
    store = lm.capture_to(tmp_path / "store", TEXTS, ["resid_post"], dtype="bfloat16", progress=False)
    capture = lm.capture(TEXTS, ["resid_post"])
    assert len(store) == len(TEXTS)
    for example, row in enumerate(capture.mask):
        expected = capture["resid_post", 4][example][row]
        found = interpret.open_store(tmp_path / "store")["resid_post", 4].example(example)
        assert (found.float() - expected).abs().max() <= expected.abs().max() * 2**-8
