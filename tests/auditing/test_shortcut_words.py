"""The whole way from a model and a table to named words, on classifiers whose shortcut is known."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pandas as pd
import pytest

from interpret.auditing.examples import Examples, select_examples
from interpret.auditing.identity import fingerprint
from interpret.auditing.shortcut_words import ShortcutConfig, candidates, find_shortcuts
from interpret.errors import InconclusiveError, UsageError
from interpret.models.load import attach_handle
from interpret.readers.tables import read_table
from interpret.results.shortcuts import Shortcuts
from tests import shortcut_model, tiny
from tests.shortcut_model import CUES, LABELS, TOKEN

CONFIG = ShortcutConfig(explained=240, bootstraps=1000)


def examples(n: int, seed: int, *, labelled: bool = True, slices: bool = False) -> Examples:
    data = shortcut_model.reviews(n, seed)
    columns: dict[str, list[str]] = {"text": data.texts}
    if labelled:
        columns["label"] = [LABELS[label] for label in data.labels]
    if slices:
        columns["slice"] = ["long" if len(t.split()) > 8 else "short" for t in data.texts]
    table = read_table(pd.DataFrame(columns))
    return select_examples(table, id2label=dict(enumerate(LABELS)))


@cache
def found(biased: bool, seed: int = 1) -> Shortcuts:
    config = ShortcutConfig(explained=240, bootstraps=200, method="integrated_gradients" if biased else "leave_one_out")
    return find_shortcuts(shortcut_model.handle(biased), examples(400, seed, slices=True), config=config)


def test_the_planted_token_is_named_first_with_its_statistics() -> None:
    record = found(True)
    first = record.words.rows[0]
    assert (first.word, first.label, first.verdict) == (TOKEN, "positive", "more_than_labels")
    assert [r.word for r in record.words.more_than_labels] == [TOKEN]
    assert first.n_predicted / first.n > 0.95
    assert first.n_gold is not None
    assert 0.3 < first.n_gold / first.n < 0.7
    assert first.p_more_holm is not None
    assert first.p_more_holm < 1e-6
    assert first.mass_ratio is not None
    assert first.mass_ratio > 2
    assert first.excess_top_share == 1.0
    assert record.confirmed[0] == first
    assert record.causal[0].verdict == "confirmed"
    assert {r.word for r in record.words.leans_on} <= {TOKEN, *CUES[0], *CUES[1]}


def test_errors_are_put_down_to_the_token() -> None:
    errors = found(True).errors
    assert errors is not None
    assert errors.rows[0].word == TOKEN
    assert errors.rows[0].n_wrong > 0.9 * errors.n_wrong


def test_the_slices_show_it_too() -> None:
    rows = [r for r in found(True).words.rows if r.verdict == "more_than_labels" and r.slice is not None]
    assert {(r.slice, r.word) for r in rows} == {("long", TOKEN), ("short", TOKEN)}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_clean_model_is_accused_of_nothing(seed: int) -> None:
    record = found(False, seed)
    assert record.words.more_than_labels == ()
    # What it leans on are the cues that it was meant to learn.
    assert {r.word for r in record.words.leans_on} <= {*CUES[0], *CUES[1]}
    assert len(record.words.leans_on) >= 3
    token = [r for r in record.words.rows if r.word == TOKEN and r.slice is None]
    assert len(token) == 2
    assert min(r.q_leans for r in token) > 0.05
    assert record.errors is not None
    assert record.errors.over_represented == ()


def test_explained_and_held_out_texts_are_apart_and_duplicates_count_once() -> None:
    plain = examples(60, 8)
    doubled = examples(60, 8)
    doubled = Examples(
        **{
            **vars(doubled),
            "texts": doubled.texts * 2,
            "raw_labels": None,
            "gold": pd.concat([pd.Series(doubled.gold)] * 2).to_numpy(),
            "rows": tuple(range(120)),
            "n_rows": 120,
        }
    )
    few = ShortcutConfig(explained=40, held_out=15, bootstraps=100, method="gradient_x_input")
    one, two = (find_shortcuts(shortcut_model.handle(True), e, config=few) for e in (plain, doubled))
    assert (one.n_explained, one.n_held_out, one.n_duplicates) == (40, 15, 60 - len(set(plain.texts)))
    assert two.n_duplicates == 60 + one.n_duplicates
    assert two.words == one.words
    assert two.causal == one.causal
    assert find_shortcuts(shortcut_model.handle(True), plain, config=few, seed=1).words != one.words


def test_without_labels() -> None:
    few = ShortcutConfig(explained=100, bootstraps=100, method="gradient_x_input")
    record = find_shortcuts(shortcut_model.handle(True), examples(170, 4, labelled=False), config=few)
    assert record.errors is None
    assert record.accuracy is None
    assert TOKEN in [r.word for r in record.words.leans_on]
    assert record.words.more_than_labels == ()


def test_candidates_are_compared_with_words_that_are_not_listed() -> None:
    words = found(True).words
    listed = {r.word for r in words.rows if r.slice is None and r.q_leans <= words.alpha}
    chosen = candidates(words, 3)
    assert [c.word for c in chosen] == [r.word for r in words.rows[:3]]
    for candidate in chosen:
        assert candidate.controls
        assert not listed & set(candidate.controls)


@pytest.fixture
def _unchanged() -> Iterator[None]:
    handle = shortcut_model.handle(True)
    before = fingerprint(handle)
    yield
    assert fingerprint(handle) == before


@pytest.mark.usefixtures("_unchanged")
def test_the_model_is_left_as_it_was() -> None:
    few = ShortcutConfig(explained=20, held_out=10, bootstraps=100, method="gradient_x_input")
    find_shortcuts(shortcut_model.handle(True), examples(40, 9), config=few)


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(InconclusiveError, match="give at least 10"):
        find_shortcuts(shortcut_model.handle(True), examples(4, 0))
    with pytest.raises(UsageError, match="explained=0"):
        ShortcutConfig(explained=0)
    writer = attach_handle(*tiny.tiny("bert", "masked-lm"), name="writer")
    with pytest.raises(UsageError, match="loaded for masked-lm"):
        find_shortcuts(writer, examples(40, 0))
