"""What scalar of the model is explained: a logit, a difference or a sum of logits; of whole answers log probabilities.

    resolve_targets(handle, encoded)                              # the predicted class or token
    resolve_targets(handle, encoded, "negative")                  # a class by name (or index)
    resolve_targets(handle, encoded, ("positive", "negative"))    # a contrast
    resolve_targets(handle, encoded, "gold", gold=labels)
    resolve_targets(handle, encoded, at=3)                        # the class of the fourth word, or written token
    resolve_targets(handle, encoded, response=answers)            # the log probability of a whole answer
    resolve_targets(handle, encoded, lambda output: output.logits.std(-1))     # a function of the output

Probabilities saturate: their gradients vanish just where the model is sure, so an explanation of a
probability says least about the clearest examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, cast

import numpy as np

from interpret.analyzers.answers import best_span, first_token, located, mask_position
from interpret.analyzers.asked import WRITING, refuse_unread
from interpret.analyzers.functions import check, output_function
from interpret.analyzers.responses import Written, responses_of
from interpret.analyzers.windows import Part, parts_of, word_around
from interpret.errors import UsageError
from interpret.models.batching import Row
from interpret.models.handle import ATTRIBUTED, Handle
from interpret.models.inputs import Encoded
from interpret.models.readout import Output, OutputFunction, Readout, Term, logits_of
from interpret.models.state import tokenizer_state
from interpret.models.windows import Windows
from interpret.readers.characters import require_unicode
from interpret.results.explanations import TargetKind, TargetRecord

Chosen = Literal["predicted", "gold", "given"]
TargetItem = int | str | tuple[int | str, int | str]
#: None or "predicted", "gold", one label or token for all texts, a pair (explained, foil), or a list with one
#: per text. Of span models "start", "end" or "span", or the answer's text. Or a function of the model's output.
TargetRequest = TargetItem | Sequence[TargetItem] | Callable[[Any], Any] | None

#: Tasks that say one label or token, and where.
_ONE: Final[dict[str, TargetKind]] = {
    "text-classification": "class",
    "token-classification": "token_class",
    "masked-lm": "mask_token",
    "causal-lm": "next_token",
}
#: Vocabulary logits of this many texts are held at once while predicted tokens are read off.
_CHUNK: Final = 64


@dataclass(frozen=True)
class Target:
    """One scalar of one text's output.

    `position` is the place of the mask token or of the word whose class is explained, or the number of the written
    token; `end` the last token of a span. `response` is what the model wrote, or is taken to have written. `function`
    computes the scalar of kind "function", which has no index.
    """

    kind: TargetKind
    index: int
    foil_index: int | None = None
    chosen: Chosen = "predicted"
    position: int | None = None
    end: int | None = None
    response: tuple[int, ...] = ()
    function: OutputFunction | None = None
    #: How many of the first tokens of the response were no choice of the model, such as the language of a translation.
    n_forced: int = 0
    #: How many tokens the window that is read leaves for the response; 0: as many as it has.
    room: int = 0

    def of(self, logits: Any) -> Any:
        """The scalar from logits `[..., label]` (numpy or torch); `[...]`, in logits."""
        value = logits[..., self.index]
        return value if self.foil_index is None else value - logits[..., self.foil_index]

    @property
    def readout(self) -> Readout:
        """Where the scalar stands in the model's output, or how it is computed from that."""
        if self.function is not None:
            return self.function
        if self.kind == "sequence":
            n = len(self.response)
            terms = [Term(token, at - n, log_probability=True) for at, token in enumerate(self.response)]
            return tuple(terms[self.n_forced :])
        if self.kind in ("start", "end", "span"):
            ends: list[tuple[Output, int | None]] = [("start_logits", self.position), ("end_logits", self.end)]
            wanted = {"start": ends[:1], "end": ends[1:], "span": ends}[self.kind]
            return tuple(Term(place or 0, output=output) for output, place in wanted)
        # What is written next is read at the last position, whatever has been removed before it.
        position = -1 if self.kind in ("next_token", "output_token") else self.position
        term = Term(self.index, position)
        return (term,) if self.foil_index is None else (term, Term(self.foil_index, position, -1.0))

    @property
    def protected(self) -> int | None:
        """The token that cannot be removed, since the question is what stands there."""
        return self.position if self.kind == "mask_token" else None

    @property
    def places(self) -> tuple[int, ...]:
        """The tokens of the text that the scalar is about; none where it is about the text as a whole."""
        if self.kind not in ("token_class", "mask_token", "start", "end", "span"):
            return ()
        return tuple(place for place in (self.position, self.end) if place is not None)

    def parts(self, encoded: Encoded) -> list[tuple[Part, Target]]:
        """What the model reads of the text, with the target as it stands there; several in a text of windows.

        Raises:
            UsageError: no window holds what is explained.
        """
        laid = replace(encoded, windows=self.windows(encoded))
        if laid.windows is None:
            return [(part, self) for part in parts_of(laid)]
        # The class of a word is read at its first token, and is another where the rest of the word is cut off.
        word = word_around(encoded, self.position) if self.kind == "token_class" and self.position is not None else ()
        found = []
        for part in parts_of(laid, self.places, word):
            # The number of a written token is no place in the text.
            moved = {name: getattr(self, name) for name in ("position", "end")} if self.places else {}
            moved = {name: part.positions.index(at) for name, at in moved.items() if at is not None}
            found.append((part, replace(self, **moved)))
        return found

    def windows(self, encoded: Encoded) -> Windows | None:
        """The windows of the text for this target: what goes on from a text leaves room for what was written."""
        laid = encoded.windows
        if laid is None or not laid.from_end or not self.response:
            return laid
        return laid.leaving(self.room or len(self.response))

    def complete(self, handle: Handle, row: Row) -> Row:
        """The row with what the model reads of its own response: all that comes before the last token explained."""
        if handle.task == "seq2seq-lm":
            return Row(row.ids, row.type_ids, (handle.decoder_start_id, *self._read()))
        return row if not self.response else Row((*row.ids, *self._read()), row.type_ids)

    def _read(self) -> tuple[int, ...]:
        if self.function is not None:
            return self.response
        return self.response[: len(self.response) - 1 if self.kind == "sequence" else self.position or 0]

    def record(self, handle: Handle, encoded: Encoded | None = None) -> TargetRecord:
        """The target as it stands in results, with names for the indices and, if the text is given, for its words."""
        return TargetRecord(
            kind=self.kind,
            index=None if self.function is not None else self.index,
            label=_name(handle, self),
            foil_index=self.foil_index,
            foil_label=None if self.foil_index is None else _entry_name(handle, self.foil_index),
            chosen=self.chosen,
            position=self.position,
            end=self.end,
            response=self.response,
            room=self.room,
            word=None if encoded is None else self._word(encoded),
        )

    def _word(self, encoded: Encoded) -> str | None:
        """The word that gets the class, or the answer."""
        first, last = {
            "token_class": (self.position, self.position),
            "start": (self.position, self.position),
            "end": (self.end, self.end),
            "span": (self.position, self.end),
        }.get(self.kind, (None, None))
        if first is None or last is None:
            return None
        words = {encoded.word_index[place] for place in range(first, last + 1)}
        spans = [span for span, word in zip(encoded.char_spans, encoded.word_index, strict=True) if word in words]
        return encoded.text[min(a for a, _ in spans) : max(b for _, b in spans)]


