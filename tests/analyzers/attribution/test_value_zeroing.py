"""Value zeroing against one block at a time, run alone on its clean input with a hook of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics.pairwise import paired_cosine_distances
from torch import Tensor

from interpret.analyzers.attribution import attribute
from interpret.analyzers.attribution.value_zeroing import mixing
from interpret.errors import UsageError
from interpret.models import batching
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, encode
from interpret.models.load import attach_handle
from tests import tiny, zoo
from tests.capture.support import attached

Array = npt.NDArray[np.float64]

TEXTS = [tiny.TEXTS[2], tiny.TEXTS[0], tiny.TEXTS[7]]


def _bert(model: Any, ids: Tensor) -> tuple[Any, Callable[[Any], Any], dict[str, Any]]:
    return model.bert.encoder.layer, lambda block: block.attention.self.value, {}


def _gpt2(model: Any, ids: Tensor) -> tuple[Any, Callable[[Any], Any], dict[str, Any]]:
    return model.transformer.h, lambda block: block.attn.c_attn, {}


def _llama(model: Any, ids: Tensor) -> tuple[Any, Callable[[Any], Any], dict[str, Any]]:
    places = torch.arange(ids.shape[1])[None]
    rotary = model.model.rotary_emb(model.model.embed_tokens(ids), places)
    return model.model.layers, lambda block: block.self_attn.v_proj, {"position_embeddings": rotary}


PARTS = {"bert": _bert, "gpt2": _gpt2, "llama": _llama}


def by_block(handle: Handle, family: str, text: Encoded) -> list[Array]:
    """Mixing of each layer [query, key], by one run of one block for each token."""
    model: Any = handle.model
    ids = torch.tensor([text.ids])
    blocks, projection_of, options = PARTS[family](model, ids)
    types = {} if text.type_ids is None else {"token_type_ids": torch.tensor([text.type_ids])}
    clean: list[Tensor] = []

    def keep(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        clean.append(args[0] if args else kwargs["hidden_states"])

    hooks = [block.register_forward_pre_hook(keep, with_kwargs=True) for block in blocks]
    layers = []
    with torch.no_grad():
        model(input_ids=ids, **types)
        for hook in hooks:
            hook.remove()
        assert len(clean) == len(blocks)
        for block, stream in zip(blocks, clean, strict=True):
            whole = block(stream, **options)
            whole = (whole[0] if isinstance(whole, tuple) else whole)[0]
            columns = []
            for token in range(ids.shape[1]):

                def zero(_: Any, __: Any, output: Tensor, token: int = token) -> Tensor:
                    changed = output.clone()
                    # GPT-2 makes query, key and value side by side; the last third is the value.
                    first = 2 * output.shape[-1] // 3 if family == "gpt2" else 0
                    changed[0, token, first:] = 0.0
                    return changed

                hook = projection_of(block).register_forward_hook(zero)
                altered = block(stream, **options)
                hook.remove()
                altered = (altered[0] if isinstance(altered, tuple) else altered)[0]
                columns.append(paired_cosine_distances(whole.double().numpy(), altered.double().numpy()))
            distances = np.stack(columns, axis=1)
            layers.append(distances / distances.sum(axis=1, keepdims=True))
    return layers


@pytest.mark.parametrize(
    ("family", "task"),
    [("bert", "text-classification"), ("bert", "masked-lm"), ("gpt2", "text-classification"), ("llama", "causal-lm")],
)
def test_it_is_each_block_alone_on_its_clean_input(family: str, task: str) -> None:
    handle = attached(family, task)
    assert handle.tokenizer is not None
    texts = [f"{text} {handle.tokenizer.mask_token} film" for text in TEXTS] if task == "masked-lm" else TEXTS
    encoded = encode(handle, texts)
    found = attribute(handle, encoded, method="value_zeroing")
    for text, example in zip(encoded, found, strict=True):
        through = np.eye(len(text.ids))
        for layer in by_block(handle, family, text):
            through = layer @ through
        at = 0 if family == "bert" else len(text.ids) - 1
        if task == "masked-lm":
            at = text.ids.index(handle.tokenizer.mask_token_id)
        assert np.abs(example.scores - through[at]).max() < 1e-5
        # Not by chance: the other rows are different.
        assert np.abs(through[at] - through[1]).max() > 1e-2
        assert example.scores.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("family", "task"),
    [("bert", "none"), ("albert", "masked-lm"), ("deberta-v2", "text-classification"), ("modernbert", "masked-lm"),
     ("gpt_neox", "causal-lm"), ("gemma3", "causal-lm"), ("gpt_oss", "text-classification")],
)  # fmt: skip
def test_padded_is_alone_and_small_batches_change_nothing(
    family: str, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if task == "none":
        model, tokenizer = tiny.tiny("bert")
        handle = attach_handle(model.bert, tokenizer)
    else:
        built = zoo.build(family, task)
        handle = attach_handle(built.model, built.tokenizer)
    assert handle.task == task
    assert handle.tokenizer is not None
    texts = [f"{text} {handle.tokenizer.mask_token}" for text in TEXTS] if task == "masked-lm" else TEXTS
    encoded = encode(handle, texts)
    together = attribute(handle, encoded, method="value_zeroing")
    for i, text in enumerate(encoded):
        (alone,) = attribute(handle, [text], method="value_zeroing")
        assert np.abs(together[i].scores - alone.scores).max() < 1e-5
    # A batch that holds a part of a text still compares with a clean run of its own.
    monkeypatch.setattr(batching, "CPU_TOKENS", 3 * len(encoded[0].ids))
    split = attribute(handle, encoded, method="value_zeroing")
    for one, other in zip(together, split, strict=True):
        assert np.abs(one.scores - other.scores).max() < 1e-5


def test_it_costs_one_row_for_each_token_and_one_more() -> None:
    handle = attached("bert")
    encoded = encode(handle, TEXTS[:1])
    rows: list[int] = []
    hook = handle.roles.blocks[-1].register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    attribute(handle, encoded, method="value_zeroing", target=0)
    hook.remove()
    assert rows == [len(encoded[0].ids) + 1]


def test_a_decoder_takes_nothing_from_what_comes_later() -> None:
    handle = attached("llama", "text-classification")
    # Padding stands where it may look back at everything, and may not count.
    (plain,) = attribute(handle, encode(handle, [TEXTS[0]]), method="value_zeroing")
    model: Any = handle.model
    ended = encode(handle, [f"{TEXTS[0]}{handle.tokenizer.pad_token}"])  # type: ignore[union-attr]
    assert ended[0].ids[-1] == model.config.pad_token_id
    (found,) = attribute(handle, ended, method="value_zeroing")
    assert np.abs(found.scores - [*plain.scores, 0.0]).max() < 1e-6


def test_a_layer_without_values_keeps_every_position_to_itself() -> None:
    model, tokenizer = tiny.tiny("bert")
    for layer in model.bert.encoder.layer:
        layer.attention.self.value.weight.data.zero_()
        layer.attention.self.value.bias.data.zero_()
    handle = attach_handle(model, tokenizer)
    (found,) = attribute(handle, encode(handle, TEXTS[:1]), method="value_zeroing")
    assert found.scores.tolist() == [1.0] + [0.0] * (len(found.scores) - 1)


def test_attention_to_a_token_without_a_value_counts_for_nothing() -> None:
    # What attention alone cannot see: every position looks at a token, whose value says nothing.
    model, tokenizer = tiny.tiny("bert")
    handle = attach_handle(model, tokenizer)
    (text,) = encode(handle, ["the cat was good"])
    cat = text.tokens.index("cat")
    value = model.bert.encoder.layer[0].attention.self.value
    with torch.no_grad():
        stream = model.bert.embeddings(input_ids=torch.tensor([text.ids]))[0, cat]
        # Take from the projection what it makes of this token, and only of this direction.
        value.bias.zero_()
        value.weight -= torch.outer(value.weight @ stream, stream) / stream.dot(stream)
        assert value(stream).abs().max() < 1e-5
    model.bert.encoder.layer = model.bert.encoder.layer[:1]
    model.config.num_hidden_layers = 1
    handle = attach_handle(model, tokenizer)
    (found,) = attribute(handle, [text], method="value_zeroing")
    (attended,) = attribute(handle, [text], method="attention_rollout")
    assert found.scores[cat] < 1e-8
    assert attended.scores[cat] > 1e-3


def test_rows_of_distances_become_shares() -> None:
    assert np.allclose(mixing([[1.0, 3.0], [0.0, 0.0]]), [[0.25, 0.75], [0.0, 1.0]])
    for wrong in ([1.0, 2.0], [[1.0, 2.0]], [[-1.0, 0.0], [0.0, 1.0]], [[np.nan, 0.0], [0.0, 1.0]]):
        with pytest.raises(UsageError, match="distances"):
            mixing(wrong)
