"""Whole nights in processes of their own, with a real bucket, a real Prefect server and the real base model."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.cycle.lease import Lease
from everlearn.cycle.record import current_cycle
from everlearn.cycle.workspace import Workspace
from everlearn.gate.audit import audit
from everlearn.gate.decision_record import Against
from everlearn.registry.events import EventKind
from everlearn.registry.signing import signer_and_verifier
from everlearn.registry.versions import Registry
from tests.support.line import Clock
from tests.support.night import write_shard

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.registry.line_state import State
    from tests.support.prefect import Nights

EVERY_STEP = [
    *("open", "items", "suites", "ladder", "checkpoint", "trained", "files", "measured/candidate", "measured/parent"),
    *("check/bytes", "check/rewards", "decision", "record", "report"),
]


GUARDED = {"loss_error": "line", "improvement_error": "line", "record_samples": 2, "most_looks": 2}
"""An error budget of the line, with few answers."""


def registry_of(nights: Nights) -> Registry:
    chosen = nights.settings().signing
    signer, verifier = signer_and_verifier(key_file=chosen.key_file, trusted=chosen.trusted, unsigned=chosen.unsigned)
    store = nights.server.store(nights.bucket)
    return Registry(store, "integration", clock=Clock(), signer=signer, verifier=verifier)


def state_of(nights: Nights) -> State:
    return registry_of(nights).state()


def adapter_of(nights: Nights, key: str) -> bytes:
    return Workspace(nights.server.store(nights.bucket), "integration", key).get("files")


def read_all(nights: Nights, kind: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(f"{nights.prefect_url}/{kind}/filter", data=b"{}", method="POST")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as response:
        rows: list[dict[str, Any]] = json.load(response)
    return rows


def test_a_killed_night_resumes_ends_once_and_is_then_skipped(nights: Nights) -> None:
    assert nights.run(die_at="checkpoint", gate=GUARDED).was_killed
    opened = current_cycle(nights.server.store(nights.bucket), "integration")
    assert opened is not None
    write_shard(nights.data / "late.jsonl", ["x^9"])

    ended = nights.run(learn={"seed": 99}).ended

    assert ended["cycle_key"] == opened.key
    assert ended["end"] in {"REJECTED", "INSUFFICIENT", "PUBLISHED"}
    events = [event for event in state_of(nights).history if event.cycle_key is not None]
    assert [event.cycle_key for event in events] == [opened.key]
    assert current_cycle(nights.server.store(nights.bucket), "integration") is None
    rows = {row["suite"]: row["against"] for row in events[0].detail["decision"]["rows"]}
    assert rows == {"target": Against.PARENT, "fillers": Against.PARENT, "short": Against.RECORD}, "as it was opened"
    assert [decision.differences for decision in audit(registry_of(nights))] == [()]
    (nights.data / "late.jsonl").unlink()
    assert nights.run().ended["end"] in {"SKIPPED", "NO_NEW_DATA"}
    assert any("night that was opened" in line["message"] for line in read_all(nights, "logs"))
    names = {run["name"] for run in read_all(nights, "flow_runs")}
    assert any(name.startswith("night 20") and name.endswith("· line integration") for name in names)
    assert any(name.endswith((" FAIL", " PASS", " INSUFFICIENT")) for name in names), "the name holds the verdict"
    tags = {tag for run in read_all(nights, "flow_runs") for tag in run["tags"]}
    assert tags & {"FAIL", "PASS", "INSUFFICIENT"}, "and so do the tags"
    messages = {run["state"]["message"] for run in read_all(nights, "flow_runs")}
    assert any(str(ended["reason"]) in str(message) for message in messages)
    assert {"night-integration", "gate-integration", "report-integration", "history-integration"} <= {
        a["key"] for a in read_all(nights, "artifacts")
    }
    bars = [a for a in read_all(nights, "artifacts") if a["type"] == "progress"]
    full = {bar["description"].partition(":")[0] for bar in bars if bar["data"] == 100}
    assert {"growing and measuring the ladder", "training", "re-checking rewards"} <= full


@pytest.mark.slow
def test_known_data_can_be_offered_to_a_night_of_its_own(nights: Nights) -> None:
    first = nights.run().ended
    assert nights.run().ended["end"] in {"SKIPPED", "NO_NEW_DATA"}
    assert nights.run(again=True, die_at="checkpoint").was_killed
    again = nights.run().ended  # the open night is resumed, without the option
    assert again["end"] in {"REJECTED", "INSUFFICIENT", "PUBLISHED"}
    assert again["cycle_key"] != first["cycle_key"]
    ends = [key for key, event in state_of(nights).cycles.items() if event.kind is not EventKind.NO_NEW_DATA]
    assert ends == [first["cycle_key"], again["cycle_key"]]
    adapters = {adapter_of(nights, str(night["cycle_key"])) for night in (first, again)}
    assert len(adapters) == 2, "another seed trains other weights"


def test_a_second_night_at_the_same_time_is_refused(nights: Nights) -> None:
    with Lease(nights.server.store(nights.bucket), "integration"):
        ran = nights.run()
    assert ran.code
    assert "is at work; wait until it ends" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_wrong_data_ends_with_one_message(nights: Nights, tmp_path: Path) -> None:
    lost = nights.run(data=tmp_path / "nowhere")
    bad = nights.run(data=write_shard(tmp_path / "bad" / "a.jsonl", ["x", "2 +* x"]))
    assert lost.stderr.splitlines()[-1].startswith(f"everlearn: {tmp_path / 'nowhere'} does not exist")
    assert "1 of 2 new rows are bad" in bad.stderr.splitlines()[-1]
    assert "Traceback" not in lost.stderr + bad.stderr
    assert state_of(nights).history == ()


@pytest.mark.slow
def test_problems_equivalent_to_suite_items_are_insufficient(nights: Nights, tmp_path: Path) -> None:
    ended = nights.run(data=write_shard(tmp_path / "equivalent" / "a.jsonl", ["6*cos(2*x)"])).ended
    assert ended["end"] == "INSUFFICIENT"
    assert [event.kind for event in state_of(nights).history] == [EventKind.INSUFFICIENT]
    assert current_cycle(nights.server.store(nights.bucket), "integration") is None


@pytest.mark.slow
def test_a_night_killed_at_every_step_makes_the_same_adapter(nights: Nights) -> None:
    for name in EVERY_STEP:
        ran = nights.run(die_at=name)
        assert ran.was_killed, (name, ran.stderr[-1000:])
    killed = nights.run().ended
    assert [event.kind for event in state_of(nights).history][:-1] == [EventKind.SUITE_CHANGED]

    other = nights.server.create_bucket()
    straight = type(nights)(server=nights.server, bucket=other, folder=nights.folder, prefect_url=nights.prefect_url)
    ended = straight.run().ended
    assert ended["cycle_key"] == killed["cycle_key"]
    assert adapter_of(straight, killed["cycle_key"]) == adapter_of(nights, killed["cycle_key"])
