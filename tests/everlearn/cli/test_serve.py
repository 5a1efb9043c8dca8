"""`serve`: the command from its start to SIGTERM, with what it collected in the inbox of the next night."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from everlearn.cli import model
from everlearn.cli import serve as command
from everlearn.errors import StoreDownError
from everlearn.local.ports import draw_ports
from everlearn.registry.acknowledgements import acknowledgements
from everlearn.training.models.fingerprint import fingerprint
from everlearn.training.models.policy import load_policy
from tests.support.adapters import shake
from tests.support.fake_vllm import FakeVllm
from tests.support.line import candidate

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.cli.context import Installation
    from everlearn.registry.versions import Registry
    from tests.everlearn.cli.conftest import Ended

BASE = Path(__file__).parents[3] / "data" / "base"
HARD = "x^7*exp(x)*sin(x)"


@pytest.fixture
def params(params: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of a line on the real demo model, and no proxy."""
    lines = [line for line in params.read_text().splitlines() if not line.startswith("base:")]
    params.write_text("\n".join([*lines, f"base: {{path: {BASE}}}", ""]))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return params


def published(registry: Registry, folder: Path, *, base: str) -> str:
    """Publish a version with a real adapter, trained on the base model with that fingerprint."""
    shake(load_policy(BASE, None), seed=1, size=0.1).save(folder)
    manifest = candidate(registry, "one", base=base)
    files = {path.name: registry.put_file(path) for path in folder.iterdir()}
    return registry.publish(
        type(manifest)(**{name: getattr(manifest, name) for name in manifest.__slots__} | {"files": files}),
        make_champion=True,
        actor="night",
        reason="better",
    ).version


@pytest.fixture
def version(registry: Registry, tmp_path: Path) -> str:
    """A published version with a real adapter."""
    return published(registry, tmp_path / "adapter", base=fingerprint(BASE))


class Application(threading.Thread):
    """An application that uses an endpoint as soon as it answers, and then stops the process."""

    def __init__(self, port: int, use: Callable[[httpx.Client], None]) -> None:
        super().__init__()
        self._port, self._use = port, use
        self.command_ended = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{self._port}", trust_env=False, timeout=60) as client:
                wait_for(lambda: client.get("/health").status_code == 200)
                self._use(client)
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.error = error
        finally:
            if not self.command_ended.is_set():
                os.kill(os.getpid(), signal.SIGTERM)


def wait_for(is_true: Callable[[], bool]) -> None:
    for _ in range(200):
        with contextlib.suppress(httpx.HTTPError):
            if is_true():
                return
        threading.Event().wait(0.05)
    raise TimeoutError("the endpoint did not get there")


def ask(client: httpx.Client, text: str, **headers: str) -> httpx.Response:
    body = {"model": "champion", "messages": [{"role": "user", "content": text}]}
    return client.post("/v1/chat/completions", json=body, headers=headers)


@pytest.fixture
def serving(everlearn: Callable[..., Ended]) -> Callable[..., Ended]:
    """Run `everlearn serve WORDS…` with an application, and return its result."""

    def run(use: Callable[[httpx.Client], None], *words: str) -> Ended:
        port = draw_ports(("endpoint",))["endpoint"]
        application = Application(port, use)
        application.start()
        ended = everlearn("serve", "--port", str(port), "--interval", "0.1", *words)
        application.command_ended.set()
        application.join()
        if application.error is not None:
            raise AssertionError(ended.err) from application.error
        return ended

    return run


def test_it_serves_the_champion_and_follows_a_rollback(
    serving: Callable[..., Ended], registry: Registry, version: str
) -> None:
    seen: list[str] = []

    def use(client: httpx.Client) -> None:
        seen.append(ask(client, "2*x").headers["x-everlearn-version"])
        registry.rollback(reason="wrong", actor="me")
        wait_for(lambda: ask(client, "2*x").headers["x-everlearn-version"] == "base")

    ended = serving(use, "--consumer", "web-1")
    assert ended.code == 0
    assert seen == [version]
    assert f"/{version} serves at http://127.0.0.1:" in ended.err
    assert "base serves now" in ended.err
    here = acknowledgements(registry.store, registry.line)["web-1"]
    assert here
    assert here.version is None


