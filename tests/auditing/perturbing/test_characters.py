"""The lists of characters against the two national character sets, which know how they are written and read."""

from __future__ import annotations

import pytest

from interpret.auditing.perturbing.characters import HOMOPHONES, TO_SIMPLIFIED, TO_TRADITIONAL
from interpret.auditing.perturbing.typing_errors import BESIDE


def test_every_pair_is_one_to_one_and_of_two_standards() -> None:
    assert len(TO_TRADITIONAL) == len(TO_SIMPLIFIED) > 850
    assert not set(TO_TRADITIONAL) & set(TO_SIMPLIFIED)
    for simple, full in TO_TRADITIONAL.items():
        assert TO_SIMPLIFIED[full] == simple
        # GB 2312 holds the simplified character and not the other; Big5 is the standard of the traditional ones.
        assert len(simple.encode("gb2312")) == 2
        assert len(full.encode("big5")) == 2
        with pytest.raises(UnicodeEncodeError):
            full.encode("gb2312")


def _place(character: str) -> int:
    """Place in level 1 of GB 2312, where characters are in the order of their sound."""
    row, cell = character.encode("gb2312")
    assert 0xB0 <= row <= 0xD7, f"{character} is not of level 1"
    return (row - 0xB0) * 94 + cell - 0xA1


def test_homophones_lie_together_in_the_order_of_sounds() -> None:
    flat = "".join(HOMOPHONES)
    assert len(flat) == len(set(flat)) > 300
    for group in HOMOPHONES:
        places = sorted(map(_place, group))
        # 的 and 得 are read like 地 only as particles.
        assert places[-1] - places[0] <= 24, group
        assert len(group) >= 2


def test_the_keyboard_is_symmetric() -> None:
    assert BESIDE["a"] == "s"
    assert BESIDE["g"] == "fh"
    assert len(BESIDE) == 26
    assert all(a in BESIDE[b] for a, keys in BESIDE.items() for b in keys)
