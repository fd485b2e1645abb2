"""The verb: the full battery for our own explanations and for those brought in, and how it is shown."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
import torch

import interpret
from interpret.analyzers.attribution import attribute
from interpret.analyzers.faithfulness import METRICS, plausibility, with_quality
from interpret.models.fingerprints import weights_sha256
from interpret.results.explanations import Attribution, Faithfulness
from interpret.results.views import to_html, to_text
from tests import planted
from tests.tiny import TEXTS, tiny


def told(record: Any, locale: str = "en") -> str:
    """The text of a view on one line: in print it is wrapped, and heads of rows have a capital."""
    return " ".join(to_text(record, locale=locale).split()).lower()


@pytest.fixture(scope="module")
def lm() -> Any:
    return interpret.attach(*planted.trained(), name="planted")


@pytest.fixture(scope="module")
def explained(lm: Any) -> Attribution:
    found: Attribution = lm.attribute(planted.sentences(6, seed=3).texts, method="leave_one_out", quality=False)
    return found


@pytest.fixture(scope="module")
def measured(lm: Any, explained: Attribution) -> Faithfulness:
    before = weights_sha256(lm.handle.model)
    found = interpret.faithfulness(lm, explained, n_random=20, operators=("mask_token", "delete"))
    assert weights_sha256(lm.handle.model) == before
    return found


def test_the_verb_runs_everything_there_is(measured: Faithfulness) -> None:
    frame = measured.to_frame()
    columns = "metric operator value ci_low ci_high random_mean random_ci_low random_ci_high n verdict".split()
    assert list(frame.columns) == columns
    assert set(METRICS) <= set(frame.metric)
    again = set(frame.metric[frame.operator == "none"])
    # The model's own operator was the explanation's baseline, so the others are what is new.
    assert {"sensitivity_max", "seed_agreement@1", "baseline_agreement@unk_token"} <= again
    assert "baseline_agreement@mask_token" not in again
    assert measured.randomisation


def test_one_brought_in_is_measured_without_being_made_again(lm: Any, explained: Attribution) -> None:
    copy = Attribution.from_scores(
        [e.text for e in explained], [list(e.tokens) for e in explained], [e.scores for e in explained]
    )
    found = interpret.faithfulness(lm, copy, n_random=20, metrics=["deletion_auc"])
    assert {row.metric for row in found.rows if "@" not in row.metric} == {
        "aopc_comprehensiveness", "aopc_sufficiency", "deletion_auc",
    }  # fmt: skip
    assert not found.randomisation


@pytest.mark.parametrize("locale", ["en", "zh"])
def test_every_measure_is_shown_in_words(measured: Faithfulness, explained: Attribution, locale: str) -> None:
    shown = told(measured, locale)
    expected = {"en": ("deletion auc", "log-odds", "with seed 1"), "zh": ("删除曲线面积", "对数几率", "随机种子 1")}
    for phrase in expected[locale]:
        assert phrase in shown
    assert not re.search(r"aopc_|_auc|leave_one_out_correlation|@", shown)
    # The evidence goes where the explanation goes.
    assert expected[locale][0] in told(with_quality(explained, measured), locale)
    assert expected[locale][0] in to_html(measured, locale=locale).lower()


def test_plausibility_says_that_it_is_not_faithfulness(explained: Attribution) -> None:
    found = plausibility(explained, [[True] + [False] * (len(e.words()) - 1) for e in explained])
    assert "it is not faithfulness" in told(found)
    assert "不是忠实度" in told(found, "zh")
    assert "average precision" in to_html(found).lower()


def _identity(model: torch.nn.Module) -> list[tuple[str, int, int, int, int, Any]]:
    """Every place a parameter stands in, shared ones in all of them: object, version, memory."""
    return [
        (f"{type(module).__name__}.{name}", id(p), p._version, p.data_ptr(), p.untyped_storage()._cdata, p.grad)
        for module in model.modules()
        for name, p in module._parameters.items()
        if p is not None
    ]


@pytest.mark.parametrize("ended", ["as it should", "by an error", "by an interrupt"])
def test_no_weight_is_written_to_by_the_test_with_random_weights(ended: str) -> None:
    model, tokenizer = tiny("bert", "text-classification")
    blocks = model.base_model.encoder.layer
    blocks[1].output.dense.weight = blocks[0].output.dense.weight
    own = interpret.attach(model, tokenizer)
    texts = list(TEXTS[:2])
    explained = own.attribute(texts, method="gradient_x_input", quality=False)
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    held = optimizer.param_groups[0]["params"]
    labels = torch.tensor([0, 1])
    wanted = torch.autograd.grad(model(**batch, labels=labels).loss, held)

    loss = model(**batch, labels=labels).loss
    before, digest = _identity(model), weights_sha256(model)
    assert len({entry[1] for entry in before}) < len(before)
    met: list[str] = []

    def remade(handle: Any, encoded: Any, targets: Any) -> Attribution:
        met.append(weights_sha256(handle.model))
        # Shared as before, and drawn once.
        assert blocks[1].output.dense.weight is blocks[0].output.dense.weight
        if len(met) == 2 and ended != "as it should":
            raise KeyboardInterrupt if ended == "by an interrupt" else ValueError
        return attribute(handle, encoded, target=targets, method="gradient_x_input")

    run = partial(interpret.faithfulness, own, explained, n_random=20, metrics=["randomisation"], explain=remade)
    if ended == "as it should":
        assert run().randomisation
    else:
        with pytest.raises(KeyboardInterrupt if ended == "by an interrupt" else ValueError):
            run()
    assert len({digest, *met}) == 1 + len(met) > 2
    assert _identity(model) == before
    # What was computed before can still be gone back over, and the optimizer holds what the model computes with.
    loss.backward()
    for parameter, gradient in zip(held, wanted, strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, gradient)
    optimizer.step()
    assert weights_sha256(model) != digest
