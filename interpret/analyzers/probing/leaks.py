"""What stands in the training data and in the test data too, by count and by example."""

from __future__ import annotations

from typing import Final

from interpret.readers.probe_data import ProbeData
from interpret.readers.probe_splits import shared_groups, shared_sentences
from interpret.results.record import Message

_EXAMPLE: Final = 80


def leaks(train: ProbeData, test: ProbeData) -> list[Message]:
    """Test sentences and groups that training has as well; a probe may remember those."""
    notes: list[Message] = []
    if shared := shared_sentences(train, test):
        first = shared[0]
        text = " ".join(test.sentences[first]) if test.level == "word" else test.texts[first]
        example = text if len(text) <= _EXAMPLE else text[: _EXAMPLE - 1] + "\u2026"
        counts = {"n": len(shared), "n_test": len(test)}
        notes.append(Message(code="probe_shared_sentences", params={**counts, "example": example}))
    if groups := shared_groups(train, test):
        counts = {"n": len(groups), "n_test": len(set(test.groups) - {""})}
        notes.append(Message(code="probe_shared_groups", params={**counts, "example": groups[0]}))
    return notes
