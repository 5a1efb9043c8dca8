from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.canonical_json import canonical, digest_of, parse
from everlearn.errors import BadInputError, IntegrityError

# a lone surrogate has no UTF-8, so no canonical form
CONTENT = st.dictionaries(st.text(alphabet=st.characters(codec="utf-8")), st.integers() | st.booleans(), max_size=4)


@given(content=CONTENT)
def test_parse_inverts_canonical_and_key_order_is_ignored(content: dict[str, int]) -> None:
    data = canonical(content)
    assert parse(data, name="it") == content
    assert canonical(dict(reversed(content.items()))) == data


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{ "a":1}', b'{"b":1,"a":2}', b'{"a":1}\n', b"\xff", b'{"a":NaN}', b"[" * 100_000],
    ids=["empty", "cut", "no object", "space", "order", "newline", "not UTF-8", "NaN", "deep"],
)
def test_parse_refuses_bytes_that_are_not_canonical(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="it is damaged"):
        parse(data, name="it")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", "\ud800"])
def test_canonical_refuses_values_without_a_json_form(value: object) -> None:
    with pytest.raises(BadInputError, match="not JSON-serializable"):
        canonical({"loss": value})


def test_digest_is_sha256() -> None:
    assert digest_of(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
