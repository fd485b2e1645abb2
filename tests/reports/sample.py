"""Whole audits made by hand, the same every time: complete, Chinese, minimal, hostile, large."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from interpret.results.attention import AttentionMap, AttentionMaps, Head, HeadAblation
from interpret.results.audits import (
    SECTIONS,
    AttentionSummary,
    Audit,
    Check,
    Coverage,
    DataSummary,
    HeadRow,
    Identity,
    LabelMapping,
    Performance,
    RunInfo,
    SliceRow,
)
from interpret.results.comparisons import Comparison, MovedExample
from interpret.results.explanations import Verdict
from interpret.results.probes import ProbeKind, ProbeMetric, ProbeResult, ProbeRow
from interpret.results.record import Message
from tests.reports import sample_comparison
from tests.reports.sample_explained import (
    HOSTILE,
    TEXTS,
    TEXTS_ZH,
    cases,
    example,
    example_quality,
    explanation_quality,
    faithfulness,
    importance,
    metric,
)
from tests.reports.sample_robustness import robustness

__all__ = ["HOSTILE", "TEXTS", "TEXTS_ZH", "cases", "example", "example_quality", "explanation_quality", "faithfulness"]


def identity(name: str = "reviews-tuned", base: str | None = "minilm-base") -> Identity:
    digest = "9f2c41d7be60a853" * 4
    return Identity(
        name=name,
        revision="3f1c9a7",
        adapter=None,
        family="bert",
        architecture="BertForSequenceClassification",
        task="text-classification",
        labels=("negative", "positive"),
        n_parameters=22_713_986,
        n_layers=6,
        n_heads=12,
        d_model=384,
        max_length=512,
        attn_implementation="sdpa",
        saved_dtype="float16",
        run_dtype="float32",
        device="cpu",
        weights_sha256_before=digest,
        weights_sha256_after=digest,
        capture_logit_difference=0.0,
        config_sha256="0b6e52fd13c78a94" * 4,
        tokenizer_sha256="51d0c7e2f93ab846" * 4,
        config_sha256_after="0b6e52fd13c78a94" * 4,
        tokenizer_sha256_after="51d0c7e2f93ab846" * 4,
        remote_code=False,
        quantisation=None,
        base_name=base,
        base_weights_sha256=None if base is None else "c47a90e16b25fd38" * 4,
        versions={"interpret-lm": "0.1.0", "python": "3.12.4", "torch": "2.6.0", "transformers": "5.0.0"},
    )


def data(name: str = "reviews.csv") -> DataSummary:
    return DataSummary(
        name=name,
        sha256="7e35a1c09d84fb62" * 4,
        n_rows=500,
        n_used=480,
        sampled=True,
        sampling_seed=0,
        text_column="text",
        label_column="label",
        mapping=LabelMapping(
            rule="name",
            pairs={"negative": 0, "positive": 1},
            names={"negative": "negative", "positive": "positive"},
        ),
        label_counts={"negative": 228, "positive": 252},
        slice_counts={"plain": 300, "negated": 120, "names": 60},
        n_truncated=3,
        n_empty=0,
        n_duplicates=2,
        bad_rows=(Message(code="data.bad_row", params={"line": 17, "why": "fields"}),),
        length_quantiles={"p5": 7, "p50": 14, "p95": 31, "max": 512},
        scripts={"latin": 0.993, "cyrillic": 0.007},
    )


def _slice(name: str, n: int, accuracy: float, half: float, gap: float, underpowered: bool = False) -> SliceRow:
    return SliceRow(
        name=name,
        n=n,
        accuracy=replace(metric("accuracy", accuracy, half, n), ci_high=min(1.0, accuracy + half), interval="wilson"),
        gap=metric("gap", gap, half * 1.3, n),
        underpowered=underpowered,
    )


def performance() -> Performance:
    return Performance(
        metrics=(
            metric("accuracy", 0.9125, 0.0255),
            metric("balanced_accuracy", 0.9108, 0.0258),
            metric("macro_f1", 0.9121, 0.0257),
        ),
        calibration_error=metric("expected_calibration_error", 0.041, 0.014),
        confusion=np.array([[204, 24], [18, 234]], dtype=np.int64),
        labels=("negative", "positive"),
        majority_rate=0.525,
        slices=(
            _slice("plain", 300, 0.953, 0.024, 0.109),
            _slice("negated", 120, 0.817, 0.069, -0.127),
            _slice("names", 60, 0.9, 0.076, -0.014, underpowered=True),
        ),
    )


def attention(n_layers: int = 6, n_heads: int = 12) -> AttentionSummary:
    heads = []
    for layer in range(n_layers):
        for head in range(n_heads):
            entropy = 1.6 + 0.9 * math.sin(1.7 * layer + 0.9 * head) - 0.1 * layer
            heads.append(
                HeadRow(
                    layer=layer,
                    head=head,
                    entropy_nats=entropy,
                    entropy_ci_low=entropy - 0.08,
                    entropy_ci_high=entropy + 0.08,
                    distance_tokens=3.2 + 0.3 * head,
                    to_special=0.1 + 0.06 * layer,
                )
            )
    ablations = tuple(
        HeadAblation(layer=row.layer, head=row.head, effect=effect, ci_low=effect - 0.2, ci_high=effect + 0.2)
        for row, effect in ((row, 0.4 * math.sin(2.3 * row.layer + 1.1 * row.head)) for row in heads)
    )
    return AttentionSummary(heads=tuple(heads), n=64, mode="tee", ablations=ablations, n_ablated=16, maps=maps())


def maps(tokens: tuple[str, ...] = ("[CLS]", "the", "room", "was", "cold", "[SEP]"), n_heads: int = 4) -> AttentionMaps:
    """Two cases: every head looks at itself, and head h of the first one at the token h places on as well."""
    n = len(tokens)
    first = np.zeros((n_heads, n, n), dtype=np.uint8)
    for head in range(n_heads):
        first[head] += np.eye(n, dtype=np.uint8) * 55
        first[head] += np.roll(np.eye(n, dtype=np.uint8), head, axis=1) * 200
    second = np.stack([np.eye(n - 1, dtype=np.uint8) * 255] * n_heads)
    return AttentionMaps(
        heads=tuple(Head(layer, 2) for layer in range(n_heads)),
        rule="effect",
        maps=(
            AttentionMap(row=1, tokens=tokens, weights=first),
            AttentionMap(row=4, tokens=tokens[:-1], weights=second),
        ),
        n_cases=5,
    )


def probes() -> ProbeResult:
    rows: list[ProbeRow] = []

    def add(
        site: str, layer: int | None, probe: ProbeKind, metric: ProbeMetric, value: float, half: float = 0.02
    ) -> None:
        rows.append(
            ProbeRow(
                model="reviews-tuned",
                site=site,
                layer=layer,
                task="label",
                probe=probe,
                metric=metric,
                value=value,
                ci_low=value - half,
                ci_high=value + half,
                n=240,
            )
        )

    add("", None, "majority", "accuracy", 0.525)
    for layer in range(-1, 6):
        site, place = ("embed", None) if layer == -1 else ("resid_post", layer)
        reached = 0.66 + 0.05 * (layer + 1)
        control = 0.55 + 0.01 * (layer + 1)
        add(site, place, "ridge", "accuracy", reached - 0.02)
        add(site, place, "logistic", "accuracy", reached)
        add(site, place, "control", "accuracy", control)
        add(site, place, "ridge", "selectivity", reached - 0.02 - control, 0.03)
    return ProbeResult(
        rows=tuple(rows),
        task="label",
        level="sentence",
        classes=("negative", "positive"),
        n_train=360,
        n_validation=60,
        n_test=240,
        n_clusters_test=240,
        n_truncated_words=0,
        n_duplicate_sentences=2,
        control="permuted_labels",
        n_control_seeds=5,
        seed=0,
        notes=(Message(code="probe_mean_pooling"), Message(code="probe_control_is_capacity")),
        validation_rows=tuple(
            replace(row, ci_low=None, ci_high=None, n=60)
            for row in rows
            if row.probe == "ridge" and row.metric in ("accuracy", "selectivity")
        ),
    )


def checks(verdict: Verdict = "better_than_trivial", declared: bool = True) -> tuple[Check, ...]:
    def check(name: str, result: str, value: float | None, threshold: float | None, why: Message, kind: str) -> Check:
        half = 0.0255 if value is not None and kind != "integrity" else None
        return Check(
            check=name,
            verdict=result,
            value=value,
            threshold=threshold,
            why=why,  # type: ignore[arg-type]
            ci_low=None if half is None or value is None else value - half,
            ci_high=None if half is None or value is None else value + half,
            declared_by="A. Reviewer" if kind == "criterion" else None,
            declared_on="2025-02-03" if kind == "criterion" else None,
            kind=kind,  # type: ignore[arg-type]
        )

    explained = "fail" if verdict == "not_better" else "inconclusive" if verdict == "inconclusive" else "pass"
    found = [
        check("weights_unchanged", "pass", None, None, Message(code="check.weights_unchanged"), "integrity"),
        check(
            "capture_bit_identical",
            "pass",
            0.0,
            0.0,
            Message(code="check.capture_bit_identical", params={"difference": 0.0}),
            "integrity",
        ),
        check(
            "accuracy_above_majority",
            "pass",
            0.9125,
            0.525,
            Message(code="check.accuracy_above_majority", params={"majority": 0.525}),
            "finding",
        ),
        check(
            "explanations_better_than_random",
            explained,
            0.21,
            0.0,
            Message(code="check.explanations_better_than_random", params={"method": "integrated_gradients"}),
            "finding",
        ),
    ]
    if declared:
        why = Message(code="check.minimum_accuracy", params={"threshold": 0.9})
        found.append(check("minimum_accuracy", "inconclusive", 0.9125, 0.9, why, "criterion"))
    return tuple(found)


def full(verdict: Verdict = "better_than_trivial", n_cases: int = 5) -> Audit:
    """Every section filled; `verdict` is that of the main explanation method."""
    coverage = {key: Coverage(section=key, status="done") for key in SECTIONS}
    coverage["attention"] = Coverage(
        section="attention",
        status="partial",
        why=Message(code="section.sampled", params={"n": 64, "of": 480}),
    )
    return Audit(
        title="Reviews classifier, pre-release audit",
        identity=identity(),
        data=data(),
        performance=performance(),
        comparison=sample_comparison.comparison(),
        global_attribution=importance(),
        explanation_quality=explanation_quality(verdict),
        cases=cases(n=n_cases),
        attention=attention(),
        probes=probes(),
        robustness=robustness(),
        check_rows=checks(verdict),
        coverage=tuple(coverage.values()),
        config={
            "explained": 100,
            "errors_shown": 40,
            "minimum_accuracy": 0.9,
            "method": "auto",
            "criteria_on": None,
        },
        seed=0,
        command="interpret audit reviews-tuned reviews.csv --base minilm-base --seed 0",
        intended_use={
            "purpose": "Sort guest reviews before a person reads them.",
            "out_of_scope": "Legal complaints.",
        },
        run=RunInfo(started="2025-02-03T09:30:00Z", seconds={"performance": 12.0, "explanations": 88.5}),
    )


def chinese() -> Audit:
    """Chinese texts, labels, slices and title."""
    whole = full()
    labels = ("差评", "好评")
    names = ("口味", "配送", "客服")
    words = ("好", "快", "足", "凉", "不", "夹生")
    return replace(
        whole,
        title="外卖评论分类器上线前审计",
        identity=replace(whole.identity, name="zh-waimai", labels=labels, base_name=None, base_weights_sha256=None),
        attention=replace(attention(), maps=maps(("[CLS]", "味", "道", "很", "好", "[SEP]"))),
        data=replace(whole.data, name="外卖评论.csv", scripts={"cjk": 0.97, "latin": 0.03}, slice_counts={"口味": 300}),
        performance=replace(
            performance(),
            labels=labels,
            slices=tuple(replace(row, name=name) for row, name in zip(performance().slices, names, strict=True)),
        ),
        robustness=robustness(("房间很好。", "房間很好。"), labels),
        global_attribution=tuple(
            replace(row, word=words[i % len(words)], label=labels[1]) for i, row in enumerate(importance()[:6])
        ),
        comparison=sample_comparison.comparison(words, names),
        cases=cases(TEXTS_ZH, labels),
        intended_use={"purpose": "在人工阅读前对外卖评论进行分类。"},
    )


def minimal() -> Audit:
    """No labels, no base, nothing explained: every section that can be missing is."""
    whole = full()
    missing = {
        "performance": Message(code="section.no_labels"),
        "comparison": Message(code="section.no_base"),
        "slices": Message(code="section.no_slices"),
        "global_attribution": Message(code="section.too_few", params={"n": 3, "needed": 5}),
        "explanation_quality": Message(code="section.too_few", params={"n": 3, "needed": 5}),
        "attention": Message(code="section.task_not_supported", params={"task": "none"}),
        "probes": Message(code="section.no_labels"),
        "robustness": Message(code="section.task_not_supported", params={"task": "causal-lm"}),
        "intended_use": Message(code="section.not_supplied"),
    }
    coverage = tuple(
        Coverage(section=key, status="not_run", why=missing[key])
        if key in missing
        else Coverage(section=key, status="done")
        for key in SECTIONS
    )
    return replace(
        whole,
        performance=None,
        comparison=None,
        global_attribution=(),
        explanation_quality=None,
        cases=(),
        attention=None,
        probes=None,
        robustness=None,
        check_rows=checks(declared=False)[:2],
        coverage=coverage,
        intended_use={},
        identity=replace(whole.identity, base_name=None, base_weights_sha256=None),
        run=RunInfo(),
    )


def hostile() -> Audit:
    """Markup, quotes, bidi marks and control characters wherever text from outside can stand."""
    whole = full()
    evil = HOSTILE
    quotes = "\" onmouseover=alert(1) x='<!--"
    bidi = "safe\u202etxt.exe\u2066 🙂 \ud800 <s> $x$ \x07"
    labels = (evil, quotes)
    row = performance().slices[0]
    return replace(
        whole,
        title=f"Audit {evil}",
        robustness=robustness((evil, quotes + bidi), labels),
        identity=replace(whole.identity, name=evil, adapter=quotes, labels=labels, base_name=bidi),
        data=replace(
            whole.data,
            name=evil,
            text_column=quotes,
            label_counts={evil: 3},
            slice_counts={evil: 2, bidi: 1},
            mapping=LabelMapping(rule="given", pairs={evil: 0, quotes: 1}, names={evil: evil, quotes: bidi}),
        ),
        performance=replace(
            performance(), labels=labels, slices=tuple(replace(row, name=name) for name in (evil, quotes, bidi))
        ),
        comparison=hostile_comparison(evil, quotes, bidi),
        global_attribution=tuple(replace(w, word=evil, label=bidi) for w in importance()[:4]),
        cases=tuple(
            replace(
                case, label=evil, slice=(evil, quotes, bidi)[i % 3], prediction=labels[i % 2], base_prediction=quotes
            )
            for i, case in enumerate(cases((evil, bidi, quotes + " {page} {{n}}")))
        ),
        attention=replace(attention(), maps=maps((evil, bidi, quotes, "</template>", "<!--", "&amp;"))),
        intended_use={"purpose": evil, evil: quotes},
        command=f"interpret audit {evil}",
        config={evil: quotes},
    )


def hostile_comparison(evil: str, quotes: str, bidi: str) -> Comparison:
    """Names of models, weights, slices and words from outside, and an example that moved."""
    found = sample_comparison.comparison((evil, quotes, bidi), (evil, quotes, bidi))
    weight = replace(found.rows[2], item=f"layers.5.{evil}.weight")
    moved = MovedExample(row=1, kl_bits=2.5, base=evil, tuned=quotes, slice=bidi, after=evil, text=bidi)
    return replace(found, base_name=evil, tuned_name=bidi, rows=(*found.rows, weight), moved=(moved,))


def large(n: int = 1200) -> Audit:
    """More cases than a page shows."""
    return full(n_cases=n)
