"""Explained texts and the evidence about them, made by hand for the sample audits."""

from __future__ import annotations

from typing import Literal

import numpy as np

from interpret.results.audits import (
    Case,
    ExplanationQuality,
    MethodQuality,
    RandomisationRow,
    WordImportance,
)
from interpret.results.explanations import (
    ExampleAttribution,
    ExampleQuality,
    Faithfulness,
    FaithfulnessRow,
    TargetRecord,
    Verdict,
)
from interpret.results.record import Estimate

HOSTILE = "</script><script>document.title='x'</script><img src=x onerror=alert(1)>"

TEXTS = (
    "The room was spotless and the staff were wonderful.",
    "Our dinner arrived cold, and nobody apologised.",
    "A quiet place, but the shower never worked.",
    "Friendly people, fair prices, and a view I will not forget.",
    "We waited an hour for a table that we had booked.",
)

TEXTS_ZH = (
    "味道很好，送餐也快，下次还会再点。",
    "等了两个小时，菜都凉了，太失望。",
    "分量足，价格公道，包装也干净。",
    "米饭夹生，客服态度也不好。",
)

_STRONG = {
    "spotless": 1.4,
    "wonderful": 2.1,
    "cold": -1.7,
    "nobody": -0.8,
    "quiet": 0.9,
    "but": -0.4,
    "never": -1.5,
    "Friendly": 1.6,
    "fair": 0.7,
    "forget": 0.4,
    "not": -0.3,
    "waited": -1.2,
    "an": -0.1,
    "hour": -0.6,
    "booked": -0.5,
    "很": 0.8,
    "好": 1.5,
    "快": 0.9,
    "凉": -1.4,
    "失": -0.9,
    "望": -1.1,
    "足": 0.7,
    "公": 0.5,
    "道": 0.4,
    "净": 0.6,
    "不": -1.2,
    "夹": -0.7,
    "生": -0.6,
}


def _pieces(text: str) -> list[tuple[int, int]]:
    """Words of letters, single Chinese characters, and single marks, as spans."""
    spans: list[tuple[int, int]] = []
    for i, c in enumerate(text):
        if c.isspace():
            continue
        latin = c.isascii() and c.isalpha()
        if latin and spans and spans[-1][1] == i and text[i - 1].isascii() and text[i - 1].isalpha():
            spans[-1] = (spans[-1][0], i + 1)
        else:
            spans.append((i, i + 1))
    return spans


def example(
    text: str,
    *,
    label: str = "positive",
    index: int = 1,
    quality: ExampleQuality | None = None,
    method: str = "integrated_gradients",
) -> ExampleAttribution:
    spans = _pieces(text)
    tokens = ("[CLS]", *(text[a:b] for a, b in spans), "[SEP]")
    sign = 1.0 if index == 1 else -1.0
    scores = [0.0, *(sign * _STRONG.get(text[a:b], 0.02) for a, b in spans), 0.0]
    n = len(tokens)
    return ExampleAttribution(
        text=text,
        tokens=tokens,
        token_ids=np.arange(n, dtype=np.int64),
        scores=np.array(scores),
        word_index=np.array([-1, *range(n - 2), -1], dtype=np.int64),
        char_spans=np.array([(0, 0), *spans, (0, 0)], dtype=np.int64),
        special=np.array([True, *[False] * (n - 2), True]),
        target=TargetRecord(kind="class", index=index, label=label),
        method=method,
        value=2.5,
        baseline_value=0.1,
        convergence_delta=0.012,
        quality=quality,
    )


def example_quality(verdict: Verdict = "better_than_random", percentile: float = 0.985) -> ExampleQuality:
    return ExampleQuality(
        comprehensiveness=0.41,
        sufficiency=0.08,
        random_comprehensiveness=0.17,
        random_sufficiency=0.29,
        percentile=percentile,
        n_random=200,
        n_words=10,
        verdict=verdict,
    )


