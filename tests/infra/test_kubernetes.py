"""infra/kubernetes, checked without a cluster: with Kubernetes' schemas and Prefect's worker."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import kubernetes_validate
import pytest
import yaml
from prefect.client.schemas.objects import FlowRun
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from everlearn.settings import load
from tests.infra.deployments import DEPLOYMENTS

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "infra" / "kubernetes"
POOLS = ("cpu", "gpu")
NEWEST = kubernetes_validate.latest_version()
RUN = FlowRun(id=UUID(int=1), flow_id=UUID(int=2), name="night 2026-11-23 · line math")


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def manifests() -> list[dict[str, Any]]:
    """Return the objects of `kubectl apply -k` and `kubectl create -f deploy.yaml`, without generated config maps."""
    named = documents(PLACE / "kustomization.yaml")[0]["resources"]
    return [each for name in (*named, "deploy.yaml") for each in documents(PLACE / name)]


def generated() -> list[dict[str, Any]]:
    return list(documents(PLACE / "kustomization.yaml")[0]["configMapGenerator"])


def rendered(pool: str, **values: Any) -> dict[str, Any]:
    """Return the Job that Prefect's worker would create for a run, after its own validation."""
    template = json.loads((PLACE / "pools" / f"{pool}.json").read_text(encoding="utf-8"))
    pending: Any = KubernetesWorkerJobConfiguration.from_template_and_values(template, values, client=object())
    configuration = asyncio.run(pending)
    configuration.prepare_for_flow_run(RUN)
    manifest: dict[str, Any] = configuration.job_manifest
    return manifest


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return found


def pods() -> list[tuple[str, dict[str, Any]]]:
    written = [(each["kind"], pod_of(each)) for each in manifests() if each["kind"] in {"Deployment", "Job"}]
    return written + [(pool, pod_of(rendered(pool))) for pool in POOLS]


@pytest.mark.parametrize("release", [NEWEST, "1.27.0"])
def test_every_object_matches_the_schema_of_kubernetes(release: str) -> None:
    for each in manifests():
        kubernetes_validate.validate(each, release, strict=True)


@pytest.mark.parametrize("pool", POOLS)
def test_the_job_of_a_run_matches_the_schema_of_kubernetes(pool: str) -> None:
    job = rendered(pool, env={"EVERLEARN_STORE__LINE": "math"})
    for stray in ("completions", "parallelism"):
        del pod_of(job)[stray]  # required by Prefect, ignored by Kubernetes
    kubernetes_validate.validate(job, NEWEST, strict=True)
    kubernetes_validate.validate(job, "1.27.0", strict=True)


