"""Of every task with an output per place or a written one: what windows give comes out of plain forwards over each."""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import interpret
from interpret.analyzers.attribution import METHODS, attribute
from interpret.analyzers.faithfulness import measure
from interpret.analyzers.scheduler import removal
from interpret.errors import RunError, UsageError
from interpret.facade.attached import AttachedModel
from interpret.models.handle import Handle
from interpret.models.inputs import encode, within
from interpret.models.load import attach_handle
from interpret.results.explanations import FloatArray
from interpret.results.views import to_html, to_text
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


def by_threes(text: str) -> list[str]:
    return [text[start : start + 3] for start in range(0, len(text), 3)]


@pytest.mark.parametrize("own", ["segmenter", "spans"])
def test_a_word_that_the_caller_found_counts_in_windows_that_hold_it_whole(own: str) -> None:
    handle = handle_of("bert", "token-classification", size=9)
    # Each character is a word to the finder of words.
    text = "的不好吃很味道的不好吃很味道"
    places = token_at(handle, text, text)
    assert len(places) == len(text)
    spans = [(start, min(start + 3, len(text))) for start in range(0, len(text), 3)]
    how: Any = {"segmenter": by_threes} if own == "segmenter" else {"unit": [spans]}
    encoded = encode(handle, [text], long_text="windows", doc_stride=5, **how)
    parts = windows_of(handle, text, stride=5)
    cuts = 0
    for at, (start, end) in enumerate(spans):
        word = places[start:end]
        holding = [part for part in parts if set(word) <= set(part.places)]
        cuts += sum(word[0] in part.places and part not in holding for part in parts)
        (found,) = attribute(
            handle, encoded, method="gradient_x_input", at=at, unit="word" if own == "segmenter" else "span"
        )
        assert found.target.word == text[start:end]
        with torch.no_grad():
            lines = [handle.model(input_ids=torch.tensor([p.ids])).logits[0, p.places.index(word[0])] for p in holding]
        mean = torch.stack(lines).mean(0)
        assert found.target.index == int(mean.argmax())
        assert found.value == pytest.approx(float(mean.max()), abs=1e-5)
        assert found.windows is not None
        assert [value is not None for value in found.windows.values] == [part in holding for part in parts]
    assert cuts > 0


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


# What a causal model writes next


def last_window(handle: Handle, text: str, n_response: int) -> Part:
    """Special tokens in front, and of the text the last tokens that fit beside the response."""
    tokenizer: Any = handle.tokenizer
    whole = tokenizer(text, return_special_tokens_mask=True)
    head, n = whole.special_tokens_mask.index(0), len(whole.input_ids)
    places = [*range(head), *range(max(head, n - (handle.max_length - n_response - head)), n)]
    return Part([whole.input_ids[p] for p in places], places)


