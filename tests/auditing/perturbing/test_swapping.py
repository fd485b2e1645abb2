"""The same text about another group: whole words only, in the case and with the article they had."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpret.auditing.perturbing import TERMS, given_terms, versions
from interpret.auditing.perturbing.terms import TermList
from interpret.errors import UsageError


def of(category: str, script: str = "latin") -> TermList:
    return next(t for t in TERMS if t.category == category and t.script == script)


@pytest.mark.parametrize(
    ("male", "female"),
    [
        ("He loves his wife.", None),
        ("He lost his hat.", "She lost her hat."),
        ("I saw him, and gave him his hat", "I saw her, and gave her her hat"),
        ("THE WAITER ASKED HIMSELF", "THE WAITRESS ASKED HERSELF"),
        ("the hat is his.", "the hat is hers."),
        ("he's an actor", "she's an actress"),
        ("a sentence about him is long", "a sentence about her is long"),
        ("他说爸爸很好", "她说妈妈很好"),
        ("送餐小哥态度好", "送餐小妹态度好"),
    ],
)
def test_gender_goes_both_ways(male: str, female: str | None) -> None:
    terms = of("gender", "han" if "\u4e00" <= male[0] <= "\u9fff" else "latin")
    found = versions(male, terms)
    if female is None:
        assert found is None, "a text that names both groups is left out"
        return
    assert found is not None
    assert (found.group, found.texts) == ("male", {"male": male, "female": female})
    back = versions(female, terms)
    assert back is not None
    assert back.group == "female"
    assert back.texts["male"] == male


@pytest.mark.parametrize("text", ["The theme of heroism", "manmade, man-made", "其他都很好", "这里", "", "Hello 他"])
def test_parts_of_words_and_other_scripts_are_no_terms(text: str) -> None:
    assert all(versions(text, terms) is None for terms in TERMS if terms.category == "gender")


def test_articles_follow_and_all_groups_get_a_version() -> None:
    found = versions("An American and a German met.", of("origin"))
    assert found is None
    found = versions("An American, another american.", of("origin"))
    assert found is not None
    assert found.texts["french"] == "A French, another french."
    assert found.texts["indian"] == "An Indian, another indian."
    assert set(found.texts) == set(of("origin").groups)
    found = versions("she is a Christian", of("religion"))
    assert found is not None
    assert found.texts["muslim"] == "she is a Muslim"
    found = versions("基督徒去教堂", of("religion", "han"))
    assert found is not None
    assert found.texts["muslim"] == "穆斯林去清真寺"


def test_lists_are_rectangular_and_know_each_word_once() -> None:
    for terms in TERMS:
        assert all(len(row) == len(terms.groups) for row in terms.rows)
        assert all(term == term.strip() != "" for row in terms.rows for term in row)
        # A word of two groups would say nothing about either.
        for n, group in enumerate(terms.groups):
            others = {row[k].casefold() for row in terms.rows for k in range(len(terms.groups)) if k != n}
            assert not others & {row[n].casefold() for row in terms.rows}, (terms.category, group)


@given(st.sampled_from(TERMS), st.data())
def test_there_and_back_again(terms: TermList, data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(terms.rows))
    own = data.draw(st.integers(0, len(terms.groups) - 1))
    text = f"真的{row[own]}很好" if terms.script == "han" else f"Well, {row[own]} came! 🙂"
    found = versions(text, terms)
    assert found is not None
    assert found.group == terms.groups[own]
    assert found.texts[found.group] == text
    for group, other in found.texts.items():
        again = versions(other, terms)
        assert again is not None
        assert again.group == group
        # A word that stands in two rows ("阿姨") may come back as its other partner.
        assert again.texts[group] == other


def test_words_of_ones_own() -> None:
    terms = given_terms("nurse=doctor, 护士=医生")
    found = versions("The Nurse is in.", terms)
    assert found is not None
    assert found.texts == {"first": "The Nurse is in.", "second": "The Doctor is in."}
    found = versions("医生很好", terms)
    assert found is not None
    assert found.texts["first"] == "护士很好"
    assert versions("nurses", terms) is None
    for wrong in ("nurse", "nurse=", "=a", "a=A", " , "):
        with pytest.raises(UsageError, match="nurse=doctor"):
            given_terms(wrong)
