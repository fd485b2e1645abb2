"""A data set explained into tables: nothing is lost, and however often it is stopped the bytes are the same."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from interpret.analyzers.faithfulness import measure
from interpret.capture.proof import prove
from interpret.capture.store import disk
from interpret.errors import DataError, StoreError, UsageError
from interpret.facade import AttachedModel
from interpret.facade.attributing import N_RANDOM, AttributionFiles, attribute_to
from interpret.facade.lots import Lots
from interpret.models import batching
from interpret.models.handle import Handle
from interpret.models.memory import resident_bytes
from interpret.readers.texts import read_texts
from tests.capture.support import attached, nothing_global, same_state, state_of
from tests.tiny import LABELS, TEXTS

ROWS = [
    {"text": f"{text} {other}", "label": LABELS[i % 3], "key": f"r{i}-{j}"}
    for i, text in enumerate(TEXTS)
    for j, other in enumerate(TEXTS[:3])
]
LOT = 5
N_LOTS = 5


@pytest.fixture(scope="module")
def bert() -> Handle:
    return attached("bert")


def run(handle: Handle, path: Path, **options: Any) -> AttributionFiles:
    given: dict[str, Any] = {"rows": ROWS, "method": "gradient_x_input", "lot_size": LOT, **options}
    return attribute_to(handle, path, read_texts(given.pop("rows")), **given)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def expected(bert: Handle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("expected")
    run(bert, folder / "a.parquet")
    found = contents(folder)
    assert list(found) == ["a.examples.parquet", "a.manifest.json", "a.parquet"]
    assert len(ROWS) // LOT + 1 == N_LOTS
    return found


# --- what is in the tables ---


@pytest.mark.parametrize("unit", ["word", "token"])
@pytest.mark.parametrize("method", ["integrated_gradients", "leave_one_out"])
def test_one_row_per_token_is_what_the_record_holds(bert: Handle, tmp_path: Path, unit: Any, method: str) -> None:
    lm = AttachedModel(bert, prove(bert))
    texts = [row["text"] for row in ROWS[:7]] + ["  it -- 好 \t", "the [SEP] film"]
    files = attribute_to(bert, tmp_path / "a.parquet", read_texts(texts), method=method, unit=unit, quality=False)
    whole = lm.attribute(texts, method=method, unit=unit, quality=False)
    found = files.tokens()
    pd.testing.assert_frame_equal(found.drop(columns="id"), whole.to_frame(), check_exact=True)
    assert found["id"].tolist() == found["example"].astype(str).tolist()
    # Without a second look at the text, each word can be put together again.
    for example, rows in zip(whole, found.groupby("example"), strict=True):
        sums = rows[1].dropna(subset=["word"]).groupby("word", sort=False)["score"].sum()
        ours = pd.DataFrame([(w.word, w.score) for w in example.words()]).groupby(0, sort=False)[1].sum()
        np.testing.assert_allclose(sums.to_numpy(), ours.to_numpy(), atol=1e-12)


def test_lots_hold_what_one_run_over_all_holds(bert: Handle, tmp_path: Path) -> None:
    """Other lots are other batches, which decides the last bits and nothing else."""
    small, large = (run(bert, tmp_path / f"{n}.parquet", lot_size=n, quality=False).tokens() for n in (3, 100))
    pd.testing.assert_frame_equal(small.drop(columns="score"), large.drop(columns="score"))
    np.testing.assert_allclose(small["score"], large["score"], atol=1e-5)


def test_one_row_per_text_with_its_quality(bert: Handle, tmp_path: Path) -> None:
    lm = AttachedModel(bert, prove(bert))
    path = tmp_path / "deep" / "er" / "scores.parquet"
    files = lm.attribute_to(path, ROWS, id="key", method="leave_one_out", seed=7)
    found = files.examples()
    assert files.examples_path == path.with_name("scores.examples.parquet")
    assert found["id"].tolist() == [row["key"] for row in ROWS]
    assert found["label"].tolist() == [row["label"] for row in ROWS]
    assert found["text_sha256"][3] == hashlib.sha256(ROWS[3]["text"].encode()).hexdigest()
    whole = lm.attribute([row["text"] for row in ROWS], method="leave_one_out", quality=False, seed=7)
    faithfulness = measure(bert, whole, n_random=N_RANDOM, seed=7)
    for i, (example, quality) in enumerate(zip(whole, faithfulness.per_example, strict=True)):
        assert quality is not None
        row = found.loc[i]
        assert (row["target"], row["target_index"]) == (example.target.label, example.target.index)
        assert (row["n_tokens"], row["n_words"]) == (len(example.tokens), len(example.words()))
        assert row["value"] == pytest.approx(example.value, abs=1e-6)
        assert row["verdict"] == quality.verdict
        for name in ("percentile", "n_random", "comprehensiveness", "random_sufficiency"):
            assert row[name] == pytest.approx(getattr(quality, name), abs=1e-6), name
    summary = files.summary()
    headline = faithfulness.rows[0]
    assert summary["quality"]["difference"] == pytest.approx(headline.difference, abs=1e-6)
    # A t interval beside a bootstrap: of the same width, not of the same digits.
    width = headline.difference_ci_high - headline.difference_ci_low  # type: ignore[operator]
    ours = summary["quality"]["difference_ci_high"] - summary["quality"]["difference_ci_low"]
    assert ours == pytest.approx(width, rel=0.25)
    assert summary["quality"]["above_95_share"] == pytest.approx(faithfulness.above_95_share)
    assert summary["targets"] == found["target"].value_counts().sort_index().to_dict()
    assert json.dumps(summary, allow_nan=False)


def test_completeness_and_missing_values(bert: Handle, tmp_path: Path) -> None:
    files = run(bert, tmp_path / "a.parquet", method="integrated_gradients", quality=False, n_steps=8)
    found = files.examples()
    sums = files.tokens().groupby("example")["score"].sum().to_numpy()
    gap = found["value"] - found["baseline_value"]
    np.testing.assert_allclose(np.abs(sums - gap) / np.abs(gap), found["convergence_delta"], rtol=1e-3, atol=1e-6)
    assert found["verdict"].isna().all()
    assert files.summary()["quality"] is None
    assert files.manifest["lots"][0]["options"]["n_steps"] == 8
    assert files.manifest["options"]["method.n_steps"] == 8


def test_one_row_group_per_lot(bert: Handle, tmp_path: Path) -> None:
    files = run(bert, tmp_path / "a.parquet", quality=False)
    for path in (files.path, files.examples_path):
        assert pq.ParquetFile(path).num_row_groups == N_LOTS
    assert pq.ParquetFile(files.examples_path).metadata.row_group(4).num_rows == len(ROWS) - 4 * LOT
    assert len(files) == len(ROWS)


@pytest.mark.parametrize(
    ("target", "label_map", "indices", "foil"),
    [
        ("c", None, {2}, None),
        (1, None, {1}, None),
        (("a", "b"), None, {0}, 1.0),
        ("gold", None, None, None),
        ("gold", "a=2,b=1,c=0", None, None),
    ],
)
def test_targets(bert: Handle, tmp_path: Path, target: Any, label_map: Any, indices: Any, foil: Any) -> None:
    options = {"target": target, "label_map": label_map, "quality": False}
    found = run(bert, tmp_path / "a.parquet", **options).examples()
    if indices is None:
        mapped = {"a": 2, "b": 1, "c": 0} if label_map else {"a": 0, "b": 1, "c": 2}
        assert found["target_index"].tolist() == [mapped[row["label"]] for row in ROWS]
        assert set(found["chosen"]) == {"gold"}
    else:
        assert set(found["target_index"]) == indices
        assert set(found["chosen"]) == {"given"}
    assert set(found["foil_index"].dropna()) == ({foil} if foil else set())


def test_a_language_model_explains_its_next_token(tmp_path: Path) -> None:
    gpt2 = attached("gpt2", "causal-lm")
    found = run(gpt2, tmp_path / "a.parquet", rows=[r["text"] for r in ROWS[:6]], quality=False).examples()
    assert set(found["target_kind"]) == {"next_token"}


def test_long_texts_in_windows_are_what_attribute_gives(bert: Handle, tmp_path: Path) -> None:
    lm = AttachedModel(bert, prove(bert))
    rows = [" ".join(TEXTS), TEXTS[0], " ".join(TEXTS[::-1])]
    options: dict[str, Any] = {"method": "leave_one_out", "long_text": "windows", "doc_stride": 5}
    files = lm.attribute_to(tmp_path / "a.parquet", rows, **options)
    found = lm.attribute(rows, quality=False, **options)
    pd.testing.assert_frame_equal(files.tokens().drop(columns="id"), found.to_frame(), check_exact=False, atol=1e-5)
    assert files.examples()["n_windows"].tolist() == [2, 1, 2]
    assert files.examples()["comprehensiveness"].notna().all()
    assert files.summary()["n_windowed"] == 2
    assert files.manifest["options"]["long_text"] == "windows"
    with pytest.raises(UsageError, match="doc_stride"):
        lm.attribute_to(tmp_path / "a.parquet", rows, **{**options, "doc_stride": 6})
    with pytest.raises(UsageError, match="a unit is a name"):
        attribute_to(bert, tmp_path / "b.parquet", read_texts(rows), unit=[[(0, 3)]] * 3)  # type: ignore[arg-type]


# --- stopped and taken up again ---


class Stopping:
    """Raises at the n-th call of the function it stands for, before or after the call."""

    def __init__(self, real: Callable[..., Any], at: int, error: BaseException, *, late: bool = False) -> None:
        self.real, self.at, self.error, self.late, self.calls = real, at, error, late, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls == self.at and not self.late:
            raise self.error
        found = self.real(*args, **kwargs)
        if self.calls == self.at:
            raise self.error
        return found


def stop_files(patch: pytest.MonkeyPatch, at: int, error: BaseException, *, late: bool) -> Stopping:
    begin, finish = disk.begin_file, disk.finish_file
    stopping = Stopping(lambda step, *args: step(*args), at, error, late=late)
    patch.setattr(disk, "begin_file", lambda *args: stopping(begin, *args))
    patch.setattr(disk, "finish_file", lambda *args: stopping(finish, *args))
    return stopping


@pytest.fixture
def n_forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all batches. Not by a hook: a model that somebody watches runs whole, and rounds otherwise."""
    sizes: list[int] = []
    real = batching.collate

    def counted(handle: Handle, rows: Sequence[batching.Row], **options: Any) -> Any:
        sizes.append(len(rows))
        return real(handle, rows, **options)

    monkeypatch.setattr(batching, "collate", counted)
    return sizes


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
def test_stopped_before_and_after_every_step_of_every_file(
    bert: Handle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, bytes], late: bool
) -> None:
    before = state_of(bert.model)
    # Begun and finished: the manifest, three files a lot, the manifest again; the joined tables are only finished.
    n_steps = 2 * (1 + 3 * N_LOTS + 1) + 2
    for at in range(1, n_steps + 1):
        folder = tmp_path / str(at)
        with monkeypatch.context() as patch:
            stopping = stop_files(patch, at, KeyboardInterrupt(), late=late)
            with pytest.raises(KeyboardInterrupt):
                run(bert, folder / "a.parquet")
            assert stopping.calls >= at
        same_state(before, state_of(bert.model))
        run(bert, folder / "a.parquet")
        assert contents(folder) == expected, at
    with monkeypatch.context() as patch:
        # There is no step after the last, or some step was never stopped at.
        stopping = stop_files(patch, n_steps + 1, KeyboardInterrupt(), late=late)
        run(bert, tmp_path / "whole" / "a.parquet")
        assert stopping.calls == n_steps


