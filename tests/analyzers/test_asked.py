"""What says nothing to a model's task is refused before the model runs, by the name it was given under."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import interpret
from interpret.errors import UsageError
from tests import zoo
from tests.tiny import TEXTS

CLASSIFIER = ("bert", "text-classification")
ANSWERS = ("bert", "question-answering")
HEADLESS = ("bert", "none")
WRITER = ("gpt2", "causal-lm")
REFUSED: list[Any] = [
    (CLASSIFIER, {"at": 99}, r"at= \(--at\) says nothing to a text-classification model"),
    (CLASSIFIER, {"response": "x"}, r"response= \(--response\) says nothing to a text-"),
    # As `--max-new-tokens 3` is passed on.
    (CLASSIFIER, {"response": True, "max_new_tokens": 3}, r"^max_new_tokens= \(--max-new-tokens\) says nothing"),
    (CLASSIFIER, {"max_new_tokens": 3}, r"^max_new_tokens= \(--max-new-tokens\) says nothing"),
    (CLASSIFIER, {"target": len, "at": 0}, r"at= \(--at\) says nothing to a target that is a function"),
    (("bert", "token-classification"), {"at": 0, "max_new_tokens": 3}, "says nothing to a token-classification model"),
    (("bert", "masked-lm"), {"max_new_tokens": 3}, "says nothing to a masked-lm model"),
    (HEADLESS, {"method": "attention_rollout", "at": 1}, "says nothing to a model without a head"),
    (ANSWERS, {"at": 1}, "says nothing to a question-answering model"),
    (ANSWERS, {"target": ("start", "end")}, "one class rather than another.*has no classes"),
    (WRITER, {"max_new_tokens": 3}, "not asked to write; give response=True"),
    (WRITER, {"response": " so", "max_new_tokens": 3}, "what was written is given already"),
    (("t5", "seq2seq-lm"), {"response": "so", "max_new_tokens": 3}, "what was written is given already"),
]


def forbidden(*_: Any, **__: Any) -> Any:
    raise AssertionError("a forward was run")


@pytest.mark.parametrize(("case", "options", "match"), REFUSED)
def test_what_would_be_ignored_is_refused(
    case: tuple[str, str], options: dict[str, Any], match: str, tmp_path: Path
) -> None:
    built = zoo.build(case[0], case[1] if case != HEADLESS else "masked-lm")
    lm = interpret.attach(built.model if case != HEADLESS else built.model.base_model, built.tokenizer)
    lm.handle.model.register_forward_pre_hook(forbidden)
    texts: list[Any] = [("who?", text) if case == ANSWERS else text for text in TEXTS[:2]]
    if case[1] == "masked-lm":
        texts = [f"{built.tokenizer.mask_token} {text}" for text in texts]
    options = {"method": "leave_one_out", "quality": False, **options}
    with pytest.raises(UsageError, match=match):
        lm.attribute(texts, **options)
    if case == ANSWERS or callable(options.get("target")):
        return
    with pytest.raises(UsageError, match=match):
        lm.attribute_to(tmp_path / "a.parquet", texts, **options)
    assert not list(tmp_path.iterdir())


def test_what_a_writer_may_write_is_still_said() -> None:
    built = zoo.build(*WRITER)
    lm = interpret.attach(built.model, built.tokenizer)
    (matrix,) = lm.attribute_each(TEXTS[0], method="leave_one_out", response=" so")
    assert matrix.scores.shape[0] == len(built.tokenizer(" so")["input_ids"])
    with pytest.raises(UsageError, match="what was written is given already"):
        lm.attribute_each(TEXTS[0], method="leave_one_out", response=" so", max_new_tokens=3)
    (one,) = lm.attribute(TEXTS[0], method="leave_one_out", quality=False, response=True, max_new_tokens=2)
    assert len(one.target.response) <= 2
