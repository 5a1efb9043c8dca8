"""The image and the Compose file, checked without a container engine: by hadolint, by the schema, and by their commands."""

from __future__ import annotations

import json
import re
import subprocess
import sysconfig
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import typer
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from docker.utils.build import exclude_paths

from everlearn.cli import app
from everlearn.local.seaweedfs import SEAWEED_FLAGS, LocalS3
from everlearn.settings import load
from tests.infra.deployments import DEPLOYMENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
DOCKERFILE = (INFRA / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((INFRA / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if each["image"].startswith("everlearn:")}


def copied() -> list[str]:
    """Return the paths that the Dockerfile copies from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, flags=re.MULTILINE)
    return [word for line in lines for word in line.split()]


def context() -> set[str]:
    """Return the build context, by Docker's own rules."""
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    return set(exclude_paths(str(ROOT), [each for each in patterns if each and not each.startswith("#")]))


def strings(value: Any) -> Iterator[str]:
    """Yield every string in a document."""
    if isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, str):
        yield value


def test_hadolint_accepts_the_dockerfile() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run([hadolint, INFRA / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_build_context_is_what_is_copied() -> None:
    sent = context()
    assert not [path for path in copied() if path not in sent]
    tops = {path.split("/")[0] for path in copied()}
    assert {path.split("/")[0] for path in sent} <= tops | {".dockerignore", "Dockerfile"}
    assert not [path for path in sent if "__pycache__" in path or path.endswith((".pem", ".env"))]


def test_the_dockerfile_copies_the_parts_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    made_of = {each.split("/")[0] for each in (*wheel["packages"], project["project"]["readme"])}
    made_of |= {*wheel["shared-data"], *project["project"]["license-files"]}
    before, _ = DOCKERFILE.split("RUN pip install --no-cache-dir -c requirements.lock .\n")
    assert made_of <= {each for line in re.findall(r"(?m)^COPY (.*) \S+$", before) for each in line.split()}


def test_every_version_in_the_image_is_locked() -> None:
    installs = re.findall(r"pip install (.*)$", DOCKERFILE, flags=re.MULTILINE)
    assert len(installs) == 4
    pinned = ("-c requirements.lock", "--no-deps", "-r vllm.txt")  # vLLM has an environment of its own
    assert all(any(each in install for each in pinned) for install in installs)
    assert DOCKERFILE.count("\"$(grep '^torch==' requirements.lock)\"") == 2
    assert not re.findall(r"==\d", DOCKERFILE)
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert set(re.findall(r"FROM (python:\S+)", DOCKERFILE)) == {"python:3.11-slim-bookworm"}
    assert stated.startswith(">=3.11")


def test_the_image_runs_any_command_without_root() -> None:
    last = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert re.findall(r"^USER (.+)$", last, flags=re.MULTILINE) == ["10001:10001"]
    [entry] = re.findall(r"^ENTRYPOINT (.+)$", last, flags=re.MULTILINE)
    assert json.loads(entry) == ["tini", "--"]  # Prefect's workers pass a whole command as arguments


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_compose_files_match_the_specification(name: str) -> None:
    written = yaml.safe_load((INFRA / name).read_text(encoding="utf-8"))
    jsonschema.validate(written, get_builtin_schema("vendor.compose-spec"))


def test_no_service_runs_as_root() -> None:
    for name, service in SERVICES.items():
        assert name in OURS or service["user"] not in {"root", "0"}
        assert "privileged" not in service
    assert all(each.get("user") is None and each["cap_drop"] == ["ALL"] for each in OURS.values())


def test_ports_are_published_on_loopback_only() -> None:
    ports = [port for each in SERVICES.values() for port in each.get("ports", ())]
    assert len(ports) >= 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_only_services_with_keys_are_on_the_store_network() -> None:
    for name, service in SERVICES.items():
        assert ("store" in service["networks"]) <= ("AWS_SECRET_ACCESS_KEY" in service.get("environment", ())), name
        assert ("database" in service["networks"]) == (name in {"postgres", "prefect"})


def test_every_secret_comes_from_a_required_variable() -> None:
    text = (INFRA / "compose.yaml").read_text(encoding="utf-8")
    header = text.split("name: everlearn")[0]
    for variable in re.findall(r"\$\{(\w+)", text):
        assert variable in header
    secret = [each for each in strings(COMPOSE) if re.search(r"SECRET|PASSWORD|SIGNING", each) and "${" in each]
    required = {re.findall(r"\$\{(\w+):\?", each)[0] for each in secret if ":?" in each}
    assert required == {"AWS_SECRET_ACCESS_KEY", "EVERLEARN_SIGNING_KEY", "POSTGRES_PASSWORD"}


def test_mounts_networks_and_dependencies_exist() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert source in COMPOSE["volumes"] or (INFRA / source).exists()
        assert set(service.get("depends_on", ())) <= set(SERVICES)
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        for waited, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[waited]


def test_the_settings_of_the_containers_are_valid() -> None:
    for service in OURS.values():
        environ = {name: value for name, value in service["environment"].items() if "${" not in value}
        load(environ=environ)


def test_every_command_of_a_service_is_valid() -> None:
    group = typer.main.get_group(app)
    begun = [each["command"][1:] for each in OURS.values() if each["command"][0] == "everlearn"]
    assert len(begun) == 3
    for name, *words in begun:
        group.commands[name].make_context(name, list(words))


def test_there_is_a_worker_for_each_pool_of_the_deployments() -> None:
    commands = [" ".join(each["command"]) for each in SERVICES.values() if "command" in each]
    served = {pool for command in commands for pool in re.findall(r"worker start --pool (\w+) --type process", command)}
    assert served == {each["work_pool"]["name"] for each in DEPLOYMENTS}


class ComposedS3(LocalS3):
    """The server with the command of the Compose file, but on loopback and on free ports."""

    def command(self) -> list[str]:
        mine = super().command()
        ports = {each.partition("=")[0]: each for each in mine if re.match(r"-\w+\.port=", each)}
        place = {"-ip": "-ip=127.0.0.1", "-ip.bind": "-ip.bind=127.0.0.1", "-dir": f"-dir={self.directory / 'data'}"}
        composed = SERVICES["s3"]["command"]
        return [mine[0], *((ports | place).get(each.partition("=")[0], each) for each in composed[1:])]


def test_the_composed_store_starts_and_demands_keys(tmp_path: Path) -> None:
    command = SERVICES["s3"]["command"]
    assert {each for each in SEAWEED_FLAGS if not each.startswith("-ip.bind")} <= set(command)
    assert SERVICES["s3"]["ports"] == ["127.0.0.1:8333:8333"]
    with ComposedS3(tmp_path) as server:
        assert server.is_ready()  # a write and a read with the keys succeed, a read without is refused
