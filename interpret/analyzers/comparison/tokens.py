"""Outputs at every token: how far the distributions of two language models lie apart, and after which words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpret.analyzers.comparison.pair import Pair, lockstep
from interpret.models.batching import Row, head_budget_of
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.results.comparisons import ComparisonRow
from interpret.statistics.intervals import MIN_BOOTSTRAP, Interval, bootstrap, resamples, student, wilson

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
_BITS: Final = float(np.log(2))
#: Words that are shown, of those that outputs differ most after.
_TOP: Final = 15


@dataclass(frozen=True, kw_only=True)
class TokenOutputs:
    """One example's outputs, all arrays [place]; `at` are the token positions they stand at.

    `kl_bits` is KL(tuned || base), `base` and `tuned` the likeliest entries, and `nats` [2, place] the negative log
    probability of the token that follows under base and tuned, NaN where none does; None where nothing is foretold.
    """

    at: IntArray
    kl_bits: FloatArray
    base: IntArray
    tuned: IntArray
    nats: FloatArray | None

    @property
    def mean_kl(self) -> float:
        """Over the places; 0 where there is none: what has no output has not moved."""
        return float(self.kl_bits.mean()) if len(self.at) else 0.0


def token_outputs(
    pair: Pair,
    encoded: Sequence[Encoded],
    rows: Sequence[Row],
    responses: Sequence[Sequence[int]] | None = None,
    *,
    progress: str | None = None,
) -> list[TokenOutputs]:
    """Both models' outputs at every token; of masked models and classifiers of words not at special tokens.

    `responses` are what an encoder-decoder should write: its outputs stand before each of their tokens that it is free
    in.
    """
    forced = [pair.tuned.n_forced(ids) for ids in responses or ()]
    places, following = _places(pair.tuned.task == "causal-lm", encoded, responses, forced)
    out: list[TokenOutputs | None] = [None] * len(rows)

    def run(handle: Handle, batch: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            found: Tensor = handle.model(**batch, **handle.without_cache).logits
        return found

    def join(base: Tensor, tuned: Tensor, indices: list[int]) -> list[TokenOutputs]:
        made = []
        for line, index in enumerate(indices):
            at = torch.tensor(places[index])
            # One example at a time: a batch of vocabularies in double precision would fill the memory.
            before, after = (one[line][at].double().cpu().log_softmax(-1) for one in (base, tuned))
            kl = (after.exp() * (after - before)).nan_to_num().sum(-1).clamp(min=0) / _BITS
            nats = None
            if following is not None:
                ids = torch.tensor(following[index])
                nats = -torch.stack([one.gather(-1, ids.clamp(min=0)[:, None])[:, 0] for one in (before, after)])
                nats[:, ids < 0] = float("nan")
            made.append(
                TokenOutputs(
                    at=places[index],
                    kl_bits=kl.numpy(),
                    base=before.argmax(-1).numpy(),
                    tuned=after.argmax(-1).numpy(),
                    nats=None if nats is None else nats.numpy(),
                )
            )
        return made

    budget = head_budget_of(pair.tuned)
    for indices, made in lockstep(pair, rows, run, join, token_budget=budget, progress=progress):
        for index, one in zip(indices, made, strict=True):
            out[index] = one
    return [one for one in out if one is not None]


def _places(
    causal: bool, encoded: Sequence[Encoded], responses: Sequence[Sequence[int]] | None, forced: Sequence[int]
) -> tuple[list[IntArray], list[list[int]] | None]:
    """Where outputs stand, and the token that follows each of them: -1 where none does, None where none is foretold."""
    if responses is not None:
        pairs = list(zip(responses, forced, strict=True))
        return [np.arange(first, len(ids)) for ids, first in pairs], [list(ids[first:]) for ids, first in pairs]
    places = [
        np.array([p for p, special in enumerate(e.special) if causal or not special], dtype=np.int64) for e in encoded
    ]
    return places, [[*e.ids[1:], -1] for e in encoded] if causal else None


def token_rows(
    found: Sequence[TokenOutputs],
    encoded: Sequence[Encoded],
    slices: Sequence[str | None] | None,
    name: Callable[[int], str],
    *,
    seed: int,
    n_bootstrap: int = 1000,
    in_text: bool = True,
) -> list[ComparisonRow]:
    """Means over each example's tokens, then over examples, with 95% intervals over examples; slice by slice.

    Intervals of slices are Bonferroni-adjusted over the slices. A mean over all tokens may be dominated by a frequent
    one: the words after which outputs differ most follow, with their share of the whole divergence. `kl_bits_next` is
    what comes after the text, `new_answer_after` a rule that tuning may have taught: the share of a word's places after
    which the tuned model says one and the same token that the base does not say there. Without `in_text` outputs stand
    in another text than the words, so nothing is said of what comes after them. Examples without any place, as a text
    of which the tokenizer makes no token, are left out of all of it.
    """
    kept = [number for number, one in enumerate(found) if len(one.at)]
    if not kept:
        return []
    found, encoded = [found[number] for number in kept], [encoded[number] for number in kept]
    slices = None if slices is None else [slices[number] for number in kept]
    values: dict[str, FloatArray] = {
        "kl_bits": np.array([one.mean_kl for one in found]),
        "changed_predictions": np.array([float((one.base != one.tuned).mean()) for one in found]),
    }
    if all(one.nats is not None and np.isfinite(one.nats).any() for one in found):
        nats = np.array([np.nanmean(one.nats, axis=1) for one in found if one.nats is not None])
        values |= {"nats_base": nats[:, 0], "nats_tuned": nats[:, 1], "nats_difference": nats[:, 1] - nats[:, 0]}
        if in_text:
            values["kl_bits_next"] = np.array([float(one.kl_bits[-1]) for one in found])
    names = sorted({s for s in slices or () if s})
    parts: list[tuple[str | None, IntArray]] = [(None, np.arange(len(found)))]
    parts += [(one, np.flatnonzero([s == one for s in slices or ()])) for one in names]
    out = []
    for number, (slice_name, members) in enumerate(parts):
        level = 0.95 if slice_name is None else 1 - 0.05 / len(names)
        draws = resamples(len(members), n_bootstrap, (seed, 50, number))
        for quantity, all_values in values.items():
            mine = all_values[members]
            ends = bootstrap(mine, draws, level) if len(mine) >= MIN_BOOTSTRAP else None
            out.append(_row(quantity, float(mine.mean()), ends, len(mine), slice_name=slice_name))
    return out + _after_words(found, encoded) + _rules(found, encoded, name) if in_text else out


def _row(
    name: str, value: float, ends: Interval | None, n: int, *, slice_name: str | None = None, item: str | None = None
) -> ComparisonRow:
    return ComparisonRow(
        part="outputs", name=name, value=value, ci_low=None if ends is None else ends.low,
        ci_high=None if ends is None else ends.high, n=n, slice=slice_name, item=item,
    )  # fmt: skip


def words_at(e: Encoded) -> dict[int, str]:
    """Position of each word's last token, with the word as it is compared: case-folded."""
    ends: dict[int, str] = {}
    spans: dict[int, tuple[int, int, int]] = {}
    for position, word in enumerate(e.word_index):
        if word >= 0:
            start, end = e.char_spans[position]
            first = spans[word][0] if word in spans else start
            spans[word] = (first, end, position)
    for start, end, position in spans.values():
        ends[position] = e.text[start:end].casefold()
    return ends


