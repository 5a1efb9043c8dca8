from __future__ import annotations

from collections import Counter

from rich.console import Console

from everlearn.cli import ladder_tree
from everlearn.ladder.tree import Ladder, Rung


def rung(
    digest: str, *, parent: str | None = None, rollouts: int = 0, passed: int = 0, after: int | None = None
) -> Rung:
    return Rung(
        digest=digest,
        statement=f"[{digest}]*x",
        parent=parent,
        depth=0 if parent is None else 1,
        move=None if parent is None else "drop",
        rollouts=rollouts,
        passed=passed,
        rollouts_after=None if after is None else 8,
        passed_after=after,
    )


def drawn(*rungs: Rung, **refused: int) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(
            ladder_tree.draw_ladder(Ladder(rungs={each.digest: each for each in rungs}, counts=Counter(refused)))
        )
    return capture.get()


def test_tree_shows_problems_below_their_parents() -> None:
    lines = drawn(
        rung("root", rollouts=8, passed=0, after=3),
        rung("easy", parent="root", rollouts=8, passed=8),
        rung("middle", parent="root", rollouts=8, passed=4),
        duplicate=2,
    ).splitlines()
    assert lines[0] == "1 roots, 3 rungs"
    assert "0/8 → 3/8  [root]*x" in lines[1]
    assert "    ├── 8/8  drop  [easy]*x" in lines[2]
    assert lines[-1] == "2 duplicate"


def test_tree_counts_the_children_that_it_leaves_out() -> None:
    many = [rung(f"c{index}", parent="root") for index in range(ladder_tree.MAX_CHILDREN + 3)]
    text = drawn(rung("root"), *many)
    assert "… and 3 more" in text
    assert text.count("drop") == ladder_tree.MAX_CHILDREN
    assert "-  [root]*x" in text


def test_ladder_facts_hold_every_rung() -> None:
    ladder = Ladder(rungs={"a": rung("a"), "b": rung("b", parent="a")}, counts=Counter(leak=1))
    facts = ladder_tree.ladder_facts(ladder)
    assert [each["digest"] for each in facts["rungs"]] == ["a", "b"]
    assert facts["counts"] == {"leak": 1}


def test_a_problem_is_shown_as_it_is_written() -> None:
    label = ladder_tree.rung_label(
        Rung(digest="a", statement="a:x:b [red]c\\", parent=None, depth=0, move="m[0]", rollouts=2, passed=1)
    )
    assert label.plain == "1/2  m[0]  a:x:b [red]c\\"
