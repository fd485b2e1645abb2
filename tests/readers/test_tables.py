from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.errors import DataError, MissingFileError, UsageError
from interpret.readers.columns import pick_columns, pick_extra
from interpret.readers.tables import BadRow, Table, read_table

WORDS = ["NA", "None", "null", "nan", "", " ", "007", "1.0", "True"]


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def test_sms_has_every_line_as_it_stands(shared: Path) -> None:
    path = shared / "data" / "sms_spam" / "sms.tsv"
    table = read_table(path, header=False, columns="label,text")
    lines = path.read_bytes().decode("utf-8").split("\n")[:-1]
    assert len(table) == len(lines) == 5574
    assert ["\t".join(row.values()) for row in table.rows] == lines
    assert table.lines == tuple(range(1, 5575))
    assert set(table.column("label")) == {"ham", "spam"}


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_words_that_look_like_missing_values_stay_words(tmp_path: Path, suffix: str) -> None:
    gap = "," if suffix == "csv" else "\t"
    path = write(tmp_path / f"a.{suffix}", f"text{gap}label\n" + "".join(f"{w}{gap}x\n" for w in WORDS))
    assert read_table(path).column("text") == tuple(WORDS)


def test_a_quote_in_a_tsv_is_a_character(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"Never closed\tx\n"a"\ty\nb "c" d\tz\n')
    assert read_table(path).column("text") == ('"Never closed', '"a"', 'b "c" d')


def test_a_quoted_csv_field_holds_commas_quotes_and_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"a, ""b""\r\nc",x\n\nd,y\n')
    table = read_table(path)
    assert table.column("text") == ('a, "b"\r\nc', "d")
    assert table.lines == (2, 5)


def test_a_quote_inside_an_unquoted_csv_field_is_a_character(tmp_path: Path) -> None:
    assert read_table(write(tmp_path / "a.csv", 'text\nsay "hi" now\n')).column("text") == ('say "hi" now',)


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_byte_order_mark_and_line_ends(tmp_path: Path, suffix: str, end: str, mark: bytes) -> None:
    gap = "," if suffix == "csv" else "\t"
    text = end.join([f"text{gap}label", f"很好{gap}1", f"差{gap}0"])
    table = read_table(write(tmp_path / f"a.{suffix}", mark + text.encode()))
    assert table.columns == ("text", "label")
    assert [tuple(r.values()) for r in table.rows] == [("很好", "1"), ("差", "0")]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_odd_separators_do_not_end_a_line(tmp_path: Path, suffix: str) -> None:
    odd = "a\u2028b\u0085c\x0cd\x1ce"
    body = f'{{"text": "{odd}"}}\n' if suffix == "jsonl" else f"text\n{odd}\n"
    if suffix == "jsonl":
        body = body.replace("\x0c", "\\f").replace("\x1c", "\\u001c")
    assert read_table(write(tmp_path / f"a.{suffix}", body)).column("text") == (odd,)


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=6))
def test_what_csv_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["text", "label"])
        writer.writerows(rows)
    assert [tuple(row.values()) for row in read_table(path).rows] == rows


def test_headerless_files_take_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "0\tbad\n1\tgood\n")
    assert read_table(path, header=False, columns=["label", "text"]).rows == (
        {"label": "0", "text": "bad"},
        {"label": "1", "text": "good"},
    )
    assert read_table(path, header=False).columns == ("column_1", "column_2")
    with pytest.raises(DataError, match=r"a\.tsv, line 1: 2 fields, but --columns names 3"):
        read_table(path, header=False, columns="a,b,c")
    with pytest.raises(UsageError, match="--no-header"):
        read_table(path, columns="label,text")
    with pytest.raises(UsageError, match="'label,' of --columns leave a column without a name"):
        read_table(path, header=False, columns="label,")
    assert read_table(path, header=False, columns=["label", " text"]).columns == ("label", "text")


def test_wrong_number_of_fields_names_the_line_or_is_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "text\tlabel\na\t1\nb\nc\t1\td\ne\t0\n")
    with pytest.raises(DataError, match=r"a\.tsv, line 3: 1 fields, expected 2, and 1 more rows") as caught:
        read_table(path)
    assert caught.value.line == 3
    assert "--skip-bad-rows" in str(caught.value)
    table = read_table(path, skip_bad_rows=True)
    assert table.column("text") == ("a", "e")
    assert table.lines == (2, 5)
    assert [(b.line, b.why) for b in table.bad_rows] == [(3, "fields"), (4, "fields")]


def test_a_stray_quote_costs_one_row_and_not_the_rest_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\na,1\n"b,1\nc,0\n"d"e,1\nf,0\n')
    with pytest.raises(DataError, match=r"a\.csv, line 3: a quote"):
        read_table(path)
    table = read_table(path, skip_bad_rows=True)
    assert table.column("text") == ("a", "c", "f")
    assert [(b.line, b.why) for b in table.bad_rows] == [(3, "quote"), (5, "quote")]


