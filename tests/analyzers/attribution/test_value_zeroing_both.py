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

import interpret
from interpret.analyzers.attribution import attribute
from interpret.analyzers.attribution.value_zeroing import mixing_of_both
from interpret.errors import UsageError
from interpret.models import batching
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from tests import tiny, zoo
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
@pytest.mark.parametrize("family", ["t5", "t5-gated", "bart", "mbart", "m2m_100", "marian", "pegasus"])
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


def only(model: Any, projection: nn.Module, token: int, ids: list[int]) -> None:
    """Make the values of this projection zero but for one token of these ids."""
    seen: list[Tensor] = []
    hook = projection.register_forward_pre_hook(lambda _, args: seen.append(args[0][0].detach()))
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[0, 5, 6]]), use_cache=False)
        hook.remove()
        others = torch.cat([seen[0][:token], seen[0][token + 1 :]]).double()
        # What is left of the token's stream is orthogonal to everything the other tokens have.
        left = seen[0][token].double()
        left = left - torch.linalg.pinv(others) @ (others @ left)
        made: Any = projection
        made.weight.copy_(torch.outer(torch.ones(len(made.weight)), left / left.dot(left)))
        if made.bias is not None:
            made.bias.zero_()
        assert made(seen[0])[token].min() > 0.99
        assert made(others.float()).abs().max() < 1e-5


@pytest.mark.parametrize("where", ["encoder", "cross"])
@pytest.mark.parametrize("family", ["t5", "bart", "mbart", "m2m_100", "marian", "pegasus"])
def test_layers_in_which_one_token_has_a_value_take_everything_from_it(family: str, where: str) -> None:
    built = zoo.build(family, "seq2seq-lm")
    handle = attach_handle(built.model, built.tokenizer)
    (text,) = encode(handle, [TEXTS[0]])
    (before,) = attribute(handle, [text], method="value_zeroing", response=RESPONSES[:1])
    # A token that stands in the text once: without positions T5's first layer has others twice.
    stacks = stacks_of(built.model)
    token = next(place for place in range(3, len(text.ids)) if text.ids.count(text.ids[place]) == 1)
    for block in stacks.encoder:
        if where == "encoder":
            only(built.model, stacks.own(block), token, list(text.ids))
        else:
            # No value moves anything: each position keeps to itself.
            for parameter in stacks.own(block).parameters():
                parameter.data.zero_()
    for block in stacks.decoder if where == "cross" else ():
        only(built.model, stacks.cross(block), token, list(text.ids))
    (found,) = attribute(handle, [text], method="value_zeroing", response=RESPONSES[:1])
    assert before.scores[token] < 0.5
    assert np.abs(found.scores - np.eye(len(text.ids))[token]).max() < 1e-6


def test_a_decoder_that_reads_nothing_of_the_text_has_no_scores() -> None:
    built = zoo.build("bart", "seq2seq-lm")
    stacks = stacks_of(built.model)
    for block in stacks.decoder:
        for parameter in stacks.cross(block).parameters():
            parameter.data.zero_()
    handle = attach_handle(built.model, built.tokenizer)
    (found,) = attribute(handle, encode(handle, TEXTS[:1]), method="value_zeroing", response=RESPONSES[:1])
    assert not found.scores.any()


def copier() -> tuple[Any, Any]:
    """A BART whose output n is token n + 1 of the text: three heads look there, and one everywhere without a value."""
    from transformers import BartConfig, BartForConditionalGeneration

    tokenizer = tiny.roberta_bpe()
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=8, decoder_ffn_dim=8, max_position_embeddings=8,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id, forced_eos_token_id=None,
    )  # fmt: skip
    model: Any = BartForConditionalGeneration(config).eval()
    signs = torch.randn(len(tokenizer), 24, generator=torch.Generator().manual_seed(0)).sign()
    layer = model.model.decoder.layers[0]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(float("norm" in name and name.endswith("weight")))
        model.model.shared.weight[:, :24] = signs
        # Positions of a text have a direction each; the decoder's have that of the next one. Two rows come first.
        for place in range(8):
            model.model.encoder.embed_positions.weight[place + 2, 24 + place] = 4.0
            model.model.decoder.embed_positions.weight[place + 2, 24 + (place + 1) % 8] = 4.0
        for attention, gain in (
            (model.model.encoder.layers[0].self_attn, 0.5),
            (layer.self_attn, 0.1),
            (layer.encoder_attn, 4.0),
        ):
            for head in range(3):
                attention.q_proj.weight[8 * head : 8 * head + 8, 24:] = 3.0 * torch.eye(8)
                attention.k_proj.weight[8 * head : 8 * head + 8, 24:] = 3.0 * torch.eye(8)
            attention.v_proj.weight[:24, :24] = gain * torch.eye(24)
            attention.out_proj.weight.copy_(torch.eye(32))
        for block in (layer, model.model.encoder.layers[0]):
            # Not nothing, or the parts would not be on the way to the output.
            block.fc1.weight.copy_(0.1 * torch.eye(8, 32))
            block.fc2.weight.copy_(0.1 * torch.eye(32, 8))
    return model, tokenizer


