"""Section 10 as tables: grids of layers and heads that hold every number, and lists that say what they leave out."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from interpret.results.attention_views import N_CELLS, N_LISTED, attention_nodes
from interpret.results.audits import AttentionSummary
from interpret.results.messages import words
from interpret.results.tree import Figure, Number, Table
from interpret.results.views import to_html, to_text
from tests.reports import sample


def figures(record: AttentionSummary) -> list[Figure]:
    return [node for node in attention_nodes(record) if isinstance(node, Figure)]


def tables(record: AttentionSummary) -> list[Table]:
    return [node for node in attention_nodes(record) if isinstance(node, Table)]


def grid(table: Table) -> np.ndarray:
    """Numbers [layer, head] of a table whose first column names the layer; those in words are NaN."""
    return np.array([[c.value if isinstance(c, Number) else np.nan for c in row[1:]] for row in table.rows])


def test_grids_hold_the_number_of_every_head() -> None:
    record = sample.attention()
    effect, entropy, distance = (figure.table for figure in figures(record)[:3])
    for table, name in ((entropy, "entropy_nats"), (distance, "distance_tokens")):
        expected = np.array([getattr(row, name) for row in record.heads]).reshape(6, 12)
        np.testing.assert_array_equal(grid(table), expected)
    say = words("en")
    assert [say.text(column.title) for column in effect.columns[1:]] == [str(n) for n in range(12)]
    for row in record.ablations:
        cell = effect.rows[row.layer][row.head + 1]
        shown = say.number(cell.value, cell.kind) if isinstance(cell, Number) else say.text(cell)
        assert float(shown.lstrip("*").replace("\u2212", "-")) == pytest.approx(row.effect, abs=0.0005001)
        assert shown.startswith("*") == (row.ci_low > 0 or row.ci_high < 0)


def test_the_heads_that_matter_most_are_listed_with_their_intervals() -> None:
    record = sample.attention()
    listed = tables(record)[0]
    strongest = sorted(record.ablations, key=lambda row: abs(row.effect), reverse=True)[:N_LISTED]
    found = [row[2] for row in listed.rows]
    assert len(found) == N_LISTED == 12
    assert all(isinstance(cell, Number) and (cell.low, cell.high) != (None, None) for cell in found)
    np.testing.assert_allclose(
        [abs(cell.value) for cell in found if isinstance(cell, Number)], [abs(row.effect) for row in strongest]
    )
    assert "The 12 of 72 heads" in to_text(record)
    few = to_text(replace(record, ablations=record.ablations[:5]))
    assert "of 5 heads with the largest effect" not in few


def test_the_widest_interval_of_the_entropy_is_said() -> None:
    record = sample.attention()
    wide = replace(record.heads[7], entropy_ci_low=record.heads[7].entropy_nats - 0.345)
    record = replace(record, heads=(*record.heads[:7], wide, *record.heads[8:]))
    assert "95% intervals reach at most 0.345" in " ".join(to_text(record).split())


def test_means_of_a_layer_and_its_ends() -> None:
    record = sample.attention()
    heads = tuple(replace(row, to_special=(row.layer * 12 + row.head) / 100) for row in record.heads)
    by_layer = tables(replace(record, heads=heads))[1]
    found = grid(by_layer)
    special = np.arange(72).reshape(6, 12) / 100
    entropy = np.array([row.entropy_nats for row in heads]).reshape(6, 12)
    np.testing.assert_allclose(found[:, 0], entropy.mean(axis=1))
    np.testing.assert_allclose(found[:, 2:], np.stack([special.mean(1), special.min(1), special.max(1)], axis=1))


def test_a_grid_names_its_rows_and_columns_and_says_what_it_leaves_out() -> None:
    record = sample.attention(40, 16)
    html = to_html(record, prefix="a-")
    first = html[html.index("<table") : html.index("</table>")]
    assert first.count('scope="col"') == 17
    assert first.count('scope="row"') == N_CELLS // 16 == 25
    assert "The first 25 of 40 are shown." in html


def test_every_other_cell_of_a_ragged_model_is_empty_in_words() -> None:
    record = sample.attention()
    missing = replace(record, heads=tuple(row for row in record.heads if (row.layer, row.head) != (2, 3)))
    assert np.argwhere(np.isnan(grid(figures(missing)[1].table).astype(float))).tolist() == [[2, 3]]


def test_the_section_takes_few_elements() -> None:
    # With a row of a table for every head it were more than 1,400; the whole report may have 5,000.
    assert len(re.findall(r"<[a-z]", to_html(sample.attention()))) < 850
