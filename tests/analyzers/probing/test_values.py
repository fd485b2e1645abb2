"""Several labels at once and numbers: against scikit-learn and scipy, planted signals, what is refused."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.analyzers.probing.compare import compare_probes
from interpret.analyzers.probing.features import FeatureStore, fill
from interpret.analyzers.probing.parts import make_parts
from interpret.analyzers.probing.ridge import LAMBDAS
from interpret.analyzers.probing.rows import Rows
from interpret.analyzers.probing.run import probe
from interpret.analyzers.probing.uncertainty import ClusterBootstrap
from interpret.analyzers.probing.value_scores import micro_f1, number_scores, r2, set_scores, spearman
from interpret.analyzers.probing.values import screen, trained_rows
from interpret.errors import InconclusiveError, UsageError
from interpret.models.load import attach_handle
from interpret.readers.probe_data import ProbeData
from interpret.results.probes import ProbeResult
from interpret.results.views import to_text
from tests.tiny import WORDS, tiny

LONG = [word for word in WORDS if len(word) > 2]
KINDS = ("class", "multilabel", "regression")


@pytest.fixture(scope="module")
def bert() -> Any:
    return attach_handle(*tiny("bert", "masked-lm"))


def sampled(n: int, seed: int = 0) -> list[list[str]]:
    rng = random.Random(seed)
    return [rng.choices(LONG, k=rng.randint(4, 7)) for _ in range(n)]


def score(word: str) -> float:
    """A number for each word, as far from its spelling as it gets."""
    return random.Random(f"score {word}").gauss(0, 1)


def numbers(n: int = 300, *, shuffled: bool = False) -> ProbeData:
    rows = sampled(n)
    values = [[score(word) for word in row] for row in rows]
    if shuffled:
        flat = [value for row in values for value in row]
        random.Random(1).shuffle(flat)
        given = iter(flat)
        values = [[next(given) for _ in row] for row in values]
    return ProbeData.of_words(rows, [[repr(v) for v in row] for row in values], kind="regression", task="score")


def sets(n: int = 300) -> ProbeData:
    texts = [" ".join(row) for row in sampled(n)]
    held = [[w for w in ("cat", "happy", "story") if w in text.split()] for text in texts]
    return ProbeData.of_texts(texts, [json.dumps(one) for one in held], kind="multilabel", task="holds")


def value(result: ProbeResult, kind: str, metric: str, site: str = "embed", layer: int | None = None) -> float:
    (row,) = [r for r in result.rows if (r.probe, r.metric, r.site, r.layer) == (kind, metric, site, layer)]
    assert row.value is not None
    return row.value


def standardised(handle: Any, parts: Any) -> Any:
    with FeatureStore(len(parts.items), 1) as store:
        fill(store, handle, parts.items, "resid_post.0")
        return store.standardise(("resid_post", 0), parts.n_train).copy()


# --- against scikit-learn and scipy ---


@pytest.mark.parametrize("make", [numbers, sets])
def test_predictions_and_the_choice_of_lambda_are_scikit_learns(bert: Any, make: Any) -> None:
    from sklearn.linear_model import Ridge
    from sklearn.metrics import f1_score, r2_score

    data = make(300)
    parts = make_parts(bert, data, None, 0, 2, KINDS)
    assert parts.values is not None
    X = standardised(bert, parts)
    found = screen(parts, X)
    n, m = parts.n_train, parts.n_fit
    double = X.astype(np.float64)

    def predict(task: int, lam: float, upto: int, rows: Any) -> Any:
        # The unit of lambda is the mean variance of the features, and scikit-learn sums where we average.
        scale = double[:upto].var(axis=0).mean()
        fitted = Ridge(alpha=lam * scale * upto).fit(double[:upto], parts.values[task, :upto])
        answer = fitted.predict(double[rows]).reshape(-1, parts.values.shape[2])
        return answer if data.kind == "regression" else (answer > 0.5).astype(float)

    for task in range(3):
        held = [predict(task, lam, n, slice(n, m)) for lam in LAMBDAS]
        gold = parts.values[task, n:m]
        if data.kind == "regression":
            scores = [r2_score(gold, one) for one in held]
        else:
            scores = [f1_score(gold, one, average="micro", zero_division=0) for one in held]
        at = int(np.flatnonzero(found.lambdas[task] == LAMBDAS)[0])
        assert scores[at] == pytest.approx(max(scores), abs=1e-3)
        expected = predict(task, found.lambdas[task], m, slice(m, None))
        if data.kind == "regression":
            np.testing.assert_allclose(found.predicted[task], expected, atol=2e-3)
        else:
            assert (found.predicted[task] == expected).mean() > 0.995


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_scores_are_scikit_learns_and_scipys(seed: int) -> None:
    from scipy.stats import spearmanr
    from sklearn.metrics import f1_score, r2_score

    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(5, 40)), int(rng.integers(2, 5))
    gold, predicted = (rng.random((2, n, k)) < 0.4).astype(float)
    bootstrap = ClusterBootstrap(np.arange(n), 20)
    scores = set_scores(bootstrap, predicted, gold)
    micro = f1_score(gold.astype(int), predicted.astype(int), average="micro", zero_division=0)
    seen = [c for c in range(k) if gold[:, c].any() or predicted[:, c].any()]
    macro = np.mean([f1_score(gold[:, c], predicted[:, c], zero_division=0) for c in seen]) if seen else 0.0
    assert scores["micro_f1"].value == pytest.approx(micro)
    assert micro_f1(predicted, gold) == pytest.approx(micro)
    assert scores["macro_f1"].value == pytest.approx(macro)
    assert scores["accuracy"].value == pytest.approx((gold == predicted).mean())
    a, b = rng.integers(0, 6, n).astype(float), rng.normal(size=n).round(1)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return
    found = number_scores(bootstrap, a, b)
    assert found["r2"].value == pytest.approx(r2_score(b, a)) == r2(a, b)
    assert found["spearman"].value == pytest.approx(spearmanr(a, b).statistic)
    # Drawing an item twice is the same as having it twice.
    weights = rng.integers(0, 3, n).astype(float)
    twice = np.repeat(np.arange(n), weights.astype(int))
    if len(twice) > 2 and np.ptp(a[twice]) > 0 and np.ptp(b[twice]) > 0:
        assert spearman(a, b)(weights) == pytest.approx(spearmanr(a[twice], b[twice]).statistic)


@pytest.mark.parametrize("offset", [1e6, 1.7e9])
def test_r_squared_of_numbers_far_from_zero_is_that_of_the_same_numbers_near_it(offset: float) -> None:
    """Such as seconds since 1970."""
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(4)
    gold = rng.normal(size=200)
    predicted = gold + rng.normal(size=200)
    near = number_scores(ClusterBootstrap(np.arange(200) // 2), predicted, gold)["r2"]
    far = number_scores(ClusterBootstrap(np.arange(200) // 2), predicted + offset, gold + offset)["r2"]
    assert near.value == pytest.approx(r2_score(gold, predicted), abs=1e-9)
    assert far == pytest.approx(near, abs=1e-5)


def test_intervals_resample_clusters_and_are_those_of_a_loop() -> None:
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(30), 10)
    shift = rng.normal(size=30)[cluster]
    gold, predicted = rng.normal(size=300) + shift, rng.normal(size=300) * 0.5 + shift
    found = number_scores(ClusterBootstrap(cluster, 2000), predicted, gold)
    looped = []
    for _ in range(2000):
        rows = np.concatenate([np.arange(300)[cluster == c] for c in rng.integers(30, size=30)])
        looped.append(r2_score(gold[rows], predicted[rows]))
    low, high = np.percentile(looped, [2.5, 97.5])
    assert found["r2"].low == pytest.approx(low, abs=0.03)
    assert found["r2"].high == pytest.approx(high, abs=0.03)
    by_item = number_scores(ClusterBootstrap(np.arange(300), 2000), predicted, gold)
    assert found["spearman"].low is not None
    assert by_item["spearman"].low is not None
    assert by_item["spearman"].low > found["spearman"].low


def test_a_draw_of_equal_numbers_has_no_r_squared_and_leaves_the_interval_to_the_others() -> None:
    from sklearn.metrics import r2_score

    gold = np.zeros(60)
    gold[5] = 1
    predicted = np.random.default_rng(0).normal(size=60) / 10
    bootstrap = ClusterBootstrap(np.arange(60), 400)
    found = number_scores(bootstrap, predicted, gold)["r2"]
    drawn = [np.repeat(np.arange(60), row.astype(int)) for draws in bootstrap._draws() for row in draws]
    looped = [r2_score(gold[rows], predicted[rows]) for rows in drawn if 5 in rows]
    assert len(looped) < 300
    assert [found.low, found.high] == pytest.approx(np.percentile(looped, [2.5, 97.5]))


# --- whole runs ---


def test_planted_numbers_are_found_and_shuffled_ones_are_not(bert: Any) -> None:
    result = probe(bert, numbers(), sites=["embed", "resid_post"], n_bootstrap=100, progress=False, codes="task")
    assert (result.kind, result.measure, result.classes) == ("regression", "r2", ())
    assert value(result, "ridge", "r2") > 0.9
    assert value(result, "ridge", "spearman") > 0.9
    assert value(result, "type", "r2", site="none") > 0.99
    assert -0.1 < value(result, "mean", "r2", site="none") <= 0
    assert result.best["r2"] is not None
    assert {r.metric for r in result.rows} == {"r2", "spearman", "selectivity"}
    assert not [r for r in result.rows if r.probe == "logistic"]
    # A control by type is as learnable as the task where the number hangs on the type alone.
    assert value(result, "control", "r2") > 0.8
    assert {t.metric for t in result.tests} == {"r2"}
    (against,) = [t for t in result.tests if t.site == "embed" and t.against == "type"]
    assert against.difference == pytest.approx(
        value(result, "ridge", "r2") - value(result, "type", "r2", site="none"), abs=1e-9
    )
    assert "probe_kind_regression" in {note.code for note in result.notes}
    none = probe(bert, numbers(shuffled=True), sites="embed", n_bootstrap=100, progress=False, random_weights=False)
    (row,) = [r for r in none.rows if (r.probe, r.metric) == ("ridge", "r2")]
    assert row.value is not None
    assert row.ci_low is not None
    assert row.value < 0.05
    assert row.ci_low < 0.02


def test_planted_labels_are_found_each_by_itself(bert: Any) -> None:
    result = probe(bert, sets(500), sites="embed", n_bootstrap=100, progress=False, n_control=3)
    assert (result.kind, result.measure, result.classes) == ("multilabel", "accuracy", ("cat", "happy", "story"))
    for kind in ("ridge", "logistic"):
        assert value(result, kind, "accuracy") > 0.97
        assert value(result, kind, "micro_f1") > 0.95
        assert value(result, kind, "macro_f1") > 0.95
    assert value(result, "bag_of_words", "micro_f1", site="none") > 0.97
    assert value(result, "majority", "micro_f1", site="none") == 0
    assert value(result, "ridge", "selectivity") == pytest.approx(
        value(result, "ridge", "accuracy") - value(result, "control", "accuracy"), abs=1e-9
    )
    assert value(result, "logistic", "v_information_bits") > 1.0
    labelled = {(r.task, r.probe, r.metric): r.value for r in result.label_rows}
    assert set(labelled) == {
        (f"holds={w}", kind, metric)
        for w in ("cat", "happy", "story")
        for kind in ("ridge", "logistic")
        for metric in ("accuracy", "f1")
    }
    mean = np.mean([labelled[f"holds={w}", "ridge", "accuracy"] for w in ("cat", "happy", "story")])
    assert value(result, "ridge", "accuracy") == pytest.approx(mean)
    assert set(result.to_frame()["task"]) == {"holds", "holds=cat", "holds=happy", "holds=story"}


def test_v_information_of_labels_is_the_sum_that_scikit_learn_gives(bert: Any) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    data = sets(400)
    parts = make_parts(bert, data, None, 0, 1, KINDS)
    assert parts.values is not None
    with FeatureStore(len(parts.items), 1) as store:
        fill(store, bert, parts.items, "embed")
        X = store.standardise(("embed", None), parts.n_train).copy()
    result = probe(bert, data, sites="embed", n_bootstrap=20, progress=False, n_control=1)
    best = []
    for column in range(3):
        y = parts.values[0, :, column].astype(int)
        fits = []
        for c in np.logspace(-4, 3, 15):
            fitted = LogisticRegression(C=c, max_iter=3000).fit(X[: parts.n_fit], y[: parts.n_fit])
            fits.append(log_loss(y[parts.test], fitted.predict_proba(X[parts.test])))
        share = y[: parts.n_fit].mean()
        null = log_loss(y[parts.test], np.full(len(y) - parts.n_fit, share))
        best.append((null - min(fits)) / np.log(2))
    # The oracle may choose its penalty on the test part, ours may not.
    assert sum(best) - 0.12 < value(result, "logistic", "v_information_bits") <= sum(best) + 0.05


@pytest.mark.parametrize("make", [numbers, sets])
def test_fitted_probes_say_what_was_scored(bert: Any, make: Any) -> None:
    parts = make_parts(bert, make(300), None, 0, 1, KINDS)
    assert parts.values is not None
    X = standardised(bert, parts)
    rows = Rows("bert", "task", len(parts.items) - parts.n_fit, parts.n_fit - parts.n_train, 0)
    bootstrap = ClusterBootstrap(parts.cluster[parts.test], 20)
    trained = trained_rows(rows, parts, bootstrap, ("resid_post", 0), X, ("ridge", "logistic"))
    gold = parts.values[0, parts.test]
    for (_, _, kind), probe_of in trained.fitted.items():
        outputs = X[parts.test].astype(np.float64) @ probe_of.weights + probe_of.intercept
        if parts.kind == "regression":
            assert trained.right["resid_post", 0, kind].mean() == pytest.approx(r2(outputs[:, 0], gold[:, 0]), abs=1e-4)
        else:
            answers = outputs > (0.5 if kind == "ridge" else 0.0)
            assert trained.right["resid_post", 0, kind].mean() == pytest.approx((answers == gold).mean(), abs=0.01)
    assert set(trained.fitted) == set(trained.right)


def test_controls_keep_one_answer_for_each_form(bert: Any) -> None:
    parts = make_parts(bert, numbers(100), None, 0, 3, KINDS)
    assert parts.values is not None
    for control in parts.values[1:]:
        seen: dict[str, float] = {}
        assert all(seen.setdefault(f, float(v)) == v for f, v in zip(parts.items.form, control[:, 0], strict=True))
        assert set(control[:, 0].tolist()) <= set(parts.values[0, :, 0].tolist())
    parts = make_parts(bert, sets(300), None, 0, 3, KINDS)
    assert parts.values is not None
    for control in parts.values[1:]:
        assert sorted(map(tuple, control.tolist())) == sorted(map(tuple, parts.values[0].tolist()))


def test_what_is_refused_says_why(bert: Any) -> None:
    with pytest.raises(UsageError, match=r"score is a number .* predicted by ridge alone"):
        probe(bert, numbers(60), probes=("logistic",))
    with pytest.raises(UsageError, match=r"of kind 'regression', and this works on one class"):
        compare_probes(bert, bert, numbers(60))
    same = ProbeData.of_texts(
        [f"{v} film {w}" for v in LONG for w in LONG], [("1", "1.0")[i % 2] for i in range(len(LONG) ** 2)]
    )
    with pytest.raises(InconclusiveError, match="has the same label; a probe needs at least two values"):
        probe(bert, ProbeData.of_texts(same.texts, [r[0] for r in same.labels], kind="regression"))
    with pytest.raises(UsageError, match=r"'high', which is no finite number"):
        probe(bert, ProbeData.of_texts(same.texts, ["high", "2"] * (len(same) // 2), kind="regression"))


@pytest.mark.parametrize("make", [numbers, sets])
def test_records_are_saved_shown_and_drawn(bert: Any, make: Any, tmp_path: Any) -> None:
    result = probe(bert, make(260), sites=["embed", "resid_post"], n_bootstrap=20, progress=False)
    result.save(tmp_path)
    assert ProbeResult.load(tmp_path) == result
    assert result.plot() is not None
    for language in ("en", "zh"):
        shown = result.show(language)
        assert "{" not in shown.text
        assert shown.html
    text = to_text(result)
    assert ("R²" in text) == (result.kind == "regression")
    assert ("Each label by itself" in text) == (result.kind == "multilabel")
