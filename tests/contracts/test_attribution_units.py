"""Spans of characters and the texts of a pair as units: removed as a whole in plain forwards, summed from gradients."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from interpret.analyzers.attribution import METHODS, attribute
from interpret.analyzers.faithfulness import battery, measure
from interpret.analyzers.scheduler import removal
from interpret.facade.again import again
from interpret.models.handle import Handle
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from interpret.results.explanations import Attribution
from tests import zoo

TEXT = "the cat 👍🏽 ate the\r\nred fish, 味道很好 and the cafe\u0301 was not bad"
#: Of a phrase, an emoji with its skin tone, a line break, Chinese words, and a combining mark.
SPANS = [(0, 7), (8, 10), (15, 28), (30, 32), (32, 34), (43, 48), (53, 60)]
REST = ["ate", ",", "and the", "was"]
PAIR = ("was the film good", "the film was not a good film")


def handle_of(family: str) -> Handle:
    built = zoo.build(family, "text-classification")
    return attach_handle(built.model, built.tokenizer)


def logit(handle: Handle, ids: list[int], index: int, types: Any = None) -> float:
    extra = {} if types is None else {"token_type_ids": torch.tensor([types])}
    with torch.no_grad():
        return float(handle.model(input_ids=torch.tensor([ids]), **extra).logits[0, index])


def owners(handle: Handle, text: str, spans: list[tuple[int, int]]) -> list[int | None]:
    """Of each token the number of the unit it lies in, from the tokenizer's own offsets; no span here cuts a token."""
    tokenizer: Any = handle.tokenizer
    whole = tokenizer(text, return_offsets_mapping=True)
    out: list[int | None] = []
    for (a, b), side in reversed(list(zip(whole.offset_mapping, whole.sequence_ids(0), strict=True))):
        places = [p for p in range(a, b) if not text[p].isspace()]
        if side is None:
            out.append(None)
        elif not places:
            # A token of space alone within a unit is in it, between units it goes with the next.
            out.append(next((n for n, (c, d) in enumerate(spans) if c <= a and b <= d), out[-1]))
        else:
            (unit,) = {n for n, (c, d) in enumerate(spans) if c <= places[0] < d}
            out.append(unit)
    return out[::-1]


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama"])
def test_each_span_is_removed_as_a_whole(family: str) -> None:
    handle = handle_of(family)
    operator = removal(handle)
    (found,) = attribute(handle, encode(handle, [TEXT], unit=[SPANS]), unit="span", method="leave_one_out")
    words = found.words()
    spans = [(word.char_start, word.char_end) for word in words]
    assert set(SPANS) <= set(spans)
    assert [word.word for word in words if (word.char_start, word.char_end) not in SPANS] == REST
    assert all(word.word == TEXT[word.char_start : word.char_end] for word in words)
    ids = handle.tokenizer(TEXT).input_ids  # type: ignore[misc]
    owner = owners(handle, TEXT, spans)
    assert [None if i < 0 else i for i in found.word_index.tolist()] == owner
    index = found.target.index or 0
    for n, word in enumerate(words):
        without = [operator.token_id if unit == n else token for token, unit in zip(ids, owner, strict=True)]
        assert word.score == pytest.approx(logit(handle, ids, index) - logit(handle, without, index), abs=2e-4)


@pytest.mark.parametrize("method", ["shap", "permutation_shap"])
def test_shap_of_four_spans_is_the_exact_enumeration(method: str) -> None:
    handle = handle_of("bert")
    operator = removal(handle)
    text, spans = "the cat ate the red fish and was happy", [(0, 7), (12, 24), (29, 38)]
    (found,) = attribute(handle, encode(handle, [text], unit=[spans]), unit="span", method=method)
    words = found.words()
    assert [word.word for word in words] == ["the cat", "ate", "the red fish", "and", "was happy"]
    n = len(words)
    ids = handle.tokenizer(text).input_ids  # type: ignore[misc]
    owner = owners(handle, text, [(w.char_start, w.char_end) for w in words])
    worth = {
        kept: logit(
            handle,
            [i if unit is None or unit in kept else operator.token_id for i, unit in zip(ids, owner, strict=True)],
            found.target.index or 0,
        )
        for size in range(n + 1)
        for kept in itertools.combinations(range(n), size)
    }
    expected = []
    for unit in range(n):
        total = 0.0
        for kept, value in worth.items():
            if unit not in kept:
                weight = math.factorial(len(kept)) * math.factorial(n - len(kept) - 1) / math.factorial(n)
                total += weight * (worth[tuple(sorted((*kept, unit)))] - value)
        expected.append(total)
    sums = [word.score for word in words]
    assert sum(sums) == pytest.approx(sum(expected), abs=1e-4)
    if method == "shap":
        assert sums == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("method", ["integrated_gradients", "gradient_x_input", "deep_lift", "saliency"])
