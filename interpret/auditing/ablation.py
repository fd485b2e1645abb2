"""What the answer loses without a head: measured by taking it out, which its attention pattern cannot say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from interpret.analyzers.target import Target, resolve_targets
from interpret.capture.capture import capture_texts, capturing
from interpret.capture.edits import Edit
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.models.readout import readouts
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
    rows = [target.complete(handle, Row(e.ids, e.type_ids)) for target, e in zip(wanted, encoded, strict=True)]
    scalars = [target.readout for target in wanted]
    plain = readouts(handle, rows, scalars)[:, 0]
    effects = np.zeros((handle.n_layers, handle.n_heads, len(encoded)))
    for layer in range(handle.n_layers):
        site = f"z.{layer}"
        # One layer at a time: of long texts the outputs of all layers would not fit into memory together.
        outputs = capture_texts(handle, encoded, [site])
        for head in range(handle.n_heads):
            with capturing(handle, edits=[Edit.mean(site, outputs, heads=[head])]):
                without = readouts(handle, rows, scalars, progress=f"heads of layer {layer}" if progress else None)
            effects[layer, head] = plain - without[:, 0]
    return effects


def head_ablations(effects: FloatArray, *, seed: int, n_bootstrap: int) -> tuple[HeadAblation, ...]:
    """The mean over examples with its interval for every head; effects are [layer, head, example]."""
    draws = resamples(effects.shape[-1], n_bootstrap, (seed, 101))
    found = []
    for layer, head in np.ndindex(effects.shape[:2]):
        mean, low, high = bootstrap(effects[layer, head], draws)
        found.append(HeadAblation(layer=layer, head=head, effect=mean, ci_low=low, ci_high=high))
    return tuple(found)
