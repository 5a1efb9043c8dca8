"""A night is found by the beginning of its cycle key, if that is unique."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.canonical_json import digest_of
from everlearn.errors import RegistryError
from everlearn.registry.events import EventKind
from everlearn.registry.line_state import State, VersionEntry
from everlearn.registry.night_lookup import MIN_PREFIX, find_night
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, open_line, publish

TWO = ("ab12" + "0" * 60, "ab12" + "1" * 60)


def line_with(*keys: str) -> State:
    """Return a line with the champion v0001 and rejected nights with these cycle keys."""
    line = open_line(MemoryStore())
    publish(line, "one")
    for key in keys:
        line.record(EventKind.REJECTED, cycle_key=key, reason="worse", actor="night", detail={})
    return line.state()


MANY = line_with(*(digest_of(str(number).encode()) for number in range(40)))


@given(st.sampled_from(sorted(MANY.cycles)), st.integers(MIN_PREFIX, 64))
def test_a_prefix_finds_its_night_or_lists_the_candidates(key: str, length: int) -> None:
    prefix = key[:length]
    matching = [each for each in MANY.cycles if each.startswith(prefix)]
    if len(matching) > 1:
        with pytest.raises(RegistryError, match="give more of it"):
            find_night(prefix, MANY, line=LINE)
        return
    found = find_night(prefix, MANY, line=LINE)
    assert found.cycle_key == key
    assert isinstance(found, VersionEntry) == (MANY.version_of(key) is not None)


def test_an_ambiguous_prefix_lists_the_candidates() -> None:
    with pytest.raises(RegistryError, match=r"begins 2 cycles.*: ab120000 \(rejected\), ab121111 \(rejected\)"):
        find_night("ab12", line_with(*TWO), line=LINE)


@pytest.mark.parametrize("ref", ["v0009", "ab1", "AB12", "", "feed"])
def test_an_unknown_night_lists_the_latest(ref: str) -> None:
    with pytest.raises(RegistryError, match=r"latest versions: v0001; the latest nights: .*\(published v0001\), ab12"):
        find_night(ref, line_with(*TWO), line=LINE)


def test_versions_are_found_by_name() -> None:
    state = line_with()
    assert find_night("champion", state, line=LINE) == find_night("v0001", state, line=LINE) == state.versions["v0001"]
    with pytest.raises(RegistryError, match="none yet; the latest nights: none yet"):
        find_night("v0001", State(), line=LINE)
    with pytest.raises(RegistryError, match="has no champion"):
        find_night("champion", State(), line=LINE)
