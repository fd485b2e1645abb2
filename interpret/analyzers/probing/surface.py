"""What can be told from the words of a text alone: the baseline where whole texts are labelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.features import FeatureStore
from interpret.analyzers.probing.parts import Parts
from interpret.analyzers.probing.ridge import slices
from interpret.models.words import word_spans

Float32Array = npt.NDArray[np.float32]

#: Words that are looked for, the commonest ones of training and validation; of pairs, half as many in each text.
N_WORDS: Final = 1000


@contextmanager
def word_features(parts: Parts) -> Iterator[tuple[tuple[str, ...], Float32Array]]:
    """The words looked for, and whether each item's text holds them [item, word], standardised on training.

    Words are compared without case. Of a pair the words of the first text come first, then those of the second. They
    are the commonest by number of texts in training and validation, and stand in at least two of them.
    """
    items = parts.items
    n_texts = items.layout.n_vectors
    offset = len(items.encoded) // n_texts
    # A text may hold several items only where it stands several times; it is then read as often.
    held = [
        [_words(items.encoded[s + offset * vector].text) for vector in range(n_texts)] for s in items.sentence.tolist()
    ]
    counts = Counter(word for row in held[: parts.n_fit] for words in row for word in words)
    common = sorted((word for word, n in counts.items() if n > 1), key=lambda word: (-counts[word], word))
    vocabulary = tuple(common[: N_WORDS // n_texts])
    column = {word: number for number, word in enumerate(vocabulary)}
    width = max(1, len(vocabulary)) * n_texts
    with FeatureStore(len(items), 1) as store:
        for part in slices(len(items)):
            values = np.zeros((part.stop - part.start, width), dtype=np.float32)
            for row, texts in enumerate(held[part]):
                for vector, words in enumerate(texts):
                    values[row, [column[w] + vector * len(vocabulary) for w in words if w in column]] = 1.0
            store.write(("words", None), np.arange(part.start, part.stop), values)
        yield vocabulary, store.standardise(("words", None), parts.n_train)


def _words(text: str) -> set[str]:
    return {text[start:end].casefold() for start, end in word_spans(text)}
