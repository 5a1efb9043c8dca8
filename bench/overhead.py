"""What a night costs beside its own work: Prefect, workers, processes that start, uploads between the steps.

    python -m bench.overhead [--nights 3] [--json]

Nights of a deployed line on real servers and `everlearn worker`, on this machine, one after the other. A night's wall
time runs from the moment at which it is asked for until its run is over; its own work is the time that Prefect measured
for the tasks of WORK: uploads, the registry and all that is shown in the dashboard are no work. What is left over does not
grow with the night, so its share is given of a night of ten minutes. `everlearn status` is timed
as a whole process. Writes docs/overhead.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterStartTime, FlowRunFilterTags

from bench.disturbed import LINE, Site, say

OUT = Path("docs/overhead.json")
TEN_MINUTES_S = 600.0
STATUS = 9
WORK = {
    "read_problems", "validate_problems", "claim_problems", "freeze_suites", "grow_ladder", "train_adapter",
    "measure_suites", "check_bytes", "recheck_rewards", "decide", "write_report",
}  # fmt: skip


def main() -> None:
    """Run the nights, time the command, and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nights", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder, Site(Path(folder)) as site:
        nights = [night(site, number) for number in range(1, asked.nights + 1)]
        statuses = [status(site) for _ in range(STATUS)]
    beside = [wall - own for wall, own in nights]
    found = {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} x {platform.processor() or platform.machine()}",
        "nights": [{"wall_seconds": round(wall, 1), "own_seconds": round(own, 1)} for wall, own in nights],
        "overhead_seconds": [round(each, 1) for each in beside],
        "overhead_share": round(median(beside) / TEN_MINUTES_S, 4),
        "status_seconds": round(median(statuses), 3),
        "status_seconds_spread": [round(min(statuses), 3), round(max(statuses), 3)],
    }
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    last = {name: found[name] for name in ("overhead_share", "status_seconds")}
    print(json.dumps(last) if asked.json else json.dumps(found, indent=1))


def night(site: Site, number: int) -> tuple[float, float]:
    """Seconds of one night, and of the steps in it."""
    site.hand_in(number, long=False)
    before, began, started = len(site.history()), time.monotonic(), datetime.now(tz=UTC)
    site.begin()
    while len(site.history()) == before or site.unended():
        time.sleep(0.5)
    wall = time.monotonic() - began
    own = worked(since=started)
    say(f"night {number}: {wall:.1f} s, {own:.1f} s of them its own work")
    site.take_back()
    return wall, own


def worked(*, since: datetime) -> float:
    """Seconds that the line's tasks have worked since then."""
    with get_client(sync_client=True) as client:
        mine = FlowRunFilter(
            tags=FlowRunFilterTags(all_=[f"line:{LINE}"]), start_time=FlowRunFilterStartTime(after_=since)
        )
        tasks = client.read_task_runs(flow_run_filter=mine)
    return sum(task.total_run_time.total_seconds() for task in tasks if task.name.rpartition("-")[0] in WORK)


def status(site: Site) -> float:
    """Seconds of `everlearn status` as a process."""
    began = time.monotonic()
    command = [sys.executable, "-c", "from everlearn.cli import main; main()", "status"]
    subprocess.run(command, cwd=site.folder, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
