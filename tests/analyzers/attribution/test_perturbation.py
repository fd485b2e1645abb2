"""Removal methods against closed forms, exact enumeration, captum, shap and scikit-learn themselves."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from interpret.analyzers.attribution import attribute
from interpret.analyzers.attribution.lime import fit, lime, sample_masks
from interpret.analyzers.attribution.removal import leave_one_out, occlusion, windows
from interpret.analyzers.attribution.shapley import _Masks, permutation_shap, shap_values, text_order_tree
from interpret.analyzers.faithfulness import quality_auto
from interpret.analyzers.scheduler import Scheduler, removal
from interpret.errors import UsageError
from interpret.models.inputs import encode
from interpret.results.explanations import BoolArray, FloatArray
from tests import planted
from tests.analyzers.attribution.support import Known, additive, job_of

NOISE = planted.NOISE


def _weights(text: str) -> dict[int, float]:
    (encoded,) = job_of([text], additive({})).encoded
    return {token: 0.1 * n - 0.4 for n, token in enumerate(encoded.ids[1:-1])}


def _interacting(ids: tuple[int, ...]) -> float:
    """Terms of up to three neighbouring words, and of words far apart."""
    x = [math.sin(7.0 * i) if i != 4 else 0.0 for i in ids[1:-1]]
    near = sum(a * b * c for a, b, c in zip(x, x[1:], x[2:], strict=False))
    return sum(x) + 2.0 * near + 3.0 * x[0] * x[-1] * x[len(x) // 2]


def _shapley(worth: dict[tuple[bool, ...], float], n: int) -> list[float]:
    found = [0.0] * n
    for mask, value in worth.items():
        for word in range(n):
            if not mask[word]:
                more = tuple(m or w == word for w, m in enumerate(mask))
                size = sum(mask)
                weight = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
                found[word] += weight * (worth[more] - value)
    return found


@pytest.mark.parametrize("n_words", [1, 2, 6, 9, 13])
def test_permutation_shap_on_a_bag_of_words_gives_the_weights(n_words: int) -> None:
    text = " ".join(NOISE[:n_words])
    weights = _weights(text)
    found = permutation_shap(job_of([text], additive(weights)), n_permutations=1)
    assert np.allclose(found.scores[0], [0.0, *weights.values(), 0.0])
    assert found.deltas[0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("n_words", [2, 5, 8])
def test_up_to_eight_words_shap_is_the_exact_enumeration(n_words: int) -> None:
    text = " ".join(NOISE[:n_words])
    job = job_of([text], Known(_interacting))
    operator = removal(job.handle)
    masks = list(itertools.product([False, True], repeat=n_words))
    rows = job.rows(0, np.array(masks), operator)
    worth = {mask: _interacting(row.ids) for mask, row in zip(masks, rows, strict=True)}
    expected = _shapley(worth, n_words)
    assert np.allclose(shap_values(job).scores[0][1:-1], expected, atol=1e-9)
    # Sampled orders come closer the more there are; they are no exact values.
    few, many = (np.abs(permutation_shap(job, n_permutations=n).scores[0][1:-1] - expected).max() for n in (1, 400))
    assert many < 0.15
    assert n_words == 2 or few > 1e-3


def test_permutation_shap_is_exact_where_words_interact_in_pairs_only() -> None:
    text = " ".join(NOISE[:7])

    def pairs(ids: tuple[int, ...]) -> float:
        x = [math.sin(3.0 * i) if i != 4 else 0.0 for i in ids[1:-1]]
        return sum(x) + sum(a * b for a, b in itertools.combinations(x, 2))

    job = job_of([text], Known(pairs))
    assert np.allclose(permutation_shap(job, n_permutations=1).scores[0], shap_values(job).scores[0], atol=1e-9)


def _one_text_at_a_time(job: Any, i: int, method: str) -> FloatArray:
    """shap called for one text as its documentation calls it, on the same masks."""
    from shap.explainers import PartitionExplainer, PermutationExplainer

    n = len(job.groups[i])
    operator = removal(job.handle)

    def game(masks: BoolArray) -> FloatArray:
        rows = job.rows(i, np.asarray(masks, dtype=bool), operator)
        return job.score(rows, [i] * len(rows)).logit

    np.random.seed(5)
    if method == "shap":
        found = PartitionExplainer(game, _Masks(n, text_order_tree(n)))(
            np.ones((1, n)), max_evals=100, batch_size=64, silent=True
        )
    else:
        found = PermutationExplainer(game, _Masks(n), seed=5)(
            np.ones((1, n)), max_evals=3 * (2 * n + 1), batch_size=2 * n + 1, silent=True
        )
    return np.asarray(found.values)[0]


@pytest.mark.parametrize("method", ["shap", "permutation_shap"])
def test_side_by_side_is_shap_run_text_by_text(method: str) -> None:
    # The additive text ties the partition explainer's queue, where it draws random numbers.
    texts = [" ".join(NOISE[start : start + n]) for start, n in ((0, 12), (2, 9), (4, 17), (1, 10))]
    for known in (Known(_interacting), additive(dict.fromkeys(range(300), 0.25))):
        job = job_of(texts, known, seed=5)
        state = np.random.get_state()
        expected = [_one_text_at_a_time(job, i, method) for i in range(len(texts))]
        np.random.set_state(state)
        known.calls.clear()
        found = shap_values(job, max_evals=100) if method == "shap" else permutation_shap(job, n_permutations=3)
        n_calls = len(known.calls)
        for line, values in zip(found.scores, expected, strict=True):
            assert line[1:-1].tolist() == values.tolist()
        # As many calls as the longest game has, not as all of them together have.
        known.calls.clear()
        for i in range(len(texts)):
            _one_text_at_a_time(job, i, method)
        assert n_calls < len(known.calls) / 2
        np.random.set_state(state)


def test_shap_is_the_same_alone_and_in_company_whatever_the_callers_random_state() -> None:
    texts = [" ".join(NOISE[start : start + 11]) for start in range(4)]
    known = additive(dict.fromkeys(range(300), 0.25))
    np.random.seed(1)
    together = shap_values(job_of(texts, known), max_evals=40)
    np.random.seed(2)
    for i in (3, 0):
        alone = shap_values(job_of([texts[i]], known), max_evals=40)
        assert alone.scores[0].tolist() == together.scores[i].tolist()


@pytest.mark.parametrize("n_words", [1, 3, 8, 14])
def test_lime_on_a_bag_of_words_gives_the_weights_and_explains_all_of_it(n_words: int) -> None:
    text = " ".join(NOISE[:n_words])
    weights = _weights(text)
    found = lime(job_of([text], additive(weights)), n_samples=200, alpha=1e-9)
    assert np.allclose(found.scores[0], [0.0, *weights.values(), 0.0], atol=1e-6)
    assert found.options["r_squared"] == pytest.approx(1.0)


def test_lime_is_the_weighted_ridge_in_closed_form() -> None:
    text = " ".join(NOISE[:9])
    found = lime(job_of([text], Known(_interacting), seed=3), n_samples=60, alpha=2.0, kernel_width=0.3)
    job = job_of([text], Known(_interacting))
    keep = sample_masks(9, 60, 3)
    y = np.array([_interacting(row.ids) for row in job.rows(0, keep, removal(job.handle))])
    ones = np.ones(9)
    cosine = np.array([k @ ones / (np.linalg.norm(k) * 3.0) if k.any() else 0.0 for k in keep.astype(float)])
    w = np.sqrt(np.exp(-((1 - cosine) ** 2) / 0.3**2))
    x = np.c_[keep.astype(float), np.ones(60)]
    penalty = np.diag([2.0] * 9 + [0.0])
    beta = np.linalg.solve(x.T @ (w[:, None] * x) + penalty, x.T @ (w * y))
    assert np.allclose(found.scores[0][1:-1], beta[:-1])
    residual = w @ (y - x @ beta) ** 2
    total = w @ (y - w @ y / w.sum()) ** 2
    assert found.options["r_squared"] == pytest.approx(1 - residual / total)
    assert 0.0 < float(found.options["r_squared"] or 0) < 1.0


def test_lime_samples_keep_the_whole_text_first_and_then_any_number_of_words() -> None:
    keep = sample_masks(5, 4000, 0)
    assert keep[0].all()
    counts = np.bincount(keep[1:].sum(axis=1), minlength=6)
    assert counts[5] == 0
    assert np.all(np.abs(counts[:5] / 3999 - 0.2) < 0.03)
    assert np.array_equal(keep, sample_masks(5, 4000, 0))
    assert not np.array_equal(keep, sample_masks(5, 4000, 1))


def test_lime_of_a_target_that_nothing_changes_is_zero_and_complete() -> None:
    fitted = fit(sample_masks(4, 30, 0), np.full(30, 2.5), 0.25, 1.0)
    assert np.allclose(fitted.weights, 0.0)
    assert fitted.r_squared == 1.0


@pytest.mark.parametrize(
    ("n", "window", "stride"), [(10, 3, 1), (10, 3, 2), (9, 4, 3), (7, 7, 5), (5, 2, 2), (3, 1, 1)]
)
def test_occlusion_is_captums(n: int, window: int, stride: int) -> None:
    from captum.attr import Occlusion

    text = " ".join(NOISE[:n])
    job = job_of([text], Known(_interacting))
    ids = torch.tensor([job.encoded[0].ids[1:-1]])

    def forward(inside: torch.Tensor) -> torch.Tensor:
        return torch.tensor([_interacting((2, *row, 3)) for row in inside.tolist()], dtype=torch.float64)

    baseline = planted.handle().mask_id
    direct = Occlusion(forward).attribute(ids, (window,), strides=(stride,), baselines=baseline)
    found = occlusion(job, window=window, stride=stride)
    assert ids.shape[1] == n
    assert np.allclose(found.scores[0][1:-1], direct[0].numpy(), atol=1e-6)


def test_occlusion_of_one_word_is_leave_one_out_and_of_all_words_is_the_whole_difference() -> None:
    texts = [" ".join(NOISE[:6]), "", NOISE[0], " ".join(NOISE[3:12])]
    job = job_of(texts, Known(lambda ids: _interacting(ids) if len(ids) > 2 else 0.0))
    one, loo = occlusion(job, window=1), leave_one_out(job)
    for a, b in zip(one.scores, loo.scores, strict=True):
        assert a.tolist() == b.tolist()
    whole = occlusion(job, window=50, stride=50)
    for i in (0, 2, 3):
        row, empty = job.full_row(i).ids, job.empty_row(i, removal(job.handle)).ids
        assert np.allclose(whole.scores[i][1:-1], _interacting(row) - _interacting(empty))
    assert windows(0, 3, 1).shape == (0, 0)


@pytest.mark.parametrize("method", ["permutation_shap", "lime", "occlusion"])
def test_the_planted_word_comes_first_and_a_seed_gives_the_same_numbers_twice(method: str) -> None:
    handle = planted.handle()
    data = planted.sentences(8, seed=11, n_words=(5, 8))
    options: dict[str, Any] = {"window": 1} if method == "occlusion" else {}
    scheduler = Scheduler(handle)
    found = attribute(handle, encode(handle, data.texts), method=method, seed=4, scheduler=scheduler, **options)
    assert [int(np.argmax([w.score for w in example.words()])) for example in found] == data.cue_words
    again = attribute(handle, encode(handle, data.texts), method=method, seed=4, scheduler=scheduler, **options)
    assert [a.tolist() for a in again.scores] == [a.tolist() for a in found.scores]
    if method == "lime":
        other = attribute(handle, encode(handle, data.texts), method=method, seed=5, scheduler=scheduler)
        assert [a.tolist() for a in other.scores] != [a.tolist() for a in found.scores]


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("permutation_shap", {"n_permutations": 0}, "at least 1"),
        ("lime", {"n_samples": 1}, "at least 2 rows"),
        ("lime", {"kernel_width": 0.0}, "both above 0"),
        ("occlusion", {"window": 0}, "at least 1 word"),
        ("occlusion", {"window": 2, "stride": 3}, "no score"),
    ],
)
def test_options_that_make_no_sense_are_refused(method: str, options: dict[str, Any], message: str) -> None:
    handle = planted.handle()
    with pytest.raises(UsageError, match=message):
        attribute(handle, encode(handle, ["the zork was"]), method=method, **options)


TWO = "the film was not good. the zork cat ate fish! then all was well"


def test_a_sentence_goes_as_a_whole_and_words_are_then_sentences() -> None:
    handle = planted.handle()
    for encoded in (encode(handle, [TWO]), encode(handle, [TWO], unit="sentence")):
        found = attribute(handle, encoded, method="occlusion", unit="sentence", window=1)
        words = found[0].words()
        assert [w.word for w in words] == ["the film was not good.", "the zork cat ate fish!", "then all was well"]
        assert found.unit == found[0].unit == "sentence"
        index, mask = found[0].target.index, handle.mask_id
        assert index is not None
        ids = torch.tensor([encoded[0].ids])
        with torch.no_grad():
            whole = float(handle.model(ids).logits[0, index])
            for word in words:
                gone = ids.clone()
                gone[0, list(word.positions)] = mask
                assert word.score == pytest.approx(whole - float(handle.model(gone).logits[0, index]), abs=1e-4)
        assert sorted(p for w in words for p in w.positions) == [
            p for p, special in enumerate(encoded[0].special) if not special
        ]
    assert int(np.argmax([w.score for w in words])) == 1


def test_quality_of_sentences_is_measured_on_sentences() -> None:
    handle = planted.handle()
    found = attribute(handle, encode(handle, [TWO]), method="shap", unit="sentence")
    quality = quality_auto(handle, found)
    assert quality.per_example[0] is not None
    assert quality.per_example[0].n_words == 3
    shown = found.to_frame()
    assert set(shown["word"].dropna()) == {w.word for w in found[0].words()}


def test_a_segmenters_words_are_what_is_scored() -> None:
    handle = planted.handle()
    encoded = encode(handle, ["the zork was good"], segmenter=lambda text: ["the zork", " ", "was good"])
    found = attribute(handle, encoded, method="shap")
    assert [w.word for w in found[0].words()] == ["the zork", "was good"]
    quality = quality_auto(handle, found).per_example[0]
    assert quality is not None
    assert quality.n_words == 2
