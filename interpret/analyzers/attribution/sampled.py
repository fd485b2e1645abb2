"""Gradient methods that captum has and that need one text at a time: their noise must not hang on its neighbours."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from interpret.analyzers.attribution.job import Job, Scores, relative_delta
from interpret.analyzers.attribution.paths import (
    embed,
    gradient_tokens,
    gradients_on,
    lots,
    one_at_a_time,
    path_of,
    target_of_embedding,
)
from interpret.analyzers.scheduler import removal
from interpret.errors import UsageError
from interpret.models.batching import run_batches
from interpret.results.explanations import FloatArray
from interpret.results.record import Scalar

SAMPLES: Final = 32
NOISE: Final = 0.1

#: What a method makes of one text: its embedding, its baseline (or None), the target as a function of an embedding,
#: what captum must repeat along with it, and how many copies fit into memory at once.
_Explain = Callable[[Tensor, Tensor | None, Callable[..., Tensor], tuple[Tensor, ...], int], Tensor]


def saliency(job: Job) -> Scores:
    """Length of the target's gradient at each token, as a share of all of them: one forward, one backward.

    Unsigned: it says where the output is sensitive, not in which direction. Special tokens keep their share.

    Reference: Simonyan et al. 2013, arXiv 1312.6034; through captum's `Saliency`.
    """
    from captum.attr import Saliency

    def explain(embedded: Tensor, _: Tensor | None, forward: Any, extra: tuple[Tensor, ...], __: int) -> Tensor:
        return _length(Saliency(forward).attribute(embedded, abs=False, additional_forward_args=extra))

    return _shares(job, explain, {})


def smooth_grad(job: Job, *, n_samples: int = SAMPLES, noise: float = NOISE) -> Scores:
    """Length of the mean gradient over copies of the text with noise on its embeddings, as a share of all tokens.

    Unsigned, as `saliency`; the noise averages out what changes sign from one point to the next.

    Args:
        job: texts and targets.
        n_samples: noisy copies.
        noise: standard deviation, as a share of the range of the text's embedding.

    Reference: Smilkov et al. 2017, arXiv 1706.03825; through captum's `NoiseTunnel`.
    """
    _positive(n_samples=n_samples, noise=noise)
    from captum.attr import NoiseTunnel, Saliency

    def explain(embedded: Tensor, _: Tensor | None, forward: Any, extra: tuple[Tensor, ...], fit: int) -> Tensor:
        spread = _range(embedded)
        found = NoiseTunnel(Saliency(forward)).attribute(
            embedded,
            nt_type="smoothgrad",
            nt_samples=n_samples,
            nt_samples_batch_size=min(fit, n_samples),
            stdevs=noise * spread,
            abs=False,
            additional_forward_args=extra,
        )
        return _length(found)

    return _shares(job, explain, {"n_samples": n_samples, "noise": noise})


def gradient_shap(job: Job, *, n_samples: int = SAMPLES, noise: float = 0.0, baseline: str | None = None) -> Scores:
    """Expected gradients: integrated gradients with random places on the path instead of nodes.

    An estimate: the sum misses F(text) - F(baseline) by the recorded delta, which falls with the root of the samples.
    With `noise` the text itself is blurred, as captum has it.

    Args:
        job: texts and targets.
        n_samples: places on the path.
        noise: standard deviation of noise on the text's embedding, as a share of its range.
        baseline: the token that content becomes; None takes the model's removal operator.

    Reference: Erion et al. 2021, arXiv 1906.10670; through captum's `GradientShap`.
    """
    _positive(n_samples=n_samples)
    from captum.attr import GradientShap

    def explain(embedded: Tensor, start: Tensor | None, forward: Any, extra: tuple[Tensor, ...], fit: int) -> Tensor:
        assert start is not None
        spread = _range(embedded)
        total, done = torch.zeros_like(embedded), 0
        while done < n_samples:
            some = min(fit, n_samples - done)
            found = GradientShap(forward).attribute(
                embedded, baselines=start, n_samples=some, stdevs=noise * spread, additional_forward_args=extra
            )
            total, done = total + some * found.detach(), done + some
        return (total / n_samples).sum(-1)

    return _against_baseline(job, explain, baseline, {"n_samples": n_samples, "noise": noise})


def deep_lift(job: Job, *, baseline: str | None = None) -> Scores:
    """DeepLIFT's rescale rule, as far as captum knows the model's layers: one forward, one backward.

    captum gives multipliers to the activation modules it knows; attention, layer norm, GELU and products go through
    with their plain gradient, so on a transformer the scores do not sum to F(text) - F(baseline). The recorded delta
    says by how much.

    Args:
        job: texts and targets.
        baseline: the token that content becomes; None takes the model's removal operator.

    Reference: Shrikumar et al. 2017, arXiv 1704.02685; through captum's `DeepLift`.
    """
    from captum.attr import DeepLift

    def explain(embedded: Tensor, start: Tensor | None, forward: Any, extra: tuple[Tensor, ...], _: int) -> Tensor:
        model = _Function(job.handle.model, forward)
        with warnings.catch_warnings():
            # That captum sets hooks and takes them away again.
            warnings.filterwarnings("ignore", "Setting forward, backward hooks", UserWarning)
            found: Tensor = DeepLift(model).attribute(embedded, baselines=start, additional_forward_args=extra)
        return found.detach().sum(-1)

    return _against_baseline(job, explain, baseline, {})


class _Function(nn.Module):
    """The target as a module, which is what DeepLIFT looks for layers in."""

    def __init__(self, model: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.function = model, function
        # Made in evaluation mode, as the model is here; switching would reach the user's own model.
        self.training = model.training

    def forward(self, embedded: Tensor, *extra: Tensor) -> Tensor:
        explained: Tensor = self.function(embedded, *extra)
        return explained


def _shares(job: Job, explain: _Explain, options: dict[str, Scalar]) -> Scores:
    scores = [np.zeros(0)] * len(job.encoded)
    for lot in lots(job):
        embedded = embed(job.handle, [job.full_row(i) for i in lot])
        for i, line in zip(lot, _one_by_one(job, lot, embedded, None, explain), strict=True):
            total = line.sum()
            scores[i] = line / total if total > 0 else np.full(len(line), 1 / len(line))
    values = job.score([job.full_row(i) for i in range(len(scores))], range(len(scores))).logit.tolist()
    nothing: list[float | None] = [None] * len(scores)
    return Scores(scores, values, nothing, nothing, {"layer": "embed", "signed": False, **options})


def _against_baseline(job: Job, explain: _Explain, baseline: str | None, options: dict[str, Scalar]) -> Scores:
    operator = removal(job.handle, baseline)
    n = len(job.encoded)
    scores = [np.zeros(0)] * n
    full = [job.full_row(i) for i in range(n)]
    empty = [job.empty_row(i, operator) for i in range(n)]
    for lot in lots(job):
        paths = path_of(job, [full[i] for i in lot], [empty[i] for i in lot])
        ends, starts = [path.start + path.step for path in paths], [path.start for path in paths]
        for i, line in zip(lot, _one_by_one(job, lot, ends, starts, explain), strict=True):
            scores[i] = line
    scored = job.score([*full, *empty], [*range(n), *range(n)]).logit.tolist()
    values, baseline_values = scored[:n], scored[n:]
    deltas = [
        relative_delta(float(line.sum()), value, start)
        for line, value, start in zip(scores, values, baseline_values, strict=True)
    ]
    return Scores(
        scores, values, baseline_values, list(deltas), {"layer": "embed", "baseline": operator.name, **options}
    )


def _one_by_one(
    job: Job, lot: Sequence[int], ends: Sequence[Tensor], starts: Sequence[Tensor] | None, explain: _Explain
) -> list[FloatArray]:
    """Scores [token] of each text of a lot."""
    found = [np.zeros(0)] * len(lot)
    rows = [job.full_row(i) for i in lot]

    def step(batch: dict[str, Tensor], indices: list[int]) -> FloatArray:
        (r,) = indices
        forward, extra = target_of_embedding(job, batch, [lot[r]])
        fit = 1 if one_at_a_time(job.handle) else max(1, gradient_tokens(job.handle) // len(rows[r].ids))
        # The same noise wherever the text stands; the caller's random streams are put back after the batch.
        seed = np.random.SeedSequence([job.seed, *job.encoded[lot[r]].ids]).generate_state(1)[0]
        torch.manual_seed(int(seed))
        np.random.seed(int(seed))
        with gradients_on():
            embedded = ends[r][None].clone().requires_grad_()
            line = explain(embedded, None if starts is None else starts[r][None].clone(), forward, extra, fit)
        lines: FloatArray = line.detach()[0].double().cpu().numpy()
        return lines

    for (r,), line in run_batches(job.handle, rows, step, max_batch=1):
        found[r] = line[: len(job.encoded[lot[r]].ids)]
    return found


def _range(embedded: Tensor) -> float:
    low, high = torch.aminmax(embedded.detach())
    return float(high - low)


def _length(gradient: Tensor) -> Tensor:
    length: Tensor = gradient.detach().norm(dim=-1)
    return length


def _positive(**given: float) -> None:
    for name, value in given.items():
        if not value > 0:
            raise UsageError(f"{name} is {value}; give a number above 0")
