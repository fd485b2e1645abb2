"""Section 5 of an audit: the numbers of `compare`, the examples that moved, and nothing of the texts when masked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import interpret
import reports
from interpret.auditing.comparing import CompareConfig
from interpret.results.audits import Audit
from interpret.results.messages import LOCALES
from tests.auditing.test_run import SMALL, _rows
from tests.tiny import TEXTS, tiny

COUNTS: dict[str, Any] = SMALL | {"method": "gradient_x_input", "compared_methods": "", "bootstraps": 200}


HOW: dict[str, Any] = {"method": "gradient_x_input", "quality": False}


def pair(family: str = "bert", task: str = "text-classification") -> tuple[Any, Any]:
    base = interpret.attach(*tiny(family, task, 1), name="base")
    return base, interpret.attach(*tiny(family, task), name="tuned")


def audited(**options: Any) -> Audit:
    base, tuned = pair()
    config = COUNTS | options.pop("config", {})
    return interpret.audit(tuned, _rows(), base=base, config=config, slices="slice", progress=False, **options)


@pytest.fixture(scope="module")
def audit() -> Audit:
    return audited()


def test_an_audit_compares_as_the_verb_does(audit: Audit) -> None:
    base, tuned = pair()
    plain = interpret.compare(base, tuned, _rows(), slices="slice", method="gradient_x_input", progress=False)
    assert audit.comparison is not None
    assert audit.comparison.preflight == plain.preflight
    assert audit.comparison.not_compared == ()
    found = {(r.part, r.name, r.layer, r.head, r.slice, r.item): r.value for r in audit.comparison.rows}
    assert {key[0] for key in found} == {"weights", "activations", "attention", "outputs", "explanations"}
    for r in plain.rows:
        if r.part != "explanations":
            assert found[r.part, r.name, r.layer, r.head, r.slice, r.item] == pytest.approx(r.value, rel=1e-9)


def test_each_case_says_how_far_it_moved(audit: Audit) -> None:
    base, tuned = pair()
    outputs = []
    for lm in (base, tuned):
        with torch.no_grad():
            logits = [
                lm.handle.model(**lm.handle.tokenizer(row["text"], return_tensors="pt")).logits[0].double()
                for row in _rows()
            ]
        outputs.append(torch.stack(logits).log_softmax(-1))
    bits = ((outputs[1].exp() * (outputs[1] - outputs[0])).sum(-1) / np.log(2)).tolist()
    for case in audit.cases:
        assert case.output_change == pytest.approx(bits[case.row], rel=1e-4)
        assert case.base_prediction == tuned.handle.labels[int(outputs[0][case.row].argmax())]
    # Those that moved most stand there, unless they do as errors.
    order = np.argsort(-np.array(bits), kind="stable")[:10].tolist()
    shown = {case.row for case in audit.cases if case.rule in ("moved", "error")}
    assert {row % len(TEXTS) for row in order} <= {row % len(TEXTS) for row in shown}
    assert any(case.rule == "moved" for case in audit.cases)
    # The change of an explanation, held against scipy on attributions of both models.
    measured = 0
    for case in audit.cases:
        text, index = _rows()[case.row]["text"], case.attribution.target.index
        scores = [[word.score for word in lm.attribute([text], target=index, **HOW)[0].words()] for lm in (base, tuned)]
        if len(scores[0]) < 3:
            # Two words cannot say more than that they changed places.
            assert case.explanation_change is None
        else:
            assert case.explanation_change == pytest.approx(1 - spearmanr(*scores).statistic, abs=1e-6)
            measured += 1
    assert measured > 2


def test_a_count_of_none_leaves_a_part_out_and_says_so() -> None:
    few = audited(config={"base_activations": 0, "base_attention": 0, "base_explained": 0, "moved_shown": 0})
    assert few.comparison is not None
    assert {one.part: one.why.code for one in few.comparison.not_compared} == dict.fromkeys(
        ("activations", "attention", "explanations"), "not_compared.none_asked"
    )
    assert {case.rule for case in few.cases} == {"error", "random"}
    assert {case.explanation_change for case in few.cases} == {None}
    covered = next(c for c in few.coverage if c.section == "comparison")
    assert (covered.status, covered.why and covered.why.params["parts"]) == (
        "partial",
        "activations,attention,explanations",
    )


def test_the_plan_knows_what_the_counts_cost() -> None:
    base, tuned = pair()
    plans = [
        interpret.plan_audit(tuned, _rows(), base=base, config=COUNTS | {"base_activations": n, "base_explained": n})
        for n in (0, 20)
    ]
    stages = [{stage.stage: stage for stage in plan.stages} for plan in plans]
    # Both models, with hooks, on every text; and one gradient each, of the sample and of what is shown.
    assert stages[1]["comparison"].forward - stages[0]["comparison"].forward == 2 * 20
    assert stages[0]["explanation_changes"].backward == 0 < stages[1]["explanation_changes"].backward
    alone = {stage.stage: stage for stage in interpret.plan_audit(tuned, _rows(), config=COUNTS).stages}
    assert alone["comparison"].why is not None
    assert CompareConfig().activations > 0


@pytest.mark.parametrize("texts", ["masked", "ids"])
def test_no_word_of_the_data_is_left_by_a_masked_comparison(texts: str, tmp_path: Path) -> None:
    base, tuned = pair("llama", "causal-lm")
    rows = [{"text": f"{text} zorblat quivexo", "slice": "one"} for text in TEXTS * 3]
    whole, masked = (
        interpret.audit(tuned, rows, base=base, config=COUNTS | {"texts": kept}, progress=False)
        for kept in ("full", texts)
    )

    def held(audit: Audit) -> str:
        plain = json.dumps([audit.to_dict()[key] for key in ("comparison", "cases")], ensure_ascii=False)
        return plain + "".join(reports.text(audit, locale) for locale in LOCALES)

    # The same search finds them where texts are kept.
    words = {word for text in TEXTS for word in text.casefold().split() if len(word) > 4} | {"zorblat", "quivexo"}
    assert {"zorblat", "quivexo"} <= {word for word in words if word in held(whole).casefold()}
    assert "zorblat" not in held(masked)
    assert "quivexo" not in held(masked)
    assert masked.comparison is not None
    assert whole.comparison is not None
    items = {r.item for r in masked.comparison.rows if r.part in ("outputs", "explanations") and r.item}
    assert all(item.startswith("•••") or item == "gradient_x_input" for item in items)
    assert [r.value for r in masked.comparison.rows] == [r.value for r in whole.comparison.rows]


def test_an_audit_of_before_there_were_such_parts_still_loads(audit: Audit, tmp_path: Path) -> None:
    folder = audit.save(tmp_path / "old")
    plain = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    record = plain["record"]
    for case in record["cases"]:
        for key in ("base_prediction", "output_change", "explanation_change"):
            del case[key]
    del record["comparison"]["probes"]
    rows = record["comparison"]["rows"]
    record["comparison"]["rows"] = [row for row in rows if row["part"] == "outputs"]
    record["comparison"]["notes"] = [{"code": "compare.same_tokenizer", "params": {}}]
    (folder / "audit.json").write_text(json.dumps(plain), encoding="utf-8")
    names = ("arrays.safetensors", "audit.json", "audit.resolved.yaml")
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in names]
    (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n", encoding="utf-8")
    loaded = Audit.load(folder)
    assert loaded.cases[0].output_change is None
    for locale in LOCALES:
        assert len(reports.text(loaded, locale)) > 1000
