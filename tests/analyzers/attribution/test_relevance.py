"""Gradient attention against transformers' own eager model, closed forms, and a recursion written out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from interpret.analyzers.attribution import attribute
from interpret.analyzers.attribution.relevance import captured_relevance, cross_relevance, gradient_relevance
from interpret.capture.capture import capturing
from interpret.capture.edits import Edit
from interpret.errors import UnknownSiteError, UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, encode
from interpret.models.load import attach_handle
from tests import tiny, zoo
from tests.capture.support import attached

Array = npt.NDArray[np.float64]

TEXTS = [tiny.TEXTS[2], tiny.TEXTS[0], tiny.TEXTS[7]]
#: Every way a pattern is formed: shared layers, relative positions, fused projections, grouped heads, windows, sinks.
CASES = [
    *[(family, task) for family, tasks in tiny.FAMILIES.items() for task in tasks],
    ("albert", "text-classification"),
    ("deberta-v2", "text-classification"),
    ("modernbert", "masked-lm"),
    ("gpt_neox", "causal-lm"),
    ("gemma3", "text-classification"),
    ("gpt_oss", "causal-lm"),
]


def eager_twin(handle: Handle) -> Any:
    """A second model with the same weights that runs eager attention, by transformers alone."""
    core: Any = handle.core
    model = type(core)._from_config(type(core.config)(**core.config.to_dict()), attn_implementation="eager")
    model.load_state_dict(core.state_dict())
    return model.eval()


def relevance_by_hand(handle: Handle, text: Encoded, target: Any) -> Array:
    """The row of R, with nothing of this package between the ids and it; not normalised."""
    inputs = {"input_ids": torch.tensor([text.ids]), "attention_mask": torch.ones(1, len(text.ids), dtype=torch.long)}
    if text.type_ids is not None:
        inputs["token_type_ids"] = torch.tensor([text.type_ids])
    output = eager_twin(handle)(**inputs, output_attentions=True)
    at = 0 if handle.task == "text-classification" and not handle.is_decoder else len(text.ids) - 1
    if handle.task == "masked-lm":
        assert handle.tokenizer is not None
        at = text.ids.index(handle.tokenizer.mask_token_id)
    logits = output.logits[0] if handle.task == "text-classification" else output.logits[0, at]
    for pattern in output.attentions:
        pattern.retain_grad()
    logits[target.index].backward()
    n = len(text.ids)
    relevance = torch.eye(n, dtype=torch.float64)
    for pattern in output.attentions:
        weighted = torch.zeros(n, n, dtype=torch.float64)
        for head in range(pattern.shape[1]):
            weighted += torch.relu(pattern.grad[0, head].double() * pattern[0, head].detach().double())
        relevance = relevance + (weighted / pattern.shape[1]) @ relevance
    row: Array = relevance[at].numpy()
    return row


def texts_for(handle: Handle) -> list[Encoded]:
    if handle.task != "masked-lm":
        return encode(handle, TEXTS)
    assert handle.tokenizer is not None
    return encode(handle, [f"{text} {handle.tokenizer.mask_token} film" for text in TEXTS])


def handle_of(family: str, task: str) -> Handle:
    if family in tiny.FAMILIES:
        return attached(family, task)
    built = zoo.build(family, task)
    return attach_handle(built.model, built.tokenizer)


@pytest.mark.parametrize(("family", "task"), CASES)
def test_it_is_what_the_eager_model_of_transformers_gives(family: str, task: str) -> None:
    handle = handle_of(family, task)
    encoded = texts_for(handle)
    found = attribute(handle, encoded, method="gradient_attention")
    for text, example in zip(encoded, found, strict=True):
        expected = relevance_by_hand(handle, text, example.target)
        assert np.abs(example.scores - expected / expected.sum()).max() < 1e-5
        # The position that is read holds a 1 of its own; the others must agree beside that too.
        others = np.delete(np.arange(len(expected)), int(expected.argmax()))
        assert expected[others].max() > 1e-3
        shares = example.scores[others] / example.scores[others].sum()
        assert np.abs(shares - expected[others] / expected[others].sum()).max() < 1e-5


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_padded_is_alone_and_the_order_does_not_matter(family: str) -> None:
    handle = attached(family)
    encoded = encode(handle, TEXTS)
    together = attribute(handle, encoded, method="gradient_attention")
    turned = attribute(handle, encoded[::-1], method="gradient_attention")
    for i, text in enumerate(encoded):
        (alone,) = attribute(handle, [text], method="gradient_attention")
        assert np.abs(together[i].scores - alone.scores).max() < 1e-6
        assert np.abs(together[i].scores - turned[-1 - i].scores).max() < 1e-6
    again = attribute(handle, encoded, method="gradient_attention")
    assert all(np.array_equal(one.scores, other.scores) for one, other in zip(together, again, strict=True))


def test_two_labels_and_their_contrast_have_relevances_of_their_own() -> None:
    handle = attached("bert")
    encoded = encode(handle, TEXTS[:1])
    a, b, contrast = (
        attribute(handle, encoded, method="gradient_attention", target=target)[0].scores
        for target in (0, 1, (0, 1))
    )  # fmt: skip
    assert np.abs(a - b).max() > 1e-3
    assert np.abs(contrast - a).max() > 1e-3


def test_a_caller_in_inference_mode_gets_the_same() -> None:
    handle = attached("llama", "causal-lm")
    encoded = encode(handle, TEXTS)
    expected = attribute(handle, encoded, method="gradient_attention")
    with torch.inference_mode():
        found = attribute(handle, encoded, method="gradient_attention")
    assert all(np.array_equal(one.scores, other.scores) for one, other in zip(expected, found, strict=True))


def test_a_classifier_that_pools_by_the_mean_is_read_at_every_position() -> None:
    built = zoo.build("modernbert", "text-classification")
    built.model.config.classifier_pooling = "mean"
    handle = attach_handle(built.model, built.tokenizer)
    encoded = encode(handle, TEXTS)
    for method in ("gradient_attention", "value_zeroing", "attention_rollout"):
        found = attribute(handle, encoded, method=method)
        assert [example.scores.sum() for example in found] == pytest.approx([1.0] * 3)
    (example,) = attribute(handle, encoded[:1], method="attention_rollout")
    with torch.no_grad(), capturing(handle, "attn_pattern") as capture:
        handle.model(input_ids=torch.tensor([encoded[0].ids]))
    through = np.eye(len(encoded[0].ids))
    for layer in range(handle.n_layers):
        mixed = capture["attn_pattern", layer][0].mean(0).double().numpy() + np.eye(len(through))
        through = mixed / mixed.sum(1, keepdims=True) @ through
    assert np.abs(example.scores - through.mean(0)).max() < 1e-6


def test_one_layer_with_one_head_has_a_closed_form() -> None:
    # y = sum_j A_0j v_j, so dy/dA_0j = v_j: the row is the identity plus what attention moves up.
    pattern = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])
    values = np.array([2.0, -1.0, 4.0])
    gradient = np.zeros((3, 3))
    gradient[0] = values
    found = gradient_relevance([pattern[None]], [gradient[None]])
    assert np.allclose(found, [[1 + 1.0, 0.0, 0.8], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def test_a_model_of_one_layer_and_one_head_is_its_own_finite_differences() -> None:
    model, tokenizer = tiny.tiny("bert")
    config = type(model.config)(
        **{**model.config.to_dict(), "num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 32}
    )
    one = tiny.seeded(lambda: type(model)._from_config(config), 0)
    handle = attach_handle(one, tokenizer)
    (text,) = encode(handle, [tiny.TEXTS[0]])
    (example,) = attribute(handle, [text], target=1, method="gradient_attention")
    # R = I + A for one layer, and A of one head is relu(gradient * pattern): here by finite differences.
    with torch.no_grad(), capturing(handle, "attn_pattern") as capture:
        one(input_ids=torch.tensor([text.ids]))
    pattern = capture["attn_pattern", 0].double()[0, 0]
    one.double()

    def logit(moved: Tensor) -> float:
        with (
            torch.no_grad(),
            capturing(handle, "logits", edits=[Edit.apply("attn_pattern.0", lambda _: moved)]) as seen,
        ):
            one(input_ids=torch.tensor([text.ids]))
        return float(seen["logits"][0, 1])

    row = np.zeros(len(text.ids))
    row[0] = 1.0
    for key in range(len(text.ids)):
        step = torch.zeros(1, 1, *pattern.shape, dtype=torch.float64)
        step[0, 0, 0, key] = 1e-5
        slope = (logit(pattern[None, None] + step) - logit(pattern[None, None] - step)) / 2e-5
        row[key] += max(slope * float(pattern[0, key]), 0.0)
    assert np.abs(example.scores - row / row.sum()).max() < 1e-5


def test_cross_relevance_is_the_recursion_by_hand() -> None:
    one = np.ones((1, 2, 2))
    # Encoder: A_ii = [[1, 0], [2, 1]], from one head with gradient 1.
    encoder = np.array([[[1.0, 0.0], [2.0, 1.0]]])
    # Two decoder layers; the first has no relevance of its own, so that N meets 0 / 0.
    decoder = [np.zeros((1, 2, 2)), np.array([[[1.0, 0.0], [1.0, 3.0]]])]
    cross = [np.array([[[2.0, 0.0], [0.0, 1.0]]]), np.array([[[1.0, 1.0], [0.0, 2.0]]])]
    found = cross_relevance(([encoder], [one]), (decoder, [one, one]), (cross, [one, one]))
    # R_ii = [[2, 0], [2, 2]]; R - I has rows (1, 0), (2, 1); N = [[2, 0], [2/3, 4/3]].
    # Layer 1: R_ss = I, N = I: R_sq = [[2, 0], [0, 1]] N = [[4, 0], [2/3, 4/3]].
    # Layer 2, itself: R_ss = [[2, 0], [1, 4]]; R_sq += [[1, 0], [1, 3]] R_sq = [[4, 0], [6, 4]], so R_sq is
    # [[8, 0], [20/3, 16/3]].
    # Layer 2, cross: R_ss - I has rows (1, 0), (1, 3); N = [[2, 0], [1/4, 7/4]], transposed [[2, 1/4], [0, 7/4]].
    # A N_ii = [[8/3, 4/3], [4/3, 8/3]]; times that: [[17/3, 10/3], [7/3, 14/3]].
    assert np.allclose(found.own, [[2, 0], [1, 4]])
    assert found.source is not None
    assert np.allclose(found.source, [[8 + 17 / 3, 10 / 3], [20 / 3 + 7 / 3, 16 / 3 + 14 / 3]])


def test_gradients_against_the_scalar_are_left_out_head_by_head() -> None:
    patterns = np.full((2, 1, 1), 1.0)
    gradients = np.array([[[3.0]], [[-5.0]]])
    assert np.allclose(gradient_relevance([patterns], [gradients]), [[1 + 1.5]])


def normalised(relevance: Tensor) -> Tensor:
    added = relevance - torch.eye(len(relevance))
    return torch.nan_to_num(added / added.sum(1, keepdim=True)) + torch.eye(len(relevance))


@pytest.mark.parametrize("family", ["t5", "bart", "mbart", "m2m_100", "marian", "pegasus"])
def test_a_captured_encoder_decoder_is_the_recursion_over_its_own_eager_attentions(family: str) -> None:
    built = zoo.build(family, "seq2seq-lm")
    handle = attach_handle(built.model, built.tokenizer)
    assert built.tokenizer is not None
    batch = dict(built.tokenizer(TEXTS, return_tensors="pt", padding=True))
    batch = {name: batch[name] for name in ("input_ids", "attention_mask")}
    decoder = torch.tensor([[0, 5, 9, 7], [0, 8, 6, 4], [0, 11, 4, 9]])
    sites = ("encoder.attn_pattern", "decoder.attn_pattern", "cross.attn_pattern")
    with capturing(handle, *sites, grad=True, mode="eager") as capture:
        logits = handle.model(**batch, decoder_input_ids=decoder, use_cache=False).logits
    found = captured_relevance(capture, logits[:, -1, 3])
    for i in range(len(TEXTS)):
        ids = batch["input_ids"][i][batch["attention_mask"][i].bool()][None]
        output = eager_twin(handle)(input_ids=ids, decoder_input_ids=decoder[i : i + 1], output_attentions=True)
        kinds = (output.encoder_attentions, output.decoder_attentions, output.cross_attentions)
        for pattern in (pattern for kind in kinds for pattern in kind):
            pattern.retain_grad()
        output.logits[0, -1, 3].backward()
        weighted = [
            [(pattern.grad * pattern).clamp(min=0)[0].mean(0).double().detach() for pattern in kind] for kind in kinds
        ]
        own, source = torch.eye(4, dtype=torch.float64), torch.eye(ids.shape[1], dtype=torch.float64)
        for layer in weighted[0]:
            source = source + layer @ source
        to = torch.zeros(4, ids.shape[1], dtype=torch.float64)
        for within, across in zip(weighted[1], weighted[2], strict=True):
            own, to = own + within @ own, to + within @ to
            to = to + normalised(own).T @ across @ normalised(source)
        assert np.abs(found[i].own - own.numpy()).max() < 1e-5 * float(own.max())
        assert found[i].source is not None
        assert np.abs(found[i].source - to.numpy()).max() < 1e-5 * float(to.max())
        assert float(to[-1].max()) > 1e-3


def test_a_capture_without_what_it_takes_says_so() -> None:
    handle = attached("bert")
    ids = torch.tensor([encode(handle, TEXTS[:1])[0].ids])
    with capturing(handle, "attn_pattern", grad=True) as capture:
        logits = handle.model(input_ids=ids).logits
    # Beside the fused kernel the logits are not computed from the pattern.
    with pytest.raises(UsageError, match=r"attn_pattern\.\d.*mode='eager'"):
        captured_relevance(capture, logits[:, 0])
    with torch.no_grad(), capturing(handle, "attn_pattern") as plain:
        logits = handle.model(input_ids=ids).logits
    with pytest.raises(UsageError, match="grad=True"):
        captured_relevance(plain, logits[:, 0])
    with capturing(handle, "attn_pattern.1", grad=True, mode="eager") as part:
        logits = handle.model(input_ids=ids).logits
    with pytest.raises(UsageError, match=r"lacks attn_pattern\.0"):
        captured_relevance(part, logits[:, 0])
    with capturing(handle, "resid_post", grad=True) as other:
        logits = handle.model(input_ids=ids).logits
    with pytest.raises(UsageError, match="resid_post"):
        captured_relevance(other, logits[:, 0])
    # An identity edit puts the pattern into the graph without switching the whole model.
    edits = [Edit.apply("attn_pattern", lambda pattern: pattern)]
    with capturing(handle, "attn_pattern", grad=True, edits=edits) as edited:
        logits = handle.model(input_ids=ids).logits
    one = captured_relevance(edited, logits[:, 0])[0].own
    (example,) = attribute(handle, encode(handle, TEXTS[:1]), target=0, method="gradient_attention")
    assert np.abs(one[0] / one[0].sum() - example.scores).max() < 1e-6


def test_wrong_arrays_are_refused() -> None:
    pattern = np.ones((1, 3, 3))
    with pytest.raises(UsageError, match="1 patterns and 0 gradients"):
        gradient_relevance([pattern], [])
    with pytest.raises(UsageError, match="0 patterns"):
        gradient_relevance([], [])
    with pytest.raises(UsageError, match=r"\(3, 3\)"):
        gradient_relevance([np.ones((3, 3))], [np.ones((3, 3))])
    with pytest.raises(UsageError, match=r"\(4, 4\).*\(3, 3\)"):
        gradient_relevance([pattern, np.ones((1, 4, 4))], [pattern, np.ones((1, 4, 4))])
    with pytest.raises(UsageError, match="1 decoder layers and 2"):
        cross_relevance(([pattern], [pattern]), ([pattern], [pattern]), ([pattern] * 2, [pattern] * 2))


@pytest.mark.parametrize("method", ["gradient_attention", "value_zeroing", "attention_rollout"])
def test_an_encoder_decoder_is_told_which_site_it_lacks(method: str) -> None:
    built = zoo.build("bart", "text-classification")
    handle = attach_handle(built.model, built.tokenizer)
    encoded = encode(handle, TEXTS[:1])
    site = "v" if method == "value_zeroing" else "attn_pattern"
    with pytest.raises(UnknownSiteError, match=rf"{method} reads {site}.*encoder\.{site}"):
        attribute(handle, encoded, method=method)
