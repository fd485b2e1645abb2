"""The fine-tuned classifier against its published accuracy and against every method written out by hand."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import interpret
from interpret.analyzers.faithfulness import measure
from interpret.analyzers.scheduler import Scheduler
from interpret.errors import LoadError
from interpret.facade import AttachedModel
from interpret.models.batching import Row, logits
from interpret.models.inputs import encode
from interpret.readers.labels import map_labels
from interpret.readers.tables import Table
from interpret.results.audits import Audit
from interpret.results.explanations import Attribution, Faithfulness

SIX_WORDS = "not a dull film at all"


def plain(lm: AttachedModel, rows: list[list[int]]) -> npt.NDArray[np.float64]:
    """Logits by calling the model as anybody would: one row at a time, nothing of ours in between."""
    with torch.no_grad():
        found = [lm.handle.model(input_ids=torch.tensor([row])).logits[0] for row in rows]
    return torch.stack(found).double().numpy()


def without(ids: list[int], positions: set[int], mask: int) -> list[int]:
    return [mask if p in positions else i for p, i in enumerate(ids)]


def test_loaded_as_it_was_saved(minilm: AttachedModel) -> None:
    info = minilm.info()
    assert info["saved_dtype"] == "float16"
    assert info["run_dtype"] == "float32"
    assert info["labels"] == ["negative", "positive"]
    assert {parameter.dtype for parameter in minilm.handle.model.parameters()} == {torch.float32}


def test_accuracy_is_the_published_one_with_and_without_us(
    minilm: AttachedModel, sst2_dev: Table, shared: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    mapping = map_labels([row["label"] for row in sst2_dev.rows], dict(enumerate(minilm.handle.labels)))
    assert mapping.rule == "id"
    assert mapping.pairs == {"0": 0, "1": 1}
    gold = np.array([mapping.pairs[row["label"]] for row in sst2_dev.rows])
    texts = [row["text"] for row in sst2_dev.rows]
    assert len(texts) == 872
    ours = logits(minilm.handle, [Row(e.ids, e.type_ids) for e in encode(minilm.handle, texts)])
    assert int((ours.argmax(axis=1) == gold).sum()) == 759

    folder = shared / "models" / "minilm-sst2"
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    theirs = np.empty_like(ours)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), 32):
        part = order[start : start + 32]
        batch = tokenizer([texts[i] for i in part], padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            theirs[part] = model(**batch).logits.double().numpy()
    assert np.abs(ours - theirs).max() < 1e-4
    assert int((theirs.argmax(axis=1) == gold).sum()) == 759


def test_integrated_gradients_is_captums_own_and_complete(minilm: AttachedModel, sst2_dev: Table) -> None:
    from captum.attr import LayerIntegratedGradients

    texts = [row["text"] for row in sst2_dev.rows[:40] if len(row["text"].split()) < 12][:4]
    found = minilm.attribute(texts, method="integrated_gradients", n_steps=64, quality=False)
    model, mask = minilm.handle.model, minilm.handle.mask_id
    base: Any = model.bert
    for example in found:
        ids = torch.tensor([example.token_ids.tolist()])
        baseline = ids.clone()
        baseline[0, 1:-1] = mask
        explainer = LayerIntegratedGradients(lambda given: model(input_ids=given).logits, base.embeddings)
        direct = explainer.attribute(
            ids, baselines=baseline, target=example.target.index, n_steps=64, method="gausslegendre"
        )
        expected = direct.sum(-1)[0].detach().double().numpy()
        assert np.abs(example.scores - expected).max() < 1e-5
        ends = plain(minilm, [ids[0].tolist(), baseline[0].tolist()])[:, example.target.index]
        assert example.scores.sum() == pytest.approx(ends[0] - ends[1], rel=0.05)
        assert example.convergence_delta is not None
        assert example.convergence_delta < 0.05
        assert example.scores[0] == example.scores[-1] == 0.0


def test_integrated_gradients_converges_by_itself(minilm: AttachedModel, sst2_dev: Table) -> None:
    texts = [row["text"] for row in sst2_dev.rows[100:104]]
    for example in minilm.attribute(texts, method="integrated_gradients", quality=False):
        assert example.value is not None
        assert example.baseline_value is not None
        assert example.scores.sum() == pytest.approx(example.value - example.baseline_value, rel=0.05)


@pytest.mark.parametrize("target", ["positive", ("positive", "negative")], ids=["class", "contrast"])
def test_shap_is_the_exact_shapley_value(minilm: AttachedModel, target: Any) -> None:
    example = minilm.attribute(SIX_WORDS, target=target, method="shap", quality=False)[0]
    ids, mask = example.token_ids.tolist(), int(minilm.handle.mask_id or 0)
    n = 6
    assert len(ids) == n + 2, "each word is one token"
    subsets = [frozenset(s) for k in range(n + 1) for s in itertools.combinations(range(n), k)]
    outputs = plain(minilm, [without(ids, {p + 1 for p in range(n) if p not in s}, mask) for s in subsets])
    scalar = outputs[:, 1] - (outputs[:, 0] if isinstance(target, tuple) else 0.0)
    value = dict(zip(subsets, scalar.tolist(), strict=True))
    for word in range(n):
        exact = sum(
            math.factorial(len(s)) * math.factorial(n - len(s) - 1) / math.factorial(n) * (value[s | {word}] - value[s])
            for s in subsets
            if word not in s
        )
        assert example.scores[word + 1] == pytest.approx(exact, abs=1e-5)


def test_leave_one_out_is_the_loop_by_hand(minilm: AttachedModel, sst2_dev: Table) -> None:
    texts = [row["text"] for row in sst2_dev.rows[:6]]
    mask = int(minilm.handle.mask_id or 0)
    for example in minilm.attribute(texts, method="leave_one_out", quality=False):
        ids = example.token_ids.tolist()
        words = example.words()
        rows = [ids, *(without(ids, set(word.positions), mask) for word in words)]
        outputs = plain(minilm, rows)[:, example.target.index or 0]
        assert int(plain(minilm, [ids])[0].argmax()) == example.target.index
        for word, missing in zip(words, outputs[1:].tolist(), strict=True):
            assert word.score == pytest.approx(outputs[0] - missing, abs=2e-5)


def test_signed_integrated_gradients_beats_random_and_its_shuffled_copy_does_not(
    minilm: AttachedModel, sst2_dev: Table
) -> None:
    texts = [row["text"] for row in sst2_dev.rows if len(row["text"].split()) <= 12][:40]
    assert len(texts) == 40
    found = minilm.attribute(texts, method="integrated_gradients", quality=False)
    # The random rankings are those of the seed, so that all three share the rows they run.
    scheduler = Scheduler(minilm.handle)

    def measured_of(attribution: Attribution) -> Faithfulness:
        return measure(minilm.handle, attribution, n_random=20, budget=0, scheduler=scheduler)

    measured = measured_of(found)
    assert measured.verdict in ("better_than_random", "better_than_trivial")
    rng = np.random.default_rng(0)
    words = [example.words() for example in found]
    shuffled = Attribution.from_scores(
        texts,
        [[word.word for word in row] for row in words],
        [rng.permutation([word.score for word in row]) for row in words],
        target=[str(example.target.label) for example in found],
    )
    assert measured_of(shuffled).verdict == "not_better"
    # Nothing is lost on the way out and in again: the unshuffled copy measures as the original does.
    copy = Attribution.from_scores(
        texts,
        [[word.word for word in row] for row in words],
        [[word.score for word in row] for row in words],
        target=[str(example.target.label) for example in found],
    )
    row, again = measured.rows[0], measured_of(copy).rows[0]
    assert again.value == pytest.approx(row.value, abs=1e-6)


def test_an_audit_run_twice_has_the_same_bytes(minilm: AttachedModel, sst2_dev: Table, tmp_path: Path) -> None:
    config = {
        "explained": 5, "errors_shown": 1, "random_shown": 2, "compared": 0, "randomised": 0, "attention": 4,
        "probed": 0, "bootstraps": 100,
    }  # fmt: skip
    written = []
    for name in ("first", "second"):
        audit = interpret.audit(
            minilm, sst2_dev.path, header=False, columns=["label", "text"], limit=40, config=config, progress=False
        )
        audit.save(tmp_path / name)
        written.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    run = [json.loads(files.pop("run.json")) for files in written]
    assert "audit.json" in written[0]
    assert written[0] == written[1]
    assert run[0].keys() == run[1].keys()
    assert Audit.load(tmp_path / "first").identity.capture_logit_difference == 0.0


def test_a_checkpoint_without_a_head_is_refused(headless: Path) -> None:
    with pytest.raises(LoadError, match="this checkpoint has no classification head"):
        interpret.load(headless, task="text-classification", device="cpu")
    assert interpret.load(headless, device="cpu").info()["task"] == "none"
