"""Two models on the same items: what was changed is found where it was changed, and nothing where nothing was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

import interpret
from interpret.analyzers.probing import cells as cells_module
from interpret.analyzers.probing.cells import digest_of_parts
from interpret.analyzers.probing.compare import compare_probes
from interpret.analyzers.probing.parts import make_parts
from interpret.errors import UsageError
from interpret.models.load import attach_handle
from interpret.readers.probe_data import ProbeData
from interpret.results.probe_comparison import ProbeComparison
from interpret.results.views import to_text
from tests.tiny import WORDS, tiny


def made(n: int = 220) -> ProbeData:
    """The label is whether the word before is early in the alphabet: to be read from context only."""
    rng = np.random.default_rng(0)
    words = [[str(w) for w in rng.choice(WORDS, size=rng.integers(4, 9))] for _ in range(n)]
    labels = [[None if i == 0 else str(row[i - 1] < "g") for i in range(len(row))] for row in words]
    return ProbeData.of_words(words, labels, task="before")


def blinded() -> Any:
    """The same model with the first block's attention cut out, as if tuning had cost it the context."""
    model, tokenizer = tiny("bert", "masked-lm")
    handle = attach_handle(model, tokenizer)
    with torch.no_grad():
        for module in handle.roles.attention_output:
            module.weight.zero_()
            module.bias.zero_()
    return handle


@pytest.fixture(scope="module")
def base() -> Any:
    return attach_handle(*tiny("bert", "masked-lm"))


def test_a_model_does_not_differ_from_itself(base: Any) -> None:
    record = compare_probes(base, base, made(), n_bootstrap=50, progress=False).record
    assert {row.difference for row in record.rows} == {0.0}
    assert {row.p_holm for row in record.rows} == {1.0}
    assert record.changed() == ()
    assert record.judged(0.0) == "pass"


