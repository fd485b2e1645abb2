"""What an audit measures, resolved into counts before anything runs, and the criteria it is held to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_args

from interpret.analyzers.attribution import METHODS
from interpret.auditing.perturbing import given_terms
from interpret.errors import UsageError
from interpret.results.audits import Texts
from interpret.results.examples import Pairing
from interpret.results.record import Scalar

_USE = "intended_use."
_REDUCED = "reduced_from."

#: Counts and the least that means anything: sections 7, 8 and 10 need some examples, intervals some resamples.
_LEAST = {
    "explained": 1,
    "errors_shown": 0,
    "random_shown": 0,
    "random_rankings": 20,
    "compared": 0,
    "randomised": 0,
    "attention": 0,
    "ablated": 0,
    "probed": 0,
    "shortcut_texts": 0,
    "perturbed": 0,
    "perturbed_explained": 0,
    "base_activations": 0,
    "base_attention": 0,
    "base_explained": 0,
    "moved_shown": 0,
    "bootstraps": 100,
    "words_shown": 1,
}


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """Counts and criteria of one audit; `config=` takes any subset of these keys.

    The counts are numbers of examples. `explained` drives sections 7 and 8 (a random sample, so that they speak for
    the data), `errors_shown` adds misclassified examples to section 9, and the comparison methods, being dearer, get
    their own smaller sample. Each explanation is held against `random_rankings` of its own words. `minimum_accuracy`
    is a declared criterion: None means none is declared. So are `max_flip_rate`, of every perturbation that should
    change nothing, and `max_group_difference`, of a class's probability between groups of people. `perturbed` texts are
    written otherwise, `perturbed_explained` of the changed ones explained again; `swap_terms` are further words to
    exchange, as "nurse=doctor, he=she". `protected` are columns with a protected attribute, `concepts` other
    columns (lists, or names between commas): whether the model knows each, and whether its answers depend on it. With a
    base model, both models' activations are compared on `base_activations` texts, their attention on `base_attention`,
    their explanations on `base_explained` of the explained ones, and `moved_shown` of the texts whose output moved most
    are explained for section 9. `texts` is what the audit keeps of the texts: `full`, `masked` (a sign in the place of
    every word) or `ids` (row numbers only). `pairing` says how the digests are made by which examples of two audits are
    matched: `plain` ones let anybody who holds the audit test guesses at short texts, `keyed` ones do not, and match
    only audits of the same file (see `Answers`); audits without texts are always keyed. `limit` audits a random sample
    of the rows. `reduced_from` is written by a time budget: the counts that it lowered, as they were.
    """

    method: str = "auto"
    explained: int = 60
    errors_shown: int = 30
    random_shown: int = 30
    random_rankings: int = 20
    compared_methods: str = "gradient_x_input,leave_one_out,shap"
    compared: int = 12
    randomised: int = 12
    attention: int = 64
    ablated: int = 16
    probed: int = 1000
    shortcut_texts: int = 200
    shortcut_method: str = "auto"
    perturbed: int = 200
    perturbed_explained: int = 20
    base_activations: int = 300
    base_attention: int = 64
    base_explained: int = 40
    moved_shown: int = 10
    swap_terms: str | None = None
    protected: str | None = None
    concepts: str | None = None
    bootstraps: int = 1000
    words_shown: int = 15
    limit: int | None = None
    texts: Texts = "full"
    minimum_accuracy: float | None = None
    max_flip_rate: float | None = None
    max_group_difference: float | None = None
    pairing: Pairing = "plain"
    criteria_by: str | None = None
    criteria_on: str | None = None
    intended_use: Mapping[str, str] = field(default_factory=dict)
    reduced_from: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UsageError(f"config {name} must be a whole number of at least {least}, found {value!r}")
        limit = self.limit
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise UsageError(f"config limit must be a whole number of at least 1, or nothing, found {limit!r}")
        for name in ("minimum_accuracy", "max_flip_rate", "max_group_difference"):
            share = getattr(self, name)
            if share is not None and not (
                isinstance(share, int | float) and not isinstance(share, bool) and 0.0 <= share <= 1.0
            ):
                raise UsageError(f"config {name} must be a number between 0 and 1, found {share!r}")
        if self.texts not in get_args(Texts):
            raise UsageError(f"config texts must be one of {', '.join(get_args(Texts))}, found {self.texts!r}")
        if self.pairing not in get_args(Pairing):
            raise UsageError(f"config pairing must be one of {', '.join(get_args(Pairing))}, found {self.pairing!r}")
        if self.swap_terms is not None:
            given_terms(str(self.swap_terms))
        for name in ("protected", "concepts"):
            object.__setattr__(self, name, _columns(name, getattr(self, name)))
        if twice := sorted(set(self.protected_columns) & set(_parts(self.concepts))):
            raise UsageError(f"config names the column {twice[0]!r} in protected and in concepts; name it once")
        for name in (self.method, self.shortcut_method, *self.compared_names):
            if name not in METHODS and not (name == "auto" and name not in self.compared_names):
                raise UsageError(f"config names the method {name!r}; the methods are {', '.join(METHODS)}")
        if not isinstance(self.intended_use, Mapping):
            raise UsageError(f"config intended_use must map questions to answers, found {self.intended_use!r}")
        # YAML reads dates and numbers; what an author states is text, and nothing stated is left out.
        stated = {str(key): str(value) for key, value in self.intended_use.items() if value is not None}
        object.__setattr__(self, "intended_use", stated)
        if not isinstance(self.reduced_from, Mapping) or not set(self.reduced_from) <= self.counts.keys():
            raise UsageError(
                f"config reduced_from must map counts ({', '.join(self.counts)}) to what they were, "
                f"found {self.reduced_from!r}"
            )
        for name in ("criteria_by", "criteria_on"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else str(value))

    @property
    def compared_names(self) -> tuple[str, ...]:
        return _parts(self.compared_methods)

    @property
    def protected_columns(self) -> tuple[str, ...]:
        return _parts(self.protected)

    @property
    def concept_columns(self) -> tuple[str, ...]:
        """All columns whose use is looked into, protected ones first."""
        return concept_columns({"protected": self.protected, "concepts": self.concepts})

    @property
    def counts(self) -> dict[str, int | None]:
        """The counts by key."""
        return {name: getattr(self, name) for name in (*_LEAST, "limit")}

    def resolved(self) -> dict[str, Scalar]:
        """The configuration as plain values, as it is stored with the audit."""
        plain = asdict(self)
        use, reduced = plain.pop("intended_use"), plain.pop("reduced_from")
        plain |= {_USE + key: value for key, value in sorted(use.items())}
        return plain | {_REDUCED + key: value for key, value in sorted(reduced.items())}


def concept_columns(config: Mapping[str, Scalar]) -> tuple[str, ...]:
    """The columns that a configuration, as it is stored with an audit, names as protected and as concepts."""
    named = (config.get("protected"), config.get("concepts"))
    return tuple(name for names in named if isinstance(names, str) for name in _parts(names))


def _parts(names: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (names or "").split(",") if name.strip())


def _columns(key: str, given: object) -> str | None:
    """Names of columns as one string, as it is stored: a list of them, or names between commas."""
    names = given.split(",") if isinstance(given, str) else [] if given is None else given
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise UsageError(f'config {key} must be a list of columns, as in ["gender"], found {given!r}')
    if odd := [name for name in names if "," in name]:
        raise UsageError(f"config {key} names the column {odd[0]!r}; a column with a comma in its name must be renamed")
    return ", ".join(dict.fromkeys(name.strip() for name in names if name.strip())) or None


def resolve_config(config: AuditConfig | Mapping[str, Any] | None) -> AuditConfig:
    """Fill in the defaults.

    Raises:
        UsageError: a key that does not exist; the message lists those that do.
    """
    if isinstance(config, AuditConfig):
        return config
    given = dict(config or {})
    # The resolved form, which is stored with every audit, writes mappings flat.
    for name, prefix in (("intended_use", _USE), ("reduced_from", _REDUCED)):
        flat = {key.removeprefix(prefix): given.pop(key) for key in sorted(given) if key.startswith(prefix)}
        if flat:
            given[name] = {**flat, **(given.get(name) or {})}
    known = {f.name for f in fields(AuditConfig)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise UsageError(f"config has no key {unknown[0]!r}; the keys are {', '.join(sorted(known))}")
    return AuditConfig(**given)
