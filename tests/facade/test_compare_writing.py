"""`compare` on encoder-decoders: both stacks, attention across, and outputs at every token that should be written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interpret
import reports
from interpret.results.comparisons import Comparison
from interpret.results.messages import LOCALES
from reports.comparing import comparison_text
from tests import zoo
from tests.tiny import WORDS, seeded

ROWS = [
    {"text": " ".join(WORDS[i : i + 3 + i % 4]), "target": " ".join(WORDS[i + 1 : i + 2 + i % 3]), "slice": "ab"[i % 2]}
    for i in range(12)
]
OPTIONS: dict[str, Any] = {"label": "target", "explanations": 6, "method": "gradient_x_input", "progress": False}


def model(family: str, seed: int) -> interpret.AttachedModel:
    built = zoo.build(family, "seq2seq-lm")
    made = seeded(lambda: type(built.model)(built.model.config), seed).eval()
    return interpret.attach(made, built.tokenizer, name=f"{family}-{seed}")


@pytest.fixture(scope="module", params=["t5", "bart"])
def compared(request: pytest.FixtureRequest) -> tuple[str, Comparison]:
    family = request.param
    return family, interpret.compare(model(family, 1), model(family, 2), ROWS, **OPTIONS)


def plain(family: str, seed: int) -> list[Any]:
    """What transformers itself gives for each row, with the target as labels."""
    lm, out = model(family, seed), []
    for row in ROWS:
        batch = lm.handle.tokenizer(row["text"], return_tensors="pt")  # type: ignore[misc]
        labels = lm.handle.tokenizer(text_target=row["target"], return_tensors="pt")["input_ids"]  # type: ignore[misc]
        with torch.no_grad():
            found = lm.handle.model(**batch, labels=labels, output_hidden_states=True)
        out.append((found, labels[0]))
    return out


def test_nothing_is_left_out(compared: tuple[str, Comparison]) -> None:
    _, found = compared
    assert found.not_compared == ()
    assert {r.part for r in found.rows} == {"weights", "activations", "attention", "outputs", "explanations"}
    attention = found.to_frame("attention")
    assert set(attention["item"]) == {"encoder", "decoder", "cross"}
    streams = found.to_frame("activations")
    assert {"encoder.resid_post", "decoder.resid_post"} <= set(streams["item"])
    for locale in LOCALES:
        assert "cross" in comparison_text(found, locale)


def test_outputs_at_every_target_token_are_those_of_transformers(compared: tuple[str, Comparison]) -> None:
    family, found = compared
    kl, nats = [], []
    for (before, labels), (after, _) in zip(plain(family, 1), plain(family, 2), strict=True):
        a, b = (one.logits[0].double().log_softmax(-1) for one in (before, after))
        kl.append(float(((b.exp() * (b - a)).sum(-1) / np.log(2)).mean()))
        gold = torch.arange(len(labels)), labels
        nats.append(float((a[gold] - b[gold]).mean()))
    rows = {r.name: r for r in found.rows if r.part == "outputs" and r.slice is None and r.item is None}
    assert rows["kl_bits"].value == pytest.approx(np.mean(kl), rel=1e-4)
    assert rows["nats_difference"].value == pytest.approx(np.mean(nats), rel=1e-3)
    assert "kl_bits_next" not in rows
    order = np.argsort(-np.array(kl)).tolist()
    assert [one.row for one in found.moved[:4]] == order[:4]
    assert {r.slice for r in found.rows if r.part == "outputs"} == {None, "a", "b"}


def test_the_shift_of_both_stacks_is_that_of_transformers(compared: tuple[str, Comparison]) -> None:
    family, found = compared
    shifts: dict[str, list[float]] = {"encoder": [], "decoder": []}
    for (before, _), (after, _) in zip(plain(family, 1), plain(family, 2), strict=True):
        for stack, of_each in shifts.items():
            # After the first block: index 0 is what enters it, and the last may stand after a norm.
            a, b = (getattr(one, f"{stack}_hidden_states")[1][0].double() for one in (before, after))
            of_each.append(float(((b - a).norm(dim=1) / a.norm(dim=1)).mean()))
    rows = found.to_frame("activations").query("name == 'relative_shift' and layer == 0").set_index("item")["value"]
    for stack, of_each in shifts.items():
        assert rows[f"{stack}.resid_post"] == pytest.approx(np.mean(of_each), rel=1e-4)


def test_without_texts_to_write_it_says_what_that_costs(tmp_path: Path) -> None:
    rows = [{"text": row["text"]} for row in ROWS]
    found = interpret.compare(model("t5", 1), model("t5", 2), rows, explanations=0, progress=False)
    assert {one.part: one.why.code for one in found.not_compared} == {
        "outputs": "not_compared.no_references",
        "explanations": "not_compared.none_asked",
    }
    assert "compare.start_only" in {note.code for note in found.notes}
    for locale in LOCALES:
        assert reports.render_comparison(found, tmp_path / f"{locale}.html", locale).stat().st_size > 10_000


def test_the_same_model_twice_has_not_changed() -> None:
    found = interpret.compare(model("t5", 1), model("t5", 1), ROWS, **OPTIONS)
    assert found.changed is False
    frame = found.to_frame()
    for name, value in {"cka": 1, "relative_shift": 0, "js_bits": 0, "kl_bits": 0}.items():
        rows = frame[frame["name"] == name]
        assert len(rows)
        assert (rows[["value", "ci_low", "ci_high"]].dropna() == value).all(axis=None), name
