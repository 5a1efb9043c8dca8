"""Summary of a line: what serves, since when and why. Every view (status, site, dashboard) says it in these words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.registry.line_state import champion_after_each

if TYPE_CHECKING:
    from everlearn.registry.events import Event
    from everlearn.registry.line_state import State

NEVER = "no version has been champion yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSummary:
    """What serves on a line, and the event that made it so; None where no version has ever been champion."""

    champion: str | None
    since: Event | None

    @property
    def served(self) -> str:
        """Name of what serves: a version, or "the base model"."""
        return self.champion or "the base model"

    @property
    def reason(self) -> str:
        """Why it serves: the sentence of the event, or that no version has been champion."""
        return self.since.sentence if self.since else NEVER


def summarize(state: State) -> LineSummary:
    """Return the summary of a state."""
    champions = [None, *champion_after_each(state.history)]
    changes = (event for event in reversed(state.history) if champions[event.sequence] != champions[event.sequence - 1])
    return LineSummary(champion=state.champion, since=next(changes, None))
