"""Fingerprints of base models are compared by the newest scheme that both sides have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.errors import RegistryError
from everlearn.registry.base_identity import describe_base, from_identity, is_same_base, newest_digest, to_identity
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import BASE_MODEL, candidate, open_line

if TYPE_CHECKING:
    from everlearn.registry.versions import Registry

DIGESTS = st.sampled_from(["a" * 64, "b" * 64])
IDENTITIES = st.dictionaries(st.integers(1, 4), DIGESTS, min_size=1)
BOTH = to_identity({1: BASE_MODEL, 2: "c" * 64})


@given(IDENTITIES, IDENTITIES)
def test_identities_round_trip_and_compare_alike(one: dict[int, str], other: dict[int, str]) -> None:
    assert from_identity(to_identity(one)) == one
    assert newest_digest(to_identity(one)) == one[max(one)]
    assert is_same_base(to_identity(one), to_identity(one))
    shared = max(one.keys() & other.keys(), default=None)
    expected = shared is not None and one[shared] == other[shared]
    assert is_same_base(to_identity(one), to_identity(other)) == expected
    assert is_same_base(to_identity(other), to_identity(one)) == expected


def test_a_digest_without_scheme_is_of_the_first_one() -> None:
    assert from_identity(BASE_MODEL) == {1: BASE_MODEL}
    assert is_same_base(BASE_MODEL, BOTH)


@pytest.fixture
def upgraded() -> Registry:
    """A line with a version of the older revision, and one of this."""
    line = open_line(MemoryStore())
    publish(line, "old", base=BASE_MODEL)
    publish(line, "new", base=BOTH)
    return line


def publish(line: Registry, name: str, *, base: str) -> None:
    manifest = candidate(line, name, parent=line.state().champion, base=base)
    line.publish(manifest, make_champion=True, actor="night", reason="better")


def test_rollback_works_in_both_directions_of_an_upgrade(upgraded: Registry) -> None:
    assert upgraded.rollback(None, reason="worse", actor="ada", keep=True).to == "v0001"
    upgraded.promote("v0002", reason="better after all", actor="ada")
    assert upgraded.state().champion == "v0002"


@pytest.mark.parametrize("other", [{1: "d" * 64, 2: "c" * 64}, {1: BASE_MODEL, 2: "d" * 64}, {2: "d" * 64}])
def test_another_base_is_refused_on_an_upgraded_line(upgraded: Registry, other: dict[int, str]) -> None:
    with pytest.raises(RegistryError, match=r"belongs to another base model: v000[12] was trained on"):
        publish(upgraded, "other", base=to_identity(other))


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"base": {"path": "data/base"}}, "data/base"),
        ({"base": {"path": None, "model": "a/b", "revision": "main", "commit": "c" * 40}}, f"a/b at commit {'c' * 12}"),
        ({"base": {}}, None),
        ({"seed": 7}, None),
    ],
)
def test_frozen_settings_name_the_base_model(config: dict[str, Any], name: str | None) -> None:
    assert describe_base(config) == name
