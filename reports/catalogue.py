"""The words of the report: those of the results, and its own on top."""

from __future__ import annotations

from pathlib import Path

from interpret.results.messages import Words, words

CATALOGUES = Path(__file__).parent / "locale"


def report_words(locale: str) -> Words:
    """The report's catalogue in one language.

    Raises:
        UsageError: a locale that has no catalogue.

    """
    return words(locale, CATALOGUES)
