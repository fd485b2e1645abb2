"""Section 12 of an audit: on a classifier that reads one planted word, and on masked language models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interpret
import reports
from interpret.auditing.checks import run_checks
from interpret.auditing.config import AuditConfig, resolve_config
from interpret.auditing.identity import fingerprint
from interpret.auditing.perturbing import PERTURBATIONS, perturbed
from interpret.auditing.robustness.measure import measure_robustness
from interpret.errors import UsageError
from interpret.models.load import attach_handle
from interpret.results.audits import Audit
from interpret.results.robustness import Robustness
from tests import planted
from tests.tiny import TEXTS, tiny

SMALL = {
    "explained": 6,
    "errors_shown": 2,
    "random_shown": 2,
    "compared": 0,
    "randomised": 0,
    "attention": 0,
    "probed": 0,
}


@pytest.fixture(scope="module")
def found() -> Robustness:
    data = planted.sentences(60, seed=3)
    return measure_robustness(planted.handle(), data.texts, explained=12, method="gradient_x_input", seed=1)


def plainly(texts: list[str]) -> np.ndarray:
    """Probabilities [text, label] from one plain forward after another."""
    model, tokenizer = planted.trained()
    out = []
    for text in texts:
        with torch.no_grad():
            logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
        out.append(torch.softmax(logits.double(), dim=0).numpy())
    return np.array(out)


def test_flips_and_changes_are_those_of_plain_forwards(found: Robustness) -> None:
    texts = planted.sentences(60, seed=3).texts
    before = plainly(texts)
    predicted = before.argmax(axis=1)
    for row in found.rows:
        if row.kind == "group":
            continue
        made = [perturbed(PERTURBATIONS[row.name], text, 1) for text in texts]
        changed = [n for n, (a, b) in enumerate(zip(texts, made, strict=True)) if a != b]
        assert row.n == len(changed)
        if not changed:
            continue
        after = plainly([made[n] for n in changed])
        assert row.flips == (after.argmax(axis=1) != predicted[changed]).sum()
        at = np.arange(len(changed)), predicted[changed]
        moved = after[at] - before[changed][at]
        assert row.change == pytest.approx(moved.mean(), abs=1e-5)
        assert row.largest is not None
        change = row.largest.probability_after - row.largest.probability_before
        assert abs(change) == pytest.approx(np.abs(moved).max(), abs=1e-5)
    typed = [r for r in found.rows if r.kind == "typing"]
    # Each text has one word that decides, so some typing errors hit it, and a comma beside it does nothing.
    assert sum(r.flips for r in typed) >= 6
    assert next(r for r in found.rows if r.name == "punctuation_added").n == 60


def test_explanations_of_the_planted_word_stay_better_than_shuffled(found: Robustness) -> None:
    whole = found.stability[0]
    assert whole.n > 5
    assert whole.gain.ci_low is not None
    assert whole.gain.ci_low > 0
    assert found.method == "gradient_x_input"
    assert found.scripts == {"latin": 60}


def test_the_same_seed_gives_the_same_record_and_the_model_is_left_alone(found: Robustness, tmp_path: Path) -> None:
    handle = planted.handle()
    before = fingerprint(handle)
    texts = planted.sentences(60, seed=3).texts
    again = measure_robustness(handle, texts, explained=12, method="gradient_x_input", seed=1)
    assert interpret.auditing.identity.fingerprint(handle) == before  # type: ignore[attr-defined]
    assert again.to_dict() == found.to_dict()
    assert measure_robustness(handle, texts, explained=0, seed=2).rows != found.rows
    found.save(tmp_path)
    assert Robustness.load(tmp_path).to_dict() == found.to_dict()


def audit(lm: Any, rows: list[dict[str, Any]], **config: Any) -> Audit:
    return interpret.audit(lm, rows, config=SMALL | config, progress=False)


def test_an_audit_holds_the_section_and_declared_checks_decide() -> None:
    lm = interpret.attach(*planted.trained(), name="planted")
    data = planted.sentences(50, seed=4)
    texts = [f"she {text}" if n % 2 else text for n, text in enumerate(data.texts)]
    rows = [{"text": t, "label": planted.LABELS[i]} for t, i in zip(texts, data.labels, strict=True)]
    found = audit(
        lm, rows, perturbed=40, perturbed_explained=6, method="gradient_x_input", max_flip_rate=0.9,
        max_group_difference=0.0, swap_terms="cat=fish",
    )  # fmt: skip
    assert found.robustness is not None
    assert found.robustness.n_texts == 40
    coverage = {c.section: c for c in found.coverage}["robustness"]
    assert coverage.status == "partial"
    assert coverage.why is not None
    assert coverage.why.params == {"n": 40, "of": 50}
    names = {r.name for r in found.robustness.rows}
    assert {"swap_gender", "swap_given"} <= names
    checks = found.checks.set_index("check")
    assert checks.loc["max_flip_rate", "verdict"] == "pass"
    assert checks.loc["max_flip_rate", "ci_high"] <= 0.9
    # Nothing but an interval of no width at 0 can stay at or below a bar of 0.
    assert checks.loc["max_group_difference", "verdict"] in ("fail", "inconclusive", "not_run")
    again = audit(lm, rows, perturbed=40, perturbed_explained=6, method="gradient_x_input", swap_terms="cat=fish")
    assert again.robustness is not None
    assert again.robustness.to_dict() == found.robustness.to_dict()
    strict = run_checks(found.identity, None, None, AuditConfig(max_flip_rate=0.0), found.robustness)
    verdict = {c.check: c.verdict for c in strict}["max_flip_rate"]
    worst = max(r.flips for r in found.robustness.rows if r.expectation == "same")
    assert verdict == ("fail" if worst else "inconclusive")


def test_the_section_is_in_the_report_in_both_languages(tmp_path: Path) -> None:
    lm = interpret.attach(*planted.trained(), name="planted")
    evil = "<script>alert(1)</script> \"' onload=x"
    rows = [{"text": f"{evil} she was {t}", "label": "positive"} for t in planted.sentences(12, seed=5).texts]
    found = audit(lm, rows, perturbed=12, perturbed_explained=5, method="gradient_x_input", max_flip_rate=0.2)
    for locale, word in (("en", "letters transposed"), ("zh", "字母换位")):
        path = reports.render(found, tmp_path / f"{locale}.html", locale=locale)
        html = Path(path).read_text(encoding="utf-8")
        assert word.casefold() in html.casefold()
        assert "<script>alert" not in html.casefold()
        assert " style=" not in html


def test_what_cannot_be_measured_says_why() -> None:
    lm = interpret.attach(*tiny("bert"), name="tiny")
    why = {}
    for name, rows, config in (
        ("few", [{"text": t} for t in TEXTS[:4]], {}),
        ("twice", [{"text": "the film was good"}] * 20, {}),
        ("off", [{"text": t} for t in TEXTS], {"perturbed": 0}),
        ("script", [{"text": f"хороший фильм {n}"} for n in range(6)], {}),
    ):
        found = audit(lm, rows, max_flip_rate=0.5, **config)
        coverage = {c.section: c for c in found.coverage}["robustness"]
        assert found.robustness is None
        assert coverage.status == "not_run"
        assert coverage.why is not None
        why[name] = coverage.why.code
        assert found.checks.set_index("check").loc["max_flip_rate", "verdict"] == "not_run"
        assert found.exit_code == 4
    assert why == dict.fromkeys(("few", "twice"), "section.too_few") | {
        "off": "section.none_asked",
        "script": "section.no_known_script",
    }
    causal = audit(interpret.attach(*tiny("gpt2", "causal-lm"), name="tiny"), [{"text": t} for t in TEXTS])
    assert {c.section: c for c in causal.coverage}["robustness"].status == "not_run"


def test_a_masked_language_model_is_asked_which_group_it_takes_for_likelier() -> None:
    lm = interpret.attach(*tiny("bert", "masked-lm"), name="tiny")
    texts = [f"she ate the {w} [MASK]" for w in "fish cat red end day dull".split()]
    found = audit(lm, [{"text": t} for t in texts])
    assert found.robustness is not None
    (scores,) = found.robustness.pairs
    assert (scores.first, scores.second) == ("male", "female")
    assert len(scores.pairs) == 6
    assert scores.pairs[0].first.startswith("he ate")
    none = audit(lm, [{"text": f"the {w} [MASK]"} for w in "fish cat red end day dull".split()])
    reason = {c.section: c.why for c in none.coverage}["robustness"]
    assert reason is not None
    assert reason.code == "section.no_group_words"


def test_wrong_requests() -> None:
    with pytest.raises(UsageError, match="robustness is measured for text-classification, masked-lm"):
        measure_robustness(attach_handle(*tiny("gpt2", "causal-lm"), name="t"), TEXTS)
    for wrong in ({"max_flip_rate": 1.5}, {"max_group_difference": "low"}, {"perturbed": -1}, {"swap_terms": "a"}):
        with pytest.raises(UsageError):
            resolve_config(wrong)
    assert resolve_config({"swap_terms": "a=b"}).resolved()["swap_terms"] == "a=b"
    assert np.isfinite(resolve_config({"max_flip_rate": 0.1}).max_flip_rate or np.nan)
