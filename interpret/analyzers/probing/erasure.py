"""Whether what a probe finds is used: the label is erased from a site while the model runs, beside random directions.

    erasure(handle, data, site="resid_post.3")

A probe shows what is encoded. Here the label is taken out by the least affine change (LEACE), probes are trained
again on what is left, and the model's own outputs are compared with those after as many random directions are taken
out. Only the site is changed: the same label may still reach the output past it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor

from interpret.analyzers.probing.baselines import majority
from interpret.analyzers.probing.costs import BothCosts, Effects, ablations, summed
from interpret.analyzers.probing.erased_outputs import (
    MEASURED,
    Change,
    Outputs,
    affine_change,
    outputs_under,
    readings,
)
from interpret.analyzers.probing.erasers import MAX_ROUNDS, CrossMoments, Eraser, displaced, inlp, leace, random_eraser
from interpret.analyzers.probing.features import FeatureStore, Items, fill, probe_keys
from interpret.analyzers.probing.leaks import leaks
from interpret.analyzers.probing.parts import Parts, make_parts, sentence_order
from interpret.analyzers.probing.reprobing import Reprobing
from interpret.analyzers.probing.ridge import blocks, choose, moments, ridge_path
from interpret.analyzers.probing.uncertainty import ClusterBootstrap, Interval
from interpret.analyzers.probing.units import ablated, mean_ablation, ranked, scores
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.readers.probe_data import ProbeData
from interpret.results.erasure import (
    ErasedPositions,
    Erasure,
    ErasureMethod,
    ErasureVerdict,
    RandomErasure,
    UnitAblation,
    UnitRanking,
)
from interpret.results.record import Message
from interpret.sites import Key

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
#: The class index of the model for each word (or the text) of each sentence, -1 where it is not known.
Gold = Sequence[Sequence[int]]

#: Shares of accuracy or probability below which a difference does not matter.
MARGIN: Final = 0.02
#: A control that changes more than this share of predictions has broken the model and is no control.
CONTROL_LIMIT: Final = 0.1
#: Test texts that the model runs over again, at most.
MAX_TEXTS: Final = 500
N_RANDOM: Final = 5
#: Correlation with a label that rounding of float32 activations may leave.
_ROUNDING: Final = 1e-6


def erasure(
    handle: Handle,
    train: ProbeData,
    test: ProbeData | None = None,
    *,
    site: str,
    method: ErasureMethod = "leace",
    positions: ErasedPositions = "all",
    gold: tuple[Gold, Gold | None] | None = None,
    seed: int = 0,
    n_random: int = N_RANDOM,
    margin: float = MARGIN,
    max_texts: int = MAX_TEXTS,
    units: Sequence[int] = (),
    ranking: UnitRanking = "probe_weights",
    n_bootstrap: int = 1000,
    progress: bool = True,
) -> Erasure:
    """Erase a label linearly at one site of the running model, and see what probes and the model lose.

    The eraser is fitted on the means over each item's tokens in the training and validation parts and applied to each
    token; since it is affine, the mean of erased tokens is the erased mean. `positions="all"` edits every real
    position, special tokens included, `"probed"` only tokens of labelled items.

    Verdict, each by whole 95% intervals against `margin`:
        "not_available": the logistic probe's accuracy and balanced accuracy exceed those of the majority by less.
        "available_used": one exceeds it by more, and erasing costs the model more than both controls do: as many
        random directions taken away, and every activation moved as far in random directions. The cost is in accuracy
        on its own task (without `gold`: predictions that stay the same) or in probability (total variation).
        "available_not_used": it is available, and erasing changes less than `margin` of the predictions and of the
        probability, or costs in both less than `margin` more than as many random directions do and not surely more
        than moving as far.
        "inconclusive": all else, with the reason in `why`. Random directions that change a tenth of the predictions
        themselves, or an INLP that ran out of rounds, decide nothing.

    Args:
        handle: the attached model.
        train: labelled words or texts.
        test: what is tested on; None splits `train` as `probe` does.
        site: one site with a vector per token, such as "resid_post.3".
        method: "leace" (closed form) or "inlp" (iterative).
        positions: where the model is edited.
        gold: what the model itself should say for `train` and `test`, as class indices of the model.
        seed: of splits, random directions, bootstraps and probes.
        n_random: draws of each control.
        margin: the least difference that matters, as a share.
        max_texts: test texts that the model runs over again, drawn at random.
        units: rank the site's units and take so many of them out, from the top, the bottom and at random.
        ranking: by "probe_weights" (ridge) or by "mean_difference" between the classes.
        n_bootstrap: replicates of the sentences.
        progress: show bars on a terminal.

    Raises:
        UsageError: not one site with a vector per token, or options that mean nothing.
        InconclusiveError: too little data, or a single label.

    Reference: Belrose et al. 2023, arXiv 2306.03819 (LEACE); Ravfogel et al. 2020, arXiv 2004.07667 (INLP); Elazar et
    al. 2021, arXiv 2006.00995 (the comparison with random directions).
    """
    _check(method, positions, ranking, n_random, margin, max_texts)
    keys = probe_keys(handle, [site])
    if len(keys) != 1:
        raise UsageError(f"site={site!r} names {len(keys)} places; erase at one at a time, such as {keys[0][0]}.0")
    (key,) = keys
    if train.level == "span" or train.level == "pair":
        raise UsageError(f"{train.name} is labelled by {train.level}; bring labels of words or of texts")
    plan = make_parts(handle, train, test, seed, 1)
    bootstrap = ClusterBootstrap(plan.cluster[plan.test], n_bootstrap, seed)
    with FeatureStore(len(plan.items), 1) as store:
        fill(store, handle, plan.items, [site], "erase: activations" if progress else None)
        X = store.arrays[key]
        wrong = [k for k in units if not 0 < k <= X.shape[1]]
        if wrong:
            raise UsageError(f"units={list(units)}: {site} has {X.shape[1]} units, so {wrong[0]} cannot be taken out")
        statistics = CrossMoments(X.shape[1], len(plan.classes)).update(X[: plan.n_fit], plan.labels[0, : plan.n_fit])
        eraser, n_rounds = _eraser(method, statistics, plan, X)
        probes = Reprobing(plan, bootstrap, seed)
        probes.read("original", _standard(statistics, X, None))
        probes.read("erased", _standard(statistics, X, eraser))
    order = ranked(scores(statistics, probes.weights, ranking)) if units else np.zeros(0, dtype=np.int64)
    taken_out = ablated(order, units, seed)
    gain = probes.gain("original")
    # By its theorem, or because INLP ended; and no probe of the test part may contradict it.
    ended = eraser.left_over(statistics) < _ROUNDING if n_rounds is None else n_rounds < MAX_ROUNDS
    erased = ended and not any(low is not None and low > margin for _, low, _ in probes.gain("erased"))
    drawn = [random_eraser(statistics, eraser.rank, [seed, 7, n], method) for n in range(n_random)]
    moved = [displaced(eraser, statistics, [seed, 8, n]) for n in range(n_random)]
    effects: Effects | None = None
    found_ablations: tuple[UnitAblation, ...] = ()
    if handle.task in MEASURED and len(handle.labels) != 1 and not _independent(handle):
        own = None if gold is None else _joined_gold(train, test, gold, seed)
        maps = [eraser, *drawn, *moved, *(mean_ablation(statistics, part.units) for part in taken_out)]
        outputs, texts = _outputs(handle, plan, key, maps, positions, own, seed, max_texts, n_bootstrap, progress)
        effects = summed(outputs, texts, n_random)
        found_ablations = ablations(outputs, texts, taken_out, 1 + 2 * n_random)
    verdict, why = judge(gain, erased, None if effects is None else effects.costs, margin)
    controls = [*(("rank", draw) for draw in drawn), *(("size", draw) for draw in moved)]
    return Erasure(
        model=handle.name,
        site=key[0],
        layer=key[1],
        task=train.task,
        level=train.level,
        classes=plan.classes,
        method=method,
        positions=positions,
        rank=eraser.rank,
        n_rounds=n_rounds,
        linearly_erased=erased,
        removed_share=eraser.removed_share(statistics),
        random=tuple(
            RandomErasure(
                matched="rank" if matched == "rank" else "size",
                removed_share=draw.removed_share(statistics),
                changed_predictions=None if effects is None else effects.draws["changed"][n],
                total_variation=None if effects is None else effects.draws["total_variation"][n],
                kl_nats=None if effects is None else effects.draws["kl"][n],
            )
            for n, (matched, draw) in enumerate(controls)
        ),
        rows=(*probes.rows, *(() if effects is None else effects.rows)),
        verdict=verdict,
        why=why,
        margin=margin,
        n_train=plan.n_train,
        n_validation=plan.n_fit - plan.n_train,
        n_test=len(plan.items) - plan.n_fit,
        n_clusters_test=bootstrap.n_clusters,
        output=handle.task,
        n_texts=0 if effects is None else effects.n_texts,
        seed=seed,
        ranking=ranking if units else None,
        ranked_units=tuple(order.tolist()),
        ablations=found_ablations,
        notes=_notes(train, test, plan.items, probes.n_not_converged),
    )


def _check(method: str, positions: str, ranking: str, n_random: int, margin: float, max_texts: int) -> None:
    for name, value, known in (
        ("method", method, get_args(ErasureMethod)),
        ("positions", positions, get_args(ErasedPositions)),
        ("ranking", ranking, get_args(UnitRanking)),
    ):
        if value not in known:
            raise UsageError(f"{name}={value!r} is unknown; available are {', '.join(known)}")
    if n_random < 2:
        raise UsageError(f"n_random is {n_random}; at least 2 draws are needed to see how far they differ")
    if not 0 < margin < 1:
        raise UsageError(f"margin is {margin}; it is a share between 0 and 1, such as {MARGIN}")
    if max_texts < 10:
        raise UsageError(f"max_texts is {max_texts}; an interval needs at least 10 texts")


def _independent(handle: Handle) -> bool:
    """Whether the outputs are labels of their own, or a number, and no distribution."""
    kind = getattr(handle.config, "problem_type", None)
    return kind in ("multi_label_classification", "regression")


def _standard(statistics: CrossMoments, X: Float32Array, eraser: Eraser | None) -> Float32Array:
    """Activations, erased in float64 where asked, in units of the deviations before the erasure."""
    out = np.empty(X.shape, dtype=np.float32)
    for part in blocks(X):
        x = X[part].astype(np.float64)
        out[part] = ((x if eraser is None else eraser(x)) - statistics.mean_x) / statistics.deviation
    return out


def _eraser(method: str, statistics: CrossMoments, plan: Parts, X: Float32Array) -> tuple[Eraser, int | None]:
    if method == "leace":
        return leace(statistics), None
    labels, held = plan.labels[:1], slice(plan.n_train, plan.n_fit)
    floor = float(np.mean(majority(labels[0], plan.n_train)[held] == labels[0, held]))

    def still_reads(eraser: Eraser) -> float | None:
        Z = _standard(statistics, X[: plan.n_fit], eraser if eraser.rank else None)
        path = ridge_path(moments(Z[: plan.n_train], labels[:, : plan.n_train], len(plan.classes)))
        accuracies = path.accuracies(Z[held], labels[:, held])
        # Of fifteen penalties the best is a little above the majority by chance; one deviation is left to it.
        n = plan.n_fit - plan.n_train
        chance = floor + float(np.sqrt(floor * (1 - floor) / n))
        return choose(accuracies)[0] if float(accuracies.max()) > chance else None

    return inlp(statistics, still_reads)


def _joined_gold(train: ProbeData, test: ProbeData | None, gold: tuple[Gold, Gold | None], seed: int) -> Gold:
    """The model's own answers in the order in which the plan has the sentences."""
    own, own_test = gold
    for name, data, answers in ((train.name, train, own), ("" if test is None else test.name, test, own_test)):
        if data is None:
            continue
        if answers is None or len(answers) != len(data):
            n = 0 if answers is None else len(answers)
            raise UsageError(f"{name} has {len(data)} sentences and gold= has answers for {n}; give one row for each")
    for_training, for_validation, for_test = sentence_order(train, test, seed)
    fitted = [own[i] for i in (*for_training.tolist(), *for_validation.tolist())]
    return [*fitted, *([own[i] for i in for_test.tolist()] if test is None else own_test or ())]


