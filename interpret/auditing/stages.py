"""The stages of an audit in the order they run: one entry each."""

from __future__ import annotations

from typing import Final

from interpret.analyzers.attribution import gradients_available
from interpret.analyzers.probing import probe
from interpret.analyzers.target import class_names
from interpret.auditing.attention import MAX_CASES, attention_section, n_ablated
from interpret.auditing.base_stages import (
    comparison,
    comparison_costs,
    explanation_change_costs,
    explanation_changes,
    n_moved,
)
from interpret.auditing.comparing import Compared
from interpret.auditing.comparing_explanations import ExplanationChanges
from interpret.auditing.concepts import concepts
from interpret.auditing.concepts import costs as concept_costs
from interpret.auditing.concepts import why_not as concepts_why_not
from interpret.auditing.costs import attributed, probe_costs, quality_costs, ranked
from interpret.auditing.explaining import Explained, explain, explanation_quality, shown_cases, words_used
from interpret.auditing.features import text_features
from interpret.auditing.identity import capture_logit_difference
from interpret.auditing.performance import performance
from interpret.auditing.predicting import Predictions, predict
from interpret.auditing.robustness.measure import TASKS as ROBUSTNESS_TASKS
from interpret.auditing.robustness.stage import robustness
from interpret.auditing.shortcut_words import ShortcutConfig, find_shortcuts
from interpret.auditing.slicing import MIN_SLICED, find_slices
from interpret.auditing.stage import Cost, Count, Run, Scope, Stage, several_stacks
from interpret.auditing.task_metrics import answering, foretelling, tagging
from interpret.errors import InconclusiveError
from interpret.readers.probe_data import ProbeData
from interpret.results.audits import (
    AttentionSummary,
    Case,
    ExplanationQuality,
    Performance,
    WordImportance,
)
from interpret.results.concepts import Concepts
from interpret.results.probes import ProbeResult
from interpret.results.record import Message
from interpret.results.robustness import Robustness
from interpret.results.shortcuts import Shortcuts
from interpret.results.slices import FoundSlices
from interpret.statistics.intervals import MIN_BOOTSTRAP

#: Tasks whose answers are right or wrong, text by text.
_SCORED: Final = ("text-classification", "token-classification", "question-answering", "seq2seq-lm")
#: Tasks whose model is one stack that reads the text.
_ONE_STACK: Final = ("text-classification", "token-classification", "question-answering", "causal-lm", "masked-lm")

# --- why a stage does not apply


def _unlabelled(scope: Scope) -> Message | None:
    task, examples = scope.handle.task, scope.examples
    if task == "masked-lm":
        return _unsupported(scope)
    if task in ("text-classification", "seq2seq-lm") and examples.gold is None and examples.references is None:
        return Message(code="section.no_labels")
    return None


def _unscored(scope: Scope) -> Message | None:
    """Of what comes next nothing is known to be right."""
    return _unlabelled(scope) or _unsupported(scope, *_SCORED)


def _unsupported(scope: Scope, *tasks: str) -> Message | None:
    """Said of a stage that serves `tasks` only."""
    if scope.handle.task in tasks:
        return None
    return Message(code="section.task_not_supported", params={"task": scope.handle.task})


def _no_probes(scope: Scope) -> Message | None:
    if scope.classifies and scope.examples.gold is None:
        return Message(code="section.no_labels")
    why = _unsupported(scope, "text-classification", "token-classification") or _none_asked(scope, "probed")
    return why or several_stacks(scope)


def _without_base(scope: Scope) -> Message | None:
    return Message(code="section.no_base") if scope.base is None else None


def _none_asked(scope: Scope, key: str) -> Message | None:
    """Said where the configuration, or a time budget, leaves nothing to do."""
    return Message(code="section.none_asked", params={"key": key}) if getattr(scope.config, key) == 0 else None


def _too_few_for_attention(scope: Scope) -> Message | None:
    n = scope.sampled("attention")
    if n >= MIN_BOOTSTRAP:
        return _unsupported(scope, *_ONE_STACK) or several_stacks(scope)
    return _none_asked(scope, "attention") or Message(code="section.too_few", params={"n": n, "needed": MIN_BOOTSTRAP})


def _no_shortcuts(scope: Scope) -> Message | None:
    return _unsupported(scope, "text-classification") or _none_asked(scope, "shortcut_texts")


# --- what a stage costs


def _explained(scope: Scope) -> int:
    errors = scope.config.errors_shown if _unlabelled(scope) is None and scope.handle.task != "causal-lm" else 0
    return min(len(scope), scope.config.explained + errors + n_moved(scope))


def _explaining_costs(scope: Scope) -> Cost:
    rows = ranked(scope)
    if scope.config.method in ("leave_one_out", "occlusion"):
        # Texts without one word are rows of the rankings too.
        rows = max(1.0, rows - min(scope.config.random_rankings, scope.n_words))
    return (attributed(scope, scope.config.method) + Cost(forward=rows)) * _explained(scope)


