"""What fine-tuning changed: the pre-flight, paired rows part by part, and the examples that moved most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from interpret.results.explanations import ExampleAttribution
from interpret.results.probe_comparison import ProbeComparison
from interpret.results.record import Message, Record

if TYPE_CHECKING:
    import pandas as pd

Part = Literal["weights", "activations", "attention", "outputs", "explanations", "probes"]
#: Parts that a comparison can have, in the order they are shown.
PARTS: Final[tuple[Part, ...]] = ("weights", "activations", "attention", "outputs", "explanations", "probes")


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """One paired quantity of base against tuned; layer, head, slice and item are None where they do not apply.

    `item` is what the row is about where that has a name: a weight, a site, a token or a word.
    """

    part: Part
    name: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    layer: int | None = None
    head: int | None = None
    slice: str | None = None
    item: str | None = None


@dataclass(frozen=True, kw_only=True)
class PreflightCheck:
    """One question that is asked before anything is compared, and its answer in words.

    `verdict`: `pass` where the comparison means what it seems to mean, `warn` where something has to be known to read
    it, `fail` where nothing changed or the two cannot be told apart from two unrelated models.
    """

    check: str
    verdict: Literal["pass", "warn", "fail"]
    why: Message


@dataclass(frozen=True, kw_only=True)
class NotCompared:
    """A part that could not be compared, and why not."""

    part: Part
    why: Message


@dataclass(frozen=True, kw_only=True)
class MovedExample:
    """An example that moved; `row` is its 0-based row in the data, `kl_bits` how far its output did (mean over tokens).

    `base` and `tuned` are what the models answer; for language models the likeliest token where they differ most,
    which stands after `after`. None where texts are not kept. `explanation_change` is 1 minus the rank correlation of
    both models' explanations (0: the words rank alike, 1: unrelated, 2: reversed), which are `explained_base` and
    `explained_tuned`; None where they were not compared.
    """

    row: int
    kl_bits: float
    base: str | None
    tuned: str | None
    slice: str | None = None
    after: str | None = None
    text: str | None = None
    explanation_change: float | None = None
    explained_base: ExampleAttribution | None = None
    explained_tuned: ExampleAttribution | None = None


@dataclass(frozen=True, kw_only=True)
class ComparedOn:
    """What was compared on what, with what: names and SHA-256 digests, no path.

    `data_sha256` is over the texts and labels that were used. `base_sha256` is None where the base is the tuned model
    with its adapter off.
    """

    data: str
    n: int
    n_rows: int
    seed: int
    data_sha256: str
    base_sha256: str | None
    tuned_sha256: str
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Record):
    """What fine-tuning changed, paired on the same examples. `p_value` is the exact McNemar test on correctness.

    `changed` is whether anything changed at all, weights or outputs; None where nobody looked. `probes` holds the
    probes of which `rows` have the differences, `about` says what was compared on what; both are None within audits.
    """

    base_name: str
    tuned_name: str
    rows: tuple[ComparisonRow, ...]
    only_base_right: int | None
    only_tuned_right: int | None
    p_value: float | None
    notes: tuple[Message, ...] = ()
    preflight: tuple[PreflightCheck, ...] = ()
    not_compared: tuple[NotCompared, ...] = ()
    moved: tuple[MovedExample, ...] = ()
    changed: bool | None = None
    probes: ProbeComparison | None = None
    about: ComparedOn | None = None

    def to_frame(self, part: str | None = None) -> pd.DataFrame:
        """Columns: part, name, layer, head, slice, value, ci_low, ci_high, n, item; one part, or all."""
        import pandas as pd

        columns = "part name layer head slice value ci_low ci_high n item".split()
        rows = [row for row in self.rows if part is None or row.part == part]
        frame = pd.DataFrame([[getattr(r, c) for c in columns] for r in rows], columns=columns)
        # A part without layers must not turn numbers of others into floats.
        return frame.astype({"layer": "Int64", "head": "Int64"})
