"""Shortened forwards give the logits of whole ones, and are not used where they would not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from interpret.analyzers.scheduler import Scheduler
from interpret.capture import shortened
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from interpret.models.prefixes import is_watched
from tests import zoo
from tests.tiny import TEXTS

READ_FIRST = ("bert", "roberta", "electra", "deberta-v2", "distilbert", "modernbert")


def classifier(family: str, **options: Any) -> Handle:
    built = zoo.build(family, "text-classification", **options)
    return attach_handle(built.model, built.tokenizer)


def altered(handle: Handle, n: int = 24) -> list[Row]:
    """Copies of two texts of different length with words masked at random, so that batches are padded."""
    rng = np.random.default_rng(5)
    rows = []
    for e in encode(handle, [" ".join(TEXTS), TEXTS[0]]):
        for _ in range(n):
            gone = (rng.random(len(e.ids)) < 0.5) & ~np.asarray(e.special)
            ids = np.where(gone, handle.mask_id or 0, e.ids)
            rows.append(Row(tuple(ids.tolist()), e.type_ids))
    return rows


def plain(handle: Handle, rows: list[Row]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Each row alone, by the model itself."""
    found = []
    for row in rows:
        types = {} if row.type_ids is None else {"token_type_ids": torch.tensor([row.type_ids])}
        with torch.no_grad():
            found.append(handle.model(input_ids=torch.tensor([row.ids]), **types).logits[0].double().numpy())
    return np.stack(found)


@contextmanager
def shapes_of(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """What reaches a module, without a hook, which would keep forwards whole."""
    seen: list[tuple[int, ...]] = []
    forward = module.forward

    def watching(inputs: Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(tuple(inputs.shape))
        return forward(inputs, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, "forward", watching)
        yield seen


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("family", READ_FIRST)
def test_logits_are_those_of_each_row_alone(family: str, attn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if family == "deberta-v2" and attn == "sdpa":
        pytest.skip("DeBERTa forms its attention itself")
    handle = classifier(family, attn_implementation=attn)
    rows = altered(handle)
    with shapes_of(handle.roles.mlp_act[-1], monkeypatch) as last, shapes_of(handle.roles.k[0], monkeypatch) as first:
        found = Scheduler(handle).logits(rows)
    expected = plain(handle, rows)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    # The proof runs whole once and narrowed once; every forward after it is narrowed.
    assert [shape[1] > 1 for shape in last].count(True) == 1
    assert len(last) > 2
    assert any(shape[0] == 1 and shape[1] > 2 for shape in first), "no batch had its projections computed once"
    assert not is_watched(handle.model)


def test_attention_of_one_query_is_not_computed_for_all() -> None:
    handle = classifier("bert", attn_implementation="sdpa")
    rows = altered(handle)
    asked: list[int] = []

    class Watching(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is nn.functional.scaled_dot_product_attention:
                asked.append(args[0].shape[2])
            return func(*args, **(kwargs or {}))

    short = shortened.Shortened(handle)
    with Watching(), short.for_rows(rows), torch.no_grad():
        asked.clear()
        handle.model(input_ids=torch.tensor([row.ids for row in rows[:8]]))
    assert asked == [len(rows[0].ids), 1]


class MeanPooled(nn.Module):
    """A pooler that reads every position, where BERT's reads the first."""

    def __init__(self, pooler: Any) -> None:
        super().__init__()
        self.pooler = pooler

    def forward(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.pooler(hidden.mean(dim=1, keepdim=True))
        return found


def test_a_head_that_reads_every_position_is_found_and_forwards_stay_whole() -> None:
    handle = classifier("modernbert")
    handle.config.classifier_pooling = "mean"
    rows = altered(handle)
    expected = plain(handle, rows)
    scheduler = Scheduler(handle)
    assert np.abs(scheduler.logits(rows) - expected).max() <= 1e-5 * np.abs(expected).max()
    assert scheduler._shortened._reads_first is False

    handle = classifier("bert")
    handle.model.bert.pooler = MeanPooled(handle.model.bert.pooler)  # type: ignore[union-attr]
    short = shortened.Shortened(handle)
    with short.for_rows(rows):
        pass
    assert short._reads_first is False


def test_a_block_that_serves_several_layers_is_left_alone() -> None:
    handle = classifier("albert")
    rows = altered(handle)
    expected = plain(handle, rows)
    scheduler = Scheduler(handle)
    assert np.abs(scheduler.logits(rows) - expected).max() <= 1e-5 * np.abs(expected).max()
    assert scheduler._shortened._reads_first is None


def test_somebody_elses_hook_sees_the_whole_stream() -> None:
    handle = classifier("bert")
    rows = altered(handle)
    seen: list[tuple[int, ...]] = []
    hook = handle.roles.post_norm[-1].register_forward_hook(lambda _, __, output: seen.append(tuple(output.shape)))
    Scheduler(handle).logits(rows)
    hook.remove()
    assert seen
    assert all(shape[1] > 1 for shape in seen)


def test_few_rows_run_whole_and_no_hook_is_left_after_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = classifier("bert")
    rows = altered(handle)
    scheduler = Scheduler(handle)
    with shapes_of(handle.roles.mlp_act[-1], monkeypatch) as last:
        scheduler.logits(rows[:4])
    assert all(shape[1] > 1 for shape in last)

    def failing() -> None:
        with scheduler._shortened.for_rows(rows):
            assert is_watched(handle.model)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert not is_watched(handle.model)


def test_the_same_token_with_another_state_is_noticed() -> None:
    """Token types that differ between rows change the states of equal tokens at equal places."""
    handle = classifier("bert")
    rows = altered(handle)[:24]
    mixed = [Row(row.ids, tuple(n % 2 for _ in row.ids)) for n, row in enumerate(rows)] + rows
    expected = plain(handle, mixed)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    assert np.abs(Scheduler(handle).logits(mixed) - expected).max() <= 1e-5 * np.abs(expected).max()


class Named(nn.Linear):
    """A projection that is handed what it reads by name, as code from elsewhere may do."""

    def __call__(self, hidden: Tensor) -> Any:
        return super().__call__(input=hidden)


def test_projections_that_are_called_by_name_run_whole() -> None:
    handle = classifier("bert")
    for module in (*handle.roles.q, *handle.roles.k, *handle.roles.v):
        module.__class__ = Named
    rows = altered(handle)
    expected = plain(handle, rows)
    assert np.abs(Scheduler(handle).logits(rows) - expected).max() <= 1e-5 * np.abs(expected).max()
    assert not is_watched(handle.model)
