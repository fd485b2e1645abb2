"""The tables of a store: one row per token of a shard, one row per example of the whole."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from interpret.capture.store.filling import NONE, Filling
from interpret.capture.store.plan import Corpus
from interpret.readers.texts import Texts


def tokens_parquet(corpus: Corpus, filling: Filling) -> memoryview:
    """One row per token of a shard, in the order of its values."""
    import pyarrow as pa

    lengths = filling.lengths
    ends = np.cumsum(lengths)
    position = np.arange(int(ends[-1])) - np.repeat(ends - lengths, lengths)
    where = np.repeat(corpus.starts[filling.examples], lengths) + position
    ids = corpus.ids[where]
    return _parquet(
        {
            "example": pa.array(np.repeat(filling.examples, lengths)),
            "position": pa.array(position.astype(np.int32)),
            "token_id": pa.array(ids),
            "token": pa.array(corpus.known_tokens, pa.string()).take(pa.array(np.searchsorted(corpus.known_ids, ids))),
            "word": pa.array(corpus.words[where]),
            "char_start": pa.array(corpus.spans[where, 0]),
            "char_end": pa.array(corpus.spans[where, 1]),
            "special": pa.array(corpus.special[where]),
        }
    )


def examples_parquet(texts: Texts, corpus: Corpus, predicted: Mapping[int, int], labels: Sequence[str]) -> memoryview:
    """One row per example, in the order of the data; `predicted` are indices into `labels`."""
    import pyarrow as pa

    classes = [predicted[index] for index in range(len(texts))]
    return _parquet(
        {
            "example": pa.array(np.arange(len(texts), dtype=np.int64)),
            "id": pa.array(texts.ids, pa.string()),
            "text_sha256": pa.array([_text_sha256(text) for text in texts.texts], pa.string()),
            "label": pa.array(texts.labels, pa.string()),
            "prediction": pa.array([None if index == NONE else labels[index] for index in classes], pa.string()),
            "n_tokens": pa.array(corpus.lengths.astype(np.int32)),
            "n_truncated": pa.array(corpus.n_truncated.astype(np.int32)),
        }
    )


def _text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _parquet(columns: Mapping[str, Any]) -> memoryview:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # In memory first: parquet's own writer neither hashes nor syncs.
    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), buffer, compression="zstd")
    return buffer.getbuffer()
