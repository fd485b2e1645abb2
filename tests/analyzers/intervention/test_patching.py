"""Activation patching against plain torch, against what must come out, and against a model with one head at work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import interpret
from interpret.analyzers.intervention.patching import patch as run_patch
from interpret.capture.late_start import from_layer
from interpret.errors import InconclusiveError, InterpretError, UnknownSiteError, UsageError
from interpret.models.inputs import encode
from interpret.results.interventions import PatchSweep
from interpret.results.views import to_html, to_text
from tests import planted
from tests.analyzers.intervention.support import (
    ATTENTION_OUTPUT,
    CASES,
    MLP,
    blocks,
    ids,
    made,
    pair,
    plain,
    seen,
    swapped,
)
from tests.tiny import tiny

EVERYTHING = slice(None)


def difference(record: PatchSweep, logits: torch.Tensor) -> float:
    target = record.target
    assert target.index is not None
    assert target.foil_index is not None
    return float(logits[target.index] - logits[target.foil_index])


@pytest.mark.parametrize(("family", "task"), CASES)
@pytest.mark.parametrize("site", ["resid_post", "attn_out", "mlp_out"])
@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_every_patch_is_that_of_plain_torch(family: str, task: str, site: str, direction: str) -> None:
    lm = made(family, task)
    clean, corrupted = pair(task)
    record = interpret.patch(lm, clean, corrupted, site=site, direction=direction, target=(0, 1))  # type: ignore[arg-type]
    assert record.late
    into, source = (corrupted, clean) if direction == "denoising" else (clean, corrupted)
    for layer, block in enumerate(blocks(lm, family)):
        path = {"resid_post": "", "attn_out": ATTENTION_OUTPUT[family], "mlp_out": MLP[family]}[site]
        module = block.get_submodule(path)
        other = seen(lm, module, source, "output")
        for position in range(other.shape[1]):
            with swapped(module, other, position, EVERYTHING, "output"):
                expected = difference(record, plain(lm, into))
            assert record.values[layer, position] == pytest.approx(expected, abs=2e-5)
        with swapped(module, other, EVERYTHING, EVERYTHING, "output"):
            assert record.whole[layer] == pytest.approx(difference(record, plain(lm, into)), abs=2e-5)
    assert record.clean == pytest.approx(difference(record, plain(lm, clean)), abs=1e-6)
    assert record.corrupted == pytest.approx(difference(record, plain(lm, corrupted)), abs=1e-6)


@pytest.mark.parametrize(("family", "task"), CASES)
def test_every_head_is_that_of_plain_torch(family: str, task: str) -> None:
    lm = made(family, task)
    clean, corrupted = pair(task)
    record = interpret.patch(lm, clean, corrupted, site="z", target=(0, 1))
    assert record.per == "head"
    assert record.values.shape == (2, 4)
    for layer, block in enumerate(blocks(lm, family)):
        module = block.get_submodule(ATTENTION_OUTPUT[family])
        other = seen(lm, module, clean, "input")
        for head in range(4):
            with swapped(module, other, EVERYTHING, slice(8 * head, 8 * head + 8), "input"):
                expected = difference(record, plain(lm, corrupted))
            assert record.values[layer, head] == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(("family", "task"), CASES)
@pytest.mark.parametrize("direction", ["denoising", "noising"])
@pytest.mark.parametrize("metric", ["logit_difference", "probability", "log_probability", "kl"])
def test_patching_the_whole_stream_gives_the_other_run(family: str, task: str, direction: str, metric: str) -> None:
    lm = made(family, task)
    record = interpret.patch(lm, *pair(task), direction=direction, metric=metric, target=(0, 1))  # type: ignore[arg-type]
    assert np.abs(record.whole - (record.clean if direction == "denoising" else record.corrupted)).max() < 1e-5
    assert record.whole_effects == pytest.approx(np.ones(2), abs=1e-3)


def test_metrics_against_scipy() -> None:
    from scipy.special import log_softmax
    from scipy.stats import entropy

    lm = made("gpt2", "causal-lm")
    clean, corrupted = pair("causal-lm")
    logits = [plain(lm, text).double().numpy() for text in (clean, corrupted)]
    p, q = (np.exp(log_softmax(line)) for line in logits)

    def ends(metric: str) -> tuple[float, float]:
        record = interpret.patch(lm, clean, corrupted, metric=metric, target=7, layers=[0])  # type: ignore[arg-type]
        return record.clean, record.corrupted

    assert ends("kl") == pytest.approx((0.0, entropy(p, q)), abs=1e-6)
    assert ends("probability") == pytest.approx((p[7], q[7]), rel=1e-5)
    assert ends("log_probability") == pytest.approx((np.log(p[7]), np.log(q[7])), rel=1e-5)
    assert ends("logit") == pytest.approx((logits[0][7], logits[1][7]), abs=1e-5)


@pytest.mark.parametrize(("family", "task"), CASES)
def test_beginning_late_changes_nothing(family: str, task: str) -> None:
    lm = made(family, task, double=True)
    texts = encode(lm.handle, pair(task))
    for site in ("resid_post", "resid_pre", "attn_out", "z", "mlp_act", "k"):
        late, full = (
            run_patch(lm.handle, texts[0], texts[1], site=site, target=(0, 1), late=late) for late in (True, False)
        )
        assert (late.late, full.late) == (True, False)
        # In double precision, since batches of other sizes round otherwise.
        assert np.abs(late.values - full.values).max() < 1e-12, site


@pytest.mark.parametrize(("family", "task"), CASES)
@pytest.mark.parametrize("n_skipped", [0, 1, 2])
def test_a_late_start_gives_the_same_bits(family: str, task: str, n_skipped: int) -> None:
    lm = made(family, task)
    if family == "gpt2" and task == "text-classification":
        lm.handle.config.pad_token_id = lm.handle.vocab_size - 1
    batch = {name: value.repeat(5, 1) for name, value in ids(lm, pair(task)[0]).items()}
    with lm.capturing("resid_post", "logits") as capture, torch.no_grad():
        expected = lm.handle.model(**batch).logits
    stream = capture["resid_post", max(0, n_skipped - 1)]
    with from_layer(lm.handle, n_skipped, stream), torch.no_grad():
        assert torch.equal(lm.handle.model(**batch).logits, expected)
    assert not any("forward" in vars(block) for block in blocks(lm, family))


@pytest.mark.parametrize(("family", "task"), CASES)
@pytest.mark.parametrize("where", [(0, 1), (1, 2)])
def test_the_head_that_was_planted_is_found(family: str, task: str, where: tuple[int, int]) -> None:
    lm = made(family, task)
    planted.one_head(lm.handle, *where)
    for direction in ("denoising", "noising"):
        record = interpret.patch(lm, *pair(task), site="z", direction=direction, target=(0, 1))  # type: ignore[arg-type]
        effects = record.effects
        assert np.unravel_index(np.abs(effects).argmax(), effects.shape) == where
        others = effects.copy()
        others[where] = 0.0
        assert np.abs(others).max() < 1e-3
        # Nothing else carries the word to where the answer is read.
        if where[0] == 1:
            assert effects[where] == pytest.approx(1.0, abs=1e-3)


def test_positions_of_texts_of_different_lengths_are_paired_by_the_caller() -> None:
    lm = interpret.attach(*planted.trained(), name="planted")
    clean, corrupted = "the film zork was", "the film blick was"
    with pytest.raises(UsageError, match=r"9 tokens and the corrupted one 10.*align="):
        interpret.patch(lm, clean, corrupted)
    same = [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 8), (8, 9)]
    record = interpret.patch(lm, clean, corrupted, align=same)
    assert record.target.label == "positive"
    assert record.target.foil_label == "negative"
    assert record.clean > 1 > -1 > record.corrupted
    assert len(record.columns) == 9
    assert record.to_frame()["position"].tolist()[:9] == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert record.columns[3] == "b"
    # The class token holds all there is to say at the end, and the words of the cue alone do at the beginning.
    assert record.effects[-1, 0] == pytest.approx(1.0, abs=1e-3)
    assert np.abs(record.effects[-1, 1:]).max() < 1e-3


def test_requests_that_cannot_be_met() -> None:
    lm = made("bert", "text-classification")
    clean, corrupted = pair("text-classification")
    for match, options in (
        (r"'attn_pattern' cannot be swept", {"site": "attn_pattern"}),
        (r"'embed' cannot be swept", {"site": "embed"}),
        (r"no heads; patch it with per='position'", {"per": "head"}),
        (r"per='word' is not known", {"per": "word"}),
        (r"no metric 'auc'", {"metric": "auc"}),
        (r"no direction 'both'", {"direction": "both"}),
        (r"needs two labels", {"target": 0}),
        (r"\(0, 99\).*0 to 8", {"align": [(0, 99)]}),
        (r"no position twice", {"align": [(0, 0), (1, 0)]}),
    ):
        with pytest.raises(UsageError, match=match):
            interpret.patch(lm, clean, corrupted, **options)  # type: ignore[arg-type]
    with pytest.raises(UnknownSiteError, match="layer"):
        interpret.patch(lm, clean, corrupted, layers=[2], target=(0, 1))
    with pytest.raises(InconclusiveError, match="no difference"):
        interpret.patch(lm, clean, clean, target=(0, 1))
    model, tokenizer = tiny("bert")
    body = interpret.attach(model.bert, tokenizer)
    with pytest.raises(UsageError, match=r"task of .* is none"):
        interpret.patch(body, clean, corrupted)


def test_the_model_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = tiny("gpt2", "causal-lm")
    lm = interpret.attach(model.train(), tokenizer)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()

    def untouched() -> None:
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all(module.training for module in model.modules())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        assert not any("forward" in vars(module) for module in model.modules())
        assert torch.equal(torch.get_rng_state(), state)

    first = interpret.patch(lm, *pair("causal-lm"), target=(0, 1))
    untouched()
    calls = iter(range(100))
    forward = type(model.lm_head).forward

    def failing(self: torch.nn.Linear, value: torch.Tensor) -> torch.Tensor:
        if next(calls) == 6:
            raise RuntimeError("inside the model")
        return forward(self, value)

    with monkeypatch.context() as patched:
        patched.setattr(type(model.lm_head), "forward", failing)
        with pytest.raises((RuntimeError, InterpretError), match="inside the model"):
            interpret.patch(lm, *pair("causal-lm"), target=(0, 1))
    untouched()
    assert np.array_equal(interpret.patch(lm, *pair("causal-lm"), target=(0, 1)).values, first.values)


def test_others_hooks_see_whole_forwards() -> None:
    model, tokenizer = tiny("gpt2", "causal-lm")
    lm = interpret.attach(model, tokenizer)
    handle = model.transformer.h[0].register_forward_hook(lambda *a: None)
    assert not interpret.patch(lm, *pair("causal-lm"), target=(0, 1)).late
    handle.remove()


@pytest.mark.parametrize("locale", ["en", "zh"])
def test_shown_in_words_saved_and_read_again(locale: str, tmp_path: Path) -> None:
    lm = made("llama", "causal-lm")
    clean, corrupted = pair("causal-lm")
    for site in ("resid_post", "z"):
        record = interpret.patch(lm, clean, f"<b>{corrupted[3:]}", site=site, target=(0, 1), align=[(0, 0), (1, 1)])
        text, html = to_text(record, locale=locale), to_html(record, locale=locale)
        assert "{" not in text
        assert "<b>" not in html
        assert "&lt;b&gt;" in html
        assert "style=" not in html
        assert "<svg" in html
        again = PatchSweep.load(record.save(tmp_path / site))
        assert to_text(again, locale=locale) == text
        assert np.array_equal(again.effects, record.effects)
        assert list(record.to_frame()) == ["site", "layer", record.per, "token", "value", "effect"]
