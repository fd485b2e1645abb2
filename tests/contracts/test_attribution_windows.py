"""Texts longer than the model reads: what is said of them comes out of plain forwards over the tokenizer's windows."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from interpret.analyzers.attribution import METHODS, attribute
from interpret.analyzers.faithfulness import battery, measure
from interpret.analyzers.scheduler import removal
from interpret.analyzers.target import Target
from interpret.errors import UsageError
from interpret.facade.again import again
from interpret.models.handle import Handle
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from interpret.models.words import word_spans
from interpret.results.explanations import FloatArray
from tests import tiny, zoo

LONG = "the cat ate the red fish 👩\u200d💻 and then\r\nthe cafe\u0301 was very happy，味道很好, not sad at all"
SHORT = "a good day"
PAIR = ("was the film good", f"she said the end was sad. {LONG}")
SIZE, STRIDE = 13, 4


def handle_of(family: str, task: str = "text-classification", size: int = SIZE) -> Handle:
    built = zoo.build(family, task)
    return dataclasses.replace(attach_handle(built.model, built.tokenizer), max_length=size)


Windows = list[tuple[list[int], list[int]]]


def windows_of(handle: Handle, *texts: str) -> Windows:
    """Of each window as the tokenizer cuts it: its ids, and which tokens of the whole text those are."""
    tokenizer: Any = handle.tokenizer
    whole = tokenizer(*texts, verbose=False)
    sides, side = whole.sequence_ids(0), len(texts) - 1
    found = tokenizer(
        *texts,
        truncation="only_second" if len(texts) == 2 else True,
        max_length=handle.max_length,
        stride=STRIDE,
        return_overflowing_tokens=True,
    )
    out = []
    start = sides.index(side)
    for n, ids in enumerate(found.input_ids):
        those = found.sequence_ids(n)
        n_moving = those.count(side)
        tail = len(those) - n_moving - those.index(side)
        places = [*range(sides.index(side)), *range(start, start + n_moving)]
        places += range(len(sides) - tail, len(sides))
        assert [whole.input_ids[p] for p in places] == ids
        out.append((ids, places))
        start += n_moving - STRIDE
    return out


def words_of(handle: Handle, text: str) -> list[int | None]:
    """The word of each token of the whole text: of its first character that is no space, else the next token's."""
    tokenizer: Any = handle.tokenizer
    whole = tokenizer(text, return_offsets_mapping=True, verbose=False)
    out: list[int | None] = []
    for (start, end), side in reversed(list(zip(whole.offset_mapping, whole.sequence_ids(0), strict=True))):
        first = next((p for p in range(start, end) if not text[p].isspace()), None)
        if side is None:
            out.append(None)
        elif first is None:
            out.append(out[-1])
        else:
            out.append(next(n for n, (a, b) in enumerate(word_spans(text)) if a <= first < b))
    return out[::-1]


def logits(handle: Handle, ids: list[int]) -> Any:
    with torch.no_grad():
        return handle.model(input_ids=torch.tensor([ids])).logits[0]


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "distilbert"])
def test_scores_are_means_over_the_windows_that_hold_a_token(family: str) -> None:
    handle = handle_of(family)
    operator = removal(handle)
    parts = windows_of(handle, LONG)
    assert len(parts) > 2
    outputs = [logits(handle, ids) for ids, _ in parts]
    whole = torch.stack(outputs).mean(0)
    predicted = int(whole.argmax())
    owner = words_of(handle, LONG)
    given: dict[int, list[float]] = defaultdict(list)
    for (ids, places), before in zip(parts, outputs, strict=True):
        for word in {owner[place] for place in places} - {None}:
            mine = [p for p, place in enumerate(places) if owner[place] == word]
            without = [operator.token_id if p in mine else token for p, token in enumerate(ids)]
            loss = float(before[predicted] - logits(handle, without)[predicted])
            for p in mine:
                given[places[p]].append(loss / len(mine))
    long, short = attribute(
        handle,
        encode(handle, [LONG, SHORT], long_text="windows", doc_stride=STRIDE),
        method="leave_one_out",
    )
    assert long.target.index == predicted
    assert long.value == pytest.approx(float(whole[predicted]), abs=1e-5)
    assert long.windows is not None
    assert (len(long.windows), long.windows.size, long.windows.stride) == (len(parts), SIZE, STRIDE)
    assert long.windows.values == pytest.approx([float(one[predicted]) for one in outputs], abs=1e-5)
    expected = np.array([np.mean(given[p]) if p in given else 0.0 for p in range(len(owner))])
    assert long.scores == pytest.approx(expected, abs=2e-4)
    counts = [len(given[p]) if p in given else len(parts) for p in range(len(owner))]
    assert long.windows.n_holding.tolist() == counts
    assert {1, 2} <= set(counts)
    plain = attribute(handle, encode(handle, [SHORT]), method="leave_one_out")[0]
    assert short.windows is None
    assert np.abs(short.scores - plain.scores).max() < 1e-5


