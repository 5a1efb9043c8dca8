"""Write a test archive of a bucket with the code of this revision: `python -m tests.upgrade.write_bucket OUT`.

OUT is a gzipped tar archive. It holds every object by its key below `bucket/`, the signing key, the data that the
nights read, and a delivered adapter. `tests/upgrade/test_upgrade.py` reads it with the code of later revisions.

Lines: `history` has published, promoted, approved, rolled back, barred, unbarred, rejected, insufficient and empty
nights; `cut-before` has a night that was killed before training, `cut-during` one that was killed after its first
checkpoint.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
import tempfile
from contextlib import chdir, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from everlearn.cycle.workspace import Workspace
from everlearn.gate.decision_record import Outcome
from everlearn.local.seaweedfs import LocalS3
from everlearn.registry import signing
from everlearn.registry.connect import open_registry, open_store
from everlearn.settings import Settings
from tasks.decide import decide, decision_of, name_baselines, recheck_rewards
from tasks.freeze_suites import freeze_suites
from tasks.ingest import claim_problems, read_problems, validate_problems
from tasks.measure import check_bytes, measure_suites, upload_candidate
from tasks.night import Night, hold_line
from tasks.open_night import open_night
from tasks.publish import close_night, publish_night, record_no_new_data
from tasks.train import grow_ladder, train_adapter
from tasks.write_report import write_report
from tests.support.night import LONG, ROOT, write_shard, write_suite

ENDS = {"PASS": "PUBLISHED", "FAIL": "REJECTED", "INSUFFICIENT": "INSUFFICIENT"}


class CutError(BaseException):
    """The process is killed here."""


def settings_of(server: LocalS3, line: str, **changes: Any) -> Settings:
    """Return the settings of a night of seconds. All paths are relative, as in a user's params.yaml."""
    plain: dict[str, Any] = {
        "store": {"bucket": server.bucket, "endpoint_url": server.endpoint_url, "line": line},
        "signing": {"key_file": "signing.pem"},
        "base": {"path": "data/base"},
        "ingest": {"min_target_items": 8},
        "ladder": {"rungs": 6, "depth": 1, "breadth": 6, "rollouts": 2},
        "learn": {"steps": 2, "prompts": 4, "group": 2, "rank": 2, "checkpoint_every": 1},
    }
    return Settings.model_validate(plain | changes)


def opened(settings: Settings, token: int, data: Path) -> Night:
    """Open a night with the problems in `data`."""
    intake = read_problems.fn(settings, data)
    validate_problems.fn(settings, intake)
    return open_night.fn(settings, token, claim_problems.fn(settings, intake))


def night(settings: Settings, data: Path, outcome: str) -> None:
    """Run one whole night with the outcome replaced by `outcome`: two training steps prove nothing."""
    with hold_line(settings) as token:
        tonight = opened(settings, token, data)
        freeze_suites.fn(tonight)
        grow_ladder.fn(tonight)
        train_adapter.fn(tonight)
        upload_candidate.fn(tonight)
        baselines = name_baselines.fn(tonight)
        for policy in ("parent", "candidate"):
            measure_suites.fn(tonight, policy)
        for baseline in baselines:
            measure_suites.fn(tonight, baseline.policy, baseline.suites)
        check_bytes.fn(tonight)
        recheck_rewards.fn(tonight)
        decide.fn(tonight, baselines)
        decision = replace(decision_of(tonight), outcome=Outcome(outcome))
        tonight.work.put("decision", decision.to_json().encode())
        write_report.fn(tonight)
        publish_night.fn(tonight, outcome)
        close_night.fn(tonight, ENDS[outcome])


def cut_night(settings: Settings, data: Path, at: str) -> None:
    """Run a night that ends like a killed process once its workspace holds `at`."""
    set_result = Workspace._set

    def set_and_cut(work: Workspace, name: str, files: dict[str, str]) -> None:
        set_result(work, name, files)
        if name == at:
            raise CutError

    with suppress(CutError), mock.patch.object(Workspace, "_set", set_and_cut), hold_line(settings) as token:
        tonight = opened(settings, token, data)
        freeze_suites.fn(tonight)
        grow_ladder.fn(tonight)
        train_adapter.fn(tonight)


def nothing_new(settings: Settings, data: Path) -> None:
    """Run a night that finds no new problem."""
    with hold_line(settings):
        intake = read_problems.fn(settings, data)
        record_no_new_data.fn(settings, claim_problems.fn(settings, intake))


def fill(server: LocalS3, folder: Path) -> None:
    """Create the content of the archive on that server and in that folder."""
    line = settings_of(server, "history")
    shards = [write_shard(folder / "new" / str(n) / "a.jsonl", LONG[5 * n : 5 * n + 5]) for n in range(5)]
    night(line, shards[0], "PASS")
    nothing_new(line, shards[0])
    night(line, shards[1], "PASS")
    registry = open_registry(line)
    registry.rollback(reason="kept answering in French", actor="op")
    night(line, shards[2], "FAIL")
    night(line, shards[3], "INSUFFICIENT")
    with_approval = settings_of(server, "history", gate={"require_approval": True})
    night(with_approval, shards[4], "PASS")
    registry = open_registry(line)
    registry.approve("v0003", reason="read the report", actor="op")
    registry.promote("v0001", reason="compare", actor="op")
    night(with_approval, write_shard(folder / "new" / "5" / "a.jsonl", ["x^3*exp(x)", *LONG[2:9]]), "PASS")
    registry.refuse("v0004", reason="not yet", actor="op")
    registry.pull("champion", to=folder / "delivered")
    cut_night(settings_of(server, "cut-before"), shards[0], "ladder")
    cut_night(settings_of(server, "cut-during"), shards[0], "checkpoint")


def main(out: str) -> None:
    """Write the archive."""
    archive = Path(out).absolute()
    with tempfile.TemporaryDirectory() as name, LocalS3(Path(name) / "s3") as server, chdir(name):
        folder = Path(name)
        os.environ |= {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
        signing.create_key(folder / "signing.pem")
        write_suite(folder)
        (folder / "data" / "base").symlink_to(ROOT / "data" / "base")
        fill(server, folder)
        store = open_store(settings_of(server, "history").store)
        for info in store.list():
            path = folder / "bucket" / info.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(store.get(info.key).data)
        (folder / "data" / "base").unlink()
        with tarfile.open(archive, "w:gz") as tar:
            for part in ("bucket", "data", "new", "delivered", "signing.pem"):
                tar.add(folder / part, arcname=part)
    sys.stdout.write(json.dumps({"archive": out, "bytes": archive.stat().st_size}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
