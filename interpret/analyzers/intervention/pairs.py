"""Activation patching over several pairs of texts: one sweep for each, and their mean effects with intervals.

A single pair shows what its own two texts hang on; over many pairs of one kind what they have in common remains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from interpret.analyzers.intervention.patching import NoDifferenceError, SameAnswerError, aligned, patch, planned
from interpret.analyzers.target import TargetRequest
from interpret.errors import InconclusiveError, UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.results.interventions import Direction, EffectMetric, PatchSweep
from interpret.results.patch_sweeps import Average, LeftOutPair, PatchSweeps, check_average

#: Positions of one pair that belong together, for all pairs; or one such list for each pair.
Alignment = Sequence[tuple[int, int]] | Sequence[Sequence[tuple[int, int]]]


def patch_pairs(
    handle: Handle,
    clean: Sequence[Encoded],
    corrupted: Sequence[Encoded],
    *,
    site: str = "resid_post",
    per: Literal["position", "head"] | None = None,
    direction: Direction = "denoising",
    metric: EffectMetric = "logit_difference",
    target: TargetRequest = None,
    at: int | Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
    align: Alignment | None = None,
    average: Average = "ratio_of_means",
    n_bootstrap: int = 1000,
    seed: int = 0,
    late: bool = True,
) -> PatchSweeps:
    """`patch` of every pair, and the effects over all of them.

    Args:
        handle: a model with one stack, and logits at one place.
        clean: the texts with the answers that are explained.
        corrupted: for each the same text with another answer.
        site: as for `patch`.
        per: as for `patch`.
        direction: as for `patch`.
        metric: as for `patch`.
        target: one for all pairs, or a list with one for each.
        at: one for all pairs, or one for each.
        layers: only these.
        align: pairs of positions for all pairs of texts, or one list of them for each; per position each pair then
            gives as many places, which are taken to be the same ones.
        average: how pairs are put together, see `PatchSweeps`.
        n_bootstrap: resamples of the pairs.
        seed: of the resamples.
        late: as for `patch`.

    Raises:
        UsageError: no pair; other numbers of clean and corrupted texts, targets or places than of pairs; pairs of
            different lengths where effects are by position; or what `patch` refuses.
        InconclusiveError: no pair has a difference to trace.
    """
    check_average(average, n_bootstrap)
    _, unit = planned(handle, site, per, direction, metric, layers)
    n = len(clean)
    if not n or n != len(corrupted):
        raise UsageError(
            f"there are {n} clean and {len(corrupted)} corrupted texts; give as many of both, at least one pair"
        )
    targets = _each("target", target if isinstance(target, list) else [target] * n, n)
    places = _each("at", [at] * n if at is None or isinstance(at, int) else at, n)
    aligns = _each("align", align if align and not _is_place(align[0]) else [align] * n, n)
    sizes = []
    for number in range(n):
        try:
            sizes.append(len(aligned(clean[number], corrupted[number], aligns[number])))
        except UsageError as err:
            raise UsageError(f"pair {number}: {err}") from err
    if unit == "position" and len(set(sizes)) > 1:
        other = next(number for number in range(n) if sizes[number] != sizes[0])
        raise UsageError(
            f"pair 0 has {sizes[0]} positions and pair {other} has {sizes[other]}, so a position is not the same "
            "place in all pairs; give pairs of one length (of one template), or take heads (site='z', per='head'), or "
            "name the places with align=[[(clean position, corrupted position), ...], ...], as many for each pair"
        )
    sweeps: list[PatchSweep] = []
    left_out: list[LeftOutPair] = []
    for number in range(n):
        try:
            sweep = patch(
                handle,
                clean[number],
                corrupted[number],
                site=site,
                per=per,
                direction=direction,
                metric=metric,
                target=targets[number],
                at=places[number],
                layers=layers,
                align=aligns[number],
                # What the first pair has shown of the model holds for all.
                late=sweeps[0].late if sweeps else late,
                prove=not sweeps,
                progress=f"patch pair {number + 1} of {n}",
            )
        except (SameAnswerError, NoDifferenceError) as err:
            left_out.append(
                LeftOutPair(
                    pair=number,
                    clean_text=clean[number].text,
                    corrupted_text=corrupted[number].text,
                    why="same_answer" if isinstance(err, SameAnswerError) else "no_difference",
                )
            )
        except UsageError as err:
            raise UsageError(f"pair {number}: {err}") from err
        else:
            sweeps.append(sweep)
    if not sweeps:
        same = sum(pair.why == "same_answer" for pair in left_out)
        raise InconclusiveError(
            f"none of {n} pairs has a difference to trace: both texts are answered alike in {same} of them, and give "
            f"the same {metric} in {n - same}; give texts with different answers, or name a target="
        )
    return PatchSweeps.of(sweeps, left_out, average=average, n_bootstrap=n_bootstrap, seed=seed)


def _is_place(given: object) -> bool:
    """Whether this is one pair of positions, and not a list of them."""
    return isinstance(given, Sequence) and len(given) == 2 and all(isinstance(one, int) for one in given)


def _each(name: str, given: Any, n: int) -> list[Any]:
    listed = list(given)
    if len(listed) != n:
        raise UsageError(f"{name} has {len(listed)} entries for {n} pairs; give one for all pairs, or one for each")
    return listed