@contextmanager
def knowing(handle: Any) -> Iterator[None]:
    """The second block adds a direction where the word before is early in the alphabet; nothing else changes."""
    tokenizer = handle.tokenizer
    early = torch.tensor([tokenizer.convert_tokens_to_ids(w) for w in WORDS if w < "g"])
    seen: dict[str, torch.Tensor] = {}

    def note(module: Any, args: Any, kwargs: dict[str, torch.Tensor]) -> None:
        seen["ids"] = kwargs["input_ids"]

    def plant(module: Any, args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        before = torch.isin(torch.roll(seen["ids"], 1, dims=1), early)
        planted = hidden + 20.0 * before[..., None] * torch.eye(hidden.shape[-1])[0]
        return (planted, *output[1:]) if isinstance(output, tuple) else planted

    hooks = [
        handle.model.register_forward_pre_hook(note, with_kwargs=True),
        handle.roles.blocks[1].register_forward_hook(plant),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def test_what_tuning_lost_is_found_in_the_layer_that_lost_it(base: Any, tmp_path: Path) -> None:
    knows = attach_handle(*tiny("bert", "masked-lm"))
    with knowing(knows):
        found = compare_probes(knows, base, made(), n_bootstrap=200, progress=False)
    record = found.record
    frame = record.to_frame()
    assert len(frame) == 3 * 4
    same = (frame.site == "embed") | (frame.layer == 0)
    assert (frame[same].difference == 0).all()
    lost = frame[~same]
    assert len(lost) == 4
    assert (lost.ci_high < 0).all()
    assert (lost.p_holm < 0.05).all()
    # Means over items, recomputed by hand from each model's cells.
    key = ("resid_post", 1)
    row = frame[(frame.site == "resid_post") & (frame.layer == 1) & (frame.probe == "ridge")].set_index("metric")
    before, after = found.base[key], found.tuned[key]
    assert row.loc["accuracy", "difference"] == pytest.approx(after.ridge.mean() - before.ridge.mean())
    selectivity = (after.ridge - after.control).mean() - (before.ridge - before.control).mean()
    assert row.loc["selectivity", "difference"] == pytest.approx(selectivity)
    assert record.judged(0.0, "log2_probability") == "fail"
    assert record.judged(50.0, "log2_probability") == "pass"
    with pytest.raises(UsageError, match="losses are 0 or more"):
        record.judged(-1.0)
    text = to_text(record)
    assert "tuned minus base" in text.lower()
    record.save(tmp_path / "saved")
    assert ProbeComparison.load(tmp_path / "saved") == record


def test_a_run_goes_on_from_its_cells_and_notices_damage_and_change(
    base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, measured = made(), []
    plain = cells_module._cell

    def counted(parts: Any, store: Any, key: Any) -> Any:
        measured.append(key)
        return plain(parts, store, key)

    monkeypatch.setattr(cells_module, "_cell", counted)
    tuned = blinded()
    options: dict[str, Any] = {"n_bootstrap": 50, "folder": tmp_path, "progress": False}
    first = compare_probes(base, tuned, data, **options).record
    assert len(measured) == 6
    assert compare_probes(base, tuned, data, **options).record == first
    assert len(measured) == 6
    stored = sorted(tmp_path.glob("*.cell"))
    damaged = bytearray(stored[0].read_bytes())
    damaged[-1] ^= 1
    stored[0].write_bytes(bytes(damaged))
    assert compare_probes(base, tuned, data, **options).record == first
    assert len(measured) == 7
    compare_probes(base, tuned, data, seed=1, **options)
    assert len(measured) == 13
    with torch.no_grad():
        next(tuned.core.parameters()).add_(0.01)
    compare_probes(base, tuned, data, **options)
    assert len(measured) == 16


def test_the_folder_holds_what_other_programs_read(tmp_path: Path) -> None:
    models = [interpret.attach(*tiny("bert", "masked-lm")) for _ in range(2)]
    before = {name: tensor.clone() for name, tensor in models[0].handle.core.state_dict().items()}
    record = interpret.compare_probes(*models, made(), out=tmp_path, n_bootstrap=50, progress=False)
    assert all(torch.equal(before[name], t) for name, t in models[0].handle.core.state_dict().items())
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "results.parquet"), record.to_frame(), check_dtype=False)
    probes = load_file(tmp_path / "probes.safetensors")
    assert probes["tuned/resid_post.1/weights"].shape == (models[0].handle.d_model, 2)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["content_sha256"] == record.content_sha256
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    assert {"results.parquet", "summary.json", "probes.safetensors", "layers.svg"} <= set(manifest["files"])
    figure = (tmp_path / "layers.svg").read_text()
    assert figure.startswith("<svg")
    assert "style=" not in figure


def test_a_plan_counts_what_a_run_then_does() -> None:
    lm = interpret.attach(*tiny("bert", "masked-lm"))
    data = made()
    plan = interpret.plan_probes(lm, data)
    result = interpret.probe(lm, data, n_bootstrap=20, progress=False)
    assert (plan.n_train, plan.n_validation, plan.n_test) == (result.n_train, result.n_validation, result.n_test)
    frame = result.to_frame()
    assert plan.n_logistic == len(frame[(frame.probe == "logistic") & (frame.metric == "accuracy")])
    assert plan.n_codes == len(frame[(frame.probe == "logistic") & (frame.metric == "compression")])
    assert plan.n_places == 3
    assert plan.n_ridge == 3 * 2 * 15 * 6
    n = plan.n_train + plan.n_validation + plan.n_test
    assert plan.bytes_in_memory == 3 * n * lm.handle.d_model * 4
    assert plan.bytes_on_disk == 0
    assert plan.seconds > 0


def test_a_text_that_is_cut_off_elsewhere_is_another_item() -> None:
    """Each text is one item with the same label; what the model reads of it is not the same."""
    handle = attach_handle(*tiny("bert", "masked-lm"))
    data = ProbeData.of_texts((" ".join(row) for row in made(300).sentences), ["a", "b"] * 150)
    cut = replace(handle, max_length=5)
    whole, again, short = (digest_of_parts(make_parts(one, data, None, 0, 1)) for one in (handle, handle, cut))
    assert whole == again != short
