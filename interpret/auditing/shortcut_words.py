"""From a model and a data set to the words it leans on: explain a part, find words there, check them on the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from interpret.analyzers.attribution import attribute
from interpret.analyzers.faithfulness import quality_auto
from interpret.analyzers.scheduler import Scheduler
from interpret.analyzers.shortcuts import Candidate, causal_check, error_words, shortcut_words
from interpret.auditing.examples import Examples
from interpret.errors import InconclusiveError, UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import encode
from interpret.results.explanations import Attribution, Faithfulness
from interpret.results.shortcuts import Shortcuts, ShortcutWords
from interpret.statistics.intervals import MIN_BOOTSTRAP

#: Held out of every ten texts, if they are fewer than asked for.
_HELD_OUT_OF_TEN: Final = 4
#: Words of the nearest frequencies that stand in for a candidate when its insertion is compared.
_N_CONTROLS: Final = 20
#: Texts on which the quality of the explanations is measured.
_N_QUALITY: Final = 50
_OTHER_PROBLEMS: Final = ("regression", "multi_label_classification")


@dataclass(frozen=True, kw_only=True)
class ShortcutConfig:
    """How much is run: at most `explained` texts are attributed, at most `held_out` others serve to check words."""

    method: str = "auto"
    explained: int = 500
    held_out: int = 500
    min_count: int = 5
    alpha: float = 0.05
    top: int = 10
    checked: int = 5
    texts_per_word: int = 50
    bootstraps: int = 1000

    def __post_init__(self) -> None:
        least_of = {"explained": 1, "held_out": 0, "checked": 0, "texts_per_word": 1, "bootstraps": 100}
        for name, least in least_of.items():
            if getattr(self, name) < least:
                raise UsageError(f"{name}={getattr(self, name)} must be at least {least}")


def find_shortcuts(
    handle: Handle, examples: Examples, *, config: ShortcutConfig | None = None, seed: int = 0
) -> Shortcuts:
    """Words the classifier leans on, which of them more than the labels warrant, and which go with its errors.

    Texts that stand twice count once: tests take them for independent. Up to `explained` random ones are attributed
    towards the predicted class and yield the words; up to `held_out` others serve to check the first `checked` words
    by inserting and removing them. Without labels there are no error words and no comparison with labels. The labels
    of a duplicated text are those of its first row.

    Raises:
        UsageError: the model does not choose one of several classes, or an option means nothing.
        InconclusiveError: fewer than `MIN_BOOTSTRAP` different texts to explain, or none whose label is ever predicted.
    """
    config = config or ShortcutConfig()
    _require_one_of_several(handle)
    kept = list({text: i for i, text in reversed(list(enumerate(examples.texts)))}.values())[::-1]
    held_out, explained = _split(kept, config, seed)
    if len(explained) < MIN_BOOTSTRAP:
        raise InconclusiveError(
            f"asked which words {handle.name} leans on, but {examples.name} has {len(kept)} different texts, of which "
            f"{len(explained)} can be explained; give at least {2 * MIN_BOOTSTRAP}",
            code="thin_data",
        )
    scheduler = Scheduler(handle)
    encoded = encode(handle, [examples.texts[i] for i in explained])
    attribution = attribute(handle, encoded, method=config.method, seed=seed, scheduler=scheduler)
    gold = None if examples.gold is None else [handle.labels[int(examples.gold[i])] for i in explained]
    if gold is not None and not set(gold) & {target.label for target in attribution.target}:
        raise InconclusiveError(
            f"asked which words {handle.name} leans on, but it predicts none of the labels of the {len(explained)} "
            f"explained texts ({', '.join(sorted(set(gold))[:5])}); give texts of more classes",
            code="thin_data",
        )
    slices = None if examples.slices is None else [examples.slices[i] for i in explained]
    counted: dict[str, Any] = {
        "min_count": config.min_count,
        "alpha": config.alpha,
        "seed": seed,
        "n_bootstrap": config.bootstraps,
        "top": config.top,
    }
    words = shortcut_words(attribution, gold, None, slices, **counted)
    return Shortcuts(
        model=handle.name,
        data=examples.name,
        words=words,
        errors=None if gold is None else error_words(attribution, gold, None, slices, **counted),
        causal=causal_check(
            handle,
            [examples.texts[i] for i in held_out],
            candidates(words, config.checked),
            logits=scheduler.logits,
            n_texts=config.texts_per_word,
            alpha=config.alpha,
            seed=seed,
            n_bootstrap=config.bootstraps,
        ),
        quality=_quality(handle, attribution, scheduler, seed),
        n_explained=len(explained),
        n_held_out=len(held_out),
        n_duplicates=len(examples) - len(kept),
        accuracy=None
        if gold is None
        else float(np.mean([t.label == g for t, g in zip(attribution.target, gold, strict=True)])),
    )


def candidates(words: ShortcutWords, n: int) -> tuple[Candidate, ...]:
    """The first `n` words of the list (Benjamini-Hochberg) over all texts, each with words to compare it with.

    Those are of the nearest frequencies and stand on the list for no class.
    """
    rows = [r for r in words.rows if r.slice is None]
    listed = {r.word for r in rows if r.q_leans <= words.alpha}
    plain = sorted({(r.word, r.form, r.n) for r in rows if r.word not in listed})
    out = []
    for row in [r for r in rows if r.q_leans <= words.alpha][:n]:
        near = sorted((abs(n_other - row.n), word, form) for word, form, n_other in plain)[:_N_CONTROLS]
        out.append(Candidate(row.word, row.form, row.label, tuple(form for _, _, form in near)))
    return tuple(out)


def _split(kept: list[int], config: ShortcutConfig, seed: int) -> tuple[list[int], list[int]]:
    """Random rows to hold out and random rows to explain, each in the order of the rows."""
    drawn = np.random.default_rng([seed, 120]).permutation(kept).tolist()
    n_held_out = min(config.held_out, max(len(kept) - config.explained, len(kept) * _HELD_OUT_OF_TEN // 10))
    return sorted(drawn[:n_held_out]), sorted(drawn[n_held_out:][: config.explained])


def _quality(handle: Handle, attribution: Attribution, scheduler: Scheduler, seed: int) -> Faithfulness:
    """How far the explanations can be trusted, measured on a random part of them."""
    drawn = np.random.default_rng([seed, 121]).permutation(len(attribution))[:_N_QUALITY]
    part = replace(attribution, examples=tuple(attribution[i] for i in np.sort(drawn).tolist()))
    return quality_auto(handle, part, seed=seed, scheduler=scheduler)


def _require_one_of_several(handle: Handle) -> None:
    kind = getattr(handle.config, "problem_type", None)
    if handle.task != "text-classification" or len(handle.labels) < 2 or kind in _OTHER_PROBLEMS:
        raise UsageError(
            f"{handle.name} is loaded for {handle.task} with {len(handle.labels)} label(s) and the problem type "
            f"{kind!r}; words that predictions lean on are found for models that choose one class out of several"
        )
