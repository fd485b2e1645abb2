"""Measure whether removing what an explanation ranks first changes the output more than removing random words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from interpret.analyzers.faithfulness.stats import percentile_of, verdict_by_bootstrap, verdict_by_permutation
from interpret.analyzers.faithfulness.words import Ranked, lay_out, trivial_scores
from interpret.analyzers.intervals import MIN_BOOTSTRAP, bootstrap, resamples
from interpret.analyzers.scheduler import Operator, Scheduler, masked_rows, removal
from interpret.errors import UsageError
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.results.explanations import (
    Attribution,
    ExampleQuality,
    Faithfulness,
    FaithfulnessRow,
    FloatArray,
    IntArray,
)

FRACTIONS: Final = (0.05, 0.1, 0.2, 0.5)
#: Tokens that random rankings of many texts may cost in all, and in the cheap part shown with every
#: explanation.
BUDGET: Final = 400_000
CHEAP_BUDGET: Final = 150_000
#: Fewer random rankings than this cannot tell the 95th percentile.
MIN_RANDOM: Final = 20
#: Random rankings of a single text, and the most of them that a budget may buy.
MOST_RANDOM: Final = 200
#: Rows built at once; what they yield is a few numbers, but the ids of long texts add up.
_CHUNK_ROWS: Final = 8192


class _Curves(NamedTuple):
    """Changes of the explained class's probability `[ranking, fraction]` of one text."""

    comprehensiveness: FloatArray
    sufficiency: FloatArray