def resolve_targets(
    handle: Handle,
    encoded: Sequence[Encoded],
    target: TargetRequest = None,
    gold: Sequence[int | str] | None = None,
    *,
    at: int | Sequence[int] | None = None,
    response: str | Sequence[str] | bool | None = None,
    max_new_tokens: int | None = None,
) -> list[Target]:
    """One target per text.

    Args:
        handle: a model with logits to explain.
        encoded: the texts.
        target: None or "predicted" for what the model predicts; "gold" for `gold`; a label, class index,
            token or token id; a pair of them for their difference; or a list with one of these per text. Span
            models: "start", "end", "span" (the sum of both, the default) of the predicted answer, or the answer's
            text. Or a function that is given what the model returns and gives one number per row, see `_function`.
        gold: the gold label (or token) of each text; read only when `target` is "gold".
        at: which word's class, which mask (both counted from 0, in text order), or which token of the response is
            explained; one for all texts or one per text.
        response: what a model that writes is taken to have written, one for all texts or one per text, as it follows
            the text, its leading space included; True lets the model write, greedily. Without `at` the log
            probability of the whole response is explained, without a token that the model is made to write first,
            such as the language of a translation. Of a causal model without response it is the next
            token. An encoder-decoder writes if it is given none.
        max_new_tokens: of a response that is written; None is 20.

    Raises:
        UsageError: the model has no such label, token or answer, or has no logits to explain; or what was asked says
            nothing to its task, see `refuse_unread`.
    """
    if callable(target):
        refuse_unread(handle, target=target, gold=gold, at=at, response=response, max_new_tokens=max_new_tokens)
        return _function(handle, encoded, target, response, max_new_tokens)
    if handle.task == "none":
        raise UsageError(
            f"{handle.name} has no classification or language-modelling head, so there is no logit to explain; "
            "load it with task='text-classification', 'causal-lm' or 'masked-lm'"
        )
    if handle.task not in ATTRIBUTED:
        raise UsageError(
            f"{handle.name} is a {handle.task} model, whose outputs cannot be explained yet, only those of "
            f"{', '.join(ATTRIBUTED)}; its activations can be captured and probed"
        )
    refuse_unread(handle, target=target, at=at, response=response, max_new_tokens=max_new_tokens)
    if handle.task == "question-answering":
        return _spans(handle, encoded, target, gold)
    places = _places(at, len(encoded))
    if handle.task == "seq2seq-lm" and response is None:
        response = True
    if response is not None:
        written = responses_of(handle, encoded, response, max_new_tokens)
        return _written(handle, encoded, target, gold, places, written)
    if handle.task in WRITING and at is not None:
        raise UsageError("at= counts the tokens of a response; give response= too (True lets the model write one)")
    bases = [_base(handle, e, place) for e, place in zip(encoded, places, strict=True)]
    return _chosen(handle, encoded, bases, target, gold)


