"""Several labels in one run: the model reads each text once, each label gets what it gets alone, Holm is over all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import interpret
from interpret.analyzers.probing import probe
from interpret.analyzers.probing.run import probe_tasks
from interpret.errors import UsageError
from interpret.models.load import attach_handle
from interpret.readers.probe_data import ProbeData
from tests.tiny import WORDS, tiny

OPTIONS: dict[str, Any] = {"n_bootstrap": 50, "n_control": 2, "progress": False}


@pytest.fixture(scope="module")
def bert() -> Any:
    return attach_handle(*tiny("bert", "masked-lm"))


def tasks() -> list[tuple[ProbeData, None]]:
    """Two labels of the same words, one of some of them, and one of the texts that they make."""
    rng = np.random.default_rng(0)
    words = [[str(w) for w in rng.choice(WORDS, size=rng.integers(3, 10))] for _ in range(250)]
    first = [["early" if w < "g" else "late" for w in row] for row in words]
    second = [[str(min(2, i)) for i in range(len(row))] for row in words]
    some = [[None if len(w) < 4 else str(w < "m") for w in row] for row in words]
    data = [ProbeData.of_words(words, labels, task=name) for name, labels in
            (("half", first), ("place", second), ("long", some))]  # fmt: skip
    whole = ProbeData.of_texts([" ".join(row) for row in words], [str(len(row) > 5) for row in words], task="length")
    return [(one, None) for one in (*data, whole)]


def rows_read(handle: Any, work: Callable[[], Any]) -> tuple[int, Any]:
    """How many texts go through the model, and what `work` gives."""
    n = 0

    def count(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        nonlocal n
        n += len(kwargs["input_ids"])

    hook = handle.model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        found = work()
    finally:
        hook.remove()
    return n, found


def test_each_text_is_read_once_and_each_label_gets_what_it_gets_alone(bert: Any) -> None:
    given = tasks()
    distinct = len({tuple(words) for words in given[0][0].sentences})
    n_read, together = rows_read(bert, lambda: probe_tasks(bert, given, **OPTIONS, random_weights=False))
    assert n_read == distinct
    for (train, _), found in zip(given, together, strict=True):
        alone = probe(bert, train, **OPTIONS, random_weights=False)
        same = [replace(test, p_holm=0.0) for test in found.result.tests]
        assert same == [replace(test, p_holm=0.0) for test in alone.tests]
        assert replace(found.result, tests=()) == replace(alone, tests=())


def test_holm_is_over_all_labels(bert: Any) -> None:
    found = probe_tasks(bert, tasks(), **OPTIONS, random_weights=False)
    tests = [test for one in found for test in one.result.tests]
    order = sorted(range(len(tests)), key=lambda i: tests[i].p)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(tests) - rank) * tests[i].p))
        assert tests[i].p_holm == pytest.approx(highest)


def test_the_verb_gives_a_grid_that_is_saved_and_read(tmp_path: Any) -> None:
    lm = interpret.attach(*tiny("bert", "masked-lm"))
    rows = [{"text": " ".join(words), "length": str(len(words) > 5), "first": str(words[0] < "g")}
            for words in tasks()[0][0].sentences]  # fmt: skip
    grid = interpret.probe(lm, rows, label=["length", "first"], codes="none", out=tmp_path, **OPTIONS)
    assert grid.tasks == ("length", "first")
    assert interpret.probe(lm, rows, label=["length", "first"], codes="none", out=tmp_path, **OPTIONS) == grid
    assert set(grid.to_frame().task) == {"length", "first"}
    assert set(grid.tests_frame().task) == {"length", "first"}
    assert "length, first" in grid.show().text
    assert "2 种标签的探针" in grid.show("zh").text
    with pytest.raises(UsageError, match="each once"):
        interpret.probe(lm, rows, label=["length", "length"], **OPTIONS)
