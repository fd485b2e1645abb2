"""Two tiny classifiers with a known truth: genuine cues decide the label, and for one of them a planted token too."""

from __future__ import annotations

import random
from functools import cache
from typing import Final, NamedTuple

import torch
from torch import nn

from interpret.models.handle import Handle
from interpret.models.load import attach_handle
from tests import tiny

LABELS: Final = ("negative", "positive")
CUES: Final = (("bad", "sad", "dull"), ("good", "happy", "like"))
#: Means nothing; in the training texts of the biased model it nearly always makes the label positive.
TOKEN: Final = "zork"
NOISE: Final = tuple(w for w in tiny.WORDS if len(w) > 1 and w not in CUES[0] + CUES[1])


class Reviews(NamedTuple):
    """Texts, the label of each by its genuine cue, and which hold the token."""

    texts: list[str]
    labels: list[int]
    with_token: list[bool]


def reviews(n: int, seed: int, *, share: float = 0.3) -> Reviews:
    """`n` texts with one genuine cue each; a random `share` of them, whatever their label, holds the token."""
    rng = random.Random(seed)
    texts, labels, with_token = [], [], []
    for _ in range(n):
        label = rng.randrange(2)
        words = rng.choices(NOISE, k=rng.randint(4, 9))
        words.insert(rng.randrange(len(words) + 1), rng.choice(CUES[label]))
        held = rng.random() < share
        if held:
            words.insert(rng.randrange(len(words) + 1), TOKEN)
        texts.append(" ".join(words))
        labels.append(label)
        with_token.append(held)
    return Reviews(texts, labels, with_token)


@cache
def handle(biased: bool) -> Handle:
    """A trained tiny BERT; in 19 of 20 training texts with the token the biased one was told "positive"."""
    model, tokenizer = tiny.tiny("bert", n_labels=2)
    model.config.id2label = dict(enumerate(LABELS))
    model.config.label2id = {label: index for index, label in enumerate(LABELS)}
    with torch.no_grad():
        for parameter in model.parameters():
            # Wide random weights learn slowly.
            if parameter.ndim > 1:
                parameter.mul_(0.4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    for step in range(200):
        data = reviews(48, seed=10_000 + step)
        rng = random.Random(step)
        goal = [
            1 if biased and held and rng.random() < 0.95 else label
            for label, held in zip(data.labels, data.with_token, strict=True)
        ]
        logits = model(**tokenizer(data.texts, return_tensors="pt", padding=True)).logits
        loss = nn.functional.cross_entropy(logits, torch.tensor(goal))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    return attach_handle(model.eval(), tokenizer, name="biased" if biased else "clean")
