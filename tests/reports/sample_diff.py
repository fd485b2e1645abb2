"""Two audits of the same made-up examples: equal, or with regressions planted in chosen places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from interpret.auditing.answers import content_digests
from interpret.auditing.performance import performance
from interpret.results.audits import Audit, Check, MethodQuality
from interpret.results.examples import Answers
from interpret.results.explanations import ExampleQuality
from interpret.results.record import Message
from tests.reports import sample
from tests.reports.sample_explained import explanation_quality

N, N_EXPLAINED = 480, 60
SLICES = ("names", "negated", "plain")


def answers(
    correct: np.ndarray,
    confidence: np.ndarray,
    *,
    texts: tuple[str, ...] | None = None,
    gold: np.ndarray | None = None,
    slices: tuple[str, ...] = SLICES,
) -> Answers:
    """The table of examples that were answered rightly or not, with this confidence; slices in turn."""
    n = len(correct)
    gold = np.arange(n) // len(slices) % 2 if gold is None else gold
    return Answers(
        pairing="plain",
        content=content_digests(texts or tuple(f"text {i}" for i in range(n)), None),
        rows=np.arange(n),
        predicted=np.where(correct, gold, 1 - gold),
        confidence=confidence,
        gold=gold,
        gold_probability=np.where(correct, confidence, 1 - confidence),
        slices=slices,
        slice_index=np.arange(n) % len(slices),
        explained=np.arange(0, n, n // N_EXPLAINED)[:N_EXPLAINED],
    )


def quality_of(gains: np.ndarray) -> MethodQuality:
    """The main method's evidence, with these gains over random words, one per explained example."""
    main = explanation_quality().methods[0]
    per_example = tuple(
        ExampleQuality(
            comprehensiveness=0.1 + float(gain),
            sufficiency=0.1,
            random_comprehensiveness=0.1,
            random_sufficiency=0.2,
            percentile=0.9,
            n_random=20,
            n_words=8,
            verdict="inconclusive",
        )
        for gain in gains
    )
    return replace(main, faithfulness=replace(main.faithfulness, per_example=per_example))


def audit_of(table: Answers, gains: np.ndarray, *, title: str = "old", **identity: object) -> Audit:
    whole = sample.full()
    quality = whole.explanation_quality
    assert quality is not None
    assert table.gold_probability is not None
    assert table.gold is not None
    positive = np.where(table.gold == 1, table.gold_probability, 1 - table.gold_probability)
    measured = performance(
        np.stack([1 - positive, positive], axis=1),
        table.gold,
        whole.identity.labels,
        table.slice_names(),
        seed=0,
        n_bootstrap=100,
    )
    return replace(
        whole,
        title=title,
        identity=replace(whole.identity, **identity),
        data=replace(whole.data, n_used=len(table)),
        performance=measured,
        explanation_quality=replace(quality, methods=(quality_of(gains), *quality.methods[1:])),
        examples=table,
    )


def criterion(verdict: str, value: float) -> Check:
    why = Message(code="check.minimum_accuracy", params={"threshold": 0.8})
    return Check(
        check="minimum_accuracy",
        verdict=verdict,  # type: ignore[arg-type]
        value=value,
        threshold=0.8,
        ci_low=value - 0.02,
        ci_high=value + 0.02,
        why=why,
    )


def draws(seed: int = 0, n: int = N) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibrated confidence, answers that are right as often as it says, and gains over random words."""
    rng = np.random.default_rng(seed)
    confidence = 0.6 + 0.39 * rng.random(n)
    return rng.random(n) < confidence, confidence, 0.2 + 0.1 * rng.standard_normal(N_EXPLAINED)


def pair(*, planted: bool) -> tuple[Audit, Audit]:
    """Two audits; with `planted`, errors on the slice `negated`, overconfidence, and explanations at random's level."""
    correct, confidence, gains = draws()
    old = audit_of(answers(correct, confidence), gains)
    if not planted:
        return old, audit_of(answers(correct.copy(), confidence.copy()), gains.copy(), title="new")
    worse = correct.copy()
    negated = np.arange(N) % 3 == SLICES.index("negated")
    hit = np.flatnonzero(negated & correct)[:40]
    worse[hit] = False
    # What the slice loses the rest wins, so that neither the accuracy of all examples nor the calibration follows.
    won = np.flatnonzero(~negated & ~correct)[:40]
    worse[won] = True
    overconfident = np.full(N, 0.99)
    flat = 0.02 * np.random.default_rng(9).standard_normal(N_EXPLAINED)
    new = audit_of(answers(worse, overconfident), flat, title="new", weights_sha256_before="ab" * 32)
    return old, new


def hostile() -> tuple[Audit, Audit]:
    """Markup, quotes and bidi marks wherever text from outside reaches the page of a comparison."""
    old, new = pair(planted=True)
    evil, bidi = sample.HOSTILE, "safe\u202etxt.exe <s> $x$ \x07 \ud800"
    quotes = "\" onmouseover=alert(1) x='<!--"
    tables = [audit.examples for audit in (old, new)]
    made = []
    for audit, table, title in zip((old, new), tables, (evil, bidi), strict=True):
        assert table is not None
        made.append(
            replace(
                audit,
                title=title,
                identity=replace(
                    audit.identity, name=title, adapter=quotes + title, versions={evil: title, "torch": quotes + title}
                ),
                data=replace(audit.data, name=title),
                config={evil: title, quotes: bidi},
                examples=replace(table, slices=(evil, quotes, bidi)),
                check_rows=(replace(criterion("pass", 0.9), check=evil, kind="finding"),) if title == evil else (),
            )
        )
    return made[0], made[1]
