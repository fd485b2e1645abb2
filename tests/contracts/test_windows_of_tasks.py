"""Of every task with an output per place or a written one: what windows give comes out of plain forwards over each."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from interpret.analyzers.attribution import attribute
from interpret.analyzers.faithfulness import measure
from interpret.analyzers.scheduler import removal
from interpret.models.handle import Handle
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from interpret.results.explanations import FloatArray
from tests import zoo

STRIDE = 3
#: Every word of it is one token or more of every tokenizer here; "wonderland" is many.
LONG = "the cat ate the red fish and then the wonderland was very happy, not sad at all"
SHORT = "a good day"


def handle_of(family: str, task: str, size: int = 12) -> Handle:
    built = zoo.build(family, task)
    return dataclasses.replace(attach_handle(built.model, built.tokenizer), max_length=size)


class Part(NamedTuple):
    """A window as plain ids, and which tokens of the whole text those are."""

    ids: list[int]
    places: list[int]


def windows_of(handle: Handle, text: str, stride: int = STRIDE) -> list[Part]:
    """Laid by hand over the tokenizer's ids: from the first token on, special tokens at the ends in every window."""
    tokenizer: Any = handle.tokenizer
    whole = tokenizer(text, return_special_tokens_mask=True, verbose=False)
    special = whole.special_tokens_mask
    n = len(special)
    head, tail = special.index(0), special[::-1].index(0)
    room = handle.max_length - head - tail
    out, start = [], head
    while True:
        end = min(start + room, n - tail)
        places = [*range(head), *range(start, end), *range(n - tail, n)]
        out.append(Part([whole.input_ids[p] for p in places], places))
        if end == n - tail:
            return out
        start = end - stride


def token_at(handle: Handle, text: str, word: str) -> list[int]:
    """The tokens of the only `word` in a text, by their offsets."""
    tokenizer: Any = handle.tokenizer
    start = text.index(word)
    offsets = tokenizer(text, return_offsets_mapping=True, verbose=False).offset_mapping
    return [p for p, (a, b) in enumerate(offsets) if b > start and a < start + len(word) and b > a]


def plain(handle: Handle, ids: list[int], read: Any, **further: Tensor) -> tuple[float, FloatArray]:
    """The scalar that `read` takes from the output, and its gradient times the embedding `[token]`."""
    output = handle.model(input_ids=torch.tensor([ids]), output_hidden_states=True, **further)
    states = output.encoder_hidden_states if "encoder_hidden_states" in output else output.hidden_states
    scalar = read(output)
    (gradient,) = torch.autograd.grad(scalar, states[0])
    found: FloatArray = (gradient * states[0])[0].sum(-1).detach().double().numpy()
    return float(scalar.detach()), found


def mean_over(parts: list[Part], scores: list[FloatArray], n: int) -> tuple[FloatArray, list[int]]:
    """Scores [token] of the whole text as means over the windows that hold a token, and how many those are."""
    total, count = np.zeros(n), np.zeros(n, dtype=int)
    for part, found in zip(parts, scores, strict=True):
        total[part.places] += found
        count[part.places] += 1
    return total / np.maximum(count, 1), count.tolist()


def words_gone(handle: Handle, example: Any, part: Part, gone: list[int]) -> list[int]:
    token = removal(handle).token_id
    return [token if p in gone and not example.special[p] else i for i, p in zip(part.ids, part.places, strict=True)]


