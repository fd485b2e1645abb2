"""Section 12 on real classifiers: what is known of how they read must show, and counts are of the changed texts."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import interpret
from interpret.analyzers.scheduler import Scheduler
from interpret.auditing.identity import fingerprint
from interpret.auditing.perturbing import PERTURBATIONS, TERMS, perturbed, versions
from interpret.auditing.robustness.changes import group_rows, grouped
from interpret.auditing.robustness.measure import predictor
from interpret.facade import AttachedModel
from interpret.readers.tables import Table, read_table
from interpret.results.robustness import PerturbationRow, Robustness
from tests.real.conftest import there
from tests.tiny import tiny

N = 120


def rows_of(found: Robustness) -> dict[str, PerturbationRow]:
    return {row.name: row for row in found.rows}


@pytest.fixture(scope="session")
def english(minilm: AttachedModel, sst2_dev: Table) -> Robustness:
    before = fingerprint(minilm.handle)
    found = interpret.robustness(minilm, list(sst2_dev.rows), limit=N, explained=8, method="gradient_x_input", seed=1)
    assert fingerprint(minilm.handle) == before
    return found


@pytest.fixture(scope="session")
def chinese(waimai: AttachedModel, waimai_test: Table) -> Robustness:
    return interpret.robustness(waimai, list(waimai_test.rows), limit=N, explained=8, method="gradient_x_input", seed=1)


def test_an_uncased_model_cannot_see_capitals_or_spaces(english: Robustness) -> None:
    rows = rows_of(english)
    for name in ("upper_case", "whitespace"):
        assert rows[name].n > 100
        assert rows[name].n_read_alike == rows[name].n
        assert (rows[name].flips, rows[name].change) == (0, 0.0)
    # The data are in small letters already.
    assert rows["lower_case"].n == 0
    assert "homophones" not in rows


def test_a_negation_flips_more_than_a_comma_in_english(english: Robustness) -> None:
    rows = rows_of(english)
    negation, comma = rows["negation_inserted"], rows["punctuation_added"]
    assert negation.n > 30
    assert negation.flip_low is not None
    assert comma.flip_high is not None
    assert negation.flip_low > comma.flip_high, "whole intervals, adjusted for all rows"
    assert negation.change_high is not None
    assert negation.change_high < 0
    assert negation.largest is not None
    assert "not" in negation.largest.after
    assert negation.largest.label_before != negation.largest.label_after


def test_counts_are_those_of_one_plain_forward_after_another(
    english: Robustness, minilm: AttachedModel, sst2_dev: Table
) -> None:
    model, tokenizer = minilm.handle.model, minilm.handle.tokenizer

    @cache
    def predicted(text: str) -> int:
        with torch.no_grad():
            return int(model(**tokenizer(text, return_tensors="pt")).logits.argmax())  # type: ignore[misc]

    rng = np.random.default_rng([1, 3])
    drawn = sorted(rng.choice(len(sst2_dev.rows), size=N, replace=False).tolist())
    texts = list(dict.fromkeys(sst2_dev.rows[n]["text"] for n in drawn))
    assert english.n_texts == len(texts)
    for name in ("transposition", "negation_removed"):
        made = [(text, perturbed(PERTURBATIONS[name], text, 1)) for text in texts]
        changed = [(a, b) for a, b in made if a != b]
        row = rows_of(english)[name]
        assert row.n == len(changed)
        assert row.flips == sum(predicted(a) != predicted(b) for a, b in changed)


def test_the_same_section_in_chinese(chinese: Robustness) -> None:
    rows = rows_of(chinese)
    assert set(chinese.scripts) <= {"han", "latin", "other"}
    assert chinese.scripts["han"] > 0.9 * chinese.n_texts
    assert rows["homophones"].n > 100
    assert rows["traditional"].n > 80
    # A tokenizer of single characters drops spaces, and sees the other perturbations.
    assert rows["whitespace"].n_read_alike == rows["whitespace"].n
    assert rows["homophones"].n_read_alike == rows["whitespace"].flips == 0
    assert rows["homophones"].flips + rows["traditional"].flips > 0
    for row in chinese.rows:
        if row.largest is not None:
            assert row.largest.before != row.largest.after
            assert (row.flips > 0) >= (row.largest.label_before != row.largest.label_after)


def test_explanations_of_lightly_changed_texts_stay_better_than_shuffled(
    english: Robustness, chinese: Robustness
) -> None:
    for found in (english, chinese):
        whole = found.stability[0]
        assert whole.n >= 5
        assert whole.gain.ci_low is not None
        assert whole.gain.ci_low > 0
        assert whole.correlation.ci_low is not None
        assert whole.correlation.ci_low > 0.3


def test_pronoun_pairs_are_made_as_the_authors_of_winogender_wrote_them(minilm: AttachedModel, shared: Path) -> None:
    path = there(shared / "data" / "winogender" / "all_sentences.tsv", shared)
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    of = {name.removesuffix(".txt"): sentence for name, sentence in lines}
    male = [name for name in of if name.endswith(".male")]
    made = [(name, versions(of[name], TERMS[0])) for name in male]
    same = [v.texts["female"] == of[n.removesuffix("male") + "female"] for n, v in made if v is not None]
    assert len(same) > 0.9 * len(male) > 200
    assert np.mean(same) > 0.95

    texts = [of[name] for name in male[::3]]
    predict = predictor(minilm.handle, Scheduler(minilm.handle))
    (row,) = group_rows(texts, grouped(texts, TERMS[:1]), predict, minilm.handle.labels)
    assert row.low is not None
    assert row.high is not None
    # Sentences about customers and technicians carry no sentiment that a pronoun could turn.
    assert -0.2 < row.low <= row.high < 0.2


def test_pairs_of_crows_pairs_come_through(shared: Path) -> None:
    path = there(shared / "data" / "crows_pairs" / "crows_pairs_anonymized.csv", shared)
    table = read_table(path)
    assert len(table.rows) == 1508
    lm = interpret.attach(*tiny("bert", "masked-lm"), name="random")
    found = interpret.sentence_pairs(lm, list(table.rows[::8]), "sent_more", "sent_less", "bias_type")
    whole = found.rows[0]
    assert len(found.pairs) + found.n_left_out == 189
    assert {"race-color", "gender", "religion", "age"} < {r.category for r in found.rows[1:]}
    # Random weights have no opinion on stereotypes.
    assert whole.preferred_low is not None
    assert whole.preferred_high is not None
    assert whole.preferred_low < 0.5 < whole.preferred_high
