"""Pairs of models that cannot be compared, or not wholly: each is told apart, in a sentence that exists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

import interpret
from interpret.results.comparisons import Comparison
from interpret.results.messages import LOCALES
from reports.comparing import comparison_text
from tests import zoo
from tests.conftest import ABSENT
from tests.tiny import LABELS, TEXTS, seeded, tiny

ROWS = [{"text": text, "label": LABELS[i % 2]} for i, text in enumerate(TEXTS * 2)]
QUICK: dict[str, Any] = {"explanations": 0, "activations": 6, "attention": 4, "progress": False}


def bert(seed: int = 0, change: Callable[[Any], None] | None = None, **options: Any) -> interpret.AttachedModel:
    made, tokenizer = tiny("bert", "text-classification", seed, **options)
    if change is not None:
        change(made)
    return interpret.attach(made, tokenizer, name=f"bert-{seed}")


def rebuilt(**changes: Any) -> interpret.AttachedModel:
    """The tiny BERT from an altered configuration."""
    made, tokenizer = tiny("bert", "text-classification")
    config = made.config
    for name, value in changes.items():
        setattr(config, name, value)
    return interpret.attach(seeded(lambda: type(made)(config), 0).eval(), tokenizer, name="altered")


def verdicts(found: Comparison) -> dict[str, str]:
    return {check.why.code.removeprefix("preflight."): check.verdict for check in found.preflight}


def reasons(found: Comparison) -> dict[str, str]:
    return {one.part: one.why.code.removeprefix("not_compared.") for one in found.not_compared}


def said(found: Comparison) -> Comparison:
    """Every sentence of it exists in both languages."""
    for locale in LOCALES:
        assert len(comparison_text(found, locale)) > 500
    return found


def noise(size: float) -> Callable[[Any], None]:
    def add(model: Any) -> None:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in model.parameters():
                # As long as the weight itself where the size is 1.
                drawn = torch.randn(weight.shape, generator=generator)
                weight += size * drawn * weight.norm() / drawn.norm()

    return add


@pytest.mark.parametrize(
    ("size", "code", "verdict"),
    [(0.1, "right_base", "pass"), (0.7, "doubtful_base", "warn"), (1.5, "wrong_base", "fail")],
)
def test_the_base_is_judged_by_how_far_its_matrices_lie(size: float, code: str, verdict: str) -> None:
    found = said(interpret.compare(bert(), bert(change=noise(size)), ROWS, **QUICK))
    assert verdicts(found)[code] == verdict


def test_half_precision_alone_is_no_change(tmp_path: Path) -> None:
    made, tokenizer = tiny("bert", "text-classification")
    for name, dtype in (("whole", torch.float32), ("half", torch.float16)):
        made.to(dtype).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    found = said(interpret.compare(tmp_path / "whole", tmp_path / "half", ROWS, **QUICK))
    assert verdicts(found)["weights_rounded"] == "fail"


def test_the_same_vocabulary_cut_by_other_rules() -> None:
    base = bert()
    tokenizer = base.handle.tokenizer
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    made, other = tiny("bert", "text-classification")
    other.backend_tokenizer.normalizer = None
    found = said(interpret.compare(base, interpret.attach(made, other), ROWS, **QUICK))
    assert verdicts(found)["tokenizer_other_rules"] == "warn"
    assert reasons(found)["activations"] == reasons(found)["attention"] == "other_tokens"
    assert {r.part for r in found.rows} == {"weights", "outputs"}


def test_heads_width_and_classes() -> None:
    heads = said(interpret.compare(bert(), rebuilt(num_attention_heads=2 * bert().handle.n_heads), ROWS, **QUICK))
    assert verdicts(heads)["differs_heads"] == "warn"
    assert reasons(heads) == {"attention": "other_heads", "explanations": "none_asked"}
    classes = said(interpret.compare(bert(), bert(n_labels=2), ROWS, **QUICK))
    assert verdicts(classes)["differs_classes"] == "warn"
    assert reasons(classes)["outputs"] == "other_outputs"
    assert {r.part for r in classes.rows} == {"weights", "activations", "attention"}


def test_questions_have_streams_but_no_outputs_to_compare() -> None:
    pair = []
    for seed in (1, 2):
        built = zoo.build("bert", "question-answering")
        made = seeded(lambda built=built: type(built.model)(built.model.config), seed).eval()
        pair.append(interpret.attach(made, built.tokenizer))
    rows = [{"question": text, "context": f"{text} {TEXTS[0]}", "answer": TEXTS[0].split()[0]} for text in TEXTS]
    found = said(interpret.compare(*pair, rows, **QUICK))
    assert reasons(found)["outputs"] == "task"
    assert {r.part for r in found.rows} == {"weights", "activations", "attention"}


def test_encoders_of_other_depth_are_seen_where_the_decoders_are_alike() -> None:
    built = zoo.build("t5", "seq2seq-lm")
    config = built.model.config
    shallow = type(built.model)(type(config)(**{**config.to_dict(), "num_layers": config.num_layers + 1})).eval()
    pair = [interpret.attach(made, built.tokenizer) for made in (shallow, built.model)]
    found = said(interpret.compare(*pair, [{"text": text} for text in TEXTS], **QUICK))
    assert verdicts(found)["differs_depth"] == "warn"
    assert reasons(found)["activations"] == "other_depth"


def test_adapters_say_of_what_kind_and_of_whose_they_are(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason=f"{ABSENT} the package peft is not installed")
    quick: dict[str, Any] = {"parts": ["weights", "outputs"], "progress": False}

    def adapted(settings: Any) -> tuple[Any, interpret.AttachedModel]:
        made, tokenizer = tiny("bert", "text-classification")
        tuned = peft.get_peft_model(made, settings)
        return tuned, interpret.attach(tuned, tokenizer)

    settings = {"r": 2, "target_modules": ["query"], "task_type": "SEQ_CLS"}
    tuned, attached = adapted(peft.LoraConfig(**settings, init_lora_weights=False))
    found = said(interpret.compare(None, attached, ROWS, **quick))
    # The head is a copy of the base's that training has yet to touch.
    assert verdicts(found)["adapter_active"] == "pass"
    assert verdicts(found)["saved_same"] == "warn"
    tuned.peft_config["default"].base_model_name_or_path = "someone/another-base"
    assert verdicts(said(interpret.compare(None, attached, ROWS, **quick)))["adapter_other_base"] == "warn"
    with torch.no_grad():
        tuned.base_model.model.classifier.modules_to_save["default"].weight += 0.1
    assert verdicts(said(interpret.compare(None, attached, ROWS, **quick)))["saved_changed"] == "pass"
    # Another way of adapting: what it adds to weights is not known, and outputs are compared all the same.
    _, other = adapted(peft.IA3Config(target_modules=["query"], feedforward_modules=[], task_type="SEQ_CLS"))
    scaled = said(interpret.compare(None, other, ROWS, **quick))
    assert verdicts(scaled)["adapter_kind"] == "warn"
    assert "compare.adapter_weights_unknown" in {note.code for note in scaled.notes}
    # Merged: there is nothing to switch off, but the base by itself can be compared.
    tuned.base_model.merge_adapter()
    merged = said(interpret.compare(bert(), attached, ROWS, **quick))
    assert verdicts(merged)["adapter_merged"] == "warn"
    assert any(r.part == "weights" and r.item and "query" in r.item for r in merged.rows)


def test_a_base_that_reads_less_of_the_texts_is_compared_by_its_answers_alone() -> None:
    """Classes are what each model says of as much as it reads; the same inputs there are none."""
    long = [{"text": " ".join(["the cat was good"] * 12), "label": LABELS[i % 2]} for i in range(8)]
    base = rebuilt(max_position_embeddings=24)
    for rows in (long, ROWS + long):
        found = said(interpret.compare(base, bert(1), rows, **QUICK | {"explanations": 4}))
        assert reasons(found) == dict.fromkeys(("activations", "attention", "explanations"), "base_reads_less")
        why = next(one.why for one in found.not_compared)
        assert why.params == {"n": 8, "of": len(rows), "limit": 24}
        assert ("logits_changed" in verdicts(found)) == (rows is not long)
        assert {r.part for r in found.rows} == {"weights", "outputs"}
    assert reasons(interpret.compare(base, bert(1), ROWS, **QUICK)) == {"explanations": "none_asked"}
