"""captum's sampled and layer-wise methods, against captum called directly and against what they converge to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interpret.analyzers.attribution import attribute
from interpret.errors import UsageError
from interpret.models.inputs import encode
from tests import planted

TEXTS = ["the zork was good", "a blick film and then the cat was very happy"]


def test_saliency_is_the_length_of_the_gradient() -> None:
    handle = planted.handle()
    encoded = encode(handle, TEXTS)
    found = attribute(handle, encoded, target=1, method="saliency")
    for e, example in zip(encoded, found, strict=True):
        embedded = handle.model.bert.embeddings(torch.tensor([e.ids]), torch.tensor([e.type_ids])).detach()
        embedded.requires_grad_()
        pooled = handle.model.bert.pooler(handle.model.bert.encoder(embedded)[0])
        handle.model.classifier(pooled)[0, 1].backward()
        assert embedded.grad is not None
        length = embedded.grad[0].norm(dim=-1).numpy()
        assert np.allclose(example.scores, length / length.sum(), atol=1e-5)


def test_smooth_grad_without_noise_to_speak_of_is_saliency() -> None:
    handle = planted.handle()
    encoded = encode(handle, TEXTS)
    plain = attribute(handle, encoded, target=1, method="saliency")
    smooth = attribute(handle, encoded, target=1, method="smooth_grad", noise=1e-6, n_samples=4)
    noisy = attribute(handle, encoded, target=1, method="smooth_grad", n_samples=4)
    for a, b, c in zip(plain, smooth, noisy, strict=True):
        assert np.allclose(a.scores, b.scores, atol=1e-4)
        assert not np.allclose(a.scores, c.scores, atol=1e-4)


def test_gradient_shap_converges_to_integrated_gradients_and_hangs_on_the_seed_alone() -> None:
    handle = planted.handle()
    encoded = encode(handle, TEXTS)
    exact = attribute(handle, encoded, method="integrated_gradients", tolerance=1e-4)
    few = attribute(handle, encoded, method="gradient_shap", n_samples=8)
    many = attribute(handle, encoded, method="gradient_shap", n_samples=1500)
    for a, b, c in zip(exact, few, many, strict=True):
        size = np.abs(a.scores).sum()
        assert np.abs(c.scores - a.scores).max() < 0.05 * size
        assert np.abs(c.scores - a.scores).max() < np.abs(b.scores - a.scores).max()
    torch.manual_seed(99)
    again = attribute(handle, encoded[::-1], method="gradient_shap", n_samples=8)
    assert np.allclose(again[1].scores, few[0].scores, atol=1e-6)
    other = attribute(handle, encoded, method="gradient_shap", n_samples=8, seed=1)
    assert not np.allclose(other[0].scores, few[0].scores, atol=1e-4)


def test_deep_lift_tells_how_much_of_the_difference_it_misses() -> None:
    handle = planted.handle()
    found = attribute(handle, encode(handle, TEXTS), method="deep_lift")
    for example in found:
        assert example.value is not None
        assert example.baseline_value is not None
        difference = example.value - example.baseline_value
        missed = abs(example.scores.sum() - difference) / abs(difference)
        assert example.convergence_delta == pytest.approx(missed, rel=1e-6)
        assert not any(hasattr(module, "input") for module in handle.model.modules())


@pytest.mark.parametrize(("method", "option"), [("smooth_grad", "n_samples"), ("gradient_shap", "n_samples")])
def test_numbers_that_make_no_sense_are_refused(method: str, option: str) -> None:
    handle = planted.handle()
    with pytest.raises(UsageError, match="n_samples is 0"):
        attribute(handle, encode(handle, TEXTS), method=method, **{option: 0})
