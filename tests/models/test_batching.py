from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from interpret.errors import RunError, UsageError
from interpret.models.batching import (
    CPU_TOKENS,
    Halving,
    Row,
    collate,
    logits,
    plan_batches,
    run_batches,
    token_budget_of,
)
from interpret.models.handle import Handle
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from tests import zoo
from tests.tiny import FAMILIES, TEXTS, tiny

CASES = [(family, task) for family, tasks in FAMILIES.items() for task in tasks]


def rows_of(handle: Handle) -> list[Row]:
    texts = list(TEXTS)
    if handle.task == "masked-lm":
        assert handle.tokenizer is not None
        texts = [f"{text} {handle.tokenizer.mask_token}" for text in texts]
    return [Row(one.ids, one.type_ids) for one in encode(handle, texts)]


@pytest.mark.parametrize(("family", "task"), CASES)
def test_alone_equals_padded_equals_the_plain_forward(family: str, task: str) -> None:
    model, tokenizer = tiny(family, task)
    handle = attach_handle(model, tokenizer)
    rows = rows_of(handle)
    together = logits(handle, rows)
    alone = np.concatenate([logits(handle, [row]) for row in rows])
    backwards = logits(handle, rows[::-1])[::-1]
    assert together.dtype == np.float64
    assert abs(together - alone).max() < 1e-5
    assert abs(together - backwards).max() < 1e-5
    for row, found in zip(rows, alone, strict=True):
        with torch.no_grad():
            plain = model(input_ids=torch.tensor([row.ids])).logits[0]
        if task == "causal-lm":
            plain = plain[-1]
        if task == "masked-lm":
            plain = plain[row.ids.index(tokenizer.mask_token_id)]
        assert abs(plain.double().numpy() - found).max() < 1e-5


@pytest.mark.parametrize("family", ["t5", "t5-gated", "bart"])
@pytest.mark.parametrize("pads_with_the_end", [False, True])
def test_texts_with_several_end_tokens_are_classified_as_alone(family: str, pads_with_the_end: bool) -> None:
    """T5 and BART read at the last end token, and refuse a batch in which texts have different numbers of them."""
    built = zoo.build(family, "text-classification")
    end = built.model.config.eos_token_id
    if pads_with_the_end:
        built.model.config.pad_token_id = end
    handle = attach_handle(built.model, built.tokenizer)
    texts = [*TEXTS, "good </s> bad", "the film </s> was </s> dull and sad", "</s>"]
    rows = [Row(one.ids, one.type_ids) for one in encode(handle, texts)]
    assert {row.ids.count(end) for row in rows} == {1, 2, 3}
    found = logits(handle, rows)
    for row, values in zip(rows, found, strict=True):
        with torch.no_grad():
            plain = built.model(input_ids=torch.tensor([row.ids])).logits[0]
        assert abs(plain.double().numpy() - values).max() < 1e-5


def test_positions() -> None:
    handle = attach_handle(*tiny("gpt2", "causal-lm"))
    rows = rows_of(handle)
    found = logits(handle, rows, positions=[0] * len(rows))
    first = logits(handle, [Row(row.ids[:1]) for row in rows])
    assert abs(found - first).max() < 1e-5
    with pytest.raises(UsageError, match="position 99"):
        logits(handle, rows[:1], positions=[99])


def test_rows_without_a_mask_token_are_refused() -> None:
    handle = attach_handle(*tiny("bert", "masked-lm"))
    with pytest.raises(UsageError, match="row 0 has no mask token"):
        logits(handle, [Row((2, 50, 3))])
    assert logits(handle, [Row((2, 50, 3))], positions=[1]).shape == (1, 120)


def test_a_body_has_no_logits() -> None:
    handle = dataclasses.replace(attach_handle(*tiny("bert")), task="none")
    with pytest.raises(UsageError, match="has no head"):
        logits(handle, [Row((2, 3))])


def test_no_rows() -> None:
    assert logits(attach_handle(*tiny("bert")), []).shape == (0, 3)


