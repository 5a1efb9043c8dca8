"""What a version is made of, as a CycloneDX 1.6 bill of materials for machine learning.

    metadata.component   the adapter: its files, and a model card with what the gate measured
    components           the base model, the parent version, the night's data
    dependencies         the adapter rests on all of them

As with the provenance beside it, the same night writes the same bytes: the serial number is drawn from the content.
See https://cyclonedx.org/docs/1.6/json/.
"""

from __future__ import annotations

import re
import uuid
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from everlearn.canonical_json import canonical, digest_of
from everlearn.registry.provenance import BASE_DIGEST, rfc3339

if TYPE_CHECKING:
    from everlearn.registry.manifest import Manifest
    from everlearn.registry.provenance import BuildRun

ADAPTER = "adapter"
_LICENCE = re.compile(r"^license: *([A-Za-z0-9.+-]+) *$", re.MULTILINE)


def bill(manifest: Manifest, *, run: BuildRun) -> dict[str, Any]:
    """The bill of materials of a version, ready to be written as canonical JSON."""
    parts = _parts(manifest, run)
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": rfc3339(manifest.created),
            "tools": {"components": [_tool(manifest)]},
            "component": _adapter(manifest, run),
        },
        "components": parts,
        "dependencies": [
            {"ref": ADAPTER, "dependsOn": [part["bom-ref"] for part in parts]},
            *({"ref": part["bom-ref"]} for part in parts),
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:everlearn:bom:{digest_of(canonical(content))}")
    return {"serialNumber": serial.urn} | content


def licence_of(card: str) -> str | None:
    """The licence that a model card names in its header, None if it names none."""
    before, _, rest = card.partition("---\n")
    header, end, _ = rest.partition("\n---")
    found = _LICENCE.search(header) if end and not before else None
    return found[1] if found else None


def _tool(manifest: Manifest) -> dict[str, Any]:
    return {"type": "application", "name": "everlearn", "version": manifest.code_version}


def _adapter(manifest: Manifest, run: BuildRun) -> dict[str, Any]:
    files = sorted(manifest.files.items())
    return {
        "type": "machine-learning-model",
        "bom-ref": ADAPTER,
        "name": run.line,
        "version": manifest.cycle_key,
        "description": f"LoRA adapter, made by a night that began at {manifest.parent or 'the base model'}",
        "components": [
            {"type": "file", "bom-ref": f"file:{name}", "name": name, "hashes": _sha256(ref.digest)}
            for name, ref in files
        ],
        "modelCard": {
            "modelParameters": _parameters(manifest),
            "quantitativeAnalysis": {"performanceMetrics": _metrics(manifest.decision)},
            "properties": [{"name": "everlearn:gate", "value": str(manifest.decision.get("outcome", "unknown"))}],
        },
    }


def _parameters(manifest: Manifest) -> dict[str, Any]:
    told = {
        "approach": {"type": "reinforcement-learning"},
        "task": manifest.config.get("domain"),
        "architectureFamily": "transformer",
        "modelArchitecture": "LoRA",
        "datasets": [{"ref": "data"}],
        "inputs": [{"format": "text"}],
        "outputs": [{"format": "text"}],
    }
    return {name: value for name, value in told.items() if value is not None}


def _metrics(decision: dict[str, Any]) -> list[dict[str, Any]]:
    """What the gate measured: of each suite the share answered correctly, and the gain over each opponent."""
    metrics: list[dict[str, Any]] = []
    for row in decision.get("rows", ()):
        share = {"type": "share answered correctly", "value": _number(row["after"]), "slice": row["suite"]}
        if share not in metrics:
            metrics.append(share)
        metrics.append(
            {
                "type": f"gain over the {row['against']}",
                "value": _number(row["after"] - row["before"]),
                "slice": row["suite"],
                "confidenceInterval": {"lowerBound": _number(row["low"]), "upperBound": _number(row["high"])},
            }
        )
    return metrics


def _parts(manifest: Manifest, run: BuildRun) -> list[dict[str, Any]]:
    path = str(manifest.config.get("base", {}).get("path", "base"))
    base = {
        "type": "machine-learning-model",
        "bom-ref": "base",
        "name": PurePath(path).name or "base",
        "hashes": _sha256(manifest.base_fingerprint),
        "properties": [{"name": "everlearn:digestOf", "value": BASE_DIGEST}],
    }
    if run.licence is not None:
        base["licenses"] = [{"license": {"name": run.licence}}]
    data = {
        "type": "data",
        "bom-ref": "data",
        "name": "data snapshot",
        "hashes": _sha256(manifest.data_digest),
        "data": [{"type": "dataset", "name": "problems of the night"}],
    }
    if run.parent_manifest is None:
        return [base, data]
    parent = {
        "type": "machine-learning-model",
        "bom-ref": "parent",
        "name": run.line,
        "version": manifest.parent,
        "hashes": _sha256(run.parent_manifest),
        "properties": [{"name": "everlearn:digestOf", "value": "the manifest"}],
    }
    return [base, parent, data]


def _sha256(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]


def _number(value: float) -> str:
    return f"{value:.6g}"
