"""The command `python -m bench.thirty_nights`: see the docstring of the package."""

from __future__ import annotations

import argparse
import json
import operator
import sys
import tempfile
from itertools import accumulate
from pathlib import Path
from statistics import mean, median
from typing import Any

import bench.thirty_nights
from bench.learning.page import draw_lines
from bench.learning.rows import origin, say_origins, write_json
from bench.thirty_nights.line import ARMS, NightLine
from bench.thirty_nights.stream import MEASURED, NIGHTS, SCHEDULE, SKILLS, arrival_of

Rows = dict[str, dict[str, Any]]
LEARNED = 0.1
"""A skill counts as learned in the night after which this much more of it is right than at its arrival, or nine tenths."""


def share(marks: str) -> float:
    """Return the share of ones."""
    return marks.count("1") / len(marks)


def average(night: dict[str, Any]) -> float:
    """Return the mean accuracy over all skills after a night."""
    return mean(map(share, night["accuracy"].values()))


def facts_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return what a row of at least one night shows.

    `largest_fall` is how far average accuracy fell below its best before, `backward_transfer` the mean change of a
    skill's accuracy since the end of its first phase, `skills_below_first` counts skills on which the last version is
    below the first version, `nights_to_learn` the most nights that a new skill took; None: one was not learned.
    `time_ratio` compares the CPU seconds of the last ten nights with the second ten, `time_ratio_first` with the first
    ten, before replay and memory are full; `storage_ratio` compares the bytes that a night adds to the bucket, in the
    last ten nights and the second ten.
    """
    nights = row["nights"]
    last, done = nights[-1]["accuracy"], nights[-1]["night"]
    versions = [night for night in nights if night["version"]]
    first = versions[0]["accuracy"] if versions else nights[0]["accuracy"]
    had = [skill for skill in SKILLS if arrival_of(skill) <= done]
    curve = [average(night) for night in nights]
    ended = {skill: min(SCHEDULE[skill][0].stop - 1, done) for skill in had}
    seconds, stored = [night["cpu_seconds"] for night in nights[1:]], [night.get("bytes", 0) for night in nights]
    return {
        "nights": done,
        "published": len(versions),
        "backward_transfer": round(mean(share(last[s]) - share(nights[ended[s]]["accuracy"][s]) for s in had), 4),
        "skills_below_first": sum(share(last[skill]) < share(first[skill]) for skill in had),
        "accuracy_before": round(average(nights[0]), 4),
        "accuracy_after": round(average(nights[-1]), 4),
        "accuracy_gain": round(average(nights[-1]) - average(nights[0]), 4),
        "largest_fall": round(max(map(operator.sub, accumulate(curve, max), curve)), 4),
        "nights_to_learn": _slowest(nights, had),
        "minutes": round(sum(night["seconds"] for night in nights[1:]) / 60, 1),
        "cpu_minutes": round(sum(night["cpu_seconds"] for night in nights[1:]) / 60, 1),
        "time_ratio": _ratio(seconds, since=10),
        "time_ratio_first": _ratio(seconds, since=0),
        "megabytes": round(nights[-1]["bytes"] / 1e6, 1),
        "storage_ratio": _ratio(list(map(operator.sub, stored[1:], stored)), since=10),
    }


def _slowest(nights: list[dict[str, Any]], skills: list[str]) -> int | None:
    """Return the most nights that a skill took to be learned, of those that had the time for it."""
    taken = [
        _nights_to_learn(nights, skill)
        for skill in skills
        if len(nights) - arrival_of(skill) >= len(SCHEDULE[skill][0])
    ]
    return None if None in taken else max(filter(None, taken), default=None)


def _nights_to_learn(nights: list[dict[str, Any]], skill: str) -> int | None:
    arrival = arrival_of(skill)
    before = share(nights[arrival - 1]["accuracy"][skill])
    for night in nights[arrival:]:
        now = share(night["accuracy"][skill])
        if now >= min(0.9, before + LEARNED):
            return int(night["night"]) - arrival + 1
    return None


def _ratio(nights: list[float], *, since: int) -> float | None:
    """Return how much more the last ten nights took than the ten nights after `since`."""
    return round(median(nights[-10:]) / median(nights[since : since + 10]), 2) if len(nights) >= NIGHTS else None


def summarize(rows: Rows) -> dict[str, Any]:
    """Return the figures of the arm with everything over whole rows (the worst seed where there is a limit), and the gain of the others."""
    whole = {key: facts_of(row) for key, row in rows.items() if len(row["nights"]) > NIGHTS}
    own = [facts for key, facts in whole.items() if key.startswith("everything,")]
    if not own:
        return {"nights": 0, "seeds": 0}
    learned = [facts["nights_to_learn"] for facts in own]
    contrast = {
        arm: {
            name: median(facts[name] for key, facts in whole.items() if key.startswith(f"{arm},"))
            for name in ("accuracy_gain", "backward_transfer", "skills_below_first")
        }
        for arm in ARMS[1:]
        if any(key.startswith(f"{arm},") for key in whole)
    }
    return {
        "nights": NIGHTS,
        "seeds": len(own),
        "backward_transfer": min(facts["backward_transfer"] for facts in own),
        "skills_below_first": max(facts["skills_below_first"] for facts in own),
        "published": min(facts["published"] for facts in own),
        "accuracy_gain": min(facts["accuracy_gain"] for facts in own),
        "nights_to_learn": None if None in learned else max(learned),
        "minutes": max(facts["minutes"] for facts in own),
        "cpu_minutes": max(facts["cpu_minutes"] for facts in own),
        **{name: max(facts[name] for facts in own) for name in ("time_ratio", "time_ratio_first", "storage_ratio")},
        "others": contrast,
    }


def page(rows: Rows) -> str:
    """Return the Markdown page."""
    lines = [
        "# Thirty nights",
        "",
        f"`python -m bench.thirty_nights`: {say_origins(rows.values())}. bench/thirty_nights/__init__.py describes nights and arms,",
        "docs/thirty_nights.json has the raw results by night.",
        "",
        "![average accuracy over all skills, by night](thirty_nights.svg)",
        "",
        (
            "| arm | seed | nights | published | average accuracy | after 10, 20 nights (published) | largest fall | backward transfer | skills below the first version | nights to learn a skill "
            "| minutes (of CPU) | CPU time of nights 21 to 30, by 11 to 20 (by 1 to 10) | bucket | a night adds, by 11 to 20 |"
        ),
        "| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for key, row in _ordered(rows):
        arm, _, seed = key.rpartition(",")
        facts = facts_of(row)
        dash = {name: "-" if value is None else value for name, value in facts.items()}
        lines.append(
            f"| {arm} | {seed} | {facts['nights']} | {facts['published']} | {facts['accuracy_before']:.1%} to "
            f"{facts['accuracy_after']:.1%} | {_after(10, row)}, {_after(20, row)} | {100 * facts['largest_fall']:.1f} points | {100 * facts['backward_transfer']:+.1f} points | {facts['skills_below_first']} | "
            f"{dash['nights_to_learn']} | {facts['minutes']:.0f} ({facts['cpu_minutes']:.0f}) | x {dash['time_ratio']} (x {dash['time_ratio_first']}) | {facts['megabytes']:.0f} MB | x {dash['storage_ratio']} |"
        )
    lines += [
        "",
        f"Pass rate on {MEASURED} fresh problems of each skill, greedy, before the first night and after the last one:",
        "",
    ]
    lines += ["| arm | seed | " + " | ".join(SKILLS) + " |", "| --- | ---: |" + " --- |" * len(SKILLS)]
    for key, row in _ordered(rows):
        arm, _, seed = key.rpartition(",")
        first, last = row["nights"][0]["accuracy"], row["nights"][-1]["accuracy"]
        cells = [f"{share(first[skill]):.0%} to {share(last[skill]):.0%}" for skill in SKILLS]
        lines.append(f"| {arm} | {seed} | " + " | ".join(cells) + " |")
    spans = "; ".join(
        f"{skill}: {', '.join(f'{phase.start} to {phase.stop - 1}' for phase in phases)}"
        for skill, phases in SCHEDULE.items()
    )
    return "\n".join([*lines, "", f"Nights with new problems of a skill: {spans}."]) + "\n"


def _after(night: int, row: dict[str, Any]) -> str:
    """Return the average accuracy after a night, and how many had published; a dash where the row has not come that far."""
    if len(row["nights"]) <= night:
        return "-"
    published = sum(bool(each["version"]) for each in row["nights"][: night + 1])
    return f"{average(row['nights'][night]):.1%} ({published})"


def picture(rows: Rows) -> str:
    """Return a standalone SVG of the average accuracy by night, one line a row."""
    drawn = [
        (key.rpartition(",")[0], [(night["night"], average(night)) for night in row["nights"]])
        for key, row in _ordered(rows)
    ]
    caption = "night; mean greedy pass rate over all skills, those that have not arrived included"
    return draw_lines(drawn, names=list(dict(drawn)), longest=NIGHTS, caption=caption)


def _ordered(rows: Rows) -> list[tuple[str, dict[str, Any]]]:
    return sorted(rows.items(), key=lambda item: (ARMS.index(item[0].rpartition(",")[0]), item[0]))


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=bench.thirty_nights.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--nights", type=int, default=NIGHTS, help="fewer for a trial")
    parser.add_argument(
        "--folder", type=Path, default=Path(".everlearn/thirty_nights"), help="buckets of unfinished rows"
    )
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--rerun", metavar="ARM,SEED", help="repeat this row and compare it night by night")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object, last")
    given = parser.parse_args(arguments)
    path: Path = given.out / "thirty_nights.json"
    rows: Rows = json.loads(path.read_text()) if path.exists() else {}
    wanted = [given.rerun] if given.rerun else [f"{arm},{seed}" for seed in range(given.seeds) for arm in given.arms]
    for key in wanted:
        before = rows.get(key)
        if before and len(before["nights"]) > given.nights and not given.rerun:
            continue
        arm, _, seed = key.rpartition(",")
        if arm not in ARMS or not seed.isdigit():
            sys.exit(f"{key!r} is not ARM,SEED with an arm of {', '.join(ARMS)}")
        with tempfile.TemporaryDirectory() as fresh:
            folder = Path(fresh) if given.rerun else (given.folder / key.replace(",", "-").replace(" ", "-")).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            nights = NightLine(arm, seed=int(seed), folder=folder).run(given.nights)
        rows[key] = origin(["-m", "bench.thirty_nights", "--rerun", key]) | {"nights": nights}
        write_json(path, rows)
        if before:
            pairs = zip(before["nights"], nights, strict=False)
            differing = sum(one["accuracy"] != other["accuracy"] for one, other in pairs)
            print(f"{key}: {differing} of {len(nights)} nights differ from the stored row")
    (given.out / "thirty_nights.md").write_text(page(rows))
    (given.out / "thirty_nights.svg").write_text(picture(rows))
    print((given.out / "thirty_nights.md").read_text())
    if given.json:
        print(json.dumps(summarize(rows)))


if __name__ == "__main__":
    main()
