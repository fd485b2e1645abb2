"""Every kind of output: what is explained is what a plain forward of transformers says, also of removed words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from interpret.analyzers.attribution import attribute
from interpret.analyzers.faithfulness import measure
from interpret.analyzers.scheduler import removal
from interpret.analyzers.target import class_names, resolve_targets, restore_targets
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from interpret.results.explanations import Attribution, ExampleAttribution
from tests import zoo

TEXTS = ["the cat ate the red fish", "a very good day"]
PAIRS = [("was the film good", "the film was not a good film"), ("the end", "she said the end was sad")]


def handle_of(family: str, task: str) -> Handle:
    built = zoo.build(family, task)
    return attach_handle(built.model, built.tokenizer)


def outputs_of(handle: Handle, example: ExampleAttribution, ids: list[int]) -> Any:
    """One plain forward of one text, its response appended or given to the decoder."""
    model, response = handle.model, list(example.target.response)
    with torch.no_grad():
        if handle.task == "seq2seq-lm":
            start = handle.config.decoder_start_token_id
            return model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[start, *response]]))
        if handle.task == "causal-lm":
            return model(input_ids=torch.tensor([ids + response]))
        options = {}
        if example.pair_start is not None and "token_type_ids" in handle.tokenizer.model_input_names:
            options["token_type_ids"] = torch.tensor([handle.tokenizer(*example.text.split("\n")).token_type_ids])
        return model(input_ids=torch.tensor([ids]), **options)


def scalar(handle: Handle, example: ExampleAttribution, ids: list[int]) -> float:
    """The explained scalar, read off a plain forward by the definition of its kind."""
    out, target = outputs_of(handle, example, ids), example.target
    if target.kind in ("start", "end", "span"):
        start, end = float(out.start_logits[0, target.position]), float(out.end_logits[0, target.end])
        return {"start": start, "end": end, "span": start + end}[target.kind]
    if target.kind == "token_class":
        return float(out.logits[0, target.position, target.index])
    # The logits that foretell the first token of the response.
    first = 0 if handle.task == "seq2seq-lm" else len(ids) - 1
    if target.kind == "output_token":
        return float(out.logits[0, first + target.position, target.index])
    assert target.kind == "sequence"
    logs = out.logits[0].log_softmax(-1)
    return sum(float(logs[first + n, token]) for n, token in enumerate(target.response))


def probability(handle: Handle, example: ExampleAttribution, ids: list[int]) -> float:
    """The probability of what is explained: of a span both ends, of a response every token."""
    out, target = outputs_of(handle, example, ids), example.target
    if target.kind in ("start", "end", "span"):
        start = float(out.start_logits[0].softmax(-1)[target.position])
        end = float(out.end_logits[0].softmax(-1)[target.end])
        return {"start": start, "end": end, "span": start * end}[target.kind]
    if target.kind == "sequence":
        return float(np.exp(scalar(handle, example, ids)))
    first = 0 if handle.task == "seq2seq-lm" else len(ids) - 1
    place = target.position if target.kind == "token_class" else first + (target.position or 0)
    return float(out.logits[0, place].softmax(-1)[target.index])


CASES: list[tuple[str, str, list[Any], dict[str, Any]]] = [
    ("bert", "token-classification", TEXTS, {"at": 1}),
    ("roberta", "token-classification", TEXTS, {"at": [-1, 0]}),
    ("gpt_oss", "token-classification", TEXTS, {"at": 1}),
    ("bert", "question-answering", PAIRS, {}),
    ("distilbert", "question-answering", PAIRS, {"target": "start"}),
    ("roberta", "question-answering", PAIRS, {"target": ["film", "end"]}),
    ("t5", "question-answering", PAIRS, {"target": "end"}),
    ("llama", "causal-lm", TEXTS, {"response": " was happy", "at": 1}),
    ("gpt2", "causal-lm", TEXTS, {"response": True, "max_new_tokens": 4}),
    ("llama", "causal-lm", TEXTS, {"response": ["was happy and sad", "at all"]}),
    ("t5", "seq2seq-lm", TEXTS, {"at": 0}),
    ("t5", "seq2seq-lm", TEXTS, {"response": "the end was sad"}),
    ("bart", "seq2seq-lm", TEXTS, {"response": "a good day", "at": -1}),
    ("mbart", "seq2seq-lm", TEXTS, {"at": 1}),
    ("m2m_100", "seq2seq-lm", TEXTS, {}),
    ("marian", "seq2seq-lm", TEXTS, {"response": "a good day"}),
    ("pegasus", "seq2seq-lm", TEXTS, {"response": "a good day", "at": -1}),
]  # fmt: skip
IDS = [f"{family}-{task}-{'-'.join(options) or 'default'}" for family, task, _, options in CASES]


@pytest.mark.parametrize(("family", "task", "texts", "options"), CASES, ids=IDS)
def test_what_is_explained_is_the_models_own_output(
    family: str, task: str, texts: list[Any], options: dict[str, Any]
) -> None:
    handle = handle_of(family, task)
    encoded = encode(handle, texts)
    operator = removal(handle)
    gone = attribute(handle, encoded, method="leave_one_out", **options)
    for e, example in zip(encoded, gone, strict=True):
        ids = list(e.ids)
        whole = scalar(handle, example, ids)
        assert example.value == pytest.approx(whole, abs=1e-4)
        for word in example.words():
            without = [operator.token_id if p in word.positions else token for p, token in enumerate(ids)]
            assert word.score == pytest.approx(whole - scalar(handle, example, without), abs=2e-4), word.word
    alone = attribute(handle, encoded[1:], method="leave_one_out", **_last(options))
    assert np.abs(alone[0].scores - gone[1].scores).max() < 1e-4


#: Experts are chosen by a threshold, so that the output jumps along the path; and a text that enters twice.
ROUGH = [case for case in CASES if case[0] == "gpt_oss" or case[:2] == ("t5", "question-answering")]
SMOOTH = [case for case in CASES if case not in ROUGH]


@pytest.mark.parametrize(("family", "task", "texts", "options"), SMOOTH)
def test_a_path_ends_at_the_models_own_outputs(
    family: str, task: str, texts: list[Any], options: dict[str, Any]
) -> None:
    handle = handle_of(family, task)
    encoded = encode(handle, texts)
    operator = removal(handle)
    found = attribute(handle, encoded, method="integrated_gradients", max_steps=400, **options)
    for e, example in zip(encoded, found, strict=True):
        empty = [token if special else operator.token_id for token, special in zip(e.ids, e.special, strict=True)]
        difference = scalar(handle, example, list(e.ids)) - scalar(handle, example, empty)
        assert example.scores.sum() == pytest.approx(difference, abs=0.011 * abs(difference) + 2e-4)
        assert np.all(example.scores[example.special] == 0.0)


def test_a_path_over_which_the_output_jumps_is_said_to_be_incomplete() -> None:
    handle = handle_of("gpt_oss", "token-classification")
    found = attribute(handle, encode(handle, TEXTS), method="integrated_gradients", at=1)
    assert max(delta or 0.0 for delta in found.convergence_delta) > 0.1


def test_where_a_text_enters_twice_auto_removes_words_and_gradients_are_refused() -> None:
    handle = handle_of("t5", "question-answering")
    encoded = encode(handle, PAIRS)
    assert attribute(handle, encoded).method == "leave_one_out"
    with pytest.raises(UsageError, match="both encoder and decoder"):
        attribute(handle, encoded, method="integrated_gradients")


@pytest.mark.parametrize(("family", "task", "texts", "options"), CASES, ids=IDS)
def test_the_quality_of_every_kind_is_measured_on_its_own_probability(
    family: str, task: str, texts: list[Any], options: dict[str, Any]
) -> None:
    handle = handle_of(family, task)
    encoded = encode(handle, texts)
    operator = removal(handle)
    found = attribute(handle, encoded, method="leave_one_out", **options)
    quality = measure(handle, found, fractions=(1.0,))
    # Where everything goes there is one ranking: what is measured is right, and is evidence of nothing.
    assert quality.rows[0].n == 0
    for e, example, one in zip(encoded, found, quality.per_example, strict=True):
        empty = [token if special else operator.token_id for token, special in zip(e.ids, e.special, strict=True)]
        change = probability(handle, example, list(e.ids)) - probability(handle, example, empty)
        assert one is not None
        assert one.comprehensiveness == pytest.approx(change, abs=1e-5)


def _last(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value[1:] if isinstance(value, list) else value for name, value in options.items()}


@pytest.mark.parametrize(("family", "task", "texts", "options"), CASES, ids=IDS)
def test_a_target_comes_back_from_its_record(family: str, task: str, texts: list[Any], options: dict[str, Any]) -> None:
    handle = handle_of(family, task)
    encoded = encode(handle, texts)
    targets = resolve_targets(handle, encoded, **options)
    records = [target.record(handle, e) for target, e in zip(targets, encoded, strict=True)]
    assert restore_targets(handle, encoded, records) == targets


@pytest.mark.parametrize("method", ["shap", "gradient_x_input", "integrated_gradients"])
def test_attributions_of_a_t5_stand_on_the_encoder_side(method: str) -> None:
    # Encoder and decoder share one embedding: hooked there, the decoder's tokens would be explained.
    handle = handle_of("t5", "seq2seq-lm")
    encoded = encode(handle, TEXTS)
    found = attribute(handle, encoded, method=method, response="the end was sad", at=2)
    for e, example in zip(encoded, found, strict=True):
        assert example.tokens == e.tokens
        assert np.abs(example.scores).max() > 0


def test_words_of_a_pair_stay_apart_and_their_characters_are_theirs() -> None:
    handle = handle_of("bert", "question-answering")
    (e,) = encode(handle, [("was the cat", "cat ate")])
    assert e.text == "was the cat\ncat ate"
    assert e.pair_start == 12
    assert [e.text[a:b] for (a, b), special in zip(e.char_spans, e.special, strict=True) if not special] == [
        "was", "the", "cat", "cat", "ate",
    ]  # fmt: skip
    assert e.n_words == 5
    (found,) = attribute(handle, [e], method="leave_one_out", target="cat ate")
    assert found.target.word == "cat ate"
    assert found.pair_start == 12


def test_a_predicted_answer_lies_in_the_context_and_ends_after_it_begins() -> None:
    handle = handle_of("bert", "question-answering")
    encoded = encode(handle, PAIRS)
    for e, target in zip(encoded, resolve_targets(handle, encoded), strict=True):
        assert target.position is not None
        assert target.end is not None
        assert target.position <= target.end
        assert e.char_spans[target.position][0] >= (e.pair_start or 0)


def test_the_probability_of_a_response_is_the_product_of_its_tokens() -> None:
    from interpret.analyzers.attribution.job import Job
    from interpret.analyzers.scheduler import Scheduler, features

    handle = handle_of("llama", "causal-lm")
    encoded = encode(handle, TEXTS[:1])
    targets = resolve_targets(handle, encoded, response=" was happy")
    job = Job(handle, encoded, targets, [features(encoded[0])], Scheduler(handle), 0)
    scored = job.score([job.full_row(0)], [0])
    assert np.log(scored.probability) == pytest.approx(scored.logit)
    text = list(encoded[0].ids) + list(targets[0].response)
    with torch.no_grad():
        logs = handle.model(input_ids=torch.tensor([text])).logits[0].log_softmax(-1)
    n = len(encoded[0].ids)
    expected = sum(float(logs[n - 1 + k, token]) for k, token in enumerate(targets[0].response))
    assert scored.logit[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("task", ["multi_label_classification", "regression"])
def test_independent_labels_and_a_number(task: str) -> None:
    built = zoo.build("bert", "text-classification")
    built.model.config.problem_type = task
    handle = attach_handle(built.model, built.tokenizer)
    encoded = encode(handle, TEXTS)
    found = attribute(handle, encoded, target=0, method="leave_one_out")
    for e, example in zip(encoded, found, strict=True):
        with torch.no_grad():
            logit = float(handle.model(input_ids=torch.tensor([e.ids])).logits[0, 0])
        assert example.value == pytest.approx(logit, abs=1e-5)


@pytest.mark.parametrize(
    ("family", "task", "texts", "options", "said"),
    [
        ("bert", "token-classification", TEXTS, {}, "at="),
        ("bert", "token-classification", TEXTS, {"at": 40}, "word 40.*words 0 to 5"),
        ("bert", "token-classification", TEXTS, {"at": 0, "target": "nothing"}, "no label 'nothing'"),
        ("bert", "token-classification", TEXTS, {"at": 0, "response": "x"}, "response="),
        ("bert", "question-answering", PAIRS, {"target": "zebra"}, "'zebra' does not stand in the context"),
        ("llama", "causal-lm", TEXTS, {"at": 0}, "response="),
        ("llama", "causal-lm", TEXTS, {"response": ["one"]}, "1 entries for 2 texts"),
        ("llama", "causal-lm", TEXTS, {"response": "was", "at": 9}, "token 9 of a response"),
        ("gpt2", "causal-lm", TEXTS, {"response": ""}, "has no tokens"),
        ("bert", "text-classification", [TEXTS[0], PAIRS[0]], {}, "pairs apart"),
    ],
)
def test_what_cannot_be_explained_is_said(
    family: str, task: str, texts: list[Any], options: dict[str, Any], said: str
) -> None:
    handle = handle_of(family, task)
    with pytest.raises(UsageError, match=said):
        attribute(handle, encode(handle, texts), method="leave_one_out", **options)


def test_class_names_of_words() -> None:
    assert len(class_names(handle_of("bert", "token-classification"))) > 1
    assert isinstance(attribute(handle_of("bert", "token-classification"), [], at=0), Attribution)
