"""Tables as data of probes: levels, spans, kinds of labels, splits, groups, and what is wrong with file and line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.errors import DataError, MissingFileError, UsageError
from interpret.facade.probing import read_parts
from interpret.readers.probe_data import ProbeData, label_number, label_set, read_probe_data
from interpret.readers.probe_splits import cluster_numbers, shared_groups, split_sentences

ROWS: list[dict[str, Any]] = [
    {"text": "Ann met Bob in Rome", "spans": [[0, 3], [8, 11], [15, 19]], "labels": ["PER", "PER", None]},
    {"text": "Rome fell", "spans": [[0, 4]], "labels": ["LOC"]},
    {"text": "nothing here", "spans": [], "labels": []},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The same rows as the kind of file that the name says."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        cells = [{k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows]
        pd.DataFrame(cells).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", "saved"])
def test_spans_are_the_same_from_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    if suffix == "saved":
        datasets = pytest.importorskip("datasets")
        datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
        data = read_probe_data(tmp_path / "saved")
    else:
        data = read_probe_data(write(tmp_path / f"a{suffix}", ROWS))
    assert (data.level, data.kind, data.task, data.n_items) == ("span", "class", "labels", 3)
    found = [[row["text"][a:b] for a, b in row["spans"]] for row in ROWS]
    assert [[text[a:b] for ((a, b),) in row] for text, row in zip(data.texts, data.spans, strict=True)] == found
    assert data.labels == (("PER", "PER", None), ("LOC",), ())


def test_a_row_may_hold_one_span_or_one_pair(tmp_path: Path) -> None:
    one = [{"text": "Ann met Bob", "spans": [0, 3], "label": "PER"}, {"text": "Bob", "spans": [0, 3], "label": ""}]
    data = read_probe_data(write(tmp_path / "a.jsonl", one))
    assert (data.level, data.spans, data.labels) == ("span", ((((0, 3),),), (((0, 3),),)), (("PER",), (None,)))
    pair = [{"text": "Ann met Bob", "spans": [[0, 3], [8, 11]], "label": "meets"}]
    data = read_probe_data(write(tmp_path / "b.jsonl", pair))
    assert (data.level, data.spans, data.labels) == ("pair", ((((0, 3), (8, 11)),),), (("meets",),))
    pairs = [{"text": "Ann met Bob", "spans": [[[0, 3], [8, 11]], [[8, 11], [0, 3]]], "labels": ["a", "b"]}]
    data = read_probe_data(write(tmp_path / "c.jsonl", pairs))
    assert (data.level, data.n_items, data.labels) == ("pair", 2, (("a", "b"),))


def test_spans_of_tokens_are_counted_in_words(tmp_path: Path) -> None:
    rows = [{"tokens": ["New", "York", "is", "big"], "spans": [[0, 2], [3, 4]], "labels": ["LOC", "ADJ"]}]
    data = read_probe_data(write(tmp_path / "a.jsonl", rows))
    assert data.texts == ("New York is big",)
    assert [data.texts[0][a:b] for ((a, b),) in data.spans[0]] == ["New York", "big"]


def test_pairs_of_texts(tmp_path: Path) -> None:
    rows = [{"premise": "a b", "hypothesis": "c", "label": "x"}, {"premise": "d", "hypothesis": "e", "label": "y"}]
    data = read_probe_data(write(tmp_path / "a.csv", rows), level="pair")
    assert (data.level, data.texts, data.seconds) == ("pair", ("a b", "d"), ("c", "e"))
    assert data.identity(0) != ProbeData.of_texts(["a b c"], ["x"]).identity(0)
    named = read_probe_data(tmp_path / "a.csv", text="hypothesis", second="premise")
    assert (named.texts, named.seconds) == (("c", "e"), ("a b", "d"))
    with pytest.raises(UsageError, match=r"two columns of text.*premise, hypothesis, label"):
        read_probe_data(tmp_path / "a.csv", text="premise", second="premise")


def test_tokens_give_words_and_lists_of_lists_several_labels(tmp_path: Path) -> None:
    rows = [{"tokens": ["a", "b"], "labels": [["X", "Y"], []]}, {"tokens": ["c"], "labels": [None]}]
    data = read_probe_data(write(tmp_path / "a.jsonl", rows))
    assert (data.level, data.kind) == ("word", "multilabel")
    assert [None if one is None else label_set(one) for row in data.labels for one in row] == [{"X", "Y"}, set(), None]
    whole = [{"tokens": ["a", "b"], "label": "x"}]
    assert read_probe_data(write(tmp_path / "b.jsonl", whole), level="sentence").texts == ("a b",)
    with pytest.raises(DataError, match=r"b\.jsonl, line 1: label holds 'x', which is no list; .*level='sentence'"):
        read_probe_data(tmp_path / "b.jsonl")


def test_lists_as_labels_of_texts_are_several_labels_and_numbers_stay_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [{"text": "a", "label": ["x", "y"]}, {"text": "b", "label": []}])
    data = read_probe_data(path)
    assert (data.kind, data.labels) == ("multilabel", (('["x", "y"]',), ("[]",)))
    path = write(tmp_path / "b.csv", [{"text": "a", "label": "1.5"}, {"text": "b", "label": "2"}])
    assert read_probe_data(path).kind == "class"
    data = read_probe_data(path, kind="regression")
    assert (data.kind, [label_number(row[0] or "") for row in data.labels]) == ("regression", [1.5, 2.0])


BAD = [
    ({"text": "abc", "spans": [[0, 9]], "labels": ["X"]}, {}, r"line 2: the span \[0, 9\) of spans holds nothing"),
    ({"text": "abc", "spans": [[2, 2]], "labels": ["X"]}, {}, r"line 2: the span \[2, 2\)"),
    ({"text": "a c", "spans": [[1, 2]], "labels": ["X"]}, {}, r"line 2: the span \[1, 2\)"),
    ({"text": "abc", "spans": [[0, 1]], "labels": ["X", "Y"]}, {}, "line 2: 1 entries of spans but 2 of labels"),
    ({"text": "abc", "spans": ["zero"], "labels": ["X"]}, {}, r"line 2: spans holds .*a span is \[start, end\)"),
    ({"text": "abc", "spans": "0-1", "labels": ["X"]}, {}, "line 2: spans holds '0-1', which is no list"),
    ({"text": "abc", "spans": [[[0, 1], [1, 2], [2, 3]]], "labels": ["X"]}, {}, "line 2: .*no pairs"),
    (
        {"text": "abc", "spans": [[0, 1]], "labels": ["X"]},
        {"level": "pair"},
        "line 2: spans holds 1 spans, and a pair is",
    ),
    (
        {"text": "abc", "spans": [0, 1], "labels": "X"},
        {"kind": "regression"},
        "line 2: labels: .*'X'.*no finite number",
    ),
    (
        {"text": "abc", "spans": [0, 1], "labels": "X"},
        {"kind": "multilabel"},
        "line 2: labels holds 'X'; .*lists of names",
    ),
    ({"tokens": ["a", " "], "labels": ["X", "Y"]}, {}, "line 2: ' ' among the tokens is no word"),
    (
        {"tokens": ["a"], "spans": [[0, 2]], "labels": ["X"]},
        {},
        r"line 2: the span \[0, 2\) does not lie in the 1 words",
    ),
]


@pytest.mark.parametrize(("row", "how", "message"), BAD)
def test_what_is_wrong_is_said_with_file_and_line(
    tmp_path: Path, row: dict[str, Any], how: dict[str, Any], message: str
) -> None:
    good: dict[str, Any] = {"labels": ["X"]}
    good |= {"tokens": ["abc"]} if "tokens" in row else {"text": "abc"}
    if "spans" in row:
        good["spans"] = [[0, 1]]
    if how:
        good = {"text": "abc", "spans": [[0, 1], [1, 2]] if how.get("level") else [0, 1], "labels": "1"}
        good["labels"] = ["1"] if how.get("kind") == "multilabel" else "1"
    path = write(tmp_path / "bad.jsonl", [good, row])
    with pytest.raises(DataError, match=message) as error:
        read_probe_data(path, **how)
    assert str(error.value).startswith(f"{path}, line 2: ")
    with pytest.raises(DataError, match=re.compile("rows, row 2: " + message.removeprefix("line 2: "))):
        read_probe_data([good, row], **how)


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [{"text": "a", "label": "x"}])
    with pytest.raises(UsageError, match=r"no column 'where'; its columns are text, label; .*--spans-column"):
        read_probe_data(path, spans="where")
    with pytest.raises(UsageError, match="no column spans"):
        read_probe_data(path, level="span")
    with pytest.raises(UsageError, match="need a column tokens"):
        read_probe_data(path, level="word")
    with pytest.raises(UsageError, match=r"no column 'fold'.*--split-column"):
        read_probe_data(path, split="fold")
    with pytest.raises(UsageError, match=r"no column 'speaker'.*--group-column"):
        read_probe_data(path, group="speaker")
    with pytest.raises(UsageError, match=r"no column 'lable' \(did you mean 'label'"):
        read_probe_data(path, "lable")
    with pytest.raises(UsageError, match="level is 'letter'"):
        read_probe_data(path, level="letter")  # type: ignore[arg-type]
    with pytest.raises(MissingFileError):
        read_probe_data(tmp_path / "b.csv")
    conllu = tmp_path / "a.conllu"
    conllu.write_text("1\tgo\tgo\tVERB\t_\t_\t_\t_\t_\t_\n", encoding="utf-8")
    assert read_probe_data(conllu, level="word").level == "word"
    with pytest.raises(UsageError, match="class of a word, and asked was for level='sentence'"):
        read_probe_data(conllu, level="sentence")
    with pytest.raises(UsageError, match="group= is for tables"):
        read_probe_data(conllu, group="document")


# --- splits and groups ---


def test_a_column_of_splits_says_what_rows_are_for(tmp_path: Path) -> None:
    rows = [
        {"text": f"t{i}", "label": "ab"[i % 2], "split": part} for i, part in enumerate(["train", "dev", "TEST"] * 4)
    ]
    train, test = read_parts(write(tmp_path / "a.csv", rows), None)
    assert test is not None
    assert train.texts == tuple(f"t{i}" for i in range(12) if i % 3 < 2)
    assert train.splits == ("train", "validation") * 4
    assert test.texts == ("t2", "t5", "t8", "t11")
    with pytest.raises(UsageError, match=r"4 rows for test, and b\.csv was given"):
        read_parts(tmp_path / "a.csv", write(tmp_path / "b.csv", [{"text": "x", "label": "a"}]))
    with pytest.raises(UsageError, match=r"was given to test on, and its split column has rows for train"):
        read_parts(tmp_path / "b.csv", tmp_path / "a.csv")
    rows[5]["split"] = "holdout"
    with pytest.raises(DataError, match=r"a\.csv, line 7: split holds 'holdout'"):
        read_parts(write(tmp_path / "a.csv", rows), None)
    # A column of that name with other words is something else, unless it was named.
    other = [{"text": f"t{i}", "label": "a", "split": f"fold{i}"} for i in range(3)]
    assert read_parts(write(tmp_path / "c.csv", other), None)[0].splits == ()
    with pytest.raises(DataError, match=r"c\.csv, line 2: split holds 'fold0'"):
        read_parts(tmp_path / "c.csv", None, split="split")
    only = [{"text": "t", "label": "a", "split": "train"}]
    with pytest.raises(UsageError, match="1 for train, 0 for validation, 0 for test rows"):
        read_parts(write(tmp_path / "d.csv", only), None)
    few, held = read_parts([row | {"split": row["split"].replace("holdout", "test")} for row in rows], None, limit=2)
    assert held is not None
    assert (len(few), len(held)) == (2, 2)


def test_a_saved_dataset_with_splits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    label = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"text": datasets.Value("string"), "label": label})
    parts = {
        name: datasets.Dataset.from_dict(
            {"text": [f"{name} {i}" for i in range(n)], "label": [0, 1] * (n // 2)}, features
        )
        for name, n in (("train", 6), ("validation", 2), ("test", 4))
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    train, test = read_parts(tmp_path / "saved", None)
    assert test is not None
    assert (train.name, len(train), train.splits) == ("saved", 8, ("train",) * 6 + ("validation",) * 2)
    assert (test.texts[0], test.labels[1]) == ("test 0", ("pos",))
    one = read_probe_data(tmp_path / "saved" / "test")
    assert one.texts == test.texts
    datasets.DatasetDict({"train": parts["train"], "extra": parts["test"]}).save_to_disk(tmp_path / "odd")
    with pytest.raises(UsageError, match="the splits train, extra, and 'extra' does not say"):
        read_probe_data(tmp_path / "odd")


def test_without_datasets_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list([{"text": "a", "label": "x"}]).save_to_disk(tmp_path / "saved")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(UsageError, match=r"needs the datasets library: pip install 'interpret-lm\[data\]'"):
        read_probe_data(tmp_path / "saved")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefghij"), st.sampled_from(["", "g1", "g2", "g3", "g4"])), min_size=1, max_size=60
    ),
    st.integers(0, 5),
)
def test_groups_and_equal_sentences_never_stand_on_two_sides(rows: list[tuple[str, str]], seed: int) -> None:
    data = ProbeData.of_texts([a for a, _ in rows], ["x"] * len(rows), groups=tuple(b for _, b in rows))
    numbers = cluster_numbers(data)
    # Against scipy: the connected components of the graph of sentences that share a text or a group.
    from scipy.sparse.csgraph import connected_components

    linked = np.array([[a[0] == b[0] or (a[1] != "" and a[1] == b[1]) for b in rows] for a in rows])
    components = connected_components(linked)[1]
    assert len(set(zip(numbers.tolist(), components.tolist(), strict=True))) == len(set(components.tolist()))
    assert len(set(numbers.tolist())) == len(set(components.tolist()))
    split = split_sentences(data, seed=seed)
    assert sorted(i for part in split for i in part.tolist()) == list(range(len(rows)))
    for one in range(3):
        for other in range(one):
            assert not shared_groups(data.take(split[one]), data.take(split[other]))
            assert not set(numbers[split[one]].tolist()) & set(numbers[split[other]].tolist())


def test_spans_by_hand_are_checked() -> None:
    data = ProbeData.of_spans(["a bc"], [[((0, 1), (2, 4))]], [["X"]])
    assert data.level == "pair"
    with pytest.raises(UsageError, match=r"the span \[1, 2\) of sentence 0 holds nothing"):
        ProbeData.of_spans(["a bc"], [[(1, 2)]], [["X"]])
    with pytest.raises(UsageError, match="1 texts but 2 groups"):
        ProbeData.of_texts(["a"], ["x"], groups=("g", "h"))
    with pytest.raises(UsageError, match="bring data of one level and one kind"):
        ProbeData.joined([data, ProbeData.of_texts(["a"], ["x"])])
