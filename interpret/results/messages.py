"""Message code and parameters -> words, and numbers as a reader of that language writes them.

A code without words is an error that names the code: a report never shows a bare code or an empty place. In
a catalogue `{n:count}` formats a parameter as a `Number` kind; `{metric:@metric}` looks the value up as the
code `metric.<value>`; `{method:?method}` does the same and shows the value itself where there is no such
code; `{feature:+slice_feature}` looks up a code that takes the same parameters, and `{keys:*section_name}`
looks up every part of a value separated by commas. `{labels:&}` lists names (see `tree.names`) as they are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from string import Formatter
from typing import cast, get_args

from interpret.errors import InterpretError, UsageError
from interpret.results.record import Scalar
from interpret.results.tree import NumberKind, Text

LOCALES: tuple[str, ...] = ("en", "zh")
#: The `lang` attribute of each locale.
LANGUAGE_TAGS: Mapping[str, str] = {"en": "en", "zh": "zh-CN"}
CATALOGUES = Path(__file__).parent / "locale"
MINUS = "\N{MINUS SIGN}"
_KINDS: tuple[str, ...] = get_args(NumberKind)

# What would reorder, hide or break the text around it is shown as its code point instead.
_UNSAFE = {
    *range(0x20),
    *range(0x7F, 0xA0),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    0x2028,
    0x2029,
    0xFEFF,
} - {0x09, 0x0A, 0x0D}
_VISIBLE: dict[int, str] = {
    code: f"\N{MATHEMATICAL LEFT ANGLE BRACKET}U+{code:04X}\N{MATHEMATICAL RIGHT ANGLE BRACKET}" for code in _UNSAFE
}

_VISIBLE |= dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}")


def visible(text: str) -> str:
    """The text with control and bidi characters written as code points and lone surrogates replaced."""
    return text.translate(_VISIBLE) if not text.isprintable() else text


class Words:
    """The catalogue of one locale."""

    def __init__(self, locale: str, catalogue: Mapping[str, str]) -> None:
        self.locale = locale
        self.language = LANGUAGE_TAGS[locale]
        self.catalogue = catalogue

    def __contains__(self, code: object) -> bool:
        return code in self.catalogue

    def __call__(self, code: str, /, **params: Scalar) -> str:
        return self._fill(code, params)

    def text(self, text: Text) -> str:
        """A message in words, or data as it is."""
        return visible(text) if isinstance(text, str) else self._fill(text.code, text.params)

    def name(self, group: str, value: str) -> str:
        """The words of `group.value`, or the value itself with underscores as spaces."""
        code = f"{group}.{value}"
        return self._fill(code, {}) if code in self.catalogue else visible(value.replace("_", " "))

    def join(self, parts: Iterable[tuple[bool, str]]) -> str:
        """Parts of a paragraph in a row; sentences (True) follow each other as the language wants it."""
        out, before = "", False
        for is_sentence, part in parts:
            gap = self._fill("list.gap", {}) if before and is_sentence else " "
            out += (gap if out else "") + part
            before = is_sentence
        return out

    def number(self, value: float | None, kind: NumberKind = "decimal") -> str:
        """One number without an interval."""
        if value is None or not math.isfinite(value):
            return self._fill("format.not_measured", {})
        shown = _digits(value, kind)
        if value > 0 and kind in ("percent", "decimal") and float(shown) == 0:
            shown = "<0.1" if kind == "percent" else "<0.001"
        return self._fill("format.percent", {"value": shown}) if kind == "percent" else shown

    def interval(self, value: float | None, low: float | None, high: float | None, kind: NumberKind) -> str:
        """A number with its interval; without one when either end is missing."""
        if value is None or low is None or high is None or not math.isfinite(low + high):
            return self.number(value, kind)
        low_text, high_text = _digits(low, kind), _digits(high, kind)
        return self._fill("format.interval", {"value": self.number(value, kind), "low": low_text, "high": high_text})

    def _fill(self, code: str, params: Mapping[str, Scalar]) -> str:
        try:
            template = self.catalogue[code]
        except KeyError:
            raise InterpretError(f"no words for the message code {code!r} in the catalogue {self.locale!r}") from None
        out: list[str] = []
        for literal, name, spec, _ in Formatter().parse(template):
            # A catalogue leaves a space around a parameter for the case that it is Latin.
            out.append(literal[1:] if literal[:1] == " " and out and _is_cjk(out[-1][-1:]) else literal)
            if name is None:
                continue
            if name not in params:
                raise InterpretError(
                    f"the words for {code!r} in the catalogue {self.locale!r} need the parameter {name!r}; "
                    f"the message has {', '.join(params) or 'none'}"
                )
            shown = self._parameter(code, params, name, spec or "")
            if _is_cjk(shown[:1]) and out[-1].endswith(" "):
                out[-1] = out[-1][:-1]
            out.append(shown)
        return "".join(out)

    def _parameter(self, code: str, params: Mapping[str, Scalar], name: str, spec: str) -> str:
        value = params[name]
        if value is None:
            return self._fill("format.not_measured", {})
        if spec.startswith("+"):
            return self._fill(f"{spec[1:]}.{value}", params)
        if spec.startswith("@"):
            return self._fill(f"{spec[1:]}.{value}", {})
        if spec.startswith("?"):
            return self.name(spec[1:], str(value))
        if spec == "&":
            return self._fill("list.separator", {}).join(map(visible, str(value).split("\n")))
        if spec.startswith("*"):
            return self._fill("list.separator", {}).join(self.name(spec[1:], part) for part in str(value).split(","))
        if isinstance(value, bool):
            return self._fill("format.yes" if value else "format.no", {})
        if isinstance(value, str):
            return visible(value)
        if spec and spec not in _KINDS:
            raise InterpretError(
                f"the words for {code!r} in the catalogue {self.locale!r} use the unknown format {spec!r}"
            )
        default: NumberKind = "count" if isinstance(value, int) else "decimal"
        return self.number(value, cast("NumberKind", spec) if spec else default)


def _is_cjk(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fff"


def capital(text: str) -> str:
    """A name as it stands at the head of a row or column; a lone symbol such as n stays as it is."""
    return text if len(text) == 1 else text[:1].upper() + text[1:]


def _digits(value: float, kind: NumberKind) -> str:
    if kind == "count":
        return f"{round(value):,}".replace("-", MINUS)
    if kind == "p":
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    if kind == "tiny":
        return "0" if value == 0 else f"{value:.1e}".replace("-", MINUS)
    scaled = value * 100 if kind in ("percent", "points") else value
    places = 1 if kind in ("percent", "points", "tenth") else 3
    shown = f"{scaled:.{places}f}"
    if float(shown) == 0:
        return shown.lstrip("-")
    if kind in ("points", "signed") and scaled > 0:
        shown = "+" + shown
    return shown.replace("-", MINUS)


def placeholders(template: str) -> frozenset[str]:
    """Names of the parameters that a catalogue entry needs."""
    return frozenset(name for _, name, _, _ in Formatter().parse(template) if name is not None)


@lru_cache(maxsize=16)
def words(locale: str = "en", *folders: Path) -> Words:
    """The words of a locale: the results catalogue, then those in `folders`, later ones winning.

    Raises:
        UsageError: a locale that has no catalogue.

    """
    if locale not in LOCALES:
        raise UsageError(f"asked for the locale {locale!r}; the locales are {', '.join(LOCALES)}")
    merged: dict[str, str] = {}
    for folder in (CATALOGUES, *folders):
        merged |= json.loads((folder / f"{locale}.json").read_text(encoding="utf-8"))
    return Words(locale, merged)
