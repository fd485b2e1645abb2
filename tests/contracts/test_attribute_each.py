"""Every output at once: each row of a matrix is the explanation of that output alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import interpret
from interpret.errors import UsageError
from interpret.facade import AttachedModel
from interpret.results.views import to_text
from tests import zoo

TEXTS = ["the cat ate the red fish", "a very good day"]


def attached(family: str, task: str) -> AttachedModel:
    built = zoo.build(family, task)
    return interpret.attach(built.model, built.tokenizer)


@pytest.mark.parametrize("method", ["leave_one_out", "integrated_gradients"])
def test_each_words_class(method: str) -> None:
    lm = attached("bert", "token-classification")
    for text, matrix in zip(TEXTS, lm.attribute_each(TEXTS, method=method), strict=True):
        words = text.split()
        assert list(matrix.inputs) == words
        assert matrix.scores.shape == (len(words), len(words))
        for number in range(len(words)):
            alone = lm.attribute([text], at=number, method=method, quality=False)[0]
            assert np.allclose(matrix.scores[number], [word.score for word in alone.words()], atol=1e-4)


def test_a_long_text_is_cut_or_read_in_windows_and_either_is_said() -> None:
    lm = attached("bert", "token-classification")
    lm.handle = dataclasses.replace(lm.handle, max_length=8)
    text = " ".join(TEXTS * 2)
    (cut,) = lm.attribute_each(text, method="leave_one_out")
    assert (cut.n_truncated, len(cut.outputs)) == (len(text.split()) - 6, 6)
    assert f"{cut.n_truncated}" in to_text(cut).split("Tokens cut off before the model saw the text: ")[1]
    (matrix,) = lm.attribute_each(text, method="leave_one_out", long_text="windows", doc_stride=2)
    words = text.split()
    assert list(matrix.inputs) == words
    assert (matrix.n_truncated, matrix.n_windows, matrix.window_size, matrix.window_stride) == (0, 5, 8, 2)
    assert "read in 5 windows of at most 8 tokens" in " ".join(to_text(matrix).split())
    # Every word is one token here: windows of six words, each two before the end of the last.
    windows = [range(start, min(start + 6, len(words))) for start in range(0, len(words) - 2, 4)]
    for output in range(len(words)):
        reached = {word for window in windows if output in window for word in window}
        assert {word for word, read in enumerate(matrix.read[output]) if read} == reached
        alone = lm.attribute(text, at=output, method="leave_one_out", quality=False, long_text="windows", doc_stride=2)[
            0
        ]
        assert np.allclose(matrix.scores[output], [word.score for word in alone.words()], atol=1e-4)


@pytest.mark.parametrize(("family", "task"), [("llama", "causal-lm"), ("t5", "seq2seq-lm"), ("bart", "seq2seq-lm")])
def test_each_token_that_was_written(family: str, task: str) -> None:
    lm = attached(family, task)
    (matrix,) = lm.attribute_each(TEXTS[0], method="leave_one_out", response=" was happy")
    assert list(matrix.inputs) == TEXTS[0].split()
    for number in range(len(matrix.outputs)):
        alone = lm.attribute(TEXTS[0], at=number, response=" was happy", method="leave_one_out", quality=False)[0]
        assert np.allclose(matrix.scores[number], [word.score for word in alone.words()], atol=1e-4)
    assert "svg" in matrix._repr_html_()


def test_a_model_that_writes_is_let_write() -> None:
    (matrix,) = attached("gpt2", "causal-lm").attribute_each(TEXTS[1], method="leave_one_out", max_new_tokens=3)
    assert 1 <= len(matrix.outputs) <= 3


def test_one_output_for_each_text_is_no_matrix() -> None:
    with pytest.raises(UsageError, match="attribute\\(\\)"):
        attached("bert", "text-classification").attribute_each(TEXTS)


def test_quality_of_sources_is_not_measured_by_words() -> None:
    lm = attached("llama", "causal-lm")
    sources = ["the cat was red", "a good day", "the film was sad"]
    found = lm.cite("the end", sources=sources, n_masks=16, max_new_tokens=3)
    assert len(found[0].words()) == 3
    with pytest.raises(UsageError, match="lds"):
        interpret.faithfulness(lm, found)


def test_words_of_a_segmenter_are_explained_and_judged_as_wholes() -> None:
    lm = attached("bert", "text-classification")
    text = "的不好吃很味道"
    found = lm.attribute(text, segmenter=lambda given: [given[:1], given[1:4], given[4:]], method="leave_one_out")
    assert [word.word for word in found[0].words()] == ["的", "不好吃", "很味道"]
    assert found[0].quality is not None
    assert found[0].quality.n_words == 3
    with pytest.raises(UsageError, match="segmenter"):
        lm.attribute(text, segmenter=lambda given: [given[:2]])
