"""Our results in the hands of other libraries: an attribution for shap's plots.

It stands here because records do not know shap, which brings torch with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from interpret.errors import UsageError
from interpret.results.explanations import Attribution, ExampleAttribution


def to_shap(attribution: Attribution | ExampleAttribution) -> Any:
    """The same numbers as a `shap.Explanation`, for `shap.plots.text`, `bar` and `waterfall`.

    One value for each word (by the record's unit), special tokens left out; `data` are the words with what stands
    between them, so that they join to the text. shap shows `base_values` plus the sum of the values as the output:
    that is the explained logit up to the completeness error where the method has a baseline. Other methods get the
    base 0, and what shap calls f(x) is then the sum of the scores, not an output. Quality is not carried over. Of a
    text read in windows the values are `contributions`, since only those sum to the output.

    Returns:
        Of an `Attribution` one row per text (ragged); of an example a single row.

    Raises:
        UsageError: a text without words, which shap cannot show.
    """
    import shap

    single = isinstance(attribution, ExampleAttribution)
    examples = [attribution] if isinstance(attribution, ExampleAttribution) else list(attribution)
    values, data, bases = [], [], []
    for number, example in enumerate(examples):
        example = replace(example, scores=example.contributions, windows=None)
        found = example.words()
        if not found:
            raise UsageError(f"text {number} has no words that could be shown; leave it out")
        # Scores of special tokens belong to no word; with them in the base the sum stays what it was.
        rest = float(example.scores[example.word_index < 0].sum())
        values.append(np.array([word.score for word in found]))
        data.append(np.array(_pieces(example), dtype=object))
        bases.append(0.0 if example.baseline_value is None else example.baseline_value + rest)
    if single:
        return shap.Explanation(values=values[0], base_values=bases[0], data=data[0], feature_names=data[0])
    return shap.Explanation(
        values=_ragged(values), base_values=np.array(bases), data=_ragged(data), feature_names=_ragged(data)
    )


def _pieces(example: ExampleAttribution) -> list[str]:
    """The text cut before each word; words without a place in it are followed by a space."""
    found = example.words()
    if any(word.char_end <= word.char_start for word in found):
        return [f"{word.word} " for word in found]
    cuts = [0, *(word.char_start for word in found[1:]), len(example.text)]
    return [example.text[start:end] for start, end in pairwise(cuts)]


def _ragged(rows: Sequence[Any]) -> Any:
    out = np.empty(len(rows), dtype=object)
    for number, row in enumerate(rows):
        out[number] = row
    return out
