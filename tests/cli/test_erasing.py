"""Erasing from the command line: a tagger of which it is known which unit it reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.analyzers.probing.test_erasure import CARRIED, USED, sentences, tagger
from tests.cli.test_cli import call


def treebank(path: Path, of: dict[str, str]) -> Path:
    lines: list[str] = []
    for row in sentences(950):
        lines += [f"{n}\t{word}\t_\t{of[word]}\t_\t_\t0\troot\t_\t_" for n, word in enumerate(row, 1)]
        lines.append("")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("of", "unit", "verdict", "ranking"), [(USED, 0, "used", "holds"), (CARRIED, 1, "not used", "")]
)
def test_the_planted_unit_is_ranked_first_and_ablated(
    of: dict[str, str], unit: int, verdict: str, ranking: str, tmp_path: Path
) -> None:
    model, tokenizer = tagger()
    for layer in model.bert.encoder.layer:
        # A site whose overwriting changes nothing at all is refused when a model is loaded.
        for dense in (layer.attention.output.dense, layer.output.dense):
            torch.nn.init.normal_(dense.weight, std=0.01)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "model")
    data = treebank(tmp_path / "data.conllu", of)
    command = ("probe", "erase", tmp_path / "model", data, "--label", "upos", "--site", "resid_post.1", "--units", "1")
    result = call(*command, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    output = " ".join(result.output.split())
    assert f"is available{' and' if ranking else ','} {verdict}." in output
    assert ("the ranking holds" if ranking else "the ranking is not confirmed") in output
    assert "Random, same size" in output
    assert "Linearly erased" in output
    assert "five nearest neighbours among all" in output
    (top,) = [line for line in result.output.splitlines() if "Top of the ranking" in line and "%" in line]
    assert top.split()[-1] == str(unit)
    plain = json.loads(call(*command, "--json", "--ranking", "mean_difference").stdout)["erasure"]
    assert plain["ranking"] == "mean_difference"
    assert plain["ranked_units"][0] == unit
    changed = {a["chosen"]: a["changed_predictions"] for a in plain["ablations"]}
    assert (changed["top"] > 0.3) == bool(ranking)
    # Of the other label the least that a unit can say may well be said by the unit that decides.
    assert not ranking or changed["bottom"] < 0.05
    assert changed["random"] < 0.1
