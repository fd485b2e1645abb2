from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from interpret.analyzers.attribution import attribute
from interpret.analyzers.faithfulness import (
    agreement,
    battery,
    completeness,
    measure,
    quality_auto,
    randomisation,
    with_quality,
)
from interpret.analyzers.faithfulness.rankings import top_counts
from interpret.analyzers.faithfulness.stats import percentile_of, spearman, verdict_by_bootstrap, verdict_by_permutation
from interpret.errors import UsageError
from interpret.models.fingerprints import weights_sha256
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from interpret.results.explanations import Attribution
from interpret.results.views import to_text
from interpret.statistics.intervals import Interval, bootstrap, resamples
from tests import planted, tiny

N = 24


@pytest.fixture(scope="module")
def good() -> Attribution:
    handle = planted.handle()
    return attribute(handle, encode(handle, planted.sentences(N, seed=21).texts), method="integrated_gradients")


def _shuffled(attribution: Attribution, seed: int = 0) -> Attribution:
    """The same words and the same scores, on other words."""
    rng = np.random.default_rng(seed)
    words = [example.words() for example in attribution]
    return Attribution.from_scores(
        [example.text for example in attribution],
        [[w.word for w in line] for line in words],
        [rng.permutation([w.score for w in line]) for line in words],
    )


@pytest.mark.parametrize("method", ["integrated_gradients", "shap", "leave_one_out"])
def test_explanations_of_the_planted_rule_beat_random_and_trivial_rankings(method: str, good: Attribution) -> None:
    handle = planted.handle()
    found = good
    if method != "integrated_gradients":
        found = attribute(
            handle,
            encode(handle, [e.text for e in good][:12]),
            method=method,
            **({"max_evals": 64} if method == "shap" else {}),
        )
    q = quality_auto(handle, found)
    row = q.rows[0]
    assert row.metric == "aopc_comprehensiveness"
    assert row.difference_ci_low is not None
    assert row.difference_ci_low > 0
    assert q.verdict == "better_than_trivial"
    assert q.rows[1].verdict == "better_than_trivial"
    assert q.variant == "eraser_words_k5_10_20_50"


def test_the_same_scores_on_other_words_are_not_better(good: Attribution) -> None:
    q = quality_auto(planted.handle(), _shuffled(good))
    assert q.verdict == "not_better"
    assert q.rows[0].difference_ci_low is not None
    assert q.rows[0].difference_ci_low <= 0


def test_an_external_copy_is_judged_as_the_original(good: Attribution) -> None:
    handle = planted.handle()
    copy = Attribution.from_scores(
        [e.text for e in good], [list(e.tokens) for e in good], [e.scores for e in good], target=None
    )
    ours, theirs = quality_auto(handle, good), quality_auto(handle, copy)
    assert theirs.rows[0].value == pytest.approx(ours.rows[0].value, abs=1e-6)
    assert theirs.verdict == ours.verdict


def test_every_example_has_its_quality_and_a_single_one_200_rankings(good: Attribution) -> None:
    handle = planted.handle()
    whole = with_quality(good, quality_auto(handle, good))
    assert all(e.quality is not None and e.quality.n_random == 20 for e in whole)
    assert whole.quality is not None
    one = replace(good, examples=(max(good.examples, key=lambda e: len(e.tokens)),))
    q = measure(handle, one)
    assert q.per_example[0] is not None
    assert q.per_example[0].n_random == 200
    assert q.per_example[0].percentile is not None
    assert q.per_example[0].percentile >= 0.9
    assert q.rows[0].ci_low is None
    assert q.rows[0].random_ci_high is not None
    assert q.verdict in ("better_than_random", "inconclusive")
    with pytest.raises(UsageError, match="1 examples"):
        with_quality(good, q)


def test_upside_down_is_worse_than_random(good: Attribution) -> None:
    upside_down = replace(good, examples=tuple(replace(e, scores=-e.scores) for e in good))
    q = quality_auto(planted.handle(), upside_down)
    assert q.verdict == "not_better"
    assert q.rows[0].difference_ci_high is not None
    assert q.rows[0].difference_ci_high < 0


