"""What became of an output when activations of another run, or none, stood at one place of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from interpret.results.explanations import FloatArray, IntArray, TargetRecord
from interpret.results.record import HoldsArrays, Record

if TYPE_CHECKING:
    import pandas as pd

#: What is read off the output: logits of the target, its share or the log of that, or KL from the clean output in nats.
EffectMetric = Literal["logit_difference", "logit", "probability", "log_probability", "kl"]
#: Clean activations into the corrupted run (what suffices to restore the answer), or the other way round (what is
#: needed for it).
Direction = Literal["denoising", "noising"]
Operator = Literal["zero", "mean", "resample"]
#: Who writes into the stream; "norm_bias" is what the norms add, "constant" the head's logit where it reads nothing.
PartKind = Literal["embed", "attention", "attention_bias", "mlp", "norm_bias", "constant"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class PatchSweep(HoldsArrays, Record):
    """Activation patching of one pair of texts, one place of the model at a time.

    `values` [layer, column] is the metric of the run in which the activations of the other run stand at this layer and
    column (a token's position, or a head); `whole` [layer] where they stand at all of them. `clean` and `corrupted`
    are the metric of the two plain runs. `positions` pairs the positions of both texts. `late` says that each run
    began at its patched layer. A patch shows what suffices (denoising) or is needed (noising) for this pair of texts;
    where parts stand in for each other, neither shows all of them.
    """

    site: str
    per: Literal["position", "head"]
    direction: Direction
    metric: EffectMetric
    layers: tuple[int, ...]
    columns: tuple[str, ...]
    values: FloatArray
    whole: FloatArray
    clean: float
    corrupted: float
    target: TargetRecord
    clean_text: str
    corrupted_text: str
    positions: tuple[tuple[int, int], ...]
    model: str
    late: bool

    def __post_init__(self) -> None:
        shape = (len(self.layers), len(self.columns))
        if self.values.shape != shape or self.whole.shape != shape[:1]:
            raise ValueError(f"values have shape {self.values.shape} and whole {self.whole.shape}, expected {shape}")

    @property
    def effects(self) -> FloatArray:
        """`values` as shares of the way from the run that is patched (0) to the run the patch is from (1)."""
        return self._share(self.values)

    @property
    def whole_effects(self) -> FloatArray:
        """The same of `whole`."""
        return self._share(self.whole)

    def _share(self, values: FloatArray) -> FloatArray:
        ends = (self.corrupted, self.clean) if self.direction == "denoising" else (self.clean, self.corrupted)
        return np.asarray((values - ends[0]) / (ends[1] - ends[0]))

    def to_frame(self) -> pd.DataFrame:
        """Columns: site, layer, position (or head), token (empty of heads), value, effect; a row for each patch."""
        import pandas as pd

        layer, column = np.indices(self.values.shape).reshape(2, -1)
        return pd.DataFrame(
            {
                "site": self.site,
                "layer": np.array(self.layers)[layer],
                self.per: self.numbers[column],
                "token": [self.columns[c] if self.per == "position" else "" for c in column],
                "value": self.values.ravel(),
                "effect": self.effects.ravel(),
            }
        )

    def plot(self) -> Any:
        """A matplotlib `Figure` of the effects over layers and places."""
        from interpret.results.intervention_views import patch_grid
        from interpret.results.svg import plot_figure

        return plot_figure(patch_grid(self)[0])

    @property
    def numbers(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """What each column is: the position in the text that is patched, or the head."""
        if self.per == "head":
            return np.arange(len(self.columns))
        return np.array([pair[self.direction == "denoising"] for pair in self.positions], dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class AblatedPart:
    """One part that was taken out: `head` is None where it is the mlp of the layer.

    `effect` is the mean over texts, with its 95% bootstrap interval over texts (None below 5 texts).
    """

    part: Literal["head", "mlp"]
    layer: int
    head: int | None
    effect: float
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class AblationSweep(HoldsArrays, Record):
    """What an output loses without each head or mlp, one at a time.

    `effects` [text, part] are the metric of the plain run minus that without the part (of "kl" the divergence of the
    output without the part from the plain one, in nats); positive: the part speaks for the target. `plain` [text] is
    the metric of the plain run. `operator` says what stands in the part's place at every position: zero, its mean over
    the tokens of `n_reference` texts, or tokens drawn from them (`n_draws` times). Others are as they are: parts that
    stand in for each other show little effect one by one.
    """

    parts: tuple[AblatedPart, ...]
    effects: FloatArray
    plain: FloatArray
    operator: Operator
    metric: EffectMetric
    targets: tuple[TargetRecord, ...]
    n_reference: int
    n_draws: int
    n_bootstrap: int
    n_truncated: int
    seed: int
    model: str
    late: bool

    def __post_init__(self) -> None:
        shape = (len(self.targets), len(self.parts))
        if self.effects.shape != shape or self.plain.shape != shape[:1]:
            raise ValueError(f"effects have shape {self.effects.shape}, expected {shape} for texts and parts")

    @property
    def heads(self) -> FloatArray:
        """Mean effects of the heads, [layer, head], of the layers that were swept; empty without heads."""
        layers = sorted({part.layer for part in self.parts if part.part == "head"})
        found = [[part.effect for part in self.parts if part.head is not None and part.layer == n] for n in layers]
        return np.array(found, dtype=np.float64) if found else np.zeros((0, 0))

    def to_frame(self) -> pd.DataFrame:
        """Columns: part, layer, head (missing of mlps), effect, ci_low, ci_high, n."""
        import pandas as pd

        columns = ["part", "layer", "head", "effect", "ci_low", "ci_high"]
        frame = pd.DataFrame([[getattr(part, name) for name in columns] for part in self.parts], columns=columns)
        numbers = ["effect", "ci_low", "ci_high"]
        return frame.astype({"head": "Int64", **dict.fromkeys(numbers, "float64")}).assign(n=len(self.targets))


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class LensReading(HoldsArrays, Record):
    """The logit lens: what the model's own head says of the stream after each layer, at each position of one text.

    All arrays are [layer, position]: `kl` of the final output at the position from this one, `entropy` of this one,
    `log_probability` of the target (nats), and its `rank` (0: said first); `top` are the first entries in words.
    `layers` begin with "embed", what enters the first block. `targets` stand for each position: what is finally said
    there unless one was `given`. `read` is the position that the model reads its answer at, None where it answers at
    every position; at other positions of a classifier the reading says what its head would say, had it been given that
    position. The head was made for the last layer: of an early layer a blurred reading does not show that the answer
    is not there, and a clear one is not shown to be used.
    """

    layers: tuple[str, ...]
    tokens: tuple[str, ...]
    kl: FloatArray
    entropy: FloatArray
    log_probability: FloatArray
    rank: IntArray
    top: tuple[tuple[str, ...], ...]
    targets: tuple[str, ...]
    given: bool
    read: int | None
    text: str
    n_truncated: int
    model: str

    def __post_init__(self) -> None:
        shape = (len(self.layers), len(self.tokens))
        for name in ("kl", "entropy", "log_probability", "rank"):
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, expected {shape}")

    def to_frame(self) -> pd.DataFrame:
        """Columns: layer, position, token, top, target, rank, log_probability, kl, entropy; all in nats."""
        import pandas as pd

        layer, position = np.indices(self.kl.shape).reshape(2, -1)
        return pd.DataFrame(
            {
                "layer": [self.layers[n] for n in layer],
                "position": position,
                "token": [self.tokens[n] for n in position],
                "top": [name for row in self.top for name in row],
                "target": [self.targets[n] for n in position],
                "rank": self.rank.ravel(),
                "log_probability": self.log_probability.ravel(),
                "kl": self.kl.ravel(),
                "entropy": self.entropy.ravel(),
            }
        )


@dataclass(frozen=True, kw_only=True)
class LogitPart:
    """What one part adds to the logit; `head` is None where attention is not split by heads."""

    kind: PartKind
    layer: int | None
    head: int | None
    value: float


@dataclass(frozen=True, kw_only=True, repr=False)
class LogitParts(Record):
    """Direct logit attribution of one text: `logit` = sum of `parts` + `remainder`, in logits.

    Norms are held as they are in this run. `linear`: the head reads the stream linearly and the remainder is rounding;
    else the parts sum to the gradient of the logit times the stream, and the remainder is what the head's curve leaves.
    It counts only what a part writes for the head itself to read, at `position`: what it does through later layers is
    counted as theirs.
    """

    parts: tuple[LogitPart, ...]
    logit: float
    remainder: float
    linear: bool
    target: TargetRecord
    text: str
    token: str
    position: int
    n_truncated: int
    model: str

    def to_frame(self) -> pd.DataFrame:
        """Columns: part, layer (missing where there is none), head (likewise), value; the remainder is the last row."""
        import pandas as pd

        rows = [(part.kind, part.layer, part.head, part.value) for part in self.parts]
        frame = pd.DataFrame(
            [*rows, ("remainder", None, None, self.remainder)], columns=["part", "layer", "head", "value"]
        )
        return frame.astype({"layer": "Int64", "head": "Int64"})
