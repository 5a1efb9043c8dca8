"""A ladder as a tree in the terminal: each problem with the share of its rollouts that were right."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.markup import escape
from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from everlearn.ladder.tree import Ladder, Rung

SHOWN_CHILDREN = 8
SHOWN_ROOTS = 12


def draw(ladder: Ladder) -> RenderableType:
    """The tree, and below it what was accepted and what was refused for which reason."""
    below: dict[str | None, list[Rung]] = defaultdict(list)
    for rung in ladder.rungs.values():
        below[rung.parent].append(rung)
    trunk = Tree(f"[bold]{len(below[None])} roots, {len(ladder.rungs)} rungs[/]")
    grow(trunk, below[None], below=below, limit=SHOWN_ROOTS)
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(ladder.counts.items()))
    return Group(trunk, f"[dim]{escape(counts)}[/]")


def grow(branch: Tree, rungs: Sequence[Rung], *, below: Mapping[str | None, Sequence[Rung]], limit: int) -> None:
    """Hang `rungs` and what is below them on `branch`; of many, those with the most below them."""
    shown = sorted(rungs, key=lambda rung: -len(below.get(rung.digest, ())))[:limit]
    for rung in shown:
        twig = branch.add(label(rung))
        grow(twig, below.get(rung.digest, ()), below=below, limit=SHOWN_CHILDREN)
    if len(rungs) > len(shown):
        branch.add(f"[dim]… and {len(rungs) - len(shown)} more[/]")


def label(rung: Rung) -> Text:
    """`3/8 → 8/8  drop  x^2 + sin(x)`: before training, after it if known, the move that made it, the problem.

    One line, cut at the terminal's edge: a tree of wrapped lines cannot be read.
    """
    rates = [rate(rung.passed, rung.rollouts)]
    if rung.rollouts_after is not None:
        rates.append(rate(rung.passed_after or 0, rung.rollouts_after))
    move = f"[dim]{escape(rung.move)}[/]  " if rung.move else ""
    shown = Text.from_markup(f"{' → '.join(rates)}  {move}{escape(rung.statement)}", overflow="ellipsis")
    shown.no_wrap = True
    return shown


def rate(passed: int, rollouts: int) -> str:
    """A pass rate, green where it is high; a dash where nothing was tried."""
    if not rollouts:
        return "[dim]-[/]"
    colour = "red" if not passed else "green" if passed == rollouts else "yellow"
    return f"[{colour}]{passed}/{rollouts}[/]"


def facts(ladder: Ladder) -> dict[str, Any]:
    """The same for programs."""
    fields = ("digest", "parent", "depth", "move", "statement", "rollouts", "passed", "rollouts_after", "passed_after")
    rungs = [{name: getattr(rung, name) for name in fields} for rung in ladder.rungs.values()]
    return {"counts": dict(ladder.counts), "rungs": rungs}