def greedy(handle: Handle, ids: list[int], n: int, ends: int | None = None) -> list[int]:
    out: list[int] = []
    with torch.no_grad():
        while len(out) < n and (not out or out[-1] != ends):
            out.append(int(handle.model(input_ids=torch.tensor([[*ids, *out]])).logits[0, -1].argmax()))
    return out


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral"])
def test_what_is_written_next_is_read_off_the_window_that_ends_there(family: str) -> None:
    handle = handle_of(family, "causal-lm")
    part = last_window(handle, LONG, 0)
    encoded = encode(handle, [LONG], long_text="windows", doc_stride=STRIDE)
    (found,) = attribute(handle, encoded, method="gradient_x_input")
    index = greedy(handle, part.ids, 1)[0]
    assert found.target.index == index
    value, scores = plain(handle, part.ids, lambda o: o.logits[0, -1, index])
    assert found.value == pytest.approx(value, abs=1e-5)
    expected, count = mean_over([part], [scores], len(found.tokens))
    assert found.scores == pytest.approx(expected, abs=1e-5)
    read = found.windows
    assert read is not None
    assert (read.size, read.stride, read.n_explained) == (handle.max_length, STRIDE, 1)
    assert read.values == (*[None] * (len(read) - 1), pytest.approx(value, abs=1e-5))
    assert read.n_holding.tolist() == count
    assert found.to_frame()["score"].isna().tolist() == [n == 0 for n in count]
    # Neighbours share the stride, the first window begins with the text and the last is full.
    bounds = read.bounds.tolist()
    head = part.places.index(bounds[-1][0])
    assert (bounds[0][0], bounds[-1]) == (head, [part.places[head], len(found.tokens)])
    assert all(before[1] - after[0] == STRIDE for before, after in itertools.pairwise(bounds))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_response_is_explained_with_the_text_that_fits_beside_it(family: str) -> None:
    handle = handle_of(family, "causal-lm")
    tokenizer: Any = handle.tokenizer
    response = " was not very good"
    whole, text = (tokenizer(t).input_ids for t in (LONG + response, LONG))
    ids = whole[len(text) :]
    part = last_window(handle, LONG, len(ids))
    rows = [*part.ids, *ids[:-1]]

    def log_probability(output: Any) -> Any:
        found = output.logits[0, len(part.ids) - 1 :].log_softmax(-1)
        return found[range(len(ids)), ids].sum()

    encoded = encode(handle, [LONG], long_text="windows", doc_stride=STRIDE)
    (found,) = attribute(handle, encoded, method="gradient_x_input", response=response)
    value, scores = plain(handle, rows, log_probability)
    assert found.target.response == tuple(ids)
    assert found.value == pytest.approx(value, abs=1e-4)
    expected, count = mean_over([part], [scores[: len(part.ids)]], len(found.tokens))
    assert found.scores == pytest.approx(expected, abs=1e-5)
    assert found.windows is not None
    assert found.windows.n_holding.tolist() == count
    assert (found.windows.size, found.windows.n_explained) == (handle.max_length - len(ids), 1)
    # One of its tokens, beside the same text.
    (one,) = attribute(handle, encoded, method="gradient_x_input", response=response, at=2)
    value, scores = plain(handle, [*part.ids, *ids[:2]], lambda o: o.logits[0, -1, ids[2]])
    assert one.value == pytest.approx(value, abs=1e-5)
    assert one.scores == pytest.approx(mean_over([part], [scores[: len(part.ids)]], len(one.tokens))[0], abs=1e-5)
    # A text that fits, but not with what follows it.
    start = [a for a, b in tokenizer(LONG, return_offsets_mapping=True).offset_mapping if b > a][3 - handle.max_length]
    fits = LONG[start:].strip()
    assert handle.max_length - len(ids) < len(tokenizer(fits).input_ids) <= handle.max_length
    (found,) = attribute(
        handle, encode(handle, [fits], long_text="windows"), method="gradient_x_input", response=response
    )
    assert found.windows is not None
    assert found.read.sum() == handle.max_length - len(ids)


@pytest.mark.parametrize("ends_at", [0, 1, 2, 3, None])
def test_what_a_causal_model_writes_is_what_it_writes_in_the_window_that_is_explained(
    ends_at: int | None, tmp_path: Path
) -> None:
    handle = handle_of("gpt2", "causal-lm", size=14)
    model: Any = handle.model
    part = last_window(handle, LONG, 6)
    ends = None if ends_at is None else list(dict.fromkeys(greedy(handle, part.ids, 6)))[ends_at]
    model.generation_config.eos_token_id = ends
    encoded = encode(handle, [LONG, SHORT], long_text="windows", doc_stride=STRIDE)
    result = attribute(handle, encoded, method="gradient_x_input", response=True, max_new_tokens=6)
    found, short = result
    ids = list(found.target.response)
    assert ids == greedy(handle, part.ids, 6, ends)
    assert ids[-1] == ends or len(ids) == 6
    assert np.flatnonzero(found.read).tolist() == part.places
    assert found.windows is not None
    assert found.windows.size == 14 - 6

    def log_probability(output: Any) -> Any:
        return output.logits[0, len(part.ids) - 1 :].log_softmax(-1)[range(len(ids)), ids].sum()

    value, scores = plain(handle, [*part.ids, *ids[:-1]], log_probability)
    assert found.value == pytest.approx(value, abs=1e-4)
    assert found.scores[part.places] == pytest.approx(scores[: len(part.ids)], abs=1e-5)
    # One of its tokens stands beside the same window, and so does what is measured later.
    (one,) = attribute(handle, encoded[:1], method="gradient_x_input", response=True, max_new_tokens=6, at=0)
    assert np.array_equal(one.read, found.read)
    quality = measure(handle, type(result).load(result.save(tmp_path / "a")), n_random=20).per_example[0]
    assert quality is not None
    assert quality.n_words == sum(bool(found.read[list(w.positions)].any()) for w in found.words())
    response = list(short.target.response)
    assert response == greedy(handle, last_window(handle, SHORT, 6).ids, 6, ends)
    assert short.windows is None


