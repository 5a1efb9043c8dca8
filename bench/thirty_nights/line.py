"""One row: a line of real nights on a local S3 server, one after another, resumed where it was stopped."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.learning.arms import to_marks
from bench.learning.rows import write_json
from bench.thirty_nights.stream import measured_problems, problems_of, skills_of
from everlearn import counters
from everlearn.data.generated_problems import generate_problems
from everlearn.data.snapshot import RowCounts
from everlearn.data.snapshot_store import folder_of
from everlearn.data.suites import Suite, SuiteKind
from everlearn.domains.contract import load_domain
from everlearn.gate.decision_record import Outcome
from everlearn.local.seaweedfs import LocalS3
from everlearn.registry.connect import open_registry, open_store
from everlearn.settings import Settings
from everlearn.training.evaluation import measure
from tasks.compare_with_record import complete_record, look_at_candidate, renew_record
from tasks.decide import decide, decision_of, name_baselines, recheck_rewards
from tasks.freeze_suites import freeze_suites
from tasks.measure import CANDIDATE, check_bytes, measure_suites, upload_candidate
from tasks.night import hold_line
from tasks.open_night import open_night, resume_night
from tasks.publish import close_night, publish_night, record_nothing_to_learn
from tasks.train import answer_anchors, grow_ladder, train_adapter
from tasks.write_report import write_report
from tests.support.night import stored_snapshot

if TYPE_CHECKING:
    from tasks.ingest import ClaimedSnapshot
    from tasks.night import Night

ROOT = Path(__file__).parents[2]
LEARN: dict[str, dict[str, Any]] = {
    "everything": {},
    "gate without replay": {"replay": 0.0},
    "replay without gate": {},
    "naive": {"replay": 0.0},
    "from undecided": {"start": "undecided"},
    "from the base": {"start": "base"},
    "growing rank": {"grow_rank": 4},
    "divergence": {"kl": 0.02},
    "anchors": {"anchor_kl": 0.1},
    "line budgets": {},
}
"""Settings of the training by which an arm differs from the first one."""
ARMS = tuple(LEARN)
WITHOUT_GATE = ("replay without gate", "naive")
BUDGETS = {"improvement_error": "line", "loss_error": "line"}
"""Settings of the gate in the arm `line budgets`."""
LINE = "thirty-nights"
MOST_PENDING = 100
"""Problems of unpublished nights that are offered again, the newest ones."""
SKILL_ITEMS = {1: 60, 2: 120, 3: 120}
"""Items of the skill suite by number of terms."""


class NightLine:
    """The line of one arm and seed, with its bucket and its results in `folder`."""

    def __init__(self, arm: str, *, seed: int, folder: Path) -> None:
        self.arm, self.seed, self.folder = arm, seed, folder
        self.domain = load_domain("integration")
        self.path = folder / "nights.json"
        self.nights: list[dict[str, Any]] = json.loads(self.path.read_text()) if self.path.exists() else []
        self.measured = measured_problems()

    def run(self, nights: int) -> list[dict[str, Any]]:
        """Run the nights that are missing, and return what each was."""
        torch.set_num_threads(1)
        self._write_suite()
        with LocalS3(self.folder / "s3") as server, contextlib.chdir(self.folder):
            os.environ |= {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
            settings = self._settings(server)
            if not self.nights:
                self._keep({"night": 0, "end": "", "version": None, "accuracy": self._measure(settings)})
            for number in range(len(self.nights), nights + 1):
                self._keep(self._night(number, settings))
                self._say()
        return self.nights

    def _keep(self, night: dict[str, Any]) -> None:
        self.nights.append(night)
        write_json(self.path, self.nights)  # type: ignore[arg-type]

    def _night(self, number: int, settings: Settings) -> dict[str, Any]:
        """Run a night, or what is left of it, and measure the champion after it."""
        started, cpu = time.monotonic(), counters.cpu_seconds()
        with hold_line(settings) as token:
            night = resume_night.fn(settings, token)
            if night is None:
                night = open_night.fn(settings, token, self._claim(number, settings))
            ended = self._learn(night)
            close_night.fn(night, str(ended["end"]))
        seconds = {
            "seconds": round(time.monotonic() - started, 1),
            "cpu_seconds": round(counters.cpu_seconds() - cpu, 1),
        }
        store = open_registry(settings).store
        return {
            "night": number,
            "skills": skills_of(number),
            "end": str(ended["end"]),
            "version": ended["version"],
            "why": str(ended["reason"])[:160],
            **seconds,
            "bytes": sum(each.size for each in store.list("")),
            "accuracy": self._measure(settings) if ended["version"] else self.nights[-1]["accuracy"],
        }

    def _claim(self, number: int, settings: Settings) -> ClaimedSnapshot:
        """Store the new problems of a night, and those that no published night has had, as a snapshot."""
        problems = [*problems_of(number, seed=self.seed), *self._pending()]
        claim = stored_snapshot(settings, problems)
        counts = RowCounts(accepted=claim.problems, duplicates=len(problems) - claim.problems, seen=0, quarantined={})
        key = f"{folder_of(LINE, claim.data_digest)}/counts.json"
        open_store(settings.store).put(key, json.dumps(asdict(counts)).encode())
        return claim

    def _learn(self, night: Night) -> dict[str, Any]:
        """Run the steps of a night. Without a gate, every candidate is published."""
        if not freeze_suites.fn(night):
            return dict(record_nothing_to_learn.fn(night))
        grow_ladder.fn(night)
        answer_anchors.fn(night)
        train_adapter.fn(night)
        upload_candidate.fn(night)
        baselines = name_baselines.fn(night) if self.is_gated else ()
        for policy, only in [(CANDIDATE, None), ("parent", None), *((each.policy, each.suites) for each in baselines)]:
            measure_suites.fn(night, policy, only)
        for compare in (complete_record, look_at_candidate, renew_record):
            compare.fn(night)
        check_bytes.fn(night)
        recheck_rewards.fn(night)
        outcome = decide.fn(night, baselines)
        if not self.is_gated:
            outcome = str(Outcome.PASS)
            night.work.put("decision", replace(decision_of(night), outcome=Outcome.PASS).to_json().encode())
        write_report.fn(night)
        return dict(publish_night.fn(night, outcome))

    @property
    def is_gated(self) -> bool:
        """Whether a gate decides what is published."""
        return self.arm not in WITHOUT_GATE

    def _pending(self) -> list[str]:
        """Return the newest problems that no published night has had."""
        waiting: list[str] = []
        for night in self.nights[1:]:
            waiting = [] if night["version"] else waiting + problems_of(night["night"], seed=self.seed)
        return waiting[-MOST_PENDING:]

    def _measure(self, settings: Settings) -> dict[str, str]:
        """Return which fresh problems of each skill the champion answers right, as ones and zeros."""
        registry = open_registry(settings)
        champion = registry.state().champion
        problems = [self.domain.stated(text) for texts in self.measured.values() for text in texts]
        with tempfile.TemporaryDirectory() as folder:
            adapter = registry.pull(champion, to=Path(folder) / "adapter") if champion else None
            rows = iter(measure(settings.base_directory, adapter, problems, seed=1, threads=1))
        return {skill: to_marks(next(rows).verdict.is_correct for _ in texts) for skill, texts in self.measured.items()}

    def _settings(self, server: LocalS3) -> Settings:
        plain: dict[str, Any] = {
            "verifiers": 0,
            "store": {"bucket": server.bucket, "endpoint_url": server.endpoint_url, "line": LINE},
            "signing": {"unsigned": True},
            "base": {"path": ROOT / "data" / "base"},
            "ingest": {"min_target_items": 5, "holdout_share": 0.6},
            "ladder": {"rungs": 150, "depth": 2, "breadth": 40, "rollouts": 2},
            "learn": {
                "steps": 4,
                "rate": 7.5e-4,
                "warmup": 1,
                "seed": self.seed,
                "checkpoint_minutes": 10,
            }
            | LEARN[self.arm],
            "gate": {"memory_per_night": 20, "memory_items": 120 if self.is_gated else 0}
            | (BUDGETS if self.arm == "line budgets" else {}),
        }
        return Settings.model_validate(plain, context={"root": self.folder})

    def _write_suite(self) -> None:
        """Write a skill suite of what the base was pretrained on."""
        path = self.folder / "data" / "suites" / "short.jsonl"
        if not path.exists():
            problems = [
                replace(problem, id=f"{size}-{problem.id}")
                for size, count in SKILL_ITEMS.items()
                for problem in generate_problems(self.domain, count=count, size=size, seed=7)
            ]
            random.Random(0).shuffle(problems)
            Suite(name="short", kind=SuiteKind.SKILL, problems=tuple(problems)).save(path)

    def _say(self) -> None:
        night = self.nights[-1]
        shares = [marks.count("1") / len(marks) for marks in night["accuracy"].values()]
        print(
            f"{self.arm}, seed {self.seed}, night {night['night']}: {night['end']} {night['version'] or ''}, "
            f"{night['seconds']:.0f} s, mean {sum(shares) / len(shares):.3f} ({' '.join(f'{each:.2f}' for each in shares)})",
            file=sys.stderr,
            flush=True,
        )
