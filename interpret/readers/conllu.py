"""CoNLL-U treebanks as words with one label each."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from interpret.errors import DataError, MissingFileError, UsageError

#: Columns a label can be read from, with their 0-based place; `feats.Number` reads one feature.
COLUMNS: Final = {"upos": 3, "xpos": 4, "deprel": 7}
_FEATS: Final = 5
_HEAD: Final = 6
_N_COLUMNS: Final = 10
_ID = re.compile(r"(?P<first>\d+)(?:-(?P<last>\d+)|\.\d+)?")


@dataclass(frozen=True)
class Sentence:
    """One sentence: its syntactic words, one label (or None: not annotated) each, and where it begins in the file.

    `text` is the `# text` comment where there is one, else the words joined with spaces. `line` is 1-based.
    """

    words: tuple[str, ...]
    labels: tuple[str | None, ...]
    line: int
    text: str


@dataclass(frozen=True)
class Word:
    """One word with its place in the dependency tree; `head` is a 1-based word, 0 at the root.

    `relation` is without its subtype: `nsubj` for `nsubj:pass`.
    """

    form: str
    upos: str
    features: dict[str, str]
    head: int
    relation: str


class _Block(NamedTuple):
    text: str | None
    rows: list[tuple[int, list[str]]]


def read_conllu(path: str | Path, label: str = "upos") -> list[Sentence]:
    """The sentences of a CoNLL-U file with `label`: `upos`, `xpos`, `deprel` or one feature, as in `feats.Number`.

    Words are the numbered syntactic words: a range such as `1-2` (a contraction as written) and an empty node such
    as `1.1` are not words and are left out. Word forms are kept as they stand, without Unicode normalisation. `_`
    in the label's column, or a word without the feature, is None.

    Raises:
        MissingFileError: there is no such file.
        DataError: a broken line (with file and line), or a label that no word of the file carries.
        UsageError: the label is none of the above.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"there is no file {path}")
    feature = _feature(label)
    sentences: list[Sentence] = []
    features_seen: set[str] = set()
    for block in _blocks(path):
        words: list[str] = []
        labels: list[str | None] = []
        for line, cells in block.rows:
            words.append(sys.intern(cells[1]))
            if feature is None:
                value = cells[COLUMNS[label]]
                labels.append(None if value == "_" else sys.intern(value))
            else:
                features = _features(cells[_FEATS], path, line)
                features_seen.update(features)
                labels.append(features.get(feature))
        text = " ".join(words) if block.text is None else block.text
        sentences.append(Sentence(tuple(words), tuple(labels), block.rows[0][0], text))
    if not sentences:
        raise DataError("the file holds no sentence", path=path)
    if all(value is None for sentence in sentences for value in sentence.labels):
        if feature is None:
            raise DataError(f"no word carries {label} (the column is '_' everywhere)", path=path)
        found = ", ".join(f"feats.{name}" for name in sorted(features_seen)) or "none"
        raise DataError(f"no word carries {label}; the features in the file are: {found}", path=path)
    return sentences


def read_words(path: str | Path) -> list[tuple[int, str, tuple[Word, ...]]]:
    """For each sentence its first line, its text and its words with their trees.

    Raises:
        MissingFileError: there is no such file.
        DataError: a broken line, or a HEAD that is no number, with file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"there is no file {path}")
    sentences = []
    for block in _blocks(path):
        words = []
        for line, cells in block.rows:
            if not cells[_HEAD].isdecimal():
                raise DataError(f"the HEAD column holds {cells[_HEAD]!r}, which is no number", path=path, line=line)
            features = _features(cells[_FEATS], path, line)
            relation = cells[COLUMNS["deprel"]].partition(":")[0]
            words.append(Word(sys.intern(cells[1]), cells[COLUMNS["upos"]], features, int(cells[_HEAD]), relation))
        text = " ".join(w.form for w in words) if block.text is None else block.text
        sentences.append((block.rows[0][0], text, tuple(words)))
    if not sentences:
        raise DataError("the file holds no sentence", path=path)
    return sentences


def _feature(label: str) -> str | None:
    """The feature's name in `feats.Name`, None for a plain column."""
    if label in COLUMNS:
        return None
    head, dot, name = label.partition(".")
    if head == "feats" and dot and name:
        return name
    from interpret.readers.conllu_tasks import DERIVED

    raise UsageError(
        f"cannot read the label {label!r} from CoNLL-U; available are {', '.join(COLUMNS)}, single features written "
        f"as feats.Number and, for probes, labels of sentences: {', '.join(DERIVED)}"
    )


def _features(cell: str, path: Path, line: int) -> dict[str, str]:
    if cell == "_":
        return {}
    features = {}
    for item in cell.split("|"):
        name, equals, value = item.partition("=")
        if not (name and equals and value):
            raise DataError(f"the FEATS column holds {item!r}, which is not Name=Value", path=path, line=line)
        features[name] = value
    return features


def _blocks(path: Path) -> Iterator[_Block]:
    """Sentences as checked rows. Bytes are split at newlines only: U+2028 or U+0085 inside a form end no line."""
    text: str | None = None
    rows: list[tuple[int, list[str]]] = []
    for line, raw in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            written = raw.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as err:
            raise DataError(f"byte {err.start + 1} of the line is not UTF-8", path=path, line=line) from err
        if not written.strip(" \t"):
            if rows:
                yield _Block(text, rows)
            text, rows = None, []
        elif written.startswith("#"):
            name, equals, value = written[1:].partition("=")
            if equals and name.strip() == "text":
                text = value.strip()
        else:
            row = _row(written, len(rows) + 1, path, line)
            if row is not None:
                rows.append((line, row))
    if rows:
        yield _Block(text, rows)


def _row(written: str, expected: int, path: Path, line: int) -> list[str] | None:
    """The ten cells of a word line; None for a range or an empty node."""
    cells = written.split("\t")
    if len(cells) != _N_COLUMNS:
        raise DataError(
            f"a word line has {_N_COLUMNS} columns separated by tabs, this one has {len(cells)}",
            path=path,
            line=line,
        )
    match = _ID.fullmatch(cells[0])
    if match is None:
        raise DataError(f"{cells[0]!r} is not a word id (1, 1-2 or 1.1)", path=path, line=line)
    if match["last"] is not None:
        if not expected == int(match["first"]) < int(match["last"]):
            raise DataError(f"the range {cells[0]} does not begin at the next word, {expected}", path=path, line=line)
        return None
    if "." in cells[0]:
        return None
    if int(cells[0]) != expected:
        raise DataError(
            f"the word id is {cells[0]} where {expected} was expected (is an empty line between sentences missing?)",
            path=path,
            line=line,
        )
    if not cells[1].strip():
        raise DataError("the word form is empty", path=path, line=line)
    return cells