def test_a_text_that_fits_beside_what_is_written_is_read_whole() -> None:
    handle = handle_of("gpt2", "causal-lm", size=16)
    model: Any = handle.model
    tokenizer: Any = handle.tokenizer
    ids = tokenizer(SHORT).input_ids
    left = 16 - len(ids)
    model.generation_config.eos_token_id = None
    free = greedy(handle, ids, left)
    ours, theirs = (encode(handle, [SHORT], long_text=how) for how in ("windows", "truncate"))  # type: ignore[arg-type]
    how = {"method": "gradient_x_input", "response": True}
    # Not to an end, and not as much as was asked for.
    with pytest.raises(UsageError, match="of 20 tokens leaves no room"):
        attribute(handle, ours, **how)
    with pytest.raises(UsageError, match=rf"take {len(ids) + 20} tokens"):
        attribute(handle, theirs, **how)
    part = last_window(handle, SHORT, 15)
    assert len(part.ids) == 1 < len(ids)
    (cut,) = attribute(handle, ours, max_new_tokens=15, **how)
    assert list(cut.target.response) == greedy(handle, part.ids, 15)
    model.generation_config.eos_token_id = free[1]
    (found,), (alone,) = (attribute(handle, e, **how) for e in (ours, theirs))
    assert list(found.target.response) == greedy(handle, ids, left, free[1])
    assert len(found.target.response) < left
    assert found.windows is None
    assert found.to_dict() == alone.to_dict()


def runs_of(handle: Handle) -> list[int]:
    """How often the model ran, as a list that grows."""
    model: Any = handle.model
    runs: list[int] = []
    model.register_forward_pre_hook(lambda *_: runs.append(1))
    return runs


def test_a_response_longer_than_a_decoder_reads_is_refused_before_anything_runs() -> None:
    handle = handle_of("bart", "seq2seq-lm")
    model: Any = handle.model
    limit = model.config.max_position_embeddings
    ends = model.generation_config.eos_token_id
    for long_text in ("truncate", "windows"):
        encoded = encode(handle, [LONG], long_text=long_text)  # type: ignore[arg-type]
        runs = runs_of(handle)
        with pytest.raises(UsageError, match=rf"takes {limit + 20} tokens, and the decoder of .* reads {limit}"):
            attribute(handle, encoded, method="gradient_x_input", response=" good" * (limit + 18))
        assert not runs
        # All that it reads is explained, but not what a function would read too.
        (found,) = attribute(handle, encoded, method="gradient_x_input", response=" good" * (limit - 2))
        assert len(found.target.response) == limit
        with pytest.raises(UsageError, match=f"takes {limit} tokens"):
            attribute(
                handle, encoded, method="gradient_x_input", response=" good" * (limit - 2),
                target=lambda output: output.logits[:, -1, 0],
            )  # fmt: skip
        # What the model writes may be asked for at any length, if it ends.
        model.generation_config.eos_token_id = None
        with pytest.raises(UsageError, match=f"takes {limit + 1} tokens"):
            attribute(handle, encoded, method="gradient_x_input", max_new_tokens=limit + 1)
        (free,) = attribute(handle, encoded, method="gradient_x_input", max_new_tokens=5)
        model.generation_config.eos_token_id = free.target.response[2]
        (found,) = attribute(handle, encoded, method="gradient_x_input", max_new_tokens=limit + 1)
        assert found.target.response[-1] == free.target.response[2]
        model.generation_config.eos_token_id = ends
    # A decoder that counts positions relatively reads any number.
    handle = handle_of("t5", "seq2seq-lm")
    (found,) = attribute(handle, encode(handle, [SHORT]), method="gradient_x_input", response=" good" * 600)
    assert len(found.target.response) > 600


