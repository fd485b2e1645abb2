"""Shared beginnings: what comes out is what transformers gives for each row alone, and fewer tokens are run."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.models.batching import Row
from interpret.models.fingerprints import weights_sha256
from interpret.models.handle import Handle
from interpret.models.load import attach_handle
from interpret.models.prefixes import is_watched, plan_lots, run_prefixed
from interpret.models.readout import Readout, Term, logits_of, readouts
from tests import zoo

DECODERS = ("gpt2", "gpt_neox", "llama", "mistral", "qwen3", "gemma3", "gpt_oss")
N_TOKENS = 56


def handle_of(family: str, task: str = "causal-lm", dtype: torch.dtype = torch.float32) -> Handle:
    built = zoo.build(family, task)
    built.model.config.pad_token_id = built.tokenizer.pad_token_id
    return attach_handle(built.model.to(dtype), built.tokenizer)


def text_of(handle: Handle, seed: int, n: int = N_TOKENS) -> tuple[int, ...]:
    special = set(handle.tokenizer.all_special_ids)
    ordinary = [i for i in range(handle.vocab_size) if i not in special]
    return tuple(int(i) for i in np.random.default_rng(seed).choice(ordinary, n))


def without_each(ids: tuple[int, ...], other: int) -> list[Row]:
    """The text, and the text with each of its tokens replaced by another."""
    return [Row(ids), *(Row((*ids[:p], other, *ids[p + 1 :])) for p in range(1, len(ids)))]


def counting(handle: Handle, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens that go through the model, pads included; no hooks, which would switch sharing off."""
    counts: list[int] = []
    forward: Callable[..., Any] = handle.roles.base.forward

    @functools.wraps(forward)
    def counted(*args: Any, **kwargs: Any) -> Any:
        counts.append((args[0] if args else kwargs["input_ids"]).numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(handle.roles.base, "forward", counted)
    return counts


def alone(handle: Handle, row: Row) -> npt.NDArray[np.float64]:
    """All logits of one row, by a plain forward."""
    with torch.no_grad():
        found: npt.NDArray[np.float64] = handle.model(input_ids=torch.tensor([row.ids])).logits[0].double().numpy()
    return found


@pytest.mark.parametrize(
    ("family", "dtype"),
    # Experts are multiplied by a kernel that has no float64.
    [
        (f, dtype)
        for f in DECODERS
        for dtype in (torch.float32, torch.float64)
        if (f, dtype) != ("gpt_oss", torch.float64)
    ],
)
def test_every_row_reads_what_it_reads_alone(family: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = handle_of(family, dtype=dtype)
    # Two texts that begin alike, as stories do, and one whose words are taken out, so that rows become shorter.
    first = text_of(handle, 0)
    second = (*first[:20], *text_of(handle, 1)[20:])
    rows = [*without_each(first, 5), *without_each(second, 5)]
    rows += [Row(first[:p] + first[p + 3 :]) for p in range(1, N_TOKENS - 3)]
    wanted: list[Readout] = [(Term(7, -1), Term(9, -1, -1.0)) if n % 2 else (Term(8, -2),) for n in range(len(rows))]
    counts = counting(handle, monkeypatch)
    found = readouts(handle, rows, wanted)[:, 0]
    n_run = sum(counts)
    monkeypatch.undo()
    expected, checked = [], range(0, len(rows), 3)
    for n in checked:
        logits = alone(handle, rows[n])
        expected.append(logits[-1, 7] - logits[-1, 9] if n % 2 else logits[-2, 8])
    scale = np.abs(expected).max()
    # In float64 rotary angles and the softmax of many families are still those of float32, the same for both.
    assert np.abs(found[checked] - expected).max() < (1e-5 if dtype == torch.float32 else 1e-7) * scale
    assert n_run < 0.7 * sum(len(row.ids) for row in rows)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "gemma3"])
