"""The command `python -m bench.lm_night`: see the docstring of the package."""

from __future__ import annotations

from statistics import median
from typing import Any

import bench.lm_night
from bench.learning.arms import Options
from bench.learning.command import Command
from bench.learning.page import Rows, rates_of, skill_losses
from bench.learning.page import summarize as summarize_arms
from bench.learning.subject import Subject, solve_by_columns
from everlearn.settings import load

PROFILE = load(profile="laptop-lm", environ={})

ADDITIONS = Subject(
    domain=PROFILE.domain,
    unit="digits",
    base=str(PROFILE.base.path),
    hard=6,
    longer=7,
    table=(2, 4, 6, 7),
    skills=(1,),
    courses={"course": range(1, 6), "short course": range(1, 4)},
    solve_in_pieces=solve_by_columns,
    roots=140,
    course_problems=1600,
    threads=PROFILE.threads,
    form=PROFILE.format,
    learn=PROFILE.learn,
    growth=PROFILE.ladder,
)


def summarize(rows: Rows, subject: Subject) -> dict[str, Any]:
    """Return medians over seeds on fresh problems of the roots' size, and what the night with the ladder costs."""
    night = [row for row in rows if row["arm"] == "ladder"]
    medians = {
        "before": [row["curve"][0][1] for row in night],
        "after": rates_of(rows, "ladder", subject.hard),
        "direct_after": rates_of(rows, "direct", subject.hard),
        "minutes": [row["minutes"] for row in night],
        "tokens_per_second": [row["tokens"] / (60 * row["minutes"]) for row in night],
    }
    return {
        **{name: median(values) if values else None for name, values in medians.items()},
        "skill_loss_max": max(skill_losses(rows, "ladder"), default=None),
        "seeds": len(night),
        **{name: value for name, value in summarize_arms(rows, subject).items() if name != "seeds"},
    }


COMMAND = Command(
    module="bench.lm_night",
    description=bench.lm_night.__doc__ or "",
    subject=ADDITIONS,
    defaults=Options(rollouts=15_000, items=100, skill_items=50, base=ADDITIONS.base),
    summarize=summarize,
    direct_seconds=True,
)

if __name__ == "__main__":
    COMMAND.run()
