"""What an audit measures, resolved into counts before anything runs, and the criteria it is held to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_args

from interpret.analyzers.attribution import METHODS
from interpret.errors import UsageError
from interpret.results.examples import Pairing
from interpret.results.record import Scalar

_USE = "intended_use."

#: Counts and the least that means anything: sections 7, 8 and 10 need some examples, intervals some resamples.
_LEAST = {
    "explained": 1,
    "errors_shown": 0,
    "random_shown": 0,
    "random_rankings": 20,
    "compared": 0,
    "randomised": 0,
    "attention": 0,
    "probed": 0,
    "bootstraps": 100,
    "words_shown": 1,
}


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """Counts and criteria of one audit; `config=` takes any subset of these keys.

    The counts are numbers of examples. `explained` drives sections 7 and 8 (a random sample, so that they speak for
    the data), `errors_shown` adds misclassified examples to section 9, and the comparison methods, being dearer, get
    their own smaller sample. Each explanation is held against `random_rankings` of its own words. `minimum_accuracy`
    is a declared criterion: None means none is declared. `pairing` says how the digests are made by which examples of
    two audits are matched: `plain` ones let anybody who holds the audit test guesses at short texts, `keyed` ones do
    not, and match only audits of the same file (see `Answers`).
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
    probed: int = 1000
    bootstraps: int = 1000
    words_shown: int = 15
    minimum_accuracy: float | None = None
    pairing: Pairing = "plain"
    criteria_by: str | None = None
    criteria_on: str | None = None
    intended_use: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UsageError(f"config {name} must be a whole number of at least {least}, found {value!r}")
        accuracy = self.minimum_accuracy
        if accuracy is not None and not (
            isinstance(accuracy, int | float) and not isinstance(accuracy, bool) and 0.0 <= accuracy <= 1.0
        ):
            raise UsageError(f"config minimum_accuracy must be a number between 0 and 1, found {accuracy!r}")
        if self.pairing not in get_args(Pairing):
            raise UsageError(f"config pairing must be one of {', '.join(get_args(Pairing))}, found {self.pairing!r}")
        for name in (self.method, *self.compared_names):
            if name not in METHODS and not (name == self.method == "auto"):
                raise UsageError(f"config names the method {name!r}; the methods are {', '.join(METHODS)}")
        if not isinstance(self.intended_use, Mapping):
            raise UsageError(f"config intended_use must map questions to answers, found {self.intended_use!r}")
        # YAML reads dates and numbers; what an author states is text, and nothing stated is left out.
        stated = {str(key): str(value) for key, value in self.intended_use.items() if value is not None}
        object.__setattr__(self, "intended_use", stated)
        for name in ("criteria_by", "criteria_on"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else str(value))

    @property
    def compared_names(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.compared_methods.split(",") if name.strip())

    def resolved(self) -> dict[str, Scalar]:
        """The configuration as plain values, as it is stored with the audit."""
        plain = asdict(self)
        use = plain.pop("intended_use")
        return plain | {_USE + key: value for key, value in sorted(use.items())}


def resolve_config(config: AuditConfig | Mapping[str, Any] | None) -> AuditConfig:
    """Fill in the defaults.

    Raises:
        UsageError: a key that does not exist; the message lists those that do.
    """
    if isinstance(config, AuditConfig):
        return config
    given = dict(config or {})
    # The resolved form, which is stored with every audit, writes the author's statements flat.
    flat = {key.removeprefix(_USE): given.pop(key) for key in sorted(given) if key.startswith(_USE)}
    if flat:
        given["intended_use"] = {**flat, **given.get("intended_use", {})}
    known = {f.name for f in fields(AuditConfig)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise UsageError(f"config has no key {unknown[0]!r}; the keys are {', '.join(sorted(known))}")
    return AuditConfig(**given)