def test_very_long_fields_are_read_and_the_csv_limit_is_put_back(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    table = read_table(write(tmp_path / "a.csv", "text\n" + "x" * 200_000 + "\n"))
    assert len(table.rows[0]["text"]) == 200_000
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text,label\nok,1\ncaf\xe9,0\n".encode("latin-1"), "line 3: not UTF-8"),
        ("text\n".encode("utf-16"), "line 1: UTF-16, not UTF-8; save the file as UTF-8"),
        ("text\nok\n".encode("utf-16-le"), "line 1: holds zero bytes"),
        (b"text,label\nok,1\n\x00\xff,0\n", "line 3: holds zero bytes, so it is no text file"),
        (b"text,text\na,b\n", "two columns are called 'text'"),
    ],
)
def test_files_that_are_not_tables(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_table(write(tmp_path / "a.csv", content))


@pytest.mark.parametrize("content", ["", "text,label\n", "\n\n"])
def test_empty_data_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(UsageError, match=r"a\.csv has no rows"):
        read_table(write(tmp_path / "a.csv", content))
    with pytest.raises(UsageError, match="has no rows"):
        read_table([])


def test_nothing_left_after_skipping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 bad rows were skipped"):
        read_table(write(tmp_path / "a.tsv", "text\tlabel\na\n"), skip_bad_rows=True)


def test_jsonl_keeps_scalars_as_written(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        '{"text": "null", "label": 1}\n\n{"label": 1.0, "text": "\\u597d"}\r\n{"text": "b", "label": true}\n'
        '{"text": ["x", "y"], "label": 12345678901234567890}\n',
    )
    table = read_table(path)
    assert table.column("label") == ("1", "1.0", "true", "12345678901234567890")
    assert table.column("text") == ("null", "好", "b", '["x", "y"]')
    assert table.lines == (1, 3, 4, 5)


def test_bad_jsonl_rows(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        '{"text": "a", "label": 0}\n{"text": null, "label": 1}\n{"text": "b"}\n[1]\n{"text": \n'
        '{"text": "c", "label": NaN}\n',
    )
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: no value in column 'text', and 4 more"):
        read_table(path)
    table = read_table(path, skip_bad_rows=True)
    assert table.column("text") == ("a",)
    assert [(b.line, b.why) for b in table.bad_rows] == [
        (2, "null"),
        (3, "null"),
        (4, "not_an_object"),
        (5, "json"),
        (6, "null"),
    ]
    assert table.bad_rows[2].explain() == "a JSON list, expected an object"


def test_frames(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["NA", "b"], "label": np.array([0, 1]), "score": [0.5, 2.0]}, index=[7, 9])
    table = read_table(frame)
    assert table.name == "DataFrame"
    assert table.rows[0] == {"text": "NA", "label": "0", "score": "0.5"}
    frame.to_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").column("text") == ("NA", "b")
    frame["text"] = pd.Categorical(["x", None])
    with pytest.raises(DataError, match="DataFrame, row 2: no value in column 'text'"):
        read_table(frame)
    assert read_table(frame, skip_bad_rows=True).bad_rows == (BadRow(2, "null", {"column": "text"}),)


def test_lists_of_dicts() -> None:
    table = read_table([{"text": "a", "label": 1}, {"text": "b", "label": False}])
    assert table.column("label") == ("1", "false")
    with pytest.raises(DataError, match="row 2: no value in column 'label'"):
        read_table([{"text": "a", "label": 1}, {"text": "b"}])


def test_datasets_and_saved_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    dataset = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)
    with pytest.raises(DataError, match="row 3: no value in column 'label'"):
        read_table(dataset)
    assert read_table(dataset, skip_bad_rows=True).column("label") == ("pos", "neg")
    dataset.select([0, 1]).save_to_disk(str(tmp_path / "saved"))
    table = read_table(tmp_path / "saved")
    assert table.name == "saved"
    assert table.column("label") == ("pos", "neg")
    splits = datasets.DatasetDict({"train": dataset, "test": dataset})
    with pytest.raises(UsageError, match="train, test"):
        read_table(splits)
    splits.save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(UsageError, match="splits/test"):
        read_table(tmp_path / "splits")


def test_missing_files_name_what_is_near(tmp_path: Path) -> None:
    write(tmp_path / "reviews.csv", "text\na\n")
    with pytest.raises(MissingFileError, match=r"did you mean reviews\.csv"):
        read_table(tmp_path / "review.csv")
    with pytest.raises(MissingFileError, match="the nearest folder that exists is"):
        read_table(tmp_path / "no" / "such" / "reviews.csv")


