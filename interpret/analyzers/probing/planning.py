"""What a probing run will take, before it runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch

from interpret.analyzers.probing.description import block_ends
from interpret.analyzers.probing.features import MAX_BYTES_IN_MEMORY, FeatureStore, fill, make_items, probe_keys
from interpret.analyzers.probing.parts import Codes, check_request, make_parts
from interpret.analyzers.probing.ridge import LAMBDAS
from interpret.analyzers.probing.run import RANDOM_WEIGHTS_LIMIT
from interpret.models.handle import Handle
from interpret.readers.probe_data import ProbeData
from interpret.results.probe_plans import ProbePlan

#: Passes over the items that the choice of a penalty and the final fit take together, as seen on real tasks.
_PASSES: Final = 150
#: Sentences run to see how long the others take.
_TRIED: Final = 16


def plan_probes(
    handle: Handle,
    train: ProbeData,
    test: ProbeData | None = None,
    *,
    sites: Sequence[str] | str = ("embed", "resid_post"),
    seed: int = 0,
    n_control: int = 5,
    codes: Codes = "task",
    random_weights: bool | None = None,
) -> ProbePlan:
    """Count the cells, the bytes of the features and the seconds of `probe` with the same arguments.

    Sizes are exact. Seconds come from a few sentences run and a few matrices multiplied on this machine just now; a
    task that is hard to fit takes longer.

    Raises:
        UsageError: what `probe` would refuse.
        InconclusiveError: too little data for it.
    """
    check_request(train, test, ("ridge", "logistic"), n_control, codes)
    keys = probe_keys(handle, sites)
    parts = make_parts(handle, train, test, seed, n_control)
    if random_weights is None:
        random_weights = train.has_forms and len(parts.items.encoded) <= RANDOM_WEIGHTS_LIMIT
    n, n_classes = len(parts.items), len(parts.classes)
    lengths = np.array([len(row.ids) for row in parts.items.encoded])
    items = make_items(handle, _sample(train, _TRIED))
    start = time.perf_counter()
    with FeatureStore(len(items), len(keys)) as store:
        fill(store, handle, items, sites)
        widths = {key: store.arrays[key].shape[1] for key in keys}
    per_token = (time.perf_counter() - start) / max(1, sum(len(row.ids) for row in items.encoded))
    n_runs = 2 if random_weights else 1
    activations = n_runs * per_token * float(lengths.sum())
    rate64, rate32 = _rate(torch.float64), _rate(torch.float32)
    ridge = logistic = code = 0.0
    tasks = 1 + n_control
    ends = block_ends(parts.items.sentence[: parts.n_fit])
    coded = {"none": 0, "task": 1, "all": 2 + bool(random_weights)}[codes]
    for d in widths.values():
        gram = 2.0 * n * d * d + 2.0 * n * d * tasks * n_classes + 25.0 * d**3
        scored = 2.0 * n * d * (d + len(LAMBDAS) * tasks * n_classes)
        ridge += n_runs * (gram / rate64 + scored / rate32)
        one = 4.0 * _PASSES * d * n_classes / rate32
        logistic += one * parts.n_fit
        code += coded * (one * sum(ends[:-1]) + 25.0 * d**3 * len(ends) / rate64)
    n_bytes = sum(4 * n * d for d in widths.values())
    on_disk = 4 * n * max(widths.values()) * len(keys) > MAX_BYTES_IN_MEMORY
    return ProbePlan(
        model=handle.name,
        data=train.name,
        task=train.task,
        level=train.level,
        n_places=len(keys),
        n_ridge=len(keys) * n_runs * len(LAMBDAS) * tasks,
        n_logistic=len(keys),
        n_codes=len(keys) * coded,
        n_classes=n_classes,
        n_train=parts.n_train,
        n_validation=parts.n_fit - parts.n_train,
        n_test=n - parts.n_fit,
        n_tokens=int(lengths.sum()) * n_runs,
        bytes_in_memory=0 if on_disk else n_bytes,
        bytes_on_disk=n_bytes if on_disk else 0,
        seconds_activations=activations,
        seconds_ridge=ridge,
        seconds_logistic=logistic,
        seconds_codes=code,
    )


def _sample(train: ProbeData, n: int) -> ProbeData:
    """Some sentences with an item, evenly spaced over the training data, for a short run."""
    labelled = [i for i, row in enumerate(train.labels) if any(name is not None for name in row)]
    return train.take(labelled[j] for j in sorted(set(np.linspace(0, len(labelled) - 1, n).round().astype(int))))


def _rate(dtype: torch.dtype) -> float:
    """Floating-point operations a second in a product of matrices such as the probes'."""
    a, b = torch.zeros(2048, 384, dtype=dtype), torch.zeros(384, 384, dtype=dtype)
    a @ b
    start = time.perf_counter()
    for _ in range(4):
        a @ b
    return 4 * 2.0 * 2048 * 384 * 384 / max(1e-6, time.perf_counter() - start)
