"""A record of section 12 with every part that a view has to show, made by hand."""

from __future__ import annotations

from interpret.results.record import Estimate
from interpret.results.robustness import (
    ChangedText,
    GroupRow,
    PairRow,
    PairScores,
    PerturbationKind,
    PerturbationRow,
    Robustness,
    SentencePair,
    StabilityRow,
)


def changed(before: str, after: str, labels: tuple[str, str] = ("negative", "positive")) -> ChangedText:
    return ChangedText(
        row=17,
        before=before,
        after=after,
        label=labels[1],
        label_before=labels[1],
        label_after=labels[0],
        probability_before=0.91,
        probability_after=0.08,
    )


def row(
    name: str, kind: PerturbationKind, n: int, flips: int, largest: ChangedText | None, alike: int = 0
) -> PerturbationRow:
    rate = flips / n if n else None
    return PerturbationRow(
        name=name,
        kind=kind,
        expectation="change" if kind == "negation" else "same",
        n_fitting=200,
        n=n,
        n_read_alike=alike,
        flips=flips,
        flip_rate=rate,
        flip_low=None if rate is None else max(0.0, rate - 0.03),
        flip_high=None if rate is None else rate + 0.05,
        change=None if rate is None else -rate,
        change_low=None if rate is None else -rate - 0.02,
        change_high=None if rate is None else -rate + 0.02,
        largest=largest,
    )


def group(category: str, name: str, difference: float, half: float | None, largest: ChangedText) -> GroupRow:
    return GroupRow(
        category=category,
        group=name,
        label=largest.label,
        n=48 if half is not None else 3,
        n_own=20 if half is not None else 1,
        difference=difference,
        low=None if half is None else difference - half,
        high=None if half is None else difference + half,
        largest=largest,
    )


def pairs() -> PairScores:
    return PairScores(
        rows=(
            PairRow(
                category=None, n=40, n_even=1, preferred=0.6, preferred_low=0.44, preferred_high=0.74, difference=0.21,
                difference_low=-0.1, difference_high=0.52,
            ),
        ),
        pairs=(
            SentencePair(
                first="He is a nurse.", second="She is a nurse.", category="all", score_first=-9.5, score_second=-8.25,
                n_shared=4, log_odds=-1.5,
            ),
        ),
        model="masked",
        first="male",
        second="female",
        n_left_out=2,
        n_truncated=1,
    )  # fmt: skip


def robustness(
    texts: tuple[str, str] = ("The room was lovely.", "The room was lvoely."),
    labels: tuple[str, str] = ("negative", "positive"),
) -> Robustness:
    largest = changed(*texts, labels)
    long = changed("word " * 60 + "good", "word " * 60 + "godo", labels)
    estimate = Estimate(name="spearman_signed", value=0.93, ci_low=0.88, ci_high=0.97, n=20, interval="bootstrap")
    return Robustness(
        rows=(
            row("transposition", "typing", 200, 11, largest),
            row("homophones", "typing", 25, 0, long),
            row("upper_case", "case", 200, 0, largest, alike=200),
            row("traditional", "characters", 0, 0, None),
            row("swap_gender", "group", 48, 3, largest),
            row("negation_inserted", "negation", 90, 30, largest),
        ),
        groups=(
            group("gender", "male", 0.04, 0.03, largest),
            group("religion", "christian", -0.05, 0.02, largest),
            group("religion", "muslim", 0.01, 0.02, largest),
            group("origin", "french", 0.01, None, largest),
        ),
        stability=(
            StabilityRow(
                kind=None, n=20, k=3, correlation=estimate, overlap=estimate, random_overlap=0.2, gain=estimate
            ),
        ),
        pairs=(),
        n_texts=200,
        scripts={"latin": 180, "han": 12, "other": 8},
        rates={"typing": 0.1, "writing": 0.1},
        method="integrated_gradients",
        seed=0,
    )
