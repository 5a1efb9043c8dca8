"""Read untrusted JSON Lines: numbered lines up to a size limit, compressed or not, and one strict object a line.

Blank lines are skipped and a byte order mark is ignored. Refused, because parsers read them differently or cannot write
them again: duplicate keys, NaN, and numbers that a float cannot hold. A value of the object itself that a float would
round is given as text, as it is written: it may be a reference.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import re
import zlib
from enum import StrEnum
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, cast

from everlearn.errors import BadInputError, InvalidLineError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE_BYTES = 64 * 1024
GZIP_MAGIC = b"\x1f\x8b"
_EXACT_DIGITS = 17
"""Most digits that a float needs to be written. A number of more was rounded when it was read."""


class _RoundedNumber(float):
    """A number of more digits than a float holds, with its text."""

    written: str


class LineFault(StrEnum):
    """Reason for which a line is not a JSON object."""

    TOO_LONG = "line too long"
    ENCODING = "not UTF-8"
    UNREADABLE = "not JSON"


def read_lines(source: BinaryIO, *, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield the numbers (from 1) and bytes of the lines that are not blank. A gzip stream is recognized by its bytes.

    A line over the limit is cut to one byte over it, so that input without line breaks cannot exhaust the memory.

    Raises:
        BadInputError: the compressed stream `name` is damaged.
    """
    buffered = source if isinstance(source, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", source))
    compressed = buffered.peek(2)[:2] == GZIP_MAGIC
    try:
        yield from _lines(cast("BinaryIO", gzip.GzipFile(fileobj=buffered)) if compressed else buffered)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInputError(f"{name} is damaged ({error}): compress it again") from None


def parse_object(line: bytes, *, most: int = MAX_LINE_BYTES) -> dict[str, Any]:
    """Return the JSON object in a line of at most so many bytes. Raises InvalidLineError for anything else."""
    if len(line.rstrip(b"\r\n")) > most:
        raise InvalidLineError(LineFault.TOO_LONG, f"the line is longer than {most // 1024} KiB")
    try:
        value = json.loads(
            line.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite
        )
    except UnicodeDecodeError as error:
        why = f"byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8"
        raise InvalidLineError(LineFault.ENCODING, why) from None
    except InvalidLineError:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidLineError(LineFault.UNREADABLE, f"the line is no JSON object: {error}") from None
    if not isinstance(value, dict):
        why = f"the line is JSON, but a {type(value).__name__} and not an object"
        raise InvalidLineError(LineFault.UNREADABLE, why)
    return {name: each.written if isinstance(each, _RoundedNumber) else each for name, each in value.items()}


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        rest = line
        # Skip the rest of a line over the limit, in bounded pieces.
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE_BYTES + 1)
        if line.removeprefix(b"\xef\xbb\xbf").strip():
            yield number, line


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise InvalidLineError(
            LineFault.UNREADABLE, f"the key {repeated!r} occurs twice in the object; keep one of them"
        )
    return made


def _refuse(constant: str) -> NoReturn:
    raise InvalidLineError(LineFault.UNREADABLE, f"{constant} is not JSON; write null or a number")


def _finite(text: str) -> float:
    value = _RoundedNumber(text)
    if not math.isfinite(value):
        raise InvalidLineError(LineFault.UNREADABLE, f"the number {text[:20]} is too large")
    digits = re.sub("[-.]|[eE].*", "", text).strip("0")
    if len(digits) <= _EXACT_DIGITS:
        return float(value)
    value.written = text
    return value
