"""The history of a line as a markdown table, for the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.registry.line_summary import summarize
from everlearn.reporting.report import escape_markdown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from everlearn.registry.line_state import State

SHOWN_EVENTS = 50


def history_markdown(state: State, *, line: str) -> str:
    """Return the version that serves with the reason, and the newest events, the last one first, as markdown."""
    summary = summarize(state)
    rows = [
        f"| {event.sequence} | {event.at:%Y-%m-%d %H:%M} | {escape_markdown(event.sentence)} | {escape_markdown(event.actor)} |"
        for event in reversed(state.history[-SHOWN_EVENTS:])
    ]
    served = summary.served[0].upper() + summary.served[1:] if summary.champion is None else summary.served
    head = f"**{served}** serves line {line}: {escape_markdown(summary.reason)}"
    return "\n".join([head, "", "| # | when (UTC) | event and reason | actor |", "| --- | --- | --- | --- |", *rows])


def list_markdown(sentences: Iterable[str]) -> str:
    """Return sentences as a markdown list. Names in them, such as those of consumers, come from outside."""
    return "".join(f"- {escape_markdown(sentence)}\n" for sentence in sentences)