def test_contributions_to_a_response_sum_to_the_difference_of_outputs() -> None:
    handle = handle_of("llama", "causal-lm", size=14)
    encoded = encode(handle, [LONG], long_text="windows", doc_stride=STRIDE)
    (found,) = attribute(handle, encoded, method="integrated_gradients", response=" was sad", tolerance=1e-5)
    ids = list(found.target.response)
    part = last_window(handle, LONG, len(ids))
    values = []
    for row in (part.ids, words_gone(handle, found, part, list(range(len(found.tokens))))):
        with torch.no_grad():
            logits = handle.model(input_ids=torch.tensor([[*row, *ids[:-1]]])).logits[0, len(row) - 1 :]
        values.append(float(logits.log_softmax(-1)[range(len(ids)), ids].sum()))
    assert abs(values[0] - values[1]) > 1e-3
    assert found.contributions.sum() == pytest.approx(values[0] - values[1], abs=1e-4)
    assert [found.value, found.baseline_value] == pytest.approx(values, abs=1e-4)


def test_the_quality_of_what_is_written_next_is_that_of_its_window_as_a_text() -> None:
    handle = handle_of("gpt2", "causal-lm")
    tokenizer: Any = handle.tokenizer
    for response, n in ((None, 0), (" was sad", 2)):
        part = last_window(handle, LONG, n)
        start = tokenizer(LONG, return_offsets_mapping=True).offset_mapping[part.places[0]][0]
        end = LONG[start:]
        assert tokenizer(end).input_ids == part.ids
        found, alone = (
            attribute(handle, encode(handle, [text], long_text=how), method="leave_one_out", response=response)
            for text, how in ((LONG, "windows"), (end, "truncate"))
        )
        assert alone[0].value == found[0].value
        ours, theirs = (measure(handle, one, n_random=20).per_example[0] for one in (found, alone))
        assert ours == theirs


def test_what_no_window_can_hold_is_refused() -> None:
    handle = handle_of("llama", "causal-lm")
    encoded = encode(handle, [LONG], long_text="windows")
    with pytest.raises(UsageError, match=r"of 12 tokens leaves no room.*12 tokens.*shorter response"):
        attribute(handle, encoded, response=" good" * 12)
    with pytest.raises(UsageError, match="long_text='windows'"):
        attribute(handle, encode(handle, [LONG]), response=" good")


# What an encoder-decoder writes of a long source


def decoder_ids(handle: Handle, ids: list[int]) -> Tensor:
    return torch.tensor([[handle.model.config.decoder_start_token_id, *ids]])