def test_whatever_side_the_tokenizer_pads_on(family: str, side: str) -> None:
    handle = handle_of(family)
    handle.tokenizer.padding_side = side
    ids = text_of(handle, 3)
    # Rows of different lengths, so that lots hold pads.
    rows = [Row(row.ids[: N_TOKENS - n % 4]) for n, row in enumerate(without_each(ids, 6))]
    found = readouts(handle, rows, [(Term(7, -1, log_probability=True),)] * len(rows))[:, 0]
    batch = handle.tokenizer.pad({"input_ids": [list(row.ids) for row in rows]}, return_tensors="pt")
    mask = batch["attention_mask"]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        logits = handle.model(input_ids=batch["input_ids"], attention_mask=mask, position_ids=positions).logits
    last = [int(line.nonzero().max()) for line in mask]
    expected = torch.stack([line[place].log_softmax(-1)[7] for line, place in zip(logits, last, strict=True)])
    assert np.abs(found - expected.double().numpy()).max() < 1e-4


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "gemma3"])
def test_a_decoder_that_classifies(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = handle_of(family, "text-classification")
    ids, pad = text_of(handle, 4), handle.config.pad_token_id
    # The text ends with two padding tokens: the class is read before them.
    rows = [Row((*row.ids, pad, pad)) for row in without_each(ids, 5)]
    counts = counting(handle, monkeypatch)
    found = np.stack(logits_of(handle, rows))
    assert sum(counts) < 0.7 * sum(len(row.ids) for row in rows)
    monkeypatch.undo()
    with torch.no_grad():
        expected = [handle.model(input_ids=torch.tensor([row.ids])).logits[0].double().numpy() for row in rows]
    assert np.abs(found - np.stack(expected)).max() < 1e-4


@pytest.mark.parametrize(("family", "task"), [("llama", "causal-lm"), ("t5", "seq2seq-lm"), ("bart", "seq2seq-lm")])
def test_a_row_that_another_begins_with_is_read_off_it(family: str, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = handle_of(family, task)
    written = text_of(handle, 5, 9)
    texts = [text_of(handle, 6, 8), text_of(handle, 7, 8)]
    rows, wanted = [], []
    for text in texts:
        for n in range(1, 9):
            rows.append(Row(text, None, written[:n]) if task == "seq2seq-lm" else Row((*text, *written[:n])))
            wanted.append((Term(written[n], -1),))
    counts = counting(handle, monkeypatch)
    found = readouts(handle, rows, wanted)
    monkeypatch.undo()
    assert sum(counts) == (16 if task == "seq2seq-lm" else 32)
    for row, (term,), value in zip(rows, wanted, found[:, 0], strict=True):
        inputs = {"input_ids": torch.tensor([row.ids])}
        if row.decoder_ids is not None:
            inputs["decoder_input_ids"] = torch.tensor([row.decoder_ids])
        with torch.no_grad():
            logits = handle.model(**inputs).logits[0, -1]
        assert value == pytest.approx(float(logits[term.index]), abs=1e-4)


def test_an_encoder_reads_no_row_off_another() -> None:
    built = zoo.build("bert", "masked-lm")
    handle = attach_handle(built.model, built.tokenizer)
    long = text_of(handle, 8, 12)
    rows = [Row(long[:8]), Row(long)]
    found = readouts(handle, rows, [(Term(7, 3),)] * 2)[:, 0]
    assert found == pytest.approx([alone(handle, row)[3, 7] for row in rows], abs=1e-4)
    assert abs(found[0] - found[1]) > 1e-3


def lots_seen(handle: Handle, rows: list[Row]) -> set[int]:
    """How many tokens were left out at the beginning of the batches that ran."""
    seen: set[int] = set()

    def step(batch: dict[str, Any], indices: list[int], start: int) -> None:
        seen.add(start)
        handle.model(**batch, **handle.without_cache)

    for _ in run_prefixed(handle, rows, [len(row.ids) - 1 for row in rows], step):
        pass
    return seen


def test_where_hooks_run_rows_run_whole() -> None:
    handle = handle_of("llama")
    rows = without_each(text_of(handle, 0), 5)
    assert lots_seen(handle, rows) != {0}
    seen: list[int] = []
    hook = handle.roles.blocks[0].register_forward_hook(lambda _m, args, _o: seen.append(args[0].shape[1]))
    assert is_watched(handle.model)
    assert lots_seen(handle, rows) == {0}
    assert set(seen) == {N_TOKENS}
    hook.remove()
    assert not is_watched(handle.model)


@pytest.mark.parametrize("name", ["dynamic", "longrope"])
def test_positions_that_turn_by_the_length_are_not_shared(name: str) -> None:
    handle = handle_of("llama")
    handle.config.rope_parameters = {**handle.config.rope_parameters, "rope_type": name}
    assert lots_seen(handle, without_each(text_of(handle, 0), 5)) == {0}


def test_a_model_that_has_a_state_or_one_row_at_a_time_runs_rows_whole() -> None:
    handle = handle_of("llama")
    handle.core._is_stateful = True
    assert lots_seen(handle, without_each(text_of(handle, 0), 5)) == {0}
    built = zoo.build("llama", "text-classification")
    built.model.config.pad_token_id = None
    alone_only = attach_handle(built.model, built.tokenizer)
    assert lots_seen(alone_only, without_each(text_of(alone_only, 0), 5)) == {0}


@pytest.mark.parametrize("fault", ["forgets", "refuses"])
def test_a_model_that_makes_something_else_of_a_cache_runs_rows_whole(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = handle_of("llama")
    rows = without_each(text_of(handle, 0), 5)
    forward = handle.roles.base.forward

    @functools.wraps(forward)
    def faulty(*args: Any, past_key_values: Any = None, **kwargs: Any) -> Any:
        if past_key_values is not None and fault == "refuses":
            raise TypeError("legacy tuples only")
        if past_key_values is not None and past_key_values.get_seq_length():
            past_key_values, kwargs["attention_mask"] = None, torch.ones_like(kwargs["input_ids"])
        return forward(*args, past_key_values=past_key_values, **kwargs)

    monkeypatch.setattr(handle.roles.base, "forward", faulty)
    found = readouts(handle, rows, [(Term(7, -1),)] * len(rows))[:, 0]
    assert lots_seen(handle, rows) == {0}
    monkeypatch.undo()
    assert np.abs(found - [alone(handle, row)[-1, 7] for row in rows]).max() < 1e-4


def test_lots_are_halved_when_memory_is_out_and_the_model_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = handle_of("mistral")
    rows = without_each(text_of(handle, 0), 5)
    handle.model.train()
    before = weights_sha256(handle.model), torch.get_rng_state().tolist(), repr(handle.config)
    expected = readouts(handle, rows, [(Term(7, -1),)] * len(rows))
    forward = handle.roles.base.forward
    sizes: list[int] = []

    @functools.wraps(forward)
    def scarce(*args: Any, **kwargs: Any) -> Any:
        if len(kwargs["input_ids"]) > 5:
            raise torch.OutOfMemoryError("out of memory")
        sizes.append(len(kwargs["input_ids"]))
        return forward(*args, **kwargs)

    monkeypatch.setattr(handle.roles.base, "forward", scarce)
    found = readouts(handle, rows, [(Term(7, -1),)] * len(rows))
    monkeypatch.undo()
    assert np.abs(found - expected).max() < 1e-5
    assert max(sizes) <= 5
    assert (weights_sha256(handle.model), torch.get_rng_state().tolist(), repr(handle.config)) == before
    assert all(module.training for module in handle.model.modules())


def common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 40), st.integers(12, 60), st.integers(1, 3), st.integers(0, 64))
def test_a_plan_holds_every_row_once_within_its_bounds(
    seed: int, n: int, size: int, n_texts: int, forward: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n_texts):
        text = np.concatenate([np.arange(10), rng.integers(0, 3, size)])
        for _ in range(n):
            ids = np.where(rng.random(len(text)) < 1.5 / len(text), 9, text)
            rows.append(Row(tuple(ids[: len(text) - int(rng.integers(0, 3))].tolist())))
    first = [len(row.ids) - 1 - int(rng.integers(0, 4)) for row in rows]
    budget = 300
    plan = plan_lots(rows, first, budget, forward=forward, max_batch=9)
    held = [n for lot in plan.lots for n in lot.rows]
    assert sorted([*held, *plan.whole]) == list(range(len(rows)))
    for lot in plan.lots:
        lengths = [len(rows[n].ids) for n in lot.rows]
        assert len(lot.rows) <= 9
        assert len(lot.rows) == 1 or len(lot.rows) * (max(lengths) - lot.start) <= budget
        assert len(lot.rows) == 1 or len(lot.rows) * max(lengths) <= 4 * budget
        assert all(lot.start <= min(first[n], common(rows[n].ids, rows[lot.base].ids)) for n in lot.rows)
    shared = sum(len(rows[n].ids) - lot.start for lot in plan.lots for n in lot.rows)
    shared += sum(max(lot.start for lot in plan.lots if lot.base == base) for base in {lot.base for lot in plan.lots})
    assert shared <= 0.81 * (sum(len(rows[n].ids) for n in held) + forward * (len(held) + 1)) or not held


def test_removed_words_cost_half_and_short_texts_are_left_alone() -> None:
    text = tuple(range(10, 140))
    rows = [Row((*text[:p], 2, *text[p + 1 :])) for p in range(130)]
    plan = plan_lots(rows, [129] * 130, 4096)
    run = sum((130 - lot.start) * len(lot.rows) for lot in plan.lots) + max(lot.start for lot in plan.lots)
    run += 130 * len(plan.whole)
    # One after another they would cost 130 * 131 / 2 tokens.
    assert run < 0.65 * 130 * 130
    short = [Row((*text[:p], 2, *text[p + 1 : 12])) for p in range(12)]
    assert plan_lots(short, [11] * 12, 4096).lots == []
