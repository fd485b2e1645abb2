"""Layer by layer: how similar the streams of both models are, and how far each token's vector moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpret.analyzers.comparison.cka import Moments
from interpret.analyzers.comparison.pair import Pair, captured, lockstep
from interpret.capture.capture import sites_frame
from interpret.capture.points import Key
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.results.comparisons import ComparisonRow
from interpret.sites import split_site
from interpret.statistics.intervals import MIN_BOOTSTRAP, bootstrap, resamples

FloatArray = npt.NDArray[np.float64]

#: Tokens of one text that the similarity is taken of, at most: tokens of one text are alike, and more add little.
TOKENS_OF_A_TEXT: Final = 16
#: The similarity's interval comes from so many parts of the texts at most; each needs at least so many texts.
N_PARTS: Final = 10
TEXTS_OF_A_PART: Final = 4
#: Sums of products of features that are held at once; of models that need more, some layers are taken at a time.
_SUMS_BYTES: Final = 2 << 30


class _Found(NamedTuple):
    """What one layer came to. `shift` and `cosine` are means over the tokens of each example, [example]."""

    cka: float | None
    low: float | None
    high: float | None
    shift: FloatArray | None
    cosine: FloatArray | None


def stream_sites(handle: Handle) -> list[str]:
    """The streams that are compared: of every stack what enters the first block, and what leaves every block."""
    frame = sites_frame(handle)
    there = set(frame[frame["available"]]["site"])
    out = []
    for stack in handle.stacks:
        before = f"{stack.prefix}." if stack.prefix else ""
        out += [site for site in (f"{before}embed",) if site in there]
        if f"{before}resid_post" in there:
            out += [f"{before}resid_post.{layer}" for layer in range(stack.n_layers)]
    return out


def activation_rows(
    pair: Pair,
    rows: Sequence[Row],
    *,
    seed: int,
    n_bootstrap: int = 1000,
    progress: str | None = None,
) -> list[ComparisonRow]:
    """Debiased linear CKA, relative shift and cosine of every stream, with 95% intervals over examples.

    `cka` compares the geometry of tokens (1: the same up to rotation and scale) and cannot see a rotation;
    `relative_shift` is the mean of ||b - a|| / ||a|| over tokens and sees it, as does `cosine`. Similar activations do
    not show that two models do the same. Needs the same tokens and depth on both sides.

    The similarity is over at most 16 tokens of each text, drawn with the seed. Its interval is that of the mean over
    parts of the texts (batch means, Student), for which it needs 20 texts; the other two are bootstrapped over texts.
    """
    sites = stream_sites(pair.tuned)
    rng = np.random.default_rng([seed, 60])
    chosen = [_drawn(pair.tuned, row, rng) for row in rows]
    parts = _parts(len(rows), rng)
    width = pair.tuned.d_model, pair.base.d_model
    each = 16 * (width[0] ** 2 + width[1] ** 2 + width[0] * width[1])
    size = max(1, _SUMS_BYTES // each)
    found: dict[str, _Found] = {}
    for start in range(0, len(sites), size):
        found |= _measure(pair, rows, sites[start : start + size], chosen, parts, progress)
    draws = resamples(len(rows), n_bootstrap, (seed, 61))
    out: list[ComparisonRow] = []
    for site in sites:
        name, layer = _key(site)
        one = found[site]

        def row(
            quantity: str,
            value: float | None,
            low: float | None,
            high: float | None,
            at: Key = (name, layer),
        ) -> ComparisonRow:
            return ComparisonRow(
                part="activations", name=quantity, value=value, ci_low=low, ci_high=high, n=len(rows),
                layer=at[1], item=at[0],
            )  # fmt: skip

        out.append(row("cka", one.cka, one.low, one.high))
        for quantity, values in (("relative_shift", one.shift), ("cosine", one.cosine)):
            if values is not None:
                ends = bootstrap(values, draws) if len(values) >= MIN_BOOTSTRAP else None
                out.append(
                    row(quantity, float(values.mean()), *((None, None) if ends is None else (ends.low, ends.high)))
                )
    return out


def _drawn(handle: Handle, row: Row, rng: np.random.Generator) -> dict[str, npt.NDArray[np.int64]]:
    """Positions of one text that the similarity is taken of, for each stack."""
    out = {}
    for stack in handle.stacks:
        # A decoder beside an encoder reads tokens of its own.
        ids = row.decoder_ids if stack.prefix == "decoder" and row.decoder_ids is not None else row.ids
        out[stack.prefix] = np.sort(rng.permutation(len(ids))[:TOKENS_OF_A_TEXT])
    return out


def _parts(n: int, rng: np.random.Generator) -> list[list[int]]:
    """The examples in random parts of about the same size; one part where they are too few for an interval."""
    n_parts = min(N_PARTS, n // TEXTS_OF_A_PART)
    order = rng.permutation(n).tolist()
    return [order] if n_parts < MIN_BOOTSTRAP else [sorted(order[i::n_parts]) for i in range(n_parts)]


class _Layer:
    """What is summed up of one stream while texts run."""

    def __init__(self, n_examples: int) -> None:
        self.total: Moments | None = None
        self.part: Moments | None = None
        self.of_parts: list[float | None] = []
        self.moved = np.zeros((2, n_examples))
        self.same_width = True

    def add(self, x: Tensor, y: Tensor, mask: Tensor, at: Tensor, drawn: Tensor, indices: list[int]) -> None:
        """Take in a batch `[example, position, d]`; `at` and `drawn` say which tokens the similarity is taken of."""
        self.same_width = x.shape[-1] == y.shape[-1]
        if self.same_width:
            self.moved[:, indices] = _moved(x, y, mask)
        flat = x[at, drawn], y[at, drawn]
        # Half precision has too few digits for sums of products.
        a, b = (one if one.dtype in (torch.float32, torch.float64) else one.float() for one in flat)
        if self.total is None:
            self.total = Moments(a.mean(0), b.mean(0))
        if self.part is None:
            self.part = Moments(self.total.shift_x, self.total.shift_y)
        self.part.add(a, b)

    def close(self) -> None:
        """A part of the texts has run."""
        if self.total is not None and self.part is not None:
            self.of_parts.append(self.part.cka())
            self.total.merge(self.part)
            self.part = None

    def result(self) -> _Found:
        """The similarity over all texts, with the interval that its parts give."""
        value = None if self.total is None else self.total.cka()
        low = high = None
        values = np.array([v for v in self.of_parts if v is not None])
        if value is not None and len(values) == len(self.of_parts) >= MIN_BOOTSTRAP:
            from scipy.stats import t

            half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
            low, high = value - half, min(1.0, value + half)
        shift, cosine = self.moved if self.same_width else (None, None)
        return _Found(value, low, high, shift, cosine)


def _moved(x: Tensor, y: Tensor, mask: Tensor) -> FloatArray:
    """Mean relative shift and mean cosine of the tokens of each example, [2, example]."""
    difference = y - x
    before, after, moved, product = (
        torch.linalg.vecdot(a, b, dim=-1).double() for a, b in ((x, x), (y, y), (difference, difference), (x, y))
    )
    tiny = torch.finfo(torch.float64).tiny
    shift = (moved / before.clamp(min=tiny)).sqrt()
    cosine = product / (before.sqrt() * after.sqrt()).clamp(min=tiny)
    # Equal vectors have a cosine of 1, whatever the roots round to.
    cosine = torch.where(moved == 0, 1.0, cosine)
    count = mask.sum(1).clamp(min=1)
    means = [one.masked_fill(~mask, 0).sum(1) / count for one in (shift, cosine)]
    return np.asarray(torch.stack(means).cpu().numpy())


def _measure(
    pair: Pair,
    rows: Sequence[Row],
    sites: Sequence[str],
    chosen: Sequence[Mapping[str, npt.NDArray[np.int64]]],
    parts: Sequence[Sequence[int]],
    progress: str | None,
) -> dict[str, _Found]:
    layers = {site: _Layer(len(rows)) for site in sites}
    keys = {site: _key(site) for site in sites}
    stacks = {site: split_site(keys[site][0])[0] for site in sites}

    def run(handle: Handle, batch: dict[str, Tensor]) -> tuple[dict[Key, Tensor], dict[str, Tensor]]:
        forward = captured(handle, batch, sites).last()
        masks = {stack: forward.stack_of(keys[site][0]).mask.bool() for site, stack in stacks.items()}
        return forward.tensors, masks

    for part in parts:

        def join(
            base: tuple[dict[Key, Tensor], dict[str, Tensor]],
            tuned: tuple[dict[Key, Tensor], dict[str, Tensor]],
            local: list[int],
            part: Sequence[int] = part,
        ) -> None:
            indices = [part[i] for i in local]
            drawn = {}
            for stack in set(stacks.values()):
                of_each = [chosen[index][stack] for index in indices]
                rows_of = torch.tensor([row for row, these in enumerate(of_each) for _ in these])
                drawn[stack] = rows_of, torch.tensor(np.concatenate(of_each))
            for site, layer in layers.items():
                before, after = base[0][keys[site]], tuned[0][keys[site]]
                layer.add(before, after, tuned[1][stacks[site]], *drawn[stacks[site]], indices)

        for _ in lockstep(pair, [rows[i] for i in part], run, join, progress=progress):
            pass
        for layer in layers.values():
            layer.close()
    return {site: layer.result() for site, layer in layers.items()}


def _key(site: str) -> Key:
    name, _, layer = site.rpartition(".")
    return (name, int(layer)) if layer.isdigit() else (site, None)
