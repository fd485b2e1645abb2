"""Audits of models that tag words, answer questions, foretell and write; numbers against plain forwards and sklearn."""

from __future__ import annotations

import json
import math
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn

import interpret
import reports
from interpret.auditing.answering import exact, f1
from interpret.errors import DataError, UsageError
from interpret.facade import AttachedModel
from interpret.readers.squad import read_squad
from interpret.results.audits import SECTIONS, Audit
from tests import zoo
from tests.tiny import TEXTS, WORDS, seeded

SMALL = {
    "explained": 6, "errors_shown": 2, "random_shown": 2, "compared": 5, "randomised": 5, "attention": 5,
    "compared_methods": "gradient_x_input, leave_one_out", "bootstraps": 200,
}  # fmt: skip
TAGS = ("NOUN", "VERB", "ADJ")
NOUNS, VERBS, ADJECTIVES = "film cat story day fish".split(), "was ate said like".split(), "good bad sad happy".split()


def _attach(family: str, task: str, labels: tuple[str, ...] = ()) -> AttachedModel:
    built = zoo.build(family, task)
    if labels:
        built.model.config.id2label = dict(enumerate(labels))
        built.model.config.label2id = {name: i for i, name in enumerate(labels)}
    return interpret.attach(built.model, built.tokenizer, name=f"tiny-{task}")


def _complete(audit: Audit, tmp_path: Path) -> dict[str, str | None]:
    """Every section is covered, it renders in both languages and reads back; why those are missing that are."""
    assert [row.section for row in audit.coverage[: len(SECTIONS)]] == list(SECTIONS)
    assert audit.identity.capture_logit_difference == 0.0
    assert audit.identity.weights_sha256_before == audit.identity.weights_sha256_after
    assert Audit.load(audit.save(tmp_path / "audit")).to_dict() == audit.to_dict()
    for locale in ("en", "zh"):
        reports.render(audit, tmp_path / f"{locale}.html", locale=locale)
    assert audit.explanation_quality is not None
    assert all(case.attribution.quality is not None for case in audit.cases)
    for row in audit.coverage:
        assert row.status == "done" or row.why is not None
    return {row.section: None if row.why is None else row.why.code for row in audit.coverage[: len(SECTIONS)]}


# --- words


def _treebank(path: Path, n: int, seed: int = 0) -> list[tuple[list[str], list[str]]]:
    rng = random.Random(seed)
    sentences = []
    for _ in range(n):
        kinds = [rng.randrange(3) for _ in range(rng.randint(3, 9))]
        words = [rng.choice((NOUNS, VERBS, ADJECTIVES)[kind]) for kind in kinds]
        sentences.append((words, [TAGS[kind] for kind in kinds]))
    blocks = []
    for words, tags in sentences:
        lines = [f"{i}\t{w}\t_\t{t}\t_\t_\t_\t_\t_\t_" for i, (w, t) in enumerate(zip(words, tags, strict=True), 1)]
        blocks.append("\n".join(lines) + "\n\n")
    path.write_text("".join(blocks), encoding="utf-8")
    return sentences


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, AttachedModel, list[tuple[list[str], list[str]]]]:
    path = tmp_path_factory.mktemp("tagged") / "small.conllu"
    sentences = _treebank(path, 60)
    lm = _attach("bert", "token-classification", TAGS)
    return interpret.audit(lm, path, config=SMALL, progress=False), lm, sentences


