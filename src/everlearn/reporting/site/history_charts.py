"""Charts over the history of a line: one slot per event, the oldest on the left, drawn with the parts of charts.py.

Colours are the classes `c0` to `c5`, which the page defines for light and dark mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from markupsafe import Markup

from everlearn.data.suites import SuiteKind
from everlearn.gate.decision_record import Against
from everlearn.registry.versions import EventKind
from everlearn.reporting.charts import BOTTOM, LEFT, LETTER, Scale, svg, text_at, y_axis

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from everlearn.gate.decision_record import SuiteRow
    from everlearn.registry.events import Event
    from everlearn.reporting.site.read_model import NightView

COLOURS = 6
BAND, TOP = 22, 34  # the band of champions above the plot
HEIGHT = 216


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One event on the x axis, the night that it ended (if any), and the champion after it."""

    event: Event
    night: NightView | None
    champion: str | None

    @property
    def day(self) -> str:
        """Month and day, as `10-28`."""
        return f"{self.event.at:%m-%d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The x axis of a chart `width` units wide, divided into equal slots."""

    slots: Sequence[Slot]
    width: int

    @property
    def right(self) -> float:
        """Right end of the plot."""
        return self.width - 10.0

    @property
    def slot_width(self) -> float:
        """Width of a slot."""
        return (self.right - LEFT) / len(self.slots)

    def __call__(self, index: float) -> float:
        """Return the left edge of a slot."""
        return round(LEFT + self.slot_width * index, 1)

    def middle(self, index: int) -> float:
        """Return the middle of a slot."""
        return self(index + 0.5)

    def days(self) -> Markup:
        """Draw as many dates below the plot as fit."""
        step = max(1, -(-len(self.slots) * 44 // int(self.right - LEFT)))
        parts = [
            text_at(self.middle(index), BOTTOM + 16, slot.day, "tick mid")
            for index, slot in enumerate(self.slots)
            if index % step == 0
        ]
        return Markup("").join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A line of a chart over nights; None for a night without a value. `style` is its CSS class.

    The values are changes in points, or shares in percent.
    """

    name: str
    style: str
    values: Sequence[float | None]
    in_percent: bool = False

    def said(self, value: float) -> str:
        """Return a value with its name and unit."""
        return f"{self.name}: {value:.1f} %" if self.in_percent else f"{self.name}: {value:+.1f} points"


def colour(names: Sequence[str], name: str) -> str:
    """Return the colour class of a name."""
    return f"c{names.index(name) % COLOURS}"


def timeline(
    slots: Sequence[Slot], *, rates: Mapping[str, Mapping[str, float]], suites: Sequence[str], width: int
) -> Markup:
    """Draw the champions over time, what served on each suite (lines), and the pass rate of each candidate (dots).

    `rates` maps a version to its pass rate by suite, for suites whose items stay the same from night to night.
    """
    axis, y = Axis(slots=slots, width=width), Scale(low=0.0, high=1.0, start=BOTTOM, stop=TOP)
    parts = [y_axis(y, percent=True, right=axis.right), axis.days(), *_champion_blocks(axis), *_rollbacks(axis)]
    for suite in suites:
        parts += _champion_line(
            axis, y, [served_rate(slot, suite, rates=rates) for slot in slots], colour(suites, suite)
        )
    parts += [dot for index in range(len(slots)) for dot in _dots(axis, y, index, suites)]
    return svg(parts, title="champions and pass rates by suite over the nights", height=HEIGHT, width=width)


def served_rate(slot: Slot, suite: str, *, rates: Mapping[str, Mapping[str, float]]) -> float | None:
    """Return the pass rate on a suite of what serves after an event; None where it was not measured.

    A night measures its candidate and its parent on its own items, so its rows come first. The rate of an earlier night
    is a fallback for suites that keep their items, never for the target, which is another suite in every night.
    """
    row = row_of(slot.night, suite, Against.PARENT)
    if row is not None and slot.night is not None:
        if is_published(slot) and slot.champion == slot.night.version:
            return row.after
        # Events of earlier releases do not name the parent of a night without a version: it was the champion.
        if slot.champion == slot.event.detail.get("parent", slot.champion) and row.against is Against.PARENT:
            return row.before
    return rates.get(slot.champion or "", {}).get(suite)


def forgetting(slots: Sequence[Slot], *, suites: Sequence[str], palette: Sequence[str], width: int) -> Markup:
    """Draw gains and losses of each version since the base model (line) and the best version (dashed), in points.

    A hollow dot is a candidate that was not published. `palette` lists all suites that have a colour.
    """
    lines = [
        Curve(
            name=suite,
            style=colour(palette, suite) + (" dashed" if against is Against.BEST else ""),
            values=[change_since(slot.night, suite, against) for slot in slots],
        )
        for suite in suites
        for against in (Against.BASE, Against.BEST)
    ]
    return curves(slots, lines, title="gain or loss of old skills over the nights, in points", width=width)


def curves(slots: Sequence[Slot], lines: Sequence[Curve], *, title: str, width: int) -> Markup:
    """Draw values in points or percent: a line through the published versions, a dot for each night, hollow without a version."""
    axis = Axis(slots=slots, width=width)
    values = [value for curve in lines for value in curve.values if value is not None]
    padding = max(1.0, max(values) - min(values)) * 0.12
    y = Scale(low=min(0.0, *values) - padding, high=max(0.0, *values) + padding, start=BOTTOM, stop=TOP - BAND)
    zero = Markup('<line class="zero" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(LEFT, y(0.0), axis.right, y(0.0))
    parts = [y_axis(y, percent=False, right=axis.right), axis.days(), zero, *_rollbacks(axis)]
    for curve in lines:
        known = [(index, value) for index, value in enumerate(curve.values) if value is not None]
        points = [(axis.middle(at), y(value)) for at, value in known if is_published(slots[at])]
        parts.append(_line(points, curve.style))
        parts += [_change(slots[at], axis.middle(at), y(value), curve.said(value), curve.style) for at, value in known]
    return svg(parts, title=title, height=HEIGHT, width=width)


def costs(slots: Sequence[Slot], *, steps: Sequence[str], width: int) -> Markup:
    """Draw the CPU minutes of each night by step; steps outside `steps` are summed as `other`."""
    axis = Axis(slots=slots, width=width)
    highest = max(slot.night.cpu_seconds for slot in slots if slot.night) / 60
    y = Scale(low=0.0, high=highest, start=BOTTOM, stop=TOP - BAND)
    parts = [y_axis(y, percent=False, right=axis.right), axis.days()]
    for index, slot in enumerate(slots):
        stacked = 0.0
        for name, minutes in cost_by_step(slot.night, steps).items():
            style = "other" if name == "other" else colour(steps, name)
            parts.append(
                _block(
                    axis,
                    y,
                    index,
                    span=(stacked, stacked + minutes),
                    title=f"{name}: {minutes:.1f} CPU min",
                    style=style,
                )
            )
            stacked += minutes
    return svg(parts, title="CPU minutes by night and step", height=HEIGHT, width=width)


def change_since(night: NightView | None, suite: str, against: Against) -> float | None:
    """Return the points gained on a suite since the base model or the best version; None if not measured.

    A night that starts from the base model has no row for it: its parent is the base model. Without a row for the best
    version, the parent is the best version.
    """
    row = row_of(night, suite, against)
    if row is None and night is not None and (against is Against.BEST or night.parent is None):
        row = row_of(night, suite, Against.PARENT)
    return None if row is None else 100 * (row.after - row.before)


def row_of(night: NightView | None, suite: str, against: Against) -> SuiteRow | None:
    """Return the gate's row of a suite against one baseline, or None. The record of the line stands for the parent."""
    rows = night.decision.rows if night and night.decision else ()
    own = [row for row in rows if row.suite == suite]
    return next(
        (row for row in own if row.against is against or (against is Against.PARENT and row.stands_for_suite)), None
    )


def suites_of(nights: Sequence[NightView], *, wanted: Callable[[SuiteKind], bool]) -> list[str]:
    """Return the names of the suites that these nights measured, targets first."""
    rows = [row for night in nights if night.decision for row in night.decision.rows if wanted(row.kind)]
    order = list(SuiteKind)
    return list(dict.fromkeys(row.suite for row in sorted(rows, key=lambda row: order.index(row.kind))))


def cost_by_step(night: NightView | None, steps: Sequence[str]) -> dict[str, float]:
    """Return CPU minutes by step, other steps summed as `other`."""
    minutes = dict.fromkeys((*steps, "other"), 0.0)
    for step in night.steps if night else ():
        minutes[step.name if step.name in minutes else "other"] += step.cpu_seconds / 60
    return {name: spent for name, spent in minutes.items() if spent > 0}


def is_published(slot: Slot) -> bool:
    """Return whether the night of the slot published a version."""
    return slot.night is not None and slot.night.version is not None


def _change(slot: Slot, x: float, y: float, title: str, style: str) -> Markup:
    hollow = "" if is_published(slot) else " hollow"
    dot = Markup('<circle class="dot {}" cx="{}" cy="{}" r="2.6"><title>{}</title></circle>')
    return dot.format(style + hollow, x, y, f"{title}, {slot.event.at:%Y-%m-%d}")


def _champion_blocks(axis: Axis) -> list[Markup]:
    """Draw one block per period in which the same version was champion."""
    parts = []
    for number, (champion, members) in enumerate(groupby(enumerate(axis.slots), key=lambda pair: pair[1].champion)):
        inside = [index for index, _ in members]
        left, width = axis(inside[0]), axis.slot_width * len(inside)
        name = champion or "base"
        style = "reign even" if number % 2 else "reign"
        title = f"{name} is champion from {axis.slots[inside[0]].event.at:%Y-%m-%d}"
        parts.append(
            Markup('<rect class="{}" x="{}" y="2" width="{}" height="{}" rx="3"><title>{}</title></rect>').format(
                style, left, round(width - 1, 1), BAND - 4, title
            )
        )
        shown = next((text for text in (name, name.replace("v", "").lstrip("0")) if LETTER * len(text) < width), "")
        parts.append(text_at(left + width / 2, 15, shown, "tick mid on"))
    return parts


def _rollbacks(axis: Axis) -> list[Markup]:
    line = Markup('<line class="taken" x1="{}" y1="{}" x2="{}" y2="{}"><title>{}</title></line>')
    return [
        line.format(axis.middle(index), BAND, axis.middle(index), BOTTOM, slot.event.reason)
        for index, slot in enumerate(axis.slots)
        if slot.event.kind is EventKind.ROLLED_BACK
    ]


def _champion_line(axis: Axis, y: Scale, values: Sequence[float | None], style: str) -> list[Markup]:
    """Draw a step line of the champion's rate, with gaps where it is unknown."""
    parts = []
    for known, members in groupby(enumerate(values), key=lambda pair: pair[1] is not None):
        if known:
            points = [(axis(index + side), y(value or 0.0)) for index, value in members for side in (0, 1)]
            parts.append(_line(_corners(points), style))
    return parts


def _corners(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep only the corners and the ends of a step line."""
    inner = [b for (a, b), c in zip(pairwise(points), points[2:], strict=False) if not a[1] == b[1] == c[1]]
    return [points[0], *inner, points[-1]]


def _dots(axis: Axis, y: Scale, index: int, suites: Sequence[str]) -> list[Markup]:
    """Draw the pass rates of a night's candidate: filled dots if it was published, hollow dots otherwise."""
    night = axis.slots[index].night
    rows = [(suite, row_of(night, suite, Against.PARENT)) for suite in suites] if night else []
    dot = Markup('<circle class="dot {}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>')
    radius = round(min(3.4, max(1.6, axis.slot_width / 3)), 1)
    published = night.version if night else None
    hollow = "" if published else " hollow"
    return [
        dot.format(
            colour(suites, suite) + hollow,
            axis.middle(index),
            y(row.after),
            radius,
            f"{suite}: {row.before:.1%} to {row.after:.1%}, {published or row.outcome}",
        )
        for suite, row in rows
        if row is not None
    ]


def _line(points: Sequence[tuple[float, float]], style: str) -> Markup:
    return Markup('<polyline class="run {}" points="{}"/>').format(style, " ".join(f"{a},{b}" for a, b in points))


def _block(axis: Axis, y: Scale, index: int, *, span: tuple[float, float], title: str, style: str) -> Markup:
    low, high = y(span[0]), y(span[1])
    width = round(min(22.0, axis.slot_width * 0.8), 1)
    left = round(axis.middle(index) - width / 2, 1)
    return Markup('<rect class="block {}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
        style, left, high, width, round(low - high, 1), title
    )