def _function(
    handle: Handle,
    encoded: Sequence[Encoded],
    function: Callable[[Any], Any],
    response: Any,
    max_new_tokens: int | None,
) -> list[Target]:
    """A function of what the model returns, such as `lambda output: output.logits[:, 1] - output.logits[:, 0]`.

    It is called in evaluation mode on batches of rows of one length, so that no row is padded and position -1 is the
    last token of each. It must give a tensor [row] and compute each row from that row alone. It is run before anything
    is explained, to say at once what is wrong with it. Of a classifier's text in windows it is given each window, as of
    the source of an encoder-decoder; of a causal model the last one. Other tasks have an output for each token.
    """
    made = output_function(function)
    if response is None and handle.task == "seq2seq-lm":
        response = True
    written = [Written(())] * len(encoded)
    if response is not None:
        written = responses_of(handle, encoded, response, max_new_tokens, whole=True)
    targets = [Target("function", 0, chosen="given", response=w.ids, function=made, room=w.room) for w in written]
    laid = [target.windows(e) for target, e in zip(targets, encoded, strict=True)]
    # A decoder's positions are the same whatever window its encoder read, and what goes on from a text reads one.
    placed = handle.task not in ("text-classification", *WRITING)
    if placed and any(found is not None and len(found.bounds) > 1 for found in laid):
        raise UsageError(
            f"the target is a function of the output of a {handle.task} model, whose positions are those of another "
            "token in every window; leave long_text= out, and texts are cut to what the model reads"
        )
    if encoded:
        part, target = targets[0].parts(encoded[0])[0]
        check(handle, made, target.complete(handle, Row(part.encoded.ids, part.encoded.type_ids)))
    return targets


def targets_of_logits(
    handle: Handle, lines: Sequence[Any], target: TargetRequest = None, positions: Sequence[int | None] | None = None
) -> list[Target]:
    """One target per example of a forward that ran already, from the logits where it is read, `[label]` each.

    Args:
        handle: a model with one row of logits for each text, or one that writes: then it is the next token.
        lines: the logits, numpy or torch.
        target: as for `resolve_targets`, without "gold".
        positions: the place of each mask token, or the number of the written token.

    Raises:
        UsageError: the model has no such label or token.
    """
    kind: TargetKind = "output_token" if handle.task == "seq2seq-lm" else _ONE[handle.task]
    given = target is not None and not (target == "predicted" and "predicted" not in class_names(handle))
    items: list[Any] = [None] * len(lines)
    if given:
        one = isinstance(target, int | str | np.integer) or _is_pair(target)
        items = [target] * len(lines) if one else _per_text(target, len(lines), "target")
    out = []
    for item, line, place in zip(items, lines, positions or [None] * len(lines), strict=True):
        pair = item if isinstance(item, tuple) else (item, None)
        index = int(line.argmax()) if pair[0] is None else _index(handle, pair[0])
        foil = None if pair[1] is None else _index(handle, pair[1])
        if foil == index:
            raise UsageError(f"the contrast {item!r} names {_entry_name(handle, index)!r} twice; give two that differ")
        this: TargetKind = "contrast" if kind == "class" and foil is not None else kind
        out.append(Target(this, index, foil, "given" if given else "predicted", place))
    return out


