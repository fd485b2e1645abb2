"""What became of an output when activations of another run, or none, stood at one place of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from interpret.results.explanations import FloatArray, TargetRecord
from interpret.results.record import Record

if TYPE_CHECKING:
    import pandas as pd

#: What is read off the output: logits of the target, its share or the log of that, or KL from the clean output in nats.
EffectMetric = Literal["logit_difference", "logit", "probability", "log_probability", "kl"]
#: Clean activations into the corrupted run (what suffices to restore the answer), or the other way round (what is
#: needed for it).
Direction = Literal["denoising", "noising"]
Operator = Literal["zero", "mean", "resample"]


@dataclass(frozen=True, kw_only=True, repr=False)
class PatchSweep(Record):
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
                self.per: self._numbers()[column],
                "token": [self.columns[c] if self.per == "position" else "" for c in column],
                "value": self.values.ravel(),
                "effect": self.effects.ravel(),
            }
        )

    def _numbers(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """What each column is: the position in the text that is patched, or the head."""
        if self.per == "head":
            return np.arange(len(self.columns))
        return np.array([pair[self.direction == "denoising"] for pair in self.positions], dtype=np.int64)
