"""Values keep their types on the way out of the sandbox, and are equal only with these."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.domains.programs.harness import DEEPEST, MOST_BITS, MOST_VALUES, UnwritableError, encode
from everlearn.domains.programs.values import decode, read_output, same

keys = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.tuples(st.integers(), st.text(max_size=2))
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
        | st.sets(keys, max_size=3)
        | st.frozensets(keys, max_size=3)
    ),
    max_leaves=8,
)


@given(values)
@settings(max_examples=50)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert same(value, decode(json.loads(encode(value))))


@given(values, values)
@settings(max_examples=30)
def test_values_of_other_types_are_not_the_same(one: Any, other: Any) -> None:
    if type(one) is not type(other):
        assert not same(one, other)
    assert not same([one], (one,))
    assert not same({one} if isinstance(one, str) else {1}, [1])


@pytest.mark.parametrize(
    ("expected", "given", "equal"),
    [
        (1, True, False),
        (0, False, False),
        (1, 1.0, False),
        (1.0, 1, False),
        ([1, 2], (1, 2), False),
        ([1, [2]], [1, [True]], False),
        ({1: "a"}, {True: "a"}, False),
        ({1: "a"}, {1.0: "a"}, False),
        ({1}, {True}, False),
        ({1}, frozenset({1}), False),
        ({1, 2}, {2, 1}, True),
        ({frozenset({1, 2})}, {frozenset({2, 1})}, True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1}, {"b": 1}, False),
        ({"a": 1}, {"a": 2}, False),
        ([1, 2], [1, 2, 3], False),
        ("é", "e\u0301", False),
        ("\ud800", "\ud800", True),
        (math.nan, math.nan, True),
        (math.nan, 0.0, False),
        (0.0, math.nan, False),
        (math.inf, math.inf, True),
        (math.inf, -math.inf, False),
        (math.inf, 1e308, False),
        (0.0, -0.0, True),
        (0.0, 1e-13, True),
        (0.0, 1e-9, False),
        (0.3, 0.1 + 0.2, True),
        (1.0, 1.0000001, False),
        (1e-300, 0.0, False),
        ((0.1, 0.3), (0.1, 0.1 + 0.2), True),
        (None, False, False),
        (10**30, 10**30 + 1, False),
    ],
)
def test_equality_has_types(expected: Any, given: Any, equal: bool) -> None:  # noqa: FBT001
    assert same(expected, given) is equal


class Number(int):
    """A number that equals everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize("value", [Number(1), object(), b"a", 1j, range(3), iter([]), [Number(1)], {"a": object()}])
def test_values_of_other_types_cannot_be_written(value: Any) -> None:
    with pytest.raises(UnwritableError):
        encode(value)


def test_large_values_cannot_be_written() -> None:
    endless: list[Any] = []
    endless.append(endless)
    doubled: list[Any] = []
    for _ in range(DEEPEST - 5):
        doubled = [doubled, doubled]
    for value in (endless, doubled, [0] * MOST_VALUES, 1 << MOST_BITS):
        with pytest.raises(UnwritableError, match="too large"):
            encode(value)


@pytest.mark.parametrize(
    "text",
    [
        '""', '"q"', '"b2"', '"b"', '"i"', '"ix"', '"fx"', '"f0x1p9999"', '"s6"', '"sff"', "[]", '[["l"]]', '["q"]', '["d", "n"]',
        '["S", ["l"]]', '["d", ["l"], "n"]', "null", "true", "{}", '{"l": 1}', "[" * 60 + '"n"' + "]" * 60,
    ],
)  # fmt: skip
def test_what_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        decode(json.loads(text))


def test_a_value_is_not_nested_deeper_than_is_written() -> None:
    nested: Any = "n"
    for _ in range(DEEPEST + 2):
        nested = ["l", nested]
    with pytest.raises(ValueError, match="too deep"):
        decode(nested)


@pytest.mark.parametrize(
    "output",
    [b"", b"1", b"NaN", b"[1]", b"[1.5]", b"[Infinity]", b'"n"', b"[" * 100_000, b"\xff", b"{}", b'["a"] ["a"]'],
)
def test_output_is_arrays_and_texts(output: bytes) -> None:
    with pytest.raises(ValueError):
        read_output(output)


@given(st.binary(max_size=50))
def test_any_output_is_read_or_refused(output: bytes) -> None:
    try:
        assert isinstance(read_output(output), list)
    except ValueError:
        return
