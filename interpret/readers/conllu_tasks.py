"""Tasks that a treebank holds the answers to without being labelled for them: one label per sentence.

After Conneau et al. 2018 (arXiv:1805.01070), from dependency trees instead of constituents.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from interpret.errors import DataError, UsageError
from interpret.readers.conllu import Word, read_words

#: Upper ends of the classes of sentence length, in words; the last class is open.
_LENGTHS: Final = (4, 8, 12, 16, 20, 25)
_MAX_DEPTH: Final = 8
#: Words of these parts of speech may be the content to find.
_CONTENT: Final = ("NOUN", "VERB", "ADJ", "ADV")
N_CONTENT_WORDS: Final = 20
ORIGINAL, INVERTED = "original", "inverted"

Tree = Sequence[Word]


class Labelled(NamedTuple):
    """A sentence's text as it is to be read, and its label; None: the task does not say."""

    text: str
    label: str | None


def sentence_length(tree: Tree) -> str:
    """A range of words, as in `5-8`."""
    low = 1
    for high in _LENGTHS:
        if len(tree) <= high:
            return f"{low}-{high}"
        low = high + 1
    return f"{low}+"


def tree_depth(tree: Tree) -> str:
    """Arcs on the longest way from the root to a word; from 8 on they are one class."""
    depth = max(_depths(tree))
    return f"{_MAX_DEPTH}+" if depth >= _MAX_DEPTH else str(depth)


def tense(tree: Tree) -> str | None:
    """The tense of the main clause: of its finite verb, or of the finite auxiliary or copula under the root."""
    root = _root(tree)
    clause = [root, *(w for w in _children(tree, root) if w.relation in ("aux", "cop"))]
    found = {w.features["Tense"] for w in clause if w.features.get("VerbForm") == "Fin" and "Tense" in w.features}
    return found.pop() if len(found) == 1 else None


def subject_number(tree: Tree) -> str | None:
    """Number of the main clause's subject."""
    return _number(tree, "nsubj")


def object_number(tree: Tree) -> str | None:
    """Number of the main clause's direct object."""
    return _number(tree, "obj")


#: Tasks that read a label off each tree by itself.
OF_TREES: Final[dict[str, Callable[[Tree], str | None]]] = {
    "sentence_length": sentence_length,
    "tree_depth": tree_depth,
    "tense": tense,
    "subject_number": subject_number,
    "object_number": object_number,
}
DERIVED: Final = (*OF_TREES, "bigram_shift", "word_content")


def read_derived(path: Path, task: str, vocabulary: Iterable[str] | None = None) -> list[Labelled]:
    """One of `DERIVED` for every sentence of a CoNLL-U file.

    `bigram_shift`: in every other sentence two neighbouring words are swapped, neither of them punctuation; which
    sentences and where follows from the sentence alone. All texts are words joined with spaces, so that spacing does
    not give the swap away. `word_content`: which one of the 20 commonest nouns, verbs, adjectives and adverbs of the
    file (or of `vocabulary`, the words of the training file) a sentence holds; none where it holds several.

    Raises:
        DataError: a broken line or tree, or no sentence has a label.
        UsageError: no such task.
    """
    if task not in DERIVED:
        raise UsageError(f"unknown task {task!r}; those derived from trees are {', '.join(DERIVED)}")
    trees = read_words(path)
    for line, _, tree in trees:
        _check_tree(tree, path, line)
    if task == "bigram_shift":
        labelled = [bigram_shift([w.form for w in tree], [w.upos for w in tree]) for _, _, tree in trees]
    elif task == "word_content":
        labelled = _word_content([(text, tree) for _, text, tree in trees], vocabulary)
    else:
        labelled = [Labelled(text, OF_TREES[task](tree)) for _, text, tree in trees]
    if all(one.label is None for one in labelled):
        raise DataError(f"no sentence of the file has a label for {task}; does it carry FEATS and trees?", path=path)
    return labelled


def bigram_shift(words: Sequence[str], upos: Sequence[str]) -> Labelled:
    """The sentence as it is, or with two different neighbouring words swapped; no label where nothing can be."""
    places = [
        i
        for i in range(len(words) - 1)
        if "PUNCT" not in upos[i : i + 2] and words[i].casefold() != words[i + 1].casefold()
    ]
    if not places:
        return Labelled(" ".join(words), None)
    draw = random.Random(hashlib.sha256("\n".join(words).encode()).digest())
    if draw.random() < 0.5:
        return Labelled(" ".join(words), ORIGINAL)
    i = draw.choice(places)
    return Labelled(" ".join([*words[:i], words[i + 1], words[i], *words[i + 2 :]]), INVERTED)


def _word_content(trees: Sequence[tuple[str, Tree]], vocabulary: Iterable[str] | None) -> list[Labelled]:
    held = [{w.form.casefold() for w in tree if w.upos in _CONTENT} for _, tree in trees]
    if vocabulary is None:
        counts = Counter(form for forms in held for form in forms)
        targets = set(sorted(counts, key=lambda form: (-counts[form], form))[:N_CONTENT_WORDS])
    else:
        targets = set(vocabulary)
    labelled = []
    for (text, _), forms in zip(trees, held, strict=True):
        found = forms & targets
        labelled.append(Labelled(text, found.pop() if len(found) == 1 else None))
    return labelled


def _check_tree(tree: Tree, path: Path, line: int) -> None:
    n_roots = sum(w.head == 0 for w in tree)
    if n_roots != 1:
        raise DataError(f"the sentence has {n_roots} words with HEAD 0; a tree has one root", path=path, line=line)
    for i, word in enumerate(tree, start=1):
        if not 0 <= word.head <= len(tree) or word.head == i:
            raise DataError(
                f"word {i} has HEAD {word.head} in a sentence of {len(tree)} words", path=path, line=line + i - 1
            )
    if min(_depths(tree)) < 0:
        raise DataError("the heads of the sentence run in a circle; they are no tree", path=path, line=line)


def _depths(tree: Tree) -> list[int]:
    """Arcs from the root to each word; -1 where none leads there."""
    depths = []
    for word in tree:
        depth, head = 0, word.head
        while head and depth <= len(tree):
            depth, head = depth + 1, tree[head - 1].head
        depths.append(-1 if head else depth)
    return depths


def _root(tree: Tree) -> Word:
    return next(w for w in tree if w.head == 0)


def _children(tree: Tree, parent: Word) -> list[Word]:
    number = next(i for i, w in enumerate(tree, start=1) if w is parent)
    return [w for w in tree if w.head == number]


def _number(tree: Tree, relation: str) -> str | None:
    found = [w.features.get("Number") for w in _children(tree, _root(tree)) if w.relation == relation]
    return found[0] if len(found) == 1 else None
