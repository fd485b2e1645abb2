"""A probe with a hidden layer, by request: it reads what no line can, and never without its controls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from interpret.analyzers.probing import probe
from interpret.analyzers.probing.baselines import permuted_labels
from interpret.analyzers.probing.items import Items
from interpret.analyzers.probing.parts import Parts
from interpret.analyzers.probing.ridge import moments, ridge_path
from interpret.analyzers.probing.rows import Rows
from interpret.analyzers.probing.run import _mlp_rows
from interpret.analyzers.probing.uncertainty import ClusterBootstrap
from interpret.errors import UsageError
from interpret.models.load import attach_handle
from interpret.readers.probe_data import ProbeData
from tests.tiny import WORDS, tiny


def test_it_reads_what_no_line_can_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 8)).astype(np.float32)
    gold = ((X[:, 0] > 0) ^ (X[:, 1] > 0)).astype(np.int64)
    labels = np.concatenate([gold[None], permuted_labels(gold, [(0, 0), (0, 1)])])
    numbers = np.arange(3000)
    names = tuple(str(label) for label in gold)
    items = Items([], [], numbers, numbers * 0, names, names, 0, 0, 0)
    plan = Parts(items, labels, ("0", "1"), numbers, 1500, 2000)
    rows = Rows("model", "xor", 1000, 500, 0)
    _mlp_rows(rows, plan, ClusterBootstrap(numbers[2000:], 100, 0), ("resid_post", 0), X)
    found = {(row.probe, row.metric): row.value or 0.0 for row in rows.kept}

    straight = ridge_path(moments(X[:2000], gold[None, :2000], 2)).predict(X[2000:], 1e-3, 0)
    assert (straight == gold[2000:]).mean() < 0.6
    theirs = MLPClassifier((64,), early_stopping=True, random_state=0).fit(X[:2000], gold[:2000])
    assert found["mlp", "accuracy"] == pytest.approx(theirs.score(X[2000:], gold[2000:]), abs=0.1)
    assert found["mlp_control", "accuracy"] == pytest.approx(0.5, abs=0.06)
    difference = found["mlp", "accuracy"] - found["mlp_control", "accuracy"]
    assert found["mlp", "selectivity"] == pytest.approx(difference)


def test_it_is_there_when_asked_for_and_only_then() -> None:
    handle = attach_handle(*tiny("bert", "masked-lm"))
    rng = np.random.default_rng(1)
    words = [[str(w) for w in rng.choice(WORDS, size=6)] for _ in range(120)]
    data = ProbeData.of_words(words, [["early" if w[0] < "g" else "late" for w in row] for row in words])
    options: dict[str, Any] = {"n_control": 2, "n_bootstrap": 50, "random_weights": False, "progress": False}
    state = rng.bit_generator.state
    asked = probe(handle, data, probes=("ridge", "mlp"), **options)
    kinds = {row.probe for row in asked.rows}
    assert {"ridge", "mlp", "mlp_control"} <= kinds
    assert "logistic" not in kinds
    assert {test.against for test in asked.tests if test.probe == "mlp"} == {"type", "embedding"}
    assert rng.bit_generator.state == state
    assert asked.to_dict() == probe(handle, data, probes=("ridge", "mlp"), **options).to_dict()
    plain = probe(handle, data, probes=("ridge",), **options)
    assert not {row.probe for row in plain.rows} & {"mlp", "mlp_control"}
    same = [row for row in asked.rows if row.probe in {one.probe for one in plain.rows}]
    assert same == list(plain.rows)


def test_numbers_are_refused() -> None:
    handle = attach_handle(*tiny("bert", "masked-lm"))
    data = ProbeData.of_texts([f"good film {n}" for n in range(100)], [str(float(n)) for n in range(100)])
    with pytest.raises(UsageError, match="hidden layer"):
        probe(handle, replace(data, kind="regression"), probes=("ridge", "mlp"))
