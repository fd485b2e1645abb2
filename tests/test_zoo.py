"""The zoo itself: every case builds and answers, and padding does to each what the zoo says it does."""

from __future__ import annotations

import copy
import pickle
from functools import cache
from typing import Any, Final

import pytest
import torch
from torch import Tensor, nn

from tests import zoo
from tests.zoo import ABSOLUTE, CASES, Built, alone, answer, build, inputs, padded, refused

#: Alone against padded, and eager against torch's kernel, fp32; logits are of size 1 to 20.
TOLERANCE: Final = 1e-4
N: Final = 6

#: Attention of its own, or none that torch's kernel could compute: DeBERTa's disentangled scores, GPT-OSS's sinks.
EAGER: Final = ("deberta-v2", "gpt_oss")
PADDED: Final = [(family, task) for family, task in CASES if padded(family, task)]


@cache
def built(family: str, task: str) -> Built:
    return build(family, task)


def run(case: Built, batch: dict[str, Any]) -> Any:
    with torch.no_grad():
        return case.model(**batch)


def distance(case: Built, batch: dict[str, Tensor], side: str) -> float:
    """The greatest difference between an example in the batch and the same example alone."""
    whole = run(case, batch)
    found = 0.0
    for index in range(N):
        one = alone(case, batch, index, side)
        expected = answer(case, run(case, one), one, 0)
        together = answer(case, whole, batch, index)
        assert together.shape == expected.shape
        found = max(found, float((together - expected).abs().max()))
    return found


@pytest.mark.parametrize(("family", "task"), CASES)
def test_answers_are_finite_and_differ(family: str, task: str) -> None:
    case = built(family, task)
    batch = inputs(case, N)
    outputs = run(case, batch)
    answers = [answer(case, outputs, batch, index) for index in range(N)]
    assert all(torch.isfinite(found).all() for found in answers)
    assert all(found.std() > 0.05 for found in answers)
    # Of the last position, because all texts that begin alike begin with the same answer in a decoder.
    last = torch.stack([found.reshape(-1, found.shape[-1])[-1] for found in answers])
    assert float(last.std(dim=0).mean()) > 0.05


@pytest.mark.parametrize(("family", "task"), CASES)
def test_attention_is_what_transformers_chooses_and_agrees_with_eager(family: str, task: str) -> None:
    case = built(family, task)
    expected = "eager" if family in EAGER else "sdpa"
    assert {module.config._attn_implementation for module in case.model.modules() if hasattr(module, "config")} == {
        expected
    }
    eager = build(family, task, attn_implementation="eager")
    # The longest text: rows of few positions are even by themselves.
    batch = alone(case, inputs(case, N), 4)
    outputs = run(eager, batch | {"output_attentions": True})
    difference = answer(eager, outputs, batch, 0) - answer(case, run(case, batch), batch, 0)
    assert float(difference.abs().max()) < TOLERANCE
    patterns = [
        pattern
        for found in (outputs, outputs.get("text_model_output"), outputs.get("vision_model_output"))
        for name in ("attentions", "encoder_attentions", "decoder_attentions", "cross_attentions")
        for pattern in getattr(found, name, None) or ()
    ]
    kinds = 2 if task == "none" else 3 if eager.model.config.is_encoder_decoder and "decoder_input_ids" in batch else 1
    assert len(patterns) == 2 * kinds
    assert all(_unevenness(pattern) > 0.15 for pattern in patterns)


def _unevenness(pattern: Tensor) -> float:
    """How far rows of attention are from being spread evenly over the positions they may see, 0 to 1."""
    seen = (pattern > 0).float()
    even = seen / seen.sum(-1, keepdim=True)
    # A row with a sink sums to less than one.
    rows = (pattern / pattern.sum(-1, keepdim=True) - even).abs().sum(-1) / 2
    return float(rows[seen.sum(-1) > 1].mean())


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("family", "task"), PADDED)
def test_padding_does_what_the_zoo_says(family: str, task: str, side: str) -> None:
    case = built(family, task)
    batch = inputs(case, N, side)
    masks = [values for name, values in batch.items() if name.endswith("attention_mask")]
    assert masks
    for mask in masks:
        lengths = mask.sum(dim=1)
        assert len(set(lengths.tolist())) > 1
        assert int(lengths.max()) == mask.shape[1]
    if side == "left" and family != "whisper":
        assert int(batch["attention_mask"][:, 0].min()) == 0
        assert int(batch["attention_mask"][:, -1].min()) == 1
    if refused(family, task, side) is None:
        assert distance(case, batch, side) < TOLERANCE
    else:
        assert distance(case, batch, side) > 100 * TOLERANCE


