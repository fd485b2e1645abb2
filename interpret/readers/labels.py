"""Labels of the data as classes of the model, never guessed silently.

By name, else by integer id, else by a map that the user gives; whatever could be read in two ways is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from interpret.errors import LabelError
from interpret.results.audits import LabelMapping

Rule = Literal["name", "id", "given"]

# The number that a class name states: "3", "LABEL_3", "3 stars".
_STATED = re.compile(r"(?:label[ _-]?)?(\d+)(?:\D.*)?", re.IGNORECASE)
_LABEL_ID = re.compile(r"LABEL_(\d+)", re.IGNORECASE)


def map_labels(
    raw: Sequence[str],
    id2label: Mapping[int, str],
    label_map: str | Mapping[str, object] | None = None,
    *,
    lines: Sequence[int] | None = None,
) -> LabelMapping:
    """Match every distinct label of the data with one class of the model.

    A given map decides alone. Otherwise all labels match by name (exactly, else ignoring case), or all match
    by integer id ("1", or "LABEL_1"). Refused: labels of which only some match; names and ids that both fit
    and disagree; labels that count from 1 where ids count from 0.

    Args:
        raw: one label per row, as text.
        id2label: the model's classes.
        label_map: "0=negative,1=positive" or a mapping: label in the data to class name or id of the model.
        lines: where each row of `raw` stands in its file, for error messages.

    Returns:
        The class index and the class name of each distinct label, and the rule that matched them.

    Raises:
        LabelError: the labels cannot be matched without guessing.

    """
    names = {int(i): str(name) for i, name in sorted(id2label.items(), key=lambda item: int(item[0]))}
    # The first line of each distinct label, in order of appearance.
    first: dict[str, int | None] = {}
    for i, label in enumerate(raw):
        first.setdefault(label, None if lines is None else lines[i])
    if not first:
        return LabelMapping(rule="none", pairs={}, names={})
    rule: Rule = "given"
    if label_map is not None:
        pairs = _by_map(first, names, label_map)
    else:
        rule, pairs = _match(first, names)
    ordered = sorted(pairs, key=lambda label: (pairs[label], label))
    return LabelMapping(
        rule=rule,
        pairs={label: pairs[label] for label in ordered},
        names={label: names[pairs[label]] for label in ordered},
    )


def _match(first: Mapping[str, int | None], names: Mapping[int, str]) -> tuple[Rule, dict[str, int]]:
    by_name = _readings(first, lambda label: _named(label, names))
    by_id = _readings(first, lambda label: _id(label, names))
    by_stated = _readings(first, lambda label: _stated(label, names))
    n = len(first)
    if len(by_name) == n:
        if len(by_id) == n:
            _refuse_two_readings(by_name, by_id, names)
        return "name", by_name
    if first.keys() <= {str(i) for i in range(1, len(names) + 1)} and (
        str(len(names)) in first or (len(names) > 2 and n > 1)
    ):
        meant = by_stated if len(by_stated) == n else {label: int(label) - 1 for label in first}
        labels = sorted(first, key=int)
        raise LabelError(
            f"the labels {', '.join(labels)} count from 1, but the ids of the model's classes count from 0: "
            f"{_classes(names)}; if {labels[0]!r} means {names[meant[labels[0]]]!r}, say so with "
            f"--label-map {','.join(f'{label}={meant[label]}' for label in labels)}"
        )
    if len(by_id) == n:
        _refuse_two_readings({**by_name, **(by_stated if len(by_stated) == n else {})}, by_id, names)
        return "id", by_id
    matched = by_name or by_id
    unknown = next(label for label in first if label not in matched)
    share = " (several labels may share a class)" if n > len(names) else ""
    raise LabelError(
        f"the label {unknown!r}{_line(first[unknown])} is none of the model's classes {_classes(names)}; "
        f"map every label of the data with --label-map{share}, as in {_map_for(first)}"
    )


def _readings(labels: Iterable[str], read: Callable[[str], int | None]) -> dict[str, int]:
    return {label: index for label in labels if (index := read(label)) is not None}


def _named(label: str, names: Mapping[int, str]) -> int | None:
    found = [i for i, name in names.items() if name == label]
    found = found or [i for i, name in names.items() if name.casefold() == label.casefold()]
    if len(found) > 1:
        raise LabelError(
            f"the label {label!r} could be any of the model's classes "
            f"{_classes({i: names[i] for i in found})}; give the id, as in --label-map {label}={found[0]}"
        )
    return found[0] if found else None


def _id(label: str, names: Mapping[int, str]) -> int | None:
    written = _LABEL_ID.fullmatch(label)
    number = _number(written[1] if written else label)
    return number if number in names else None


def _stated(label: str, names: Mapping[int, str]) -> int | None:
    """Find the one class whose name states the number that the label is."""
    number = _number(label)
    found = [i for i, name in names.items() if (m := _STATED.fullmatch(name)) and int(m[1]) == number]
    return found[0] if len(found) == 1 else None


def _number(label: str) -> int | None:
    # "01" and "1.0" are not ids: what they mean is for the user to say.
    return int(label) if re.fullmatch(r"0|[1-9][0-9]{0,8}", label) else None


def _refuse_two_readings(one: Mapping[str, int], other: Mapping[str, int], names: Mapping[int, str]) -> None:
    for label, index in one.items():
        if other[label] != index:
            both = {i: names[i] for i in (index, other[label])}
            raise LabelError(
                f"the label {label!r} fits two of the model's classes, one by name and one by id: "
                f"{_classes(both)}; say which with --label-map, as in {_map_for(other)}"
            )


def _by_map(
    first: Mapping[str, int | None], names: Mapping[int, str], label_map: str | Mapping[str, object]
) -> dict[str, int]:
    given = _parse_map(label_map)
    pairs = {}
    for label, line in first.items():
        if label not in given:
            reverse = [key for key, target in given.items() if target == label]
            hint = f"; the label of the data comes first, as in {label}={reverse[0]}" if reverse else ""
            raise LabelError(
                f"the label {label!r}{_line(line)} is not mapped by --label-map, which maps "
                f"{', '.join(map(repr, given))}{hint}; the model's classes are {_classes(names)}"
            )
        target = given[label]
        named, numbered = _named(target, names), _id(target, names)
        if named is not None and numbered is not None and named != numbered:
            raise LabelError(
                f"--label-map gives {label!r} the class {target!r}, which is the name of one and the id of "
                f"another: {_classes(names)}; name the class by whichever of the two is not ambiguous"
            )
        found = numbered if named is None else named
        if found is None:
            raise LabelError(
                f"--label-map gives {label!r} the class {target!r}, which the model does not have; "
                f"its classes are {_classes(names)}"
            )
        pairs[label] = found
    return pairs


def _parse_map(label_map: str | Mapping[str, object]) -> dict[str, str]:
    if isinstance(label_map, Mapping):
        return {str(label): str(target) for label, target in label_map.items()}
    pairs: dict[str, str] = {}
    for part in label_map.split(","):
        label, separator, target = (piece.strip() for piece in part.partition("="))
        if not separator or not target:
            raise LabelError(
                f"cannot read {part.strip()!r} in --label-map {label_map!r}: write label=class pairs, as in "
                "0=negative,1=positive"
            )
        if label in pairs:
            raise LabelError(f"--label-map {label_map!r} maps {label!r} twice")
        pairs[label] = target
    return pairs


def _classes(names: Mapping[int, str]) -> str:
    shown = [f"{i}={name}" for i, name in names.items()]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:10], f"... ({len(shown)} in all)"])


def _map_for(labels: Iterable[str]) -> str:
    shown = [f"{label}=<class>" for label in labels]
    return ",".join(shown if len(shown) <= 5 else [*shown[:4], "..."])


def _line(line: int | None) -> str:
    return "" if line is None else f" (first at line {line})"
