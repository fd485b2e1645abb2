"""A record's view in a notebook whose theme is not what the reader's system prefers: text keeps its contrast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from interpret.results.views import to_html
from tests.browser.chromium import CONTRAST, opened
from tests.reports import sample

pytestmark = pytest.mark.browser

#: How each notebook says its theme: attributes of html and of body, its own variables, and its paper.
HOSTS = {
    "jupyterlab-dark": (
        "",
        'data-jp-theme-light="false"',
        "--jp-layout-color0:#111;--jp-content-font-color1:#fff",
        "#111",
    ),
    "jupyterlab-light": (
        "",
        'data-jp-theme-light="true"',
        "--jp-layout-color0:#fff;--jp-content-font-color1:#000d",
        "#fff",
    ),
    "vscode-dark": (
        "",
        'class="vscode-dark"',
        "--vscode-editor-background:#1e1e1e;--vscode-editor-foreground:#d4d4d4",
        "#1e1e1e",
    ),
    "colab-dark": ('theme="dark"', "", "", "#383838"),
    "none": ("", "", "", ""),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("host", HOSTS)
def test_text_is_legible_in_every_theme(browser: Any, tmp_path: Path, host: str, scheme: str) -> None:
    html, body, variables, paper = HOSTS[host]
    own = paper or ("#fff" if scheme == "light" else "#111")
    views = "".join(to_html(record) for record in (sample.full(), sample.attention(), sample.explanation_quality()))
    path = tmp_path / "notebook.html"
    path.write_text(
        f"<!doctype html><html {html}><meta charset=utf-8><title>t</title>"
        f"<style>body{{background:{own};{variables}}}</style><body {body}><main>{views}</main>",
        encoding="utf-8",
    )
    found = opened(browser, path, color_scheme=scheme)
    ratio, where = found.page.evaluate(CONTRAST)
    assert ratio >= 4.5, where
    assert found.console == []
    found.page.context.close()


def test_print_is_light_in_a_dark_notebook(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "notebook.html"
    path.write_text(
        f'<!doctype html><body data-jp-theme-light="false">{to_html(sample.performance())}', encoding="utf-8"
    )
    page = opened(browser, path).page
    colour = "getComputedStyle(document.querySelector('.ilm')).getPropertyValue('--ink').trim()"
    assert page.evaluate(colour) == "#e3e7eb"
    page.emulate_media(media="print")
    assert page.evaluate(colour) == "#1c2128"
    page.context.close()