def test_a_tagger_is_audited_by_word(tagged: Any, tmp_path: Path) -> None:
    audit, lm, sentences = tagged
    gold: list[str] = []
    found: list[str] = []
    right_of_text, n_of_text = [], []
    for words, tags in sentences:
        batch = lm.handle.tokenizer(words, is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            best = lm.handle.model(**batch).logits[0].argmax(-1).tolist()
        first = {w: p for p, w in reversed(list(enumerate(batch.word_ids()))) if w is not None}
        says = [TAGS[best[first[w]]] for w in range(len(words))]
        gold += tags
        found += says
        right_of_text.append(sum(a == b for a, b in zip(tags, says, strict=True)))
        n_of_text.append(len(words))
    performance = audit.performance
    assert performance.unit == "word"
    accuracy, macro = performance.metrics
    assert accuracy.name == "token_accuracy"
    assert accuracy.n == len(gold) == performance.confusion.sum()
    assert accuracy.value == pytest.approx(np.mean([a == b for a, b in zip(gold, found, strict=True)]))
    assert macro.value == pytest.approx(f1_score(gold, found, average="macro"))
    # The interval is that of the ratio estimator over sentences, whose standard error has a closed form.
    right, n = np.array(right_of_text), np.array(n_of_text)
    residual = right - accuracy.value * n
    error = math.sqrt(len(n) * residual.var(ddof=1)) / n.sum()
    assert accuracy.ci_high - accuracy.ci_low == pytest.approx(2 * 1.96 * error, rel=0.25)
    why = _complete(audit, tmp_path)
    assert why["performance"] is None
    assert why["comparison"] == "section.no_base"
    for case in audit.cases:
        words, tags = sentences[case.row]
        word = case.attribution.target.word
        assert word in words
        assert case.label in {tag for w, tag in zip(words, tags, strict=True) if w == word}
        assert case.attribution.target.label == case.prediction
        assert (case.rule == "error") <= (case.label != case.prediction)


def test_taggers_want_a_treebank_and_others_do_not(tmp_path: Path) -> None:
    lm = _attach("bert", "token-classification", TAGS)
    with pytest.raises(UsageError, match=r"audited on a treebank, a \.conllu file; found data of type list"):
        interpret.audit(lm, [{"text": "the cat"}], progress=False)
    _treebank(tmp_path / "t.conllu", 3)
    with pytest.raises(UsageError, match="labels every word"):
        interpret.audit(_attach("bert", "text-classification"), tmp_path / "t.conllu", progress=False)


# --- questions


def _squad(path: Path, n: int) -> list[tuple[str, str, str]]:
    rng = random.Random(1)
    asked = []
    for _ in range(n):
        words = rng.choices(WORDS[:20], k=rng.randint(8, 14))
        start = rng.randrange(len(words) - 2)
        asked.append(("the story ?", " ".join(words), " ".join(words[start : start + 2])))
    paragraphs = [
        {"context": context, "qas": [{"id": str(i), "question": question, "answers": [{"text": answer}]}]}
        for i, (question, context, answer) in enumerate(asked)
    ]
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    return asked


def test_answers_to_questions_are_audited(tmp_path: Path) -> None:
    asked = _squad(tmp_path / "asked.json", 24)
    lm = _attach("bert", "question-answering")
    audit = interpret.audit(lm, tmp_path / "asked.json", config=SMALL, progress=False)
    performance = audit.performance
    assert performance is not None
    assert performance.unit == "question"
    assert [m.name for m in performance.metrics] == ["exact_match", "f1"]
    assert performance.confusion.shape == (0, 0)
    said = []
    for question, context, _ in asked:
        batch = lm.handle.tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True)
        spans, of = batch.pop("offset_mapping")[0].tolist(), batch.sequence_ids(0)
        with torch.no_grad():
            out = lm.handle.model(**batch)
        pairs = [
            (float(out.start_logits[0, s] + out.end_logits[0, e]), s, e)
            for s in range(len(of))
            for e in range(s, min(len(of), s + 30))
            if of[s] == 1 and of[e] == 1
        ]
        _, start, end = max(pairs)
        said.append(context[spans[start][0] : spans[end][1]])
    expected = [a.split() == wanted.split() for a, (_, _, wanted) in zip(said, asked, strict=True)]
    assert performance.metrics[0].value == pytest.approx(np.mean(expected))
    assert [case.prediction for case in audit.cases] == [said[case.row] for case in audit.cases]
    why = _complete(audit, tmp_path)
    assert why["probes"] == "section.task_not_supported"
    assert why["global_attribution"] == "section.task_not_supported"


