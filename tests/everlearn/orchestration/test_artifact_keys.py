from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from everlearn.orchestration.artifact_keys import artifact_key
from everlearn.settings import StoreSettings

LINES = st.from_regex(StoreSettings.model_fields["line"].metadata[0].pattern, fullmatch=True)


@given(LINES, LINES)
def test_keys_are_valid_and_unique_for_each_line(one: str, other: str) -> None:
    keys = [artifact_key("night", line=line) for line in (one, other)]
    assert all(re.fullmatch("[a-z0-9-]+", key) for key in keys)
    assert (keys[0] == keys[1]) is (one == other)


def test_lines_with_similar_names_have_different_keys() -> None:
    assert len({artifact_key("gate", line=line) for line in ("a.b", "a_b", "a-b")}) == 3
    assert artifact_key("gate", line="a-b") == "gate-a-b"
