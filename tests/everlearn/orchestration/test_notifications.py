"""People are told what happened: real automations of a real server, and a sink that keeps what arrives."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed, Failed, Running

from everlearn.errors import BadInputError
from everlearn.local.process import wait_until
from everlearn.orchestration.deployments import apply, read_plan
from everlearn.orchestration.events_client import CHANGED, emit
from everlearn.orchestration.notifications import parse_target, plan_targets, read_target_ids
from everlearn.settings import Settings
from flows.run_cycle import run_cycle
from tasks.emit_events import emit_champion_changed, emit_night_ended
from tasks.run_state import final_state
from tests.support.night import ROOT, tiny

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import State

    from everlearn.local.prefect_server import LocalPrefect
    from tests.conftest import S3Server

FILE = ROOT / "infra" / "prefect.yaml"


class Sink:
    """An HTTP server that keeps what is posted to it."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sink.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/told"

    def close(self) -> None:
        """Nobody listens there any more."""
        self.server.shutdown()
        self.server.server_close()

    def heard(self, *words: str) -> bool:
        """Whether one message that has all of these words arrives."""
        return wait_until(lambda: any(all(word in str(each) for word in words) for each in self.got), timeout_s=60)


@pytest.fixture
def settings(s3_server: S3Server) -> Settings:
    return tiny(s3_server, "none", line="told")


@pytest.fixture
def client(prefect_url: str) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Deployments and automations as they are written, but the alarm for a missed night waits 10 s, not 26 h."""
    for each in (ROOT / "infra").glob("*.yaml"):
        text = each.read_text(encoding="utf-8")
        (tmp_path / each.name).write_text(text.replace("within: 93600", "within: 10"), encoding="utf-8")
    return tmp_path / FILE.name


@pytest.fixture
def sink(client: SyncPrefectClient, file: Path) -> Iterator[Sink]:
    """Where all notifications go, with the automations that send them."""
    found = Sink()
    said = plan_targets(client, [parse_target(found.url)]).apply(client)
    assert said == ["notifications go to custom-webhook/everlearn"]
    plan = read_plan(file, line="told", directory=ROOT, targets=read_target_ids(client))
    told = [each for name, each in plan.automations.items() if name.startswith("everlearn tells")]
    made = [client.create_automation(each) for each in told]
    yield found
    for automation in made:
        client.delete_automation(automation)
    for block in read_target_ids(client):
        client.delete_block_document(block)
    found.close()


def test_each_thing_that_happens_is_told_with_what_to_do(
    sink: Sink, client: SyncPrefectClient, settings: Settings, prefect_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    for end, version in (("PUBLISHED", "v0008"), ("REJECTED", None), ("INSUFFICIENT", None), ("NO_NEW_DATA", None)):
        emit_night_ended.fn(settings, {"end": end, "version": version, "reason": f"because of {end}"})
    emit_night_ended.fn(settings, {"end": "SKIPPED", "version": None, "reason": "a later one"})
    emit_champion_changed.fn(settings, what="promoted v0007", actor="Grace", champion="v0007")
    told = {"what": "rolled back v0008 to v0007: wrong signs", "actor": "Ada", "champion": "v0007"}
    assert emit(CHANGED, line="told", payload=told)
    states: tuple[State[Any], ...] = (Crashed(message="out of memory"), Failed(message="make room"))
    for state in states:
        run = client.create_flow_run(run_cycle, parameters={}, state=Running())
        client.set_flow_run_state(run.id, state, force=True)

    assert sink.heard("PUBLISHED v0008", "because of PUBLISHED", "everlearn rollback", "Line told")
    assert sink.heard("REJECTED", "because of REJECTED")
    assert sink.heard("INSUFFICIENT", "because of INSUFFICIENT")
    assert sink.heard("promoted v0007 by Grace", "v0007 serves now")
    assert sink.heard("rolled back v0008 to v0007: wrong signs by Ada")
    assert sink.heard("has crashed: out of memory")
    assert sink.heard("has failed: make room", "everlearn schedule run-now")
    assert sink.heard("no verdict for 26 hours")
    ends = {each["subject"] for each in sink.got if "the night ended as" in str(each)}
    assert len(ends) == 3, "but not what needs nobody"


@pytest.mark.slow
def test_a_line_whose_first_night_never_ends_is_told_of(sink: Sink, client: SyncPrefectClient, file: Path) -> None:
    plan = read_plan(file, line="first-night", directory=ROOT, targets=read_target_ids(client))
    apply(plan, client)
    assert sink.heard("A line has had no verdict for 26 hours", "has ended for 26 hours: first-night")


@flow(name="night-that-nobody-hears-of", persist_result=False)
def ending(settings: Settings, ended: dict[str, str | None]) -> dict[str, str | None]:
    emit_night_ended(settings, ended)
    return final_state(ended)


def test_a_target_that_does_not_answer_harms_no_night_and_the_server_says_so(
    sink: Sink, prefect_server: LocalPrefect, settings: Settings
) -> None:
    sink.close()
    before = len(prefect_server.log.read_text(encoding="utf-8"))
    state = ending(settings, {"end": "REJECTED", "version": None, "reason": "worse"}, return_state=True)
    assert (state.name, state.message) == ("Completed", "REJECTED: worse")

    def said() -> str:
        return prefect_server.log.read_text(encoding="utf-8")[before:]

    assert wait_until(lambda: "moved to the dead letter queue" in said(), timeout_s=60), said()[-2000:]
    assert "All connection attempts failed" in said()
    assert sink.url not in said(), "the address is a secret"


def test_the_address_of_a_webhook_is_kept_as_a_secret(client: SyncPrefectClient) -> None:
    plan_targets(client, [parse_target("https://example.org/hook?token=s3cret")]).apply(client)
    (block,) = read_target_ids(client)
    shown = client.read_block_document(block, include_secrets=False)
    client.delete_block_document(block)
    assert "s3cret" not in str(shown.data)


def test_without_a_target_nothing_is_sent_and_nothing_is_deployed_for_it() -> None:
    plan = read_plan(FILE, line="told", directory=ROOT)
    assert not any(name.startswith("everlearn tells") for name in plan.automations)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://hooks.slack.com/services/T/B/secret", "SlackWebhook"),
        ("sendgrid://KEY:nights@example.org/ada@example.org/grace@example.org", "SendgridEmail"),
        ("https://example.org/hook", "CustomWebhookNotificationBlock"),
    ],
)
def test_a_target_is_known_by_its_address(url: str, kind: str) -> None:
    assert type(parse_target(url)).__name__ == kind


@pytest.mark.parametrize("url", ["", "example.org", "ftp://example.org", "sendgrid://KEY/ada@example.org", "https://"])
def test_what_is_no_target_is_refused_with_what_would_be_one(url: str) -> None:
    with pytest.raises(BadInputError, match="--notify wants"):
        parse_target(url)
