"""What can be attributed from a capture alone, and what is said where it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from interpret.analyzers.attribution import attribute, attribute_capture
from interpret.analyzers.attribution.rollout import joined
from interpret.capture.capture import capture_texts
from interpret.errors import UsageError
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from tests import tiny, zoo
from tests.capture.support import attached

TEXTS = [tiny.TEXTS[0], tiny.TEXTS[7]]


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_capture_gives_what_the_model_gives(family: str) -> None:
    handle = attached(family)
    encoded = encode(handle, TEXTS)
    with_model = attribute(handle, encoded, method="attention_rollout")
    without = attribute_capture(capture_texts(handle, encoded, "attn_pattern"))
    assert all(np.abs(a.scores - b.scores).max() < 1e-6 for a, b in zip(with_model, without, strict=True))


def test_layers_that_mix_one_after_another_are_a_product() -> None:
    swap, half = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [0.5, 0.5]])
    assert np.allclose(joined([swap, half]), [[0.0, 1.0], [0.5, 0.5]])
    assert np.allclose(joined([half, swap]), [[0.5, 0.5], [1.0, 0.0]])


def test_a_capture_that_lacks_a_site_is_told_which() -> None:
    handle = attached("bert")
    encoded = encode(handle, TEXTS)
    with pytest.raises(UsageError, match=r"attention_rollout reads attn_pattern.*only resid_post"):
        attribute_capture(capture_texts(handle, encoded, ["resid_post"]))
    with pytest.raises(UsageError, match=r"lacks attn_pattern\.0;"):
        attribute_capture(capture_texts(handle, encoded, "attn_pattern.1"))
    with pytest.raises(UsageError, match=r"needs the model .*with v at zero"):
        attribute_capture(capture_texts(handle, encoded, "attn_pattern"), "value_zeroing")


@pytest.mark.parametrize("options", [{"heads": [1]}, {"queries": [-1]}, {"summary": "entropy"}, {"summary": "mean"}])
def test_a_part_of_a_pattern_is_not_rolled_out(options: dict[str, object]) -> None:
    handle = attached("bert")
    capture = capture_texts(handle, encode(handle, TEXTS), "attn_pattern", **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="whole patterns"):
        attribute_capture(capture)


def test_the_patterns_of_an_encoder_decoder_are_told_apart() -> None:
    built = zoo.build("bart", "seq2seq-lm")
    handle = attach_handle(built.model, built.tokenizer)
    encoded = encode(handle, TEXTS)
    capture = capture_texts(handle, encoded, ["encoder.attn_pattern"], targets=encoded)
    with pytest.raises(UsageError, match=r"only encoder\.attn_pattern"):
        attribute_capture(capture)
