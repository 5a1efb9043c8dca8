"""Replay: problems that earlier nights mastered, mixed into training so that they are not forgotten."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from everlearn.domains.contract import Domain
    from everlearn.ladder.tree import Ladder, Rung
    from everlearn.problem import Problem

MAX_REPLAYED = 400
"""Most problems of earlier nights that one night replays."""


def select_replay(ladders: Iterable[Ladder], *, domain: Domain) -> list[Problem]:
    """Return the mastered problems of `ladders`, in the order given, up to `MAX_REPLAYED`."""
    mastered = (rung for ladder in ladders for rung in ladder.rungs.values() if is_mastered(rung))
    return [domain.problem(rung.statement) for rung in islice(mastered, MAX_REPLAYED)]


def is_mastered(rung: Rung) -> bool:
    """Return whether every rollout after training was correct."""
    return bool(rung.rollouts_after) and rung.passed_after == rung.rollouts_after
