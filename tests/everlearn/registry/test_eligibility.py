from __future__ import annotations

from dataclasses import replace

import pytest

from everlearn.errors import RegistryError, StaleParentError
from everlearn.registry.eligibility import require_candidate, require_files, require_unbarred, resolve, rollback_target
from everlearn.registry.line_state import BASE, State
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, open_line, publish
from tests.support.manifests import MANIFEST


@pytest.fixture(scope="module")
def state() -> State:
    """Return a state whose champion is v0002, after v0001."""
    line = open_line(MemoryStore())
    publish(line, "one")
    publish(line, "two")
    return line.state()


def changed(state: State, version: str, **changes: bool) -> State:
    entry = replace(state.versions[version], **changes)  # type: ignore[arg-type]
    return replace(state, versions={**state.versions, version: entry})


def test_resolve_accepts_champion_and_version_names(state: State) -> None:
    assert resolve("champion", state, line=LINE) == resolve("v0002", state, line=LINE) == state.versions["v0002"]
    with pytest.raises(RegistryError, match="has no version 'v0009'; the latest are: v0001, v0002"):
        resolve("v0009", state, line=LINE)
    with pytest.raises(RegistryError, match="has no champion"):
        resolve("champion", State(), line=LINE)


def test_retired_and_barred_versions_are_refused(state: State) -> None:
    require_files(state.versions["v0001"])
    require_unbarred(state.versions["v0001"], state)
    barred = changed(state, "v0001", barred=True, retired=True)
    with pytest.raises(RegistryError, match="v0001 is retired"):
        require_files(barred.versions["v0001"])
    with pytest.raises(RegistryError, match="v0001 is barred; not barred: v0002"):
        require_unbarred(barred.versions["v0001"], barred)


@pytest.mark.parametrize(("change", "why"), [("barred", "was barred since"), ("retired", "was retired since")])
def test_candidate_with_an_unusable_parent_is_refused(state: State, change: str, why: str) -> None:
    candidate = replace(MANIFEST, parent="v0001", base_fingerprint=state.versions["v0001"].base_fingerprint)
    require_candidate(candidate, state, make_champion=False, line=LINE)
    with pytest.raises(StaleParentError, match=why):
        require_candidate(candidate, changed(state, "v0001", **{change: True}), make_champion=False, line=LINE)


@pytest.mark.parametrize("outcome", ["FAIL", "INSUFFICIENT"])
def test_a_candidate_that_did_not_pass_is_refused(state: State, outcome: str) -> None:
    made = replace(MANIFEST, parent="v0002", base_fingerprint=state.versions["v0001"].base_fingerprint)
    require_candidate(replace(made, decision={}), state, make_champion=True, line=LINE)
    with pytest.raises(RegistryError, match=f"says {outcome}: only PASS is published"):
        require_candidate(replace(made, decision={"outcome": outcome}), state, make_champion=True, line=LINE)


def test_only_a_child_of_the_champion_becomes_champion(state: State) -> None:
    child = replace(MANIFEST, parent="v0002", base_fingerprint=state.versions["v0001"].base_fingerprint)
    require_candidate(child, state, make_champion=True, line=LINE)
    with pytest.raises(StaleParentError, match="began at v0001, but v0002 is champion now"):
        require_candidate(replace(child, parent="v0001"), state, make_champion=True, line=LINE)


def test_rollback_target_defaults_to_the_last_good_champion(state: State) -> None:
    assert rollback_target(None, state, left="v0002", line=LINE) == state.versions["v0001"]
    assert rollback_target(BASE, state, left="v0002", line=LINE) is None
    assert rollback_target(None, changed(state, "v0001", barred=True), left="v0002", line=LINE) is None
    with pytest.raises(RegistryError, match="v0001 is no longer champion, v0002 is"):
        rollback_target(None, state, left="v0001", line=LINE)
