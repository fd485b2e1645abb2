"""Parts of speech erased from a sentence encoder: gone for lines, not for neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest

import interpret
from interpret.readers.probe_data import read_probe_data
from interpret.results.erasure import Erasure
from tests.real.conftest import there


@pytest.fixture(scope="module")
def erased(headless: Path, shared: Path) -> Erasure:
    data = there(shared / "data" / "ud_en_ewt" / "train.conllu", shared).parent
    # The first sentences, as in the figures this was measured beside.
    train = read_probe_data(data / "train.conllu", "upos").take(range(600))
    dev = read_probe_data(data / "dev.conllu", "upos").take(range(400))
    lm = interpret.load(headless, device="cpu")
    return interpret.erasure(lm, train, dev, site="resid_post.2", n_random=2)


def value(record: Erasure, measure: str, condition: str) -> float:
    (found,) = record.to_frame().query(f"measure == '{measure}' and condition == '{condition}'")["value"]
    return float(found)


def test_linear_probes_fall_to_the_majority_to_the_last_digit(erased: Erasure) -> None:
    assert erased.linearly_erased
    assert erased.rank == len(erased.classes) - 1
    assert value(erased, "ridge", "original") > 0.85
    assert value(erased, "ridge", "erased") == value(erased, "majority", "original")


def test_neighbours_still_read_what_lines_cannot(erased: Erasure) -> None:
    before, after = (value(erased, "nearest_neighbours", name) for name in ("original", "erased"))
    assert before > 0.7
    assert value(erased, "majority", "original") + 0.4 < after < before
    assert value(erased, "hidden_layer", "erased") > value(erased, "majority", "original") + 0.3
    assert f"{100 * after:.1f}%" in repr(erased.show())


def test_without_a_head_nothing_is_said_about_use(erased: Erasure) -> None:
    assert erased.verdict == "inconclusive"
    assert erased.why.code == "erasure_why.no_output"