def greedy_mean(handle: Handle, parts: list[Part], n: int, ends: int) -> list[int]:
    """Each token by the mean of the logits over the windows, one window at a time and without a cache."""
    out: list[int] = []
    with torch.no_grad():
        while len(out) < n and (not out or out[-1] != ends):
            lines = [
                handle.model(input_ids=torch.tensor([p.ids]), decoder_input_ids=decoder_ids(handle, out)).logits[0, -1]
                for p in parts
            ]
            out.append(int(torch.stack(lines).mean(0).argmax()))
    return out


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_a_long_source_is_read_in_windows_that_all_have_the_response(family: str) -> None:
    handle = handle_of(family, "seq2seq-lm")
    tokenizer: Any = handle.tokenizer
    parts = windows_of(handle, LONG)
    assert len(parts) > 2
    response = "not good"
    ids = tokenizer(text_target=response).input_ids
    encoded = encode(handle, [LONG], long_text="windows", doc_stride=STRIDE)
    (found,) = attribute(handle, encoded, method="gradient_x_input", response=response)
    assert found.target.response == tuple(ids)

    def log_probability(output: Any) -> Any:
        return output.logits[0].log_softmax(-1)[range(len(ids)), ids].sum()

    each = [plain(handle, p.ids, log_probability, decoder_input_ids=decoder_ids(handle, ids[:-1])) for p in parts]
    expected, count = mean_over(parts, [scores for _, scores in each], len(found.tokens))
    assert found.scores == pytest.approx(expected, abs=1e-5)
    assert found.value == pytest.approx(np.mean([value for value, _ in each]), abs=1e-4)
    assert found.windows is not None
    assert found.windows.values == pytest.approx([value for value, _ in each], abs=1e-4)
    assert found.windows.n_holding.tolist() == count
    assert found.windows.n_explained == len(parts)
    assert found.read.all()
    # One of its tokens rather than another.
    (one,) = attribute(
        handle, encoded, method="gradient_x_input", response=response, at=1, target=(ids[1], ids[0])
    )  # fmt: skip
    each = [
        plain(
            handle, p.ids, lambda o: o.logits[0, -1, ids[1]] - o.logits[0, -1, ids[0]],
            decoder_input_ids=decoder_ids(handle, ids[:1]),
        )
        for p in parts
    ]  # fmt: skip
    assert one.scores == pytest.approx(mean_over(parts, [s for _, s in each], len(one.tokens))[0], abs=1e-5)
    assert one.value == pytest.approx(np.mean([value for value, _ in each]), abs=1e-5)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_what_is_written_of_a_long_source_is_chosen_by_the_mean_over_its_windows(family: str) -> None:
    handle = handle_of(family, "seq2seq-lm")
    parts = windows_of(handle, LONG)
    model: Any = handle.model
    expected = greedy_mean(handle, parts, 5, model.generation_config.eos_token_id)
    before = (torch.get_rng_state(), model.generation_config.to_dict())
    encoded = encode(handle, [LONG, SHORT], long_text="windows", doc_stride=STRIDE)
    found, short = attribute(handle, encoded, method="gradient_x_input", max_new_tokens=5)
    assert list(found.target.response) == expected
    assert short.windows is None
    plainly = attribute(handle, encode(handle, [SHORT]), method="gradient_x_input", max_new_tokens=5)[0]
    assert short.target == plainly.target
    assert short.scores == pytest.approx(plainly.scores, abs=1e-5)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert model.generation_config.to_dict() == before[1]


def test_contributions_of_a_long_source_sum_to_the_difference_of_outputs() -> None:
    handle = handle_of("bart", "seq2seq-lm")
    parts = windows_of(handle, LONG)
    encoded = encode(handle, [LONG], long_text="windows", doc_stride=STRIDE)
    (found,) = attribute(
        handle, encoded, method="integrated_gradients", response="not good", tolerance=1e-5, max_steps=500
    )
    ids = list(found.target.response)

    def log_probability(row: list[int]) -> float:
        with torch.no_grad():
            decoder = decoder_ids(handle, ids[:-1])
            logits = handle.model(input_ids=torch.tensor([row]), decoder_input_ids=decoder).logits[0]
        return float(logits.log_softmax(-1)[range(len(ids)), ids].sum())

    every = list(range(len(found.tokens)))
    differences = [log_probability(p.ids) - log_probability(words_gone(handle, found, p, every)) for p in parts]
    assert abs(np.mean(differences)) > 1e-3
    assert found.contributions.sum() == pytest.approx(np.mean(differences), abs=1e-4)
    # What is measured is the mean of the windows' probabilities of the whole response.
    result = attribute(handle, encoded, method="leave_one_out", response="not good")
    words = sorted(result[0].words(), key=lambda w: -w.score)
    gone = [p for word in words[: max(1, int(0.2 * len(words) + 0.5))] for p in word.positions]
    drops = [
        np.exp(log_probability(p.ids)) - np.exp(log_probability(words_gone(handle, found, p, gone))) for p in parts
    ]
    quality = measure(handle, result, fractions=(0.2,), n_random=20).per_example[0]
    assert quality is not None
    assert quality.comprehensiveness == pytest.approx(np.mean(drops), abs=1e-7)


