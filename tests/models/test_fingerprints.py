from __future__ import annotations

from pathlib import Path

import pytest
import torch

from interpret.models.fingerprints import config_sha256, tokenizer_sha256, weights_sha256
from interpret.models.load import attach_handle, load_handle
from tests.tiny import FAMILIES, TEXTS, tiny


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_digest_is_of_the_values_and_nothing_else(family: str) -> None:
    model, _ = tiny(family)
    before = weights_sha256(model)
    assert before == weights_sha256(tiny(family)[0])
    assert before != weights_sha256(tiny(family, seed=1)[0])
    model.train()
    assert before == weights_sha256(model)
    last = list(model.parameters())[-1]
    with torch.no_grad():
        last.view(-1)[-1] = torch.nextafter(last.view(-1)[-1], torch.tensor(9.0))
    assert before != weights_sha256(model)


def test_weights_digest_sees_types_names_and_layout() -> None:
    model, _ = tiny("bert")
    before = weights_sha256(model)
    strided = model.classifier.weight.detach().T.contiguous().T
    assert not strided.is_contiguous()
    model.classifier.weight = torch.nn.Parameter(strided)
    assert weights_sha256(model) == before
    assert weights_sha256(model.to(torch.bfloat16)) != before
    names = torch.nn.ModuleDict({"one": torch.nn.Linear(2, 2)})
    renamed = torch.nn.ModuleDict({"two": names["one"]})
    assert weights_sha256(names) != weights_sha256(renamed)


def test_config_digest_knows_no_paths_but_the_attention_implementation(tmp_path: Path) -> None:
    model, tokenizer = tiny("bert")
    for name in ("one", "two"):
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    one, two = load_handle(tmp_path / "one"), load_handle(tmp_path / "two")
    assert config_sha256(one) == config_sha256(two)
    assert tokenizer_sha256(one) == tokenizer_sha256(two)
    eager = load_handle(tmp_path / "two", attn_implementation="eager")
    assert eager.attn_implementation == "eager"
    assert config_sha256(one) != config_sha256(eager)


def test_tokenizer_digest_ignores_the_last_call_and_sees_the_vocabulary() -> None:
    model, tokenizer = tiny("roberta")
    handle = attach_handle(model, tokenizer)
    before = tokenizer_sha256(handle)
    tokenizer(list(TEXTS), truncation=True, max_length=5, padding="max_length")
    assert tokenizer_sha256(handle) == before
    tokenizer.add_tokens(["brand-new"])
    assert tokenizer_sha256(handle) != before
    assert tokenizer_sha256(attach_handle(model)) != before
