"""`Capture`: appending, masks, tokens, frames, gradients, saving and loading."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from interpret.capture.capture import Capture, capture_texts, capturing, stream
from interpret.errors import MissingFileError, StoreError, UnknownSiteError, UsageError
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from tests.capture.support import attached, batch_of, logits_of
from tests.tiny import TEXTS, tiny


def test_two_forwards_append_and_widths_are_padded() -> None:
    handle = attached("bert")
    wide, narrow = batch_of(handle, TEXTS[2:4]), batch_of(handle, TEXTS[1:2])
    with capturing(handle, "resid_post.1", "attn_pattern.0", "q.1", "logits") as capture:
        logits_of(handle, wide)
        logits_of(handle, narrow)
    assert (len(capture), capture.n_forwards) == (3, 2)
    n, m = wide["input_ids"].shape[1], narrow["input_ids"].shape[1]
    assert capture.mask.shape == (3, n)
    assert capture.mask[2].sum() == m
    assert capture["attn_pattern", 0].shape == (3, handle.n_heads, n, n)
    assert capture["attn_pattern", 0][2, :, m:].isnan().all()
    assert capture["attn_pattern", 0][2, :, :, m:].isnan().all()
    assert capture["q", 1].shape == (3, handle.n_heads, n, handle.d_head)
    assert capture["logits"].shape == (3, 3)
    assert capture.tokens[2] == ("[CLS]", "bad", "[SEP]")
    assert capture.encoded is None
    assert repr(capture).startswith("Capture(3 examples of BertForSequenceClassification: resid_post.1, ")


def test_keys_and_what_is_not_there() -> None:
    handle = attached("bert")
    with capturing(handle, "embed", "resid_post", "z.1") as capture:
        logits_of(handle, batch_of(handle))
    assert capture.keys == (("embed", None), ("resid_post", 0), ("resid_post", 1), ("z", 1))
    assert ("z", 1) in capture
    for same in ("embed", ("embed",), ("embed", None)):
        assert torch.equal(capture[same].nan_to_num(), capture["embed"].nan_to_num())
    assert torch.equal(capture["z"].nan_to_num(), capture["z", 1].nan_to_num())
    with pytest.raises(UnknownSiteError, match=r"z\.0 was not captured; this capture holds embed, "):
        capture["z", 0]
    with pytest.raises(UsageError, match="ask for one"):
        capture["resid_post"]
    with pytest.raises(UnknownSiteError, match="unknown site"):
        capture["residual", 0]


def test_left_padding_and_tokens() -> None:
    handle = attached("llama", "causal-lm")
    batch = batch_of(handle, TEXTS[:2], "left")
    with capturing(handle, "embed") as capture:
        logits_of(handle, batch)
    assert capture.tokens[0][0] == "<s>"
    missing = int((batch["attention_mask"][1] == 0).sum())
    assert missing
    assert capture.tokens[1][: missing + 1] == ("",) * missing + ("<s>",)
    assert capture["embed"][1, :missing].isnan().all()


def test_without_a_tokenizer_and_from_embeddings() -> None:
    model, _ = tiny("gpt2", "causal-lm")
    handle = attach_handle(model, None)
    ids = torch.tensor([[5, 6, 7]])
    with capturing(handle, "resid_pre.0", "attn_pattern") as capture, torch.no_grad():
        model(ids)
        model(inputs_embeds=model.get_input_embeddings()(ids), return_dict=False)
    assert capture.tokens == (("5", "6", "7"), ("", "", ""))
    assert torch.equal(capture["resid_pre", 0][0], capture["resid_pre", 0][1])


def test_an_answer_as_a_tuple_with_a_loss() -> None:
    handle = attached("bert")
    batch = {**batch_of(handle), "labels": torch.tensor([0, 1, 2, 0])}
    with capturing(handle, "logits") as capture, torch.no_grad():
        output = handle.model(**batch, return_dict=False)
    assert torch.equal(capture["logits"], output[1])


def test_a_mask_of_four_dimensions() -> None:
    handle = attached("llama", "causal-lm")
    batch = batch_of(handle, TEXTS[:2], "left")
    n = batch["input_ids"].shape[1]
    allowed = torch.ones(n, n).tril().bool() & batch["attention_mask"].bool()[:, None, None, :]
    with capturing(handle, "attn_pattern.0") as two:
        plain = logits_of(handle, {**batch, "position_ids": torch.arange(n)[None]})
    with capturing(handle, "attn_pattern.0") as four:
        other = logits_of(handle, {**batch, "attention_mask": allowed, "position_ids": torch.arange(n)[None]})
    assert torch.equal(plain, other)
    assert torch.equal(two.mask, four.mask)
    assert torch.equal(two["attn_pattern", 0].nan_to_num(-1), four["attn_pattern", 0].nan_to_num(-1))


def test_nothing_ran_or_only_a_part_or_elsewhere() -> None:
    handle = attached("bert")
    batch = batch_of(handle)
    with capturing(handle, "embed", "logits") as capture:
        thread = threading.Thread(target=logits_of, args=(handle, batch))
        thread.start()
        thread.join()
        # Without the head there are no logits, so this forward is not what was asked for.
        with torch.no_grad():
            handle.roles.base(**batch)
    assert len(capture) == 0
    with pytest.raises(UsageError, match="nothing was captured"):
        capture["embed"]
    with pytest.raises(UsageError, match="no site was named"), capturing(handle):
        pass
    with capturing(handle, "embed") as capture, torch.no_grad():
        handle.roles.base(**batch)
    assert len(capture) == 4
    with capturing(handle, "embed"), pytest.raises(UsageError, match="input_ids"):
        handle.roles.base(attention_mask=batch["attention_mask"])


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_gradients_with_respect_to_sites(family: str) -> None:
    handle = attached(family)
    batch = batch_of(handle)
    plain = handle.model(**batch).logits
    with capturing(handle, "embed", "resid_post", "z", "q", "v", "mlp_act", "attn_pattern", grad=True) as capture:
        output = handle.model(**batch).logits
    assert torch.equal(plain, output)
    wanted = [key for key in capture if key[0] != "attn_pattern"]
    gradients = torch.autograd.grad(output[:, 0].sum(), [capture[key] for key in wanted], retain_graph=True)
    for key, gradient in zip(wanted, gradients, strict=True):
        assert gradient.shape == capture[key].shape
        assert gradient.abs().sum() > 0, key
    # The pattern hangs on the queries, though the output does not hang on the pattern.
    capture["attn_pattern", 1].square().sum().backward()
    assert all(parameter.grad is not None for parameter in handle.roles.q[0].parameters())
    with capturing(handle, "embed", grad=True) as capture:
        handle.model(**batch)
        handle.model(**batch)
    with pytest.raises(UsageError, match="cannot be stacked"):
        capture["embed"]


def test_gradient_checkpointing_is_recorded_once() -> None:
    handle = attached("bert")
    model: Any = handle.model
    model.gradient_checkpointing_enable()
    model.train()
    with capturing(handle, "resid_post", "attn_pattern") as capture:
        model(**batch_of(handle)).logits.sum().backward()
    assert len(capture) == 4


def test_a_capture_that_is_too_large_is_refused_before_anything_runs() -> None:
    handle = attached("bert")
    encoded = encode(handle, list(TEXTS))
    width = max(len(row.ids) for row in encoded)
    n_bytes = 4 * len(TEXTS) * 2 * (width * 32 + 4 * width * width)
    capture = capture_texts(handle, encoded, ["resid_post", "attn_pattern"], max_bytes=n_bytes)
    assert sum(capture[key].nbytes for key in capture) == n_bytes
    with pytest.raises(UsageError, match=f"takes {n_bytes:,} bytes"):
        capture_texts(handle, encoded, ["resid_post", "attn_pattern"], max_bytes=n_bytes - 1)
    with pytest.raises(UsageError, match="no text"):
        capture_texts(handle, [], "embed")
    with pytest.raises(UnknownSiteError):
        next(stream(handle, encoded, "final_norm"))


def test_a_stream_that_is_left_early_leaves_nothing() -> None:
    handle = attached("bert")
    handle.model.train()
    batches = stream(handle, encode(handle, list(TEXTS)), "attn_pattern", max_batch=2)
    next(batches)
    assert handle.config._attn_implementation == "sdpa"
    assert handle.model.training
    assert not any(module._forward_hooks for module in handle.model.modules())
    batches.close()


def test_frames() -> None:
    handle = attached("bert")
    encoded = encode(handle, list(TEXTS[:3]))
    capture = capture_texts(handle, encoded, ["resid_post.1", "attn_pattern.0", "k.0", "logits"])
    tokens = capture.to_frame("resid_post.1")
    assert list(tokens.columns[:3]) == ["example", "position", "token"]
    assert list(tokens.token) == [token for row in encoded for token in row.tokens]
    mean = capture.to_frame(("resid_post", 1), pool="mean")
    assert mean.shape == (3, 33)
    wide = tokens.drop(columns=["position", "token"]).groupby("example").mean()
    assert abs(wide.to_numpy() - mean.drop(columns="example").to_numpy()).max() < 1e-6
    first = capture.to_frame("resid_post.1", pool="cls").drop(columns="example").to_numpy()
    assert (first == capture["resid_post", 1][:, 0].numpy()).all()
    assert capture.to_frame("k.0").shape == (len(tokens), 3 + 32)
    pairs = capture.to_frame("attn_pattern.0")
    assert list(pairs.columns) == ["example", "head", "query", "key", "query_token", "key_token", "value"]
    assert len(pairs) == sum(4 * len(row.ids) ** 2 for row in encoded)
    one = pairs[(pairs.example == 1) & (pairs["head"] == 2) & (pairs["query"] == 1)]
    assert list(one.key_token) == ["[CLS]", "bad", "[SEP]"]
    assert set(one.query_token) == {"bad"}
    assert abs(one.value.sum() - 1) < 1e-6
    assert capture.to_frame("logits").shape == (3, 4)
    with pytest.raises(UsageError, match="cannot be pooled"):
        capture.to_frame("attn_pattern.0", pool="mean")
    with pytest.raises(UsageError, match='"mean" or "cls"'):
        capture.to_frame("resid_post.1", pool="max")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saving_and_loading(tmp_path: Path, dtype: torch.dtype) -> None:
    model, tokenizer = tiny("llama", "causal-lm")
    handle = attach_handle(model.to(dtype), tokenizer)
    encoded = encode(handle, list(TEXTS[:4]))
    capture = capture_texts(handle, encoded, ["resid_post", "attn_pattern.1", "logits"])
    assert capture["resid_post", 0].dtype == dtype
    folder = capture.save(tmp_path / "capture")
    assert sorted(path.name for path in folder.iterdir()) == ["capture.json", "capture.safetensors"]
    loaded = Capture.load(folder)
    assert loaded.keys == capture.keys
    assert (loaded.mode, loaded.model, loaded.tokens) == (capture.mode, capture.model, capture.tokens)
    assert loaded.encoded == capture.encoded
    assert torch.equal(loaded.mask, capture.mask)
    for key in capture:
        assert loaded[key].dtype == dtype
        assert torch.equal(loaded[key].nan_to_num(), capture[key].nan_to_num())
    assert loaded.to_frame("resid_post.1", pool="mean").equals(capture.to_frame("resid_post.1", pool="mean"))
    again = loaded.save(tmp_path / "again")
    for name in ("capture.json", "capture.safetensors"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_saving_with_gradients(tmp_path: Path) -> None:
    handle = attached("bert")
    with capturing(handle, "resid_pre", "resid_post", grad=True) as capture:
        handle.model(**batch_of(handle))
    loaded = Capture.load(capture.save(tmp_path))
    assert torch.equal(loaded["resid_pre", 1], capture["resid_pre", 1].detach())


def test_damaged_captures(tmp_path: Path) -> None:
    handle = attached("bert")
    capture = capture_texts(handle, encode(handle, list(TEXTS[:2])), "embed")
    with pytest.raises(MissingFileError, match=r"capture\.json is missing"):
        Capture.load(tmp_path / "nowhere")
    folder = capture.save(tmp_path / "good")
    with pytest.raises(UsageError, match="a file stands there"):
        capture.save(folder / "capture.json")
    header = json.loads((folder / "capture.json").read_text())
    for change, says in (
        ({"schema": "other/9"}, "schema"),
        ({"sites": ["embed", "z.0"]}, "do not belong together"),
        ({"tokens": {}}, "do not belong together"),
        ({"tokens": {"": []}}, "do not belong together"),
        ({"encoded": [{"text": "x"}]}, "damaged"),
    ):
        (folder / "capture.json").write_text(json.dumps({**header, **change}))
        with pytest.raises(StoreError, match=says):
            Capture.load(folder)
    (folder / "capture.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        Capture.load(folder)
    (folder / "capture.json").write_text(json.dumps(header))
    content = (folder / "capture.safetensors").read_bytes()
    (folder / "capture.safetensors").write_bytes(content[:-40])
    with pytest.raises(StoreError, match="damaged"):
        Capture.load(folder)


def test_encoded_survives_as_it_was() -> None:
    # `load` rebuilds every field from lists; a field that is not a plain value or a tuple would not come
    # back.
    handle = attached("bert")
    row = encode(handle, ["a very good day"])[0]
    assert all(isinstance(value, str | int | tuple | None) for value in dataclasses.asdict(row).values())
