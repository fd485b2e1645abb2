"""Attributions of a whole data set, into two parquet tables: one row per token, and one row per text.

Two tables rather than one: a verdict repeated on every token would count long texts more often than short ones in
every mean that is taken over rows, and nobody would see it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from tqdm import tqdm

from interpret.analyzers.asked import refuse_unread
from interpret.analyzers.attribution import attribute
from interpret.analyzers.faithfulness import measure, with_quality
from interpret.analyzers.faithfulness.stats import verdict_by_bootstrap
from interpret.analyzers.scheduler import Scheduler
from interpret.capture.store.request import model_facts, texts_sha256
from interpret.errors import InterpretError, StoreError, UsageError
from interpret.facade.lots import SCHEMA, Lots, files_of, open_lots
from interpret.models.chats import split_answers
from interpret.models.handle import Handle
from interpret.models.inputs import LongText, Text, encode
from interpret.models.units import Unit
from interpret.readers.chats import is_answered
from interpret.readers.labels import map_labels
from interpret.readers.texts import Texts
from interpret.results.explanations import Attribution
from interpret.statistics.intervals import MIN_BOOTSTRAP, student

if TYPE_CHECKING:
    import pandas as pd

#: Texts explained, measured and written at once: part of the request, since batches decide the last bits.
LOT_SIZE: Final = 64
#: Random rankings of each text: as many as the quick measurement of five texts or more takes.
N_RANDOM: Final = 20

_TOKENS: Final = {
    "example": "int64", "id": "string", "position": "int64", "token": "string", "word": "string",
    "char_start": "int64", "char_end": "int64", "score": "float64",
}  # fmt: skip
_EXAMPLES: Final = {
    "example": "int64", "id": "string", "text_sha256": "string", "label": "string",
    "target_kind": "string", "target": "string", "target_index": "int64",
    "foil": "string", "foil_index": "int64", "chosen": "string", "method": "string", "unit": "string",
    "n_tokens": "int64", "n_words": "int64", "n_truncated": "int64", "n_windows": "int64", "n_read": "int64",
    "value": "float64", "baseline_value": "float64", "convergence_delta": "float64",
    "verdict": "string", "percentile": "float64", "n_random": "int64", "comprehensiveness": "float64",
    "random_comprehensiveness": "float64", "sufficiency": "float64", "random_sufficiency": "float64",
}  # fmt: skip


@dataclass(frozen=True)
class AttributionFiles:
    """Attributions on disk. Nothing is read before it is asked for.

    Attributes:
        path: table with one row per token: the columns of `Attribution.to_frame()`, and `id`.
        examples_path: table with one row per text: target, method, completeness error, quality.
        manifest: what was asked, of which model and data, and the checksums of both tables.
    """

    path: Path
    examples_path: Path
    manifest: Mapping[str, Any]

    def __len__(self) -> int:
        return int(self.manifest["data"]["n_examples"])

    def tokens(self) -> pd.DataFrame:
        """Columns: example, id, position, token, word, char_start, char_end, score.

        The score is missing where no window that holds what is explained holds the token.
        """
        import pandas as pd

        return pd.read_parquet(self.path)

    def examples(self) -> pd.DataFrame:
        """One row per text, in the order of the data; what was not measured is missing."""
        import pandas as pd

        return pd.read_parquet(self.examples_path)

    def summary(self) -> dict[str, Any]:
        """The counts, and what the measured quality says of all texts together, as plain values.

        `n_partly_read` of the `n_windowed` texts have tokens (without a score) that stand in no window with what is
        explained.

        `quality.difference` is how much further the probability falls without the words ranked first than without
        random words, averaged over texts with its 95% t interval; `verdict` follows from it (trivial rankings are
        not kept, so it says at most `better_than_random`). `above_95_share`: share of single texts above the 95th
        percentile of their random rankings; chance gives 5%.
        """
        examples = self.examples()
        deltas = examples["convergence_delta"].dropna()
        return {
            "data": self.manifest["data"]["name"],
            "n_examples": len(self),
            "n_tokens": int(examples["n_tokens"].sum()),
            "n_truncated": int((examples["n_truncated"] > 0).sum()),
            "n_windowed": int((examples["n_windows"] > 1).sum()),
            "n_partly_read": int((examples["n_read"] < examples["n_tokens"]).sum()),
            "method": str(examples["method"].iloc[0]),
            "unit": str(examples["unit"].iloc[0]),
            "targets": {str(k): int(n) for k, n in examples["target"].value_counts().sort_index().items()},
            "convergence_delta_median": float(deltas.median()) if len(deltas) else None,
            "convergence_delta_max": float(deltas.max()) if len(deltas) else None,
            "quality": _overall(examples.dropna(subset=["percentile"])),
        }


def attribute_to(
    handle: Handle,
    path: str | Path,
    texts: Texts,
    *,
    target: Any = None,
    method: str = "auto",
    unit: Unit = "word",
    quality: Literal["auto", False] = "auto",
    label_map: str | Mapping[str, object] | None = None,
    long_text: LongText = "truncate",
    doc_stride: int | None = None,
    seed: int = 0,
    lot_size: int = LOT_SIZE,
    overwrite: bool = False,
    progress: bool | None = None,
    **options: Any,
) -> AttributionFiles:
    """Explain texts lot by lot and write what comes out to `path`; see `AttachedModel.attribute_to`.

    Lot k draws its random rankings from `seed + k`. What is held in memory is the texts and one lot.
    """
    path = _checked_path(Path(path))
    if lot_size < 1:
        raise UsageError(f"lot_size is {lot_size}; it must be at least 1")
    _check_plain(target, options)
    if not isinstance(unit, str):
        raise UsageError("over a data set a unit is a name, such as 'word' or 'sentence'; give spans to attribute()")
    _check_alike(texts)
    refuse_unread(handle, target=target, **{name: options.get(name) for name in ("at", "response", "max_new_tokens")})
    gold = gold_of(texts, handle.labels, label_map) if _is_gold(handle, target) else None
    if label_map is not None and gold is None:
        raise UsageError('label_map (--label-map) is read for target="gold" only; leave it out')
    request = {
        "schema": SCHEMA,
        "model": {name: value for name, value in model_facts(handle, None).items() if name != "attention_mode"},
        "data": {"name": texts.name, "sha256": texts_sha256(texts), "n_examples": len(texts)},
        "options": {
            "target": list(target) if isinstance(target, tuple) else target,
            "method": method,
            "unit": unit,
            "quality": quality,
            "n_random": N_RANDOM if quality else None,
            "long_text": long_text,
            "doc_stride": doc_stride,
            "label_map": label_map if label_map is None or isinstance(label_map, str) else dict(label_map),
            "seed": seed,
            "lot_size": lot_size,
            **{f"method.{name}": value for name, value in options.items()},
        },
    }
    starts = range(0, len(texts), lot_size)
    with open_lots(path, request, len(starts)) as lots:
        manifest = lots.take_up(overwrite)
        if manifest is None:
            done = sum(min(lot_size, len(texts) - starts[number]) for number in lots.entries)
            with _named_failures(lots), _bar(len(texts), done, progress) as bar:
                for number in lots.missing:
                    part = slice(starts[number], min(starts[number] + lot_size, len(texts)))
                    result = _explained(
                        handle,
                        texts.given[part],
                        target="gold" if gold is not None else target,
                        gold=None if gold is None else gold[part],
                        method=method,
                        unit=unit,
                        quality=quality,
                        long_text=long_text,
                        doc_stride=doc_stride,
                        seed=seed + number,
                        options=options,
                    )
                    tables = {
                        "tokens": _tokens_table(texts, part, result),
                        "examples": _examples_table(texts, part, result),
                    }
                    n_tokens = sum(len(example.tokens) for example in result)
                    facts = {"n_examples": len(result), "n_tokens": n_tokens, "options": dict(result.options)}
                    lots.write(number, tables, facts)
                    bar.update(len(result))
                    del result, tables
                manifest = lots.finish()
    return AttributionFiles(path, files_of(path)["examples"], manifest)


def _explained(
    handle: Handle,
    texts: Sequence[Text],
    *,
    target: Any,
    gold: Sequence[int | str] | None,
    method: str,
    unit: Unit,
    quality: Literal["auto", False],
    long_text: LongText,
    doc_stride: int | None,
    seed: int,
    options: Mapping[str, Any],
) -> Attribution:
    # One scheduler for both, so that the whole texts run once; a new one for each lot, so that it is the same lot
    # whether or not others ran before it.
    scheduler = Scheduler(handle)
    texts, response = split_answers(handle, texts, options.get("response"))
    options = options if response is None else {**options, "response": response}
    result = attribute(
        handle,
        encode(handle, texts, unit=unit, long_text=long_text, doc_stride=doc_stride),
        target=target,
        gold=gold,
        method=method,
        unit=unit,
        seed=seed,
        scheduler=scheduler,
        **options,
    )
    if quality is False:
        return result
    measured = measure(handle, result, n_random=N_RANDOM, seed=seed, scheduler=scheduler)
    return with_quality(result, measured)


def _checked_path(path: Path) -> Path:
    if path.suffix != ".parquet":
        raise UsageError(f"cannot write attributions of a data set to {path.name}: name a file that ends in .parquet")
    if path.is_dir():
        raise UsageError(f"cannot write to {path}: a folder stands there; name a file in it")
    return path


def _check_plain(target: Any, options: Mapping[str, Any]) -> None:
    """Refuse what the manifest could not say."""
    parts = target if isinstance(target, tuple) and len(target) == 2 else (target,)
    if not all(part is None or type(part) in (str, int) for part in parts) or parts == (None, None):
        raise UsageError(
            f"cannot explain {target!r:.60} over a data set: target is None (what is predicted), a label or index, a "
            'pair of them, or "gold"'
        )
    for name, value in options.items():
        if value is not None and type(value) not in (str, int, float, bool):
            raise UsageError(
                f"{name} is {value!r:.60}; over a data set an option is a number, a string, a bool or None"
            )


def _check_alike(texts: Texts) -> None:
    """Refuse, before anything runs, chats of which only some end with an answer: what is explained would differ."""
    answered = [is_answered(chat) for chat in texts.chats or ()]
    if any(answered) and not all(answered):
        raise texts.wrong(
            answered.index(not answered[0]),
            f"this chat {'does not end' if answered[0] else 'ends'} with the assistant's message, unlike those before "
            "it; explain chats that end with an answer apart from those that ask for one",
        )


def _is_gold(handle: Handle, target: Any) -> bool:
    return isinstance(target, str) and target == "gold" and "gold" not in handle.labels


def gold_of(texts: Texts, classes: Sequence[str], label_map: str | Mapping[str, object] | None) -> list[int | str]:
    """Which of the classes each text has (where there are none, of a language model: its token), from its label.

    Raises:
        UsageError: there are no labels, or one is missing; with its line.
        LabelError: labels cannot be matched with the classes of the model.
    """
    labels: list[str] = []
    for index, label in enumerate(texts.labels):
        if label is None:
            if not any(texts.labels):
                raise UsageError(
                    f'target "gold" needs labels, but {texts.name} has no label column; name one with --label-column '
                    "(label=)"
                )
            raise texts.wrong(index, 'target "gold" needs a label for every text, and this one has none')
        labels.append(label)
    if not classes:
        return list(labels)
    mapping = map_labels(labels, dict(enumerate(classes)), label_map, lines=texts.lines)
    return [mapping.pairs[label] for label in labels]


def _tokens_table(texts: Texts, part: slice, result: Attribution) -> Any:
    frame = result.to_frame()
    frame["id"] = np.array(texts.ids[part], dtype=object)[frame["example"].to_numpy()]
    frame["example"] += part.start
    return _table({name: frame[name] for name in _TOKENS}, _TOKENS)


def _examples_table(texts: Texts, part: slice, result: Attribution) -> Any:
    rows = []
    for offset, example in enumerate(result):
        index, q, target = part.start + offset, example.quality, example.target
        rows.append(
            {
                "example": index,
                "id": texts.ids[index],
                "text_sha256": hashlib.sha256(example.text.encode()).hexdigest(),
                "label": texts.labels[index],
                "target_kind": target.kind,
                "target": target.label,
                "target_index": target.index,
                "foil": target.foil_label,
                "foil_index": target.foil_index,
                "chosen": target.chosen,
                "method": example.method,
                "unit": example.unit,
                "n_tokens": len(example.tokens),
                "n_words": len(set(example.word_index[example.word_index >= 0].tolist())),
                "n_truncated": example.n_truncated,
                "n_windows": 1 if example.windows is None else len(example.windows),
                "n_read": int(example.read.sum()),
                "value": example.value,
                "baseline_value": example.baseline_value,
                "convergence_delta": example.convergence_delta,
                "verdict": None if q is None else q.verdict,
                "percentile": None if q is None else q.percentile,
                "n_random": None if q is None else q.n_random,
                "comprehensiveness": None if q is None else q.comprehensiveness,
                "random_comprehensiveness": None if q is None else q.random_comprehensiveness,
                "sufficiency": None if q is None else q.sufficiency,
                "random_sufficiency": None if q is None else q.random_sufficiency,
            }
        )
    return _table({name: [row[name] for row in rows] for name in _EXAMPLES}, _EXAMPLES)


def _table(columns: Mapping[str, Any], types: Mapping[str, str]) -> Any:
    import pyarrow as pa

    # pandas says NaN where a word is missing.
    return pa.table({name: pa.array(values, types[name], from_pandas=True) for name, values in columns.items()})


def _overall(measured: pd.DataFrame) -> dict[str, Any] | None:
    if not len(measured):
        return None
    gain = (measured["comprehensiveness"] - measured["random_comprehensiveness"]).to_numpy(dtype=np.float64)
    found: dict[str, Any] = {
        "n": len(measured),
        "verdict": "inconclusive",
        "difference": float(gain.mean()),
        "difference_ci_low": None,
        "difference_ci_high": None,
        "above_95_share": float((measured["verdict"] == "better_than_random").mean()),
        "n_random": int(measured["n_random"].min()),
    }
    if len(measured) >= MIN_BOOTSTRAP:
        # As good as a bootstrap on differences of probabilities, and it needs no thousand copies of the column.
        interval = student(gain)
        found |= {
            "verdict": verdict_by_bootstrap(interval, None, len(measured)),
            "difference_ci_low": interval.low,
            "difference_ci_high": interval.high,
        }
    return found


@contextmanager
def _bar(total: int, done: int, progress: bool | None) -> Iterator[Any]:
    silent = not sys.stderr.isatty() if progress is None else not progress
    with tqdm(total=total, initial=done, desc="attribute", unit="text", disable=silent, file=sys.stderr) as bar:
        yield bar


@contextmanager
def _named_failures(lots: Lots) -> Iterator[None]:
    """Say what a disk that takes no more means, and what to do."""
    try:
        yield
    except OSError as err:
        if isinstance(err, InterpretError):
            raise
        raise StoreError(
            f"writing {lots.path} stopped because of {err.strerror or err}; the {len(lots.entries)} of {lots.n_lots} "
            f"lots that are whole stay in {lots.parts}; when the disk can be written again, run the same again: it "
            "goes on after them"
        ) from err
