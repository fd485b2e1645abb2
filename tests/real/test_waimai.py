"""Chinese reviews: the published accuracy, texts that do not fit, and characters that come back whole."""

from __future__ import annotations

from pathlib import Path

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
