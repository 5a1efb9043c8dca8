"""Rows of the comparison: raw results of one arm and seed each, kept in one JSON file so that a stopped bench resumes."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections import defaultdict
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from bench.learning.arms import Options


class RowFile:
    """The raw rows in `path`, all with the same options.

    Raises:
        SystemExit: the file has rows of other options.
    """

    def __init__(self, path: Path, options: Options) -> None:
        self.path = path
        self._options = asdict(options)
        content: dict[str, Any] = {"options": self._options, "rows": []}
        if path.exists():
            content = json.loads(path.read_text())
        # Options that are newer than the file have their defaults there.
        if type(options)(**content["options"]) != options:
            sys.exit(f"{path} has rows of other options ({content.get('options')}): remove it, or name another --out")
        self.rows: list[dict[str, Any]] = content["rows"]

    def find(self, arm: str, seed: int) -> dict[str, Any] | None:
        """Return the row of that arm and seed."""
        return next((row for row in self.rows if (row["arm"], row["seed"]) == (arm, seed)), None)

    def put(self, row: dict[str, Any]) -> None:
        """Add or replace a row, and write the file atomically."""
        self.rows = [each for each in self.rows if (each["arm"], each["seed"]) != (row["arm"], row["seed"])]
        self.rows.append(row)
        write_json(self.path, {"options": self._options, "rows": self.rows})


def stored_options(path: Path, options: Options) -> Options:
    """Return the options of the rows in a file, of the same type as `options`. Raises SystemExit if there is no such file."""
    if not path.exists():
        sys.exit(f"{path} does not exist: run the bench without --page first, or name another --out")
    return type(options)(**json.loads(path.read_text())["options"])


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write the file atomically, so that a stopped bench finds the old rows or the new ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)


def run_row(arm: str, seed: int, *, module: str, threads: int, arguments: list[str]) -> dict[str, Any]:
    """Run one arm and seed of a bench in a fresh process; return its results with revision, machine and command."""
    command = ["-m", module, "--run", f"{arm},{seed}", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, check=True, text=True, env=environment)
    return {"arm": arm, "seed": seed, **origin(command), **json.loads(done.stdout.splitlines()[-1])}


def origin(command: list[str]) -> dict[str, str]:
    """Return date, revision, machine and command of a row; `command` are the arguments of Python."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "revision": _revision(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "command": shlex.join(["python", *command]),
    }


def say_origins(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return where rows come from: their revisions by date and machine, each once."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        found[row["date"], row["machine"]].add(row["revision"])
    return "; ".join(
        f"{date}, {machine}, revision {', '.join(sorted(revisions))}"
        for (date, machine), revisions in sorted(found.items())
    )


def _revision() -> str:
    """Return the commit, marked if the checkout has changes outside docs/, where benches write their results."""
    named = ["git", "rev-parse", "--short=12", "HEAD"]
    compared = ["git", "diff", "--quiet", "HEAD", "--", ":/", ":(top,exclude)docs"]
    commit = subprocess.run(named, capture_output=True, check=False, text=True).stdout.strip() or "unknown"
    return f"{commit}-dirty" if subprocess.run(compared, check=False).returncode == 1 else commit