def _after_words(found: Sequence[TokenOutputs], encoded: Sequence[Encoded]) -> list[ComparisonRow]:
    """The words after which outputs differ most, by their mean and by their share of all that differs."""
    means: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    sums: dict[str, float] = defaultdict(float)
    total = 0.0
    for number, (one, e) in enumerate(zip(found, encoded, strict=True)):
        words = words_at(e)
        total += float(one.kl_bits.sum())
        for position, kl in zip(one.at.tolist(), one.kl_bits.tolist(), strict=True):
            if position in words:
                means[words[position]][number].append(kl)
                sums[words[position]] += kl
    if total == 0:
        return []
    common = {word: at for word, at in means.items() if len(at) >= MIN_BOOTSTRAP}
    of_each = {word: np.array([np.mean(kl) for kl in at.values()]) for word, at in common.items()}
    ordered = sorted(common, key=lambda word: (-float(of_each[word].mean()), word))[:_TOP]
    # Words are chosen by the numbers that are shown, so intervals are adjusted for all that could have been.
    level = 1 - 0.05 / max(1, len(common))
    rows = [
        _row("kl_bits_after", float(of_each[w].mean()), student(of_each[w], level), len(of_each[w]), item=w)
        for w in ordered
    ]
    shares = sorted(sums, key=lambda word: (-sums[word], word))[:_TOP]
    return rows + [_row("kl_share_after", sums[w] / total, None, len(means[w]), item=w) for w in shares]


