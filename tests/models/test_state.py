from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from interpret.models.fingerprints import weights_sha256
from interpret.models.state import stand_ins, tokenizer_state, untouched
from tests.tiny import FAMILIES, TEXTS, tiny


class CrashError(Exception):
    pass


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_is_put_back_after_an_exception(family: str) -> None:
    model, tokenizer = tiny(family)
    model.train()
    frozen, mixed = next(model.parameters()), list(model.modules())[3]
    frozen.requires_grad_(False)
    mixed.training = False
    last = list(model.parameters())[-1]
    last.grad = torch.ones_like(last)
    gradient = last.grad
    tokenizer("a few words", truncation=True, max_length=5)
    truncation, padding = tokenizer.backend_tokenizer.truncation, tokenizer.backend_tokenizer.padding
    side = tokenizer.padding_side
    implementation = model.config._attn_implementation
    flags = [module.training for module in model.modules()]
    weights = weights_sha256(model)
    streams = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()

    with pytest.raises(CrashError), untouched(model, tokenizer):  # noqa: PT012
        assert not any(module.training for module in model.modules())
        assert last.grad is None
        random.random(), np.random.rand(), torch.rand(1)
        frozen.requires_grad_(True)
        model.config._attn_implementation = "eager"
        model.config.brand_new = 1
        tokenizer.padding_side = "left"
        tokenizer(list(TEXTS), truncation=True, max_length=7)
        model(**tokenizer(TEXTS[0], return_tensors="pt")).logits.sum().backward()
        raise CrashError

    assert [module.training for module in model.modules()] == flags
    assert not frozen.requires_grad
    assert last.grad is gradient
    assert frozen.grad is None
    assert torch.equal(gradient, torch.ones_like(last))
    assert model.config._attn_implementation == implementation
    assert not hasattr(model.config, "brand_new")
    assert tokenizer.backend_tokenizer.truncation == truncation
    assert tokenizer.backend_tokenizer.padding == padding
    assert tokenizer.padding_side == side
    assert weights_sha256(model) == weights
    assert random.getstate() == streams[0]
    assert np.random.get_state()[1].tolist() == streams[1]
    assert torch.equal(torch.get_rng_state(), streams[2])


def test_the_users_dropout_stream_goes_on_as_if_nothing_had_happened() -> None:
    model, tokenizer = tiny("bert")
    model.train()
    batch = tokenizer(TEXTS[0], return_tensors="pt")
    torch.manual_seed(1)
    undisturbed = model(**batch).logits
    torch.manual_seed(1)
    with untouched(model):
        model(**batch)
        torch.rand(10)
    assert torch.equal(model(**batch).logits, undisturbed)


def test_nesting() -> None:
    model, _ = tiny("gpt2")
    model.train()
    with untouched(model):
        with untouched(model):
            pass
        assert not model.training
    assert model.training


def test_tokenizer_padding_is_put_back() -> None:
    _, tokenizer = tiny("bert")
    tokenizer(["a", "a b"], padding="max_length", max_length=9, truncation=True)
    padding = tokenizer.backend_tokenizer.padding
    assert padding is not None
    with tokenizer_state(tokenizer):
        tokenizer(["a"], padding=False, truncation=False)
        assert tokenizer.backend_tokenizer.padding is None
    assert tokenizer.backend_tokenizer.padding == padding


def test_stand_ins_reach_layers_that_keep_their_weights_twice() -> None:
    """A recurrent layer of torch computes with a list of its own, beside what `parameters` gives."""
    torch.manual_seed(0)
    layer, other = torch.nn.LSTM(3, 2, batch_first=True), torch.nn.LSTM(3, 2, batch_first=True)
    model, inputs = torch.nn.Sequential(layer), torch.ones(1, 4, 3)
    before, held = layer(inputs)[0], [(id(p), p._version) for p in layer.parameters()]
    others = dict(other.named_parameters())
    with stand_ins(model) as change:
        for name, parameter in list(layer.named_parameters()):
            change(parameter, lambda _, name=name: others[name])  # type: ignore[misc]
        assert torch.equal(layer(inputs)[0], other(inputs)[0])
    assert torch.equal(layer(inputs)[0], before)
    assert [(id(p), p._version) for p in layer.parameters()] == held
