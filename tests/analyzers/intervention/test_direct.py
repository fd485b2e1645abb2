"""Direct logit attribution: it sums to the logit, and its parts are those written out in plain torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interpret
from interpret.errors import UsageError
from interpret.results.interventions import LogitParts
from interpret.results.views import to_html, to_text
from tests.analyzers.intervention.support import ATTENTION_OUTPUT, MLP, blocks, made, plain, seen
from tests.tiny import FAMILIES, tiny

TEXT = "the film was good"
ALL = [(family, task) for family, tasks in FAMILIES.items() for task in tasks]
DECODERS = [case for case in ALL if case[0] in ("gpt2", "llama")]


def text_for(lm: Any, task: str) -> str:
    return (
        f"{TEXT}{' ' * (lm.handle.roles.family != 'roberta')}{lm.handle.tokenizer.mask_token}" * (task == "masked-lm")
        or TEXT
    )


@pytest.mark.parametrize(("family", "task"), ALL)
@pytest.mark.parametrize("heads", [True, False])
@pytest.mark.parametrize("target", [2, (2, 0)])
def test_it_sums_to_the_logit(family: str, task: str, heads: bool, target: Any) -> None:
    lm = interpret.attach(*tiny(family, task))
    text = text_for(lm, task)
    record = interpret.direct_logit_attribution(lm, text, target, heads=heads)
    logits = plain(lm, text)
    expected = float(logits[2] - logits[0]) if target == (2, 0) else float(logits[2])
    assert record.logit == pytest.approx(expected, abs=1e-5)
    total = sum(part.value for part in record.parts)
    assert total + record.remainder == pytest.approx(record.logit, abs=1e-9)
    assert record.linear == (family in ("gpt2", "llama"))
    if record.linear:
        assert total == pytest.approx(expected, abs=1e-5)
    named = [(part.kind, part.layer, part.head) for part in record.parts]
    assert len(set(named)) == len(named)
    assert sum(kind == "attention" for kind, _, _ in named) == (8 if heads else 2)


@pytest.mark.parametrize(("family", "task"), DECODERS)
@torch.no_grad()
def test_parts_of_a_linear_head_are_written_out(family: str, task: str) -> None:
    lm = made(family, task)
    model: Any = lm.handle.model
    record = interpret.direct_logit_attribution(lm, TEXT, 1)
    found = {(part.kind, part.layer, part.head): part.value for part in record.parts}
    norm = model.transformer.ln_f if family == "gpt2" else model.model.norm
    unembedding = (model.lm_head if task == "causal-lm" else model.score).weight[1]
    stream = seen(lm, norm, TEXT, "input")[0, -1]
    if family == "gpt2":
        scale = norm.weight / (stream.var(correction=0) + norm.eps).sqrt()
        assert found["norm_bias", None, None] == pytest.approx(float(norm.bias @ unembedding), abs=1e-5)
    else:
        scale = norm.weight / (stream.square().mean() + norm.variance_epsilon).sqrt()
    for layer, block in enumerate(blocks(lm, family)):
        for key, path in ((("mlp", layer, None), MLP), (None, ATTENTION_OUTPUT)):
            written = seen(lm, block.get_submodule(path[family]), TEXT, "output")[0, -1]
            vector = written - written.mean() if family == "gpt2" else written
            expected = float((scale * vector) @ unembedding)
            value = found[key] if key else sum(v for (kind, n, _), v in found.items() if n == layer and kind != "mlp")
            assert value == pytest.approx(expected, abs=1e-5)
        projection = block.get_submodule(ATTENTION_OUTPUT[family])
        z = seen(lm, projection, TEXT, "input")[0, -1].view(4, -1)
        for head in range(4):
            weight = projection.weight if family == "gpt2" else projection.weight.T
            written = z[head] @ weight[8 * head : 8 * head + 8]
            vector = written - written.mean() if family == "gpt2" else written
            assert found["attention", layer, head] == pytest.approx(float((scale * vector) @ unembedding), abs=1e-5)


@torch.no_grad()
def test_the_pre_activation_of_a_pooler_is_split_exactly() -> None:
    lm = made("bert", "text-classification")
    model: Any = lm.handle.model
    record = interpret.direct_logit_attribution(lm, TEXT, 1)
    first = seen(lm, blocks(lm, "bert")[-1], TEXT, "output")[0, 0]
    before = model.bert.pooler.dense(first)
    slope = model.classifier.weight[1] * (1 - torch.tanh(before) ** 2)
    written = sum(part.value for part in record.parts if part.kind != "constant")
    # What the parts write, without the pooler's bias.
    assert written == pytest.approx(float(slope @ (before - model.bert.pooler.dense.bias)), abs=1e-5)
    zero = model.classifier(torch.tanh(model.bert.pooler.dense.bias))[1]
    (constant,) = (part.value for part in record.parts if part.kind == "constant")
    assert constant == pytest.approx(float(zero), abs=1e-6)
    # The norms after each part are held: what attention of the first layer wrote, taken through all of them.
    stream = seen(lm, blocks(lm, "bert")[0], TEXT, "input")[0, 0]
    value = torch.zeros_like(stream)
    for layer, block in enumerate(blocks(lm, "bert")):
        attention = seen(lm, block.attention.output.dense, TEXT, "output")[0, 0]  # type: ignore[union-attr]
        mlp = seen(lm, block.output.dense, TEXT, "output")[0, 0]  # type: ignore[union-attr]
        for norm, added in ((block.attention.output.LayerNorm, attention), (block.output.LayerNorm, mlp)):  # type: ignore[union-attr]
            value = value + attention if layer == 0 and added is attention else value
            stream = stream + added
            held = (stream.var(correction=0) + norm.eps).sqrt()
            value = (value - value.mean()) / held * norm.weight
            stream = norm(stream)
    expected = float((slope @ model.bert.pooler.dense.weight) @ value)
    own = [part.value for part in record.parts if part.layer == 0 and part.kind != "mlp"]
    assert sum(own) == pytest.approx(expected, abs=1e-5)


def test_refused_with_the_reason() -> None:
    model, tokenizer = tiny("llama", "causal-lm")
    lm = interpret.attach(model, tokenizer)

    class Cubed(torch.nn.Module):
        weight = model.model.norm.weight

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden**3

    norm, model.model.norm = model.model.norm, Cubed()
    with pytest.raises(UsageError, match="Cubed is neither a layer norm nor"):
        interpret.direct_logit_attribution(interpret.attach(model, tokenizer), TEXT)
    model.model.norm = norm
    assert interpret.direct_logit_attribution(lm, TEXT).linear


@pytest.mark.parametrize("locale", ["en", "zh"])
@pytest.mark.parametrize(("family", "task"), [("gpt2", "causal-lm"), ("bert", "masked-lm")])
def test_shown_in_words_saved_and_read_again(locale: str, family: str, task: str, tmp_path: Path) -> None:
    lm = made(family, task)
    before = {name: value.clone() for name, value in lm.handle.model.state_dict().items()}
    record = interpret.direct_logit_attribution(lm, "<b>the cat" + " [MASK]" * (task == "masked-lm"))
    assert all(torch.equal(value, before[name]) for name, value in lm.handle.model.state_dict().items())
    for module in lm.handle.model.modules():
        assert not {*module._forward_hooks, *module._forward_pre_hooks}
        assert "forward" not in vars(module)
    assert all(parameter.grad is None for parameter in lm.handle.model.parameters())
    text, html = to_text(record, locale=locale), to_html(record, locale=locale)
    assert "{" not in text
    assert "style=" not in html
    assert "<svg" in html
    again = LogitParts.load(record.save(tmp_path))
    assert to_text(again, locale=locale) == text
    frame = again.to_frame()
    assert list(frame) == ["part", "layer", "head", "value"]
    assert frame["value"].sum() == pytest.approx(record.logit)
    assert np.isfinite(frame["value"]).all()