@pytest.mark.parametrize("pool", POOLS)
def test_a_run_has_its_environment_and_sends_heartbeats(pool: str) -> None:
    container = pod_of(rendered(pool, env={"EVERLEARN_STORE__LINE": "math"}))["containers"][0]
    environ = {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}
    assert environ["EVERLEARN_STORE__LINE"] == "math"
    assert environ["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert environ["PREFECT_LOGGING_EXTRA_LOGGERS"] == "everlearn"
    assert environ["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"  # an evicted run is rescheduled
    assert container["args"] == ["prefect", "flow-run", "execute"]  # arguments of the image's entry point
    assert container["envFrom"] == [{"configMapRef": {"name": "everlearn-settings"}}]


def test_secrets_are_referenced_not_contained() -> None:
    for _, pod in pods():
        for variable in pod["containers"][0]["env"]:
            if re.search("SECRET|KEY|PASSWORD|TOKEN", variable["name"]):
                assert variable["valueFrom"]["secretKeyRef"]["name"] == "everlearn"
    assert not [each for each in manifests() if each["kind"] == "Secret"]


@pytest.mark.parametrize(("name", "pod"), pods(), ids=lambda each: each if isinstance(each, str) else "")
def test_no_pod_runs_as_root_or_can_become_root(name: str, pod: dict[str, Any]) -> None:
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        held = container["securityContext"]
        assert held["capabilities"] == {"drop": ["ALL"]}
        assert (held["allowPrivilegeEscalation"], held["readOnlyRootFilesystem"]) == (False, True)
        assert {"cpu", "memory"} <= set(container["resources"]["requests"]) & set(container["resources"]["limits"])
        mounted = {each["name"] for each in container["volumeMounts"]}
        assert mounted == {each["name"] for each in pod["volumes"]}


def test_the_gpu_pool_differs_only_in_gpu_settings() -> None:
    cpu, gpu = (pod_of(rendered(pool)) for pool in POOLS)
    for part in ("requests", "limits"):
        assert gpu["containers"][0]["resources"][part]["nvidia.com/gpu"] == 1
        assert "nvidia.com/gpu" not in cpu["containers"][0]["resources"][part]
    assert gpu["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert gpu["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert not cpu["nodeSelector"]
    assert not cpu["tolerations"]
    assert gpu["containers"][0]["image"] == cpu["containers"][0]["image"].replace("-cpu", "-cuda")
    two = pod_of(rendered("gpu", gpus=2))["containers"][0]["resources"]
    assert two["limits"]["nvidia.com/gpu"] == two["requests"]["nvidia.com/gpu"] == 2


@pytest.mark.parametrize("pool", POOLS)
def test_placeholders_and_variables_of_a_pool_agree(pool: str) -> None:
    text = (PLACE / "pools" / f"{pool}.json").read_text(encoding="utf-8")
    assert set(re.findall(r"\{\{ (\w+) \}\}", text)) == set(json.loads(text)["variables"]["properties"])


def test_every_object_that_a_pod_refers_to_exists() -> None:
    kinds = ("ServiceAccount", "PersistentVolumeClaim")
    objects = [(each["kind"], each["metadata"].get("name")) for each in manifests()]
    names = {kind: {name for found, name in objects if found == kind} for kind in kinds}
    maps = {each["name"] for each in generated()}
    for _, pod in pods():
        assert pod["serviceAccountName"] in names["ServiceAccount"]
        claims = [
            each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"] if "persistentVolumeClaim" in each
        ]
        assert set(claims) <= names["PersistentVolumeClaim"]
        assert {each["configMapRef"]["name"] for each in pod["containers"][0].get("envFrom", ())} <= maps
    for each in generated():
        assert all((PLACE / file.partition("=")[2]).exists() for file in each.get("files", ()))


def test_runs_carry_the_label_of_the_network_policies() -> None:
    [runs] = [each for each in manifests() if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] == "runs"]
    wanted = runs["spec"]["podSelector"]["matchLabels"].items()
    for pool in POOLS:
        assert wanted <= rendered(pool)["spec"]["template"]["metadata"]["labels"].items()


def test_charts_use_the_locked_prefect_and_the_right_pools() -> None:
    ours = version("prefect")
    values = {path.stem: documents(path)[0] for path in (PLACE / "helm").glob("*.yaml")}
    assert values["server"]["global"]["prefect"]["image"]["prefectTag"] == f"{ours}-python3.11"
    assert {each["work_pool"]["name"] for each in DEPLOYMENTS} == set(POOLS)
    maps = {each["name"] for each in generated()}
    for pool in POOLS:
        worker = values[f"worker-{pool}"]["worker"]
        assert worker["image"]["prefectTag"] == f"{ours}-python3.11-kubernetes"
        assert worker["config"]["workPool"] == pool
        assert worker["config"]["baseJobTemplate"]["existingConfigMapName"] in maps
        assert values[f"worker-{pool}"]["serviceAccount"] == {"create": False, "name": "everlearn-worker"}
    assert values["server"]["secret"] == {"create": False, "name": "prefect-database"}
    assert values["server"]["postgresql"] == {"enabled": False}


def test_every_file_in_the_instructions_exists() -> None:
    text = (PLACE / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"(?:-f|-k|--base-job-template) (infra/[\w./-]*\w)", text)
    assert len(named) > 8
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_builds_the_kustomization() -> None:
    done = subprocess.run(["kubectl", "kustomize", str(PLACE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = [each for each in yaml.safe_load_all(done.stdout) if each]
    for each in built:
        kubernetes_validate.validate(each, NEWEST, strict=True)
        assert each["kind"] == "Namespace" or each["metadata"]["namespace"] == "everlearn"
    [metrics] = [each for each in built if each["kind"] == "Deployment"]
    assert pod_of(metrics)["containers"][0]["image"] == "registry.example.com/everlearn:0.1.0-cpu"


def test_the_settings_of_runs_are_valid() -> None:
    [literals] = [each["literals"] for each in generated() if each["name"] == "everlearn-settings"]
    environ = dict(each.split("=", 1) for each in literals)
    assert load(environ=environ).store.endpoint_url == environ["EVERLEARN_STORE__ENDPOINT_URL"]
