from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from everlearn.canonical_json import canonical, parse
from everlearn.errors import BadInputError, IntegrityError
from everlearn.registry.manifest import Manifest, ObjectRef
from tests.support.line import WHEN

REF = ObjectRef(digest="a" * 64, size=3)
MANIFEST = Manifest(
    files={"adapter_model.safetensors": REF},
    base_fingerprint="b",
    parent=None,
    cycle_key="k",
    data_digest="d",
    config={"seed": 7},
    code_version="0.1.0",
    created=WHEN,
)


@pytest.mark.parametrize(
    "manifest",
    [
        MANIFEST,
        replace(MANIFEST, report=REF, parent="v0001"),
        replace(MANIFEST, report=REF, provenance=REF, bom=replace(REF, composite="ab-2"), memory=REF),
        replace(MANIFEST, policy="hub policy: transformers in bfloat16 on cuda:0 (on a GPU)"),
    ],
)
def test_manifest_survives_json(manifest: Manifest) -> None:
    assert Manifest.from_content(parse(canonical(manifest.to_content()), name="it")) == manifest


def test_a_manifest_without_a_policy_keeps_its_digest() -> None:
    assert "policy" not in MANIFEST.to_content()


def test_manifest_references_files_and_documents() -> None:
    report = ObjectRef(digest="c" * 64, size=9)
    assert MANIFEST.references() == (REF,)
    assert replace(MANIFEST, report=report).references() == (REF, report)
    bom = ObjectRef(digest="e" * 64, size=7)
    documented = replace(MANIFEST, report=report, bom=bom)
    assert documented.references() == (REF, report, bom)
    assert documented.documents() == {"report": report, "bom": bom}


def test_manifest_without_provenance_keeps_its_digest() -> None:
    files = {"adapter_model.safetensors": {"digest": "a" * 64, "size": 3}}
    old = {
        "base_fingerprint": "b",
        "code_version": "0.1.0",
        "config": {"seed": 7},
        "created": WHEN.isoformat(),
        "cycle_key": "k",
        "data_digest": "d",
        "decision": {},
        "files": files,
        "metrics": {},
        "parent": None,
        "report": None,
    }
    parsed = Manifest.from_content(old)
    assert parsed == MANIFEST
    assert canonical(parsed.to_content()) == canonical(old)


@pytest.mark.parametrize(
    "name",
    ["../x.json", "/etc/x.json", "a/b.json", ".hidden.json", "", "x.pkl", "adapter_model.bin", "model.pt", "x.json\n"],
)
def test_unsafe_file_names_are_refused(name: str) -> None:
    with pytest.raises(BadInputError, match="cannot be published"):
        replace(MANIFEST, files={name: REF})


@pytest.mark.parametrize("digest", ["", "a" * 63, "A" * 64, "../" + "a" * 61, "a" * 64 + "\n"])
def test_object_reference_needs_a_sha256_digest(digest: str) -> None:
    with pytest.raises(IntegrityError, match="is not a SHA-256 digest"):
        ObjectRef(digest=digest, size=1)


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"x.pkl": {"digest": "a" * 64, "size": 1}}},
        {"files": {"x.json": {"digest": "a" * 64}}},
        {"files": ["x.json"]},
        {"created": "yesterday"},
        {"colour": "red"},
    ],
    ids=["pickle", "no size", "list", "date", "unknown field"],
)
def test_invalid_manifest_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="cannot read"):
        Manifest.from_content(MANIFEST.to_content() | change)


def test_manifest_with_a_missing_field_is_refused() -> None:
    content = MANIFEST.to_content()
    del content["report"]
    with pytest.raises(IntegrityError, match="cannot read the manifest: 'report'"):
        Manifest.from_content(content)
