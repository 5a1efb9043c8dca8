"""Bill of materials of a version: CycloneDX 1.6 for machine learning.

    metadata.component   the adapter: its files, and a model card with the gate's measurements
    components           the base model, the parent version, the night's data
    dependencies         the adapter depends on all of them

Built with the models of `cyclonedx-python-lib`, except for the model card and the contents of the data component, which
version 11 of that library has no classes for. The serial number is derived from the content, so the same night gives
the same bytes. See https://cyclonedx.org/docs/1.6/json/.
"""

from __future__ import annotations

import json
import re
import uuid
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from everlearn.canonical_json import canonical, digest_of
from everlearn.registry.base_identity import newest_digest
from everlearn.registry.provenance import BASE_DIGEST, whole_seconds

if TYPE_CHECKING:
    from cyclonedx.model import HashType
    from cyclonedx.model.bom import BomMetaData
    from cyclonedx.model.component import Component

    from everlearn.registry.manifest import Manifest
    from everlearn.registry.provenance import BuildRun

_LICENCE = re.compile(r"^license: *([A-Za-z0-9.+-]+) *$", re.MULTILINE)


def bill(manifest: Manifest, *, run: BuildRun) -> dict[str, Any]:
    """Return the bill of materials of a version as JSON values."""
    from cyclonedx.model.bom import Bom  # 0.4 s to import, for publishers only
    from cyclonedx.output.json import JsonV1Dot6

    adapter, parts = _adapter(manifest, run), _parts(manifest, run)
    bom = Bom(metadata=_metadata(manifest, adapter), components=parts)
    bom.register_dependency(adapter, parts)
    content: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    content["metadata"]["component"]["modelCard"] = _model_card(manifest)
    data = next(part for part in content["components"] if part["bom-ref"] == "data")
    data["data"] = [{"type": "dataset", "name": "problems of the night"}]
    del content["serialNumber"]  # random by default
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:everlearn:bom:{digest_of(canonical(content))}")
    return {"serialNumber": serial.urn} | content


def licence_of(card: str) -> str | None:
    """Return the licence in the header of a model card (README.md); None if there is none."""
    before, _, rest = card.partition("---\n")
    header, end, _ = rest.partition("\n---")
    match = _LICENCE.search(header) if end and not before else None
    return match[1] if match else None


def _metadata(manifest: Manifest, adapter: Component) -> BomMetaData:
    from cyclonedx.model.bom import BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.tool import ToolRepository

    tool = Component(type=ComponentType.APPLICATION, name="everlearn", version=manifest.code_version)
    tools = ToolRepository(components=[tool])
    return BomMetaData(component=adapter, timestamp=whole_seconds(manifest.created), tools=tools)


def _adapter(manifest: Manifest, run: BuildRun) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    files = [
        Component(type=ComponentType.FILE, bom_ref=f"file:{name}", name=name, hashes=_sha256(ref.digest))
        for name, ref in manifest.files.items()
    ]
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="adapter",
        name=run.line,
        version=manifest.cycle_key,
        description=f"LoRA adapter, made by a night that began at {manifest.parent or 'the base model'}",
        components=files,
    )


def _parts(manifest: Manifest, run: BuildRun) -> list[Component]:
    """Return what the adapter depends on: base model, data and, unless it is a first version, its parent."""
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.license import DisjunctiveLicense

    stated = manifest.config.get("base", {})
    base = Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="base",
        name=stated.get("model") or PurePath(stated.get("path") or "base").name or "base",
        version=stated.get("commit"),
        hashes=_sha256(newest_digest(manifest.base_fingerprint)),
        licenses=[DisjunctiveLicense(name=run.licence)] if run.licence is not None else None,
        properties=[Property(name="everlearn:digestOf", value=BASE_DIGEST)],
    )
    data = Component(
        type=ComponentType.DATA, bom_ref="data", name="data snapshot", hashes=_sha256(manifest.data_digest)
    )
    if run.parent_manifest is None:
        return [base, data]
    parent = Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="parent",
        name=run.line,
        version=manifest.parent,
        hashes=_sha256(run.parent_manifest),
        properties=[Property(name="everlearn:digestOf", value="the manifest")],
    )
    return [base, parent, data]


def _sha256(digest: str) -> list[HashType]:
    from cyclonedx.model import HashAlgorithm, HashType

    return [HashType(alg=HashAlgorithm.SHA_256, content=digest)]


def _model_card(manifest: Manifest) -> dict[str, Any]:
    parameters = {
        "approach": {"type": "reinforcement-learning"},
        "task": manifest.config.get("domain"),
        "architectureFamily": "transformer",
        "modelArchitecture": "LoRA",
        "datasets": [{"ref": "data"}],
        "inputs": [{"format": "text"}],
        "outputs": [{"format": "text"}],
    }
    return {
        "modelParameters": {name: value for name, value in parameters.items() if value is not None},
        "quantitativeAnalysis": {"performanceMetrics": _metrics(manifest.decision)},
        "properties": [{"name": "everlearn:gate", "value": str(manifest.decision.get("outcome", "unknown"))}],
    }


def _metrics(decision: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the gate's measurements: the pass rate on each suite, and the gain over each baseline."""
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


def _number(value: float) -> str:
    return f"{value:.6g}"