# The class of a word


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_the_class_of_a_word_counts_in_windows_that_hold_it_whole(family: str) -> None:
    handle = handle_of(family, "token-classification", size=16)
    parts = windows_of(handle, LONG, stride=11)
    word = token_at(handle, LONG, "wonderland")
    assert len(word) > 3
    first = word[0]
    holding = [part for part in parts if set(word) <= set(part.places)]
    cut = [part for part in parts if first in part.places and not set(word) <= set(part.places)]
    assert holding
    assert cut
    at = LONG.split().index("wonderland")
    encoded = encode(handle, [LONG], long_text="windows", doc_stride=11)
    with torch.no_grad():
        whole = torch.stack(
            [handle.model(input_ids=torch.tensor([p.ids])).logits[0, p.places.index(first)] for p in holding]
        ).mean(0)
    index = int(whole.argmax())
    found = attribute(handle, encoded, method="gradient_x_input", at=at)[0]
    assert found.target.index == index
    assert found.value == pytest.approx(float(whole[index]), abs=1e-5)
    each = [plain(handle, p.ids, lambda o, p=p: o.logits[0, p.places.index(first), index])[1] for p in holding]
    expected, count = mean_over(holding, each, len(found.tokens))
    assert found.scores == pytest.approx(expected, abs=1e-5)
    assert found.windows is not None
    assert found.windows.n_holding.tolist() == count
    # The place is the same whatever units are scored, so what is predicted and explained is too.
    tokens = attribute(
        handle,
        encode(handle, [LONG], unit="token", long_text="windows", doc_stride=11),
        method="gradient_x_input", unit="token", at=[p for p, s in enumerate(found.special) if not s].index(first),
    )[0]  # fmt: skip
    assert (tokens.target.index, tokens.value) == (found.target.index, found.value)


def test_a_word_that_no_window_holds_whole_is_that_of_its_first_token() -> None:
    handle = handle_of("bert", "token-classification", size=6)
    parts = windows_of(handle, LONG, stride=0)
    word = token_at(handle, LONG, "wonderland")
    holding = [part for part in parts if word[0] in part.places]
    assert len(word) > 4
    assert len(holding) == 1
    (found,) = attribute(
        handle, encode(handle, [LONG], long_text="windows", doc_stride=0), method="gradient_x_input", at=9
    )
    assert found.target.word == "wonderland"
    place = holding[0].places.index(word[0])
    value, scores = plain(handle, holding[0].ids, lambda o: o.logits[0, place, found.target.index])
    assert found.value == pytest.approx(value, abs=1e-5)
    expected, count = mean_over(holding, [scores], len(found.tokens))
    assert found.scores == pytest.approx(expected, abs=1e-5)
    # What the model cannot read has no score in tables: not one of 0.
    frame = found.to_frame()
    assert frame["score"].isna().tolist() == [n == 0 for n in count]


def test_quality_ranks_only_words_that_can_be_read() -> None:
    handle = handle_of("bert", "token-classification")
    (e,) = encode(handle, [LONG], long_text="windows", doc_stride=0)
    found = attribute(handle, [e], method="leave_one_out", at=0)
    assert found[0].windows is not None
    assert found[0].windows.n_explained == 1
    ours = measure(handle, found, n_random=20).per_example[0]
    # As if the first window were all there is.
    span = max(e.char_spans[p][1] for p in windows_of(handle, LONG, 0)[0].places)
    alone = attribute(handle, encode(handle, [LONG[:span]]), method="leave_one_out", at=0, target=found[0].target.index)
    theirs = measure(handle, alone, n_random=20).per_example[0]
    assert ours is not None
    assert theirs is not None
    assert ours.n_words == theirs.n_words < len(found[0].words())
    for name in ("comprehensiveness", "sufficiency", "random_comprehensiveness", "percentile"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=1e-5)


