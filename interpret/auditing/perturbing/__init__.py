"""Changes of texts that should not change what a model says, and some that should: pure functions of (text, rng).

    perturbed(PERTURBATIONS["transposition"], text, seed=0)     # the changed text, or the same where nothing could be

No model and no torch. The random state follows from the seed, the name and the text, so that neither the order of texts
nor the choice of perturbations changes what becomes of one text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.random import Generator

from interpret.auditing.perturbing import typing_errors, wording, writing
from interpret.auditing.perturbing.scripts import Script, script_of
from interpret.auditing.perturbing.swapping import Versions, versions
from interpret.auditing.perturbing.terms import TERMS, TermList, given_terms
from interpret.results.robustness import Expectation, PerturbationKind

__all__ = [
    "PERTURBATIONS",
    "TERMS",
    "Perturbation",
    "Script",
    "TermList",
    "Versions",
    "given_terms",
    "perturbed",
    "rng_of",
    "script_of",
    "versions",
]


class Perturbation(NamedTuple):
    """One way of changing texts of some scripts; the prediction is expected to stay the same or to change."""

    name: str
    kind: PerturbationKind
    scripts: tuple[Script, ...]
    apply: Callable[[str, Generator], str]
    expectation: Expectation = "same"


_LATIN: Final[tuple[Script, ...]] = ("latin",)
_HAN: Final[tuple[Script, ...]] = ("han",)
_BOTH: Final[tuple[Script, ...]] = ("latin", "han")

_ALL: Final = (
    Perturbation("adjacent_key", "typing", _LATIN, typing_errors.adjacent_key),
    Perturbation("transposition", "typing", _LATIN, typing_errors.transposition),
    Perturbation("dropped_letter", "typing", _LATIN, typing_errors.dropped_letter),
    Perturbation("homophones", "typing", _HAN, typing_errors.homophones),
    Perturbation("lower_case", "case", _LATIN, writing.lower_case),
    Perturbation("upper_case", "case", _LATIN, writing.upper_case),
    Perturbation("punctuation_removed", "punctuation", _BOTH, writing.punctuation_removed),
    Perturbation("punctuation_added", "punctuation", _BOTH, writing.punctuation_added),
    Perturbation("final_punctuation", "punctuation", _BOTH, writing.final_punctuation),
    Perturbation("whitespace", "whitespace", _BOTH, writing.whitespace),
    Perturbation("contracted", "wording", _LATIN, wording.contracted),
    Perturbation("expanded", "wording", _LATIN, wording.expanded),
    Perturbation("full_width", "characters", _HAN, writing.full_width),
    Perturbation("half_width", "characters", _HAN, writing.half_width),
    Perturbation("traditional", "characters", _HAN, writing.traditional),
    Perturbation("simplified", "characters", _HAN, writing.simplified),
    Perturbation("negation_inserted", "negation", _BOTH, wording.negation_inserted, "change"),
    Perturbation("negation_removed", "negation", _BOTH, wording.negation_removed, "change"),
)

#: By name, in the order of reports.
PERTURBATIONS: Final[dict[str, Perturbation]] = {p.name: p for p in _ALL}


def perturbed(perturbation: Perturbation, text: str, seed: int = 0) -> str:
    """The changed text; the text itself where its script is another one, nothing could be changed, or nothing is left.

    Args:
        perturbation: one of `PERTURBATIONS`.
        text: any text.
        seed: 0 or more.
    """
    if script_of(text) not in perturbation.scripts:
        return text
    changed = perturbation.apply(text, rng_of(text, perturbation.name, seed))
    return changed if changed.strip() else text


def rng_of(text: str, name: str, seed: int) -> Generator:
    """Random numbers that follow from these three alone."""
    digest = hashlib.sha256(f"{name}\n{text}".encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
