"""What each perturbation does to texts, and what it must never do to them."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpret.auditing.perturbing import PERTURBATIONS, perturbed, rng_of, script_of
from interpret.auditing.perturbing.characters import TO_SIMPLIFIED, TO_TRADITIONAL
from interpret.auditing.perturbing.typing_errors import BESIDE, RATE, SHORTEST, SOUNDS_LIKE
from interpret.auditing.perturbing.wording import negation_inserted, negation_removed
from interpret.auditing.perturbing.writing import (
    full_width,
    half_width,
    lower_case,
    punctuation_removed,
    simplified,
    traditional,
    upper_case,
)

RNG = np.random.default_rng(0)
ENGLISH = "The Film wasn't good, and she doesn't know that it is long.\r\nDo not see it!"
CHINESE = "送餐小哥很快，味道不错！但是菜有点凉，不推荐。给5分ok\r\n真的很难吃"
#: Emoji with joiners and skin tones, combining marks, right-to-left text, a lone surrogate.
ODD = "cafe\u0301 👩🏽\u200d💻🙂 שלום e\u0301xce\u0301dent \ud800 whatever happened"
TEXTS = (ENGLISH, CHINESE, ODD, "", " ", "!!!", "你", "ok")
texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=60)


@pytest.mark.parametrize("name", PERTURBATIONS)
@pytest.mark.parametrize("text", TEXTS)
def test_the_seed_decides_and_nothing_else(name: str, text: str) -> None:
    p = PERTURBATIONS[name]
    assert perturbed(p, text, 3) == perturbed(p, text, 3)
    if script_of(text) not in p.scripts:
        assert perturbed(p, text, 3) == text
    assert perturbed(p, text, 3).strip() or not text.strip()


def test_both_languages_are_covered_and_other_seeds_differ() -> None:
    changed = {t: {n for n, p in PERTURBATIONS.items() if perturbed(p, t) != t} for t in (ENGLISH, CHINESE)}
    assert changed[ENGLISH] | changed[CHINESE] == set(PERTURBATIONS) - {"simplified"}
    assert {"adjacent_key", "contracted", "upper_case"} <= changed[ENGLISH] - changed[CHINESE]
    assert {"homophones", "traditional", "half_width"} <= changed[CHINESE] - changed[ENGLISH]
    assert perturbed(PERTURBATIONS["simplified"], "兩個小時才到") == "两个小时才到"
    for name in ("adjacent_key", "transposition", "homophones"):
        text = CHINESE if name == "homophones" else ENGLISH
        assert len({perturbed(PERTURBATIONS[name], text, seed) for seed in range(8)}) > 2


@given(texts, st.sampled_from(sorted(PERTURBATIONS)), st.integers(0, 5))
def test_any_text_comes_through(text: str, name: str, seed: int) -> None:
    after = perturbed(PERTURBATIONS[name], text, seed)
    assert after.strip() or after == text
    # Marks are never torn off what they modify by an error of typing: only ASCII letters move.
    kind = PERTURBATIONS[name].kind
    if kind == "typing":
        kept = [c for c in text if not c.isascii() and c not in SOUNDS_LIKE]
        assert [c for c in after if not c.isascii() and c not in SOUNDS_LIKE] == kept


@given(texts)
def test_case_and_width_can_be_taken_back(text: str) -> None:
    up, low = upper_case(text, RNG), lower_case(text, RNG)
    assert lower_case(up, RNG) == low
    assert up.casefold() == text.casefold() or len(up) == len(text)
    assert len(up) == len(low) == len(text)
    assert half_width(full_width(text, RNG), RNG) == half_width(text, RNG)
    assert unicodedata.normalize("NFKC", full_width(text, RNG)) == unicodedata.normalize("NFKC", text) or not any(
        "!" <= c <= "~" for c in text
    )


@given(st.text(alphabet=sorted({*TO_TRADITIONAL, *"了好吃abc，"}), max_size=30))
def test_traditional_and_back_is_the_text(text: str) -> None:
    full = traditional(text, RNG)
    assert simplified(full, RNG) == text
    assert len(full) == len(text)
    assert not set(full) & set(TO_TRADITIONAL)
    assert {c for a, c in zip(text, full, strict=True) if a != c} <= set(TO_SIMPLIFIED)


@given(texts)
def test_removing_punctuation_twice_removes_nothing_more_of_words(text: str) -> None:
    after = punctuation_removed(text, RNG)
    letters = [c for c in text if c.isalnum()]
    assert [c for c in after if c.isalnum()] == letters
    gone = Counter(text) - Counter(after)
    assert all(unicodedata.category(c)[0] in "PMC" for c in gone)


WORDS = st.lists(st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=9), min_size=1, max_size=40)


@given(WORDS, st.integers(0, 100))
def test_typing_errors_change_whole_long_words_in_their_own_way(words: list[str], seed: int) -> None:
    text = " ".join(words)
    for name in ("adjacent_key", "transposition", "dropped_letter"):
        after = PERTURBATIONS[name].apply(text, rng_of(text, name, seed)).split(" ")
        assert len(after) == len(words)
        for old, new in zip(words, after, strict=True):
            if old == new:
                continue
            assert len(old) >= SHORTEST
            assert old[0] == new[0]
            if name == "adjacent_key":
                (at,) = [n for n, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
                assert new[at] in BESIDE[old[at]]
            elif name == "transposition":
                a, b = [n for n, (x, y) in enumerate(zip(old, new, strict=True)) if x != y]
                assert b == a + 1
                assert (new[a], new[b]) == (old[b], old[a])
            else:
                assert any(new == old[:n] + old[n + 1 :] for n in range(1, len(old)))
        if any(len(w) >= SHORTEST for w in words) and name != "transposition":
            assert after != words


def test_the_rate_is_the_one_stated() -> None:
    text = " ".join(["something"] * 5000)
    changed = sum(w != "something" for w in perturbed(PERTURBATIONS["dropped_letter"], text).split())
    # Five standard deviations of the binomial distribution.
    assert abs(changed - 5000 * RATE) < 5 * (5000 * RATE * (1 - RATE)) ** 0.5
    spaces = perturbed(PERTURBATIONS["whitespace"], text).count(" ") - 4999
    assert abs(spaces - 4999 * RATE) < 5 * (4999 * RATE * (1 - RATE)) ** 0.5


def test_addresses_names_and_accented_words_are_not_mistyped() -> None:
    text = "https://example.org/some/path @somebody #something cafe\u0301 naïveté"
    for name in ("adjacent_key", "transposition", "dropped_letter"):
        assert perturbed(PERTURBATIONS[name], text) == text
    assert perturbed(PERTURBATIONS["punctuation_removed"], f"See {text}, now!") == f"See {text} now"


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("contracted", "It is bad. I DO NOT like it, you cannot.", "It's bad. I DON'T like it, you can't."),
        ("expanded", "It's bad. I DON’T like it, it is n't.", "It is bad. I DO NOT like it, it is not."),
        ("expanded", "the film's own", "the film's own"),
        ("final_punctuation", "A good film.\r\n", "A good film\r\n"),
        ("final_punctuation", "A good film", "A good film."),
        ("final_punctuation", "很好吃", "很好吃。"),
        ("final_punctuation", "很好吃！！", "很好吃"),
        ("final_punctuation", "A good film 🙂", "A good film 🙂"),
        ("punctuation_removed", "Well-made, it 's 3.5 stars (100%)!", "Well-made it 's 3.5 stars 100%"),
        ("punctuation_removed", "好吃，便宜。", "好吃便宜"),
        ("upper_case", "Straße, ﬁlm", "STRAßE, ﬁLM"),
        ("full_width", "很好ok,5", "很好ｏｋ，５"),
        ("half_width", "很好，５！", "很好,5!"),
        ("traditional", "这个很难吃", "這個很難吃"),
    ],
)
def test_examples(name: str, before: str, after: str) -> None:
    assert PERTURBATIONS[name].apply(before, RNG) == after


@pytest.mark.parametrize(
    ("before", "possible"),
    [
        ("it is good", {"it is not good"}),
        ("IT IS GOOD", {"IT IS NOT GOOD"}),
        ("it is not good", set()),
        ("it is n't good", set()),
        ("isn't good", set()),
        ("a good film", set()),
        ("味道好", {"味道不好"}),
        ("不好", set()),
        ("他很喜欢", {"他不很喜欢"}),
    ],
)
def test_where_a_negation_goes(before: str, possible: set[str]) -> None:
    found = {negation_inserted(before, np.random.default_rng(seed)) for seed in range(20)} - {before}
    assert found == possible


@pytest.mark.parametrize(
    ("before", "possible"),
    [
        ("it isn't good", {"it is good"}),
        ("it was n't good", {"it was good"}),
        ("You can't, you won’t", {"You can, you won’t", "You can't, you will"}),
        ("it will never be, not now", {"it will be, not now", "it will never be, now"}),
        ("never again", {"again"}),
        ("cannot", {"can"}),
        ("knots and notes", set()),
        ("不好吃", {"好吃"}),
        ("味道不错，没有汤", {"味道不错，汤"}),
        ("不仅快，不过贵", set()),
    ],
)
def test_where_a_negation_comes_off(before: str, possible: set[str]) -> None:
    found = {negation_removed(before, np.random.default_rng(seed)) for seed in range(20)} - {before}
    assert found == possible


def test_only_negations_are_expected_to_change_the_answer() -> None:
    expected = {name for name, p in PERTURBATIONS.items() if p.expectation == "change"}
    assert expected == {"negation_inserted", "negation_removed"}


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("A good film", "latin"),
        ("Ein schöner Film", "latin"),
        ("味道好", "han"),
        ("iPhone 很好用 a b c d", "latin"),
        ("外卖 app 很好用", "han"),
        ("とても美味しいです", "other"),
        ("хороший фильм", "other"),
        ("12 :-)", "other"),
        ("", "other"),
    ],
)
def test_script(text: str, script: str) -> None:
    assert script_of(text) == script


def test_no_torch_is_loaded() -> None:
    code = "import sys, interpret.auditing.perturbing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
