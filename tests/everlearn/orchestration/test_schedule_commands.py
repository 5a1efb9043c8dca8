"""`everlearn deploy` and `everlearn schedule` on a real Prefect server."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner, Result

from everlearn.cli import app, schedule
from everlearn.errors import BadInputError
from everlearn.orchestration.notifications import read_target_ids
from tests.support.night import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Command = Callable[..., Result]

ASKED = ("deploy", "--file", str(ROOT / "infra" / "prefect.yaml"), "--line", "asked")
HOOK = "https://example.org/a-secret-path"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("home")
    (directory / "params.yaml").touch()
    return directory


@pytest.fixture
def everlearn(home: Path, prefect_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    monkeypatch.setenv("EVERLEARN_STORE__LINE", "commands")

    def run(*words: str, answer: str | None = None) -> Result:
        return CliRunner().invoke(
            app, ["--home", str(home), "--params", str(home / "params.yaml"), *words], input=answer
        )

    with temporary_settings({PREFECT_API_URL: prefect_url}):
        yield run


@pytest.fixture
def deployed(everlearn: Command) -> Command:
    """The commands, for a line that is deployed."""
    assert everlearn("deploy", "--file", str(ROOT / "infra" / "prefect.yaml")).exit_code == 0
    return everlearn


def test_a_dry_run_changes_nothing_and_a_yes_applies_it(everlearn: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "is_interactive", lambda **_: True)
    for refused in (everlearn(*ASKED, "--dry-run"), everlearn(*ASKED, answer="n\n")):
        assert "+ run-cycle/nightly-asked" in refused.stdout
    assert refused.exit_code == 1
    applied = everlearn(*ASKED, answer="y\n")
    assert (applied.exit_code, "line asked: deployed" in applied.stderr) == (0, True)
    assert "its nights use profile nightly; here, `everlearn cycle` uses profile quick" in applied.stderr
    again = everlearn(*ASKED, "--json")
    assert json.loads(again.stdout) == {"asked": []}
    assert everlearn(*ASKED).stdout == "nothing to change\n"


def test_a_notification_target_is_saved_as_a_secret(everlearn: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*ASKED, "--notify", HOOK)
    looked = everlearn(*words, "--dry-run").stdout
    with monkeypatch.context() as environment:
        environment.setenv("EVERLEARN_NOTIFY", HOOK)
        assert everlearn(*ASKED, "--dry-run").stdout == looked, (
            "an argument can be read by others, this variable cannot"
        )
    assert "+ target custom-webhook/everlearn\n" in looked
    assert "+ automation everlearn tells: a night has ended" in looked
    with get_client(sync_client=True) as client:
        assert read_target_ids(client) == (), "a dry run saves nothing"
        applied = everlearn(*words)
        assert applied.stderr.startswith("notifications go to custom-webhook/everlearn\n")
        assert "a-secret-path" not in looked + applied.output
        (block,) = read_target_ids(client)
        assert everlearn(*words).stdout == "nothing to change\n", "it goes there already"
        client.delete_block_document(block)
        assert "- automation everlearn tells: a night has ended\n" in everlearn(*ASKED).stdout, "it would fail"
        assert client.read_automations_by_name("everlearn tells: a night has ended") == []
    assert everlearn(*ASKED).stdout == "nothing to change\n"
    assert isinstance(everlearn(*ASKED, "--notify", "ada").exception, BadInputError)


@pytest.mark.slow
def test_no_notify_deletes_targets_and_automations(everlearn: Command) -> None:
    everlearn(*ASKED, "--notify", HOOK, "--notify", "https://hooks.slack.com/services/T/B/secret")
    moved = everlearn(*ASKED, "--notify", "https://example.org/another", "--dry-run").stdout
    assert moved == "~ target custom-webhook/everlearn: address: another → that of --notify\n"

    left = everlearn(*ASKED, "--no-notify", "--notify", HOOK)
    assert left.stdout.startswith("- target slack-webhook/everlearn\n~ automation everlearn tells: a night has ended")
    assert left.stderr.startswith("notifications no longer go to slack-webhook/everlearn\n")

    looked = everlearn(*ASKED, "--no-notify", "--dry-run").stdout
    assert everlearn(*ASKED).stdout == "nothing to change\n", "neither a dry run nor a plain deploy deletes a target"
    assert everlearn(*ASKED, "--no-notify").stdout == looked
    assert {line[:2] for line in looked.splitlines()} == {"- "}
    assert "- target custom-webhook/everlearn\n- automation everlearn tells: a line without a verdict" in looked
    with get_client(sync_client=True) as client:
        assert read_target_ids(client) == ()
        assert not [each for each in client.read_automations() if each.name.startswith("everlearn tells")]
    assert everlearn(*ASKED, "--no-notify").stdout == "nothing to change\n"


def test_a_schedule_is_shown_set_paused_and_resumed(deployed: Command) -> None:
    shown = deployed("schedule", "show").stdout
    assert "0 2 * * * UTC" in shown
    assert re.search(r"^profile +nightly *$", shown, re.MULTILINE), "not that of `make cycle`"
    was_set = deployed("schedule", "set", "30 2 * * *", "--timezone", "Europe/Berlin")
    assert was_set.stderr == "line commands: nights start at 30 2 * * * Europe/Berlin\n"
    assert len(was_set.stdout.splitlines()) == 5, "the next five times"
    assert all("02:30 CE" in each for each in was_set.stdout.splitlines())
    assert deployed("schedule", "pause").stderr == "line commands: nights are paused\n"
    seen = json.loads(deployed("schedule", "show", "--json").stdout)
    assert seen["cron"], seen["timezone"] == ("30 2 * * *", "Europe/Berlin")
    assert seen["paused"]
    assert "no night starts by itself" in deployed("schedule", "show").stdout
    assert "no night starts until" in deployed("schedule", "set", "30 2 * * *").stderr
    assert "30 2 * * * UTC" in deployed("schedule", "show").stdout
    assert deployed("schedule", "resume").stderr == "line commands: nights start on schedule\n"
    assert not json.loads(deployed("schedule", "show", "--json").stdout)["paused"]


def test_a_night_can_be_started_now(deployed: Command) -> None:
    assert "waits for workers of cpu and gpu" in deployed("schedule", "run-now").stdout


def test_pools_without_workers_are_named_with_the_remedy(deployed: Command) -> None:
    with get_client(sync_client=True) as client:
        for pool in ("cpu", "gpu"):
            for each in client.read_workers_for_work_pool(pool):
                client._client.delete(f"/work_pools/{pool}/workers/{each.name}")
    for words in (("schedule", "show"), ("schedule", "run-now")):
        ended = deployed(*words)
        for pool in ("cpu", "gpu"):
            assert f"no worker of pool {pool} is online: nothing runs there until `everlearn worker" in ended.stderr
        assert json.loads(deployed(*words, "--json").stdout)["workers"] == {"cpu": 0, "gpu": 0}


def test_a_pool_with_a_worker_raises_no_warning(deployed: Command, prefect_url: str) -> None:
    with get_client(sync_client=True) as client:
        client.send_worker_heartbeat(work_pool_name="cpu", worker_name="there", heartbeat_interval_seconds=1)
        ended = deployed("schedule", "show")
        client._client.delete("/work_pools/cpu/workers/there")
    assert "no worker of pool gpu" in ended.stderr
    assert "no worker of pool cpu" not in ended.stderr


def test_a_zone_that_changes_at_midnight_is_warned_about(deployed: Command) -> None:
    warned = deployed("schedule", "set", "30 0 * * *", "--timezone", "Africa/Cairo").stderr
    assert "clocks in Africa/Cairo go forward over this time at night" in warned
    assert "from 03:00 on, each day has its night" in warned
    assert "go forward" not in deployed("schedule", "set", "0 3 * * *", "--timezone", "Africa/Cairo").stderr


@pytest.mark.parametrize("words", [("61 2 * * *",), ("0 2 * * *", "--timezone", "Europe/Atlantis"), ("",)])
def test_an_invalid_schedule_is_refused_in_one_sentence(deployed: Command, words: tuple[str, ...]) -> None:
    ended = deployed("schedule", "set", *words)
    assert isinstance(ended.exception, BadInputError)
    assert "is not a valid schedule" in str(ended.exception)


def test_a_line_without_deployments_is_refused(everlearn: Command) -> None:
    ended = everlearn("schedule", "show", "--line", "nowhere")
    assert isinstance(ended.exception, BadInputError)
