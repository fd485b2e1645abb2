"""Patching over several pairs: against single sweeps, against every possible resample, and with one head at work."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import interpret
from interpret.errors import InconclusiveError, InterpretError, UnknownSiteError, UsageError
from interpret.results.interventions import PatchSweep
from interpret.results.patch_sweeps import LeftOutPair, PatchSweeps
from interpret.results.views import to_html, to_text
from tests import planted
from tests.analyzers.intervention.support import CASES, made
from tests.tiny import tiny

NOUNS = ("cat", "fish", "day", "story", "end", "film")


def pairs(task: str, words: tuple[str, str] = ("good", "bad")) -> tuple[list[str], list[str]]:
    mask = " [MASK]" if task == "masked-lm" else ""
    clean, corrupted = ([f"the film was {word} and the {noun}{mask}" for noun in NOUNS] for word in words)
    return clean, corrupted


def invented(n: int, seed: int = 0) -> list[PatchSweep]:
    """Sweeps of a real run, with numbers drawn in place of its own."""
    lm = made("gpt2", "causal-lm")
    clean, corrupted = pairs("causal-lm")
    sweep = interpret.patch(lm, clean[0], corrupted[0], site="z", target=(0, 1))
    rng = np.random.default_rng(seed)
    fields = dict(vars(sweep))
    found = []
    for _ in range(n):
        start, way = rng.normal(), rng.uniform(0.5, 3.0)
        fields["corrupted"], fields["clean"] = start, start + way
        fields["values"], fields["whole"] = (start + way * rng.normal(0.3, 0.4, size) for size in ((2, 4), 2))
        found.append(PatchSweep(**fields))
    return found


@pytest.mark.parametrize(("family", "task"), CASES)
@pytest.mark.parametrize("average", ["ratio_of_means", "mean_of_shares"])
def test_the_planted_head_stands_out_of_its_interval(family: str, task: str, average: str) -> None:
    lm = made(family, task)
    planted.one_head(lm.handle, 1, 2)
    record = interpret.patch(lm, *pairs(task), site="z", target=(0, 1), average=average)  # type: ignore[arg-type]
    assert len(record.sweeps) == len(NOUNS)
    frame = record.to_frame().set_index(["layer", "head"])
    mine, others = frame.loc[(1, 2)], frame.drop(index=(1, 2))
    assert mine["ci_low"] > 0.99
    assert mine["ci_high"] < 1.01
    assert others[["effect", "ci_low", "ci_high"]].abs().to_numpy().max() < 2e-3
    assert set(frame["n"]) == {len(NOUNS)}


@pytest.mark.parametrize(("family", "task"), CASES)
@pytest.mark.parametrize(("site", "direction"), [("resid_post", "denoising"), ("z", "noising")])
def test_means_are_those_of_single_sweeps(family: str, task: str, site: str, direction: str) -> None:
    lm = made(family, task)
    clean, corrupted = pairs(task)
    options = {"site": site, "direction": direction, "metric": "probability", "target": 1}
    record = interpret.patch(lm, clean, corrupted, **options)  # type: ignore[call-overload]
    singles = [interpret.patch(lm, *pair, **options) for pair in zip(clean, corrupted, strict=True)]  # type: ignore[call-overload]
    for sweep, single in zip(record.sweeps, singles, strict=True):
        assert np.array_equal(sweep.values, single.values)
        assert (sweep.clean_text, sweep.columns) == (single.clean_text, single.columns)
    ends = [(one.corrupted, one.clean) if direction == "denoising" else (one.clean, one.corrupted) for one in singles]
    signs = np.sign([b - a for a, b in ends])
    moved = np.sum([sign * (one.values - a) for sign, one, (a, _) in zip(signs, singles, ends, strict=True)], axis=0)
    assert record.average == "ratio_of_means"
    assert record.effects == pytest.approx(moved / sum(abs(b - a) for a, b in ends), abs=1e-12)
    shares = record.averaged("mean_of_shares")
    assert shares.effects == pytest.approx(np.mean([one.effects for one in singles], axis=0), abs=1e-12)
    assert shares.whole_effects == pytest.approx(np.mean([one.whole_effects for one in singles], axis=0), abs=1e-12)
    assert shares.sweeps == record.sweeps
    assert record.n_reversed == min(sum(signs > 0), sum(signs < 0))


@pytest.mark.parametrize("average", ["ratio_of_means", "mean_of_shares"])
def test_intervals_are_those_of_every_possible_resample(average: str) -> None:
    sweeps = invented(5)
    record = PatchSweeps.of(sweeps, average=average, n_bootstrap=40_000)  # type: ignore[arg-type]
    draws = np.array(list(product(range(5), repeat=5)))
    moved = np.array([one.values - one.corrupted for one in sweeps])
    ways = np.array([one.clean - one.corrupted for one in sweeps])
    if average == "mean_of_shares":
        moved, ways = moved / ways[:, None, None], np.ones(5)
    ratios = moved[draws].sum(axis=1) / ways[draws].sum(axis=1)[:, None, None]
    # Five pairs: read further out, by t over normal and by n over n - 1.
    tail = stats.norm.cdf(-np.sqrt(5 / 4) * stats.t.ppf(0.975, 4))
    low, high = np.quantile(ratios, [tail, 1 - tail], axis=0)
    assert record.ci_low == pytest.approx(low, abs=0.02)
    assert record.ci_high == pytest.approx(high, abs=0.02)
    assert (high - low).min() > 0.2
    again = PatchSweeps.of(sweeps, average=average, n_bootstrap=200, seed=3)  # type: ignore[arg-type]
    same = PatchSweeps.of(sweeps, average=average, n_bootstrap=200, seed=3)  # type: ignore[arg-type]
    other = PatchSweeps.of(sweeps, average=average, n_bootstrap=200, seed=4)  # type: ignore[arg-type]
    assert np.array_equal(again.ci_low, same.ci_low)  # type: ignore[arg-type]
    assert not np.array_equal(again.ci_low, other.ci_low)  # type: ignore[arg-type]


def test_four_pairs_have_no_interval() -> None:
    record = PatchSweeps.of(invented(4))
    assert record.ci_low is record.ci_high is record.whole_ci_low is record.whole_ci_high is None
    assert record.to_frame()["ci_low"].isna().all()
    assert "5 are needed" in to_text(record)


def test_a_tiny_difference_outweighs_the_mean_of_shares_alone() -> None:
    sweeps = invented(6)
    fields = dict(vars(sweeps[0]))
    fields["clean"] = fields["corrupted"] + 1e-4
    fields["values"] = np.full((2, 4), fields["corrupted"] + 0.05)
    record = PatchSweeps.of([*sweeps, PatchSweep(**fields)])
    assert np.abs(record.effects - PatchSweeps.of(sweeps).effects).max() < 0.02
    assert record.averaged("mean_of_shares").effects.min() > 50


def test_pairs_without_a_difference_are_left_out_and_counted() -> None:
    lm = interpret.attach(*planted.trained(), name="planted")
    clean = [f"the {noun} zork was" for noun in NOUNS]
    corrupted = [f"the {noun} blick was" for noun in NOUNS]
    same = [(i, i) for i in range(4)]
    record = interpret.patch(lm, [*clean, clean[0], clean[1]], [*corrupted, clean[2], clean[1]], align=same)
    assert record.left_out == (
        LeftOutPair(pair=6, clean_text=clean[0], corrupted_text=clean[2], why="same_answer"),
        LeftOutPair(pair=7, clean_text=clean[1], corrupted_text=clean[1], why="same_answer"),
    )
    assert np.array_equal(record.effects, interpret.patch(lm, clean, corrupted, align=same).effects)
    assert "Pairs left out: 2 of 8. Both texts are answered alike: 2." in to_text(record).replace("\n", " ")
    # With a target the answers may be alike, but not the numbers.
    named = interpret.patch(lm, [clean[0], clean[1]], [corrupted[0], clean[1]], target=(0, 1), align=same)
    assert [pair.why for pair in named.left_out] == ["no_difference"]
    with pytest.raises(InconclusiveError, match=r"none of 2 pairs.*alike in 2 of them"):
        interpret.patch(lm, clean[:2], clean[:2])


def test_positions_of_pairs_of_different_lengths() -> None:
    lm = interpret.attach(*planted.trained(), name="planted")
    clean, corrupted = ["the film zork was", "zork"], ["the film zork was sad", "zork sad"]
    with pytest.raises(UsageError, match=r"pair 0: the clean text has 9 tokens and the corrupted one 10.*align="):
        interpret.patch(lm, clean, corrupted, target=(0, 1))
    clean, corrupted = ["zork was good", "the zork was good"], ["zork was bad", "the zork was bad"]
    assert [len(lm.handle.tokenizer(text)["input_ids"]) for text in clean] == [8, 9]  # type: ignore[misc]
    with pytest.raises(UsageError, match=r"pair 0 has 8 positions and pair 1 has 9.*per='head'.*align="):
        interpret.patch(lm, clean, corrupted, target=(0, 1))
    heads = interpret.patch(lm, clean, corrupted, site="z", target=(0, 1))
    assert heads.effects.shape == (2, 4)
    places = [[(0, 0), (5, 5)], [(0, 0), (6, 6)]]
    record = interpret.patch(lm, clean, corrupted, target=(0, 1), align=places)
    assert not record.same_positions
    assert record.to_frame()["position"].tolist() == [0, 1, 0, 1]
    assert "number of each place" in to_text(record).replace("\n", " ")
    single = interpret.patch(lm, clean[1], corrupted[1], target=(0, 1), align=places[1])
    assert np.array_equal(record.sweeps[1].values, single.values)
    with pytest.raises(UsageError, match="pair 1: align names"):
        interpret.patch(lm, clean, corrupted, target=(0, 1), align=[[(0, 0)], [(0, 99)]])


def test_requests_that_cannot_be_met() -> None:
    lm = made("bert", "text-classification")
    clean, corrupted = pairs("text-classification")
    for match, options in (
        (r"target has 1 entries for 6 pairs", {"target": [(0, 1)]}),
        (r"at has 2 entries for 6 pairs", {"at": [0, 1]}),
        (r"align has 2 entries for 6 pairs", {"align": [[(0, 0)], [(0, 0)]]}),
        (r"no average 'median'", {"average": "median"}),
        (r"n_bootstrap=10 ", {"n_bootstrap": 10}),
        (r"no heads; patch it with per='position'", {"per": "head"}),
        (r"pair 0: metric 'logit_difference' needs two", {"target": 0}),
        (r"function of the output", {"target": lambda output: output.logits[:, 0]}),
    ):
        with pytest.raises(UsageError, match=match):
            interpret.patch(lm, clean, corrupted, **options)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="6 clean and 5 corrupted"):
        interpret.patch(lm, clean, corrupted[:5])
    with pytest.raises(UsageError, match="0 clean and 0 corrupted"):
        interpret.patch(lm, [], [])
    with pytest.raises(UsageError, match="both be lists"):
        interpret.patch(lm, clean, corrupted[0])  # type: ignore[call-overload]
    with pytest.raises(UnknownSiteError, match="layer"):
        interpret.patch(lm, clean, corrupted, layers=[2], target=(0, 1))
    named = interpret.patch(lm, clean, corrupted, target=[(0, 1), (1, 2)] * 3, layers=[0])
    assert [sweep.target.index for sweep in named.sweeps] == [0, 1] * 3
    assert "logit difference of the target of each pair" in to_text(named).replace("\n", " ")


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

    calls: list[int] = []
    forward = type(model.lm_head).forward
    limit = 10_000

    def counting(self: torch.nn.Linear, value: torch.Tensor) -> torch.Tensor:
        calls.append(len(value))
        if len(calls) > limit:
            raise RuntimeError("inside the model")
        return forward(self, value)

    with monkeypatch.context() as patched:
        patched.setattr(type(model.lm_head), "forward", counting)
        first = interpret.patch(lm, *pairs("causal-lm"), target=(0, 1))
        untouched()
        # In the midst of the last pair's patches.
        limit = len(calls) - 1
        calls.clear()
        with pytest.raises((RuntimeError, InterpretError), match="inside the model"):
            interpret.patch(lm, *pairs("causal-lm"), target=(0, 1))
    untouched()
    again = interpret.patch(lm, *pairs("causal-lm"), target=(0, 1))
    assert again.ci_low is not None
    assert np.array_equal(again.ci_low, first.ci_low)  # type: ignore[arg-type]


@pytest.mark.parametrize("locale", ["en", "zh"])
def test_shown_in_words_saved_and_read_again(locale: str, tmp_path: Path) -> None:
    lm = made("llama", "causal-lm")
    clean, corrupted = pairs("causal-lm", ("<b> good", "<b> bad"))
    for site, metric in (("resid_post", "logit_difference"), ("z", "kl")):
        options = {"site": site, "metric": metric, "target": (0, 1)}
        record = interpret.patch(lm, [*clean, clean[0]], [*corrupted, clean[0]], **options)  # type: ignore[call-overload]
        text, html = to_text(record, locale=locale), to_html(record, locale=locale)
        assert "{" not in text
        assert "<b>" not in html
        assert "&lt;b&gt;" in html
        assert "style=" not in html
        assert "<svg" in html
        again = PatchSweeps.load(record.save(tmp_path / site))
        assert to_text(again, locale=locale) == text
        assert again.left_out == record.left_out
        assert [sweep.clean_text for sweep in again.sweeps] == clean
        assert again.to_frame().equals(record.to_frame())
        assert list(again.to_frame()) == ["site", "layer", record.per, "effect", "ci_low", "ci_high", "n"]
        for drawn in (record.plot(), record.sweeps[0].plot()):
            drawn.savefig(tmp_path / "drawn.png")
            # The scale of colours stands inside a drawing of two rows.
            assert drawn.axes[-1].get_position().y0 > 0.02
        # The noun is not the same in all pairs, the rest of the template is.
        if site == "resid_post":
            differ = [place for place, token in enumerate(record.columns) if not token]
            assert differ == [len(record.columns) - 1] or len(differ) < len(record.columns) - 5
