"""What the answer loses without a head: planted heads against the sum by hand, whole models against plain hooks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from interpret.analyzers.target import Target
from interpret.auditing.ablation import ablation_effects, head_ablations
from interpret.models.inputs import Encoded, encode
from interpret.models.load import attach_handle
from tests.capture.support import attached, same_state, state_of
from tests.tiny import TEXTS

D, HEADS, HEAD, VOCABULARY = 16, 4, 2, 11
IDS = ((3, 1, 4, 1, 5), (9, 2, 6), (5, 8))
GOAL = 7


@pytest.fixture(scope="module")
def planted() -> Any:
    """One block of GPT-2 in which one head averages values of the tokens before it, and nothing else writes."""
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=D, n_layer=1, n_head=HEADS, n_positions=16, n_inner=8,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = GPT2LMHeadModel(config).double().eval()
        with torch.no_grad():
            block: Any = model.transformer.h[0]
            for module in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
                module.weight.zero_()
                module.bias.zero_()
            d_head = D // HEADS
            value = slice(2 * D + HEAD * d_head, 2 * D + (HEAD + 1) * d_head)
            # Queries and keys stay 0, so that every token looks at all before it alike.
            block.attn.c_attn.weight[:, value] = torch.randn(D, d_head, dtype=torch.float64)
            block.attn.c_proj.weight[HEAD * d_head : (HEAD + 1) * d_head] = torch.randn(d_head, D, dtype=torch.float64)
    return model


def encoded(ids: tuple[int, ...]) -> Encoded:
    n = len(ids)
    names = tuple(map(str, ids))
    return Encoded(" ".join(names), ids, None, names, tuple(range(n)), ((0, 0),) * n, (False,) * n, 0)


def by_hand(model: Any) -> list[float]:
    """The loss of each text from the planted weights alone."""
    base: Any = model.transformer
    d_head = D // HEADS
    value = slice(2 * D + HEAD * d_head, 2 * D + (HEAD + 1) * d_head)
    streams, outputs = [], []
    for ids in IDS:
        stream = base.wte.weight[list(ids)] + base.wpe.weight[: len(ids)]
        values = nn.functional.layer_norm(stream, (D,)) @ base.h[0].attn.c_attn.weight[:, value]
        counts = torch.arange(1, len(ids) + 1, dtype=torch.float64)[:, None]
        streams.append(stream)
        outputs.append(values.cumsum(0) / counts)
    mean = torch.cat(outputs).mean(0)
    write = base.h[0].attn.c_proj.weight[HEAD * d_head : (HEAD + 1) * d_head]

    def logit(stream: Tensor, head: Tensor) -> Tensor:
        return nn.functional.layer_norm(stream[-1] + head @ write, (D,)) @ model.lm_head.weight[GOAL]

    return [float(logit(s, out[-1]) - logit(s, mean)) for s, out in zip(streams, outputs, strict=True)]


def test_a_planted_head_loses_what_the_hand_says_and_the_others_nothing(planted: Any) -> None:
    handle = attach_handle(planted, None)
    before = state_of(planted)
    targets = [Target("next_token", GOAL) for _ in IDS]
    with torch.no_grad():
        expected = by_hand(planted)
    effects = ablation_effects(handle, [encoded(ids) for ids in IDS], targets)
    assert effects.shape == (1, HEADS, len(IDS))
    assert min(map(abs, expected)) > 1e-3, "the plant must matter"
    np.testing.assert_allclose(effects[0, HEAD], expected, rtol=0, atol=1e-12)
    assert np.abs(np.delete(effects[0], HEAD, axis=0)).max() < 1e-12
    same_state(before, state_of(planted))


def test_every_head_of_a_classifier_is_what_a_plain_hook_measures() -> None:
    handle = attached("bert")
    texts = list(TEXTS[:5])
    rows = encode(handle, texts)
    effects = ablation_effects(handle, rows)
    model: Any = handle.model
    d_head = handle.d_head
    for layer, block in enumerate(model.bert.encoder.layer):
        into = block.attention.output.dense
        seen: list[Tensor] = []
        with torch.no_grad():
            hook = into.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0][0]))
            plain = [model(input_ids=torch.tensor([row.ids])).logits[0] for row in rows]
            hook.remove()
            mean = torch.cat(seen).mean(0)
            for head in range(handle.n_heads):
                part = slice(head * d_head, (head + 1) * d_head)

                def cut(_: Any, args: Any, part: slice = part, mean: Tensor = mean) -> Any:
                    out = args[0].clone()
                    out[..., part] = mean[part]
                    return (out,)

                hook = into.register_forward_pre_hook(cut)
                for number, row in enumerate(rows):
                    answer = int(plain[number].argmax())
                    without = model(input_ids=torch.tensor([row.ids])).logits[0]
                    lost = float(plain[number][answer] - without[answer])
                    assert effects[layer, head, number] == pytest.approx(lost, abs=2e-5)
                hook.remove()
    assert np.abs(effects).max() > 0.01


def test_the_mean_and_its_interval_are_over_examples() -> None:
    rng = np.random.default_rng(0)
    effects = rng.normal(1.0, 1.0, size=(1, 2, 200))
    effects[0, 1] = 0.0
    first, second = head_ablations(effects, seed=0, n_bootstrap=2000)
    assert (first.layer, first.head, second.head) == (0, 0, 1)
    assert first.effect == pytest.approx(effects[0, 0].mean())
    # The interval of a mean of 200 by the normal approximation.
    half = 1.96 * effects[0, 0].std(ddof=1) / np.sqrt(200)
    assert first.ci_low == pytest.approx(first.effect - half, abs=0.02)
    assert first.ci_high == pytest.approx(first.effect + half, abs=0.02)
    assert (second.effect, second.ci_low, second.ci_high) == (0.0, 0.0, 0.0)
