from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from interpret.errors import DataError, UsageError
from interpret.readers.tables import read_table
from interpret.readers.texts import read_texts

ROWS = [
    {"key": "a", "text": "good", "label": "pos"},
    {"key": "b", "text": "bad", "label": "neg"},
    {"key": "c", "text": "so so", "label": ""},
]


def written(folder: Path, kind: str) -> Any:
    frame = pd.DataFrame(ROWS)
    match kind:
        case "csv":
            frame.to_csv(folder / "d.csv", index=False)
        case "tsv":
            frame.to_csv(folder / "d.tsv", index=False, sep="\t")
        case "jsonl":
            frame.to_json(folder / "d.jsonl", orient="records", lines=True)
        case "parquet":
            frame.to_parquet(folder / "d.parquet")
        case "frame":
            return frame
        case "rows":
            return ROWS
        case "table":
            return read_table(ROWS)
    return folder / f"d.{kind}"


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "frame", "rows", "table"])
def test_tables(tmp_path: Path, kind: str) -> None:
    read = read_texts(written(tmp_path, kind), id="key")
    assert read.texts == ("good", "bad", "so so")
    assert read.ids == ("a", "b", "c")
    assert read.labels == ("pos", "neg", None)
    first = 2 if kind in ("csv", "tsv") else 1
    assert read.lines == (first, first + 1, first + 2)
    assert read_texts(written(tmp_path, kind), limit=2).ids == ("0", "1")


def test_a_dataset_gives_names_of_classes() -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["n", "p"])})
    data = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    assert read_texts(data).labels == ("p", "n")


def test_strings_and_treebanks(tmp_path: Path) -> None:
    read = read_texts(["one", "two"])
    assert (read.name, read.ids, read.labels, read.lines) == ("texts", ("0", "1"), (None, None), (1, 2))
    path = tmp_path / "t.conllu"
    line = "1\t{}\t_\tX\t_\t_\t0\troot\t_\t_\n"
    path.write_text(f"# text = Ja.\n{line.format('Ja')}\n{line.format('Nein')}")
    read = read_texts(path)
    assert (read.texts, read.lines, read.name) == (("Ja.", "Nein"), (2, 4), "t.conllu")
    for data in (["one"], path):
        with pytest.raises(UsageError, match="has no columns"):
            read_texts(data, text="text")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("", "the text is empty"),
        (" \t\u3000", "the text is empty"),
        ("\ud83d", "the text holds half of a surrogate pair"),
    ],
)
def test_bad_texts_are_named_with_their_line(tmp_path: Path, bad: str, said: str) -> None:
    import json

    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"text": text, "id": i}) + "\n\n" for i, text in enumerate(["a", bad, "b"])))
    with pytest.raises(DataError, match=rf"d\.jsonl, line 3: {said}") as caught:
        read_texts(path)
    assert caught.value.line == 3
    left = read_texts(path, skip_bad_rows=True, id="id")
    assert (left.texts, left.ids, left.n_left_out) == (("a", "b"), ("0", "2"), 1)
    assert read_texts(path, skip_bad_rows=True).ids == ("0", "2")
    assert read_texts(path, limit=1).texts == ("a",)
    with pytest.raises(DataError, match=f"texts, row 2: {said}"):
        read_texts(["a", bad])
    with pytest.raises(UsageError, match="no text that could be run"):
        read_texts([bad], skip_bad_rows=True)


def test_ids_and_labels_must_be_usable() -> None:
    rows = [{"text": "a", "id": "x"}, {"text": "b", "id": "y"}, {"text": "c", "id": "x"}]
    with pytest.raises(DataError, match=r"rows, row 3: the id 'x' stands already at 1;"):
        read_texts(rows, id="id")
    with pytest.raises(UsageError, match=r"has no column 'idd' \(did you mean 'id'\?\); its columns are text, id"):
        read_texts(rows, id="idd")
    with pytest.raises(DataError, match="row 1: the label holds half"):
        read_texts([{"text": "a", "label": "\udc00"}])
    with pytest.raises(DataError, match="row 2: a int stands among texts"):
        read_texts(["a", 1])
    with pytest.raises(UsageError, match="limit is 0"):
        read_texts(["a"], limit=0)
    with pytest.raises(UsageError, match="cannot tell which column"):
        read_texts([{"x": "a"}])
