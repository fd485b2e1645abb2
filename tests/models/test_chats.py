"""Chats are read as transformers reads them, and every content is found again in what the template made of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import interpret
from interpret.errors import UsageError
from interpret.models.chats import render, split_answers
from interpret.models.inputs import encode, unit_index
from interpret.models.load import attach_handle
from tests.chatting import CHAT, CHATML, TEMPLATES, chatting
from tests.tiny import tiny

HANDLES = {
    (family, name): attach_handle(*chatting(family, template))
    for family in ("llama", "gpt2")
    for name, template in TEMPLATES.items()
}
LLAMA = attach_handle(*chatting())


def user(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def with_template(template: str | None) -> Any:
    return attach_handle(*chatting(template=template))


@pytest.mark.parametrize("key", HANDLES)
def test_ids_are_those_of_apply_chat_template(key: tuple[str, str]) -> None:
    handle = HANDLES[key]
    tokenizer: Any = handle.tokenizer
    (found,) = encode(handle, [CHAT])
    own = tokenizer.apply_chat_template(list(CHAT), add_generation_prompt=True, tokenize=True)["input_ids"]
    assert list(found.ids) == own
    assert found.text == tokenizer.apply_chat_template(list(CHAT), add_generation_prompt=True, tokenize=False)
    assert found.ids.count(tokenizer.bos_token_id) == 1 + (tokenizer.bos_token_id == tokenizer.eos_token_id) * (
        "eos_token" in tokenizer.chat_template
    )


def test_encoding_the_rendered_text_would_double_the_begin_token() -> None:
    tokenizer: Any = LLAMA.tokenizer
    (found,) = encode(LLAMA, [CHAT])
    doubled = tokenizer(found.text)["input_ids"]
    assert doubled[:2] == [tokenizer.bos_token_id] * 2
    assert tuple(doubled[1:]) == found.ids


@pytest.mark.parametrize("key", HANDLES)
def test_each_content_is_found_and_only_contents_have_words(key: tuple[str, str]) -> None:
    handle = HANDLES[key]
    (found,) = encode(handle, [CHAT])
    assert [part.message for part in found.chat] == [0, 1, 2, 3]
    assert [part.role for part in found.chat] == [message["role"] for message in CHAT]
    for part in found.chat:
        assert found.text[part.start : part.end] == CHAT[part.message]["content"]
    # Of the words "user" and "assistant" only those that were said.
    said = [found.text[slice(*span)] for span, gone in zip(found.char_spans, found.special, strict=True) if not gone]
    assert "".join("".join(said).split()) == "".join("".join(m["content"] for m in CHAT).split())
    for index, span, gone in zip(found.word_index, found.char_spans, found.special, strict=True):
        assert (index == -1) == gone
        inside = any(part.start <= span[0] < part.end for part in found.chat)
        assert inside == (not gone)
        assert gone or span[1] <= next(part.end for part in found.chat if part.start <= span[0] < part.end)


def test_units_of_a_chat() -> None:
    (found,) = encode(LLAMA, [CHAT], unit="message")
    assert sorted(set(found.word_index)) == [-1, 0, 1, 2, 3]
    messages = unit_index(found, "message")
    assert messages == found.word_index
    sentences = unit_index(found, "sentence")
    # A sentence ends with its message and at the line break within one: 1, 3, 1, 1.
    assert max(sentences) == 5
    of = {s: {m for m, n in zip(messages, sentences, strict=True) if n == s} for s in set(sentences) - {-1}}
    assert [of[s] for s in sorted(of)] == [{0}, {1}, {1}, {1}, {2}, {3}]
    assert [n for n in unit_index(found, "token") if n >= 0] == list(range(sum(not gone for gone in found.special)))


def test_a_space_at_the_end_of_a_message_stays_with_it() -> None:
    chat = [{"role": "user", "content": "good   "}, {"role": "system", "content": "bad"}]
    handle = HANDLES["gpt2", "chatml"]
    (found,) = encode(handle, [chat])
    words = {index: set() for index in found.word_index}
    for index, message in zip(found.word_index, unit_index(found, "message"), strict=True):
        words[index].add(message)
    assert words == {-1: {-1}, 0: {0}, 1: {1}}


@pytest.mark.parametrize(
    ("template", "shown", "cut"),
    [
        ("{% for m in messages %}<{{ m.content }}>{% endfor %}", "  two words ", 0),
        ("{% for m in messages %}<{{ m.content | trim }}>{% endfor %}", "two words", 2),
        ("{% for m in messages %}<{{ m.content.lstrip() }}>{% endfor %}", "two words ", 2),
        ("{% for m in messages %}< {{ m.content.rstrip() }} >{% endfor %}", "  two words", 0),
        ("{% for m in messages %}{{ m.content.strip() + ' ' }}{% endfor %}", "two words", 2),
    ],
)
def test_trimmed_contents_are_mapped(template: str, shown: str, cut: int) -> None:
    content = "  two words "
    found = render(with_template(template), user(content))
    (part,) = found.parts
    assert found.text[part.start : part.end] == shown
    assert part.cut == cut
    assert content[part.cut : part.cut + part.end - part.start] == shown


def test_contents_may_move_and_stand_twice() -> None:
    template = "{{ messages[1].content }}|{{ messages[0].content }}|{{ messages[1].content }}"
    chat = [{"role": "system", "content": "one"}, {"role": "user", "content": "two"}]
    found = render(with_template(template), chat)
    assert found.text == "two|one|two"
    assert [(p.message, p.start, p.end) for p in found.parts] == [(1, 0, 3), (0, 4, 7), (1, 8, 11)]


@pytest.mark.parametrize(
    ("template", "content", "message"),
    [
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "shout", "changes what a message"),
        ("{% for m in messages %}{{ m.content | replace('a', 'b') }}{% endfor %}", "a cat", "changes what a message"),
        ("{% for m in messages %}{{ m.content[:2] }}{% endfor %}", "a cat was here", "out or changes it"),
        ("{% for m in messages %}{{ m.content | tojson }}{% endfor %}", 'say "x"', "changes what a message"),
        ("{% if 'cat' in messages[0].content %}!{% endif %}{{ messages[0].content }}", "cat", "changes what a message"),
        ("nothing", "a cat", "leaves message 0 .of the user. out"),
        ("{{ raise_exception('roles must alternate') }}", "a cat", "roles must alternate.*its roles are user"),
        ("{{ messages[9].content }}", "a cat", "cannot write this chat"),
        ("{{ 1 / 0 }}", "a cat", "cannot write this chat"),
        (None, "a cat", "has no chat template"),
    ],
)
def test_templates_that_cannot_be_followed_are_refused(template: str | None, content: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        render(with_template(template), user(content))


def test_a_template_that_reaches_out_of_its_sandbox_is_refused() -> None:
    hostile = "{{ messages.__class__.__base__.__subclasses__() }}{{ messages.append(1) }}"
    with pytest.raises(UsageError, match="cannot write this chat"):
        render(with_template(hostile), user("a cat"))


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        ([{"role": "user"}], "message 0 of a chat has no 'content'"),
        ([{"content": "x"}], "message 0 of a chat has no 'role'"),
        (
            [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
            "the content of message 0 of a chat is a list",
        ),
        ([{"role": "user", "content": "x", "tool_calls": [1]}], "holds 'tool_calls' beside role and content"),
        (user("  "), "no message of the chat says anything"),
        ([*user("x"), {"role": "assistant", "content": "y"}], "nothing is left to be answered"),
        (user("the cat " * 200), "takes .* tokens, template included, and"),
    ],
)
def test_chats_that_cannot_be_explained(chat: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        encode(LLAMA, [chat])


@pytest.mark.parametrize("key", HANDLES)
def test_an_answer_is_what_the_template_puts_after_its_prompt(key: tuple[str, str]) -> None:
    handle = HANDLES[key]
    tokenizer: Any = handle.tokenizer
    chat = [*user("was it good"), {"role": "assistant", "content": "never bad"}]
    (before,), (answer,) = split_answers(handle, [chat], None)
    assert before == user("was it good")
    # Some templates put a space in front of it, which the model has seen there.
    assert answer == {"chatml": "never bad", "inst": " never bad"}[key[1]]
    prompt = tokenizer.apply_chat_template(before, add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template(chat, tokenize=False)
    assert whole.startswith(prompt + answer)


def test_chats_with_and_without_an_answer_are_kept_apart() -> None:
    answered = [*user("x"), {"role": "assistant", "content": "y"}]
    assert split_answers(LLAMA, [user("x"), "a text"], "r") == ([user("x"), "a text"], "r")
    with pytest.raises(UsageError, match="1 of 2 texts are chats that end with"):
        split_answers(LLAMA, [answered, user("x")], None)
    with pytest.raises(UsageError, match="response= was given too"):
        split_answers(LLAMA, [answered], "z")
    with pytest.raises(UsageError, match="nothing but an answer"):
        split_answers(LLAMA, [answered[1:]], None)
    other = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
    with pytest.raises(UsageError, match="does not write an answer after the prompt"):
        split_answers(with_template(other), [answered], None)


def test_an_absent_value_is_no_further_key() -> None:
    chat: Any = [{"role": "user", "content": "x", "tool_calls": None}]
    assert encode(LLAMA, [chat]) == encode(LLAMA, [user("x")])


def test_models_that_read_no_chats() -> None:
    with pytest.raises(UsageError, match="chats are for a causal language model"):
        encode(attach_handle(*tiny("bert")), [CHAT])
    with pytest.raises(UsageError, match="1 of 2 texts are chats"):
        encode(LLAMA, ["a text", CHAT])
    with pytest.raises(UsageError, match="is no chat"):
        encode(LLAMA, ["a text"], unit="message")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": [[(0, 3)]]}, "unit is given as spans, and the texts are chats"),
        ({"unit": "segment"}, "is a chat; give pairs as tuples, or take unit='message'"),
        ({"long_text": "windows"}, "long_text is 'windows', and the texts are chats"),
        ({"long_text": "windows", "doc_stride": 2}, "the texts are chats, of which a part is no chat"),
        ({"doc_stride": 2}, "doc_stride is how far windows overlap"),
        ({"long_text": "cut"}, "long_text is 'cut'; it is 'truncate' or 'windows'"),
    ],
)
def test_what_serves_texts_only(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        encode(LLAMA, [CHAT], **options)
    with pytest.raises(UsageError, match=message):
        interpret.attach(*chatting()).attribute([CHAT], quality=False, **options)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_any_content_is_found_again(contents: list[str]) -> None:
    chat = [{"role": "user", "content": content} for content in contents]
    if not any(content.strip() for content in contents):
        return
    for handle in (LLAMA, HANDLES["llama", "inst"]):
        found = render(handle, chat)
        assert len(found.parts) == len(chat)
        for part in found.parts:
            whole = chat[part.message]["content"]
            shown = found.text[part.start : part.end]
            assert shown == whole[part.cut : part.cut + len(shown)]
            assert shown.strip() == whole.strip()


def test_the_template_is_left_as_it_was() -> None:
    model, tokenizer = chatting()
    before = (tokenizer.chat_template, dict(tokenizer.init_kwargs), tokenizer.padding_side)
    chat = user("a cat")
    encode(attach_handle(model, tokenizer), [chat])
    assert (tokenizer.chat_template, dict(tokenizer.init_kwargs), tokenizer.padding_side) == before
    assert chat == user("a cat")
    assert tokenizer.chat_template == CHATML