def test_a_model_that_copies_gives_each_word_to_the_word_it_copies() -> None:
    model, tokenizer = copier()
    lm = interpret.attach(model, tokenizer)
    text = "the cat ate red fish"
    with torch.no_grad():
        batch = tokenizer(text, return_tensors="pt")
        written = model.generate(**batch, do_sample=False, num_beams=1, max_new_tokens=6)[0]
    assert written[1:].tolist() == batch["input_ids"][0, 1:].tolist()
    (matrix,) = lm.attribute_each(text, method="value_zeroing")
    (attended,) = lm.attribute_each(text, method="attention_rollout")
    n = len(text.split())
    # The last output is the end of the text, which is no word.
    assert np.abs(matrix.scores - np.eye(n + 1)[:, :n]).max() < 1e-3
    # The head that looks everywhere counts for attention, though what it sees has no value.
    assert np.abs(attended.scores - np.eye(n + 1)[:, :n]).max() > 0.1


def test_all_tokens_of_a_response_are_read_off_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = handle_of("t5")
    lm = interpret.attach(handle.model, handle.tokenizer)
    sizes: list[tuple[int, int]] = []
    hook = handle.roles.blocks[-1].register_forward_pre_hook(lambda _, args: sizes.append(tuple(args[0].shape[:2])))
    (whole,) = lm.attribute_each("a day", method="value_zeroing", response=RESPONSES[0])
    n_text, n_read = len(encode(handle, ["a day"])[0].ids), len(whole.outputs)
    assert sizes == [(n_text + n_read + 1, n_read)]
    # The longer of both counts for the budget, and a batch that holds a part of a text has a clean run of its own.
    sizes.clear()
    assert n_read > n_text
    monkeypatch.setattr(batching, "CPU_TOKENS", 3 * n_read)
    (split,) = lm.attribute_each("a day", method="value_zeroing", response=RESPONSES[0])
    hook.remove()
    assert {n for n, _ in sizes} <= {2, 3, 4}
    assert np.abs(whole.scores - split.scores).max() < 1e-5


def test_one_text_with_other_responses_and_one_response_with_other_texts() -> None:
    handle = handle_of("bart")
    first, other = encode(handle, TEXTS)
    texts, written = [first, first, first, other], [*RESPONSES, f"{RESPONSES[1]} and happy", RESPONSES[0]]
    together = attribute(handle, texts, method="value_zeroing", response=written)
    for text, response, example in zip(texts, written, together, strict=True):
        (alone,) = attribute(handle, [text], method="value_zeroing", response=[response])
        assert np.abs(example.scores - alone.scores).max() < 1e-6
    assert np.abs(together[0].scores - together[1].scores).max() > 1e-3


def test_shares_of_both_sides_have_one_sum() -> None:
    own, source = mixing_of_both([[1.0, 0.0], [0.0, 0.0]], [[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    assert np.allclose(own, [[0.25, 0.0], [0.0, 1.0]])
    assert np.allclose(source, [[0.25, 0.5, 0.0], [0.0, 0.0, 0.0]])
    for wrong in ([1.0, 2.0], [[1.0, 2.0]], [[-1.0, 0.0], [0.0, 1.0]], [[np.nan, 0.0], [0.0, 1.0]]):
        with pytest.raises(UsageError, match=r"distances.*\[query, source\] with 2 queries"):
            mixing_of_both(np.eye(2), wrong)


def test_a_function_of_the_output_is_refused_before_a_layer_is_run_again() -> None:
    handle = handle_of("bart")
    ran: list[Any] = []
    hook = handle.roles.blocks[-1].register_forward_pre_hook(lambda _, args: ran.append(args[0].shape))
    with pytest.raises(UsageError, match="a function may read any"):
        attribute(
            handle, encode(handle, TEXTS), method="value_zeroing", response=RESPONSES,
            target=lambda output: output.logits[:, -1, 0],
        )  # fmt: skip
    hook.remove()
    # The function is looked at on one row, alone and beside itself, as ever.
    assert [shape[0] for shape in ran] == [1, 2]
