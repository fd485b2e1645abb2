"""What capturing costs, as ratios of times measured side by side in one run.

    python benchmarks/capture.py                      # minutes; exit code 1 if a limit is broken
    python benchmarks/capture.py --quick --threads 1
    python benchmarks/capture.py --json > capture.json

Run it from the root of the repository, with the package installed or the root on PYTHONPATH.

Two models built from configs, with random weights and no download: an encoder (BERT with a classification
head) and a decoder (GPT-2 with a language-model head), each with 12 layers of width 192, fp32 on the CPU, on 4
rows of 256 tokens, of which the last rows end in pads (`--full`: no pads). Compared are

1. `capturing("resid_post")`, all layers, with the plain forward;
2. `capturing("attn_pattern.5")`, one layer read beside sdpa, with the plain forward;
3. `capturing("attn_pattern")`, all layers read beside sdpa, with a copy of the model that runs eager attention
   and is called with `output_attentions=True`: there the patterns are a by-product;
4. `capturing("attn_pattern", mode="eager")` with the same;
5. `capturing("resid_post.5", stop=True)`, which ends the forward at the middle layer, with the plain forward;
6. other tools on the same work, where they are installed (they are no dependency of this project, and nothing
   here installs them: `pip install nnsight transformer-lens` into an environment of its own, with the versions
   of torch and transformers held by `-c constraints.txt`): nnsight around copies of the same models, and
   TransformerLens' bridge around a copy of the GPT-2. Both get patterns by eager attention only, so
   `mode="eager"` is what is held against them; what reading beside sdpa costs in comparison is shown without a
   limit.

Our time runs from the `with` to having every tensor in hand by indexing the capture. Every contestant's tensors
are compared with those of transformers before anything is timed. What the others hand out is the model's own
memory; ours are copies with NaN at pads.

A ratio is the median, over repetitions, of the ratio of two runs right after each other, in alternating order:
what slows the machine down for a while slows both. In brackets stand the quartiles; where they are far apart
the machine was busy, and more `--repetitions` help. On a machine that others use, `--threads 1 --cpu-time` is
much steadier: it does not count the time in which others had the processor. With several threads processor time
means little, because threads that wait for each other use it up.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

import interpret

N_LAYERS: Final = 12
MIDDLE: Final = N_LAYERS // 2 - 1
D_MODEL: Final = 192
N_VOCABULARY: Final = 8000
N_ROWS: Final = 4
N_TOKENS: Final = 256
#: Patterns come from other kernels than those of sdpa, and TransformerLens computes its own residual stream.
TOLERANCE: Final = 1e-4

Kind = Literal["encoder", "decoder"]
Verdict = Literal["holds", "does not hold", "no limit", "not installed"]
#: One run; it returns the tensors it produced.
Run = Callable[[], Sequence[Tensor]]


class Shape(NamedTuple):
    """Where the parts of one of the two models stand."""

    name: str
    blocks: str
    attention: str
    cls: type[PreTrainedModel]


SHAPES: Final[dict[Kind, Shape]] = {
    "encoder": Shape("BERT", "bert.encoder.layer", "attention.self", BertForSequenceClassification),
    "decoder": Shape("GPT-2", "transformer.h", "attn", GPT2LMHeadModel),
}


@dataclass(frozen=True)
class Line:
    """One comparison; times in milliseconds, None where nothing was measured."""

    number: int
    model: Kind
    of: str
    against: str
    limit: float | None
    verdict: Verdict
    ratio: float | None = None
    quartiles: tuple[float, float] | None = None
    ms: float | None = None
    ms_against: float | None = None


class Bench:
    """One model with its eager copy, a batch, and the runs that are compared."""

    def __init__(self, kind: Kind, *, n_heads: int, pads: bool) -> None:
        self.kind = kind
        self.shape = SHAPES[kind]
        self.n_heads = n_heads
        torch.manual_seed(0)
        self.model = self._build("sdpa")
        self.eager = self.copy("eager")
        self.lm = interpret.attach(self.model, tokenizer(), name=self.shape.name)
        mask = torch.ones(N_ROWS, N_TOKENS, dtype=torch.long)
        if pads:
            for row in range(N_ROWS):
                mask[row, N_TOKENS - row * N_TOKENS // 8 :] = 0
        self.mask = mask.bool()
        self.batch: dict[str, Any] = {
            "input_ids": torch.randint(1, N_VOCABULARY, mask.shape).masked_fill(~self.mask, 0),
            "attention_mask": mask,
        }
        if kind == "decoder":
            self.batch["use_cache"] = False
        with torch.no_grad():
            reference = self.eager(**self.batch, output_attentions=True)
            hidden = self.model(**self.batch, output_hidden_states=True).hidden_states
        self.true_patterns: tuple[Tensor, ...] = reference.attentions
        # The last one of GPT-2 has been through the final norm, so that it is not what the block returned.
        self.true_resid: tuple[Tensor, ...] = hidden[1:N_LAYERS]

    def _build(self, attention: str) -> PreTrainedModel:
        config: BertConfig | GPT2Config
        if self.kind == "encoder":
            config = BertConfig(
                vocab_size=N_VOCABULARY,
                hidden_size=D_MODEL,
                num_hidden_layers=N_LAYERS,
                num_attention_heads=self.n_heads,
                intermediate_size=4 * D_MODEL,
                num_labels=2,
            )
        else:
            config = GPT2Config(
                vocab_size=N_VOCABULARY,
                n_embd=D_MODEL,
                n_layer=N_LAYERS,
                n_head=self.n_heads,
                n_positions=2 * N_TOKENS,
                bos_token_id=0,
                eos_token_id=0,
            )
        model: PreTrainedModel = self.shape.cls._from_config(config, attn_implementation=attention)
        return model.eval()

    def copy(self, attention: str) -> PreTrainedModel:
        """Give every contestant a model of its own: some leave something behind in what they wrap."""
        model = self._build(attention)
        model.load_state_dict(self.model.state_dict())
        return model

    def plain(self) -> Sequence[Tensor]:
        return [self.model(**self.batch).logits]

    def output_attentions(self) -> Sequence[Tensor]:
        patterns: Sequence[Tensor] = self.eager(**self.batch, output_attentions=True).attentions
        return patterns

    def ours(self, *sites: str, **options: Any) -> Run:
        def run() -> Sequence[Tensor]:
            with self.lm.capturing(*sites, **options) as capture:
                self.model(**self.batch)
            return [capture[key] for key in capture]

        return run

    def check(self, run: Run, what: Literal["resid", "patterns"], layers: Sequence[int]) -> None:
        """Stop unless the run produces the tensors that transformers says these layers have."""
        with torch.no_grad():
            found = run()
        if len(found) != len(layers):
            raise SystemExit(f"{self.kind}: expected {len(layers)} tensors, found {len(found)}")
        truth = self.true_resid if what == "resid" else self.true_patterns
        for layer, tensor in zip(layers, found, strict=True):
            if layer >= len(truth):
                continue
            expected, seen = truth[layer], tensor.detach()
            if what == "patterns":
                # NaN at the keys that are pads, where the others have zero.
                expected, seen = expected.transpose(1, 2), seen.nan_to_num().transpose(1, 2)
            error = (seen[self.mask] - expected[self.mask]).abs().max().item()
            if not error <= TOLERANCE:
                raise SystemExit(f"{self.kind}: {what} of layer {layer} deviate by {error:.3g} from transformers")


def tokenizer() -> PreTrainedTokenizerFast:
    """One word for every id: a capture names its tokens, and that is part of what it costs."""
    words = {f"w{index}": index for index in range(N_VOCABULARY)}
    raw = Tokenizer(WordLevel(words, unk_token="w0"))
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="w0", eos_token="w0", unk_token="w0")


class Clock:
    """Times pairs of runs."""

    def __init__(self, repetitions: int, warm_up: int, now: Callable[[], float]) -> None:
        self.repetitions = repetitions
        self.warm_up = warm_up
        self.now = now

    def line(
        self, bench: Bench, number: int, of: tuple[str, Run], against: tuple[str, Run], limit: float | None
    ) -> Line:
        ours: list[float] = []
        theirs: list[float] = []
        with torch.no_grad():
            for _ in range(self.warm_up):
                of[1]()
                against[1]()
            for repetition in range(self.repetitions):
                pair = [(of[1], ours), (against[1], theirs)]
                for run, times in pair if repetition % 2 else pair[::-1]:
                    times.append(self.timed(run))
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        ratio = statistics.median(ratios)
        low, _, high = statistics.quantiles(ratios, n=4)
        verdict: Verdict = "no limit" if limit is None else "holds" if ratio <= limit else "does not hold"
        return Line(
            number,
            bench.kind,
            of[0],
            against[0],
            limit,
            verdict,
            round(ratio, 3),
            (round(low, 3), round(high, 3)),
            round(1000 * statistics.median(ours), 1),
            round(1000 * statistics.median(theirs), 1),
        )

    def timed(self, run: Run) -> float:
        # Garbage of an earlier run must not be collected at the expense of this one.
        gc.collect()
        gc.disable()
        try:
            start = self.now()
            produced = run()
            seconds = self.now() - start
        finally:
            gc.enable()
        del produced
        return seconds


def own_lines(bench: Bench, clock: Clock) -> Iterator[Line]:
    every = range(N_LAYERS)
    resid = bench.ours("resid_post")
    one, tee = bench.ours(f"attn_pattern.{MIDDLE}"), bench.ours("attn_pattern")
    eager = bench.ours("attn_pattern", mode="eager")
    bench.check(resid, "resid", every)
    bench.check(one, "patterns", [MIDDLE])
    bench.check(tee, "patterns", every)
    bench.check(eager, "patterns", every)
    plain = ("plain forward", bench.plain)
    attentions = ("eager, output_attentions", bench.output_attentions)
    yield clock.line(bench, 1, ("resid_post, all layers", resid), plain, 1.05)
    yield clock.line(bench, 2, ("attn_pattern, one layer", one), plain, 1.3)
    yield clock.line(bench, 3, ("attn_pattern, all layers", tee), attentions, 1.35)
    yield clock.line(bench, 4, ('attn_pattern, mode="eager"', eager), attentions, 1.05)
    name = f"resid_post.{MIDDLE}, stop=True"
    stop = stopping(bench)
    bench.check(stop, "resid", [MIDDLE])
    yield clock.line(bench, 5, (name, stop), plain, 0.6)


def stopping(bench: Bench) -> Run:
    """Early stop at the middle layer."""
    return bench.ours(f"resid_post.{MIDDLE}", stop=True)


class Peer(NamedTuple):
    """What another tool offers for the three pieces of work."""

    resid: Run
    patterns: Run
    stop: Run


def nnsight_runs(bench: Bench) -> Peer:
    nnsight = importlib.import_module("nnsight")
    sdpa, eager = nnsight.NNsight(bench.copy("sdpa")), nnsight.NNsight(bench.copy("eager"))
    blocks, eager_blocks = (list(attrgetter(bench.shape.blocks)(model)) for model in (sdpa, eager))
    attention = [attrgetter(bench.shape.attention)(block) for block in eager_blocks]
    middle, batch = blocks[MIDDLE], bench.batch

    def resid() -> Sequence[Tensor]:
        with sdpa.trace(**batch):
            found = nnsight.save([block.output for block in blocks])
        return list(found)

    def patterns() -> Sequence[Tensor]:
        with eager.trace(**batch):
            found = nnsight.save([module.output[1] for module in attention])
        return list(found)

    def stop() -> Sequence[Tensor]:
        with sdpa.trace(**batch) as tracer:
            found = nnsight.save(middle.output)
            tracer.stop()
        return [found]

    return Peer(resid, patterns, stop)


def transformer_lens_runs(bench: Bench) -> Peer:
    bridge = importlib.import_module("transformer_lens.model_bridge").TransformerBridge
    # The name is only a label here: config and weights are those of the model it is given.
    model = bridge.boot_transformers("gpt2", hf_model=bench.copy("eager"), tokenizer=tokenizer(), device="cpu").eval()

    def cached(site: str, layers: Sequence[int], **options: Any) -> Run:
        names = [f"blocks.{layer}.{site}" for layer in layers]

        def run() -> Sequence[Tensor]:
            _, cache = model.run_with_cache(
                bench.batch["input_ids"],
                attention_mask=bench.batch["attention_mask"],
                names_filter=names,
                return_cache_object=False,
                **options,
            )
            return [cache[name] for name in names]

        return run

    every = range(N_LAYERS)
    return Peer(
        cached("hook_resid_post", every),
        cached("attn.hook_pattern", every),
        cached("hook_resid_post", [MIDDLE], stop_at_layer=MIDDLE + 1),
    )


def peer_lines(
    bench: Bench, clock: Clock, name: str, module: str, make: Callable[[Bench], Peer], stop: str
) -> Iterator[Line]:
    every = range(N_LAYERS)
    runs: list[tuple[str, Run, str, float | None]] = [
        ("resid_post, all layers", bench.ours("resid_post"), "all layers", 1.0),
        ('attn_pattern, mode="eager"', bench.ours("attn_pattern", mode="eager"), "eager patterns", 1.0),
        ("attn_pattern, all layers", bench.ours("attn_pattern"), "eager patterns", None),
        (f"resid_post.{MIDDLE}, stop=True", stopping(bench), stop, 1.0),
    ]
    if importlib.util.find_spec(module) is None:
        for of, _, against, limit in runs:
            yield Line(6, bench.kind, of, f"{name}, {against}", limit, "not installed")
        return
    peer = make(bench)
    bench.check(peer.resid, "resid", every)
    bench.check(peer.patterns, "patterns", every)
    bench.check(peer.stop, "resid", [MIDDLE])
    theirs = (peer.resid, peer.patterns, peer.patterns, peer.stop)
    for (of, ours, against, limit), other in zip(runs, theirs, strict=True):
        yield clock.line(bench, 6, (of, ours), (f"{name}, {against}", other), limit)


def lines(benches: Sequence[Bench], clock: Clock) -> Iterator[Line]:
    for bench in benches:
        yield from own_lines(bench, clock)
    # Last: merely importing these tools patches torch or transformers.
    for bench in benches:
        yield from peer_lines(bench, clock, "nnsight", "nnsight", nnsight_runs, "tracer.stop")
    for bench in benches:
        if bench.kind == "decoder":
            yield from peer_lines(
                bench, clock, "TransformerLens", "transformer_lens", transformer_lens_runs, "stop_at_layer"
            )


def shown(line: Line) -> str:
    names = f"{line.number} {line.model}  {line.of:<27} / {line.against:<31}"
    limit = "          " if line.limit is None else f"limit {line.limit:.2f}"
    if line.ratio is None or line.quartiles is None:
        return f"{names} {'':36} {limit}  {line.verdict}"
    spread = f"[{line.quartiles[0]:.2f}-{line.quartiles[1]:.2f}]"
    times = f"{line.ms:.0f}/{line.ms_against:.0f} ms"
    return f"{names} {line.ratio:5.2f}x {spread} {times:>15}  {limit}  {line.verdict}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What capturing costs, as ratios measured side by side.")
    parser.add_argument("--threads", type=int, default=None, help="torch.set_num_threads; default: torch's own choice")
    parser.add_argument("--repetitions", type=int, default=25, help="pairs of runs per line (at least 2, default 25)")
    parser.add_argument("--quick", action="store_true", help="7 repetitions: a look, not a verdict")
    parser.add_argument("--cpu-time", action="store_true", help="processor time instead of wall time, see above")
    parser.add_argument("--json", action="store_true", help="print one JSON object when all is done")
    parser.add_argument("--full", action="store_true", help="rows without pads")
    parser.add_argument("--heads", type=int, default=6, help="attention heads (default 6)")
    parser.add_argument("--model", choices=[*SHAPES, "both"], default="both")
    options = parser.parse_args(arguments)
    if options.heads < 1 or D_MODEL % options.heads:
        parser.error(f"--heads {options.heads} does not divide the width, {D_MODEL}")
    if options.repetitions < 2:
        parser.error(f"--repetitions {options.repetitions} gives no spread; ask for at least 2")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    # About transformers' own deprecations, and from tools that we do not maintain.
    warnings.simplefilter("ignore")
    setup = {
        "layers": N_LAYERS,
        "d_model": D_MODEL,
        "heads": options.heads,
        "rows": N_ROWS,
        "tokens": N_TOKENS,
        "pads": not options.full,
        "threads": torch.get_num_threads(),
        "clock": "processor time" if options.cpu_time else "wall time",
        "repetitions": 7 if options.quick else options.repetitions,
        "versions": {
            name: version(name)
            for name in ("torch", "transformers", "nnsight", "transformer_lens")
            if importlib.util.find_spec(name) is not None
        },
    }
    if not options.json:
        print(", ".join(f"{name} {value}" for name, value in setup.items() if name != "versions"))
        print(", ".join(f"{name} {found}" for name, found in setup["versions"].items()), flush=True)
    kinds: list[Kind] = [kind for kind in SHAPES if options.model in (kind, "both")]
    benches = [Bench(kind, n_heads=options.heads, pads=not options.full) for kind in kinds]
    # What is there now stays to the end: collections between the runs need not look at it again.
    gc.collect()
    gc.freeze()
    now = time.process_time if options.cpu_time else time.perf_counter
    clock = Clock(setup["repetitions"], warm_up=2 if options.quick else 4, now=now)
    done = []
    for line in lines(benches, clock):
        done.append(line)
        if not options.json:
            print(shown(line), flush=True)
    broken = [line for line in done if line.verdict == "does not hold"]
    if options.json:
        print(json.dumps({"setup": setup, "lines": [asdict(line) for line in done], "holds": not broken}, indent=1))
    else:
        print(f"{len(broken)} of {sum(line.ratio is not None for line in done)} measured lines break their limit")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
