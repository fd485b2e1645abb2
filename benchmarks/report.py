"""What a report costs: bytes, nodes, first paint and filters in Chromium, loading the audit; each beside its limit.

    python benchmarks/report.py [--repeats 5] [--sizes 1000 10000]

The audits are made by hand: every section filled, cases of about twenty words, and words of as many classes as it takes
for thirty figures. Times are medians by the clock; time on the processor stands beside them, because a busy machine
stretches the clock. Exits with 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import reports  # noqa: E402
from interpret.results.audits import Audit  # noqa: E402
from tests.browser.chromium import ARGUMENTS  # noqa: E402
from tests.reports import sample, sample_explained  # noqa: E402

#: Figures of a whole report with two classes; one more for every class beyond them.
FIGURES, CLASSES = 16, 2
N_FIGURES = 30
LIMITS = {"bytes": {0: 150_000, 1_000: 3_000_000, 10_000: 10_000_000}, "paint": {1_000: 1.0, 10_000: 2.0}}
FILTER_S, NODES, LOAD_S = 0.1, 5_000, 2.0


class Line(NamedTuple):
    name: str
    value: float
    limit: float | None
    cpu: float | None = None
    unit: str = ""


def synthetic(n_cases: int) -> Audit:
    """Cases with texts of their own, and thirty figures."""
    rng = np.random.default_rng(0)
    vocabulary = [
        f"{a}{b}" for a in "re con pro in dis over under sub".split() for b in "sting mode fer line test view".split()
    ]
    texts = tuple(" ".join(rng.choice(vocabulary, size=rng.integers(8, 32)).tolist()) + "." for _ in range(n_cases))
    words = sample_explained.importance()
    labels = [f"class {n}" for n in range(N_FIGURES - FIGURES + CLASSES)]
    named = tuple(replace(word, label=label) for label in labels for word in words if word.label == "positive")
    return replace(sample.full(), cases=sample.cases(texts, n=n_cases), global_attribution=named)


def medians(run: Callable[[], tuple[float, float]], repeats: int) -> tuple[float, float]:
    """Of seconds by the clock, and on the processor."""
    found = [run() for _ in range(repeats)]
    return statistics.median(clock for clock, _ in found), statistics.median(cpu for _, cpu in found)


class Thread:
    """Time that the page's main thread spends on the processor."""

    def __init__(self, page: Any) -> None:
        self.session = page.context.new_cdp_session(page)
        self.session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def seconds(self) -> float:
        found = self.session.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in found if one["name"] == "TaskDuration"))


def painted(browser: Any, path: Path) -> tuple[float, float]:
    """From the start of the navigation to the first paint with content and the end of the script."""
    page = browser.new_page()
    thread = Thread(page)
    page.goto(path.as_uri(), wait_until="load")
    # Not `wait_for_function`: it evaluates a string within the page, which the page's policy forbids.
    while not page.evaluate("performance.getEntriesByName('first-contentful-paint').length"):
        page.wait_for_timeout(2)
    found = page.evaluate(
        "Math.max(performance.getEntriesByName('first-contentful-paint')[0].startTime,"
        " performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd)"
    )
    cpu = thread.seconds()
    page.close()
    return float(found) / 1000, cpu


_FILTER = """() => {
  const form = document.querySelector('form.tools');
  const box = form.elements.q;
  const begin = performance.now();
  box.value = box.value === 'overview' ? 'protest' : 'overview';
  box.dispatchEvent(new Event('input', {bubbles: true}));
  document.body.getBoundingClientRect();
  return performance.now() - begin;
}"""


def filtered(page: Any, thread: Thread) -> tuple[float, float]:
    before = thread.seconds()
    clock = page.evaluate(_FILTER) / 1000
    return clock, thread.seconds() - before


def measure_page(browser: Any, path: Path, n_cases: int, repeats: int) -> list[Line]:
    out = [Line("size", path.stat().st_size, LIMITS["bytes"].get(n_cases), unit="bytes")]
    clock, cpu = medians(lambda: painted(browser, path), repeats)
    out.append(Line("first render", clock, LIMITS["paint"].get(n_cases), cpu, "s"))
    page = browser.new_page()
    thread = Thread(page)
    page.goto(path.as_uri())
    nodes, figures = (page.evaluate(f"document.querySelectorAll('{what}').length") for what in ("*", "figure"))
    out += [Line("nodes", nodes, NODES), Line("figures", figures, None)]
    if n_cases:
        clock, cpu = filtered(page, thread)
        out.append(Line("first filter by text", clock, FILTER_S, cpu, "s"))
        clock, cpu = medians(lambda: filtered(page, thread), repeats)
        out.append(Line("filter by text", clock, FILTER_S, cpu, "s"))
    page.close()
    return out


def timed(run: Callable[[], object]) -> tuple[float, float]:
    clock, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - clock, time.process_time() - cpu


def show(title: str, lines: list[Line]) -> bool:
    print(f"\n{title}")
    met = True
    for line in lines:
        digits = 3 if line.unit == "s" else 0
        best = "" if line.cpu is None else f"  (processor {line.cpu:.{digits}f})"
        judged = ""
        if line.limit is not None:
            fits = line.value <= line.limit
            met &= fits
            judged = f"  limit {line.limit:,g}: {'met' if fits else 'MISSED'}"
        print(f"  {line.name:<22} {line.value:>14,.{digits}f} {line.unit:<6}{best}{judged}")
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 10_000])
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        print("there is no chromium on this machine")
        return 2
    warnings.simplefilter("always")
    met = True
    with tempfile.TemporaryDirectory() as name, sync_playwright() as started:
        folder = Path(name)
        browser = started.chromium.launch(executable_path=path, args=ARGUMENTS)
        page = reports.render(sample.minimal(), folder / "minimal.html")
        met &= show("an audit without labels, base and explanations", measure_page(browser, page, 0, options.repeats))
        for n in options.sizes:
            audit = synthetic(n)
            page = folder / f"{n}.html"
            clock, cpu = timed(partial(reports.render, audit, page))
            lines = [Line("rendering", clock, None, cpu, "s"), *measure_page(browser, page, n, options.repeats)]
            load = partial(Audit.load, audit.save(folder / str(n)))
            clock, cpu = medians(lambda: timed(load), options.repeats)  # noqa: B023
            lines.append(Line("Audit.load", clock, LOAD_S, cpu, "s"))
            met &= show(f"{n:,} cases", lines)
        browser.close()
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