# --- what a stage does


def _difference(run: Run) -> float:
    observed = run.sample(range(len(run)), max(1, run.config.attention), stream=10)
    return capture_logit_difference(run.handle, [run.encoded[i] for i in observed])


def _performance(run: Run) -> Performance:
    predictions: Predictions = run.results["predictions"]
    options = {"seed": run.seed, "n_bootstrap": run.config.bootstraps}
    match run.handle.task:
        case "token-classification":
            result = tagging(predictions, class_names(run.handle), **options)
        case "question-answering":
            result = answering(predictions, **options)
        case "causal-lm" | "seq2seq-lm":
            result = foretelling(predictions, written=run.handle.task == "seq2seq-lm", **options)
        case _:
            gold = run.examples.gold
            assert gold is not None
            slices = run.examples.slices
            result = performance(predictions.probabilities, gold, run.handle.labels, slices, **options)
    run.done("performance")
    return result


def _slices(run: Run) -> FoundSlices | None:
    """Features of the texts on which more answers are wrong; also whether there were slices to begin with."""
    predictions: Predictions = run.results["predictions"]
    given = run.results["performance"] is not None and bool(run.results["performance"].slices)
    found = None
    if predictions.right is not None and len(run) >= MIN_SLICED:
        texts = run.examples.texts
        found = find_slices(texts, predictions.right, text_features(texts), seed=run.seed)
    if given:
        run.done("slices")
    elif found is None:
        run.not_run("slices", "section.no_slices")
    else:
        run.partial("slices", "section.slices_looked_for", n=found.n_screened)
    return found


def _attention(run: Run) -> AttentionSummary:
    return attention_section(run, run.results["cases"] or ())


def _attention_costs(scope: Scope) -> Cost:
    n = scope.sampled("attention")
    n_heads = scope.handle.n_layers * scope.handle.n_heads
    taken = n_ablated(n, n_heads, scope.config.ablated)
    # What is explained and its value as it is, the outputs of heads and the stream, and each head taken out: at most
    # that, since most models begin at the layer of the head.
    return Cost(captured=n + min(len(scope), MAX_CASES) + taken * 2, forward=taken * (n_heads + 2))


def _probes(run: Run) -> ProbeResult | None:
    """Where the audited label itself can be read off, layer by layer."""
    numbers = run.sample(range(len(run)), run.config.probed, stream=110)
    examples = run.examples.take(numbers)
    named = {"name": examples.name, "task": examples.label_column or "label"}
    if examples.words is not None and examples.tags is not None:
        data = ProbeData.of_words(examples.words, examples.tags, **named)
    else:
        assert examples.gold is not None
        data = ProbeData.of_texts(examples.texts, [run.handle.labels[int(i)] for i in examples.gold], **named)
    try:
        result = probe(run.handle, data, seed=run.seed, n_bootstrap=run.config.bootstraps, progress=run.progress)
    except InconclusiveError as err:
        run.not_run("probes", "section.probe_inconclusive", why=err.code)
        return None
    run.partial("probes", "section.probe_labels_only", n=len(numbers))
    return result


def _shortcut_method(scope: Scope) -> str:
    """The cheaper of two that both say what a word does to the class, unless one is named."""
    if scope.config.shortcut_method != "auto":
        return scope.config.shortcut_method
    return "leave_one_out" if scope.n_words < 60 or not gradients_available(scope.handle) else "integrated_gradients"


