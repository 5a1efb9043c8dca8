"""A ladder made ready to be looked at: a tree cut to what a page can hold, and a table of pass rates by size and depth."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everlearn.ladder.tree import Rung

MOST_WHOLE = 400  # a ladder of this many rungs is shown whole
MOST_ROOTS = 12  # of a larger one
MOST_BELOW = 40  # rungs shown below each of them
MOST_DEPTH = 40
_PLENTY = 10**60  # shared out among the children of MOST_DEPTH levels, it never runs out


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRate:
    """Passed rollouts of a rung or of many: before, and after where it was measured again."""

    rungs: int
    before: float
    after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A rung with the children that are shown; `hidden` counts the children left out, `below` all descendants."""

    rung: Rung
    rate: PassRate
    children: tuple[Branch, ...]
    hidden: int
    below: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """Pass rates by size (rows) and depth (columns); None where there is no rung."""

    depths: tuple[int, ...]
    rows: tuple[tuple[int, tuple[PassRate | None, ...]], ...]


def rate_of(rungs: Sequence[Rung]) -> PassRate:
    """The pass rate over all rollouts of these rungs; `after` counts only rungs that were measured again."""
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
    """The trees to show, largest first, and how many more roots there are. A rung without its parent counts as a root."""
    known = {rung.digest for rung in rungs}
    children: dict[str | None, list[Rung]] = defaultdict(list)
    for rung in rungs:
        children[rung.parent if rung.parent in known else None].append(rung)
    below = _descendants(rungs)
    roots = sorted(children[None], key=lambda rung: -below[rung.digest])
    whole = len(rungs) <= MOST_WHOLE
    quota = _PLENTY if whole else MOST_BELOW
    shown = tuple(_branch(root, children, below, quota, depth=0) for root in (roots if whole else roots[:MOST_ROOTS]))
    return shown, len(roots) - len(shown)


def heat_map(rungs: Sequence[Rung], *, sizes: Mapping[str, int]) -> HeatMap | None:
    """Pass rates by size and depth; None when no size is known."""
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
    """The rung with at most `quota` rungs below it, some of them at every depth: about its root as children."""
    inner = sorted(children.get(rung.digest, ()), key=lambda child: -below[child.digest])
    shown = inner[: isqrt(quota)] if depth < MOST_DEPTH else []
    each = (quota - len(shown)) // max(1, len(shown))
    return Branch(
        rung=rung,
        rate=rate_of([rung]),
        children=tuple(_branch(child, children, below, each, depth=depth + 1) for child in shown),
        hidden=len(inner) - len(shown),
        below=below[rung.digest],
    )


def _descendants(rungs: Sequence[Rung]) -> dict[str, int]:
    """How many rungs stand below each, counted from the deepest upwards."""
    below = {rung.digest: 0 for rung in rungs}
    for rung in sorted(rungs, key=lambda rung: -rung.depth):
        if rung.parent in below:
            below[rung.parent] += 1 + below[rung.digest]
    return below


def _share(count: int, n: int) -> float:
    return count / n if n else 0.0
