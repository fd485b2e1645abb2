"""Audits of models that are made to write a language first: what they are free in is held against the reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import interpret
from tests import translators
from tests.tiny import WORDS

SMALL = {"explained": 3, "errors_shown": 1, "random_shown": 1, "bootstraps": 100, "compared": 2, "randomised": 2}
WRITTEN = [word for word in WORDS if len(word) > 2][:6]


def copier() -> tuple[Any, Any]:
    """A tiny NLLB that was taught to write one word after reading it, and nothing of how its text begins."""
    model, tokenizer = translators.nllb(tgt_lang="fra_Latn")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(0.4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    batch = tokenizer(WRITTEN, return_tensors="pt", padding=True)
    labels = tokenizer(text_target=WRITTEN, return_tensors="pt", padding=True)["input_ids"]
    decoder = torch.cat([torch.full((len(labels), 1), model.config.decoder_start_token_id), labels[:, :-1]], 1)
    free = labels.masked_fill(labels == tokenizer.pad_token_id, -100).clone()
    free[:, 0] = -100
    for _ in range(150):
        loss = model(**batch, decoder_input_ids=decoder, labels=free).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    return model.eval(), tokenizer


def test_the_language_it_must_write_is_not_held_against_it() -> None:
    model, tokenizer = copier()
    lm = interpret.attach(model, tokenizer, name="translator")
    sources = WORDS[:12]
    audit = interpret.audit(lm, [{"text": word, "target": word} for word in sources], config=SMALL, progress=False)
    assert audit.performance is not None
    found = {metric.name: metric for metric in audit.performance.metrics}
    french = tokenizer.convert_tokens_to_ids("fra_Latn")
    exactly, nats, hits, n, firsts = [], 0.0, 0.0, 0, []
    for word in sources:
        batch = tokenizer(word, return_tensors="pt")
        labels = tokenizer(text_target=word, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            written = model.generate(
                **batch, do_sample=False, num_beams=1, max_new_tokens=12, forced_bos_token_id=french
            )
            logits = model(**batch, labels=labels).logits[0]
        exactly.append(tokenizer.decode(written[0], skip_special_tokens=True).strip() == word)
        firsts.append(int(logits[0].argmax()) == french)
        logs = logits.log_softmax(-1)[torch.arange(labels.shape[1]), labels[0]][1:]
        nats -= float(logs.sum())
        hits += float((logits.argmax(-1) == labels[0])[1:].sum())
        n += len(logs)
    assert any(exactly), "the copier copies what it was taught"
    assert not any(firsts), "it would not begin with the language by itself"
    assert found["exact_match"].value == pytest.approx(np.mean(exactly))
    assert found["token_accuracy"].value == pytest.approx(hits / n)
    assert found["perplexity"].value == pytest.approx(math.exp(nats / n), rel=1e-4)
    # What it writes is explained, which begins with the language and is not called after it.
    assert audit.cases
    for case in audit.cases:
        assert case.attribution.target.response[0] == french
        assert "fra_Latn" not in str(case.attribution.target.label)