def _outputs(
    handle: Handle,
    plan: Parts,
    key: Key,
    erasers: Sequence[Eraser],
    positions: str,
    gold: Gold | None,
    seed: int,
    max_texts: int,
    n_bootstrap: int,
    progress: bool,
) -> tuple[Outputs, ClusterBootstrap]:
    """Run the test texts as they are and with each of the maps; the bootstrap resamples them."""
    sentences, first = np.unique(plan.items.sentence[plan.test], return_index=True)
    cluster = plan.cluster[plan.test][first]
    if len(sentences) > max_texts:
        kept = np.sort(np.random.default_rng([seed, 5]).choice(len(sentences), max_texts, replace=False))
        sentences, cluster = sentences[kept], cluster[kept]
    encoded = [plan.items.encoded[s] for s in sentences]
    texts = readings(handle, encoded, None if gold is None else [gold[s] for s in sentences], seed)
    changes: list[Callable[[Tensor | None], Change]] = [_maker(eraser, key) for eraser in erasers]
    probed = [plan.items.segments[s].position for s in sentences] if positions == "probed" else None
    label = "erase: outputs" if progress else None
    out = outputs_under(handle, texts, key, changes, probed=probed, progress=label)
    return out, ClusterBootstrap(cluster, n_bootstrap, seed)


