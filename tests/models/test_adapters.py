"""One copy in memory, adapter on and off: the same as two models that were loaded apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import interpret
from interpret.errors import UsageError
from interpret.models.adapters import is_mutated_by_peft, without_adapter
from interpret.models.fingerprints import config_sha256, weights_sha256
from tests.capture.support import nothing_global, same_state, state_of
from tests.conftest import ABSENT
from tests.tiny import TEXTS, tiny

peft = pytest.importorskip("peft", reason=f"{ABSENT} the package peft is not installed")

KINDS = {"text-classification": "SEQ_CLS", "causal-lm": "CAUSAL_LM"}
TARGETS = {"bert": ["query", "value"], "llama": ["q_proj", "v_proj"], "gpt2": ["c_attn"]}
CASES = [
    ("bert", "text-classification"),
    ("llama", "causal-lm"),
    ("llama", "text-classification"),
    ("gpt2", "causal-lm"),
]


def saved(tmp_path: Path, family: str, task: str) -> tuple[Path, Path]:
    """A base and an adapter on disk: LoRA with weights that matter, and what a classifier trains whole."""
    model, tokenizer = tiny(family, task)
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    settings = peft.LoraConfig(
        r=2,
        target_modules=TARGETS[family],
        task_type=KINDS[task],
        init_lora_weights=False,
        fan_in_fan_out=family == "gpt2",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        tuned = peft.get_peft_model(model, settings)
        with torch.no_grad():
            for name, parameter in tuned.named_parameters():
                if "modules_to_save" in name:
                    parameter += torch.randn_like(parameter)
    tuned.save_pretrained(tmp_path / "adapter")
    return tmp_path / "base", tmp_path / "adapter"


def everything(lm: interpret.AttachedModel) -> dict[Any, Tensor]:
    frame = lm.sites()
    capture = lm.capture(list(TEXTS[:3]), list(frame[frame.available].site.unique()))
    return {key: capture[key].nan_to_num() for key in capture}


def equal(a: dict[Any, Tensor], b: dict[Any, Tensor]) -> list[Any]:
    assert a.keys() == b.keys()
    return [key for key in a if not torch.allclose(a[key], b[key], rtol=0, atol=1e-6)]


@pytest.mark.parametrize(("family", "task"), CASES)
def test_on_and_off_are_two_models_loaded_apart(family: str, task: str, tmp_path: Path) -> None:
    base_folder, adapter = saved(tmp_path, family, task)
    both = interpret.load(base_folder, adapter=adapter, device="cpu")
    tuned = interpret.load(base_folder, adapter=adapter, device="cpu")
    base = interpret.load(base_folder, device="cpu")
    before, digest = state_of(both.handle.model), weights_sha256(both.handle.model)
    on = everything(both)
    with both.without_adapter() as off:
        assert off is both
        alone = everything(off)
    again = everything(both)
    assert equal(on, everything(tuned)) == []
    assert equal(alone, everything(base)) == []
    assert all(torch.equal(on[key], again[key]) for key in on)
    # The classifier that was trained whole is the base's again, and so are the logits.
    assert not torch.allclose(on["logits", None], alone["logits", None], atol=1e-3)
    same_state(before, state_of(both.handle.model))
    assert weights_sha256(both.handle.model) == digest
    with pytest.raises(ZeroDivisionError), both.without_adapter():
        raise ZeroDivisionError
    same_state(before, state_of(both.handle.model))
    assert all(torch.equal(on[key], value) for key, value in everything(both).items())
    nothing_global()


def test_trainable_flags_stay_as_they_are() -> None:
    model, tokenizer = tiny("bert")
    settings = peft.LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS", init_lora_weights=False)
    tuned = peft.get_peft_model(model, settings).eval()
    for parameter in tuned.parameters():
        parameter.requires_grad_(False)
    flags = [dict(vars(module)) for module in tuned.modules()]
    with without_adapter(tuned):
        pass
    assert not any(parameter.requires_grad for parameter in tuned.parameters())
    assert [sorted(flag) for flag in flags] == [sorted(vars(module)) for module in tuned.modules()]
    interpret.attach(tuned, tokenizer)


def test_a_base_that_peft_has_mutated_is_recognised() -> None:
    base, tokenizer = tiny("llama", "causal-lm")
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    tuned = peft.get_peft_model(base, settings).eval()
    assert is_mutated_by_peft(base)
    assert not is_mutated_by_peft(tuned)
    with pytest.warns(UserWarning, match="PEFT has put its adapter into this LlamaForCausalLM"):
        lm = interpret.attach(base, tokenizer)
    assert lm.info()["adapter"] == "inside the base model"
    with lm.without_adapter():
        alone = everything(lm)
    original, _ = tiny("llama", "causal-lm")
    assert equal(alone, everything(interpret.attach(original, tokenizer))) == []
    assert equal(everything(lm), everything(interpret.attach(tuned, tokenizer))) == []


def test_what_cannot_be_switched_off() -> None:
    model, tokenizer = tiny("llama", "causal-lm")
    with (
        pytest.raises(UsageError, match="has no adapter to switch off"),
        interpret.attach(model, tokenizer).without_adapter(),
    ):
        pass
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    tuned = peft.get_peft_model(model, settings).eval()
    tuned.merge_adapter()
    with pytest.raises(UsageError, match="merged into the weights"), without_adapter(tuned):
        pass
    prompts, _ = tiny("llama", "causal-lm")
    written = peft.get_peft_model(prompts, peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    with pytest.raises(UsageError, match="writes into the prompt"), without_adapter(written):
        pass


def test_the_strength_and_the_switch_of_an_adapter_are_in_a_digest(tmp_path: Path) -> None:
    """They stand in no weight, and what the model computes hangs on them: kept measurements must not be reused."""
    base, adapter = saved(tmp_path, "bert", "text-classification")
    lm = interpret.load(base, adapter=adapter, device="cpu")
    weights, config = weights_sha256(lm.handle.model), config_sha256(lm.handle)
    with lm.without_adapter():
        assert config_sha256(lm.handle) != config
    assert config_sha256(lm.handle) == config
    path = adapter / "adapter_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(settings | {"lora_alpha": 4 * settings["lora_alpha"]}), encoding="utf-8")
    stronger = interpret.load(base, adapter=adapter, device="cpu")
    assert weights_sha256(stronger.handle.model) == weights
    assert config_sha256(stronger.handle) != config
