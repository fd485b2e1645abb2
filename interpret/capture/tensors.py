"""`Capture`: what was read during forwards, by site and layer, with pads as NaN; saved without pickle."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from interpret.capture.forward import Forward, StackInputs, widen
from interpret.capture.points import Key, name_of
from interpret.capture.reduction import Reduction
from interpret.errors import MissingFileError, StoreError, UnknownSiteError, UsageError
from interpret.models.inputs import Encoded
from interpret.sites import axes_of, is_layered, parse_site, split_site

if TYPE_CHECKING:
    import pandas as pd

    from interpret.results.attention import AttentionPatterns

Pool = Literal["mean", "cls"]

SCHEMA: Final = "interpret.capture/2"
_TENSORS: Final = "capture.safetensors"
_HEADER: Final = "capture.json"
#: How the mask of a stack is called in the file; no site has a colon in it.
_MASK: Final = "mask:"


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
        reduction: Reduction | None = None,
    ) -> None:
        self.keys: tuple[Key, ...] = tuple(keys)
        #: Name of the model the activations come from.
        self.model = model
        #: How attention patterns were obtained ("tee", "native", "eager"); None when there are none.
        self.mode = mode
        self.grad = grad
        #: The texts, when the capture was made from texts; None for a forward that the user ran.
        self.encoded: tuple[Encoded, ...] | None = None if encoded is None else tuple(encoded)
        #: What was kept of attention patterns; None for all of them.
        self.reduction = reduction
        #: Example id, label and prediction of each example, where they are known.
        self.ids: tuple[str, ...] | None = None
        self.labels: tuple[str, ...] | None = None
        self.predictions: tuple[str, ...] | None = None
        #: Tokens of the prompt of each example, where the capture is of generated text.
        self.n_prompt: tuple[int, ...] | None = None
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
        return sum(len(forward) for forward in self._forwards)

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
        """Which positions hold a token: bool `[example, position]`; of the stack of the first site that has any."""
        return self.mask_of(self._first_site())

    def mask_of(self, site: str) -> Tensor:
        """Which positions of a site hold a token: bool `[example, position]`."""
        masks = [forward.stack_of(site).mask for forward in self._all()]
        wide = max(mask.shape[1] for mask in masks)
        return torch.cat([torch.nn.functional.pad(mask, (0, wide - mask.shape[1])) for mask in masks])

    @property
    def tokens(self) -> tuple[tuple[str, ...], ...]:
        """The token at each position of each example, "" at a pad before the last token."""
        return self.tokens_of(self._first_site())

    def tokens_of(self, site: str) -> tuple[tuple[str, ...], ...]:
        """The token at each position of a site; for images and sound the number of the position."""
        return tuple(tokens for forward in self._all() for tokens in forward.stack_of(site).tokens)

    @property
    def example(self) -> tuple[int, ...]:
        """Which example each row belongs to: while text is generated, every step of it appends a row."""
        rows, first, count = [], 0, 0
        for forward in self._all():
            n = len(forward)
            if _n_past(forward) == 0:
                first, count = count, count + n
            rows += [first + row for row in range(n)]
        return tuple(rows)

    @property
    def step(self) -> tuple[int, ...]:
        """Which step of generation each row belongs to, 0 for the prompt and for plain forwards."""
        rows, step = [], 0
        for forward in self._all():
            step = 0 if _n_past(forward) == 0 else step + 1
            rows += [step] * len(forward)
        return tuple(rows)

    def axes(self, key: str | tuple[str] | tuple[str, int | None]) -> tuple[str, ...]:
        """Names of the axes of one captured tensor."""
        wanted = self.key(key)
        return self._axes(wanted, self._all()[0].tensors[wanted].ndim)

    def _axes(self, key: Key, n_dims: int) -> tuple[str, ...]:
        if self.reduction is not None and split_site(key[0])[1] == "attn_pattern":
            return self.reduction.axes
        return axes_of(key[0], n_dims)

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
            self._joined[wanted] = _stacked([forward.settle().tensors[wanted] for forward in forwards])
        return self._joined[wanted]

    def top_keys(self, key: str | tuple[str] | tuple[str, int | None]) -> Tensor:
        """Positions of the keys that the largest weights belong to: int64 `[example, head, query, rank]`, else -1.

        Raises:
            UsageError: the pattern was not captured with `summary="top_k"`.
        """
        wanted = self.key(key)
        if any(wanted not in forward.index for forward in self._all()):
            raise UsageError(f"{name_of(wanted)} was not captured with summary='top_k', so its keys were not recorded")
        found = _stacked([forward.index[wanted] for forward in self._all()])
        return found.masked_fill(self[wanted].isnan().cpu(), -1)

    def _first_site(self) -> str:
        positioned = (name for name, _ in self.keys if split_site(name)[1] != "logits")
        return next(positioned, "logits")

    def key(self, written: str | tuple[str] | tuple[str, int | None]) -> Key:
        """Find the captured (site, layer) that is meant by `"resid_post.3"` or `("resid_post", 3)`.

        Raises:
            UnknownSiteError: it was not captured.
            UsageError: a site of several layers without the layer.

        """
        if isinstance(written, str):
            site, layers = parse_site(written)
            if layers is None and is_layered(site):
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
        tensor, site = self[wanted].detach(), wanted[0]
        tokens = self.tokens_of(site)
        # Attention from a decoder to its encoder looks at other tokens than its own.
        looked_at = self.tokens_of("encoder.embed") if split_site(site)[0] == "cross" else tokens
        return frame(
            tensor,
            self._axes(wanted, tensor.ndim),
            self.mask_of(site),
            (tokens, looked_at),
            name_of(wanted),
            pool,
        )

    def patterns(self, example: int = 0, site: str = "attn_pattern") -> AttentionPatterns:
        """The whole attention patterns of one example as a record of plain arrays, without pads.

        Args:
            example: which text.
            site: `"attn_pattern"`, or one with the prefix of a stack, such as `"cross.attn_pattern"`.

        Raises:
            UsageError: there is no such example, or no whole pattern was captured.

        """
        from interpret.capture.patterns import patterns_of

        return patterns_of(self, example, site)

    def save(self, path: str | Path) -> Path:
        """Write `capture.safetensors` and `capture.json` into the folder `path`, made if absent."""
        folder = Path(path)
        if folder.is_file():
            raise UsageError(f"cannot save a capture to {folder}: a file stands there; give a folder")
        tensors = {name_of(key): self[key].detach().cpu().contiguous() for key in self.keys}
        if self.grad:
            # The stream after one block is the very tensor before the next, and a file holds no tensor twice.
            tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        if self.reduction is not None and (self.reduction.summary == "top_k"):
            for key in self.keys:
                if split_site(key[0])[1] == "attn_pattern":
                    tensors[f"keys:{name_of(key)}"] = self.top_keys(key).contiguous()
        stacks = {prefix: self._prefixed(prefix) for prefix in self._all()[0].stacks}
        tensors |= {f"{_MASK}{prefix}": self.mask_of(site).cpu().contiguous() for prefix, site in stacks.items()}
        header = {
            "schema": SCHEMA,
            "model": self.model,
            "mode": self.mode,
            "sites": [name_of(key) for key in self.keys],
            "tokens": {prefix: self.tokens_of(site) for prefix, site in stacks.items()},
            "encoded": None if self.encoded is None else [dataclasses.asdict(row) for row in self.encoded],
            "reduction": None if self.reduction is None else dataclasses.asdict(self.reduction),
            **{name: getattr(self, name) for name in _ROWS},
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
            reduced = header["reduction"]
            if reduced is not None:
                heads = reduced["heads"]
                reduced = Reduction(None if heads is None else tuple(heads), reduced["summary"], reduced["k"])
            capture = cls(
                [_key_of(name) for name in header["sites"]],
                model=header["model"],
                mode=header["mode"],
                encoded=None if header["encoded"] is None else [_encoded(row) for row in header["encoded"]],
                reduction=reduced,
            )
            for name in _ROWS:
                setattr(capture, name, None if header[name] is None else tuple(header[name]))
            forward = Forward()
            for prefix, rows in header["tokens"].items():
                forward.stacks[prefix] = _loaded_stack(tensors.pop(f"{_MASK}{prefix}"), rows)
            for name in [name for name in tensors if name.startswith("keys:")]:
                forward.index[_key_of(name.removeprefix("keys:"))] = tensors.pop(name)
            forward.tensors = {_key_of(name): t for name, t in tensors.items() if not name.startswith(_MASK)}
            consistent = (
                set(forward.tensors) == set(capture.keys)
                and bool(forward.stacks)
                and all(len(stack.tokens) == len(stack.mask) for stack in forward.stacks.values())
            )
        except (
            SafetensorError,
            json.JSONDecodeError,
            KeyError,
            TypeError,
            AttributeError,
            UnicodeDecodeError,
        ) as error:
            raise StoreError(f"the capture in {folder} is damaged: {error}") from error
        if not consistent:
            raise StoreError(f"{_HEADER} and {_TENSORS} in {folder} do not belong together")
        capture.add(forward)
        return capture

    def _prefixed(self, prefix: str) -> str:
        return f"{prefix}.embed" if prefix else "embed"

    def _all(self) -> list[Forward]:
        if not self._forwards:
            raise UsageError(
                "nothing was captured: no forward of the attached model ran to its end while the capture was "
                "open; run the attached model itself, not a part of it nor a torch.compile'd wrapper, inside "
                "the `with` block and in the same thread"
            )
        return self._forwards


#: Attributes with one entry for each example.
_ROWS: Final = ("ids", "labels", "predictions", "n_prompt")


def _n_past(forward: Forward) -> int:
    return next(reversed(forward.stacks.values())).n_past


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    """All examples in one tensor, as wide as the widest along every other axis."""
    if len(parts) == 1:
        return parts[0]
    size = [max(part.shape[axis] for part in parts) for axis in range(1, parts[0].ndim)]
    blank = float("nan") if parts[0].dtype.is_floating_point else -1
    return torch.cat([widen(part, size, blank) for part in parts])


def _loaded_stack(mask: Tensor, rows: list[list[str]]) -> StackInputs:
    tokens = tuple(tuple(row) for row in rows)
    # The values are blank already where there is nothing, so that every key counts.
    return StackInputs(mask, torch.ones_like(mask), 0, False, lambda: tokens)


def _key_of(name: str) -> Key:
    site, layers = parse_site(name)
    return (site, None if layers is None else layers[0])


def _encoded(row: dict[str, Any]) -> Encoded:
    def frozen(value: Any) -> Any:
        return tuple(frozen(item) for item in value) if isinstance(value, list) else value

    return Encoded(**{name: frozen(value) for name, value in row.items()})
