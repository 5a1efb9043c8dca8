"""Where a version came from, in the form that supply-chain tools read: SLSA v1 provenance in an in-toto statement.

    subject       the adapter's files
    depends on    the base model, the parent's manifest, the night's data, the code if its commit is known
    run           the cycle, from when to when

Everything in it comes from the manifest and from the run that made it, so the same night writes the same bytes. It is
kept as an object that the manifest names, hence covered by the manifest's signature; it needs none of its own. See
https://slsa.dev/spec/v1.0/provenance and https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from everlearn.registry.manifest import Manifest

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:everlearn:night:v1"
BUILDER = "urn:everlearn:cycle"
BASE_DIGEST = (
    "SHA-256 of the names and SHA-256 digests of weights, configuration, tokenizer and chat template, a line each"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRun:
    """What a night knows beside its manifest: its line, its start, what it began at, and what is told of its parts.

    `parent_manifest` is the digest of the parent's manifest, `commit` that of the code, `licence` the base model's.
    """

    line: str
    started: datetime
    parent_manifest: str | None = None
    commit: str | None = None
    licence: str | None = None


def statement(manifest: Manifest, *, run: BuildRun) -> dict[str, Any]:
    """The provenance of a version, ready to be written as canonical JSON."""
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": ref.digest}} for name, ref in sorted(manifest.files.items())],
        "predicateType": PREDICATE,
        "predicate": {"buildDefinition": _definition(manifest, run), "runDetails": _details(manifest, run)},
    }


def rfc3339(moment: datetime) -> str:
    """As both forms write time: whole seconds of UTC."""
    return f"{moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat()}Z"


def commit_of(file: Path) -> str | None:
    """The git commit that this source file is part of; None unless it is sure: no git, not tracked, or code was changed."""
    tracked = _git(file.parent, "ls-files", "--error-unmatch", "--", file.name)
    changed = _git(file.parent, "status", "--porcelain", "--untracked-files=no")
    return _git(file.parent, "rev-parse", "HEAD") if tracked and changed == "" else None


def _definition(manifest: Manifest, run: BuildRun) -> dict[str, Any]:
    return {
        "buildType": BUILD_TYPE,
        "externalParameters": {"line": run.line, "parent": manifest.parent or "base", "settings": manifest.config},
        "internalParameters": {"cycleKey": manifest.cycle_key},
        "resolvedDependencies": _dependencies(manifest, run),
    }


def _dependencies(manifest: Manifest, run: BuildRun) -> list[dict[str, Any]]:
    base = {"name": "base model", "digest": {"sha256": manifest.base_fingerprint}}
    found: list[dict[str, Any]] = [base | {"annotations": {"digestOf": BASE_DIGEST}}]
    if run.parent_manifest is not None:
        found.append({"name": f"manifest of {manifest.parent}", "digest": {"sha256": run.parent_manifest}})
    found.append({"name": "data snapshot", "digest": {"sha256": manifest.data_digest}})
    if run.commit is not None:
        found.append({"name": "code", "digest": {"gitCommit": run.commit}})
    return found


def _details(manifest: Manifest, run: BuildRun) -> dict[str, Any]:
    details: dict[str, Any] = {
        "builder": {"id": BUILDER, "version": {"everlearn": manifest.code_version}},
        "metadata": {
            "invocationId": manifest.cycle_key,
            "startedOn": rfc3339(run.started),
            "finishedOn": rfc3339(manifest.created),
        },
    }
    if manifest.report is not None:
        details["byproducts"] = [{"name": "report", "digest": {"sha256": manifest.report.digest}}]
    return details


def _git(folder: Path, *words: str) -> str | None:
    """What git answers, None if it is not there or says no."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run([git, "-C", str(folder), *words], check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None
