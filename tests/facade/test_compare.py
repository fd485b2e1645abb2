"""`compare` end to end on tiny models: nothing changed, one weight changed, and models that cannot be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModel

import interpret
import reports
from interpret.analyzers.comparison.attention import js_bits
from interpret.analyzers.comparison.outputs import kl_bits
from interpret.errors import UsageError
from interpret.models.fingerprints import weights_sha256
from interpret.readers.probe_data import ProbeData, read_probe_data
from interpret.results.comparisons import Comparison
from interpret.results.messages import LOCALES
from interpret.results.views import to_html, to_text
from reports.catalogue import report_words
from tests.capture.support import same_state, state_of
from tests.conftest import ABSENT
from tests.tiny import LABELS, TEXTS, WORDS, tiny

ROWS = [
    {"text": f"{text} {extra}", "label": LABELS[i % 3], "slice": "cat" if "cat" in text else "other"}
    for i, (text, extra) in enumerate((text, extra) for text in TEXTS for extra in ("", "so", "then"))
]
FEW: dict[str, Any] = {"explanations": 6, "method": "gradient_x_input", "progress": False}


def model(family: str = "bert", task: str = "text-classification", seed: int = 0) -> interpret.AttachedModel:
    made, tokenizer = tiny(family, task, seed)
    return interpret.attach(made, tokenizer, name=f"{family}-{seed}")


def verdicts(found: Comparison) -> dict[str, str]:
    return {check.check: check.verdict for check in found.preflight}


def reasons(found: Comparison) -> dict[str, str]:
    return {one.part: one.why.code for one in found.not_compared}


def codes(found: Comparison) -> set[str]:
    return {check.why.code for check in found.preflight}


@pytest.mark.parametrize(
    ("family", "task"), [("bert", "text-classification"), ("llama", "causal-lm"), ("bert", "masked-lm")]
)
def test_the_same_model_twice_has_not_changed(family: str, task: str) -> None:
    found = interpret.compare(model(family, task), model(family, task), ROWS, **FEW)
    assert found.changed is False
    assert verdicts(found)["weights"] == verdicts(found)["logits"] == "fail"
    assert {"preflight.weights_same", "preflight.logits_same"} <= codes(found)
    frame = found.to_frame()
    for name, value in {"cka": 1, "cosine": 1, "relative_shift": 0, "js_bits": 0, "kl_bits": 0}.items():
        rows = frame[frame["name"] == name]
        assert len(rows)
        # Intervals that close around no change.
        assert (rows[["value", "ci_low", "ci_high"]].dropna() == value).all(axis=None), name
        assert rows["value"].notna().all()
    changed = frame[(frame["name"] == "changed_predictions") & frame["slice"].isna()].iloc[0]
    assert changed["value"] == changed["ci_low"] == 0
    assert found.moved == ()
    if task != "masked-lm":
        assert frame.set_index("name").loc["rank_correlation", "value"] == 1.0
    else:
        assert reasons(found) == {"explanations": "not_compared.no_mask"}


def test_one_edited_weight_is_named_and_felt_from_its_layer_on() -> None:
    base, tuned = model(), model()
    with torch.no_grad():
        tuned.handle.core.bert.encoder.layer[1].attention.self.query.weight.mul_(1.5)
    before = [state_of(one.handle.model) for one in (base, tuned)]
    digests = [weights_sha256(one.handle.model) for one in (base, tuned)]
    found = interpret.compare(base, tuned, ROWS, **FEW)
    assert found.changed
    weights = found.to_frame("weights")
    named = weights[weights["item"].notna()]
    assert set(named["item"]) == {"encoder.layer.1.attention.self.query.weight"}
    relative = named[named["name"] == "relative_norm"].iloc[0]
    assert relative["value"] == pytest.approx(0.5, rel=1e-5)
    assert relative["layer"] == 1
    assert verdicts(found)["right_base"] == "pass"
    streams = found.to_frame("activations").set_index(["name", "item", "layer"])["value"]
    assert streams["relative_shift", "resid_post", 0] == 0
    assert streams["relative_shift", "resid_post", 1] > 0
    assert streams["cka", "resid_post", 1] < 1
    heads = found.to_frame("attention").groupby("layer")["value"].max()
    assert heads[0] == 0 < heads[1]
    # Both are as they were.
    for one, state, digest in zip((base, tuned), before, digests, strict=True):
        assert weights_sha256(one.handle.model) == digest
        same_state(state, state_of(one.handle.model))


def test_shift_and_outputs_are_what_plain_transformers_give() -> None:
    base, tuned = model(), model(seed=1)
    found = interpret.compare(base, tuned, ROWS, parts=["activations", "outputs"], progress=False)
    shift, cosine, shares = [], [], []
    for row in ROWS:
        streams, probabilities = [], []
        for one in (base, tuned):
            batch = one.handle.tokenizer(row["text"], return_tensors="pt")  # type: ignore[misc]
            with torch.no_grad():
                out = one.handle.model(**batch, output_hidden_states=True)
            streams.append(out.hidden_states[1][0].double())
            probabilities.append(out.logits.double().softmax(-1).numpy())
        a, b = streams
        shift.append(float(((b - a).norm(dim=1) / a.norm(dim=1)).mean()))
        cosine.append(float(torch.nn.functional.cosine_similarity(a, b, dim=1).mean()))
        shares.append(probabilities)
    rows = found.to_frame().set_index(["name", "layer"])["value"]
    assert rows["relative_shift", 0] == pytest.approx(np.mean(shift), rel=1e-4)
    assert rows["cosine", 0] == pytest.approx(np.mean(cosine), abs=1e-5)
    kl = [float(kl_bits(b, a)[0]) for a, b in shares]
    whole = next(r for r in found.rows if r.name == "kl_bits" and r.slice is None)
    assert whole.value == pytest.approx(np.mean(kl), rel=1e-4)
    order = np.argsort(-np.array(kl))[:5].tolist()
    assert [one.row for one in found.moved[:5]] == order
    # Two unrelated random models: this is said, and their similarity is far from 1.
    assert verdicts(found)["right_base"] == "fail"
    assert "preflight.wrong_base" in codes(found)


def test_attention_is_scipys_divergence() -> None:
    from scipy.spatial.distance import jensenshannon

    p, q = torch.rand(2, 6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(-1)
    expected = [jensenshannon(a, b, base=2) ** 2 for a, b in zip(p.numpy(), q.numpy(), strict=True)]
    assert js_bits(p, q).numpy() == pytest.approx(expected, abs=1e-12)
    disjoint = torch.eye(2, dtype=torch.float64)
    assert float(js_bits(disjoint[0], disjoint[1])) == pytest.approx(1.0)


def test_language_models_are_compared_token_by_token() -> None:
    base, tuned = model("llama", "causal-lm"), model("llama", "causal-lm", seed=1)
    found = interpret.compare(base, tuned, ROWS, parts=["outputs"], progress=False)
    kl, nats, following = [], [], []
    for row in ROWS:
        batch = base.handle.tokenizer(row["text"], return_tensors="pt")  # type: ignore[misc]
        with torch.no_grad():
            a, b = (one.handle.model(**batch).logits[0].double().log_softmax(-1) for one in (base, tuned))
        each = (b.exp() * (b - a)).sum(-1) / np.log(2)
        ids = batch["input_ids"][0, 1:]
        kl.append(float(each.mean()))
        following.append(float(each[-1]))
        gold = torch.arange(len(ids)), ids
        nats.append(float((a[:-1][gold] - b[:-1][gold]).mean()))
    rows = {r.name: r for r in found.rows if r.slice is None and r.item is None}
    assert rows["kl_bits"].value == pytest.approx(np.mean(kl), rel=1e-4)
    assert rows["kl_bits_next"].value == pytest.approx(np.mean(following), rel=1e-4)
    assert rows["nats_difference"].value == pytest.approx(np.mean(nats), rel=1e-3)
    shares = [r.value for r in found.rows if r.name == "kl_share_after"]
    assert 0 < sum(v for v in shares if v is not None) <= 1


def test_what_differs_is_told_apart_and_said() -> None:
    family = interpret.compare(model(), model("roberta"), ROWS, progress=False)
    assert {"preflight.differs_family", "preflight.tokenizer_other"} <= codes(family)
    assert reasons(family)["activations"] == "not_compared.other_tokens"
    # Whole texts can still be compared.
    assert {r.part for r in family.rows} == {"weights", "outputs"} or {r.part for r in family.rows} == {"outputs"}
    shallow, tokenizer = tiny("bert")
    shallow.bert.encoder.layer = shallow.bert.encoder.layer[:1]
    shallow.config.num_hidden_layers = 1
    depth = interpret.compare(interpret.attach(shallow, tokenizer), model(), ROWS, progress=False, explanations=0)
    assert "preflight.differs_depth" in codes(depth)
    assert reasons(depth) == {
        "activations": "not_compared.other_depth",
        "attention": "not_compared.other_depth",
        "explanations": "not_compared.none_asked",
    }
    task = interpret.compare(model(task="masked-lm"), model(), ROWS, parts=["outputs", "weights"], progress=False)
    assert reasons(task) == {"outputs": "not_compared.other_task"}
    assert "preflight.unmatched" in codes(task)


def test_a_base_without_a_head_is_compared_below_it(tmp_path: Path) -> None:
    made, tokenizer = tiny("bert")
    made.bert.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    assert AutoModel is not None
    found = interpret.compare(tmp_path / "base", interpret.attach(made, tokenizer), ROWS, progress=False)
    assert reasons(found) == {"outputs": "not_compared.no_head", "explanations": "not_compared.no_head"}
    frame = found.to_frame("activations")
    assert (frame.loc[frame["name"] == "cka", "value"] == 1).all()
    assert set(found.to_frame("attention")["value"]) == {0.0}


def test_an_adapter_that_is_off_or_untrained_changed_nothing(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason=f"{ABSENT} the package peft is not installed")
    made, tokenizer = tiny("llama", "causal-lm")
    made.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    tuned = peft.get_peft_model(made, settings)
    quick: dict[str, Any] = {"parts": ["weights", "outputs"], "progress": False}
    untrained = interpret.compare(None, interpret.attach(tuned, tokenizer), ROWS, **quick)
    assert untrained.changed is False
    assert "preflight.adapter_adds_nothing" in codes(untrained)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight += 0.2
    attached = interpret.attach(tuned, tokenizer)
    digest = weights_sha256(tuned)
    on = interpret.compare(None, attached, ROWS, **quick)
    assert on.changed
    assert on.notes[0].code == "compare.switched"
    # PEFT has written into the very object that was given as the base.
    assert interpret.compare(made, attached, ROWS, **quick).rows == on.rows
    # Two copies: a weight that PEFT has not touched, and the adapter beside it.
    two = interpret.compare(tmp_path / "base", attached, ROWS, **quick)
    assert [r.value for r in two.rows] == pytest.approx([r.value for r in on.rows], rel=1e-5, abs=1e-9)
    tuned.base_model.disable_adapter_layers()
    off = interpret.compare(None, interpret.attach(tuned, tokenizer), ROWS, **quick)
    assert off.changed is False
    assert {"preflight.adapter_off", "preflight.logits_same"} <= codes(off)
    tuned.base_model.enable_adapter_layers()
    assert weights_sha256(tuned) == digest
    tuned.save_pretrained(tmp_path / "adapter")
    loaded = interpret.compare(tmp_path / "base", tmp_path / "adapter", ROWS, **quick)
    assert [r.value for r in loaded.rows] == pytest.approx([r.value for r in on.rows], rel=1e-5, abs=1e-9)


def labelled(n: int = 150) -> ProbeData:
    """Whether the word before stands early in the alphabet."""
    rng = np.random.default_rng(0)
    words = [[str(w) for w in rng.choice(WORDS, size=rng.integers(4, 9))] for _ in range(n)]
    labels = [[None if i == 0 else str(row[i - 1] < "g") for i in range(len(row))] for row in words]
    return ProbeData.of_words(words, labels, task="before")


def test_probes_are_a_part_with_their_correction(tmp_path: Path) -> None:
    base, tuned = model(), model(seed=1)
    options: dict[str, Any] = {"parts": ["probes"], "progress": False}
    found = interpret.compare(base, tuned, ROWS, probes=labelled(), **options)
    plain = interpret.compare_probes(base, tuned, labelled(), progress=False)
    assert found.probes == plain
    frame = found.to_frame("probes")
    assert frame["value"].tolist() == [row.difference for row in plain.rows]
    assert set(frame["name"]) == {
        "ridge_accuracy",
        "ridge_selectivity",
        "logistic_accuracy",
        "logistic_log2_probability",
    }
    again = interpret.Comparison.load(found.save(tmp_path / "kept"))
    assert again.probes == plain
    for locale in LOCALES:
        reports.render_comparison(found, tmp_path / f"{locale}.html", locale)
        drawn = report_words(locale)("probe_compare.figure")
        assert drawn in (tmp_path / f"{locale}.html").read_text(encoding="utf-8")
    few = interpret.compare(base, tuned, ROWS, probes=labelled(4), **options)
    assert few.probes is None
    assert reasons(few)["probes"] == "section.probe_inconclusive"
    with pytest.raises(UsageError, match="give their data as probes= as well"):
        interpret.compare(base, tuned, ROWS, probe_label="upos", **options)


def test_probes_of_numbers_are_refused_before_anything_runs() -> None:
    numbers = [{"text": f"{text} {i}", "length": i / 7} for i, text in enumerate(TEXTS * 20)]
    data = read_probe_data(numbers, "length", kind="regression")
    sets = [{"text": row["text"], "label": ["a", "b"][: 1 + i % 2]} for i, row in enumerate(numbers)]
    base, tuned = model(), model(seed=1)
    ran: list[object] = []
    for lm in (base, tuned):
        lm.handle.model.register_forward_pre_hook(lambda *given: ran.append(given))
    for probes, kind in ((data, "regression"), (sets, "multilabel")):
        with pytest.raises(UsageError, match=f"of kind '{kind}', and this works on one class for each item"):
            interpret.compare(base, tuned, ROWS, probes=probes, **FEW)
        with pytest.raises(UsageError, match=f"of kind '{kind}', and this works on one class for each item"):
            # Neither model is there: the data is looked at first.
            interpret.compare("./no-base", "./no-tuned", ROWS, probes=probes, **FEW)
        with pytest.raises(UsageError, match=f"of kind '{kind}', and this works on one class for each item"):
            interpret.compare_probes("./no-base", "./no-tuned", probes, progress=False)
    assert not ran


def test_an_adapter_is_off_while_the_base_is_probed(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason=f"{ABSENT} the package peft is not installed")
    made, tokenizer = tiny("llama", "causal-lm")
    made.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    settings = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    attached = interpret.attach(peft.get_peft_model(made, settings), tokenizer)
    options: dict[str, Any] = {"parts": ["probes"], "progress": False, "probes": labelled()}
    one = interpret.compare(None, attached, ROWS, **options)
    two = interpret.compare(tmp_path / "base", attached, ROWS, **options)
    assert one.probes is not None
    assert two.probes is not None
    assert {row.difference for row in one.probes.rows if row.layer is not None} != {0.0}
    assert [row.base for row in one.probes.rows] == pytest.approx([row.base for row in two.probes.rows], abs=1e-6)
    assert [row.tuned for row in one.probes.rows] == pytest.approx([row.tuned for row in two.probes.rows], abs=1e-6)


def test_requests_that_mean_nothing() -> None:
    with pytest.raises(UsageError, match="no adapter that could be switched off"):
        interpret.compare(None, model(), ROWS)
    with pytest.raises(UsageError, match="there is no part 'logits' to compare; the parts are weights"):
        interpret.compare(model(), model(), ROWS, parts=["logits"])
    with pytest.raises(UsageError, match="attention=-1 must be 0 or more"):
        interpret.compare(model(), model(), ROWS, attention=-1)


def test_it_is_repeatable_kept_and_shown(tmp_path: Path) -> None:
    rows = [*ROWS, {"text": "<script>alert(1)</script> good", "label": LABELS[0], "slice": "<b>"}]
    found = interpret.compare(model(), model(seed=1), rows, seed=3, **FEW)
    again = interpret.compare(model(), model(seed=1), rows, seed=3, **FEW)
    assert found.to_dict() == again.to_dict()
    assert interpret.Comparison.load(found.save(tmp_path / "kept")).to_dict() == found.to_dict()
    assert list(found.to_frame("weights")) == "part name layer head slice value ci_low ci_high n item".split()
    for locale in LOCALES:
        html, text = to_html(found, locale=locale), to_text(found, locale=locale)
        assert "<script>" not in html
        assert "<b>" not in html
        assert "style=" not in html
        assert len(text) > 1000
    english = to_text(found)
    assert "Before comparing" in english
    assert "This is hardly the base" in english


def test_a_text_without_a_token_of_its_own_is_left_out_of_outputs() -> None:
    """Of such a text a masked model says nothing: the numbers are those of all the others."""
    base, tuned = model("bert", "masked-lm"), model("bert", "masked-lm", seed=1)
    options = {"slices": "slice", "parts": ["outputs"], "progress": False}
    nothing = [{"text": "\u200b", "label": "a", "slice": "odd"}]
    plain, found = (interpret.compare(base, tuned, rows, **options) for rows in (ROWS, [*nothing, *ROWS]))
    rows = found.to_frame("outputs")
    assert rows["value"].notna().all()
    assert rows["slice"].dropna().unique().tolist() == ["cat", "other"]
    pd.testing.assert_frame_equal(rows, plain.to_frame("outputs"))
    assert [one.row for one in found.moved] == [one.row + 1 for one in plain.moved]
    alone = interpret.compare(base, tuned, nothing * 2, **options)
    assert [row for row in alone.rows if row.part == "outputs"] == []
    assert alone.moved == ()
