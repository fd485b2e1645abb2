"""Images and sound through the processor a model was attached with, and ready-made tensors."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import interpret
from interpret.errors import UsageError
from tests import zoo
from tests.tiny import TEXTS


def images(n: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (20 + i, 24, 3), dtype=np.uint8)) for i in range(n)]


def sounds(*lengths: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(length).astype(np.float32) for length in lengths]


def image_processor(size: int = zoo.IMAGE_SIZE) -> Any:
    # The one that needs no torchvision.
    name = next(
        n for n in ("ViTImageProcessorPil", "ViTImageProcessorSlow", "ViTImageProcessor") if hasattr(transformers, n)
    )
    return getattr(transformers, name)(size={"height": size, "width": size})


def test_images() -> None:
    built = zoo.build("vit", "image-classification")
    lm = interpret.attach(built.model, processor=image_processor())
    capture = lm.capture(images(5), ["resid_post.1", "attn_pattern.0", "logits"], batch_size=2)
    n_patches = (zoo.IMAGE_SIZE // zoo.PATCH_SIZE) ** 2 + 1
    assert capture["resid_post.1"].shape == (5, n_patches, lm.handle.d_model)
    assert capture["attn_pattern.0"].shape == (5, lm.handle.n_heads, n_patches, n_patches)
    assert capture.mask.all()
    assert capture.tokens[0] == tuple(str(i) for i in range(n_patches))
    one = lm.capture(images(5)[3], "logits")
    assert torch.allclose(one["logits"][0], capture["logits"][3], atol=1e-5)
    ready = image_processor()(images=images(2), return_tensors="pt")
    given = lm.capture(dict(ready), "logits")
    assert torch.allclose(given["logits"], capture["logits"][:2], atol=1e-5)
    with pytest.raises(UsageError, match="reads images, not texts"):
        lm.capture(list(TEXTS[:1]))
    with pytest.raises(UsageError, match="attached without a processor"):
        interpret.attach(built.model).capture(images(1))
    with pytest.raises(UsageError, match="at least one"):
        lm.capture([])


def test_sound_of_different_lengths(tmp_path: Path) -> None:
    built = zoo.build("wav2vec2-stable", "audio-classification")
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True, do_normalize=False)
    lm = interpret.attach(built.model, processor=extractor)
    capture = lm.capture(sounds(800, 500), ["resid_post.1", "attn_pattern.1"])
    n_frames = capture.mask.sum(1).tolist()
    assert n_frames[0] > n_frames[1] > 0
    alone = lm.capture(sounds(800, 500)[1], "resid_post.1")
    assert alone["resid_post.1"].shape[1] == n_frames[1]
    assert torch.allclose(alone["resid_post.1"][0], capture["resid_post.1"][1, : n_frames[1]], atol=1e-4)
    # The same from a folder, with what turns sound into inputs beside the model.
    built.model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    loaded = interpret.load(tmp_path, device="cpu")
    assert loaded.info()["task"] == "audio-classification"
    again = loaded.capture(sounds(800, 500), "resid_post.1")
    assert torch.allclose(again["resid_post.1"], capture["resid_post.1"], atol=1e-5, equal_nan=True)


def test_a_pipeline_brings_its_processor() -> None:
    built = zoo.build("vit", "image-classification")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = transformers.pipeline(
            "image-classification", model=built.model, image_processor=image_processor(), device="cpu"
        )
    lm = interpret.attach(pipeline)
    assert lm.capture(images(2), "logits")["logits"].shape[0] == 2


def test_both_towers_of_clip_from_ready_made_inputs() -> None:
    built = zoo.build("clip", "none")
    lm = interpret.attach(built.model, built.tokenizer)
    batch = zoo.inputs(built)
    capture = lm.capture(batch, ["vision.resid_post.0", "text.resid_post.0", "text.attn_pattern.1"])
    assert capture["vision.resid_post.0"].shape[:2] == capture.mask_of("vision.embed").shape
    assert capture["text.resid_post.0"].shape[:2] == capture.mask_of("text.embed").shape
    assert capture.mask_of("vision.embed").all()
    assert capture.tokens_of("text.embed")[1][0] != ""
    assert list(lm.info()["stacks"]) == ["vision", "text"]
