"""The verified tree of variants below a set of roots, with the model's own pass rate on each.

Pure and seeded: no model, no clock, no disk beyond `save` and `load`. After LADDER (Simonds & Yoshiyama 2025,
arXiv 2503.00735), with one change: difficulty is the pass rate that was measured, never the depth that was assumed.

A proposal becomes a rung only if the domain's grammar takes it, it is no duplicate by canonical form (its own
ancestors included), and it is no kin (equal up to a constant factor) of any item of a suite: such leaks are counted
and refused.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from everlearn.errors import BadInputError, GrammarError

if TYPE_CHECKING:
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
    """What one optimizer step saw. `pass_by_size` maps the size of a problem to the pass rate of its rollouts.

    `kl` is the divergence from the start of the training, `entropy` that of the policy, both in nats a token; `length`
    is the mean of the answers in tokens. `stopped` says which guard ended the training here, if one did.
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


def point_of(plain: dict[str, Any]) -> CurvePoint:
    """The point that `asdict` and JSON have made plain."""
    return CurvePoint(**plain | {"pass_by_size": {int(size): rate for size, rate in plain["pass_by_size"].items()}})


def digest_of(canonical: str) -> str:
    """The name of a problem: SHA-256 of its canonical form."""
    return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(slots=True, kw_only=True)
class Ladder:
    """Rungs by digest, in the order in which they came, and how many proposals were refused for which reason."""

    rungs: dict[str, Rung] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def add(
        self, statement: str, *, domain: Domain, forbidden: frozenset[str], parent: Rung | None = None,
        move: str | None = None,
    ) -> Rung | None:  # fmt: skip
        """Add a problem if it is legitimate; None, and a count under its reason, if it is refused."""
        refused = None
        try:
            domain.problem(statement)
            digest = digest_of(domain.canonical(statement))
        except GrammarError:
            refused = "outside the grammar"
        else:
            if digest in self.rungs:
                refused = "duplicate"
            elif domain.equivalence(statement) in forbidden:
                refused = "leak"
        if refused is not None:
            self.counts[refused] += 1
            return None
        depth = 0 if parent is None else parent.depth + 1
        rung = Rung(
            digest=digest, statement=statement, parent=parent.digest if parent else None, depth=depth, move=move,
            rollouts=0, passed=0,
        )  # fmt: skip
        self.rungs[digest] = rung
        self.counts["accepted" if parent else "root"] += 1
        return rung

    def set_pass_rate(self, digest: str, *, rollouts: int, passed: int, after: bool = False) -> None:
        """Set a rung's pass rate, before or after training."""
        rung = self.rungs[digest]
        self.rungs[digest] = (
            replace(rung, rollouts_after=rollouts, passed_after=passed)
            if after
            else replace(rung, rollouts=rollouts, passed=passed)
        )

    def roots(self) -> list[Rung]:
        """The problems that arrived."""
        return [rung for rung in self.rungs.values() if rung.parent is None]

    def copy(self) -> Ladder:
        """A ladder that can grow without changing this one."""
        return Ladder(rungs=dict(self.rungs), counts=Counter(self.counts))

    def save(self, path: Path) -> None:
        """JSONL: the counts, then one rung a line."""
        lines = [json.dumps({"counts": dict(sorted(self.counts.items()))})]
        lines += [json.dumps(asdict(rung)) for rung in self.rungs.values()]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def load_ladder(path: Path) -> Ladder:
    """Read what `Ladder.save` wrote.

    Raises:
        BadInputError: the file is missing or no ladder.
    """
    try:
        head, *rows = path.read_text(encoding="utf-8").splitlines()
        rungs = [Rung(**json.loads(row)) for row in rows]
        return Ladder(rungs={rung.digest: rung for rung in rungs}, counts=Counter(json.loads(head)["counts"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInputError(f"{path} is not a ladder: {error}. Grow one with `everlearn ladder FILE`.") from None
