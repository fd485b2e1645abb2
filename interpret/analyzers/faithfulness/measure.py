"""Measure whether removing what an explanation ranks first changes the output more than removing random words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from interpret.analyzers.faithfulness.evidence import TRIVIAL, Better, evidence
from interpret.analyzers.faithfulness.rankings import Design, Measured, run_rankings, told_apart
from interpret.analyzers.faithfulness.stats import MIN_RANDOM, percentile_of, verdict_by_permutation
from interpret.analyzers.faithfulness.words import lay_out
from interpret.analyzers.scheduler import Scheduler, removal
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.results.explanations import Attribution, ExampleQuality, Faithfulness, FaithfulnessRow, FloatArray
from interpret.statistics.intervals import MIN_BOOTSTRAP

FRACTIONS: Final = (0.05, 0.1, 0.2, 0.5)
#: Tokens that random rankings of many texts may cost in all, and in the cheap part shown with every
#: explanation.
BUDGET: Final = 400_000
CHEAP_BUDGET: Final = 150_000
#: Random rankings of a single text, and the most of them that a budget may buy.
MOST_RANDOM: Final = 200


def measure(
    handle: Handle,
    attribution: Attribution,
    *,
    n_random: int | None = None,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    n_bootstrap: int = 1000,
    operator: str | None = None,
    scheduler: Scheduler | None = None,
    budget: int | None = None,
    function: Callable[[Any], Any] | None = None,
) -> Faithfulness:
    """AOPC comprehensiveness and sufficiency of an explanation, against random and trivial rankings of the same words.

    With p the probability of the explained class and words ranked by signed score, comprehensiveness at a
    fraction f is p(text) - p(text without the top k words), sufficiency p(text) - p(only the top k words), k
    = max(1, round(f n)). AOPC is the mean over fractions. Of a contrast the first class is measured. Removed
    words leave texts that the model was not trained on; this is shared by the random rankings, which is why
    only the difference to them counts. Texts whose rankings are all one and the same, such as those of one word, are
    in no row.

    From 5 texts on, intervals resample texts; see `verdict_by_bootstrap` for the verdict's rule. With fewer,
    the verdict is the percentile among `n_random` random rankings; see `verdict_by_permutation`.

    Args:
        handle: the model.
        attribution: signed or unsigned scores, ours or made elsewhere.
        n_random: random rankings per text, run as given. None takes 200 for fewer than 5 texts, and for more what
            `budget` allows between 20 and 200.
        fractions: shares of the words to remove or keep, each in (0, 1].
        seed: of random rankings and of the bootstrap.
        n_bootstrap: resamples.
        operator: what removed tokens become, "mask_token", "eos_token", ...; None takes the model's own.
        scheduler: shares rows that were run before.
        budget: tokens to spend on random rankings where `n_random` is None. None spends what it takes on fewer
            than 5 texts, and 400,000 on more.
        function: the function of the output that was explained, which no record holds. Instead of a probability its
            value is measured, in its own units, and `options["quantity"]` says "function".

    Returns:
        Rows `aopc_comprehensiveness` (higher is better) and `aopc_sufficiency` (lower is better), then each
        at every fraction; values are differences of probabilities, -1 to 1. Texts without words have no
        quality.

    Raises:
        UsageError: a fraction outside (0, 1], too few random rankings, or scores that cannot be laid onto
            words.

    Reference: DeYoung et al. 2020, arXiv 1911.03429, equations 1 and 2; there k may be 0, which removes
    nothing.
    """
    check_request(fractions, n_random, n_bootstrap)
    scheduler = scheduler or Scheduler(handle)
    chosen = removal(handle, operator)
    laid = lay_out(handle, attribution, function)
    numbers = [i for i, ranked in enumerate(laid) if ranked is not None]
    batch = [ranked for ranked in laid if ranked is not None]
    lengths = [r.n_read for r in batch if told_apart(r, fractions)]
    n_removed, n_kept = plan_random(lengths, len(fractions), n_random, budget)
    design = Design(tuple(float(f) for f in fractions), n_removed, n_kept)
    measured = run_rankings(scheduler, batch, numbers, design, chosen, seed)
    per_example: list[ExampleQuality | None] = [None] * len(laid)
    for i, found in zip(numbers, measured, strict=True):
        per_example[i] = example_quality(found, design.fractions)
    return Faithfulness(
        rows=aopc_rows(measured, design.fractions, chosen.name, n_bootstrap, seed),
        per_example=tuple(per_example),
        method=attribution.method,
        variant=variant(attribution.unit, fractions),
        fractions=design.fractions,
        n_random=n_removed,
        seed=seed,
        above_95_share=above_95_share(per_example),
        options={} if function is None else {"quantity": "function"},
    )


def quality_auto(
    handle: Handle,
    attribution: Attribution,
    seed: int = 0,
    *,
    scheduler: Scheduler | None = None,
    function: Callable[[Any], Any] | None = None,
) -> Faithfulness:
    """The cheap part of `measure`: what is shown with every explanation.

    200 random rankings for fewer than 5 texts (fewer where a text is long; the number is recorded), 20 per
    text from 5 texts on.
    """
    small = len(attribution) < MIN_BOOTSTRAP
    return measure(
        handle,
        attribution,
        n_random=None if small else MIN_RANDOM,
        seed=seed,
        scheduler=scheduler,
        budget=CHEAP_BUDGET,
        function=function,
    )


def with_quality(attribution: Attribution, faithfulness: Faithfulness) -> Attribution:
    """The attribution with its quality, and each example with its own.

    Raises:
        UsageError: the quality was measured on another number of examples.
    """
    if len(faithfulness.per_example) != len(attribution):
        raise UsageError(
            f"the quality was measured on {len(faithfulness.per_example)} examples, and this attribution holds "
            f"{len(attribution)}; measure it on the same attribution"
        )
    examples = tuple(
        replace(example, quality=quality)
        for example, quality in zip(attribution, faithfulness.per_example, strict=True)
    )
    return replace(attribution, examples=examples, quality=faithfulness)


def variant(unit: str, fractions: Sequence[float]) -> str:
    """The name of the variant of AOPC: what is removed, and which percentages of it."""
    percent = "_".join(f"{100 * f:g}" for f in fractions)
    removed = f"{unit}s" if unit in ("token", "sentence", "segment", "message", "span") else "words"
    return f"eraser_{removed}_k{percent}"


def check_request(fractions: Sequence[float], n_random: int | None, n_bootstrap: int) -> None:
    """Refuse what no interval or percentile could come of."""
    if not fractions or not all(0 < f <= 1 for f in fractions):
        raise UsageError(f"fractions are {tuple(fractions)}; give shares of the words above 0 and up to 1")
    if n_random is not None and n_random < MIN_RANDOM:
        raise UsageError(f"n_random is {n_random}; the 95th percentile needs at least {MIN_RANDOM} random rankings")
    if n_bootstrap < 100:
        raise UsageError(f"n_bootstrap is {n_bootstrap}; a 95% interval needs at least 100 resamples")


def plan_random(lengths: Sequence[int], n_fractions: int, n_random: int | None, budget: int | None) -> tuple[int, int]:
    """Random rankings per text for comprehensiveness and for sufficiency."""
    many = len(lengths) >= MIN_BOOTSTRAP
    if n_random is not None:
        # The mean over many texts needs few rankings of each, and no percentile hangs on the second metric.
        return n_random, max(MIN_RANDOM // 4, n_random // 4) if many else n_random
    cost = max(1, sum(lengths) * n_fractions)
    if many:
        first = int(np.clip((BUDGET if budget is None else budget) / (1.25 * cost), MIN_RANDOM, MOST_RANDOM))
        return first, first // 4
    if budget is None:
        return MOST_RANDOM, MOST_RANDOM
    # The percentile hangs on the first metric alone, and half the rows would go to the second.
    return int(np.clip(budget // cost, MIN_RANDOM, MOST_RANDOM)), MIN_RANDOM


def aopc_rows(
    measured: Sequence[Measured], fractions: Sequence[float], operator: str, n_bootstrap: int, seed: int
) -> tuple[FaithfulnessRow, ...]:
    """Comprehensiveness and sufficiency over all fractions, then at each of them."""
    picks: list[tuple[str, slice]] = [("", slice(None))]
    picks += [(f"@{f:g}", slice(i, i + 1)) for i, f in enumerate(fractions)]
    out: list[FaithfulnessRow] = []
    for suffix, pick in picks:
        prefix = "" if suffix else "aopc_"
        told = [m for m in measured if told_apart(m.ranked, fractions[pick])]
        removed = [m.whole - m.removed[:, pick].mean(axis=1) for m in told]
        kept = [m.whole - m.kept[:, pick].mean(axis=1) for m in told]
        both: list[tuple[str, Better, list[FloatArray]]] = [
            ("comprehensiveness", "higher", removed),
            ("sufficiency", "lower", kept),
        ]
        for metric, better, values in both:
            name = f"{prefix}{metric}{suffix}"
            out.append(evidence(name, operator, better, values, n_bootstrap=n_bootstrap, seed=seed))
    return tuple(out)


def example_quality(measured: Measured, fractions: Sequence[float]) -> ExampleQuality:
    """Where one explanation stands among random rankings of its words; nowhere if there is only one ranking."""
    first = 1 + len(TRIVIAL)
    comprehensiveness = measured.whole - measured.removed.mean(axis=1)
    sufficiency = measured.whole - measured.kept.mean(axis=1)
    value, random = float(comprehensiveness[0]), comprehensiveness[first:]
    percentile = percentile_of(value, random) if told_apart(measured.ranked, fractions) else None
    return ExampleQuality(
        comprehensiveness=value,
        sufficiency=float(sufficiency[0]),
        random_comprehensiveness=float(random.mean()),
        random_sufficiency=float(sufficiency[first:].mean()),
        percentile=percentile,
        n_random=len(random),
        n_words=len(measured.ranked.groups),
        verdict="inconclusive" if percentile is None else verdict_by_permutation(percentile, len(random)),
    )


def above_95_share(per_example: Sequence[ExampleQuality | None]) -> float | None:
    """Share of texts, of those with more than one ranking, that stand above the 95th percentile of random ones."""
    above = [q.verdict == "better_than_random" for q in per_example if q is not None and q.percentile is not None]
    return float(np.mean(above)) if above else None
