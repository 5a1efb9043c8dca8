"""Validate bills of materials against the strict JSON schema of CycloneDX 1.6, which refuses unknown fields."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from everlearn.canonical_json import canonical
from everlearn.registry.bill_of_materials import bill, licence_of
from tests.support.manifests import ALONE, FIRST, MANIFEST, NIGHTS, RUN, Night, backwards
from tests.support.schemas import faults_of_bom


def references(bom: Any) -> list[str]:
    """Return every `bom-ref` in a document."""
    if isinstance(bom, dict):
        own = [bom["bom-ref"]] if "bom-ref" in bom else []
        return own + [each for value in bom.values() for each in references(value)]
    return [each for value in bom for each in references(value)] if isinstance(bom, list) else []


@settings(max_examples=25)
@given(night=NIGHTS)
def test_bill_is_valid_cyclonedx(night: Night) -> None:
    manifest, run = night
    bom = bill(manifest, run=run)
    assert faults_of_bom(canonical(bom)) == ""
    there = references(bom)
    assert len(there) == len(set(there))
    for each in bom["dependencies"]:
        assert {each["ref"], *each.get("dependsOn", ())} <= set(there)


@given(night=NIGHTS)
def test_equal_manifests_give_equal_bills(night: Night) -> None:
    manifest, run = night
    assert canonical(bill(manifest, run=run)) == canonical(bill(backwards(manifest), run=run))


def test_serial_number_depends_on_the_content() -> None:
    one, other = bill(MANIFEST, run=RUN)["serialNumber"], bill(FIRST, run=ALONE)["serialNumber"]
    assert one != other
    assert uuid.UUID(one).version == 5


@pytest.mark.parametrize("change", [{"bomFormat": "x"}, {"colour": "red"}, {"serialNumber": "7"}, {"components": [{}]}])
def test_schema_check_refuses_invalid_documents(change: dict[str, Any]) -> None:
    assert faults_of_bom(canonical(bill(MANIFEST, run=RUN) | change))


def test_bill_names_files_base_parent_data_and_licence() -> None:
    bom = bill(MANIFEST, run=RUN)
    adapter = bom["metadata"]["component"]
    assert adapter["type"] == "machine-learning-model"
    digests = {each["name"]: each["hashes"] for each in adapter["components"]}
    assert digests == {name: [{"alg": "SHA-256", "content": ref.digest}] for name, ref in MANIFEST.files.items()}
    parts = {part["bom-ref"]: part for part in bom["components"]}
    assert {name: part["hashes"][0]["content"][0] for name, part in parts.items()} == {
        "base": "b",
        "parent": "9",
        "data": "d",
    }
    assert parts["base"]["name"] == "base"
    assert parts["base"]["licenses"] == [{"license": {"name": "apache-2.0"}}]
    assert bom["dependencies"][0] == {"ref": "adapter", "dependsOn": ["base", "data", "parent"]}


def test_a_model_of_the_hub_is_named_with_its_commit() -> None:
    base = {"path": None, "model": "lab/tiny", "revision": "main", "commit": "c" * 40}
    bom = bill(replace(MANIFEST, config={"base": base}), run=RUN)
    assert faults_of_bom(canonical(bom)) == ""
    [part] = [part for part in bom["components"] if part["bom-ref"] == "base"]
    assert (part["name"], part["version"]) == ("lab/tiny", "c" * 40)


def test_model_card_holds_the_measurements_of_the_gate() -> None:
    card = bill(MANIFEST, run=RUN)["metadata"]["component"]["modelCard"]
    assert card["properties"] == [{"name": "everlearn:gate", "value": "PASS"}]
    assert card["modelParameters"]["task"] == "integration"
    interval = {"lowerBound": "0.4", "upperBound": "0.55"}
    assert card["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "share answered correctly", "value": "0.6", "slice": "tonight"},
        {"type": "gain over the parent", "value": "0.5", "slice": "tonight", "confidenceInterval": interval},
        {"type": "gain over the base", "value": "0.5", "slice": "tonight", "confidenceInterval": interval},
    ]


def test_bill_of_a_first_version_omits_unknown_facts() -> None:
    bom = bill(FIRST, run=ALONE)
    assert sorted(part["bom-ref"] for part in bom["components"]) == ["base", "data"]
    assert not json.dumps(bom).count("licenses")
    assert bom["metadata"]["component"]["modelCard"]["properties"][0]["value"] == "unknown"


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags: [a]\n---\n# A model\n", "apache-2.0"),
        ("---\ntags: [a]\nlicense: mit\n---\n", "mit"),
        ("---\ntags: [a]\n---\nlicense: mit\n---\n", None),
        ("---\nlicense: mit\n", None),
        ("# A model\n---\nlicense: mit\n---\n", None),
        ("", None),
    ],
)
def test_licence_is_read_only_from_the_model_cards_header(card: str, licence: str | None) -> None:
    assert licence_of(card) == licence
