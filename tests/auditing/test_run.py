"""A whole audit on tiny models: every section is filled or says why not, and the sample speaks for the data."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import interpret
from interpret.errors import LabelError, UsageError
from interpret.results.audits import SECTIONS, Audit
from tests import planted
from tests.tiny import LABELS, TEXTS, tiny

SMALL = {"explained": 6, "errors_shown": 2, "random_shown": 2, "compared": 5, "randomised": 5, "attention": 4}


def _rows(n: int = 24) -> list[dict[str, Any]]:
    return [
        {"text": TEXTS[i % len(TEXTS)], "label": LABELS[i % len(LABELS)], "slice": "even" if i % 2 == 0 else "odd"}
        for i in range(n)
    ]


def _audit(**options: Any) -> Audit:
    lm = interpret.attach(*tiny("bert"), name="tiny-bert")
    return interpret.audit(lm, options.pop("rows", _rows()), config=SMALL, progress=False, **options)


@pytest.fixture(scope="module")
def whole() -> Audit:
    return _audit(base=interpret.attach(*tiny("bert", seed=1), name="tiny-base"), slices="slice")


def test_every_section_is_covered_and_what_is_missing_says_why(whole: Audit) -> None:
    assert tuple(c.section for c in whole.coverage) == SECTIONS
    for row in whole.coverage:
        assert row.status == "done" or row.why is not None
    by_name = {c.section: c for c in whole.coverage}
    assert by_name["probes"].why is not None
    assert by_name["probes"].why.params["why"] == "thin_data"
    assert by_name["performance"].status == "done"


def test_the_numbers_are_those_of_the_model(whole: Audit) -> None:
    assert whole.performance is not None
    assert whole.performance.confusion.sum() == whole.data.n_used == 24
    lm = interpret.attach(*tiny("bert"))
    import torch

    predicted = []
    for row in _rows():
        with torch.no_grad():
            batch = lm.handle.tokenizer(row["text"], return_tensors="pt")
            predicted.append(LABELS[int(lm.handle.model(**batch).logits.argmax())])
    accuracy = np.mean([p == row["label"] for p, row in zip(predicted, _rows(), strict=True)])
    assert whole.performance.metrics[0].value == pytest.approx(accuracy)
    for case in whole.cases:
        assert case.prediction == predicted[case.row]
        assert case.attribution.text == _rows()[case.row]["text"]
        assert case.attribution.quality is not None
        assert (case.rule == "error") <= (case.label != case.prediction)


def test_two_models_differ_and_one_model_does_not(whole: Audit) -> None:
    assert whole.comparison is not None
    assert whole.comparison.to_frame("outputs").query("name == 'kl_bits'")["value"].iloc[0] > 0
    same = _audit(base=interpret.attach(*tiny("bert"), name="same"))
    assert same.comparison is not None
    kl = same.comparison.to_frame("outputs").query("name == 'kl_bits'")
    assert (kl[["value", "ci_low", "ci_high"]] == 0).all(axis=None)
    assert same.comparison.changed is False
    assert [one.message.code for one in same.findings if one.section == "comparison"] == ["finding.same_as_base"]


def test_identity_proves_that_nothing_moved(whole: Audit) -> None:
    assert whole.identity.weights_sha256_before == whole.identity.weights_sha256_after
    assert whole.identity.capture_logit_difference == 0.0
    assert whole.identity.base_name == "tiny-base"
    assert whole.exit_code == 0


def test_without_labels_the_rest_still_runs() -> None:
    audit = _audit(rows=[{"text": row["text"]} for row in _rows()])
    assert audit.performance is None
    assert audit.explanation_quality is not None
    assert {c.section: c.why.code for c in audit.coverage if c.status == "not_run" and c.why}["performance"] == (
        "section.no_labels"
    )


def test_a_sample_is_seeded_and_said(whole: Audit) -> None:
    first, second = _audit(limit=8, seed=3), _audit(limit=8, seed=3)
    assert first.data.sampled
    assert first.data.n_used == 8
    assert first.data.n_rows == 24
    assert first.to_dict() | {"run": None} == second.to_dict() | {"run": None}
    assert first.data.sha256 != _audit(limit=8, seed=4).data.sha256


def test_a_declared_criterion_decides_the_exit_code() -> None:
    lm = interpret.attach(*tiny("bert"))
    failed = interpret.audit(lm, _rows(), config=SMALL | {"minimum_accuracy": 1.0}, progress=False)
    assert failed.checks.set_index("check").loc["minimum_accuracy", "verdict"] == "fail"
    assert failed.exit_code == 1


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_language_model_is_audited_on_its_next_token(family: str) -> None:
    lm = interpret.attach(*tiny(family, "causal-lm"))
    audit = interpret.audit(lm, [{"text": text} for text in TEXTS], config=SMALL, progress=False)
    assert audit.explanation_quality is not None
    assert audit.cases
    assert {e.attribution.target.kind for e in audit.cases} == {"next_token"}
    reasons = {c.section: c.why.code for c in audit.coverage if c.why}
    assert audit.performance is not None
    assert [metric.name for metric in audit.performance.metrics] == ["next_token_accuracy", "perplexity"]
    assert reasons["slices"] == reasons["probes"] == "section.task_not_supported"


def test_the_planted_cue_is_the_most_important_word_of_its_class(tmp_path: Path) -> None:
    data = planted.sentences(60, seed=7)
    path = tmp_path / "cue.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(zip(data.texts, [planted.LABELS[i] for i in data.labels], strict=True))
    lm = interpret.attach(*planted.trained(), name="planted")
    audit = interpret.audit(lm, path, config=SMALL | {"explained": 40}, progress=False)
    assert audit.checks.set_index("check").loc["explanations_better_than_random", "verdict"] == "pass"
    for label, cue in planted.CUES.items():
        first = next(word for word in audit.global_attribution if word.label == label)
        assert first.word == cue
        assert first.ci_low is not None
        assert first.ci_low > 0


def test_subsets_are_drawn_and_not_cut_off_the_front_of_a_sorted_file() -> None:
    rows = sorted(_rows(60), key=lambda row: row["label"])
    audit = _audit(rows=rows, seed=1)
    shown = [case.row for case in audit.cases if case.rule == "random"]
    assert max(shown) > 30, "cases chosen at random stand in both halves of the file"
    assert audit.explanation_quality is not None
    main, *others = audit.explanation_quality.methods
    assert main.n == 6
    assert {method.n for method in others} == {5}


def test_a_declared_criterion_that_could_not_be_looked_at_is_not_a_pass() -> None:
    lm = interpret.attach(*tiny("bert"))
    rows = [{"text": row["text"]} for row in _rows()]
    audit = interpret.audit(lm, rows, config=SMALL | {"minimum_accuracy": 0.5}, progress=False)
    assert audit.checks.set_index("check").loc["minimum_accuracy", "verdict"] == "not_run"
    assert audit.exit_code == 4


def test_one_class_in_the_data_is_nothing_to_be_better_than() -> None:
    rows = [row | {"label": "a"} for row in _rows()]
    checks = _audit(rows=rows).checks.set_index("check")
    assert checks.loc["accuracy_above_majority", "verdict"] == "not_run"


def test_the_counts_of_the_configuration_are_those_that_ran() -> None:
    lm = interpret.attach(*tiny("bert"))
    audit = interpret.audit(lm, _rows(), config=SMALL | {"random_rankings": 25}, progress=False)
    assert audit.explanation_quality is not None
    assert {m.faithfulness.n_random for m in audit.explanation_quality.methods} == {25}
    assert audit.config["random_rankings"] == 25


def test_heads_without_classes_are_refused() -> None:
    one = interpret.attach(*tiny("bert", n_labels=1))
    with pytest.raises(UsageError, match="regression and multi-label"):
        interpret.audit(one, [{"text": "good"}], progress=False)


def test_a_base_that_peft_changed_in_place_is_recognised() -> None:
    peft = pytest.importorskip("peft")
    model, tokenizer = tiny("bert")
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"], init_lora_weights=False)
    tuned = interpret.attach(peft.get_peft_model(model, config), tokenizer)
    with pytest.warns(UserWarning, match="PEFT has put its adapter into this"):
        base = interpret.attach(model, tokenizer)
    with pytest.raises(UsageError, match="shares its weights"):
        interpret.audit(tuned, _rows(), base=base, config=SMALL, progress=False)


def test_of_language_models_with_other_vocabularies_what_can_be_compared_is() -> None:
    lm, other = interpret.attach(*tiny("gpt2", "causal-lm")), interpret.attach(*tiny("llama", "causal-lm"))
    audit = interpret.audit(lm, [{"text": t} for t in TEXTS], base=other, config=SMALL, progress=False)
    assert audit.comparison is not None
    assert {r.part for r in audit.comparison.rows} <= {"weights"}
    reasons = {one.part: one.why.code for one in audit.comparison.not_compared}
    assert reasons["outputs"] == "not_compared.other_outputs"
    assert reasons["activations"] == "not_compared.other_tokens"
    covered = next(c.why for c in audit.coverage if c.section == "comparison")
    assert covered is not None
    assert "outputs" in str(covered.params["parts"])
    assert {case.output_change for case in audit.cases} == {None}


def test_the_call_can_be_written_again(whole: Audit) -> None:
    assert whole.command.startswith("interpret.audit('tiny-bert', ")
    assert "slices='slice'" in whole.command
    assert "base='tiny-base'" in whole.command
    assert "'explained': 6" in whole.command


def test_requests_that_cannot_be_met_are_refused() -> None:
    with pytest.raises(UsageError, match="no column 'group'"):
        _audit(slices="group")
    with pytest.raises(LabelError, match="'z'"):
        _audit(rows=[*_rows(), {"text": "x", "label": "z", "slice": "odd"}])
    with pytest.raises(UsageError, match="no row with a text"):
        _audit(rows=[{"text": " ", "label": "a", "slice": ""}])
