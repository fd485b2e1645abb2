"""The full battery: every measure of faithfulness there is for an explanation, whoever made it, in one record.

battery(handle, attribution)                                        # hard metrics, the model's own operator
battery(handle, attribution, operators=("mask_token", "delete"))    # several ways of removing words side by side
battery(handle, attribution, explain=explain, seeds=(1, 2))         # and what becomes of it when made again
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from interpret.analyzers.faithfulness.evidence import TRIVIAL, evidence
from interpret.analyzers.faithfulness.limits import BEAM_WIDTH, Limits, aopc_limits
from interpret.analyzers.faithfulness.measure import (
    BUDGET,
    FRACTIONS,
    above_95_share,
    aopc_rows,
    check_request,
    example_quality,
    plan_random,
    variant,
)
from interpret.analyzers.faithfulness.metrics import METRICS, NORMALIZED
from interpret.analyzers.faithfulness.randomisation import randomisation
from interpret.analyzers.faithfulness.rankings import Design, Measured, curve_counts, run_rankings, told_apart
from interpret.analyzers.faithfulness.stability import N_PERTURBATIONS, RADIUS, sensitivity_max, words_of
from interpret.analyzers.faithfulness.stats import MIN_RANDOM, spearman
from interpret.analyzers.faithfulness.words import Ranked, lay_out
from interpret.analyzers.scheduler import Operator, Scheduler, deletion, removal
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.results.explanations import (
    Attribution,
    ExampleQuality,
    Faithfulness,
    FaithfulnessRow,
    FloatArray,
    RandomisationRow,
)
from interpret.results.record import Scalar
from interpret.statistics.intervals import MIN_BOOTSTRAP

#: Explains texts and targets again: `again(handle, encoded, targets)`, with `seed=` or `baseline=` where asked.
Again = Callable[..., Attribution]

#: Metrics of an explanation made again.
REMADE: Final = ("sensitivity_max", "seed_agreement", "baseline_agreement", "randomisation")
#: Texts that are explained again; every draw of noise, seed, baseline and random model explains them once more.
N_REMADE: Final = 16


class _Set(NamedTuple):
    """All texts under one operator."""

    operator: Operator
    measured: list[Measured]
    limits: list[Limits | None]


def battery(
    handle: Handle,
    attribution: Attribution,
    *,
    operators: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    explain: Again | None = None,
    seeds: Sequence[int] = (),
    baselines: Sequence[str] = (),
    n_random: int | None = None,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    n_bootstrap: int = 1000,
    scheduler: Scheduler | None = None,
    budget: int = BUDGET,
) -> Faithfulness:
    """Every measure of faithfulness, each against random rankings and the strongest trivial one.

    The rows of `measure` come first and mean what they mean there. Of one ranking of n words, all further metrics but
    the normalised ones come of the text itself and 2n - 1 altered copies (each number of top words removed, and kept),
    and leave-one-out adds n; each distinct copy runs once for all metrics and rankings. What removal does to texts
    that the model was not trained on is shared by the random rankings; that an explanation does well says nothing
    about whether a person would find it right.

    Args:
        handle: the model.
        attribution: signed or unsigned scores, ours or made elsewhere.
        operators: how words are removed: "mask_token", "pad_token", ..., or "delete", which takes tokens out of the
            ids; the first decides the verdict. None takes the model's own.
        metrics: names of `METRICS` and `REMADE`; None takes all that can be had. AOPC is always there.
        explain: makes the explanation again, `explain(handle, encoded, targets)`, without outputs computed before.
            The metrics of `REMADE` need it, and run on at most 16 texts.
        seeds: further seeds to explain with, passed on as `seed=`.
        baselines: further baselines to explain with, passed on as `baseline=`.
        n_random: as in `measure`.
        fractions: as in `measure`.
        seed: of random rankings, bootstrap, noise, and of which texts are explained again or get limits.
        n_bootstrap: resamples.
        scheduler: shares rows that were run before.
        budget: tokens that each of these may cost for each operator: random rankings of AOPC where `n_random` is
            None, whole curves of random rankings (at least 5 of each text, 20 with fewer than 5 texts), and the
            limits of AOPC, which texts that do not fit go without.

    Returns:
        A record whose rows name metric and operator; `FaithfulnessRow` says units and directions.

    Raises:
        UsageError: an unknown metric or operator, one that cannot be had without `explain`, or as in `measure`.
    """
    check_request(fractions, n_random, n_bootstrap)
    wanted = _wanted(metrics, explain, seeds, baselines)
    chosen = _operators(handle, operators)
    scheduler = scheduler or Scheduler(handle)
    laid = lay_out(handle, attribution)
    numbers = [i for i, ranked in enumerate(laid) if ranked is not None]
    batch = [ranked for ranked in laid if ranked is not None]
    lengths = [r.n_read for r in batch if told_apart(r, fractions)]
    n_removed, n_kept = plan_random(lengths, len(fractions), n_random, budget)
    hard = [name for name in METRICS if name in wanted]
    n_curves = _plan_curves(batch, n_removed, n_kept, budget) if hard else None
    design = Design(tuple(float(f) for f in fractions), n_removed, n_kept, n_curves)
    sets = []
    for operator in chosen:
        measured = run_rankings(scheduler, batch, numbers, design, operator, seed)
        limits: list[Limits | None] = [None] * len(batch)
        if NORMALIZED & set(hard):
            limits = aopc_limits(scheduler, batch, operator, budget=budget, seed=seed)
        sets.append(_Set(operator, measured, limits))
    make_row = partial(evidence, n_bootstrap=n_bootstrap, seed=seed)
    rows: list[FaithfulnessRow] = []
    for found in sets:
        rows += aopc_rows(found.measured, design.fractions, found.operator.name, n_bootstrap, seed)
        for name in hard:
            # Of one word there is one ranking, which cannot be compared with others.
            told = [
                (m, limit) for m, limit in zip(found.measured, found.limits, strict=True) if len(m.ranked.groups) > 1
            ]
            each = [METRICS[name].function(m, limit) for m, limit in told]
            values = [value for value in each if value is not None]
            rows.append(make_row(name, found.operator.name, METRICS[name].better, values))
    tests: tuple[RandomisationRow, ...] = ()
    some = _some(batch, seed)
    if explain is not None:
        part = [sets[0].measured[i] for i in some]
        rows += _remade(handle, part, explain, wanted, seeds, baselines, make_row, seed)
        if "randomisation" in wanted:
            tests = _randomised(handle, attribution, [numbers[i] for i in some], part, explain, seed)
    per_example: list[ExampleQuality | None] = [None] * len(laid)
    for i, one in zip(numbers, sets[0].measured, strict=True):
        per_example[i] = example_quality(one, design.fractions)
    return Faithfulness(
        rows=tuple(rows),
        per_example=tuple(per_example),
        method=attribution.method,
        variant=variant(attribution.unit, fractions),
        fractions=design.fractions,
        n_random=n_removed,
        seed=seed,
        above_95_share=above_95_share(per_example),
        options=_options(sets, design, len(some) if explain is not None else 0),
        randomisation=tests,
    )


def _wanted(
    metrics: Sequence[str] | None, explain: Again | None, seeds: Sequence[int], baselines: Sequence[str]
) -> frozenset[str]:
    aopc = ("aopc_comprehensiveness", "aopc_sufficiency")
    known = (*aopc, *METRICS, *REMADE)
    if metrics is None:
        return frozenset(known if explain is not None else METRICS)
    for name in metrics:
        if name not in known:
            raise UsageError(f"no metric {name!r}; there are {', '.join(known)}")
        if name in REMADE and explain is None:
            raise UsageError(f"{name} explains the texts again; give explain=, a function that does")
    for name, given, what in (("seed_agreement", seeds, "seeds"), ("baseline_agreement", baselines, "baselines")):
        if name in metrics and not given:
            raise UsageError(f"{name} compares with the explanation under other {what}; give {what}=")
    return frozenset(metrics)


def _operators(handle: Handle, names: Sequence[str] | None) -> list[Operator]:
    if names is None:
        return [removal(handle)]
    if isinstance(names, str) or not names or len(set(names)) < len(names):
        raise UsageError(f"operators is {names!r}; give a sequence of one or more names, each once")
    return [deletion(handle) if name == "delete" else removal(handle, name) for name in names]


def _plan_curves(batch: Sequence[Ranked], n_removed: int, n_kept: int, budget: int) -> int:
    """Random rankings of each text that get whole curves."""
    least = MIN_RANDOM // 4 if sum(len(r.groups) > 1 for r in batch) >= MIN_BOOTSTRAP else MIN_RANDOM
    cost = sum(2 * (len(curve_counts(len(r.groups))) - 1) * r.n_read for r in batch)
    return int(min(n_removed, n_kept, max(least, budget // max(1, cost))))


def _some(batch: Sequence[Ranked], seed: int) -> list[int]:
    """The texts that are explained again."""
    drawn = np.random.default_rng([seed, 1]).permutation(len(batch))[:N_REMADE]
    return sorted(drawn.tolist())


def _remade(
    handle: Handle,
    part: Sequence[Measured],
    explain: Again,
    wanted: frozenset[str],
    seeds: Sequence[int],
    baselines: Sequence[str],
    make_row: Callable[..., FaithfulnessRow],
    seed: int,
) -> list[FaithfulnessRow]:
    batch = [measured.ranked for measured in part]
    rows = []
    if "sensitivity_max" in wanted:
        moved = sensitivity_max(handle, batch, explain, seed=seed)
        values = [value for value in moved if value is not None]
        rows.append(make_row("sensitivity_max", "none", "lower", values, trivial=()))
    others: list[tuple[str, Again]] = []
    if "seed_agreement" in wanted:
        others += [(f"seed_agreement@{other}", partial(explain, seed=other)) for other in seeds]
    if "baseline_agreement" in wanted:
        others += [(f"baseline_agreement@{other}", partial(explain, baseline=other)) for other in baselines]
    for name, again in others:
        found = words_of(handle, batch, again)
        each = [_agreement(m.scores, scores) for m, scores in zip(part, found, strict=True) if scores is not None]
        rows.append(make_row(name, "none", "higher", [value for value in each if value is not None]))
    return rows


def _agreement(rankings: FloatArray, scores: FloatArray) -> FloatArray | None:
    """Rank correlation of each ranking with other scores [word]; constant rankings count as 0."""
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(rankings[0]) == 0:
        return None
    return np.array([spearman(ranking, scores) or 0.0 for ranking in rankings])


def _randomised(
    handle: Handle,
    attribution: Attribution,
    numbers: Sequence[int],
    part: Sequence[Measured],
    explain: Again,
    seed: int,
) -> tuple[RandomisationRow, ...]:
    shown = replace(attribution, examples=tuple(attribution[i] for i in numbers), quality=None)
    return randomisation(handle, [m.ranked.encoded for m in part], shown, explain, seed=seed)


def _options(sets: Sequence[_Set], design: Design, n_remade: int) -> dict[str, Scalar]:
    """How the battery was run, for the record."""
    limits = [limit for found in sets for limit in found.limits if limit is not None]
    exact = sum(limit.exact for limit in limits)
    out: dict[str, Scalar] = {"operators": ", ".join(found.operator.name for found in sets)}
    if design.n_curves is not None:
        out["n_random_curves"] = design.n_curves
        out["limits_exact"], out["limits_beam"] = exact, len(limits) - exact
        out["beam_width"] = BEAM_WIDTH
    if n_remade:
        out |= {"n_remade": n_remade, "sensitivity_radius": RADIUS, "n_perturbations": N_PERTURBATIONS}
    return out


__all__ = ["METRICS", "REMADE", "TRIVIAL", "Again", "battery"]
