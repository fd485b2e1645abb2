"""An audit with hostile text in every field that holds free text, found by the types of the records."""

from __future__ import annotations

import dataclasses
import itertools
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from interpret.results.audits import Audit
from interpret.results.record import Message

PAYLOADS = (
    "</script><script>document.title='x'</script><img src=x onerror=alert(1)>",
    "<!--<script>alert(2)",
    "\" onmouseover=alert(3) x='",
    "safe\u202etxt.exe\u2066 \u200f",
    "🙂\U0001f9ea \ud800 \x07 \u2028 \u2029",
    "<s>out</s> &lt;b&gt; {page} {{n}} %s ${x} $x^2$",
    "]]></style></title></noscript></template></textarea><base href=//x><svg onload=alert(4)>",
)
#: Keys into the catalogues: what stands there comes from the code, and an unknown one stops the report.
_VOCABULARY = {
    ("Message", "code"),
    ("Coverage", "section"),
    ("Estimate", "interval"),
    ("AttentionSummary", "mode"),
    ("FaithfulnessRow", "metric"),
    ("FaithfulnessRow", "verdict"),
}


class _Walk:
    def __init__(self) -> None:
        self.payloads: Iterator[str] = itertools.cycle(PAYLOADS)
        self.n = 0

    def text(self) -> str:
        self.n += 1
        # Names that must differ do.
        return f"{next(self.payloads)} {self.n}"

    def value(self, value: Any, hint: Any, where: tuple[str, str]) -> Any:
        if isinstance(value, str):
            kept = where in _VOCABULARY or get_origin(hint) is Literal
            if get_origin(hint) in (Union, types.UnionType):
                kept = kept or any(get_origin(arm) is Literal for arm in get_args(hint))
            return value if kept else self.text()
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self.record(value)
        if isinstance(value, Mapping):
            item = (get_args(hint) or (str, Any))[-1]
            ours = isinstance(value, Mapping) and where == ("Message", "params")
            return {
                (key if ours or not isinstance(key, str) else self.text()): self.value(v, item, where)
                for key, v in value.items()
            }
        if isinstance(value, tuple) and not hasattr(value, "_fields"):
            args = get_args(hint) or (Any,)
            return tuple(self.value(v, args[0], where) for v in value)
        return value

    def record(self, record: Any) -> Any:
        hints = get_type_hints(type(record))
        name = type(record).__name__
        changed = {
            field.name: self.value(getattr(record, field.name), hints[field.name], (name, field.name))
            for field in dataclasses.fields(record)
        }
        if isinstance(record, Message):
            # Codes that look another word up by a parameter need one they know.
            changed["params"] = {
                key: value if record.code.startswith("section.probe") else changed["params"][key]
                for key, value in record.params.items()
            }
        return dataclasses.replace(record, **changed)


def drenched(audit: Audit) -> tuple[Audit, int]:
    """The audit with every free text replaced, and how many there were."""
    walk = _Walk()
    return walk.record(audit), walk.n