def test_padding_is_on_the_right_with_the_models_own_id() -> None:
    handle = attach_handle(*tiny("roberta"))
    batch = collate(handle, [Row((0, 9, 2)), Row((0, 2))])
    assert batch["input_ids"].tolist() == [[0, 9, 2], [0, 2, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert "token_type_ids" not in batch
    typed = collate(handle, [Row((0, 9), (0, 1)), Row((0,), (0,))])
    assert typed["token_type_ids"].tolist() == [[0, 1], [0, 0]]
    with pytest.raises(UsageError):
        collate(handle, [Row(())])


def batches(handle: Handle, rows: list[Row], **options: int) -> list[list[int]]:
    return [indices for indices, _ in run_batches(handle, rows, lambda batch, indices: None, **options)]


def test_batches_are_of_like_length_under_the_budget_and_always_the_same() -> None:
    handle = attach_handle(*tiny("bert"))
    rows = [Row((5,) * n) for n in (3, 9, 4, 9, 1, 30)]
    found = batches(handle, rows, token_budget=20)
    assert found == [[5], [1, 3], [2, 0, 4]]
    assert found == batches(handle, rows, token_budget=20)
    assert max(map(len, batches(handle, rows, max_batch=2))) == 2


def test_decoder_classifiers_without_padding_id_run_one_by_one() -> None:
    handle = attach_handle(*tiny("gpt2"))
    assert handle.config.pad_token_id is None
    assert [len(indices) for indices in batches(handle, rows_of(handle))] == [1] * len(TEXTS)
    generator = attach_handle(*tiny("gpt2", "causal-lm"))
    assert len(batches(generator, rows_of(generator))) == 1


def test_a_padding_id_inside_the_text_changes_nothing() -> None:
    for family in ("bert", "roberta", "llama"):
        handle = attach_handle(*tiny(family))
        pad = handle.pad_id
        assert pad is not None
        rows = [Row((5, pad, 6, pad)), Row((5, 6, 7, 8, 9, 10))]
        together = logits(handle, rows)
        alone = np.concatenate([logits(handle, [row]) for row in rows])
        assert abs(together - alone).max() < 1e-5


@pytest.mark.parametrize(
    "failure",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: out of memory")],
)
def test_batches_are_halved_when_memory_runs_out(failure: RuntimeError) -> None:
    handle = attach_handle(*tiny("bert"))
    model = handle.model.train()
    rows = [Row((5,) * (n + 1)) for n in range(9)]
    tried = []

    def step(batch: dict[str, torch.Tensor], indices: list[int]) -> int:
        tried.append(len(indices))
        if len(indices) > 2:
            raise failure
        return len(indices)

    done = [index for indices, _ in run_batches(handle, rows, step) for index in indices]
    assert done == list(range(8, -1, -1))
    assert tried[:3] == [9, 4, 2]
    assert max(tried[2:]) == 2
    assert model.training


def test_one_row_that_does_not_fit_is_an_error() -> None:
    handle = attach_handle(*tiny("bert"))

    def step(batch: dict[str, torch.Tensor], indices: list[int]) -> None:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(RunError, match="one row of 3 tokens"):
        list(run_batches(handle, [Row((1, 2, 3))], step))


def test_other_errors_pass_and_the_model_is_as_before() -> None:
    handle = attach_handle(*tiny("bert"))
    handle.model.train()

    def step(batch: dict[str, torch.Tensor], indices: list[int]) -> None:
        assert not handle.model.training
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(run_batches(handle, [Row((1, 2, 3))], step))
    assert handle.model.training


def test_between_batches_the_model_is_as_the_caller_left_it() -> None:
    handle = attach_handle(*tiny("bert"))
    handle.model.train()
    state = torch.get_rng_state()
    for _ in run_batches(handle, [Row((5,)), Row((5, 6))], lambda batch, indices: torch.rand(3), max_batch=1):
        assert handle.model.training
        assert torch.equal(torch.get_rng_state(), state)


def test_a_plan_is_a_pure_function_and_is_what_runs() -> None:
    handle = attach_handle(*tiny("bert"))
    rows = [Row((5,) * n) for n in (3, 9, 4, 9, 1, 30)]
    plan = plan_batches(handle, [len(row.ids) for row in rows], token_budget=20)
    assert plan == [[5], [1, 3], [2, 0, 4]]
    assert batches(handle, rows, token_budget=20) == plan
    chosen = [indices for indices, _ in run_batches(handle, rows, lambda *_: None, batches=[[4, 0], [2]])]
    assert chosen == [[4, 0], [2]]
    assert token_budget_of(handle) == CPU_TOKENS
    assert plan_batches(handle, []) == []
    alone = attach_handle(*tiny("gpt2"))
    assert plan_batches(alone, [3, 4]) == [[1], [0]]


def test_halved_batches_stay_within_the_plan_and_their_bounds_can_be_taken_up() -> None:
    handle = attach_handle(*tiny("bert"))
    rows = [Row((5,) * 4)] * 8
    halving = Halving()

    def step(batch: dict[str, torch.Tensor], indices: list[int]) -> None:
        if len(indices) > 2:
            raise torch.OutOfMemoryError("out of memory")

    plan = [[0, 1, 2, 3, 4], [5, 6, 7]]
    ran = [indices for indices, _ in run_batches(handle, rows, step, batches=plan, halving=halving)]
    assert ran == [[0, 1], [2, 3], [4], [5, 6], [7]]
    assert halving == Halving(max_rows=2, max_tokens=10)
    again = [i for i, _ in run_batches(handle, rows, lambda *_: None, batches=plan, halving=Halving(2, 10))]
    assert again == ran
    few_tokens = [i for i, _ in run_batches(handle, rows, lambda *_: None, batches=plan, halving=Halving(None, 9))]
    assert few_tokens == ran
