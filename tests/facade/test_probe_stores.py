"""Probes of a capture store: the numbers of the live model, words found by characters, and what is missing is named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import interpret
from interpret.analyzers.probing.features import FeatureStore, Target, fill_together, make_items
from interpret.analyzers.probing.stored import Stored, spans_of_words
from interpret.errors import LoadError, UnknownSiteError, UsageError
from interpret.readers.probe_data import ProbeData
from tests.cli.test_cli import call
from tests.facade.test_probe_running import OPTIONS, made
from tests.tiny import tiny

QUIET = OPTIONS | {"progress": False, "random_weights": False}


@pytest.fixture(scope="module")
def lm() -> Any:
    return interpret.attach(*tiny("bert", "masked-lm"))


def joined(data: ProbeData) -> list[str]:
    return [" ".join(words) for words in data.sentences]


@pytest.mark.parametrize("level", ["word", "sentence"])
def test_a_store_gives_the_numbers_of_the_live_model(lm: Any, tmp_path: Path, level: str) -> None:
    data = made(300)
    if level == "sentence":
        data = ProbeData.of_texts(joined(data), [str(len(row) > 5) for row in data.sentences], task="long")
    texts = joined(made(300))
    # In another order, with others in between, and in shards that cut through it.
    store = lm.capture_to(tmp_path, [*texts[::-1], "one that nobody asks for"], sites=["embed", "resid_post"],
                          shard_bytes=40_000, token_budget=200, progress=False)  # fmt: skip
    assert store.n_shards > 3
    live = interpret.probe(lm, data, **QUIET)
    del lm
    found = interpret.probe(store, data, **QUIET)
    assert (found.classes, found.n_train, found.n_test) == (live.classes, live.n_train, live.n_test)
    pd.testing.assert_frame_equal(found.to_frame(), live.to_frame(), atol=2e-3)
    assert interpret.probe(str(tmp_path), data, **QUIET) == found
    (note,) = [note.code for note in found.notes if "random_weights" in note.code]
    assert note == "probe_random_weights_no_model"


def test_training_and_test_may_lie_in_two_stores(lm: Any, tmp_path: Path) -> None:
    train, test = made(100), made(60, seed=1)
    stores = [
        lm.capture_to(tmp_path / name, joined(data), sites=["resid_post.1", "z.0"], progress=False)
        for name, data in (("train", train), ("test", test))
    ]
    options = QUIET | {"sites": ["z.0", "resid_post.1"]}
    live = interpret.probe(lm, train, test, **options).to_frame()
    found = interpret.probe(stores, train, test, **options).to_frame()
    order = ["site", "layer", "probe", "metric"]
    pd.testing.assert_frame_equal(
        found.sort_values(order, ignore_index=True), live.sort_values(order, ignore_index=True), atol=2e-3
    )


def test_words_of_running_text_are_found_by_their_characters(lm: Any, tmp_path: Path) -> None:
    """Means over the tokens that the tokenizer itself places within the word, which is not how the text is joined."""
    text, words = (
        "the movie wasn't good, (was) bad",
        ["the", "movie", "was", "n't", "good", ",", "(", "was", ")", "bad"],
    )
    store = lm.capture_to(tmp_path, [text], sites=["resid_post.0"], progress=False)
    stored = Stored([store])
    data = ProbeData(level="word", texts=(text,), labels=(tuple("abcdefghij"),), name="d", task="t",
                     sentences=(tuple(words),))  # fmt: skip
    items = make_items(stored, data)
    with FeatureStore(len(items), 1) as features:
        fill_together([Target(features, items, [("resid_post", 0)])], stored)
        found = dict(zip(items.label, features.arrays["resid_post", 0].copy(), strict=True))
    model, tokenizer = tiny("bert", "masked-lm")
    model.load_state_dict(lm.handle.core.state_dict())
    encoded = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        state = model.eval()(**encoded, output_hidden_states=True).hidden_states[1][0]
    start = 0
    for word, label in zip(words, "abcdefghij", strict=True):
        start = text.index(word, start)
        at = [i for i, (a, b) in enumerate(offsets) if a < b and start <= a < start + len(word)]
        if at:
            np.testing.assert_allclose(found[label], state[at].mean(0).numpy(), atol=1e-5)
        else:
            assert label not in found
        start += len(word)
    assert len(found) + items.n_without_tokens == len(words)


def test_words_that_are_not_written_have_no_place() -> None:
    assert spans_of_words("del coche el", ["de", "el", "coche", "el"]) == [(0, 2), None, (4, 9), (10, 12)]
    assert spans_of_words("我 爱北京", ["我", "爱", "北京"]) == [(0, 1), (2, 3), (3, 5)]
    # A later word of the same form is not taken for one that is missing here.
    assert spans_of_words("a b c d x", ["a", "x", "b", "c", "d"]) == [(0, 1), None, (2, 3), (4, 5), (6, 7)]


def test_texts_that_are_not_in_the_store_are_left_out_and_counted(lm: Any, tmp_path: Path) -> None:
    data = made(120)
    store = lm.capture_to(tmp_path, joined(data)[:90], sites=["resid_post.1"], progress=False)
    # A text that stands twice in the data is found twice.
    n_lost = sum(text not in joined(data)[:90] for text in joined(data))
    found = interpret.probe(store, data, **QUIET)
    (note,) = [note for note in found.notes if note.code == "probe_not_in_store"]
    assert note.params == {"n": n_lost, "n_all": 120}
    whole = interpret.probe(store, data.take(range(90)), **QUIET)
    assert found.rows == whole.rows


def test_what_a_store_does_not_hold_is_named(lm: Any, tmp_path: Path) -> None:
    data = made(60)
    store = lm.capture_to(tmp_path / "a", joined(data), sites=["resid_post.1"], progress=False)
    with pytest.raises(UnknownSiteError, match=r"resid_post\.0 is not stored .* stored are resid_post\.1;"):
        interpret.probe(store, data, sites=["resid_post.0-1"], **QUIET)
    with pytest.raises(UsageError, match=r"none of the 60 texts of made is in .*/a, the first is "):
        interpret.probe(store, made(60, seed=3), **QUIET)
    with pytest.raises(UsageError, match="needs the model itself"):
        interpret.probe(store, data, **(QUIET | {"random_weights": True}))
    pooled = lm.capture_to(tmp_path / "b", joined(data), sites=["resid_post.1"], pool="mean", progress=False)
    with pytest.raises(UsageError, match="one vector for each text"):
        interpret.probe(pooled, data, **QUIET)
    model, tokenizer = tiny("bert", "masked-lm")
    with torch.no_grad():
        next(model.parameters()).add_(0.01)
    other = interpret.attach(model, tokenizer)
    third = other.capture_to(tmp_path / "c", joined(data), sites=["resid_post.1"], progress=False)
    with pytest.raises(UsageError, match="captured from different models"):
        interpret.probe([store, third], data, **QUIET)


def test_the_command_line_takes_a_store_in_the_place_of_the_model(lm: Any, tmp_path: Path) -> None:
    data = made(300)
    path = tmp_path / "d.jsonl"
    lines = [json.dumps({"text": text, "label": str("not" in row)}) for text, row in
             zip(joined(data), data.sentences, strict=True)]  # fmt: skip
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    lm.capture_to(tmp_path / "store", path, sites=["resid_post.1"], progress=False)
    out = tmp_path / "out"
    asked = ("probe", "run", "--store", tmp_path / "store", path, "--label", "label", "--out", out)
    result = call(*asked, "--codes", "none", "--bootstraps", "50")
    assert result.exit_code == 0, result.stderr
    assert "loading" not in result.stderr
    manifest = json.loads((out / "manifest.json").read_text())
    assert len(manifest["request"]["model"]["stores"]) == 1
    again = call(*asked, "--codes", "none", "--bootstraps", "50")
    assert "nothing is left to do" in again.stderr
    both = call("probe", "run", "--store", tmp_path / "store", "model", path)
    assert both.exit_code == 2
    assert "both were given" in both.stderr
    none = call("probe", "run", "--store", tmp_path / "store")
    assert none.exit_code == 2
    assert "DATA is missing" in none.stderr


def test_what_takes_no_store_says_what_does(lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = made(60)
    store = lm.capture_to(tmp_path / "captured", joined(data), sites=["resid_post"], progress=False)
    says = r"interpret\.probe \(interpret probe run --store DIR DATA\) takes a capture store"
    for given in (store, str(tmp_path / "captured"), tmp_path / "captured", [store, store]):
        with pytest.raises(UsageError, match=says):
            interpret.plan_probes(given, data)
        with pytest.raises(UsageError, match=says):
            interpret.compare_probes(lm, given, data)
        with pytest.raises(UsageError, match=says):
            interpret.erasure(given, data, site="resid_post.0")
    with pytest.raises(UsageError, match=says):
        interpret.load(tmp_path / "captured")
    monkeypatch.chdir(tmp_path)
    Path("d.csv").write_text("text,label\nthe film,a\n", encoding="utf-8")
    for args in (
        ("plan", "--store", "captured", "d.csv"),
        ("plan", "captured", "d.csv"),
        ("compare", "--store", "captured", "d.csv"),
        ("compare", "captured", "captured", "d.csv", "--store", "captured"),
        ("compare", "captured", "captured", "d.csv", "--label", "label"),
        ("erase", "--store", "captured", "d.csv", "--site", "resid_post.0"),
        ("erase", "captured", "d.csv", "--site", "resid_post.0"),
        ("run", "captured", "d.csv"),
    ):
        result = call("probe", *args)
        assert result.exit_code == 2, args
        assert re.search(says, result.stderr), result.stderr
        assert "loading" not in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert "--store" not in call("probe", "erase", "-h").stdout
    # A model whose folder happens to hold another manifest is none.
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "manifest.json").write_text('{"schema": 1}', encoding="utf-8")
    with pytest.raises(LoadError, match=r"model has no config\.json"):
        interpret.plan_probes(tmp_path / "model", data)
