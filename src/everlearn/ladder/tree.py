"""The verified tree of variants below a set of roots, with the model's own pass rate on each.

No model, no clock and no references: `references_of` keeps those of the roots beside a ladder. After LADDER (Simonds &
Yoshiyama 2025, arXiv 2503.00735), with one change: difficulty is the measured pass rate, not the depth.

A proposal becomes a rung only if it is in the domain's grammar, no rung has its canonical form, and it is not
equivalent (equal up to a constant factor) to an item of a suite. Refused proposals are counted by reason.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from everlearn.canonical_json import digest_of
from everlearn.domains.contamination import is_contaminated
from everlearn.errors import BadInputError, GrammarError
from everlearn.problem import Problem
from everlearn.storage.local_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from everlearn.domains.contract import Domain


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One problem of the ladder. `parent` is the digest of the rung it was derived from, None for a root."""

    digest: str
    statement: str
    parent: str | None
    depth: int
    move: str | None
    rollouts: int
    passed: int
    rollouts_after: int | None = None
    passed_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """Measurements of one optimizer step. `pass_by_size` maps the size of a problem to the pass rate of its rollouts.

    `kl` is the divergence from the initial policy and `entropy` that of the policy, both in nats per token; `length` is
    the mean length of the answers in tokens. `stopped` is the guard that ended the training at this step, if any.
    """

    step: int
    cpu_seconds: float
    reward: float
    groups_used: int
    groups_sampled: int
    kl: float
    loss: float
    pass_by_size: dict[int, float]
    entropy: float | None = None
    length: float | None = None
    stopped: str | None = None


PROPOSALS, VALID_PROPOSALS, OWN_MOVES = "proposals", "valid proposals", "rungs by the domain's own moves"
"""Names in the counts of a ladder whose proposals were asked in words; no reasons of a refusal."""
DECODED = "decoded proposals"
"""Name of the number of decoded completions in the counts of a ladder, unused ones included; no reason of a refusal."""


def point_of(plain: dict[str, Any]) -> CurvePoint:
    """Return the point from its JSON form, the inverse of `asdict`."""
    return CurvePoint(**plain | {"pass_by_size": {int(size): rate for size, rate in plain["pass_by_size"].items()}})


def rung_digest(statement: str, *, domain: Domain) -> str:
    """Return the digest of a problem as a rung: the SHA-256 of its canonical form. Raises GrammarError if it has none."""
    return digest_of(domain.canonical(statement).encode())


def references_of(problems: Iterable[Problem], *, domain: Domain) -> dict[str, str]:
    """Return the references of the problems that have one, by the digest that they have as rungs."""
    return {
        rung_digest(problem.statement, domain=domain): problem.reference
        for problem in problems
        if problem.reference is not None
    }


def problem_of(rung: Rung, *, domain: str, references: Mapping[str, str]) -> Problem:
    """Return the rung's problem. Only a root has a reference: what its variants should give is not known."""
    reference = references.get(rung.digest) if rung.parent is None else None
    return Problem(id=rung.digest, domain=domain, statement=rung.statement, reference=reference)


@dataclass(slots=True, kw_only=True)
class Ladder:
    """Rungs by digest, in the order in which they were added, and the number of refused proposals by reason."""

    rungs: dict[str, Rung] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        statement: str,
        *,
        domain: Domain,
        forbidden: frozenset[str],
        parent: Rung | None = None,
        move: str | None = None,
    ) -> Rung | None:
        """Add a problem. Return its rung, or None if it is refused, which is counted by reason."""
        refused = None
        try:
            statement = domain.problem(statement).statement
            digest = rung_digest(statement, domain=domain)
        except GrammarError:
            refused = "outside the grammar"
        else:
            if digest in self.rungs:
                refused = "duplicate"
            elif is_contaminated(statement, domain=domain, forbidden=forbidden):
                refused = "leak"
        if refused is not None:
            self.counts[refused] += 1
            return None
        depth = 0 if parent is None else parent.depth + 1
        rung = Rung(
            digest=digest,
            statement=statement,
            parent=parent.digest if parent else None,
            depth=depth,
            move=move,
            rollouts=0,
            passed=0,
        )
        self.rungs[digest] = rung
        self.counts["accepted" if parent else "root"] += 1
        return rung

    def set_pass_rate(self, digest: str, *, rollouts: int, passed: int, after: bool = False) -> None:
        """Set the pass rate of a rung, before or after training."""
        rung = self.rungs[digest]
        self.rungs[digest] = (
            replace(rung, rollouts_after=rollouts, passed_after=passed)
            if after
            else replace(rung, rollouts=rollouts, passed=passed)
        )

    def roots(self) -> list[Rung]:
        """Return the rungs without parent: the problems that arrived."""
        return [rung for rung in self.rungs.values() if rung.parent is None]

    def copy(self) -> Ladder:
        """Return a copy that can grow without changing this ladder."""
        return Ladder(rungs=dict(self.rungs), counts=Counter(self.counts))

    @property
    def proposals(self) -> int:
        """Number of completions decoded as proposals, invalid and unused ones included, variants by own moves not.

        Ladders of older revisions do not have the number. For these, only the proposals that were read are counted.
        """
        if DECODED in self.counts:
            return self.counts[DECODED]
        return self.counts[PROPOSALS] or sum(self.counts.values()) - self.counts["root"]

    def count_decoded(self, number: int) -> None:
        """Add to the number of decoded proposals."""
        self.counts[DECODED] = self.proposals + number

    def to_bytes(self) -> bytes:
        """Return JSON Lines: the counts, then one rung a line."""
        lines = [json.dumps({"counts": dict(sorted(self.counts.items()))})]
        lines += [json.dumps(asdict(rung)) for rung in self.rungs.values()]
        return ("\n".join(lines) + "\n").encode()

    def save(self, path: Path) -> None:
        """Write `to_bytes` to a file, whole or not at all."""
        write_whole(path, self.to_bytes())


def load_ladder(path: Path) -> Ladder:
    """Read what `Ladder.save` wrote.

    Raises:
        BadInputError: the file is missing or is not a ladder.
    """
    try:
        return parse_ladder(path.read_bytes())
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInputError(f"{path} is not a ladder: {error}. Grow one with `everlearn ladder FILE`.") from None


def parse_ladder(data: bytes) -> Ladder:
    """Invert `Ladder.to_bytes`. ValueError, TypeError or KeyError if the data is not a ladder."""
    head, *rows = data.decode().splitlines()
    rungs = [Rung(**json.loads(row)) for row in rows]
    return Ladder(rungs={rung.digest: rung for rung in rungs}, counts=Counter(json.loads(head)["counts"]))
