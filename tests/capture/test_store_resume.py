"""Interrupted, damaged, full, asked otherwise: what is whole stays, and what comes out is always the same bytes."""

from __future__ import annotations

import dataclasses
import errno
import io
import os
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from interpret.capture.store import Store, capture_to, disk, layout, open_store
from interpret.errors import InterpretError, StoreError, UsageError
from interpret.models.handle import Handle
from interpret.readers.texts import read_texts
from tests.capture.support import attached, nothing_global, same_state, state_of
from tests.tiny import LABELS, TEXTS

SITES = ["resid_post.1", "attn_pattern.0", "logits"]
ROWS = [{"text": f"{text} {other}", "label": LABELS[i % 3]} for i, text in enumerate(TEXTS) for other in TEXTS[:3]]


@pytest.fixture(scope="module")
def bert() -> Handle:
    return attached("bert")


def run(handle: Handle, folder: Path, **options: Any) -> Store:
    given = {"rows": ROWS, "sites": SITES, "dtype": "float16", "token_budget": 48, "shard_bytes": 12_000, **options}
    return capture_to(handle, folder, read_texts(given.pop("rows")), given.pop("sites"), **given)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def same(folder: Path, expected: dict[str, bytes]) -> None:
    found = contents(folder)
    assert found.keys() == expected.keys()
    assert [name for name, content in found.items() if content != expected[name]] == []


