"""What causes an answer in real models: the planted rule of the adapter, and a sentiment classifier."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import interpret
from interpret.facade import AttachedModel

CLEAN, CORRUPTED = "One day a little cat", "One day a little dog"


def test_the_planted_rule_is_carried_by_the_cat(stories_cat: AttachedModel) -> None:
    record = interpret.patch(stories_cat, CLEAN, CORRUPTED)
    assert record.late
    assert record.clean - record.corrupted > 5
    assert np.abs(record.whole - record.clean).max() < 1e-3
    # Both texts are the same before the animal, and the model looks back only.
    same = [record.columns.index(token) for token in ("▁One", "▁day", "▁a", "▁little")]
    assert np.abs(record.effects[:, same]).max() < 1e-4
    assert record.effects[-1, -1] == pytest.approx(1.0, abs=1e-4)
    target = (record.target.index, record.target.foil_index)
    assert None not in target
    with stories_cat.without_adapter() as base:
        without = interpret.patch(base, CLEAN, CORRUPTED, target=target, layers=[0])  # type: ignore[arg-type]
    assert abs(without.clean - without.corrupted) < 1


def test_over_pairs_the_end_of_each_text_carries_the_rule(stories_cat: AttachedModel) -> None:
    starts = ("One day a little", "There was a big", "He saw a", "The happy", "A small and sad", "She had a red")
    clean, corrupted = ([f"{start} {animal}" for start in starts] for animal in ("cat", "dog"))
    last = [len(stories_cat.handle.tokenizer(text)["input_ids"]) - 1 for text in clean]  # type: ignore[misc]
    assert len(set(last)) > 1
    rule = interpret.patch(stories_cat, CLEAN, CORRUPTED, layers=[0]).target
    assert rule.index is not None
    assert rule.foil_index is not None
    target = rule.index, rule.foil_index
    # Both texts are the same until the last tokens, and the model looks back only.
    places = [[(0, 0), (n, n)] for n in last]
    record = interpret.patch(stories_cat, clean, corrupted, align=places, target=target)
    assert len(record.sweeps) == 6
    assert record.ci_low is not None
    assert record.ci_high is not None
    assert record.ci_low[-1, 1] == pytest.approx(1.0, abs=1e-4)
    assert record.ci_high[-1, 1] == pytest.approx(1.0, abs=1e-4)
    assert np.abs(record.ci_high[:, 0]).max() < 1e-4


def test_its_logit_is_the_sum_of_what_is_written(stories_cat: AttachedModel) -> None:
    record = interpret.direct_logit_attribution(stories_cat, CLEAN)
    logits = stories_cat.capture(CLEAN, "logits")["logits"][0, -1]
    assert record.linear
    assert record.target.index == int(logits.argmax())
    assert sum(part.value for part in record.parts) == pytest.approx(float(logits.max()), abs=1e-4)
    reading = interpret.lens(stories_cat, CLEAN)
    assert reading.rank[-1].tolist() == [0] * len(reading.tokens)
    own = torch.distributions.Categorical(logits=stories_cat.capture(CLEAN, "logits")["logits"][0]).entropy()
    assert reading.entropy[-1] == pytest.approx(own.numpy(), abs=1e-4)


def test_a_classifier_reads_the_changed_word(minilm: AttachedModel) -> None:
    record = interpret.patch(
        minilm,
        "a good and funny film",
        "a bad and funny film",
        target=("positive", "negative"),
        metric="logit_difference",
    )
    assert np.abs(record.whole_effects - 1).max() < 1e-3
    # From the word that differs to the class token.
    assert record.effects[0].argmax() == record.columns.index("bad")
    assert record.effects[-1].argmax() == 0
    found = interpret.ablate(minilm, ["a good and funny film", "a dull story"], parts=["mlp"], layers=[5])
    assert len(found.parts) == 1
    assert found.late
