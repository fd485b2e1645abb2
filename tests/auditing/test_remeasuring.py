"""A saved audit held to its criteria again, and against a model and data that are the audited ones, or are not."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import interpret
from interpret.auditing.rechecking import changed_verdicts, check_again, verdicts_finding
from interpret.auditing.remeasuring import TOLERANCE, measure_again
from interpret.errors import UsageError
from interpret.models.load import weights_sha256
from interpret.readers.tables import Table, read_table
from interpret.results.audits import Audit, exit_code
from interpret.results.messages import LOCALES
from interpret.results.verification import Verification
from interpret.results.views import to_text
from interpret.saved.diffing import compare_audits
from interpret.saved.verifying import examine
from tests.auditing.test_run import SMALL, _rows
from tests.tiny import tiny

DECLARED = {"minimum_accuracy": 0.5, "criteria_by": "QA", "criteria_on": "2026-01-02"}


def model(seed: int = 0) -> Any:
    return interpret.attach(*tiny("bert", seed=seed), name="tiny-bert")


def audited(**options: Any) -> Audit:
    rows = options.pop("rows", _rows())
    config = {**SMALL, **DECLARED, **options.pop("config", {})}
    return interpret.audit(model(), rows, config=config, progress=False, slices="slice", **options)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return audited().save(tmp_path_factory.mktemp("audits") / "a")


@pytest.fixture(scope="module")
def audit(saved: Path) -> Audit:
    return Audit.load(saved)


def table(rows: list[dict[str, Any]] | None = None) -> Table:
    return read_table(_rows() if rows is None else rows)


def statuses(lm: Any, found: Table, audit: Audit, **options: Any) -> dict[str, str]:
    findings, _ = measure_again(lm.handle, found, audit, **options)
    return {f.subject or f.part: f.status for f in findings}


# --- what an audit stores


def test_the_table_holds_what_the_model_answers(audit: Audit) -> None:
    found = audit.examples
    assert found is not None
    lm = model()
    rows = _rows()
    for i, row in enumerate(rows):
        with torch.no_grad():
            batch = lm.handle.tokenizer(row["text"], return_tensors="pt")
            p = lm.handle.model(**batch).logits.softmax(-1)[0].numpy()
        assert found.predicted[i] == p.argmax()
        assert found.confidence[i] == pytest.approx(p.max(), abs=1e-5)
        gold = audit.identity.labels.index(row["label"])
        assert found.gold is not None
        assert found.gold_probability is not None
        assert found.gold[i] == gold
        assert found.gold_probability[i] == pytest.approx(p[gold], abs=1e-5)
    assert found.slice_names() == [row["slice"] for row in rows]
    assert found.rows.tolist() == list(range(len(rows)))
    quality = audit.explanation_quality
    assert quality is not None
    assert len(found.explained) == len(quality.methods[0].faithfulness.per_example) == SMALL["explained"]


def test_a_real_audit_is_consistent_and_its_verdicts_follow(saved: Path, audit: Audit) -> None:
    findings, loaded = examine(saved)
    assert loaded is not None
    assert {f.part: f.status for f in findings}["numbers"] == "holds"
    assert verdicts_finding(loaded).status == "holds"
    turned = {"pass": "fail", "fail": "pass"}
    checks = tuple(replace(c, verdict=turned.get(c.verdict, "pass")) for c in audit.check_rows)  # type: ignore[arg-type]
    found = verdicts_finding(replace(audit, check_rows=checks))
    assert found.status == "differs"
    assert "minimum_accuracy" in str(found.why.params["names"])
    # A criterion that vanished was perhaps missed.
    fewer = tuple(c for c in audit.check_rows if c.kind != "criterion")
    assert verdicts_finding(replace(audit, check_rows=fewer)).status == "differs"
    unknown = replace(audit, config={**audit.config, "of_the_future": 1})
    assert verdicts_finding(unknown).status == "skipped"


def test_sampling_and_texts_stay_out_of_the_table(tmp_path: Path) -> None:
    """Keyed digests: the same file audited whole and in part can be compared, and the texts cannot be guessed."""
    whole = audited(config={"pairing": "keyed"})
    part = audited(config={"pairing": "keyed"}, limit=12)
    assert whole.examples is not None
    assert whole.examples.pairing == "keyed"
    found = compare_audits(whole, part, force=True)
    assert found.n_common == 12
    assert {c.verdict for c in found.changes if c.quantity == "accuracy"} <= {"unchanged"}
    plain = audited()
    assert plain.examples is not None
    hashes = {h.tobytes() for h in plain.examples.content}
    assert not hashes & {h.tobytes() for h in whole.examples.content}


# --- criteria held again


def test_criteria_of_later_are_added_and_marked(audit: Audit) -> None:
    again = check_again(audit)
    assert again == audit.check_rows
    assert exit_code(again) == audit.exit_code
    assert changed_verdicts(audit, again) == ()
    later = check_again(audit, {"minimum_accuracy": 0.0, "criteria_by": "me"})
    assert later[:-1] == again
    assert (later[-1].post_hoc, later[-1].verdict, later[-1].threshold) == (True, "pass", 0.0)
    assert later[-1].declared_by == "me"
    # The bar it was declared with stays, so a lower one saves nobody.
    assert exit_code(later) == exit_code(again)
    missed = check_again(audit, {"minimum_accuracy": 1.0})
    assert exit_code(missed) == 1
    # The same bar again is not a new criterion.
    assert check_again(audit, DECLARED) == again
    with pytest.raises(UsageError, match="config has no key 'minimum_acuracy'"):
        check_again(audit, {"minimum_acuracy": 1.0})


# --- the model and the data again


def test_the_same_model_and_data_agree_and_the_model_is_left_alone(audit: Audit) -> None:
    lm = model()
    before = weights_sha256(lm.handle.model)
    state = torch.get_rng_state()
    findings, deviations = measure_again(lm.handle, table(), audit)
    assert {f.status for f in findings} == {"holds"}
    assert [f.subject or f.part for f in findings] == [
        "weights", "config", "tokenizer", "texts", "labels", "predictions", "scores",
    ]  # fmt: skip
    assert deviations == ()
    assert weights_sha256(lm.handle.model) == before
    assert torch.equal(state, torch.get_rng_state())
    assert not lm.handle.model._forward_hooks


def test_another_model_is_found_and_its_deviations_are_listed(audit: Audit) -> None:
    lm = model()
    with torch.no_grad():
        lm.handle.model.classifier.weight += 0.5 * torch.randn(
            lm.handle.model.classifier.weight.shape, generator=torch.Generator().manual_seed(1)
        )
    findings, deviations = measure_again(lm.handle, table(), audit, sample=10)
    found = {f.subject or f.part: f for f in findings}
    assert found["weights"].status == "differs"
    assert found["tokenizer"].status == "holds"
    assert found["predictions"].status == found["scores"].status == "differs"
    rows = {d.row for d in deviations if d.quantity == "confidence"}
    assert found["predictions"].why.params["of"] == 10
    assert 0 < len(rows) <= 10
    saved = audit.examples
    assert saved is not None
    for d in deviations:
        if d.quantity == "confidence":
            with torch.no_grad():
                batch = lm.handle.tokenizer(_rows()[d.row]["text"], return_tensors="pt")
                p = lm.handle.model(**batch).logits.softmax(-1)[0]
            assert d.saved == saved.confidence[d.row]
            assert d.again == pytest.approx(float(p.max()), abs=1e-5)
            assert abs(float(d.again) - float(d.saved)) > TOLERANCE["float32"]
    assert Verification(title="t", findings=findings, deviations=deviations).exit_code == 1


def test_a_saved_number_that_is_off_is_found_by_row(audit: Audit) -> None:
    table_ = audit.examples
    assert table_ is not None
    confidence = table_.confidence.copy()
    confidence[7] -= 0.01
    case = audit.cases[0]
    wrong = replace(case, attribution=replace(case.attribution, scores=case.attribution.scores * 1.01))
    forged = replace(audit, examples=replace(table_, confidence=confidence), cases=(wrong, *audit.cases[1:]))
    _, deviations = measure_again(model().handle, table(), forged, sample=100)
    assert {(d.row, d.quantity) for d in deviations} == {(7, "confidence"), (case.row, "scores")}


def test_other_data_are_found(audit: Audit) -> None:
    rows = _rows()
    rows[3] = {**rows[3], "text": rows[3]["text"] + "!"}
    assert statuses(model(), table(rows), audit)["texts"] == "differs"
    rows = _rows()
    rows[3] = {**rows[3], "label": "nonsense"}
    assert statuses(model(), table(rows), audit)["labels"] == "differs"
    found = statuses(model(), table(_rows()[:20]), audit)
    assert (found["texts"], found["predictions"]) == ("differs", "holds")
    found = statuses(model(), table([{"text": f"nothing {i}", "label": "x"} for i in range(30)]), audit)
    assert "predictions" not in found
    found = statuses(model(), table([{"text": row["text"]} for row in _rows()]), audit)
    assert found["labels"] == "differs"
    with pytest.raises(UsageError, match="from the column 'text', and rows has words"):
        measure_again(model().handle, table([{"words": "a"}]), audit)
    with pytest.raises(UsageError, match="sample is 0"):
        measure_again(model().handle, table(), audit, sample=0)
    with pytest.raises(UsageError, match="it was saved by an older version"):
        measure_again(model().handle, table(), replace(audit, examples=None))


NAMED = {"probed": 0, "protected": "sex", "concepts": "age, slice"}


def named_rows() -> list[dict[str, Any]]:
    return [{**row, "sex": "fm"[i % 2], "age": ("old", "", "young")[i % 3]} for i, row in enumerate(_rows())]


def test_columns_that_were_named_are_covered_by_the_sum_of_the_data(audit: Audit) -> None:
    rows = named_rows()
    saved = audited(rows=rows, config=NAMED)
    other = [{**row, "sex": "f"} if i == 3 else row for i, row in enumerate(rows)]
    swapped = [{**row, "sex": row["slice"], "slice": row["sex"]} for row in rows]
    turned = [*rows[1:], rows[0]]
    sums = {audited(rows=some, config=NAMED).data.sha256 for some in (rows, other, swapped, turned)}
    assert len(sums | {audit.data.sha256}) == 5
    # Which of the columns are protected does not matter, nor do columns that nobody named.
    assert audited(rows=rows, config={**NAMED, "protected": "slice,age", "concepts": "sex"}).data.sha256 in sums
    assert audited(rows=rows).data.sha256 == audit.data.sha256
    by_hand = hashlib.sha256()
    for row in rows:
        for part in (row["text"], row["label"]):
            by_hand.update(len(part.encode()).to_bytes(8, "little") + part.encode())
    assert audit.data.sha256 == by_hand.hexdigest()
    changes = compare_audits(saved, audited(rows=other, config=NAMED)).identity
    assert [(change.group, change.name) for change in changes] == [("data", "sha256")]
    # Held against data: the columns hold, or do not, or nothing is known of them.
    lm = model()
    assert set(statuses(lm, table(rows), saved).values()) == {"holds"}
    assert "columns" in statuses(lm, table(rows), saved)
    found = statuses(lm, table(other), saved)
    assert [name for name, status in found.items() if status == "differs"] == ["columns"]
    assert statuses(lm, table(_rows()), saved)["columns"] == "differs"
    torn = [{**row, "text": row["text"] + "!"} if i == 3 else row for i, row in enumerate(rows)]
    assert statuses(lm, table(torn), saved)["columns"] == "skipped"
    assert statuses(lm, table(rows[:20]), saved)["columns"] == "skipped"
    old = replace(saved, data=replace(saved.data, sha256=audit.data.sha256))
    assert statuses(lm, table(other), old)["columns"] == "not_covered"
    findings, _ = measure_again(lm.handle, table(other), saved)
    for locale in LOCALES:
        assert "sex, age, slice" in to_text(Verification(title="t", findings=findings), locale=locale)


def test_a_model_of_another_task_is_not_measured(audit: Audit) -> None:
    lm = interpret.attach(*tiny("bert", "masked-lm"), name="other")
    found = statuses(lm, table(), audit)
    assert found["task"] == "differs"
    assert "predictions" not in found


def test_an_audit_of_a_language_model_has_no_answers_to_hold_it_against() -> None:
    lm = interpret.attach(*tiny("gpt2", "causal-lm"), name="tiny-gpt2")
    rows = [{"text": row["text"]} for row in _rows(8)]
    audit = interpret.audit(lm, rows, config=SMALL, progress=False)
    assert audit.examples is None
    with pytest.raises(UsageError, match=r"its task \(causal-lm\) gives texts no class"):
        measure_again(lm.handle, table(rows), audit)


def test_texts_without_labels_are_measured_again() -> None:
    rows = [{"text": row["text"]} for row in _rows(8)]
    audit = interpret.audit(model(), rows, config=SMALL, progress=False)
    assert audit.examples is not None
    assert audit.examples.gold is None
    found = statuses(model(), table(rows), audit)
    assert set(found.values()) == {"holds"}
    assert "labels" not in found
    assert compare_audits(audit, audit).changed_predictions.value == 0.0
