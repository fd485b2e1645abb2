"""What every result has in common: immutable, saved without pickle, shown in a notebook without script or network."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    import pandas as pd

#: A value that may stand in canonical JSON.
Scalar = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Message:
    """A sentence as code and parameters, so that a report can be written in any language.

    The words stand in the catalogues (`results/locale`, `reports/locale`); records never hold prose.
    """

    code: str
    params: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One measured number with its 95% interval; `value` is None when it could not be measured (`why` says so)."""

    name: str
    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int = 0
    interval: Literal[
        "bootstrap", "wilson", "newcombe", "agresti_min", "cluster_bootstrap", "permutation", "exact", "none"
    ] = "none"
    why: Message | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Shown:
    """A record in words of one language, as plain text and as static HTML."""

    text: str
    html: str

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": self.text, "text/html": self.html}


class HoldsArrays:
    """For dataclasses with arrays in their fields (declared `eq=False`): equal where the type and all fields are.

    Arrays are equal by shape and values, NaN to NaN: the equality that dataclasses make raises on them. There is no
    hash, as arrays have none, whose values may be changed.
    """

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))  # type: ignore[arg-type]

    __hash__ = None  # type: ignore[assignment]


def _same(a: Any, b: Any) -> bool:
    import numpy as np

    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
        # Of an array and anything else a comparison would be an array again.
        return not isinstance(a, np.ndarray) and not isinstance(b, np.ndarray) and bool(a == b)
    return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc" and b.dtype.kind in "fc")


def _brief(value: object) -> str:
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:39] + "…")
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"[{' x '.join(map(str, shape))}]"
    return f"<{len(value)}>" if isinstance(value, Sized) else type(value).__name__


class Record:
    """Base of all results. Subclasses are frozen dataclasses of plain values, tuples, numpy arrays and records."""

    def __repr__(self) -> str:
        """One line: values that are short, and the size or type of the rest; the whole is in `to_dict()`."""
        shown = ", ".join(f"{f.name}={_brief(getattr(self, f.name))}" for f in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({shown})"

    def to_frame(self) -> pd.DataFrame:
        """The record as a table; the columns are part of the public contract (see ARCHITECTURE.md)."""
        raise TypeError(f"{type(self).__name__} has no table form; use to_dict()")

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dicts and lists, without NaN, ready for `json.dumps`."""
        from interpret.results.store import to_plain

        plain: dict[str, Any] = to_plain(self)
        return plain

    def save(self, path: str | Path) -> Path:
        """Write canonical JSON and safetensors into the folder `path` (made if absent); returns the folder."""
        from interpret.results.store import save_record

        return save_record(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            MissingFileError: nothing is stored there.
            StoreError: another record type, another schema, or a damaged file.
        """
        from interpret.results.store import load_record

        return load_record(cls, path)

    def show(self, locale: str = "en") -> Shown:
        """What a notebook shows of the record, in a language of your choice: `en` or `zh`.

        Raises:
            UsageError: a locale without catalogue.
        """
        from interpret.results.views import to_html, to_text

        return Shown(text=to_text(self, locale=locale), html=to_html(self, locale=locale))

    def _repr_html_(self) -> str:
        from interpret.results.views import to_html

        return to_html(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        from interpret.results.views import to_text

        return {"text/plain": to_text(self), "text/html": self._repr_html_()}
