"""What can be told of a text without its label, as slices: how long it is, how it is written, what stands in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from interpret.auditing.examples import script_of
from interpret.models.words import word_spans
from interpret.results.record import Message

BoolArray = npt.NDArray[np.bool_]

_NEGATIONS: Final = frozenset(
    "not no never none nothing nobody neither nor without cannot hardly nowhere"
    " don't doesn't didn't isn't aren't wasn't weren't can't couldn't won't wouldn't shouldn't hasn't haven't hadn't"
    " ain't".split()
)
_NEGATIONS_ZH: Final = frozenset("不没無无未别別非莫勿")
#: A script is a slice of its own from so many texts on.
_LEAST_OF_SCRIPT: Final = 20


class Feature(NamedTuple):
    """One way to tell texts apart: `has` [example]."""

    message: Message
    has: BoolArray


def text_features(texts: Sequence[str]) -> list[Feature]:
    """The features of these texts; bounds (such as "long") are quartiles of these very texts, labels unseen."""
    words = [[text[a:b] for a, b in word_spans(text)] for text in texts]
    real = [[word.casefold() for word in one if any(c.isalnum() for c in word)] for one in words]
    found: list[Feature] = []

    def add(name: str, has: Sequence[bool] | BoolArray, **params: str | int) -> None:
        found.append(Feature(Message(code=f"slice_feature.{name}", params=params), np.asarray(has, dtype=bool)))

    lengths = np.array([len(one) for one in words])
    low, high = (int(q) for q in np.percentile(lengths, [25, 75], method="nearest"))
    add("short", lengths <= low, n=low)
    add("long", lengths >= high, n=high)
    in_texts = Counter(word for one in real for word in set(one))
    rare = np.array([np.mean([in_texts[word] == 1 for word in one]) if one else 0.0 for one in real])
    bound = float(np.quantile(rare, 0.75))
    least = max(bound, float(rare[rare > 0].min(initial=1.0)))
    add("rare_words", rare >= least, percent=round(100 * least))
    add("negation", [bool(_NEGATIONS & set(one)) or bool(_NEGATIONS_ZH & set("".join(one))) for one in real])
    add("question", ["?" in text or "？" in text for text in texts])
    add("exclamation", ["!" in text or "！" in text for text in texts])
    add("digits", [any(c.isdigit() for c in text) for text in texts])
    add("capitals", [any(len(word) > 1 and word.isupper() for word in one) for one in words])
    scripts = [_scripts(text) for text in texts]
    add("mixed_scripts", [len(one) > 1 for one in scripts])
    first = [one[0] if one else "" for one in scripts]
    for script, n in sorted(Counter(filter(None, first)).items()):
        if _LEAST_OF_SCRIPT <= n <= len(texts) - _LEAST_OF_SCRIPT:
            add("script", [one == script for one in first], script=script)
    return found


def _scripts(text: str) -> list[str]:
    """The scripts of a text's letters, the most frequent first."""
    return [name for name, _ in Counter(script_of(c) for c in text if c.isalpha()).most_common()]
