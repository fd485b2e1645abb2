"""The logit lens against norm and head written out, and against the model's own output at the last layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import entropy

import interpret
from interpret.errors import UsageError
from interpret.results.interventions import LensReading
from interpret.results.views import to_html, to_text
from tests.analyzers.intervention.support import ids, made
from tests.tiny import FAMILIES, tiny

TEXT = "the cat ate the red fish"
ALL = [(family, task) for family, tasks in FAMILIES.items() for task in tasks]


def read(model: Any, family: str, task: str, hidden: torch.Tensor) -> torch.Tensor:
    """Norm and head of three families, written out: hidden [position, d_model] to logits [position, label]."""
    if family == "gpt2":
        return (model.lm_head if task == "causal-lm" else model.score)(model.transformer.ln_f(hidden))
    if family == "llama":
        return (model.lm_head if task == "causal-lm" else model.score)(model.model.norm(hidden))
    if task == "masked-lm":
        transform = model.cls.predictions.transform
        return model.cls.predictions.decoder(transform.LayerNorm(torch.nn.functional.gelu(transform.dense(hidden))))
    return model.classifier(torch.tanh(model.bert.pooler.dense(hidden)))


@pytest.mark.parametrize(("family", "task"), [case for case in ALL if case[0] in ("bert", "gpt2", "llama")])
def test_every_reading_is_norm_and_head(family: str, task: str) -> None:
    lm = made(family, task)
    record = interpret.lens(lm, TEXT, target=1)
    with torch.no_grad():
        out = lm.handle.model.base_model(**ids(lm, TEXT), output_hidden_states=True)
        plain = lm.handle.model(**ids(lm, TEXT)).logits[0].double().numpy()
    streams = list(out.hidden_states)
    if family != "bert":
        # Of these transformers gives the last layer after the final norm.
        streams[-1] = lm.capture(TEXT, "resid_post.1")["resid_post", 1]
    own = np.broadcast_to(plain, (len(record.tokens), plain.shape[-1]))
    assert len(streams) == len(record.layers) == 3
    for layer, stream in enumerate(streams):
        with torch.no_grad():
            logits = read(lm.handle.model, family, task, stream[0]).double().numpy()
        logs = log_softmax(logits, axis=-1)
        assert record.entropy[layer] == pytest.approx(entropy(np.exp(logs), axis=-1), abs=1e-5)
        assert record.kl[layer] == pytest.approx(entropy(np.exp(log_softmax(own, -1)), np.exp(logs), axis=-1), abs=2e-5)
        assert record.log_probability[layer] == pytest.approx(logs[:, 1], abs=1e-5)
        assert record.rank[layer].tolist() == (logits > logits[:, 1:2]).sum(-1).tolist()
    at = slice(None) if record.read is None else record.read
    assert np.abs(record.kl[-1][at]).max() < 1e-6


@pytest.mark.parametrize(("family", "task"), ALL)
def test_the_last_layer_says_what_the_model_says(family: str, task: str) -> None:
    lm = interpret.attach(*tiny(family, task))
    record = interpret.lens(lm, TEXT)
    reads_last = family in ("gpt2", "llama")
    expected = None if task != "text-classification" else (len(record.tokens) - 1 if reads_last else 0)
    assert record.read == expected
    at = slice(None) if expected is None else expected
    assert not record.rank[-1][at].any()
    assert np.abs(record.kl[-1][at]).max() < 1e-5
    assert record.kl[0][at] == pytest.approx(record.kl[0][at])
    assert np.max(record.kl[0][at]) > 1e-4


def test_refused_with_the_reason() -> None:
    lm = interpret.attach(*tiny("bert"))
    with pytest.raises(UsageError, match="no label 'z'"):
        interpret.lens(lm, TEXT, target="z")
    model, tokenizer = tiny("bert")
    with pytest.raises(UsageError, match="the logit lens reads the logits at one place"):
        interpret.lens(interpret.attach(model.bert, tokenizer), TEXT)

    class Mean(torch.nn.Module):
        def __init__(self, pooler: Any) -> None:
            super().__init__()
            self.dense, self.activation = pooler.dense, pooler.activation

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return self.activation(self.dense(hidden.mean(1)))

    model.bert.pooler = Mean(model.bert.pooler)
    with pytest.raises(UsageError, match="does not read one position"):
        interpret.lens(interpret.attach(model, tokenizer), TEXT)


@pytest.mark.parametrize("locale", ["en", "zh"])
@pytest.mark.parametrize(("family", "task"), [("gpt2", "causal-lm"), ("bert", "text-classification")])
def test_shown_in_words_saved_and_read_again(locale: str, family: str, task: str, tmp_path: Path) -> None:
    lm = made(family, task)
    before = {name: value.clone() for name, value in lm.handle.model.state_dict().items()}
    record = interpret.lens(lm, "<b>the cat ate")
    assert all(torch.equal(value, before[name]) for name, value in lm.handle.model.state_dict().items())
    assert not any("forward" in vars(module) for module in lm.handle.model.modules())
    text, html = to_text(record, locale=locale), to_html(record, locale=locale)
    assert "{" not in text.replace("{'", "")
    assert "style=" not in html
    assert "<b>" not in html
    again = LensReading.load(record.save(tmp_path))
    assert to_text(again, locale=locale) == text
    assert list(again.to_frame()) == [
        "layer", "position", "token", "top", "target", "rank", "log_probability", "kl", "entropy",
    ]  # fmt: skip
