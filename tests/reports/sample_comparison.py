"""A comparison of two models by hand, with rows of every part."""

from __future__ import annotations

import math
from dataclasses import replace

from interpret.results.comparisons import (
    ComparedOn,
    Comparison,
    ComparisonRow,
    MovedExample,
    Part,
    PreflightCheck,
)
from interpret.results.record import Message
from tests.reports.sample_explained import HOSTILE, TEXTS, example

MODULES = ("attention.self.query", "attention.self.value", "intermediate.dense", "output.dense")
WORDS = ("not", "great", "dull", "room", "the", "never", "service", "cold")
N = 480


def comparison(
    words: tuple[str, ...] = WORDS, slices: tuple[str, ...] = ("negated", "names", "plain"), n_layers: int = 6
) -> Comparison:
    """Weights, activations, attention, outputs and explanations of a model of `n_layers` layers of 12 heads."""
    return Comparison(
        base_name="minilm-base",
        tuned_name="reviews-tuned",
        rows=(
            *_weights(n_layers),
            *_activations(n_layers),
            *_attention(n_layers),
            *_outputs(words, slices),
            *_explanations(words),
        ),
        only_base_right=9,
        only_tuned_right=53,
        p_value=1.2e-8,
        notes=(Message(code="compare.one_dtype", params={"dtype": "float32"}), Message(code="compare.cka_tokens")),
        preflight=(
            _check("weights", "weights_changed", n=97, of=101, relative=0.083),
            _check("logits", "logits_changed", n=16, difference=4.21),
            _check("tokenizer", "tokenizer_same"),
            _check("architecture", "architecture_same", layers=n_layers),
            _check("right_base", "right_base", relative=0.061, same=0.04),
        ),
        changed=True,
    )


def with_moved(n: int = 30) -> Comparison:
    """Besides, texts that moved, explained by both models; the order of both changes is not the same."""
    texts = (*TEXTS, HOSTILE + " 很好")
    moved = tuple(
        MovedExample(
            row=7 * k,
            kl_bits=3.0 - 0.1 * k,
            base="positive" if k % 3 else "negative",
            tuned="negative",
            slice=("negated", "names", "plain")[k % 3],
            text=texts[k % len(texts)],
            explanation_change=None if k % 5 == 4 else 0.05 * ((11 * k) % 17),
            explained_base=example(texts[k % len(texts)], label="negative", index=0, quality=None),
            explained_tuned=example(texts[k % len(texts)], label="negative", index=0, quality=None),
        )
        for k in range(n)
    )
    about = ComparedOn(
        data="reviews.csv",
        n=N,
        n_rows=500,
        seed=0,
        data_sha256="7e35a1c09d84fb62" * 4,
        base_sha256="c47a90e16b25fd38" * 4,
        tuned_sha256="9f2c41d7be60a853" * 4,
        versions={"python": "3.12.4", "torch": "2.6.0"},
    )
    return replace(comparison(), moved=moved, about=about)


def _check(check: str, code: str, **params: float) -> PreflightCheck:
    return PreflightCheck(check=check, verdict="pass", why=Message(code=f"preflight.{code}", params=params))


def _row(
    part: Part,
    name: str,
    value: float,
    half: float | None = None,
    *,
    n: int = N,
    layer: int | None = None,
    head: int | None = None,
    of: str | None = None,
    item: str | None = None,
) -> ComparisonRow:
    low, high = (None, None) if half is None else (value - half, value + half)
    return ComparisonRow(
        part=part, name=name, value=value, ci_low=low, ci_high=high, n=n, layer=layer, head=head, slice=of, item=item
    )


def _weights(n_layers: int) -> list[ComparisonRow]:
    rows = [_row("weights", "relative_norm", 0.083, n=22_713_602), _row("weights", "changed_weights", 0.96, n=101)]
    for layer in reversed(range(n_layers)):
        for k, module in enumerate(MODULES):
            at = {"layer": layer, "item": f"encoder.layer.{layer}.{module}.weight", "n": 147_456}
            rows.append(_row("weights", "relative_norm", 0.02 + 0.015 * layer + 0.004 * k, **at))  # type: ignore[arg-type]
            rows.append(_row("weights", "effective_rank", 40.0 + 9 * layer - 3 * k, **at))  # type: ignore[arg-type]
    return rows


def _activations(n_layers: int) -> list[ComparisonRow]:
    rows = []
    for place in range(n_layers + 1):
        layer, item = (None, "embed") if place == 0 else (place - 1, "resid_post")
        for name, value in (
            ("cka", 0.99 - 0.09 * place),
            ("relative_shift", 0.1 * place),
            ("cosine", 1 - 0.07 * place),
        ):
            rows.append(_row("activations", name, value, 0.01, n=300, layer=layer, item=item))
    return rows


def _attention(n_layers: int) -> list[ComparisonRow]:
    return [
        _row("attention", "js_bits", 0.1 + 0.09 * math.sin(layer + 0.7 * head), 0.02, n=64, layer=layer, head=head)
        for layer in range(n_layers)
        for head in range(12)
    ]


def _outputs(words: tuple[str, ...], slices: tuple[str, ...]) -> list[ComparisonRow]:
    rows = [
        _row("outputs", "accuracy_base", 0.821, 0.034),
        _row("outputs", "accuracy_tuned", 0.9125, 0.0255),
        _row("outputs", "accuracy_difference", 0.0915, 0.031),
        _row("outputs", "changed_predictions", 0.131, 0.03),
        _row("outputs", "kl_bits", 0.42, 0.06),
    ]
    for k, name in enumerate(slices):
        rows.append(_row("outputs", "accuracy_difference", 0.041 + 0.03 * k, 0.062, n=120, of=name))
        rows.append(_row("outputs", "kl_bits", 0.71 - 0.2 * k, 0.12, n=120, of=name))
    return [*rows, _row("outputs", "kl_bits_with", 0.5, 0.2, n=31, item=words[0])]


def _explanations(words: tuple[str, ...]) -> list[ComparisonRow]:
    rows = [_row("explanations", "rank_correlation", 0.41, 0.08, n=40, item="integrated_gradients")]
    for k, word in enumerate(words):
        rows.append(_row("explanations", "share_difference", (-1) ** k * (0.09 - 0.01 * k), 0.03, n=20 - k, item=word))
    return rows