ALL = [
    ("bert", "token-classification", {"at": 1}),
    ("bert", "masked-lm", {}),
    ("gpt2", "causal-lm", {}),
    ("llama", "causal-lm", {"response": " not"}),
    ("gpt2", "causal-lm", {"response": True, "max_new_tokens": 2}),
    ("t5", "seq2seq-lm", {"max_new_tokens": 2}),
    ("bart", "seq2seq-lm", {"response": "not", "at": 0}),
]


@pytest.mark.parametrize(("family", "task", "options"), ALL)
@pytest.mark.parametrize("method", ["integrated_gradients", "gradient_x_input", "leave_one_out", "shap"])
def test_a_text_of_one_window_is_explained_as_ever(family: str, task: str, options: Any, method: str) -> None:
    handle = handle_of(family, task)
    mask = getattr(handle.tokenizer, "mask_token", None)
    texts = [
        f"{SHORT} {mask}" if task == "masked-lm" else SHORT,
        "the film was good" + f" {mask}" * (task == "masked-lm"),
    ]
    ours, theirs = (
        attribute(handle, encode(handle, texts, **how), method=method, **options)
        for how in ({"long_text": "windows", "doc_stride": 2}, {})
    )
    assert ours.to_dict() == theirs.to_dict()
    assert all(np.array_equal(a.scores, b.scores) for a, b in zip(ours, theirs, strict=True))


# Functions, and every method


def test_a_function_is_given_each_window_of_a_source_and_the_last_of_a_text_to_go_on_from() -> None:
    def function(output: Any) -> Any:
        return output.logits[:, -1].logsumexp(-1)

    handle = handle_of("bart", "seq2seq-lm")
    encoded = encode(handle, [LONG], long_text="windows", doc_stride=STRIDE)
    (found,) = attribute(handle, encoded, method="gradient_x_input", target=function, response="not")
    decoder = decoder_ids(handle, list(found.target.response))
    parts = windows_of(handle, LONG)
    each = [plain(handle, p.ids, lambda o: function(o)[0], decoder_input_ids=decoder) for p in parts]
    assert found.value == pytest.approx(np.mean([value for value, _ in each]), abs=1e-5)
    assert found.scores == pytest.approx(mean_over(parts, [s for _, s in each], len(found.tokens))[0], abs=1e-5)
    handle = handle_of("gpt2", "causal-lm")
    (found,) = attribute(
        handle, encode(handle, [LONG], long_text="windows"), method="gradient_x_input", target=function
    )
    part = last_window(handle, LONG, 0)
    value, scores = plain(handle, part.ids, lambda o: function(o)[0])
    assert found.value == pytest.approx(value, abs=1e-5)
    assert found.scores == pytest.approx(mean_over([part], [scores], len(found.tokens))[0], abs=1e-5)
    handle = handle_of("bert", "masked-lm")
    encoded = encode(handle, [f"{LONG} [MASK]"], long_text="windows")
    with pytest.raises(UsageError, match="positions are those of another token"):
        attribute(handle, encoded, target=lambda output: output.logits[:, -1, 0])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_the_end_of_a_long_text_as_a_text_of_its_own(method: str) -> None:
    handle = handle_of("gpt2", "causal-lm")
    tokenizer: Any = handle.tokenizer
    part = last_window(handle, LONG, 0)
    start = tokenizer(LONG, return_offsets_mapping=True).offset_mapping[part.places[0]][0]
    options = {"n_samples": 40} if method == "lime" else {}
    found, alone = (
        attribute(handle, encode(handle, [text], long_text=how), method=method, **options)[0]  # type: ignore[arg-type]
        for text, how in ((LONG, "windows"), (LONG[start:], "truncate"))
    )
    assert np.abs(alone.scores).max() > 0
    assert found.scores[part.places] == pytest.approx(alone.scores, abs=1e-6)
    assert not found.scores[: part.places[0]].any()


