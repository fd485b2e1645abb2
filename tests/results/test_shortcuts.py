"""Records of shortcuts: saved and loaded, framed, shown in both languages and never as markup."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from interpret.results.record import Message, Record
from interpret.results.shortcuts import CausalRow, ErrorWord, ErrorWords, Shortcuts, ShortcutWord, ShortcutWords
from interpret.results.views import to_html, to_text

WORD = ShortcutWord(
    word="<b>zork</b>", form="<b>Zork</b>", label="positive", slice=None, n=40, n_predicted=39, n_gold=20,
    mean_score=2.5, n_explained=39, mean_score_predicted=2.4, attribution_share=0.12, mass_ratio=4.2, p_mass=1e-9,
    log_odds_predicted=3.2, log_odds_predicted_low=1.8, log_odds_predicted_high=4.6, p_predicted=1e-8,
    log_odds_gold=0.1, log_odds_gold_low=-0.5, log_odds_gold_high=0.7, p_gold=0.4, z_gold=0.2,
    excess=0.47, excess_low=0.3, excess_high=0.6, p_excess=1e-9, p_leans=1e-8, p_leans_holm=1e-6, q_leans=1e-6,
    p_more=1e-8, p_more_holm=1e-6, q_more=1e-6, reliance=0.9, excess_reliance=0.2, top_share=1.0,
    excess_top_share=0.997, verdict="more_than_labels",
)  # fmt: skip
_GOLD = (
    "n_gold log_odds_gold log_odds_gold_low log_odds_gold_high p_gold z_gold excess excess_low excess_high p_excess "
    "p_more p_more_holm q_more excess_reliance excess_top_share"
).split()
UNLABELLED = replace(WORD, verdict="leans_on", **dict.fromkeys(_GOLD))
PLAIN = replace(WORD, word="the", form="the", verdict="not_named", mass_ratio=None, mean_score=None, n_explained=0)
WORDS = ShortcutWords(
    rows=(WORD, PLAIN, replace(WORD, slice="films", top_share=None, excess_top_share=None)),
    labels=("negative", "positive"), method="integrated_gradients", unit="word", n_texts=200, n_words=30, n_tests=60,
    gold_given=True, min_count=5, alpha=0.05, n_bootstrap=1000, top=10, seed=0,
)  # fmt: skip
ERROR = ErrorWord(
    word="<b>zork</b>", slice=None, n=40, n_wrong=19, log_odds=3.0, log_odds_low=2.0, log_odds_high=4.0,
    p_presence=1e-9, share_wrong=0.4, share_right=None, p_attribution=1.0, p=2e-9, p_holm=1e-7, q=1e-7, strength=0.8,
    top_share=1.0, verdict="over_represented",
)  # fmt: skip
ERRORS = ErrorWords(
    rows=(ERROR, replace(ERROR, slice="films", top_share=None)), n_texts=200, n_wrong=22, n_tests=30, min_count=5,
    alpha=0.05, n_bootstrap=1000, top=10, seed=0,
)  # fmt: skip
INSERTED = CausalRow(
    word="<b>zork</b>", label="positive", kind="insertion", n=50, flip_rate=0.96, flip_low=0.865, flip_high=0.989,
    control_flip_rate=0.04, control_flip_low=0.01, control_flip_high=0.13, difference=0.92, difference_low=0.7,
    difference_high=0.98, probability_change=0.9, probability_change_low=0.85, probability_change_high=0.95,
    verdict="confirmed",
)  # fmt: skip
_MEASURED = [f.name for f in fields(CausalRow) if f.name not in ("word", "label", "kind", "n", "verdict")]
REMOVED = replace(INSERTED, kind="removal", n=3, verdict="too_few", **dict.fromkeys(_MEASURED))
SHORTCUTS = Shortcuts(
    model="m", data="d", words=WORDS, errors=ERRORS, causal=(INSERTED, REMOVED), quality=None, n_explained=200,
    n_held_out=120, n_duplicates=3, accuracy=0.89,
)  # fmt: skip
NOTES = (
    Message(code="shortcuts.no_common_word", params={"min_count": 5, "n": 9}),
    Message(code="shortcuts.one_prediction", params={"label": "positive"}),
)
RECORDS: dict[str, Record] = {
    "shortcuts": SHORTCUTS,
    "unlabelled": replace(
        SHORTCUTS, words=replace(WORDS, rows=(UNLABELLED,), gold_given=False), errors=None, causal=(), accuracy=None
    ),
    "words": WORDS,
    "nothing": replace(WORDS, rows=(), n_tests=0, notes=NOTES),
    "errors": ERRORS,
    "no errors": replace(ERRORS, rows=(replace(ERROR, verdict="not_named"),), n_wrong=0),
}


@pytest.mark.parametrize("name", RECORDS)
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    record = RECORDS[name]
    assert type(record).load(record.save(tmp_path)) == record
    assert json.loads(json.dumps(record.to_dict())) == record.to_dict()


@pytest.mark.parametrize("locale", ["en", "zh"])
@pytest.mark.parametrize("name", RECORDS)
def test_shown_in_words_and_never_as_markup(name: str, locale: str) -> None:
    html = to_html(RECORDS[name], locale=locale)
    for forbidden in ("<b>", "<script", "style=", "http"):
        assert forbidden not in html
    assert "{" not in to_text(RECORDS[name], locale=locale)
    assert RECORDS[name]._repr_html_().startswith("<div")


def test_the_headline_says_how_often_inserting_flips() -> None:
    shown = " ".join(to_text(SHORTCUTS).split())
    said = "inserted into 50 texts of other classes flips 96.0% (86.5% to 98.9%) to “positive”; another word does so in"
    assert said in shown
    assert "without labels nobody can tell" in " ".join(to_text(RECORDS["unlabelled"]).split())
    assert "not measured" in to_text(SHORTCUTS).lower()


def test_frames_hold_every_field() -> None:
    for frame, of, n in (
        (WORDS.to_frame(), ShortcutWord, 3),
        (ERRORS.to_frame(), ErrorWord, 2),
        (SHORTCUTS.causal_frame(), CausalRow, 2),
    ):
        assert list(frame.columns) == [f.name for f in fields(of)]
        assert len(frame) == n
    assert SHORTCUTS.to_frame().equals(WORDS.to_frame())


def test_lists_are_of_all_texts_and_named_words() -> None:
    assert WORDS.leans_on == WORDS.more_than_labels == (WORD,)
    assert RECORDS["unlabelled"].words.leans_on == (UNLABELLED,)  # type: ignore[attr-defined]
    assert SHORTCUTS.confirmed == (WORD,)
    assert ERRORS.over_represented == (ERROR,)
