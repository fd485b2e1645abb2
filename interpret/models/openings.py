"""What a decoder beside an encoder begins with, and the tokens of a text that it should write.

Models that translate are told the language of the translation by a token: mBART's decoder begins with it, NLLB,
M2M-100 and mBART-50 are made to write it first. It is named by the tokenizer (`tgt_lang`), or by the model's generation
settings (`decoder_start_token_id`, `forced_bos_token_id`), as `generate` and the translation pipeline take it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from interpret.errors import UsageError
from interpret.models.state import tokenizer_state


class Opening(NamedTuple):
    """The token that the decoder is given, and the one that it is made to write next; None where it is free to.

    `from_tokenizer` says which of the two (as `generate` calls them) only the tokenizer knows.
    """

    start: int
    forced: int | None
    from_tokenizer: tuple[str, ...] = ()


_START: Final = "decoder_start_token_id"
_FORCED: Final = "forced_bos_token_id"


def opening_of(core: Any, tokenizer: Any, pad_id: int | None) -> Opening:
    """How the decoder of `core` begins, as `generate` has it begin.

    Raises:
        UsageError: tokenizer and generation settings name two languages, or the tokenizer does not know its own.
    """
    start, forced = _setting(core, _START), _setting(core, _FORCED)
    language = _language(tokenizer)
    found: tuple[str, ...] = ()
    if language is not None:
        name = _START if _begins_with_language(core, tokenizer) else _FORCED
        set_before = start if name == _START else forced
        if set_before is None:
            found = (name,)
        elif set_before != language:
            raise UsageError(
                f"the tokenizer's tgt_lang is {tokenizer.tgt_lang!r}, token {language}, and the model's "
                f"generation_config.{name} is {set_before} ({tokenizer.convert_ids_to_tokens(set_before)}): they name "
                "two languages to write; set tgt_lang to None, or make both the same"
            )
        if name == _START:
            start = language
        else:
            forced = language
    if start is None:
        start = _setting(core, "bos_token_id")
    if start is None:
        start = pad_id or 0
    return Opening(start, forced, found)


def target_ids(core: Any, tokenizer: Any, pad_id: int | None, text: str) -> tuple[int, ...]:
    """The tokens that the decoder writes when it writes `text`, after what it begins with: as `generate` would.

    That is a token it is made to write first, then the text, then the end token. What some tokenizers put behind the
    end token, a language, belongs to the decoder's beginning.

    Raises:
        UsageError: the model writes in the language that it is told, and none is named.
    """
    lead, tail = around_target(core, tokenizer, pad_id)
    with tokenizer_state(tokenizer):
        # A tokenizer that knows languages would note down, reading a target, which one is meant.
        if _knows_languages(tokenizer):
            content = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        else:
            content = tokenizer(text_target=text, add_special_tokens=False, verbose=False)["input_ids"]
    return tuple(int(token) for token in (*lead, *content, *tail))


def around_target(core: Any, tokenizer: Any, pad_id: int | None) -> tuple[list[int], list[int]]:
    """What the decoder writes before a text, and the end token that it writes behind it.

    Raises:
        UsageError: as for `target_ids`.
    """
    opening = opening_of(core, tokenizer, pad_id)
    if _knows_languages(tokenizer):
        begun = _begins_with_language(core, tokenizer) and _setting(core, _START) is not None
        if opening.forced is None and not begun and _language(tokenizer) is None:
            name = _START if _begins_with_language(core, tokenizer) else _FORCED
            raise UsageError(
                f"{type(core).__name__} writes in the language that a token names, and neither the tokenizer nor the "
                f"model says which: set the tokenizer's tgt_lang (in tokenizer_config.json, or after loading) to a "
                f"name such as {tokenizer.src_lang!r}, or the model's generation_config.{name}"
            )
        lead, tail = [], [int(tokenizer.eos_token_id)]
    else:
        with tokenizer_state(tokenizer):
            found = tokenizer(text_target="", add_special_tokens=True, verbose=False)["input_ids"]
        special = [int(token) for token in found]
        end = getattr(tokenizer, "eos_token_id", None)
        at = special.index(end) if end in special else len(special)
        lead, tail = special[:at], special[at : at + 1]
    return lead if opening.forced is None else [opening.forced], tail


def _setting(core: Any, name: str) -> int | None:
    """What `generate` takes, or what the config says where there is nothing to take."""
    for settings in (getattr(core, "generation_config", None), core.config):
        found = getattr(settings, name, None)
        if isinstance(found, int):
            return found
    return None


def _knows_languages(tokenizer: Any) -> bool:
    return hasattr(tokenizer, "tgt_lang") and hasattr(tokenizer, "set_tgt_lang_special_tokens")


def _language(tokenizer: Any) -> int | None:
    """The token of the language that the tokenizer was told to translate to."""
    if not _knows_languages(tokenizer) or tokenizer.tgt_lang is None:
        return None
    name = tokenizer.tgt_lang
    of_name = getattr(tokenizer, "get_lang_id", tokenizer.convert_tokens_to_ids)
    try:
        found = of_name(name)
    except KeyError:
        found = None
    if found is None or found == tokenizer.unk_token_id:
        raise UsageError(
            f"the tokenizer's tgt_lang is {name!r}, which is no language that it knows; languages are written as in "
            f"{tokenizer.src_lang!r}"
        )
    return int(found)


def _begins_with_language(core: Any, tokenizer: Any) -> bool:
    """As mBART does it: the language behind the text and before what is written. mBART-50 has it in front of both."""
    return core.config.model_type == "mbart" and len(getattr(tokenizer, "suffix_tokens", ())) > 1