@pytest.mark.parametrize("method", [name for name, of in METHODS.items() if "seq2seq-lm" in of.tasks])
def test_every_method_explains_a_source_as_the_mean_of_its_windows(method: str) -> None:
    handle = handle_of("t5", "seq2seq-lm")
    (e,) = encode(handle, [LONG], long_text="windows", doc_stride=STRIDE)
    options: dict[str, Any] = {"response": "not good", **({"n_samples": 40} if method == "lime" else {})}
    (found,) = attribute(handle, [e], method=method, **options)
    parts = windows_of(handle, LONG)
    alone = [attribute(handle, [within(e, p.places)], method=method, **options)[0].scores for p in parts]
    expected, _ = mean_over(parts, alone, len(found.tokens))
    assert np.abs(expected).max() > 0
    assert found.scores == pytest.approx(expected, abs=2e-4)


# Through every door


def lm_of(family: str, task: str, size: int = 12) -> AttachedModel:
    built = zoo.build(family, task)
    lm = interpret.attach(built.model, built.tokenizer)
    lm.handle = dataclasses.replace(lm.handle, max_length=size)
    return lm


@pytest.mark.parametrize(("family", "task", "options"), ALL)
def test_tables_of_long_texts_are_what_attribute_gives(family: str, task: str, options: Any, tmp_path: Path) -> None:
    lm = lm_of(family, task)
    mask = getattr(lm.handle.tokenizer, "mask_token", None)
    texts = [f"{text} {mask}" if task == "masked-lm" else text for text in (LONG, SHORT, LONG[::-1])]
    how = {"method": "leave_one_out", "long_text": "windows", "doc_stride": 2, **options}
    files = lm.attribute_to(tmp_path / "a.parquet", texts, **how)
    found = lm.attribute(texts, **how)
    pd.testing.assert_frame_equal(files.tokens().drop(columns="id"), found.to_frame(), check_exact=False, atol=1e-5)
    examples = files.examples()
    assert (examples["n_windows"] > 1).tolist() == [True, False, True]
    assert examples["comprehensiveness"].notna().all()
    assert examples["n_read"].tolist() == [n.notna().sum() for _, n in files.tokens().groupby("example")["score"]]
    partly = sum(int(example.read.sum()) < len(example.tokens) for example in found)
    assert files.summary()["n_partly_read"] == partly
    assert partly == 2 or task in ("seq2seq-lm", "masked-lm")
    assert found.quality is not None
    for example in found:
        several = example.windows is not None
        assert ("read in" in to_text(example)) == several
        partly = several and not example.read.all()
        assert ("windows that hold what is explained" in " ".join(to_text(example).split())) == partly


@pytest.mark.parametrize(("family", "task", "options"), [ALL[1], ALL[4], ALL[5]])
def test_the_whole_battery_runs_on_what_a_record_keeps(family: str, task: str, options: Any, tmp_path: Path) -> None:
    lm = lm_of(family, task)
    mask = getattr(lm.handle.tokenizer, "mask_token", None)
    texts = [f"{text} {mask}" if task == "masked-lm" else text for text in (LONG, SHORT)]
    found = lm.attribute(texts, method="gradient_x_input", long_text="windows", doc_stride=2, quality=False, **options)
    found = type(found).load(found.save(tmp_path / "a"))
    record = interpret.faithfulness(lm, found, n_random=20)
    rows = {row.metric: row for row in record.rows}
    # A method without chance, made again of the same windows, is the same.
    assert rows["deletion_auc"].value is not None
    assert rows["sensitivity_max"].value is not None
    assert record.randomisation
    assert [q is None for q in record.per_example] == [False] * 2


