"""Attention pages: bertviz's own code but for the changes said, our numbers once, limits that are clear errors."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interpret.errors import UsageError
from interpret.results.attention import AttentionPatterns
from reports import bertviz
from reports.bertviz import head_view, model_view

VENDORED = Path(bertviz.__file__).parent / "vendored"
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "<!--",
    "a\u202eb",
    "'\"\\&amp;",
    "<s>",
)

#: All that was changed in bertviz, as (pattern, replacement, how often it is there).
CHANGES = (
    (r"require\.config\(\{.*?\n\}\);\n\n", "", 1),
    (r"requirejs\(\['jquery', 'd3'\], function ?\(\$, d3\) \{", "(function ($, d3) {", 1),
    (r"\}\);\s*\Z", "})($, d3);\n", 1),
    (r"const params = PYTHON_PARAMS;.*", 'const params = JSON.parse(document.getElementById("data").textContent);', 1),
    (r" *console\.log\(.*\)\n", "", None),
    (r" *console\.log\(.*\);\n", "", None),
    (r'\.text\("Heads"\)', ".text(params.words.heads)", None),
    (r'\.text\("Layers"\)', ".text(params.words.layers)", None),
    (r"'Layer ' \+ (.*) \+ \", Head \" \+", r"params.words.layer + ' ' + \1 + ', ' + params.words.head + ' ' +", None),
)


def changed(original: str) -> str:
    """What bertviz's file is with the changes that vendored/README.md lists."""
    text = original.replace("\r\n", "\n")
    for pattern, new, times in CHANGES:
        text, n = re.subn(pattern, new, text, flags=re.S if "config" in pattern else 0)
        assert times is None or n == times, pattern
    return (
        f"// bertviz 1.4.1 (Apache-2.0), changed by the interpret-lm authors: README.md beside this says how.\n{text}"
    )


def patterns(n_layers: int = 2, n_heads: int = 3, tokens: Sequence[str] = ("[CLS]", "a", "film")) -> AttentionPatterns:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(len(tokens)), size=(n_layers, n_heads, len(tokens)))
    return AttentionPatterns.of(weights, tokens, model="tiny")


