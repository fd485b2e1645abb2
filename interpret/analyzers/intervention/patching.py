"""Activation patching: what one place of the model carries of the difference between two texts.

References: Vig et al. 2020, arXiv 2004.12265; Meng et al. 2022, arXiv 2202.05262; on directions and metrics Zhang and
Nanda 2024, arXiv 2309.16042, and Heimersheim and Nanda 2024, arXiv 2404.15255.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from torch import Tensor

from interpret.analyzers.intervention.metrics import check_metric, measure, place_of, require
from interpret.analyzers.intervention.swapping import Bench, Swap, captured, head_axis, lines_of, row_of, swappable
from interpret.analyzers.target import Target, TargetRequest, resolve_targets
from interpret.capture.points import Key, axes_of_model
from interpret.errors import InconclusiveError, UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.results.interventions import Direction, EffectMetric, PatchSweep

#: Of the metric's size: two runs that differ by less have no difference to explain.
_SAME = 1e-6


class SameAnswerError(UsageError):
    """Both texts of a pair are answered alike, and no target was named."""


class NoDifferenceError(InconclusiveError):
    """Both texts of a pair give the same number."""


def patch(
    handle: Handle,
    clean: Encoded,
    corrupted: Encoded,
    *,
    site: str = "resid_post",
    per: Literal["position", "head"] | None = None,
    direction: Direction = "denoising",
    metric: EffectMetric = "logit_difference",
    target: TargetRequest = None,
    at: int | None = None,
    layers: Sequence[int] | None = None,
    align: Sequence[tuple[int, int]] | None = None,
    late: bool = True,
    prove: bool = True,
    progress: str = "patch",
) -> PatchSweep:
    """Put the activations of one run into the other, at each layer and each position or head in turn.

    Args:
        handle: a model with one stack, and logits at one place.
        clean: the text with the answer that is explained.
        corrupted: the same text with another answer.
        site: any site with layers and positions.
        per: what one patch covers: a position (all of the site there), or a head at all positions; None takes heads of
            z, q, k and v, else positions.
        direction: "denoising" patches clean activations into the corrupted run, "noising" the other way round.
        metric: what is read; "kl" is KL(clean run || patched run) in nats.
        target: as for `resolve_targets`; None takes the clean prediction rather than the corrupted one.
        at: which word or mask is read, counted from 0.
        layers: only these.
        align: pairs (position in the clean text, position in the corrupted text); None takes both as they stand.
        late: begin each run at its patched layer where the model allows it.
        prove: False where that has just been proven on another text.
        progress: label of the progress bar.

    Raises:
        UsageError: texts of different lengths without `align`, or an unfit model, site, metric or target.
        InconclusiveError: both runs give the same.
    """
    keys, per = planned(handle, site, per, direction, metric, layers)
    pairs = aligned(clean, corrupted, align)
    targets = _targets(handle, (clean, corrupted), metric, target, at)
    places = [place_of(handle, t, len(e.ids)) for t, e in zip(targets, (clean, corrupted), strict=True)]
    rows = [row_of(clean), row_of(corrupted)]
    plain = [lines_of(handle, row, place) for row, place in zip(rows, places, strict=True)]
    ends = measure(handle, metric, targets[0], np.stack(plain), plain[0])
    if abs(ends[0] - ends[1]) <= _SAME * max(1.0, float(np.abs(ends).max())):
        raise NoDifferenceError(
            f"the clean and the corrupted text give the same {metric} ({ends[0]:.6g}), so there is no difference to "
            "trace; give texts with different answers, or name another target="
        )
    into, from_ = (1, 0) if direction == "denoising" else (0, 1)
    others = _moved(handle, keys, captured(handle, rows[from_], keys), pairs, into, len(rows[into].ids))
    covered = tuple(sorted(pair[into] for pair in pairs))
    n_heads = others[keys[0]].shape[_head(handle, site)] if per == "head" else 0
    columns: list[tuple[tuple[int, ...], tuple[int, ...] | None]]
    columns = [(covered, (head,)) for head in range(n_heads)] if per == "head" else [((p[into],), None) for p in pairs]
    swaps = [
        Swap(site, layer, positions, heads)
        for _, layer in keys
        if layer is not None
        for positions, heads in [*columns, (covered, None)]
    ]
    bench = Bench.of(handle, rows[into], places[into], late=late, prove=prove)
    lines = bench.run(swaps, others, progress=progress)
    values = measure(handle, metric, targets[0], lines, plain[0]).reshape(len(keys), -1)
    shown = (clean, corrupted)[into].tokens
    return PatchSweep(
        site=site,
        per=per,
        direction=direction,
        metric=metric,
        layers=tuple(layer for _, layer in keys if layer is not None),
        columns=tuple(str(head) for head in range(n_heads)) or tuple(shown[pair[into]] for pair in pairs),
        values=values[:, :-1].copy(),
        whole=values[:, -1].copy(),
        clean=float(ends[0]),
        corrupted=float(ends[1]),
        target=targets[0].record(handle, clean),
        clean_text=clean.text,
        corrupted_text=corrupted.text,
        positions=tuple(pairs),
        model=handle.name,
        late=bench.stream is not None,
    )


def planned(
    handle: Handle,
    site: str,
    per: Literal["position", "head"] | None,
    direction: str,
    metric: str,
    layers: Sequence[int] | None,
) -> tuple[list[Key], Literal["position", "head"]]:
    """Where patches are put, and what one of them covers.

    Raises:
        UsageError: an unfit model, site, layer, direction or metric.
    """
    require(handle, "patching")
    check_metric(handle, metric)
    if direction not in get_args(Direction):
        raise UsageError(f"there is no direction {direction!r}; there are {', '.join(get_args(Direction))}")
    return swappable(handle, site, layers), _per(handle, site, per)


def _head(handle: Handle, site: str) -> int:
    """Axis of the heads in a tensor without the axis of examples."""
    axis = head_axis(handle, site)
    assert axis is not None
    return axis - 1


def _per(handle: Handle, site: str, per: str | None) -> Literal["position", "head"]:
    has_heads = head_axis(handle, site) is not None
    if per is None:
        return "head" if has_heads else "position"
    if per not in ("position", "head"):
        raise UsageError(f"per={per!r} is not known; patch one 'position' or one 'head' at a time")
    if per == "head" and not has_heads:
        raise UsageError(f"{site} has no heads; patch it with per='position', or patch z")
    return "head" if per == "head" else "position"


def aligned(clean: Encoded, corrupted: Encoded, align: Sequence[tuple[int, int]] | None) -> list[tuple[int, int]]:
    """Pairs of positions (in the clean text, in the corrupted one) that belong together.

    Raises:
        UsageError: texts of different lengths without `align`, or an `align` that does not fit them.
    """
    sizes = len(clean.ids), len(corrupted.ids)
    if clean.n_truncated or corrupted.n_truncated:
        raise UsageError(
            f"the texts have {clean.n_truncated} and {corrupted.n_truncated} tokens more than the model reads at once; "
            "patch shorter texts"
        )
    if align is None:
        if sizes[0] != sizes[1]:
            raise UsageError(
                f"the clean text has {sizes[0]} tokens and the corrupted one {sizes[1]}, so it is not known which "
                "belong together; give texts of the same length, or align=[(clean position, corrupted position), ...]"
            )
        return [(place, place) for place in range(sizes[0])]
    pairs = [(int(a), int(b)) for a, b in align]
    for a, b in pairs:
        if not (0 <= a < sizes[0] and 0 <= b < sizes[1]):
            raise UsageError(
                f"align names the positions ({a}, {b}), but the clean text has positions 0 to {sizes[0] - 1} and the "
                f"corrupted one 0 to {sizes[1] - 1}"
            )
    if not pairs or any(len({pair[side] for pair in pairs}) < len(pairs) for side in (0, 1)):
        raise UsageError("align must name at least one pair of positions, and no position twice")
    return pairs


def _targets(
    handle: Handle, encoded: tuple[Encoded, Encoded], metric: str, target: TargetRequest, at: int | None
) -> list[Target]:
    if target is None and metric == "logit_difference":
        found = resolve_targets(handle, encoded, at=at)
        index, foil = found[0].index, found[1].index
        if index == foil:
            raise SameAnswerError(
                f"both texts are answered with {found[0].record(handle).label!r}, so it is not clear what to hold the "
                "answer against; give target=(this, rather_than_that), or take another metric="
            )
        target = (index, foil)
    elif target is None:
        target = resolve_targets(handle, encoded[:1], at=at)[0].index
    targets = resolve_targets(handle, encoded, target, at=at)
    check_metric(handle, metric, targets[0])
    return targets


def _moved(
    handle: Handle,
    keys: Sequence[Key],
    source: dict[Key, Tensor],
    pairs: Sequence[tuple[int, int]],
    into: int,
    n_tokens: int,
) -> dict[Key, Tensor]:
    """The activations of one run at the positions of the other; zero where nothing belongs, which no patch covers."""
    found = {}
    for key in keys:
        axis = axes_of_model(handle, key[0]).index("position") - 1
        value = source[key].movedim(axis, 0)
        moved = value.new_zeros(n_tokens, *value.shape[1:])
        moved[[pair[into] for pair in pairs]] = value[[pair[1 - into] for pair in pairs]]
        found[key] = moved.movedim(0, axis)
    return found