def test_gradients_of_tokens_are_summed_into_spans(method: str) -> None:
    handle = handle_of("bert")
    (tokens,) = attribute(handle, encode(handle, [TEXT]), unit="token", method=method)
    (found,) = attribute(handle, encode(handle, [TEXT], unit=[SPANS]), unit="span", method=method)
    assert found.scores == pytest.approx(tokens.scores, abs=1e-6)
    owner = owners(handle, TEXT, [(w.char_start, w.char_end) for w in found.words()])
    for n, word in enumerate(found.words()):
        assert word.score == pytest.approx(sum(tokens.scores[p] for p, unit in enumerate(owner) if unit == n), abs=1e-6)


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("method", ["leave_one_out", "occlusion", "shap", "lime"])
def test_segments_are_the_texts_of_a_pair(family: str, method: str) -> None:
    handle = handle_of(family)
    tokenizer: Any = handle.tokenizer
    operator = removal(handle)
    options: dict[str, Any] = {"window": 1} if method == "occlusion" else {"n_samples": 40} if method == "lime" else {}
    (found,) = attribute(
        handle, encode(handle, [PAIR], unit="segment"), unit="segment", method=method, target=0, **options
    )
    assert [word.word for word in found.words()] == list(PAIR)
    whole = tokenizer(*PAIR)
    sides = whole.sequence_ids(0)
    types = whole.token_type_ids if "token_type_ids" in tokenizer.model_input_names else None
    assert [None if i < 0 else i for i in found.word_index.tolist()] == sides

    def without(*gone: int) -> float:
        ids = [operator.token_id if s in gone else i for i, s in zip(whole.input_ids, sides, strict=True)]
        return logit(handle, ids, 0, types)

    first, second = (word.score for word in found.words())
    if method in ("leave_one_out", "occlusion"):
        assert first == pytest.approx(without() - without(0), abs=2e-4)
        assert second == pytest.approx(without() - without(1), abs=2e-4)
    if method == "shap":
        assert first == pytest.approx((without() - without(0) + without(1) - without(0, 1)) / 2, abs=2e-4)
        assert second == pytest.approx((without() - without(1) + without(0) - without(0, 1)) / 2, abs=2e-4)
    quality = measure(handle, Attribution(examples=(found,), method=method, unit="segment"), n_random=20)
    assert quality.per_example[0] is not None
    assert quality.per_example[0].n_words == 2


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_spans(method: str) -> None:
    handle = handle_of("bert")
    options = {"n_samples": 40} if method == "lime" else {}
    (found,) = attribute(handle, encode(handle, [TEXT], unit=[SPANS]), unit="span", method=method, **options)
    assert found.unit == "span"
    assert found.unit_spans is not None
    assert sum(len(word.positions) for word in found.words()) == int((~found.special).sum())


def test_the_quality_removes_the_units_that_were_explained() -> None:
    handle = handle_of("bert")
    operator = removal(handle)
    found = attribute(handle, encode(handle, [TEXT], unit=[SPANS]), unit="span", method="leave_one_out")
    words = found[0].words()
    owner = owners(handle, TEXT, [(w.char_start, w.char_end) for w in words])
    order = sorted(range(len(words)), key=lambda n: -words[n].score)
    ids = handle.tokenizer(TEXT).input_ids  # type: ignore[misc]

    def probability(gone: set[int]) -> float:
        row = [operator.token_id if unit in gone else i for i, unit in zip(ids, owner, strict=True)]
        with torch.no_grad():
            out = handle.model(input_ids=torch.tensor([row])).logits[0].softmax(-1)
        return float(out[found[0].target.index])

    quality = measure(handle, found, fractions=(0.3,), n_random=20)
    top = set(order[: max(1, int(np.floor(0.3 * len(words) + 0.5)))])
    one = quality.per_example[0]
    assert one is not None
    assert one.n_words == len(words) == len(SPANS) + len(REST)
    assert one.comprehensiveness == pytest.approx(probability(set()) - probability(top), abs=1e-5)
    assert quality.variant == "eraser_spans_k30"
    again_ = battery(handle, found, metrics=["seed_agreement"], explain=again(found), seeds=(1,), n_random=20)
    assert next(r.value for r in again_.rows if r.metric == "seed_agreement@1") == pytest.approx(1.0)


def test_spans_over_windows_and_through_the_disk(tmp_path: Any) -> None:
    import dataclasses

    handle = dataclasses.replace(handle_of("bert"), max_length=13)
    (e,) = encode(handle, [TEXT], unit=[SPANS], long_text="windows", doc_stride=4)
    found = attribute(handle, [e], unit="span", method="leave_one_out")
    assert found[0].windows is not None
    assert set(SPANS) <= {(w.char_start, w.char_end) for w in found[0].words()}
    quality = measure(handle, found, n_random=20)
    assert quality.per_example[0] is not None
    assert quality.per_example[0].n_words == len(SPANS) + len(REST)
    back = type(found).load(found.save(tmp_path / "a"))
    assert back.to_dict() == found.to_dict()
    assert [w.word for w in back[0].words()] == [w.word for w in found[0].words()]