@pytest.mark.parametrize(
    ("family", "task", "options"),
    [("gpt2", "causal-lm", {"response": " was not"}), ("t5", "seq2seq-lm", {"max_new_tokens": 2})],
)
def test_each_written_token_stands_beside_the_same_part_of_a_long_text(family: str, task: str, options: Any) -> None:
    lm = lm_of(family, task)
    how = {"method": "gradient_x_input", "long_text": "windows", "doc_stride": 2, **options}
    (matrix,) = lm.attribute_each(LONG, **how)
    assert matrix.n_windows > 1
    for number in range(len(matrix.outputs)):
        (alone,) = lm.attribute(LONG, at=number, quality=False, **how)
        assert matrix.scores[number] == pytest.approx([word.score for word in alone.words()], abs=1e-5)
        held = [bool(alone.read[list(word.positions)].any()) for word in alone.words()]
        assert matrix.read[number].tolist() == held


def everything_of(model: Any) -> Any:
    """What a caller sees of a model and of the random streams."""
    streams = (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]
    return [module.training for module in model.modules()], streams, model.generation_config.to_dict()


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_each_written_token_is_that_of_a_model_that_is_not_training(family: str) -> None:
    built = zoo.build(family, "seq2seq-lm")
    for module in built.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.5
    model: Any = built.model
    lm = interpret.attach(model, built.tokenizer)
    lm.handle = dataclasses.replace(lm.handle, max_length=12)
    how = {"method": "gradient_x_input", "long_text": "windows", "doc_stride": STRIDE, "max_new_tokens": 5}
    (calm,) = lm.attribute_each([LONG], **how)
    model.train()
    before = everything_of(model)
    (found,) = lm.attribute_each([LONG], **how)
    assert everything_of(model) == before
    assert found.outputs == calm.outputs
    assert np.array_equal(found.scores, calm.scores)


def test_memory_that_all_windows_of_a_source_do_not_fit_into_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = lm_of("t5", "seq2seq-lm")
    model: Any = lm.handle.model
    model.train()
    before = everything_of(model)

    def short(*_: Any, **__: Any) -> None:
        torch.rand(3)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(model, "generate", short)
    with pytest.raises(RunError, match=r"3 windows of one text .* together.*response="):
        lm.attribute_each([LONG], long_text="windows", doc_stride=STRIDE, method="gradient_x_input")
    assert everything_of(model) == before
    monkeypatch.setattr(model, "generate", lambda *_, **__: 1 / int(torch.rand(1) > 2))
    with pytest.raises(ZeroDivisionError):
        lm.attribute_each([LONG], long_text="windows", doc_stride=STRIDE, method="gradient_x_input")
    assert everything_of(model) == before


@pytest.mark.parametrize(
    ("family", "task", "end"), [("gpt2", "causal-lm", ""), ("bert", "masked-lm", " [MASK] for me")]
)
def test_a_view_of_a_long_text_shows_what_was_read_and_marks_what_was_not(family: str, task: str, end: str) -> None:
    handle = handle_of(family, task)
    words = [f"word{n}" for n in range(500)] if not end else ["good"] * 500
    text = " ".join(words) + " it was sad" + end
    (found,) = attribute(handle, encode(handle, [text], long_text="windows"), method="gradient_x_input")
    held = [bool(found.read[list(word.positions)].any()) for word in found.words()]
    first = held.index(True)
    assert first > 450
    read = [word.word for word in found.words()[first:] if held[first:]]
    shown = to_text(found).split("A number after")[0]
    text_of = " ".join(shown.split("\n\n")[-2].split()) if not end else " ".join(shown.split())
    assert "… [[" in text_of
    marked = text_of[text_of.index("… [[") + 4 : text_of.index("]] ")]
    assert marked.split() == [word.word for word in found.words()[first - 10 : first]]
    after = re.sub(r"\[[+-][\d.]+\]", "", text_of[text_of.index("]] ") + 3 :])
    assert after.startswith(" ".join(read[:2]) if not end else read[0])
    assert "words between [[ and ]] stand in none of them" in " ".join(to_text(found).split())
    assert "[[ 与 ]] 之间的词" in to_text(found, locale="zh")
    page = to_html(found, locale="en")
    assert page.count('class="sp"') == sum(not there for there in held[first - 10 :])
    assert page.count("[[<span") == 1
    # A word that was not read is no word of score 0, so it has no tooltip with one.
    assert page.count('title="') == sum(held)
