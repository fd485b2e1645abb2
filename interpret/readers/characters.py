"""What stands in a string and is no character: no tokenizer takes it, and no file holds it."""

from __future__ import annotations

from interpret.errors import UsageError

#: What Python makes of bytes that are not UTF-8, in arguments of a command and names of files (PEP 383).
_BYTES = range(0xDC80, 0xDD00)


def not_unicode(text: str) -> str | None:
    """What the text holds that is no character, and where; None where it is Unicode text."""
    try:
        text.encode()
    except UnicodeEncodeError as err:
        found = ord(text[err.start])
        if found in _BYTES:
            return f"the byte 0x{found - 0xDC00:02x} (character {err.start}), which is not UTF-8"
        return f"half of a surrogate pair (character {err.start}), which is not Unicode text"
    return None


def require_unicode(text: str, what: str) -> None:
    """Refuse a text that no tokenizer takes.

    Raises:
        UsageError: with what is wrong, where, and what to do.
    """
    wrong = not_unicode(text)
    if wrong is not None:
        raise UsageError(
            f"{what} holds {wrong}; give it in UTF-8 (bytes in another encoding are decoded with it, as in "
            'raw.decode("latin-1")), or leave the character out'
        )
