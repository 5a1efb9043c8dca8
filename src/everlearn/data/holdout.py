"""Split of new problems into those to train on and those held out to measure, by the class of equal problems.

A class is on one side for the life of a line. The side is a hash of the equivalence key, unless an earlier night has
decided: what was measured once is never trained on, and what a published night trained on is never held out, whatever
the share or the rule of equivalence is now. A class of which earlier nights did both is left out: it fits neither use.
So is one that is not fresh (`EarlierUse.not_fresh`): a test needs problems whose results have not decided what is
tested.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from everlearn.data.snapshot import Entry
    from everlearn.data.used_problems import EarlierUse
    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem

_SEED = 0
"""Not a setting: with another seed, problems that were held out once would be trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """New problems by use: to train on, held out to measure, left out since they fit neither use, and left out as not fresh."""

    roots: tuple[Problem, ...]
    held_out: tuple[Problem, ...]
    left_out: tuple[Problem, ...] = ()
    not_fresh: tuple[Problem, ...] = ()

    def describe_left_out(self) -> str | None:
        """Return how many problems are left out, and why; None where all are used."""
        reasons = []
        if self.left_out:
            reasons.append(f"{len(self.left_out)} equal a suite item, or were both measured and trained on")
        if self.not_fresh:
            reasons.append(
                f"{len(self.not_fresh)} were measured by an earlier night, with the same parent or with the candidate that "
                "tonight begins as, and a test needs fresh ones"
            )
        return f"new problems left out: {'; '.join(reasons)}" if reasons else None


def is_held_out(text: str, *, seed: int = _SEED, share: float) -> bool:
    """Return whether this key belongs to the held-out `share`, whatever other problems exist."""
    digest = hashlib.sha256(f"{seed}:{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def split(
    entries: Iterable[Entry], *, domain: Domain, share: float, earlier: EarlierUse, items: Collection[str] = ()
) -> Split:
    """Return the problems by use. `items` are the equivalence keys of tonight's other suites: their equals are left out."""
    parts: dict[str, list[Problem]] = {"roots": [], "held_out": [], "left_out": [], "not_fresh": []}
    for entry in entries:
        side = _side(domain.equivalence(entry.statement), share=share, earlier=earlier, items=items)
        parts[side].append(entry.problem)
    return Split(**{side: tuple(problems) for side, problems in parts.items()})


def _side(key: str, *, share: float, earlier: EarlierUse, items: Collection[str]) -> str:
    if key in earlier.not_fresh:
        return "not_fresh"
    if key in items:
        return "left_out"
    if key in earlier.trained:
        return "left_out" if key in earlier.measured else "roots"
    return "held_out" if key in earlier.measured or is_held_out(key, share=share) else "roots"


def split_by_canonical_form(entries: Iterable[Entry], *, share: float) -> Split:
    """Return the split of nights up to release 0.1.0, which hashed the canonical form."""
    kept = tuple(entries)
    return Split(
        roots=tuple(entry.problem for entry in kept if not is_held_out(entry.canonical, share=share)),
        held_out=tuple(entry.problem for entry in kept if is_held_out(entry.canonical, share=share)),
    )
