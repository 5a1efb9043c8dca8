"""Lines of untrusted JSON: numbered, bounded, compressed or not, one strict object each."""

from __future__ import annotations

import gzip
import io
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.errors import BadInputError, InvalidLineError
from everlearn.json_lines import MAX_LINE_BYTES, LineFault, parse_object, read_lines

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON))
def test_every_object_that_json_writes_is_read_back(value: dict[str, object]) -> None:
    assert parse_object(json.dumps(value).encode()) == value


def test_a_number_that_a_float_would_round_is_given_as_text_unless_it_is_inside_a_list() -> None:
    line = b'{"a": -1.2345678901234567890e5, "b": 0.10000000000000000000000, "c": [1.2345678901234567890], "d": 0.10000000000000001}'
    assert parse_object(line) == {"a": "-1.2345678901234567890e5", "b": 0.1, "c": [1.234567890123456789], "d": 0.1}


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_an_invalid_line(line: bytes) -> None:
    with suppress(InvalidLineError):
        json.dumps(parse_object(line), allow_nan=False)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"a": 1, "b": {"c": 1, "c": 1}}', "the key 'c' occurs twice"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "the number 1e999 is too large"),
    ],
)
def test_what_parsers_read_differently_is_refused(line: bytes, why: str) -> None:
    with pytest.raises(InvalidLineError, match=why) as caught:
        parse_object(line)
    assert caught.value.fault is LineFault.UNREADABLE


@given(st.lists(st.sampled_from([b"{}", b"", b"  ", b"\xef\xbb\xbf", b"x" * (MAX_LINE_BYTES + 9)])), st.booleans())
def test_compression_and_blank_lines_change_no_number(lines: list[bytes], compressed: bool) -> None:  # noqa: FBT001
    data = b"\n".join(lines)
    source = io.BytesIO(gzip.compress(data) if compressed else data)
    read = list(read_lines(source, name="it"))
    assert [number for number, _ in read] == [n for n, line in enumerate(lines, 1) if line == b"{}" or b"x" in line]
    assert all(len(line) <= MAX_LINE_BYTES + 1 for _, line in read)


@pytest.mark.parametrize("keep", [3, 12, -1])
def test_a_damaged_compressed_stream_is_named(keep: int) -> None:
    data = bytearray(gzip.compress(b"{}\n" * 1000))
    with pytest.raises(BadInputError, match="answers is damaged"):
        list(read_lines(io.BytesIO(bytes(data[:keep])), name="answers"))
