"""`Capture`: what was read during forwards, by site and layer, with pads as NaN; saved without pickle."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from interpret.capture.points import Key, name_of
from interpret.errors import MissingFileError, StoreError, UnknownSiteError, UsageError
from interpret.models.inputs import Encoded
from interpret.sites import AXES, UNLAYERED, Site, parse_site

if TYPE_CHECKING:
    import pandas as pd

Pool = Literal["mean", "cls"]

SCHEMA: Final = "interpret.capture/1"
_TENSORS: Final = "capture.safetensors"
_HEADER: Final = "capture.json"


@dataclass(eq=False)
class Forward:
    """One forward of the model: a batch with its own width."""

    mask: Tensor  # bool [example, position]
    key_mask: Tensor  # bool [example, key]; wider than `mask` when a cache is in use
    n_past: int
    tokens: tuple[tuple[str, ...], ...]
    tensors: dict[Key, Tensor] = field(default_factory=dict)
    causal: bool = False


def axes_of(site: Site, n_dims: int) -> tuple[str, ...]:
    """Axes of a captured tensor; language models have logits at every position."""
    return ("example", "position", "label") if site == "logits" and n_dims == 3 else AXES[site]


def blank_pads(tensor: Tensor, axes: Sequence[str], mask: Tensor, key_mask: Tensor) -> Tensor:
    """Copy, with NaN for every value at a pad position (query or key)."""
    keep = torch.ones((), dtype=torch.bool, device=tensor.device)
    for name, of_axis in (("position", mask), ("query", mask), ("key", key_mask)):
        if name in axes:
            shape = [1] * tensor.ndim
            shape[0], shape[axes.index(name)] = of_axis.shape
            keep = keep & of_axis.to(tensor.device).view(shape)
    return tensor.masked_fill(~keep, float("nan"))


def widen(tensor: Tensor, axes: Sequence[str], n_positions: int, n_keys: int) -> Tensor:
    """Pad with NaN at the end of the position, query and key axes."""
    width = {"position": n_positions, "query": n_positions, "key": n_keys}
    target = [width.get(name, size) for name, size in zip(axes, tensor.shape, strict=True)]
    if target == list(tensor.shape):
        return tensor
    wide = tensor.new_full(target, float("nan"))
    wide[tuple(slice(size) for size in tensor.shape)] = tensor
    return wide


class Capture:
    """Activations read during one or more forwards, all examples stacked.

    Indexing gives one tensor with the axes of `interpret.sites.AXES`; values at pads are NaN, in attention
    patterns both the rows and the columns of pads. Forwards of different widths are padded at the end. An
    activation says what the model computed, not what it used.

        capture["resid_post", 3]        # [example, position, d_model]
        capture["attn_pattern.3"]       # [example, head, query, key]
        capture["logits"]               # [example, label], or [example, position, label] for a language model

    With `grad=True` the tensors are those of the graph: pads keep their values and there is one forward only.
    """

    def __init__(
        self,
        keys: Iterable[Key],
        *,
        model: str,
        mode: str | None = None,
        grad: bool = False,
        encoded: Sequence[Encoded] | None = None,
    ) -> None:
        self.keys: tuple[Key, ...] = tuple(keys)
        #: Name of the model the activations come from.
        self.model = model
        #: How attention patterns were obtained ("tee", "native", "eager"); None when there are none.
        self.mode = mode
        self.grad = grad
        #: The texts, when the capture was made from texts; None for a forward that the user ran.
        self.encoded: tuple[Encoded, ...] | None = None if encoded is None else tuple(encoded)
        self._forwards: list[Forward] = []
        self._joined: dict[Key, Tensor] = {}

    def add(self, forward: Forward) -> None:
        """Append the examples of one more forward."""
        self._forwards.append(forward)
        self._joined.clear()

    def last(self) -> Forward:
        """Return the forward that was recorded last."""
        return self._all()[-1]

    def __len__(self) -> int:
        return sum(len(forward.mask) for forward in self._forwards)

    def __contains__(self, key: object) -> bool:
        return key in self.keys

    def __iter__(self) -> Iterator[Key]:
        return iter(self.keys)

    def __repr__(self) -> str:
        sites = ", ".join(map(name_of, self.keys))
        return f"Capture({len(self)} examples of {self.model}: {sites})"

    @property
    def n_forwards(self) -> int:
        return len(self._forwards)

    @property
    def mask(self) -> Tensor:
        """Which positions hold a token: bool `[example, position]`."""
        wide = self._n_positions()
        return torch.cat([torch.nn.functional.pad(f.mask, (0, wide - f.mask.shape[1])) for f in self._all()])

    @property
    def tokens(self) -> tuple[tuple[str, ...], ...]:
        """The token at each position of each example, "" at a pad before the last token."""
        return tuple(tokens for forward in self._all() for tokens in forward.tokens)

    def __getitem__(self, key: str | tuple[str] | tuple[str, int | None]) -> Tensor:
        wanted = self.key(key)
        forwards = self._all()
        if self.grad:
            if len(forwards) > 1:
                raise UsageError(
                    f"{name_of(wanted)} was captured with grad=True over {len(forwards)} forwards, whose "
                    "graphs cannot be stacked; open one capture for each forward"
                )
            return forwards[0].tensors[wanted]
        if wanted not in self._joined:
            n_positions, n_keys = self._n_positions(), max(f.key_mask.shape[1] for f in forwards)
            parts = [forward.tensors[wanted] for forward in forwards]
            self._joined[wanted] = torch.cat(
                [widen(part, axes_of(wanted[0], part.ndim), n_positions, n_keys) for part in parts]
            )
        return self._joined[wanted]

    def key(self, written: str | tuple[str] | tuple[str, int | None]) -> Key:
        """Find the captured (site, layer) that is meant by `"resid_post.3"` or `("resid_post", 3)`.

        Raises:
            UnknownSiteError: it was not captured.
            UsageError: a site of several layers without the layer.

        """
        if isinstance(written, str):
            site, layers = parse_site(written)
            if layers is None and site not in UNLAYERED:
                layers = tuple(layer for name, layer in self.keys if name == site and layer is not None)
            if layers is not None and len(layers) > 1:
                raise UsageError(
                    f'{written!r} names {len(layers)} layers; ask for one, for example "{site}.{layers[0]}"'
                )
            wanted: Key = (site, layers[0] if layers else None)
        else:
            site = parse_site(written[0]).site
            wanted = (site, written[1] if len(written) > 1 else None)
        if wanted not in self.keys:
            raise UnknownSiteError(
                f"{name_of(wanted)} was not captured; this capture holds {', '.join(map(name_of, self.keys))}"
            )
        return wanted

    def to_frame(self, key: str | tuple[str] | tuple[str, int | None], pool: Pool | None = None) -> pd.DataFrame:
        """One site as a table.

        Args:
            key: as for indexing.
            pool: None gives one row for each token (columns example, position, token, then d0, d1, ...);
            "mean" one
                row for each example, the mean over its tokens, special tokens included; "cls" one row for
                each example, its first token. Attention patterns take no `pool` and give one row for each
                pair of tokens (example, head, query, key, query_token, key_token, value).

        Raises:
            UsageError: `pool` for a site without positions or for attention patterns, or an unknown `pool`.

        """
        from interpret.capture.frames import frame

        wanted = self.key(key)
        tensor = self[wanted].detach()
        return frame(tensor, axes_of(wanted[0], tensor.ndim), self.mask, self.tokens, name_of(wanted), pool)

    def save(self, path: str | Path) -> Path:
        """Write `capture.safetensors` and `capture.json` into the folder `path`, made if absent."""
        folder = Path(path)
        if folder.is_file():
            raise UsageError(f"cannot save a capture to {folder}: a file stands there; give a folder")
        tensors = {name_of(key): self[key].detach().cpu().contiguous() for key in self.keys}
        if self.grad:
            # The stream after one block is the very tensor before the next, and a file holds no tensor twice.
            tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        tensors["mask"] = self.mask.cpu().contiguous()
        header = {
            "schema": SCHEMA,
            "model": self.model,
            "mode": self.mode,
            "sites": [name_of(key) for key in self.keys],
            "tokens": self.tokens,
            "encoded": None if self.encoded is None else [dataclasses.asdict(row) for row in self.encoded],
        }
        folder.mkdir(parents=True, exist_ok=True)
        # A reader sees the old pair or, for a moment, a mismatch it can detect; never half a file.
        save_file(tensors, folder / f"{_TENSORS}.part", metadata={"schema": SCHEMA})
        part = folder / f"{_HEADER}.part"
        part.write_text(json.dumps(header, ensure_ascii=False, sort_keys=True, allow_nan=False), encoding="utf-8")
        os.replace(folder / f"{_TENSORS}.part", folder / _TENSORS)
        os.replace(part, folder / _HEADER)
        return folder

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            MissingFileError: there is no capture.
            StoreError: the files are damaged, of another schema, or do not belong together.

        """
        folder = Path(path)
        for name in (_HEADER, _TENSORS):
            if not (folder / name).is_file():
                raise MissingFileError(
                    f"no capture in {folder}: {name} is missing; give a folder that Capture.save wrote"
                )
        try:
            header = json.loads((folder / _HEADER).read_text(encoding="utf-8"))
            if header["schema"] != SCHEMA:
                raise StoreError(f"{folder} holds schema {header['schema']!r}, but this version reads {SCHEMA!r}")
            with safe_open(folder / _TENSORS, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            capture = cls(
                [_key_of(name) for name in header["sites"]],
                model=header["model"],
                mode=header["mode"],
                encoded=None if header["encoded"] is None else [_encoded(row) for row in header["encoded"]],
            )
            mask = tensors.pop("mask")
            by_key = {_key_of(name): tensor for name, tensor in tensors.items()}
            pattern = next((tensor for key, tensor in by_key.items() if key[0] == "attn_pattern"), None)
            n_keys = mask.shape[1] if pattern is None else pattern.shape[-1]
            tokens = tuple(tuple(row) for row in header["tokens"])
            consistent = set(by_key) == set(capture.keys) and len(tokens) == len(mask)
        except (SafetensorError, json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise StoreError(f"the capture in {folder} is damaged: {error}") from error
        if not consistent:
            raise StoreError(f"{_HEADER} and {_TENSORS} in {folder} do not belong together")
        key_mask = torch.ones(len(mask), n_keys, dtype=torch.bool)
        capture.add(Forward(mask, key_mask, 0, tokens, by_key))
        return capture

    def _all(self) -> list[Forward]:
        if not self._forwards:
            raise UsageError(
                "nothing was captured: no forward of the attached model ran to its end while the capture was "
                "open; run the attached model itself, not a part of it nor a torch.compile'd wrapper, inside "
                "the `with` block and in the same thread"
            )
        return self._forwards

    def _n_positions(self) -> int:
        return max(forward.mask.shape[1] for forward in self._all())


def _key_of(name: str) -> Key:
    site, layers = parse_site(name)
    return (site, None if layers is None else layers[0])


def _encoded(row: dict[str, Any]) -> Encoded:
    def frozen(value: Any) -> Any:
        return tuple(frozen(item) for item in value) if isinstance(value, list) else value

    return Encoded(**{name: frozen(value) for name, value in row.items()})
