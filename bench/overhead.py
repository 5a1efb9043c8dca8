"""Overhead of a night: Prefect, workers, process starts, and uploads between the steps.

    python -m bench.overhead [--nights 3] [--json]

Runs nights of a deployed line on real servers with `everlearn worker` on this machine, one after the other. The wall
time of a night runs from its trigger to the end of its run; its own work is the time that Prefect measured for the
tasks in WORK, which excludes uploads, the registry and artifacts. The rest does not grow with the night, so it is given
as a share of a night of ten minutes. `everlearn status` is timed as a whole process. Writes docs/overhead.json.
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

from bench.local_line import LINE, ROOT, LocalLine, log

OUT = ROOT / "docs" / "overhead.json"
TEN_MINUTES_S = 600.0
STATUS = 9
WORK = {"read_problems", "validate_problems", "claim_problems", "freeze_suites", "grow_ladder", "train_adapter"}
WORK |= {"measure_suites", "check_bytes", "recheck_rewards", "decide", "write_report"}


def main() -> None:
    """Run the nights, time the command, and write the summary."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nights", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder, LocalLine(Path(folder)) as line:
        nights = [night(line, number) for number in range(1, args.nights + 1)]
        statuses = [status(line) for _ in range(STATUS)]
    overhead = [wall - own for wall, own in nights]
    found = {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} x {platform.processor() or platform.machine()}",
        "nights": [{"wall_seconds": round(wall, 1), "own_seconds": round(own, 1)} for wall, own in nights],
        "overhead_seconds": [round(each, 1) for each in overhead],
        "overhead_share": round(median(overhead) / TEN_MINUTES_S, 4),
        "status_seconds": round(median(statuses), 3),
        "status_seconds_spread": [round(min(statuses), 3), round(max(statuses), 3)],
    }
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    last = {name: found[name] for name in ("overhead_share", "status_seconds")}
    print(json.dumps(last) if args.json else json.dumps(found, indent=1))


def night(line: LocalLine, number: int) -> tuple[float, float]:
    """Return the wall time of one night and the time of its own work, in seconds."""
    line.add_problems(number, long=False)
    before, began, started = len(line.history()), time.monotonic(), datetime.now(tz=UTC)
    line.start_night()
    while len(line.history()) == before or line.unfinished_runs():
        time.sleep(0.5)
    wall = time.monotonic() - began
    own = worked(since=started)
    log(f"night {number}: {wall:.1f} s, {own:.1f} s of them its own work")
    line.roll_back()
    return wall, own


def worked(*, since: datetime) -> float:
    """Return the seconds of the line's tasks in WORK since `since`."""
    with get_client(sync_client=True) as client:
        mine = FlowRunFilter(
            tags=FlowRunFilterTags(all_=[f"line:{LINE}"]), start_time=FlowRunFilterStartTime(after_=since)
        )
        tasks = client.read_task_runs(flow_run_filter=mine)
    return sum(task.total_run_time.total_seconds() for task in tasks if task.name.rpartition("-")[0] in WORK)


def status(line: LocalLine) -> float:
    """Return the wall time of `everlearn status` as a process, in seconds."""
    began = time.monotonic()
    command = [sys.executable, "-c", "from everlearn.cli import main; main()", "status"]
    subprocess.run(command, cwd=line.folder, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
