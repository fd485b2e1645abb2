"""ContextCite: which sources of its context made a causal language model write a response.

found = cite(handle, "Who made it?", context=report)
found[0].words(), found.options["lds"], found[0].target.label
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from interpret.analyzers.responses import responses_of
from interpret.errors import UsageError
from interpret.models.batching import Row
from interpret.models.chats import Rendered, render
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, continued, encode, encode_rendered
from interpret.models.parts import argument_names
from interpret.models.prefixes import run_prefixed
from interpret.models.sentences import sentence_spans
from interpret.models.state import untouched
from interpret.models.words import Span
from interpret.readers.chats import Chat, checked
from interpret.results.explanations import (
    Attribution,
    BoolArray,
    ExampleAttribution,
    FloatArray,
    IntArray,
    TargetRecord,
)
from interpret.results.record import Scalar

_NAME: Final = "context_cite"
TEMPLATE: Final = "Context: {context}\n\nQuery: {query}\n\nAnswer:"
#: Of a chat: its template says that an answer follows.
CHAT_TEMPLATE: Final = "Context: {context}\n\nQuery: {query}"
#: Between sources that are given one by one.
_BETWEEN: Final = "\n\n"
#: Logits of the response in one batch.
_LOGITS: Final = 2**24


def cite(
    handle: Handle,
    query: str | Chat,
    *,
    context: str | None = None,
    sources: Sequence[str] | None = None,
    response: str | None = None,
    template: str | None = None,
    n_masks: int = 64,
    keep: float = 0.5,
    alpha: float = 0.01,
    n_held_out: int = 32,
    top: Sequence[int] = (1, 3, 5),
    max_new_tokens: int = 64,
    seed: int = 0,
) -> Attribution:
    """How much each source of a context adds to the logit of the probability of the whole response.

    A sparse linear stand-in for the model, fitted to prompts from which random halves of the sources are gone. It
    says what the response hung on, not whether the response is right or the source true; of sources that say
    the same each gets part of the credit or none. Read it with its measured quality, which is recorded:
    `options["lds"]`, Spearman's correlation (-1 to 1) of what it predicts and what the model does with other
    sources gone (None where either is constant), and `options["top_1_drop"]` and so on, by how many nats the
    response's log probability falls when the highest sources go.

    Args:
        handle: a causal language model; it is left as it was.
        query: what is asked of the context; or a chat, whose last message asks it and is given the context.
        context: a text, whose sentences are the sources; or give `sources`.
        sources: the sources one by one; they stand in the prompt with an empty line between.
        response: what is explained, as it follows the prompt, its leading space included; None lets the model
            write it, greedily and without its end token.
        template: the prompt, or the last message of the chat, with "{context}" once and "{query}"; None takes
            `TEMPLATE` or `CHAT_TEMPLATE`.
        n_masks: prompts that the stand-in is fitted to.
        keep: chance of a source to stay in one.
        alpha: the LASSO's penalty, on the logit divided by the response's number of tokens.
        n_held_out: further prompts, for the LDS.
        top: how many of the highest sources go together, once each; those above the number of sources are left out.
        max_new_tokens: written at most.
        seed: of the masks.

    Returns:
        One example: the prompt with the response. Its units are the sources: `words()` gives one entry for each,
        with its weight in logits; all other tokens score 0 and belong to none. `value` is the logit with every source
        there.

    Raises:
        UsageError: no causal language model, no source, a template without its two places, or a prompt and
            response that do not fit the model's window.

    Reference: Cohen-Wang et al. 2024, arXiv 2409.00729, section 3 and appendix. Sources are removed by leaving out
    their ids from those of the whole prompt, so that what remains is never tokenised differently.
    """
    _check(handle, n_masks, keep, alpha, n_held_out, response)
    if isinstance(query, str):
        prompt: str | Rendered
        prompt, spans = _laid_out(query, context, sources, TEMPLATE if template is None else template)
    else:
        prompt, spans = _in_chat(handle, query, context, sources, CHAT_TEMPLATE if template is None else template)
    with untouched(handle.model, handle.tokenizer):
        whole, start = _with_response(handle, prompt, response, max_new_tokens)
        if start >= len(whole.ids):
            raise UsageError("the response has no tokens (a model may end a text at once); give one as response=")
        owner = _owners(whole, spans, start)
        n_tokens, n_sources = len(whole.ids) - start, len(spans)
        rng = np.random.default_rng(seed)
        drawn: BoolArray = rng.random((n_masks + n_held_out, n_sources)) < keep
        fitted_on, held_out = drawn[:n_masks], drawn[n_masks:]
        everything = np.ones((1, n_sources), dtype=bool)
        log_p = log_probabilities(handle, _rows(whole, owner, np.vstack([everything, drawn])), n_tokens)
        logit = log_odds(log_p)
        weights, bias = fit(fitted_on, logit[1 : n_masks + 1], n_tokens, alpha)
        order = np.argsort(-weights, kind="stable")
        counts = [k for k in top if 1 <= k <= n_sources]
        without = np.array([[s not in order[:k] for s in range(n_sources)] for k in counts], dtype=bool)
        left = log_probabilities(handle, _rows(whole, owner, without.reshape(-1, n_sources)), n_tokens)
    options: dict[str, Scalar] = {
        "n_sources": n_sources,
        "n_tokens": n_tokens,
        "n_masks": n_masks,
        "keep": keep,
        "alpha": alpha,
        "n_held_out": n_held_out,
        "lds": _spearman(held_out @ weights + bias, logit[n_masks + 1 :]),
        **{f"top_{k}_drop": float(log_p[0] - value) for k, value in zip(counts, left, strict=True)},
        "seed": seed,
    }
    # What separates two sources goes with the first and is shown with neither.
    blank = np.array([not whole.text[start:end].strip() for start, end in whole.char_spans])
    owner = np.where(blank, -1, owner)
    sizes = np.bincount(owner[owner >= 0], minlength=n_sources)
    example = ExampleAttribution(
        text=whole.text,
        tokens=whole.tokens,
        token_ids=np.asarray(whole.ids, dtype=np.int64),
        scores=np.where(owner >= 0, (weights / np.maximum(sizes, 1))[owner], 0.0),
        word_index=owner,
        char_spans=np.asarray(whole.char_spans, dtype=np.int64).reshape(len(whole.ids), 2),
        special=np.asarray(whole.special, dtype=bool),
        target=TargetRecord(
            kind="response",
            label=whole.text[len(_text(prompt)) :],
            chosen="predicted" if response is None else "given",
        ),
        method=_NAME,
        unit="sentence" if sources is None else "source",
        value=float(logit[0]),
        chat=whole.chat,
    )
    return Attribution(examples=(example,), method=_NAME, unit=example.unit, options=options)


class Fitted(NamedTuple):
    """The linear stand-in, in logits: `weights` [source] and `bias`."""

    weights: FloatArray
    bias: float


def fit(kept: BoolArray, logit: FloatArray, n_tokens: int, alpha: float) -> Fitted:
    """LASSO of the logit per token on standardised masks `[mask, source]`, scaled back to logits of the whole."""
    from sklearn.linear_model import Lasso
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    x = scaler.fit_transform(kept.astype(np.float64))
    lasso = Lasso(alpha=alpha, max_iter=10_000).fit(x, logit / n_tokens)
    weights: FloatArray = lasso.coef_ / scaler.scale_
    bias = float(lasso.intercept_ - scaler.mean_ @ weights)
    return Fitted(weights * n_tokens, bias * n_tokens)


def log_odds(log_p: FloatArray) -> FloatArray:
    """The logit log p - log(1 - p) from log p, without losing either end: near 0 by expm1, far below by log1p."""
    # A probability that rounds to 1 still has odds.
    below = np.minimum(log_p, -np.finfo(np.float64).eps)
    near = below > -np.log(2.0)
    rest = np.where(
        near, np.log(-np.expm1(np.where(near, below, -1.0))), np.log1p(-np.exp(np.where(near, -1.0, below)))
    )
    odds: FloatArray = below - rest
    return odds


def log_probabilities(handle: Handle, rows: Sequence[Row], n_tokens: int) -> FloatArray:
    """Log probability (nats) of the last `n_tokens` tokens of each row after those before them; `[row]`."""
    distinct = {row: number for number, row in enumerate(dict.fromkeys(rows))}
    ordered = list(distinct)
    parameters = argument_names(handle.core)

    def step(batch: dict[str, Any], indices: list[int], start: int) -> FloatArray:
        ids = batch["input_ids"]
        ends = torch.tensor([len(ordered[index].ids) - start for index in indices], device=ids.device)
        columns = ends[:, None] - n_tokens - 1 + torch.arange(n_tokens, device=ids.device)
        written = ids.gather(1, columns + 1)
        extra: dict[str, object] = {**handle.without_cache}
        if "logits_to_keep" in parameters:
            kept, columns = torch.unique(columns, return_inverse=True)
            extra["logits_to_keep"] = kept
        with torch.no_grad():
            out: Tensor = handle.model(**batch, **extra).logits
        columns, written = columns.to(out.device), written.to(out.device)
        out = out[torch.arange(len(indices), device=out.device)[:, None], columns].double()
        found = out.log_softmax(dim=-1).gather(2, written[:, :, None]).sum(dim=(1, 2))
        numbers: FloatArray = found.cpu().numpy()
        return numbers

    values = np.zeros(len(ordered))
    most = max(1, _LOGITS // (handle.vocab_size * n_tokens))
    first = [len(row.ids) - n_tokens - 1 for row in ordered]
    for indices, found in run_prefixed(handle, ordered, first, step, max_batch=most):
        values[indices] = found
    return values[[distinct[row] for row in rows]]


def _check(handle: Handle, n_masks: int, keep: float, alpha: float, n_held_out: int, response: str | None) -> None:
    if handle.task != "causal-lm":
        raise UsageError(
            f"context_cite explains what a causal language model writes, and {handle.name} is loaded for "
            f"{handle.task!r}; give a model with task='causal-lm'"
        )
    if n_masks < 2 or n_held_out < 0:
        raise UsageError(f"n_masks is {n_masks} and n_held_out {n_held_out}; give at least 2 and at least 0")
    if not 0.0 < keep < 1.0:
        raise UsageError(f"keep is {keep}; it is the chance of a source to stay, above 0 and below 1")
    if alpha <= 0:
        raise UsageError(f"alpha is {alpha}; the penalty must be above 0")
    if response is not None and not response:
        raise UsageError("response is empty; give what the model wrote, or None to let it write")


def _laid_out(query: str, context: str | None, sources: Sequence[str] | None, template: str) -> tuple[str, list[Span]]:
    """The prompt, and where each source stands in it up to the start of the next."""
    if (context is None) == (sources is None):
        raise UsageError("give either context= (a text whose sentences are the sources) or sources= (a list of texts)")
    if template.count("{context}") != 1 or "{query}" not in template:
        raise UsageError(f'the template {template[:60]!r} must hold "{{context}}" once, and "{{query}}"')
    if sources is None:
        text = context or ""
        starts = [start for start, _ in sentence_spans(text)]
    else:
        if isinstance(sources, str):
            raise UsageError("sources is one text; give a list of texts, or context= to take its sentences")
        empty = next((n for n, source in enumerate(sources) if not source.strip()), None)
        if empty is not None:
            raise UsageError(f"source {empty} is empty; leave it out")
        text = _BETWEEN.join(sources)
        starts = np.cumsum([0, *(len(source) + len(_BETWEEN) for source in sources)])[: len(sources)].tolist()
    if not starts:
        raise UsageError("the context holds no source; give at least one sentence or source")
    before, after = (part.replace("{query}", query) for part in template.split("{context}"))
    ends = [*starts[1:], len(text)]
    spans = [(len(before) + start, len(before) + end) for start, end in zip(starts, ends, strict=True)]
    return before + text + after, spans


def _in_chat(
    handle: Handle, chat: Chat, context: str | None, sources: Sequence[str] | None, template: str
) -> tuple[Rendered, list[Span]]:
    """The same of a chat whose last message is given the context."""
    messages = checked(chat)
    content, spans = _laid_out(messages[-1]["content"], context, sources, template)
    rendered = render(handle, [*messages[:-1], {**messages[-1], "content": content}])
    parts = [part for part in rendered.parts if part.message == len(messages) - 1]
    if len(parts) > 1:
        raise UsageError(
            f"the chat template of {handle.name} writes the last message {len(parts)} times, so a source cannot be "
            "taken out at one place; give the query as text"
        )
    (part,) = parts
    shift = part.start - part.cut
    return rendered, [(max(part.start, start + shift), min(part.end, end + shift)) for start, end in spans]


def _with_response(
    handle: Handle, prompt: str | Rendered, response: str | None, max_new_tokens: int
) -> tuple[Encoded, int]:
    """Prompt and response as the model reads them, and where the response begins."""
    if response is not None:
        whole = _open_ended(_fitting(handle, prompt, response))
        # A token with characters of both is the response's, or its beginning would be given away.
        begun = len(_text(prompt))
        at = (p for p, (_, end) in enumerate(whole.char_spans) if end > begun and not whole.special[p])
        return whole, next(at, len(whole.ids))
    asked = _fitting(handle, prompt)
    if not asked.chat:
        asked = _open_ended(asked)
    room = min(max_new_tokens, handle.max_length - len(asked.ids))
    if room < 1:
        raise UsageError(
            f"max_new_tokens is {max_new_tokens} and the prompt has {len(asked.ids)} of the {handle.max_length} tokens "
            "that the model reads, so nothing can be written; give fewer sources or a response"
        )
    (written,) = responses_of(handle, [asked], True, room)
    return _open_ended(continued(handle, asked, written.ids), len(asked.ids)), len(asked.ids)


def _text(prompt: str | Rendered) -> str:
    return prompt if isinstance(prompt, str) else prompt.text


def _fitting(handle: Handle, prompt: str | Rendered, further: str = "") -> Encoded:
    """A prompt with what follows it, which is not special even after a chat's template."""
    if not isinstance(prompt, str):
        (encoded,) = encode_rendered(handle, [Rendered(prompt.text + further, prompt.parts)])
        begun = len(prompt.text)
        own = (gone and end <= begun for gone, (_, end) in zip(encoded.special, encoded.char_spans, strict=True))
        return replace(encoded, special=tuple(own))
    (encoded,) = encode(handle, [prompt + further])
    if encoded.n_truncated:
        raise UsageError(
            f"prompt and response have {len(encoded.ids) + encoded.n_truncated} tokens, and {handle.name} reads "
            f"{handle.max_length}; give fewer or shorter sources"
        )
    return encoded