def faithfulness(method: str = "integrated_gradients", verdict: Verdict = "better_than_trivial") -> Faithfulness:
    gain = {
        "better_than_trivial": 0.21,
        "better_than_random": 0.09,
        "inconclusive": 0.02,
        "not_better": -0.03,
    }[verdict]
    rows = []
    for metric, base, sign in (("aopc_comprehensiveness", 0.18, 1.0), ("aopc_sufficiency", 0.27, -1.0)):
        value = base + sign * gain
        rows.append(
            FaithfulnessRow(
                metric=metric,
                operator="mask_token",
                value=value,
                ci_low=value - 0.03,
                ci_high=value + 0.03,
                random_mean=base,
                random_ci_low=base - 0.02,
                random_ci_high=base + 0.02,
                n=100,
                verdict=verdict,
                difference=gain,
                difference_ci_low=gain - 0.025,
                difference_ci_high=gain + 0.025,
                trivial_name="word_length",
                trivial_mean=base + 0.04,
                trivial_difference=gain - 0.04,
                trivial_difference_ci_low=gain - 0.07,
                trivial_difference_ci_high=gain - 0.01,
            )
        )
    return Faithfulness(
        rows=tuple(rows),
        per_example=tuple(example_quality() for _ in range(100)),
        method=method,
        variant="aopc",
        fractions=(0.05, 0.1, 0.2, 0.5),
        n_random=200,
        seed=0,
        above_95_share=0.62 if gain > 0.05 else 0.06,
    )


def metric(name: str, value: float, half: float, n: int = 480) -> Estimate:
    return Estimate(name=name, value=value, ci_low=value - half, ci_high=value + half, n=n, interval="bootstrap")


def importance() -> tuple[WordImportance, ...]:
    rows = []
    for label, names in (
        (
            "positive",
            ("wonderful", "friendly", "spotless", "delicious", "quiet", "never", "cold", "rude"),
        ),
        ("negative", ("cold", "rude", "never", "waited", "dirty", "wonderful", "friendly", "fair")),
    ):
        for i, word in enumerate(names):
            score = (2.1 - 0.28 * i) * (1 if i < 5 else -0.6)
            rows.append(
                WordImportance(
                    word=word,
                    label=label,
                    n=40 - 3 * i,
                    mean_score=score,
                    ci_low=score - 0.2 - 0.02 * i,
                    ci_high=score + 0.2 + 0.02 * i,
                    mean_rank=1.5 + 0.6 * i,
                )
            )
    return tuple(rows)


def explanation_quality(verdict: Verdict = "better_than_trivial") -> ExplanationQuality:
    methods = (
        MethodQuality(
            method="integrated_gradients",
            faithfulness=faithfulness(verdict=verdict),
            completeness_median=0.011,
            completeness_max=0.084,
            agreement=None,
            n=100,
        ),
        MethodQuality(
            method="leave_one_out",
            faithfulness=faithfulness("leave_one_out", "better_than_random"),
            completeness_median=None,
            completeness_max=None,
            agreement=metric("spearman_signed", 0.71, 0.05, 24),
            n=24,
        ),
        MethodQuality(
            method="gradient_x_input",
            faithfulness=faithfulness("gradient_x_input", "not_better"),
            completeness_median=0.63,
            completeness_max=4.2,
            agreement=metric("spearman_signed", 0.22, 0.09, 24),
            n=24,
        ),
    )
    randomisation = tuple(
        RandomisationRow(
            down_to=place,
            spearman_signed=metric("spearman_signed", signed, 0.1, 12),
            spearman_absolute=metric("spearman_absolute", absolute, 0.1, 12),
        )
        for place, signed, absolute in (
            ("head", 0.31, 0.44),
            ("layer 3", 0.12, 0.28),
            ("layer 0", 0.02, 0.11),
        )
    )
    return ExplanationQuality(methods=methods, randomisation=randomisation)


def cases(
    texts: tuple[str, ...] = TEXTS, labels: tuple[str, str] = ("negative", "positive"), n: int = 5
) -> tuple[Case, ...]:
    out = []
    slices = ("plain", "negated", "names")
    for i in range(n):
        text = texts[i % len(texts)]
        predicted = 1 if i % 2 == 0 else 0
        wrong = i % 5 == 2
        rule: Literal["error", "random", "moved"] = "error" if wrong else "moved" if i % 5 == 3 else "random"
        quality = (
            None if i % 7 == 6 else example_quality(*(("better_than_random", 0.985), ("not_better", 0.61))[i % 3 == 1])
        )
        out.append(
            Case(
                row=i,
                rule=rule,
                label=labels[1 - predicted] if wrong else labels[predicted],
                prediction=labels[predicted],
                confidence=0.99 - 0.31 * (i % 3 == 2),
                slice=slices[i % 3],
                attribution=example(text, label=labels[predicted], index=predicted, quality=quality),
                base_prediction=labels[i // 2 % 2],
                output_change=0.11 * (i % 5),
                explanation_change=None if i % 4 == 3 else 0.3 * (i % 4),
            )
        )
    return tuple(out)
