"""Models with 8- and 4-bit weights, with weights elsewhere, and in half precision: captured as they run."""

from __future__ import annotations

import gc
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig

import interpret
from interpret.capture.proof import TOLERANCE
from tests import zoo
from tests.capture.support import nothing_global
from tests.conftest import ABSENT
from tests.tiny import TEXTS, tiny, wordpiece

there = importlib.util.find_spec("bitsandbytes") is not None
needs_bitsandbytes = pytest.mark.skipif(not there, reason=f"{ABSENT} the package bitsandbytes is not installed")


def saved(tmp_path: Path) -> Path:
    """Wide enough for the kernels of 4-bit weights."""
    tokenizer = wordpiece()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id, initializer_range=0.25,
    )  # fmt: skip
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


@needs_bitsandbytes
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bits", [8, 4])
def test_quantised_weights(bits: int, tmp_path: Path) -> None:
    from transformers import BitsAndBytesConfig

    folder = saved(tmp_path)
    heads = ["classifier", "pooler"]
    quantised = (
        BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=heads)
        if bits == 8
        else BitsAndBytesConfig(load_in_4bit=True, llm_int8_skip_modules=heads, bnb_4bit_compute_dtype=torch.float32)
    )
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        folder, quantization_config=quantised, device_map="cpu", dtype=torch.float32
    )
    kinds = {type(module).__name__ for module in model.modules()}
    assert kinds & {"Linear8bitLt", "Linear4bit"}
    lm = interpret.attach(model.eval(), wordpiece())
    batch = lm.handle.tokenizer(list(TEXTS[:3]), return_tensors="pt", padding=True)  # type: ignore[misc]
    with torch.no_grad():
        plain = model(**batch).logits
        with lm.capturing("resid_post", "attn_pattern", "z", "mlp_act", "logits") as capture:
            observed = model(**batch).logits
    assert torch.equal(plain, observed)
    assert torch.equal(capture["logits"], plain)
    assert capture["mlp_act", 0].shape[-1] == 128
    ablated = lm.capture(list(TEXTS[:3]), "logits", edits=[interpret.Edit.zero("z.0")])
    assert not torch.allclose(ablated["logits"], plain)
    nothing_global()


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_weights_that_lie_on_disk(family: str, tmp_path: Path) -> None:
    """A device map leaves weights where no input may go; inputs go where the first module runs."""
    accelerate = pytest.importorskip("accelerate")
    task = zoo.ZOO[family][0] if family != "bert" else "text-classification"
    built, twin = zoo.build(family, task), zoo.build(family, task)
    stack = "bert" if family == "bert" else "model" if family == "llama" else None
    names = [name for name, _ in built.model.named_children()]
    placed = {name: "disk" if name in (stack, "encoder") else "cpu" for name in names}
    model = accelerate.dispatch_model(
        built.model, placed, offload_dir=str(tmp_path), main_device="cpu", force_hooks=True
    )
    assert any(parameter.device.type == "meta" for parameter in model.parameters())
    lm = interpret.attach(model, built.tokenizer)
    assert lm.handle.device.type == "cpu"
    reference = interpret.attach(twin.model, twin.tokenizer)
    sites = (
        ["encoder.resid_post", "encoder.attn_pattern"] if family == "t5" else ["resid_post", "attn_pattern", "logits"]
    )
    found, expected = lm.capture(list(TEXTS[:3]), sites), reference.capture(list(TEXTS[:3]), sites)
    for key in expected:
        assert torch.equal(found[key].nan_to_num(), expected[key].nan_to_num()), key
    gc.collect()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", [family for family in zoo.ZOO if family != "gpt_oss"])
def test_half_precision(family: str, dtype: torch.dtype) -> None:
    built = zoo.build(family, zoo.ZOO[family][0])
    model = built.model.to(dtype)
    lm = interpret.attach(model, built.tokenizer)
    assert lm.info()["run_dtype"] == str(dtype).removeprefix("torch.")
    assert lm.proof.z_error <= lm.proof.tolerance == TOLERANCE[lm.info()["run_dtype"]]
    batch = {name: value.to(dtype) if value.is_floating_point() else value for name, value in zoo.inputs(built).items()}
    with torch.no_grad():
        plain = [value for value in model(**batch).values() if isinstance(value, torch.Tensor)]
        sites = lm.sites()
        with lm.capturing(*sites[sites.available].site.unique()) as capture:
            observed = [value for value in model(**batch).values() if isinstance(value, torch.Tensor)]
    assert all(torch.equal(a, b) for a, b in zip(plain, observed, strict=True))
    assert all(capture[key].dtype == dtype for key in capture if key[0] != "logits")


def test_a_compiled_model_is_refused_loudly() -> None:
    from interpret.errors import UsageError

    model, tokenizer = tiny("bert")
    with pytest.raises(UsageError, match=r"torch\.compile"):
        interpret.attach(torch.compile(model), tokenizer)
    lm = interpret.attach(model, tokenizer)
    model.compile()
    with pytest.raises(UsageError, match=r"torch\.compile"):
        lm.capture(list(TEXTS[:1]))
