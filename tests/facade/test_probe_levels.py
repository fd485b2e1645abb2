"""Spans, pairs, label sets and numbers through everything a run does: stores, folders, several labels, criteria."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from safetensors.numpy import load_file

import interpret
from interpret.readers.probe_data import ProbeData
from tests.facade.test_probe_running import OPTIONS
from tests.tiny import WORDS, tiny

QUIET = OPTIONS | {"progress": False, "random_weights": False}
LONG = [word for word in WORDS if len(word) > 2]


@pytest.fixture(scope="module")
def lm() -> Any:
    return interpret.attach(*tiny("bert", "masked-lm"))


def of(level: str, n: int = 300) -> ProbeData:
    rng = random.Random(level)
    rows = [rng.choices(LONG, k=rng.randint(4, 7)) for _ in range(n)]
    texts = [" ".join(row) for row in rows]
    first = [(0, len(row[0])) for row in rows]
    second = [(len(row[0]) + 1, len(row[0]) + 1 + len(row[1])) for row in rows]
    labels = ["yes" if row[0] in LONG[::2] else "no" for row in rows]
    match level:
        case "span":
            return ProbeData.of_spans(texts, [[one] for one in first], [[label] for label in labels])
        case "pair":
            pairs = [[pair] for pair in zip(first, second, strict=True)]
            return ProbeData.of_spans(texts, pairs, [[label] for label in labels])
        case "texts":
            return ProbeData.of_texts(texts, labels, seconds=texts[::-1])
        case "regression":
            return ProbeData.of_texts(texts, [str(len(row)) for row in rows], kind="regression")
        case _:
            held = [json.dumps([word for word in ("cat", "happy") if word in row]) for row in rows]
            return ProbeData.of_texts(texts, held, kind="multilabel")


@pytest.mark.parametrize("level", ["span", "pair", "texts", "regression", "multilabel"])
def test_a_store_and_a_folder_give_the_numbers_of_the_live_model(lm: Any, tmp_path: Path, level: str) -> None:
    data = of(level)
    store = lm.capture_to(
        tmp_path / "store", list(data.texts), sites=["embed", "resid_post"], shard_bytes=40_000, progress=False
    )
    live = interpret.probe(lm, data, **QUIET)
    found = interpret.probe(store, data, **QUIET)
    pd.testing.assert_frame_equal(found.to_frame(), live.to_frame(), atol=3e-3)
    kept = interpret.probe(lm, data, out=tmp_path / "out", **QUIET)
    again = interpret.probe(lm, data, out=tmp_path / "out", **QUIET)
    assert again == kept
    pd.testing.assert_frame_equal(kept.to_frame(), live.to_frame())
    written = pd.read_parquet(tmp_path / "out" / "results.parquet")
    assert len(written) == len(live.to_frame())
    tensors = load_file(tmp_path / "out" / "probes.safetensors")
    d = 32 * {"span": 1, "pair": 2, "texts": 4}.get(level, 1)
    n_columns = {"regression": 1}.get(level, 2)
    assert tensors["label/embed/ridge/weights"].shape == (d, n_columns)


def test_criteria_on_numbers(lm: Any) -> None:
    found = interpret.probe(lm, of("regression"), **QUIET)
    assert [check.verdict for check in found.judged("best ridge r2 >= 0.1", "best ridge r2 >= 1.5")] == ["pass", "fail"]


def test_several_labels_of_the_same_spans_in_one_run(lm: Any, tmp_path: Path) -> None:
    data = of("span")
    rows = [
        {"text": text, "spans": [list(span[0]) for span in spans], "a": list(labels), "b": [str(len(text) % 2)]}
        for text, spans, labels in zip(data.texts, data.spans, data.labels, strict=True)
    ]
    path = tmp_path / "spans.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    grid = interpret.probe(lm, path, label=["a", "b"], **QUIET)
    assert grid.tasks == ("a", "b")
    alone = interpret.probe(lm, path, label="a", **QUIET)
    pd.testing.assert_frame_equal(grid["a"].to_frame(), alone.to_frame(), atol=2e-3)
