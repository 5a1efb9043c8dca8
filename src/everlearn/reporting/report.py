"""The report of a night as a self-contained HTML page, as markdown, and as table rows.

    page = render(night)                   # no scripts, links or external images; all text is escaped
    text = summary_markdown(night)         # for a Prefect markdown artifact
    rows = gate_rows(decision)             # for a Prefect table artifact

A section without data says so.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Any

from everlearn.data.suites import SuiteKind
from everlearn.gate.decision_record import Against, Decision, Outcome, SuiteRow
from everlearn.ladder import rendering
from everlearn.reporting import charts
from everlearn.reporting.night_record import IngestCounts, NightRecord, SizeRate, StepTime, rates_by_size
from everlearn.reporting.own_items import describe_items
from everlearn.reporting.templating import template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markupsafe import Markup

__all__ = [
    "IngestCounts",
    "NightRecord",
    "SizeRate",
    "StepTime",
    "escape_markdown",
    "gate_groups",
    "gate_markdown",
    "gate_rows",
    "headline",
    "rates_by_size",
    "render",
    "summary_markdown",
]

MAX_LINES = 8
_GROUPS = {
    SuiteKind.TARGET: "Targets: at least one has to improve, none may get worse",
    SuiteKind.GENERATED: "Generated, like the problems of this night: must not get worse",
    SuiteKind.MEMORY: "Memory, problems of earlier nights: must not get worse",
    SuiteKind.SKILL: "Skills: must not get worse",
    SuiteKind.GENERAL: "General: must not get worse",
}


def render(night: NightRecord, *, site: dict[str, Any] | None = None) -> str:
    """Render a night as one HTML page; `site` is the context that the site adds: navigation and later events."""
    shown, more_roots = rendering.branches(night.ladder)
    return template("night.html.j2").render(
        night=night,
        site=site,
        headline=headline(night),
        groups=list(gate_groups(night.decision)),
        branches=shown,
        more_roots=more_roots,
        ladder_rate=rendering.rate_of(night.ladder),
        heat=rendering.heat_map(night.ladder, sizes=night.sizes),
        rates_chart=_rates_chart(night),
        curves=list(_curve_charts(night)),
        times=_times(night),
        seconds=sum(step.seconds for step in night.steps),
        cpu_seconds=sum(step.cpu_seconds for step in night.steps),
        gpu_seconds=sum(step.gpu_seconds for step in night.steps),
        tokens=sum(step.tokens for step in night.steps),
        joules=sum(step.joules for step in night.steps),
        contexts=context_table(night),
        refused=_by_count(night.refused),
        quarantined=_by_count(night.ingest.quarantined),
        strip=charts.forest_strip,
    )


def headline(night: NightRecord) -> str:
    """Return one sentence about how the night ended."""
    decision = night.decision
    if decision is None:
        return f"The night ended as {night.end}: there is no decision of the gate to show."
    if decision.passed:
        held = sum(not row.kind.is_of_tonight and row.stands_for_suite for row in decision.rows)
        skills = f" {held} old skill{'s' if held != 1 else ''} held." if held else ""
        limits = "".join(f" {warning[0].upper()}{warning[1:]}." for warning in decision.warnings)
        beats = " It beats the base model." if decision.beats_base else ""
        return f"{night.version or 'The candidate'} passed: {_gains(night, decision)}.{beats}{skills}{limits}"
    verb = "was rejected" if decision.outcome is Outcome.FAIL else "could not be decided"
    why = f": {decision.reasons[0]}" if decision.reasons else ""
    yours = describe_items(night.own_items)
    return f"The candidate {verb}{why}." + (f" {yours}." if yours else "")


def _gains(night: NightRecord, decision: Decision) -> str:
    """Return the gain of each target that improved, then that of the generated problems, with their numbers of items."""
    rows = [row for row in decision.rows if row.against is Against.PARENT]
    improved = [row for row in rows if row.has_improved]
    generated = [row for row in rows if row.kind is SuiteKind.GENERATED]
    yours = "" if night.own_items is None else " on {} problems of yours"
    gains = [f"{row.suite} {row.before:.1%} → {row.after:.1%}{yours.format(row.n)}" for row in improved]
    gains += [f"{row.suite} {row.before:.1%} → {row.after:.1%} on {row.n} generated ones" for row in generated]
    return ", ".join(gains)


def summary_markdown(night: NightRecord) -> str:
    """Return header, reasons and gate table as markdown; text from outside is escaped."""
    about = (
        f"line `{_code(night.line)}`, {escape_markdown(night.end)}, version {escape_markdown(night.version or 'none')}"
    )
    counts = (
        f"{night.ingest.accepted} accepted, {night.ingest.duplicates} duplicates, {_quarantined(night)} quarantined"
    )
    yours = describe_items(night.own_items)
    parts = [
        f"## {escape_markdown(headline(night))}",
        f"{about}, {night.started:%Y-%m-%d %H:%M} UTC, cycle `{_code(night.cycle_key[:12])}`",
        f"Problems: {counts}. Ladder: {len(night.ladder)} rungs." + (f" {yours}." if yours else ""),
    ]
    if night.decision:
        parts.append(gate_markdown(night.decision))
    if night.transfer:
        parts.append(f"What is kept, {night.transfer.in_words}.")
    if night.steps:
        parts.append(", ".join(f"{escape_markdown(step.name)} {step.seconds:.0f} s" for step in night.steps))
    parts += [_markdown_table(context_table(night)), *map(escape_markdown, night.notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def gate_markdown(decision: Decision) -> str:
    """Return outcome, reasons and table of the gate as markdown."""
    reasons = "\n".join(f"- {escape_markdown(reason)}" for reason in decision.reasons)
    parts = [f"**Gate: {decision.outcome}**", reasons, _markdown_table(gate_rows(decision))]
    return "\n\n".join(part for part in parts if part)


def gate_rows(decision: Decision) -> list[dict[str, Any]]:
    """Return one flat row per suite and check, for a table artifact."""
    rows: list[dict[str, Any]] = [
        {
            "suite": row.suite,
            "kind": str(row.kind),
            "against": str(row.against),
            "n": row.n,
            "before": f"{row.before:.1%}",
            "after": f"{row.after:.1%}",
            "won": row.won,
            "lost": row.lost,
            "undecided": row.undecided,
            "largest loss": f"{100 * row.bound:.1f}",
            "margin": f"{100 * row.margin:.1f}",
            "p": "" if row.p_value is None else f"{row.p_value:.2g}",
            "power": f"{row.power:.0%}",
            "outcome": str(row.outcome),
        }
        for row in decision.all_rows
    ]
    blank: dict[str, Any] = dict.fromkeys(rows[0], "") if rows else {}
    outcomes = {True: str(Outcome.PASS), False: str(Outcome.FAIL)}
    checks = [{"suite": c.name, "kind": "check", "outcome": outcomes[c.passed]} for c in decision.checks]
    return rows + [blank | check for check in checks]


def context_table(night: NightRecord) -> list[dict[str, Any]]:
    """Return context and weights side by side, one flat row for each that was measured on the target."""
    return [
        {
            "policy": row.policy,
            "examples": f"{row.examples}, {row.choice}" if row.examples else "none",
            "right": f"{row.right / row.n:.1%} of {row.n}",
            "prompt tokens a request": f"{row.prompt_tokens:.0f}",
            "seconds a request": f"{row.seconds:.3f}",
        }
        for row in night.contexts
    ]


def gate_groups(decision: Decision | None) -> Iterator[dict[str, Any]]:
    """Yield the rows by kind of suite, each group with its own scale: targets gain tens of points, skills lose tenths."""
    rows = sorted(decision.all_rows, key=lambda row: list(_GROUPS).index(row.kind)) if decision else []
    for kind, members in groupby(rows, key=lambda row: row.kind):
        group: list[SuiteRow] = list(members)
        scale = charts.forest_scale(group)
        ends = f"{100 * scale.low:+.0f} to {100 * scale.high:+.0f} points"
        yield {"title": _GROUPS[kind], "rows": group, "scale": scale, "ends": ends}


def _rates_chart(night: NightRecord) -> Markup | None:
    return charts.before_after_bars(night.rates, title="pass rate by size, before and after") if night.rates else None


def _curve_charts(night: NightRecord) -> Iterator[dict[str, Any]]:
    """Yield charts with caption and legend; none for fewer than two recorded steps."""
    if len(night.curves) < 2:
        return
    reward = tuple((point.cpu_seconds, point.reward) for point in night.curves)
    lines = [
        charts.Series(label="each step", points=reward, faint=True),
        charts.Series(label="mean of seven steps", points=charts.smoothed(reward)),
    ]
    yield _chart("Reward", lines, percent=False)
    sizes = sorted({size for point in night.curves for size in point.pass_by_size})
    by_size = [_size_series(night, size, index / max(1, len(sizes) - 1)) for index, size in enumerate(sizes)]
    drawn = by_size[:: -(-len(by_size) // MAX_LINES) or 1]
    if drawn:
        yield _chart("Pass rate of the rollouts by size", drawn, percent=True)


def _size_series(night: NightRecord, size: int, ramp: float) -> charts.Series:
    points = [(p.cpu_seconds, p.pass_by_size[size]) for p in night.curves if size in p.pass_by_size]
    return charts.Series(label=f"size {size}", points=charts.smoothed(points), ramp=ramp)


def _chart(caption: str, lines: list[charts.Series], *, percent: bool) -> dict[str, Any]:
    picture = charts.line_chart(lines, title=caption, x_label="CPU seconds of training", percent=percent)
    return {"caption": caption, "picture": picture, "legend": lines}


def _times(night: NightRecord) -> list[tuple[StepTime, float]]:
    """Return each step with its share of the longest step, the width of its bar."""
    longest = max((step.seconds for step in night.steps), default=0.0) or 1.0
    return [(step, step.seconds / longest) for step in night.steps]


def _by_count(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Return reasons and counts, the most frequent first, equal counts by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _quarantined(night: NightRecord) -> int:
    return sum(night.ingest.quarantined.values())


def _markdown_table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    lines = [
        list(rows[0]),
        ["---"] * len(rows[0]),
        *([escape_markdown(str(cell)) for cell in row.values()] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape_markdown(text: str) -> str:
    """Escape text for markdown: no markup, no HTML, no line breaks."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&$])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Return text that is safe inside backticks."""
    return " ".join(text.replace("`", "'").split())
