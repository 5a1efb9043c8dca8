"""The program inside the sandbox: load an answer, call its function, write the results. It has no expected result.

It is started as text, with nothing but the standard library, and imports as little as it can, since that is most of the
time of a run. It reads a marshalled `(source, name, [arguments, …])` and writes JSON of arrays and strings, with a
character for the type of each value:

    "n"  "b1"  "i-ff" (hexadecimal)  "f0x1.8p+1"  "s6869" (UTF-8)  ["l", …] list  ["t", …] tuple  ["S", …] set
    ["F", …] frozenset  ["d", key, value, …]

An answer can write what it likes instead: whatever is written is compared as results, and nothing else.
"""

from __future__ import annotations

import marshal
import os
import resource
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

READY = b"R"
"""Written before the answer is loaded: the sandbox works."""
MODULE = "answer"
DEEPEST = 50
MOST_VALUES = 100_000
MOST_BITS = 60_000
_CONTAINERS: dict[type, str] = {list: "l", tuple: "t", set: "S", frozenset: "F"}


class UnwritableError(Exception):
    """A result of a type that no test expects, or too large."""


def encode(value: Any) -> str:
    """Return a value as JSON. Raises UnwritableError for other types, subclasses included, and for what is too large."""
    pieces: list[str] = []
    _encode(value, pieces, 0)
    return "".join(pieces)


def _encode(value: Any, pieces: list[str], depth: int) -> None:
    kind = type(value)
    if depth > DEEPEST or len(pieces) > MOST_VALUES:
        raise UnwritableError("too large")
    if kind is dict:
        items: list[Any] = [part for item in value.items() for part in item]
    elif kind in _CONTAINERS:
        items = list(value)
    else:
        pieces.append(f'"{_leaf(value, kind)}"')
        return
    pieces.append(f'["{"d" if kind is dict else _CONTAINERS[kind]}"')
    for item in items:
        pieces.append(",")
        _encode(item, pieces, depth + 1)
    pieces.append("]")


def _leaf(value: Any, kind: type) -> str:
    if value is None:
        return "n"
    if kind is bool:
        return f"b{value:d}"
    if kind is int:
        if value.bit_length() > MOST_BITS:
            raise UnwritableError("too large")
        return f"i{value:x}"
    if kind is float:
        return f"f{value.hex()}"
    if kind is str:
        return f"s{value.encode('utf-8', 'surrogatepass').hex()}"
    raise UnwritableError(kind.__name__)


def results_of(source: str, name: str, calls: Sequence[bytes]) -> str:
    """Load the answer, call the function with each of the marshalled arguments, and return all results as JSON.

    Whatever the answer raises becomes a result, SystemExit and KeyboardInterrupt too.
    """
    module = type(sys)(MODULE)  # dataclasses look their module up
    sys.modules[MODULE] = module
    try:
        code = compile(source, "<answer>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f'["syntax",{_name(error)}]'
    try:
        exec(code, module.__dict__)  # noqa: S102 (this is what the sandbox is for)
    except BaseException as error:  # noqa: BLE001 (whatever it raises is its result)
        return f'["load",{_name(error)}]'
    function = module.__dict__.get(name)
    if not callable(function):
        return '["missing"]'
    return f'["results",{",".join(_called(function, marshal.loads(each)) for each in calls)}]'  # noqa: S302 (written by us)


def _called(function: Any, arguments: list[Any]) -> str:
    try:
        return f'["v",{encode(function(*arguments))}]'
    except UnwritableError as error:
        return f'["u",{encode(str(error))}]'
    except BaseException as error:  # noqa: BLE001 (whatever it raises is its result)
        return f'["x",{_name(error)}]'


def _name(error: BaseException) -> str:
    return encode(str(type(error).__name__)[:40])


def set_limits(limits: dict[int, int]) -> None:
    """Lower limits of this process for good: soft and hard ones, never above those it has."""
    for which, most in limits.items():
        hard = resource.getrlimit(which)[1]
        lowered = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (lowered, lowered))


def main(channel: int) -> None:
    """Read the task from standard input, and write the results to a file descriptor."""
    limits, source, name, calls = marshal.load(sys.stdin.buffer)  # noqa: S302 (written by us)
    set_limits(limits)
    os.write(channel, READY)
    rest = results_of(source, name, calls).encode()
    while rest:
        rest = rest[os.write(channel, rest) :]


if __name__ == "__main__":
    main(int(sys.argv[1]))
    os._exit(0)
