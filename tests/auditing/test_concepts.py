"""Columns besides the label in an audit: one that decides the answers by construction, one that is a coin toss."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import interpret
import reports
from interpret.auditing.config import AuditConfig, resolve_config
from interpret.errors import UsageError
from interpret.results.audits import Audit
from interpret.results.concepts import Concepts
from interpret.results.messages import words
from interpret.results.record import Message
from interpret.results.tree import say
from interpret.results.views import to_text
from tests import planted
from tests.auditing.test_tasks import TAGS, _attach
from tests.cli.test_cli import call

SMALL: dict[str, Any] = {
    "explained": 6,
    "errors_shown": 0,
    "random_shown": 2,
    "compared": 0,
    "randomised": 0,
    "attention": 0,
    "shortcut_texts": 0,
    "perturbed": 0,
    "probed": 400,
    "bootstraps": 200,
}


def rows(n: int = 400) -> list[dict[str, str | None]]:
    """Texts whose sex goes with the word that decides; a coin that says nothing; an age that half of them have."""
    data = planted.sentences(n)
    rng = np.random.default_rng(0)
    return [
        {
            "text": text,
            "label": planted.LABELS[label],
            "sex": "fm"[label],
            "coin": str(rng.choice(["heads", "tails"])),
            "age": ("old", "young", "")[min(i % 4, 2)],
            "id": str(i),
        }
        for i, (text, label) in enumerate(zip(data.texts, data.labels, strict=True))
    ]


def audit(**config: Any) -> Audit:
    model, tokenizer = planted.trained()
    lm = interpret.attach(model, tokenizer, name="planted")
    return interpret.audit(lm, rows(), config={**SMALL, **config}, progress=False)


@pytest.fixture(scope="module")
def asked() -> Audit:
    return audit(protected=["sex"], concepts="coin, age")


def found(asked: Audit) -> Concepts:
    assert asked.concepts is not None
    return asked.concepts


def test_a_protected_attribute_that_is_known_and_used_is_a_grave_finding(asked: Audit) -> None:
    sex, coin, age = found(asked).rows
    assert [(row.name, row.protected) for row in (sex, coin, age)] == [("sex", True), ("coin", False), ("age", False)]
    assert sex.verdict == "available_used"
    last = sex.layers[-1]
    assert last.place == "resid_post.1"
    assert last.availability == "available"
    assert last.probe.value is not None
    assert last.probe.value > 0.95
    assert last.control.value is not None
    assert last.control.value < 0.75
    assert last.erasure.linearly_erased
    assert coin.verdict in ("not_available", "inconclusive")
    assert not any(layer.availability == "available" for layer in coin.layers)
    assert age.n == 200
    (finding,) = [one for one in asked.findings if one.message.code == "finding.protected_used"]
    assert (finding.severity, finding.section) == ("high", "probes")
    for locale in ("en", "zh"):
        assert "sex" in words(locale).text(finding.message)


def test_answers_are_counted_by_value(asked: Audit) -> None:
    """Against a count by hand, of the model of transformers itself."""
    import torch

    model, tokenizer = planted.trained()
    by_value: dict[str, list[bool]] = {"f": [], "m": []}
    for row in rows():
        with torch.no_grad():
            said = int(model(**tokenizer(row["text"], return_tensors="pt")).logits.argmax())
        by_value[str(row["sex"])].append(planted.LABELS[said] == row["label"])
    groups = {one.value: one for one in found(asked).rows[0].groups}
    assert set(groups) == {"f", "m"}
    for value, right in by_value.items():
        assert groups[value].n == len(right)
        assert groups[value].accuracy.value == pytest.approx(np.mean(right))
        other = by_value["m" if value == "f" else "f"]
        assert groups[value].gap.value == pytest.approx(np.mean(right) - np.mean(other))


def test_another_column_is_no_finding_and_the_model_stays(asked: Audit) -> None:
    same = audit(concepts=["sex"])
    assert found(same).rows[0].verdict == "available_used"
    assert not [one for one in same.findings if one.message.code == "finding.protected_used"]
    assert asked.identity.weights_sha256_before == asked.identity.weights_sha256_after
    assert not any(module._forward_hooks for module in planted.trained()[0].modules())


def test_the_report_shows_it_only_where_it_was_asked(asked: Audit, tmp_path: Path) -> None:
    plain = audit()
    assert plain.concepts is None
    for locale in ("en", "zh"):
        title = words(locale).text(say("view.concepts"))
        pages = [reports.render(one, tmp_path / "r.html", locale=locale).read_text("utf-8") for one in (asked, plain)]
        assert title in pages[0]
        assert title not in pages[1]
    said = to_text(found(asked))
    assert "known and used" in said
    assert "This does not show" in said
    assert "The gaps above" in " ".join(said.split())
    without = replace(found(asked), rows=tuple(replace(row, groups=()) for row in found(asked).rows))
    assert "The gaps above" not in " ".join(to_text(without).split())
    assert found(asked).to_frame()["verdict"].tolist()[0] == "available_used"


def test_what_is_known_is_said_also_where_its_use_stays_open(asked: Audit) -> None:
    why = Message(code="erasure_why.control_breaks", params={"share": 0.3, "limit": 0.1})
    sex, coin, _ = found(asked).rows
    rows = tuple(
        replace(row, layers=tuple(replace(at, erasure=replace(at.erasure, verdict="inconclusive", why=why))
                                  for at in row.layers))
        for row in (sex, coin)
    )  # fmt: skip
    assert {row.verdict for row in rows} == {"inconclusive"}
    told = [to_text(replace(found(asked), rows=(row,))) for row in rows]
    # The coin is not: it does not beat probes of permuted values.
    assert ["known, use undecided" in text for text in told] == [True, False]


def test_saved_masked_and_read_again(asked: Audit, tmp_path: Path) -> None:
    asked.save(tmp_path / "audit")
    assert Audit.load(tmp_path / "audit").concepts == asked.concepts
    masked = audit(protected=["sex"], texts="ids")
    assert found(masked).rows[0].verdict == "available_used"
    masked.save(tmp_path / "masked")
    kept = "".join(path.read_text("utf-8") for path in (tmp_path / "masked").glob("*.json"))
    whole = "".join(path.read_text("utf-8") for path in (tmp_path / "audit").glob("*.json"))
    texts = [str(row["text"]) for row in rows()]
    assert any(text in whole for text in texts)
    assert not any(text in kept for text in texts)


def test_a_column_of_texts_is_not_kept_as_the_names_of_groups() -> None:
    """Few texts are few values, and values stand in an audit that is to keep no texts."""
    model, tokenizer = planted.trained()
    lm = interpret.attach(model, tokenizer, name="planted")
    few = [row | {"copy": row["text"]} for row in rows(15)]
    for name in ("text", "copy"):
        with pytest.raises(UsageError, match=f"column '{name}' .* holds the audited texts themselves"):
            interpret.audit(lm, few, config={**SMALL, "concepts": name, "texts": "masked"}, progress=False)


def test_the_plan_says_what_it_costs_and_why_it_does_not_run() -> None:
    model, tokenizer = planted.trained()
    lm = interpret.attach(model, tokenizer, name="planted")
    stages = {}
    for columns in ([], ["sex"], ["sex", "coin"]):
        plan = interpret.plan_audit(lm, rows(), config={**SMALL, "protected": columns})
        stages[len(columns)] = next(stage for stage in plan.stages if stage.stage == "concepts")
    assert stages[0].why is not None
    assert stages[0].why.code == "section.no_concepts"
    assert stages[1].n == 400
    assert stages[2].forward == 2 * stages[1].forward > 0


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"protected": ["gendre"]}, "no column 'gendre'"),
        ({"protected": ["se"]}, "did you mean 'sex'"),
        ({"concepts": ["id"]}, "400 different values"),
        ({"concepts": ["text"]}, "holds the audited texts themselves"),
        ({"protected": ["sex"], "concepts": ["sex"]}, "name it once"),
        ({"protected": 3}, "must be a list of columns"),
        ({"protected": ["a,b"]}, "comma"),
    ],
)
def test_columns_that_cannot_be_asked_of(config: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        audit(**config)


def test_a_resolved_configuration_asks_the_same() -> None:
    config = AuditConfig(protected=["sex", "age"], concepts="coin")  # type: ignore[arg-type]
    again = resolve_config(config.resolved())
    assert again == config
    assert again.concept_columns == ("sex", "age", "coin")
    assert again.protected_columns == ("sex", "age")


def test_thin_data_is_not_measured_and_says_so() -> None:
    model, tokenizer = planted.trained()
    lm = interpret.attach(model, tokenizer, name="planted")
    thin = interpret.audit(lm, rows(30), config={**SMALL, "protected": ["sex"]}, progress=False)
    (row,) = found(thin).rows
    assert not row.layers
    assert row.why is not None
    assert row.verdict == "inconclusive"
    assert "not measured" in to_text(found(thin))
    tagger = _attach("bert", "token-classification", TAGS)
    with pytest.raises(UsageError, match="is a token-classification model"):
        interpret.audit(tagger, rows(30), config={"protected": "sex"})


def test_the_command_line_takes_them_from_a_file_or_as_options(tmp_path: Path) -> None:
    with (tmp_path / "data.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows()[0]))
        writer.writeheader()
        writer.writerows(rows())
    model, tokenizer = planted.trained()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "model")
    lines = [f"{key} = {value}" for key, value in SMALL.items()]
    (tmp_path / "audit.toml").write_text("\n".join([*lines, 'protected = ["sex"]']))
    (tmp_path / "bare.toml").write_text("\n".join(lines))
    start = ("audit", tmp_path / "model", tmp_path / "data.csv", "--out", tmp_path / "out", "--config")
    for options in (("audit.toml",), ("bare.toml", "--protected", "sex", "--concept", "coin,age", "--overwrite")):
        result = call(*start, tmp_path / options[0], *options[1:])
        assert result.exit_code == 0, result.output
        assert "The protected attribute “sex” is known and used" in result.output
        saved = Audit.load(tmp_path / "out")
        assert found(saved).rows[0].verdict == "available_used"
    assert "--protected sex --concept coin --concept age" in saved.command
    (tmp_path / "bad.toml").write_text("protected = [")
    # The same rows and model: what makes it another audit is the column that was named.
    refused = call(*start, tmp_path / "audit.toml")
    assert refused.exit_code == 2
    assert "holds a finished audit of other data (data.csv), another configuration" in refused.output
    result = call(*start, tmp_path / "bad.toml")
    assert result.exit_code != 0
    assert "not TOML" in result.output
