"""Our results in the hands of other libraries: an attribution for shap's plots, attention patterns for bertviz.

They stand here because records know neither library: shap and bertviz bring torch with them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from interpret.errors import UsageError
from interpret.results.explanations import Attribution, ExampleAttribution
from interpret.results.messages import visible
from interpret.sites import split_site

if TYPE_CHECKING:
    from interpret.capture import Capture

#: Numbers that a page of bertviz may hold; with more, browsers stop answering.
MAX_WEIGHTS: Final = 3_000_000
#: What would end the script that a token stands in, or begin markup; inside a string of JSON each has another spelling.
_ESCAPES: Final = {c: f"\\u{ord(c):04x}" for c in "<>&"}


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


def head_view(capture: Capture, example: int = 0, *, site: str = "attn_pattern") -> Any:
    """The head view of bertviz on captured patterns, whatever attention implementation the model runs.

    bertviz itself asks the model for its patterns, gets none under transformers 5 with the default implementation,
    and executes markup that stands in a token; here it is handed our patterns and harmless tokens. Attention says
    where the model looked, not why it answered.

    The page loads its drawing code (require.js, jQuery, d3) from a content delivery network when it is shown: unlike
    the views of our own records it needs a network.

    Args:
        capture: holds whole patterns, from `lm.capture(texts, ["attn_pattern"])`.
        example: which text.
        site: `"attn_pattern"`, or one with the prefix of a stack, such as `"encoder.attn_pattern"`.

    Returns:
        An `IPython.display.HTML`; a notebook shows it, `.data` is the page's text.

    Raises:
        UsageError: there is no such example, no whole pattern was captured, or too many for a browser.
    """
    import torch
    from bertviz import head_view as bertviz_head_view
    from bertviz.util import format_special_chars

    layers = sorted(layer for name, layer in capture.keys if name == site and layer is not None)
    if split_site(site)[1] != "attn_pattern" or not layers or capture.reduction is not None:
        raise UsageError(
            f"bertviz needs whole attention patterns of {site!r}, and this is {capture!r}; capture them with "
            f'lm.capture(texts, ["{site}"]), without heads=, queries= or summary='
        )
    if not 0 <= example < len(capture):
        raise UsageError(f"asked for example {example}; the capture has examples 0 to {len(capture) - 1}")
    mask = capture.mask_of(site)[example].cpu()
    tokens = [token for token, real in zip(capture.tokens_of(site)[example], mask.tolist(), strict=False) if real]
    patterns: list[Any] = [None] * (layers[-1] + 1)
    n_weights = 0
    for layer in layers:
        found = capture[site, layer][example].detach().cpu()
        n_weights += found.shape[0] * len(tokens) ** 2
        if n_weights > MAX_WEIGHTS:
            raise UsageError(
                f"{len(tokens)} tokens in {len(layers)} layers are more weights than a browser can show "
                f"({MAX_WEIGHTS:,}); capture fewer layers, for example {site}.{layers[0]}, or a shorter text"
            )
        patterns[layer] = torch.round(found[:, mask][:, :, mask].double(), decimals=4)[None]
    # bertviz writes tokens into a script as they are. It is given stand-ins, and what they stand for is put in escaped.
    stand_ins = [f"interpret-token-{number}-" for number in range(len(tokens))]
    with warnings.catch_warnings():
        # It leaves the file with its script for the garbage collector to close.
        warnings.simplefilter("ignore", ResourceWarning)
        page = bertviz_head_view(
            attention=patterns, tokens=stand_ins, include_layers=layers, prettify_tokens=False, html_action="return"
        )
    for stand_in, token in zip(stand_ins, format_special_chars(tokens), strict=True):
        page.data = page.data.replace(json.dumps(stand_in), _escaped(token))
    return page


def _escaped(token: str) -> str:
    return "".join(_ESCAPES.get(c, c) for c in json.dumps(visible(token)))