def test_what_is_not_read(tmp_path: Path) -> None:
    write(tmp_path / "a.xlsx", "x")
    with pytest.raises(UsageError, match=r"ends in \.csv, \.tsv, \.jsonl, \.parquet"):
        read_table(tmp_path / "a.xlsx")
    write(tmp_path / "b.csv", "x")
    with pytest.raises(UsageError, match=r"it holds b\.csv"):
        read_table(tmp_path)
    with pytest.raises(UsageError, match="data of type int"):
        read_table(3)
    with pytest.raises(DataError, match=r"cannot be read as parquet .* write it anew, .* as \.csv, \.tsv or \.jsonl"):
        read_table(write(tmp_path / "c.parquet", "not parquet"))
    write(tmp_path / "d.jsonl", "{}")
    with pytest.raises(UsageError, match="names its own columns"):
        read_table(tmp_path / "d.jsonl", header=False)
    with pytest.raises(UsageError, match="has named columns"):
        read_table([{"text": "a"}], header=False)


def table(*columns: str) -> Table:
    return Table("d.csv", Path("d.csv"), columns, (dict.fromkeys(columns, ""),), (2,))


@pytest.mark.parametrize(
    ("columns", "named", "picked"),
    [
        (("text", "label"), {}, ("text", "label")),
        (("Sentence", "id", "Class"), {}, ("Sentence", "Class")),
        (("review", "x"), {}, ("review", None)),
        (("a", "b"), {"text": "b"}, ("b", None)),
        (("text", "review", "label"), {"text": "review"}, ("review", "label")),
        (("text", "a", "label"), {"label": "a"}, ("text", "a")),
    ],
)
def test_columns_are_picked(columns: tuple[str, ...], named: dict[str, Any], picked: tuple[str, str | None]) -> None:
    assert pick_columns(table(*columns), **named) == picked


@pytest.mark.parametrize(
    ("columns", "named", "said"),
    [
        (("a", "b"), {}, r"columns are a, b; name one with --text-column .*--no-header"),
        (("text", "review"), {}, "could be the text: text, review; name one with --text-column"),
        (
            ("text", "label", "sentiment"),
            {},
            "could be the label: label, sentiment; name one with --label-column",
        ),
        (
            ("text", "label"),
            {"text": "txt"},
            r"no column 'txt' \(did you mean 'text'\?\); its columns are text",
        ),
        (("text", "label"), {"label": "gold"}, "no column 'gold'; .*--label-column"),
        (("text", "label"), {"label": "text"}, "named as text and as label"),
    ],
)
def test_columns_are_not_guessed(columns: tuple[str, ...], named: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        pick_columns(table(*columns), **named)


def test_slice_and_pair_columns() -> None:
    assert pick_extra(table("text", "slice"), None, "slice") == "slice"
    assert pick_extra(table("text"), None, "pair") is None
    assert pick_extra(table("text", "group"), "group", "slice") == "group"
    with pytest.raises(UsageError, match="no column 'group' for slices"):
        pick_extra(table("text"), "group", "slice")


# --- another separator than the name of the file says


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("a.csv", "text;label\ngood, really;pos\n", {}, "line 2: 2 fields, expected 1 (the file seems to be separated "
         "by semicolons, and a .csv is read with commas between its fields: save it so, or in Python give "
         "pandas.read_csv('a.csv', sep=';'))"),
        ("a.csv", "good;pos\n", {"header": False, "columns": "text,label"}, "--columns names 2: text, label (the file "
         "seems to be separated by semicolons"),
        ("a.csv", "text\tlabel\ngood, really\tpos\n", {}, "by tabs, and a .csv is read with commas between its fields"),
        ("a.tsv", "text,label\ngood\tx,pos\n", {}, "by commas, and a .tsv is read with tabs between its fields"),
    ],
)  # fmt: skip
def test_a_row_that_another_separator_would_cut_says_so(
    tmp_path: Path, name: str, content: str, options: dict[str, Any], said: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / name, **options)
    assert said in str(caught.value)


@pytest.mark.parametrize("asked", [(), ("text",), ("text", "label")])
def test_columns_that_another_separator_would_part_say_so(tmp_path: Path, asked: tuple[str, ...]) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text;label\ngood;pos\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"columns are text;label \(the file seems to be separated by semicolons"):
        pick_columns(read_table(path), *asked)
    # What it says to do works.
    assert read_table(pd.read_csv(path, sep=";")).rows == ({"text": "good", "label": "pos"},)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label\ngood; bad; worse,pos\nx\n"),
        ("a.csv", "a; b,text\n1,2\nx\n"),
        ("a.tsv", "A text, with commas, in it\tpos\nx\n"),
        ("a.csv", "text\nx,y\n"),
    ],
)
def test_other_marks_in_texts_raise_no_doubt(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="fields, expected") as caught:
        read_table(tmp_path / name)
    assert "seems" not in str(caught.value)
