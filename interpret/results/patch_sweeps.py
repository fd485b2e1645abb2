"""Activation patching over several pairs of texts: the sweeps of each, and what they say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self, get_args

import numpy as np

from interpret.errors import UsageError
from interpret.results.explanations import FloatArray
from interpret.results.interventions import Direction, EffectMetric, PatchSweep
from interpret.results.record import HoldsArrays, Record
from interpret.statistics.intervals import MIN_BOOTSTRAP, bootstrap_ratios, resamples

if TYPE_CHECKING:
    import pandas as pd

#: How the shares of pairs become one number, see `PatchSweeps`.
Average = Literal["ratio_of_means", "mean_of_shares"]
#: Both texts are answered alike; or they give the same number, so that there is no difference to trace.
LeftOutReason = Literal["same_answer", "no_difference"]
#: Resamples below which an interval would rest on a handful of them.
MIN_RESAMPLES: Final = 100


@dataclass(frozen=True, kw_only=True)
class LeftOutPair:
    """A pair without a difference to trace; `pair` is its number in what was given, from 0."""

    pair: int
    clean_text: str
    corrupted_text: str
    why: LeftOutReason


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class PatchSweeps(HoldsArrays, Record):
    """Activation patching of several pairs of texts, and its effects over all of them.

    `sweeps` are those of the pairs one by one, `left_out` the pairs without a difference. `effects` [layer, column]
    are shares of the way from the run that is patched (0) to the run the patch is from (1), `whole_effects` [layer]
    those of all columns of a layer at once. `average` says how pairs are put together:

    - "ratio_of_means", the default: the change that patches make, summed over pairs, as a share of the summed
      difference of their two runs. A pair counts by the size of its own difference (which counts as positive whichever
      run is higher), so that one whose two runs hardly differ, whose own share is rounding over next to nothing,
      cannot outweigh all others. Wang et al. 2022, arXiv 2211.00593, compare means of logit differences likewise.
    - "mean_of_shares": the mean of each pair's own share, in which all pairs count alike and a tiny difference is
      blown up.

    `ci_low` and `ci_high` (and `whole_ci_low`, `whole_ci_high`) are 95% bootstrap intervals over pairs, None below 5
    pairs, of each place by itself. A small mean may stand for pairs that differ: the sweeps show each.
    """

    sweeps: tuple[PatchSweep, ...]
    left_out: tuple[LeftOutPair, ...]
    average: Average
    effects: FloatArray
    ci_low: FloatArray | None
    ci_high: FloatArray | None
    whole_effects: FloatArray
    whole_ci_low: FloatArray | None
    whole_ci_high: FloatArray | None
    n_bootstrap: int
    seed: int

    def __post_init__(self) -> None:
        if not self.sweeps:
            raise ValueError("there is no sweep")
        n_layers, n_columns = shape = self.sweeps[0].values.shape
        for name, wanted in (("effects", shape), ("ci_low", shape), ("ci_high", shape)):
            for field, size in ((name, wanted), (f"whole_{name}", (n_layers,))):
                found = getattr(self, field)
                if found is not None and found.shape != size:
                    raise ValueError(f"{field} has shape {found.shape}, expected {size}")
        if any(sweep.values.shape != (n_layers, n_columns) for sweep in self.sweeps):
            raise ValueError("the sweeps have different shapes")

    @classmethod
    def of(
        cls,
        sweeps: Sequence[PatchSweep],
        left_out: Sequence[LeftOutPair] = (),
        *,
        average: Average = "ratio_of_means",
        n_bootstrap: int = 1000,
        seed: int = 0,
    ) -> Self:
        """Put sweeps of the same layers and columns together.

        Args:
            sweeps: one per pair, at least one.
            left_out: pairs that gave none.
            average: see the class.
            n_bootstrap: resamples of the pairs.
            seed: of the resamples.

        Raises:
            UsageError: an unknown `average`, or too few resamples.
        """
        check_average(average, n_bootstrap)
        shares = np.stack([np.column_stack([sweep.effects, sweep.whole_effects]) for sweep in sweeps])
        n = len(shares)
        weights = np.ones(n)
        if average == "ratio_of_means":
            weights = np.array([abs(sweep.clean - sweep.corrupted) for sweep in sweeps])
        numerators = shares.reshape(n, -1) * weights[:, None]
        parts: list[FloatArray | None] = [numerators.sum(axis=0) / weights.sum(), None, None]
        if n >= MIN_BOOTSTRAP:
            parts = list(bootstrap_ratios(numerators, weights, resamples(n, n_bootstrap, (seed, 17))))
        cells = [None if part is None else part.reshape(shares.shape[1:]) for part in parts]
        inner = [None if cell is None else cell[:, :-1].copy() for cell in cells]
        whole = [None if cell is None else cell[:, -1].copy() for cell in cells]
        assert inner[0] is not None
        assert whole[0] is not None
        return cls(
            sweeps=tuple(sweeps),
            left_out=tuple(left_out),
            average=average,
            effects=inner[0],
            ci_low=inner[1],
            ci_high=inner[2],
            whole_effects=whole[0],
            whole_ci_low=whole[1],
            whole_ci_high=whole[2],
            n_bootstrap=n_bootstrap,
            seed=seed,
        )

    def averaged(self, average: Average) -> PatchSweeps:
        """The same sweeps put together otherwise, without another run of the model."""
        return self.of(self.sweeps, self.left_out, average=average, n_bootstrap=self.n_bootstrap, seed=self.seed)

    @property
    def site(self) -> str:
        return self.sweeps[0].site

    @property
    def per(self) -> Literal["position", "head"]:
        return self.sweeps[0].per

    @property
    def direction(self) -> Direction:
        return self.sweeps[0].direction

    @property
    def metric(self) -> EffectMetric:
        return self.sweeps[0].metric

    @property
    def layers(self) -> tuple[int, ...]:
        return self.sweeps[0].layers

    @property
    def model(self) -> str:
        return self.sweeps[0].model

    @property
    def columns(self) -> tuple[str, ...]:
        """The head, or the token that all patched texts have there; empty where they have different ones."""
        found = zip(*(sweep.columns for sweep in self.sweeps), strict=True)
        return tuple(names[0] if len(set(names)) == 1 else "" for names in found)

    @property
    def same_positions(self) -> bool:
        """Whether a column is the same position in all patched texts; else columns are the places of `align`."""
        return len({tuple(sweep.numbers.tolist()) for sweep in self.sweeps}) == 1

    @property
    def numbers(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """What each column is: the position in the patched texts (or the number of the place in `align`), or head."""
        return self.sweeps[0].numbers if self.same_positions else np.arange(self.effects.shape[1])

    @property
    def n_reversed(self) -> int:
        """Pairs whose clean run is on the other side of the corrupted one than that of most pairs."""
        higher = sum(sweep.clean > sweep.corrupted for sweep in self.sweeps)
        return min(higher, len(self.sweeps) - higher)

    def to_frame(self) -> pd.DataFrame:
        """Columns: site, layer, position (or head), effect, ci_low, ci_high, n (pairs); a row for each place."""
        import pandas as pd

        layer, column = np.indices(self.effects.shape).reshape(2, -1)
        empty = np.full(self.effects.size, np.nan)
        return pd.DataFrame(
            {
                "site": self.site,
                "layer": np.array(self.layers)[layer],
                self.per: self.numbers[column],
                "effect": self.effects.ravel(),
                "ci_low": empty if self.ci_low is None else self.ci_low.ravel(),
                "ci_high": empty if self.ci_high is None else self.ci_high.ravel(),
                "n": len(self.sweeps),
            }
        )

    def plot(self) -> Any:
        """A matplotlib `Figure` of the effects over layers and places."""
        from interpret.results.patch_sweeps_views import effects_grid
        from interpret.results.svg import plot_figure

        return plot_figure(effects_grid(self)[0])


def check_average(average: str, n_bootstrap: int) -> None:
    """Refuse what effects cannot be averaged by.

    Raises:
        UsageError: an unknown name, or too few resamples.
    """
    if average not in get_args(Average):
        raise UsageError(f"there is no average {average!r}; there are {', '.join(get_args(Average))}")
    if n_bootstrap < MIN_RESAMPLES:
        raise UsageError(
            f"n_bootstrap={n_bootstrap} is too few resamples for an interval; give {MIN_RESAMPLES} or more"
        )
