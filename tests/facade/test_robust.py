"""Robustness and sentence pairs as verbs: what they read, and what they refuse."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest

import interpret
from interpret.auditing.robustness.measure import measure_robustness
from interpret.auditing.robustness.pairs import pair_scores
from interpret.errors import UsageError
from tests import planted
from tests.tiny import tiny

PAIRS = [("she was happy", "the cat was happy"), ("a good day", "a bad day"), ("she ate", "cat ate")]


def test_texts_are_read_once_and_rows_are_those_of_the_data() -> None:
    texts = planted.sentences(12, seed=9).texts
    rows = [{"text": t} for t in [*texts[:4], "", *texts]]
    found = interpret.robustness(interpret.attach(*planted.trained()), rows, explained=0, seed=2)
    assert found.n_texts == 12
    numbers = [0, 1, 2, 3, *range(9, 17)]
    direct = measure_robustness(planted.handle(), [rows[n]["text"] for n in numbers], rows=numbers, explained=0, seed=2)
    assert found.to_dict() == direct.to_dict()
    few = interpret.robustness(interpret.attach(*planted.trained()), rows, explained=0, limit=7)
    assert few.n_texts <= 7


def test_pairs_from_a_list_a_frame_and_a_file(tmp_path: Path) -> None:
    lm = interpret.attach(*tiny("bert", "masked-lm"), name="tiny")
    expected = pair_scores(lm.handle, PAIRS, ["x", "x", "y"], first="more", second="less")
    frame = pd.DataFrame({"more": [a for a, _ in PAIRS], "less": [b for _, b in PAIRS], "kind": ["x", "x", "y"]})
    assert interpret.sentence_pairs(lm, frame, "more", "less", "kind") == expected
    path = tmp_path / "pairs.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["", "more", "less", "kind"], *([n, *frame.iloc[n]] for n in range(3))])
    assert interpret.sentence_pairs(lm, path, "more", "less", "kind") == expected
    assert interpret.sentence_pairs(lm, PAIRS).pairs[0].score_first == expected.pairs[0].score_first


def test_requests_that_cannot_be_met_are_refused() -> None:
    lm = interpret.attach(*tiny("bert", "masked-lm"), name="tiny")
    with pytest.raises(UsageError, match="no column 'more'; its columns are a, b"):
        interpret.sentence_pairs(lm, [{"a": "x", "b": "y"}], "more", "b")
    with pytest.raises(UsageError, match=r"row 0 .* empty sentence"):
        interpret.sentence_pairs(lm, [{"a": "x", "b": " "}], "a", "b")
    with pytest.raises(UsageError, match="pair 1 is"):
        interpret.sentence_pairs(lm, [("a", "b"), ("a",)])
    with pytest.raises(UsageError, match="masked language models"):
        interpret.sentence_pairs(interpret.attach(*tiny("bert")), PAIRS)
    with pytest.raises(UsageError, match="regression and multi-label"):
        interpret.robustness(interpret.attach(*tiny("bert", n_labels=1)), [{"text": "good"}])
    with pytest.raises(UsageError, match="explained=-1"):
        interpret.robustness(interpret.attach(*planted.trained()), [{"text": "good"}], explained=-1)
