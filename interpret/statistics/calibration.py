"""How far stated confidence and accuracy lie apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def expected_calibration_error(confidence: FloatArray, correct: FloatArray, n_bins: int = 10) -> float:
    """Mean |accuracy - confidence| over about equal-mass bins, weighted by size; equal confidences share a bin.

    It is above 0 by chance even for a perfectly calibrated model, the more so the smaller the sample.

    Reference: Guo et al. 2017, arXiv 1706.04599, equation 5, with quantile bins.
    """
    order = np.argsort(confidence, kind="stable")
    sorted_confidence = confidence[order]
    cuts = (np.arange(1, n_bins) * len(confidence)) // n_bins
    # A cut between equal confidences would make the figure depend on the order of the rows.
    cuts = np.unique(np.searchsorted(sorted_confidence, sorted_confidence[cuts]))
    gaps = [
        len(part) * abs(float(correct[part].mean()) - float(confidence[part].mean()))
        for part in np.split(order, cuts)
        if len(part)
    ]
    return float(sum(gaps) / len(confidence))
