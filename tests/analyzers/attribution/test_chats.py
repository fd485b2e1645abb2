"""Explanations of chats: the template stays, what is said is removed, against plain forwards of transformers' ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interpret
from interpret.analyzers.attribution.context_cite import log_odds
from interpret.errors import UsageError
from interpret.results.explanations import Attribution
from interpret.results.views import to_html, to_text
from tests.chatting import CHAT, INST, chatting
from tests.tiny import TEXTS

MODEL, TOKENIZER = chatting()
LM = interpret.attach(MODEL, TOKENIZER, name="chatting")
CHATS = [list(CHAT), [{"role": "user", "content": "the cat ate the red fish"}]]


def plain_ids(chat: Any) -> list[int]:
    return TOKENIZER.apply_chat_template(list(chat), add_generation_prompt=True)["input_ids"]


def next_logit(ids: list[int], token: int) -> float:
    with torch.no_grad():
        return float(MODEL(torch.tensor([ids])).logits[0, -1, token])


def test_leave_one_out_is_the_difference_of_plain_forwards() -> None:
    found = LM.attribute(CHATS, method="leave_one_out", unit="token", quality=False)
    for chat, example in zip(CHATS, found, strict=True):
        ids = plain_ids(chat)
        assert example.token_ids.tolist() == ids
        assert example.target.index is not None
        whole = next_logit(ids, example.target.index)
        assert whole == pytest.approx(example.value, abs=1e-5)
        for p in range(len(ids)):
            if example.special[p]:
                assert example.scores[p] == 0.0
                continue
            without = [*ids[:p], TOKENIZER.eos_token_id, *ids[p + 1 :]]
            assert example.scores[p] == pytest.approx(whole - next_logit(without, example.target.index), abs=1e-4)


@pytest.mark.parametrize("method", ["integrated_gradients", "shap", "lime", "leave_one_out"])
def test_the_template_has_no_score_and_no_word(method: str) -> None:
    (example,) = LM.attribute(CHATS[0], method=method, quality=False)
    assert not example.scores[example.special].any()
    assert example.scores[~example.special].any()
    said = [word.word.strip() for word in example.words()]
    assert said[:4] == ["the", "cat", "was", "good"]
    assert said[-2:] == ["never", "assistant"]
    assert "user" in said
    assert said.count("assistant") == 1
    messages = example.message_index
    assert set(messages[~example.special].tolist()) == {0, 1, 2, 3}
    assert (messages[example.special] == -1).all()
    for word in example.words():
        assert example.text[word.char_start : word.char_end] == word.word
        (part,) = {int(messages[p]) for p in word.positions}
        of = next(one for one in example.chat if one.message == part)
        content = CHAT[part]["content"]
        assert content[word.char_start - of.start + of.cut :].startswith(word.word)


def test_messages_are_removed_whole() -> None:
    (example,) = LM.attribute(CHATS[0], method="leave_one_out", unit="message", quality=False)
    assert [word.word for word in example.words()] == [message["content"] for message in CHAT]
    ids = plain_ids(CHAT)
    for number, word in enumerate(example.words()):
        gone = example.message_index == number
        without = [TOKENIZER.eos_token_id if out else token for token, out in zip(ids, gone, strict=True)]
        assert example.target.index is not None
        loss = next_logit(ids, example.target.index) - next_logit(without, example.target.index)
        assert word.score == pytest.approx(loss, abs=1e-4)


def test_alone_as_in_a_batch() -> None:
    together = LM.attribute(CHATS, quality=False)
    for chat, example in zip(CHATS, together, strict=True):
        (alone,) = LM.attribute(chat, quality=False)
        np.testing.assert_allclose(alone.scores, example.scores, atol=1e-4)


def test_a_response_follows_the_prompt_that_the_template_opened() -> None:
    (example,) = LM.attribute(CHATS[1], response=True, max_new_tokens=5, quality=False)
    ids = plain_ids(CHATS[1])
    written = MODEL.generate(
        torch.tensor([ids]), do_sample=False, max_new_tokens=5, attention_mask=torch.ones(1, len(ids))
    )
    assert example.target.response == tuple(written[0, len(ids) :].tolist())
    response = " the cat was sad"
    (given,) = LM.attribute(CHATS[1], response=response, quality=False)
    whole = TOKENIZER(given.text + response, add_special_tokens=False)["input_ids"]
    assert [*given.token_ids.tolist(), *given.target.response] == whole
    with torch.no_grad():
        logs = MODEL(torch.tensor([whole])).logits[0].log_softmax(-1)
    expected = sum(float(logs[p - 1, whole[p]]) for p in range(len(given.tokens), len(whole)))
    assert given.value == pytest.approx(expected, abs=1e-4)


def test_a_chat_that_ends_with_an_answer_explains_that_answer() -> None:
    chat = [*CHATS[1], {"role": "assistant", "content": "never sad"}]
    whole = TOKENIZER.apply_chat_template(chat)["input_ids"]
    (example,) = LM.attribute(chat, quality=False)
    assert example.target.kind == "sequence"
    ids = [*example.token_ids.tolist(), *example.target.response]
    assert whole[: len(ids)] == ids
    with torch.no_grad():
        logs = MODEL(torch.tensor([whole])).logits[0].log_softmax(-1)
    n = len(example.token_ids)
    assert example.value == pytest.approx(sum(float(logs[p - 1, ids[p]]) for p in range(n, len(ids))), abs=1e-4)
    (matrix,) = LM.attribute_each(chat, method="leave_one_out")
    assert len(matrix.outputs) == len(example.target.response)


def test_quality_is_measured_on_the_same_ids() -> None:
    for unit in ("word", "sentence", "message", "token"):
        found = LM.attribute(CHATS[0], method="leave_one_out", unit=unit)
        (quality,) = found.quality.per_example if found.quality else (None,)
        assert quality is not None
        assert quality.n_words == len(found[0].words())


def test_the_battery_explains_chats_again() -> None:
    found = LM.attribute(CHATS, method="gradient_x_input", unit="sentence", quality=False)
    battery = interpret.faithfulness(LM, found, n_random=20, operators=["eos_token", "delete"])
    assert {"sensitivity_max", "deletion_auc"} <= {row.metric for row in battery.rows}
    assert all(quality is not None for quality in battery.per_example)


def test_quality_with_another_tokenizer_is_refused() -> None:
    found = LM.attribute(CHATS[1], quality=False)
    other = interpret.attach(*chatting("gpt2"), name="other")
    with pytest.raises(UsageError, match="explained with another tokenizer than that of other"):
        interpret.faithfulness(other, found)


def test_each_written_token_against_what_was_said() -> None:
    (matrix,) = LM.attribute_each(CHATS[1], response=" the cat", method="leave_one_out")
    assert matrix.inputs == ("the", "cat", "ate", "the", "red", "fish")
    assert len(matrix.outputs) == 2


def test_a_record_of_a_chat_comes_back(tmp_path: Path) -> None:
    found = LM.attribute(CHATS, unit="message")
    found.save(tmp_path / "chats")
    again = Attribution.load(tmp_path / "chats")
    assert [example.chat for example in again] == [example.chat for example in found]
    assert [example.message_index.tolist() for example in again] == [e.message_index.tolist() for e in found]


def test_views_show_the_template_as_text_and_escape_it() -> None:
    hostile = [{"role": "user", "content": "good <script>alert(1)</script>"}]
    found = LM.attribute(hostile, quality=False)
    page = to_html(found)
    assert "<script>" not in page
    assert "&lt;|im_start|&gt;" in page
    assert "<|im_start|>" in to_text(found)


def test_cite_asks_in_the_last_message() -> None:
    chat = [{"role": "system", "content": "very good"}, {"role": "user", "content": "was the cat sad"}]
    sources = ["the cat was happy.", "the fish was red.", "the film was dull."]
    found = LM.cite(chat, sources=sources, response=" not sad", n_masks=16, n_held_out=4)
    (example,) = found
    assert [word.word for word in example.words()] == sources
    context = "\n\n".join(sources)
    content = f"Context: {context}\n\nQuery: was the cat sad"
    prompt = plain_ids([chat[0], {"role": "user", "content": content}])
    assert example.token_ids.tolist()[: len(prompt)] == prompt
    whole = example.token_ids.tolist()
    with torch.no_grad():
        logs = MODEL(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    log_p = sum(float(logs[p - 1, whole[p]]) for p in range(len(prompt), len(whole)))
    assert example.value == pytest.approx(float(log_odds(np.array([log_p]))[0]), abs=1e-4)
    assert example.target.label == " not sad"


def test_cite_lets_the_model_answer_after_the_template() -> None:
    chat = [{"role": "user", "content": "was the cat sad"}]
    (example,) = LM.cite(chat, context="the cat was happy. the film was dull.", n_masks=8, max_new_tokens=4)
    content = "Context: the cat was happy. the film was dull.\n\nQuery: was the cat sad"
    prompt = plain_ids([{"role": "user", "content": content}])
    ids = torch.tensor([prompt])
    written = MODEL.generate(ids, do_sample=False, max_new_tokens=4, attention_mask=torch.ones_like(ids))[0].tolist()
    while written[-1] in TOKENIZER.all_special_ids:
        written.pop()
    assert example.token_ids.tolist() == written


def test_cite_maps_sources_that_the_template_trims() -> None:
    lm = interpret.attach(*chatting(template=INST), name="inst")
    chat = [{"role": "user", "content": "sad"}]
    (example,) = lm.cite(chat, sources=["  the cat.", "the fish."], template="{context}\n{query}", response=" no")
    assert [word.word.strip() for word in example.words()] == ["the cat.", "the fish."]


def test_texts_and_captures_still_take_no_chats() -> None:
    with pytest.raises(UsageError, match="1 of 2 texts are chats"):
        LM.attribute([TEXTS[0], CHATS[0]])
    plain = interpret.attach(*chatting(template=None), name="plain")
    with pytest.raises(UsageError, match="no chat template"):
        plain.attribute(CHATS[0])
