"""What shap is handed: our numbers, and nothing in a word that it would execute."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest

import interpret
from interpret.capture.proof import prove
from interpret.errors import UsageError
from interpret.facade import AttachedModel
from interpret.facade.bridges import to_shap
from interpret.results.explanations import Attribution
from tests.capture.support import attached
from tests.results.test_matrices import hostile_example
from tests.tiny import TEXTS


@pytest.fixture(scope="module")
def lm() -> AttachedModel:
    handle = attached("bert")
    return AttachedModel(handle, prove(handle))


@pytest.fixture(scope="module")
def explained(lm: AttachedModel) -> Attribution:
    return lm.attribute(list(TEXTS[:4]), method="integrated_gradients", quality=False)


# --- shap ---


def test_shap_gets_our_numbers(explained: Attribution) -> None:
    found = interpret.to_shap(explained)
    assert found.shape == (4, None)
    for row, example in zip(found, explained, strict=True):
        assert row.values.tolist() == [word.score for word in example.words()]
        assert "".join(row.data) == example.text
        # What shap shows as the output is the logit, up to the recorded completeness error.
        assert example.value is not None
        assert example.baseline_value is not None
        assert example.convergence_delta is not None
        gap = abs(example.value - example.baseline_value)
        assert abs(float(row.base_values) + row.values.sum() - example.value) <= example.convergence_delta * gap + 1e-5
    one = to_shap(explained[2])
    assert one.values.tolist() == found[2].values.tolist()


def test_values_of_a_text_read_in_windows_still_sum_to_its_output(lm: AttachedModel) -> None:
    text = " ".join(TEXTS)
    (example,) = lm.attribute(text, method="integrated_gradients", quality=False, long_text="windows", doc_stride=20)
    assert example.windows is not None
    assert example.value is not None
    assert example.baseline_value is not None
    row = to_shap(example)
    assert "".join(row.data) == text
    allowed = 0.011 * abs(example.value - example.baseline_value) + 1e-5
    assert row.base_values + row.values.sum() == pytest.approx(example.value, abs=allowed)
    assert row.values.sum() != pytest.approx(sum(word.score for word in example.words()), abs=1e-3)


def test_and_back_again(explained: Attribution) -> None:
    back = Attribution.from_shap(to_shap(explained))
    for ours, theirs in zip(explained, back, strict=True):
        assert theirs.text == ours.text
        np.testing.assert_allclose(theirs.scores.sum(), sum(word.score for word in ours.words()), rtol=1e-12)


def test_without_a_baseline_the_base_is_zero(lm: AttachedModel) -> None:
    found = to_shap(lm.attribute("a good film", method="gradient_x_input", unit="token", quality=False))
    assert found.base_values.tolist() == [0.0]


def test_chinese_and_words_without_a_place() -> None:
    chinese = Attribution.from_scores(["味道很好"], [["味", "道", "很", "好"]], [[1.0, 0.0, 2.0, -3.0]])
    assert list(to_shap(chinese)[0].data) == ["味", "道", "很", "好"]
    with pytest.raises(UsageError, match="text 0 has no words"):
        to_shap(Attribution.from_scores([""], [["[CLS]"]], [[1.0]]))


@pytest.mark.parametrize("plot", ["text", "bar", "waterfall"])
def test_shap_plots_take_it(explained: Attribution, plot: str) -> None:
    import shap

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = to_shap(explained)
    if plot == "text":
        for page in (shap.plots.text(found, display=False), shap.plots.text(found[0], display=False)):
            assert "film" in page
    else:
        axes = getattr(shap.plots, plot)(found[2], show=False)
        shown = {label.get_text() for label in axes.get_yticklabels()}
        assert any("film" in text for text in shown), shown
        plt.close("all")


def test_hostile_words_are_escaped_by_shap() -> None:
    import shap

    page = shap.plots.text(to_shap(hostile_example()), display=False)
    assert "<img src=x" not in page
    assert "<script>alert" not in page