@pytest.mark.parametrize(("family", "task"), [case for case in CASES if case not in PADDED])
def test_inputs_without_padding(family: str, task: str) -> None:
    case = built(family, task)
    batch = inputs(case, N)
    assert not any("mask" in name for name in batch)
    assert distance(case, batch, "right") < TOLERANCE
    assert all(torch.equal(values, batch[name]) for name, values in inputs(case, N, "left").items())


def test_refusals_are_of_cases() -> None:
    for table in (zoo.LEFT_PADDING_REFUSED, zoo.RIGHT_PADDING_REFUSED):
        assert table.keys() <= set(PADDED)


@pytest.mark.parametrize("family", ABSOLUTE)
def test_given_positions_heal_encoders_but_for_heads_on_the_first(family: str) -> None:
    for task in zoo.ZOO[family]:
        case = built(family, task)
        batch = inputs(case, N, "left")
        mask = batch["attention_mask"]
        batch["position_ids"] = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 0)
        healed = distance(case, batch, "left") < TOLERANCE
        assert healed == (task != "text-classification")


@pytest.mark.parametrize(
    ("family", "task"), [case for case in CASES if case[0] in ("bart", "mbart", "marian", "pegasus")]
)
def test_only_positions_keep_bart_and_its_like_from_left_padding(family: str, task: str) -> None:
    case = build(family, task)
    for side in ("encoder", "decoder"):
        positions: Any = case.model.get_submodule(f"model.{side}.embed_positions")
        nn.init.zeros_(positions.weight)
    assert distance(case, inputs(case, N, "left"), "left") < TOLERANCE


@pytest.mark.parametrize("task", zoo.ZOO["wav2vec2"])
def test_only_the_group_norm_keeps_wav2vec2_from_right_padding(task: str) -> None:
    case = build("wav2vec2", task)
    first: Any = case.model.get_submodule("wav2vec2.feature_extractor.conv_layers.0")
    first.layer_norm = nn.Identity()
    assert distance(case, inputs(case, N), "right") < TOLERANCE


@pytest.mark.parametrize("family", zoo.SPEECH)
def test_frames_are_masked_as_if_padding_were_on_the_right(family: str) -> None:
    case: Any = built(family, "ctc")
    left, right = inputs(case, N, "left")["attention_mask"], inputs(case, N)["attention_mask"]
    assert not torch.equal(left, right)
    frames = [case.model._get_feature_vector_attention_mask(18, mask) for mask in (left, right)]
    assert torch.equal(frames[0], frames[1])
    assert frames[0].sum(dim=1).tolist() == [18, 11, 15, 9, 17, 13]


@pytest.mark.parametrize(("family", "task"), CASES)
def test_copies_answer_alike_and_building_leaves_the_random_state(family: str, task: str) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    case = build(family, task)
    batch = inputs(case, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert not case.model.training
    assert {parameter.dtype for parameter in case.model.parameters()} == {torch.float32}
    expected = answer(case, run(built(family, task), batch), batch, 0)
    copies = [copy.deepcopy(case)]
    if family in zoo.UNPICKLABLE:
        with pytest.raises(RuntimeError, match="parametrized modules is only supported through state_dict"):
            pickle.dumps(case)
    else:
        copies.append(pickle.loads(pickle.dumps(case)))
    for again in copies:
        # Not bit for bit: where in memory weights lie decides the order in which some processors add.
        assert torch.allclose(answer(again, run(again, batch), batch, 0), expected, atol=TOLERANCE)
    other = build(family, task, seed=1)
    assert not torch.allclose(answer(other, run(other, batch), batch, 0), expected, atol=100 * TOLERANCE)


def test_a_head_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="the zoo has no bart for token-classification; it has seq2seq-lm"):
        build("bart", "token-classification")