def restore_targets(
    handle: Handle,
    encoded: Sequence[Encoded],
    records: Sequence[TargetRecord],
    function: Callable[[Any], Any] | None = None,
) -> list[Target]:
    """Targets from their records; where a record does not know its scalar, the predicted class or token.

    A record holds a function's name only; `function` is the function.
    """
    out: list[Target | None] = []
    for e, record in zip(encoded, records, strict=True):
        wanted = record.index if record.index is not None else record.label
        foil = record.foil_index if record.foil_index is not None else record.foil_label
        if record.kind == "function":
            if function is None:
                raise UsageError(
                    f"the target is the function {record.label}, of which a record keeps the name only; its quality is "
                    "measured where it is explained, by lm.attribute(..., target=function)"
                )
            made = output_function(function)
            whole = Target("function", 0, chosen=record.chosen, function=made)
            out.append(replace(whole, response=record.response, room=record.room))
            continue
        if record.kind == "response":
            raise UsageError(
                "sources of a context are not words of one text, so this measure does not serve them; their quality "
                "stands in the record's options: lds and top_1_drop"
            )
        if wanted is None:
            out.append(None)
        elif record.kind in ("class", "contrast", "external"):
            base = _base(handle, e, None)
            kind: TargetKind = "contrast" if base.kind == "class" and foil is not None else base.kind
            off = None if foil is None else _index(handle, foil)
            out.append(Target(kind, _index(handle, wanted), off, record.chosen, base.position))
        else:
            out.append(
                Target(
                    record.kind,
                    _index(handle, wanted),
                    None if foil is None else _index(handle, foil),
                    record.chosen,
                    mask_position(handle, e) if record.position is None else record.position,
                    record.end,
                    record.response,
                    n_forced=handle.n_forced(record.response) if record.kind == "sequence" else 0,
                    room=record.room,
                )
            )
    open_ = [i for i, t in enumerate(out) if t is None]
    if open_:
        for i, target in zip(open_, resolve_targets(handle, [encoded[i] for i in open_]), strict=True):
            out[i] = target
    return [t for t in out if t is not None]


def predicted_indices(handle: Handle, encoded: Sequence[Encoded], targets: Sequence[Target]) -> list[int]:
    """The class or token with the highest logit where each target is read, of windows with the highest mean."""
    parts = [(i, *part) for i, (e, t) in enumerate(zip(encoded, targets, strict=True)) for part in t.parts(e)]
    out: list[int] = []
    total: Any = 0.0
    for start in range(0, len(parts), _CHUNK):
        some = parts[start : start + _CHUNK]
        rows = [target.complete(handle, Row(part.encoded.ids, part.encoded.type_ids)) for _, part, target in some]
        places = [_terms(target)[0].position for _, _, target in some]
        # A classifier of texts has one row of logits, read at no position.
        found = logits_of(handle, rows, positions=[p for p in places if p is not None] or None)
        for number, line in enumerate(found, start):
            total = total + line
            if number + 1 == len(parts) or parts[number + 1][0] != parts[number][0]:
                out.append(int(np.argmax(total)))
                total = 0.0
    return out


def _terms(target: Target) -> tuple[Term, ...]:
    readout = target.readout
    assert isinstance(readout, tuple), "what a function reads has no place"
    return readout


def class_names(handle: Handle) -> tuple[str, ...]:
    """What the entries of the logits are called, for texts and for words; empty where they are tokens or places."""
    if handle.task != "token-classification":
        return handle.labels
    names = handle.config.id2label
    return tuple(str(names[index]) for index in range(len(names)))