def linear(n_labels: int = 2) -> Handle:
    """A BERT whose logits are linear in the word embeddings: uniform attention to them, and nothing else."""
    model, tokenizer = tiny.tiny("bert", n_labels=n_labels)
    bert: Any = model.bert
    with torch.no_grad():
        for layer in bert.encoder.layer:
            attention = layer.attention
            for part in (attention.self.query, attention.self.key, layer.intermediate.dense, layer.output.dense):
                part.weight.zero_()
                part.bias.zero_()
        # The second layer hands on what the first one found.
        last = bert.encoder.layer[1].attention.output.dense
        last.weight.zero_()
        last.bias.zero_()
        bert.embeddings.position_embeddings.weight.zero_()
        bert.embeddings.token_type_embeddings.weight.zero_()
    for module in list(bert.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.LayerNorm):
                setattr(module, name, nn.Identity())
    bert.pooler.activation = nn.Identity()
    return dataclasses.replace(attach_handle(model, tokenizer), max_length=SIZE)


def weights_of(handle: Handle, index: int) -> FloatArray:
    """Of every word of the vocabulary: the logit per share of attention, worked out from the matrices."""
    model: Any = handle.model
    attention = model.bert.encoder.layer[0].attention
    with torch.no_grad():
        table = model.bert.embeddings.word_embeddings.weight.double()
        mixed = table @ attention.self.value.weight.double().T @ attention.output.dense.weight.double().T
        found: FloatArray = (mixed @ model.bert.pooler.dense.weight.double().T @ model.classifier.weight.double().T)[
            :, index
        ].numpy()
    return found


LINEAR = ("integrated_gradients", "deep_lift", "gradient_shap", "leave_one_out", "shap", "permutation_shap")


@pytest.mark.parametrize("method", LINEAR)
def test_of_a_linear_model_scores_and_sum_have_a_closed_form(method: str) -> None:
    handle = linear()
    weights = weights_of(handle, 1)
    mask = int(handle.tokenizer.mask_token_id)  # type: ignore[union-attr]
    parts = windows_of(handle, LONG)
    (e,) = encode(handle, [LONG], unit="token", long_text="windows", doc_stride=STRIDE)
    (found,) = attribute(handle, [e], target=1, unit="token", method=method)
    assert e.windows is not None
    assert len(parts) == len(e.windows.positions) > 2
    # A token has its share of its window's attention, so that it counts for more in a short last window.
    shares = np.array([[p in window and 1 / len(window) for window in e.windows.positions] for p in range(len(e.ids))])
    effect = np.array([weights[token] - weights[mask] for token in e.ids]) * ~np.asarray(e.special)
    expected = effect * shares.sum(axis=1) / (shares > 0).sum(axis=1)
    assert found.scores == pytest.approx(expected, abs=1e-5)
    # What windows share counts in both; the mean of the windows' differences is the sum of the contributions.
    difference = float(np.mean([sum(effect[p] for p in window) / len(window) for window in e.windows.positions]))
    assert found.contributions.sum() == pytest.approx(difference, abs=1e-5)
    assert found.scores.sum() != pytest.approx(difference, abs=1e-3)


