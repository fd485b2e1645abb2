"""Declared criteria on what probes found, written as in "layer 3 accuracy >= 0.9"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

from interpret.errors import UnknownSiteError, UsageError
from interpret.results.audits import Check, CheckVerdict
from interpret.results.probes import ProbeKind, ProbeMetric, ProbeResult, ProbeRow
from interpret.results.record import Message
from interpret.sites import SITES, parse_site

_WRITTEN: Final = re.compile(r"([^<>=≤≥]*)(>=|<=|≥|≤|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(%?)")
_OPERATORS: Final = {"≥": ">=", "≤": "<="}
_PROBES: Final[tuple[str, ...]] = get_args(ProbeKind)
#: By every name they may be called: their units may be left out.
_METRICS: Final[dict[str, str]] = {
    name.removesuffix(unit): name for name in get_args(ProbeMetric) for unit in ("_bits", "")
}


@dataclass
class Criterion:
    """Rows that are meant, and where their whole intervals have to lie.

    None stands for every site, layer or task; `best` for the one of
    these places that validation puts first. Without a probe the
    logistic one is meant where it has that metric, else ridge.
    """

    written: str
    operator: str
    value: float
    metric: str = ""
    probe: str | None = None
    site: str | None = None
    layers: tuple[int, ...] | None = None
    task: str | None = None
    best: bool = False
    _given: set[str] = field(default_factory=set)

    def set(self, **values: object) -> None:
        """Take what a word says.

        Raises:
            UsageError: another word has said so already.
        """
        for name, value in values.items():
            if name in self._given:
                raise UsageError(f"the criterion {self.written!r} names its {name} twice; write one criterion for each")
            self._given.add(name)
            setattr(self, name, value)


def parse_criterion(written: str, tasks: Sequence[str]) -> Criterion:
    """Read a criterion: words, then `>=`, `<=`, `>` or `<`, and a number or a percentage.

    The words, in any order, name a metric, and may name a site (`resid_post.3`), `layer 3`, `best`, a probe
    (`ridge`, `control`, ...) and a task (`upos`, or `task upos`).

    Raises:
        UsageError: it cannot be read; the message says which word, and what there is.
    """
    match = _WRITTEN.fullmatch(written.strip())
    if match is None:
        raise UsageError(
            f"the criterion {written!r} is no words, operator and number; write it as in 'layer 3 accuracy >= 0.9', "
            "with >=, <=, > or <"
        )
    words, operator, number, percent = match.groups()
    value = float(number) / 100 if percent else float(number)
    found = Criterion(" ".join(written.split()), _OPERATORS.get(operator, operator), value)
    left = words.split()
    while left:
        word = left.pop(0)
        if word in _METRICS:
            found.set(metric=_METRICS[word])
        elif word in _PROBES:
            found.set(probe=word)
        elif word == "best":
            found.set(best=True)
        elif word == "layer":
            layer = left.pop(0) if left else ""
            if not layer.isdecimal():
                raise UsageError(f"the criterion {written!r} has no number after 'layer'; write it as in 'layer 3'")
            found.set(layers=(int(layer),))
        elif (word == "task" and left and left[0] in tasks) or word in tasks:
            found.set(task=left.pop(0) if word == "task" else word)
        else:
            found.set(**_site(word, written, tasks))
    if not found.metric:
        raise UsageError(f"the criterion {written!r} names no metric; metrics are {', '.join(_METRICS)}")
    return found


def _site(word: str, written: str, tasks: Sequence[str]) -> dict[str, object]:
    try:
        site, layers = parse_site(word)
    except (UnknownSiteError, UsageError) as err:
        raise UsageError(
            f"the criterion {written!r} has the word {word!r}, which is neither a metric ({', '.join(_METRICS)}), a "
            f"probe ({', '.join(_PROBES)}), a site ({', '.join(SITES)}), 'layer N', 'best' nor a label of this run "
            f"({', '.join(tasks)})"
        ) from err
    return {"site": site} if layers is None else {"site": site, "layers": tuple(layers)}


def judged(results: Sequence[ProbeResult], criteria: Sequence[Criterion]) -> tuple[Check, ...]:
    """A check for each criterion.

    It is met where the whole interval of every row that is meant lies on the right side, missed where that of one
    lies on the wrong side, else inconclusive. The row that decides is the one whose interval reaches furthest over.
    Intervals are each row's own: of many rows right at the bar, one is missed by chance more often than of one.

    Raises:
        UsageError: nothing of what a criterion names was measured.
    """
    return tuple(_check(criterion, _rows(criterion, results)) for criterion in criteria)


def _rows(criterion: Criterion, results: Sequence[ProbeResult]) -> list[ProbeRow]:
    found: list[ProbeRow] = []
    for result in results:
        if criterion.task not in (None, result.task):
            continue
        of_metric = [row for row in result.rows if row.metric == criterion.metric]
        probes = [criterion.probe] if criterion.probe else ["logistic", "ridge"]
        probe = next((name for name in probes if any(row.probe == name for row in of_metric)), None)
        rows = [row for row in of_metric if row.probe == probe]
        rows = [row for row in rows if criterion.site in (None, row.site)]
        rows = [row for row in rows if criterion.layers is None or row.layer in criterion.layers]
        found += _best(result, rows, criterion.metric) if criterion.best else rows
    if not found:
        measured = sorted({(row.probe, row.metric) for result in results for row in result.rows})
        places = dict.fromkeys(
            row.site if row.layer is None else f"{row.site}.{row.layer}"
            for result in results
            for row in result.rows
            if row.site != "none"
        )
        raise UsageError(
            f"nothing that the criterion {criterion.written!r} names was measured; measured were "
            f"{', '.join(f'{probe} {metric}' for probe, metric in measured)} at {', '.join(places)}"
        )
    return found


def _best(result: ProbeResult, rows: Sequence[ProbeRow], metric: str) -> list[ProbeRow]:
    """Of the places that a criterion names, the one that validation puts first, whatever the test part says."""
    screen = "selectivity" if metric == "selectivity" else result.measure
    screened = {(row.site, row.layer): row.value for row in result.validation_rows if row.metric == screen}
    values = [(value, row) for row in rows if (value := screened.get((row.site, row.layer))) is not None]
    return [max(values, key=lambda one: one[0])[1]] if values else []


def _check(criterion: Criterion, rows: Sequence[ProbeRow]) -> Check:
    sign = 1.0 if criterion.operator.startswith(">") else -1.0
    strict = "=" not in criterion.operator
    verdicts: list[tuple[CheckVerdict, float, ProbeRow]] = []
    for row in rows:
        if row.value is None or row.ci_low is None or row.ci_high is None:
            verdicts.append(("not_run", 0.0, row))
            continue
        # How far the worse and the better end lie on the right side.
        ends = sorted(sign * (end - criterion.value) for end in (row.ci_low, row.ci_high))
        worse, better = ends
        met = worse > 0 or (worse == 0 and not strict)
        missed = better < 0 or (better == 0 and strict)
        verdicts.append(("pass" if met else "fail" if missed else "inconclusive", better if missed else worse, row))
    verdict: CheckVerdict = next(
        (name for name in ("fail", "not_run", "inconclusive", "pass") if any(v[0] == name for v in verdicts)), "pass"
    )
    _, _, row = min((v for v in verdicts if v[0] == verdict), key=lambda v: v[1])
    place = row.site if row.layer is None else f"{row.site}.{row.layer}"
    why = Message(
        code="check.probe",
        params={"n": len(rows), "task": row.task, "probe": row.probe, "place": place},
    )
    return Check(
        check=criterion.written,
        verdict=verdict,
        value=row.value,
        threshold=criterion.value,
        ci_low=row.ci_low,
        ci_high=row.ci_high,
        why=why if verdict != "not_run" else Message(code="check.not_measured"),
    )
