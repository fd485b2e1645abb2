"""What a full sweep of activation patching costs, against one plain forward for each patch, as ratios within one run.

    python benchmarks/patching.py [--layers 12] [--width 192] [--tokens 24] [--threads 1] [--repeats 3]
    python benchmarks/patching.py --model DIR

Sweeps every layer and position of `resid_post`, and every layer and head of `z`, of one pair of texts. "plain" is one
forward for each patch with one hook of its own; "batched" are rows of batches from the first layer on; "late" begin at
the patched layer, as `interpret.patch` does. Processor seconds, the least of the repeats; the largest difference of a
value from the plain way. Exit code 1 if `interpret.patch` takes more than 0.8 of the time of another tool.

TransformerLens (its own `patching.generic_activation_patch`, on its bridge around a copy of the model) and nnsight (one
trace for each patch, as its documentation does it) sweep `resid_post` of the same pair where they are installed: they
are no dependency of this project, and nothing here installs them (`pip install -c constraints.txt transformer-lens
nnsight` into an environment of its own). They need the model built here, a GPT-2.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).resolve().parent.parent
#: A sweep may take so much of the time of the same sweep in another tool.
LIMIT: Final = 0.8


def built(layers: int, width: int, n_tokens: int) -> tuple[Any, str, str]:
    """A random GPT-2 and two texts of so many tokens."""
    from transformers import GPT2Config, GPT2LMHeadModel

    import interpret
    from tests import tiny

    tokenizer = tiny.gpt2_bpe()
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=width, n_layer=layers, n_head=6, n_positions=max(64, n_tokens)
    )
    model = tiny.seeded(lambda: GPT2LMHeadModel(config), 0)
    words = [tiny.WORDS[n % len(tiny.WORDS)] for n in range(n_tokens * 2)]
    ids = tokenizer(" " + " ".join(words))["input_ids"][:n_tokens]
    other = list(ids)
    other[n_tokens // 3] = tokenizer(" sad")["input_ids"][0]
    return interpret.attach(model, tokenizer), tokenizer.decode(ids), tokenizer.decode(other)


def by_hand(lm: Any, encoded: Any, site: str, target: tuple[int, int]) -> Any:
    """One forward for each patch, with one hook each: what one writes without a library."""
    import numpy as np
    import torch

    from interpret.capture.points import point

    handle = lm.handle
    ids = [torch.tensor([e.ids]) for e in encoded]
    rows = []
    with torch.no_grad():
        for layer in range(handle.n_layers):
            module, side = point(handle, site, layer)[:2]
            kept: list[Any] = []
            register = module.register_forward_pre_hook if side == "input" else module.register_forward_hook
            reading = register(lambda _, *a, kept=kept, side=side: kept.append(a[0][0] if side == "input" else a[1]))
            handle.model(input_ids=ids[0], use_cache=False)
            reading.remove()
            n_columns = handle.n_heads if site == "z" else ids[0].shape[1]
            own = []
            for column in range(n_columns):
                where: tuple[Any, ...] = (slice(None), column)
                if site == "z":
                    where = (slice(None), slice(None), slice(column * handle.d_head, (column + 1) * handle.d_head))

                def change(_: Any, *a: Any, where: Any = where, kept: Any = kept, side: str = side) -> Any:
                    value = (a[0][0] if side == "input" else a[1]).clone()
                    value[where] = kept[0][where]
                    return (value,) if side == "input" else value

                writing = register(change)
                logits = handle.model(input_ids=ids[1], use_cache=False, logits_to_keep=1).logits[0, -1]
                writing.remove()
                own.append(float(logits[target[0]] - logits[target[1]]))
            rows.append(own)
    return np.array(rows)


def transformer_lens_sweep(model: Any, tokenizer: Any, ids: list[Any], target: tuple[int, int]) -> Callable[[], Any]:
    """The sweep over `resid_post` with TransformerLens' own patching, its reading of the clean text included."""
    from functools import partial

    from transformers import PreTrainedTokenizerFast

    bridge = importlib.import_module("transformer_lens.model_bridge").TransformerBridge
    patching = importlib.import_module("transformer_lens.patching")
    # Rows are handed over as ids; with a first token of texts it would look for the tokenizer's folder.
    plain = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, eos_token=tokenizer.eos_token, pad_token=tokenizer.eos_token
    )
    # The name is only a label here: config and weights are those of the model it is given.
    wrapped = bridge.boot_transformers("gpt2", hf_model=model, tokenizer=plain, device="cpu").eval()
    sweep = partial(
        patching.generic_activation_patch,
        patch_setter=patching.layer_pos_patch_setter,
        activation_name="resid_post",
        index_axis_names=("layer", "pos"),
    )

    def run() -> Any:
        import torch

        with torch.no_grad():
            _, cache = wrapped.run_with_cache(ids[0], names_filter=lambda name: name.endswith("hook_resid_post"))
            return sweep(wrapped, ids[1], cache, lambda logits: logits[0, -1, target[0]] - logits[0, -1, target[1]])

    return run


