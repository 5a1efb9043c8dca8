"""The first page of the site: template context computed from a snapshot of the line and its newest nights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from everlearn.gate.decision_record import Against
from everlearn.registry.line_state import champion_after_each
from everlearn.registry.line_summary import summarize
from everlearn.registry.versions import EventKind
from everlearn.reporting.charts import forest_strip
from everlearn.reporting.report import gate_groups, headline
from everlearn.reporting.site import history_charts
from everlearn.reporting.site.history_charts import Curve, Slot
from everlearn.reporting.site.read_model import NIGHT_EVENTS
from everlearn.reporting.transfer import transfer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from everlearn.gate.decision_record import SuiteRow
    from everlearn.registry.line_state import State
    from everlearn.reporting.site.read_model import LineReader, LineSnapshot, NightView
    from everlearn.reporting.transfer import Transfer

MAX_SLOTS = 60  # events on the x axis
MAX_STEPS = 5  # steps with their own colour
NARROW, BROAD = 400, 860
KEPT = {
    "Average accuracy, in percent": {"average accuracy": "average"},
    "Transfer, forgetting and intransigence, in points": {
        "backward transfer": "backward",
        "forward transfer": "forward",
        "forgetting": "forgetting",
        "intransigence": "intransigence",
    },
}
"""Charts of the continual-learning metrics: the field of `Transfer` by the name of its curve, by title."""
DRAWN = NIGHT_EVENTS | {EventKind.PROMOTED, EventKind.ROLLED_BACK}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart in two widths, for phones and for wide screens, with its legend as (CSS class, text) pairs."""

    narrow: Markup
    broad: Markup
    legend: tuple[tuple[str, str], ...]


def overview(snapshot: LineSnapshot, reader: LineReader) -> dict[str, Any]:
    """Return the template context of the first page."""
    slots = slots_of(snapshot.state, reader)
    nights = [slot.night for slot in slots if slot.night]
    last = nights[-1] if nights else None
    of_champion = champion_night(snapshot.state, snapshot.state.champion, reader)
    return {
        "snapshot": snapshot,
        "entry": snapshot.state.versions.get(snapshot.state.champion or ""),
        "summary": summarize(snapshot.state),
        "ended": sum(event.kind in NIGHT_EVENTS for event in snapshot.state.history),
        "last": last,
        "headline": headline(reader.summary(last)) if last else None,
        "groups": list(gate_groups(last.decision)) if last else [],
        "strip": forest_strip,
        "drawn": len(slots),
        "timeline": timeline(slots, reader, snapshot.state) if slots else None,
        "forgetting": forgetting(slots),
        "skills": skill_rows(of_champion),
        "transfer": transfer_of_champion(of_champion, snapshot.state, reader) if of_champion else None,
        "kept": kept(slots),
        "costs": costs(slots),
        "spent": [night for night in reversed(nights) if night.steps],
    }


def slots_of(state: State, reader: LineReader) -> list[Slot]:
    """Return the newest events that the charts show, oldest first."""
    champions = list(champion_after_each(state.history))
    events = [event for event in state.history if event.kind in DRAWN][-MAX_SLOTS:]
    nights = reader.nights(event for event in events if event.kind in NIGHT_EVENTS)
    by_event = {night.event.digest: night for night in nights}
    return [Slot(event=e, night=by_event.get(e.digest), champion=champions[e.sequence - 1]) for e in events]


def champion_night(state: State, version: str | None, reader: LineReader) -> NightView | None:
    """Return the night that published a version."""
    if version is None:
        return None
    return reader.nights([state.history[state.versions[version].sequence - 1]])[0]


def ancestors(state: State, reader: LineReader) -> list[NightView]:
    """Return the nights that published the champion and its ancestors, at most as many as the charts show, oldest first."""
    versions, version = list[str](), state.champion
    while version is not None and len(versions) < MAX_SLOTS:
        versions.append(version)
        version = state.versions[version].parent
    events = [state.history[state.versions[name].sequence - 1] for name in reversed(versions)]
    return reader.nights(events)


def transfer_of_champion(night: NightView, state: State, reader: LineReader) -> Transfer | None:
    """Return the metrics that the champion's night stored; where its release stored none, what its ancestry shows of them."""
    return night.transfer or transfer([each.measured for each in ancestors(state, reader)])