def _rules(
    found: Sequence[TokenOutputs], encoded: Sequence[Encoded], name: Callable[[int], str]
) -> list[ComparisonRow]:
    """Words after which the tuned model nearly always says what the base does not, the most regular first."""
    said: dict[str, Counter[int]] = defaultdict(Counter)
    places: Counter[str] = Counter()
    texts: dict[str, set[int]] = defaultdict(set)
    for number, (one, e) in enumerate(zip(found, encoded, strict=True)):
        words = words_at(e)
        for position, base, tuned in zip(one.at.tolist(), one.base.tolist(), one.tuned.tolist(), strict=True):
            if position in words:
                word = words[position]
                places[word] += 1
                texts[word].add(number)
                if base != tuned:
                    said[word][tuned] += 1
    rows = []
    for word, answers in said.items():
        token, n = min(answers.items(), key=lambda item: (-item[1], item[0]))
        if len(texts[word]) >= MIN_BOOTSTRAP and n > places[word] / 2:
            low, high = wilson(n, places[word])
            share = n / places[word]
            rows.append(
                _row(
                    "new_answer_after", share, Interval(share, low, high), places[word], item=f"{word} → {name(token)}"
                )
            )
    return sorted(rows, key=lambda row: (-(row.ci_low or 0.0), row.item or ""))[:_TOP]


class WordGap(NamedTuple):
    """A word, and how much further outputs moved on texts with it than on those without."""

    word: str
    n: int
    gap: float
    low: float
    high: float


def words_with_gap(kl_bits: FloatArray, words: Sequence[set[str]]) -> list[WordGap]:
    """Words whose texts moved further than the others, the furthest first; Welch, Bonferroni over all words.

    A word must stand in at least five texts and be missing in five.
    """
    from scipy.stats import t

    n = len(kl_bits)
    holders: dict[str, list[int]] = defaultdict(list)
    for number, these in enumerate(words):
        for word in these:
            holders[word].append(number)
    common = {w: at for w, at in holders.items() if MIN_BOOTSTRAP <= len(at) <= n - MIN_BOOTSTRAP}
    found = []
    for word, at in common.items():
        inside = np.zeros(n, dtype=bool)
        inside[at] = True
        a, b = kl_bits[inside], kl_bits[~inside]
        spread = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
        scale = sum(spread)
        gap = float(a.mean() - b.mean())
        if scale == 0:
            continue
        freedom = scale**2 / (spread[0] ** 2 / (len(a) - 1) + spread[1] ** 2 / (len(b) - 1))
        half = float(t.ppf(1 - 0.025 / len(common), freedom) * scale**0.5)
        if gap - half > 0:
            found.append(WordGap(word, len(a), gap, gap - half, gap + half))
    return sorted(found, key=lambda one: (-one.gap, one.word))[:_TOP]


def word_gap_rows(kl_bits: FloatArray, words: Sequence[set[str]]) -> list[ComparisonRow]:
    """`words_with_gap` as rows."""
    return [
        _row("kl_bits_with", one.gap, Interval(one.gap, one.low, one.high), one.n, item=one.word)
        for one in words_with_gap(kl_bits, words)
    ]
