"""Chinese reviews: the published accuracy, texts that do not fit, and characters that come back whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interpret
from interpret.facade import AttachedModel
from interpret.models.inputs import encode
from interpret.readers.tables import Table
from interpret.results.audits import Audit


def test_audit_of_the_test_set(waimai: AttachedModel, waimai_test: Table, tmp_path: Path) -> None:
    config = {
        "explained": 6, "errors_shown": 4, "random_shown": 4, "compared": 0, "randomised": 0, "attention": 6,
        "probed": 0, "bootstraps": 100,
    }  # fmt: skip
    audit = interpret.audit(
        waimai, waimai_test.path, header=False, columns=["text", "label"], config=config, progress=False
    )
    assert audit.performance is not None
    accuracy = next(metric for metric in audit.performance.metrics if metric.name == "accuracy")
    assert accuracy.value == 0.895
    assert accuracy.n == len(waimai_test.rows) == 1000
    assert audit.data.n_truncated == 10
    assert audit.data.mapping.rule == "id"
    assert audit.identity.labels == ("差评", "好评")
    assert audit.data.scripts["cjk"] > 0.9

    audit.save(tmp_path / "audit")
    again = Audit.load(tmp_path / "audit")
    written = (tmp_path / "audit" / "audit.json").read_text(encoding="utf-8")
    assert len(again.cases) >= 4
    for case in again.cases:
        text = waimai_test.rows[case.row]["text"]
        assert case.attribution.text == text
        assert text.replace('"', '\\"') in written
        assert case.label == ("差评", "好评")[int(waimai_test.rows[case.row]["label"])]


def test_a_word_is_a_character_and_none_is_lost(waimai: AttachedModel, waimai_test: Table) -> None:
    rows = encode(waimai.handle, [row["text"] for row in waimai_test.rows])
    assert sum(row.n_truncated > 0 for row in rows) == 10
    for row in rows:
        covered = {p for start, end in row.char_spans for p in range(start, end)}
        for place, character in enumerate(row.text):
            if "一" <= character <= "鿿" and row.n_truncated == 0:
                assert place in covered
        if row.n_truncated:
            assert len(row.ids) == waimai.handle.max_length == 128
    found = waimai.attribute("味道很好，送得也快", method="leave_one_out", quality=False)[0]
    assert [word.word for word in found.words()] == list("味道很好，送得也快")
    assert found.target.label == "好评"


def test_reviews_beyond_the_window_are_explained_to_their_end(waimai: AttachedModel, waimai_test: Table) -> None:
    texts = [row["text"] for row in waimai_test.rows]
    handle = waimai.handle
    long = [text for text, e in zip(texts, encode(handle, texts), strict=True) if e.n_truncated]
    found = waimai.attribute(long, method="integrated_gradients", long_text="windows", doc_stride=32)
    assert len(found) == 10
    tokenizer: Any = handle.tokenizer
    for text, example in zip(long, found, strict=True):
        batch = tokenizer(
            text, truncation=True, max_length=128, stride=32, return_overflowing_tokens=True, return_tensors="pt",
            padding=True,
        )  # fmt: skip
        batch.pop("overflow_to_sample_mapping")
        with torch.no_grad():
            mean = handle.model(**batch).logits.mean(0)
        assert example.windows is not None
        assert len(example.windows) == len(batch.input_ids) > 1
        assert example.value == pytest.approx(float(mean.max()), abs=1e-4)
        assert example.target.index == int(mean.argmax())
        assert example.char_spans[:, 1].max() == len(text.rstrip())
        assert np.abs(example.scores[example.windows.bounds[-1, 0] :]).max() > 0
        assert example.value is not None
        assert example.baseline_value is not None
        total = example.value - example.baseline_value
        assert example.contributions.sum() == pytest.approx(total, abs=0.05 * abs(total) + 1e-3)
    assert found.quality is not None
    # Chance leaves one text in twenty above the 95th percentile.
    assert (found.quality.above_95_share or 0) > 0.5
