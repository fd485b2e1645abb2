"""Attribution methods, as data: one plain function and one entry each.

attribution = attribute(handle, encode(handle, texts), method="integrated_gradients")
attribution[0].words()
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from interpret.analyzers.asked import refuse_unread
from interpret.analyzers.attribution.captured import attribute_capture
from interpret.analyzers.attribution.context_cite import cite
from interpret.analyzers.attribution.gradients import gradient_x_input, integrated_gradients
from interpret.analyzers.attribution.job import Job, Scores
from interpret.analyzers.attribution.lime import lime
from interpret.analyzers.attribution.paths import enters_twice
from interpret.analyzers.attribution.relevance import gradient_attention
from interpret.analyzers.attribution.removal import leave_one_out, occlusion
from interpret.analyzers.attribution.rollout import attention_rollout, rollout
from interpret.analyzers.attribution.sampled import deep_lift, gradient_shap, saliency, smooth_grad
from interpret.analyzers.attribution.shapley import permutation_shap, shap_values
from interpret.analyzers.attribution.value_zeroing import value_zeroing
from interpret.analyzers.attribution.windows import joined, split
from interpret.analyzers.scheduler import Scheduler, features
from interpret.analyzers.target import Target, TargetRequest, resolve_targets
from interpret.errors import UsageError
from interpret.models.handle import ATTRIBUTED, Handle
from interpret.models.inputs import Encoded, unit_index
from interpret.models.kernels import fast_linear
from interpret.models.state import untouched
from interpret.models.units import Unit
from interpret.results.explanations import Attribution, ExampleAttribution, IntArray, TargetRecord, WindowsRead
from interpret.results.record import Scalar

if TYPE_CHECKING:
    import pandas as pd


class Method(NamedTuple):
    """One attribution method: what it runs on, what it costs (F forward, B backward, n words), who described it."""

    function: Callable[..., Scores]
    tasks: tuple[str, ...]
    cost: str
    needs_gradient: bool
    signed: bool
    baseline: str | None
    reference: str


_TASKS: Final[tuple[str, ...]] = ATTRIBUTED
#: Tasks whose output is read where attention can be followed from: at one position of one stack, or at a decoder's.
_FOLLOWED: Final = ("text-classification", "token-classification", "masked-lm", "causal-lm", "seq2seq-lm")
_REMOVED: Final = "content tokens removed (mask token; decoders: end token)"

METHODS: Final[dict[str, Method]] = {
    "integrated_gradients": Method(
        integrated_gradients, _TASKS, "9 to 200 (F + B), about 25", True, True, _REMOVED,
        "Sundararajan et al. 2017, arXiv 1703.01365",
    ),
    "gradient_x_input": Method(
        gradient_x_input, _TASKS, "F + B", True, True, None, "Shrikumar et al. 2016, arXiv 1605.01713"
    ),
    "saliency": Method(saliency, _TASKS, "F + B", True, False, None, "Simonyan et al. 2013, arXiv 1312.6034"),
    "smooth_grad": Method(
        smooth_grad, _TASKS, "32 (F + B)", True, False, None, "Smilkov et al. 2017, arXiv 1706.03825"
    ),
    "gradient_shap": Method(
        gradient_shap, _TASKS, "32 (F + B)", True, True, _REMOVED, "Erion et al. 2021, arXiv 1906.10670"
    ),
    "deep_lift": Method(
        deep_lift, _TASKS, "2 F + B", True, True, _REMOVED, "Shrikumar et al. 2017, arXiv 1704.02685"
    ),
    "shap": Method(
        shap_values, _TASKS, "at most 256 F", False, True, _REMOVED, "Lundberg and Lee 2017, arXiv 1705.07874"
    ),
    "permutation_shap": Method(
        permutation_shap, _TASKS, "10 (2n + 1) F", False, True, _REMOVED,
        "Lundberg and Lee 2017, arXiv 1705.07874; Mitchell et al. 2022, arXiv 2104.12199",
    ),
    "lime": Method(lime, _TASKS, "500 F", False, True, None, "Ribeiro et al. 2016, arXiv 1602.04938"),
    "occlusion": Method(
        occlusion, _TASKS, "at most (n + 1) F", False, True, None, "Zeiler and Fergus 2014, arXiv 1311.2901"
    ),
    "leave_one_out": Method(leave_one_out, _TASKS, "(n + 1) F", False, True, None, "Li et al. 2016, arXiv 1612.08220"),
    "attention_rollout": Method(
        attention_rollout, (*_FOLLOWED, "none"), "F", False, False, None, "Abnar and Zuidema 2020, arXiv 2005.00928"
    ),
    "gradient_attention": Method(
        gradient_attention, _FOLLOWED, "F + B", True, False, None, "Chefer et al. 2021, arXiv 2103.15679"
    ),
    "value_zeroing": Method(
        value_zeroing, (*_FOLLOWED, "none"), "(tokens read and written + 1) F", False, False, None,
        "Mohebbi et al. 2023, arXiv 2301.12971 and 2310.09925",
    ),
}  # fmt: skip


def methods_frame() -> pd.DataFrame:
    """Columns: method, tasks, cost, needs_gradient, reference; also signed and baseline."""
    import pandas as pd

    rows = [
        [name, ", ".join(m.tasks), m.cost, m.needs_gradient, m.reference, m.signed, m.baseline]
        for name, m in METHODS.items()
    ]
    return pd.DataFrame(rows, columns="method tasks cost needs_gradient reference signed baseline".split())


def attribute(
    handle: Handle,
    encoded: Sequence[Encoded],
    *,
    target: TargetRequest | Sequence[Target] = None,
    gold: Sequence[int | str] | None = None,
    method: str = "auto",
    unit: Unit = "word",
    seed: int = 0,
    scheduler: Scheduler | None = None,
    at: int | Sequence[int] | None = None,
    response: str | Sequence[str] | bool | None = None,
    max_new_tokens: int | None = None,
    **options: Any,
) -> Attribution:
    """Signed scores of each token for one logit of the model; quality is not measured here.

    An attribution says what moved this model's output on this text. It does not say that the model is right,
    nor what would happen in the world.

    A text with `windows` is explained window by window, all for the same target, see `attribution/windows.py`.

    Args:
        handle: the attached model; it is left as it was, random streams included, also after an exception.
        encoded: the texts.
        target: what is explained, see `resolve_targets`, or a function of the model's output; targets that are
            already resolved are taken as they are.
        gold: gold labels, for target "gold".
        method: a key of `METHODS`, or "auto": integrated gradients where gradients can be had, else
            leave-one-out.
        unit: what is removed and scored as a whole, "word", "token", "sentence", "segment" or "span", or of a chat
            "message"; words and spans are those of `encoded`.
        seed: of the methods that sample, and recorded for all; a text's samples are those it has alone.
        scheduler: rows that were run are shared with other analyses through it.
        at: which word's class, which mask or which written token is explained, see `resolve_targets`.
        response: what was written, or True to let the model write it, see `resolve_targets`.
        max_new_tokens: of a response that the model writes; None is 20.
        **options: the method's own keyword arguments.

    Raises:
        UsageError: unknown method or option, a task the method does not serve, or a label the model does not
            have.
    """
    known = ", ".join(METHODS)
    picked = "integrated_gradients" if gradients_available(handle) else "leave_one_out"
    name = picked if method == "auto" else method
    if name not in METHODS:
        raise UsageError(f"no attribution method {method!r}; there are auto, {known}")
    chosen = METHODS[name]
    # A function may read what a model without a head returns, where texts are all that it takes.
    stacks = handle.stacks
    reads_output = callable(target) and len(stacks) == 1 and stacks[0].layout.modality == "text"
    if handle.task == "none" and "none" not in chosen.tasks and not reads_output:
        raise UsageError(
            f"{handle.name} has no head ({handle.architecture}), so there is no output for {name} to explain; "
            "give a model with a classification or language-model head, or of one that reads texts a function of what "
            "it returns as target="
        )
    if handle.task not in chosen.tasks and not (reads_output and handle.task == "none"):
        raise UsageError(f"{name} explains {', '.join(chosen.tasks)}, and {handle.name} is loaded for {handle.task!r}")
    _check_options(name, chosen, options)
    scheduler = scheduler or Scheduler(handle)
    with untouched(handle.model, handle.tokenizer):
        if handle.task == "none" and not reads_output:
            refuse_unread(handle, at=at, response=response, max_new_tokens=max_new_tokens)
            targets: list[Target] = []
        elif isinstance(target, list | tuple) and target and all(isinstance(t, Target) for t in target):
            targets = list(target)
        else:
            targets = resolve_targets(
                handle,
                encoded,
                target,  # type: ignore[arg-type]
                gold,
                at=at,
                response=response,
                max_new_tokens=max_new_tokens,
            )
        for parameter in handle.model.parameters():
            # Only the gradient with respect to the embedding's output is needed.
            parameter.requires_grad_(False)
        made = split(encoded, targets, unit)
        groups = [
            # Of a window, units are those of its text.
            features(e, unit if whole.windows is None else "word", target.protected if target else None)
            for e, whole, target in made.read()
        ]
        job = Job(handle, made.encoded, made.targets, groups, scheduler, seed)
        with fast_linear(handle):
            ran = chosen.function(job, **options)
        found, read = joined(made, ran)
    recorded: dict[str, Scalar] = {**found.options, "seed": seed}
    if method == "auto":
        recorded["auto"] = name
    return Attribution(
        examples=tuple(
            _example(e, targets[i].record(handle, e) if targets else None, found, i, name, unit, read[i])
            for i, e in enumerate(encoded)
        ),
        method=name,
        unit=unit,
        options=recorded,
    )


def gradients_available(handle: Handle) -> bool:
    """Whether the weights are floating point (quantised ones carry no gradient that could be trusted), and where."""
    if getattr(handle.core, "is_quantized", False) or enters_twice(handle):
        return False
    return all(parameter.is_floating_point() for parameter in handle.model.parameters())


def _check_options(name: str, method: Method, options: dict[str, Any]) -> None:
    signature = inspect.signature(method.function)
    takes = [p.name for p in signature.parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    for option in options:
        if option not in takes:
            offers = f"takes {', '.join(takes)}" if takes else "takes no options"
            raise UsageError(f"{name} has no option {option!r}; it {offers}")


def _example(
    e: Encoded,
    target: TargetRecord | None,
    found: Scores,
    i: int,
    method: str,
    unit: Unit,
    windows: WindowsRead | None,
) -> ExampleAttribution:
    n = len(e.ids)
    special = np.asarray(e.special, dtype=bool)
    return ExampleAttribution(
        text=e.text,
        tokens=e.tokens,
        token_ids=np.asarray(e.ids, dtype=np.int64),
        scores=found.scores[i],
        word_index=np.asarray(unit_index(e, unit), dtype=np.int64),
        char_spans=np.asarray(e.char_spans, dtype=np.int64).reshape(n, 2),
        special=special,
        target=TargetRecord(kind="external") if target is None else target,
        method=method,
        unit=unit,
        value=found.values[i],
        baseline_value=found.baseline_values[i],
        convergence_delta=found.deltas[i],
        n_truncated=e.n_truncated,
        pair_start=e.pair_start,
        chat=e.chat,
        unit_spans=_unit_spans(e, unit),
        windows=windows,
    )


def _unit_spans(e: Encoded, unit: Unit) -> IntArray | None:
    if unit != "span" or e.unit_spans is None:
        return None
    return np.asarray(e.unit_spans, dtype=np.int64).reshape(-1, 2)


__all__ = [
    "METHODS",
    "Method",
    "attribute",
    "attribute_capture",
    "cite",
    "gradients_available",
    "methods_frame",
    "rollout",
]
