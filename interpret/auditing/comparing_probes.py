"""Probes of base and tuned as a part of their comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from interpret.analyzers.comparison.pair import Pair
from interpret.analyzers.probing.compare import compare_probes
from interpret.errors import InconclusiveError
from interpret.readers.probe_data import ProbeData
from interpret.results.comparisons import ComparisonRow, NotCompared
from interpret.results.probe_comparison import ProbeComparison
from interpret.results.record import Message


@dataclass(frozen=True, kw_only=True)
class ProbeRequest:
    """What probes are trained and tested on; `test` None splits the data by sentence."""

    train: ProbeData
    test: ProbeData | None = None
    sites: Sequence[str] = ("embed", "resid_post")


def probes_of(
    pair: Pair, request: ProbeRequest, *, seed: int, n_bootstrap: int, progress: bool
) -> ProbeComparison | NotCompared:
    """What can be read off each layer before and after, p-values corrected over all rows; or why that cannot be said.

    Raises:
        UsageError: no site and layer that both models have.
    """
    try:
        return compare_probes(
            pair.base,
            pair.tuned,
            request.train,
            request.test,
            sites=request.sites,
            seed=seed,
            n_bootstrap=n_bootstrap,
            progress=progress,
            as_base=pair.as_base() if pair.switched else None,
        ).record
    except InconclusiveError as err:
        return NotCompared(part="probes", why=Message(code="section.probe_inconclusive", params={"why": err.code}))


def probe_rows(found: ProbeComparison) -> list[ComparisonRow]:
    """Differences as rows, named by probe and metric; `item` is the site."""
    return [
        ComparisonRow(
            part="probes",
            name=f"{row.probe}_{row.metric}",
            value=row.difference,
            ci_low=row.ci_low,
            ci_high=row.ci_high,
            n=row.n,
            layer=row.layer,
            item=row.site,
        )
        for row in found.rows
    ]
