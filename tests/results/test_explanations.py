from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.errors import UsageError
from interpret.results.explanations import Attribution
from interpret.results.external import align


def _spelled(text: str, tokens: list[str]) -> list[str]:
    return [text[start:end] for start, end in align(text, tokens).char_spans.tolist()]


def test_wordpieces_lie_on_a_text_of_other_case_and_accents() -> None:
    text = "A naïve, UNBELIEVABLE film"
    tokens = ["[CLS]", "a", "naive", ",", "un", "##believ", "##able", "film", "[SEP]", "[PAD]"]
    found = align(text, tokens)
    assert _spelled(text, tokens) == ["", "A", "naïve", ",", "UN", "BELIEV", "ABLE", "film", "", ""]
    assert found.word_index.tolist() == [-1, 0, 1, 2, 3, 3, 3, 4, -1, -1]
    assert found.special.tolist() == [True, *[False] * 7, True, True]


def test_byte_level_and_sentencepiece_tokens() -> None:
    assert _spelled("the café was  good\n", ["the", "ĠcafÃ©", "Ġwas", "Ġ", "Ġgood", "Ċ"]) == [
        "the", "café", "was", "", "good", "",
    ]  # fmt: skip
    assert _spelled("the film", ["<s>", "▁the", "▁", "film", "</s>"]) == ["", "the", "", "film", ""]
    # One ideograph as three bytes: it goes to the first of them.
    assert _spelled("a 好 b", ["a", "Ġ", "å", "¥", "½", "Ġb"]) == ["a", "", "好", "", "", "b"]


def test_unknown_tokens_take_what_their_neighbours_leave() -> None:
    assert _spelled("the 𝕏𝕐 film", ["the", "[UNK]", "film"]) == ["the", "𝕏𝕐", "film"]
    assert _spelled("the film zzz", ["<s>", "the", "film", "<unk>"]) == ["", "the", "film", "zzz"]


def test_ideographs_are_words_of_their_own() -> None:
    assert align("味道很好", ["味", "道", "很", "好"]).word_index.tolist() == [0, 1, 2, 3]


def test_tokens_of_another_text_are_refused_with_the_place() -> None:
    with pytest.raises(UsageError, match=r"text 0: token 1 \('cat'\).*' film was"):
        Attribution.from_scores(["the film was good"], [["the", "cat"]], [[1.0, 2.0]])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet="abcXYZéü,.好", min_size=1, max_size=5), min_size=1, max_size=8))
def test_words_split_on_space_always_lie_on_their_text(words: list[str]) -> None:
    text = "  ".join(words)
    assert _spelled(text, words) == words
    assert _spelled(text, [word.lower() for word in words]) == words


def test_from_scores_keeps_signs_and_labels() -> None:
    found = Attribution.from_scores(["not good"], [["not", "good"]], [[-1.5, 0.5]], target="negative", method="mine")
    assert [(w.word, w.score) for w in found[0].words()] == [("not", -1.5), ("good", 0.5)]
    assert (found[0].target.kind, found[0].target.label, found.method) == ("class", "negative", "mine")
    assert Attribution.from_scores(["a"], [["a"]], [[1]])[0].target.kind == "external"
    for scores, message in (([1.0], "one score per token"), ([1.0, np.nan], "NaN")):
        with pytest.raises(UsageError, match=message):
            Attribution.from_scores(["not good"], [["not", "good"]], [scores])
    with pytest.raises(UsageError, match="one each"):
        Attribution.from_scores(["a", "b"], [["a"]], [[1.0]])
    with pytest.raises(UsageError, match="2 labels for 1 texts"):
        Attribution.from_scores(["a"], [["a"]], [[1.0]], target=["x", "y"])


class _Explanation:
    """The parts of shap.Explanation that are read."""

    def __init__(self, data: object, values: object, base_values: object = None, output_names: object = None) -> None:
        self.data, self.values = data, values
        self.base_values, self.output_names = base_values, output_names


def test_from_shap_takes_the_predicted_column_or_the_one_given() -> None:
    data = [["", "not ", "good", ""], ["", "bad", ""]]
    values = [
        np.array([[0.0, 0.0], [1.0, -1.0], [-0.5, 0.5], [0.0, 0.0]]),
        np.array([[0.0, 0.0], [-1.0, 1.0], [0.0, 0.0]]),
    ]
    explanation = _Explanation(data, values, np.zeros((2, 2)), ["neg", "pos"])
    found = Attribution.from_shap(explanation)
    assert [e.text for e in found] == ["not good", "bad"]
    assert [e.target.label for e in found] == ["neg", "pos"]
    assert [w.score for w in found[0].words()] == [1.0, -0.5]
    assert [w.score for w in Attribution.from_shap(explanation, output="pos")[0].words()] == [-1.0, 0.5]
    single = Attribution.from_shap(_Explanation(data[0], values[0], np.zeros(2), ["neg", "pos"]), output=0)
    assert len(single) == 1
    with pytest.raises(UsageError, match="'neg', 'pos'"):
        Attribution.from_shap(explanation, output="neutral")


def test_from_a_real_shap_explanation() -> None:
    import shap

    explanation = shap.Explanation(
        values=np.array([[0.5], [-0.25]]),
        base_values=np.array([0.1]),
        data=np.array(["good ", "film"]),
        output_names=["pos"],
    )
    found = Attribution.from_shap(explanation)
    assert [(w.word, w.score) for w in found[0].words()] == [("good", 0.5), ("film", -0.25)]


def test_from_captum_sums_the_width_and_drops_padding() -> None:
    import torch

    tensor = torch.arange(24, dtype=torch.float32).reshape(2, 4, 3).requires_grad_()
    tokens = [["[CLS]", "a", "b", "[SEP]"], ["[CLS]", "c", "[SEP]"]]
    found = Attribution.from_captum(tensor, tokens, ["a b", "c"])
    assert found[0].scores.tolist() == [3.0, 12.0, 21.0, 30.0]
    assert found[1].scores.tolist() == [39.0, 48.0, 57.0]
    one = Attribution.from_captum(tensor[0], tokens[0], "a b", target="x")
    assert one[0].scores.tolist() == found[0].scores.tolist()
    with pytest.raises(UsageError, match="expected"):
        Attribution.from_captum(tensor, tokens, ["a b"])


def test_records_of_foreign_explanations_need_no_torch() -> None:
    code = (
        "import sys; from interpret.results.explanations import Attribution;"
        "Attribution.from_scores(['a'], [['a']], [[1.0]]); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
