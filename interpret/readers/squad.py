"""Questions about contexts, with the accepted answers: the JSON of SQuAD and XQuAD."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from interpret.errors import DataError, MissingFileError


class Question(NamedTuple):
    """One question with the text it is asked of; `answers` are the accepted ones, at least one."""

    identity: str
    question: str
    context: str
    answers: tuple[str, ...]


def read_squad(path: str | Path) -> list[Question]:
    """The questions of a file in the format of SQuAD 1.1, in its order.

    Raises:
        MissingFileError: there is no such file.
        DataError: it is not that format; the message names the place. A question without an answer (as SQuAD 2 has
            them) is one of these, since what is audited is where an answer stands.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"there is no file {path}")
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as err:
        raise DataError(f"byte {err.start + 1} of the file is not UTF-8", path=path) from err
    except json.JSONDecodeError as err:
        raise DataError(f"not JSON ({err.msg})", path=path, line=err.lineno) from err
    questions: list[Question] = []
    for a, article in enumerate(_list(found, "data", path, "the file")):
        for p, paragraph in enumerate(_list(article, "paragraphs", path, f"article {a}")):
            where = f"article {a}, paragraph {p}"
            context = _text(paragraph, "context", path, where)
            for q, asked in enumerate(_list(paragraph, "qas", path, where)):
                place = f"{where}, question {q}"
                answers = [_text(one, "text", path, place) for one in _list(asked, "answers", path, place)]
                if not answers:
                    raise DataError(f"{place} has no answer; leave such questions out", path=path)
                questions.append(
                    Question(
                        str(asked.get("id", len(questions))),
                        _text(asked, "question", path, place),
                        context,
                        tuple(dict.fromkeys(answers)),
                    )
                )
    if not questions:
        raise DataError("the file holds no question", path=path)
    return questions


def _list(of: Any, key: str, path: Path, where: str) -> list[Any]:
    if not isinstance(of, dict) or not isinstance(of.get(key), list):
        raise DataError(f"{where} has no list {key!r}, as the format of SQuAD wants it", path=path)
    found: list[Any] = of[key]
    return found


def _text(of: Any, key: str, path: Path, where: str) -> str:
    if not isinstance(of, dict) or not isinstance(of.get(key), str):
        raise DataError(f"{where} has no text {key!r}, as the format of SQuAD wants it", path=path)
    found: str = of[key]
    return found