def _maker(eraser: Eraser, key: Key) -> Callable[[Tensor | None], Change]:
    return lambda where: affine_change(eraser, key[0], where)


def judge(
    gain: Sequence[Interval], erased: bool, costs: BothCosts | None, margin: float
) -> tuple[ErasureVerdict, Message]:
    """The verdict and its reason: every comparison needs a whole interval on one side of the margin."""

    def why(reason: str, **params: float) -> Message:
        return Message(code=f"erasure_why.{reason}", params=params)

    def above(found: Interval) -> bool:
        return found.low is not None and found.low > margin

    def below(found: Interval) -> bool:
        return found.high is not None and found.high < margin

    if not any(above(one) for one in gain):
        if all(below(one) for one in gain):
            return "not_available", why("not_available", margin=margin)
        return "inconclusive", why("availability_unclear", margin=margin)
    if not erased:
        return "inconclusive", why("not_erased")
    if costs is None:
        return "inconclusive", why("no_output")
    if all(below(one) for one in costs.whole):
        return "available_not_used", why("harmless", margin=margin)
    if costs.rank.control > CONTROL_LIMIT:
        return "inconclusive", why("control_breaks", share=costs.rank.control, limit=CONTROL_LIMIT)
    measures = tuple(zip(costs.rank[:2], costs.size[:2], strict=True))
    if any(above(rank) and above(size) for rank, size in measures):
        return "available_used", why("used", margin=margin)
    # A change of this size elsewhere may break the model in one draw and not in the next; its spread decides nothing.
    if all(below(rank) and not above(size) for rank, size in measures):
        return "available_not_used", why("not_used", margin=margin)
    if any(above(rank) for rank, _ in measures):
        return "inconclusive", why("size_explains", margin=margin, share=costs.size.control)
    return "inconclusive", why("effect_unclear", margin=margin)


def _notes(
    train: ProbeData,
    test: ProbeData | None,
    items: Items,
    n_not_converged: int,
) -> tuple[Message, ...]:
    notes = []
    notes += [] if test is None else leaks(train, test)
    if n_not_converged:
        notes.append(Message(code="probe_not_converged", params={"n": n_not_converged}))
    if items.n_truncated_texts:
        notes.append(Message(code="probe_truncated_texts", params={"n": items.n_truncated_texts}))
    return tuple(notes)
