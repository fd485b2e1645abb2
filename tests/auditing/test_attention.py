"""Section 10 of an audit: what is measured, what is shown, what is left out and why, and the model as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import interpret
from interpret.auditing import attention
from interpret.auditing.attention import n_ablated, shown_heads
from interpret.errors import UnknownSiteError
from interpret.results.attention import AttentionMap, AttentionMaps, Head, HeadAblation
from interpret.results.audits import AttentionSummary, Audit
from tests.auditing.test_run import SMALL, _rows
from tests.capture.support import batch_of, eager_attentions
from tests.reports import sample
from tests.tiny import tiny


def audited(lm: Any = None, **config: Any) -> Audit:
    lm = interpret.attach(*tiny("bert")) if lm is None else lm
    return interpret.audit(lm, _rows(), config=SMALL | {"attention": 8} | config, progress=False)


@pytest.fixture(scope="module")
def whole() -> Audit:
    return audited()


def summary_of(audit: Audit) -> AttentionSummary:
    assert audit.attention is not None
    return audit.attention


def test_every_head_has_an_effect_with_its_interval(whole: Audit) -> None:
    found = summary_of(whole)
    assert [(row.layer, row.head) for row in found.ablations] == [
        (layer, head) for layer in (0, 1) for head in range(4)
    ]
    assert found.n_ablated == 8, "as many as there are in the sample"
    assert all(row.ci_low <= row.effect <= row.ci_high for row in found.ablations)
    assert any(row.effect for row in found.ablations)
    assert found.ablation_why is None
    assert whole.identity.weights_sha256_before == whole.identity.weights_sha256_after
    assert audited().to_dict()["attention"] == whole.to_dict()["attention"]


def test_maps_are_the_patterns_of_the_cases_rounded(whole: Audit) -> None:
    maps = summary_of(whole).maps
    assert maps is not None
    assert maps.rule == "all"
    assert maps.heads == tuple(Head(layer, head) for layer in (0, 1) for head in range(4))
    assert {shown.row for shown in maps.maps} <= {case.row for case in whole.cases}
    assert maps.n_cases == len(whole.cases)
    lm = interpret.attach(*tiny("bert"))
    for shown in maps.maps:
        eager = eager_attentions(lm.handle, batch_of(lm.handle, [_rows()[shown.row]["text"]]))
        n = len(shown.tokens)
        for at, head in enumerate(maps.heads):
            expected = eager[head.layer][0, head.head, :n, :n].numpy() * 255
            assert np.abs(shown.weights[at] - expected).max() <= 0.501


@pytest.mark.parametrize(
    ("config", "code"), [({"ablated": 0}, "attention.none_ablated"), ({"ablated": 4}, "attention.none_ablated")]
)
def test_what_was_not_measured_says_why(config: dict[str, int], code: str) -> None:
    found = summary_of(audited(**config))
    assert found.ablations == ()
    assert found.ablation_why is not None
    assert found.ablation_why.code == code


def test_too_many_heads_and_heads_out_of_reach_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert n_ablated(64, 24, 16) == 16
    assert n_ablated(64, 1024, 16) == 5
    assert n_ablated(9, 24, 16) == 9
    monkeypatch.setattr(attention, "MAX_FORWARDS", 32)
    found = summary_of(audited())
    assert found.ablation_why is not None
    assert found.ablation_why.code == "attention.too_many_heads"
    monkeypatch.undo()

    def refuse(*_: Any, **__: Any) -> Any:
        raise UnknownSiteError("no z")

    monkeypatch.setattr(attention, "ablation_effects", refuse)
    found = summary_of(audited())
    assert found.ablation_why is not None
    assert found.ablation_why.code == "attention.no_head_outputs"


def test_of_many_heads_those_with_the_largest_effect_are_shown() -> None:
    summary = replace(sample.attention(12, 12), maps=None)
    effects = tuple(
        HeadAblation(layer=row.layer, head=row.head, effect=-float(i), ci_low=0.0, ci_high=0.0)
        for i, row in enumerate(summary.heads)
    )
    heads, rule = shown_heads(replace(summary, ablations=effects))
    assert rule == "effect"
    assert heads == tuple(Head(layer, head) for layer in range(8, 12) for head in range(12))
    heads, rule = shown_heads(replace(summary, ablations=()))
    assert rule == "entropy"
    entropy = {(row.layer, row.head): row.entropy_nats for row in summary.heads}
    assert max(entropy[head] for head in heads) <= min(e for head, e in entropy.items() if head not in heads)


def test_long_and_many_cases_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "MAX_CASES", 1)
    maps = summary_of(audited()).maps
    assert maps is not None
    assert len(maps.maps) == 1
    monkeypatch.setattr(attention, "MAX_TOKENS", 2)
    assert summary_of(audited()).maps is None


def test_an_audit_with_maps_is_saved_and_read(whole: Audit, tmp_path: Any) -> None:
    back = Audit.load(whole.save(tmp_path / "a"))
    assert back.to_dict() == whole.to_dict()
    maps = summary_of(back).maps
    assert maps is not None
    assert maps.heads[0] == Head(0, 0)
    assert maps.maps[0].weights.dtype == np.uint8


def test_maps_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \[head, 2, 2\]"):
        AttentionMap(row=0, tokens=("a", "b"), weights=np.zeros((1, 3, 3), dtype=np.uint8))
    one = AttentionMap(row=0, tokens=("a",), weights=np.zeros((1, 1, 1), dtype=np.uint8))
    with pytest.raises(ValueError, match="has 1 heads, and 2 are named"):
        AttentionMaps(heads=(Head(0, 0), Head(0, 1)), rule="all", maps=(one,), n_cases=1)
