"""The calibration error of many resamples at once is that of each resample."""

from __future__ import annotations

import numpy as np
import pytest

from interpret.statistics.calibration import expected_calibration_error, resampled_calibration_errors


@pytest.mark.parametrize("digits", [1, 2, 9])
@pytest.mark.parametrize("n", [7, 53, 200])
def test_resamples_at_once_are_resamples_one_by_one(n: int, digits: int) -> None:
    rng = np.random.default_rng([n, digits])
    confidence = np.round(0.5 + 0.5 * rng.random(n), digits)
    correct = (rng.random(n) < 0.8).astype(float)
    drawn = rng.integers(0, n, size=(40, n))
    counts = np.stack([np.bincount(row, minlength=n) for row in drawn])
    expected = [expected_calibration_error(confidence[row], correct[row]) for row in drawn]
    assert resampled_calibration_errors(confidence, correct, counts) == pytest.approx(expected, abs=1e-12)


def test_a_closed_form() -> None:
    # Two levels of confidence, each a bin of its own: half the mass is off by 0.1, half by 0.3.
    confidence = np.repeat([0.6, 0.8], 10)
    correct = np.repeat([1.0, 0.0, 1.0, 0.0], [7, 3, 5, 5])
    errors = resampled_calibration_errors(confidence, correct, np.ones((1, 20), dtype=np.int64), n_bins=2)
    assert errors == pytest.approx([0.5 * 0.1 + 0.5 * 0.3])
