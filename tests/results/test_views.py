"""Views: quality beside every attribution, escaping, text and HTML from one tree, catalogues that agree."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from interpret.errors import InterpretError, UsageError
from interpret.results import views
from interpret.results.attention import AttentionPatterns
from interpret.results.audits import Audit
from interpret.results.explanations import Attribution, WindowsRead
from interpret.results.lower import HEAT_STEPS, Html, heat, text
from interpret.results.messages import CATALOGUES, LOCALES, Words, placeholders, visible, words
from interpret.results.probe_views import probe_plot
from interpret.results.record import Message
from interpret.results.style import component_css
from interpret.results.tree import Column, Number, Paragraph, Section, Table, Token, Tokens, say
from interpret.results.views import MAX_HTML, to_html, to_text, view
from tests.reports import sample, sample_comparison, sample_erasure, sample_robustness


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def parsed(html: str) -> list[tuple[str, dict[str, str | None]]]:
    seen = _Seen()
    seen.feed(html)
    return seen.tags


def attribution(verdict: Any = "better_than_random", **changes: Any) -> Attribution:
    return Attribution(
        examples=tuple(sample.example(t, quality=sample.example_quality(verdict)) for t in sample.TEXTS),
        method="integrated_gradients",
        quality=sample.faithfulness(verdict=verdict),
        **changes,
    )


def windowed() -> Attribution:
    """A text read in three windows, of which two hold what is explained."""
    example = sample.example(sample.TEXTS[0], quality=sample.example_quality())
    n = len(example.tokens)
    read = WindowsRead(
        size=5,
        stride=2,
        bounds=np.array([[1, 4], [2, 5], [3, n - 1]]),
        values=(1.0, 2.0, None),
        baseline_values=(0.5, 0.0, None),
        n_holding=np.array([2, 1, *[2] * (n - 4), 0, 2]),
        n_explained=2,
    )
    return Attribution(examples=(replace(example, windows=read),), method="integrated_gradients")


RECORDS: dict[str, Any] = {
    "windowed": windowed(),
    "attribution": attribution(),
    "example": sample.example(sample.TEXTS[0], quality=sample.example_quality()),
    "example_quality": sample.example_quality(),
    "faithfulness": sample.faithfulness(),
    "probes": sample.probes(),
    "identity": sample.identity(),
    "data": sample.data(),
    "performance": sample.performance(),
    "comparison": sample_comparison.comparison(),
    "explanation_quality": sample.explanation_quality(),
    "attention": sample.attention(),
    "erasure": sample_erasure.erasure(),
    "robustness": sample_robustness.robustness(),
    "pair_scores": sample_robustness.pairs(),
    "attention_maps": sample.maps(),
    "attention_patterns": AttentionPatterns.of(np.full((2, 3, 4, 4), 0.25), ["[CLS]", sample.HOSTILE, "\u5473", ""]),
    "audit": sample.full(),
    "audit_minimal": sample.minimal(),
    "audit_hostile": sample.hostile(),
}


def test_windows_are_said_in_both_languages() -> None:
    record = windowed()
    english, chinese = (" ".join(to_text(record, locale=locale).split()) for locale in ("en", "zh"))
    assert "read in 3 windows of at most 5 tokens, neighbours sharing 2." in english
    assert "Only the 2 of 3 windows that hold what is explained count" in english
    assert "3 个窗口" in chinese
    assert "共 3 个中的 2 个" in chinese
    alone = to_html(record[0])
    assert "read in 3 windows" in alone
    assert "windows" not in to_text(attribution())


def test_windows_that_do_not_fit_together_are_no_record() -> None:
    example = windowed()[0]
    assert example.windows is not None
    for wrong in (
        {"values": (1.0, 2.0)}, {"baseline_values": (0.0,)}, {"n_explained": 4}, {"n_explained": 0}, {"n_explained": 1},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="windows"):
            replace(example.windows, **wrong)
    with pytest.raises(ValueError, match="n_holding"):
        replace(example, windows=replace(example.windows, n_holding=np.array([1])))
    with pytest.raises(ValueError, match="unit_spans"):
        replace(example, unit_spans=np.array([[0, 1]]))


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("locale", LOCALES)
def test_every_record_is_shown_as_text_and_as_static_html(name: str, locale: str) -> None:
    shown = to_text(RECORDS[name], locale=locale)
    assert shown.strip()
    html = to_html(RECORDS[name], locale=locale)
    assert len(html.encode()) <= MAX_HTML + 20_000
    tags = parsed(html)
    assert not {tag for tag, _ in tags} & {"script", "img", "iframe", "link", "object", "base", "form"}
    for _, attributes in tags:
        assert "style" not in attributes
        assert not [key for key in attributes if key.startswith("on")]
        for key in ("src", "href"):
            assert (attributes.get(key) or "#").startswith("#")
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    # Every rule of the style sheet is under our own class.
    style = re.search(r"<style>(.*?)</style>", html, re.S)
    assert style is not None
    rules = re.sub(r"@media[^{]*\{", "", style[1])
    for selector in re.findall(r"([^{}]+)\{", rules):
        outside = re.sub(r"\([^()]*\)", "", selector)
        assert all(part.strip().startswith(".ilm") for part in outside.split(",")), selector
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_two_outputs_share_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    # A drawing has none: only a section with a key has one.
    assert not [a for _, a in parsed(to_html(sample.faithfulness())) if "id" in a]
    monkeypatch.setattr(views, "_viewed", lambda _: Section("title", (), key="key"))
    first, second = ({a["id"] for _, a in parsed(to_html(sample.faithfulness())) if "id" in a} for _ in range(2))
    assert len(first) == 2
    assert not first & second


def test_the_same_prefix_gives_the_same_bytes() -> None:
    assert to_html(sample.probes(), prefix="a-") == to_html(sample.probes(), prefix="a-")


def test_a_record_is_shown_in_the_language_asked_for() -> None:
    record = sample.performance()
    shown = record.show("zh")
    bundle = shown._repr_mimebundle_()
    assert bundle["text/plain"] == repr(shown) == to_text(record, locale="zh")
    assert 'lang="zh-CN"' in bundle["text/html"]
    assert record.show().text == to_text(record)
    with pytest.raises(UsageError, match="the locales are en, zh"):
        record.show("fr")


def test_missing_quality_is_said() -> None:
    bare = replace(attribution(), quality=None, examples=(sample.example(sample.TEXTS[0]),))
    for record in (bare, bare[0]):
        assert "quality not measured" in to_text(record)
        assert "quality not measured" in to_html(record)
    assert "质量未测量" in to_text(bare, locale="zh")


def test_no_better_than_random_is_shown_as_failed() -> None:
    for record in (attribution("not_better"), attribution("not_better")[0], sample.faithfulness(verdict="not_better")):
        assert "✗ failed: no better than random" in to_text(record)
        assert "Do not draw conclusions" in to_text(record)
        assert 'class="badge not_better"' in to_html(record)


def test_many_examples_are_cut_and_counted() -> None:
    many = replace(attribution(), examples=attribution().examples * 400)
    shown = to_html(many)
    assert len(shown.encode()) < MAX_HTML
    assert "The first 10 of 2,000 are shown." in shown


def test_long_texts_stay_small() -> None:
    many = replace(attribution(), examples=(sample.example("wonderful cold " * 20_000),) * 10)
    assert len(to_html(many).encode()) < MAX_HTML


def test_tokens_keep_the_text_and_mark_the_sign_twice() -> None:
    example = sample.example(sample.TEXTS[2], quality=sample.example_quality())
    html = to_html(example)
    assert 'class="n10"' in html
    assert 'title="-1.5"' in html
    shown = re.search(r'<p class="tokens"[^>]*>(.*?)</p>', html, re.S)
    assert shown is not None
    assert re.sub(r"<[^>]+>", "", shown[1]) == example.text
    css = component_css(notebook=True)
    assert "underline solid" in css
    assert "underline dashed" in css


def test_heat_is_symmetric_and_bounded() -> None:
    assert [heat(s, 2.0) for s in (2.0, -2.0, 0.0, 9.0)] == [HEAT_STEPS, -HEAT_STEPS, 0, HEAT_STEPS]
    assert heat(1.0, 0.0) == 0


def test_text_and_html_come_from_one_tree() -> None:
    table = Table(
        (Column("name"), Column("n", numeric=True)), (("中文", Number(1, "count")), ("ab", Number(20, "count")))
    )
    tree = Section("title", (Paragraph((say("format.yes"), "data <b>")), table))
    shown = text(tree, words("en"))
    assert "  中文   1\n  ab    20\n" in shown
    html = Html(words("en"), "p-").node(tree)
    assert "data &lt;b&gt;" in html
    assert '<td class="n">20</td>' in html


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="a row has 1 cells, the table has 2 columns"):
        Table((Column("a"), Column("b")), (("only",),))


def test_tokens_in_text_carry_their_scores() -> None:
    tokens = Tokens((Token("good", 1.0, ""), Token("food", 0.1), Token("not", -0.5)), 1.0, ".")
    assert text(tokens, words("en")) == "  good[+1.00] food not[-0.50].\n"


@pytest.mark.parametrize("scale", [0.0, 3e-9, 4e-4, 0.003, 0.02, 0.9, 1.0, 40.0])
def test_a_number_stands_exactly_at_what_reaches_a_fifth_of_the_strongest(scale: float) -> None:
    shares = (1.0, -0.75, 0.21, 0.2, -0.19, 0.15, -0.01, 0.0, -0.0)
    tokens = Tokens(tuple(Token(f"w{i}", share * scale, " ") for i, share in enumerate(shares)), scale)
    shown = re.findall(r"w(\d)(?:\[([^]]*)\])?", text(tokens, words("en")))
    assert len(shown) == len(shares)
    for i, written in shown:
        assert bool(written) == (scale > 0 and abs(shares[int(i)]) >= 0.2)
        if written:
            assert float(written) * shares[int(i)] > 0
            assert float(written) == pytest.approx(shares[int(i)] * scale, rel=0.5)
    assert 'title="-0"' not in Html(words("en"), "t-").node(tokens)


def test_unknown_records_have_no_view() -> None:
    with pytest.raises(TypeError, match="no view is defined for dict"):
        view({})


def test_a_code_without_words_is_an_error() -> None:
    for locale in LOCALES:
        with pytest.raises(InterpretError, match=r"no words for the message code 'no\.such'"):
            words(locale).text(Message(code="no.such"))
    with pytest.raises(InterpretError, match="need the parameter 'n'"):
        words("en").text(Message(code="estimate.too_few"))
    with pytest.raises(UsageError, match="the locales are en, zh"):
        words("fr")
    with pytest.raises(InterpretError, match="unknown format 'furlongs'"):
        Words("en", {"a": "{n:furlongs}"})("a", n=1.0)


def test_both_catalogues_have_the_same_codes_and_parameters() -> None:
    en, zh = (json.loads((CATALOGUES / f"{locale}.json").read_text(encoding="utf-8")) for locale in LOCALES)
    assert en.keys() == zh.keys()
    for code in en:
        assert placeholders(en[code]) == placeholders(zh[code]), code


def test_every_code_that_the_package_writes_has_words() -> None:
    root = CATALOGUES.parent.parent
    written = set()
    for source in root.glob("**/*.py"):
        content = source.read_text(encoding="utf-8")
        written |= set(re.findall(r'code="([a-z_.]+)"', content))
        written |= set(re.findall(r'"((?:section|check|estimate|compare)\.[a-z_]+)"', content))
    assert len(written) > 20
    # What an error carries as its code is a reason inside another sentence.
    known = words("en")
    assert sorted(code for code in written if code not in known and f"estimate_why.{code}" not in known) == []


@pytest.mark.parametrize(
    ("number", "en", "zh"),
    [
        (Number(0.87, "percent", 0.846, 0.891), "87.0% (84.6 to 89.1)", "87.0%（84.6 至 89.1）"),
        (Number(-0.0312, "points", -0.06, 0.01), "−3.1 (−6.0 to +1.0)", "−3.1（−6.0 至 +1.0）"),
        (Number(1234567, "count"), "1,234,567", "1,234,567"),
        (Number(0.0001, "p"), "<0.001", "<0.001"),
        (Number(-0.00001, "signed"), "0.000", "0.000"),
        (Number(0.0, "tiny"), "0", "0"),
        (Number(3e-7, "tiny"), "3.0e−07", "3.0e−07"),
        (Number(None), "not measured", "未测量"),
        (Number(float("nan")), "not measured", "未测量"),
        (Number(None, why=say("estimate.too_few", n=3)), "too few (3)", "过少（3）"),
        (Number(0.5, "percent", 0.4, None), "50.0%", "50.0%"),
    ],
)
def test_numbers_are_written_one_way(number: Number, en: str, zh: str) -> None:
    for locale, expected in (("en", en), ("zh", zh)):
        assert text(Paragraph((number,)), words(locale)).strip() == expected


def test_what_reorders_or_hides_text_is_made_visible() -> None:
    assert visible("a\u202eb\x07\ud800c\nd") == "a⟨U+202E⟩b⟨U+0007⟩\N{REPLACEMENT CHARACTER}c\nd"
    assert visible("中文 🙂 ok") == "中文 🙂 ok"


def test_no_english_prose_in_a_chinese_audit_view() -> None:
    audit: Audit = sample.chinese()
    shown = to_text(audit, locale="zh")
    assert not re.search(r"\b(the|is|and|with|of)\b", shown.replace('reports.render(audit, "report.html")', ""))


def test_probe_plot_names_its_baselines() -> None:
    plot = probe_plot(sample.probes())
    assert plot is not None
    assert plot.layers == ("embed", "0", "1", "2", "3", "4", "5")
    names = [words("en").text(series.name) for series in plot.series]
    assert "control task: accuracy" in names
    assert "majority class: accuracy" in names
    assert probe_plot(replace(sample.probes(), rows=())) is None


def test_a_clear_gap_is_shown_even_on_few_texts() -> None:
    base = sample.performance()
    clear = replace(base.slices[1], underpowered=True)
    assert "✗ lower" in to_text(replace(base, slices=(clear,)))
    assert "? too few to tell" in to_text(replace(base, slices=(replace(base.slices[2], underpowered=True),)))
