"""The command line on a model, data and a title that all hold markup: the report opens and none of it is markup."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import interpret_lm_cli
from tests.browser.chromium import opened

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
HOSTILE = "</script><script>document.title='x'</script><img src=x onerror=alert(1)>"
#: A file name has no slash; everything else that Linux allows.
NAME = "<script>document.title='x'<img src=x onerror=alert(1)>\"&lt;\u202e"
LABELS = (f"no {HOSTILE}", f"yes {HOSTILE}")
CONFIG = {
    "explained": 4,
    "errors_shown": 3,
    "random_shown": 3,
    "random_rankings": 20,
    "compared_methods": "",
    "compared": 0,
    "randomised": 2,
    "attention": 4,
    "probed": 0,
    "bootstraps": 100,
    "minimum_accuracy": 0.5,
    "criteria_by": HOSTILE,
    "criteria_on": HOSTILE,
    "intended_use": {"purpose": HOSTILE, HOSTILE: HOSTILE},
}


def hostile_model(folder: Path) -> Path:
    model = folder / f"model {NAME}"
    shutil.copytree(ROOT / "interpret" / "demo" / "tuned", model)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["id2label"] = dict(enumerate(LABELS))
    config["label2id"] = {label: i for i, label in enumerate(LABELS)}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return model


def hostile_data(folder: Path) -> Path:
    data = folder / f"data {NAME}.csv"
    with data.open("w", encoding="utf-8", newline="") as file:
        write = csv.writer(file)
        write.writerow(["text", "label", "slice"])
        for n in range(24):
            write.writerow([f"A cold room {n}, {HOSTILE}", LABELS[n % 2], f"{HOSTILE} {n % 2}"])
    return data


@pytest.mark.skipif(os.name == "nt", reason="these names cannot be written there")
def test_hostile_names_reach_the_report_as_text(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    (tmp_path / "c.yaml").write_text(json.dumps(CONFIG), encoding="utf-8")
    command = ["interpret", "audit", str(hostile_model(tmp_path)), str(hostile_data(tmp_path)), "--title", HOSTILE]
    command += ["--config", str(tmp_path / "c.yaml"), "--limit", "12", "--device", "cpu", "--out", str(out)]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as ended:
        interpret_lm_cli.main()
    assert ended.value.code in (0, 1, 4)
    report = out / "report.html"
    found = opened(browser, report)
    page = found.page
    assert page.title() == HOSTILE
    assert page.evaluate("[...document.scripts].map(s => s.type)") == ["application/json", ""]
    assert page.evaluate("document.querySelectorAll('img, iframe, object, embed, link, base').length") == 0
    assert page.evaluate("document.querySelectorAll('[onerror], [onload], [style]').length") == 0
    # Everything that came in stands in the text, and the character that turns text around is shown by its number.
    shown = page.evaluate("document.body.textContent")
    assert "\u202e" not in shown
    for what in (f"model {NAME}", f"data {NAME}.csv"):
        assert what.replace("\u202e", "⟨U+202E⟩") in shown, what
    for what in LABELS:
        assert what in shown, what
    # The controls work on hostile facets, too.
    page.locator("select[data-facet=slice]").select_option(index=1)
    assert page.locator("article:visible").count() > 0
    page.emulate_media(media="print")
    assert found.console == []
    assert found.dialogs == []
    assert found.requests == [report.as_uri()]
    page.context.close()
