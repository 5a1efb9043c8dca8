from __future__ import annotations

import errno
import json
import re
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.cli import doctor
from everlearn.cli.context import Installation
from everlearn.cli.doctor import DoctorCheck
from everlearn.domains.contract import Domain
from everlearn.domains.programs.sandbox import require_sandbox
from everlearn.errors import ModelError, ServiceError, StoreError
from everlearn.local import laptop
from everlearn.local.local_server import is_healthy
from everlearn.local.ports import is_free
from everlearn.local.postgres_url import PostgresUrl
from everlearn.local.prefect_server import LocalPrefect
from everlearn.local.seaweedfs import LocalS3
from everlearn.problem import Problem, Ruling, Verdict
from everlearn.training.models.hub_download import download
from tests.support.fake_hub import FakeHub
from tests.support.plugins import install_passwords
from tests.support.tiny_base import write_base

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from everlearn.registry.versions import Registry
    from tests.everlearn.cli.conftest import Ended


@pytest.fixture
def light_prefect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that starts fast and answers Prefect's health check. The real one has a slow test."""
    (tmp_path / "site" / "api").mkdir(parents=True)
    (tmp_path / "site" / "api" / "health").write_text("true", encoding="utf-8")
    (tmp_path / "site" / "api" / "admin").mkdir()
    (tmp_path / "site" / "api" / "admin" / "version").write_text(f'"{metadata.version("prefect")}"', encoding="utf-8")

    def command(server: LocalPrefect) -> list[str]:
        installation = ["--bind", "127.0.0.1", "--directory", str(tmp_path / "site")]
        return [sys.executable, "-m", "http.server", *installation, str(server.config.ports["api"])]

    monkeypatch.setattr(LocalPrefect, "command", command)


