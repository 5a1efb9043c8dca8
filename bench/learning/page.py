"""The page of the comparison: tables and a picture from raw rows."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from bench.learning.arms import ARMS, TRAINED
from bench.learning.rows import say_origins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.learning.subject import Subject

COLOURS = (
    "#2563eb",
    "#65a30d",
    "#d97706",
    "#059669",
    "#6b7280",
    "#7c3aed",
    "#0891b2",
    "#dc2626",
    "#be185d",
    "#a16207",
    "#334155",
)
Rows = list[dict[str, Any]]
ABOUT = {
    "ladder": "variants that the model proposes (the domain's own moves where under a tenth of its proposals are valid), "
    "sampled by their measured pass rate",
    "posterior": "the same kind of ladder, sampled by the posterior of each rung's own pass rate",
    "uniform": "the same kind of ladder, every rung sampled equally often",
    "filtered": "the same kind of ladder, reward-filtered fine-tuning: right answers have weight 1, others none",
    "random": "the same kind of ladder, rewards drawn by a coin",
    "course": "problems of {sizes} {unit} from the domain's generator, without the roots and without proposals of the model",
    "short course": "problems of {sizes} {unit} from the domain's generator",
    "direct": "GRPO on the roots alone",
    "variants": "the same kind of ladder and sampling as `ladder`, but the domain's own moves make the variants, without completions",
    "four updates": "the same kind of ladder and sampling as `ladder`, four optimizer steps on each batch of answers (`learn.updates`)",
    "one answer": "the same kind of ladder and sampling as `ladder`, but each rung is measured by one answer (`ladder.rollouts`), as in the profiles quick and nightly",
    "pieces": "no training: the base is asked for parts of each problem, greedily, and its answers are joined",
    "best of n": "no training: the base samples as many answers to each problem as the budget allows; one has to be right",
}
"""What each arm does, in a line."""


def rates_of(rows: Rows, arm: str, size: int) -> list[float]:
    """Return the pass rates of an arm on problems of that size, one for each seed, sorted."""
    marks = [row["table"].get(str(size)) for row in rows if row["arm"] == arm]
    return sorted(each.count("1") / len(each) for each in marks if each)


def skill_losses(rows: Rows, arm: str) -> list[float]:
    """Return the median loss of each skill as a share of its items, over seeds."""
    own = [row for row in rows if row["arm"] == arm]
    return [
        median((row["skills_before"][size].count("1") - row["skills_after"][size].count("1")) / items for row in own)
        for size in (own[0]["skills_before"] if own else ())
        if (items := len(own[0]["skills_before"][size]))
    ]


def base_rates(rows: Rows) -> list[float]:
    """Return the pass rates of the base on hard problems, measured before each training, sorted."""
    return sorted(row["curve"][0][1] for row in rows if row["arm"] in TRAINED)


def conclusion(rows: Rows, subject: Subject) -> str:
    """Return in plain words whether the ladder is best on hard problems, by the medians over seeds; nothing without that arm."""
    own = rates_of(rows, "ladder", subject.hard)
    if not own:
        return ""
    base, rate = median(base_rates(rows)), median(own)
    others = {arm: rates for arm in ARMS if arm != "ladder" and (rates := rates_of(rows, arm, subject.hard))}
    better = sorted((arm for arm in others if median(others[arm]) > rate), key=lambda arm: -median(others[arm]))
    gained = "" if rate > base else ", no more than before"
    said = f"The ladder solves {rate:.1%} of the problems of {subject.hard} {subject.unit}, the base {base:.1%} before training{gained}."
    if not others:
        return f"{said} No other arm was run, so nothing is shown about what the ladder adds."
    if not better:
        return f"{said} **No other arm here solves more.**"
    listed = ", ".join(f"`{arm}` with {median(others[arm]):.1%}{_caveat(others[arm], own)}" for arm in better)
    return f"{said} **It is not the best here: more is solved by {listed}.**"


def summarize(rows: Rows, subject: Subject) -> dict[str, Any]:
    """Return medians over seeds: pass rates on hard and longer problems by arm, skill losses, and false rewards."""
    present = [arm for arm in ARMS if any(row["arm"] == arm for row in rows)]
    return {
        "hard": {arm: median(rates_of(rows, arm, subject.hard)) for arm in present},
        "longer": {arm: median(rates_of(rows, arm, subject.longer)) for arm in present},
        "largest_skill_loss": {arm: max(skill_losses(rows, arm)) for arm in present if arm in TRAINED},
        "false_rewards": sum(row.get("false_rewards", 0) for row in rows),
        "seeds": {arm: sum(row["arm"] == arm for row in rows) for arm in present},
    }


def stem_of(module: str, *, cpu_seconds: int) -> str:
    """Return the name of the files of `python -m module`: rows with a budget of CPU seconds have files of their own."""
    return module.removeprefix("bench.") + ("_seconds" if cpu_seconds else "")


def page(rows: Rows, options: dict[str, Any], subject: Subject, *, module: str) -> str:
    """Return the Markdown page of the rows that `python -m module` has written."""
    present = [arm for arm in ARMS if any(row["arm"] == arm for row in rows)]
    origin = say_origins(rows)
    unit, cpu_seconds = subject.unit, options.get("cpu_seconds", 0)
    stem = stem_of(module, cpu_seconds=cpu_seconds)
    skills, sizes = _sizes(subject.skills), {arm: _sizes(course) for arm, course in subject.courses.items()}
    command = f"python -m {module} --split {options['split']} --rollouts {options['rollouts']}"
    axis, again = "sampled completions", f"python -m {module} --page"
    skills_before = f"{options['skill_items'] * len(subject.skills):,} answers that measure the skills before"
    budget = (
        f"samples at most {options['rollouts']} completions: proposals, measurements, rollouts, and {skills_before}"
    )
    if cpu_seconds:
        command = f"python -m {module} --split {options['split']} --cpu-seconds {cpu_seconds}"
        axis, again = "CPU seconds", f"{again} --cpu-seconds {cpu_seconds}"
        budget = f"has at most {cpu_seconds} CPU seconds for proposals, measurements, steps, and {skills_before}; it ends the step that it is in"
    lines = [
        f"# {subject.question}: {subject.domain}, problems of many {unit}",
        "",
        f"`{command}`: {origin}; threads a row: {subject.threads}.",
        f"docs/{stem}.json has the raw results per item; `{again}` writes this page from it.",
        "",
        conclusion(rows, subject),
        "",
        f"Every trained arm {budget}. Pass rate on",
        f"{options['items']} fresh problems of each size: median over seeds (lowest to highest). Skill change: the worst of the",
        "medians of the skills, in points of their pass rate. CPU seconds are medians, too; other work beside a row can double them.",
        "",
        f"![pass rate over {axis}]({stem}.svg)",
        "",
        "| arm | seeds | CPU seconds | " + " | ".join(f"{size} {unit}" for size in subject.table) + " | skill change |",
        "| --- | ---: | ---: |" + " ---: |" * (len(subject.table) + 1),
    ]
    before = ["" if size != subject.hard else _cell(base_rates(rows)) for size in subject.table]
    lines.append(f"| base, before training | {_seeds(rows)} |  | " + " | ".join(before) + " |  |")
    for arm in present:
        cells = [_cell(rates_of(rows, arm, size)) for size in subject.table]
        seeds = sum(row["arm"] == arm for row in rows)
        lines.append(f"| {arm} | {seeds} | {_seconds(rows, arm)} | {' | '.join(cells)} | {_skill_change(rows, arm)} |")
    lines += [
        "",
        *(f"- `{arm}`: {ABOUT[arm].format(sizes=sizes.get(arm), unit=unit)}." for arm in present),
        "",
        f"Roots have {subject.hard} {unit}. Skills are problems of {skills} {unit}, {options['skill_items']} items each.",
        "",
        "| arm | seed | completions | steps | distinct rewarded answers | false when judged again | stopped |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for arm in present:
        for row in sorted((row for row in rows if row["arm"] == arm and arm in TRAINED), key=lambda row: row["seed"]):
            counts = " | ".join(str(row[name]) for name in ("rollouts", "steps", "rewarded", "false_rewards"))
            lines.append(f"| {arm} | {row['seed']} | {counts} | {row['stopped'] or 'no'} |")
    return "\n".join(lines) + "\n"


def picture(rows: Rows, subject: Subject, *, over_seconds: bool = False) -> str:
    """Return a standalone SVG of the pass rate on fresh hard problems over completions or CPU seconds, one line a row."""
    at = 2 if over_seconds else 0  # a point of a curve is: completions, pass rate, CPU seconds
    lines = [(row["arm"], [(point[at], point[1]) for point in row["curve"]]) for row in rows if row["arm"] in TRAINED]
    longest = max((x for _, points in lines for x, _ in points), default=1)
    axis = "CPU seconds" if over_seconds else "sampled completions"
    caption = f"{axis}; greedy pass rate on fresh problems of {subject.hard} {subject.unit}"
    names = [arm for arm in TRAINED if any(name == arm for name, _ in lines)]
    return draw_lines(lines, names=names, longest=longest, caption=caption)


def draw_lines(
    lines: Sequence[tuple[str, Sequence[Sequence[float]]]], *, names: Sequence[str], longest: float, caption: str
) -> str:
    """Return a standalone SVG of shares from 0 to 1: `lines` are (name, points) with one colour for each name."""
    parts = [
        f'<text x="20" y="{284 - 240 * share:.0f}">{share:.0%}</text><path d="M60 {280 - 240 * share:.0f}H560" '
        'stroke="#8884"/>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    parts += [
        f'<text x="{60 + 125 * part}" y="300" text-anchor="middle">{longest * part / 4:.0f}</text>' for part in range(5)
    ]
    colours = dict(zip(names, COLOURS, strict=False))
    for name, points in lines:
        path = " ".join(f"{60 + 500 * x / longest:.1f},{280 - 240 * y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-width="2"/>')
    width = 525 / max(len(names), 1)
    parts += [
        f'<text x="{60 + width * at:.0f}" y="20" fill="{colour}">{name}</text>'
        for at, (name, colour) in enumerate(colours.items())
    ]
    parts.append(f'<text x="310" y="322" text-anchor="middle">{caption}</text>')
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 335" font-family="sans-serif" font-size="12" '
        f'fill="#888">{"".join(parts)}</svg>\n'
    )


def _caveat(better: list[float], ladder: list[float]) -> str:
    """Return how weak it is that these seeds of an arm solve more than those of the ladder."""
    if better[0] <= ladder[-1]:
        return " (its seeds overlap)"
    return " (one seed)" if len(better) == 1 else ""


def _seconds(rows: Rows, arm: str) -> str:
    """Return the median CPU seconds of the arm's trainings; nothing where nothing is trained."""
    spent = [row["cpu_seconds"] for row in rows if row["arm"] == arm and "cpu_seconds" in row]
    return f"{median(spent):.0f}" if spent else ""


def _sizes(sizes: Sequence[int]) -> str:
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def _seeds(rows: Rows) -> int:
    return len({row["seed"] for row in rows if row["arm"] in TRAINED})


def _skill_change(rows: Rows, arm: str) -> str:
    if arm not in TRAINED:
        return "none"
    points = round(-100 * max(skill_losses(rows, arm)), 1)
    return f"{points:+.1f} points" if points else "0.0 points"


def _cell(rates: list[float]) -> str:
    return f"{median(rates):.1%} ({rates[0]:.1%} to {rates[-1]:.1%})" if rates else ""
