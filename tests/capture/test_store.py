"""The store: what it holds is what the model computed, token for token, and how it is read back."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import interpret
from interpret.capture.capture import Capture, capture_texts
from interpret.capture.points import sites_frame
from interpret.capture.store import Store, capture_to, open_store
from interpret.capture.store.plan import columns_of, tokenise, values_bytes
from interpret.capture.store.rows import PatternView, RowView
from interpret.errors import DataError, MissingFileError, RunError, StoreError, UnknownSiteError, UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from interpret.readers.texts import Texts, read_texts
from tests import zoo
from tests.capture.support import attached, nothing_global, same_state, state_of
from tests.tiny import LABELS, TEXTS, tiny

#: Several batches and several shards of a tiny model.
SMALL: dict[str, Any] = {"token_budget": 48, "shard_bytes": 40_000}
MANY = [*TEXTS, *(f"{text} {text}" for text in TEXTS[:5]), *reversed(TEXTS)]


def everything(handle: Handle) -> list[str]:
    frame = sites_frame(handle)
    return list(frame[frame.available].site.unique())


def captured(handle: Handle, sites: list[str], texts: list[str] = MANY) -> Capture:
    """The same batches, held in memory."""
    return capture_texts(handle, encode(handle, texts), sites, token_budget=SMALL["token_budget"])


def of_example(capture: Capture, key: Any, example: int) -> Tensor:
    """What a store holds of one example: token-major, or [head, query, key], or one row."""
    site, values = key[0], capture[key][example]
    n = int(capture.mask[example].sum())
    if site in ("attn_pattern", "attn_scores"):
        return values[:, :n, :n]
    if site in ("q", "k", "v"):
        return values[:, :n].transpose(0, 1)
    return values if values.ndim == 1 else values[:n]


@pytest.fixture(scope="module")
def bert() -> Handle:
    return attached("bert")


@pytest.fixture(scope="module")
def store(bert: Handle, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("store") / "s"
    labelled = [{"text": text, "label": LABELS[i % 3], "id": f"row {i}"} for i, text in enumerate(MANY)]
    capture_to(bert, folder, read_texts(labelled, id="id"), everything(bert), dtype="bfloat16", **SMALL)
    # Opened anew, from nothing but the folder.
    return open_store(folder)


# --- what is stored ---


@pytest.mark.parametrize(
    ("family", "task"),
    [("bert", "text-classification"), ("bert", "masked-lm"), ("gpt2", "causal-lm"), ("llama", "text-classification")],
)
@pytest.mark.parametrize("dtype", [None, "float16", "bfloat16"])
def test_values_are_those_of_the_model_bit_for_bit(tmp_path: Path, family: str, task: str, dtype: str | None) -> None:
    handle = attached(family, task)
    before = state_of(handle.model)
    sites = everything(handle)
    made = capture_to(handle, tmp_path / "s", read_texts(MANY), sites, dtype=dtype, **SMALL)
    same_state(before, state_of(handle.model))
    nothing_global()
    assert made.n_shards > 3
    assert made.dtype == (dtype or "float32")
    capture = captured(handle, sites)
    assert made.keys == capture.keys
    lengths = capture.mask.sum(1).tolist()
    assert made.n_tokens == sum(lengths)
    for key in made.keys:
        view = made[key]
        assert view.dtype == getattr(torch, made.dtype)
        for example in range(len(MANY)):
            expected = of_example(capture, key, example).to(view.dtype)
            assert torch.equal(view.example(example), expected), (key, example)
        if isinstance(view, RowView):
            expected = torch.stack if view.axes[0] == "example" else torch.cat
            whole = expected([of_example(capture, key, example) for example in range(len(MANY))])
            assert torch.equal(view[:], whole.to(view.dtype)), key
            assert view.shape == tuple(whole.shape)
            assert len(view) == (len(MANY) if view.axes[0] == "example" else made.n_tokens)


def test_a_model_in_bfloat16_is_stored_as_it_runs(tmp_path: Path) -> None:
    model, tokenizer = tiny("llama", "causal-lm")
    handle = attach_handle(model.to(torch.bfloat16), tokenizer)
    made = capture_to(handle, tmp_path / "s", read_texts(MANY), ["resid_post.1", "attn_pattern.0"], **SMALL)
    capture = captured(handle, ["resid_post.1", "attn_pattern.0"])
    assert made.dtype == "bfloat16"
    for example in range(len(MANY)):
        for key in made.keys:
            assert torch.equal(made[key].example(example), of_example(capture, key, example))


@pytest.mark.parametrize("pool", ["mean", "cls", "last"])
def test_pooling_on_the_fly(bert: Handle, tmp_path: Path, pool: Any) -> None:
    sites = ["embed", "resid_post", "z.1", "k.0", "logits"]
    made = capture_to(bert, tmp_path / "s", read_texts(MANY), sites, pool=pool, **SMALL)
    capture = captured(bert, sites)
    for key in made.keys:
        view = made[key]
        assert isinstance(view, RowView)
        assert view.axes[0] == "example"
        assert len(view) == len(MANY)
        if key[0] == "logits":
            assert torch.equal(view[:], capture["logits"])
            continue
        found = view[:].flatten(1).numpy()
        if pool == "last":
            expected = torch.stack([of_example(capture, key, i)[-1] for i in range(len(MANY))]).flatten(1).numpy()
        else:
            expected = capture.to_frame(key, pool=pool).drop(columns="example").to_numpy()
        assert abs(found - expected).max() <= (2e-6 if pool == "mean" else 0), key
        assert torch.equal(view.example(3), view[3])
    assert "pooled" in repr(made)
    with pytest.raises(UsageError, match=r"attn_pattern\.0 has axes .* cannot be pooled over positions"):
        capture_to(bert, tmp_path / "t", read_texts(MANY), ["attn_pattern.0"], pool=pool)
    assert not (tmp_path / "t").exists()


def test_tokens_are_those_of_the_tokenizer(bert: Handle, store: Store) -> None:
    frame = store.tokens
    assert list(frame.columns) == [
        "example",
        "position",
        "token_id",
        "token",
        "word",
        "char_start",
        "char_end",
        "special",
    ]
    assert len(frame) == store.n_tokens == len(store["resid_post", 1])
    for example, row in enumerate(encode(bert, MANY)):
        part = frame[frame.example == example]
        assert tuple(part.position) == tuple(range(len(row.ids)))
        assert tuple(part.token_id) == row.ids
        assert tuple(part.token) == row.tokens
        assert tuple(part.word) == row.word_index
        assert tuple(zip(part.char_start, part.char_end, strict=True)) == row.char_spans
        assert tuple(part.special) == row.special
        # Row i of a view is row i of the table.
        assert torch.equal(store["embed"][part.index.to_numpy()], store["embed"].example(example))


def test_examples_carry_ids_labels_and_predictions_of_the_same_forward(bert: Handle, store: Store) -> None:
    frame = store.examples
    assert list(frame.columns) == ["example", "id", "text_sha256", "label", "prediction", "n_tokens", "n_truncated"]
    assert len(frame) == len(store) == len(MANY)
    assert list(frame.example) == list(range(len(MANY)))
    assert list(frame.id) == [f"row {i}" for i in range(len(MANY))]
    assert list(frame.label) == [LABELS[i % 3] for i in range(len(MANY))]
    predicted = captured(bert, ["logits"])["logits"].argmax(1).tolist()
    assert list(frame.prediction) == [LABELS[index] for index in predicted]
    assert len(set(predicted)) > 1
    assert frame.text_sha256.nunique() == len(set(MANY))
    assert not frame.n_truncated.any()


def test_long_texts_are_cut_and_counted_and_nothing_is_predicted_without_classes(tmp_path: Path) -> None:
    handle = attached("gpt2", "causal-lm")
    made = capture_to(handle, tmp_path / "s", read_texts(["the cat " * 80, "a dog"]), "embed")
    assert list(made.examples.n_truncated > 0) == [True, False]
    assert made.examples.n_tokens[0] == handle.max_length == 64
    assert made.examples.prediction.isna().all()
    assert made.examples.label.isna().all()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_logits_over_a_vocabulary_are_computed_only_where_they_are_stored(tmp_path: Path, family: str) -> None:
    handle = attached(family, "causal-lm")
    widths: list[int] = []
    hook = handle.model.register_forward_hook(lambda _, __, output: widths.append(output.logits.shape[1]))
    without = capture_to(handle, tmp_path / "a", read_texts(MANY), ["resid_post"], **SMALL)
    assert set(widths) == {1}
    stored = capture_to(handle, tmp_path / "b", read_texts(MANY), ["resid_post", "logits"], **SMALL)
    hook.remove()
    assert max(widths) > 1
    assert stored["logits"].shape == (stored.n_tokens, handle.vocab_size)
    for example in range(len(MANY)):
        assert torch.equal(without["resid_post", 1].example(example), stored["resid_post", 1].example(example))


def test_regression_and_several_labels_have_no_prediction(tmp_path: Path) -> None:
    handle = attached("bert")
    handle.config.problem_type = "multi_label_classification"
    made = capture_to(handle, tmp_path / "s", read_texts(["a", "b"]), "logits")
    assert made.examples.prediction.isna().all()
    assert made["logits"].shape == (2, 3)


def test_a_broken_logit_is_no_prediction(tmp_path: Path) -> None:
    handle = attached("bert")
    with torch.no_grad():
        handle.model.classifier.bias[1] = float("nan")
    made = capture_to(handle, tmp_path / "s", read_texts(["a", "b"]), "embed")
    assert made.examples.prediction.isna().all()


# --- sizes and overflow ---


def test_the_size_is_known_and_held_against_the_limit_before_anything_runs(tmp_path: Path) -> None:
    handle = attached("bert")
    sites = ["resid_post", "attn_pattern.1", "q.0", "logits"]
    texts = read_texts(MANY)

    def refuse(*_: Any) -> None:
        raise AssertionError("the model ran")

    hook = handle.model.register_forward_pre_hook(refuse)
    with pytest.raises(UsageError, match=r"more than max_bytes=1,000; ask for fewer .* pool .* store 16 bits") as error:
        capture_to(handle, tmp_path / "s", texts, sites, max_bytes=1000, **SMALL)
    assert not (tmp_path / "s").exists()
    hook.remove()
    stated = int(str(error.value).split("(")[1].split(" bytes")[0].replace(",", ""))
    made = capture_to(handle, tmp_path / "s", texts, sites, max_bytes=stated, **SMALL)
    assert made.n_bytes <= stated <= made.n_bytes + 8_000 * made.n_shards
    # The values themselves are known to the byte.
    corpus = tokenise(handle, texts)
    columns = columns_of(handle, made.keys, None)
    held = 0
    for key in made.keys:
        view = made[key]
        held += sum(part.nbytes for part in view) if isinstance(view, PatternView) else view[:].nbytes
    assert values_bytes(columns, corpus.lengths, 4) == held


def test_a_disk_that_is_too_small_is_refused_before_anything_runs(
    bert: Handle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 2000}))
    monkeypatch.setattr("interpret.capture.store.write.run_batches", None)
    with pytest.raises(StoreError, match=r"needs .* more, but the disk of .* has 2\.0 kB free; ask for fewer"):
        capture_to(bert, tmp_path / "s", read_texts(MANY), "resid_post")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("pool", [None, "mean"])
def test_what_float16_cannot_hold_is_refused(tmp_path: Path, pool: Any) -> None:
    handle = attached("bert")
    with torch.no_grad():
        handle.roles.blocks[0].output.LayerNorm.weight *= 1e6
    before = state_of(handle.model)
    texts = read_texts(MANY)
    with pytest.raises(RunError, match=r'resid_post\.0 of example \d+ reaches .* \(65504\); .* dtype="bfloat16"'):
        capture_to(handle, tmp_path / "s", texts, "resid_post.0", dtype="float16", pool=pool)
    same_state(before, state_of(handle.model))
    made = capture_to(handle, tmp_path / "s", texts, "resid_post.0", dtype="bfloat16", pool=pool, overwrite=True)
    view = made["resid_post.0"]
    assert isinstance(view, RowView)
    assert torch.isfinite(view[:]).all()
    assert view[:].abs().max() > 65504
    # What the model itself makes infinite is kept as it is.
    with torch.no_grad():
        handle.roles.blocks[0].output.LayerNorm.bias[:] = float("inf")
    made = capture_to(handle, tmp_path / "inf", texts, "resid_post.0", dtype="float16", pool=pool)
    view = made["resid_post.0"]
    assert isinstance(view, RowView)
    assert torch.isinf(view[:]).all()


# --- reading ---


def test_rows_are_read_by_number_slice_list_and_mask(store: Store) -> None:
    view = store["resid_post", 1]
    assert isinstance(view, RowView)
    whole = view[:]
    n = len(view)
    assert view[...].equal(whole)
    for index in (0, 7, n - 1, -1, np.int64(5)):
        assert torch.equal(view[index], whole[int(index)])
    for part in (slice(3, 40), slice(None, None, 7), slice(-5, None), slice(9, 2), slice(None, None, -1)):
        expected = whole.flip(0) if part.step == -1 else whole[part]
        assert torch.equal(view[part], expected)
    for rows in ([5, 3, 3, -1], np.array([8, 0]), torch.tensor([1, 200]), np.arange(0, n, 2), []):
        wanted = torch.as_tensor(np.asarray(rows), dtype=torch.long)
        assert torch.equal(view[rows], whole[wanted])
    mask = ~store.tokens.special
    assert torch.equal(view[mask], whole[torch.tensor(mask.tolist())])
    assert torch.equal(view[2:9, :4], whole[2:9, :4])
    assert torch.equal(view[3, 5], whole[3, 5])
    assert view.shape == (store.n_tokens, 32)
    assert view.axes == ("token", "d_model")
    joined = torch.full_like(whole, float("nan"))
    for rows, values in view:
        joined[torch.from_numpy(rows)] = values
    assert torch.equal(joined, whole)
    for wrong in (n, [0, n], [-n - 1], [True, False], [[1]], "a", 1.5, [0.5], None):
        with pytest.raises(UsageError, match=r"resid_post\.1"):
            view[wrong]


def test_patterns_are_read_by_example(store: Store) -> None:
    view = store["attn_pattern", 0]
    assert isinstance(view, PatternView)
    assert len(view) == len(MANY)
    assert [part.shape[1] for part in view] == list(store.examples.n_tokens)
    assert torch.equal(view[-1], view.example(len(MANY) - 1))
    assert view[0].float().sum(-1).allclose(torch.ones(()), atol=2e-2)
    for wrong in (len(MANY), -len(MANY) - 1, True, "0"):
        with pytest.raises(UsageError, match="the store has examples 0 to"):
            view[wrong]  # type: ignore[index]
    with pytest.raises(UsageError, match="makes no table"):
        store.to_frame("attn_pattern.0")


def test_names_of_sites(store: Store) -> None:
    assert store["resid_post.1"] is store["resid_post", 1]
    assert store["embed"] is store["embed", None]
    assert "resid_post.1" in store
    assert ("resid_post", 1) in store
    assert ("resid_post", 9) not in store
    assert store.sites[:2] == ("embed", "resid_pre.0")
    assert "bfloat16" in repr(store)
    assert "resid_post.1" in repr(store["resid_post", 1])
    assert "attn_pattern.1" in repr(store["attn_pattern", 1])
    with pytest.raises(UsageError, match=r"'resid_post' names 2 layers; ask for one, for example 'resid_post\.0'"):
        store["resid_post"]
    with pytest.raises(UnknownSiteError, match=r"resid_post\.9 is not stored; .* holds embed, "):
        store["resid_post", 9]


def test_frames(bert: Handle, store: Store) -> None:
    capture = captured(bert, ["resid_post.1", "k.0"])
    for key in ("resid_post.1", "k.0"):
        frame = store.to_frame(key)
        assert list(frame.columns[:4]) == ["example", "position", "token", "d0"]
        assert abs(frame.iloc[:, 3:].to_numpy() - capture.to_frame(key).iloc[:, 3:].to_numpy()).max() < 0.05
        for pool in ("mean", "cls"):
            pooled = store.to_frame(key, pool=pool)
            assert abs(pooled.to_numpy() - capture.to_frame(key, pool=pool).to_numpy()).max() < 0.05  # type: ignore[arg-type]
    last = store.to_frame("resid_post.1", pool="last")
    assert last.iloc[4, 1:].tolist() == store["resid_post.1"].example(4)[-1].tolist()
    assert store.to_frame("logits").shape == (len(MANY), 4)
    with pytest.raises(UsageError, match="cannot be pooled"):
        store.to_frame("logits", pool="mean")
    with pytest.raises(UsageError, match='"mean", "cls" or "last"'):
        store.to_frame("embed", pool="max")


# --- what may go in ---


def test_hostile_texts_and_ids(bert: Handle, tmp_path: Path) -> None:
    texts = [
        "\x00",
        "a\nb\r\n\tc",
        "👩‍👩‍👧‍👦 good",
        "‮abc‬",
        "x" * 5000,
        "=cmd|' /C calc'!A0",
        "好吃的味道",
        "﷽" * 30,
        "\u2028",
    ]
    ids = ["", "../../etc/passwd", "a,b\n", "NA", "nan", "💥", "'; drop", "0", " "]
    texts[-1] += "a"
    rows = [{"text": text, "key": key, "label": key} for text, key in zip(texts, ids, strict=True)]
    made = capture_to(bert, tmp_path / "s", read_texts(rows, id="key"), "embed")
    assert list(made.examples.id) == ids
    assert [None if pd.isna(label) else label for label in made.examples.label] == [key or None for key in ids]
    assert list(made.tokens.groupby("example").size()) == [len(row.ids) for row in encode(bert, texts)]
    made.verify()
    assert {path.suffix for path in (tmp_path / "s").iterdir()} == {".json", ".parquet", ".safetensors"}


def test_a_text_without_tokens_is_named_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = attached("gpt2", "causal-lm")
    real = encode

    def picky(handle: Handle, texts: list[str]) -> Any:
        if "void" in texts:
            raise UsageError("the text 'void' has no tokens")
        return real(handle, texts)

    monkeypatch.setattr("interpret.capture.store.plan.encode", picky)
    with pytest.raises(DataError, match="texts, row 2: the text 'void' has no tokens"):
        capture_to(handle, tmp_path / "s", read_texts(["a", "void"]), "embed")
    assert not (tmp_path / "s").exists()


def test_no_pickle(bert: Handle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("pickle was used")

    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    for name in ("save", "load"):
        monkeypatch.setattr(torch, name, refuse)
    made = capture_to(bert, tmp_path / "s", read_texts(list(TEXTS)), "embed")
    assert made["embed"].example(0).shape == (6, 32)
    assert len(made.tokens) == made.n_tokens


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sites": []}, "no site was named"),
        ({"sites": ["resid_post.9"]}, r"resid_post\.9"),
        ({"pool": "max"}, "unknown pool 'max'; it is None, 'mean', 'cls', 'last'"),
        ({"dtype": "int8"}, "cannot store dtype 'int8'; it is one of float16"),
        ({"shard_bytes": 0}, "shard_bytes is 0"),
        ({"token_budget": -1}, "token_budget is -1"),
        ({"max_bytes": 0}, "max_bytes is 0"),
    ],
)
def test_wrong_requests(bert: Handle, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    given = {"sites": "embed", **options}
    with pytest.raises(UsageError, match=said):
        capture_to(bert, tmp_path / "s", read_texts(["a"]), **given)
    assert not (tmp_path / "s").exists()


def test_the_facade(tmp_path: Path) -> None:
    lm = interpret.attach(*tiny("bert"))
    frame = pd.DataFrame({"sentence": TEXTS, "gold": list("abcabcab"), "n": range(8)})
    made = lm.capture_to(tmp_path / "s", frame, text="sentence", label="gold", id="n", dtype="float16", limit=5)
    assert isinstance(made, interpret.Store)
    assert list(made.examples.id) == list("01234")
    assert list(made.examples.label) == list("abcab")
    assert made.sites == ("resid_post.0", "resid_post.1")
    assert interpret.open_store(tmp_path / "s")["resid_post", 1].example(0).dtype == torch.float16
    with pytest.raises(DataError, match="row 2: the text is empty"):
        lm.capture_to(tmp_path / "t", ["a", ""])


def test_progress_is_quiet_unless_asked_for(bert: Handle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = read_texts(list(TEXTS))
    capture_to(bert, tmp_path / "a", texts, "embed")
    assert capsys.readouterr() == ("", "")
    capture_to(bert, tmp_path / "b", texts, "embed", progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "token/s" in shown.err


# --- opening ---


def test_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no store"):
        open_store(tmp_path / "nowhere")
    with pytest.raises(MissingFileError, match=r"manifest\.json is missing"):
        open_store(tmp_path)
    manifest = tmp_path / "manifest.json"
    for content, error, said in (
        ("{", StoreError, "is damaged"),
        ("[1]", UsageError, "was not written by a capture"),
        ('{"schema": "something/1"}', UsageError, "was not written by a capture"),
        ('{"schema": "interpret.store/99"}', StoreError, "this version reads 'interpret.store/1'"),
        ('{"schema": "interpret.store/1", "digest": "0"}', StoreError, "is not what was written"),
    ):
        manifest.write_text(content)
        with pytest.raises(error, match=said):
            open_store(tmp_path)


def test_a_manifest_that_was_changed_is_found(bert: Handle, tmp_path: Path) -> None:
    capture_to(bert, tmp_path / "s", read_texts(["a"]), "embed")
    path = tmp_path / "s" / "manifest.json"
    plain = json.loads(path.read_text())
    assert str(tmp_path) not in path.read_text()
    assert plain["shards"][0]["batches"] == [[0]]
    path.write_text(path.read_text().replace('"float32"', '"float16"'))
    with pytest.raises(StoreError, match="is not what was written"):
        open_store(tmp_path / "s")


def test_a_manifest_cannot_name_files_elsewhere(bert: Handle, tmp_path: Path) -> None:
    from interpret.capture.store.layout import manifest_bytes

    capture_to(bert, tmp_path / "s", read_texts(["a"]), "embed")
    path = tmp_path / "s" / "manifest.json"
    plain = json.loads(path.read_text())
    plain["shards"][0]["values"]["file"] = "../../secret"
    path.write_bytes(manifest_bytes(plain))
    assert open_store(tmp_path / "s")["embed"].example(0).shape == (3, 32)
    del plain["dtype"]
    path.write_bytes(manifest_bytes(plain))
    with pytest.raises(StoreError, match="lacks what a store needs"):
        open_store(tmp_path / "s")


def test_texts_know_their_lines() -> None:
    texts: Texts = read_texts(["a"])
    assert str(texts.wrong(0, "broken")) == "texts, row 1: broken"


@pytest.mark.parametrize(("family", "task"), [("t5", "seq2seq-lm"), ("vit", "image-classification")])
def test_models_of_several_stacks_and_of_images_are_refused(family: str, task: str, tmp_path: Path) -> None:
    built = zoo.build(family, task)
    handle = attach_handle(built.model, built.tokenizer)
    with pytest.raises(UsageError, match="is no model of texts in one stack"):
        capture_to(handle, tmp_path / "s", read_texts(MANY), "encoder.embed" if family == "t5" else "embed")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("family", ["albert", "deberta-v2", "modernbert", "gpt_neox", "gemma3", "gpt_oss"])
def test_families_of_every_kind_are_stored(family: str, tmp_path: Path) -> None:
    built = zoo.build(family, zoo.ZOO[family][0])
    handle = attach_handle(built.model, built.tokenizer)
    sites = everything(handle)
    made = capture_to(handle, tmp_path / "s", read_texts(MANY), sites, **SMALL)
    capture = captured(handle, sites)
    for key in made.keys:
        for example in (0, 3, len(MANY) - 1):
            assert torch.equal(made[key].example(example), of_example(capture, key, example)), key
