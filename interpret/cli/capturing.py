"""`capture`: what a model computes on a data set, into a store on disk that can be interrupted and gone on with."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from interpret.cli import options as o
from interpret.cli.models import load_model
from interpret.cli.shell import guarded, out_folder, say, show, show_json
from interpret.errors import UsageError

if TYPE_CHECKING:
    from interpret.capture.store import Store

EPILOG = """
\b
Examples:
  interpret capture ./model reviews.csv --sites resid_post --store-dtype bfloat16 --out captured/
  interpret capture ./model reviews.csv --sites embed,attn_pattern.0-3 --limit 100 --out captured/
  interpret capture ./model train.conllu --sites resid_post --pool mean --out captured/

Write "resid_post" for all layers, "resid_post.3" or "resid_post.0-5" for some; layers count from 0.
"interpret info MODEL" lists the sites that a model has. Interrupted or killed, the same command goes on where it
stopped; on a finished store it checks every file and redoes those that are damaged.
Read it in Python: interpret.open_store("captured/")["resid_post", 3].
"""


class Pool(StrEnum):
    """How the tokens of an example become one row."""

    MEAN = "mean"
    CLS = "cls"
    LAST = "last"


class StoreDtype(StrEnum):
    """What values may be stored in."""

    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"


_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY: Final = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?) ?(?P<unit>[kmgt]?i?)b?", re.IGNORECASE)


def size_of(written: str, option: str) -> int:
    """Read a size such as 10GB, 500 MB or 1.5GiB, as a number of bytes.

    Raises:
        UsageError: it is no size, or less than one byte.
    """
    match = _SIZE.fullmatch(written.strip())
    factor = None if match is None else {**_UNITS, **_BINARY}.get(match["unit"].lower())
    if match is None or factor is None:
        raise UsageError(f"{option} {written!r} is no size; write it as 10GB, 500MB or a number of bytes")
    size = int(float(match["number"]) * factor)
    if size < 1:
        raise UsageError(f"{option} {written!r} is less than one byte; write it as 10GB or 500MB")
    return size


@guarded
def capture(
    model: o.Model,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A .csv, .tsv, .jsonl, .parquet or .conllu file, or a folder saved by datasets.",
        ),
    ],
    sites: Annotated[
        list[str], typer.Option(metavar="SITES", help="Sites to keep, comma-separated or given repeatedly.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the store.")],
    pool: Annotated[
        Pool | None,
        typer.Option(metavar="POOL", help="Keep one row per example: mean, cls or last; default: every token."),
    ] = None,
    store_dtype: Annotated[
        StoreDtype | None,
        typer.Option(
            "--store-dtype",
            metavar="DTYPE",
            help="float16, bfloat16 or float32; default: as the model runs.",
        ),
    ] = None,
    max_bytes: Annotated[
        str, typer.Option(metavar="SIZE", help="Refuse a larger store, before anything runs; as in 500MB.")
    ] = "10GB",
    shard_bytes: Annotated[
        str, typer.Option(metavar="SIZE", help="Values in one file; a killed run loses at most one.")
    ] = "64MB",
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Tokens in one batch; default: by the device.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another store in the folder.")] = False,
    adapter: o.Adapter = None,
    revision: o.Revision = None,
    task: o.TaskOption = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    trust_remote_code: o.RemoteCode = False,
    limit: o.Limit = None,
    text_column: o.TextColumn = None,
    label_column: o.LabelColumn = None,
    id_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column that names the rows; default: they are numbered.")
    ] = None,
    no_header: o.NoHeader = False,
    columns: o.Columns = None,
    skip_bad_rows: o.SkipBadRows = False,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Run a data set through the model and store its activations and attention patterns."""
    from interpret.readers.texts import read_texts

    wanted = [name.strip() for part in sites for name in part.split(",") if name.strip()]
    most, in_shard = size_of(max_bytes, "--max-bytes"), size_of(shard_bytes, "--shard-bytes")
    texts = read_texts(
        data,
        text=text_column,
        label=label_column,
        id=id_column,
        header=not no_header,
        columns=o.names(columns),
        skip_bad_rows=skip_bad_rows,
        limit=limit,
    )
    if texts.n_left_out:
        say(f"left out {texts.n_left_out} bad rows of {texts.name}")
    out_folder(out)
    lm = load_model(
        model,
        adapter=adapter,
        revision=revision,
        task=task,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    try:
        store = lm.capture_to(
            out,
            texts,
            wanted,
            pool=None if pool is None else pool.value,
            dtype=None if store_dtype is None else store_dtype.value,
            max_bytes=most,
            shard_bytes=in_shard,
            token_budget=batch_tokens,
            overwrite=overwrite,
        )
    except KeyboardInterrupt:
        say(f"the shards that are whole stay in {out}; run the same command again to go on")
        raise
    facts = _facts(store)
    if as_json:
        show_json({"path": str(out), **facts, "n_left_out": texts.n_left_out})
        return
    for line in _summary(facts):
        show(line)
    show(str(out))


def _facts(store: Store) -> dict[str, Any]:
    return {
        "data": store.data["name"],
        "n_examples": len(store),
        "n_tokens": store.n_tokens,
        "n_truncated": int((store.examples["n_truncated"] > 0).sum()),
        "sites": list(store.sites),
        "dtype": store.dtype,
        "pool": store.pool,
        "n_bytes": store.n_bytes,
        "n_shards": store.n_shards,
    }


def _summary(facts: dict[str, Any]) -> list[str]:
    cut = f"; {facts['n_truncated']:,} cut to the model's window" if facts["n_truncated"] else ""
    rows = "every token" if facts["pool"] is None else f"one row per example ({facts['pool']})"
    return [
        f"examples  {facts['n_examples']:,} of {facts['data']}{cut}",
        f"tokens    {facts['n_tokens']:,}",
        f"sites     {', '.join(facts['sites'])}",
        f"rows      {rows}",
        f"dtype     {facts['dtype']}",
        f"size      {facts['n_bytes']:,} bytes in {facts['n_shards']} shards",
    ]