def test_values_are_what_a_direct_computation_gives(good: Attribution) -> None:
    handle = planted.handle()
    example = good[0]
    q = measure(handle, replace(good, examples=(example,)), n_random=20, fractions=(0.2, 0.5))
    n = len(example.words())
    order = np.argsort([-w.score for w in example.words()], kind="stable")
    mask, target = handle.mask_id, example.target.index
    assert target is not None

    def probability(removed: set[int]) -> float:
        import torch

        ids = [mask if w in removed else i for i, w in zip(example.token_ids.tolist(), example.word_index, strict=True)]
        with torch.no_grad():
            return float(handle.model(torch.tensor([ids])).logits.softmax(-1)[0, target])

    full = probability(set())
    ks = [max(1, round(0.2 * n)), max(1, round(0.5 * n))]
    comprehensiveness = [full - probability(set(order[:k].tolist())) for k in ks]
    sufficiency = [full - probability(set(order[k:].tolist())) for k in ks]
    by_name = {row.metric: row.value for row in q.rows}
    assert by_name["aopc_comprehensiveness"] == pytest.approx(np.mean(comprehensiveness), abs=1e-5)
    assert by_name["aopc_sufficiency"] == pytest.approx(np.mean(sufficiency), abs=1e-5)
    assert by_name["comprehensiveness@0.2"] == pytest.approx(comprehensiveness[0], abs=1e-5)


def test_at_least_one_word_is_always_removed() -> None:
    assert top_counts(7, (0.05, 0.1, 0.2, 0.5)) == [1, 1, 1, 4]
    assert top_counts(1, (0.05, 0.5)) == [1, 1]
    handle = planted.handle()
    found = attribute(handle, encode(handle, ["zork was good"]), method="leave_one_out")
    row = next(r for r in measure(handle, found).rows if r.metric == "sufficiency@0.05")
    assert row.random_mean is not None
    assert row.random_mean > 0.01


def test_same_seed_same_numbers(good: Attribution) -> None:
    handle = planted.handle()
    part = replace(good, examples=good.examples[:6])
    first, again = quality_auto(handle, part, seed=4), quality_auto(handle, part, seed=4)
    assert first == again


@pytest.mark.parametrize(
    ("family", "task"), [("llama", "causal-lm"), ("bert", "masked-lm"), ("gpt2", "text-classification")]
)
def test_other_tasks_are_measured_by_the_probability_of_what_is_explained(family: str, task: str) -> None:
    handle = attach_handle(*tiny.tiny(family, task))
    text = "the [MASK] was good" if task == "masked-lm" else "the film was good and bad"
    found = attribute(handle, encode(handle, [text]), method="leave_one_out")
    quality = measure(handle, found, n_random=20).per_example[0]
    assert quality is not None
    assert -1.0 <= quality.comprehensiveness <= 1.0


def test_wrong_requests_are_refused(good: Attribution) -> None:
    handle = planted.handle()
    with pytest.raises(UsageError, match="fractions"):
        measure(handle, good, fractions=(0.0, 0.5))
    with pytest.raises(UsageError, match="n_random"):
        measure(handle, good, n_random=5)


def test_the_rule_of_verdicts() -> None:
    above, across, below = Interval(0.2, 0.1, 0.3), Interval(0.1, -0.1, 0.3), Interval(-0.2, -0.3, -0.1)
    assert verdict_by_bootstrap(above, above, 30) == "better_than_trivial"
    assert verdict_by_bootstrap(above, across, 30) == "better_than_random"
    assert verdict_by_bootstrap(across, above, 30) == "not_better"
    assert verdict_by_bootstrap(across, above, 10) == "inconclusive"
    assert verdict_by_bootstrap(below, above, 10) == "not_better"
    assert verdict_by_permutation(0.95, 200) == "better_than_random"
    assert verdict_by_permutation(0.95, 20) == "inconclusive"
    assert verdict_by_permutation(0.4, 200) == "not_better"
    assert percentile_of(1.0, np.array([0.0, 1.0, 1.0, 2.0])) == 0.5


