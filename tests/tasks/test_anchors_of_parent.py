"""Anchors of a night: what its parent answers to problems that earlier nights mastered."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.cycle.workspace import Workspace
from everlearn.domains.contract import load_domain
from everlearn.gate.decision_record import Against
from everlearn.ladder.replay import Mastered, Reservoir
from everlearn.registry.connect import open_registry
from everlearn.training import anchors, trainer
from everlearn.training.ladder_growth import plant
from everlearn.training.models.policy import load_policy
from tasks.freeze_suites import forbidden_keys, load_suites
from tasks.open_night import inputs_of
from tasks.train import answer_anchors, train_adapter
from tests.support.adapters import shake
from tests.support.line import candidate
from tests.support.manifests import DECISION, row
from tests.support.night import LONG, opened

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.settings import Settings
    from everlearn.training.job import TrainingJob
    from tasks.night import Night

DOMAIN = load_domain("integration")
MASTERED = ["7*tan(3*x)", "x^5 - tan(x)"]


def second_night(
    settings: Settings,
    folder: Path,
    *,
    mastered: list[str],
    anchor_kl: float = 0.1,
    decision: dict[str, Any] | None = None,
) -> Night:
    """Open a night whose parent has a real adapter and this decision, and a night that mastered these problems."""
    base = settings.base.path
    assert base
    learn = settings.learn.model_copy(update={"anchor_kl": anchor_kl})
    settings = settings.model_copy(update={"learn": learn})
    registry = open_registry(settings)
    made = candidate(registry, "one", base=inputs_of(settings, data_digest="").base_fingerprint)
    saved = shake(load_policy(base), seed=1, size=0.01).save(folder / "one")
    files = {path.name: registry.put_file(path) for path in sorted(saved.iterdir())}
    made = replace(made, files=files, decision=decision or made.decision)
    registry.publish(made, make_champion=True, actor="night", reason="better")
    night = opened(settings, *LONG)
    known = [
        Mastered(statement=text, key=DOMAIN.equivalence(text), stratum=f"{DOMAIN.skill(text)}/1", night=made.cycle_key)
        for text in mastered
    ]
    earlier = Workspace(night.store, night.line, made.cycle_key, token=night.token)
    earlier.put("replay", Reservoir(problems=tuple(known)).to_bytes())
    return night


def kept(night: Night) -> list[str]:
    return [row["statement"] for row in json.loads(night.work.get("anchors"))]


def job_of(night: Night, folder: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingJob:
    """Return the job that the night would train by."""
    path = folder / "ladder.jsonl"
    plant(LONG[:2], domain=DOMAIN, forbidden=frozenset()).save(path)
    night.work.put("ladder", path.read_bytes())

    class StopError(Exception):
        pass

    jobs: list[TrainingJob] = []

    def stop(job: TrainingJob, **_: object) -> None:
        jobs.append(job)
        raise StopError

    monkeypatch.setattr(trainer, "train", stop)
    with pytest.raises(StopError):
        train_adapter.fn(night)
    return jobs[0]


def test_the_parent_answers_what_earlier_nights_mastered_and_never_a_suite_item(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = second_night(settings, tmp_path, mastered=MASTERED)
    item = load_suites(night)[0].problems[0].statement
    assert DOMAIN.equivalence(item) in forbidden_keys(night)
    entry = night.registry.state().versions["v0001"]
    work = Workspace(night.store, night.line, entry.cycle_key, token=night.token)
    guarded = Mastered(statement=item, key=DOMAIN.equivalence(item), stratum="s", night=entry.cycle_key)
    work.put("replay", Reservoir(problems=(*Reservoir.from_bytes(work.get("replay")).problems, guarded)).to_bytes())
    answer_anchors.fn(night)
    assert kept(night) == [DOMAIN.stated(text).statement for text in MASTERED]
    monkeypatch.setattr(anchors, "answer_anchors", None)
    answer_anchors.fn(night)


def test_the_training_gets_the_anchors_that_the_night_keeps(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = second_night(settings, tmp_path, mastered=MASTERED)
    answer_anchors.fn(night)
    job = job_of(night, tmp_path, monkeypatch)
    assert [asdict(anchor) for anchor in job.anchors] == json.loads(night.work.get("anchors"))
    assert [problem.statement for problem in job.replay] == kept(night)


@pytest.mark.parametrize(("after", "is_drifted"), [(0.8, True), (0.9, False)])
def test_replay_repairs_the_skills_on_which_the_parent_drifted(
    settings: Settings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    after: float,
    is_drifted: bool,
) -> None:
    caplog.set_level(logging.INFO, logger="everlearn.night")
    compared = replace(row(Against.RECORD), suite="short", before=0.9, after=after, margin=0.2)
    decision = replace(DECISION, rows=(compared, row(Against.PARENT))).to_dict()
    night = second_night(settings, tmp_path, mastered=["7*cos(x)", *MASTERED], decision=decision)
    answer_anchors.fn(night)
    everything = sorted(DOMAIN.stated(text).statement for text in ["7*cos(x)", *MASTERED])
    assert sorted(kept(night)) == everything, "anchors are as many as without a drift"
    job = job_of(night, tmp_path, monkeypatch)
    assert sorted(problem.statement for problem in job.replay) == everything
    assert (DOMAIN.skill("7*cos(x)") in job.repaired) is is_drifted
    said = "short drifted: 1 of 3 replayed problems are of its skills, and get half of their draws"
    assert (said in caplog.text) is is_drifted


def test_without_a_mastered_problem_there_is_no_anchor(settings: Settings, tmp_path: Path) -> None:
    night = second_night(settings, tmp_path, mastered=[])
    answer_anchors.fn(night)
    assert kept(night) == []


def test_the_first_night_has_no_parent_to_keep(settings: Settings) -> None:
    learn = settings.learn.model_copy(update={"anchor_kl": 0.1})
    first = opened(settings.model_copy(update={"learn": learn}), *LONG)
    answer_anchors.fn(first)
    assert not first.work.has("anchors")


def test_the_default_answers_nothing(settings: Settings, tmp_path: Path) -> None:
    night = second_night(settings, tmp_path, mastered=MASTERED, anchor_kl=0.0)
    answer_anchors.fn(night)
    assert not night.work.has("anchors")
