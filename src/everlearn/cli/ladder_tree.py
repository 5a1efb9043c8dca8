"""A ladder as a tree in the terminal: each problem with its pass rate."""

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

MAX_CHILDREN = 8
MAX_ROOTS = 12


def draw_ladder(ladder: Ladder) -> RenderableType:
    """Return the tree, and below it the number of accepted variants and of refused ones by reason."""
    children: dict[str | None, list[Rung]] = defaultdict(list)
    for rung in ladder.rungs.values():
        children[rung.parent].append(rung)
    tree = Tree(f"[bold]{len(children[None])} roots, {len(ladder.rungs)} rungs[/]")
    _add_rungs(tree, children[None], children=children, limit=MAX_ROOTS)
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(ladder.counts.items()))
    return Group(tree, f"[dim]{escape(counts)}[/]")


def _add_rungs(
    branch: Tree, rungs: Sequence[Rung], *, children: Mapping[str | None, Sequence[Rung]], limit: int
) -> None:
    """Add at most `limit` rungs to a branch, those with the most children first, each with the rungs below it."""
    first = sorted(rungs, key=lambda rung: -len(children.get(rung.digest, ())))[:limit]
    for rung in first:
        below = branch.add(rung_label(rung))
        _add_rungs(below, children.get(rung.digest, ()), children=children, limit=MAX_CHILDREN)
    if len(rungs) > len(first):
        branch.add(f"[dim]… and {len(rungs) - len(first)} more[/]")


def rung_label(rung: Rung) -> Text:
    """Return `3/8 → 8/8  drop  x^2 + sin(x)`: pass rate before training, after it if known, move, problem.

    It is one line, cut at the edge of the terminal: a tree of wrapped lines is not readable.
    """
    rates = [_format_rate(rung.passed, rung.rollouts)]
    if rung.rollouts_after is not None:
        rates.append(_format_rate(rung.passed_after or 0, rung.rollouts_after))
    label = Text.from_markup(f"{' → '.join(rates)}  ", overflow="ellipsis")
    label.no_wrap = True
    if rung.move:
        label.append(rung.move, style="dim").append("  ")
    return label.append(rung.statement)


def _format_rate(passed: int, rollouts: int) -> str:
    """Return a pass rate as markup: green where all answers are right, a dash where none were sampled."""
    if not rollouts:
        return "[dim]-[/]"
    colour = "red" if not passed else "green" if passed == rollouts else "yellow"
    return f"[{colour}]{passed}/{rollouts}[/]"


def ladder_facts(ladder: Ladder) -> dict[str, Any]:
    """Return the ladder for programs."""
    fields = ("digest", "parent", "depth", "move", "statement", "rollouts", "passed", "rollouts_after", "passed_after")
    rungs = [{name: getattr(rung, name) for name in fields} for rung in ladder.rungs.values()]
    return {"counts": dict(ladder.counts), "rungs": rungs}
