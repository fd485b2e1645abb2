"""What causes an answer, as verbs: activation patching, ablation, the logit lens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

from interpret.analyzers.intervention import ablate as run_ablate
from interpret.analyzers.intervention import direct_logit_attribution as run_direct
from interpret.analyzers.intervention import lens as run_lens
from interpret.analyzers.intervention import patch as run_patch
from interpret.analyzers.intervention import patch_pairs as run_patch_pairs
from interpret.analyzers.intervention.pairs import Alignment
from interpret.analyzers.target import TargetRequest
from interpret.errors import UsageError
from interpret.facade.attaching import ModelLike, as_model
from interpret.models.inputs import Text, encode
from interpret.readers.chats import Chat, is_chat
from interpret.results.interventions import (
    AblationSweep,
    Direction,
    EffectMetric,
    LensReading,
    LogitParts,
    Operator,
    PatchSweep,
)
from interpret.results.patch_sweeps import Average, PatchSweeps

#: Several texts; a list of mappings is one chat.
Texts = list[str] | list[tuple[str, str]] | list[Chat]


@overload
def patch(
    model: ModelLike,
    clean: Text,
    corrupted: Text,
    *,
    site: str = ...,
    per: Literal["position", "head"] | None = ...,
    direction: Direction = ...,
    metric: EffectMetric = ...,
    target: TargetRequest = ...,
    at: int | None = ...,
    layers: Sequence[int] | None = ...,
    align: Sequence[tuple[int, int]] | None = ...,
) -> PatchSweep: ...


@overload
def patch(
    model: ModelLike,
    clean: Texts,
    corrupted: Texts,
    *,
    site: str = ...,
    per: Literal["position", "head"] | None = ...,
    direction: Direction = ...,
    metric: EffectMetric = ...,
    target: TargetRequest = ...,
    at: int | Sequence[int] | None = ...,
    layers: Sequence[int] | None = ...,
    align: Alignment | None = ...,
    average: Average = ...,
    n_bootstrap: int = ...,
    seed: int = ...,
) -> PatchSweeps: ...


def patch(
    model: ModelLike,
    clean: Text | Texts,
    corrupted: Text | Texts,
    *,
    site: str = "resid_post",
    per: Literal["position", "head"] | None = None,
    direction: Direction = "denoising",
    metric: EffectMetric = "logit_difference",
    target: TargetRequest = None,
    at: int | Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
    align: Alignment | None = None,
    average: Average = "ratio_of_means",
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> PatchSweep | PatchSweeps:
    """Where in the model the difference between two texts is carried: activation patching, swept over layers.

    A patch shows what suffices (denoising) or is needed (noising) for the answers to this pair of texts, not for
    others; where parts stand in for each other, neither direction shows all of them.

    With lists of texts every pair is swept, and the record holds the sweeps and their effects over all pairs with 95%
    bootstrap intervals (from 5 pairs on). Pairs whose two texts are answered alike are left out and counted. Without
    heads the pairs must have as many tokens, so that a position is the same place in all: texts of one template.

    Args:
        model: attached model, path, hub id or pipeline; a classifier of texts or words, a masked or a causal language
            model with one stack of blocks.
        clean: the text with the answer that is explained, or a list of them.
        corrupted: the same text with another answer, of as many tokens, or a list with one for each.
        site: what is put from one run into the other: "resid_post", "attn_out", "mlp_out", "z" or another site with
            layers and positions.
        per: sweep over each "position" or each "head"; None takes heads of z, q, k and v, else positions.
        direction: "denoising" puts clean activations into the corrupted run, "noising" the other way round.
        metric: "logit_difference", "logit", "probability" or "log_probability" of the target, or "kl", that of the
            patched run from the clean one in nats.
        target: a label or token, or a pair of them; None takes the clean prediction rather than the corrupted one. Of
            several pairs a list may have one for each.
        at: which word (of a classifier of words) or mask is read, counted from 0; of several pairs one or one for each.
        layers: only these, counted from 0.
        align: pairs of positions (in the clean text, in the corrupted one) that belong together, for texts of
            different lengths; what is not named is never patched. Of several pairs of texts one list of them, or one
            for each with as many places.
        average: of several pairs, "ratio_of_means": the summed change that patches make as a share of the summed
            difference of the two runs, so that a pair counts by its difference and one whose texts hardly differ
            cannot outweigh the others; or "mean_of_shares": the mean of each pair's own share.
        n_bootstrap: resamples of the pairs, for the intervals.
        seed: of the resamples.

    Raises:
        UsageError: texts of different lengths without `align`, pairs of different lengths by position, or an unfit
            model, site, metric or target.
        InconclusiveError: both texts give the same (of several: in every pair), so there is no difference to trace.

    Reference: Wang et al. 2022, arXiv 2211.00593, for the average over pairs.
    """
    handle = as_model(model).handle
    several = _are_several(clean), _are_several(corrupted)
    if several[0] != several[1]:
        raise UsageError("clean and corrupted must both be one text, or both be lists of texts")
    options: dict[str, Any] = {
        "site": site,
        "per": per,
        "direction": direction,
        "metric": metric,
        "target": target,
        "at": at,
        "layers": layers,
        "align": align,
    }
    if not several[0]:
        texts = encode(handle, [clean, corrupted])  # type: ignore[list-item]
        return run_patch(handle, texts[0], texts[1], **options)
    lists: list[list[Any]] = [list(clean), list(corrupted)]
    cleans, corrupteds = (encode(handle, listed) if listed else [] for listed in lists)
    return run_patch_pairs(handle, cleans, corrupteds, average=average, n_bootstrap=n_bootstrap, seed=seed, **options)


def _are_several(given: object) -> bool:
    """Whether these are texts, and not one: a tuple is a text of two parts, a list of mappings a chat."""
    return not isinstance(given, str | tuple) and not is_chat(given)


def ablate(
    model: ModelLike,
    texts: Text | Sequence[Text],
    *,
    parts: Sequence[Literal["head", "mlp"]] = ("head", "mlp"),
    operator: Operator = "mean",
    metric: EffectMetric | None = None,
    target: TargetRequest = None,
    gold: Sequence[int | str] | None = None,
    at: int | Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
    reference: Sequence[Text] | None = None,
    n_draws: int = 3,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> AblationSweep:
    """What the answers to texts lose without each head and each mlp, with intervals over the texts.

    Parts that stand in for each other show little effect one by one, and an effect says what a part does in this model
    on these texts, not what the model would have learned without it.

    Args:
        model: attached model, path, hub id or pipeline; a classifier of texts or words, a masked or a causal language
            model with one stack of blocks.
        texts: one text or several; from 5 on there are intervals.
        parts: "head", "mlp", or both.
        operator: what stands in a part's place at every position: its "mean" over all tokens of the reference,
            "zero" (harsher than it looks, since the model may never see it), or tokens drawn from the reference
            ("resample").
        metric: "logit_difference", "logit", "probability", "log_probability", or "kl" of the output without the part
            from the plain one; None takes the logit of the target, of a pair the difference: shares saturate, and say
            least about the clearest texts.
        target: a label or token, a pair of them, "gold", or a list with one per text; None takes what is predicted.
        gold: labels of the texts, for `target="gold"`.
        at: which word (of a classifier of words) or mask is read, counted from 0.
        layers: only these, counted from 0.
        reference: texts for means and draws; None takes the texts themselves.
        n_draws: how often "resample" draws; effects are means over draws.
        n_bootstrap: resamples of the texts, for the intervals.
        seed: of draws and resamples.

    Raises:
        UsageError: no text, or an unfit model, part, operator, metric or target.
    """
    handle = as_model(model).handle
    listed: list[Any] = [texts] if isinstance(texts, str | tuple) else list(texts)
    return run_ablate(
        handle,
        encode(handle, listed),
        parts=parts,
        operator=operator,
        metric=metric,
        target=target,
        gold=gold,
        at=at,
        layers=layers,
        reference=None if reference is None else encode(handle, list(reference)),
        n_draws=n_draws,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )


def lens(model: ModelLike, text: Text, target: int | str | None = None) -> LensReading:
    """The logit lens: what the model's own norm and head say of every layer at every position of a text.

    The head was made for the last layer: a blurred reading of an early layer does not show that the answer is not
    there, and a clear one is not shown to be used.

    Args:
        model: attached model, path, hub id or pipeline; a classifier of texts (read through its pooler and classifier)
            or words, a masked or a causal language model with one stack of blocks.
        text: one text.
        target: a label or token whose rank is followed; None takes what the model finally says at each position.

    Raises:
        UsageError: the head reads more than one position at once, or the model cannot begin after its blocks.
    """
    handle = as_model(model).handle
    return run_lens(handle, encode(handle, [text])[0], target)


def direct_logit_attribution(
    model: ModelLike, text: Text, target: TargetRequest = None, *, at: int | None = None, heads: bool = True
) -> LogitParts:
    """The target's logit as a sum of what embeddings, heads and mlps write, norms held as they are.

    It counts only what a part writes for the head itself to read: what it does through later layers is theirs. Of a
    head that is not linear, the parts sum to the gradient of the logit times the stream, and the remainder is given.

    Args:
        model: attached model, path, hub id or pipeline; a classifier of texts or words, a masked or a causal language
            model with one stack of blocks.
        text: one text.
        target: a label or token, or a pair of them for their difference; None takes what is predicted.
        at: which word (of a classifier of words) or mask is read, counted from 0.
        heads: split the output of attention by heads.

    Raises:
        UsageError: the head reads several positions, a norm cannot be held, or the parts do not sum to the stream.
    """
    handle = as_model(model).handle
    return run_direct(handle, encode(handle, [text])[0], target, at=at, heads=heads)
