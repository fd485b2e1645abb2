"""The audit's stage for section 12: which texts are taken, and what is said where nothing can be measured."""

from __future__ import annotations

from interpret.auditing.robustness.measure import measure_robustness
from interpret.auditing.stage import Run
from interpret.results.robustness import Robustness
from interpret.statistics.intervals import MIN_BOOTSTRAP


def robustness(run: Run) -> Robustness | None:
    """Measured on a random sample of different texts; a text that stands twice counts once."""
    config = run.config
    drawn = run.sample(range(len(run.examples)), config.perturbed, stream=130)
    first = {run.examples.texts[n]: n for n in reversed(drawn)}
    numbers = sorted(first.values())
    if len(numbers) < MIN_BOOTSTRAP:
        run.not_run("robustness", "section.too_few", n=len(numbers), needed=MIN_BOOTSTRAP)
        return None
    found = measure_robustness(
        run.handle,
        [run.examples.texts[n] for n in numbers],
        rows=[run.examples.rows[n] for n in numbers],
        swap_terms=config.swap_terms,
        explained=config.perturbed_explained,
        method=config.method,
        seed=run.seed,
        n_bootstrap=config.bootstraps,
        scheduler=run.scheduler,
    )
    if not found.rows and not any(scores.pairs for scores in found.pairs):
        code = "section.no_group_words" if run.handle.task == "masked-lm" else "section.no_known_script"
        run.not_run("robustness", code, n=len(numbers))
        return None
    run.done("robustness", len(numbers))
    return found
