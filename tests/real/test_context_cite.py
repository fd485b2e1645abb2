"""ContextCite on a real language model: what it predicts for prompts it has not seen is what the model does."""

from __future__ import annotations

import pytest

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
