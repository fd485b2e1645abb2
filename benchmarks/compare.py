"""What comparing activations costs, as the ratio to the two forward passes that it needs anyway.

    python benchmarks/compare.py                      # exit code 1 if the limit is broken
    python benchmarks/compare.py --threads 1 --cpu-time --repetitions 9

Run it from the root of the repository, with the package installed or the root on PYTHONPATH.

Two BERT classifiers built from configs, random weights, 12 layers of width 192, fp32 on the CPU, on 64 texts of about
250 tokens. Compared are `activation_rows`, which gives similarity (debiased CKA), relative shift and cosine of every
layer with their intervals, with the logits of both models on the same rows. A ratio is the median, over repetitions,
of the ratio of two runs right after each other, in alternating order; in brackets stand the quartiles. Beside it
stands the memory that the sums take, which does not grow with the number of texts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from typing import Final

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from interpret.analyzers.comparison.activations import activation_rows
from interpret.analyzers.comparison.pair import Pair
from interpret.models.batching import Row, logits
from interpret.models.handle import Handle
from interpret.models.load import attach_handle

N_LAYERS: Final = 12
D_MODEL: Final = 192
N_VOCABULARY: Final = 8000
N_TOKENS: Final = 256
#: The comparison may take so much of the time of the two forwards.
LIMIT: Final = 1.2


def model(seed: int) -> Handle:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=N_VOCABULARY,
        hidden_size=D_MODEL,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=6,
        intermediate_size=4 * D_MODEL,
    )
    words = {f"w{index}": index for index in range(N_VOCABULARY)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="w1")), pad_token="w0", unk_token="w1"
    )
    return attach_handle(BertForSequenceClassification(config).eval(), tokenizer)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--cpu-time", action="store_true", help="processor time: steadier on a busy machine")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.threads is not None:
        torch.set_num_threads(asked.threads)
    clock = time.process_time if asked.cpu_time else time.perf_counter
    pair = Pair(model(0), model(1))
    generator = torch.Generator().manual_seed(0)
    rows = []
    for _ in range(asked.texts):
        length = int(torch.randint(N_TOKENS - 16, N_TOKENS + 1, (1,), generator=generator))
        rows.append(Row(tuple(torch.randint(2, N_VOCABULARY, (length,), generator=generator).tolist())))

    def compared() -> None:
        activation_rows(pair, rows, seed=0)

    def plain() -> None:
        logits(pair.base, rows)
        logits(pair.tuned, rows)

    compared(), plain()
    ratios, seconds = [], []
    for repetition in range(asked.repetitions):
        spent = {}
        for run in (compared, plain) if repetition % 2 else (plain, compared):
            started = clock()
            run()
            spent[run.__name__] = clock() - started
        ratios.append(spent["compared"] / spent["plain"])
        seconds.append(spent["compared"])
    ratio = statistics.median(ratios)
    low, _, high = statistics.quantiles(ratios, n=4)
    n_bytes = (N_LAYERS + 1) * 2 * 3 * 8 * D_MODEL**2
    holds = ratio <= LIMIT
    if asked.json:
        print(json.dumps({"ratio": ratio, "quartiles": [low, high], "limit": LIMIT, "holds": holds, "bytes": n_bytes}))
    else:
        print(f"activations of all layers / two forwards: {ratio:.2f} [{low:.2f}, {high:.2f}], limit {LIMIT}")
        print(f"{statistics.median(seconds):.2f} s for {len(rows)} texts; sums of products {n_bytes / 2**20:.0f} MiB")
        print("holds" if holds else "DOES NOT HOLD")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
