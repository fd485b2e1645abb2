"""Keeping less than whole patterns: the same numbers as from the whole, without ever forming it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

import interpret
from interpret.capture import attention
from interpret.capture.capture import Capture, capture_texts, capturing
from interpret.errors import UsageError
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from tests import zoo
from tests.capture.support import attached, batch_of, logits_of, same_state, state_of
from tests.tiny import TEXTS

CASES = [("bert", "text-classification"), ("llama", "causal-lm"), ("gpt_oss", "causal-lm"), ("t5", "seq2seq-lm"),
         ("deberta-v2", "masked-lm"), ("mistral", "causal-lm")]  # fmt: skip


def both(family: str, task: str, side: str = "right", **options: Any) -> tuple[Capture, Capture, list[str]]:
    built = zoo.build(family, task)
    handle = attach_handle(built.model, built.tokenizer)
    batch = zoo.inputs(built, side=side)
    sites = [f"{prefix}.attn_pattern".lstrip(".") for prefix in handle.prefixes]
    with torch.no_grad():
        with capturing(handle, *sites) as whole:
            plain = handle.model(**batch).logits
        before = state_of(handle.model)
        with capturing(handle, *sites, **options) as part:
            observed = handle.model(**batch).logits
    assert torch.equal(plain, observed)
    same_state(before, state_of(handle.model))
    return whole, part, [f"{site}.{layer}" for site in sites for layer in range(2)]


@pytest.fixture(params=[2**24, 40], ids=["at once", "row by row"])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many weights are formed at once: all, or a row or two."""
    monkeypatch.setattr(attention, "_CHUNK", request.param)
    return int(request.param)


@pytest.mark.parametrize(("family", "task"), CASES)
def test_entropy_top_k_and_mean_are_those_of_the_whole_pattern(family: str, task: str, chunk: int) -> None:
    whole, part, keys = both(family, task, summary="entropy")
    for key in keys:
        pattern = whole[key]
        expected = -torch.where(pattern > 0, pattern * pattern.log(), torch.zeros(())).nansum(-1)
        real = ~pattern.isnan().all(-1)
        assert part.axes(key) == ("example", "head", "query")
        assert torch.equal(part[key].isnan(), ~real)
        assert (part[key] - expected)[real].abs().max() < 1e-5
    whole, part, keys = both(family, task, summary="top_k", k=3, heads=[2, 0])
    for key in keys:
        pattern = whole[key].nan_to_num()[:, [2, 0]]
        values, index = part[key], part.top_keys(key)
        assert part.axes(key) == ("example", "head", "query", "rank")
        real = ~values.isnan()
        assert real.any()
        assert torch.equal(index >= 0, real)
        expected = pattern.topk(min(3, pattern.shape[-1]), dim=-1).values
        assert (values[..., : expected.shape[-1]] - expected)[real[..., : expected.shape[-1]]].abs().max() < 1e-6
        found = pattern.gather(-1, index.clamp(min=0))
        assert (found - values)[real].abs().max() < 1e-6
    whole, part, keys = both(family, task, summary="mean")
    for key in keys:
        assert part.axes(key) == ("example", "query", "key")
        assert torch.allclose(part[key], whole[key].mean(1), rtol=0, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("family", "task"), CASES)
def test_queries_are_counted_among_the_tokens_of_each_example(family: str, task: str, side: str, chunk: int) -> None:
    if zoo.refused(family, task, side):
        side = "right"
    whole, part, keys = both(family, task, side, queries=[0, 4, -1], heads=[1])
    for key in keys:
        mask = whole.mask_of(key.rpartition(".")[0])
        assert part[key].shape[1:3] == (1, 3)
        for example, row in enumerate(mask):
            real = row.nonzero()[:, 0]
            for place, rank in enumerate((0, 4, len(real) - 1)):
                found = part[key][example, 0, place]
                if rank >= len(real):
                    assert found.isnan().all()
                    continue
                expected = whole[key][example, 1, real[rank]]
                assert torch.allclose(found, expected, rtol=0, atol=1e-6, equal_nan=True)


def test_one_row_of_scores_and_batches_of_texts() -> None:
    handle = attached("llama")
    encoded = encode(handle, list(TEXTS))
    whole = capture_texts(handle, encoded, ["attn_scores.1", "attn_pattern.1"])
    options: dict[str, Any] = {"queries": [-1], "heads": [0, 3]}
    part = capture_texts(handle, encoded, ["attn_scores.1", "attn_pattern.1"], max_batch=3, **options)
    for example, row in enumerate(encoded):
        n = len(row.ids)
        for key in ("attn_scores.1", "attn_pattern.1"):
            found, expected = part[key][example, :, 0, :n], whole[key][example, [0, 3], n - 1, :n]
            assert torch.allclose(found, expected, rtol=0, atol=1e-5)
    frame = capture_texts(handle, encoded, "attn_pattern.0", summary="entropy").to_frame("attn_pattern.0")
    assert list(frame.columns) == ["example", "head", "query", "value"]
    assert len(frame) == sum(len(row.ids) for row in encoded) * handle.n_heads


