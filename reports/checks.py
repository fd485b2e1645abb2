"""Checks as plain text, and as JUnit XML for what runs them in continuous integration."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from interpret.results.audit_views import check_kind, check_table
from interpret.results.audits import Check
from interpret.results.lower import text as lowered
from interpret.results.messages import Words, capital, visible
from interpret.results.tree import Paragraph, Section, say
from reports.catalogue import report_words

#: What XML 1.0 cannot hold, not even escaped.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def check_text(checks: Sequence[Check], title: str, locale: str = "en") -> str:
    """Declared criteria first, then what every audit looks at, as plain text."""
    declared = [check for check in checks if check.kind == "criterion"]
    others = [check for check in checks if check.kind != "criterion"]
    children = [
        check_table(declared, say("verdict.criteria_table")) if declared else Paragraph((say("check.none_declared"),))
    ]
    if any(check.post_hoc for check in declared):
        children.append(Paragraph((say("check.post_hoc"),), "small"))
    if others:
        children.append(check_table(others, say("verdict.findings_table")))
    return lowered(Section(title, tuple(children)), report_words(locale))


def junit(checks: Sequence[Check], title: str, locale: str = "en") -> bytes:
    """The checks as JUnit XML: the same checks and locale give the same bytes.

    It is green exactly if the exit code is 0. Of criteria and integrity a missed one is a failure; a criterion that
    could not be decided is an error, since it is not met. What nobody declared as a criterion stands in a suite of
    its own, where nothing fails: what is not a plain yes is skipped, with its answer.
    """
    words = report_words(locale)
    root = ElementTree.Element("testsuites", name="interpret-lm")
    total = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    suites = (("criteria", ("criterion", "integrity")), ("findings", ("finding",)))
    for suite, kinds in suites:
        rows = [check for check in checks if check.kind in kinds]
        counts = dict.fromkeys(total, 0) | {"tests": len(rows)}
        made = ElementTree.SubElement(root, "testsuite", name=_clean(f"{suite}: {title}"))
        for check in rows:
            # Hidden in no language: the name is what a build server keeps its history by.
            name = check.check + (f" (post hoc, {check.threshold:g})" if check.post_hoc and check.threshold else "")
            case = ElementTree.SubElement(made, "testcase", classname=f"interpret.{check.kind}", name=_clean(name))
            line = _clean(_line(check, words))
            outcome = _outcome(check)
            if outcome is None:
                ElementTree.SubElement(case, "system-out").text = line
                continue
            tag, count = outcome
            counts[count] += 1
            attributes = {"message": line} | ({} if tag == "skipped" else {"type": check.verdict})
            ElementTree.SubElement(case, tag, attributes)
        for key, value in counts.items():
            total[key] += value
            made.set(key, str(value))
    for key, value in total.items():
        root.set(key, str(value))
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _outcome(check: Check) -> tuple[str, str] | None:
    if check.verdict == "pass":
        return None
    if check.kind == "finding":
        return "skipped", "skipped"
    if check.verdict == "fail":
        return "failure", "failures"
    return ("error", "errors") if check.kind == "criterion" else ("skipped", "skipped")


def _line(check: Check, words: Words) -> str:
    """Name, verdict, number and bar in one line."""
    kind = check_kind(check)
    verdict = words(f"verdict.{check.verdict}" if check.kind == "criterion" else f"answer.{check.verdict}")
    name = words("check_name.post_hoc" if check.post_hoc else "check_name.named", name=check.check)
    parts = [words("text.named", name=name, value=verdict)]
    if check.value is not None:
        parts.append(words.interval(check.value, check.ci_low, check.ci_high, kind))
    if check.threshold is not None:
        bar = words("column.threshold" if check.kind == "criterion" else "column.compared_with")
        shown = words.number(check.threshold, kind if check.threshold else "tiny")
        parts.append(words("text.named", name=bar, value=shown))
    return words("check.line", facts=capital(words("list.clause").join(parts)), why=words.text(check.why))


def _clean(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", visible(text))
