"""Values of tests and results: read from JSON or a literal, decoded from the sandbox, and compared with their types.

Equal means the same type and value throughout: True is not 1, 1 is not 1.0, a list is no tuple. Floats are equal within
`RELATIVE`, and where the expected one is 0 within `NEAR_ZERO`; the sign of 0 makes no difference; NaN equals NaN. Keys of
dicts and members of sets are equal exactly.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from everlearn.domains.programs.harness import DEEPEST, encode

RELATIVE = 1e-9
NEAR_ZERO = 1e-12


def decode(item: Any, *, depth: int = 0) -> Any:
    """Return a value that `harness.encode` wrote, and that JSON has been read from. Raises ValueError for anything else."""
    if depth > DEEPEST:
        raise ValueError("too deep")
    if isinstance(item, str):
        return _leaf(item[:1], item[1:])
    if not isinstance(item, list) or not item:
        raise ValueError("no value")
    parts = [decode(each, depth=depth + 1) for each in item[1:]]
    try:
        match item[0]:
            case "l":
                return parts
            case "t":
                return tuple(parts)
            case "S":
                return set(parts)
            case "F":
                return frozenset(parts)
            case "d":
                return dict(zip(parts[::2], parts[1::2], strict=True))
    except TypeError:  # a list in a set
        raise ValueError("no value") from None
    raise ValueError("no value")


def _leaf(kind: str, written: str) -> Any:
    match kind:
        case "n":
            return None
        case "b":
            return bool(["0", "1"].index(written))
        case "i":
            return int(written, 16)
        case "f":
            return _float(written)
        case "s":
            return bytes.fromhex(written).decode("utf-8", "surrogatepass")
    raise ValueError("no value")


def _float(written: str) -> float:
    try:
        return float.fromhex(written)
    except OverflowError:
        raise ValueError("no float") from None


def read_output(output: bytes) -> list[Any]:
    """Return JSON of arrays and texts. Raises ValueError for anything else."""
    try:
        read = json.loads(output, parse_int=_refuse, parse_float=_refuse, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(read, list):
        raise ValueError("no results")  # noqa: TRY004 (as everything else that is no result)
    return read


def _refuse(_: str) -> NoReturn:
    raise ValueError("a number")


def same(expected: Any, given: Any) -> bool:
    """Whether two values are equal, types and all."""
    kind = type(expected)
    if kind is not type(given):
        return False
    if kind is float:
        return _same_floats(expected, given)
    if kind in (list, tuple):
        return len(expected) == len(given) and all(map(same, expected, given))
    if kind is dict:
        theirs = {_exact(key): value for key, value in given.items()}
        return len(expected) == len(theirs) and all(
            (name := _exact(key)) in theirs and same(value, theirs[name]) for key, value in expected.items()
        )
    return _exact(expected) == _exact(given)


def _same_floats(expected: float, given: float) -> bool:
    if math.isnan(expected) or math.isnan(given):
        return math.isnan(expected) and math.isnan(given)
    return math.isclose(expected, given, rel_tol=RELATIVE, abs_tol=0.0 if expected else NEAR_ZERO)


def _exact(value: Any) -> str:
    """Return text that is equal for equal values of equal types only."""
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}{sorted(map(_exact, value))}"
    if isinstance(value, tuple):
        return f"tuple{[_exact(each) for each in value]}"
    return encode(value)
