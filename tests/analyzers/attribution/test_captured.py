"""Attributions from a capture with gradients: the same as with the model, as plain autograd, and no forward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import interpret
from interpret.analyzers.attribution import attribute_capture
from interpret.capture.capture import capture_texts
from interpret.errors import UsageError
from interpret.facade import AttachedModel
from interpret.models.inputs import encode
from tests import zoo
from tests.capture.support import same_state, state_of

TEXTS = ["the cat ate the red fish and was happy", "a very good day"]
CASES = [
    ("bert", "text-classification"),
    ("bert", "masked-lm"),
    ("llama", "causal-lm"),
    ("gpt2", "causal-lm"),
    ("gemma3", "text-classification"),
]


def attached(family: str, task: str) -> AttachedModel:
    built = zoo.build(family, task)
    built.model.config.pad_token_id = built.tokenizer.pad_token_id
    return interpret.attach(built.model, built.tokenizer)


def texts_of(lm: AttachedModel) -> list[str]:
    return [f"{text} [MASK] film" for text in TEXTS] if lm.handle.task == "masked-lm" else TEXTS


def batch_of(lm: AttachedModel, texts: list[str], side: str = "right") -> dict[str, torch.Tensor]:
    lm.handle.tokenizer.padding_side = side
    batch = dict(lm.handle.tokenizer(texts, return_tensors="pt", padding=True))
    if side == "left":
        batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    return batch


def forbidden(*_: Any, **__: Any) -> Any:
    raise AssertionError("a forward was run")


@pytest.mark.parametrize("method", ["gradient_attention", "gradient_x_input"])
@pytest.mark.parametrize(("family", "task"), CASES)
def test_a_capture_gives_what_the_model_gives_without_a_forward(
    family: str, task: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = attached(family, task)
    texts = texts_of(lm)
    sites = ["attn_pattern" if method == "gradient_attention" else "embed", "logits"]
    mode: Any = "eager" if method == "gradient_attention" else "auto"
    sides = ("right", "left") if lm.handle.is_decoder and family != "gpt2" else ("right",)
    for side in sides:
        expected = lm.attribute(texts, method=method, quality=False)
        others = lm.attribute(texts, 1, method=method, quality=False)
        with lm.capturing(*sites, grad=True, mode=mode) as capture:
            lm.handle.model(**batch_of(lm, texts, side))
        before = state_of(lm.handle.model)
        with monkeypatch.context() as patch:
            patch.setattr(lm.handle.model, "forward", forbidden)
            patch.setattr(lm.handle.roles.base, "forward", forbidden)
            found = lm.attribute(capture, method=method, quality=False)
            # The same forward serves another target.
            found_other = lm.attribute(capture, 1, method=method, quality=False)
        same_state(before, state_of(lm.handle.model))
        assert all(parameter.grad is None for parameter in lm.handle.model.parameters())
        for want, got in ((expected, found), (others, found_other)):
            for one, other in zip(want, got, strict=True):
                assert one.tokens == other.tokens
                assert np.abs(one.scores - other.scores).max() < 1e-4 * np.abs(one.scores).max()
                assert (one.target.index, one.target.label) == (other.target.index, other.target.label)
                assert one.target.kind == other.target.kind
                assert other.value == pytest.approx(one.value, abs=1e-4)
        assert found[0].target.chosen == "predicted"
        assert found_other[0].target.chosen == "given"


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_gradient_x_input_is_plain_autograd(family: str) -> None:
    lm = attached(family, "text-classification")
    batch = batch_of(lm, TEXTS)
    with lm.capturing("embed", "logits", grad=True) as capture:
        lm.handle.model(**batch)
    found = lm.attribute(capture, ("LABEL_2" if "LABEL_2" in lm.info()["labels"] else lm.info()["labels"][2], 0))
    assert found.method == "gradient_x_input"
    assert found.options["auto"] == "gradient_x_input"
    kept: list[torch.Tensor] = []
    place = lm.handle.model.bert.embeddings if family == "bert" else lm.handle.model.model.embed_tokens
    hook = place.register_forward_hook(lambda _m, _a, out: kept.append(out))
    logits = lm.handle.model(**batch).logits
    hook.remove()
    kept[0].retain_grad()
    (logits[:, 2] - logits[:, 0]).sum().backward()
    expected = (kept[0].grad * kept[0]).sum(-1).detach().numpy()
    lm.handle.model.zero_grad()
    for i, example in enumerate(found):
        n = int(batch["attention_mask"][i].sum())
        assert np.abs(example.scores - expected[i, :n]).max() < 1e-5
        assert example.target.kind == "contrast"
        # Nothing can be removed from a text that is not known, so no quality is measured.
        assert example.quality is None


@pytest.mark.parametrize("method", ["gradient_attention", "gradient_x_input", "attention_rollout"])
@pytest.mark.parametrize("family", ["t5", "bart", "mbart", "m2m_100", "marian", "pegasus"])
def test_an_encoder_decoder_is_explained_at_its_encoders_tokens(family: str, method: str) -> None:
    lm = attached(family, "seq2seq-lm")
    response = "the end was sad"
    expected = lm.attribute(TEXTS, method=method, response=response, at=2, quality=False)
    written = expected[0].target.response
    batch = batch_of(lm, TEXTS)
    read = torch.tensor([[lm.handle.decoder_start_id, *written[:2]]] * 2)
    patterns = ["encoder.attn_pattern", "decoder.attn_pattern", "cross.attn_pattern"]
    sites = ["encoder.embed"] if method == "gradient_x_input" else patterns
    mode: Any = "auto" if method == "gradient_x_input" else "eager"
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with lm.capturing(*sites, "logits", grad=True, mode=mode) as capture:
        lm.handle.model(**inputs, decoder_input_ids=read, use_cache=False)
    target = None if method == "attention_rollout" else written[2]
    found = lm.attribute(capture, target, method=method, quality=False)
    for one, other in zip(expected, found, strict=True):
        assert one.tokens == other.tokens
        assert np.abs(one.scores - other.scores).max() < 1e-4 * np.abs(one.scores).max()
        if method != "attention_rollout":
            assert (other.target.kind, other.target.index, other.target.position) == ("output_token", written[2], 2)


@pytest.mark.parametrize("given", ["texts", "batches", "generated"])
def test_a_capture_without_a_graph_refuses_grad_and_what_it_names_works(given: str) -> None:
    lm = attached("llama", "causal-lm")
    batch = batch_of(lm, TEXTS[:1])
    lm.handle.model.register_forward_pre_hook(forbidden)
    inputs: Any = [batch] if given == "batches" else TEXTS
    run: Any = lm.capture_generated if given == "generated" else lm.capture
    with pytest.raises(
        UsageError, match=r"grad=True was given to lm\.capture.*lm\.capturing\('attn_pattern', 'logits', grad=True, mod"
    ) as refused:
        run(inputs, ["attn_pattern", "logits"], grad=True)
    lm.handle.model._forward_pre_hooks.clear()
    # As it is written, with what the message leaves to the caller.
    head, body = str(refused.value).split("yourself: ")[1].split(": ")
    names: dict[str, Any] = {"lm": lm, "batch": batch}
    exec(f"{head}:\n    {body}", names)
    assert lm.attribute(names["capture"], method="gradient_attention", quality=False)[0].scores.any()


def test_what_a_capture_lacks_is_named_with_the_sites_that_would_do() -> None:
    lm = attached("bert", "text-classification")
    batch = batch_of(lm, TEXTS)
    encoded = encode(lm.handle, TEXTS)
    plain = capture_texts(lm.handle, encoded, ["attn_pattern"])
    with pytest.raises(
        UsageError, match=r"without grad=True.*capturing\('attn_pattern', 'logits', grad=True, mode='eag"
    ):
        lm.attribute(plain, method="gradient_attention")
    with pytest.raises(UsageError, match="only their model knows"):
        attribute_capture(plain, "gradient_attention")
    with lm.capturing("attn_pattern", grad=True, mode="eager") as without_logits:
        lm.handle.model(**batch)
    with pytest.raises(UsageError, match=r"lacks logits \(it holds attn_pattern\).*sites=\['attn_pattern', 'logits'\]"):
        lm.attribute(without_logits, method="gradient_attention")
    with lm.capturing("resid_post", "logits", grad=True) as without_embed:
        lm.handle.model(**batch)
    with pytest.raises(UsageError, match=r"lacks embed.*sites=\['embed', 'logits'\]"):
        lm.attribute(without_embed)
    with lm.capturing("attn_pattern.0", "logits", grad=True, mode="eager") as one_layer:
        lm.handle.model(**batch)
    with pytest.raises(UsageError, match=r"lacks attn_pattern\.1; capture sites=\['attn_pattern'\]"):
        lm.attribute(one_layer, method="gradient_attention")
    with pytest.raises(UsageError, match=r"lacks attn_pattern\.1; capture sites=\['attn_pattern'\]"):
        lm.attribute(one_layer)
    with pytest.raises(UsageError, match="same for every target"):
        lm.attribute(plain, 1)
    with pytest.raises(UsageError, match="at="):
        lm.attribute(plain, at=1)
    with pytest.raises(UsageError, match="'integrated_gradients' needs the model"):
        lm.attribute(plain, method="integrated_gradients")
    with torch.no_grad(), lm.capturing("embed", "logits", grad=True) as silent:
        lm.handle.model(**batch)
    with pytest.raises(UsageError, match="with gradients on"):
        lm.attribute(silent)


def test_what_a_capture_cannot_say_is_said() -> None:
    tagger = attached("bert", "token-classification")
    with tagger.capturing("embed", "logits", grad=True) as capture:
        tagger.handle.model(**batch_of(tagger, TEXTS))
    with pytest.raises(UsageError, match=r"token-classification.*give lm\.attribute the texts"):
        tagger.attribute(capture)
    twice = attached("bart", "text-classification")
    batch = {name: value for name, value in batch_of(twice, TEXTS[:1]).items() if name != "token_type_ids"}
    with twice.capturing("encoder.embed", "logits", grad=True) as capture:
        twice.handle.model(**batch)
    with pytest.raises(UsageError, match=r"give lm\.attribute the texts"):
        twice.attribute(capture)
    filler = attached("bert", "masked-lm")
    with filler.capturing("embed", "logits", grad=True) as capture:
        filler.handle.model(**batch_of(filler, TEXTS))
    with pytest.raises(UsageError, match="no mask token"):
        filler.attribute(capture)
