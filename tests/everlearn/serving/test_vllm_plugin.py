"""The plugin with copies of the classes of vLLM 0.32 that it uses; with the real ones where vLLM is installed."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
import tomllib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.registry.connect import open_registry
from everlearn.serving.vllm_plugin import Adapters, register
from everlearn.settings import Settings
from everlearn.storage.in_memory import MemoryStore
from everlearn.training.models.fingerprint import fingerprint
from tests.support.line import adapter, candidate, open_line, publish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import S3Server

ROOT = Path(__file__).parents[3]


@dataclass(kw_only=True)
class LoRARequest:
    """Copy of the class in vllm/lora/request.py, with its two checks."""

    lora_name: str
    lora_int_id: int
    lora_path: str = ""

    def __post_init__(self) -> None:
        if self.lora_int_id < 1:
            raise ValueError(f"id must be > 0, got {self.lora_int_id}")
        assert self.lora_path, "lora_path cannot be empty"


class LoRAResolver(ABC):
    """Copy of the class in vllm/lora/resolver.py."""

    @abstractmethod
    async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None: ...


@dataclass
class Resolvers:
    """The methods of vLLM's LoRAResolverRegistry that a plugin and the server call."""

    resolvers: dict[str, LoRAResolver] = field(default_factory=dict)

    def register_resolver(self, resolver_name: str, resolver: LoRAResolver) -> None:
        self.resolvers[resolver_name] = resolver

    def get_resolver(self, resolver_name: str) -> LoRAResolver:
        return self.resolvers[resolver_name]


@pytest.fixture(params=["stand-in", "real"])
def vllm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module vllm.lora.resolver."""
    if request.param == "real":
        if find_spec("vllm") is None:
            pytest.skip("vLLM is not installed here")
        resolver: Any = import_module("vllm.lora.resolver")
        resolver.LoRAResolverRegistry.resolvers.clear()
        yield resolver
        return
    module: Any = ModuleType("vllm.lora.resolver")
    module.LoRAResolver, module.LoRAResolverRegistry = LoRAResolver, Resolvers()
    request_module: Any = ModuleType("vllm.lora.request")
    request_module.LoRARequest = LoRARequest
    for name, each in {"vllm.lora.resolver": module, "vllm.lora.request": request_module}.items():
        monkeypatch.setitem(sys.modules, name, each)
    for name in ("vllm", "vllm.lora"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    yield module


@pytest.fixture
def settings(s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings from environment variables, in a directory without params.yaml."""
    store = {"bucket": bucket, "endpoint_url": s3_server.endpoint_url}
    variables = {
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
        "EVERLEARN_STORE__BUCKET": bucket,
        "EVERLEARN_STORE__ENDPOINT_URL": s3_server.endpoint_url,
        "EVERLEARN_SIGNING__UNSIGNED": "true",
        "EVERLEARN_SERVING__ADAPTERS": str(tmp_path / "adapters"),
    }
    monkeypatch.delenv("EVERLEARN_HOME", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return Settings.model_validate({"store": store, "signing": {"unsigned": True}})


def ask(vllm: Any, name: str, *, base: str = "some/model") -> Any:
    """Resolve an adapter as vLLM's server does when a request names one that is not loaded."""
    resolver = vllm.LoRAResolverRegistry.get_resolver("everlearn")
    return asyncio.run(resolver.resolve_lora(base, name))


def test_vllm_is_handed_a_version_by_its_number(vllm: Any, settings: Settings, tmp_path: Path) -> None:
    line = open_registry(settings)
    publish(line, "one")
    publish(line, "two")
    register()
    given = ask(vllm, "v0002")
    assert (given.lora_name, given.lora_int_id) == ("v0002", 2)
    assert given.lora_path == str(tmp_path / "adapters" / "v0002")
    assert Path(given.lora_path, "adapter_model.safetensors").read_bytes() == adapter("two")
    assert ask(vllm, "v0001").lora_path == str(tmp_path / "adapters" / "v0001")
    assert ask(vllm, "v0003") is None
    assert ask(vllm, "foreign-adapter") is None


def test_the_resolver_has_the_signature_that_vllm_calls(vllm: Any, settings: Settings) -> None:
    register()
    resolver = vllm.LoRAResolverRegistry.get_resolver("everlearn")
    assert isinstance(resolver, vllm.LoRAResolver)
    wanted, found = (
        list(inspect.signature(each.resolve_lora).parameters) for each in (vllm.LoRAResolver, type(resolver))
    )
    assert found == wanted == ["self", "base_model_name", "lora_name"]
    assert inspect.iscoroutinefunction(resolver.resolve_lora)


def test_registering_twice_is_the_same_as_once(vllm: Any, settings: Settings) -> None:
    register()
    register()
    assert list(vllm.LoRAResolverRegistry.resolvers) == ["everlearn"]


def test_without_the_setting_no_resolver_is_registered(
    vllm: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVERLEARN_SERVING__ADAPTERS")
    register()
    assert list(vllm.LoRAResolverRegistry.resolvers) == []


def test_an_invalid_setting_is_logged_not_raised(
    vllm: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("EVERLEARN_STORE__ENDPOINT_URL")
    register()
    assert list(vllm.LoRAResolverRegistry.resolvers) == []
    assert "no versions can be loaded: no S3 server is running here" in caplog.text


def test_damaged_and_barred_versions_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    publish(open_line(store), "one")
    publish(open_line(store), "two")
    ref = open_line(store).manifest("v0001").files["adapter_model.safetensors"]
    store.put(f"integration/objects/sha256/{ref.digest}", b"other")
    adapters = Adapters(open_line(store), tmp_path)
    assert adapters.find("v0001", base="some/model") is None
    assert adapters.find("v0002", base="some/model") == tmp_path / "v0002"
    open_line(store).rollback("base", reason="worse", actor="ada")
    assert adapters.find("v0002", base="some/model") is None
    assert "v0001 is not loaded" in caplog.text
    assert "v0002 is not loaded: v0002 was rolled back" in caplog.text
    assert [each.name for each in tmp_path.iterdir()] == ["v0002"]


def test_the_name_champion_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    publish(open_line(store), "one")
    assert Adapters(open_line(store), tmp_path).find("champion", base="some/model") is None
    assert "request a version such as v0008" in caplog.text


def test_a_version_of_another_base_model_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    base, other = tmp_path / "base", tmp_path / "other"
    for directory in (base, other):
        directory.mkdir()
        (directory / "config.json").write_text(json.dumps(directory.name))
    line = open_line(MemoryStore())
    manifest = candidate(line, "one", base=fingerprint(base))
    line.publish(manifest, make_champion=True, actor="night", reason="better")
    adapters = Adapters(line, tmp_path / "adapters")
    assert adapters.find("v0001", base=str(other)) is None
    assert "it was trained on another base model than" in caplog.text
    assert [adapters.find("v0001", base=str(base)) for _ in range(2)] == [tmp_path / "adapters" / "v0001"] * 2
    assert adapters.find("v0001", base=str(tmp_path)) is None
    assert "base model missing" in caplog.text


def test_the_entry_point_exists_and_imports_no_vllm() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, name = project["entry-points"]["vllm.general_plugins"]["everlearn"].split(":")
    code = f"import sys, {module}; {module}.{name}; print({{'torch', 'vllm', 'transformers', 'prefect'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
