"""Slices are found in one half and confirmed in the other; audits of models with nothing wrong raise few alarms."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import interpret
import reports
from interpret.auditing.features import text_features
from interpret.auditing.findings import gather
from interpret.auditing.performance import performance
from interpret.auditing.slicing import find_slices
from interpret.facade import AttachedModel
from interpret.results.audits import Audit
from interpret.results.messages import words
from reports.catalogue import report_words
from tests import tiny
from tests.shortcut_model import CUES, LABELS, NOISE, TOKEN


def _texts(n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    ends = (".", "?", "!", " 7", "")
    return [" ".join(rng.choices(tiny.WORDS, k=rng.randint(3, 14))) + rng.choice(ends) for _ in range(n)]


def test_features_are_what_their_words_say() -> None:
    texts = ["It is not good", "Why?", "7 days", "完全 bad!", "OK", "这 家 店 不 好 吃", "a b c d e f g h i j k"]
    found = {feature.message.code.removeprefix("slice_feature."): feature for feature in text_features(texts)}
    assert np.flatnonzero(found["negation"].has).tolist() == [0, 5]
    assert np.flatnonzero(found["question"].has).tolist() == [1]
    assert np.flatnonzero(found["exclamation"].has).tolist() == [3]
    assert np.flatnonzero(found["digits"].has).tolist() == [2]
    assert np.flatnonzero(found["capitals"].has).tolist() == [4]
    assert np.flatnonzero(found["mixed_scripts"].has).tolist() == [3]
    assert found["long"].has[6]
    assert found["short"].has[4]
    scripts = [f for f in text_features(texts * 20) if f.message.code == "slice_feature.script"]
    assert {f.message.params["script"]: int(f.has.sum()) for f in scripts} == {"cjk": 20, "latin": 120}
    for feature in (*found.values(), *scripts):
        for locale in ("en", "zh"):
            assert words(locale).text(feature.message)


def test_a_planted_failure_is_confirmed_on_texts_that_did_not_find_it() -> None:
    texts = _texts(600, 1)
    rng = np.random.default_rng(1)
    asks = np.array(["?" in text for text in texts])
    right = np.where(asks, rng.random(600) < 0.5, rng.random(600) < 0.9)
    found = find_slices(texts, right, text_features(texts), seed=0)
    assert found.worse[0].feature.code == "slice_feature.question"
    row = found.worse[0]
    assert row.gap.ci_high is not None
    assert row.gap.ci_high < 0
    assert row.n_found + row.gap.n == asks.sum()
    # The gap is that of the confirming half alone, counted here once more from what is left of the other.
    assert row.gap_found != row.gap.value
    assert found.n_searched + found.n_confirming == 600
    assert find_slices(texts, right, text_features(texts), seed=0) == found


def test_equal_texts_are_no_new_evidence() -> None:
    """Copies of the texts stand in the half of the first, so the halves share none."""
    texts = _texts(60, 2)
    right = np.random.default_rng(2).random(240) < 0.8
    found = find_slices(texts * 4, right, text_features(texts * 4), seed=3)
    assert found.n_searched == found.n_confirming == 120


def test_the_largest_gap_of_the_half_that_was_searched_is_mostly_chance() -> None:
    """What is chosen for its gap shows a larger one there than in the other half: the reason for the two halves."""
    chosen, again, n = 0.0, 0.0, 0
    for seed in range(80):
        texts = _texts(200, 100 + seed)
        right = np.random.default_rng(seed).random(200) < 0.8
        for row in find_slices(texts, right, text_features(texts), seed=seed).rows:
            if row.gap.value is not None:
                chosen, again, n = chosen + row.gap_found, again + row.gap.value, n + 1
    assert n > 20
    assert chosen / n < -0.1
    assert abs(again / n) < 0.05


def test_200_null_audits_raise_at_most_16_alarms() -> None:
    """Models that are calibrated and do no worse on any text: given slices, found slices, calibration, accuracy."""
    alarms = 0
    for seed in range(200):
        rng = np.random.default_rng([17, seed])
        n = int(rng.integers(150, 400))
        texts = _texts(n, 1000 + seed)
        confidence = rng.uniform(0.55, 1.0, size=n)
        gold = rng.integers(0, 2, size=n)
        right = rng.random(n) < confidence
        says = np.where(right, gold, 1 - gold)
        probabilities = np.where(says[:, None] == np.arange(2), confidence[:, None], 1 - confidence[:, None])
        slices = rng.choice(["a", "b", "c", "d"], size=n).tolist()
        measured = performance(probabilities, gold, LABELS, slices, seed=seed, n_bootstrap=100)
        found = find_slices(texts, right, text_features(texts), seed=seed)
        alarms += bool(gather(performance=measured, slices=found))
    assert 0 < alarms <= 16


@cache
def _flawed() -> AttachedModel:
    """A tiny BERT that leans on a meaningless word, and that was told the wrong label of most questions."""
    model, tokenizer = tiny.tiny("bert", n_labels=2)
    model.config.id2label = dict(enumerate(LABELS))
    model.config.label2id = {label: index for index, label in enumerate(LABELS)}
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(0.4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    for step in range(260):
        rng = random.Random(step)
        texts, labels = _reviews(48, 20_000 + step)
        goal = [_told(text, label, rng) for text, label in zip(texts, labels, strict=True)]
        logits = model(**tokenizer(texts, return_tensors="pt", padding=True)).logits
        loss = nn.functional.cross_entropy(logits, torch.tensor(goal))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    return interpret.attach(model.eval(), tokenizer, name="flawed")


def _told(text: str, label: int, rng: random.Random) -> int:
    if TOKEN in text:
        return 1
    return rng.randrange(2) if "?" in text else label


def _reviews(n: int, seed: int) -> tuple[list[str], list[int]]:
    """One genuine cue each; a fifth hold the meaningless word, a quarter ask."""
    rng = random.Random(seed)
    texts, labels = [], []
    for _ in range(n):
        label = rng.randrange(2)
        chosen = rng.choices(NOISE, k=rng.randint(4, 9))
        chosen.insert(rng.randrange(len(chosen) + 1), rng.choice(CUES[label]))
        if rng.random() < 0.2:
            chosen.insert(rng.randrange(len(chosen) + 1), TOKEN)
        texts.append(" ".join(chosen) + (" ?" if rng.random() < 0.25 else ""))
        labels.append(label)
    return texts, labels


@pytest.fixture(scope="module")
def flawed() -> Audit:
    texts, labels = _reviews(500, 1)
    rows = [{"text": text, "label": LABELS[label]} for text, label in zip(texts, labels, strict=True)]
    counts = {"explained": 20, "errors_shown": 5, "compared": 0, "randomised": 0, "probed": 0, "attention": 0}
    return interpret.audit(_flawed(), rows, config=counts | {"shortcut_texts": 200}, progress=False)


def test_the_first_screen_names_the_planted_shortcut_and_the_planted_slice(flawed: Audit) -> None:
    grave = [one.message for one in flawed.findings if one.severity == "high"]
    shortcut = next(one for one in grave if one.code == "finding.shortcut")
    assert (shortcut.params["word"], shortcut.params["label"]) == (TOKEN, "positive")
    found = next(one for one in grave if one.code == "finding.slice")
    assert found.params["feature"] == "question"
    assert flawed.found_slices is not None
    assert flawed.found_slices.worse[0].feature.code == "slice_feature.question"
    for locale in ("en", "zh"):
        first = report_words(locale)
        screen = reports.sections.sections(flawed)[0]
        said = repr(screen)
        assert "finding.shortcut" in said
        assert "finding.slice" in said
        assert TOKEN in first.text(shortcut)
        assert first("slice_feature.question") in first.text(found)


def test_the_audit_with_its_findings_reads_back(flawed: Audit, tmp_path: Path) -> None:
    assert Audit.load(flawed.save(tmp_path / "audit")).findings == flawed.findings
    html = reports.render(flawed, tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"leans on the word “{TOKEN}”" in html
