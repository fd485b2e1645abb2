"""Words with IOB2 tags, one word a line, as named entities and chunks are handed around."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from interpret.errors import DataError, MissingFileError

IOB_SUFFIXES: Final = (".iob2", ".iob", ".bio", ".conll")


def read_iob2(path: str | Path) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Words and tags of each sentence: the word is the first column, the tag the last, columns by tab or space.

    Sentences are separated by empty lines; lines that begin with `-DOCSTART-` or, as in WNUT, with `# ` and hold no
    tag are left out. Tags are `O`, `B-X` and `I-X`, and `I-X` follows `B-X` or `I-X`, which tells IOB2 from the older
    IOB1, where entities would be read wrongly.

    Raises:
        MissingFileError: there is no such file.
        DataError: a line without a tag, a tag that is not IOB2, or no sentence; with file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"there is no file {path}")
    sentences: list[tuple[str, ...]] = []
    labels: list[tuple[str, ...]] = []
    words: list[str] = []
    tags: list[str] = []
    for line, raw in enumerate([*path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), b""], start=1):
        try:
            written = raw.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as err:
            raise DataError(f"byte {err.start + 1} of the line is not UTF-8", path=path, line=line) from err
        cells = [cell for cell in written.split("\t" if "\t" in written else " ") if cell]
        if not cells or cells[0] == "-DOCSTART-":
            if words:
                sentences.append(tuple(words))
                labels.append(tuple(tags))
            words, tags = [], []
            continue
        if cells[0] == "#" and not words and not _is_tag(cells[-1]):
            continue
        if len(cells) < 2:
            raise DataError("a word line has a word and a tag, this one has one column", path=path, line=line)
        tag = cells[-1]
        if not _is_tag(tag):
            raise DataError(f"{tag!r} is no IOB2 tag; tags are O, B-X and I-X", path=path, line=line)
        if tag.startswith("I-") and (not tags or tags[-1][1:] != tag[1:]):
            raise DataError(
                f"{tag} follows {tags[-1] if tags else 'the beginning of a sentence'}; in IOB2 an entity begins with "
                f"B-{tag[2:]} (is the file IOB1?)",
                path=path,
                line=line,
            )
        words.append(cells[0])
        tags.append(tag)
    if not sentences:
        raise DataError("the file holds no sentence", path=path)
    return sentences, labels


def _is_tag(tag: str) -> bool:
    return tag == "O" or (len(tag) > 2 and tag[:2] in ("B-", "I-"))