@dataclass(frozen=True)
class _Measured:
    """One text: the explanation's curves [fraction], the trivial ones, and the random ones [ranking, fraction]."""

    ranked: Ranked
    own: _Curves
    trivial: Mapping[str, _Curves]
    random: _Curves

    def quality(self) -> ExampleQuality:
        value = float(self.own.comprehensiveness.mean())
        random = self.random.comprehensiveness.mean(axis=1)
        percentile = percentile_of(value, random)
        return ExampleQuality(
            comprehensiveness=value,
            sufficiency=float(self.own.sufficiency.mean()),
            random_comprehensiveness=float(random.mean()),
            random_sufficiency=float(self.random.sufficiency.mean()),
            percentile=percentile,
            n_random=len(random),
            n_words=len(self.ranked.groups),
            verdict=verdict_by_permutation(percentile, len(random)),
        )


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
) -> Faithfulness:
    """AOPC comprehensiveness and sufficiency of an explanation, against random and trivial rankings of the same words.

    With p the probability of the explained class and words ranked by signed score, comprehensiveness at a
    fraction f is p(text) - p(text without the top k words), sufficiency p(text) - p(only the top k words), k
    = max(1, round(f n)). AOPC is the mean over fractions. Of a contrast the first class is measured. Removed
    words leave texts that the model was not trained on; this is shared by the random rankings, which is why
    only the difference to them counts.

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
    _check(fractions, n_random, n_bootstrap)
    scheduler = scheduler or Scheduler(handle)
    chosen = removal(handle, operator)
    laid = lay_out(handle, attribution)
    usable = [i for i, ranked in enumerate(laid) if ranked is not None]
    batch = [ranked for ranked in laid if ranked is not None]
    n_comprehensiveness, n_sufficiency = _plan(
        [len(ranked.encoded.ids) for ranked in batch], len(fractions), n_random, budget
    )
    trivial = trivial_scores(batch, last_first=handle.is_decoder)
    plans = []
    for n, (i, ranked) in enumerate(zip(usable, batch, strict=True)):
        rng = np.random.default_rng([seed, i])
        given = [ranked.scores, *(scores[n] for scores in trivial.values())]
        orders = [np.argsort(-scores, kind="stable") for scores in given]
        orders += [rng.permutation(len(ranked.groups)) for _ in range(n_comprehensiveness)]
        plans.append(_Plan(ranked, np.array(orders), len(given) + n_sufficiency))
    measured: dict[int, _Measured] = {}
    curves_of = _curves(scheduler, plans, fractions, chosen)
    for i, ranked, curves in zip(usable, batch, curves_of, strict=True):
        first = 1 + len(trivial)
        measured[i] = _Measured(
            ranked=ranked,
            own=_Curves(curves.comprehensiveness[0], curves.sufficiency[0]),
            trivial={
                name: _Curves(curves.comprehensiveness[1 + t], curves.sufficiency[1 + t])
                for t, name in enumerate(trivial)
            },
            random=_Curves(curves.comprehensiveness[first:], curves.sufficiency[first:]),
        )
    per_example = tuple(measured[i].quality() if i in measured else None for i in range(len(laid)))
    above = [q.verdict == "better_than_random" for q in per_example if q is not None]
    return Faithfulness(
        rows=_rows(list(measured.values()), fractions, chosen.name, n_bootstrap, seed),
        per_example=per_example,
        method=attribution.method,
        variant=_variant(attribution.unit, fractions),
        fractions=tuple(float(f) for f in fractions),
        n_random=n_comprehensiveness,
        seed=seed,
        above_95_share=float(np.mean(above)) if above else None,
    )


def quality_auto(
    handle: Handle, attribution: Attribution, seed: int = 0, *, scheduler: Scheduler | None = None
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


def _variant(unit: str, fractions: Sequence[float]) -> str:
    percent = "_".join(f"{100 * f:g}" for f in fractions)
    return f"eraser_{'tokens' if unit == 'token' else 'words'}_k{percent}"


def top_counts(n_words: int, fractions: Sequence[float]) -> list[int]:
    """K for each fraction: at least 1, since removing nothing would look perfectly sufficient."""
    return [min(n_words, max(1, int(np.floor(f * n_words + 0.5)))) for f in fractions]


class _Plan(NamedTuple):
    """Rankings [ranking, word] of one text; sufficiency is measured for the first `n_sufficiency` only."""

    ranked: Ranked
    orders: IntArray
    n_sufficiency: int


def _check(fractions: Sequence[float], n_random: int | None, n_bootstrap: int) -> None:
    if not fractions or not all(0 < f <= 1 for f in fractions):
        raise UsageError(f"fractions are {tuple(fractions)}; give shares of the words above 0 and up to 1")
    if n_random is not None and n_random < MIN_RANDOM:
        raise UsageError(f"n_random is {n_random}; the 95th percentile needs at least {MIN_RANDOM} random rankings")
    if n_bootstrap < 100:
        raise UsageError(f"n_bootstrap is {n_bootstrap}; a 95% interval needs at least 100 resamples")


def _plan(lengths: Sequence[int], n_fractions: int, n_random: int | None, budget: int | None) -> tuple[int, int]:
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


def _curves(
    scheduler: Scheduler, plans: Sequence[_Plan], fractions: Sequence[float], operator: Operator
) -> Iterator[_Curves]:
    """Both curves of every ranking of each text; rows of several texts run together."""
    start = 0
    while start < len(plans):
        end, n_rows = start, 0
        while end < len(plans) and (end == start or n_rows < _CHUNK_ROWS):
            n_rows += 2 * len(fractions) * len(plans[end].orders)
            end += 1
        rows: list[Row] = []
        owners: list[int] = []
        shapes: list[tuple[int, int]] = []
        for p in range(start, end):
            made, shape = _text_rows(plans[p], fractions, operator)
            rows += made
            owners += [p] * len(made)
            shapes.append(shape)
        targets = [plans[p].ranked.target for p in owners]
        probability = scheduler.score(
            rows,
            [t.index for t in targets],
            [t.foil_index for t in targets],
            [t.position for t in targets],
        ).probability
        at = 0
        for n_removed, n_kept in shapes:
            whole = probability[at]
            removed = probability[at + 1 : at + 1 + n_removed].reshape(-1, len(fractions))
            kept = probability[at + 1 + n_removed : at + 1 + n_removed + n_kept].reshape(-1, len(fractions))
            yield _Curves(whole - removed, whole - kept)
            at += 1 + n_removed + n_kept
        start = end


def _text_rows(plan: _Plan, fractions: Sequence[float], operator: Operator) -> tuple[list[Row], tuple[int, int]]:
    """The whole text, then each ranking without its top words, then each with only those."""
    n_words = plan.orders.shape[1]
    rank = np.argsort(plan.orders, axis=1)
    counts = np.array(top_counts(n_words, fractions))
    top: npt.NDArray[np.bool_] = rank[:, None, :] < counts[None, :, None]
    removed = (~top).reshape(-1, n_words)
    kept = top[: plan.n_sufficiency].reshape(-1, n_words)
    keep = np.concatenate([np.ones((1, n_words), dtype=bool), removed, kept])
    rows = masked_rows(plan.ranked.encoded, plan.ranked.groups, keep, operator)
    return rows, (len(removed), len(kept))


def _rows(
    measured: Sequence[_Measured], fractions: Sequence[float], operator: str, n_bootstrap: int, seed: int
) -> tuple[FaithfulnessRow, ...]:
    n = len(measured)
    draws = resamples(n, n_bootstrap, seed) if n >= MIN_BOOTSTRAP else None
    picks: list[tuple[str, slice]] = [("", slice(None))]
    picks += [(f"@{f:g}", slice(i, i + 1)) for i, f in enumerate(fractions)]
    return tuple(
        _row(("aopc_" if not suffix else "") + metric + suffix, metric, measured, pick, operator, draws)
        for suffix, pick in picks
        for metric in ("comprehensiveness", "sufficiency")
    )


def _row(
    name: str,
    metric: str,
    measured: Sequence[_Measured],
    pick: slice,
    operator: str,
    draws: IntArray | None,
) -> FaithfulnessRow:
    n = len(measured)
    if not n:
        return FaithfulnessRow(
            metric=name, operator=operator, value=None, ci_low=None, ci_high=None, random_mean=None,
            random_ci_low=None, random_ci_high=None, n=0, verdict="inconclusive",
        )  # fmt: skip
    good = 1.0 if metric == "comprehensiveness" else -1.0

    def column(curves: _Curves) -> FloatArray:
        array: FloatArray = getattr(curves, metric)[..., pick].mean(axis=-1)
        return array

    value = np.array([float(column(m.own)) for m in measured])
    random = np.array([column(m.random) for m in measured])
    trivials = {t: np.array([float(column(m.trivial[t])) for m in measured]) for t in measured[0].trivial}
    strongest = max(trivials, key=lambda t: good * trivials[t].mean())
    over_random = good * (value - random.mean(axis=1))
    over_trivial = good * (value - trivials[strongest])
    row = FaithfulnessRow(
        metric=name,
        operator=operator,
        value=float(value.mean()),
        ci_low=None,
        ci_high=None,
        random_mean=float(random.mean()),
        random_ci_low=None,
        random_ci_high=None,
        n=n,
        verdict="inconclusive",
        difference=float(over_random.mean()),
        trivial_name=strongest,
        trivial_mean=float(trivials[strongest].mean()),
        trivial_difference=float(over_trivial.mean()),
    )
    if draws is None:
        # Each draw ranks all texts at random at once, so the mean over texts has its own null distribution.
        null = random.mean(axis=0)
        low, high = np.quantile(null, [0.025, 0.975]).tolist()
        percentile = percentile_of(good * float(value.mean()), good * null)
        return replace(
            row,
            random_ci_low=low,
            random_ci_high=high,
            verdict=verdict_by_permutation(percentile, random.shape[1]),
        )
    own, chance = bootstrap(value, draws), bootstrap(random.mean(axis=1), draws)
    difference, trivial = bootstrap(over_random, draws), bootstrap(over_trivial, draws)
    return replace(
        row,
        ci_low=own.low,
        ci_high=own.high,
        random_ci_low=chance.low,
        random_ci_high=chance.high,
        verdict=verdict_by_bootstrap(difference, trivial, n),
        difference_ci_low=difference.low,
        difference_ci_high=difference.high,
        trivial_difference_ci_low=trivial.low,
        trivial_difference_ci_high=trivial.high,
    )