def _shortcut_split(scope: Scope) -> tuple[int, int]:
    """Texts to find words in, and others to check them on."""
    explained = min(scope.sampled("shortcut_texts"), max(1, len(scope) * 6 // 10))
    return explained, min(scope.config.shortcut_texts, len(scope) - explained)


def _shortcut_costs(scope: Scope) -> Cost:
    explained, held_out = _shortcut_split(scope)
    one = attributed(scope, _shortcut_method(scope))
    # Five words, each put into some texts beside another word, and taken out of those that hold it. Rows without one
    # word are shared with the rankings.
    checked = 5 * 2 * min(50, held_out)
    return one * explained + Cost(forward=0.8 * min(50, explained) * ranked(scope) + checked, seconds=0.5)


def _shortcuts(run: Run) -> Shortcuts | None:
    """Words the model leans on, found in one part of the texts and checked in another."""
    explained, held_out = _shortcut_split(run)
    config = ShortcutConfig(
        method=_shortcut_method(run),
        explained=explained,
        held_out=held_out,
        bootstraps=run.config.bootstraps,
    )
    try:
        return find_shortcuts(run.handle, run.examples, config=config, seed=run.seed)
    except InconclusiveError:
        run.lacks("global_attribution", "section.no_shortcuts")
        return None


def _robustness_costs(scope: Scope) -> Cost:
    # Ten to twelve ways of writing apply to a text, and each is explained for some of them.
    n = scope.sampled("perturbed")
    explained = min(n, scope.config.perturbed_explained)
    return Cost(forward=12 * n, seconds=2e-3 * n) + attributed(scope, scope.config.method) * (2 * explained)


STAGES: Final[tuple[Stage, ...]] = (
    Stage(
        name="capture",
        sections=(),
        result=float,
        run=_difference,
        count=lambda scope: max(1, scope.sampled("attention")),
        cost=lambda scope: Cost(plain=1, captured=1) * max(1, scope.sampled("attention")),
    ),
    Stage(
        name="predictions",
        sections=(),
        result=Predictions,
        run=predict,
        cost=lambda scope: Cost(plain=len(scope)),
    ),
    Stage(
        name="performance",
        sections=("performance",),
        result=Performance | None,
        run=_performance,
        why_not=_unlabelled,
        # Calibration sorts the examples anew for every resample.
        cost=lambda scope: Cost(seconds=scope.config.bootstraps * (3e-4 + 2e-7 * len(scope))),
    ),
    Stage(
        name="slices",
        sections=("slices",),
        result=FoundSlices | None,
        run=_slices,
        why_not=_unscored,
        cost=lambda scope: Cost(seconds=2e-5 * len(scope) * scope.n_words),
    ),
    Stage(
        name="comparison",
        sections=("comparison",),
        result=Compared | None,
        run=comparison,
        why_not=_without_base,
        cost=comparison_costs,
        counts=(
            Count("base_attention", "comparison", MIN_BOOTSTRAP),
            Count("base_activations", "comparison", 20),
        ),
    ),
    Stage(
        name="explanations",
        sections=(),
        result=Explained,
        run=explain,
        count=_explained,
        cost=_explaining_costs,
        counts=(
            Count("explained", "explanation_quality", MIN_BOOTSTRAP, droppable=False),
            Count("errors_shown", "cases", MIN_BOOTSTRAP),
            Count("moved_shown", "cases", MIN_BOOTSTRAP),
        ),
    ),
    Stage(
        name="explanation_changes",
        sections=(),
        result=ExplanationChanges | None,
        run=explanation_changes,
        why_not=_without_base,
        count=lambda scope: min(scope.sampled("explained"), scope.config.base_explained),
        cost=explanation_change_costs,
        counts=(Count("base_explained", "comparison", MIN_BOOTSTRAP),),
    ),
    Stage(
        name="words",
        sections=("global_attribution",),
        result=tuple[WordImportance, ...],
        run=words_used,
        # Words that speak for a class are asked for; places in a context and whole texts are no classes.
        why_not=lambda scope: _unsupported(
            scope, "text-classification", "token-classification", "causal-lm", "masked-lm"
        ),
        count=lambda scope: scope.sampled("explained"),
    ),
    Stage(
        name="shortcuts",
        sections=(),
        result=Shortcuts | None,
        run=_shortcuts,
        why_not=_no_shortcuts,
        count=lambda scope: _shortcut_split(scope)[0],
        cost=_shortcut_costs,
        counts=(Count("shortcut_texts", "global_attribution", 40),),
    ),
    Stage(
        name="explanation_quality",
        sections=("explanation_quality",),
        result=ExplanationQuality,
        run=explanation_quality,
        count=lambda scope: scope.sampled("explained"),
        cost=quality_costs,
        counts=(
            Count("compared", "explanation_quality", MIN_BOOTSTRAP),
            Count("randomised", "explanation_quality", MIN_BOOTSTRAP),
        ),
    ),
    Stage(
        name="cases",
        sections=("cases",),
        result=tuple[Case, ...],
        run=shown_cases,
        count=_explained,
    ),
    Stage(
        name="attention",
        sections=("attention",),
        result=AttentionSummary | None,
        run=_attention,
        why_not=_too_few_for_attention,
        count=lambda scope: scope.sampled("attention"),
        cost=_attention_costs,
        counts=(Count("attention", "attention", MIN_BOOTSTRAP), Count("ablated", "attention", MIN_BOOTSTRAP)),
    ),
    Stage(
        name="probes",
        sections=("probes",),
        result=ProbeResult | None,
        run=_probes,
        why_not=_no_probes,
        count=lambda scope: scope.sampled("probed"),
        cost=probe_costs,
        counts=(Count("probed", "probes", 200),),
    ),
    Stage(
        name="concepts",
        sections=(),
        result=Concepts | None,
        run=concepts,
        why_not=concepts_why_not,
        count=lambda scope: scope.sampled("probed"),
        cost=concept_costs,
    ),
    Stage(
        name="robustness",
        sections=("robustness",),
        result=Robustness | None,
        run=robustness,
        why_not=lambda scope: _unsupported(scope, *ROBUSTNESS_TASKS) or _none_asked(scope, "perturbed"),
        count=lambda scope: scope.sampled("perturbed"),
        cost=_robustness_costs,
        counts=(
            Count("perturbed", "robustness", 40),
            Count("perturbed_explained", "robustness", MIN_BOOTSTRAP),
        ),
    ),
)
