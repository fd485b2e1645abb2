"""Ablation against plain torch, against the audit's own, and against a model with one head at work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import interpret
from interpret.analyzers.intervention import head_effects
from interpret.analyzers.target import Target, resolve_targets
from interpret.auditing.ablation import ablation_effects
from interpret.capture.capture import capture_texts, capturing
from interpret.capture.edits import Edit
from interpret.errors import UsageError
from interpret.models.batching import Row, collate
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from interpret.results.interventions import AblationSweep
from interpret.results.views import to_html, to_text
from tests import planted, zoo
from tests.analyzers.intervention.support import ATTENTION_OUTPUT, CASES, MLP, blocks, made, plain, seen, swapped

TEXTS = ["the film was good", "bad", "not a good film, but the cat was happy"]
EVERYTHING = slice(None)


def texts(task: str) -> list[str]:
    return [f"{text} [MASK]" for text in TEXTS] if task == "masked-lm" else TEXTS


@pytest.mark.parametrize(("family", "task"), CASES)
@pytest.mark.parametrize("operator", ["zero", "mean"])
def test_every_part_is_that_of_plain_torch(family: str, task: str, operator: str) -> None:
    lm = made(family, task)
    record = interpret.ablate(lm, texts(task), operator=operator, target=(0, 1))  # type: ignore[arg-type]
    assert record.late
    assert record.metric == "logit_difference"
    found = {(part.part, part.layer, part.head): n for n, part in enumerate(record.parts)}
    assert len(found) == 2 * (4 + 1)

    def scalar(text: str) -> float:
        logits = plain(lm, text)
        return float(logits[0] - logits[1])

    for layer, block in enumerate(blocks(lm, family)):
        for part, path, side in (("head", ATTENTION_OUTPUT[family], "input"), ("mlp", MLP[family], "output")):
            module = block.get_submodule(path)
            values = [seen(lm, module, text, side) for text in texts(task)]
            mean = torch.cat(values, dim=1).mean(1, keepdim=True) * (operator == "mean")
            for head in range(4) if part == "head" else [None]:
                units = EVERYTHING if head is None else slice(8 * head, 8 * head + 8)
                for number, text in enumerate(texts(task)):
                    other = mean.expand(-1, values[number].shape[1], -1)
                    with swapped(module, other, EVERYTHING, units, side):
                        expected = -scalar(text)
                    expected += scalar(text)
                    effect = record.effects[number, found[part, layer, head]]
                    assert effect == pytest.approx(expected, abs=3e-5), (part, layer, head, text)


@pytest.mark.parametrize(("family", "task"), CASES[:4])
def test_heads_are_those_of_the_audit(family: str, task: str) -> None:
    lm = made(family, task)
    record = interpret.ablate(lm, texts(task), parts=["head"], metric="logit", target=1)
    encoded = encode(lm.handle, texts(task))
    expected = ablation_effects(lm.handle, encoded, resolve_targets(lm.handle, encoded, 1))
    assert np.abs(record.effects.reshape(-1, 2, 4) - expected.transpose(2, 0, 1)).max() < 3e-5
    assert record.heads == pytest.approx(expected.mean(-1), abs=3e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2", "deberta-v2"])
def test_heads_of_a_span_model_are_those_of_edits(family: str) -> None:
    built = zoo.build(family, "question-answering")
    handle = attach_handle(built.model.double(), built.tokenizer)
    encoded = encode(handle, [("the film?", text) for text in TEXTS])
    targets = resolve_targets(handle, encoded)
    found = head_effects(handle, encoded, targets)
    assert np.abs(found - head_effects(handle, encoded, targets, late=False)).max() < 1e-12
    for layer, head in np.ndindex(found.shape[:2]):
        edit = Edit.mean(f"z.{layer}", capture_texts(handle, encoded, f"z.{layer}"), heads=[head])
        for number, (text, target) in enumerate(zip(encoded, targets, strict=True)):
            batch = collate(handle, [Row(text.ids, text.type_ids)])

            def scalar(batch: dict[str, torch.Tensor] = batch, target: Target = target) -> float:
                with torch.no_grad():
                    outputs = handle.model(**batch)
                return float(outputs.start_logits[0, target.position] + outputs.end_logits[0, target.end])

            plain = scalar()
            with capturing(handle, edits=[edit]):
                without = scalar()
            assert found[layer, head, number] == pytest.approx(plain - without, abs=1e-10)
    assert np.abs(found).max() > 1e-3


@pytest.mark.parametrize(("family", "task"), CASES)
@pytest.mark.parametrize("operator", ["zero", "mean", "resample"])
def test_the_head_that_was_planted_is_found(family: str, task: str, operator: str) -> None:
    lm = made(family, task)
    planted.one_head(lm.handle, 1, 2)
    record = interpret.ablate(lm, texts(task), parts=["head"], operator=operator, metric="kl")  # type: ignore[arg-type]
    importance = record.heads
    assert np.unravel_index(importance.argmax(), importance.shape) == (1, 2)
    assert importance[1, 2] > 1e-4
    importance[1, 2] = 0.0
    assert importance.max() < 1e-9


def test_intervals_are_bootstraps_over_texts() -> None:
    lm = interpret.attach(*planted.trained(), name="planted")
    data = planted.sentences(12)
    record = interpret.ablate(lm, data.texts, target=[(label, 1 - label) for label in data.labels])
    from scipy.stats import bootstrap

    for number, part in enumerate(record.parts):
        values = record.effects[:, number]
        assert part.effect == pytest.approx(values.mean())
        assert part.ci_low is not None
        assert part.ci_high is not None
        assert part.ci_low <= part.effect <= part.ci_high
        # Ours is taken further out for so few texts.
        theirs = bootstrap((values,), np.mean, method="percentile", random_state=0).confidence_interval
        width = (part.ci_high - part.ci_low) / max(theirs.high - theirs.low, 1e-12)
        assert 1.0 < width < 1.4 or theirs.high - theirs.low < 1e-9
    # The cue reaches the class token through attention.
    assert max(part.ci_low or 0.0 for part in record.parts if part.part == "head") > 0.02
    few = interpret.ablate(lm, data.texts[:4], parts=["mlp"])
    assert all(part.ci_low is None for part in few.parts)
    assert "5 are needed" in to_text(few)


def test_a_seed_gives_the_same_draws() -> None:
    lm = made("llama", "causal-lm")

    def run(seed: int) -> np.ndarray:
        return interpret.ablate(lm, TEXTS, operator="resample", n_draws=2, seed=seed).effects

    assert np.array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))


def test_requests_that_cannot_be_met() -> None:
    lm = made("bert", "text-classification")
    for match, options in (
        (r"parts='head' is not known", {"parts": "head"}),
        (r"\['mlps'\] is not known", {"parts": ["mlps"]}),
        (r"no operator 'noise'", {"operator": "noise"}),
        (r"n_draws=0", {"n_draws": 0}),
        (r"needs two labels", {"metric": "logit_difference"}),
        (r"holds no text", {"reference": []}),
    ):
        with pytest.raises(UsageError, match=match):
            interpret.ablate(lm, TEXTS, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no text to ablate"):
        interpret.ablate(lm, [])


@pytest.mark.parametrize("locale", ["en", "zh"])
@pytest.mark.parametrize("operator", ["zero", "mean", "resample"])
def test_shown_in_words_saved_and_read_again(locale: str, operator: str, tmp_path: Path) -> None:
    lm = made("gpt2", "text-classification")
    record = interpret.ablate(lm, TEXTS, operator=operator, layers=[1])  # type: ignore[arg-type]
    text, html = to_text(record, locale=locale), to_html(record, locale=locale)
    assert "{" not in text
    assert "style=" not in html
    assert "<svg" in html
    again = AblationSweep.load(record.save(tmp_path))
    assert to_text(again, locale=locale) == text
    frame = again.to_frame()
    assert list(frame) == ["part", "layer", "head", "effect", "ci_low", "ci_high", "n"]
    assert set(frame["layer"]) == {1}
    assert frame["head"].isna().tolist() == [False] * 4 + [True]
