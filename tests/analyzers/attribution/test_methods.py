from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from interpret.analyzers.attribution import METHODS, attribute, attribute_capture, methods_frame, rollout
from interpret.analyzers.attribution.job import Job
from interpret.analyzers.attribution.removal import leave_one_out
from interpret.analyzers.attribution.shapley import shap_values, text_order_tree
from interpret.analyzers.faithfulness import quality_auto
from interpret.analyzers.scheduler import Scheduler, Scored, features, masked_rows, removal
from interpret.analyzers.target import resolve_targets
from interpret.capture.capture import capture_texts, capturing
from interpret.errors import UsageError
from interpret.models.batching import Row
from interpret.models.inputs import encode
from tests import planted

SIGNED = ("integrated_gradients", "shap", "leave_one_out")


def _pair(text: str, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids of a text and of its baseline, made without our code."""
    handle = planted.handle()
    ids = handle.tokenizer(text, return_tensors="pt").input_ids
    baseline = ids.clone()
    baseline[0, 1:-1] = handle.tokenizer.mask_token_id
    return ids, baseline


@pytest.mark.parametrize("text", ["the zork was good", "a blick film and then the cat was very happy"])
def test_integrated_gradients_is_captums_called_directly(text: str) -> None:
    from captum.attr import LayerIntegratedGradients

    handle = planted.handle()
    ids, baseline = _pair(text, 1)
    direct = LayerIntegratedGradients(lambda i: handle.model(input_ids=i).logits, handle.model.bert.embeddings)
    expected = direct.attribute(ids, baseline, target=1, n_steps=24, method="gausslegendre").sum(-1)[0]
    found = attribute(handle, encode(handle, [text]), target=1, method="integrated_gradients", n_steps=24)
    assert np.abs(found[0].scores - expected.detach().double().numpy()).max() < 1e-5
    assert found.options["n_steps"] == found.options["evaluations_max"] == 24


def test_integrated_gradients_sums_to_the_difference_and_leaves_special_tokens_at_zero() -> None:
    handle = planted.handle()
    data = planted.sentences(6, seed=3)
    found = attribute(handle, encode(handle, data.texts), method="integrated_gradients", tolerance=0.02)
    for text, example in zip(data.texts, found, strict=True):
        ids, baseline = _pair(text, 0)
        with torch.no_grad():
            difference = (handle.model(ids).logits - handle.model(baseline).logits)[0, example.target.index]
        assert example.scores.sum() == pytest.approx(float(difference), rel=0.021)
        assert np.all(example.scores[example.special] == 0.0)
        assert example.special.sum() == 2
        assert example.convergence_delta is not None
        assert example.convergence_delta < 0.02


def test_the_error_is_within_the_tolerance_and_no_text_takes_more_than_it_needs() -> None:
    handle = planted.handle()
    encoded = encode(handle, planted.sentences(12, seed=3).texts)
    loose = attribute(handle, encoded, method="integrated_gradients", tolerance=0.1)
    tight = attribute(handle, encoded, method="integrated_gradients", tolerance=0.001)
    for found, tolerance in ((loose, 0.1), (tight, 0.001)):
        assert all(delta is not None and delta <= tolerance for delta in found.convergence_delta)
    assert 9 <= loose.options["evaluations_mean"] < tight.options["evaluations_mean"]
    alone = attribute(handle, encoded[:1], method="integrated_gradients", tolerance=0.001)
    assert np.abs(alone[0].scores - tight[0].scores).max() < 1e-5


def test_evaluations_are_bounded_and_what_is_reached_is_told() -> None:
    handle = planted.handle()
    encoded = encode(handle, planted.sentences(4, seed=3).texts)
    found = attribute(handle, encoded, method="integrated_gradients", tolerance=0.0, max_steps=30)
    assert found.options["evaluations_max"] <= 30
    assert all(delta is not None for delta in found.convergence_delta)


def test_words_agree_with_a_thousand_nodes_of_captum() -> None:
    handle = planted.handle()
    encoded = encode(handle, planted.sentences(4, seed=3).texts)
    exact = attribute(handle, encoded, method="integrated_gradients", n_steps=1024)
    found = attribute(handle, encoded, method="integrated_gradients", tolerance=1e-4)
    for one, reference in zip(found, exact, strict=True):
        assert np.abs(one.scores - reference.scores).max() < 1e-3 * np.abs(reference.scores).sum()


def test_gradient_x_input_is_captums_called_directly() -> None:
    from captum.attr import LayerGradientXActivation

    handle = planted.handle()
    text = "the zork was good"
    ids, _ = _pair(text, 1)
    direct = LayerGradientXActivation(lambda i: handle.model(input_ids=i).logits, handle.model.bert.embeddings)
    expected = direct.attribute(ids, target=0).sum(-1)[0]
    found = attribute(handle, encode(handle, [text]), target=0, method="gradient_x_input")
    assert np.abs(found[0].scores - expected.detach().double().numpy()).max() < 1e-5


def test_shap_of_six_words_is_the_exact_enumeration() -> None:
    handle = planted.handle()
    encoded = encode(handle, ["the film zork was not good"])
    (target,) = resolve_targets(handle, encoded)
    groups = features(encoded[0])
    n = len(groups)
    assert n == 6
    masks = np.array(list(itertools.product([False, True], repeat=n)))
    rows = masked_rows(encoded[0], groups, masks, removal(handle))
    worth = Scheduler(handle).score_targets(rows, [target] * len(rows)).logit
    value = {tuple(mask): v for mask, v in zip(masks.tolist(), worth.tolist(), strict=True)}
    expected = np.zeros(n)
    for mask in value:
        size = sum(mask)
        weight = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n) if size < n else 0.0
        for word in range(n):
            if not mask[word]:
                with_word = tuple(m or w == word for w, m in enumerate(mask))
                expected[word] += weight * (value[with_word] - value[mask])
    found = attribute(handle, encoded, method="shap")
    assert np.allclose([w.score for w in found[0].words()], expected, atol=1e-6)


class _Additive:
    """A model whose logit is a sum over the tokens that are still there."""

    max_rows = 10_000

    def __init__(self, weights: dict[int, float]) -> None:
        self.weights = weights

    def score_targets(self, rows: Sequence[Row], targets: object) -> Scored:
        logit = np.array([sum(self.weights.get(i, 0.0) for i in row.ids) for row in rows])
        return Scored(logit, logit)


@pytest.mark.parametrize("n_words", [1, 2, 6, 9, 13])
def test_on_an_additive_model_each_word_gets_its_weight(n_words: int) -> None:
    handle = planted.handle()
    encoded = encode(handle, [" ".join(planted.NOISE[:n_words])])
    weights = {token: 0.1 * n - 0.4 for n, token in enumerate(encoded[0].ids[1:-1])}
    job = Job(
        handle=handle,
        encoded=encoded,
        targets=resolve_targets(handle, encoded),
        groups=[features(encoded[0])],
        scheduler=_Additive(weights),  # type: ignore[arg-type]
        seed=0,
    )
    expected = [0.0, *weights.values(), 0.0]
    assert np.allclose(leave_one_out(job).scores[0], expected)
    assert np.allclose(shap_values(job, max_evals=1000).scores[0], expected)


def test_the_tree_over_words_joins_neighbours_only() -> None:
    tree = text_order_tree(11)
    leaves: dict[int, list[int]] = {i: [i] for i in range(11)}
    for n, (left, right, _, size) in enumerate(tree.tolist()):
        joined = leaves[int(left)] + leaves[int(right)]
        assert joined == list(range(joined[0], joined[-1] + 1))
        assert len(joined) == size
        leaves[11 + n] = joined
    assert len(leaves[11 + len(tree) - 1]) == 11


def test_rollout_rows_sum_to_one_and_identity_attention_stays_put() -> None:
    rng = np.random.default_rng(0)
    raw = rng.random((3, 4, 7, 7))
    patterns = raw / raw.sum(-1, keepdims=True)
    found = rollout(list(patterns))
    assert np.allclose(found.sum(axis=1), 1.0)
    assert (found >= 0).all()
    assert np.allclose(rollout([np.eye(5)[None]] * 3), np.eye(5))
    uniform = rollout([np.full((2, 4, 4), 0.25)])
    assert np.allclose(uniform, 0.5 * np.eye(4) + 0.125)
    with pytest.raises(UsageError, match="head, query, key"):
        rollout([np.eye(3)])


@pytest.mark.parametrize("method", SIGNED)
def test_the_planted_word_comes_first(method: str) -> None:
    handle = planted.handle()
    data = planted.sentences(12, seed=11, n_words=(5, 8))
    found = attribute(handle, encode(handle, data.texts), method=method)
    assert [int(np.argmax([w.score for w in example.words()])) for example in found] == data.cue_words
    assert [example.target.index for example in found] == data.labels


def test_a_contrast_of_two_classes_is_the_difference_of_their_explanations() -> None:
    handle = planted.handle()
    encoded = encode(handle, ["the zork was good"])
    options = {"method": "integrated_gradients", "n_steps": 16}
    positive = attribute(handle, encoded, target="positive", **options)
    negative = attribute(handle, encoded, target="negative", **options)
    contrast = attribute(handle, encoded, target=("positive", "negative"), **options)
    assert np.allclose(contrast[0].scores, positive[0].scores - negative[0].scores, atol=1e-5)
    assert (contrast[0].target.label, contrast[0].target.foil_label) == ("positive", "negative")
    assert contrast[0].target.kind == "contrast"


def test_unit_token_scores_tokens_alone() -> None:
    handle = planted.handle()
    encoded = encode(handle, ["the zork was"])
    words = attribute(handle, encoded, method="leave_one_out", unit="word")
    tokens = attribute(handle, encoded, method="leave_one_out", unit="token")
    assert len(words[0].words()) == 3
    assert len(tokens[0].words()) == len(encoded[0].ids) - 2


def test_auto_says_what_it_picked() -> None:
    handle = planted.handle()
    found = attribute(handle, encode(handle, ["the zork was"]))
    assert found.method == "integrated_gradients"
    assert found.options["auto"] == "integrated_gradients"


def test_wrong_requests_say_what_there_is() -> None:
    handle = planted.handle()
    encoded = encode(handle, ["the zork was"])
    with pytest.raises(UsageError, match="integrated_gradients"):
        attribute(handle, encoded, method="anchors")
    with pytest.raises(UsageError, match="n_steps"):
        attribute(handle, encoded, method="integrated_gradients", steps=3)
    with pytest.raises(UsageError, match="takes no options"):
        attribute(handle, encoded, method="attention_rollout", n_steps=3)
    with pytest.raises(UsageError, match="mask_token"):
        attribute(handle, encoded, method="leave_one_out", baseline="eos_token")


def test_methods_are_a_table() -> None:
    frame = methods_frame()
    assert list(frame.columns[:5]) == ["method", "tasks", "cost", "needs_gradient", "reference"]
    assert list(frame["method"]) == list(METHODS)


def test_rollout_of_a_capture_is_rollout_with_the_model() -> None:
    handle = planted.handle()
    encoded = encode(handle, ["the zork was good", "bad blick"])
    capture = capture_texts(handle, encoded, ["attn_pattern"])
    with_model = attribute(handle, encoded, method="attention_rollout")
    without_model = attribute_capture(capture)
    for one, other in zip(with_model, without_model, strict=True):
        assert np.abs(one.scores - other.scores).max() < 1e-5
        assert other.target.kind == "external"
    with pytest.raises(UsageError, match="needs the model"):
        attribute_capture(capture, "shap")
    with pytest.raises(UsageError, match="attn_pattern"):
        attribute_capture(capture_texts(handle, encoded, ["attn_pattern.1"]))


def test_rollout_of_a_forward_that_the_user_ran_knows_tokens_only() -> None:
    handle = planted.handle()
    batch = handle.tokenizer(["the zork was good", "bad blick"], return_tensors="pt", padding=True)
    with torch.no_grad(), capturing(handle, "attn_pattern") as capture:
        handle.model(**batch)
    found = attribute_capture(capture)
    assert [w.word for w in found[1].words()][:2] == ["[CLS]", "bad"]
    assert found[1].scores.sum() == pytest.approx(1.0, abs=1e-5)
    # Nothing can be removed from a text that is not known, and that is said rather than guessed.
    assert quality_auto(handle, found).per_example == (None, None)


def test_no_text_is_no_error() -> None:
    handle = planted.handle()
    for method in METHODS:
        assert len(attribute(handle, [], method=method)) == 0
    found = attribute(handle, encode(handle, ["", "zork"]), method="shap")
    assert found[0].words() == []
    assert np.all(found[0].scores == 0.0)
    assert quality_auto(handle, found).per_example[0] is None