def test_stopped_in_a_forward_what_is_whole_is_not_run_again(
    bert: Handle, tmp_path: Path, expected: dict[str, bytes], n_forwards: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(bert, tmp_path / "whole" / "a.parquet")
    total = len(n_forwards)
    before = state_of(bert.model)
    # In front of the forward: one that only looks at the embedding never ends.
    with monkeypatch.context() as patch:
        patch.setattr(batching, "collate", Stopping(batching.collate, total - 2, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            run(bert, tmp_path / "s" / "a.parquet")
    same_state(before, state_of(bert.model))
    nothing_global()
    n_forwards.clear()
    run(bert, tmp_path / "s" / "a.parquet")
    assert 0 < len(n_forwards) < total / 2
    assert contents(tmp_path / "s") == expected
    n_forwards.clear()
    run(bert, tmp_path / "s" / "a.parquet")
    assert n_forwards == []
    assert contents(tmp_path / "s") == expected


@pytest.mark.parametrize("name", ["a.parquet", "a.examples.parquet"])
@pytest.mark.parametrize("how", ["flipped", "cut", "missing"])
def test_damaged_tables_are_made_again(
    bert: Handle, tmp_path: Path, expected: dict[str, bytes], name: str, how: str
) -> None:
    run(bert, tmp_path / "a.parquet")
    content = bytearray((tmp_path / name).read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
    (tmp_path / name).unlink()
    if how != "missing":
        (tmp_path / name).write_bytes(content[:-1] if how == "cut" else content)
    run(bert, tmp_path / "a.parquet")
    assert contents(tmp_path) == expected


def test_damaged_parts_are_made_again(
    bert: Handle, tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_files(patch, 2 + 6 * 3 + 1, KeyboardInterrupt(), late=False)
        with pytest.raises(KeyboardInterrupt):
            run(bert, tmp_path / "a.parquet")
    parts = tmp_path / "a.parts"
    assert len(list(parts.glob("*.json"))) == 3
    (parts / "lot-00000.tokens.parquet").write_bytes(b"PAR1")
    (parts / "lot-00001.json").write_bytes(b"{")
    (parts / "lot-00004.tokens.parquet.part").write_bytes(b"half")
    (parts / "notes.txt").write_text("mine")
    run(bert, tmp_path / "a.parquet")
    assert (parts / "notes.txt").read_text() == "mine"
    (parts / "notes.txt").unlink()
    assert not list(parts.iterdir())
    parts.rmdir()
    assert contents(tmp_path) == expected


@pytest.mark.parametrize("at", [1, 4, 17, 18])
def test_a_disk_that_takes_no_more(
    bert: Handle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, bytes], at: int
) -> None:
    with monkeypatch.context() as patch:
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        stop_files(patch, 2 * at, error, late=False)
        with pytest.raises(StoreError, match=r"stopped because of No space left.*lots that are whole stay in"):
            run(bert, tmp_path / "a.parquet")
    run(bert, tmp_path / "a.parquet")
    assert contents(tmp_path) == expected


# --- another request ---


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "leave_one_out"}, "its options.method is gradient_x_input, asked was leave_one_out"),
        ({"unit": "token"}, "its options.unit is word, asked was token"),
        (
            {"quality": False},
            "its options.n_random is 20, asked was None; its options.quality is auto, asked was False",
        ),
        ({"seed": 1}, "its options.seed is 0, asked was 1"),
        ({"target": ("a", "b")}, r"its options.target is None, asked was \['a', 'b'\]"),
        ({"rows": ROWS[1:]}, r"its data.n_examples is 24, asked was 23; its data.sha256 is \w+\.\.\., asked was"),
        ({"rows": [{**row, "label": "a"} for row in ROWS]}, "its data.sha256 is"),
        ({"lot_size": 6}, "its options.lot_size is 5, asked was 6"),
    ],
)
def test_another_request_is_refused_with_what_differs(
    bert: Handle, tmp_path: Path, expected: dict[str, bytes], options: dict[str, Any], said: str
) -> None:
    path = tmp_path / "a.parquet"
    run(bert, path)
    with pytest.raises(UsageError, match=rf"the place of another attribution: .*{said}.*overwrite=True"):
        run(bert, path, **options)
    assert contents(tmp_path) == expected
    run(bert, path, overwrite=True, **options)
    assert contents(tmp_path) != expected
    run(bert, path, overwrite=True)
    assert contents(tmp_path) == expected


