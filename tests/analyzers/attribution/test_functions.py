"""A user's own function of the output: the same as a target of ours where it computes the same, else plain forwards."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interpret
from interpret.analyzers.attribution import METHODS
from interpret.errors import UsageError
from interpret.facade import AttachedModel
from interpret.results.explanations import Attribution
from interpret.results.views import to_html, to_text
from tests import planted, zoo
from tests.capture.support import same_state, state_of
from tests.tiny import TEXTS, tiny

#: Of different lengths, so that a batch of them would be padded.
SOME = list(TEXTS[:4])


def attached(family: str, task: str) -> AttachedModel:
    built = zoo.build(family, task)
    return interpret.attach(built.model, built.tokenizer, name=f"{family} {task}")


BERT = attached("bert", "text-classification")
LLAMA = attached("llama", "causal-lm")


def class_one(output: Any) -> Tensor:
    return output.logits[:, 1]


def entropy(output: Any) -> Tensor:
    """Of the next token, in nats."""
    logs = output.logits[:, -1].log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)


def spread(output: Any) -> Tensor:
    """Over all positions, which pads would change."""
    return output.logits.std(dim=(1, 2))


def plain(lm: AttachedModel, function: Any, ids: Any) -> float:
    with torch.no_grad():
        return float(function(lm.handle.model(input_ids=torch.tensor([list(ids)])))[0])


@pytest.mark.parametrize("method", METHODS)
def test_a_function_of_a_class_is_that_class(method: str) -> None:
    options: dict[str, Any] = {"n_samples": 20} if method == "lime" else {}
    ours = BERT.attribute(SOME, target=1, method=method, quality=False, **options)
    theirs = BERT.attribute(SOME, target=class_one, method=method, quality=False, **options)
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(other.scores, own.scores, atol=1e-5)
        assert (other.value is None) == (own.value is None)
        assert other.value is None or other.value == pytest.approx(own.value, abs=1e-5)
    assert theirs.target[0].kind == "function"
    assert (theirs.target[0].label, theirs.target[0].index, theirs.target[0].chosen) == ("class_one", None, "given")


@pytest.mark.parametrize("method", ["integrated_gradients", "gradient_x_input", "deep_lift", "leave_one_out", "shap"])
def test_the_last_position_is_the_last_token_of_each_text(method: str) -> None:
    ours = LLAMA.attribute(SOME, target=7, method=method, quality=False)
    theirs = LLAMA.attribute(SOME, target=lambda output: output.logits[:, -1, 7], method=method, quality=False)
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(other.scores, own.scores, atol=1e-4)


@pytest.mark.parametrize("function", [entropy, spread])
@pytest.mark.parametrize("method", ["integrated_gradients", "smooth_grad", "leave_one_out", "permutation_shap"])
def test_alone_as_in_a_batch_of_other_lengths(function: Any, method: str) -> None:
    together = LLAMA.attribute(SOME, target=function, method=method, quality=False)
    for text, example in zip(SOME, together, strict=True):
        (alone,) = LLAMA.attribute(text, target=function, method=method, quality=False)
        np.testing.assert_allclose(alone.scores, example.scores, atol=1e-4)
        assert example.value == pytest.approx(plain(LLAMA, function, example.token_ids), abs=1e-4)


def test_leave_one_out_is_the_difference_of_plain_forwards() -> None:
    found = LLAMA.attribute(SOME, target=spread, method="leave_one_out", unit="token", quality=False)
    end = LLAMA.handle.tokenizer.eos_token_id
    for example in found:
        ids = example.token_ids.tolist()
        whole = plain(LLAMA, spread, ids)
        for p in np.flatnonzero(~example.special):
            without = plain(LLAMA, spread, [*ids[:p], end, *ids[p + 1 :]])
            assert example.scores[p] == pytest.approx(whole - without, abs=1e-5)


def test_integrated_gradients_sum_to_the_difference_of_plain_forwards() -> None:
    found = LLAMA.attribute(SOME, target=entropy, method="integrated_gradients", quality=False, tolerance=1e-3)
    end = LLAMA.handle.tokenizer.eos_token_id
    for example in found:
        ids = example.token_ids
        empty = np.where(example.special, ids, end)
        difference = plain(LLAMA, entropy, ids) - plain(LLAMA, entropy, empty)
        assert example.scores.sum() == pytest.approx(difference, abs=2e-3 * max(1.0, abs(difference)))


def test_gradient_x_input_is_autograds() -> None:
    (example,) = LLAMA.attribute(SOME[0], target=entropy, method="gradient_x_input", quality=False)
    model = LLAMA.handle.model
    embedded = model.get_input_embeddings()(torch.tensor([example.token_ids.tolist()])).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(entropy(model(inputs_embeds=embedded)).sum(), embedded)
    np.testing.assert_allclose(example.scores, (gradient * embedded).sum(-1)[0].detach().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("family", "task", "function"),
    [
        ("bert", "token-classification", lambda output: output.logits[:, 1:-1].amax(dim=(1, 2))),
        ("bert", "masked-lm", lambda output: output.logits.logsumexp(-1).mean(-1)),
        ("bert", "question-answering", lambda output: output.start_logits.logsumexp(-1)),
        ("t5", "seq2seq-lm", lambda output: output.logits[:, -1].logsumexp(-1)),
    ],
)
@pytest.mark.parametrize("method", ["integrated_gradients", "leave_one_out"])
def test_every_task(family: str, task: str, function: Any, method: str) -> None:
    lm = attached(family, task)
    together = lm.attribute(SOME, target=function, method=method)
    for text, example in zip(SOME, together, strict=True):
        (alone,) = lm.attribute(text, target=function, method=method, quality=False)
        np.testing.assert_allclose(alone.scores, example.scores, atol=2e-4)
        assert example.target.label == "<lambda>"


@pytest.mark.parametrize("method", ["integrated_gradients", "leave_one_out"])
def test_a_model_without_a_head_is_explained_through_a_function(method: str) -> None:
    model, tokenizer = tiny("bert")
    lm = interpret.attach(model.bert, tokenizer, name="headless")
    assert lm.handle.task == "none"

    def length(output: Any) -> Tensor:
        return output.last_hidden_state[:, 0].norm(dim=-1)

    found = lm.attribute(SOME, target=length, method=method)
    for example in found:
        ids = example.token_ids.tolist()
        assert example.value == pytest.approx(plain(lm, length, ids), abs=1e-4)
    with pytest.raises(UsageError, match="has no head"):
        lm.attribute(SOME, method=method)


def test_a_response_is_read_by_the_function() -> None:
    def last(output: Any) -> Tensor:
        return output.logits[:, -1, 3]

    (example,) = LLAMA.attribute(SOME[0], target=last, response=" was happy", method="leave_one_out", quality=False)
    whole = [*example.token_ids.tolist(), *example.target.response]
    assert len(whole) > len(example.token_ids)
    assert example.value == pytest.approx(plain(LLAMA, last, whole), abs=1e-5)


def test_quality_is_measured_in_the_functions_own_units() -> None:
    lm = interpret.attach(*planted.trained(), name="planted")
    data = planted.sentences(8, seed=3)

    def towards_positive(output: Any) -> Tensor:
        return 100 * (output.logits[:, 1] - output.logits[:, 0])

    positive = [text for text, label in zip(data.texts, data.labels, strict=True) if label == 1]
    found = lm.attribute(positive * 2, target=towards_positive)
    assert found.quality is not None
    assert found.quality.options["quantity"] == "function"
    assert found.quality.verdict.startswith("better_than")
    row = found.quality.rows[0]
    assert row.value is not None
    # No difference of probabilities is as large as this.
    assert row.value > 10
    shown = to_text(found)
    assert "the function “towards_positive” computes" in shown
    assert "lowers the value of the function" in shown
    assert "robability" not in shown
    chinese = to_text(found, locale="zh")
    assert "函数“towards_positive”" in chinese
    assert "概率" not in chinese
    with pytest.raises(UsageError, match="keeps the name only"):
        interpret.faithfulness(lm, found)


def test_a_record_keeps_the_name(tmp_path: Path) -> None:
    found = BERT.attribute(SOME, target=class_one)
    found.save(tmp_path / "a")
    assert Attribution.load(tmp_path / "a").target == found.target


def test_names_are_escaped() -> None:
    def function(output: Any) -> Tensor:
        return class_one(output)

    function.__name__ = "<img src=x>"
    page = to_html(BERT.attribute(SOME[0], target=function, quality=False))
    assert "<img" not in page
    assert "&lt;img src=x&gt;" in page


def test_partial_functions_and_callables_have_names() -> None:
    class Named:
        def __call__(self, output: Any) -> Tensor:
            return class_one(output)

    def of(index: int, output: Any) -> Tensor:
        return output.logits[:, index]

    names = [
        BERT.attribute(SOME[0], target=one, quality=False).target[0].label
        for one in (functools.partial(of, 2), Named())
    ]
    assert names == ["of", "Named"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda output: output.logits, r"shape \(1, 3\) for 1 rows, expected a tensor \[row\]"),
        (lambda output: output.logits.sum(), r"shape \(\) for 1 rows"),
        (lambda output: 1.0, "returned a float for 1 rows"),
        (lambda output: output.logits[:, 0] * float("nan"), "NaN, infinity"),
        (lambda output: output.nowhere[:, 0], "failed on the model's output .AttributeError.*with logits .1, 3."),
        (lambda output: output.logits[:, 9], "failed on the model's output .IndexError"),
        (lambda output: output.logits[:, 0] - output.logits[:, 0].mean(), "from that row alone"),
        (lambda output: torch.zeros(len(output.logits)), "is constant: it gives 0 whatever"),
        (lambda output: 0 * output.logits[:, 0] + 3, "is constant: it gives 3 whatever"),
    ],
)
@pytest.mark.parametrize("method", ["integrated_gradients", "leave_one_out"])
def test_functions_that_cannot_be_explained(function: Any, message: str, method: str) -> None:
    before = state_of(BERT.handle.model)
    with pytest.raises(UsageError, match=message):
        BERT.attribute(SOME, target=function, method=method)
    same_state(before, state_of(BERT.handle.model))


@pytest.mark.parametrize(
    "function",
    [
        lambda output: output.logits.detach()[:, 0],
        lambda output: output.logits.argmax(-1),
        lambda output: torch.from_numpy(output.logits.detach().numpy()[:, 0]),
    ],
)
def test_what_has_no_gradient_is_explained_by_removal_only(function: Any) -> None:
    for method in ("integrated_gradients", "gradient_x_input", "saliency", "gradient_attention"):
        with pytest.raises(UsageError, match="without a gradient"):
            BERT.attribute(SOME, target=function, method=method, quality=False)
    for example in BERT.attribute(SOME, target=function, method="leave_one_out", quality=False):
        assert example.value == pytest.approx(plain(BERT, function, example.token_ids), abs=1e-5)


def test_what_says_nothing_to_a_function_is_refused() -> None:
    for given in ({"at": 0}, {"gold": [0]}, {"response": "x"}):
        with pytest.raises(UsageError, match="says nothing"):
            BERT.attribute(SOME[0], target=class_one, **given)
    with pytest.raises(UsageError, match="a function may read any"):
        LLAMA.attribute(SOME[0], target=entropy, method="attention_rollout")
    model, tokenizer = tiny("bert")
    with pytest.raises(UsageError, match="cannot explain <function"):
        interpret.attach(model, tokenizer).attribute_to("x.parquet", SOME, target=class_one)


def windowed(family: str, task: str) -> AttachedModel:
    lm = attached(family, task)
    return AttachedModel(dataclasses.replace(lm.handle, max_length=12), lm.proof)


@pytest.mark.parametrize("method", ["leave_one_out", "integrated_gradients"])
def test_of_windows_the_mean_of_the_function_is_explained(method: str) -> None:
    def root(output: Any) -> Tensor:
        return (1 + output.logits.square().sum(-1)).sqrt()

    lm = windowed("bert", "text-classification")
    text = "the cat ate the red fish and then the cafe was very happy, not sad at all"
    (example,) = lm.attribute(text, target=root, method=method, long_text="windows", doc_stride=3, quality=False)
    cut = lm.handle.tokenizer(
        text, truncation=True, max_length=12, stride=3, return_overflowing_tokens=True, verbose=False
    ).input_ids
    values = [plain(lm, root, ids) for ids in cut]
    assert len(values) > 2
    assert example.windows is not None
    assert example.windows.values == pytest.approx(values, abs=1e-5)
    assert example.value == pytest.approx(float(np.mean(values)), abs=1e-5)
    # Of the mean of the logits the function would be another number.
    assert len({round(value, 3) for value in values}) > 1
    if method == "integrated_gradients":
        mask = lm.handle.tokenizer.mask_token_id
        empty = [plain(lm, root, [ids[0], *[mask] * (len(ids) - 2), ids[-1]]) for ids in cut]
        difference = float(np.mean(values)) - float(np.mean(empty))
        assert example.contributions.sum() == pytest.approx(difference, abs=0.05 * abs(difference) + 1e-4)


def test_quality_of_windows_is_that_of_the_mean_of_the_function() -> None:
    lm = windowed("bert", "text-classification")
    text = "the cat ate the red fish and then the cafe was very happy, not sad at all"
    found = lm.attribute(text, target=class_one, method="leave_one_out", long_text="windows", doc_stride=3)
    assert found.quality is not None
    assert found.quality.options["quantity"] == "function"
    example = found[0]
    assert example.windows is not None
    assert example.quality is not None
    ids, mask = example.token_ids, lm.handle.tokenizer.mask_token_id
    words = [word.score for word in example.words()]
    order = sorted(range(len(words)), key=lambda number: -words[number])
    cut = lm.handle.tokenizer(
        text, truncation=True, max_length=12, stride=3, return_overflowing_tokens=True, verbose=False
    ).input_ids
    moved = [range(1 + 7 * n, 1 + 7 * n + len(window) - 2) for n, window in enumerate(cut)]
    assert all(ids[list(at)].tolist() == window[1:-1] for at, window in zip(moved, cut, strict=True))

    def value(gone: set[int]) -> float:
        left = np.where(np.isin(example.word_index, list(gone)), mask, ids)
        return float(np.mean([plain(lm, class_one, [ids[0], *left[list(at)], ids[-1]]) for at in moved]))

    drops = [value(set()) - value(set(order[: max(1, round(f * len(order)))])) for f in found.quality.fractions]
    assert example.quality.comprehensiveness == pytest.approx(float(np.mean(drops)), abs=1e-5)


@pytest.mark.parametrize("task", ["token-classification", "question-answering"])
def test_windows_whose_positions_differ_are_not_explained_through_a_function(task: str) -> None:
    lm = windowed("bert", task)
    long = "the cat ate the red fish and then the cafe was very happy"
    given: Any = [("was it good", long)] if task == "question-answering" else [long]
    with pytest.raises(UsageError, match="positions are those of another token in every window"):
        lm.attribute(given, target=lambda output: output[0].sum(dim=-1), long_text="windows")
    # A text that fits has no windows.
    short: Any = [("was it", "good")] if task == "question-answering" else ["a good day"]
    function: Any = lambda output: output[0].flatten(1).logsumexp(-1)  # noqa: E731
    assert lm.attribute(short, target=function, long_text="windows", quality=False)[0].windows is None


def test_rows_that_begin_alike_are_whole_for_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a target of ours shares the beginning of the rows, so that a function would see the tails only."""
    text = " ".join(["the cat ate the red fish and was happy"] * 6)
    forward = LLAMA.handle.roles.base.forward
    n_run: list[int] = []

    @functools.wraps(forward)
    def counted(*args: Any, **kwargs: Any) -> Any:
        ids = args[0] if args else kwargs["input_ids"]
        n_run.append(ids.numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(LLAMA.handle.roles.base, "forward", counted)
    seen: list[tuple[int, ...]] = []

    def noted(output: Any) -> Tensor:
        seen.append(tuple(output.logits.shape[:2]))
        return output.logits.std(dim=(1, 2))

    n_tokens = len(LLAMA.attribute(text, target=7, method="leave_one_out", quality=False)[0].tokens)
    shared = sum(n_run)
    n_run.clear()
    (example,) = LLAMA.attribute(text, target=noted, method="leave_one_out", quality=False)
    assert {n for _, n in seen} == {n_tokens}
    n_rows = example.word_index.max() + 2
    assert sum(n_run) >= n_rows * n_tokens
    assert shared < 0.7 * n_rows * n_tokens
    monkeypatch.undo()
    assert example.value == pytest.approx(plain(LLAMA, spread, example.token_ids), abs=1e-5)
    word, end = example.words()[-1], LLAMA.handle.tokenizer.eos_token_id
    without = example.token_ids.copy()
    without[list(word.positions)] = end
    assert word.score == pytest.approx(example.value - plain(LLAMA, spread, without.tolist()), abs=1e-5)


@pytest.mark.parametrize("method", ["attention_rollout", "gradient_attention"])
def test_attention_of_an_encoder_decoder_is_not_followed_for_a_function(method: str) -> None:
    lm = attached("t5", "seq2seq-lm")
    with pytest.raises(UsageError, match="a function may read any"):
        lm.attribute(SOME[0], target=lambda output: output.logits.mean(dim=(1, 2)), method=method)


def test_a_capture_holds_no_output_for_a_function() -> None:
    with BERT.capturing("embed", "logits", grad=True) as capture:
        BERT.handle.model(**BERT.handle.tokenizer(SOME[0], return_tensors="pt"))
        with pytest.raises(UsageError, match="a capture keeps the sites it was asked for only"):
            BERT.attribute(capture, target=class_one)


def test_two_functions_of_one_name_are_told_apart() -> None:
    from interpret.analyzers.attribution import attribute
    from interpret.analyzers.scheduler import Scheduler
    from interpret.models.batching import Row
    from interpret.models.inputs import encode

    scheduler = Scheduler(BERT.handle)
    encoded = encode(BERT.handle, SOME[:1])
    values = []
    for index in range(3):
        # Made and let go: the next may come to stand where this one stood.
        found = attribute(
            BERT.handle,
            encoded,
            target=lambda output, index=index: output.logits[:, index],
            method="leave_one_out",
            scheduler=scheduler,
        )
        values.append(found[0].value)
        del found
    (logits,) = Scheduler(BERT.handle).logits([Row(encoded[0].ids, encoded[0].type_ids)])
    assert values == pytest.approx(logits.tolist(), abs=1e-5)
