"""An audit that was interrupted ends in the same bytes as one that was not, wherever it stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import interpret
from interpret.auditing import run
from interpret.auditing.partial import discard
from interpret.auditing.stages import STAGES
from tests.auditing.test_run import SMALL, _rows
from tests.tiny import tiny

COUNTS = SMALL | {"bootstraps": 100, "compared_methods": "gradient_x_input"}
FILES = ("audit.json", "arrays.safetensors", "audit.resolved.yaml", "SHA256SUMS")


class StoppedError(Exception):
    """Raised in place of a stage."""


def _run(**options: Any) -> Any:
    lm = interpret.attach(*tiny("bert"), name="tiny")
    base = interpret.attach(*tiny("bert", seed=1), name="base")
    return interpret.audit(lm, _rows(), config=COUNTS, base=base, progress=False, slices="slice", **options)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return _bytes(_run().save(tmp_path_factory.mktemp("whole")))


def _stopping(at: str | None, ran: list[str]) -> tuple[Any, ...]:
    """The stages, each noting that it ran; the one named raises when it is half done."""

    def noted(stage: Any) -> Any:
        def work(audit: Any) -> Any:
            value = stage.run(audit)
            if stage.name == at:
                raise StoppedError
            ran.append(stage.name)
            return value

        return replace(stage, run=work)

    return tuple(noted(stage) for stage in STAGES)


@pytest.mark.parametrize("at", [stage.name for stage in STAGES])
def test_killed_at_any_stage_it_ends_in_the_same_bytes(
    at: str, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "out" / ".partial"
    before: list[str] = []
    monkeypatch.setattr(run, "STAGES", _stopping(at, before))
    applies = True
    try:
        _run(partial=kept)
        applies = False
    except StoppedError:
        pass
    after: list[str] = []
    monkeypatch.setattr(run, "STAGES", _stopping(None, after))
    audit = _run(partial=kept)
    assert _bytes(audit.save(tmp_path / "out")) == whole
    if applies:
        assert at in after, "the stage that was interrupted ran again"
    assert not set(before) & set(after), "no stage ran twice"
    assert not [path for path in kept.rglob("*") if path.suffix in (".pkl", ".pickle", ".pt", ".bin")]
    discard(kept)
    assert not kept.exists()


def test_another_request_uses_nothing_of_an_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(partial=tmp_path)
    for options in ({"seed": 1}, {"limit": 20}):
        ran: list[str] = []
        monkeypatch.setattr(run, "STAGES", _stopping(None, ran))
        _run(partial=tmp_path, **options)
        assert "predictions" in ran
        assert "explanations" in ran


def test_another_column_of_the_same_rows_uses_nothing_of_an_earlier_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts, labels and counts are the same, only a value of a named column is another."""
    rows = [{**row, "sex": "fm"[i % 2]} for i, row in enumerate(_rows())]
    other = [*rows[:-1], {**rows[-1], "sex": "f"}]

    def audit(data: list[dict[str, Any]], folder: Path | None) -> Any:
        lm = interpret.attach(*tiny("bert"), name="tiny")
        return interpret.audit(lm, data, config=COUNTS | {"protected": "sex"}, progress=False, partial=folder)

    first = audit(rows, tmp_path / "kept")
    ran: list[str] = []
    monkeypatch.setattr(run, "STAGES", _stopping(None, ran))
    again = audit(rows, tmp_path / "kept")
    assert ran == []
    assert again.data.sha256 == first.data.sha256
    resumed = audit(other, tmp_path / "kept")
    assert "concepts" in ran
    assert "predictions" in ran
    assert resumed.data.sha256 != first.data.sha256
    assert _bytes(resumed.save(tmp_path / "a")) == _bytes(audit(other, None).save(tmp_path / "b"))


def test_a_damaged_stage_is_made_again(
    whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(partial=tmp_path)
    path = tmp_path / "predictions" / "partial.json"
    path.write_bytes(path.read_bytes()[:-20])
    ran: list[str] = []
    monkeypatch.setattr(run, "STAGES", _stopping(None, ran))
    assert _bytes(_run(partial=tmp_path).save(tmp_path / "out")) == whole
    assert ran == ["predictions"]


def test_only_kept_stages_are_removed(tmp_path: Path) -> None:
    kept = tmp_path / ".partial"
    _run(partial=kept)
    (kept / "mine").mkdir()
    (kept / "mine" / "notes.txt").write_text("x", encoding="utf-8")
    discard(kept)
    assert [path.name for path in kept.iterdir()] == ["mine"]
