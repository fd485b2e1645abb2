"""A whole run on tiny models: planted signals are found where they are, meaningless labels are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from interpret.analyzers.probing import probe
from interpret.errors import InconclusiveError, UsageError
from interpret.models.load import attach_handle
from interpret.readers.probe_data import ProbeData
from interpret.results.probes import ProbeResult
from tests.tiny import WORDS, tiny


@pytest.fixture(scope="module")
def bert() -> Any:
    return attach_handle(*tiny("bert", "masked-lm"))


def sentences(n: int, seed: int = 0) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[str(w) for w in rng.choice(WORDS, size=rng.integers(3, 10))] for _ in range(n)]


def cell(result: ProbeResult, probe: str, metric: str, site: str, layer: int | None = None) -> pd.Series:
    frame = result.to_frame()
    rows = frame[(frame.probe == probe) & (frame.metric == metric) & (frame.site == site)]
    rows = rows[rows.layer.isna() if layer is None else rows.layer == layer]
    assert len(rows) == 1
    return rows.iloc[0]


def test_a_signal_planted_at_one_layer_is_found_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second block adds a direction where the word before was "not"; no state before it can know."""
    model, tokenizer = tiny("bert", "masked-lm")
    handle = attach_handle(model, tokenizer)
    after_not = tokenizer.convert_tokens_to_ids("not")
    seen: dict[str, torch.Tensor] = {}

    def note(module: Any, args: Any, kwargs: dict[str, torch.Tensor]) -> None:
        seen["ids"] = kwargs["input_ids"]

    def plant(module: Any, args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        previous = torch.roll(seen["ids"], 1, dims=1) == after_not
        planted = hidden + 20.0 * previous[..., None] * torch.eye(hidden.shape[-1])[0]
        return (planted, *output[1:]) if isinstance(output, tuple) else planted

    # An honest BERT mixes the word before into its states; blind attention leaves it to the planted direction.
    for module in handle.roles.attention_output:
        torch.nn.init.zeros_(module.weight)
    words = sentences(300)
    labels = [[None if w == 0 else str(row[w - 1] == "not") for w in range(len(row))] for row in words]
    hooks = [
        model.register_forward_pre_hook(note, with_kwargs=True),
        handle.roles.blocks[1].register_forward_hook(plant),
    ]
    try:
        result = probe(handle, ProbeData.of_words(words, labels), random_weights=False, progress=False)
    finally:
        for hook in hooks:
            hook.remove()
    before = cell(result, "logistic", "v_information_bits", "resid_post", 0)
    after = cell(result, "logistic", "v_information_bits", "resid_post", 1)
    assert before.ci_high < 0.05
    assert after.ci_low > 0.1
    assert cell(result, "logistic", "balanced_accuracy", "resid_post", 1).value > 0.95
    best = result.best_by("v_information_bits")
    assert best is not None
    assert (best.site, best.layer) == ("resid_post", 1)


def test_labels_drawn_per_type_are_no_more_than_a_control(bert: Any) -> None:
    """The real task is one more control, so in most runs the interval of selectivity holds 0."""
    words = sentences(200)
    n_inside = n = 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        of = dict(zip(WORDS, rng.choice(["A", "B", "C"], size=len(WORDS)).tolist(), strict=True))
        data = ProbeData.of_words(words, [[of[w] for w in row] for row in words])
        result = probe(bert, data, probes=("ridge",), seed=seed, random_weights=False, progress=False)
        frame = result.to_frame().query("probe == 'ridge' and metric == 'selectivity'")
        n += len(frame)
        n_inside += int(((frame.ci_low <= 0) & (frame.ci_high >= 0)).sum())
    assert n == 9
    assert n_inside >= 8


def test_labels_shuffled_per_word_leave_nothing_to_find(bert: Any) -> None:
    words = sentences(400)
    rng = np.random.default_rng(0)
    labels = [rng.choice(["A", "B"], p=[0.7, 0.3], size=len(row)).tolist() for row in words]
    result = probe(bert, ProbeData.of_words(words, labels), random_weights=False, progress=False)
    for layer in (0, 1):
        assert cell(result, "logistic", "v_information_bits", "resid_post", layer).ci_high <= 0.02
        accuracy = cell(result, "ridge", "accuracy", "resid_post", layer)
        assert accuracy.value <= cell(result, "majority", "accuracy", "none").value + 0.02
        assert cell(result, "ridge", "selectivity", "resid_post", layer).value < 0


def test_every_row_a_reader_needs_is_there_and_runs_repeat(bert: Any) -> None:
    words = sentences(150)
    data = ProbeData.of_words(words, [["early" if w[0] < "g" else "late" for w in row] for row in words])
    first = probe(bert, data, n_bootstrap=50, progress=False)
    frame = first.to_frame()
    assert set(frame.probe) == {
        "ridge",
        "logistic",
        "majority",
        "type",
        "embedding",
        "random_weights",
        "control",
    }
    assert frame[frame.probe == "ridge"].groupby("metric").size().to_dict() == dict.fromkeys(
        ("accuracy", "balanced_accuracy", "macro_f1", "selectivity"), 3
    )
    assert frame.value.notna().all()
    assert (frame.ci_low <= frame.value).all()
    assert (frame.value <= frame.ci_high).all()
    assert first.n_train + first.n_validation + first.n_test == data.n_items
    assert first.classes == ("early", "late")
    pd.testing.assert_frame_equal(frame, probe(bert, data, n_bootstrap=50, progress=False).to_frame())
    embedding = cell(first, "embedding", "accuracy", "embed")
    assert embedding.value == cell(first, "ridge", "accuracy", "embed").value
    assert cell(first, "type", "accuracy", "none").value == 1.0


def test_the_model_and_the_random_state_are_left_alone() -> None:
    model, tokenizer = tiny("gpt2", "causal-lm")
    model.train()
    handle = attach_handle(model, tokenizer)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    words = sentences(100)
    data = ProbeData.of_words(words, [["A" if w in WORDS[::2] else "B" for w in row] for row in words])
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    result = probe(handle, data, n_bootstrap=20, progress=False)
    assert torch.equal(torch.rand(3), expected)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert "random_weights" in set(result.to_frame().probe)


def test_texts_with_a_test_set_of_their_own(bert: Any) -> None:
    words = sentences(260)
    texts = [" ".join(row) for row in words]
    labels = ["yes" if "good" in row or "happy" in row else "no" for row in words]
    train = ProbeData.of_texts(texts[:180], labels[:180])
    test = ProbeData.of_texts([*texts[180:], texts[0]], [*labels[180:-1], "new", labels[0]])
    result = probe(bert, train, test, sites="embed", n_bootstrap=50, progress=False)
    assert (result.level, result.control) == ("sentence", "permuted_labels")
    assert result.n_duplicate_sentences == 1
    assert result.n_test == 81
    assert result.n_train == 144
    codes = {note.code: dict(note.params) for note in result.notes}
    assert codes["probe_shared_sentences"] == {"n": 1, "n_test": 81, "example": texts[0]}
    assert codes["probe_unseen_labels"] == {"n": 1}
    assert {"probe_mean_pooling", "probe_control_is_capacity", "probe_random_weights_not_run"} <= set(codes)
    assert cell(result, "logistic", "v_information_bits", "embed").n == 80
    assert cell(result, "ridge", "accuracy", "embed").n == 81
    assert "type" not in set(result.to_frame().probe)


def test_thin_data_is_inconclusive(bert: Any) -> None:
    words = sentences(20)
    labels = [["A" if len(w) > 3 else "B" for w in row] for row in words]
    with pytest.raises(InconclusiveError, match=r"leaves .* labelled words for test; at least 50"):
        probe(bert, ProbeData.of_words(words, labels), progress=False)
    many = sentences(200)
    with pytest.raises(InconclusiveError, match="has label = 'A'; a probe needs at least two"):
        probe(bert, ProbeData.of_words(many, [["A"] * len(row) for row in many]), progress=False)
    test = ProbeData.of_words([words[0]] * 20, [labels[0]] * 20)
    train = ProbeData.of_words(many, [["A" if len(w) > 3 else "B" for w in row] for row in many])
    with pytest.raises(InconclusiveError, match="1 different sentences"):
        probe(bert, train, test, progress=False)


def test_wrong_requests_say_what_is_available(bert: Any) -> None:
    words = ProbeData.of_words([["a"]], [["A"]])
    with pytest.raises(UsageError, match="available are ridge, logistic"):
        probe(bert, words, probes=("tree",))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="one level"):
        probe(bert, words, ProbeData.of_texts(["a"], ["A"]))
    with pytest.raises(UsageError, match="at least one control"):
        probe(bert, words, n_control=0)
