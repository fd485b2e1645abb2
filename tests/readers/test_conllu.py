from __future__ import annotations

from pathlib import Path

import pytest

from interpret.errors import DataError, MissingFileError, UsageError
from interpret.readers.conllu import read_conllu


def line(*cells: str) -> str:
    return "\t".join((*cells, *["_"] * (10 - len(cells))))


SPANISH = "\n".join(
    [
        "# sent_id = 1",
        "# text = vámonos al mar",
        line("1-2", "vámonos"),
        line("1", "vamos", "ir", "VERB", "_", "Mood=Ind|Number=Plur", "0", "root"),
        line("2", "nos", "nosotros", "PRON", "_", "Number=Plur", "1", "obj"),
        line("3-4", "al"),
        line("3", "a", "a", "ADP", "_", "_", "5", "case"),
        line("4", "el", "el", "DET", "_", "Number=Sing", "5", "det"),
        line("4.1", "gran", "gran", "ADJ"),
        line("5", "mar", "mar", "NOUN", "_", "Number=Sing", "1", "obl"),
        "",
        "# sent_id = 2",
        line("1", "¡Sí!", "sí", "_"),
        "",
    ]
)


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "bank.conllu"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_ranges_and_empty_nodes_are_not_words(tmp_path: Path) -> None:
    first, second = read_conllu(write(tmp_path, SPANISH))
    assert first.words == ("vamos", "nos", "a", "el", "mar")
    assert first.labels == ("VERB", "PRON", "ADP", "DET", "NOUN")
    assert (first.text, first.line) == ("vámonos al mar", 4)
    assert second.words == ("¡Sí!",)
    assert second.labels == (None,)
    assert second.text == "¡Sí!"


def test_labels_of_other_columns_and_of_one_feature(tmp_path: Path) -> None:
    path = write(tmp_path, SPANISH)
    assert read_conllu(path, "deprel")[0].labels == ("root", "obj", "case", "det", "obl")
    assert read_conllu(path, "feats.Number")[0].labels == ("Plur", "Plur", None, "Sing", "Sing")


def test_unknown_labels_name_what_is_available(tmp_path: Path) -> None:
    path = write(tmp_path, SPANISH)
    with pytest.raises(UsageError, match=r"upos, xpos, deprel, single features .* feats\.Number"):
        read_conllu(path, "pos")
    with pytest.raises(DataError, match=r"feats\.Mood, feats\.Number"):
        read_conllu(path, "feats.Case")
    with pytest.raises(DataError, match="no word carries xpos"):
        read_conllu(path, "xpos")


@pytest.mark.parametrize(
    ("number", "broken", "says"),
    [
        (4, "1\tvamos\tir\tVERB", "this one has 4"),
        (4, line("one", "vamos", "ir", "VERB"), "'one' is not a word id"),
        (5, line("3", "nos", "nosotros", "PRON"), "the word id is 3 where 2 was expected"),
        (4, line("1", "", "ir", "VERB"), "the word form is empty"),
        (6, line("4-5", "al"), "the range 4-5 does not begin at the next word, 3"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, number: int, broken: str, says: str) -> None:
    lines = SPANISH.split("\n")
    lines[number - 1] = broken
    path = write(tmp_path, "\n".join(lines))
    with pytest.raises(DataError) as caught:
        read_conllu(path)
    assert caught.value.line == number
    assert caught.value.path == path
    assert f"bank.conllu, line {number}: " in str(caught.value)
    assert says in str(caught.value)


def test_broken_features_and_encoding_are_named(tmp_path: Path) -> None:
    bad = SPANISH.replace("Mood=Ind|Number=Plur", "Mood|Number=Plur")
    with pytest.raises(DataError, match="line 4: the FEATS column holds 'Mood'"):
        read_conllu(write(tmp_path, bad), "feats.Number")
    with pytest.raises(DataError, match="line 2: byte 11 of the line is not UTF-8"):
        read_conllu(write(tmp_path, SPANISH.encode().replace("á".encode(), b"\xe1", 1)))


def test_windows_ends_byte_order_mark_and_odd_separators_stay_out_of_the_words(tmp_path: Path) -> None:
    text = "\ufeff" + "\r\n".join([line("1", "a\u2028b\x85", "x", "NOUN"), line("2", "e\u0301", "x", "NOUN")])
    (only,) = read_conllu(write(tmp_path, text))
    assert only.words == ("a\u2028b\x85", "e\u0301")


def test_no_file_and_no_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no file"):
        read_conllu(tmp_path / "absent.conllu")
    with pytest.raises(DataError, match="holds no sentence"):
        read_conllu(write(tmp_path, "# only a comment\n\n"))


def test_a_real_treebank(shared: Path) -> None:
    path = shared / "data" / "ud_en_ewt" / "dev.conllu"
    if not path.is_file():
        pytest.skip("UD English EWT is not there")
    sentences = read_conllu(path)
    assert len(sentences) == 2001
    assert sum(len(s.words) for s in sentences) == 25_147
    assert all(label for s in sentences for label in s.labels)
