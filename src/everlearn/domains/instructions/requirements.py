"""Requirements of an answer, one a line: `words: 1-20`. All of them have to be met.

equals: Paris | paris, France     the whole answer is one of these, but for case, punctuation at its ends and spaces
contains: blue | azure            one of these words or phrases is in it, whatever the case
lacks: I cannot | as an AI        none of these is in it
starts: Yes                       it begins so, whatever the case
ends: Done.                       it ends so
words: 3-20                       so many words
lines: 3                          so many lines with text
items: 3                          so many lines that begin with a dash, a star, a bullet or a number
case: upper                       letters are all `upper` or all `lower`, and there are some
json: name, age                   a JSON object with these keys, with or without a code fence
varied: 4                         no sequence of four words occurs more than twice: it does not go round in circles
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.errors import GrammarError

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 2000
"""Characters of all requirements together."""
MOST = 1000
"""The largest number in a requirement."""
_RANGE = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")
_ITEM = re.compile(r"\s*(?:[-*\u2022]|[0-9]{1,3}[.)])\s+\S")
_FENCE = re.compile(r"\A\s*```[a-z]*\n(.*)\n```\s*\Z", re.DOTALL)
_ENDS = " \t\n.,;:!?\"'`*()[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One requirement: its kind and its value as written."""

    kind: str
    value: str

    def is_met(self, answer: str) -> bool:
        """Return whether an answer meets it."""
        return _CHECKS[self.kind](answer, self.value)


def read_requirements(text: str) -> tuple[Requirement, ...]:
    """Return the requirements in a reference. Raises GrammarError for an unknown kind, or a value that it cannot have."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or len(text) > LONGEST:
        raise GrammarError(f"a reference is a text of requirements, one a line, at most {LONGEST} characters together")
    return tuple(map(_requirement, lines))


def _requirement(line: str) -> Requirement:
    kind, colon, value = (part.strip() for part in line.partition(":"))
    if not colon or kind not in _CHECKS:
        raise GrammarError(f"a requirement is one of {', '.join(_CHECKS)}, a colon and a value")
    if kind in ("words", "lines", "items", "varied"):
        _bounds(value)
    elif not value or (kind == "case" and value not in ("upper", "lower")):
        raise GrammarError(
            f"a requirement of kind {kind} needs a value" + (": upper or lower" if kind == "case" else "")
        )
    return Requirement(kind=kind, value=value)


def _bounds(value: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(value)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not 0 <= low <= high <= MOST:
        raise GrammarError(f"write a number, or two as in 3-20, up to {MOST}")
    return low, high


def _options(value: str) -> list[str]:
    return [option for part in value.split("|") if (option := _plain(part))]


def _plain(text: str) -> str:
    """Return the text in small letters, without punctuation at its ends, with single spaces."""
    return " ".join(text.casefold().split()).strip(_ENDS)


def _has_phrase(answer: str, phrase: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", " ".join(answer.casefold().split())) is not None


def _counted(count: int, value: str) -> bool:
    low, high = _bounds(value)
    return low <= count <= high


def _lines(answer: str) -> list[str]:
    return [line for line in answer.splitlines() if line.strip()]


def _is_object(answer: str, keys: str) -> bool:
    fenced = _FENCE.fullmatch(answer)
    try:
        found = json.loads(fenced[1] if fenced else answer)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and all(key.strip() in found for key in keys.split(","))


def _is_varied(answer: str, length: str) -> bool:
    words, size = answer.casefold().split(), max(1, _bounds(length)[0])
    parts = Counter(tuple(words[at : at + size]) for at in range(len(words) - size + 1))
    return max(parts.values(), default=0) <= 2


_CHECKS: dict[str, Callable[[str, str], bool]] = {
    "equals": lambda answer, value: _plain(answer) in _options(value),
    "contains": lambda answer, value: any(_has_phrase(answer, option) for option in _options(value)),
    "lacks": lambda answer, value: not any(_has_phrase(answer, option) for option in _options(value)),
    "starts": lambda answer, value: answer.strip().casefold().startswith(value.casefold()),
    "ends": lambda answer, value: answer.strip().casefold().endswith(value.casefold()),
    "words": lambda answer, value: _counted(len(answer.split()), value),
    "lines": lambda answer, value: _counted(len(_lines(answer)), value),
    "items": lambda answer, value: _counted(sum(bool(_ITEM.match(line)) for line in _lines(answer)), value),
    "case": lambda answer, value: answer.isupper() if value == "upper" else answer.islower(),
    "json": _is_object,
    "varied": _is_varied,
}
