"""A store on disk, opened without the model it comes from."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from interpret.capture.points import Key
from interpret.capture.store import layout
from interpret.capture.store.rows import Index, IntArray, PatternView, RowView, Source
from interpret.errors import MissingFileError, StoreError, UnknownSiteError, UsageError

if TYPE_CHECKING:
    import pandas as pd

_REDO = "run the same capture again, it redoes just what is damaged"


def open_store(path: str | Path) -> Store:
    """Open what `capture_to` (`interpret capture`) wrote; the model is not needed.

    Raises:
        MissingFileError: there is no store in that folder.
        StoreError: the capture was not finished, or its manifest is damaged or of another schema.
    """
    return Store(path)


class Store:
    """Activations of a data set on disk, with the tokens and examples they belong to.

        store["resid_post", 3]          # lazy rows [token, d]; row i belongs to row i of store.tokens
        store["resid_post.3"][:100]     # a torch tensor
        store["resid_post", 3].example(7)
        store["attn_pattern", 0][7]     # [head, query, key] of example 7

    Everything is in the order of the data, though the files hold examples in the order in which they ran, the
    longest first. A file is held against its checksum when it is first read. An activation says what the model
    computed, not what it used.

    Attributes:
        path: the folder.
        model: name, digests, dtype and device of the model, as a dict.
        data: name and digest of the data, and how many examples it has.
        dtype: name of the stored dtype.
        pool: None, or how the tokens of an example were pooled into one row.
        keys: (site, layer) of everything that is stored.
        sites: the same as names, such as "resid_post.3".
        n_tokens: tokens of all examples.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise MissingFileError(f"there is no store {self.path}; give a folder that interpret capture wrote")
        manifest = layout.read_manifest(self.path)
        if manifest is None:
            raise MissingFileError(
                f"there is no store in {self.path}: {layout.MANIFEST} is missing; give a folder that interpret "
                "capture wrote"
            )
        try:
            shards: list[dict[str, Any]] = manifest["shards"]
            if not manifest["complete"]:
                whole = sum((self.path / layout.entry_name(number)).exists() for number in range(len(shards)))
                raise StoreError(
                    f"the capture in {self.path} is not finished: {whole} of {len(shards)} shards are there; run the "
                    "same capture again to go on with it"
                )
            self.model: dict[str, Any] = manifest["model"]
            self.data: dict[str, Any] = manifest["data"]
            self.dtype: str = manifest["dtype"]
            self.pool: str | None = manifest["pool"]
            self.n_tokens: int = manifest["n_tokens"]
            self._columns: dict[str, dict[str, Any]] = {site["name"]: site for site in manifest["sites"]}
            self.keys: tuple[Key, ...] = tuple((site["site"], site["layer"]) for site in manifest["sites"])
            self._order = [[index for batch in entry["batches"] for index in batch] for entry in shards]
            # By number and never by what the manifest says: it could name a file outside the folder.
            self._values = [_entry(e["values"], layout.values_name(n)) for n, e in enumerate(shards)]
            self._tokens = [_entry(e["tokens"], layout.tokens_name(n)) for n, e in enumerate(shards)]
            self._examples = _entry(manifest["examples"], layout.EXAMPLES)
            self._torch_dtype = layout.DTYPES[self.dtype]
        except (KeyError, TypeError) as err:
            raise StoreError(f"{self.path / layout.MANIFEST} lacks what a store needs ({err}); capture again") from err
        self._sound: set[str] = set()
        self._views: dict[str, RowView | PatternView] = {}

    def __len__(self) -> int:
        return int(self.data["n_examples"])

    def __repr__(self) -> str:
        names = self.sites if len(self.sites) <= 4 else (*self.sites[:2], "...", self.sites[-1])
        pooled = "" if self.pool is None else f", pooled ({self.pool})"
        return (
            f"Store({str(self.path)!r}: {len(self):,} examples, {self.n_tokens:,} tokens of {self.model['name']}: "
            f"{', '.join(names)} in {self.dtype}{pooled}, {layout.size_text(self.n_bytes)})"
        )

    def __contains__(self, key: object) -> bool:
        return key in self.keys or key in self._columns

    def __getitem__(self, key: str | tuple[str] | tuple[str, int | None]) -> RowView | PatternView:
        """Find one site at one layer, written `"resid_post.3"` or `("resid_post", 3)`.

        Raises:
            UnknownSiteError: it is not stored.
            UsageError: a site of several layers without the layer.
        """
        name = self._name(key)
        if name not in self._views:
            self._views[name] = self._view(name)
        return self._views[name]

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of what is stored, such as "resid_post.3"."""
        return tuple(self._columns)

    @property
    def n_bytes(self) -> int:
        """Size of all files but the manifest."""
        return sum(int(entry["bytes"]) for entry in self._entries())

    @property
    def n_shards(self) -> int:
        """Files the values are spread over."""
        return len(self._values)

    @cached_property
    def tokens(self) -> pd.DataFrame:
        """One row per token, in the order of the data.

        Columns: example, position, token_id, token, word (index of the word, -1 at special tokens), char_start,
        char_end (end excluded; both 0 at special tokens), special.
        """
        import pandas as pd

        parts = [self._parquet(entry) for entry in self._tokens]
        joined = pd.concat(parts, ignore_index=True)
        order = np.lexsort((joined["position"].to_numpy(), joined["example"].to_numpy()))
        return joined.iloc[order].reset_index(drop=True)

    @cached_property
    def examples(self) -> pd.DataFrame:
        """One row per example, in the order of the data.

        Columns: example, id, text_sha256, label (as in the data), prediction (name of the class with the highest
        logit), n_tokens, n_truncated (tokens beyond the model's window). Label and prediction are missing where
        the data has no label and the model does not choose one class.
        """
        return self._parquet(self._examples)

    def verify(self) -> None:
        """Read every file and hold it against its checksum.

        Raises:
            StoreError: files are damaged or missing; the message names them.
        """
        self._sound.clear()
        found = []
        for entry in self._entries():
            wrong = layout.damage(self.path, entry)
            if wrong is None:
                self._sound.add(entry["file"])
            else:
                found.append(wrong)
        if found:
            raise StoreError(f"{self.path} is damaged: {'; '.join(found)}; {_REDO}")

    def to_frame(self, key: str | tuple[str] | tuple[str, int | None], pool: str | None = None) -> pd.DataFrame:
        """One site as a table, read into memory as a whole.

        Args:
            key: as for indexing.
            pool: None gives one row for each row that is stored: for each token (columns example, position, token,
                then d0, d1, ...) or for each example (example, d0, ...). "mean" gives one row for each example,
                the mean over its tokens, special tokens included; "cls" its first and "last" its last token.

        Raises:
            UsageError: attention patterns, or `pool` for what has no tokens.
        """
        import pandas as pd

        view = self[key]
        name = self._name(key)
        if pool not in (None, "mean", "cls", "last"):
            raise UsageError(f'unknown pool {pool!r} for {name}; it is None, "mean", "cls" or "last"')
        if isinstance(view, PatternView):
            raise UsageError(f"{name} holds one pattern per example and makes no table; read store[{name!r}][i]")
        by_token = view.axes[0] == "token"
        if pool is not None and not by_token:
            raise UsageError(f"{name} has one row per example and cannot be pooled; leave out pool")
        # numpy has no bfloat16.
        wide = torch.float64 if view.dtype == torch.float64 else torch.float32
        starts = self._index.starts
        examples = pd.DataFrame({"example": np.arange(len(self))})
        if pool == "cls":
            values = view[starts[:-1]].to(wide)
        elif pool == "last":
            values = view[starts[1:] - 1].to(wide)
        elif pool == "mean":
            values = torch.empty((len(self), *view.shape[1:]), dtype=wide)
            for number, (_, part) in enumerate(view):
                first = 0
                for example in self._order[number]:
                    n = int(self._index.n_tokens[example])
                    values[example] = part[first : first + n].to(wide).mean(0)
                    first += n
        else:
            values = view[:].to(wide)
            examples = self.tokens[["example", "position", "token"]] if by_token else examples
        flat = values.flatten(1).numpy()
        return pd.concat([examples, pd.DataFrame(flat, columns=[f"d{i}" for i in range(flat.shape[1])])], axis=1)

    @cached_property
    def _index(self) -> Index:
        n_tokens: IntArray = self.examples["n_tokens"].to_numpy(dtype=np.int64)
        if sorted(index for shard in self._order for index in shard) != list(range(len(n_tokens))):
            raise StoreError(f"{layout.MANIFEST} and {layout.EXAMPLES} in {self.path} do not belong together; {_REDO}")
        return Index.of(n_tokens, self._order)

    def _entries(self) -> list[dict[str, Any]]:
        return [*self._values, *self._tokens, self._examples]

    def _name(self, key: str | tuple[str] | tuple[str, int | None]) -> str:
        if isinstance(key, str):
            site, layer = key, None
        else:
            site, layer = key[0], key[1] if len(key) > 1 else None
        if layer is None and site in self._columns:
            return site
        names = [n for n, c in self._columns.items() if c["site"] == site and layer in (None, c["layer"])]
        if not names:
            asked = site if layer is None else f"{site}.{layer}"
            raise UnknownSiteError(f"{asked} is not stored; {self.path} holds {', '.join(self.sites)}")
        if len(names) > 1:
            raise UsageError(f"{site!r} names {len(names)} layers; ask for one, for example {names[0]!r}")
        return names[0]

    def _view(self, name: str) -> RowView | PatternView:
        column = self._columns[name]
        pattern = column["rows"] == "pair"
        with self._open(0) as file:
            shape = file.get_slice(name).get_shape()
        source = Source(
            name, tuple(column["axes"]), tuple(shape[1:]), self._torch_dtype, self._index, self._values_file
        )
        return PatternView(source, int(column["n_values"])) if pattern else RowView(source)

    def _open(self, number: int) -> Any:
        path = self._values_file(number)
        try:
            return safe_open(path, framework="pt")
        except (SafetensorError, OSError) as err:
            raise StoreError(f"{path} cannot be read ({err}); {_REDO}") from err

    def _values_file(self, number: int) -> Path:
        return self._checked(self._values[number])

    def _parquet(self, entry: dict[str, Any]) -> pd.DataFrame:
        import pyarrow.parquet as pq

        frame: pd.DataFrame = pq.read_table(self._checked(entry)).to_pandas()
        return frame

    def _checked(self, entry: dict[str, Any]) -> Path:
        """Return the path of a file that has been found sound, once."""
        if entry["file"] not in self._sound:
            wrong = layout.damage(self.path, entry)
            if wrong is not None:
                raise StoreError(f"{self.path} is damaged: {wrong}; {_REDO}")
            self._sound.add(entry["file"])
        return self.path / str(entry["file"])


def _entry(entry: dict[str, Any], name: str) -> dict[str, Any]:
    return {"file": name, "bytes": int(entry["bytes"]), "sha256": str(entry["sha256"])}
