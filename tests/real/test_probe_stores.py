"""Probes of a store of running text, where Chinese words have no spaces between them, against the live model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import interpret
from interpret.facade import AttachedModel
from interpret.readers.probe_data import ProbeData, read_probe_data
from tests.real.conftest import there

OPTIONS: dict[str, Any] = {"codes": "none", "n_bootstrap": 50, "random_weights": False, "progress": False}


def table(result: Any) -> pd.Series:
    frame = result.to_frame()
    frame = frame[frame["metric"] == "accuracy"]
    return frame.set_index(["task", "site", "layer", "probe"])["value"].sort_index()


@pytest.mark.slow
def test_a_treebank_captured_as_it_is_written_gives_what_its_words_give(
    waimai: AttachedModel, shared: Path, tmp_path: Path
) -> None:
    """The live model reads words with spaces between them, the store the sentence: its characters are the same."""
    path = there(shared / "data" / "ud_zh_gsdsimp" / "dev.conllu", shared)
    labels = ["upos", "deprel"]
    store = waimai.capture_to(tmp_path, path, sites=["embed", "resid_post.1"], progress=False)
    found = interpret.probe(store, path, label=labels, **OPTIONS)
    live = interpret.probe(waimai, path, label=labels, sites=["embed", "resid_post.1"], **OPTIONS)
    data: ProbeData = read_probe_data(path, "upos")
    # Whole words, but for those that one token shares with the word before.
    for one in found.results:
        items = one.n_train + one.n_validation + one.n_test
        assert items == pytest.approx(data.n_items, rel=0.01)
        assert one.level == "word"
    both = pd.concat([table(found), table(live)], axis=1)
    assert both.notna().all().all()
    trained = both[both.index.get_level_values("probe").isin(["ridge", "logistic"])]
    assert (trained.iloc[:, 0] - trained.iloc[:, 1]).abs().max() < 0.02
    # Words that lie somewhere else would say nothing of their labels.
    best = both.xs("logistic", level="probe").min(axis=1).groupby("task").max()
    majority = both.xs("majority", level="probe").max(axis=1).groupby("task").max()
    assert (best > majority + 0.2).all()
