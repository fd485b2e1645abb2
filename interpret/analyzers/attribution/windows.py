"""Texts longer than the model reads at once: each window is explained as a text, and what was found is put together.

The target f of a text is fixed once, and what is explained is F, the mean of f over the windows that hold it. With
w_k(t) the score that window k gives token t, the text's score is s(t) = the mean of w_k(t) over the windows that hold
t, n(t) of the K windows explained. Where the scores of every window sum to f(window) - f(its baseline), so

    sum over t of n(t) / K * s(t) = F(text) - F(baseline)

exactly, since both sides are the same double sum. `ExampleAttribution.contributions` are its terms.

What a causal model writes next is read off the last position, which one window holds: the one that ends there (with
a response: the last one that leaves room for it). So K is 1, and what stands before that window is not read. Of an
encoder-decoder every window of what its encoder reads has the same response.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from interpret.analyzers.attribution.job import Scores, relative_delta
from interpret.analyzers.target import Target
from interpret.analyzers.windows import Part
from interpret.models.inputs import Encoded, unit_index
from interpret.models.units import Unit
from interpret.results.explanations import WindowsRead


@dataclass(frozen=True)
class Split:
    """Texts as the parts that the model reads; `owner` [part] is the text of each, `targets` are those of the parts."""

    whole: tuple[Encoded, ...]
    parts: tuple[Part, ...]
    owner: tuple[int, ...]
    targets: tuple[Target, ...]

    @property
    def encoded(self) -> list[Encoded]:
        return [part.encoded for part in self.parts]

    def read(self) -> list[tuple[Encoded, Encoded, Target | None]]:
        """Each part with its text and, where there are targets, its target."""
        targets = self.targets or (None,) * len(self.parts)
        return [
            (part.encoded, self.whole[i], target)
            for part, i, target in zip(self.parts, self.owner, targets, strict=True)
        ]


def split(encoded: Sequence[Encoded], targets: Sequence[Target], unit: Unit) -> Split:
    """Every text as its parts; without targets no text has windows."""
    laid: list[Encoded] = []
    parts: list[Part] = []
    owner: list[int] = []
    moved: list[Target] = []
    for i, e in enumerate(encoded):
        if not targets:
            laid.append(e)
            parts.append(Part(tuple(range(len(e.ids))), e))
            owner.append(i)
            continue
        laid.append(replace(e, windows=targets[i].windows(e)))
        # Of a unit that is cut by the end of a window, each window has a part.
        counted = e if e.windows is None else replace(e, word_index=unit_index(e, unit))
        for part, target in targets[i].parts(counted):
            parts.append(part)
            owner.append(i)
            moved.append(target)
    return Split(tuple(laid), tuple(parts), tuple(owner), tuple(moved))


def joined(made: Split, found: Scores) -> tuple[Scores, list[WindowsRead | None]]:
    """Scores of the texts from those of their parts, and how texts of several parts were read."""
    if not any(map(_several, made.whole)):
        return found, [None] * len(made.whole)
    out = Scores([], [], [], [], found.options)
    read: list[WindowsRead | None] = []
    owner = np.asarray(made.owner)
    for i, e in enumerate(made.whole):
        mine = np.flatnonzero(owner == i).tolist()
        if e.windows is None or not _several(e):
            (n,) = mine
            out.scores.append(found.scores[n])
            out.values.append(found.values[n])
            out.baseline_values.append(found.baseline_values[n])
            out.deltas.append(found.deltas[n])
            read.append(None)
            continue
        total, count = np.zeros(len(e.ids)), np.zeros(len(e.ids), dtype=np.int64)
        for n in mine:
            at = list(made.parts[n].positions)
            total[at] += found.scores[n]
            count[at] += 1
        value = _mean([found.values[n] for n in mine])
        baseline_value = _mean([found.baseline_values[n] for n in mine])
        delta = None
        if value is not None and baseline_value is not None and all(found.deltas[n] is not None for n in mine):
            delta = relative_delta(float(total.sum()) / len(mine), value, baseline_value)
        out.scores.append(total / np.maximum(count, 1))
        out.values.append(value)
        out.baseline_values.append(baseline_value)
        out.deltas.append(delta)
        by_window = {made.parts[n].positions: n for n in mine}
        held = [by_window.get(positions) for positions in e.windows.positions]
        read.append(
            WindowsRead(
                size=e.windows.size,
                stride=e.windows.stride,
                bounds=np.asarray(e.windows.bounds, dtype=np.int64),
                values=tuple(None if n is None else found.values[n] for n in held),
                baseline_values=tuple(None if n is None else found.baseline_values[n] for n in held),
                n_holding=count,
                n_explained=len(mine),
            )
        )
    return out, read


def _several(encoded: Encoded) -> bool:
    return encoded.windows is not None and len(encoded.windows.positions) > 1


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