def _open_ended(encoded: Encoded, least: int = 0) -> Encoded:
    """Without special tokens at the end, after the first `least`: a text that goes on has none there."""
    n = len(encoded.ids)
    while n > least and encoded.special[n - 1]:
        n -= 1
    names = ("ids", "tokens", "word_index", "char_spans", "special")
    return replace(encoded, type_ids=None, **{name: getattr(encoded, name)[:n] for name in names})


def _owners(whole: Encoded, spans: Sequence[Span], start: int) -> IntArray:
    """The source of each token by its first character, -1 for what always stays; `[token]`."""
    owner = np.full(len(whole.ids), -1, dtype=np.int64)
    for p in range(start):
        place = whole.char_spans[p][0]
        if not whole.special[p]:
            owner[p] = next((n for n, (first, end) in enumerate(spans) if first <= place < end), -1)
    if np.all(owner[:start] >= 0):
        raise UsageError(
            "without its sources nothing of the prompt is left to go on from; the template needs words beside "
            "{context} and {query}"
        )
    return owner


def _rows(whole: Encoded, owner: IntArray, kept: BoolArray) -> list[Row]:
    """The ids of the whole without those of the sources that are not kept; `kept` is [row, source]."""
    ids = np.asarray(whole.ids)
    return [Row(tuple(ids[(owner < 0) | line[owner]].tolist())) for line in kept]


def _spearman(predicted: FloatArray, found: FloatArray) -> float | None:
    from scipy.stats import spearmanr

    if len(found) < 2 or np.ptp(predicted) == 0.0 or np.ptp(found) == 0.0:
        return None
    return float(spearmanr(predicted, found).statistic)
