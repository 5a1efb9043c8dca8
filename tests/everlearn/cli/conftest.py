"""Whole commands with their output and exit code, on a real S3 server."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.cli import main
from everlearn.cli.context import Installation
from everlearn.gate.decision_record import Against, Decision, Outcome
from everlearn.local.seaweedfs import LocalS3
from everlearn.registry import signing
from everlearn.registry.connect import open_registry
from everlearn.registry.versions import Manifest, Registry
from tests.support.line import CONFIG, adapter
from tests.support.manifests import row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DECISION = Decision(outcome=Outcome.PASS, reasons=("tonight: 104 won, 4 lost [of 200]",), rows=(row(Against.PARENT),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Result of a command."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        """The result of `--json`, which is one line."""
        assert self.out.count("\n") == 1
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def _clean_environment() -> Iterator[None]:
    """Remove and restore environment variables: commands set some for their child processes."""
    before = dict(os.environ)
    for name in [each for each in os.environ if each.startswith(("EVERLEARN_", "AWS_", "PREFECT_API"))]:
        del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state directory with a running S3 server, as after `everlearn up`."""
    directory = tmp_path_factory.mktemp("home")
    signing.create_key(directory / "signing.pem")
    with LocalS3(directory / "s3"):
        yield directory


@pytest.fixture
def params(home: Path, tmp_path: Path) -> Path:
    """Settings with a fresh line for each test."""
    path = tmp_path / "params.yaml"
    path.write_text(
        f"store: {{line: {tmp_path.name.replace('_', '-').lower()[-40:].strip('-')}}}\n"
        f"signing: {{key_file: {home / 'signing.pem'}}}\nbase: {{path: {tmp_path / 'base'}}}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def everlearn(
    home: Path, params: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Run `everlearn WORDS…` and return its result."""

    def run(*words: str, at: Path = home) -> Ended:
        monkeypatch.setattr(sys, "argv", ["everlearn", "--home", str(at), "--params", str(params), *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Ended(code=int(ended.value.code or 0), out=out, err=err)

    return run


@pytest.fixture
def registry(home: Path, params: Path) -> Registry:
    installation = Installation(home=home, params=params)
    installation.connect()
    return open_registry(installation.settings())


@pytest.fixture
def publish(registry: Registry) -> Callable[..., str]:
    """Publish a small version and return its name."""

    def one(*, reason: str = "tonight improved", report: bool = True, decision: bool = True) -> str:
        state = registry.state()
        number = str(len(state.versions))
        manifest = Manifest(
            files={
                "adapter_model.safetensors": registry.put_object(adapter(number)),
                "adapter_config.json": registry.put_object(CONFIG),
            },
            base_fingerprint="f" * 64,
            parent=state.champion,
            cycle_key=number * 64,
            data_digest=number * 64,
            config={"seed": 0},
            code_version="0.1.0",
            created=datetime(2026, 1, 2, tzinfo=UTC),
            metrics={"tonight": 0.6},
            decision=DECISION.to_dict() if decision else {},
            report=registry.put_object(b"<html>the night</html>") if report else None,
        )
        return registry.publish(manifest, make_champion=True, actor="night", reason=reason).version

    return one
