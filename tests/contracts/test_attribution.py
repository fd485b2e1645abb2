"""Every attribution method on every family and task: the model stays as it was, a batch is its parts."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from interpret.analyzers.attribution import METHODS, attribute
from interpret.analyzers.faithfulness import battery
from interpret.facade.again import again
from interpret.models.batching import Row, logits
from interpret.models.fingerprints import weights_sha256
from interpret.models.handle import Handle
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from tests import tiny

CASES = [(family, task) for family, tasks in tiny.FAMILIES.items() for task in tasks]
#: Enough to run every code path; the number of steps is not what is tested here.
QUICK: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"n_steps": 4},
    "shap": {"max_evals": 16},
    "permutation_shap": {"n_permutations": 1},
    "lime": {"n_samples": 24},
}


def _texts(handle: Handle) -> list[str]:
    texts = [tiny.TEXTS[0], tiny.TEXTS[2], tiny.TEXTS[5]]
    if handle.task == "masked-lm":
        return [text.replace("not", handle.tokenizer.mask_token).replace("film", handle.tokenizer.mask_token)
                if "film" in text else f"{handle.tokenizer.mask_token} {text}" for text in texts]  # fmt: skip
    return texts


def _state(handle: Handle) -> list[Any]:
    parameters = list(handle.model.parameters())
    tokenizer = handle.tokenizer
    return [
        weights_sha256(handle.model),
        [m.training for m in handle.model.modules()],
        [(p.requires_grad, p.grad is None) for p in parameters],
        [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in handle.model.modules()],
        repr(handle.config),
        handle.attn_implementation,
        (tokenizer.padding_side, tokenizer.backend_tokenizer.padding, tokenizer.backend_tokenizer.truncation),
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
    ]


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize(("family", "task"), CASES)
def test_method_on_family(family: str, task: str, method: str) -> None:
    handle = attach_handle(*tiny.tiny(family, task))
    # As a user may hold it: training, some gradients there already.
    handle.model.train()
    encoded = encode(handle, _texts(handle))
    before = _state(handle)
    found = attribute(handle, encoded, method=method, **QUICK.get(method, {}))
    assert _state(handle) == before
    for e, example in zip(encoded, found, strict=True):
        assert example.tokens == e.tokens
        assert example.method == method
        if example.value is not None:
            whole = logits(handle, [Row(e.ids, e.type_ids)])[0]
            assert example.value == pytest.approx(whole[example.target.index], abs=1e-4)
        if METHODS[method].baseline:
            assert np.all(example.scores[example.special] == 0.0)
            assert example.convergence_delta is not None
        if not METHODS[method].signed:
            assert (example.scores >= 0).all()
            assert example.scores.sum() == pytest.approx(1.0, abs=1e-5)
    alone = attribute(handle, encoded[1:2], method=method, **QUICK.get(method, {}))
    assert np.abs(alone[0].scores - found[1].scores).max() < 1e-4
    assert alone[0].target == found[1].target


@pytest.mark.parametrize("method", list(METHODS))
def test_the_model_is_untouched_after_an_exception(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = attach_handle(*tiny.tiny("bert"))
    handle.model.train()
    encoded = encode(handle, _texts(handle))
    before = _state(handle)
    last = handle.roles.blocks[-1]
    calls = {"n": 0}
    forward = last.forward

    def crash(*args: Any, **kwargs: Any) -> Any:
        calls["n"] += 1
        if calls["n"] > 1 or method == "attention_rollout":
            raise KeyboardInterrupt
        return forward(*args, **kwargs)

    monkeypatch.setattr(last, "forward", crash)
    with pytest.raises(KeyboardInterrupt):
        attribute(handle, encoded, method=method, **QUICK.get(method, {}))
    monkeypatch.undo()
    assert _state(handle) == before


def test_rollout_reads_where_a_decoder_classifier_does() -> None:
    model, tokenizer = tiny.tiny("gpt2")
    tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    handle = attach_handle(model, tokenizer)
    # The text ends with the token that stands for padding: the logits are those of the token before it.
    plain, ended = encode(handle, ["the film was good", f"the film was good{tokenizer.eos_token}"])
    assert ended.ids == (*plain.ids, tokenizer.eos_token_id)
    assert np.allclose(*(logits(handle, [Row(e.ids)]) for e in (plain, ended)), atol=1e-5)
    whole = attribute(handle, [plain, ended], method="attention_rollout")
    assert np.allclose(whole[1].scores, [*whole[0].scores, 0.0], atol=1e-6)


_GRADIENT: list[Any] = [
    *(pytest.param(name, QUICK.get(name, {}), id=name) for name, method in METHODS.items() if method.needs_gradient),
    pytest.param("integrated_gradients", {}, id="integrated_gradients-controlled"),
]


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize(("method", "options"), _GRADIENT)
@pytest.mark.parametrize(("family", "task"), [("bert", "text-classification"), ("llama", "causal-lm")])
def test_gradients_are_had_whatever_mode_the_caller_is_in(
    family: str, task: str, method: str, options: dict[str, Any], mode: Any
) -> None:
    handle = attach_handle(*tiny.tiny(family, task))
    encoded = encode(handle, _texts(handle))
    expected = attribute(handle, encoded, method=method, **options)
    with mode():
        found = attribute(handle, encoded, method=method, **options)
    for one, other in zip(expected, found, strict=True):
        assert np.array_equal(one.scores, other.scores)
        assert np.any(other.scores)


def test_the_battery_runs_whatever_mode_the_caller_is_in() -> None:
    """Made-up weights and moved embeddings, too, must let gradients through."""
    handle = attach_handle(*tiny.tiny("bert", "text-classification"))
    made = attribute(handle, encode(handle, _texts(handle)), method="gradient_x_input")
    expected = battery(handle, made, explain=again(made), n_random=20, metrics=["sensitivity_max", "randomisation"])
    with torch.inference_mode():
        found = battery(handle, made, explain=again(made), n_random=20, metrics=["sensitivity_max", "randomisation"])
    assert found == expected
