"""New problems in the bucket start one night, however many arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from prefect.client.orchestration import get_client
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Running

from everlearn.cycle.lease import Lease
from everlearn.errors import BadInputError
from everlearn.registry.connect import open_store
from flows.ingest import IngestConfig, ingest
from flows.run_cycle import run_cycle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everlearn.settings import Settings
    from tests.support.prefect import Nights


@pytest.fixture
def settings(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", nights.server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", nights.server.secret_key)
    monkeypatch.chdir(nights.folder)
    with temporary_settings({PREFECT_API_URL: nights.prefect_url}):
        yield nights.settings(line="arrivals")
        APILogWorker.drain_all(timeout=5)


def test_one_night_starts_for_all_new_shards(settings: Settings) -> None:
    config = IngestConfig(settings=settings)
    assert ingest(config) == {"unseen": 0, "begun": 0}

    store = open_store(settings.store)
    for number in range(2):
        store.create(f"arrivals/inbox/{number}.jsonl", b'{"problem": "%d*x"}\n' % (number + 2))
    store.create("arrivals/inbox/notes.txt", b"no problems")
    with pytest.raises(BadInputError, match="no nights of line arrivals are deployed"):
        ingest(config)

    made: Any = run_cycle.to_deployment("nightly-arrivals", enforce_parameter_schema=False)
    deployment = made.apply()
    with Lease(store, "arrivals"):
        assert ingest(config) == {"unseen": 2, "begun": 0}, "another night is at work: a later look finds them again"
    assert ingest(config) == {"unseen": 2, "begun": 1}
    assert ingest(config) == {"unseen": 2, "begun": 0}, "the night that waits reads all of them"
    with get_client(sync_client=True) as client:
        runs = [run for run in client.read_flow_runs() if run.deployment_id == deployment]
        assert [run.tags for run in runs] == [["new data"]]
        client.delete_flow_run(runs[0].id)
        assert ingest(config)["begun"] == 0, "no second night for the same shards, whatever the first one ended as"
        store.create("arrivals/inbox/2.jsonl", b'{"problem": "9*x"}\n')
        assert ingest(config) == {"unseen": 3, "begun": 1}
        [begun] = [run for run in client.read_flow_runs() if run.deployment_id == deployment]
        client.set_flow_run_state(begun.id, Running(), force=True)
        store.create("arrivals/inbox/3.jsonl", b'{"problem": "8*x"}\n')
        assert ingest(config) == {"unseen": 4, "begun": 0}, "a night that has just begun may hold no lease yet"
        client.delete_deployment(deployment)