def entry_index(handle: Handle, wanted: int | str) -> int:
    """The entry of the logits that a label, class index, token or token id means.

    Raises:
        UsageError: the model has no such label or token.
    """
    return _index(handle, wanted)


def entry_names(handle: Handle, indices: Sequence[int]) -> tuple[str, ...]:
    """What entries of the logits are called: labels, or tokens as they are written."""
    return tuple(_entry_name(handle, index) for index in indices)


def _base(handle: Handle, encoded: Encoded, at: int | None) -> Target:
    """Where the target stands, before it is known what is explained there."""
    kind = _ONE[handle.task]
    if kind == "token_class":
        if at is None:
            raise UsageError(
                f"{handle.name} gives a class to every word; say which word's is explained with at= (counted from 0), "
                "or explain all of them with attribute_each"
            )
        return Target(kind, 0, position=first_token(encoded, at))
    return Target(kind, 0, position=mask_position(handle, encoded, at or 0))


def _written(
    handle: Handle,
    encoded: Sequence[Encoded],
    target: TargetRequest,
    gold: Sequence[int | str] | None,
    places: Sequence[int | None],
    written: Sequence[Written],
) -> list[Target]:
    """The whole response, or one of its tokens."""
    given = [place is not None for place in places]
    if not any(given):
        if target not in (None, "predicted", "sequence"):
            raise UsageError("a whole response is explained as it stands; say which of its tokens with at=")
        return [
            Target("sequence", response[-1], response=response, n_forced=handle.n_forced(response), room=room)
            for response, room in written
        ]
    bases = []
    for place, (response, room) in zip(places, written, strict=True):
        number = (place or 0) + len(response) if (place or 0) < 0 else place or 0
        if not 0 <= number < len(response):
            raise UsageError(f"asked for token {place} of a response of {len(response)} tokens")
        bases.append(Target("output_token", response[number], position=number, response=response, room=room))
    # The response says what was predicted.
    items = [base.index for base in bases] if target in (None, "predicted") else target
    return _chosen(handle, encoded, bases, cast(TargetRequest, items), gold)


def _chosen(
    handle: Handle,
    encoded: Sequence[Encoded],
    bases: Sequence[Target],
    target: TargetRequest,
    gold: Sequence[int | str] | None,
) -> list[Target]:
    chosen: Chosen = "given"
    items: list[TargetItem | None]
    names = class_names(handle)
    if target is None or (target == "predicted" and "predicted" not in names):
        items, chosen = [None] * len(encoded), "predicted"
    elif target == "gold" and gold is not None:
        items, chosen = _per_text(gold, len(encoded), "gold"), "gold"
    elif target == "gold" and "gold" not in names:
        raise UsageError('target "gold" needs the gold label of each text; give them as gold=[...]')
    elif isinstance(target, int | str | np.integer) or _is_pair(target):
        items = [cast(TargetItem, target)] * len(encoded)
    else:
        items = _per_text(target, len(encoded), "target")
        if bases and bases[0].kind == "output_token" and items == [base.index for base in bases]:
            chosen = "predicted"
    if any(item is None for item in items):
        predicted = predicted_indices(handle, encoded, bases)
        items = [p if item is None else item for item, p in zip(items, predicted, strict=True)]
    out: list[Target] = []
    for item, base in zip(items, bases, strict=True):
        kind = base.kind
        if isinstance(item, tuple):
            index, foil = (_index(handle, part) for part in item)
            if index == foil:
                name = _entry_name(handle, index)
                raise UsageError(f"the contrast {item!r} names {name!r} twice; give two that differ")
            kind = "contrast" if kind == "class" else kind
            out.append(replace(base, kind=kind, index=index, foil_index=foil, chosen=chosen))
        else:
            assert item is not None
            out.append(replace(base, index=_index(handle, item), chosen=chosen))
    return out


