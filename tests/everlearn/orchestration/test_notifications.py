"""Notifications by real automations of a real server, received by a webhook of the test."""

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
    """A webhook that keeps the JSON that is posted to it."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sink.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hook"

    def close(self) -> None:
        """Stop listening."""
        self.server.shutdown()
        self.server.server_close()

    def receives(self, *words: str) -> bool:
        """Return whether a message with all of these words arrives within a minute."""
        return wait_until(lambda: any(all(word in str(each) for word in words) for each in self.received), timeout_s=60)


@pytest.fixture
def settings(s3_server: S3Server) -> Settings:
    return tiny(s3_server, "none", line="told")


@pytest.fixture
def client(prefect_url: str) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The files of infra/, but the alarm for a missing verdict is raised after 10 s instead of 26 h."""
    for each in (ROOT / "infra").glob("*.yaml"):
        text = each.read_text(encoding="utf-8")
        (tmp_path / each.name).write_text(text.replace("within: 93600", "within: 10"), encoding="utf-8")
    return tmp_path / FILE.name


@pytest.fixture
def sink(client: SyncPrefectClient, file: Path) -> Iterator[Sink]:
    """The target of all notifications, with the automations that send them."""
    found = Sink()
    applied = plan_targets(client, [parse_target(found.url)]).apply(client)
    assert applied == ["notifications go to custom-webhook/everlearn"]
    plan = read_plan(file, line="told", directory=ROOT, targets=read_target_ids(client))
    notifying = [each for name, each in plan.automations.items() if name.startswith("everlearn tells")]
    made = [client.create_automation(each) for each in notifying]
    yield found
    for automation in made:
        client.delete_automation(automation)
    for block in read_target_ids(client):
        client.delete_block_document(block)
    found.close()


def test_each_notification_says_what_to_do(
    sink: Sink, client: SyncPrefectClient, settings: Settings, prefect_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    for end, version in (("PUBLISHED", "v0008"), ("REJECTED", None), ("INSUFFICIENT", None), ("NO_NEW_DATA", None)):
        emit_night_ended.fn(settings, {"end": end, "version": version, "reason": f"because of {end}"})
    emit_night_ended.fn(settings, {"end": "SKIPPED", "version": None, "reason": "a later one"})
    emit_champion_changed.fn(settings, what="promoted v0007", actor="Grace", champion="v0007")
    payload = {"what": "rolled back v0008 to v0007: wrong signs", "actor": "Ada", "champion": "v0007"}
    assert emit(CHANGED, line="told", payload=payload)
    states: tuple[State[Any], ...] = (Crashed(message="out of memory"), Failed(message="make room"))
    for state in states:
        run = client.create_flow_run(run_cycle, parameters={}, state=Running())
        client.set_flow_run_state(run.id, state, force=True)

    assert sink.receives("PUBLISHED v0008", "because of PUBLISHED", "everlearn rollback", "Line told")
    assert sink.receives("REJECTED", "because of REJECTED")
    assert sink.receives("INSUFFICIENT", "because of INSUFFICIENT")
    assert sink.receives("promoted v0007 by Grace", "v0007 serves now")
    assert sink.receives("rolled back v0008 to v0007: wrong signs by Ada")
    assert sink.receives("has crashed: out of memory")
    assert sink.receives("has failed: make room", "everlearn schedule run-now")
    assert sink.receives("no verdict for 26 hours")
    ends = {each["subject"] for each in sink.received if "the night ended as" in str(each)}
    assert len(ends) == 3, "no notification of an end that needs no action"


@pytest.mark.slow
def test_a_first_night_that_never_ends_raises_an_alarm(sink: Sink, client: SyncPrefectClient, file: Path) -> None:
    plan = read_plan(file, line="first-night", directory=ROOT, targets=read_target_ids(client))
    apply(plan, client)
    assert sink.receives("A line has had no verdict for 26 hours", "has ended for 26 hours: first-night")


@flow(name="unheard-night", persist_result=False)
def ending(settings: Settings, ended: dict[str, str | None]) -> dict[str, str | None]:
    emit_night_ended(settings, ended)
    return final_state(ended)


def test_an_unreachable_target_is_logged_and_harms_no_night(
    sink: Sink, prefect_server: LocalPrefect, settings: Settings
) -> None:
    sink.close()
    before = len(prefect_server.log.read_text(encoding="utf-8"))
    state = ending(settings, {"end": "REJECTED", "version": None, "reason": "worse"}, return_state=True)
    assert (state.name, state.message) == ("Rejected", "REJECTED: worse")

    def log() -> str:
        return prefect_server.log.read_text(encoding="utf-8")[before:]

    # A message of an earlier test may end in the dead letter queue, too, so wait for both.
    expected = ("moved to the dead letter queue", "All connection attempts failed")
    assert wait_until(lambda: all(text in log() for text in expected), timeout_s=60), log()[-2000:]
    assert sink.url not in log(), "the address is a secret"


def test_the_address_of_a_webhook_is_a_secret(client: SyncPrefectClient) -> None:
    plan_targets(client, [parse_target("https://example.org/hook?token=s3cret")]).apply(client)
    (block,) = read_target_ids(client)
    shown = client.read_block_document(block, include_secrets=False)
    client.delete_block_document(block)
    assert "s3cret" not in str(shown.data)


def test_without_a_target_no_notification_is_deployed() -> None:
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
def test_the_address_decides_the_kind_of_target(url: str, kind: str) -> None:
    assert type(parse_target(url)).__name__ == kind


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org",
        "sendgrid://KEY/ada@example.org",
        "sendgrid://:nights@example.org/ada@example.org",
        "https://",
        "https://[hooks.slack.com/services/T/B/x",
    ],
)
def test_an_unsupported_target_is_refused(url: str) -> None:
    with pytest.raises(BadInputError, match="--notify takes"):
        parse_target(url)