def nnsight_sweep(model: Any, ids: list[Any], target: tuple[int, int]) -> Callable[[], Any]:
    """The sweep over `resid_post` with one trace for each patch."""
    nnsight = importlib.import_module("nnsight")
    wrapped = nnsight.NNsight(model)
    blocks = list(wrapped.transformer.h)

    def run() -> Any:
        import torch

        rows = []
        with torch.no_grad():
            with wrapped.trace(input_ids=ids[0], use_cache=False):
                clean = nnsight.save([block.output for block in blocks])
            for block, kept in zip(blocks, clean, strict=True):
                own = []
                for position in range(ids[1].shape[1]):
                    with wrapped.trace(input_ids=ids[1], use_cache=False, logits_to_keep=1):
                        block.output[:, position] = kept[:, position]
                        logits = nnsight.save(wrapped.lm_head.output)
                    own.append(float(logits[0, -1, target[0]] - logits[0, -1, target[1]]))
                rows.append(own)
        return rows

    return run


def beside_peers(lm: Any, encoded: Any, target: tuple[int, int], late: float, expected: Any, repeats: int) -> bool:
    """One line for each other tool that is installed; whether ours is within the limit of all."""
    import copy

    import numpy as np
    import torch

    fine = True
    ids = [torch.tensor([e.ids]) for e in encoded]
    for name, module in (("TransformerLens", "transformer_lens"), ("nnsight", "nnsight")):
        if importlib.util.find_spec(module) is None:
            print(f"{name} is not installed: no comparison")
            continue
        model = copy.deepcopy(lm.handle.model)
        if module == "nnsight":
            run = nnsight_sweep(model, ids, target)
        else:
            run = transformer_lens_sweep(model, lm.handle.tokenizer, ids, target)
        seconds, found = timed(run, repeats)
        off = float(np.abs(np.asarray(found, dtype=float) - expected).max())
        fine &= late <= LIMIT * seconds
        print(
            f"{name} {version(module)}: {seconds:7.3f} s; ours {late / seconds:.2f} of it (limit {LIMIT}); largest "
            f"difference from the plain way {off:.1e}",
            flush=True,
        )
    return fine


def timed(run: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    run()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        found = run()
        seconds.append(time.process_time() - start)
    return min(seconds), found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", type=Path, default=None)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))

    import numpy as np
    import torch

    import interpret
    from interpret.analyzers.intervention.patching import patch
    from interpret.models.inputs import encode

    torch.set_num_threads(options.threads)
    if options.model is None:
        lm, *texts = built(options.layers, options.width, options.tokens)
    else:
        lm = interpret.load(options.model, device="cpu")
        texts = [f"Once upon a time there was a little {name} who liked to play in the" for name in ("girl", "boy")]
    encoded = encode(lm.handle, texts)
    handle, target = lm.handle, (5, 6)
    print(
        f"{handle.architecture}: {handle.n_layers} layers, d_model {handle.d_model}, {len(encoded[0].ids)} tokens, "
        f"{options.threads} thread(s)"
    )
    for site in ("resid_post", "z"):

        def swept(late: bool, site: str = site) -> Any:
            return patch(handle, encoded[0], encoded[1], site=site, target=target, late=late).values

        plain, expected = timed(lambda site=site: by_hand(lm, encoded, site, target), options.repeats)
        batched, whole = timed(lambda: swept(False), options.repeats)
        late, found = timed(lambda: swept(True), options.repeats)
        off = max(float(np.abs(values - expected).max()) for values in (whole, found))
        print(
            f"{site:10} {found.size:4} patches: plain {plain:7.3f} s, batched {batched:7.3f} s ({plain / batched:.2f} "
            f"times as fast), late {late:7.3f} s ({plain / late:.2f} times as fast); largest difference {off:.1e}",
            flush=True,
        )
        if site == "resid_post":
            swept_in, one_by_one = late, expected
    # Last: merely importing the other tools patches torch or transformers.
    fine = True
    if options.model is None:
        fine = beside_peers(lm, encoded, target, swept_in, one_by_one, options.repeats)
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
