from __future__ import annotations

import pytest

from interpret.errors import LabelError
from interpret.readers.labels import map_labels

SENTIMENT = {0: "negative", 1: "positive"}
STARS = {i: f"{i + 1} star{'s' if i else ''}" for i in range(5)}
PLAIN = {0: "LABEL_0", 1: "LABEL_1"}


@pytest.mark.parametrize(
    ("raw", "id2label", "rule", "pairs"),
    [
        (["positive", "negative", "positive"], SENTIMENT, "name", {"negative": 0, "positive": 1}),
        (["Positive", "NEGATIVE"], SENTIMENT, "name", {"NEGATIVE": 0, "Positive": 1}),
        (["1", "0"], SENTIMENT, "id", {"0": 0, "1": 1}),
        (["1"], SENTIMENT, "id", {"1": 1}),
        (["LABEL_1", "LABEL_0"], SENTIMENT, "id", {"LABEL_0": 0, "LABEL_1": 1}),
        (["0", "1"], PLAIN, "id", {"0": 0, "1": 1}),
        (["label_0", "LABEL_1"], PLAIN, "name", {"label_0": 0, "LABEL_1": 1}),
        (["0", "1", "2", "3", "4"], STARS, "id", {str(i): i for i in range(5)}),
        (["1 star", "5 stars"], STARS, "name", {"1 star": 0, "5 stars": 4}),
        (["1", "2", "3"], {0: "1", 1: "2", 2: "3"}, "name", {"1": 0, "2": 1, "3": 2}),
        (["Neg", "neg"], {0: "Neg", 1: "neg"}, "name", {"Neg": 0, "neg": 1}),
        (["0", "1"], {0: "0-100 words", 1: "100+ words"}, "id", {"0": 0, "1": 1}),
        (["好评", "差评"], {0: "差评", 1: "好评"}, "name", {"差评": 0, "好评": 1}),
        ([], SENTIMENT, "none", {}),
    ],
)
def test_matched(raw: list[str], id2label: dict[int, str], rule: str, pairs: dict[str, int]) -> None:
    mapping = map_labels(raw, id2label)
    assert mapping.rule == rule
    assert mapping.pairs == pairs
    assert mapping.names == {label: id2label[index] for label, index in pairs.items()}


@pytest.mark.parametrize(
    ("raw", "id2label", "said"),
    [
        (["positive", "neutral"], SENTIMENT, "'neutral' .* 0=negative, 1=positive; .*--label-map"),
        (["0", "positive"], SENTIMENT, "the label '0' "),
        (["0", "1", "7"], SENTIMENT, "the label '7' "),
        (["01"], SENTIMENT, "the label '01' "),
        (["1.0"], SENTIMENT, "the label '1.0' "),
        ([""], SENTIMENT, "the label '' "),
        (["NEG"], {0: "Neg", 1: "neg"}, "any of the model's classes 0=Neg, 1=neg"),
        (["1", "2"], {0: "2", 1: "1", 2: "3"}, "fits two of the model's classes, one by name and one by id"),
        (["0", "1"], {0: "LABEL_1", 1: "LABEL_0"}, "fits two"),
        (["0", "1"], {0: "1", 1: "2"}, "fits two"),
        (
            ["1", "2", "3", "4", "5"],
            STARS,
            "count from 1, .* '1' means '1 star', .*--label-map 1=0,2=1,3=2,4=3,5=4",
        ),
        (["1", "2", "3", "4"], STARS, "count from 1"),
        (["1", "2"], SENTIMENT, "count from 1, .* '1' means 'negative', .*--label-map 1=0,2=1"),
        (["1", "2"], {0: "a", 1: "b", 2: "c"}, "count from 1"),
    ],
)
def test_refused(raw: list[str], id2label: dict[int, str], said: str) -> None:
    with pytest.raises(LabelError, match=said):
        map_labels(raw, id2label)


@pytest.mark.parametrize(
    ("label_map", "pairs"),
    [
        ("ham=negative,spam=positive", {"ham": 0, "spam": 1}),
        ("ham=0, spam = 1", {"ham": 0, "spam": 1}),
        ({"ham": 1, "spam": "Negative", "unused": 0}, {"spam": 0, "ham": 1}),
    ],
)
def test_given_map_decides(label_map: str | dict[str, object], pairs: dict[str, int]) -> None:
    mapping = map_labels(["ham", "spam", "ham"], SENTIMENT, label_map)
    assert mapping.rule == "given"
    assert mapping.pairs == pairs


def test_given_map_overrules_names() -> None:
    assert map_labels(["positive"], SENTIMENT, "positive=negative").pairs == {"positive": 0}


@pytest.mark.parametrize(
    ("label_map", "said"),
    [
        ("ham=negative", "'spam' is not mapped"),
        ("ham=negative,spam=maybe", "'maybe', which the model does not have"),
        ("ham=negative,spam", "cannot read 'spam'"),
        ("ham=0,ham=1", "maps 'ham' twice"),
        ("0=ham,1=spam", "the label of the data comes first, as in ham=0"),
    ],
)
def test_a_wrong_map_is_refused(label_map: str, said: str) -> None:
    with pytest.raises(LabelError, match=said):
        map_labels(["ham", "spam"], SENTIMENT, label_map)


def test_a_class_that_is_name_and_id_is_refused() -> None:
    with pytest.raises(LabelError, match="name of one and the id of another"):
        map_labels(["x"], {0: "1", 1: "0"}, "x=1")


def test_the_first_line_of_an_unknown_label_is_named() -> None:
    with pytest.raises(LabelError, match=r"'meh' \(first at line 7\)"):
        map_labels(["positive", "meh", "meh"], SENTIMENT, lines=[3, 7, 9])


def test_many_classes_are_shortened() -> None:
    with pytest.raises(LabelError, match=r"\(150 in all\)"):
        map_labels(["x"], {i: f"c{i}" for i in range(150)})


def test_more_labels_than_classes_may_share_them() -> None:
    with pytest.raises(
        LabelError, match=r"--label-map \(several labels may share a class\), as in 1=<class>,2=<class>"
    ):
        map_labels(["1", "2", "3", "4", "5"], {0: "negative", 1: "positive"})
