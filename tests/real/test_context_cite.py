"""ContextCite on a real language model: what it predicts for prompts it has not seen is what the model does."""

from __future__ import annotations

import pytest
import torch

from interpret.analyzers.attribution import cite
from interpret.facade import AttachedModel

STORIES = (
    "Once upon a time there was a little girl named Lily. She had a red ball. Her dog was named Max. One day it "
    "rained. Lily went home. Her mom made soup.",
    "Tom had a blue car. Tom liked to play in the park. There was a big bird in the tree. The bird could sing. "
    "Tom's friend was called Sara. They saw a cat.",
)


@pytest.mark.parametrize("story", STORIES, ids=["lily", "tom"])
def test_it_predicts_held_out_prompts(stories: AttachedModel, story: str) -> None:
    found = cite(stories.handle, "The next day", context=story, template="Story. {context} {query}", max_new_tokens=24)
    assert found.options["n_sources"] == len(found[0].words()) == 6
    assert found.options["n_tokens"] == 24
    assert float(found.options["lds"] or 0) > 0.8
    drops = [float(found.options[f"top_{k}_drop"] or 0) for k in (1, 3, 5)]
    assert 0.5 < drops[0] < drops[1] < drops[2]
    # The name that the response goes on with stands in the sources that count.
    name = "Lily" if "Lily" in story else "Sara"
    assert name in str(found[0].target.label)
    assert max((w for w in found[0].words()), key=lambda w: w.score).word.count(name) == 1


SOURCES = (
    "The sun was hot.|A bird sat on the tree.|Tom had a red car.|Mom made soup.|The dog ran fast.|It was a big day.|"
    "Ben liked to run.|The cat was black.|There was a small house.|A boy saw a frog.|Dad went to work.|"
    "The ball was blue.|Sam ate an apple.|The park was nice.|A fish swam in the lake.|The box was old.|"
    "Anna sang a song.|The tree was tall.|Max was happy."
).split("|")
PLANTED = "Lily lost her pink hat."


@pytest.mark.parametrize("place", [0, 7, 19])
def test_it_finds_the_planted_source_among_twenty(stories: AttachedModel, place: int) -> None:
    sources = [*SOURCES[:place], PLANTED, *SOURCES[place:]]
    response = " Lily was sad. She wanted her pink hat."
    found = cite(stories.handle, "Then", sources=sources, response=response, template="{context} {query}")
    scores = [word.score for word in found[0].words()]
    assert len(scores) == 20
    assert max(range(20), key=scores.__getitem__) == place
    # One source left out at a time, by plain forwards.
    whole = log_probability(stories, sources, response)
    drops = [whole - log_probability(stories, sources[:i] + sources[i + 1 :], response) for i in range(20)]
    assert max(drops[:place] + drops[place + 1 :]) < 0.5 * drops[place]
    assert found.options["top_1_drop"] == pytest.approx(drops[place], abs=0.5)


def log_probability(lm: AttachedModel, sources: list[str], response: str) -> float:
    tokenizer = lm.handle.tokenizer
    prompt = tokenizer("\n\n".join(sources) + " Then", return_tensors="pt").input_ids
    written = tokenizer(response, add_special_tokens=False, return_tensors="pt").input_ids
    with torch.no_grad():
        logs = lm.handle.model(torch.cat([prompt, written], 1)).logits.double().log_softmax(-1)
    first = prompt.shape[1] - 1
    return sum(logs[0, first + n, token].item() for n, token in enumerate(written[0].tolist()))
