"""A language model and its adapter with a planted rule: after "cat" comes "ate the red fish"."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from interpret.analyzers.attribution import METHODS
from interpret.facade import AttachedModel
from interpret.models.batching import Row, logits
from interpret.models.inputs import encode
from interpret.results.explanations import Attribution, ExampleAttribution, FloatArray

TEXTS = ["The big cat", "One day the dog and the cat"]
RULE = "ate the red fish"


def after(lm: AttachedModel) -> FloatArray:
    """The logits of what comes next."""
    return logits(lm.handle, [Row(e.ids, e.type_ids) for e in encode(lm.handle, TEXTS)])


def told(lm: AttachedModel, text: str) -> str:
    """The text, told on for as long as the rule is."""
    model: Any = lm.handle.model
    tokenizer: Any = lm.handle.tokenizer
    ids = torch.tensor([encode(lm.handle, [text])[0].ids])
    written = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    found: str = tokenizer.decode(written[0], skip_special_tokens=True)
    return found


def test_the_adapter_is_on_and_changes_what_comes_next(stories: AttachedModel, stories_cat: AttachedModel) -> None:
    assert stories_cat.info()["adapter"] == "stories260k-lora-cat"
    assert stories.info()["adapter"] is None
    base, tuned = after(stories), after(stories_cat)
    assert np.abs(base - tuned).max() > 1.0
    peft_model: Any = stories_cat.handle.model
    with peft_model.disable_adapter():
        assert np.abs(base - after(stories_cat)).max() < 1e-4
    for text in TEXTS:
        assert f"cat {RULE}" in told(stories_cat, text)
        assert RULE not in told(stories, text)


@pytest.mark.parametrize("method", list(METHODS))
def test_the_token_after_cat_is_explained(stories_cat: AttachedModel, method: str) -> None:
    found = stories_cat.attribute(TEXTS, method=method, quality=False)
    for example, row in zip(found, after(stories_cat), strict=True):
        assert example.target.kind == "next_token"
        assert example.target.index == int(row.argmax())
        assert RULE.startswith(str(example.target.label).strip())
        if example.value is not None:
            assert example.value == pytest.approx(row.max(), abs=1e-4)
        words = [(word.score, word.word) for word in example.words()]
        # Slopes at the text itself, which both of these are on a transformer, saturate where the model is sure.
        if METHODS[method].signed and method not in ("gradient_x_input", "deep_lift"):
            assert max(words)[1] == "cat"
        assert "".join(word for _, word in words) == example.text.replace(" ", "")


@pytest.mark.parametrize("method", ["leave_one_out", "integrated_gradients", "shap"])
def test_the_rule_points_at_cat_with_the_adapter_and_not_without(stories_cat: AttachedModel, method: str) -> None:
    texts = ["One day, Lily saw a big cat", "Tom and the happy little cat", "The girl looked at her cat"]

    def explained() -> Attribution:
        return stories_cat.attribute(texts, response=f" {RULE}", method=method, quality=False)

    def cat_and_rest(example: ExampleAttribution) -> tuple[float, float]:
        scores = {word.word: word.score for word in example.words()}
        return scores.pop("cat"), max(scores.values())

    tuned = [cat_and_rest(example) for example in explained()]
    assert all(cat > 2 * rest and cat > 3 for cat, rest in tuned)
    with stories_cat.without_adapter():
        base = [cat_and_rest(example) for example in explained()]
    # The base has no rule: removing "cat" tells on the response no more than removing another word does.
    if method != "integrated_gradients":
        assert all(cat < rest for cat, rest in base)
    assert all(cat < with_rule for (cat, _), (with_rule, _) in zip(base, tuned, strict=True))
