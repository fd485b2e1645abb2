"""Labels read off hand-made trees, and on a real treebank against an independent reading of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from interpret.errors import DataError, UsageError
from interpret.readers.conllu_tasks import DERIVED, INVERTED, ORIGINAL, bigram_shift, read_derived
from interpret.readers.iob import read_iob2
from interpret.readers.probe_data import read_probe_data

#: form, upos, feats, head, deprel
DOGS = [
    ("The", "DET", "_", 2, "det"),
    ("dogs", "NOUN", "Number=Plur", 4, "nsubj:pass"),
    ("were", "AUX", "Tense=Past|VerbForm=Fin", 4, "aux:pass"),
    ("seen", "VERB", "Tense=Past|VerbForm=Part", 0, "root"),
    (".", "PUNCT", "_", 4, "punct"),
]
CATS = [
    ("She", "PRON", "Number=Sing", 2, "nsubj"),
    ("sees", "VERB", "Tense=Pres|VerbForm=Fin", 0, "root"),
    ("cats", "NOUN", "Number=Plur", 2, "obj"),
    ("of", "ADP", "_", 5, "case"),
    ("friends", "NOUN", "Number=Plur", 3, "nmod"),
]
BARE = [("Yes", "INTJ", "_", 0, "root")]


def write(folder: Path, *sentences: list[tuple[str, str, str, int, str]]) -> Path:
    path = folder / "bank.conllu"
    blocks = (
        "".join(f"{i}\t{f}\t_\t{u}\t_\t{x}\t{h}\t{d}\t_\t_\n" for i, (f, u, x, h, d) in enumerate(s, 1))
        for s in sentences
    )
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("sentence_length", ["5-8", "5-8", "1-4"]),
        ("tree_depth", ["2", "3", "0"]),
        ("tense", ["Past", "Pres", None]),
        ("subject_number", ["Plur", "Sing", None]),
        ("object_number", [None, "Plur", None]),
        ("word_content", ["dogs", None, None]),
    ],
)
def test_labels_of_trees(tmp_path: Path, task: str, expected: list[str | None]) -> None:
    path = write(tmp_path, DOGS, CATS, BARE)
    vocabulary = ["dogs", "cats", "friends"] if task == "word_content" else None
    assert [one.label for one in read_derived(path, task, vocabulary)] == expected
    assert [one.text for one in read_derived(path, task, vocabulary)][1] == "She sees cats of friends"


def test_a_swap_changes_two_neighbours_and_no_punctuation() -> None:
    n_swapped = 0
    for n in range(300):
        words = [f"w{n}", "the", "the", "dog", ",", f"ran{n}", "."]
        upos = ["NOUN", "DET", "DET", "NOUN", "PUNCT", "VERB", "PUNCT"]
        text, label = bigram_shift(words, upos)
        assert (text, label) == bigram_shift(words, upos)
        found = text.split(" ")
        moved = [i for i, (a, b) in enumerate(zip(words, found, strict=True)) if a != b]
        assert label == (INVERTED if moved else ORIGINAL)
        if moved:
            n_swapped += 1
            assert moved[1] == moved[0] + 1
            assert len(moved) == 2
            assert not {4, 6} & set(moved)
    assert 110 <= n_swapped <= 190
    assert bigram_shift(["no", ",", "No"], ["INTJ", "PUNCT", "INTJ"]).label is None


def test_the_words_to_find_are_the_commonest(tmp_path: Path) -> None:
    path = write(tmp_path, DOGS, CATS, BARE)
    # All five content words are among the commonest: no sentence holds exactly one.
    with pytest.raises(DataError, match="no sentence of the file has a label"):
        read_derived(path, "word_content")
    data = read_probe_data(path, "word_content", vocabulary=["dogs", "sees"])
    assert data.level == "sentence"
    assert data.labels == (("dogs",), ("sees",), (None,))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("a", "X", "_", 2, "dep"), ("b", "X", "_", 1, "dep"), ("c", "X", "_", 0, "root")], "circle"),
        ([("a", "X", "_", 0, "root"), ("b", "X", "_", 0, "root")], "2 words with HEAD 0"),
        ([("a", "X", "_", 0, "root"), ("b", "X", "_", 9, "dep")], "line 2.*HEAD 9 in a sentence of 2"),
    ],
)
def test_what_is_no_tree_is_named(tmp_path: Path, rows: list[tuple[str, str, str, int, str]], says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_derived(write(tmp_path, rows), "tree_depth")


def test_unknown_labels_name_the_derived_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tree_depth, tense"):
        read_probe_data(write(tmp_path, DOGS), "tree_depht")
    with pytest.raises(DataError, match="no sentence of the file has a label for tense"):
        read_probe_data(write(tmp_path, BARE), "tense")


def test_a_real_treebank(shared: Path) -> None:
    path = shared / "data" / "ud_en_ewt" / "dev.conllu"
    if not path.exists():
        pytest.skip("shared material is absent: data/ud_en_ewt/dev.conllu is missing")
    # Read apart: arcs from the root by following parents, in a way of its own.
    depths = []
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        rows = [line.split("\t") for line in block.split("\n") if not line.startswith("#")]
        heads = {int(r[0]): int(r[6]) for r in rows if r[0].isdecimal()}
        level, n = {i for i, h in heads.items() if h == 0}, 0
        while level := {i for i, h in heads.items() if h in level}:
            n += 1
        depths.append("8+" if n >= 8 else str(n))
    assert [one.label for one in read_derived(path, "tree_depth")] == depths
    for task in DERIVED:
        labels = [one.label for one in read_derived(path, task)]
        assert len({label for label in labels if label}) >= 2, task
        assert sum(label is not None for label in labels) >= 100, task


def test_iob2(tmp_path: Path) -> None:
    path = tmp_path / "ner.iob2"
    path.write_text("-DOCSTART- O\n\nAda NNP B-PER\nLovelace NNP I-PER\nwrote VBD O\n\n# id 3\nParis\tB-LOC\n")
    assert read_iob2(path) == ([("Ada", "Lovelace", "wrote"), ("Paris",)], [("B-PER", "I-PER", "O"), ("B-LOC",)])
    data = read_probe_data(path, "label")
    assert (data.level, data.task, data.n_items) == ("word", "tag", 4)
    path.write_text("Ada I-PER\n")
    with pytest.raises(DataError, match=r"ner.iob2, line 1: I-PER follows the beginning"):
        read_iob2(path)
    path.write_text("Ada PER\n")
    with pytest.raises(DataError, match="no IOB2 tag"):
        read_iob2(path)


def test_lists_of_tokens_are_words(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"tokens": ["a", "b"], "ner": ["O", null]}\n{"tokens": ["c"], "ner": [3]}\n')
    data = read_probe_data(path, "ner")
    assert (data.sentences, data.labels) == ((("a", "b"), ("c",)), (("O", None), ("3",)))
    path.write_text('{"tokens": ["a", "b"], "ner": ["O"]}\n')
    with pytest.raises(DataError, match="line 1: 2 tokens but 1 entries of ner"):
        read_probe_data(path, "ner")
    path.write_text('{"tokens": "a b", "ner": ["O"]}\n')
    with pytest.raises(DataError, match="which is no list"):
        read_probe_data(path, "ner")