def test_the_interval_covers_the_mean_of_small_samples() -> None:
    rng = np.random.default_rng(0)
    draws = resamples(6, 1000, 0)
    inside = 0
    for _ in range(200):
        interval = bootstrap(rng.normal(size=6), draws)
        inside += interval.low <= 0.0 <= interval.high
    # The plain percentile interval holds it in 160 or so.
    assert inside / 200 > 0.87


def test_agreement_with_itself_is_one_and_with_its_negative_minus_one(good: Attribution) -> None:
    assert agreement(good, good).value == pytest.approx(1.0)
    negative = replace(good, examples=tuple(replace(e, scores=-e.scores) for e in good))
    assert agreement(good, negative).value == pytest.approx(-1.0)
    assert agreement(good, negative, absolute=True).value == pytest.approx(1.0)
    external = agreement(good, _shuffled(good))
    assert external.ci_low is not None
    assert external.ci_low < 0.3
    with pytest.raises(UsageError, match="different texts"):
        agreement(good, replace(good, examples=good.examples[:3]))
    assert spearman(np.array([1.0, 1.0]), np.array([1.0, 2.0])) is None


def test_completeness_summary(good: Attribution) -> None:
    found = completeness(good)
    assert found.n == N
    assert found.median is not None
    assert found.max is not None
    assert found.median <= found.max < 0.05


def test_randomisation_breaks_the_explanation_and_puts_the_weights_back(good: Attribution) -> None:
    handle = planted.handle()
    part = replace(good, examples=good.examples[:8])
    encoded = encode(handle, [e.text for e in part])
    before = weights_sha256(handle.model)
    rows = randomisation(
        handle,
        encoded,
        part,
        lambda h, e, t: attribute(h, e, target=t, method="integrated_gradients", n_steps=8),
        n_steps=3,
    )
    assert [row.down_to for row in rows] == ["head", "layer 1", "layer 0"]
    assert rows[-1].spearman_signed.value is not None
    assert abs(rows[-1].spearman_signed.value) < 0.6
    assert weights_sha256(handle.model) == before

    def crash(*_: object) -> Attribution:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        randomisation(handle, encoded, part, crash)
    assert weights_sha256(handle.model) == before


@pytest.mark.parametrize(
    ("text", "fractions", "en", "zh"),
    [
        ("flimsy", (0.05, 0.5), "only one word", "只有一个词"),
        ("flimsy good story here", (0.9, 1.0), "takes all 4 words", "去掉全部 4 个词"),
    ],
)
def test_of_one_ranking_nothing_is_told(text: str, fractions: tuple[float, ...], en: str, zh: str) -> None:
    handle = planted.handle()
    found = attribute(handle, encode(handle, [text]), method="integrated_gradients")
    for q in (measure(handle, found, fractions=fractions), battery(handle, found, fractions=fractions)):
        one = q.per_example[0]
        assert one is not None
        assert (one.verdict, one.percentile, q.verdict, q.above_95_share) == (
            "inconclusive",
            None,
            "inconclusive",
            None,
        )
        for locale, words in (("en", en), ("zh", zh)):
            shown = " ".join(to_text(with_quality(found, q), locale=locale).split())
            assert words in shown
            assert "1 words" not in shown
            assert "Do not draw conclusions" not in shown


def test_texts_with_one_ranking_are_left_out_of_the_evidence(good: Attribution) -> None:
    handle = planted.handle()
    texts = [e.text for e in good]
    mixed = attribute(handle, encode(handle, [*texts, *["flimsy"] * 40]), method="integrated_gradients")
    alone, both = quality_auto(handle, good), quality_auto(handle, mixed)
    # Random rankings hang on the number of a text, so the texts that have several give the very same rows.
    assert both.rows == alone.rows
    assert both.above_95_share == alone.above_95_share
    assert {q.verdict for q in both.per_example[len(texts) :] if q is not None} == {"inconclusive"}
    only = quality_auto(handle, replace(mixed, examples=mixed.examples[len(texts) :]))
    assert (only.verdict, only.above_95_share) == ("inconclusive", None)


def test_few_rankings_never_tell_the_95th_percentile() -> None:
    assert verdict_by_permutation(1.0, 5) == "inconclusive"
    assert verdict_by_permutation(1.0, 20) == "better_than_random"
