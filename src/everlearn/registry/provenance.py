"""Provenance of a version: a SLSA v1 predicate in an in-toto statement, the form that supply-chain tools read.

    subject        the adapter's files
    dependencies   the base model, the parent's manifest, the night's data, the code if its commit is known
    run            the cycle, its start and its end

Built with the models of `in-toto-attestation`. Every fact comes from the manifest and from the run, so the same night
gives the same bytes. The statement is stored as an object that the signed manifest names, so it has no signature of its
own. See https://slsa.dev/spec/v1.0/provenance and
https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from everlearn.registry.base_identity import newest_digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from everlearn.registry.manifest import Manifest

PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:everlearn:night:v1"
BUILDER = "urn:everlearn:cycle"
BASE_DIGEST = (
    "SHA-256 of the names and SHA-256 digests of weights, configuration, tokenizer and chat template, a line each"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRun:
    """Facts about a night that its manifest does not hold.

    parent_manifest   digest of the parent's manifest
    commit            git commit of the code, if it is exactly that
    code              the same with a note on uncommitted changes
    licence           licence of the base model
    """

    line: str
    started: datetime
    parent_manifest: str | None = None
    commit: str | None = None
    code: str | None = None
    licence: str | None = None


def statement(manifest: Manifest, *, run: BuildRun) -> dict[str, Any]:
    """Return the provenance of a version as JSON values."""
    from google.protobuf.json_format import MessageToDict  # with in_toto_attestation 0.2 s, for publishers only
    from in_toto_attestation.v1.statement import Statement

    files = sorted(manifest.files.items())
    predicate = _predicate(manifest, run)
    made = Statement([_resource(name, sha256=ref.digest) for name, ref in files], PREDICATE, predicate)
    made.validate()
    return {**MessageToDict(made.pb), "predicate": predicate}


def whole_seconds(moment: datetime) -> datetime:
    """Return `moment` in UTC without microseconds, the precision of both documents of a version."""
    return moment.astimezone(UTC).replace(microsecond=0)


def commit_of(file: Path) -> str | None:
    """Return the git commit of a source file; None without git, for an untracked file, or with uncommitted changes."""
    tracked = _git(file.parent, "ls-files", "--error-unmatch", "--", file.name)
    changed = _git(file.parent, "status", "--porcelain", "--untracked-files=no")
    return _git(file.parent, "rev-parse", "HEAD") if tracked and changed == "" else None


def code_of(file: Path) -> str | None:
    """Return the commit of a source file, with a note on uncommitted changes; None for code outside of a checkout."""
    if not _git(file.parent, "ls-files", "--error-unmatch", "--", file.name):
        return None
    changed = _git(file.parent, "status", "--porcelain", "--untracked-files=no")
    return f"{_git(file.parent, 'rev-parse', 'HEAD')}{' with uncommitted changes' if changed else ''}"


def recorded_code(provenance: Mapping[str, Any]) -> str | None:
    """Return what `code_of` gave when the version was published; None for an installed wheel or an old document."""
    details = provenance["predicate"]["buildDefinition"].get("internalParameters", {})
    code: str | None = details.get("code")
    return code


def _predicate(manifest: Manifest, run: BuildRun) -> dict[str, Any]:
    """Return the SLSA predicate as JSON values."""
    from google.protobuf.json_format import MessageToDict
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2

    message = provenance_pb2.Provenance()
    build, details = message.build_definition, message.run_details
    build.build_type = BUILD_TYPE
    build.external_parameters.update({"line": run.line, "parent": manifest.parent or "base"})
    build.internal_parameters.update({"cycleKey": manifest.cycle_key})
    if run.code is not None:
        build.internal_parameters.update({"code": run.code})
    build.resolved_dependencies.extend(_dependencies(manifest, run))
    details.builder.id = BUILDER
    details.builder.version["everlearn"] = manifest.code_version
    details.metadata.invocation_id = manifest.cycle_key
    details.metadata.started_on.FromDatetime(whole_seconds(run.started))
    details.metadata.finished_on.FromDatetime(whole_seconds(manifest.created))
    if manifest.report is not None:
        details.byproducts.append(_resource("report", sha256=manifest.report.digest))
    predicate: dict[str, Any] = MessageToDict(message)
    # Set after the conversion: a protobuf Struct holds every number as a double, which would round large seeds.
    predicate["buildDefinition"]["externalParameters"]["settings"] = manifest.config
    return predicate


def _dependencies(manifest: Manifest, run: BuildRun) -> list[Any]:
    """Return the resource descriptors of everything that the version was made from."""
    base = _resource(
        "base model", annotations={"digestOf": BASE_DIGEST}, sha256=newest_digest(manifest.base_fingerprint)
    )
    dependencies = [base]
    if run.parent_manifest is not None:
        dependencies.append(_resource(f"manifest of {manifest.parent}", sha256=run.parent_manifest))
    dependencies.append(_resource("data snapshot", sha256=manifest.data_digest))
    if run.commit is not None:
        dependencies.append(_resource("code", gitCommit=run.commit))
    return dependencies


def _resource(name: str, *, annotations: dict[str, str] | None = None, **digest: str) -> Any:
    """Return an in-toto ResourceDescriptor message."""
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor

    return ResourceDescriptor(name=name, digest=digest, annotations=annotations).pb


def _git(folder: Path, *arguments: str) -> str | None:
    """Return the output of a git command; None if git is not installed or the command fails."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run([git, "-C", str(folder), *arguments], check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None
