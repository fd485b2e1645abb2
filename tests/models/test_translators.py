"""Models that translate: which language they are told to write, against plain transformers, and nothing left behind."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as t
from transformers import MBart50Tokenizer

import interpret
from interpret.analyzers.attribution import attribute
from interpret.analyzers.attribution.each import targets_of_each
from interpret.analyzers.responses import responses_of
from interpret.analyzers.scheduler import removal
from interpret.analyzers.target import resolve_targets, restore_targets
from interpret.capture.generation import capture_generated
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import continued, encode, encode_targets, written_ids
from interpret.models.load import attach_handle
from tests import translators, zoo
from tests.tiny import seeded

# Marian's tokenizer names a package that it does not use.
pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")

TEXTS = ["the film was good", "the cat ate the red fish and was very happy"]
ANSWER = "the dull day"

MAKE: dict[str, Callable[[Path], tuple[Any, Any]]] = {
    "marian": lambda folder: translators.marian(folder),
    "m2m_100": lambda folder: translators.m2m(folder, tgt_lang="fr"),
    "nllb": lambda _: translators.nllb(tgt_lang="fra_Latn"),
    "mbart": lambda _: translators.mbart(tgt_lang="fr_XX"),
    "mbart50": lambda _: translators.mbart(MBart50Tokenizer, tgt_lang="fr_XX"),
}
#: How transformers' documentation has `generate` told the language.
TOLD = {"m2m_100": "forced_bos_token_id", "nllb": "forced_bos_token_id", "mbart50": "forced_bos_token_id",
        "mbart": "decoder_start_token_id"}  # fmt: skip
LANGUAGE = {"m2m_100": "__fr__", "nllb": "fra_Latn", "mbart": "fr_XX", "mbart50": "fr_XX"}


@pytest.fixture(scope="module", params=MAKE)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def handle(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Handle:
    return attach_handle(*MAKE[kind](tmp_path_factory.mktemp(kind)))


def told(kind: str, tokenizer: Any) -> dict[str, int]:
    if kind not in TOLD:
        return {}
    # M2M-100 has its languages behind the vocabulary.
    ids = getattr(tokenizer, "lang_token_to_id", None) or tokenizer.get_vocab()
    return {TOLD[kind]: ids[LANGUAGE[kind]]}


def generated(handle: Handle, text: str, **options: Any) -> tuple[int, ...]:
    tokenizer, model = copy.deepcopy(handle.tokenizer), copy.deepcopy(handle.model)
    assert tokenizer is not None
    batch = tokenizer([text], return_tensors="pt")
    found = model.generate(**batch, do_sample=False, num_beams=1, max_new_tokens=6, **options)  # type: ignore[operator]
    return tuple(found[0].tolist())


def labelled(handle: Handle, kind: str, text: str | list[int], answer: str) -> torch.Tensor:
    """Log probabilities of the tokens of an answer, as transformers trains on the pair; `[token]`."""
    tokenizer: Any = copy.deepcopy(handle.tokenizer)
    model: Any = copy.deepcopy(handle.model)
    ids = tokenizer(text)["input_ids"] if isinstance(text, str) else text
    labels = torch.tensor([tokenizer(text_target=answer)["input_ids"]])
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids]), labels=labels).logits[0]
    logs = logits.log_softmax(-1)[torch.arange(labels.shape[1]), labels[0]]
    # The language: what mBART has learnt to write behind the end, and what the others are made to write first.
    return logs[:-1] if kind == "mbart" else logs if kind == "marian" else logs[1:]


def test_it_writes_in_the_language_it_is_told_as_generate_does(handle: Handle, kind: str) -> None:
    settings = told(kind, handle.tokenizer)
    assert handle.task == "seq2seq-lm"
    expected = [generated(handle, text, **settings) for text in TEXTS]
    found = responses_of(handle, encode(handle, TEXTS), True, 6)
    assert [(handle.decoder_start_id, *one.ids) for one in found] == expected
    capture = capture_generated(handle, encode(handle, TEXTS), "decoder.embed", max_new_tokens=6)
    assert capture.mask_of("decoder.embed").sum(1).tolist() == list(map(len, expected))
    if settings:
        (language,) = settings.values()
        assert all(row[TOLD[kind] == "forced_bos_token_id"] == language for row in expected)
        for target in (continued(handle, None, ids) for ids in expected):
            assert target.special[target.ids.index(language)]
            assert LANGUAGE[kind] not in target.text


def test_a_given_answer_is_read_as_transformers_trains_on_it(handle: Handle, kind: str) -> None:
    expected = [labelled(handle, kind, text, ANSWER) for text in TEXTS]
    found = attribute(handle, encode(handle, TEXTS), method="leave_one_out", response=ANSWER)
    for example, logs in zip(found, expected, strict=True):
        assert example.value == pytest.approx(float(logs.sum()), abs=1e-4)
        assert example.target.label == ANSWER
    # As what a decoder reads: its tokens, without the end token, stand where those of the answer are foretold.
    (target,) = encode_targets(handle, [ANSWER])
    ids = written_ids(handle, ANSWER)
    assert target.ids == (handle.decoder_start_id, *ids)
    # One by one: of what the model was free in, each token given those before it.
    (each,) = targets_of_each(handle, encode(handle, TEXTS[:1]), response=ANSWER)
    assert len(each) == len(expected[0])
    assert [one.position for one in each] == list(range(len(ids) - len(each), len(ids)))
    records = [one.target for one in found]
    restored = restore_targets(handle, encode(handle, TEXTS), records)
    assert restored == resolve_targets(handle, encode(handle, TEXTS), response=ANSWER)


def test_words_are_left_out_and_the_language_is_kept(handle: Handle, kind: str) -> None:
    (encoded,) = encode(handle, TEXTS[:1])
    assert list(encoded.ids) == copy.deepcopy(handle.tokenizer)(TEXTS[0])["input_ids"]  # type: ignore[misc]
    tokens = [token for token, special in zip(encoded.tokens, encoded.special, strict=True) if special]
    names = {"m2m_100": ["__en__", "</s>"], "nllb": ["eng_Latn", "</s>"], "mbart": ["</s>", "en_XX"],
             "mbart50": ["en_XX", "</s>"], "marian": ["</s>"]}  # fmt: skip
    assert tokens == names[kind]
    (found,) = attribute(handle, [encoded], method="leave_one_out", response=ANSWER)
    token = removal(handle).token_id
    whole = float(labelled(handle, kind, TEXTS[0], ANSWER).sum())
    words = found.words()
    assert [word.word for word in words] == TEXTS[0].split()
    for word in words:
        ids = [token if place in word.positions else one for place, one in enumerate(encoded.ids)]
        gone = float(labelled(handle, kind, ids, ANSWER).sum())
        assert word.score == pytest.approx(whole - gone, abs=2e-4), word.word
    assert not np.asarray(found.scores)[list(encoded.special)].any()


@pytest.mark.parametrize("method", ["integrated_gradients", "attention_rollout", "value_zeroing"])
def test_methods_run_on_translators(handle: Handle, method: str) -> None:
    found = attribute(handle, encode(handle, TEXTS), method=method, response=ANSWER)
    for example in found:
        assert np.isfinite(example.scores).all()
        assert np.abs(example.scores).max() > 0
        if method != "integrated_gradients":
            assert float(np.sum(example.scores)) == pytest.approx(1.0, abs=1e-6)


def test_model_and_tokenizer_are_as_they_were(handle: Handle) -> None:
    def state() -> tuple[Any, ...]:
        tokenizer: Any = handle.tokenizer
        plain = {name: repr(value) for name, value in vars(tokenizer).items() if not name.startswith("_tokenizer")}
        rules = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else ""
        model: Any = handle.model
        return plain, rules, model.generation_config.to_dict(), model.config.to_dict()

    weights = {name: value.clone() for name, value in handle.model.state_dict().items()}
    before = state()
    attribute(handle, encode(handle, TEXTS), method="leave_one_out", response=ANSWER)
    attribute(handle, encode(handle, TEXTS), method="integrated_gradients")
    with pytest.raises(UsageError):
        attribute(handle, encode(handle, TEXTS), response=ANSWER, at=99)
    assert state() == before
    assert all(torch.equal(value, weights[name]) for name, value in handle.model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in handle.model.modules())


def test_the_model_may_name_the_language_and_two_names_are_refused() -> None:
    model, tokenizer = translators.nllb()
    before = tokenizer.backend_tokenizer.to_str()
    handle = attach_handle(model, tokenizer)
    with pytest.raises(UsageError, match=r"set the tokenizer's tgt_lang .*'eng_Latn', or .*forced_bos_token_id"):
        written_ids(handle, ANSWER)
    french, german = (tokenizer.convert_tokens_to_ids(name) for name in ("fra_Latn", "deu_Latn"))
    model.generation_config.forced_bos_token_id = french
    assert written_ids(handle, ANSWER)[0] == french
    assert written_ids(handle, ANSWER)[1:] == tuple(tokenizer(ANSWER)["input_ids"][1:])
    assert responses_of(handle, encode(handle, TEXTS), True, 4)[0].ids[0] == french
    assert tokenizer.tgt_lang is None
    assert tokenizer.backend_tokenizer.to_str() == before
    tokenizer.tgt_lang = "deu_Latn"
    with pytest.raises(UsageError, match=rf"'deu_Latn', token {german}, .* is {french} \(fra_Latn\)"):
        encode_targets(handle, [ANSWER])
    tokenizer.tgt_lang = "francais"
    with pytest.raises(UsageError, match="'francais', which is no language that it knows"):
        encode_targets(handle, [ANSWER])


def test_mbart_begins_with_the_language_of_its_settings() -> None:
    model, tokenizer = translators.mbart()
    handle = attach_handle(model, tokenizer)
    with pytest.raises(UsageError, match=r"generation_config\.decoder_start_token_id"):
        written_ids(handle, ANSWER)
    # Without any, generate begins with its first token.
    assert generated(handle, TEXTS[0])[0] == handle.decoder_start_id == tokenizer.bos_token_id
    french = tokenizer.convert_tokens_to_ids("fr_XX")
    model.generation_config.decoder_start_token_id = french
    assert handle.decoder_start_id == french
    assert encode_targets(handle, [ANSWER])[0].tokens[0] == "fr_XX"
    assert written_ids(handle, ANSWER) == tuple(tokenizer(ANSWER)["input_ids"][:-1])


def test_a_saved_translator_is_loaded_with_its_tokenizer(handle: Handle, kind: str, tmp_path: Path) -> None:
    model, tokenizer = MAKE[kind](tmp_path)
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    lm = interpret.load(tmp_path / "saved", device="cpu")
    assert lm.handle.task == "seq2seq-lm"
    assert type(lm.handle.tokenizer) is type(tokenizer)
    found = lm.attribute(TEXTS[0], method="leave_one_out", response=ANSWER, quality=False)
    expected = attribute(handle, encode(handle, TEXTS[:1]), method="leave_one_out", response=ANSWER)
    assert np.allclose(found[0].scores, expected[0].scores, atol=1e-4)


def test_what_bart_is_made_to_write_first_is_not_explained() -> None:
    built = zoo.build("bart", "seq2seq-lm")
    tokenizer: Any = built.tokenizer
    built.model.generation_config.forced_bos_token_id = tokenizer.bos_token_id
    handle = attach_handle(built.model, tokenizer)
    (found,) = attribute(handle, encode(handle, TEXTS[:1]), method="leave_one_out", response=ANSWER)
    labels = torch.tensor([tokenizer(ANSWER)["input_ids"]])
    decoder = torch.tensor([[tokenizer.eos_token_id, *labels[0, :-1].tolist()]])
    with torch.no_grad():
        logits = built.model(**tokenizer(TEXTS[:1], return_tensors="pt"), decoder_input_ids=decoder).logits[0]
    logs = logits.log_softmax(-1)[torch.arange(labels.shape[1]), labels[0]]
    assert found.target.response == tuple(labels[0].tolist())
    assert found.value == pytest.approx(float(logs[1:].sum()), abs=1e-4)
    built.model.generation_config.forced_bos_token_id = None
    (free,) = attribute(handle, encode(handle, TEXTS[:1]), method="leave_one_out", response=ANSWER)
    assert free.value == pytest.approx(float(logs.sum()), abs=1e-4)


DECODERS: dict[str, tuple[Any, Any]] = {
    "bart": (t.BartForCausalLM, t.BartConfig),
    "mbart": (t.MBartForCausalLM, t.MBartConfig),
    "marian": (t.MarianForCausalLM, t.MarianConfig),
    "pegasus": (t.PegasusForCausalLM, t.PegasusConfig),
}


@pytest.mark.parametrize("family", DECODERS)
def test_a_decoder_without_its_encoder_is_one_stack(family: str) -> None:
    model_class, config_class = DECODERS[family]
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0}
    config = config_class(**translators.SIZES, **ends, vocab_size=60)
    model = seeded(lambda: model_class(config), 0)
    lm = interpret.attach(model)
    assert lm.handle.task == "causal-lm"
    assert lm.handle.prefixes == ("",)
    batch = {"input_ids": torch.arange(3, 12)[None]}
    with torch.no_grad():
        plain = model(**batch, output_hidden_states=True)
    with lm.capturing("resid_post", "resid_mid", "attn_out", "resid_pre", "attn_pattern") as capture, torch.no_grad():
        observed = model(**batch)
    assert torch.equal(plain.logits, observed.logits)
    # transformers' own states before the last block's end, where nothing is normed yet.
    assert torch.equal(capture["resid_pre", 1], plain.hidden_states[1])
    if family in ("mbart", "pegasus"):
        added = capture["resid_pre", 1] + capture["attn_out", 1]
        assert torch.allclose(capture["resid_mid", 1], added, atol=1e-5)
    assert capture["attn_pattern", 0].triu(1).sum() == 0