def test_a_long_text_never_needs_its_whole_pattern() -> None:
    torch.manual_seed(0)
    n, n_layers, n_heads = 1024, 4, 4
    config = BertConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=n_layers, num_attention_heads=n_heads, intermediate_size=64,
        max_position_embeddings=n,
    )  # fmt: skip
    handle = attach_handle(BertModel(config).eval(), None)
    largest: list[int] = []
    eager = attention.eager_function(handle.roles.attention[0])
    assert eager is not None

    def watched(*args: Any, **kwargs: Any) -> Any:
        found = eager(*args, **kwargs)
        largest.append(found[1].numel())
        return found

    import transformers.models.bert.modeling_bert as modeling

    batch = {"input_ids": (torch.arange(n) % 59)[None]}
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(modeling, "eager_attention_forward", watched)
        patch.setattr(attention, "_CHUNK", 2**18)
        with capturing(handle, "attn_pattern", summary="top_k", k=4) as capture:
            handle.model(**batch)
    assert sum(largest) == n_layers * n_heads * n * n
    assert max(largest) <= 2**18
    assert sum(capture[key].numel() for key in capture) == n_layers * n_heads * n * 4
    # What is kept counts against the limit, not what it was made of.
    lm = interpret.attach(handle.model)
    assert lm.handle.n_heads == n_heads


def test_the_limit_counts_what_is_kept() -> None:
    handle = attached("bert")
    encoded = encode(handle, list(TEXTS))
    width = max(len(row.ids) for row in encoded)
    n_bytes = 4 * len(TEXTS) * 2 * handle.n_heads * width
    kept = capture_texts(handle, encoded, "attn_pattern", max_bytes=n_bytes, summary="entropy")
    assert sum(kept[key].nbytes for key in kept) == n_bytes
    with pytest.raises(UsageError, match=f"takes {n_bytes:,} bytes"):
        capture_texts(handle, encoded, "attn_pattern", max_bytes=n_bytes - 1, summary="entropy")
    with pytest.raises(UsageError, match="a summary of attention"):
        capture_texts(handle, encoded, "attn_pattern", max_bytes=n_bytes)


def test_saving_what_was_kept(tmp_path: Any) -> None:
    handle = attached("llama")
    encoded = encode(handle, list(TEXTS[:3]))
    capture = capture_texts(handle, encoded, ["attn_pattern", "resid_post.0"], summary="top_k", k=2)
    loaded = Capture.load(capture.save(tmp_path))
    assert loaded.reduction == capture.reduction
    for key in capture:
        assert torch.equal(loaded[key].nan_to_num(), capture[key].nan_to_num())
    assert torch.equal(loaded.top_keys("attn_pattern.1"), capture.top_keys("attn_pattern.1"))
    assert loaded.axes("attn_pattern.1") == ("example", "head", "query", "rank")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"heads": [4]}, "asked for heads 4 of attention, but there are 4"),
        ({"heads": []}, "asked for heads none"),
        ({"summary": "median"}, "unknown summary 'median'"),
        ({"summary": "top_k", "k": 0}, "ask for 1 or more"),
        ({"queries": [0], "grad": True}, "grad=True keeps whole patterns"),
    ],
)
def test_wrong_requests(options: Any, says: str) -> None:
    handle = attached("bert")
    with pytest.raises(UsageError, match=says), capturing(handle, "attn_pattern", **options):
        pass
    with pytest.raises(UsageError, match="name attn_pattern"), capturing(handle, "resid_post", heads=[0]):
        pass
    with capturing(handle, "attn_pattern") as capture:
        logits_of(handle, batch_of(handle))
    with pytest.raises(UsageError, match="was not captured with summary='top_k'"):
        capture.top_keys("attn_pattern.0")


def test_stop_wants_no_logits_and_is_used_by_itself() -> None:
    handle = attached("bert")
    for sites in (("logits", "embed"), ()):
        with pytest.raises(UsageError), capturing(handle, *sites, stop=True):
            pass
    seen: list[Tensor] = []
    hook = handle.roles.blocks[1].register_forward_hook(lambda *args: seen.append(args[2]))
    capture_texts(handle, encode(handle, list(TEXTS[:2])), "resid_post.0")
    assert not seen
    capture_texts(handle, encode(handle, list(TEXTS[:2])), ["resid_post.0", "logits"])
    hook.remove()
    assert seen
    # An inner block that stops does not end the outer one.
    batch = batch_of(handle)
    with capturing(handle, "resid_post.1") as outer:
        with capturing(handle, "resid_post.0", stop=True) as inner:
            logits_of(handle, batch)
        assert len(inner) == 4
        logits_of(handle, batch)
    assert len(outer) == 4
