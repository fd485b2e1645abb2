"""`interpret probe` on tables: levels and kinds by flags, splits and groups; what is wrong, by exit code and line."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.cli.test_cli import call

DEMO = Path(__file__).parents[2] / "interpret" / "demo"
MODEL = DEMO / "tuned"
SITE = ("--sites", "embed", "--device", "cpu", "--seed", "1")
GOOD, BAD = ("tasty", "fresh", "friendly", "warm"), ("cold", "late", "rude", "stale")


def rows(n: int = 320) -> list[dict[str, Any]]:
    """Two words of opinion in each text: their spans, labels, what the text is for, and what it comes from."""
    rng = random.Random(0)
    found = []
    for i in range(n):
        first, second = rng.choice(GOOD + BAD), rng.choice(GOOD + BAD)
        text = f"the soup was {first} and the waiter {second} at table {i}"
        places = [text.index(first), text.rindex(second)]
        found.append(
            {
                "text": text,
                "spans": [[places[0], places[0] + len(first)], [places[1], places[1] + len(second)]],
                "labels": ["good" if word in GOOD else "bad" for word in (first, second)],
                "split": ("train", "train", "validation", "test")[i % 4],
                "group": f"evening {i // 4 % 40}",
            }
        )
    return found


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def asked(*args: Any) -> dict[str, Any]:
    result = call("probe", MODEL, *args, *SITE, "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)["probe"]
    return found


def value(found: dict[str, Any], kind: str, metric: str = "accuracy") -> float:
    (row,) = [r for r in found["rows"] if (r["probe"], r["metric"]) == (kind, metric)]
    return float(row["value"])


def test_spans_with_splits_and_groups(tmp_path: Path) -> None:
    found = asked(jsonl(tmp_path / "mentions.jsonl", rows()))
    assert (found["level"], found["task"], found["cluster"], found["control"]) == (
        "span",
        "labels",
        "group",
        "type_tuple",
    )
    assert (found["n_train"], found["n_validation"], found["n_test"]) == (320, 160, 160)
    assert found["n_clusters_test"] == 40
    assert value(found, "ridge") > 0.95
    codes = {note["code"]: note["params"] for note in found["notes"]}
    assert codes["probe_shared_groups"]["n"] == 40
    plain = asked(tmp_path / "mentions.jsonl", "--level", "span", "--limit", "300", "--group-column", "text")
    assert plain["n_clusters_test"] < 160


def test_pairs_and_numbers_and_several_labels(tmp_path: Path) -> None:
    own = [
        {
            "text": row["text"],
            "spans": row["spans"],
            "agree": "yes" if row["labels"][0] == row["labels"][1] else "no",
            "count": str(row["labels"].count("good")),
            "has": json.dumps(sorted(set(row["labels"]))),
        }
        for row in rows()
    ]
    path = jsonl(tmp_path / "pairs.jsonl", own)
    pair = asked(path, "--label", "agree", "--level", "pair")
    assert (pair["level"], pair["n_train"] + pair["n_validation"] + pair["n_test"]) == ("pair", 320)
    pd.DataFrame(own)[["text", "count", "has"]].to_csv(tmp_path / "texts.csv", index=False)
    number = asked(tmp_path / "texts.csv", "--label", "count", "--kind", "regression")
    assert (number["kind"], number["level"]) == ("regression", "sentence")
    assert value(number, "ridge", "r2") > 0.9
    assert value(number, "bag_of_words", "r2") > 0.9
    several = asked(tmp_path / "texts.csv", "--label", "has")
    assert (several["kind"], several["classes"]) == ("multilabel", ["bad", "good"])
    assert value(several, "logistic", "micro_f1") > 0.9
    seconds = pd.DataFrame({"premise": [r["text"] for r in own], "hypothesis": [r["text"][::-1] for r in own]})
    seconds["label"] = [row["agree"] for row in own]
    seconds.to_csv(tmp_path / "nli.csv", index=False)
    texts = asked(tmp_path / "nli.csv", "--level", "pair")
    assert texts["control"] == "permuted_labels"


def test_the_page_reads_well(tmp_path: Path) -> None:
    pd.DataFrame([{"text": r["text"], "stars": r["labels"].count("good")} for r in rows()]).to_csv(
        tmp_path / "stars.csv", index=False
    )
    result = call("probe", MODEL, tmp_path / "stars.csv", "--label", "stars", "--kind", "regression", *SITE)
    assert result.exit_code == 0, result.stderr
    for words in ("R²", "Spearman correlation", "Bag of words alone", "Mean alone", "a number"):
        assert words.casefold() in result.stdout.casefold(), words


def test_what_is_wrong_is_said_with_file_and_line_and_exit_code(tmp_path: Path) -> None:
    bad = rows(60)
    bad[6]["spans"][1] = [5, 900]
    wrong = call("probe", MODEL, jsonl(tmp_path / "bad.jsonl", bad), *SITE)
    assert wrong.exit_code == 2
    assert f"{tmp_path / 'bad.jsonl'}, line 7: the span [5, 900)" in wrong.stderr
    few = call("probe", MODEL, jsonl(tmp_path / "few.jsonl", rows(10)), *SITE)
    assert few.exit_code == 4
    assert "few.jsonl leaves 12 labelled spans for training; at least 50 are needed" in few.stderr
    same = [row | {"labels": ["good", "good"]} for row in rows()]
    one = call("probe", MODEL, jsonl(tmp_path / "one.jsonl", same), *SITE)
    assert one.exit_code == 4
    assert "every labelled item for training in one.jsonl has labels = 'good'" in one.stderr
    for flags, message in (
        (("--spans-column", "where"), "has no column 'where'; its columns are text, spans, labels, split, group"),
        (("--label", "lable"), "has no column 'lable' (did you mean 'labels'?)"),
        (("--level", "word"), "labelled words need a column tokens"),
        (("--kind", "regression"), "few.jsonl, line 1: labels: a label to be predicted as a number is"),
    ):
        found = call("probe", MODEL, tmp_path / "few.jsonl", *flags, *SITE)
        assert (found.exit_code, message in found.stderr) == (2, True), found.stderr


@pytest.mark.parametrize("verb", ["compare", "plan", "erase"])
def test_other_verbs_refuse_what_they_cannot_do(tmp_path: Path, verb: str) -> None:
    pd.DataFrame([{"text": r["text"], "label": json.dumps(r["labels"])} for r in rows(120)]).to_csv(
        tmp_path / "sets.csv", index=False
    )
    models = (MODEL, DEMO / "base") if verb == "compare" else (MODEL,)
    sites = ("--site", "resid_post.0") if verb == "erase" else ("--sites", "embed")
    found = call("probe", verb, *models, tmp_path / "sets.csv", "--label", "label", *sites, "--device", "cpu")
    assert found.exit_code == 2
    assert "are of kind 'multilabel', and this works on one class for each item" in found.stderr