def kept(slots: Sequence[Slot]) -> dict[str, Chart]:
    """Return the charts of the metrics that nights stored, by title; none of a metric that no night has."""
    found = [slot.night.transfer if slot.night else None for slot in slots]
    charts = {}
    for title, fields in KEPT.items():
        lines = [
            Curve(
                name=name,
                style=history_charts.colour(list(fields), name),
                values=_points(found, field),
                in_percent=field == "average",
            )
            for name, field in fields.items()
        ]
        known = [line for line in lines if any(value is not None for value in line.values)]
        if known:
            drawn = [history_charts.curves(slots, known, title=title, width=width) for width in (NARROW, BROAD)]
            named = tuple((line.style, line.name) for line in known)
            charts[title] = Chart(narrow=drawn[0], broad=drawn[1], legend=named)
    return charts


def _points(found: Sequence[Transfer | None], field: str) -> list[float | None]:
    shares = [None if each is None else getattr(each, field) for each in found]
    return [None if share is None else 100 * share for share in shares]


def timeline(slots: Sequence[Slot], reader: LineReader, state: State) -> Chart:
    """Return the chart of champions and pass rates by suite."""
    served = {version: champion_night(state, version, reader) for version in {slot.champion for slot in slots}}
    rates = {
        version: {
            row.suite: row.after for row in night.decision.rows if row.stands_for_suite and not row.kind.is_of_tonight
        }
        for version, night in served.items()
        if version and night and night.decision
    }
    suites = history_charts.suites_of([slot.night for slot in slots if slot.night], wanted=lambda _: True)
    drawn = [history_charts.timeline(slots, rates=rates, suites=suites, width=width) for width in (NARROW, BROAD)]
    return Chart(narrow=drawn[0], broad=drawn[1], legend=legend(suites))


def forgetting(slots: Sequence[Slot]) -> Chart | None:
    """Return the chart of skills against the base model and the best version, or None without skill measurements."""
    nights = [slot for slot in slots if slot.night and slot.night.decision]
    suites = history_charts.suites_of(
        [slot.night for slot in nights if slot.night], wanted=lambda kind: not kind.is_of_tonight
    )
    if not suites:
        return None
    palette = history_charts.suites_of([slot.night for slot in nights if slot.night], wanted=lambda _: True)
    drawn = [
        history_charts.forgetting(nights, suites=suites, palette=palette, width=width) for width in (NARROW, BROAD)
    ]
    return Chart(
        narrow=drawn[0], broad=drawn[1], legend=tuple(entry for entry in legend(palette) if entry[1] in suites)
    )


def costs(slots: Sequence[Slot]) -> Chart | None:
    """Return the chart of CPU time by step, or None without recorded CPU time."""
    nights = [slot for slot in slots if slot.night and slot.night.cpu_seconds]
    if not nights:
        return None
    totals: dict[str, float] = {}
    for slot in nights:
        for step in slot.night.steps if slot.night else ():
            totals[step.name] = totals.get(step.name, 0.0) + step.cpu_seconds
    steps = sorted(totals, key=lambda name: -totals[name])[:MAX_STEPS]
    drawn = [history_charts.costs(nights, steps=steps, width=width) for width in (NARROW, BROAD)]
    others = (("other", "other"),) if len(totals) > len(steps) else ()
    return Chart(narrow=drawn[0], broad=drawn[1], legend=(*legend(steps), *others))


def legend(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return each name with its colour class."""
    return tuple((history_charts.colour(names, name), name) for name in names)


def skill_rows(night: NightView | None) -> list[dict[str, Any]]:
    """Return the champion's result on each skill, against the base model and the best version before it."""
    decision = night.decision if night else None
    names = dict.fromkeys(row.suite for row in decision.rows if not row.kind.is_of_tonight) if decision else {}
    return [
        {
            "suite": suite,
            "now": _first(night, suite).after,
            "n": _first(night, suite).n,
            "base": history_charts.change_since(night, suite, Against.BASE),
            "best": history_charts.change_since(night, suite, Against.BEST),
        }
        for suite in names
    ]


def _first(night: NightView | None, suite: str) -> SuiteRow:
    rows = (history_charts.row_of(night, suite, against) for against in Against)
    return next(row for row in rows if row is not None)
