"""Charts as inline SVG, without libraries, scripts or fonts; colours are CSS variables of the page.

Charts are about 400 units wide, which keeps text readable on a phone. All text is escaped by `Markup.format`. The CSS
variable `--p` (0..1) of an element is its position on the colour ramp of the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log10
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.gate.decision_record import SuiteRow
    from everlearn.reporting.night_record import SizeRate

WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 42, 390, 12, 190
STRIP_WIDTH, STRIP_HEIGHT = 240, 26
LETTER = 7.0
"""Approximate width of a letter of a tick."""
TICKS = 5
REACH = 3
"""Neighbours on each side of a point that its smoothed value is the mean of: with it, of seven."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line of a chart. `ramp` (0..1) is its position on the colour ramp."""

    label: str
    points: tuple[tuple[float, float], ...]
    ramp: float = 1.0
    faint: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Linear map from values `low..high` to positions `start..stop`."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """Return the position of `value`, rounded to 0.1 units."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start), 1)


def line_chart(series: Sequence[Series], *, title: str, x_label: str, percent: bool) -> Markup:
    """Draw lines over a shared x axis from 0; the y axis spans 0 to 100 % or the range of the data."""
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points]
    x = _scale(0.0, max(xs), LEFT, RIGHT)
    y = Scale(low=0.0, high=1.0, start=BOTTOM, stop=TOP) if percent else _scale(min(0.0, *ys), max(ys), BOTTOM, TOP)
    parts = [y_axis(y, percent=percent), _x_axis(x, label=x_label), *(_line(line, x, y) for line in series)]
    return svg(parts, title=title, height=HEIGHT)


def before_after_bars(rates: Sequence[SizeRate], *, title: str) -> Markup:
    """Draw two bars per problem size, before and after, and as many sizes below them as fit."""
    y = Scale(low=0.0, high=1.0, start=BOTTOM, stop=TOP)
    slot = (RIGHT - LEFT) / len(rates)
    width = min(18.0, slot * 0.4)
    step = ceil(max(len(str(rate.size)) + 1 for rate in rates) * LETTER / slot)
    parts = [y_axis(y, percent=True)]
    for index, rate in enumerate(rates):
        middle = LEFT + slot * (index + 0.5)
        parts += [_bar(middle - width, rate.before, "before", width, y), _bar(middle, rate.after, "after", width, y)]
        parts += [text_at(middle, BOTTOM + 16, str(rate.size), "tick mid")] if index % step == 0 else []
    parts.append(text_at((LEFT + RIGHT) / 2, BOTTOM + 34, "size of the problem", "tick mid"))
    return svg(parts, title=title, height=HEIGHT)


def forest_scale(rows: Sequence[SuiteRow]) -> Scale:
    """Return a common scale for a group of strips that contains all intervals, all margins and zero."""
    low = min(min(row.low, -row.margin) for row in rows)
    high = max(max(row.high, row.margin) for row in rows)
    padding = (high - low) * 0.06
    return Scale(low=low - padding, high=high + padding, start=0.0, stop=STRIP_WIDTH)


def forest_strip(row: SuiteRow, scale: Scale) -> Markup:
    """Draw the confidence interval and the observed gain; thin line: no change, dashed line: margin."""
    zero, margin, observed = scale(0.0), scale(-row.margin), scale(row.after - row.before)
    low, high = scale(row.low), scale(row.high)
    middle = STRIP_HEIGHT / 2
    line = Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>')
    parts = [
        Markup('<rect class="allowed" x="{}" y="0" width="{}" height="{}"/>').format(
            margin, round(STRIP_WIDTH - margin, 1), STRIP_HEIGHT
        ),
        line.format("zero", zero, 0, zero, STRIP_HEIGHT),
        line.format("margin", margin, 0, margin, STRIP_HEIGHT),
        line.format("whisker", low, middle, high, middle),
        line.format("whisker", low, middle - 4, low, middle + 4),
        line.format("whisker", high, middle - 4, high, middle + 4),
        Markup('<circle class="seen" cx="{}" cy="{}" r="4.5"/>').format(observed, middle),
    ]
    title = (
        f"gain between {100 * row.low:+.1f} and {100 * row.high:+.1f} points, margin {100 * row.margin:.1f}; "
        f"observed {100 * (row.after - row.before):+.1f}"
    )
    return Markup('<svg class="strip {}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        row.outcome.lower(), STRIP_WIDTH, STRIP_HEIGHT, title, Markup("").join(parts)
    )


def smoothed(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Replace each value by the mean of itself and up to `REACH` neighbours on each side."""
    values = [y for _, y in points]
    return tuple((x, _mean(values[max(0, i - REACH) : i + REACH + 1])) for i, (x, _) in enumerate(points))


def ticks(low: float, high: float) -> list[float]:
    """Return round tick values within `low..high`, at most about `TICKS`, spaced by 1, 2 or 5 times a power of ten."""
    rough = (high - low) / TICKS
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [round(k * step, 10) for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _scale(low: float, high: float, start: float, stop: float) -> Scale:
    return Scale(low=low, high=high if high > low else low + 1.0, start=start, stop=stop)


def svg(parts: Sequence[Markup], *, title: str, height: int, width: int = WIDTH) -> Markup:
    """Return a complete chart; `title` is its text for screen readers."""
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width, height, title, Markup("").join(parts)
    )


def text_at(x: float, y: float, content: str, style: str) -> Markup:
    """Return a text element with its baseline at y."""
    return Markup('<text x="{}" y="{}" class="{}">{}</text>').format(round(x, 1), round(y, 1), style, content)


def _line(series: Series, x: Scale, y: Scale) -> Markup:
    points = " ".join(f"{x(a)},{y(b)}" for a, b in series.points)
    style = "line faint" if series.faint else "line"
    return Markup('<polyline class="{}" style="--p:{}" points="{}"><title>{}</title></polyline>').format(
        style, round(series.ramp, 3), points, series.label
    )


def _bar(x: float, rate: float, style: str, width: float, y: Scale) -> Markup:
    top = y(rate)
    return Markup('<rect class="bar {}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
        style, round(x, 1), top, round(max(width - 1, width / 2), 1), round(BOTTOM - top, 1), f"{style}: {rate:.0%}"
    )


def y_axis(y: Scale, *, percent: bool, right: float = RIGHT) -> Markup:
    """Draw grid lines up to `right`, with their values."""
    parts = []
    for value in ticks(y.low, y.high):
        at = y(value)
        parts.append(Markup('<line class="grid" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(LEFT, at, right, at))
        parts.append(text_at(LEFT - 6, at + 4, f"{value:.0%}" if percent else f"{value:g}", "tick end"))
    return Markup("").join(parts)


def _x_axis(x: Scale, *, label: str) -> Markup:
    parts = [text_at(x(value), BOTTOM + 16, f"{value:g}", "tick mid") for value in ticks(x.low, x.high)]
    return Markup("").join([*parts, text_at((LEFT + RIGHT) / 2, BOTTOM + 34, label, "tick mid")])