def test_a_version_of_another_base_model_never_serves(
    serving: Callable[..., Ended],
    everlearn: Callable[..., Ended],
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[str] = []
    require_base = model.require_base

    def require(installation: Installation, base: Path, *, version: str) -> None:
        checked.append(version)
        require_base(installation, base, version=version)

    def use(client: httpx.Client) -> None:
        published(registry, tmp_path / "adapter", base="b" * 64)
        wait_for(lambda: checked.count("v0001") > 1)
        assert ask(client, "2*x").headers["x-everlearn-version"] == "base"

    monkeypatch.setattr(model, "require_base", require)
    said = "are not those that v0001 was trained on: restore them, or set base.path"
    ended = serving(use)
    assert said in " ".join(ended.err.split())
    for words in ((), ("--version", "v0001")):
        ended = everlearn("serve", "--port", "0", *words)
        assert ended.code != 0
        assert said in " ".join(ended.err.split())


def test_a_named_version_stays(serving: Callable[..., Ended], registry: Registry, version: str) -> None:
    def use(client: httpx.Client) -> None:
        registry.rollback(reason="wrong", actor="me", keep=True)
        assert ask(client, "2*x").headers["x-everlearn-version"] == version

    assert serving(use, "--version", version).code == 0
    assert serving(lambda client: ask(client, "2*x").raise_for_status(), "--version", "base").code == 0


def test_a_barred_version_is_not_served(everlearn: Callable[..., Ended], registry: Registry, version: str) -> None:
    registry.rollback(reason="wrong", actor="me")
    ended = everlearn("serve", "--port", "0", "--version", version)
    assert ended.code != 0
    assert f"{version} is barred" in ended.err


def test_what_it_did_not_solve_is_in_the_inbox_when_it_ends(
    serving: Callable[..., Ended], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(command.KEYS, "one, two")
    said: list[Any] = []

    def use(client: httpx.Client) -> None:
        said.append(ask(client, HARD).status_code)
        said.append(ask(client, HARD, Authorization="Bearer two").headers["x-everlearn-collected"])

    assert serving(use, "--collect").code == 0
    assert said == [401, "yes"]
    [shard] = registry.store.list(f"{registry.line}/inbox/")
    assert json.loads(registry.store.get(shard.key).data) == {"problem": HARD, "domain": "integration"}


def test_with_vllm_a_server_that_was_away_answers_again(
    serving: Callable[..., Ended], params: Path, version: str, tmp_path: Path
) -> None:
    with FakeVllm(load_policy(BASE, None)) as server:
        rollouts = {"engine": "vllm", "servers": [server.url], "adapters": str(tmp_path / "shared")}
        params.write_text(f"{params.read_text()}rollouts: {json.dumps(rollouts)}\n")

        def use(client: httpx.Client) -> None:
            assert ask(client, "2*x").headers["x-everlearn-version"] == version
            server.break_down("breaks")
            assert ask(client, "2*x").status_code == 503
            server.fault = None
            wait_for(lambda: ask(client, "2*x").status_code == 200)

        ended = serving(use)
        assert ended.code == 0
        assert server.models == {}


@pytest.mark.parametrize(("left", "back", "loads"), [([], [], 1), (["one"], [], 0), (["one"], ["two"], 1)], ids=str)
def test_a_version_is_loaded_again_where_no_server_is_left_or_a_lost_one_is_back(
    left: list[str], back: list[str], loads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everlearn.training.engines.vllm_server.is_healthy", back.__contains__)
    monkeypatch.setattr(command, "RECONNECT_S", 0.0)
    looks = iter([False, False, True])
    stopped = SimpleNamespace(wait=lambda _: next(looks))
    used: list[str] = []
    served = SimpleNamespace(servers_lost=["two"], can_answer=bool(left), reload=lambda: "again")
    engine = SimpleNamespace(served=served, use=used.append)
    command._follow(engine, None, None, stopped=stopped, interval=0.0)  # type: ignore[arg-type]
    assert used == ["again"] * 2 * loads, "at each of two looks"


def test_what_was_loaded_is_closed_where_the_start_fails(
    everlearn: Callable[..., Ended], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise StoreDownError("the store is away")

    closed: list[str] = []
    monkeypatch.setattr("everlearn.serving.champion_loader.acknowledge", fails)
    monkeypatch.setattr(
        "everlearn.serving.served_version.ServedVersion.close", lambda served: closed.append(served.version)
    )
    ended = everlearn("serve", "--port", "0", "--consumer", "web-1")
    assert ended.code != 0
    assert "the store is away" in ended.err
    assert closed == [version]


@pytest.mark.parametrize("error", [StoreDownError("the store is away"), RuntimeError("out of memory")])
def test_an_error_while_following_is_reported_once_and_the_endpoint_goes_on(
    error: Exception, serving: Callable[..., Ended], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from everlearn.serving.champion_loader import ChampionLoader

    steps: list[int] = []
    step = ChampionLoader.step

    def fails(self: ChampionLoader, use: Any) -> Any:
        steps.append(1)
        if 1 < len(steps) < 5:
            raise error
        return step(self, use)

    monkeypatch.setattr(ChampionLoader, "step", fails)

    def use(client: httpx.Client) -> None:
        wait_for(lambda: len(steps) > 5)
        ask(client, "2*x").raise_for_status()

    ended = serving(use)
    said = " ".join(ended.err.split())
    assert said.count(f"{error} (tried again; what serves stays)") == 1
    assert ("Traceback" in said) == isinstance(error, RuntimeError)


@pytest.mark.parametrize("words", [("--collect",), ("--host", "0.0.0.0")])
def test_what_is_not_private_needs_keys(everlearn: Callable[..., Ended], words: tuple[str, ...]) -> None:
    ended = everlearn("serve", *words)
    assert ended.code == 2
    assert f"needs API keys: set {command.KEYS}" in ended.err


@pytest.mark.parametrize("host", command.LOOPBACK)
def test_each_name_of_loopback_can_be_listened_on(host: str) -> None:
    if host == "::1" and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with command._listen(host, 0) as listener:
        assert listener.getsockname()[0] in {"127.0.0.1", "::1"}


def test_a_taken_port_is_said_before_a_model_is_loaded(everlearn: Callable[..., Ended]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = everlearn("serve", "--port", str(taken.getsockname()[1]))
    assert (ended.code, "choose another with --port" in ended.err) == (2, True)
