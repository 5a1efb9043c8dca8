"""Prepare a ladder for display: a tree pruned to the size of a page, and a table of pass rates by size and depth."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everlearn.ladder.tree import Rung

MAX_UNPRUNED = 400  # rungs; a ladder of at most this size is shown completely
MAX_ROOTS = 12  # roots shown of a larger ladder
MAX_BELOW_ROOT = 40  # rungs shown below each of these roots
MAX_DEPTH = 40
_UNLIMITED = 10**60  # a quota that is not used up when it is divided among the children of MAX_DEPTH levels


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRate:
    """Share of passed rollouts over one or more rungs, before training and after it (None if not measured again)."""

    rungs: int
    before: float
    after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A rung with its displayed children; `hidden` counts the omitted children, `below` all descendants."""

    rung: Rung
    rate: PassRate
    children: tuple[Branch, ...]
    hidden: int
    below: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """Pass rates by problem size (rows) and depth (columns); None in cells without a rung."""

    depths: tuple[int, ...]
    rows: tuple[tuple[int, tuple[PassRate | None, ...]], ...]


def rate_of(rungs: Sequence[Rung]) -> PassRate:
    """Return the pass rate over all rollouts of these rungs; `after` covers only rungs that were measured again."""
    again = [rung for rung in rungs if rung.rollouts_after]
    after = (
        _share(sum(r.passed_after or 0 for r in again), sum(r.rollouts_after or 0 for r in again)) if again else None
    )
    return PassRate(
        rungs=len(rungs),
        before=_share(sum(rung.passed for rung in rungs), sum(rung.rollouts for rung in rungs)),
        after=after,
    )


def branches(rungs: Sequence[Rung]) -> tuple[tuple[Branch, ...], int]:
    """Return the trees to show, largest first, and the number of omitted roots.

    A rung whose parent is missing counts as a root.
    """
    known = {rung.digest for rung in rungs}
    children: dict[str | None, list[Rung]] = defaultdict(list)
    for rung in rungs:
        children[rung.parent if rung.parent in known else None].append(rung)
    below = _descendants(rungs)
    roots = sorted(children[None], key=lambda rung: -below[rung.digest])
    whole = len(rungs) <= MAX_UNPRUNED
    quota = _UNLIMITED if whole else MAX_BELOW_ROOT
    shown = tuple(_branch(root, children, below, quota, depth=0) for root in (roots if whole else roots[:MAX_ROOTS]))
    return shown, len(roots) - len(shown)


def heat_map(rungs: Sequence[Rung], *, sizes: Mapping[str, int]) -> HeatMap | None:
    """Return the pass rates by size and depth; None if no size is known."""
    cells: dict[tuple[int, int], list[Rung]] = defaultdict(list)
    for rung in rungs:
        if rung.digest in sizes:
            cells[sizes[rung.digest], rung.depth].append(rung)
    if not cells:
        return None
    depths = tuple(sorted({depth for _, depth in cells}))
    rows = tuple(
        (size, tuple(rate_of(cells[size, depth]) if (size, depth) in cells else None for depth in depths))
        for size in sorted({size for size, _ in cells})
    )
    return HeatMap(depths=depths, rows=rows)


def _branch(
    rung: Rung, children: Mapping[str | None, list[Rung]], below: Mapping[str, int], quota: int, *, depth: int
) -> Branch:
    """Build the branch of a rung with at most `quota` rungs below it: sqrt(quota) children, the rest shared among them."""
    inner = sorted(children.get(rung.digest, ()), key=lambda child: -below[child.digest])
    shown = inner[: isqrt(quota)] if depth < MAX_DEPTH else []
    each = (quota - len(shown)) // max(1, len(shown))
    return Branch(
        rung=rung,
        rate=rate_of([rung]),
        children=tuple(_branch(child, children, below, each, depth=depth + 1) for child in shown),
        hidden=len(inner) - len(shown),
        below=below[rung.digest],
    )


def _descendants(rungs: Sequence[Rung]) -> dict[str, int]:
    """Count the descendants of each rung, from the deepest level upwards."""
    below = {rung.digest: 0 for rung in rungs}
    for rung in sorted(rungs, key=lambda rung: -rung.depth):
        if rung.parent in below:
            below[rung.parent] += 1 + below[rung.digest]
    return below


def _share(count: int, n: int) -> float:
    return count / n if n else 0.0
