"""Values as they are written on the command line: options of a method, and functions by name."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from interpret.errors import UsageError

_WORDS: Final = {"true": True, "false": False, "none": None}
#: Arguments that have flags of their own, or that say nothing on the command line.
_NOT_OPTIONS: Final = frozenset(
    "target method unit quality gold at response max_new_tokens segmenter baseline seed limit text label id label_map "
    "overwrite header columns skip_bad_rows progress scheduler lot_size path dataset texts handle".split()
)


def method_options(written: Sequence[str] | None) -> dict[str, Any]:
    """`NAME=VALUE` each, the values as numbers, true, false, none, or else words.

    Raises:
        UsageError: no name or no value, a name given twice, or one with a flag of its own.
    """
    found: dict[str, Any] = {}
    for one in written or ():
        name, equals, value = one.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier() or not value.strip():
            raise UsageError(f"--option {one!r} names no option with a value; write NAME=VALUE, such as n_steps=64")
        if name in found:
            raise UsageError(f"--option {name} was given twice; give it once")
        if name in _NOT_OPTIONS:
            raise UsageError(f"{name} is no option of a method; interpret attribute --help lists the flag it may have")
        found[name] = _value(value.strip())
    return found


def imported(written: str) -> Any:
    """The function that `module:function` names.

    Raises:
        UsageError: there is none.
    """
    module, _, name = written.partition(":")
    try:
        found = getattr(import_module(module), name) if module and name else None
    except (ImportError, AttributeError) as err:
        raise UsageError(f"{written} cannot be imported ({err}); install it, or check its name") from err
    if not callable(found):
        raise UsageError(f"{written} names no function; write MODULE:FUNCTION, such as jieba:lcut")
    return found


def _value(written: str) -> Any:
    if written.lower() in _WORDS:
        return _WORDS[written.lower()]
    for kind in (int, float):
        try:
            return kind(written)
        except ValueError:
            continue
    return written