def _spans(
    handle: Handle, encoded: Sequence[Encoded], target: TargetRequest, gold: Sequence[int | str] | None
) -> list[Target]:
    """Start, end or both of an answer: the predicted one, or one given by its text."""
    chosen: Chosen = "given"
    if target == "gold":
        if gold is None:
            raise UsageError('target "gold" needs the answer to each question; give them as gold=[...]')
        items, chosen = _per_text(gold, len(encoded), "gold"), "gold"
    elif target is None or isinstance(target, str | int):
        items = [target] * len(encoded)
    else:
        items = _per_text(target, len(encoded), "target")
    kinds: dict[Any, TargetKind] = {None: "span", "predicted": "span", "span": "span", "start": "start", "end": "end"}
    open_ = [i for i, item in enumerate(items) if item in kinds]
    predicted = dict(zip(open_, best_span(handle, [encoded[i] for i in open_]), strict=True))
    out = []
    for i, (e, item) in enumerate(zip(encoded, items, strict=True)):
        start, end = predicted[i] if i in predicted else located(e, str(item))
        how: Chosen = "predicted" if i in predicted else chosen
        kind = kinds.get(item, "span")
        out.append(Target(kind, end if kind == "end" else start, None, how, start, end))
    return out


def _places(at: int | Sequence[int] | None, n: int) -> list[int | None]:
    if at is None or isinstance(at, int | np.integer):
        return [None if at is None else int(at)] * n
    return _per_text(at, n, "at")


def _is_pair(target: object) -> bool:
    """A tuple of two is a contrast; a list, or a tuple of any other length, is one target per text."""
    return isinstance(target, tuple) and len(target) == 2 and not any(isinstance(t, tuple) for t in target)


def _per_text(items: Any, n: int, name: str) -> list[Any]:
    found = list(items)
    if len(found) != n:
        raise UsageError(f"{name} holds {len(found)} entries for {n} texts; give one per text")
    return found


def _name(handle: Handle, target: Target) -> str:
    if target.function is not None:
        return target.function.name
    if target.kind == "sequence" and handle.tokenizer is not None:
        return str(handle.tokenizer.decode(list(target.response[target.n_forced :]), skip_special_tokens=True)).strip()
    if target.kind in ("start", "end", "span"):
        return str(target.index)
    return _entry_name(handle, target.index)


def _entry_name(handle: Handle, index: int) -> str:
    names = class_names(handle)
    if names:
        return names[index]
    if handle.tokenizer is None:
        return str(index)
    return str(handle.tokenizer.decode([index])) or str(handle.tokenizer.convert_ids_to_tokens(index))


def _index(handle: Handle, wanted: int | str) -> int:
    names = class_names(handle)
    if names:
        return _label_index(handle, names, wanted)
    if handle.task == "question-answering":
        return int(wanted)
    return _token_index(handle, wanted)


def _label_index(handle: Handle, labels: Sequence[str], wanted: int | str) -> int:
    if isinstance(wanted, str):
        if wanted in labels:
            return labels.index(wanted)
        folded = [i for i, label in enumerate(labels) if label.casefold() == wanted.strip().casefold()]
        if len(folded) == 1:
            return folded[0]
        raise UsageError(f"{handle.name} has no label {wanted!r}; its labels are {', '.join(map(repr, labels))}")
    if 0 <= int(wanted) < len(labels):
        return int(wanted)
    raise UsageError(
        f"{handle.name} has no class {wanted}; its {len(labels)} classes are 0 to {len(labels) - 1}: "
        f"{', '.join(map(repr, labels))}"
    )


def _token_index(handle: Handle, wanted: int | str) -> int:
    n_vocabulary = handle.vocab_size
    if not isinstance(wanted, str):
        if 0 <= int(wanted) < n_vocabulary:
            return int(wanted)
        raise UsageError(f"token id {wanted} is outside the vocabulary of {handle.name}: 0 to {n_vocabulary - 1}")
    tokenizer = handle.tokenizer
    if tokenizer is None:
        raise UsageError(f"token {wanted!r} needs a tokenizer, and none was attached; give a token id")
    vocabulary = tokenizer.get_vocab()
    if wanted in vocabulary:
        return int(vocabulary[wanted])
    require_unicode(wanted, "the token to explain")
    with tokenizer_state(tokenizer):
        pieces = tokenizer.encode(wanted, add_special_tokens=False)
    if len(pieces) == 1:
        return int(pieces[0])
    shown = ", ".join(map(repr, tokenizer.convert_ids_to_tokens(pieces)))
    raise UsageError(
        f"{wanted!r} is {len(pieces)} tokens for {handle.name} ({shown}), and one token is explained at a time; "
        "give one of them, or a token id"
    )