@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt2"])
def test_contributions_sum_to_the_difference_of_outputs(family: str) -> None:
    handle = handle_of(family)
    operator = removal(handle)
    (found,) = attribute(
        handle, encode(handle, [LONG], long_text="windows", doc_stride=STRIDE), method="integrated_gradients",
        max_steps=400, tolerance=1e-3,
    )  # fmt: skip
    differences = []
    owner = words_of(handle, LONG)
    for ids, places in windows_of(handle, LONG):
        empty = [i if owner[place] is None else operator.token_id for i, place in zip(ids, places, strict=True)]
        differences.append(float((logits(handle, ids) - logits(handle, empty))[found.target.index]))
    expected = float(np.mean(differences))
    assert found.contributions.sum() == pytest.approx(expected, abs=2e-3 * max(map(abs, differences)) + 1e-4)
    assert found.value is not None
    assert found.baseline_value is not None
    assert found.value - found.baseline_value == pytest.approx(expected, abs=1e-4)
    error = abs(found.contributions.sum() - (found.value - found.baseline_value))
    assert found.convergence_delta == pytest.approx(error / abs(found.value - found.baseline_value), abs=1e-6)
    assert found.windows is not None
    ours = [a - b for a, b in zip(found.windows.values, found.windows.baseline_values, strict=True)]  # type: ignore[operator]
    assert ours == pytest.approx(differences, abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_windows_and_leaves_the_model_alone(method: str) -> None:
    handle = handle_of("bert")
    before = {name: value.clone() for name, value in handle.model.state_dict().items()}
    encoded = encode(handle, [LONG], long_text="windows", doc_stride=STRIDE)
    options = {"n_samples": 40} if method == "lime" else {}
    (found,) = attribute(handle, encoded, method=method, target=0, **options)
    assert found.tokens == encoded[0].tokens
    assert np.abs(found.scores).max() > 0
    # The same from each window as if it were a text of its own.
    assert encoded[0].windows is not None
    total, count = np.zeros(len(found.tokens)), np.zeros(len(found.tokens))
    for window, (ids, _) in zip(encoded[0].windows.positions, windows_of(handle, LONG), strict=True):
        alone = _window_alone(handle, encoded[0], window, ids, method, options)
        total[list(window)] += alone
        count[list(window)] += 1
    assert found.scores == pytest.approx(total / count, abs=2e-4)
    assert all(torch.equal(value, before[name]) for name, value in handle.model.state_dict().items())


def _window_alone(handle: Handle, e: Any, window: Any, ids: list[int], method: str, options: Any) -> FloatArray:
    take = {
        name: tuple(getattr(e, name)[p] for p in window)
        for name in ("type_ids", "tokens", "word_index", "char_spans", "special")
    }
    part = dataclasses.replace(e, ids=tuple(ids), windows=None, **take)
    scores: FloatArray = attribute(handle, [part], method=method, target=0, **options)[0].scores
    return scores


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_the_class_of_a_word_is_that_of_the_windows_that_hold_it(family: str) -> None:
    handle = handle_of(family, "token-classification")
    operator = removal(handle)
    parts = windows_of(handle, LONG)
    owner = words_of(handle, LONG)
    at = next(n for n in range(30) if sum(owner.index(n) in places for _, places in parts) == 2)
    first = owner.index(at)
    holding = [(ids, places, places.index(first)) for ids, places in parts if first in places]
    assert 1 < len(holding) < len(parts)
    whole = torch.stack([logits(handle, ids)[place] for ids, _, place in holding]).mean(0)
    (found,) = attribute(
        handle, encode(handle, [LONG], long_text="windows", doc_stride=STRIDE), method="leave_one_out", at=at
    )
    assert found.target.index == int(whole.argmax())
    assert found.target.word == LONG[slice(*word_spans(LONG)[at])]
    assert found.value == pytest.approx(float(whole.max()), abs=1e-5)
    assert found.windows is not None
    assert found.windows.n_explained == len(holding)
    assert sum(value is not None for value in found.windows.values) == len(holding)
    beyond = sorted(set(range(len(owner))) - {place for _, places, _ in holding for place in places})
    assert beyond
    assert np.all(found.scores[beyond] == 0)
    assert np.all(found.windows.n_holding[beyond] == 0)
    given: dict[int, list[float]] = defaultdict(list)
    for ids, places, place in holding:
        for word in {owner[p] for p in places} - {None}:
            mine = [p for p, there in enumerate(places) if owner[there] == word]
            without = [operator.token_id if p in mine else token for p, token in enumerate(ids)]
            loss = logits(handle, ids)[place] - logits(handle, without)[place]
            for p in mine:
                given[places[p]].append(float(loss[found.target.index]) / len(mine))
    expected = np.array([np.mean(given[p]) if p in given else 0.0 for p in range(len(owner))])
    assert found.scores == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("family", ["distilbert", "roberta"])
def test_an_answer_is_that_of_the_windows_that_hold_it(family: str) -> None:
    handle = handle_of(family, "question-answering", size=18)
    parts = windows_of(handle, *PAIR)
    assert len(parts) > 2
    tokenizer: Any = handle.tokenizer
    sides = tokenizer(*PAIR).sequence_ids(0)
    found: dict[tuple[int, int], list[float]] = defaultdict(list)
    for ids, places in parts:
        with torch.no_grad():
            out = handle.model(input_ids=torch.tensor([ids]))
        inside = [p for p, place in enumerate(places) if sides[place] == 1]
        for i in inside:
            for j in (j for j in inside if i <= j < i + 30):
                found[places[i], places[j]].append(float(out.start_logits[0, i] + out.end_logits[0, j]))
    best = max(found, key=lambda span: np.mean(found[span]))
    (e,) = encode(handle, [PAIR], long_text="windows", doc_stride=STRIDE)
    (example,) = attribute(handle, [e], method="leave_one_out")
    assert (example.target.position, example.target.end) == best
    assert example.value == pytest.approx(float(np.mean(found[best])), abs=1e-4)
    assert example.windows is not None
    assert example.windows.n_explained == len(found[best])
    # The question is in every window, so its words count in all that are explained.
    question = (example.char_spans[:, 1] <= len(PAIR[0])) & ~example.special
    assert np.all(example.windows.n_holding[question] == example.windows.n_explained)
    # An answer that is given, and one that no window holds whole.
    (given,) = attribute(handle, [e], method="leave_one_out", target="red fish")
    assert given.target.word == "red fish"
    with pytest.raises(UsageError, match=r"none of the \d+ windows.*larger doc_stride"):
        attribute(handle, [e], method="leave_one_out", target=PAIR[1])


def test_the_quality_is_that_of_the_mean_of_the_windows() -> None:
    handle = handle_of("bert")
    operator = removal(handle)
    encoded = encode(handle, [LONG], long_text="windows", doc_stride=STRIDE)
    found = attribute(handle, encoded, method="leave_one_out")
    index = found[0].target.index
    words, owner = found[0].words(), words_of(handle, LONG)
    order = sorted(range(len(words)), key=lambda n: -words[n].score)

    def mean_probability(gone: set[int]) -> float:
        out = []
        for ids, places in windows_of(handle, LONG):
            without = [operator.token_id if owner[place] in gone else i for i, place in zip(ids, places, strict=True)]
            out.append(float(logits(handle, without).softmax(-1)[index]))
        return float(np.mean(out))

    n = len(words)
    assert n == len(word_spans(LONG))
    for fraction in (0.2, 0.5, 1.0):
        top = set(order[: max(1, int(np.floor(fraction * n + 0.5)))])
        quality = measure(handle, found, fractions=(fraction,), n_random=20).per_example[0]
        assert quality is not None
        assert quality.comprehensiveness == pytest.approx(mean_probability(set()) - mean_probability(top), abs=1e-5)
        kept = mean_probability(set(range(n)) - top)
        assert quality.sufficiency == pytest.approx(mean_probability(set()) - kept, abs=1e-5)


def test_the_whole_battery_runs_on_windows_and_explains_them_again_alike() -> None:
    handle = handle_of("bert")
    encoded = encode(handle, [LONG, SHORT], long_text="windows", doc_stride=STRIDE)
    found = attribute(handle, encoded, method="integrated_gradients", n_steps=8)
    record = battery(
        handle, found, operators=("mask_token", "delete"), explain=again(found), seeds=(1,), n_random=20, budget=20_000
    )
    rows = {row.metric: row for row in record.rows if row.operator != "delete"}
    # Made again with another seed, a method without chance must be the same: it was read in the same windows.
    assert rows["seed_agreement@1"].value == pytest.approx(1.0)
    assert rows["sensitivity_max"].value is not None
    assert record.randomisation


def test_a_contrast_and_gold_are_means_over_windows_too() -> None:
    handle = handle_of("bert")
    whole = torch.stack([logits(handle, ids) for ids, _ in windows_of(handle, LONG)]).mean(0)
    encoded = encode(handle, [LONG], long_text="windows", doc_stride=STRIDE)
    (contrast,) = attribute(handle, encoded, method="leave_one_out", target=(0, 2))
    assert contrast.value == pytest.approx(float(whole[0] - whole[2]), abs=1e-5)
    (gold,) = attribute(handle, encoded, method="leave_one_out", target="gold", gold=[1])
    assert gold.value == pytest.approx(float(whole[1]), abs=1e-5)


def test_the_record_of_windows_survives_the_disk(tmp_path: Any) -> None:
    handle = handle_of("bert")
    encoded = encode(handle, [LONG], long_text="windows", doc_stride=STRIDE)
    found = attribute(handle, encoded, method="leave_one_out")
    back = type(found).load(found.save(tmp_path / "a"))
    assert back.to_dict() == found.to_dict()
    assert Target("class", 0).parts(encoded[0])[0][0].positions == encoded[0].windows.positions[0]  # type: ignore[union-attr]