@pytest.mark.usefixtures("light_prefect")
def test_up_starts_servers_once_and_down_stops_them(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    state = tmp_path / "state"
    try:
        first = everlearn("up", "--json", at=state).facts
        assert [server["started"] for server in first.values()] == [True, True, True]
        again = everlearn("up", at=state)
        assert again.out.count("was running") == 3
        assert first["SeaweedFS"]["url"] in again.out
        assert everlearn("status", "--json", at=state).facts["site"] == first["Site"]["url"]
        assert is_healthy(f"{first['Site']['url']}/health")
        exported = everlearn("up", "--export", at=state).out
        assert f"export AWS_ENDPOINT_URL_S3={first['SeaweedFS']['url']}\n" in exported
        assert "export PREFECT_API_URL=" in exported
        checks = {check["name"]: check for check in everlearn("doctor", "--json", at=state).facts}
        assert all(checks[name]["ok"] for name in ("S3", "Prefect", "signing key", "settings", "packages", "disk"))
    finally:
        stopped = everlearn("down", "--json", at=state).facts
    assert stopped == {"Site": True, "Prefect": True, "SeaweedFS": True}
    assert everlearn("down", at=state).out.count("was not running") == 3


def test_doctor_ends_with_1_and_names_remedies(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    ended = everlearn("doctor", at=tmp_path / "nowhere")
    assert ended.code == 1
    checks = {check["name"]: check for check in everlearn("doctor", "--json", at=tmp_path / "nowhere").facts}
    assert "everlearn up" in checks["S3"]["detail"]
    assert "everlearn up" in checks["Prefect"]["detail"]
    assert "dvc repro" in checks["base model"]["detail"]
    assert checks["settings"]["ok"]


def test_doctor_judges_a_problem_of_the_domain_of_the_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Letters:
        name = "letters"

        def problem(self, row: Mapping[str, Any]) -> Problem:
            return Problem(id="", domain="letters", statement=row["statement"])

        def question(self, problem: Problem) -> str:
            return f"Write {problem.statement}."

        def verify(self, problem: Problem, answer: str) -> Verdict:
            assert len(problem.statement) == len(answer) == 1
            return Verdict(ruling=Ruling.CORRECT, reason="")

    class Generated(Letters):
        def generate(self, rng: random.Random, *, like: object, size: int) -> Problem:
            return self.problem({"statement": rng.choice("ab")})

    place = Installation(home=tmp_path, params=tmp_path / "params.yaml")
    monkeypatch.setattr("everlearn.domains.contract.load_domain", lambda _: Domain(Generated()))
    assert doctor.check_domain(place).startswith("letters: the answer ")
    assert doctor.check_domain(place).endswith("is correct")
    monkeypatch.setattr("everlearn.domains.contract.load_domain", lambda _: Domain(Letters()))
    assert doctor.check_domain(place) == "letters: has no generator, so no answer was judged"


def test_doctor_names_the_remedy_for_a_missing_sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("domain: programs")
    monkeypatch.setenv("PATH", str(tmp_path))
    require_sandbox.cache_clear()
    place = Installation(home=tmp_path, params=tmp_path / "params.yaml")
    check = doctor.run_check("domain", doctor.check_domain, installation=place)
    assert not check.ok
    assert "bwrap is missing: install it (`apt install bubblewrap`)" in check.detail


def test_doctor_needs_no_store_to_name_the_commit_of_a_base(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def away(_: Installation) -> None:
        raise StoreError("the store does not answer")

    (tmp_path / "params.yaml").write_text("base: {model: org/tiny}")
    monkeypatch.setattr(Installation, "registry", away)
    monkeypatch.setattr("everlearn.training.models.base_source.pin_base", lambda *given: given)
    place = Installation(home=tmp_path, params=tmp_path / "params.yaml")
    pinned: object = doctor.pin(place)
    assert pinned == (place.settings(), None)


def test_doctor_describes_the_base_model(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    assert "holds no config.json" in base_check(everlearn).detail
    write_base(tmp_path / "base", shard="20KB")
    check = base_check(everlearn)
    assert check.ok
    facts = (
        r"base: 0\.0 M parameters in F32, model-00001-of-.* and \d more, 0\.\d MiB; needs about 0\.\d GiB \(base .*free"
    )
    assert re.search(facts, check.detail)
    min((tmp_path / "base").glob("*.safetensors")).unlink()
    assert "download the model again" in base_check(everlearn).detail


def test_doctor_refuses_a_base_larger_than_memory(
    everlearn: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_base(tmp_path / "base")
    monkeypatch.setattr("everlearn.training.memory_estimate.available_memory", lambda _: 1000)
    check = base_check(everlearn)
    assert not check.ok
    assert "GiB are free; use a smaller base" in check.detail


def test_doctor_looks_a_model_of_the_hub_up(
    everlearn: Callable[..., Ended], tmp_path: Path, params: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params.write_text(params.read_text().replace(f"path: {tmp_path / 'base'}", "model: lab/tiny"))
    with FakeHub() as hub:
        hub.use(monkeypatch, tmp_path / "cache")
        assert "has no model 'lab/tiny'" in base_check(everlearn).detail
        commit = hub.add("lab/tiny", write_base(tmp_path / "uploaded"))
        expected = f"lab/tiny at commit {commit}: not downloaded yet; the next night does it"
        assert base_check(everlearn) == DoctorCheck(name="base model", ok=True, detail=expected)
        place = download("lab/tiny", commit)
        check = base_check(everlearn)
        assert check.detail.startswith(f"lab/tiny at commit {commit} in {place}: 0.0 M parameters in F32")
        away = next(
            check for check in everlearn("doctor", "--json", at=tmp_path).facts if check["name"] == "base model"
        )
        told = away["detail"].partition(" needs about ")[0]
        assert told == check.detail.partition(" needs about ")[0], "without a store, the revision is looked up"


def base_check(everlearn: Callable[..., Ended]) -> DoctorCheck:
    return next(DoctorCheck(**check) for check in everlearn("doctor", "--json").facts if check["name"] == "base model")


def test_doctor_finds_a_missing_package(everlearn: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        if name == "peft":
            raise metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(metadata, "version", missing)
    checks = {check["name"]: check for check in everlearn("doctor", "--json").facts}
    assert checks["packages"]["detail"] == "peft not installed; run `make install`"


def test_doctor_of_a_gpu_worker_names_what_is_missing(everlearn: Callable[..., Ended]) -> None:
    checks = {check["name"]: check for check in everlearn("doctor", "--gpu", "--json").facts}
    assert not checks["GPU"]["ok"], "the tests run without a GPU"
    assert re.search(
        "is built without CUDA: install the build|finds no GPU: install NVIDIA's driver", checks["GPU"]["detail"]
    )
    assert checks["engine"]["detail"].startswith("local: the learner decodes")


def test_doctor_names_who_decodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = Installation(params=tmp_path / "params.yaml", home=tmp_path)

    def engine(text: str) -> str:
        (tmp_path / "params.yaml").write_text(f"rollouts: {{engine: vllm{text}}}\nbase: {{path: {base}}}")
        return doctor.check_engine(place)

    base = write_base(tmp_path / "base")
    with pytest.raises(ModelError, match=r"there is no program .*: run `make vllm`"):
        engine("")
    assert engine(f", program: {sys.executable}") == f"vLLM of {sys.executable}, with 45% of the GPU's memory"
    with monkeypatch.context() as patch:
        patch.setattr(doctor, "local_base", lambda _: None)  # a model of the hub that is not downloaded yet
        assert engine(f", program: {sys.executable}").startswith("vLLM of ")
    monkeypatch.setattr("everlearn.training.engines.vllm_server.is_healthy", lambda url: url == "http://gpu-1:8000")
    with pytest.raises(ServiceError, match="vLLM does not answer at http://gpu-2:8000: start it"):
        engine(", adapters: /a, servers: ['http://gpu-1:8000', 'http://gpu-2:8000']")
    assert engine(", adapters: /a, servers: ['http://gpu-1:8000']") == "vLLM at http://gpu-1:8000"


def test_doctor_ends_with_0_without_problems(everlearn: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "everlearn.cli.doctor.run_checks", lambda _, **__: [DoctorCheck(name="disk", ok=True, detail="[1] GiB free")]
    )
    ended = everlearn("doctor")
    assert ended.code == 0
    assert ended.out.split() == ["what", "ok", "disk", "[1]", "GiB", "free"]


@pytest.mark.usefixtures("light_prefect")
@pytest.mark.parametrize(
    ("reported", "message"),
    [
        ('"3.7.0"', "is version 3.7.0, and here is 3."),
        ("no JSON", "does not answer (Expecting value"),
        (None, "is not a Prefect server (HTTP 404 File not found)"),
    ],
)
def test_doctor_reports_an_incompatible_prefect(
    reported: str | None, message: str, everlearn: Callable[..., Ended], home: Path, tmp_path: Path
) -> None:
    version = tmp_path / "site" / "api" / "admin" / "version"
    version.unlink()
    if reported is not None:
        version.write_text(reported, encoding="utf-8")
    with LocalPrefect(home / "prefect"):
        checks = {check["name"]: check for check in everlearn("doctor", "--json").facts}
    assert not checks["Prefect"]["ok"]
    assert message in checks["Prefect"]["detail"]


@pytest.mark.usefixtures("light_prefect")
def test_doctor_checks_a_configured_prefect(
    everlearn: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalPrefect(tmp_path / "elsewhere") as server:
        monkeypatch.setenv("PREFECT_API_URL", server.api_url)
        checks = {check["name"]: check for check in everlearn("doctor", "--json").facts}
    assert checks["Prefect"]["detail"] == f"{server.api_url}, version {metadata.version('prefect')}"
    monkeypatch.setenv("PREFECT_API_URL", "https://127.0.0.1:9/api")
    checks = {check["name"]: check for check in everlearn("doctor", "--json").facts}
    assert "https://127.0.0.1:9/api does not answer (" in checks["Prefect"]["detail"]


URL = "postgresql://me:hidden@db.example/prefect"


@pytest.mark.usefixtures("light_prefect")
def test_up_checks_a_postgres_and_remembers_it(
    everlearn: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[PostgresUrl] = []
    monkeypatch.setattr(LocalS3, "start", planned)  # takes seconds, and is not tested here
    monkeypatch.setattr("everlearn.orchestration.postgres_check.check_database", checked.append)
    state = tmp_path / "state"
    try:
        first = everlearn("up", "--postgres", URL, at=state)
        assert (first.code, first.err.count("\n")) == (0, 1), "nothing is left behind by a first start"
        assert prefect_of(state).environ()["PREFECT_API_DATABASE_CONNECTION_URL"] == (
            "postgresql+asyncpg://me:hidden@db.example/prefect"
        )
        assert everlearn("up", "--postgres", URL, at=state).code == 0
        checks = {check["name"]: check for check in everlearn("doctor", "--json", at=state).facts}
        assert checks["Prefect"]["detail"].endswith("on postgresql://me:…@db.example/prefect")
        for words in (("--sqlite",), ("--postgres", URL + "2")):
            refused = everlearn("up", *words, at=state)
            assert refused.code == ServiceError.exit_code
            assert refused.err.startswith(
                "Prefect runs on postgresql://me:…@db.example/prefect here; run `everlearn down`"
            )
        everlearn("down", at=state)
        assert everlearn("up", at=state).code == 0
        assert checked == [PostgresUrl.parse(URL)] * 2, "before each start, and by no other command"
        everlearn("down", at=state)
        moved = everlearn("up", "--sqlite", at=state)
        assert "remain on postgresql://me:…@db.example/prefect: run `everlearn deploy` for every line" in moved.err
        assert "PREFECT_API_DATABASE_CONNECTION_URL" not in prefect_of(state).environ()
        assert everlearn("up", "--postgres", URL, at=state).err.startswith("Prefect runs on SQLite here")
        everlearn("down", at=state)
        monkeypatch.setenv("EVERLEARN_POSTGRES", URL)
        assert "remain on SQLite" in everlearn("up", at=state).err
    finally:
        everlearn("down", at=state)


def test_up_changes_nothing_for_an_unusable_postgres(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    for url, code, message in (
        ("postgresql://me:hidden@127.0.0.1:9/prefect", 8, "does not answer as Postgres"),
        ("mysql://me:hidden@127.0.0.1:9/prefect", 2, "mysql: is not supported; write postgresql://"),
    ):
        ended = everlearn("up", "--postgres", url, at=tmp_path / "state")
        assert (ended.code, message in ended.err, "hidden" in ended.err) == (code, True, False)
    assert not (tmp_path / "state").exists()


def planned(server: LocalS3) -> bool:
    server.directory.mkdir(parents=True, exist_ok=True)
    server._create_config()
    return False


def prefect_of(state: Path) -> LocalPrefect:
    return laptop.servers(state)[1]


PUBLIC_KEY = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


@pytest.mark.parametrize(
    ("signing", "ok", "detail"),
    [
        ({"unsigned": True}, True, "unsigned, as the settings say"),
        ({"key_file": "none", "trusted": [PUBLIC_KEY]}, True, "none: versions can be read"),
        ({"key_file": "none"}, False, "no key to sign or to verify with"),
    ],
)
def test_doctor_checks_the_signing_key(
    signing: dict[str, object],
    ok: bool,  # noqa: FBT001 - a column of the table above
    detail: str,
    everlearn: Callable[..., Ended],
    params: Path,
) -> None:
    params.write_text(json.dumps({"signing": signing}), encoding="utf-8")
    checks = {check["name"]: check for check in everlearn("doctor", "--json").facts}
    assert checks["signing key"]["ok"] is ok
    assert detail in checks["signing key"]["detail"]


def test_doctor_names_a_domain_that_no_night_trains_on(
    everlearn: Callable[..., Ended], registry: Registry, params: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, settings = install_passwords(tmp_path, monkeypatch), params.read_text(encoding="utf-8")

    def detail(domain: str, uncertified: str) -> tuple[bool, str]:
        params.write_text(
            f"{settings}domain: {domain}\ncertification: {{uncertified: {uncertified}}}\n", encoding="utf-8"
        )
        checks = {check["name"]: check for check in everlearn("doctor", "--json").facts}
        return checks["certificate"]["ok"], checks["certificate"]["detail"]

    ok, remedy = detail(f"arithmetic+{name}", "refuse")
    assert not ok
    assert "Run `everlearn domain certify passwords`" in remedy
    ok, said = detail(f"arithmetic+{name}", "train on unproved rewards")
    assert ok
    assert re.match(
        r"arithmetic: \d+ wrong answers tried, .*; passwords: trained on unproved rewards, as set: its", said
    )
    assert not list(registry.store.list(f"{registry.line}/certificates")), "doctor stores nothing"


def test_doctor_does_not_hide_a_bug() -> None:
    assert issubclass(ModelError, Exception)
    with pytest.raises(ZeroDivisionError):
        doctor.run_check("broken", lambda _: str(1 / 0), installation=None)  # type: ignore[arg-type]

    def break_(_: object) -> str:
        raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        doctor.run_check("broken", break_, installation=None)  # type: ignore[arg-type]
    assert is_free(0)
