"""`suites`: what guards a line, and the items of each suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.registry.guarded_suites import SuiteContent

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.registry.versions import Registry
    from tests.everlearn.cli.conftest import Ended

SHORT = SuiteContent(kind="skill", items=2, data=b'{"problem": "x"}\n{"problem": "x^2"}\n')
MEMORY = SuiteContent(kind="memory", items=1, data=b'{"problem": "sin(x)"}\n')


def test_a_line_without_nights_has_no_suite(
    everlearn: Callable[..., Ended], registry: Registry, publish: Callable[..., str]
) -> None:
    publish()
    assert "no suite guards the line yet" in everlearn("suites").out
    ended = everlearn("suites", "short")
    assert ended.code == 2
    assert f"no suite 'short' guards line {registry.line}; these do: none yet" in ended.err


def test_suites_are_listed_with_the_event_that_gave_them_their_items(
    everlearn: Callable[..., Ended], registry: Registry
) -> None:
    registry.guard_suites({"short": SHORT}, actor="night")
    registry.guard_suites({"short": SHORT, "memory-v0001": MEMORY}, actor="night")
    facts = everlearn("suites", "--json").facts
    assert [(row["name"], row["kind"], row["items"], row["event"]) for row in facts] == [
        ("short", "skill", 2, 1),
        ("memory-v0001", "memory", 1, 2),
    ]
    assert everlearn("history", "--json").facts[0]["reason"] == "memory-v0001 added (1 items)"
    assert everlearn("suites", "memory-v0001").out == MEMORY.data.decode()
    assert "memory-v0001" in everlearn("suites").out
