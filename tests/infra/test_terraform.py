"""The policies of infra/terraform: sufficient and minimal for each role, and effective for the bucket.

They are checked by Terraform, where it is installed with the provider; by SeaweedFS's policy engine, which supports roles
and TLS but not AWS's condition keys for conditional writes; and for those by an evaluator of AWS's rules (policy.py) in a
proxy that sees every real request. The policies are read from the files that Terraform reads.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from everlearn.cycle.inputs import CycleInputs
from everlearn.cycle.lease import Lease
from everlearn.cycle.record import abandon_cycle, current_cycle, open_cycle
from everlearn.cycle.workspace import Workspace
from everlearn.errors import StoreDownError, StoreError
from everlearn.local.seaweedfs import LocalS3
from everlearn.registry.acknowledgements import acknowledge, forget_consumer, replicas
from everlearn.registry.maintenance.fsck import fsck
from everlearn.registry.maintenance.gc import collect
from everlearn.settings import RetentionSettings
from everlearn.storage import multipart
from everlearn.storage.s3 import S3Store
from tests.conftest import S3Server
from tests.infra.policy import allows, denies, describe, render, unused
from tests.support.line import LINE, VERIFIER, adapter, candidate, open_line, publish
from tests.support.s3_fault_proxy import Fault, Proxy, Request, run_proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TERRAFORM = Path(__file__).parents[2] / "infra" / "terraform"
POLICIES = TERRAFORM / "policies"
BUCKET = "adapters"
NAMES = {"arn": f"arn:aws:s3:::{BUCKET}", "bucket": BUCKET, "line": LINE, "consumer": "web-1", "trusted": '["*"]'}
ROLES = ("trainer", "publisher", "reader")
FIVE_MIB = 5 * 1024**2


def policy(name: str) -> dict[str, Any]:
    return render(POLICIES / f"{name}.json", NAMES)


def without(document: dict[str, Any], *sids: str) -> dict[str, Any]:
    return document | {"Statement": [each for each in document["Statement"] if each["Sid"] not in sids]}


class RoledS3(LocalS3):
    """SeaweedFS with an administrator and one identity for each role, with the role's policy."""

    def command(self) -> list[str]:
        admin = {
            "name": "admin",
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        credentials = {role: [dict(zip(("accessKey", "secretKey"), keys(role), strict=True))] for role in ROLES}
        roles = [{"name": role, "credentials": credentials[role], "policyNames": [role]} for role in ROLES]
        # SeaweedFS does not support IfExists, but distinguishes missing from forbidden objects without it.
        documents = {role: json.dumps(policy(role)).replace("StringLikeIfExists", "StringLike") for role in ROLES}
        policies = [{"name": role, "content": content} for role, content in documents.items()]
        config = self.directory / "identities.json"
        config.write_text(json.dumps({"identities": [admin, *roles], "policies": policies}))
        return [*super().command(), f"-s3.config={config}"]


def keys(role: str) -> tuple[str, str]:
    return (f"key-of-{role}", f"secret-of-{role}")


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """A server with roles, and a proxy that evaluates policies as AWS does."""

    server: S3Server
    admin: Any
    proxy: Proxy

    def direct(self, role: str | None = None) -> S3Store:
        secret = keys(role) if role else (self.server.access_key, self.server.secret_key)
        return S3Store(BUCKET, endpoint_url=self.server.endpoint_url, keys=secret)

    def judged(self, role: str) -> S3Store:
        """Return a store whose requests are also evaluated with the role's policy and the bucket's."""
        both = [policy(role), policy("bucket")]

        def choose(request: Request) -> Fault | None:
            return None if allows(both, *describe(request)) else Fault.DENIED

        self.proxy.choose = choose
        return S3Store(BUCKET, endpoint_url=self.proxy.endpoint_url, keys=keys(role))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with RoledS3(tmp_path_factory.mktemp("roles"), bucket=BUCKET) as running:
        server = S3Server(
            endpoint_url=running.endpoint_url, access_key=running.access_key, secret_key=running.secret_key
        )
        admin = boto3.client(
            "s3",
            endpoint_url=server.endpoint_url,
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
            region_name="us-east-1",
        )
        admin.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        with run_proxy(server) as proxy:
            yield Cloud(server=server, admin=admin, proxy=proxy)
        admin.close()


@pytest.fixture(autouse=True)
def _empty(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "cloud" in request.fixturenames:
        cloud: Cloud = request.getfixturevalue("cloud")
        cloud.proxy.choose = lambda _: None
        cloud.proxy.requests.clear()
        for page in cloud.admin.get_paginator("list_object_versions").paginate(Bucket=BUCKET):
            for each in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                cloud.admin.delete_object(Bucket=BUCKET, Key=each["Key"], VersionId=each["VersionId"])


def test_every_rendered_template_is_json() -> None:
    for path in POLICIES.glob("*.json"):
        assert render(path, NAMES)["Version"] == "2012-10-17"
        assert "${" not in json.dumps(render(path, NAMES))


def test_a_publisher_can_do_its_work_with_conditional_writes(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multipart, "SINGLE_REQUEST_BYTES", FIVE_MIB)
    monkeypatch.setattr(multipart, "PART_BYTES", FIVE_MIB)
    large = tmp_path / "large"
    large.write_bytes(os.urandom(FIVE_MIB + 7))
    store = cloud.judged("publisher")
    store.require_conformance()
    line = open_line(store)
    assert line.state().champion is None
    line.put_file(large)
    publish(line, "one")
    publish(line, "two")
    publish(line, "three", champion=False)
    line.put_object(adapter("one"))
    line.rollback(reason="worse", actor="ada", keep=True, verify="full")
    line.promote("v0002", reason="after all", actor="ada")
    line.store.touch(next(iter(line.store.list(f"{LINE}/objects/"))).key)
    trained(store)
    cloud.direct().put(f"{LINE}/consumers/gone.json", b"{}")
    forget_consumer(line, "gone")
    assert fsck(store, LINE, verifier=VERIFIER).is_clean
    assert len(list(store.versions(f"{LINE}/HEAD"))) == line.state().sequence - 1
    line._heartbeat.end()
    cloud.direct().put(f"{LINE}/work/{'e' * 64}/index.json", b"{}")
    retention = RetentionSettings.model_construct(
        versions=0, minimum_age_hours=-1.0, work_days=-1.0
    )  # young objects, too
    done = collect(open_line(store), retention, actor="ada", wait=lambda _: None, lifetime=timedelta(seconds=1))
    assert done.retired == ("v0003",)
    assert {f"{LINE}/work/{'e' * 64}/index.json"} < set(done.removed)
    assert fsck(store, LINE, verifier=VERIFIER).is_clean
    judged = [request for request in cloud.proxy.requests if "/HEAD" in request.path and request.method == "PUT"]
    assert len(judged) == line.state().sequence
    assert unused(policy("publisher"), cloud.proxy.requests) == set()


def trained(store: S3Store) -> None:
    """Make the requests of a training machine, which does not publish."""
    inputs = CycleInputs(data_digest="d", config_digest="c", parent=None, base_fingerprint="b", code_version="1")
    with Lease(store, LINE) as lease:
        cycle = open_cycle(store, LINE, inputs)
        work = Workspace(store, LINE, cycle.key, token=lease.token)
        work.fence()
        work.put("ladder", b"problems")
        assert work.get("ladder") == b"problems"
    assert current_cycle(store, LINE) == open_cycle(store, LINE, inputs)
    store.put(f"{LINE}/intake/{'a' * 64}.html", b"page")
    store.put(f"{LINE}/snapshots/{'a' * 64}/counts.json", b"{}")
    assert list(store.list("dvc/files/md5/aa")) == []
    store.create("dvc/files/md5/aa/bb", b"data")
    assert store.get("dvc/files/md5/aa/bb").data == b"data"
    assert abandon_cycle(store, LINE) is not None


def test_a_trainer_can_upload_but_not_write_history(cloud: Cloud) -> None:
    publish(open_line(cloud.direct()), "one")
    before = open_line(cloud.direct()).state()
    trained(cloud.judged("trainer"))
    for store in (cloud.judged("trainer"), cloud.direct("trainer")):
        store.require_conformance()
        line = open_line(store)
        manifest = candidate(line, "two", parent="v0001")
        with pytest.raises(StoreDownError, match="refuses these credentials"):
            line.publish(manifest, make_champion=True, actor="gpu", reason="better")
        for key in (
            "HEAD",
            f"events/{'a' * 64}.json",
            f"manifests/{'a' * 64}.json",
            "consumers/web-1.json",
            "gc/mark.json",
        ):
            refused(store.put, f"{LINE}/{key}", b"x")
        for key in ("HEAD", f"objects/sha256/{'a' * 64}", "consumers/web-1.json"):
            refused(store.delete, f"{LINE}/{key}")
        refused(store.put, "another/HEAD", b"x")
    assert open_line(cloud.direct()).state() == before
    assert unused(policy("trainer"), cloud.proxy.requests) == set()


def test_a_reader_can_only_pull_and_acknowledge(cloud: Cloud, tmp_path: Path) -> None:
    publish(open_line(cloud.direct()), "one")
    cloud.direct().put(f"{LINE}/work/secret", b"problems")
    for number, store in enumerate((cloud.judged("reader"), cloud.direct("reader"))):
        line = open_line(store)
        to = line.pull("champion", to=tmp_path / str(number))
        assert (to / "adapter_model.safetensors").read_bytes() == adapter("one")
        acknowledge(line, consumer="web-1", version="v0001", sequence=1, at=datetime.now(tz=UTC))
        assert abs(store.now() - datetime.now(tz=UTC)) < timedelta(minutes=1)
        assert line.state().champion == "v0001"
        refused(acknowledge, line, consumer="web-2", version=None, sequence=1, at=datetime.now(tz=UTC))
        for key in ("HEAD", f"events/{'a' * 64}.json", f"objects/sha256/{'a' * 64}", "work/x", "publishers/x.json"):
            refused(store.put, f"{LINE}/{key}", b"x")
            refused(store.delete, f"{LINE}/{key}")
        refused(store.get, f"{LINE}/work/secret")
        refused(list, store.list("another/"))
        refused(list, store.versions(f"{LINE}/HEAD"))
        refused(line.rollback, reason="worse", actor="web-1")
    assert [each.consumer for each in replicas(open_line(cloud.direct()))] == ["web-1"]
    assert unused(policy("reader"), cloud.proxy.requests) == set()


def refused(act: Callable[..., object], *arguments: object, **named: object) -> None:
    with pytest.raises(StoreError, match="refuses these credentials"):
        act(*arguments, **named)


def test_even_the_administrator_writes_history_conditionally(cloud: Cloud) -> None:
    publish(open_line(cloud.direct()), "one")
    head = cloud.direct().get(f"{LINE}/HEAD")
    cloud.proxy.choose = lambda request: Fault.DENIED if denies(policy("bucket"), request) else None
    admin = cloud.proxy.store(BUCKET)
    objects = [info.key for info in admin.list(f"{LINE}/objects/")]
    history = [info.key for info in admin.list(f"{LINE}/") if "/events/" in info.key or "/manifests/" in info.key]
    for key in (f"{LINE}/HEAD", *history, *objects):
        refused(admin.put, key, b"other")
    for key in (f"{LINE}/HEAD", *history):
        refused(admin.delete, key)
        refused(admin.touch, key)
    source = {"Bucket": BUCKET, "Key": f"{LINE}/work/x"}
    cloud.direct().put(source["Key"], b"other")
    with pytest.raises(ClientError, match="AccessDenied"):
        admin._no_retry_client.copy_object(Bucket=BUCKET, Key=objects[0], CopySource=source)
    made = admin._no_retry_client.create_multipart_upload(Bucket=BUCKET, Key=objects[0])
    upload = {"Bucket": BUCKET, "Key": objects[0], "UploadId": made["UploadId"]}
    sent = admin._no_retry_client.upload_part(**upload, PartNumber=1, Body=b"other")
    with pytest.raises(ClientError, match="AccessDenied"):
        admin._no_retry_client.complete_multipart_upload(
            **upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": sent["ETag"]}]}
        )
    admin._no_retry_client.abort_multipart_upload(**upload)
    admin.touch(objects[0])
    admin.replace(f"{LINE}/HEAD", head.data, etag=head.etag)
    admin.put(f"{LINE}/work/x", b"anything")
    assert fsck(cloud.direct(), LINE, verifier=VERIFIER).is_clean


def test_a_real_policy_engine_accepts_the_bucket_policy(cloud: Cloud) -> None:
    publish(open_line(cloud.direct()), "one")
    kept = without(policy("bucket"), "OnlyOverTLS", "OnlyOverNewTLS")
    cloud.admin.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(kept))
    try:
        store = cloud.direct("publisher")
        publish(open_line(store), "two")
        for info in list(store.list(f"{LINE}/")):
            if info.key.endswith(".json") or info.key.endswith("/HEAD"):
                refused(store.delete, info.key)
    finally:
        cloud.admin.delete_bucket_policy(Bucket=BUCKET)


def test_plain_http_is_refused(cloud: Cloud) -> None:
    """The test has its own bucket: without TLS this policy locks out everyone, permanently."""
    cloud.admin.create_bucket(Bucket="tls")
    secret = (cloud.server.access_key, cloud.server.secret_key)
    store = S3Store("tls", endpoint_url=cloud.server.endpoint_url, keys=secret)
    store.put(f"{LINE}/work/x", b"x")
    document = render(POLICIES / "bucket.json", NAMES | {"arn": "arn:aws:s3:::tls", "bucket": "tls"})
    cloud.admin.put_bucket_policy(Bucket="tls", Policy=json.dumps(document))
    refused(store.get, f"{LINE}/work/x")
    refused(store.put, f"{LINE}/work/x", b"y")


@pytest.mark.parametrize(
    ("keys", "allowed"),
    [
        ({}, True),
        ({"s3:prefix": f"{LINE}/events/"}, True),
        ({"s3:prefix": "another/"}, False),
    ],
)
def test_a_role_can_distinguish_missing_from_forbidden(keys: dict[str, str], *, allowed: bool) -> None:
    """AWS answers 404 only to principals that can list; a request for an object has no prefix to compare."""
    for role in ROLES:
        assert allows([policy(role)], "s3:ListBucket", NAMES["arn"], keys) is allowed


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_old_tls_is_refused(version: str) -> None:
    context = {"aws:SecureTransport": "true", "s3:TlsVersion": version}
    both = [policy("publisher"), policy("bucket")]
    assert not allows(both, "s3:GetObject", f"{NAMES['arn']}/{LINE}/HEAD", context)
    assert allows(both, "s3:GetObject", f"{NAMES['arn']}/{LINE}/HEAD", context | {"s3:TlsVersion": "1.2"})


def provider() -> Path | None:
    """Return a directory with Terraform's AWS provider, in the layout of packages and mirrors."""
    roots = [Path("/usr/share"), Path("/usr/local/share"), Path("/opt"), Path.home() / ".terraform.d"]
    found = (path for root in roots for path in root.glob("*/registry.terraform.io/hashicorp/aws"))
    return next((path.parents[2] for path in found), None)


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")
@pytest.mark.parametrize(
    "words",
    [
        ("fmt", "-check", "-recursive"),
        pytest.param(("validate", "-no-color"), marks=pytest.mark.slow),
        pytest.param(("test", "-no-color"), marks=pytest.mark.slow),
    ],
    ids=lambda words: words[0],
)
def test_terraform_validates_and_plans(words: tuple[str, ...], tmp_path: Path) -> None:
    place = tmp_path / "terraform"
    shutil.copytree(TERRAFORM, place, ignore=shutil.ignore_patterns(".terraform*"))
    plugins = provider()
    where = [f"-plugin-dir={plugins}"] if plugins else []

    def terraform(*words: str) -> subprocess.CompletedProcess[str]:
        quiet = {"TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
        return subprocess.run(
            ["terraform", f"-chdir={place}", *words],
            env=os.environ | quiet,
            capture_output=True,
            text=True,
            check=False,
        )

    if words[0] == "fmt":
        assert terraform(*words).stdout == ""
        return
    ready = terraform("init", "-backend=false", "-input=false", "-no-color", *where)
    if ready.returncode:
        pytest.skip(f"no AWS provider is available here: {ready.stderr.strip()[-200:]}")
    done = terraform(*words)
    assert done.returncode == 0, done.stdout + done.stderr
