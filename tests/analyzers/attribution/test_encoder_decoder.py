"""Attention methods of encoder-decoders against transformers' own eager attentions, by recursions of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import interpret
from interpret.analyzers.attribution import attribute
from interpret.analyzers.attribution.encoder_decoder import cross_rollout
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, encode
from interpret.models.load import attach_handle
from tests import zoo
from tests.analyzers.attribution.test_relevance import eager_twin
from tests.capture.support import same_state, state_of

Array = npt.NDArray[np.float64]

TEXTS = ["the cat ate the red fish and was happy", "a very good day"]
RESPONSES = ["the end was sad", "never bad"]
FAMILIES = ("t5", "t5-gated", "bart", "mbart", "m2m_100", "marian", "pegasus")
#: Held against eager attention; value zeroing has blocks run one by one, in `test_value_zeroing_both`.
EAGER = ("attention_rollout", "gradient_attention")
METHODS = (*EAGER, "value_zeroing")


def handle_of(family: str) -> Handle:
    built = zoo.build(family, "seq2seq-lm")
    return attach_handle(built.model, built.tokenizer)


def eager(handle: Handle, text: Encoded, read: tuple[int, ...]) -> Any:
    """One forward of one text by transformers alone; the patterns keep their gradients."""
    decoder = torch.tensor([[handle.config.decoder_start_token_id, *read]])
    output = eager_twin(handle)(
        input_ids=torch.tensor([text.ids]), decoder_input_ids=decoder, output_attentions=True, use_cache=False
    )
    for kind in (output.encoder_attentions, output.decoder_attentions, output.cross_attentions):
        for pattern in kind:
            pattern.retain_grad()
    return output


def by_graph(output: Any, rows: slice) -> Array:
    """Rollout over one graph that holds the positions of both stacks, shares of what comes from the encoder."""
    n_source, n_query = output.cross_attentions[0].shape[3], output.cross_attentions[0].shape[2]

    def mean(pattern: Any) -> Array:
        found: Array = pattern[0].double().mean(0).detach().numpy()
        return found

    state = np.eye(n_source + n_query)
    for pattern in output.encoder_attentions:
        step = np.eye(n_source + n_query)
        step[:n_source, :n_source] += mean(pattern)
        state = step / step.sum(1, keepdims=True) @ state
    for within, across in zip(output.decoder_attentions, output.cross_attentions, strict=True):
        for columns, pattern in ((slice(n_source, None), within), (slice(0, n_source), across)):
            step = np.eye(n_source + n_query)
            step[n_source:, columns] += mean(pattern)
            state = step / step.sum(1, keepdims=True) @ state
    assert np.allclose(state.sum(1), 1.0)
    row: Array = state[n_source:, :n_source][rows].mean(0)
    return row / row.sum()


def by_gradient(output: Any, value: Any, rows: slice) -> Array:
    """The paper's recursion, in torch, from the gradients of one scalar."""
    value.backward()
    weighted = [
        [(p.grad * p).clamp(min=0)[0].mean(0).double().detach() for p in kind]
        for kind in (output.encoder_attentions, output.decoder_attentions, output.cross_attentions)
    ]

    def shares(relevance: Any) -> Any:
        added = relevance - torch.eye(len(relevance))
        return torch.nan_to_num(added / added.sum(1, keepdim=True)) + torch.eye(len(relevance))

    source = torch.eye(len(weighted[0][0]), dtype=torch.float64)
    for layer in weighted[0]:
        source = source + layer @ source
    own = torch.eye(len(weighted[1][0]), dtype=torch.float64)
    to = torch.zeros(len(own), len(source), dtype=torch.float64)
    for within, across in zip(weighted[1], weighted[2], strict=True):
        own, to = own + within @ own, to + within @ to
        to = to + shares(own).T @ across @ shares(source)
    row: Array = to[rows].mean(0).numpy()
    return row / row.sum()


@pytest.mark.parametrize("at", [0, 2, None])
@pytest.mark.parametrize("method", EAGER)
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_what_the_eager_model_of_transformers_gives(family: str, method: str, at: int | None) -> None:
    handle = handle_of(family)
    encoded = encode(handle, TEXTS)
    options: dict[str, Any] = {"response": RESPONSES} if at is None else {"response": RESPONSES, "at": at}
    found = attribute(handle, encoded, method=method, **options)
    for text, example in zip(encoded, found, strict=True):
        response = example.target.response
        output = eager(handle, text, response[: len(response) - 1 if at is None else at])
        rows = slice(None) if at is None else slice(at, at + 1)
        if method == "attention_rollout":
            expected = by_graph(output, rows)
        else:
            logs = output.logits[0].log_softmax(-1)
            value = (
                sum(logs[n, token] for n, token in enumerate(response))
                if at is None
                else output.logits[0, at, response[at]]
            )
            expected = by_gradient(output, value, rows)
            assert example.value == pytest.approx(float(value.detach()), abs=1e-4)
        assert example.tokens == text.tokens
        assert np.abs(example.scores - expected).max() < 1e-5
        assert np.ptp(expected) > 1e-2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["t5", "bart", "mbart", "m2m_100", "marian", "pegasus"])
