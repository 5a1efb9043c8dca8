"""Read the statement of a gym problem: a level for each dial of the task, and a seed.

    num_terms 2, num_digits 1, seed 17

A dial is an attribute of the task's curriculum; level 0 is the easiest one. A dial that is not named has level 0. The normal
form names all dials in the order of the curriculum. A task without a curriculum has no dials: `seed 17`.

A stored statement ends with the check sum of its question, `check 1f3a9c20`: some tasks of the library ask something else in
another process (they draw from a set, whose order is Python's), and any may in another version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from everlearn.errors import GrammarError

if TYPE_CHECKING:
    from collections.abc import Mapping

Levels: TypeAlias = tuple[tuple[str, int], ...]  # (dial, level), in the order of the curriculum

SEED, CHECK = "seed", "check"
SEEDS = 2**31
"""Seeds are below this number: more than that some tasks cannot take."""
_LONGEST = 1000  # characters of a statement
_CHECK = re.compile(r"(.*), check ([0-9a-f]{8})")
_PART = re.compile(r"([a-z][a-z0-9_]{0,63}) (0|[1-9][0-9]{0,9})")


@dataclass(frozen=True, slots=True, kw_only=True)
class DialSetting:
    """The levels of all dials, in the order of the curriculum, the seed, and the check sum of the question, if it is known."""

    levels: Levels
    seed: int
    check: str = ""

    def __str__(self) -> str:
        parts = (*self.levels, (SEED, self.seed), *([(CHECK, self.check)] if self.check else []))
        return ", ".join(f"{name} {value}" for name, value in parts)

    @property
    def size(self) -> int:
        """1 for the lowest levels, and 1 more for each level above."""
        return 1 + sum(level for _, level in self.levels)

    def turned_down(self, dial: str, *, seed: int) -> DialSetting | None:
        """Return the setting with this dial one level lower and another seed; None where it is at its lowest level."""
        if dict(self.levels).get(dial, 0) == 0:
            return None
        lower = tuple((name, level - (name == dial)) for name, level in self.levels)
        return DialSetting(levels=lower, seed=seed)


def read_setting(text: str, *, dials: Mapping[str, int]) -> DialSetting:
    """Return the setting that a statement names. `dials` maps the name of each dial to its number of levels.

    Raises:
        GrammarError: it is no list of levels and a seed, or names a dial twice, an unknown one, or a level that it lacks.
    """
    found: dict[str, int] = {}
    text = " ".join(text.split()) if len(text) <= _LONGEST else ""
    checked = _CHECK.fullmatch(text)
    text, check = checked.groups() if checked else (text, "")
    for part in text.split(","):
        pair = _PART.fullmatch(part.strip())
        if pair is None:
            raise GrammarError(f"write the levels and the seed as in {_example(dials)!r}")
        name, number = pair[1], int(pair[2])
        if name in found:
            raise GrammarError(f"{name} is given twice")
        if name != SEED and name not in dials:
            raise GrammarError(f"no dial {name}: write {_example(dials)!r}")
        if number >= (most := SEEDS if name == SEED else dials[name]):
            raise GrammarError(f"{name} {number}: it is at most {most - 1}")
        found[name] = number
    if SEED not in found:
        raise GrammarError(f"no seed: write {_example(dials)!r}")
    return DialSetting(levels=tuple((name, found.get(name, 0)) for name in dials), seed=found[SEED], check=check)


def _example(dials: Mapping[str, int]) -> str:
    return str(DialSetting(levels=tuple((name, levels - 1) for name, levels in dials.items()), seed=17))
