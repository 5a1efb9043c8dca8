"""Read the statement of a gym problem: a level for each dial of the task, and a seed.

    num_terms 2, num_digits 1, seed 17

A dial is an attribute of the task's curriculum; level 0 is the easiest one. A dial that is not named has level 0. The normal
form names all dials in the order of the curriculum. A task without a curriculum has no dials: `seed 17`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from everlearn.errors import GrammarError

if TYPE_CHECKING:
    from collections.abc import Mapping

Levels: TypeAlias = tuple[tuple[str, int], ...]  # (dial, level), in the order of the curriculum

SEED = "seed"
SEEDS = 2**31
"""Seeds are below this number: more than that some tasks cannot take."""
_LONGEST = 1000  # characters of a statement
_PART = re.compile(r"([a-z][a-z0-9_]{0,63}) (0|[1-9][0-9]{0,9})")


@dataclass(frozen=True, slots=True, kw_only=True)
class DialSetting:
    """The levels of all dials, in the order of the curriculum, and the seed."""

    levels: Levels
    seed: int

    def __str__(self) -> str:
        return ", ".join(f"{name} {number}" for name, number in (*self.levels, (SEED, self.seed)))

    @property
    def size(self) -> int:
        """1 for the lowest levels, and 1 more for each level above."""
        return 1 + sum(level for _, level in self.levels)

    def turned_down(self, dial: str, *, seed: int) -> DialSetting | None:
        """Return the setting with this dial one level lower and another seed; None where it is at its lowest level."""
        if dict(self.levels).get(dial, 0) == 0:
            return None
        lower = tuple((name, level - (name == dial)) for name, level in self.levels)
        return replace(self, levels=lower, seed=seed)


def read_setting(text: str, *, dials: Mapping[str, int]) -> DialSetting:
    """Return the setting that a statement names. `dials` maps the name of each dial to its number of levels.

    Raises:
        GrammarError: it is no list of levels and a seed, or names a dial twice, an unknown one, or a level that it lacks.
    """
    found: dict[str, int] = {}
    for part in (" ".join(text.split()) if len(text) <= _LONGEST else "").split(","):
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
    return DialSetting(levels=tuple((name, found.get(name, 0)) for name in dials), seed=found[SEED])


def _example(dials: Mapping[str, int]) -> str:
    return str(DialSetting(levels=tuple((name, levels - 1) for name, levels in dials.items()), seed=17))
