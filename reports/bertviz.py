"""bertviz's views of attention as one file that needs no network, and in which a token is only ever text.

bertviz loads its drawing code from a content delivery network, writes its data twice, and puts tokens into a script
as they are. Here the same code is part of the page (`vendored/`), the data stand in it once, as JSON, and a content
security policy lets nothing else run. Attention says where the model looked, not why it answered.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np

from interpret.errors import UsageError
from interpret.results.attention import AttentionPatterns
from interpret.results.messages import Words, visible
from reports.catalogue import report_words

Kind = Literal["head", "model"]

#: Weights that a page may hold, and lines that it may draw at once: 200,000 took Chromium three seconds.
MAX_WEIGHTS: Final = 3_000_000
MAX_LINES: Final = 200_000
DIGITS: Final = 4
_HERE: Final = Path(__file__).parent
#: What would end the element that the data stand in; inside a string of JSON each has another spelling.
_ESCAPES: Final = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
#: Marks that tokenizers put in place of a space, as bertviz shows them.
_MARKS: Final = (("Ġ", " "), ("▁", " "), ("</w>", ""))


class Captured(Protocol):
    """What holds attention of several texts, such as `interpret.Capture`."""

    def patterns(self, example: int = 0, site: str = "attn_pattern") -> AttentionPatterns:
        """The patterns of one text."""


@dataclass(frozen=True)
class AttentionPage:
    """A page with a view of attention. A notebook shows it in a frame of its own; `save` writes it as a file."""

    html: str = field(repr=False)
    kind: Kind
    height: int
    path: Path | None = None

    def save(self, path: str | Path) -> Path:
        """Write the page; folders above it are made."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # As bytes: other line ends than these, and the policy's hashes would not match.
        target.write_bytes(self.html.encode("utf-8"))
        return target

    def _repr_html_(self) -> str:
        # The frame keeps the page's scripts from the notebook's, and its ids from those of other cells.
        return (
            f'<iframe srcdoc="{escape(self.html)}" sandbox="allow-scripts" width="100%" height="{self.height}" '
            f'frameborder="0" title="bertviz"></iframe>'
        )


def head_view(
    source: AttentionPatterns | Captured,
    example: int = 0,
    *,
    site: str = "attn_pattern",
    path: str | Path | None = None,
    locale: str = "en",
) -> AttentionPage:
    """The head view of bertviz: one layer at a time, a line from each token to each token that it looks at.

    Attention says where the model looked, not why it answered. The page loads nothing from any network.

    Args:
        source: the patterns of a text, or a capture that holds whole ones: `lm.capture(texts, ["attn_pattern"])`.
        example: which text of a capture.
        site: which attention of a capture, such as `"cross.attn_pattern"` of a model with a decoder.
        path: the file to write; None writes none.
        locale: `en` or `zh`.

    Returns:
        The page; a notebook shows it.

    Raises:
        UsageError: a capture has no such example or no whole patterns, or too many for a browser.

    """
    return _view("head", source, example, site, path, locale)


def model_view(
    source: AttentionPatterns | Captured,
    example: int = 0,
    *,
    site: str = "attn_pattern",
    path: str | Path | None = None,
    locale: str = "en",
) -> AttentionPage:
    """The model view of bertviz: every head of every layer small, and one of them large when it is clicked.

    Arguments, returns and errors are those of `head_view`. It draws all lines at once, so that only short texts, or
    few layers, can be shown.
    """
    return _view("model", source, example, site, path, locale)


def _view(
    kind: Kind, source: AttentionPatterns | Captured, example: int, site: str, path: str | Path | None, locale: str
) -> AttentionPage:
    patterns = source if isinstance(source, AttentionPatterns) else source.patterns(example, site)
    _check_size(kind, patterns)
    page = _page(kind, patterns, report_words(locale))
    height = 260 + round(22.5 * max(len(patterns.queries), len(patterns.keys)))
    made = AttentionPage(page, kind, min(height if kind == "head" else 900, 900))
    return made if path is None else AttentionPage(page, kind, made.height, made.save(path))


def _check_size(kind: Kind, patterns: AttentionPatterns) -> None:
    n_layers, n_heads, n_queries, n_keys = patterns.weights.shape
    drawn = n_heads * n_queries * n_keys * (1 if kind == "head" else n_layers)
    for n, most, what in ((patterns.weights.size, MAX_WEIGHTS, "weights"), (drawn, MAX_LINES, "lines at once")):
        if n > most:
            other = ", or use head_view, which draws one layer at a time" if kind == "model" else ""
            fewer = f"fewer layers, for example attn_pattern.{patterns.layers[0]}, or " if n > drawn or other else ""
            raise UsageError(
                f"the {kind} view of {n_layers} layers, {n_heads} heads, {n_queries} x {n_keys} tokens has {n:,} {what}"
                f", and a browser can show {most:,}; capture {fewer}a shorter text{other}"
            )


def _page(kind: Kind, patterns: AttentionPatterns, say: Words) -> str:
    style = _read("assets/attention_page.css")
    script = "\n".join(
        _read(name) for name in ("vendored/d3.js", "assets/attention_page.js", f"vendored/{kind}_view.js")
    )
    policy = f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; base-uri 'none'"
    name = f" · {visible(patterns.model)}" if patterns.model else ""
    title = escape(say(f"attention_page.{kind}") + name)
    layer = f'<label>{escape(say("attention_page.layer"))} <select id="layer"></select></label>'
    return f"""<!doctype html>
<html lang="{say.language}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escape(policy)}; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<p>{escape(say("attention_page.not_why"))}</p>
<p class="hint">{escape(say(f"attention_page.{kind}_use"))}</p>
<div id="{kind}">
{layer if kind == "head" else ""}
<div class="scroll"><div id="vis"></div></div>
</div>
<noscript><p>{escape(say("attention_page.no_script"))}</p></noscript>
<p class="hint">{escape(say("attention_page.source"))}</p>
<script type="application/json" id="data">{_json(_parameters(kind, patterns, say))}</script>
<script>{script}</script>
</body>
</html>
"""


def _parameters(kind: Kind, patterns: AttentionPatterns, say: Words) -> Mapping[str, Any]:
    """What bertviz hands its views: the weights once, and what is shown of them."""
    weights = np.round(np.clip(patterns.weights, 0.0, 1.0), DIGITS)
    shown = {
        "name": None,
        # A whole number is shorter than its decimal, and most weights of trained models are 0.
        "attn": [[[[int(w) if w in (0.0, 1.0) else w for w in row] for row in q] for q in h] for h in weights.tolist()],
        "left_text": [_shown(token) for token in patterns.queries],
        "right_text": [_shown(token) for token in patterns.keys],
    }
    heads = list(range(patterns.n_heads))
    return {
        "attention": [shown],
        "default_filter": "0",
        "root_div_id": kind,
        "include_layers": list(patterns.layers),
        "layer": None,
        "heads": None,
        "include_heads": heads,
        "total_heads": len(heads),
        "display_mode": "light",
        "words": {
            "layer": say("attention_page.layer"),
            "layers": say("attention_page.layers"),
            "head": say("attention_page.head_word"),
            "heads": say("attention_page.heads"),
        },
    }


def _shown(token: str) -> str:
    for mark, text in _MARKS:
        token = token.replace(mark, text)
    return visible(token)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(_ESCAPES)


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8").replace("\r\n", "\n").strip()


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")