def test_each_token_that_was_written_and_the_model_is_untouched(family: str, method: str) -> None:
    built = zoo.build(family, "seq2seq-lm")
    built.model.train()
    lm = interpret.attach(built.model, built.tokenizer)
    before = state_of(built.model)
    (matrix,) = lm.attribute_each(TEXTS[0], method=method, response=RESPONSES[0])
    same_state(before, state_of(built.model))
    assert all(parameter.grad is None for parameter in built.model.parameters())
    assert matrix.scores.shape == (len(matrix.outputs), len(TEXTS[0].split()))
    for number in range(len(matrix.outputs)):
        (alone,) = lm.attribute(TEXTS[0], at=number, response=RESPONSES[0], method=method, quality=False)
        assert np.allclose(matrix.scores[number], [word.score for word in alone.words()], atol=1e-5)
    assert np.ptp(matrix.scores, axis=0).max() > 1e-3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["t5", "bart", "mbart", "m2m_100", "marian", "pegasus"])
def test_padded_is_alone(family: str, method: str) -> None:
    handle = handle_of(family)
    encoded = encode(handle, TEXTS)
    together = attribute(handle, encoded, method=method, response=RESPONSES)
    turned = attribute(handle, encoded[::-1], method=method, response=RESPONSES[::-1])
    for i, text in enumerate(encoded):
        (alone,) = attribute(handle, [text], method=method, response=RESPONSES[i : i + 1])
        assert np.abs(together[i].scores - alone.scores).max() < 1e-5
        assert np.abs(together[i].scores - turned[1 - i].scores).max() < 1e-5


def test_their_quality_is_measured_on_what_was_written() -> None:
    built = zoo.build("t5", "seq2seq-lm")
    lm = interpret.attach(built.model, built.tokenizer)
    (example,) = lm.attribute(TEXTS[0], method="gradient_attention", response=RESPONSES[0], at=1)
    assert example.quality is not None
    assert example.quality.n_words == len(TEXTS[0].split())


def test_the_model_is_untouched_after_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = handle_of("bart")
    before = state_of(handle.core)

    def crash(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    encoded = encode(handle, TEXTS)
    monkeypatch.setattr(handle.roles.blocks[-1], "forward", crash)
    for method in METHODS:
        with pytest.raises(KeyboardInterrupt):
            attribute(handle, encoded, method=method, response=RESPONSES)
    monkeypatch.undo()
    same_state(before, state_of(handle.core))


def test_cross_rollout_is_the_graph_by_hand() -> None:
    uniform = np.full((1, 2, 2), 0.5)
    first = np.array([[[1.0, 0.0], [0.5, 0.5]]])
    # Encoder: (A + I) / 2 = [[3/4, 1/4], [1/4, 3/4]]. Decoder itself: [[1, 0], [1/4, 3/4]].
    # Looking at source 0 and at source 1: half of the encoder's row, and half of what was there.
    found = cross_rollout([uniform], [first], [np.array([[[1.0, 0.0], [0.0, 1.0]]])])
    assert np.allclose(found.own, [[1 / 2, 0], [1 / 8, 3 / 8]])
    assert np.allclose(found.source, [[3 / 8, 1 / 8], [1 / 8, 3 / 8]])
    two = cross_rollout([uniform, uniform], [first] * 2, [np.full((3, 2, 2), 0.5)] * 2)
    assert np.allclose(two.own.sum(1) + two.source.sum(1), 1.0)
    # Each of two layers leaves half of what the decoder has of its own.
    assert np.allclose(two.source.sum(1), 3 / 4)
    with pytest.raises(UsageError, match="of encoder none"):
        cross_rollout([], [first], [first])
    with pytest.raises(UsageError, match=r"cross has shape \(2, 2\)"):
        cross_rollout([uniform], [first], [np.eye(2)])
    with pytest.raises(UsageError, match="1 decoder layers and 2"):
        cross_rollout([uniform], [first], [first, first])
    with pytest.raises(UsageError, match="3 encoder positions"):
        cross_rollout([np.full((1, 3, 3), 1 / 3)], [first], [first])


@pytest.mark.parametrize("family", [name for name in FAMILIES if "text-classification" in zoo.ZOO[name]])
def test_words_are_taken_from_a_classifier_without_moving_where_it_reads(family: str) -> None:
    """It is read at the last end token, so none may stand for a removed word; against plain forwards, one by one."""
    built = zoo.build(family, "text-classification")
    assert built.tokenizer is not None
    lm = interpret.attach(built.model, built.tokenizer)
    stand_in = built.tokenizer.mask_token_id or built.tokenizer.unk_token_id
    texts = [*TEXTS, "good </s> bad"]
    found = lm.attribute(texts, method="leave_one_out", unit="token")
    assert found.options["baseline"] == ("mask_token" if family == "bart" else "unk_token")

    def logit(ids: list[int], label: int | None) -> float:
        with torch.no_grad():
            return float(built.model(input_ids=torch.tensor([ids])).logits[0][label])

    for example in found:
        ids, label = example.token_ids.tolist(), example.target.index
        for at, score in enumerate(example.scores.tolist()):
            without = [stand_in if i == at else token for i, token in enumerate(ids)]
            loss = 0.0 if example.special[at] else logit(ids, label) - logit(without, label)
            assert score == pytest.approx(loss, abs=1e-5)
    for method in ("shap", "lime", "occlusion"):
        assert np.isfinite(lm.attribute(texts, method=method)[0].scores).all()
    with pytest.raises(UsageError, match="cannot remove words with 'eos_token': this model offers"):
        lm.attribute(texts, method="leave_one_out", baseline="eos_token")
