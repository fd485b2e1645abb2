"""What is no text is refused with its place, before a tokenizer stumbles over it."""

from __future__ import annotations

from typing import Any

import pytest

import interpret
from interpret.demo import paths
from interpret.errors import UsageError
from interpret.facade import AttachedModel

#: What Python makes of the argument `$'caf\\xe9 good'` in a UTF-8 locale.
LATIN = b"caf\xe9 good".decode("utf-8", "surrogateescape")


@pytest.fixture(scope="module")
def lm() -> AttachedModel:
    return interpret.load(paths().tuned)


@pytest.mark.parametrize("verb", ["attribute", "capture"])
@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (LATIN, "text 0 holds the byte 0xe9 (character 3), which is not UTF-8; give it in UTF-8"),
        (["good", LATIN], "text 1 holds the byte 0xe9 (character 3)"),
        ([("good", LATIN)], "text 0 holds the byte 0xe9 (character 3)"),
        ("so \ud83d good", "text 0 holds half of a surrogate pair (character 3), which is not Unicode text"),
        (None, "the texts are a NoneType; give one text or a list of texts"),
        (7, "the texts are a int; give one text or a list of texts"),
        (b"good", "the texts are a bytes; give one text or a list of texts"),
        ([None], "text 0 is a NoneType"),
    ],
)
def test_what_is_no_text_is_named(lm: AttachedModel, verb: str, texts: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        getattr(lm, verb)(texts)
    assert said in str(caught.value)
    # The message can be printed and saved.
    str(caught.value).encode()


def test_the_same_text_decoded_rightly_is_read(lm: AttachedModel) -> None:
    raw = LATIN.encode("utf-8", "surrogateescape")
    assert lm.attribute(raw.decode("latin-1"), quality=False)[0].text == "café good"
