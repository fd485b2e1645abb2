"""A run of probes and its folder: what other programs read there, and when it is repeated, taken up or replaced."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

import interpret
from interpret.analyzers.probing import run as run_module
from interpret.errors import UsageError
from interpret.facade.probe_files import figure_stems
from interpret.readers.probe_data import ProbeData
from tests.tiny import WORDS, tiny

OPTIONS: dict[str, Any] = {"n_bootstrap": 50, "n_control": 2, "codes": "none", "progress": True}


def words(n: int, seed: int) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[str(w) for w in rng.choice(WORDS, size=rng.integers(3, 10))] for _ in range(n)]


def made(n: int = 120, seed: int = 0, name: str = "after_not") -> ProbeData:
    """Whether the word before is one of some: a model must have mixed words to know it."""
    sentences = words(n, seed)
    labels = [["first" if i == 0 else str(row[i - 1] < "g") for i in range(len(row))] for row in sentences]
    return ProbeData.of_words(sentences, labels, name="made", task=name)


@pytest.fixture
def lm() -> Any:
    return interpret.attach(*tiny("bert", "masked-lm"))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def count_cells(monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> list[Any]:
    """The places that are measured from here on; the run is interrupted before number `stop_at`."""
    measured: list[Any] = []
    plain = run_module._trained_cell

    def counted(task: Any, rows: Any, key: Any, *rest: Any, **options: Any) -> None:
        if len(measured) == stop_at:
            raise KeyboardInterrupt
        measured.append((task.train.task, *key))
        plain(task, rows, key, *rest, **options)

    monkeypatch.setattr(run_module, "_trained_cell", counted)
    return measured


def test_the_probes_in_the_folder_work_without_this_library(lm: Any, tmp_path: Path) -> None:
    """Plain transformers and the saved arrays reach, item for item, the accuracy that the table states."""
    test = made(40, seed=1)
    result = interpret.probe(lm, made(), test, out=tmp_path, random_weights=False, **OPTIONS)
    table = pd.read_parquet(tmp_path / "results.parquet")
    assert set(table.seed) == {0}
    pd.testing.assert_frame_equal(table.drop(columns="seed"), result.to_frame(), check_dtype=False)
    with safe_open(tmp_path / "probes.safetensors", "np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}
        classes = json.loads(file.metadata()["classes"])["after_not"]
    model, tokenizer = tiny("bert", "masked-lm")
    model.load_state_dict(lm.handle.core.state_dict())
    means: dict[str, list[Any]] = {"embed": [], "resid_post.0": [], "resid_post.1": []}
    gold = []
    for row, labels in zip(test.sentences, test.labels, strict=True):
        encoded = tokenizer(list(row), is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            states = model.eval()(**encoded, output_hidden_states=True).hidden_states
        places = encoded.word_ids()
        for number, label in enumerate(labels):
            at = [i for i, word in enumerate(places) if word == number]
            gold.append(label)
            for place, state in zip(means, states, strict=True):
                means[place].append(state[0, at].mean(0).numpy())
    for place, vectors in means.items():
        for probe in ("ridge", "logistic"):
            part = {name: arrays[f"after_not/{place}/{probe}/{name}"] for name in
                    ("weights", "intercept", "mean", "deviation")}  # fmt: skip
            outputs = (np.stack(vectors) - part["mean"]) / part["deviation"] @ part["weights"] + part["intercept"]
            right = np.mean([classes[k] == label for k, label in zip(outputs.argmax(1), gold, strict=True)])
            site, _, layer = place.partition(".")
            rows = table[(table.site == site) & (table.probe == probe) & (table.metric == "accuracy")]
            rows = rows[rows.layer == int(layer)] if layer else rows
            assert rows.value.item() == pytest.approx(right, abs=1.5 / len(gold)), (place, probe)


def test_the_same_run_again_does_nothing_and_says_so(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = interpret.probe(lm, made(), out=tmp_path, **OPTIONS)
    before = bytes_of(tmp_path)
    manifest = json.loads(before["manifest.json"])
    assert {"results.parquet", "summary.json", "probes.safetensors", "proberesult.json"} <= manifest["files"].keys()
    assert {"layers-after_not-resid_post.svg", "layers-after_not-resid_post.png"} <= manifest["files"].keys()
    for name, digest in manifest["files"].items():
        assert hashlib.sha256(before[name]).hexdigest() == digest
    weights = {name: tensor.clone() for name, tensor in lm.handle.core.state_dict().items()}
    assert manifest["request"]["model"]["weights_sha256"]
    assert manifest["request"]["versions"]["torch"] == torch.__version__
    measured = count_cells(monkeypatch)
    monkeypatch.setattr("interpret.facade.probe_running.probe_tasks", None)
    capsys.readouterr()
    assert interpret.probe(lm, made(), out=tmp_path, **OPTIONS) == first
    assert interpret.probe(lm, made(), out=tmp_path, seed=np.int64(0), **OPTIONS) == first
    assert "nothing is left to do" in capsys.readouterr().err
    assert measured == []
    assert bytes_of(tmp_path) == before
    assert all(torch.equal(weights[name], tensor) for name, tensor in lm.handle.core.state_dict().items())


def test_a_stopped_run_goes_on_and_ends_in_the_same_bytes(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interpret.probe(lm, made(), out=tmp_path / "whole", **OPTIONS)
    with monkeypatch.context() as patch:
        count_cells(patch, stop_at=2)
        with pytest.raises(KeyboardInterrupt):
            interpret.probe(lm, made(), out=tmp_path / "stopped", **OPTIONS)
    assert not (tmp_path / "stopped" / "manifest.json").exists()
    measured = count_cells(monkeypatch)
    capsys.readouterr()
    interpret.probe(lm, made(), out=tmp_path / "stopped", **OPTIONS)
    assert [key[1:] for key in measured] == [("resid_post", 1)]
    assert "2 of 6 cells were in" in capsys.readouterr().err
    assert bytes_of(tmp_path / "stopped") == bytes_of(tmp_path / "whole")


def test_a_folder_of_something_else_is_left_alone(lm: Any, tmp_path: Path) -> None:
    store = lm.capture_to(tmp_path / "store", ["a text"], sites=["resid_post"], progress=False)
    before = bytes_of(tmp_path / "store")
    for verb in (interpret.probe, lambda model, data, **how: interpret.compare_probes(model, model, data, **how)):
        with pytest.raises(UsageError, match=r"store holds a manifest\.json that no run of probes wrote"):
            verb(lm, made(), out=tmp_path / "store")
    assert bytes_of(tmp_path / "store") == before
    store.verify()


def test_what_changed_is_named_and_measured_anew(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = OPTIONS | {"random_weights": False}
    interpret.probe(lm, made(), out=tmp_path, **options)
    measured = count_cells(monkeypatch)

    def again(n_measured: int, said: str, data: ProbeData | None = None, **changed: Any) -> None:
        capsys.readouterr()
        measured.clear()
        interpret.probe(lm, data or made(), out=tmp_path, **(options | changed))
        err = capsys.readouterr().err
        assert len(measured) == n_measured
        assert said in err
        # Nothing is kept of other runs, and the same request is now the one that is there.
        assert len(list((tmp_path / "cells").iterdir())) == 3

    again(3, "options.seed changed", seed=1)
    again(3, "data.after_not changed", made(121), seed=1)
    again(3, "data.after_not, options.seed changed")
    damaged = next((tmp_path / "cells").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-1])
    (tmp_path / "results.parquet").unlink()
    again(1, "2 of 3 cells were in")
    with torch.no_grad():
        next(lm.handle.core.parameters()).add_(0.01)
    again(3, "model.weights_sha256 changed")


def test_other_groups_of_the_same_sentences_are_measured_anew(lm: Any, tmp_path: Path) -> None:
    """Which sentences are trained and tested on stays as it was; what intervals resample does not."""
    options = OPTIONS | {"random_weights": False, "progress": False}
    splits = tuple(("train", "train", "train", "validation", "test")[i % 5] for i in range(160))
    alone = replace(made(160), splits=splits)
    grouped = replace(alone, groups=tuple(f"{part} {i // 5 % 12}" for i, part in enumerate(splits)))
    interpret.probe(lm, alone, out=tmp_path, **options)
    found = interpret.probe(lm, grouped, out=tmp_path, **options)
    assert found.n_clusters_test == 12
    assert found == interpret.probe(lm, grouped, **options)


def test_labels_of_one_run_have_each_a_figure_of_their_own(lm: Any, tmp_path: Path) -> None:
    """Whatever stands in their names; and a name that says itself what it is stays the name of its file."""
    names = ["a_b", "a b", "a-b", "Pos", "pos", "plain", "长" * 100]
    rows = [{"text": " ".join(row), **dict.fromkeys(names, row[0] < "g")} for row in words(300, 0)]
    options = OPTIONS | {"sites": ["resid_post.0", "resid_post.1"], "random_weights": False, "progress": False}
    found = interpret.probe(lm, rows, label=names, out=tmp_path, **options)
    assert found.tasks == tuple(names)
    drawn = {path.stem for path in tmp_path.glob("layers-*.svg")}
    assert len({stem.casefold() for stem in drawn}) == len(names)
    assert {"layers-a_b-resid_post", "layers-plain-resid_post"} <= drawn
    assert len(list(tmp_path.glob("layers-*.png"))) == len(names)
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert sum(name.endswith(".svg") for name in manifest["files"]) == len(names)
    assert all(hashlib.sha256((tmp_path / n).read_bytes()).hexdigest() == d for n, d in manifest["files"].items())


@given(st.lists(st.text(min_size=1), min_size=1, max_size=6, unique=True))
def test_names_of_figures_are_unique_and_do_not_depend_on_their_order(tasks: list[str]) -> None:
    stems = figure_stems([(task, "resid_post") for task in tasks])
    assert len({stem.casefold() for stem in stems}) == len(tasks)
    assert figure_stems([(task, "resid_post") for task in reversed(tasks)]) == stems[::-1]
    for task, stem in zip(tasks, stems, strict=True):
        assert len(stem.encode()) < 250
        # Alone it is named as it is beside others, unless those differ in case only.
        alone = figure_stems([(task, "resid_post")])[0]
        assert alone == stem or stem.startswith(alone.removesuffix("resid_post"))
    assert figure_stems([("after not", "mlp_out")]) == figure_stems([("after not", "mlp_out"), ("after_not", "q")])[:1]
