"""ContextCite on a toy whose planted source decides, and each of its steps against a closed form."""

from __future__ import annotations

import itertools
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from interpret.analyzers.attribution import cite
from interpret.analyzers.attribution.context_cite import fit, log_odds, log_probabilities
from interpret.errors import UsageError
from interpret.models.batching import Row
from interpret.models.fingerprints import weights_sha256
from interpret.models.handle import Handle
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from interpret.results.explanations import Attribution
from interpret.results.views import to_text
from tests import tiny

#: What stands in the context decides the answer; without either both are as likely.
ANSWERS = {"happy": " good", "sad": " bad"}
PLAIN = [word for word in tiny.WORDS if word not in ("good", "bad", *ANSWERS) and len(word) > 1]
TEMPLATE = "the {context} said {query}"


@cache
def toy() -> Handle:
    """A small GPT-2 that answers by the planted word, wherever it stands."""
    model, tokenizer = tiny.tiny("gpt2", "causal-lm")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(0.4)
    answers = torch.tensor([tokenizer(answer).input_ids[0] for answer in ANSWERS.values()])
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    rng = random.Random(0)
    for _ in range(160):
        texts, goals = [], []
        for _ in range(32):
            words = rng.choices(PLAIN, k=rng.randint(0, 20))
            goal = torch.full((2,), 0.5)
            if rng.random() < 0.7:
                which = rng.randrange(2)
                words.insert(rng.randint(0, len(words)), list(ANSWERS)[which])
                goal = nn.functional.one_hot(torch.tensor(which), 2).float()
            texts.append(TEMPLATE.format(context=" ".join(words), query="then"))
            goals.append(goal)
        rows = [tokenizer(text).input_ids for text in texts]
        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for n, row in enumerate(rows):
            ids[n, : len(row)], mask[n, : len(row)] = torch.tensor(row), 1
        out = model(input_ids=ids, attention_mask=mask).logits[torch.arange(len(rows)), mask.sum(1) - 1]
        goal = torch.zeros_like(out)
        goal[:, answers] = torch.stack(goals)
        loss = nn.functional.cross_entropy(out, goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    return attach_handle(model.eval(), tokenizer)


def _sources(planted: int, word: str, n: int = 6) -> list[str]:
    rng = random.Random(planted)
    sources = [" ".join(rng.choices(PLAIN, k=3)) for _ in range(n)]
    sources[planted] = f"{sources[planted]} {word}"
    return sources


def _cite(planted: int, word: str, **options: Any) -> Attribution:
    sources = [f"{source} ." for source in _sources(planted, word)]
    return cite(toy(), "then", context=" ".join(sources), template=TEMPLATE, **options)


@pytest.mark.parametrize("planted", [0, 2, 5])
@pytest.mark.parametrize("word", list(ANSWERS))
def test_the_planted_source_decides(planted: int, word: str) -> None:
    found = _cite(planted, word, max_new_tokens=1)
    assert found[0].target.label == ANSWERS[word]
    assert (found[0].target.kind, found[0].target.chosen) == ("response", "predicted")
    words = found[0].words()
    assert [w.word for w in words] == [f"{source} ." for source in _sources(planted, word)]
    scores = np.array([w.score for w in words])
    assert scores.argmax() == planted
    others = np.delete(scores, planted)
    assert scores[planted] > 3 * np.abs(others).max()
    # Without the source both answers are as likely again.
    assert float(found.options["top_1_drop"] or 0) > 0.4
    assert float(found.options["lds"] or 0) > 0.5
    assert found[0].unit == "sentence"


def test_given_responses_of_both_kinds_get_opposite_weights() -> None:
    for_it, against = (_cite(2, "happy", response=answer) for answer in (" good", " bad"))
    assert for_it[0].words()[2].score > 1.0
    assert against[0].words()[2].score < -1.0
    assert for_it[0].target.chosen == "given"
    assert for_it[0].target.label == " good"


def test_the_answer_is_the_whole_procedure_written_out() -> None:
    """Prompts made from strings, one forward each, scikit-learn's normal equations of the LASSO checked by hand."""
    handle, sources = toy(), [f"{source} ." for source in _sources(1, "sad", 4)]
    found = cite(handle, "then", context=" ".join(sources), response=" bad day", template=TEMPLATE, n_masks=40, seed=7)
    rng = np.random.default_rng(7)
    kept = (rng.random((72, 4)) < 0.5)[:40]
    y = []
    for line in kept:
        context = "".join(f" {source}" for source, k in zip(sources, line, strict=True) if k)
        ids = handle.tokenizer(f"the{context} said then").input_ids
        written = handle.tokenizer(" bad day").input_ids
        with torch.no_grad():
            log = handle.model(torch.tensor([[*ids, *written]])).logits[0].double().log_softmax(-1)
        log_p = float(sum(log[len(ids) - 1 + n, token] for n, token in enumerate(written)))
        y.append(log_p - np.log1p(-np.exp(log_p)))
    target = np.array(y) / len(handle.tokenizer(" bad day").input_ids)
    x = (kept - kept.mean(0)) / kept.std(0)
    n_tokens = found.options["n_tokens"]
    weights = np.array([w.score for w in found[0].words()])
    coefficients = weights * kept.std(0) / float(n_tokens or 0)
    # The LASSO's optimality conditions: correlations of the residual equal alpha where a weight is not zero.
    correlation = x.T @ (target - target.mean() - x @ coefficients) / len(kept)
    active = np.abs(coefficients) > 1e-9
    assert active.any()
    assert np.allclose(correlation[active], 0.01 * np.sign(coefficients[active]), atol=2e-4)
    assert (np.abs(correlation[~active]) <= 0.01 + 2e-4).all()


def test_sources_given_one_by_one_leave_with_what_separates_them() -> None:
    handle = toy()
    sources = _sources(3, "happy")
    found = cite(handle, "then", sources=sources, response=" good", template=TEMPLATE)
    assert [w.word for w in found[0].words()] == sources
    assert found[0].unit == found.unit == "source"
    assert int(np.argmax([w.score for w in found[0].words()])) == 3
    # Every token of the context that is no space is in one source; nothing else is.
    start = len("the ")
    end = start + len("\n\n".join(sources))
    for (first, last), index in zip(found[0].char_spans.tolist(), found[0].word_index.tolist(), strict=True):
        assert (index >= 0) == (start <= first < end and found[0].text[first:last].strip() != "")
    assert found[0].text == TEMPLATE.format(context="\n\n".join(sources), query="then") + " good"


def test_lasso_on_all_masks_is_soft_thresholding() -> None:
    kept = np.array(list(itertools.product([False, True], repeat=5)))
    truth = np.array([3.0, -1.0, 0.05, 0.0, 0.5])
    fitted = fit(kept, kept @ truth - 2.0, 4, 0.01)
    # The columns are orthogonal with deviation 1/2: each coefficient shrinks by alpha for itself.
    shrunk = np.sign(truth) * np.maximum(np.abs(truth) / 2 / 4 - 0.01, 0.0) * 2 * 4
    assert np.allclose(fitted.weights, shrunk, atol=1e-6)
    assert np.allclose((kept @ fitted.weights + fitted.bias).mean(), (kept @ truth - 2.0).mean())


def test_log_odds_lose_neither_end() -> None:
    from mpmath import log, mp, mpf  # type: ignore[import-untyped]

    mp.dps = 60
    for p in (-1e-15, -1e-8, -0.1, -0.6931, -0.6932, -1.0, -30.0, -500.0, -5000.0):
        exact = mpf(p) - log(1 - mp.exp(mpf(p)))
        assert float(log_odds(np.array([p]))[0]) == pytest.approx(float(exact), rel=1e-9)
    assert np.isfinite(log_odds(np.array([0.0]))).all()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_log_probabilities_are_the_models_own_one_row_at_a_time(family: str) -> None:
    handle = attach_handle(*tiny.tiny(family, "causal-lm"))
    rows = [Row(e.ids) for e in encode(handle, [t for t in tiny.TEXTS if len(t.split()) > 3])]
    found = log_probabilities(handle, [*rows, rows[0]], 3)
    for row, value in zip([*rows, rows[0]], found, strict=True):
        ids = torch.tensor([row.ids])
        with torch.no_grad():
            log = handle.model(ids).logits[0].double().log_softmax(-1)
        expected = sum(float(log[p - 1, row.ids[p]]) for p in range(len(row.ids) - 3, len(row.ids)))
        assert value == pytest.approx(expected, abs=1e-4)


def test_the_model_leaves_as_it_came_and_a_seed_gives_the_same_numbers() -> None:
    handle = toy()
    handle.model.train()
    before = weights_sha256(handle.model), repr(handle.config), torch.get_rng_state().tolist()
    one, two, other = (_cite(1, "sad", max_new_tokens=3, seed=seed) for seed in (0, 0, 1))
    assert all(module.training for module in handle.model.modules())
    handle.model.eval()
    assert (weights_sha256(handle.model), repr(handle.config), torch.get_rng_state().tolist()) == before
    assert one[0].scores.tolist() == two[0].scores.tolist()
    assert one.options == two.options
    assert one[0].scores.tolist() != other[0].scores.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either context="),
        ({"context": "a. b.", "sources": ["a"]}, "either context="),
        ({"context": " "}, "no source"),
        ({"sources": []}, "no source"),
        ({"sources": "a b"}, "list of texts"),
        ({"sources": ["a", " "]}, "source 1 is empty"),
        ({"context": "a.", "response": ""}, "response is empty"),
        ({"context": "a.", "keep": 1.0}, "keep is 1.0"),
        ({"context": "a.", "n_masks": 1}, "n_masks is 1"),
        ({"context": "a.", "alpha": 0.0}, "alpha is 0.0"),
        ({"context": "a.", "template": "{query}"}, "once"),
        ({"context": "the film . " * 40, "response": " good"}, "reads 64"),
        ({"context": "the film was", "template": "{context}{query}", "response": " good"}, "nothing of the prompt"),
    ],
)
def test_wrong_requests_say_what_to_do(options: dict[str, Any], message: str) -> None:
    query = "" if options.get("template") == "{context}{query}" else "then"
    with pytest.raises(UsageError, match=message):
        cite(toy(), query, **{"template": TEMPLATE, **options})


def test_a_classifier_is_refused() -> None:
    handle = attach_handle(*tiny.tiny("gpt2"))
    with pytest.raises(UsageError, match="causal language model writes"):
        cite(handle, "then", context="a. b.")


def test_it_is_shown_in_both_languages_and_comes_back_from_a_file(tmp_path: Path) -> None:
    found = _cite(2, "happy", max_new_tokens=1)
    assert "whole response “ good”" in to_text(found)
    assert to_text(found, locale="zh") != to_text(found)
    assert "ContextCite" in found._repr_html_()
    again = Attribution.load(found.save(tmp_path / "cite"))
    assert [w.word for w in again[0].words()] == [w.word for w in found[0].words()]
    assert again.options == found.options
