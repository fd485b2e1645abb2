"""Value zeroing of encoder-decoders against blocks of transformers, run one by one with a hook of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics.pairwise import paired_cosine_distances
from torch import Tensor, nn

from interpret.analyzers.attribution import attribute
from interpret.models.inputs import encode
from tests.analyzers.attribution.test_encoder_decoder import RESPONSES, TEXTS, handle_of

Array = npt.NDArray[np.float64]


class Stacks(NamedTuple):
    """Blocks, and the value projection of each block's attention to its own stack and to the encoder."""

    encoder: nn.ModuleList
    decoder: nn.ModuleList
    own: Callable[[Any], nn.Module]
    cross: Callable[[Any], nn.Module]


def stacks_of(model: Any) -> Stacks:
    if model.config.model_type == "t5":
        return Stacks(
            model.encoder.block,
            model.decoder.block,
            lambda block: block.layer[0].SelfAttention.v,
            lambda block: block.layer[1].EncDecAttention.v,
        )
    return Stacks(
        model.model.encoder.layers,
        model.model.decoder.layers,
        lambda block: block.self_attn.v_proj,
        lambda block: block.encoder_attn.v_proj,
    )


def first(output: Any) -> Array:
    stream = output[0] if isinstance(output, tuple) else output
    found: Array = stream[0].double().numpy()
    return found


def moved(block: nn.Module, args: Any, kwargs: Any, projection: nn.Module, n_keys: int) -> Array:
    """[query, key] cosine distances of one block's output, one run of the block for each key."""
    clean = first(block(*args, **kwargs))
    columns = []
    for token in range(n_keys):

        def zero(_: Any, __: Any, output: Tensor, token: int = token) -> Tensor:
            assert output.shape[:2] == (1, n_keys)
            changed = output.clone()
            changed[0, token] = 0.0
            return changed

        hook = projection.register_forward_hook(zero)
        columns.append(paired_cosine_distances(clean, first(block(*args, **kwargs))))
        hook.remove()
    return np.stack(columns, axis=1)


def graph(model: Any, ids: tuple[int, ...], read: tuple[int, ...]) -> Array:
    """Positions of the decoder by positions of both stacks, the encoder's first: one graph, multiplied out."""
    stacks = stacks_of(model)
    inputs: dict[nn.Module, tuple[Any, Any]] = {}

    def keep(block: nn.Module, args: Any, kwargs: Any) -> None:
        inputs[block] = (args, {**kwargs, "use_cache": False} if "use_cache" in kwargs else kwargs)

    decoder_ids = (model.config.decoder_start_token_id, *read)
    n_source, n_query = len(ids), len(decoder_ids)
    state = np.eye(n_source + n_query)
    hooks = [block.register_forward_pre_hook(keep, with_kwargs=True) for block in (*stacks.encoder, *stacks.decoder)]
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([decoder_ids]), use_cache=False)
        for hook in hooks:
            hook.remove()
        for block in stacks.encoder:
            step = np.eye(len(state))
            step[:n_source, :n_source] = moved(block, *inputs[block], stacks.own(block), n_source)
            state = step / step.sum(1, keepdims=True) @ state
        for block in stacks.decoder:
            step = np.eye(len(state))
            step[n_source:, :n_source] = moved(block, *inputs[block], stacks.cross(block), n_source)
            step[n_source:, n_source:] = moved(block, *inputs[block], stacks.own(block), n_query)
            state = step / step.sum(1, keepdims=True) @ state
    assert np.allclose(state.sum(1), 1.0)
    return state[n_source:]


@pytest.mark.parametrize("at", [0, 2, None])
@pytest.mark.parametrize("family", ["t5", "t5-gated", "bart"])
def test_it_is_each_block_alone_on_its_clean_input(family: str, at: int | None) -> None:
    handle = handle_of(family)
    encoded = encode(handle, TEXTS)
    options: dict[str, Any] = {"response": RESPONSES} if at is None else {"response": RESPONSES, "at": at}
    found = attribute(handle, encoded, method="value_zeroing", **options)
    for text, example in zip(encoded, found, strict=True):
        response = example.target.response
        rows = graph(handle.model, text.ids, response[: len(response) - 1 if at is None else at])
        source = (rows.mean(0) if at is None else rows[-1])[: len(text.ids)]
        expected = source / source.sum()
        assert np.abs(example.scores - expected).max() < 1e-5
        assert example.scores.sum() == pytest.approx(1.0)
        # Not by chance: tokens differ, and so does what was written elsewhere.
        assert np.ptp(expected) > 1e-2
        if at == 2:
            elsewhere = rows[0, : len(text.ids)]
            assert np.abs(elsewhere / elsewhere.sum() - expected).max() > 1e-3