@pytest.mark.parametrize(
    ("answer", "accepted", "equal", "overlap"),
    [
        ("The Broncos!", ["broncos"], True, 1.0),
        ("Denver Broncos", ["the Broncos", "Denver"], False, 2 / 3),
        ("308分", ["308"], False, 2 * (1 / 2) / (1 / 2 + 1)),
        ("", ["a"], True, 1.0),
        ("nothing", ["some thing"], False, 0.0),
    ],
)
def test_the_metrics_of_squad(answer: str, accepted: list[str], equal: bool, overlap: float) -> None:
    assert exact(answer, accepted) is equal
    assert f1(answer, accepted) == pytest.approx(overlap)


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "line 1: not JSON"), ("{}", "no list 'data'"), ('{"data": [{"paragraphs": [{"qas": []}]}]}', "'context'")],
)
def test_a_broken_file_of_questions_is_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "q.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_squad(tmp_path / "q.json")


# --- language models


def test_a_causal_model_is_audited_on_every_token(tmp_path: Path) -> None:
    lm = _attach("llama", "causal-lm")
    rng = random.Random(3)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(4, 12))) for _ in range(20)]
    audit = interpret.audit(lm, [{"text": text} for text in texts], config=SMALL, progress=False)
    nats = hits = n = 0.0
    for text in texts:
        ids = lm.handle.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = lm.handle.model(ids).logits[0, :-1].double()
        nats += float(nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
        hits += float((logits.argmax(-1) == ids[0, 1:]).sum())
        n += ids.shape[1] - 1
    assert audit.performance is not None
    accuracy, perplexity = audit.performance.metrics
    assert (accuracy.name, perplexity.name) == ("next_token_accuracy", "perplexity")
    assert accuracy.n == n
    assert accuracy.value == pytest.approx(hits / n)
    assert perplexity.value == pytest.approx(math.exp(nats / n), rel=1e-5)
    assert perplexity.ci_low is not None
    assert perplexity.ci_high is not None
    assert perplexity.ci_low < perplexity.value < perplexity.ci_high
    assert _complete(audit, tmp_path)["performance"] is None


@cache
def _copier() -> AttachedModel:
    """A tiny T5 that was taught to write one word after reading it."""
    built = zoo.build("t5", "seq2seq-lm")
    model, tokenizer = built.model, built.tokenizer
    words = WORDS[:6]
    model = seeded(lambda: type(model)(model.config), 0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(0.4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    batch = tokenizer(words, return_tensors="pt", padding=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    for _ in range(150):
        loss = model(**batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    return interpret.attach(model.eval(), tokenizer, name="copier")


def test_a_model_that_writes_is_audited_against_what_it_should_write(tmp_path: Path) -> None:
    lm = _copier()
    handle = lm.handle
    sources = [*WORDS[:6], *WORDS[6:12]]
    rows = [{"text": word, "target": word} for word in sources]
    audit = interpret.audit(lm, rows, config=SMALL, progress=False)
    assert audit.performance is not None
    found = {metric.name: metric for metric in audit.performance.metrics}
    exactly, nats, hits, n = [], 0.0, 0.0, 0
    for word in sources:
        batch = handle.tokenizer(word, return_tensors="pt")
        with torch.no_grad():
            written = handle.model.generate(**batch, do_sample=False, num_beams=1, max_new_tokens=12)
            out = handle.model(**batch, labels=batch["input_ids"])
        exactly.append(handle.tokenizer.decode(written[0], skip_special_tokens=True).strip() == word)
        length = batch["input_ids"].shape[1]
        nats += float(out.loss) * length
        hits += float((out.logits[0].argmax(-1) == batch["input_ids"][0]).sum())
        n += length
    assert any(exactly), "the copier copies what it was taught"
    assert found["exact_match"].value == pytest.approx(np.mean(exactly))
    assert found["token_accuracy"].value == pytest.approx(hits / n)
    assert found["perplexity"].value == pytest.approx(math.exp(nats / n), rel=1e-4)
    for case in audit.cases:
        assert case.attribution.target.kind == "sequence"
        assert (case.prediction == case.label) == exactly[case.row]
    why = _complete(audit, tmp_path)
    assert why["attention"] == "section.task_not_supported"


def test_without_references_a_model_that_writes_is_still_explained(tmp_path: Path) -> None:
    audit = interpret.audit(_copier(), [{"text": word} for word in WORDS[:8]], config=SMALL, progress=False)
    assert audit.performance is None
    assert _complete(audit, tmp_path)["performance"] == "section.no_labels"


def test_value_zeroing_is_planned_with_rows_for_what_is_written_too() -> None:
    lm, config = _copier(), {**SMALL, "explained": 12, "method": "value_zeroing"}

    def rows(*target: str) -> float:
        data = [{"text": " ".join(WORDS[i : i + 4]), "target": " ".join(target)} for i in range(12)]
        plan = interpret.plan_audit(lm, data, config=config)
        return next(stage.forward for stage in plan.stages if stage.stage == "explanations")

    # Three words more in each of twelve texts, half a token more than words.
    assert rows(*WORDS[:4]) - rows(WORDS[0]) == pytest.approx(1.5 * 3 * 12, abs=1)


def test_every_task_can_be_planned(tmp_path: Path) -> None:
    _treebank(tmp_path / "t.conllu", 20)
    _squad(tmp_path / "q.json", 20)
    texts = [{"text": " ".join(WORDS[i : i + 4]), "target": WORDS[i]} for i in range(12)]
    asked: list[tuple[AttachedModel, Any]] = [
        (_attach("bert", "token-classification", TAGS), tmp_path / "t.conllu"),
        (_attach("bert", "question-answering"), tmp_path / "q.json"),
        (_attach("llama", "causal-lm"), [{"text": row["text"]} for row in texts]),
        (_copier(), texts),
    ]
    for lm, data in asked:
        plan = interpret.plan_audit(lm, data, config=SMALL, budget="1h")
        rows = {stage.stage: stage for stage in plan.stages}
        assert rows["predictions"].forward == plan.n_examples
        assert rows["explanations"].seconds > 0
        assert rows["performance"].why is None
        why = rows["shortcuts"].why
        assert why is not None
        assert why.params["task"] == lm.handle.task


# --- classifiers that read the text with an encoder and a decoder


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_a_classifier_of_two_stacks_is_audited_as_far_as_it_goes(family: str, tmp_path: Path) -> None:
    lm = _attach(family, "text-classification")
    labels = [str(name) for name in lm.handle.labels]
    rows = [{"text": f"{text} {i}", "label": labels[i % 3], "sex": "fm"[i % 2]} for i, text in enumerate(TEXTS * 6)]
    config = {**SMALL, "attention": 8, "perturbed": 8, "shortcut_texts": 24, "protected": "sex"}
    audit = interpret.audit(lm, rows, config=config, progress=False)
    reasons = _complete(audit, tmp_path)
    assert reasons["attention"] == reasons["probes"] == "section.several_stacks"
    assert audit.concepts is None
    # Gradients cannot be taken where the text enters at two places, and that is said; the others are there.
    assert audit.explanation_quality is not None
    assert [one.method for one in audit.explanation_quality.methods] == ["leave_one_out"]
    (lacks,) = [row for row in audit.coverage[len(SECTIONS) :] if row.section == "explanation_quality"]
    assert lacks.why is not None
    assert (lacks.why.code, lacks.why.params) == ("section.no_gradients", {"names": "gradient_x_input"})
    right = []
    for row in rows:
        with torch.no_grad():
            logits = lm.handle.model(**lm.handle.tokenizer(row["text"], return_tensors="pt")).logits[0]
        right.append(labels[int(logits.argmax())] == row["label"])
    assert audit.performance is not None
    assert audit.performance.metrics[0].value == pytest.approx(np.mean(right))
    plan = interpret.plan_audit(lm, rows, config=config).to_frame().set_index("stage")
    assert plan.loc["attention", "why"] == plan.loc["concepts", "why"] == "section.several_stacks"
