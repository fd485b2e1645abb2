"""Words over a data set: every number counted again by hand, the error rate simulated, the order of texts shuffled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from interpret.analyzers.shortcuts import error_words, shortcut_words
from interpret.errors import InconclusiveError, UsageError
from interpret.results.explanations import Attribution, ExampleAttribution
from interpret.results.shortcuts import ShortcutWord, ShortcutWords
from interpret.statistics.intervals import resamples
from tests.analyzers.shortcuts.made import LABELS, Made, attributed, noise, planted


def row(found: ShortcutWords, word: str, label: str, cut: str | None = None) -> ShortcutWord:
    return next(r for r in found.rows if (r.word, r.label, r.slice) == (word, label, cut))


def summed(example: ExampleAttribution) -> dict[str, float]:
    out: dict[str, float] = {}
    for word in example.words():
        out[word.word.casefold()] = out.get(word.word.casefold(), 0.0) + word.score
    return out


def test_every_number_is_what_counting_by_hand_gives() -> None:
    made = planted(0)
    found = shortcut_words(made.attribution, made.gold, n_bootstrap=0)
    sums = [summed(e) for e in made.attribution]
    n = len(sums)
    vocabulary = {w for s in sums for w in s}
    frequency = {w: sum(w in s for s in sums) for w in vocabulary}
    assert {r.word for r in found.rows} == {w for w in vocabulary if frequency[w] >= 5}
    total = sum(abs(v) for s in sums for v in s.values())
    for r in found.rows:
        held = [i for i in range(n) if r.word in sums[i]]
        is_class = [p == r.label for p in made.predicted]
        is_gold = [g == r.label for g in made.gold]
        a, n_class = sum(is_class[i] for i in held), sum(is_class)
        g, n_gold = sum(is_gold[i] for i in held), sum(is_gold)
        assert (r.n, r.n_predicted, r.n_gold) == (len(held), a, g)
        table = [[a, r.n - a], [n_class - a, n - r.n - n_class + a]]
        assert r.p_predicted == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue)
        gold_table = [[g, r.n - g], [n_gold - g, n - r.n - n_gold + g]]
        assert r.p_gold == pytest.approx(stats.fisher_exact(gold_table, alternative="greater").pvalue)
        odds = np.log((a + 0.5) * (table[1][1] + 0.5) / ((r.n - a + 0.5) * (n_class - a + 0.5)))
        assert r.log_odds_predicted == pytest.approx(odds)
        explained = [sums[i][r.word] for i in held if is_class[i]]
        assert r.n_explained == len(explained)
        assert r.mean_score == (pytest.approx(np.mean(explained)) if explained else None)
        assert r.mean_score_predicted == pytest.approx(np.mean([sums[i][r.word] for i in held]))
        assert r.attribution_share == pytest.approx(sum(abs(sums[i][r.word]) for i in held) / total)
        d = np.array(is_class, dtype=int) - np.array(is_gold, dtype=int)
        mask = np.isin(np.arange(n), held)
        assert r.excess == pytest.approx(d[mask].mean() - d[~mask].mean())
        assert r.p_leans >= max(r.p_predicted, r.p_mass)
        assert r.p_more == max(r.p_leans, r.p_excess or 0.0)


def test_shares_of_attribution_sum_to_one_when_every_word_is_tested() -> None:
    made = noise(3)
    found = shortcut_words(made.attribution, None, made.predicted, min_count=1, n_bootstrap=0)
    assert sum(r.attribution_share for r in found.rows if r.label == "no") == pytest.approx(1.0)


def test_exact_p_of_the_excess_is_that_of_a_permutation() -> None:
    made = planted(4, n=120)
    r = row(shortcut_words(made.attribution, made.gold, n_bootstrap=0), "w3", "yes")
    d = np.array([(p == "yes") - (g == "yes") for p, g in zip(made.predicted, made.gold, strict=True)], dtype=int)
    held = np.array(["w3" in summed(e) for e in made.attribution])
    rng = np.random.default_rng(0)
    drawn = np.array([rng.permutation(d)[held].sum() for _ in range(20_000)])
    assert r.p_excess == pytest.approx(float(np.mean(drawn >= d[held].sum())), abs=0.012)


def test_mass_is_compared_with_all_other_words_where_they_are_few() -> None:
    made = noise(5, n_words=12)
    found = shortcut_words(made.attribution, None, made.predicted, n_bootstrap=0)
    lifts: dict[str, list[float]] = {}
    for example in made.attribution:
        sums = summed(example)
        total = sum(map(abs, sums.values()))
        for word, score in sums.items():
            lifts.setdefault(word, []).append(abs(score) / total * len(sums))
    for r in found.rows:
        others = [v for word, values in lifts.items() if word != r.word for v in values]
        assert r.mass_ratio == pytest.approx(np.mean(lifts[r.word]) / np.mean(others))
        theirs = stats.mannwhitneyu(lifts[r.word], others, alternative="greater", method="asymptotic").pvalue
        assert r.p_mass == pytest.approx(theirs)


def test_mass_is_compared_with_words_of_the_same_frequency() -> None:
    # Rare words get three times the attribution of frequent ones: nothing is remarkable about either.
    rng = np.random.default_rng(0)
    often, rare = [f"o{i}" for i in range(30)], [f"r{i}" for i in range(30)]
    texts = [[*rng.choice(often, 6, replace=False), *rng.choice(rare, 2, replace=False)] for _ in range(150)]
    scores = [[*rng.normal(size=6), *(3 * rng.normal(size=2))] for _ in texts]
    yes = [LABELS[i % 2] for i in range(150)]
    found = shortcut_words(attributed(texts, scores, yes, yes).attribution, None, n_bootstrap=0)
    ratios = [r.mass_ratio for r in found.rows if r.word in rare and r.mass_ratio is not None]
    assert 0.8 < np.median(ratios) < 1.25


@pytest.mark.parametrize("seed", range(5))
def test_the_planted_word_is_named_first_in_both_views(seed: int) -> None:
    made = planted(seed)
    found = shortcut_words(made.attribution, made.gold, n_bootstrap=100, seed=seed)
    first = found.rows[0]
    assert (first.word, first.label, first.verdict) == ("zork", "yes", "more_than_labels")
    assert found.leans_on[0] == found.more_than_labels[0] == first
    assert first.top_share == first.excess_top_share == 1.0
    assert first.n_predicted == first.n
    assert first.p_more_holm is not None
    assert first.p_more_holm < 0.001
    assert [r.word for r in found.more_than_labels] == ["zork"]


def test_a_cue_that_the_labels_warrant_is_leaned_on_and_no_more() -> None:
    made = planted(1)
    held = ["zork" in e.tokens for e in made.attribution]
    gold = [p if h else g for p, g, h in zip(made.predicted, made.gold, held, strict=True)]
    found = shortcut_words(made.attribution, gold, n_bootstrap=0)
    assert found.rows[0].word == "zork"
    assert found.rows[0].verdict == "leans_on"
    assert found.more_than_labels == ()


def test_presence_without_attribution_and_attribution_without_presence_name_nothing() -> None:
    made = planted(2)
    quiet = [replace(e, scores=np.where(np.array(e.tokens) == "zork", 1e-3, e.scores)) for e in made.attribution]
    found = shortcut_words(replace(made.attribution, examples=tuple(quiet)), made.gold, n_bootstrap=0)
    assert row(found, "zork", "yes").p_predicted < 1e-4
    assert row(found, "zork", "yes").verdict == "not_named"
    free = shortcut_words(made.attribution, made.gold, noise(2, 250).predicted, n_bootstrap=0)
    assert row(free, "zork", "yes").p_mass < 1e-4
    assert row(free, "zork", "yes").verdict == "not_named"


def test_a_word_that_pushes_away_from_the_class_is_not_what_the_model_leans_on() -> None:
    made = planted(2)
    turned = [replace(e, scores=np.where(np.array(e.tokens) == "zork", -e.scores, e.scores)) for e in made.attribution]
    found = shortcut_words(replace(made.attribution, examples=tuple(turned)), made.gold, n_bootstrap=0)
    assert row(found, "zork", "yes").p_leans == 1.0
    assert row(found, "zork", "yes").reliance == 0.0


@pytest.mark.slow
def test_without_any_association_at_most_alpha_of_data_sets_name_a_word() -> None:
    n, alpha = 200, 0.05
    named = {"leans": 0, "presence": 0, "more": 0, "excess": 0, "errors": 0}
    for seed in range(n):
        made = noise(1000 + seed)
        found = shortcut_words(made.attribution, made.gold, n_bootstrap=0, alpha=alpha)
        named["leans"] += bool(found.leans_on)
        named["more"] += bool(found.more_than_labels)
        # Each single test, too, holds the level by itself: the pair does not hide one that does not.
        named["presence"] += min(r.p_predicted for r in found.rows) * found.n_tests <= alpha
        named["excess"] += min(r.p_excess or 1.0 for r in found.rows) * found.n_tests <= alpha
        named["errors"] += bool(error_words(made.attribution, made.gold, n_bootstrap=0).over_represented)
    assert max(named.values()) <= alpha * n, named
    # The tests are not asleep: the excess, which is nearly continuous, comes near its level now and then.
    assert named["presence"] + named["excess"] + named["errors"] > 0, named


def test_single_p_values_hold_their_level_too() -> None:
    p = []
    for seed in range(60):
        made = noise(5000 + seed, n=120, n_words=15)
        found = shortcut_words(made.attribution, made.gold, n_bootstrap=0)
        p += [(r.p_predicted, r.p_mass, r.p_excess) for r in found.rows if r.label == "yes"]
    for name, values in zip(("presence", "mass", "excess"), np.array(p, dtype=float).T, strict=True):
        for level in (0.01, 0.05, 0.2):
            assert np.mean(values <= level) <= level + 0.025, (name, level)
        assert np.mean(values <= 0.2) > 0.08, name


def test_the_order_of_the_texts_changes_nothing() -> None:
    made = planted(6)
    slices = ["a" if i % 3 else "b" for i in range(len(made.gold))]
    order = np.random.default_rng(0).permutation(len(made.gold)).tolist()
    moved = made.take(order)
    moved_slices = [slices[i] for i in order]
    for function in (shortcut_words, error_words):
        here = function(made.attribution, made.gold, made.predicted, slices, n_bootstrap=50)
        there = function(moved.attribution, moved.gold, moved.predicted, moved_slices, n_bootstrap=50)
        assert here == there


def test_a_seed_gives_the_same_numbers_and_another_one_others() -> None:
    made = noise(7)
    one, two, three = (shortcut_words(made.attribution, made.gold, seed=s, n_bootstrap=200) for s in (1, 1, 2))
    assert one == two
    assert [r.top_share for r in one.rows] != [r.top_share for r in three.rows]


def test_top_shares_are_those_of_resampled_data_sets() -> None:
    made = planted(8, n=60)
    key = lambda i: (made.attribution[i].text, made.predicted[i], made.gold[i])  # noqa: E731
    made = made.take(sorted(range(60), key=key))
    found = shortcut_words(made.attribution, made.gold, n_bootstrap=30, seed=5, top=3)
    errors = error_words(made.attribution, made.gold, n_bootstrap=30, seed=5, top=3)
    tested = [(r.word, r.label) for r in found.rows]
    hits = {name: dict.fromkeys(tested, 0) for name in ("reliance", "excess_reliance")}
    error_hits = dict.fromkeys([r.word for r in errors.rows], 0)
    for draw in resamples(60, 30, 5).tolist():
        again = made.take(draw)
        rows = shortcut_words(again.attribution, again.gold, min_count=1, n_bootstrap=0).rows
        for name, counted in hits.items():
            values = {(r.word, r.label): getattr(r, name) for r in rows if (r.word, r.label) in counted}
            least = sorted(values.values())[-3]
            for place, value in values.items():
                counted[place] += value > 0 and value >= least
        drawn = error_words(again.attribution, again.gold, min_count=1, n_bootstrap=0).rows
        strengths = {r.word: r.strength for r in drawn if r.word in error_hits}
        least = sorted(strengths.values())[-3]
        for word, value in strengths.items():
            error_hits[word] += value > 0 and value >= least
    for r in found.rows:
        assert r.top_share == pytest.approx(hits["reliance"][r.word, r.label] / 30), r.word
        assert r.excess_top_share == pytest.approx(hits["excess_reliance"][r.word, r.label] / 30), r.word
    for e in errors.rows:
        assert e.top_share == pytest.approx(error_hits[e.word] / 30), e.word
    assert 0 < sum(hits["reliance"].values()) <= 3 * 30 + 5


def test_a_shortcut_of_one_slice_is_found_there() -> None:
    made = planted(9, n=300)
    plain = noise(99, n=300)
    whole = Made(
        replace(made.attribution, examples=made.attribution.examples + plain.attribution.examples),
        made.gold + plain.gold,
        made.predicted + plain.predicted,
    )
    slices = ["shops"] * 300 + ["films"] * 300
    found = shortcut_words(whole.attribution, whole.gold, whole.predicted, slices, n_bootstrap=0)
    named = {(r.slice, r.word) for r in found.rows if r.slice is not None and r.verdict == "more_than_labels"}
    assert named == {("shops", "zork")}
    alone = shortcut_words(made.attribution, made.gold, n_bootstrap=0)
    inside, by_itself = row(found, "zork", "yes", "shops"), row(alone, "zork", "yes")
    assert (inside.p_leans, inside.excess, inside.reliance) == (by_itself.p_leans, by_itself.excess, by_itself.reliance)
    # All rows of all slices are one family.
    assert inside.p_leans_holm > by_itself.p_leans_holm


def test_errors_are_driven_by_the_planted_word() -> None:
    made = planted(10)
    found = error_words(made.attribution, made.gold, n_bootstrap=100)
    wrong = [p != g for p, g in zip(made.predicted, made.gold, strict=True)]
    held = ["zork" in e.tokens for e in made.attribution]
    a, n, n_wrong = sum(w and h for w, h in zip(wrong, held, strict=True)), sum(held), sum(wrong)
    first = found.rows[0]
    assert (first.word, first.n, first.n_wrong, found.n_wrong) == ("zork", n, a, n_wrong)
    table = [[a, n - a], [n_wrong - a, len(wrong) - n - n_wrong + a]]
    assert first.p_presence == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue)
    assert first.top_share is not None
    assert first.top_share > 0.9


def test_a_word_that_weighs_more_in_wrong_texts_is_found_by_its_attribution() -> None:
    made = noise(11, n=200)
    heavy = [
        replace(e, scores=np.where(np.array(e.tokens) == "w1", 20.0 if p != g else 0.2, e.scores))
        for e, p, g in zip(made.attribution, made.predicted, made.gold, strict=True)
    ]
    found = error_words(replace(made.attribution, examples=tuple(heavy)), made.gold, n_bootstrap=0)
    assert [r.word for r in found.over_represented] == ["w1"]
    one = found.over_represented[0]
    assert one.p_presence > 0.01
    assert one.share_wrong is not None
    assert one.share_right is not None
    assert one.share_wrong > 3 * one.share_right


def test_words_are_case_folded_and_shown_as_they_are_mostly_written() -> None:
    texts = [["Bad", "film"], ["BAD", "film"], ["bad", "bad", "day"], ["Bad", "day"], ["good", "day"], ["fine", "film"]]
    scores = [[1.0, 0.0], [1.0, 0.5], [1.0, 1.0, 0.1], [1.0, 0.2], [0.5, 0.5], [0.5, 0.5]]
    made = attributed(texts, scores, ["no"] * 4 + ["yes"] * 2, ["no"] * 4 + ["yes"] * 2)
    r = row(shortcut_words(made.attribution, made.gold, min_count=3, n_bootstrap=0), "bad", "no")
    # Twice in one text counts once, with the sum of its scores; "bad" and "Bad" are written twice each.
    assert (r.n, r.form, r.mean_score) == (4, "Bad", pytest.approx(5 / 4))


def test_chinese_is_counted_in_the_records_own_units() -> None:
    chars = [list("很好吃"), list("不好吃"), list("味道好"), list("很难吃")]
    whole = Attribution.from_scores(
        ["".join(c) for c in chars], chars, [[0.1, 1.0, 0.1], [-1.0, 0.5, 0.1], [0.1, 0.2, 1.0], [0.0, -1.0, 0.1]]
    )
    found = shortcut_words(whole, None, [1, 0, 1, 0], min_count=2, n_bootstrap=0)
    assert {r.word: r.n for r in found.rows if r.label == "1"} == {"好": 3, "吃": 3, "很": 2}


def test_a_contrast_counts_for_both_of_its_classes() -> None:
    made = planted(12)
    towards = [
        replace(
            e,
            target=replace(e.target, kind="contrast", label="no", foil_label="yes", chosen="given"),
            scores=-e.scores if p == "yes" else e.scores,
        )
        for e, p in zip(made.attribution, made.predicted, strict=True)
    ]
    whole = replace(made.attribution, examples=tuple(towards))
    found = shortcut_words(whole, made.gold, made.predicted, n_bootstrap=0)
    yes, no = row(found, "zork", "yes"), row(found, "zork", "no")
    assert yes.mean_score == pytest.approx(-(no.mean_score or 0.0))
    assert (yes.mean_score or 0.0) > 5
    assert yes.n_explained == no.n_explained == yes.n
    assert yes.verdict == "more_than_labels"


def test_without_labels_only_the_first_question_is_asked() -> None:
    made = planted(13)
    found = shortcut_words(made.attribution, None, made.predicted, n_bootstrap=20)
    assert found.rows[0].word == "zork"
    assert found.rows[0].verdict == "leans_on"
    assert not found.gold_given
    assert {(r.n_gold, r.excess, r.p_more, r.excess_top_share) for r in found.rows} == {(None, None, None, None)}


def test_labels_by_index_are_those_by_name() -> None:
    made = planted(14)
    named = [
        replace(e, target=replace(e.target, kind="class", index=LABELS.index(p), chosen="predicted"))
        for e, p in zip(made.attribution, made.predicted, strict=True)
    ]
    whole = replace(made.attribution, examples=tuple(named))
    numbers = [LABELS.index(g) for g in made.gold]
    assert shortcut_words(whole, numbers, n_bootstrap=0) == shortcut_words(whole, made.gold, n_bootstrap=0)


def test_what_cannot_be_tested_is_said() -> None:
    made = noise(15, n=12)
    rare = shortcut_words(made.attribution, made.gold, min_count=13)
    assert rare.rows == ()
    assert rare.notes[0].code == "shortcuts.no_common_word"
    flat = shortcut_words(made.attribution, None, ["yes"] * 12, n_bootstrap=0)
    assert flat.notes[0].code == "shortcuts.one_prediction"
    assert {r.verdict for r in flat.rows} == {"not_named"}
    silent = [replace(e, scores=np.zeros(len(e.tokens))) for e in made.attribution]
    nothing = shortcut_words(replace(made.attribution, examples=tuple(silent)), made.gold, n_bootstrap=10, min_count=2)
    assert {(r.p_mass, r.attribution_share, r.mass_ratio) for r in nothing.rows} == {(1.0, 0.0, None)}


def test_bad_requests_say_what_to_change() -> None:
    made = noise(16, n=12)
    given = [replace(e, target=replace(e.target, chosen="given")) for e in made.attribution]
    fixed = replace(made.attribution, examples=tuple(given))
    for arguments, message in (
        ((made.attribution, made.gold[:3]), "labels holds 3 entries for 12"),
        ((made.attribution, made.gold, made.predicted[:5]), "predictions holds 5"),
        ((made.attribution, made.gold, None, ["a"]), "slices holds 1"),
        ((made.attribution, ["maybe"] * 12), "none of the labels"),
        ((fixed, made.gold), "give predictions="),
    ):
        with pytest.raises(UsageError, match=message):
            shortcut_words(*arguments)  # type: ignore[arg-type]
    for option, message in (({"alpha": 0.0}, "alpha=0.0"), ({"min_count": 0}, "min_count=0"), ({"top": 0}, "top=0")):
        with pytest.raises(UsageError, match=message):
            shortcut_words(made.attribution, made.gold, **option)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="labels is None"):
        error_words(made.attribution, None)  # type: ignore[arg-type]
    with pytest.raises(InconclusiveError, match="holds no texts"):
        shortcut_words(replace(made.attribution, examples=()), [])
