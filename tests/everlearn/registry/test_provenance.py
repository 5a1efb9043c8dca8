"""The provenance, held against the official protobuf definitions of in-toto and SLSA, which refuse unknown fields."""

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
from everlearn.registry.provenance import commit_of, statement
from tests.support.manifests import ALONE, FIRST, MANIFEST, NIGHTS, RUN, Night, backwards
from tests.support.schemas import checked_provenance

if TYPE_CHECKING:
    from pathlib import Path


@given(night=NIGHTS)
def test_every_provenance_is_a_valid_in_toto_statement_with_a_valid_slsa_predicate(night: Night) -> None:
    manifest, run = night
    checked_provenance(canonical(statement(manifest, run=run)))


@given(night=NIGHTS)
def test_the_subjects_of_a_provenance_are_the_files_of_the_adapter(night: Night) -> None:
    manifest, run = night
    subjects = statement(manifest, run=run)["subject"]
    assert {each["name"]: each["digest"]["sha256"] for each in subjects} == {
        name: ref.digest for name, ref in manifest.files.items()
    }


@given(night=NIGHTS)
def test_the_same_night_writes_the_same_provenance(night: Night) -> None:
    manifest, run = night
    assert canonical(statement(manifest, run=run)) == canonical(statement(backwards(manifest), run=run))


def test_a_provenance_names_all_that_the_version_was_made_from() -> None:
    found = checked_provenance(canonical(statement(MANIFEST, run=RUN)))
    resolved = {each.name: dict(each.digest) for each in found.build_definition.resolved_dependencies}
    assert resolved == {
        "base model": {"sha256": "b" * 64},
        "manifest of v0001": {"sha256": "9" * 64},
        "data snapshot": {"sha256": "d" * 64},
        "code": {"gitCommit": "1" * 40},
    }
    metadata = found.run_details.metadata
    assert metadata.invocation_id == "c" * 64
    assert (metadata.started_on.ToJsonString(), metadata.finished_on.ToJsonString()) == (
        "2026-01-02T03:04:05Z",
        "2026-01-02T04:04:05Z",
    )
    assert [dict(each.digest) for each in found.run_details.byproducts] == [{"sha256": "f" * 64}]


def test_what_a_first_night_does_not_know_is_left_out() -> None:
    found = checked_provenance(canonical(statement(FIRST, run=ALONE)))
    assert [each.name for each in found.build_definition.resolved_dependencies] == ["base model", "data snapshot"]
    assert not found.run_details.byproducts


@pytest.mark.parametrize(
    "change", [{"subject": []}, {"colour": "red"}, {"_type": "https://in-toto.io/Statement/v2"}, {"predicateType": "x"}]
)
def test_the_check_itself_can_fail(change: dict[str, Any]) -> None:
    with pytest.raises((AssertionError, ValueError, json_format.ParseError)):
        checked_provenance(canonical(statement(MANIFEST, run=RUN) | change))


def test_a_provenance_does_not_depend_on_the_references_to_it() -> None:
    ref = ObjectRef(digest="7" * 64, size=1)
    assert statement(replace(MANIFEST, provenance=ref, bom=ref), run=RUN) == statement(MANIFEST, run=RUN)


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=ada", "-c", "user.email=ada@localhost", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_of_the_code_is_told_only_where_it_is_sure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, other = tmp_path / "code.py", tmp_path / "other.py"
    code.write_text("1\n", encoding="utf-8")
    assert commit_of(code) is None  # no repository
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-qm", "one")
    other.write_text("1\n", encoding="utf-8")
    assert commit_of(code) == git(tmp_path, "rev-parse", "HEAD")
    assert commit_of(other) is None  # not part of it
    code.write_text("2\n", encoding="utf-8")
    assert commit_of(code) is None  # changed since
    git(tmp_path, "commit", "-qam", "two")
    assert commit_of(code) == git(tmp_path, "rev-parse", "HEAD")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert commit_of(code) is None
