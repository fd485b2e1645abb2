"""The audit: everything a report shows, as data, in the order of the report's sections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from interpret.results.attention import AttentionMaps, HeadAblation
from interpret.results.comparisons import Comparison, ComparisonRow
from interpret.results.concepts import Concepts
from interpret.results.examples import Answers
from interpret.results.explanations import (
    Attribution,
    ExampleAttribution,
    Faithfulness,
    IntArray,
    RandomisationRow,
)
from interpret.results.probes import ProbeResult
from interpret.results.record import Estimate, HoldsArrays, Message, Record, Scalar
from interpret.results.robustness import Robustness
from interpret.results.shortcuts import Shortcuts
from interpret.results.slices import Finding, FoundSlices

if TYPE_CHECKING:
    import pandas as pd

CheckVerdict = Literal["pass", "fail", "inconclusive", "not_run"]
SectionStatus = Literal["done", "partial", "not_run"]
#: What an audit keeps of the texts: all, a mask for every word, or row numbers only.
Texts = Literal["full", "masked", "ids"]

#: Report sections by key, in order; the number of a section is its place here.
SECTIONS: tuple[str, ...] = (
    "verdict",
    "identity",
    "intended_use",
    "data",
    "performance",
    "comparison",
    "slices",
    "global_attribution",
    "explanation_quality",
    "cases",
    "attention",
    "probes",
    "robustness",
    "limits",
    "reproduce",
)


@dataclass(frozen=True, kw_only=True, repr=False)
class Identity(Record):
    """Which model was audited, and the proof that the audit left it as it was.

    `name` is the hub id or the last part of the path, never a private path. Digests are SHA-256 over names, shapes,
    dtypes and bytes of all weights, in name order. `capture_logit_difference` is the largest absolute difference of
    logits with and without capture hooks on the audit's own data (0.0 means equal to the last bit).
    """

    name: str
    revision: str | None
    adapter: str | None
    family: str
    architecture: str
    task: str
    labels: tuple[str, ...]
    n_parameters: int
    n_layers: int
    n_heads: int
    d_model: int
    max_length: int
    attn_implementation: str
    saved_dtype: str
    run_dtype: str
    device: str
    weights_sha256_before: str
    weights_sha256_after: str
    capture_logit_difference: float | None
    config_sha256: str
    tokenizer_sha256: str
    config_sha256_after: str
    tokenizer_sha256_after: str
    remote_code: bool
    quantisation: str | None
    base_name: str | None
    base_weights_sha256: str | None
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class LabelMapping:
    """How labels in the data became class indices of the model; `rule` says on what ground."""

    rule: Literal["name", "id", "given", "none"]
    pairs: Mapping[str, int]
    names: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, repr=False)
class DataSummary(Record):
    """What was audited. `n_rows` were read, `n_used` audited; `sha256` is over the rows used, not over the file.

    It covers their texts, labels, and the columns named as concepts or protected, where any were named.

    `texts` says what the audit holds of the texts themselves.
    """

    name: str
    sha256: str
    n_rows: int
    n_used: int
    sampled: bool
    sampling_seed: int | None
    text_column: str
    label_column: str | None
    mapping: LabelMapping
    label_counts: Mapping[str, int]
    slice_counts: Mapping[str, int]
    n_truncated: int
    n_empty: int
    n_duplicates: int
    bad_rows: tuple[Message, ...]
    length_quantiles: Mapping[str, int]
    scripts: Mapping[str, float]
    overlap_with_training: Literal["not_examined"] = "not_examined"
    texts: Texts = "full"


#: Metrics that are a share of right answers: of texts, of words, of answers to questions, of tokens.
ACCURACIES: tuple[str, ...] = ("accuracy", "token_accuracy", "exact_match", "next_token_accuracy")


@dataclass(frozen=True, kw_only=True)
class SliceRow:
    """Accuracy on one slice and its gap to the rest of the data; `underpowered` when the interval is too wide to tell.

    Gap intervals are Bonferroni-adjusted over the slices. The calibration error is None where a slice is small.
    """

    name: str
    n: int
    accuracy: Estimate
    gap: Estimate
    underpowered: bool
    calibration_error: Estimate | None = None


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Performance(HoldsArrays, Record):
    """How good, how sure; the first metric is the one that matters most.

    `confusion` is [gold, predicted] counts of `unit`s and `majority_rate` the share of the commonest class; where
    answers are no classes it is [0, 0] and None. `calibration_error` is the expected one.
    """

    metrics: tuple[Estimate, ...]
    calibration_error: Estimate
    confusion: IntArray
    labels: tuple[str, ...]
    majority_rate: float | None
    slices: tuple[SliceRow, ...] = ()
    unit: Literal["example", "word", "question", "token"] = "example"

    @property
    def accuracy(self) -> Estimate | None:
        """The share of right answers, whatever an answer is here; None where nothing is right or wrong."""
        return next((metric for metric in self.metrics if metric.name in ACCURACIES), None)


@dataclass(frozen=True, kw_only=True)
class WordImportance:
    """A word's mean attribution towards the explained class, over the examples that hold it."""

    word: str
    label: str
    n: int
    mean_score: float
    ci_low: float | None
    ci_high: float | None
    mean_rank: float


