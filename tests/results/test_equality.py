"""Every record says whether it equals another: arrays in it, at whatever depth, do not raise."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import pkgutil
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest

import interpret.results


def _records() -> list[type]:
    """Public frozen dataclasses of all modules of results."""
    found = []
    for info in pkgutil.iter_modules(interpret.results.__path__):
        module = importlib.import_module(f"interpret.results.{info.name}")
        ours = [thing for thing in vars(module).values() if getattr(thing, "__module__", None) == module.__name__]
        found += [
            thing
            for thing in ours
            if inspect.isclass(thing) and not thing.__name__.startswith("_")
            if dataclasses.is_dataclass(thing) and thing.__dataclass_params__.frozen
        ]
    return found


def _made(hint: Any, depth: int = 0) -> Any:
    """Some value of a type, with one item in every tuple and mapping and an array wherever there may be one."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is np.ndarray or origin is np.ndarray:
        return np.arange(6).reshape(2, 3)
    if origin in (Union, types.UnionType):
        return _made(next(arm for arm in args if arm is not type(None)), depth)
    if origin is Literal:
        return args[0]
    if origin is tuple:
        return tuple(_made(arg, depth) for arg in args if arg is not Ellipsis)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {_made(args[0], depth): _made(args[1], depth)}
    if inspect.isclass(hint) and dataclasses.is_dataclass(hint):
        return None if depth > 8 else _record(hint, depth + 1)
    return hint() if hint in (int, float, str, bool) else "anything"


def _record(cls: type, depth: int = 0) -> Any:
    """An instance that no `__post_init__` has looked at: what is asked here is equality alone."""
    made = object.__new__(cls)
    for name, hint in get_type_hints(cls).items():
        if name in {field.name for field in dataclasses.fields(cls)}:  # type: ignore[arg-type]
            object.__setattr__(made, name, _made(hint, depth))
    return made


def _arrays(value: Any) -> list[np.ndarray]:
    """Every array within, found by walking."""
    if isinstance(value, np.ndarray):
        return [value]
    if dataclasses.is_dataclass(value):
        return [a for field in dataclasses.fields(value) for a in _arrays(getattr(value, field.name))]
    if isinstance(value, Mapping):
        return [a for item in value.values() for a in _arrays(item)]
    return [a for item in value for a in _arrays(item)] if isinstance(value, tuple) else []


@pytest.mark.parametrize("cls", _records(), ids=lambda cls: cls.__name__)
def test_a_record_equals_its_copy_and_no_record_with_another_number(cls: type) -> None:
    record, other = _record(cls), copy.deepcopy(_record(cls))
    assert (record == other) is True
    assert (record != other) is False
    assert record != "something else"
    for array in _arrays(other):
        array[0, 0] += 1
        assert (record == other) is False
        array[0, 0] -= 1
    assert (record == other) is True
    if _arrays(record):
        # What is equal must have one hash, and what can be written to none.
        with pytest.raises(TypeError, match="unhashable"):
            hash(record)


def test_arrays_are_equal_by_shape_and_values_with_nan_equal_to_nan() -> None:
    from interpret.results.matrices import AttributionMatrix
    from interpret.results.patch_sweeps import PatchSweeps

    record = _record(PatchSweeps)
    for values, others, same in (
        ([0.5, np.nan], [0.5, np.nan], True),
        ([0.5, np.nan], [0.5, 0.5], False),
        ([0.5, 1.0], [[0.5, 1.0]], False),
        ([], [], True),
        ([0.5, 1.0], [0.5], False),
    ):
        one, other = copy.deepcopy(record), copy.deepcopy(record)
        object.__setattr__(one, "effects", np.array(values))
        object.__setattr__(other, "effects", np.array(others))
        assert (one == other) is same
    object.__setattr__(one := copy.deepcopy(record), "ci_low", None)
    assert one != record
    assert record != one
    assert _record(AttributionMatrix) != record
