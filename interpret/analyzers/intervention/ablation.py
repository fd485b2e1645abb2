"""What an answer loses without a head or an mlp, one at a time, over many texts.

References: Michel et al. 2019, arXiv 1905.10650, section 2.2 (zero); Wang et al. 2022, arXiv 2211.00593, section 3.1
(mean); Chan et al. 2022, causal scrubbing (resampling).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from interpret.analyzers.intervention.metrics import check_metric, measure, place_of, require
from interpret.analyzers.intervention.swapping import Bench, Swap, captured, lines_of, row_of, swappable
from interpret.analyzers.target import Target, TargetRequest, resolve_targets
from interpret.capture.points import Key
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.models.readout import readouts
from interpret.results.explanations import FloatArray
from interpret.results.interventions import AblatedPart, AblationSweep, EffectMetric, Operator
from interpret.statistics.intervals import MIN_BOOTSTRAP, bootstrap, resamples

Part = Literal["head", "mlp"]
_SITES: Final[dict[Part, str]] = {"head": "z", "mlp": "mlp_out"}
#: Tokens that are kept to draw from.
_POOL: Final = 2048


def ablate(
    handle: Handle,
    encoded: Sequence[Encoded],
    *,
    parts: Sequence[Part] = ("head", "mlp"),
    operator: Operator = "mean",
    metric: EffectMetric | None = None,
    target: TargetRequest = None,
    gold: Sequence[int | str] | None = None,
    at: int | Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
    reference: Sequence[Encoded] | None = None,
    n_draws: int = 3,
    n_bootstrap: int = 1000,
    seed: int = 0,
    late: bool = True,
) -> AblationSweep:
    """The metric as it is minus that without each part.

    Args:
        handle: a model with one stack, and logits at one place.
        encoded: the texts.
        parts: "head" (z of one head), "mlp" (mlp_out of a layer), or both.
        operator: what stands in the part's place at every position: "zero", its "mean" over the tokens of the
            reference, or tokens drawn from it ("resample").
        metric: None takes the logit of the target, of a pair the difference.
        target: as for `resolve_targets`.
        gold: labels, for `target="gold"`.
        at: which word or mask is read, counted from 0.
        layers: only these.
        reference: texts that means and draws come from; None takes the texts themselves.
        n_draws: how often "resample" draws; effects are means over draws.
        n_bootstrap: resamples of the texts.
        seed: of draws and resamples.
        late: begin each run at its layer where the model allows it.

    Raises:
        UsageError: no text, or an unfit model, part, operator, metric or target.
    """
    require(handle, "ablation")
    if not encoded:
        raise UsageError("there is no text to ablate on; give at least one")
    _check(parts, operator, n_draws)
    keys = {part: swappable(handle, _SITES[part], layers) for part in dict.fromkeys(parts)}
    targets = resolve_targets(handle, encoded, target, gold, at=at)
    metric = metric or ("logit" if targets[0].foil_index is None else "logit_difference")
    for found in targets:
        check_metric(handle, metric, found)
    swaps = [swap for part in keys for key in keys[part] for swap in _swaps(handle, part, key)]
    source = _Source(handle, [key for part in keys for key in keys[part]], operator, seed)
    source.read(encoded if reference is None else reference)
    effects, plain = np.zeros((len(encoded), len(swaps))), np.zeros(len(encoded))
    begins = late
    for number, (text, wanted) in enumerate(zip(encoded, targets, strict=True)):
        row, place = row_of(text), place_of(handle, wanted, len(text.ids))
        own = lines_of(handle, row, place)
        plain[number] = measure(handle, metric, wanted, own[None], own)[0]
        bench = Bench.of(handle, row, place, late=begins, prove=number == 0)
        begins = bench.stream is not None
        draws = n_draws if operator == "resample" else 1
        for draw in range(draws):
            lines = bench.run(swaps, source.others(len(row.ids), (number, draw)))
            without = measure(handle, metric, wanted, lines, own)
            effects[number] += (without if metric == "kl" else plain[number] - without) / draws
    return AblationSweep(
        parts=_rows(swaps, effects, n_bootstrap, seed),
        effects=effects,
        plain=plain,
        operator=operator,
        metric=metric,
        targets=tuple(t.record(handle, e) for t, e in zip(targets, encoded, strict=True)),
        n_reference=0 if operator == "zero" else len(encoded if reference is None else reference),
        n_draws=n_draws if operator == "resample" else 1,
        n_bootstrap=n_bootstrap,
        n_truncated=sum(text.n_truncated for text in encoded),
        seed=seed,
        model=handle.name,
        late=begins,
    )


def head_effects(
    handle: Handle,
    encoded: Sequence[Encoded],
    targets: Sequence[Target],
    *,
    late: bool = True,
    progress: bool = False,
) -> FloatArray:
    """The scalar of each target as it is minus that with the mean of one head in its place, [layer, head, text].

    Every kind of target is served, and so are span models, as long as the model has one stack.

    Args:
        handle: the model.
        encoded: the texts, over whose tokens the means are.
        targets: the scalar of each.
        late: begin each run at its layer where the model allows it.
        progress: show a bar on a terminal.

    Raises:
        UnknownSiteError: the outputs of this model's heads cannot be reached.
    """
    keys = swappable(handle, "z", None)
    swaps = [swap for key in keys for swap in _swaps(handle, "head", key)]
    source = _Source(handle, keys, "mean", 0)
    source.read(encoded)
    rows = [target.complete(handle, row_of(text)) for target, text in zip(targets, encoded, strict=True)]
    plain = readouts(handle, rows, [target.readout for target in targets])[:, 0]
    effects, begins = np.zeros((len(rows), len(swaps))), late
    for number, (row, target) in enumerate(zip(rows, targets, strict=True)):
        bench = Bench.of(handle, row, None, late=begins, prove=number == 0)
        begins = bench.stream is not None
        label = f"heads, text {number + 1} of {len(rows)}" if progress else None
        without = bench.run(swaps, source.others(len(row.ids), ()), readout=target.readout, progress=label)
        effects[number] = plain[number] - without[:, 0]
    return effects.reshape(len(rows), len(keys), -1).transpose(1, 2, 0).copy()


def _check(parts: Sequence[str], operator: str, n_draws: int) -> None:
    if isinstance(parts, str) or not parts or set(parts) - set(_SITES):
        raise UsageError(f"parts={parts!r} is not known; give a list of {', '.join(map(repr, _SITES))}")
    if operator not in get_args(Operator):
        raise UsageError(f"there is no operator {operator!r}; there are {', '.join(get_args(Operator))}")
    if n_draws < 1:
        raise UsageError(f"n_draws={n_draws} must be 1 or more: it is how often tokens are drawn")


def _swaps(handle: Handle, part: Part, key: Key) -> list[Swap]:
    site, layer = key
    assert layer is not None
    if part == "mlp":
        return [Swap(site, layer)]
    return [Swap(site, layer, None, (head,)) for head in range(handle.n_heads)]


def _rows(swaps: Sequence[Swap], effects: FloatArray, n_bootstrap: int, seed: int) -> tuple[AblatedPart, ...]:
    n = len(effects)
    draws = resamples(n, n_bootstrap, (seed, 7)) if n >= MIN_BOOTSTRAP else None
    found = []
    for column, swap in enumerate(swaps):
        own = effects[:, column].copy()
        interval = None if draws is None else bootstrap(own, draws)
        found.append(
            AblatedPart(
                part="mlp" if swap.heads is None else "head",
                layer=swap.layer,
                head=None if swap.heads is None else swap.heads[0],
                effect=float(own.mean()),
                ci_low=None if interval is None else interval.low,
                ci_high=None if interval is None else interval.high,
            )
        )
    return tuple(found)


class _Source:
    """What stands in the place of parts: zero, a mean over tokens, or tokens that were drawn."""

    def __init__(self, handle: Handle, keys: Sequence[Key], operator: Operator, seed: int) -> None:
        self.handle, self.keys, self.operator, self.seed = handle, list(keys), operator, seed
        self.values: dict[Key, Tensor] = {}

    def read(self, texts: Sequence[Encoded]) -> None:
        """Take from the reference what the operator needs, one text at a time."""
        if not texts:
            raise UsageError("the reference holds no text; give at least one, or leave out reference=")
        if self.operator == "zero":
            first = captured(self.handle, row_of(texts[0]), self.keys)
            self.values = {key: torch.zeros_like(value[:1]) for key, value in first.items()}
            return
        n_tokens = sum(len(text.ids) for text in texts)
        kept = np.arange(n_tokens)
        if self.operator == "resample" and n_tokens > _POOL:
            kept = np.sort(np.random.default_rng((self.seed, 11)).choice(n_tokens, _POOL, replace=False))
        parts: dict[Key, list[Tensor]] = {key: [] for key in self.keys}
        start = 0
        for text in texts:
            row = row_of(text)
            own = kept[(kept >= start) & (kept < start + len(row.ids))] - start
            start += len(row.ids)
            for key, value in captured(self.handle, row, self.keys).items():
                # Sums in double precision: the mean must not depend on how texts follow each other.
                parts[key].append(value.double().sum(0)[None] if self.operator == "mean" else value[own])
        for key, found in parts.items():
            value = torch.cat(found)
            self.values[key] = value.sum(0, keepdim=True) / n_tokens if self.operator == "mean" else value

    def others(self, n_positions: int, seed: tuple[int, ...]) -> dict[Key, Tensor]:
        """Values for a text of so many tokens: [position, ...] of each site."""
        found = {}
        drawn: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None
        for key, value in self.values.items():
            if self.operator != "resample":
                found[key] = value.expand(n_positions, *value.shape[1:])
                continue
            if drawn is None:
                drawn = np.random.default_rng((self.seed, 13, *seed)).integers(0, len(value), n_positions)
            found[key] = value[drawn]
        return found
