"""Split of new problems into those to train on and those held out to measure, by a hash of the canonical form."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from everlearn.data.snapshot import Entry
    from everlearn.problem import Problem

_SEED = 0
"""Not a setting: with another seed, problems that were held out once would be trained on."""


def is_held_out(canonical: str, *, seed: int, share: float) -> bool:
    """Return whether this canonical form belongs to the held-out `share`, whatever other problems exist."""
    digest = hashlib.sha256(f"{seed}:{canonical}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def split(entries: Iterable[Entry], *, share: float) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Return the problems to train on and those held out. Split before any ladder is grown."""
    roots: list[Problem] = []
    held_out: list[Problem] = []
    for entry in entries:
        (held_out if is_held_out(entry.canonical, seed=_SEED, share=share) else roots).append(entry.problem)
    return tuple(roots), tuple(held_out)