# What stands at a mask


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_what_fills_a_mask_is_the_mean_of_the_windows_that_hold_it(family: str, at: int) -> None:
    handle = handle_of(family, "masked-lm")
    tokenizer: Any = handle.tokenizer
    # Masks at both ends of the text, and one in several windows.
    text = f"{{0}} {LONG.replace('wonderland', '{0}')} {{0}}".format(tokenizer.mask_token)
    masks = [p for p, i in enumerate(tokenizer(text).input_ids) if i == tokenizer.mask_token_id]
    stride = 8
    holding = [part for part in windows_of(handle, text, stride) if masks[at] in part.places]
    assert (len(holding) > 1) == (at == 1)
    with torch.no_grad():
        rows = [handle.model(input_ids=torch.tensor([p.ids])).logits[0, p.places.index(masks[at])] for p in holding]
    index = int(torch.stack(rows).mean(0).argmax())
    encoded = encode(handle, [text], long_text="windows", doc_stride=stride)
    (found,) = attribute(handle, encoded, method="gradient_x_input", at=at)
    assert (found.target.index, found.target.position) == (index, masks[at])
    each = [plain(handle, p.ids, lambda o, p=p: o.logits[0, p.places.index(masks[at]), index]) for p in holding]
    expected, count = mean_over(holding, [scores for _, scores in each], len(found.tokens))
    assert found.scores == pytest.approx(expected, abs=1e-5)
    assert found.value == pytest.approx(np.mean([value for value, _ in each]), abs=1e-5)
    assert found.windows is not None
    assert found.windows.n_holding.tolist() == count
    assert found.windows.n_explained == len(holding) < len(found.windows)


def difference(handle: Handle, example: Any, holding: list[Part], protected: int | None, read: Any) -> float:
    """Mean over windows of the scalar with the text and without it, by plain forwards."""
    words = [p for p in range(len(example.tokens)) if p != protected]
    out = []
    for part in holding:
        empty = words_gone(handle, example, part, words)
        with torch.no_grad():
            a, b = (read(handle.model(input_ids=torch.tensor([ids])), part) for ids in (part.ids, empty))
        out.append(float(a - b))
    return float(np.mean(out))


def test_contributions_to_a_mask_sum_to_the_difference_of_outputs() -> None:
    handle = handle_of("bert", "masked-lm")
    text = LONG.replace("wonderland", "[MASK]")
    encoded = encode(handle, [text], long_text="windows", doc_stride=8)
    (found,) = attribute(handle, encoded, method="integrated_gradients", target=("good", "bad"), tolerance=1e-5)
    mask = found.target.position
    assert mask is not None
    holding = [part for part in windows_of(handle, text, 8) if mask in part.places]
    good, bad = found.target.index, found.target.foil_index
    expected = difference(
        handle, found, holding, mask,
        lambda o, p: o.logits[0, p.places.index(mask), good] - o.logits[0, p.places.index(mask), bad],
    )  # fmt: skip
    assert len(holding) > 1
    assert abs(expected) > 1e-3
    assert found.contributions.sum() == pytest.approx(expected, abs=1e-4)
    assert found.value - found.baseline_value == pytest.approx(expected, abs=1e-5)  # type: ignore[operator]


def test_the_quality_at_a_mask_is_that_of_the_mean_of_its_windows() -> None:
    handle = handle_of("bert", "masked-lm")
    text = LONG.replace("wonderland", "[MASK]")
    encoded = encode(handle, [text], long_text="windows", doc_stride=5)
    found = attribute(handle, encoded, method="leave_one_out")
    example = found[0]
    mask, index = example.target.position, example.target.index
    holding = [part for part in windows_of(handle, text, 5) if mask in part.places]
    assert len(holding) > 1
    # The mask itself is no word, nor is what the model cannot read.
    words = [w for w in example.words() if mask not in w.positions and example.read[list(w.positions)].any()]
    assert len(words) < len(example.words()) - 1
    top = sorted(words, key=lambda w: -w.score)[: max(1, int(0.2 * len(words) + 0.5))]
    gone = [p for word in top for p in word.positions]

    def probability(ids: list[int], part: Part) -> float:
        with torch.no_grad():
            logits = handle.model(input_ids=torch.tensor([ids])).logits[0, part.places.index(mask)]
        return float(logits.softmax(-1)[index])

    drops = [probability(p.ids, p) - probability(words_gone(handle, example, p, gone), p) for p in holding]
    quality = measure(handle, found, fractions=(0.2,), n_random=20).per_example[0]
    assert quality is not None
    assert quality.n_words == len(words)
    assert quality.comprehensiveness == pytest.approx(np.mean(drops), abs=1e-6)
