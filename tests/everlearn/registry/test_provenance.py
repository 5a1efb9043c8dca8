"""Validate provenance against the protobuf definitions of in-toto and SLSA, which refuse unknown fields."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from hypothesis import given

from everlearn.canonical_json import canonical
from everlearn.registry.manifest import ObjectRef
from everlearn.registry.provenance import code_of, commit_of, recorded_code, statement
from tests.support.manifests import ALONE, FIRST, MANIFEST, NIGHTS, RUN, Night, backwards
from tests.support.schemas import checked_provenance

if TYPE_CHECKING:
    from pathlib import Path


@given(night=NIGHTS)
def test_provenance_is_a_valid_in_toto_and_slsa_document(night: Night) -> None:
    manifest, run = night
    checked_provenance(canonical(statement(manifest, run=run)))


def test_settings_keep_their_integers_exactly() -> None:
    made = statement(replace(MANIFEST, config={"seed": 2**63 - 1, "rate": 1.0}), run=RUN)
    settings = made["predicate"]["buildDefinition"]["externalParameters"]["settings"]
    assert canonical(settings) == b'{"rate":1.0,"seed":9223372036854775807}'


def test_the_code_of_the_night_is_recorded_and_optional() -> None:
    recorded = statement(MANIFEST, run=replace(RUN, code="abc with uncommitted changes"))
    assert recorded_code(recorded) == "abc with uncommitted changes"
    assert recorded_code(statement(MANIFEST, run=replace(RUN, code=None))) is None


@given(night=NIGHTS)
def test_subjects_are_the_files_of_the_adapter(night: Night) -> None:
    manifest, run = night
    subjects = statement(manifest, run=run)["subject"]
    assert {each["name"]: each["digest"]["sha256"] for each in subjects} == {
        name: ref.digest for name, ref in manifest.files.items()
    }


@given(night=NIGHTS)
def test_equal_manifests_give_equal_provenance(night: Night) -> None:
    manifest, run = night
    assert canonical(statement(manifest, run=run)) == canonical(statement(backwards(manifest), run=run))


def test_provenance_names_everything_the_version_depends_on() -> None:
    predicate = checked_provenance(canonical(statement(MANIFEST, run=RUN)))
    resolved = {each.name: dict(each.digest) for each in predicate.build_definition.resolved_dependencies}
    assert resolved == {
        "base model": {"sha256": "b" * 64},
        "manifest of v0001": {"sha256": "9" * 64},
        "data snapshot": {"sha256": "d" * 64},
        "code": {"gitCommit": "1" * 40},
    }
    metadata = predicate.run_details.metadata
    assert metadata.invocation_id == "c" * 64
    assert (metadata.started_on.ToJsonString(), metadata.finished_on.ToJsonString()) == (
        "2026-01-02T03:04:05Z",
        "2026-01-02T04:04:05Z",
    )
    assert [dict(each.digest) for each in predicate.run_details.byproducts] == [{"sha256": "f" * 64}]


def test_provenance_of_a_first_version_omits_unknown_facts() -> None:
    predicate = checked_provenance(canonical(statement(FIRST, run=ALONE)))
    assert [each.name for each in predicate.build_definition.resolved_dependencies] == ["base model", "data snapshot"]
    assert not predicate.run_details.byproducts


@pytest.mark.parametrize(
    "change", [{"subject": []}, {"colour": "red"}, {"_type": "https://in-toto.io/Statement/v2"}, {"predicateType": "x"}]
)
def test_definition_check_refuses_invalid_documents(change: dict[str, Any]) -> None:
    with pytest.raises((AssertionError, ValueError, json_format.ParseError)):
        checked_provenance(canonical(statement(MANIFEST, run=RUN) | change))


def test_provenance_does_not_depend_on_references_to_it() -> None:
    ref = ObjectRef(digest="7" * 64, size=1)
    assert statement(replace(MANIFEST, provenance=ref, bom=ref), run=RUN) == statement(MANIFEST, run=RUN)


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=ada", "-c", "user.email=ada@localhost", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_commit_is_reported_only_for_committed_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, other = tmp_path / "code.py", tmp_path / "other.py"
    code.write_text("1\n", encoding="utf-8")
    assert commit_of(code) is None  # no repository
    assert code_of(code) is None
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-qm", "one")
    other.write_text("1\n", encoding="utf-8")
    assert commit_of(code) == git(tmp_path, "rev-parse", "HEAD")
    assert commit_of(other) is None  # untracked
    assert code_of(code) == commit_of(code)
    code.write_text("2\n", encoding="utf-8")
    assert commit_of(code) is None  # modified
    assert code_of(code) == f"{git(tmp_path, 'rev-parse', 'HEAD')} with uncommitted changes"
    git(tmp_path, "commit", "-qam", "two")
    assert commit_of(code) == git(tmp_path, "rev-parse", "HEAD")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert commit_of(code) is None
