"""Replay: problems that earlier nights mastered, mixed into training so that they are not forgotten.

A reservoir holds a bounded sample of them, of all nights and all strata (skill and difficulty of the problem). Each
night updates the reservoir of the night before with what it mastered itself, so that no night reads more than one of
them.

`choose` decides which problems stay. Each problem has a rank, a hash that does not depend on what else there is. One of
each night and one of each stratum stay first, as long as these are no more than half of the room each (beyond that, a
fixed sample of them); the rest of the room goes to the strata in equal parts, by rank.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from everlearn.errors import IntegrityError
from everlearn.ladder.tree import problem_of, rung_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from everlearn.domains.contract import Domain
    from everlearn.ladder.tree import Ladder, Rung
    from everlearn.problem import Problem

MAX_REPLAYED = 400
"""Most problems of earlier nights that one night replays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mastered:
    """A mastered problem: its equivalence key, its stratum, and the cycle key of the night that mastered it.

    `reference` is the hidden reference of a problem that has one.
    """

    statement: str
    key: str
    stratum: str
    night: str
    reference: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservoir:
    """A bounded sample of mastered problems, sorted by statement."""

    problems: tuple[Mastered, ...] = ()

    def updated(
        self,
        ladder: Ladder,
        *,
        night: str,
        domain: Domain,
        most: int = MAX_REPLAYED,
        references: Mapping[str, str] = MappingProxyType({}),
    ) -> Reservoir:
        """Return the reservoir after a night with that ladder. `references` are those of its roots, by digest.

        A root that came again with another reference is judged by that one from now on.
        """
        kept = [
            each
            if each.reference is None
            else replace(each, reference=references.get(rung_digest(each.statement, domain=domain), each.reference))
            for each in self.problems
        ]
        rungs = [rung for rung in ladder.rungs.values() if is_mastered(rung)]
        found = [mastered(rung, night=night, domain=domain, references=references) for rung in rungs]
        return Reservoir(problems=choose([*kept, *found], most=most))

    def allowed(self, *, domain: Domain, forbidden: Collection[str]) -> list[Problem]:
        """Return the problems whose equivalence key, by the domain's present rule, is not forbidden."""
        return [
            replace(domain.problem(each.statement), reference=each.reference)
            for each in self.problems
            if domain.equivalence(each.statement) not in forbidden
        ]

    def to_bytes(self) -> bytes:
        """Return one JSON line a problem."""
        return "".join(json.dumps(_plain(each), ensure_ascii=False) + "\n" for each in self.problems).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Reservoir:
        """Invert `to_bytes`. IntegrityError if `data` is no reservoir."""
        try:
            return cls(problems=tuple(Mastered(**json.loads(line)) for line in data.decode().split("\n") if line))
        except (ValueError, TypeError) as error:
            raise IntegrityError(f"no reservoir of problems to replay: {error}; restore it from a backup") from None


def repair_weights(skills: Mapping[str, str], *, repaired: Collection[str]) -> dict[str, float]:
    """Return weights by which half of the draws go to the problems of the `repaired` skills; `skills` names the skill of each problem.

    They sum to the number of problems, so that earlier nights have no more draws than without them. Empty, which means
    that all weigh the same, where there are none of these problems or where they are half anyway.
    """
    own = sum(skill in repaired for skill in skills.values())
    others = len(skills) - own
    if not 0 < own < others:
        return {}
    return {key: len(skills) / (2 * (own if skill in repaired else others)) for key, skill in skills.items()}


def is_mastered(rung: Rung) -> bool:
    """Return whether every rollout after training was correct."""
    return bool(rung.rollouts_after) and rung.passed_after == rung.rollouts_after


def mastered(
    rung: Rung, *, night: str, domain: Domain, references: Mapping[str, str] = MappingProxyType({})
) -> Mastered:
    """Return the problem with its stratum: the skill and the difficulty."""
    return Mastered(
        statement=rung.statement,
        key=domain.equivalence(rung.statement),
        stratum=f"{domain.skill(rung.statement)}/{_difficulty(rung, domain=domain)}",
        night=night,
        reference=problem_of(rung, domain=domain.name, references=references).reference,
    )


def _plain(each: Mastered) -> dict[str, str]:
    """Return the fields that are not None."""
    return {name: value for name, value in asdict(each).items() if value is not None}


def choose(candidates: Iterable[Mastered], *, most: int) -> tuple[Mastered, ...]:
    """Return at most `most` of the candidates, one of each equivalence class; see the module for the rule."""
    classes: dict[str, Mastered] = {}
    for each in candidates:
        classes.setdefault(each.key, each)
    ranked = sorted(classes.values(), key=lambda each: _rank(each.key))
    kept = dict.fromkeys(
        [
            *_first_of_each(ranked, lambda each: each.night, most=most // 2),
            *_first_of_each(ranked, lambda each: each.stratum, most=most - most // 2),
        ]
    )
    waiting = defaultdict(list)
    for each in reversed(ranked):
        if each not in kept:
            waiting[each.stratum].append(each)
    counts = Counter(each.stratum for each in kept)
    while waiting and len(kept) < most:
        stratum = min(waiting, key=lambda name: (counts[name], _rank(name)))
        kept[waiting[stratum].pop()] = None
        counts[stratum] += 1
        if not waiting[stratum]:
            del waiting[stratum]
    return tuple(sorted(kept, key=lambda each: each.statement))


def _difficulty(rung: Rung, *, domain: Domain) -> str:
    """Return the quarter of the pass rate before training; where none was measured, the binary order of the size."""
    if rung.rollouts:
        return f"passed {round(4 * rung.passed / rung.rollouts)} of 4"
    return f"size {domain.size(rung.statement).bit_length()}"


def _first_of_each(ranked: Iterable[Mastered], group_of: Callable[[Mastered], str], *, most: int) -> list[Mastered]:
    """Return the first problem of each group, of `most` groups by rank."""
    first: dict[str, Mastered] = {}
    for each in ranked:
        first.setdefault(group_of(each), each)
    return [first[name] for name in sorted(first, key=_rank)[:most]]


def _rank(name: str) -> bytes:
    return hashlib.sha256(f"replay:0:{name}".encode()).digest()