@pytest.fixture(scope="module")
def expected(bert: Handle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("expected") / "s"
    assert run(bert, folder).n_shards >= 5
    return contents(folder)


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
    """Every file is begun and finished, which makes two steps each; stop at one of them."""
    begin, finish = disk.begin_file, disk.finish_file
    stopping = Stopping(lambda step, *args: step(*args), at, error, late=late)
    patch.setattr(disk, "begin_file", lambda *args: stopping(begin, *args))
    patch.setattr(disk, "finish_file", lambda *args: stopping(finish, *args))
    return stopping


@pytest.fixture
def n_forwards(bert: Handle) -> Iterator[list[int]]:
    """Sizes of the batches that the model has run."""
    sizes: list[int] = []
    hook = bert.model.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    yield sizes
    hook.remove()


def test_the_same_bytes_twice_also_by_another_model_object(tmp_path: Path, expected: dict[str, bytes]) -> None:
    run(attached("bert"), tmp_path / "deep" / "er")
    same(tmp_path / "deep" / "er", expected)


def test_on_another_device_values_are_packed_and_written_behind_to_the_same_bytes(
    bert: Handle, tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from interpret.capture.store import write

    asked: list[torch.Tensor] = []
    # There may be no other device here; what is done for one can be done on the CPU too.
    monkeypatch.setattr("interpret.capture.store.filling._elsewhere", lambda tensor: asked.append(tensor) or True)
    real = write._Writer
    monkeypatch.setattr(write, "_Writer", lambda *, behind: real(behind=not behind))
    run(bert, tmp_path)
    assert asked
    same(tmp_path, expected)


class RefusingFile(io.FileIO):
    """Takes one page and a bit of what is written past the cache, or refuses it altogether."""

    taken: int | None = None

    def write(self, data: Any) -> int:
        if self.taken is None:
            raise OSError(errno.EINVAL, "Invalid argument")
        return super().write(memoryview(data)[: self.taken])


@pytest.mark.parametrize("way", ["no such flag", "refused when opened", "refused when written", "short writes"])
def test_where_the_file_system_takes_only_copies(
    bert: Handle, tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "no such flag":
        monkeypatch.setattr(disk, "_DIRECT", None)
    elif way == "refused when opened":
        monkeypatch.setattr(disk, "_opens_directly", lambda part: False)
    else:
        # Opened without the flag, so that it runs where no file system knows it.
        monkeypatch.setattr(disk, "_DIRECT", 0)
        monkeypatch.setattr(RefusingFile, "taken", None if way == "refused when written" else disk.PAGE + 100)
        monkeypatch.setattr(disk, "_opened_directly", lambda part: RefusingFile(part, "wb"))
    run(bert, tmp_path)
    same(tmp_path, expected)


@pytest.mark.parametrize("late", [False, True])
def test_interrupted_before_and_after_every_step_of_every_file(
    bert: Handle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, bytes], late: bool
) -> None:
    before = state_of(bert.model)
    n_shards = sum(name.endswith(".safetensors") for name in expected)
    n_steps = 2 * (3 * n_shards + 3)
    for at in range(1, n_steps + 1):
        folder = tmp_path / str(at)
        with monkeypatch.context() as patch:
            stopping = stop_files(patch, at, KeyboardInterrupt(), late=late)
            with pytest.raises(KeyboardInterrupt):
                run(bert, folder)
            assert stopping.calls >= at
        same_state(before, state_of(bert.model))
        nothing_global()
        if at > 2 and not (late and at == n_steps):
            with pytest.raises(StoreError, match=rf"is not finished: \d+ of {n_shards} shards are there; run the same"):
                open_store(folder)
        run(bert, folder)
        same(folder, expected)


def test_an_interrupted_forward_keeps_what_was_whole(
    bert: Handle, tmp_path: Path, expected: dict[str, bytes], n_forwards: list[int]
) -> None:
    run(bert, tmp_path / "whole")
    total = len(n_forwards)
    before = state_of(bert.model)
    hook = bert.model.register_forward_hook(Stopping(lambda *_: None, total - 2, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run(bert, tmp_path / "s")
    hook.remove()
    same_state(before, state_of(bert.model))
    assert list((tmp_path / "s").glob("shard-*.json"))
    n_forwards.clear()
    run(bert, tmp_path / "s")
    assert 0 < len(n_forwards) < total / 2
    same(tmp_path / "s", expected)
    n_forwards.clear()
    run(bert, tmp_path / "s")
    assert n_forwards == []


def test_leftovers_are_removed_and_other_files_left_alone(
    bert: Handle, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    run(bert, tmp_path)
    for name in ("shard-00001.safetensors.part", "manifest.json.part", "shard-00002.json"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    run(bert, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    (tmp_path / "notes.txt").unlink()
    same(tmp_path, expected)


# --- damage ---


def damaged_files(expected: dict[str, bytes]) -> list[str]:
    return [name for name in expected if name != layout.MANIFEST]


@pytest.mark.parametrize("how", ["flipped", "cut", "missing", "longer"])
def test_damage_is_found_named_and_redone_alone(
    bert: Handle, tmp_path: Path, expected: dict[str, bytes], n_forwards: list[int], how: str
) -> None:
    run(bert, tmp_path)
    for name in damaged_files(expected):
        path = tmp_path / name
        content = bytearray(path.read_bytes())
        if how == "flipped":
            content[len(content) * 2 // 3] ^= 1
        elif how == "cut":
            content = content[:-1]
        elif how == "longer":
            content += b"\0"
        path.unlink()
        if how != "missing":
            path.write_bytes(content)
        store = open_store(tmp_path)
        with pytest.raises(StoreError, match=rf"{name}.*; run the same capture again"):
            store.verify()
        with pytest.raises(StoreError, match=name):
            everything_read(open_store(tmp_path))
        stamps = {other.name: other.stat().st_mtime_ns for other in tmp_path.iterdir()}
        n_forwards.clear()
        run(bert, tmp_path).verify()
        same(tmp_path, expected)
        number = name.split(".")[0]
        touched = {other.name for other in tmp_path.iterdir() if other.stat().st_mtime_ns != stamps.get(other.name)}
        assert {other.split(".")[0] for other in touched} - {"manifest", "examples"} <= {number}
        assert len(n_forwards) == (0 if name == layout.EXAMPLES else batches_of(store, number))


def batches_of(store: Store, number: str) -> int:
    manifest = layout.read_manifest(store.path)
    assert manifest is not None
    return len(manifest["shards"][int(number.removeprefix("shard-"))]["batches"])


def everything_read(store: Store) -> None:
    for example in range(len(store)):
        store["resid_post", 1].example(example)
    assert len(store.tokens) == store.n_tokens
    assert len(store.examples) == len(store)


def test_a_shard_is_checked_when_it_is_first_read_and_once(
    bert: Handle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(bert, tmp_path)
    checked: list[str] = []
    real = layout.damage

    def counting(folder: Path, entry: Any) -> str | None:
        checked.append(entry["file"])
        return real(folder, entry)

    monkeypatch.setattr(layout, "damage", counting)
    store = open_store(tmp_path)
    assert checked == []
    longest = int(store.examples.n_tokens.argmax())
    for _ in range(2):
        store["resid_post", 1].example(longest)
    assert checked == [layout.EXAMPLES, layout.values_name(0)]
    everything_read(store)
    everything_read(store)
    assert len(checked) == len(set(checked)) == 2 * store.n_shards + 1


def test_a_damaged_manifest_is_said_and_can_be_replaced(
    bert: Handle, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    run(bert, tmp_path)
    path = tmp_path / layout.MANIFEST
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StoreError, match="overwrite=True"):
        run(bert, tmp_path)
    run(bert, tmp_path, overwrite=True)
    same(tmp_path, expected)


# --- a full disk ---


@pytest.mark.parametrize("at", [1, 2, 7, 12])
@pytest.mark.parametrize(
    ("code", "said"), [(errno.ENOSPC, "the disk is full: .* still needed, .* are free"), (errno.EIO, "Input/output")]
)
def test_a_disk_that_takes_no_more(
    bert: Handle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    expected: dict[str, bytes],
    at: int,
    code: int,
    said: str,
) -> None:
    before = state_of(bert.model)
    with monkeypatch.context() as patch:
        # Late, as file systems that allocate late report it.
        patch.setattr(os, "fsync", Stopping(os.fsync, at, OSError(code, os.strerror(code))))
        with pytest.raises(
            StoreError, match=rf"stopped because {said}.*shards that are there stay; .*run the same again"
        ):
            run(bert, tmp_path)
    same_state(before, state_of(bert.model))
    assert not list(tmp_path.glob("*.part"))
    run(bert, tmp_path)
    same(tmp_path, expected)


# --- another request ---


def other_weights(handle: Handle) -> None:
    with torch.no_grad():
        handle.roles.blocks[1].output.dense.bias[0] += 1e-3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sites": ["resid_post.0"]}, r"its sites is resid_post\.1, attn_pattern\.0, logits, asked was resid_post\.0"),
        ({"dtype": "bfloat16"}, "its dtype is float16, asked was bfloat16"),
        ({"sites": ["resid_post.1"], "pool": "mean"}, "its pool is None, asked was mean"),
        ({"token_budget": 49}, "its token_budget is 48, asked was 49"),
        ({"shard_bytes": 12_001}, "its shard_bytes is 12000, asked was 12001"),
        ({"rows": ROWS[1:]}, r"its data\.sha256 is \w+\.\.\., asked was"),
        ({"rows": [{**row, "label": "z"} for row in ROWS]}, r"its data\.sha256 is"),
        ({"rows": [row["text"] for row in ROWS]}, r"its data\.sha256 is"),
    ],
)
def test_another_request_is_refused_with_what_differs(
    bert: Handle, tmp_path: Path, expected: dict[str, bytes], options: dict[str, Any], said: str
) -> None:
    run(bert, tmp_path)
    with pytest.raises(
        UsageError, match=rf"holds another capture: .*{said}.*; name another folder, or .*overwrite=True"
    ):
        run(bert, tmp_path, **options)
    same(tmp_path, expected)
    replaced = run(bert, tmp_path, overwrite=True, **options)
    replaced.verify()
    assert contents(tmp_path) != expected
    run(bert, tmp_path, overwrite=True)
    same(tmp_path, expected)


def test_another_model_is_refused_and_another_name_is_not(
    tmp_path: Path, bert: Handle, expected: dict[str, bytes]
) -> None:
    run(bert, tmp_path)
    changed = attached("bert")
    other_weights(changed)
    with pytest.raises(UsageError, match=r"its model\.weights_sha256 is"):
        run(changed, tmp_path)
    with pytest.raises(UsageError, match=r"its model\.config_sha256 is"):
        run(attached("bert", "masked-lm"), tmp_path, sites=["resid_post.1"])
    narrow = attached("bert")
    assert narrow.tokenizer is not None
    with pytest.raises(UsageError, match=r"its model\.max_length is 64, asked was 12"):
        run(dataclasses.replace(narrow, max_length=12), tmp_path)
    narrow.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    with pytest.raises(UsageError, match=r"its data\.tokens_sha256 is"):
        run(narrow, tmp_path)
    # The same table under another name is the same data.
    import pandas as pd

    run(bert, tmp_path, rows=pd.DataFrame(ROWS))
    same(tmp_path, expected)


def test_folders_that_are_not_ours(bert: Handle, tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("x")
    with pytest.raises(UsageError, match=r"holds other files \(thesis\.doc\) and no store"):
        run(bert, tmp_path)
    run(bert, tmp_path, overwrite=True)
    assert (tmp_path / "thesis.doc").read_text() == "x"
    other = tmp_path / "other"
    other.mkdir()
    (other / "manifest.json").write_text('{"manifest_version": 3}')
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="was not written by a capture; name another folder"):
            run(bert, other, overwrite=overwrite)
    assert (other / "manifest.json").read_text() == '{"manifest_version": 3}'
    with pytest.raises(UsageError, match="a file stands there"):
        run(bert, tmp_path / "thesis.doc")
    with pytest.raises(UsageError, match="cannot be made"):
        run(bert, tmp_path / "thesis.doc" / "s")


def test_two_captures_into_one_folder_do_not_mix(bert: Handle, tmp_path: Path) -> None:
    run(bert, tmp_path)
    with layout.locked(tmp_path), pytest.raises(UsageError, match="another capture is writing to"):
        run(bert, tmp_path)
    run(bert, tmp_path)


# --- out of memory ---


def test_halved_batches_are_written_down_as_they_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = attached("bert")
    rows = [*ROWS, *({"text": text, "label": "a"} for text in TEXTS for _ in range(4))]

    def narrow(_: Any, args: Any, kwargs: Any) -> None:
        if len(kwargs["input_ids"]) > 3:
            raise torch.OutOfMemoryError("out of memory")

    whole = run(handle, tmp_path / "whole", rows=rows)
    hook = handle.model.register_forward_pre_hook(narrow, with_kwargs=True)
    halved = run(handle, tmp_path / "halved", rows=rows)
    ran = [batch for entry in shards(halved) for batch in entry["batches"]]
    planned = [batch for entry in shards(whole) for batch in entry["batches"]]
    assert max(map(len, planned)) > 3
    assert max(map(len, ran)) <= 3
    assert list(chain(*ran)) == list(chain(*planned))
    assert {entry["halved"] is None for entry in shards(whole)} == {True}
    # Short texts come last and in larger batches: the first shards ran as they were planned.
    assert shards(halved)[0]["halved"] is None
    assert shards(halved)[0]["batches"] == shards(whole)[0]["batches"]
    assert shards(halved)[-1]["halved"] is not None
    first = next(n for n, entry in enumerate(shards(halved)) if entry["halved"] is not None)
    assert first < len(shards(halved)) - 2
    for example in range(len(rows)):
        difference = whole["resid_post", 1].example(example) - halved["resid_post", 1].example(example)
        assert difference.abs().max() < 1e-2
    expected = contents(halved.path)

    # Redone with memory to spare, a shard is what it was; and so is a capture that was interrupted after
    # its bounds were learnt.
    hook.remove()
    (halved.path / layout.values_name(first + 1)).unlink()
    run(handle, halved.path, rows=rows)
    same(halved.path, expected)
    hook = handle.model.register_forward_pre_hook(narrow, with_kwargs=True)
    with monkeypatch.context() as patch:
        stop_files(patch, 2 * (1 + 3 * (first + 1)), KeyboardInterrupt(), late=True)
        with pytest.raises(KeyboardInterrupt):
            run(handle, tmp_path / "again", rows=rows)
    hook.remove()
    run(handle, tmp_path / "again", rows=rows)
    same(tmp_path / "again", expected)


def shards(store: Store) -> list[dict[str, Any]]:
    manifest = layout.read_manifest(store.path)
    assert manifest is not None
    found: list[dict[str, Any]] = manifest["shards"]
    return found


def test_a_site_that_a_forward_does_not_compute_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = attached("bert")
    layer = handle.roles.blocks[1]
    monkeypatch.setattr(layer, "forward", lambda hidden, *_, **__: hidden)
    with pytest.raises(InterpretError, match=r"mlp_act\.1 was not computed in this forward"):
        run(handle, tmp_path / "s", sites=["mlp_act.1"])
