"""The answers of an audit as a table, and the digests by which two audits are matched."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from interpret.auditing.stage import Run
from interpret.results.examples import DIGEST_BYTES, Answers, Pairing

FloatArray = npt.NDArray[np.float64]


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def content_key(texts: Iterable[str]) -> bytes:
    """The key of keyed digests: made from every distinct text of a file, whatever their order; it is never stored."""
    made = hashlib.sha256(b"interpret-lm content key\n")
    for text in sorted({_raw(text) for text in texts}):
        made.update(len(text).to_bytes(8, "little") + text)
    return made.digest()


def content_digests(texts: Sequence[str], key: bytes | None) -> npt.NDArray[np.uint8]:
    """Digests [text, 16] of texts: of the text alone without a key, else HMAC-SHA-256 under it."""
    if key is None:
        made = [hashlib.sha256(_raw(text)).digest() for text in texts]
    else:
        made = [hmac.digest(key, _raw(text), "sha256") for text in texts]
    whole = np.frombuffer(b"".join(made), dtype=np.uint8).reshape(len(made), 32)
    return whole[:, :DIGEST_BYTES].copy()


def digests_of(texts: Sequence[str], every_text: Iterable[str], pairing: Pairing) -> npt.NDArray[np.uint8]:
    """The digests that an audit of `texts`, out of a file that holds `every_text`, stores under `pairing`."""
    return content_digests(texts, content_key(every_text) if pairing == "keyed" else None)


def answers(run: Run, probabilities: FloatArray, explained: Sequence[int]) -> Answers:
    """The table of all examples; `explained` are those of the random sample whose explanations were measured.

    Of audits that keep no texts the digests are keyed, whatever the configuration says: plain ones would let short
    texts be guessed.
    """
    examples = run.examples
    pairing: Pairing = run.config.pairing if run.config.texts == "full" else "keyed"
    names = tuple(sorted({name for name in examples.slices or () if name}))
    place = {name: i for i, name in enumerate(names)}
    of = examples.slices or (None,) * len(examples)
    index = np.arange(len(examples))
    gold = examples.gold
    return Answers(
        pairing=pairing,
        content=digests_of(examples.texts, examples.every_text, pairing),
        rows=np.array(examples.rows, dtype=np.int64),
        predicted=probabilities.argmax(axis=1).astype(np.int64),
        confidence=probabilities.max(axis=1),
        gold=None if gold is None else gold.astype(np.int64),
        gold_probability=None if gold is None else probabilities[index, gold],
        slices=names,
        slice_index=np.array([place.get(name or "", -1) for name in of], dtype=np.int64),
        explained=np.array(explained, dtype=np.int64),
    )
