"""What the answer loses without a head: measured by taking it out, which its attention pattern cannot say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from interpret.analyzers.intervention import head_effects
from interpret.analyzers.target import Target, resolve_targets
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.results.attention import HeadAblation
from interpret.statistics.intervals import bootstrap, resamples

FloatArray = npt.NDArray[np.float64]


def ablation_effects(
    handle: Handle, encoded: Sequence[Encoded], targets: Sequence[Target] | None = None, *, progress: bool = False
) -> FloatArray:
    """The explained scalar as it is minus that without one head, [layer, head, example], in logits.

    A head is taken out by putting the mean of its output ("z", over all real tokens of these texts) in its place at
    every position, so that it says the same of every text. This measures what the head does in this model on these
    texts, other heads being as they are; it does not say what the model would have learned without it, and heads that
    stand in for each other show little effect one by one.

    Args:
        handle: the attached model.
        encoded: the texts.
        targets: the scalar of each text; None explains the predicted class or token.
        progress: show a bar on a terminal.

    Raises:
        UnknownSiteError: the outputs of this model's heads cannot be reached.

    Reference: Michel et al. 2019, arXiv 1905.10650, section 2.2, who put zero there; the mean is kinder, since zero
    may be a value that the model never sees (Wang et al. 2022, arXiv 2211.00593, section 3.1).

    """
    wanted = list(resolve_targets(handle, encoded) if targets is None else targets)
    return head_effects(handle, encoded, wanted, progress=progress)


def head_ablations(effects: FloatArray, *, seed: int, n_bootstrap: int) -> tuple[HeadAblation, ...]:
    """The mean over examples with its interval for every head; effects are [layer, head, example]."""
    draws = resamples(effects.shape[-1], n_bootstrap, (seed, 101))
    found = []
    for layer, head in np.ndindex(effects.shape[:2]):
        mean, low, high = bootstrap(effects[layer, head], draws)
        found.append(HeadAblation(layer=layer, head=head, effect=mean, ci_low=low, ci_high=high))
    return tuple(found)
