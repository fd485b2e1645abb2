"""Criteria on probes: what they mean, when they are met, and what is said of those that cannot be read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from interpret.errors import UsageError
from interpret.results.audits import exit_code
from interpret.results.messages import words
from interpret.results.probe_criteria import parse_criterion
from interpret.results.probe_grid import ProbeGrid
from interpret.results.probes import ProbeResult, ProbeRow


def row(site: str, layer: int | None, probe: str, metric: str, value: float, half: float | None = 0.05) -> ProbeRow:
    low, high = (None, None) if half is None else (value - half, value + half)
    return ProbeRow(
        model="m", site=site, layer=layer, task="upos", probe=probe, metric=metric,  # type: ignore[arg-type]
        value=None if half is None else value, ci_low=low, ci_high=high, n=100,
    )  # fmt: skip


ROWS = (
    row("none", None, "majority", "accuracy", 0.2),
    row("embed", None, "logistic", "accuracy", 0.6),
    row("resid_post", 0, "logistic", "accuracy", 0.75),
    row("resid_post", 1, "logistic", "accuracy", 0.9),
    row("resid_post", 1, "ridge", "accuracy", 0.8),
    row("resid_post", 1, "ridge", "selectivity", 0.5),
    row("resid_post", 1, "logistic", "v_information_bits", 2.5),
    row("z", 1, "logistic", "macro_f1", 0.5, None),
)
RESULT = ProbeResult(
    rows=ROWS,
    task="upos",
    level="word",
    classes=("A", "B"),
    n_train=1,
    n_validation=1,
    n_test=1,
    n_clusters_test=1,
    n_truncated_words=0,
    n_duplicate_sentences=0,
    control="type",
    n_control_seeds=5,
    seed=0,
    validation_rows=(
        row("embed", None, "ridge", "accuracy", 0.5),
        row("resid_post", 0, "ridge", "accuracy", 0.7),
        row("resid_post", 1, "ridge", "accuracy", 0.6),
    ),
)


@pytest.mark.parametrize(
    ("written", "verdict", "value"),
    [
        ("layer 1 accuracy >= 0.85", "pass", 0.9),
        ("layer 1 accuracy >= 85.1%", "inconclusive", 0.9),
        ("layer 1 accuracy > 0.95", "fail", 0.9),
        ("layer 1 accuracy >= 0.95", "inconclusive", 0.9),
        ("resid_post.0-1 accuracy ≥ 0.7", "pass", 0.75),
        ("resid_post accuracy >= 0.82", "fail", 0.75),
        # Every place is meant, so what fails is the embedding.
        ("accuracy >= 0.7", "fail", 0.6),
        ("accuracy <= 0.96", "pass", 0.9),
        ("accuracy <= 0.84", "fail", 0.9),
        ("accuracy < 0.95", "inconclusive", 0.9),
        ("ridge accuracy layer 1 >= 0.75", "pass", 0.8),
        ("majority accuracy <= 0.3", "pass", 0.2),
        # Validation put layer 0 first, whatever the test part says.
        ("best accuracy >= 0.7", "pass", 0.75),
        # Among what is named: elsewhere validation may have put another place first.
        ("layer 1 best accuracy >= 0.85", "pass", 0.9),
        ("embed best accuracy <= 0.7", "pass", 0.6),
        ("selectivity > 40%", "pass", 0.5),
        ("upos v_information >= 2.45", "pass", 2.5),
        ("task upos v_information_bits <= 2.4", "fail", 2.5),
        ("macro_f1 >= 0", "not_run", None),
    ],
)
def test_a_verdict_needs_the_whole_interval_of_every_row(written: str, verdict: str, value: float | None) -> None:
    # Thresholds at the very end of an interval are compared as they are written.
    rows = tuple(
        r if r.value is None else replace(r, ci_low=round(r.ci_low or 0, 6), ci_high=round(r.ci_high or 0, 6))
        for r in ROWS
    )
    (check,) = replace(RESULT, rows=rows).judged(written)
    assert (check.verdict, check.value) == (verdict, value)
    assert exit_code([check]) == {"pass": 0, "fail": 1, "inconclusive": 4, "not_run": 4}[verdict]
    for locale in ("en", "zh"):
        assert "{" not in words(locale).text(check.why)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("layer 3 accuracy", "'layer 3 accuracy' is no words, operator and number"),
        ("accuracy >= much", "is no words, operator and number"),
        ("layer 3 >= 0.9", "names no metric; metrics are accuracy, balanced_accuracy"),
        ("acuracy >= 0.9", "has the word 'acuracy', which is neither a metric (accuracy"),
        ("layer x accuracy >= 1", "has no number after 'layer'"),
        ("accuracy macro_f1 >= 1", "names its metric twice"),
        ("resid_post.1 layer 1 accuracy >= 1", "names its layers twice"),
        ("xpos accuracy >= 1", "nor a label of this run (upos)"),
        ("layer 9 accuracy >= 1", "nothing that the criterion 'layer 9 accuracy >= 1' names was measured"),
        ("resid_mid accuracy >= 1", "at embed, resid_post.0, resid_post.1"),
    ],
)
def test_what_cannot_be_judged_is_named(written: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        RESULT.judged(written)
    assert said in str(error.value)


def test_of_several_labels_one_may_be_meant_or_all() -> None:
    other = replace(RESULT, task="xpos", rows=tuple(replace(r, task="xpos", value=0.3, ci_low=0.2, ci_high=0.4)
                                                    for r in ROWS[:3]))  # fmt: skip
    grid = ProbeGrid(results=(RESULT, other))
    verdicts = [check.verdict for check in grid.judged("upos layer 0 accuracy >= 0.6", "layer 0 accuracy >= 0.6")]
    assert verdicts == ["pass", "fail"]
    assert grid["xpos"] is other
    with pytest.raises(UsageError, match="the labels of this run are upos, xpos"):
        grid["deprel"]
    assert parse_criterion("xpos accuracy>=.5", grid.tasks).task == "xpos"


def test_of_many_rows_at_the_bar_one_is_missed_more_often_than_of_one() -> None:
    """What docs/how-to-read-a-probe.md says: no correction for the number of rows; binomial shares, not our own."""
    rng = np.random.default_rng(0)
    n_draws, n_rows, half = 2000, 12, 1.96 * 0.02
    share = {}
    for n in (1, n_rows):
        verdicts = [
            replace(
                RESULT,
                rows=tuple(row("resid_post", i, "logistic", "accuracy", float(v), half) for i, v in enumerate(values)),
            )
            .judged("accuracy >= 0.8")[0]
            .verdict
            for values in rng.normal(0.8, 0.02, (n_draws, n))
        ]
        share[n] = {name: verdicts.count(name) / n_draws for name in ("pass", "fail")}  # type: ignore[arg-type]
    assert share[1]["fail"] == pytest.approx(0.025, abs=0.012)
    assert share[n_rows]["fail"] == pytest.approx(1 - 0.975**n_rows, abs=0.04)
    # To be met all rows must be: of rows at the bar that hardly ever happens by chance.
    assert share[1]["pass"] == pytest.approx(0.025, abs=0.012)
    assert share[n_rows]["pass"] == 0
