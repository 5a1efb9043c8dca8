"""The whole loop through public interfaces: what an application could not get answered, the next champion answers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.cli.context import Installation
from everlearn.domains.contract import load_domain
from everlearn.errors import GrammarError
from everlearn.local.ports import draw_ports
from everlearn.registry.connect import open_registry
from tests.everlearn.cli.test_tour import SMALL
from tests.support.endpoint import client_of
from tests.support.tour import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from openai import OpenAI

pytestmark = pytest.mark.slow
PROGRAM = [sys.executable, "-P", "-c", "from everlearn.cli import main; main()"]
DOMAIN = load_domain("integration")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A project on the demo's base and suites, whose servers are stopped at the end."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("base", "suites"):
        (tmp_path / "data" / name).symlink_to(ROOT / "data" / name)
    yield tmp_path
    command(tmp_path, "down")


def environment() -> dict[str, str]:
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("EVERLEARN_", "AWS_", "PREFECT_"))
    }
    return plain | SMALL | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "EVERLEARN_API_KEYS": "key"}


def command(project: Path, *words: str) -> str:
    done = subprocess.run(
        [*PROGRAM, *words], cwd=project, env=environment(), check=False, capture_output=True, text=True, timeout=2400
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def example_problems() -> list[str]:
    """Return the problems of the example data, without the rows that are bad on purpose."""
    problems = []
    for path in sorted((ROOT / "data" / "example").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(GrammarError, ValueError, KeyError):
                problems.append(DOMAIN.problem(json.loads(line)["problem"]).statement)
    return problems


def wait_for(is_true: Callable[[], bool], *, seconds: float = 180) -> None:
    for _ in range(int(4 * seconds)):
        if is_true():
            return
        threading.Event().wait(0.25)
    raise TimeoutError


def answer(client: OpenAI, problem: str) -> tuple[str, str]:
    """Return the version that answered, and what it said."""
    made = client.chat.completions.create(model="champion", messages=[{"role": "user", "content": problem}])
    return made.model.partition("/")[2], str(made.choices[0].message.content)


def solved(client: OpenAI, problems: list[str]) -> list[str]:
    with ThreadPoolExecutor(8) as pool:
        said = pool.map(lambda problem: answer(client, problem)[1], problems)
        return [
            problem
            for problem, text in zip(problems, said, strict=True)
            if DOMAIN.verify(DOMAIN.problem(problem), text).is_correct
        ]


class Traffic(threading.Thread):
    """Requests one after the other, until it is stopped; the versions that answered, and the errors."""

    def __init__(self, client: OpenAI) -> None:
        super().__init__()
        self._client, self.stopped = client, threading.Event()
        self.versions: list[str] = []
        self.errors: list[Exception] = []

    def run(self) -> None:
        while not self.stopped.wait(0.2):
            try:
                self.versions.append(answer(self._client, "2*x + cos(x)")[0])
            except Exception as error:  # noqa: BLE001 - the test names them
                self.errors.append(error)


def test_a_failure_becomes_tonights_problem_and_the_next_champion_answers_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    command(project, "up")
    port = draw_ports(("endpoint",))["endpoint"]
    words = ("serve", "--collect", "--per-hour", "1000", "--interval", "1", "--port", str(port))
    endpoint = subprocess.Popen([*PROGRAM, *words], cwd=project, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        assert endpoint.stderr
        assert "integration/base serves at" in endpoint.stderr.readline()
        problems = example_problems()
        with client_of(f"http://127.0.0.1:{port}/v1", key="key") as client:
            traffic = Traffic(client)
            traffic.start()
            before = solved(client, problems)
            assert len(before) < len(problems) / 10, "the base model solves few of them"
            installation = Installation.beside(project / "params.yaml", home=None)
            installation.connect()
            registry = open_registry(installation.settings())
            wait_for(lambda: bool(list(registry.store.list("integration/inbox/"))))

            night: dict[str, Any] = json.loads(command(project, "cycle", "--profile", "quick", "--json"))
            assert night["end"] == "PUBLISHED"
            wait_for(lambda: traffic.versions[-1] == night["version"])
            after = solved(client, problems)
            assert len(after) > len(problems) / 2 > len(before)

            command(project, "rollback", "--reason", "taken back", "--yes")
            wait_for(lambda: traffic.versions[-1] == "base")
            traffic.stopped.set()
            traffic.join()
            assert not traffic.errors
            assert list(dict.fromkeys(traffic.versions)) == ["base", night["version"]]
    finally:
        for traffic in [thread for thread in threading.enumerate() if isinstance(thread, Traffic)]:
            traffic.stopped.set()
        endpoint.send_signal(signal.SIGTERM)
        _, said = endpoint.communicate(timeout=60)
    assert endpoint.returncode == 0, said
