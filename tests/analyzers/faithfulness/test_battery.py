"""The battery against models so simple that every number can be written down."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.stats import kendalltau, spearmanr

from interpret.analyzers.attribution import attribute
from interpret.analyzers.faithfulness import METRICS, aopc_limits, battery, measure, sensitivity_max
from interpret.analyzers.faithfulness.rankings import Design, curve_counts, run_rankings
from interpret.analyzers.faithfulness.stability import words_of
from interpret.analyzers.faithfulness.words import lay_out
from interpret.analyzers.scheduler import Scheduler, Scored, deletion, masked_rows, removal, replacements
from interpret.analyzers.target import Target
from interpret.errors import UsageError
from interpret.models.fingerprints import weights_sha256
from interpret.models.handle import Handle
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from interpret.results.explanations import Attribution, Faithfulness, FloatArray
from tests import planted, tiny

Words = Callable[[Sequence[int]], float]


class Toy(Scheduler):
    """A model whose probability is a function of the words that are still there, by their places in the text."""

    def __init__(self, text: str, model: Words) -> None:
        super().__init__(planted.handle())
        (encoded,) = encode(self.handle, [text])
        self.encoded, self.model = encoded, model

    def score_targets(self, rows: Sequence[Any], targets: Sequence[Target]) -> Scored:
        self.n_requested += len(rows)
        self.n_run += len(set(rows))
        there = [
            {w for w, a, b in zip(self.encoded.word_index, row.ids, self.encoded.ids, strict=True) if a == b and w >= 0}
            for row in rows
        ]
        p = np.array([self.model(sorted(words)) for words in there])
        return Scored(np.log(p / (1 - p)), p)


def of_scores(text: str, scores: Sequence[float]) -> Attribution:
    return Attribution.from_scores([text], [text.split()], [list(scores)], target="positive")


def value(found: Faithfulness, metric: str) -> float:
    (number,) = [row.value for row in found.rows if row.metric == metric]
    assert number is not None
    return number


def chain(model: Words, n: int, order: Sequence[int]) -> list[float]:
    """P as the words of `order` go, one by one."""
    return [model(sorted(set(range(n)) - set(order[:k]))) for k in range(n + 1)]


TEXT = "the film was good and bad"
WEIGHTS = (0.02, 0.05, -0.03, 0.25, 0.01, -0.12)


def additive(words: Sequence[int]) -> float:
    return 0.5 + sum(WEIGHTS[w] for w in words)


def tangled(words: Sequence[int]) -> float:
    """Words that only count together, and one that turns another around."""
    there = set(words)
    total = 0.9 * (3 in there) - 1.1 * (5 in there) + 1.6 * ({1, 3} <= there) + 2.0 * ({0, 5} <= there) - 0.4
    return float(1 / (1 + np.exp(-total)))


def test_the_perfect_explanation_of_an_additive_model_is_the_enumerated_optimum() -> None:
    n = len(WEIGHTS)
    found = battery(planted.handle(), of_scores(TEXT, WEIGHTS), scheduler=Toy(TEXT, additive), n_random=20)
    orders = list(itertools.permutations(range(n)))
    areas = [trapezoid(chain(additive, n, order), dx=1 / n) for order in orders]
    assert value(found, "deletion_auc") == pytest.approx(min(areas), abs=1e-12)
    # Insertion is deletion of the reversed ranking, so its optimum is the largest area.
    assert value(found, "insertion_auc") == pytest.approx(max(areas), abs=1e-12)
    assert value(found, "aopc_comprehensiveness_normalized") == pytest.approx(1.0, abs=1e-12)
    assert value(found, "aopc_sufficiency_normalized") == pytest.approx(0.0, abs=1e-12)
    by_hand = sorted(WEIGHTS, reverse=True)
    gone = np.cumsum(by_hand)
    full = 0.5 + sum(WEIGHTS)
    counts = [1, 1, 1, 3]
    expected = np.mean([np.log((full - gone[k - 1]) / full) for k in counts])
    assert value(found, "log_odds") == pytest.approx(expected, abs=1e-12)
    assert value(found, "leave_one_out_correlation") == pytest.approx(1.0)
    assert value(found, "leave_one_out_correlation_kendall") == pytest.approx(1.0)
    assert found.options["limits_exact"] == 1


def test_every_number_of_a_model_with_interactions_is_the_one_by_hand() -> None:
    n, scores = 6, (0.1, 0.4, 0.4, -0.2, 0.9, 0.3)
    found = battery(planted.handle(), of_scores(TEXT, scores), scheduler=Toy(TEXT, tangled), n_random=20)
    order = np.argsort(-np.array(scores), kind="stable").tolist()
    falling = chain(tangled, n, order)
    rising = [tangled(sorted(order[:k])) for k in range(n + 1)]
    assert value(found, "deletion_auc") == pytest.approx(trapezoid(falling, dx=1 / n))
    assert value(found, "insertion_auc") == pytest.approx(trapezoid(rising, dx=1 / n))
    all_aopc = [falling[0] - np.mean(chain(tangled, n, o)[1:]) for o in itertools.permutations(range(n))]
    low, high = min(all_aopc), max(all_aopc)
    assert value(found, "aopc_comprehensiveness_normalized") == pytest.approx(
        (falling[0] - np.mean(falling[1:]) - low) / (high - low)
    )
    least_first = chain(tangled, n, order[::-1])
    assert value(found, "aopc_sufficiency_normalized") == pytest.approx(
        (falling[0] - np.mean(least_first[1:]) - low) / (high - low)
    )

    def logit(p: float) -> float:
        return float(np.log(p / (1 - p)))

    missed = [logit(falling[0]) - logit(tangled([w for w in range(n) if w != gone])) for gone in range(n)]
    assert value(found, "leave_one_out_correlation") == pytest.approx(spearmanr(scores, missed).statistic)
    assert value(found, "leave_one_out_correlation_kendall") == pytest.approx(kendalltau(scores, missed).statistic)


@pytest.mark.parametrize("model", [additive, tangled])
def test_limits_are_those_of_all_rankings_and_a_beam_stays_within(model: Words) -> None:
    n, toy = 6, Toy(TEXT, model)
    handle = planted.handle()
    batch = [ranked for ranked in lay_out(handle, of_scores(TEXT, WEIGHTS)) if ranked is not None]
    operator = removal(handle)
    every = [model(range(n)) - np.mean(chain(model, n, o)[1:]) for o in itertools.permutations(range(n))]
    (exact,) = aopc_limits(toy, batch, operator, budget=10**6, seed=0)
    assert exact == pytest.approx((min(every), max(every), True), abs=1e-12)
    (wide,) = aopc_limits(toy, batch, operator, budget=10**6, seed=0, exact_words=0, width=100)
    assert wide == pytest.approx((min(every), max(every), False), abs=1e-12)
    (narrow,) = aopc_limits(toy, batch, operator, budget=10**6, seed=0, exact_words=0, width=1)
    assert narrow is not None
    assert min(every) - 1e-12 <= narrow.lower <= narrow.upper <= max(every) + 1e-12
    if model is additive:
        # Without interactions the greedy choice is the best one.
        assert narrow == pytest.approx((min(every), max(every), False), abs=1e-12)
    assert aopc_limits(toy, batch, operator, budget=100, seed=0) == [None]


def test_one_ranking_needs_the_text_and_2n_minus_1_others() -> None:
    n, handle, toy = 6, planted.handle(), Toy(TEXT, tangled)
    batch = [ranked for ranked in lay_out(handle, of_scores(TEXT, WEIGHTS)) if ranked is not None]
    design = Design((0.2, 0.5), 0, 0, 0)
    (one,) = run_rankings(toy, batch, [0], design, removal(handle), 0)
    masks: set[frozenset[int]] = set()
    for scores in one.scores:
        order = np.argsort(-scores, kind="stable").tolist()
        masks |= {frozenset(order[:k]) for k in range(n + 1)} | {frozenset(order[k:]) for k in range(n + 1)}
    masks |= {frozenset(range(n)) - {w} for w in range(n)}
    assert toy.n_requested == toy.n_run == len(masks)
    own = np.argsort(-one.scores[0], kind="stable").tolist()
    alone = {frozenset(own[:k]) for k in range(n + 1)} | {frozenset(own[k:]) for k in range(n + 1)}
    assert len(alone) == 1 + 2 * n - 1


def test_long_texts_lose_several_words_at_once() -> None:
    assert curve_counts(5).tolist() == [0, 1, 2, 3, 4, 5]
    counts = curve_counts(200)
    assert (counts[0], counts[-1], len(counts)) == (0, 200, 65)
    assert set(np.diff(counts).tolist()) <= {3, 4}


@pytest.fixture(scope="module")
def good() -> Attribution:
    handle = planted.handle()
    texts = planted.sentences(24, seed=21).texts
    return attribute(handle, encode(handle, texts), method="leave_one_out")


@pytest.fixture(scope="module")
def whole(good: Attribution) -> Faithfulness:
    return battery(planted.handle(), good, n_random=20, operators=("mask_token", "pad_token", "delete"))


def test_the_planted_explanation_is_better_in_every_metric(whole: Faithfulness) -> None:
    rows = {(row.metric, row.operator): row for row in whole.rows}
    assert len(rows) == len(whole.rows) == 3 * (10 + len(METRICS))
    for name in METRICS:
        row = rows[name, "mask_token"]
        assert row.verdict in ("better_than_random", "better_than_trivial"), name
        assert row.ci_low is not None
        assert row.ci_high is not None
        assert row.value is not None
        assert row.ci_low <= row.value <= row.ci_high
    assert whole.verdict == "better_than_trivial"


def test_the_headline_is_that_of_the_cheap_part(good: Attribution, whole: Faithfulness) -> None:
    cheap = measure(planted.handle(), good, n_random=20)
    for ours, theirs in zip(whole.rows, cheap.rows, strict=False):
        assert (ours.metric, ours.verdict) == (theirs.metric, theirs.verdict)
        assert ours.value == pytest.approx(theirs.value, abs=1e-6)
        assert ours.random_mean == pytest.approx(theirs.random_mean, abs=1e-6)
    assert whole.above_95_share == cheap.above_95_share


def test_random_explanations_are_not_called_better(good: Attribution) -> None:
    handle, scheduler = planted.handle(), Scheduler(planted.handle())
    verdicts = []
    for seed in range(8):
        rng = np.random.default_rng(100 + seed)
        # Over words: of a sum over pieces long words get more, and the cues are long.
        words = [[w.word for w in e.words()] for e in good]
        scores = [rng.permutation(len(line)).tolist() for line in words]
        shuffled = Attribution.from_scores([e.text for e in good], words, scores)
        found = battery(handle, shuffled, n_random=20, scheduler=scheduler)
        verdicts += [row.verdict for row in found.rows if "@" not in row.metric]
    # Each interval excludes 0 on the good side in 2.5% of cases; the metrics of one seed go together.
    better = sum(verdict.startswith("better") for verdict in verdicts)
    assert better <= 0.15 * len(verdicts)


def test_an_explanation_made_elsewhere_measures_as_the_original(good: Attribution, whole: Faithfulness) -> None:
    shap = pytest.importorskip("shap")
    handle = planted.handle()
    texts = [e.text for e in good]
    tokens = [list(e.tokens) for e in good]
    labels = [str(e.target.label) for e in good]
    padded = torch.zeros(len(good), max(map(len, tokens)))
    for i, e in enumerate(good):
        padded[i, : len(e.scores)] = torch.tensor(e.scores)
    words = [e.words() for e in good]
    # Shap keeps the space behind a piece.
    pieces = [
        np.array([e.text[w.char_start : n.char_start] for w, n in itertools.pairwise(line)] + [line[-1].word])
        for e, line in zip(good, words, strict=True)
    ]
    explanation = shap.Explanation(
        values=np.array([np.array([w.score for w in line]) for line in words], dtype=object),
        data=np.array(pieces, dtype=object),
    )
    copies = [
        Attribution.from_scores(texts, tokens, [e.scores for e in good], target=labels),
        Attribution.from_captum(padded, tokens, texts, target=labels),
        Attribution.from_shap(explanation, texts=texts),
    ]
    scheduler = Scheduler(handle)
    for copy in copies:
        found = battery(handle, copy, n_random=20, scheduler=scheduler)
        for theirs, ours in zip(found.rows, whole.rows, strict=False):
            assert theirs.metric == ours.metric
            assert theirs.value == pytest.approx(ours.value, abs=1e-5)
            assert theirs.verdict == ours.verdict


def test_deleted_tokens_are_gone_from_the_ids(good: Attribution, whole: Faithfulness) -> None:
    handle = planted.handle()
    areas = []
    for example in good:
        words = example.words()
        order = np.argsort([-w.score for w in words], kind="stable").tolist()
        ps = []
        for k in range(len(words) + 1):
            gone = {p for w in order[:k] for p in words[w].positions}
            ids = [t for p, t in enumerate(example.token_ids.tolist()) if p not in gone]
            with torch.no_grad():
                ps.append(float(handle.model(torch.tensor([ids])).logits.softmax(-1)[0, example.target.index]))
        areas.append(trapezoid(ps, dx=1 / len(words)))
    (row,) = [r for r in whole.rows if r.metric == "deletion_auc" and r.operator == "delete"]
    assert row.value == pytest.approx(np.mean(areas), abs=1e-5)


def test_deletion_moves_the_place_where_a_masked_model_is_read() -> None:
    handle = attach_handle(*tiny.tiny("bert", "masked-lm"))
    text = "the film [MASK] good"
    found = attribute(handle, encode(handle, [text]), method="leave_one_out")
    batch = [ranked for ranked in lay_out(handle, found) if ranked is not None]
    operator = deletion(handle)
    (one,) = run_rankings(Scheduler(handle), batch, [0], Design((0.5,), 0, 0, 0), operator, 0)
    (encoded,) = encode(handle, [text])
    keep = np.array([[False] * len(batch[0].groups)])
    (row,) = masked_rows(encoded, batch[0].groups, keep, operator)
    assert handle.mask_id in row.ids
    with torch.no_grad():
        logits = handle.model(torch.tensor([row.ids])).logits[0, row.ids.index(handle.mask_id)]
    assert one.curves is not None
    assert one.curves.deletion[0, -1] == pytest.approx(float(logits.softmax(-1)[found[0].target.index]), abs=1e-6)


def test_deletion_is_refused_where_nothing_would_be_left() -> None:
    handle = attach_handle(*tiny.tiny("gpt2"))
    found = attribute(handle, encode(handle, ["the film was good"]), method="leave_one_out")
    with pytest.raises(UsageError, match="adds no special token"):
        battery(handle, found, operators=("delete",))
    llama = attach_handle(*tiny.tiny("llama"))
    found = attribute(llama, encode(llama, ["the film was good"]), method="leave_one_out")
    assert battery(llama, found, operators=("delete",), n_random=20).rows[0].operator == "delete"


def test_keeping_no_word_is_never_a_fraction(good: Attribution) -> None:
    """Sufficiency at a share below one word would remove nothing and look perfect, or keep nothing."""
    handle = planted.handle()
    short = replace(good, examples=tuple(e for e in good if len(e.words()) <= 9)[:6])
    found = battery(handle, short, fractions=(0.001, 0.05), n_random=20, metrics=())
    at = {row.metric: row.value for row in found.rows}
    assert at["sufficiency@0.001"] == at["sufficiency@0.05"]
    assert at["comprehensiveness@0.001"] == at["comprehensiveness@0.05"]
    assert at["comprehensiveness@0.001"] != 0.0


# --- explained again


def lime(handle: Handle, encoded: Any, targets: Any, *, seed: int = 0, baseline: str | None = None) -> Attribution:
    return attribute(handle, encoded, target=targets, method="leave_one_out", baseline=baseline, seed=seed)


def test_what_is_made_again_is_compared_and_the_model_put_back(good: Attribution) -> None:
    handle = planted.handle()
    before, table = weights_sha256(handle.model), handle.roles.word_embeddings.weight  # type: ignore[union-attr]
    part = replace(good, examples=good.examples[:6])
    found = battery(handle, part, explain=lime, seeds=(5,), baselines=("unk_token",), n_random=20)
    rows = {row.metric: row for row in found.rows if row.operator == "none"}
    assert set(rows) == {"sensitivity_max", "seed_agreement@5", "baseline_agreement@unk_token"}
    # Leave-one-out draws nothing, so another seed changes nothing.
    assert rows["seed_agreement@5"].value == pytest.approx(1.0)
    assert rows["seed_agreement@5"].verdict.startswith("better")
    other = attribute(handle, encode(handle, [e.text for e in part]), method="leave_one_out", baseline="unk_token")
    expected = [
        spearmanr([w.score for w in a.words()], [w.score for w in b.words()]).statistic
        for a, b in zip(part, other, strict=True)
    ]
    assert rows["baseline_agreement@unk_token"].value == pytest.approx(np.mean(expected), abs=1e-6)
    assert rows["sensitivity_max"].verdict == "better_than_random"
    assert next(row.down_to for row in found.randomisation) == "head"
    assert weights_sha256(handle.model) == before
    assert handle.roles.word_embeddings.weight is table  # type: ignore[union-attr]


def test_sensitivity_is_the_slope_for_small_noise_and_0_where_nothing_depends_on_the_embeddings() -> None:
    handle = planted.handle()
    texts = planted.sentences(3, seed=2).texts
    found = attribute(handle, encode(handle, texts), method="gradient_x_input")
    batch = [ranked for ranked in lay_out(handle, found) if ranked is not None]

    def constant(h: Handle, encoded: Any, targets: Any) -> Attribution:
        return found

    for still in sensitivity_max(handle, batch, constant):
        assert still is not None
        assert still[0] == 0.0
        assert (still[1:] > 0).all()

    def gradient(h: Handle, encoded: Any, targets: Any) -> Attribution:
        return attribute(h, encoded, target=targets, method="gradient_x_input")

    small, tenth = (sensitivity_max(handle, batch, gradient, radius=r, n_perturbations=2) for r in (1e-3, 1e-4))
    for a, b in zip(small, tenth, strict=True):
        assert a is not None
        assert b is not None
        assert a[0] / b[0] == pytest.approx(10.0, rel=0.25)


def test_noise_reaches_a_method_once() -> None:
    """The embedding by hand, moved by the very noise, gives the very change."""
    handle = planted.handle()
    found = attribute(handle, encode(handle, ["zork was good"]), method="gradient_x_input")
    batch = [ranked for ranked in lay_out(handle, found) if ranked is not None]
    seen: list[FloatArray] = []

    def explain(h: Handle, encoded: Any, targets: Any) -> Attribution:
        made = attribute(h, encoded, target=targets, method="gradient_x_input")
        ids = torch.tensor([encoded[0].ids])
        base: Any = h.model
        embedded = base.bert.embeddings(ids).detach().requires_grad_()
        hook = base.bert.embeddings.register_forward_hook(lambda *_: embedded)
        try:
            base(ids).logits[0, targets[0].index].backward()
        finally:
            hook.remove()
        by_hand = (embedded * embedded.grad).sum(-1)[0].detach().double().numpy()
        assert np.abs(by_hand - made[0].scores).max() < 1e-5
        seen.append(by_hand)
        return made

    (sensitivity,) = sensitivity_max(handle, batch, explain, n_perturbations=1, radius=0.05)
    assert sensitivity is not None
    groups = batch[0].groups
    before, after = (np.array([line[list(g)].sum() for g in groups]) for line in seen)
    assert sensitivity[0] == pytest.approx(np.linalg.norm(after - before) / np.linalg.norm(before), rel=1e-3)
    assert sensitivity[0] > 0


def test_the_embedding_table_is_put_back_after_an_exception(good: Attribution) -> None:
    handle = attach_handle(*tiny.tiny("llama", "causal-lm"))
    found = attribute(handle, encode(handle, ["the film was good"]), method="leave_one_out")
    batch = [ranked for ranked in lay_out(handle, found) if ranked is not None]
    before, calls = weights_sha256(handle.model), []

    def crash(h: Handle, encoded: Any, targets: Any) -> Attribution:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return found

    with pytest.raises(KeyboardInterrupt):
        sensitivity_max(handle, batch, crash)
    assert weights_sha256(handle.model) == before
    with pytest.raises(UsageError, match="other texts"):
        words_of(handle, batch, lambda *_: good)


def test_a_random_method_is_as_sensitive_as_shuffled_scores(good: Attribution) -> None:
    handle = planted.handle()
    part = replace(good, examples=good.examples[:10])
    state = np.random.default_rng(0)

    def dice(h: Handle, encoded: Any, targets: Any) -> Attribution:
        examples = tuple(replace(e, scores=state.permutation(e.scores)) for e in part)
        return replace(part, examples=examples)

    found = battery(handle, part, explain=dice, metrics=["sensitivity_max"], n_random=20)
    assert not found.rows[-1].verdict.startswith("better")


def test_wrong_requests_are_refused(good: Attribution) -> None:
    handle = planted.handle()
    with pytest.raises(UsageError, match="no metric 'infidelity'"):
        battery(handle, good, metrics=["infidelity"])
    with pytest.raises(UsageError, match="explain="):
        battery(handle, good, metrics=["sensitivity_max"])
    with pytest.raises(UsageError, match="baselines="):
        battery(handle, good, metrics=["baseline_agreement"], explain=lime)
    with pytest.raises(UsageError, match="each once"):
        battery(handle, good, operators=("pad_token", "pad_token"))
    with pytest.raises(UsageError, match="cannot remove words with 'bos_token'"):
        battery(handle, good, operators=("bos_token",))
    assert set(replacements(handle)) >= {"mask_token", "pad_token", "unk_token"}


def test_the_same_seed_gives_the_same_record_and_it_comes_back_from_disk(good: Attribution, tmp_path: Any) -> None:
    handle = planted.handle()
    part = replace(good, examples=good.examples[:6])
    first, again = (battery(handle, part, explain=lime, seeds=(1,), n_random=20, seed=4) for _ in range(2))
    assert first == again
    assert Faithfulness.load(first.save(tmp_path)) == first


def test_few_texts_get_percentiles_and_one_word_is_no_crash() -> None:
    handle = planted.handle()
    found = attribute(handle, encode(handle, ["zork"]), method="leave_one_out")
    rows = {row.metric: row for row in battery(handle, found).rows}
    # Of one word there is one ranking: nothing to be better or worse in.
    assert {row.verdict for row in rows.values()} == {"inconclusive"}
    assert rows["deletion_auc"].n == 0
    assert rows["aopc_comprehensiveness_normalized"].n == 0
    assert rows["leave_one_out_correlation"].value is None
