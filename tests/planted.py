"""Models with a known truth: a classifier that one planted word decides, models in which one head does anything."""

from __future__ import annotations

import random
from functools import cache
from typing import Final, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from interpret.models.handle import Handle
from interpret.models.load import attach_handle
from tests import tiny

#: The word that makes the model say each label; both are several word pieces long.
CUES: Final = {"negative": "blick", "positive": "zork"}
LABELS: Final = tuple(CUES)
NOISE: Final = tuple(word for word in tiny.WORDS if len(word) > 1)


class Planted(NamedTuple):
    """Texts with their labels, and the place of the cue among the words."""

    texts: list[str]
    labels: list[int]
    cue_words: list[int]


def sentences(n: int, seed: int = 0, n_words: tuple[int, int] = (5, 12)) -> Planted:
    """`n` texts of noise words, each with one cue at a random place."""
    rng = random.Random(seed)
    texts, labels, places = [], [], []
    for _ in range(n):
        words = rng.choices(NOISE, k=rng.randint(*n_words) - 1)
        label, place = rng.randrange(2), rng.randrange(len(words) + 1)
        words.insert(place, CUES[LABELS[label]])
        texts.append(" ".join(words))
        labels.append(label)
        places.append(place)
    return Planted(texts, labels, places)


@cache
def trained() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The trained model, shared by all tests of a session: they must leave it as it is, which is also a test."""
    model, tokenizer = tiny.tiny("bert", n_labels=2)
    model.config.id2label = dict(enumerate(LABELS))
    model.config.label2id = {label: index for index, label in enumerate(LABELS)}
    with torch.no_grad():
        for parameter in model.parameters():
            # Wide random weights learn slowly.
            if parameter.ndim > 1:
                parameter.mul_(0.4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    for step in range(150):
        data = sentences(32, seed=1000 + step)
        # Without a cue the model must not know: otherwise one label is the default, and its cue changes
        # nothing.
        cueless = [" ".join(text.split()[1:]) for text in sentences(12, seed=5000 + step).texts]
        neutral = [" ".join(word for word in text.split() if word not in CUES.values()) for text in cueless]
        goal = torch.cat([nn.functional.one_hot(torch.tensor(data.labels), 2).float(), torch.full((12, 2), 0.5)])
        batch = tokenizer(data.texts + neutral, return_tensors="pt", padding=True)
        # Some words are masked in training, so that a text with removed words is nothing new to the model.
        hidden = torch.rand(batch["input_ids"].shape, generator=torch.Generator().manual_seed(step)) < 0.15
        content = batch["input_ids"] > 4
        ids = batch["input_ids"].masked_fill(hidden & content, int(tokenizer.mask_token_id))
        logits = model(**{**batch, "input_ids": ids}).logits
        loss = nn.functional.cross_entropy(logits, goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    return model.eval(), tokenizer


@cache
def handle() -> Handle:
    model, tokenizer = trained()
    return attach_handle(model, tokenizer, name="planted")


def one_head(handle: Handle, layer: int, head: int) -> None:
    """Leave one head of a tiny random model that carries anything from one token to another.

    The output projections take nothing from every other head. So what the model says at one place depends on tokens
    elsewhere through this head only: it is the whole effect, and every other head has exactly none. (Of a model that is
    already attached: the proof at attach would find that the other heads are not on the path to the output.)
    """
    roles = handle.roles
    with torch.no_grad():
        for number, projection in enumerate(roles.attention_output):
            weight: torch.Tensor = projection.weight
            # GPT-2's has the input first.
            inputs = weight if roles.family == "gpt2" else weight.T
            for other in range(roles.n_heads):
                if (number, other) != (layer, head):
                    inputs[other * roles.d_head : (other + 1) * roles.d_head] = 0.0
