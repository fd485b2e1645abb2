from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.errors import UsageError
from interpret.readers.probe_data import ProbeData, read_probe_data
from interpret.readers.probe_splits import n_duplicates, n_shared, split_sentences


def texts(*values: str) -> ProbeData:
    return ProbeData.of_texts(values, ["x"] * len(values))


def test_conllu_gives_words(tmp_path: Path) -> None:
    path = tmp_path / "a.conllu"
    path.write_text("1\tgo\tgo\tVERB\t_\t_\t_\t_\t_\t_\n2\t!\t!\t_\t_\t_\t_\t_\t_\t_\n", encoding="utf-8")
    data = read_probe_data(path)
    assert (data.level, data.task, data.name, data.n_items) == ("word", "upos", "a.conllu", 1)
    assert data.sentences == (("go", "!"),)
    assert read_probe_data(data) is data


def test_tables_give_texts(tmp_path: Path) -> None:
    pytest.importorskip("interpret.readers.tables")
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\nNA\tpos\nfine\tneg\n", encoding="utf-8")
    data = read_probe_data(path, "label")
    assert (data.level, data.texts, data.labels) == ("sentence", ("NA", "fine"), (("pos",), ("neg",)))
    assert (data.task, data.name) == ("label", "a.tsv")


def test_a_table_without_label_says_what_to_change(tmp_path: Path) -> None:
    pytest.importorskip("interpret.readers.tables")
    path = tmp_path / "a.csv"
    path.write_text("text,other\na,b\n", encoding="utf-8")
    with pytest.raises(UsageError):
        read_probe_data(path)


def test_lengths_must_agree() -> None:
    with pytest.raises(UsageError, match="sentence 0 has 2 items but 1 labels"):
        ProbeData.of_words([["a", "b"]], [["X"]])
    with pytest.raises(UsageError, match="labels for 0"):
        ProbeData.of_texts(["a"], [])


def test_take_keeps_words_and_labels_together() -> None:
    data = ProbeData.of_words([["a"], ["b", "c"]], [["X"], ["Y", None]]).take([1])
    assert (data.sentences, data.labels, data.texts) == ((("b", "c"),), (("Y", None),), ("b c",))


def test_duplicates_are_counted() -> None:
    assert n_duplicates(texts("a b", "a  b", "c")) == 1
    assert n_shared(texts("a b", "c"), texts("c ", "c", "d")) == 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), min_size=1, max_size=80), st.integers(0, 9))
def test_a_split_is_a_partition_without_duplicates_across_parts(values: list[str], seed: int) -> None:
    data = texts(*values)
    split = split_sentences(data, seed=seed)
    assert sorted(i for part in split for i in part.tolist()) == list(range(len(data)))
    held = [{data.identity(i) for i in part.tolist()} for part in split]
    assert not held[0] & held[1]
    assert not held[0] & held[2]
    assert not held[1] & held[2]
    again = split_sentences(data, seed=seed)
    assert all((a == b).all() for a, b in zip(split, again, strict=True))


def test_shares() -> None:
    split = split_sentences(texts(*map(str, range(1000))))
    assert [len(part) for part in split] == [600, 200, 200]


def test_a_limit_is_spread_over_the_data() -> None:
    data = texts(*map(str, range(10)))
    assert read_probe_data(data, limit=4).texts == ("0", "3", "6", "9")
    assert read_probe_data(data, limit=10) is data
    with pytest.raises(UsageError, match="limit is 0"):
        read_probe_data(data, limit=0)
