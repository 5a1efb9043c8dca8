"""Prefect's dashboard in Chromium: own items, verdict and rollback of a line, as its users see them."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from everlearn.cycle.inputs import CycleInputs
from everlearn.cycle.workspace import Workspace
from everlearn.gate.decision_record import Against, Decision, Outcome
from everlearn.local.process import wait_until
from everlearn.registry.connect import open_registry
from everlearn.reporting.night_record import IngestCounts, NightRecord
from flows.roll_back import RollBackConfig, roll_back
from tasks.night import Night
from tasks.run_state import final_state
from tasks.show_night import show_night
from tests.support import browser
from tests.support.line import publish
from tests.support.manifests import row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from everlearn.settings import Settings
    from tests.support.browser import Tab
    from tests.support.prefect import Nights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.program() is None, reason="Chromium is missing: infra/debian-packages chromium"),
]
LOADED_S = 120.0
REASON = "skill fell by 7 points"


@pytest.fixture
def settings(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", nights.server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", nights.server.secret_key)
    with temporary_settings({PREFECT_API_URL: nights.prefect_url}):
        yield nights.settings(line="seen")
        APILogWorker.drain_all(timeout=5)


@pytest.fixture
def night(settings: Settings) -> Night:
    """A rejected night of 200 target items, 31 of them its own, with all that the dashboard shows."""
    inputs = CycleInputs(data_digest="d", config_digest="c", parent=None, base_fingerprint="b", code_version="0.1.0")
    night = Night(settings=settings, key="c" * 64, inputs=inputs, token=1, started=datetime.now(tz=UTC).isoformat())
    decision = Decision(outcome=Outcome.FAIL, reasons=(REASON,), rows=(row(Against.PARENT),))
    record = NightRecord(
        line=night.line,
        end="REJECTED",
        started=datetime.now(tz=UTC),
        cycle_key=night.key,
        decision=decision,
        ingest=IngestCounts(accepted=180, duplicates=0, held_out=31, quarantined={}),
        own_items=(31, 200),
    )
    work = Workspace(night.store, night.line, night.key, token=1)
    work.fence()
    work.put("record", record.to_json().encode())
    work.put("decision", decision.to_json().encode())
    work.put("report", json.dumps(asdict(night.registry.put_object(b"<html></html>"))).encode())
    return night


@flow(name="seen-night", persist_result=False, validate_parameters=False)
def seen_night(night: Night) -> dict[str, str | None]:
    show_night(night)
    return final_state({"end": "REJECTED", "version": None, "reason": REASON})


def test_the_dashboard_shows_own_items_verdict_and_rollback(
    settings: Settings, night: Night, nights: Nights, tmp_path: Path
) -> None:
    publish(open_registry(settings), "first")
    seen_night(night)
    roll_back(RollBackConfig(reason="wrong signs since this morning", settings=settings))
    dashboard = nights.prefect_url.removesuffix("/api")
    with browser.browse(tmp_path / "profile") as tab:
        tab.set_screen(width=1280, height=1600)
        shown = {
            "/runs": ["Rejected", "FAIL"],
            "/artifacts/key/night-seen": [f"was rejected: {REASON}. 31 of 200 target items are yours"],
            f"/artifacts/artifact/{newest('night-seen')}": ["31 of 200 target items are yours", "Gate: FAIL", "104"],
            f"/artifacts/artifact/{newest('history-seen')}": [
                "wrong signs since this morning",
                "The base model serves line seen",
            ],
        }
        for path, words in shown.items():
            tab.open(f"{dashboard}{path}")
            check_page(tab, words, where=path)


def newest(key: str) -> UUID:
    """Return the id of the newest artifact of this key."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])), sort=ArtifactSort.CREATED_DESC, limit=1
        )
    return found[0].id


def check_page(tab: Tab, words: list[str], *, where: str) -> None:
    """Wait until the page shows the words; the dashboard loads its contents by scripts."""
    if not wait_until(lambda: not missing(tab, words), timeout_s=LOADED_S):
        pytest.fail(f"{where} lacks {missing(tab, words)}:\n{text_of(tab)}")


def missing(tab: Tab, words: list[str]) -> list[str]:
    """Return the words that the page does not show."""
    text = text_of(tab)
    return [each for each in words if each not in text]


def text_of(tab: Tab) -> str:
    return str(tab.evaluate("document.body.innerText"))