class Read(HTMLParser):
    """Tags of a page, and what stands in each script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "script":
            self.scripts.append(data)

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found


@pytest.mark.parametrize("name", ["head_view", "model_view"])
def test_only_what_is_said_was_changed(name: str) -> None:
    spec = importlib.util.find_spec("bertviz")
    assert spec is not None
    assert spec.origin is not None
    original = (Path(spec.origin).parent / f"{name}.js").read_text(encoding="utf-8")
    vendored = (VENDORED / f"{name}.js").read_text(encoding="utf-8")
    assert vendored == changed(original)
    for word in ("require.", "requirejs(", "PYTHON_PARAMS", "cdnjs", "console"):
        assert word not in vendored


def test_the_page_asks_for_nothing_and_is_small() -> None:
    for view in (head_view, model_view):
        html = view(patterns()).html
        page = Read(html)
        assert page.tags.count("script") == 2
        assert not {"link", "img", "iframe", "object", "base"} & set(page.tags)
        assert not {"src", "href", "style"} & {name for name, _ in page.attributes}
        # Names of XML and the home of a change log are the only addresses.
        assert not re.findall(r"https?://(?!www\.w3\.org/|github\.com/tensorflow/)", html)
        assert len(html) < 60_000


def test_weights_are_ours_and_stand_there_once() -> None:
    record = patterns()
    page = Read(head_view(record).html)
    (shown,) = page.data["attention"]
    np.testing.assert_allclose(shown["attn"], record.weights, atol=5.01e-5, rtol=0)
    assert shown["left_text"] == shown["right_text"] == list(record.queries)
    first = f"{record.weights[0, 0, 0, 0]:.4f}".rstrip("0")
    assert head_view(record).html.count(first) == 1
    assert head_view(record).html == head_view(record).html


def test_queries_and_keys_may_differ_and_layers_keep_their_numbers() -> None:
    weights = np.full((2, 1, 2, 4), 0.25)
    record = AttentionPatterns.of(weights, ["▁a", "Ġb"], keys=["c", "d</w>", "e", "f"], layers=[1, 5])
    data = Read(model_view(record).html).data
    assert data["attention"][0]["left_text"] == [" a", " b"]
    assert data["attention"][0]["right_text"] == ["c", "d", "e", "f"]
    assert data["include_layers"] == [1, 5]
    assert data["total_heads"] == 1


def test_a_token_is_only_text() -> None:
    harmless, hostile = (Read(head_view(patterns(tokens=t)).html) for t in (("a",) * len(HOSTILE), HOSTILE))
    assert hostile.tags == harmless.tags
    assert "<" not in hostile.scripts[0]
    assert hostile.data["attention"][0]["left_text"] == [t.replace("\u202e", "⟨U+202E⟩") for t in HOSTILE]
    named = AttentionPatterns.of(np.ones((1, 1, 1, 1)), ["a"], model=HOSTILE[1])
    assert Read(head_view(named).html).tags == harmless.tags


def test_it_is_written_as_one_file_and_shown_in_a_frame(tmp_path: Path) -> None:
    page = head_view(patterns(), path=tmp_path / "deep" / "view.html")
    assert page.path == tmp_path / "deep" / "view.html"
    assert page.path.read_bytes().decode("utf-8") == page.html
    frame = Read(page._repr_html_())
    assert frame.tags == ["iframe"]
    attributes = dict(frame.attributes)
    assert attributes["srcdoc"] == page.html
    assert attributes["sandbox"] == "allow-scripts"


def test_words_are_those_of_the_locale() -> None:
    chinese = Read(model_view(patterns(), locale="zh").html)
    assert dict(chinese.attributes)["lang"] == "zh-CN"
    assert chinese.data["words"] == {"head": "头", "heads": "头", "layer": "层", "layers": "层"}
    with pytest.raises(UsageError, match="the locales are en, zh"):
        head_view(patterns(), locale="fr")


def test_what_a_browser_cannot_show_is_refused() -> None:
    tokens = ("a",) * 64
    long = patterns(12, 12, tokens)
    assert head_view(long).kind == "head"
    with pytest.raises(UsageError, match=r"589,824 lines at once.*fewer layers.*attn_pattern\.0.*or use head_view"):
        model_view(long)
    with pytest.raises(UsageError, match="a browser can show 200,000; capture a shorter text"):
        head_view(patterns(1, 12, ("a",) * 140))
    with pytest.raises(UsageError, match=r"weights.*3,000,000; capture fewer layers"):
        head_view(AttentionPatterns.of(np.zeros((80, 12, 64, 64)), tokens))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((1, 1, 2, 3)), r"shape \(1, 1, 2, 3\).*2 queries and 2 keys"),
        (np.ones((2, 2)), r"give \[layer, head, query, key\]"),
        (np.ones(()), r"give \[layer, head, query, key\]"),
        (np.ones((1, 0, 2, 2)), "at least one of each"),
        (-np.ones((1, 1, 2, 2)), "not scores"),
        (np.full((1, 1, 2, 2), np.nan), "between 0 and 1"),
    ],
)
def test_arrays_that_are_no_patterns_are_refused(weights: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AttentionPatterns.of(weights, ["a", "b"])


def test_patterns_are_saved_and_read(tmp_path: Path) -> None:
    record = patterns()
    back = AttentionPatterns.load(record.save(tmp_path))
    assert back.queries == record.queries
    assert np.array_equal(back.weights, record.weights)


def test_neither_torch_nor_bertviz_is_imported() -> None:
    code = "import sys, reports.bertviz; print([m for m in ('torch', 'bertviz', 'IPython') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_everything_the_pages_are_made_of_is_packaged() -> None:
    root = Path(bertviz.__file__).parents[1]
    with (root / "pyproject.toml").open("rb") as file:
        patterns_of = tomllib.load(file)["tool"]["setuptools"]["package-data"]["reports"]
    packaged = {path for pattern in patterns_of for path in (root / "reports").glob(pattern)}
    for folder in ("vendored", "assets", "templates", "locale"):
        assert set((root / "reports" / folder).iterdir()) <= packaged
    names = {path.name for path in (root / "reports" / "vendored").iterdir()}
    assert names == {"README.md", "LICENSE-d3.txt", "d3.js", "head_view.js", "model_view.js"}
    notice = (root / "NOTICE").read_text(encoding="utf-8")
    assert "bertviz" in notice
    assert "d3-selection" in notice
