"""Which of two sentences a masked language model takes for likelier, judged by the words that they share.

scores = pair_scores(handle, [("He is a nurse.", "She is a nurse.")])
scores.to_frame()                    # one row per category, all pairs first
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final, NamedTuple

import numpy as np

from interpret.analyzers.scheduler import Scheduler
from interpret.analyzers.target import Target
from interpret.errors import UsageError
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, encode
from interpret.results.robustness import PairRow, PairScores, SentencePair
from interpret.statistics.intervals import MIN_BOOTSTRAP, student, wilson

#: Scores (nats) that are nearer to each other than this are even: half a unit of the third decimal.
EVEN: Final = 5e-4


class _Aligned(NamedTuple):
    """Positions of shared tokens in both texts, and the place of the one token by which each differs, if it is one."""

    first: tuple[int, ...]
    second: tuple[int, ...]
    differing: tuple[int, int] | None


def pair_scores(
    handle: Handle,
    pairs: Sequence[tuple[str, str]],
    categories: Sequence[str] | None = None,
    *,
    first: str = "first",
    second: str = "second",
    scheduler: Scheduler | None = None,
) -> PairScores:
    """Pseudo-log-likelihood of both texts of each pair, over the tokens that they share.

    Each shared token is masked in turn, and the log probabilities of what stood there are added up; the tokens that
    differ are context and never scored. Tokens are matched by `difflib`, as longest runs. Both texts of a pair have
    equally many scored tokens, so no length needs to be corrected for.

    Args:
        handle: a masked language model.
        pairs: two texts each that differ in a word or a few, for example a stereotype and its reverse.
        categories: one per pair; None: all alike.
        first: what the first texts are, for example "stereotype".
        second: what the second texts are.
        scheduler: shared with other measurements, so that no row runs twice.

    Raises:
        UsageError: the model is no masked language model, or `categories` has another length.

    Reference: Nangia et al. 2020, arXiv 2010.00133, equation 1; Rudinger et al. 2018, arXiv 1804.09301 (`log_odds`).
    """
    if handle.task != "masked-lm" or handle.mask_id is None:
        raise UsageError(
            f"{handle.name} is a {handle.task} model; pairs of sentences are scored by masked language models, which "
            "fill in a token that is hidden (load it with task='masked-lm')"
        )
    if categories is not None and len(categories) != len(pairs):
        raise UsageError(f"{len(categories)} categories were given for {len(pairs)} pairs; give one for each")
    scheduler = scheduler or Scheduler(handle)
    encoded = encode(handle, [text for pair in pairs for text in pair])
    names = ["all"] * len(pairs) if categories is None else list(categories)
    found = []
    for number, name in enumerate(names):
        a, b = encoded[2 * number], encoded[2 * number + 1]
        aligned = _align(a, b)
        if aligned is not None:
            found.append((a, b, name, aligned))
    # All rows at once, so that batches are full.
    asked = [item for a, b, _, aligned in found for item in _asked(handle, a, b, aligned)]
    targets = [Target("mask_token", token, position=place) for _, token, place in asked]
    scored = np.log(scheduler.score_targets([row for row, _, _ in asked], targets).probability)
    out, at = [], 0
    for a, b, name, aligned in found:
        n = len(aligned.first)
        of = scored[at : at + 2 * n + (2 if aligned.differing else 0)]
        at += len(of)
        out.append(
            SentencePair(
                first=a.text,
                second=b.text,
                category=name,
                score_first=float(of[:n].sum()),
                score_second=float(of[n : 2 * n].sum()),
                n_shared=n,
                log_odds=float(of[2 * n] - of[2 * n + 1]) if aligned.differing else None,
            )
        )
    return PairScores(
        rows=_rows(out) if categories is not None else _rows(out)[:1],
        pairs=tuple(out),
        model=handle.name,
        first=first,
        second=second,
        n_left_out=len(pairs) - len(out),
        n_truncated=sum(e.n_truncated > 0 for e in encoded),
    )


def _align(a: Encoded, b: Encoded) -> _Aligned | None:
    """None where the texts share no token or differ in none."""
    inner_a = [p for p, special in enumerate(a.special) if not special]
    inner_b = [p for p, special in enumerate(b.special) if not special]
    matcher = SequenceMatcher(None, [a.ids[p] for p in inner_a], [b.ids[p] for p in inner_b], autojunk=False)
    shared = [(inner_a[i + k], inner_b[j + k]) for i, j, size in matcher.get_matching_blocks() for k in range(size)]
    changed = [code for code in matcher.get_opcodes() if code[0] != "equal"]
    if not shared or not changed:
        return None
    differing = None
    if len(changed) == 1:
        _, i, i_end, j, j_end = changed[0]
        if i_end - i == j_end - j == 1:
            differing = inner_a[i], inner_b[j]
    return _Aligned(tuple(p for p, _ in shared), tuple(p for _, p in shared), differing)


def _asked(handle: Handle, a: Encoded, b: Encoded, aligned: _Aligned) -> list[tuple[Row, int, int]]:
    """Rows with one mask, the token whose probability is read, and where: first text, second text, differing token."""
    out = [(_masked(handle, a, p), a.ids[p], p) for p in aligned.first]
    out += [(_masked(handle, b, p), b.ids[p], p) for p in aligned.second]
    if aligned.differing is not None:
        # All else is shared, so that with the mask both texts are the same row.
        at, other = aligned.differing
        row = _masked(handle, a, at)
        out += [(row, a.ids[at], at), (row, b.ids[other], at)]
    return out


def _masked(handle: Handle, encoded: Encoded, position: int) -> Row:
    assert handle.mask_id is not None
    ids = (*encoded.ids[:position], handle.mask_id, *encoded.ids[position + 1 :])
    return Row(ids, encoded.type_ids)


def _rows(pairs: Sequence[SentencePair]) -> tuple[PairRow, ...]:
    names = sorted({pair.category for pair in pairs})
    level = 1.0 - 0.05 / max(1, len(names))
    of_name = [[p for p in pairs if p.category == name] for name in names]
    return (_row(None, pairs, 0.95), *(_row(n, part, level) for n, part in zip(names, of_name, strict=True)))


def _row(category: str | None, pairs: Sequence[SentencePair], level: float) -> PairRow:
    difference = np.array([p.score_first - p.score_second for p in pairs])
    n, preferred = len(pairs), int((difference >= EVEN).sum())
    low, high = wilson(preferred, n, level)
    interval = student(difference, level) if n >= MIN_BOOTSTRAP else None
    return PairRow(
        category=category,
        n=n,
        n_even=int((np.abs(difference) < EVEN).sum()),
        preferred=preferred / n if n else None,
        preferred_low=low if n else None,
        preferred_high=high if n else None,
        difference=float(difference.mean()) if n else None,
        difference_low=None if interval is None else interval.low,
        difference_high=None if interval is None else interval.high,
    )
