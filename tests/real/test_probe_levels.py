"""Probes of pairs of spans, of numbers and of texts on real data: what is known to be encoded is found."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import pytest

import interpret
from interpret.facade import AttachedModel
from interpret.readers.conllu import Word, read_words
from interpret.readers.probe_data import ProbeData
from interpret.readers.tables import Table
from interpret.results.probes import ProbeResult
from tests.real.conftest import there


@pytest.fixture(scope="module")
def trees(shared: Path) -> list[tuple[Word, ...]]:
    found = read_words(there(shared / "data" / "ud_en_ewt" / "dev.conllu", shared))
    return [tree for _, _, tree in found if 5 <= len(tree) <= 25][:700]


def depth(tree: tuple[Word, ...], word: Word) -> int:
    steps, head = 0, word.head
    while head:
        steps, head = steps + 1, tree[head - 1].head
    return steps


def value(result: ProbeResult, kind: str, metric: str, site: str = "resid_post") -> float:
    (row,) = [r for r in result.rows if (r.probe, r.metric, r.site) == (kind, metric, site)]
    assert row.value is not None
    return row.value


def test_relations_of_pairs_of_words(minilm: AttachedModel, trees: list[tuple[Word, ...]]) -> None:
    texts, spans, labels = [], [], []
    for tree in trees:
        starts = [0, *accumulate(len(word.form) + 1 for word in tree)]
        places = [(start, start + len(word.form)) for start, word in zip(starts, tree, strict=False)]
        texts.append(" ".join(word.form for word in tree))
        own = [(i, word) for i, word in enumerate(tree) if word.head]
        spans.append([(places[i], places[word.head - 1]) for i, word in own])
        labels.append([word.relation for _, word in own])
    data = ProbeData.of_spans(texts, spans, labels, task="deprel")
    result = interpret.probe(minilm, data, sites=["resid_post.2"], codes="none", random_weights=False, progress=False)
    assert (result.level, result.control) == ("pair", "type_tuple")
    # Few pairs of words come up again, so that forms alone tell little, and controls by tuple cannot be learnt.
    assert value(result, "type", "accuracy", "none") < 0.45
    assert value(result, "ridge", "accuracy") > 0.75
    assert value(result, "ridge", "selectivity") > 0.5


def test_the_depth_of_a_word_in_its_tree(minilm: AttachedModel, trees: list[tuple[Word, ...]]) -> None:
    words = [[word.form for word in tree] for tree in trees]
    depths = [[str(depth(tree, word)) for word in tree] for tree in trees]
    data = ProbeData.of_words(words, depths, kind="regression", task="depth")
    result = interpret.probe(minilm, data, sites=["resid_post.2"], random_weights=False, progress=False)
    ridge = value(result, "ridge", "r2")
    assert ridge > value(result, "type", "r2", "none") + 0.1
    assert value(result, "ridge", "spearman") > 0.6
    assert value(result, "control", "r2") < ridge
    (against,) = [t for t in result.tests if t.against == "type"]
    assert against.ci_low > 0


def test_sentiment_is_more_than_words_in_a_model_tuned_for_it(minilm: AttachedModel, sst2_dev: Table) -> None:
    rows = [{"text": row["text"], "label": row["label"]} for row in sst2_dev.rows]
    result = interpret.probe(minilm, rows, sites=["resid_post.5"], codes="none", progress=False)
    assert (result.level, result.control) == ("sentence", "permuted_labels")
    assert value(result, "logistic", "accuracy") > value(result, "bag_of_words", "accuracy", "none") + 0.1
    assert {t.against for t in result.tests} == {"bag_of_words"}
    assert all(t.ci_low > 0 and t.p_holm < 0.05 for t in result.tests)


def test_chinese_words_by_the_same_command(waimai: AttachedModel, shared: Path) -> None:
    path = there(shared / "data" / "ud_zh_gsdsimp" / "dev.conllu", shared)
    result = interpret.probe(
        waimai, path, label="upos", sites=["resid_post.1"], codes="none", random_weights=False, progress=False
    )
    assert result.level == "word"
    assert result.n_truncated_words < 20
    assert value(result, "ridge", "accuracy") > value(result, "majority", "accuracy", "none") + 0.2