@dataclass(frozen=True, kw_only=True)
class Case:
    """One example shown whole. `row` is the 0-based row in the data; `rule` says why it is shown.

    With a base model `base_prediction` is its answer, `output_change` the divergence of the outputs in bits, and
    `explanation_change` 1 minus the rank correlation of both models' explanations (0: alike, 1: unrelated).
    """

    row: int
    rule: Literal["error", "random", "pinned", "moved"]
    label: str | None
    prediction: str
    confidence: float
    slice: str | None
    attribution: ExampleAttribution
    base_prediction: str | None = None
    output_change: float | None = None
    explanation_change: float | None = None


@dataclass(frozen=True, kw_only=True)
class HeadRow:
    """Where one head's attention goes, averaged over real query positions and examples.

    `entropy_nats` is over keys; `distance_tokens` is the mean |query - key|; `to_special` the mass on special tokens.
    """

    layer: int
    head: int
    entropy_nats: float
    entropy_ci_low: float
    entropy_ci_high: float
    distance_tokens: float
    to_special: float


@dataclass(frozen=True, kw_only=True, repr=False)
class AttentionSummary(Record):
    """Where attention goes (not why): attention is not an explanation.

    `ablations` say what the answer loses without each head, over `n_ablated` examples; where there are none
    `ablation_why` says why. `maps` are whole patterns of some heads on some of the cases shown.
    """

    heads: tuple[HeadRow, ...]
    n: int
    mode: str
    ablations: tuple[HeadAblation, ...] = ()
    n_ablated: int = 0
    ablation_why: Message | None = None
    maps: AttentionMaps | None = None


@dataclass(frozen=True, kw_only=True)
class MethodQuality:
    """One attribution method's evidence: faithfulness, completeness, agreement with the audit's main method."""

    method: str
    faithfulness: Faithfulness
    completeness_median: float | None
    completeness_max: float | None
    agreement: Estimate | None
    n: int


@dataclass(frozen=True, kw_only=True, repr=False)
class ExplanationQuality(Record):
    """How far the explanations can be trusted; the first method is the one that sections 7 and 9 show."""

    methods: tuple[MethodQuality, ...]
    randomisation: tuple[RandomisationRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question with a verdict: pass or fail only if the whole 95% interval lies on one side.

    `kind`: `criterion` was declared by the author, `integrity` is about the run itself (was the model left alone),
    `finding` is what every audit looks at without anybody having set a bar. Only the first two decide the exit code.
    A criterion is `post_hoc` if it was declared after the run.
    """

    check: str
    verdict: CheckVerdict
    value: float | None
    threshold: float | None
    ci_low: float | None
    ci_high: float | None
    why: Message
    declared_by: str | None = None
    declared_on: str | None = None
    kind: Literal["criterion", "integrity", "finding"] = "criterion"
    post_hoc: bool = False


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Whether a section was examined, and if not or not wholly, why."""

    section: str
    status: SectionStatus
    why: Message | None = None


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """Facts about the run that must stay outside the digest: time, duration, place."""

    started: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    machine: str | None = None
    command: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Audit(Record):
    """A whole audit; a section that was not run is None and `coverage` says why.

    `checks` is a table; the records behind it are `check_rows`. `findings` are what must not be missed, of all
    sections. `examples` holds one row per audited example, without its text; None for tasks whose answers are no class
    of a text, and in audits that were saved before there was such a table. `concepts` are columns of which it was asked
    whether the model knows and uses them; None where none were.
    """

    title: str
    identity: Identity
    data: DataSummary
    performance: Performance | None
    comparison: Comparison | None
    global_attribution: tuple[WordImportance, ...]
    explanation_quality: ExplanationQuality | None
    cases: tuple[Case, ...]
    attention: AttentionSummary | None
    probes: ProbeResult | None
    check_rows: tuple[Check, ...]
    coverage: tuple[Coverage, ...]
    config: Mapping[str, Scalar]
    seed: int
    command: str
    intended_use: Mapping[str, str] = field(default_factory=dict)
    shortcuts: Shortcuts | None = None
    found_slices: FoundSlices | None = None
    findings: tuple[Finding, ...] = ()
    robustness: Robustness | None = None
    examples: Answers | None = None
    concepts: Concepts | None = None
    run: RunInfo = field(default_factory=RunInfo)

    @property
    def checks(self) -> pd.DataFrame:
        """Columns: check, verdict, value, threshold, ci_low, ci_high, why (a message code)."""
        import pandas as pd

        columns = "check verdict value threshold ci_low ci_high why".split()
        rows = [[c.check, c.verdict, c.value, c.threshold, c.ci_low, c.ci_high, c.why.code] for c in self.check_rows]
        return pd.DataFrame(rows, columns=columns)

    def to_frame(self) -> pd.DataFrame:
        return self.checks

    @property
    def exit_code(self) -> int:
        """What the command line exits with; see `exit_code` of this module."""
        return exit_code(self.check_rows)


def exit_code(checks: Iterable[Check]) -> int:
    """0 all declared criteria met or none declared, 1 one failed or the model was changed, 4 one undecided."""
    rows = tuple(checks)
    if any(check.verdict == "fail" and check.kind != "finding" for check in rows):
        return 1
    declared = {check.verdict for check in rows if check.kind == "criterion"}
    return 4 if declared & {"inconclusive", "not_run"} else 0


__all__ = [
    "SECTIONS",
    "Attribution",
    "Audit",
    "Case",
    "Check",
    "Comparison",
    "ComparisonRow",
    "Coverage",
    "Identity",
    "Performance",
]
