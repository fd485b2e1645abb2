"""Audits on real data of other tasks: a treebank, questions about paragraphs, a model that tells stories."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

import interpret
import reports
from interpret.facade import AttachedModel
from interpret.readers.conllu import read_conllu
from interpret.readers.squad import read_squad
from tests import zoo
from tests.real.conftest import there

COUNTS = {
    "explained": 5, "errors_shown": 2, "random_shown": 2, "compared": 0, "randomised": 0, "attention": 5,
    "probed": 0, "method": "gradient_x_input", "bootstraps": 200,
}  # fmt: skip
STORIES = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park.",
    "One day, Tom and his mom went to the park. They saw a big dog.",
    "The cat was very happy. She liked to run and play with her friends.",
    "Ben had a red ball. He liked to play with his ball every day.",
    "Lily wanted to help her mom. She put the toys in the box.",
    "They were very happy and they played together all day.",
    "The little bird was sad. It could not find its mom.",
    "Tim saw a big tree. He wanted to climb the tree.",
    "Her mom smiled and gave her a big hug.",
    "The sun was hot and the sky was blue.",
    "Once there was a big bear who lived in the woods.",
    "Sam and Mia are friends. They like to play with cars.",
)


def test_stories_are_foretold_better_than_the_same_words_in_any_order(stories: AttachedModel, tmp_path: Path) -> None:
    audit = interpret.audit(stories, [{"text": text} for text in STORIES], config=COUNTS, progress=False)
    nats, n = 0.0, 0
    for text in STORIES:
        ids = stories.handle.tokenizer(text, return_tensors="pt")["input_ids"]  # type: ignore[misc]
        with torch.no_grad():
            logits = stories.handle.model(ids).logits[0, :-1].double()
        nats += float(nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
        n += ids.shape[1] - 1
    assert audit.performance is not None
    accuracy, perplexity = audit.performance.metrics
    assert perplexity.value == pytest.approx(math.exp(nats / n), rel=1e-4)
    assert accuracy.n == n
    rng = random.Random(0)
    mixed = [" ".join(rng.sample(text.split(), len(text.split()))) for text in STORIES]
    other = interpret.audit(stories, [{"text": text} for text in mixed], config=COUNTS, progress=False).performance
    assert other is not None
    assert other.metrics[1].ci_low is not None
    assert perplexity.ci_high is not None
    assert other.metrics[1].ci_low > perplexity.ci_high
    assert reports.render(audit, tmp_path / "stories.html").stat().st_size > 0


def test_a_tagger_on_the_english_treebank(shared: Path, tmp_path: Path) -> None:
    path = there(shared / "data" / "ud_en_ewt" / "dev.conllu", shared)
    tags = Counter(tag for sentence in read_conllu(path) for tag in sentence.labels if tag is not None)
    built = zoo.build("bert", "token-classification")
    built.model.config.id2label = dict(enumerate(sorted(tags)))
    built.model.config.label2id = {tag: i for i, tag in enumerate(sorted(tags))}
    built.model.classifier = nn.Linear(built.model.config.hidden_size, len(tags))
    built.model.num_labels = len(tags)
    lm = interpret.attach(built.model.eval(), built.tokenizer, name="tagger")
    audit = interpret.audit(lm, path, config=COUNTS, limit=60, progress=False)
    assert audit.performance is not None
    assert audit.performance.labels == tuple(sorted(tags))
    assert audit.performance.unit == "word"
    assert audit.data.n_rows == 2001
    assert audit.data.label_column == "upos"
    assert sum(audit.data.label_counts.values()) >= audit.performance.confusion.sum() > 300
    assert {case.attribution.target.kind for case in audit.cases} == {"token_class"}
    reports.render(audit, tmp_path / "tagger.html", locale="zh")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_questions_of_xquad(language: str, shared: Path, tmp_path: Path) -> None:
    path = there(shared / "data" / "xquad" / f"xquad.{language}.json", shared)
    questions = read_squad(path)
    assert len(questions) == 1190
    assert all(answer in question.context for question in questions for answer in question.answers)
    built = zoo.build("bert", "question-answering")
    lm = interpret.attach(built.model, built.tokenizer, name="answers")
    audit = interpret.audit(lm, path, config=COUNTS, limit=20, progress=False)
    assert audit.performance is not None
    assert [metric.name for metric in audit.performance.metrics] == ["exact_match", "f1"]
    assert audit.data.n_truncated > 0, "paragraphs are longer than what the tiny model reads, and that is said"
    of_row = {question.question: question for question in questions}
    for case in audit.cases:
        question, context = case.attribution.text.split("\n", 1)
        assert of_row[question].context == context
        assert case.label == of_row[question].answers[0]
        assert case.prediction in context
    reports.render(audit, tmp_path / "answers.html", locale="zh")
