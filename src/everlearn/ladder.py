"""The verified tree of variants below a set of roots, with the model's own pass rate on each.

Pure and seeded: no model, no clock, no disk beyond `save` and `load`. After LADDER (Simonds & Yoshiyama 2025,
arXiv 2503.00735), with one change: difficulty is the pass rate that was measured, never the depth that was assumed.
"""

from __future__ import annotations

from dataclasses import dataclass


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
    """What one optimizer step saw. `pass_by_size` maps the size of a problem to the pass rate of its rollouts."""

    step: int
    cpu_seconds: float
    reward: float
    groups_used: int
    groups_sampled: int
    kl: float
    loss: float
    pass_by_size: dict[int, float]