def test_an_unfinished_one_is_refused_too(bert: Handle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_files(patch, 9, KeyboardInterrupt(), late=False)
        with pytest.raises(KeyboardInterrupt):
            run(bert, tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=r"its options\.seed is 0, asked was 5"):
        run(bert, tmp_path / "a.parquet", seed=5)


def test_another_option_of_the_method_is_another_request(bert: Handle, tmp_path: Path) -> None:
    options = {"method": "integrated_gradients", "quality": False, "rows": ROWS[:3]}
    run(bert, tmp_path / "a.parquet", n_steps=4, **options)
    with pytest.raises(UsageError, match=r"its options\.method\.n_steps is 4, asked was None"):
        run(bert, tmp_path / "a.parquet", **options)


def test_another_model_is_refused_and_another_name_is_not(
    tmp_path: Path, bert: Handle, expected: dict[str, bytes]
) -> None:
    run(bert, tmp_path / "a.parquet")
    changed = attached("bert")
    with torch.no_grad():
        changed.roles.blocks[1].output.dense.bias[0] += 1e-3
    with pytest.raises(UsageError, match=r"its model\.weights_sha256 is"):
        run(changed, tmp_path / "a.parquet")
    run(bert, tmp_path / "a.parquet", rows=pd.DataFrame(ROWS))
    assert contents(tmp_path) == expected


def test_files_that_are_not_ours(bert: Handle, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("thesis")
    with pytest.raises(UsageError, match=r"a\.parquet is there already.*overwrite=True"):
        run(bert, path)
    assert path.read_text() == "thesis"
    path.unlink()
    for content in ("{", '{"schema": "other"}', "[]"):
        (tmp_path / "a.manifest.json").write_text(content)
        with pytest.raises(StoreError, match="overwrite=True"):
            run(bert, path)
    assert list(contents(tmp_path)) == ["a.manifest.json"]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"target": "nosuch"}, UsageError, "has no label 'nosuch'"),
        ({"method": "nosuch"}, UsageError, "no attribution method"),
        ({"n_steps": 3}, UsageError, "has no option 'n_steps'"),
        ({"n_steps": (1, 2)}, UsageError, "over a data set an option is a number"),
        ({"target": ["a"] * 24}, UsageError, "over a data set: target is None"),
        ({"target": "gold", "rows": [{"text": "a"}]}, UsageError, "has no label column"),
        (
            {"target": "gold", "rows": [{"text": "a", "label": "a"}, {"text": "b", "label": ""}]},
            DataError,
            "row 2: .*needs a label for every text",
        ),
        ({"label_map": "a=0"}, UsageError, 'read for target="gold" only'),
        ({"lot_size": 0}, UsageError, "lot_size is 0"),
    ],
)
def test_what_is_wrong_is_said_and_leaves_nothing(
    bert: Handle, tmp_path: Path, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        run(bert, tmp_path / "a.parquet", **options)
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be(bert: Handle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.parquet"):
        run(bert, tmp_path / "a.csv")
    (tmp_path / "d.parquet").mkdir()
    with pytest.raises(UsageError, match="a folder stands there"):
        run(bert, tmp_path / "d.parquet")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be made"):
        run(bert, tmp_path / "file" / "a.parquet")


def test_two_at_once_are_refused(bert: Handle, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    from interpret.capture.store import layout

    (tmp_path / "a.parts").mkdir()
    with layout.locked(tmp_path / "a.parts"), pytest.raises(UsageError, match="another attribution is writing"):
        run(bert, tmp_path / "a.parquet")


def test_the_bar_says_how_fast(bert: Handle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(bert, tmp_path / "a.parquet", progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "24/24" in shown.err
    assert "text/s" in shown.err


# --- memory ---


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_texts(
    bert: Handle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{TEXTS[i % 8]} {TEXTS[i // 8 % 8]} {i}" for i in range(10_000)]
    found: list[int] = []
    real = Lots.write

    def write(self: Lots, *args: Any) -> None:
        real(self, *args)
        found.append(resident_bytes() or 0)

    monkeypatch.setattr(Lots, "write", write)
    run(bert, tmp_path / "a.parquet", rows=texts, quality=False, lot_size=100)
    assert len(found) == 100
    # Kept as records, the 9,000 texts in between took 43 MB.
    assert max(found[90:]) - max(found[5:15]) < 16 << 20


def test_texts_of_one_word_count_neither_for_nor_against(bert: Handle, tmp_path: Path) -> None:
    words = {"text": "good", "label": LABELS[0], "key": "one"}
    files = run(bert, tmp_path / "a.parquet", rows=[*ROWS, words])
    row = files.examples().iloc[-1]
    assert row["verdict"] == "inconclusive"
    assert pd.isna(row["percentile"])
    quality = files.summary()["quality"]
    assert quality["n"] == len(ROWS)
    assert run(bert, tmp_path / "b.parquet", rows=[words]).summary()["quality"] is None
