from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.canonical_json import canonical, digest_of, parse, seal, unseal
from everlearn.errors import BadInputError, IntegrityError
from tests.support.line import SIGNER, VERIFIER

# a lone surrogate has no UTF-8, so no canonical form
CONTENT = st.dictionaries(st.text(alphabet=st.characters(codec="utf-8")), st.integers() | st.booleans(), max_size=4)
PLACE = {"purpose": "event", "line": "integration"}


@given(content=CONTENT)
def test_canonical_bytes_are_read_back_and_spelt_in_one_way(content: dict[str, int]) -> None:
    data = canonical(content)
    assert parse(data, name="it") == content
    assert canonical(dict(reversed(content.items()))) == data


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{ "a":1}', b'{"b":1,"a":2}', b'{"a":1}\n', b"\xff", b'{"a":NaN}', b"[" * 100_000],
    ids=["empty", "cut", "no object", "space", "order", "newline", "not UTF-8", "NaN", "deep"],
)
def test_any_other_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="it is damaged"):
        parse(data, name="it")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", "\ud800"])
def test_what_json_cannot_say_is_not_written(value: object) -> None:
    with pytest.raises(BadInputError, match="cannot be written down for ever"):
        canonical({"loss": value})


def test_a_digest_is_sha256() -> None:
    assert digest_of(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_sealed_document_gives_back_its_content() -> None:
    data = seal({"a": 1}, **PLACE, signer=SIGNER)
    assert unseal(data, **PLACE, verifier=VERIFIER, name="it") == {"a": 1}


@given(position=st.integers(min_value=0), mask=st.integers(min_value=1, max_value=255))
def test_no_byte_of_a_sealed_document_can_be_changed(position: int, mask: int) -> None:
    data = bytearray(seal({"a": 1, "why": "because"}, **PLACE, signer=SIGNER))
    data[position % len(data)] ^= mask
    with pytest.raises(IntegrityError):
        unseal(bytes(data), **PLACE, verifier=VERIFIER, name="it")


def test_no_single_bit_of_a_sealed_document_can_be_changed() -> None:
    good = seal({"a": 1, "why": "because"}, **PLACE, signer=SIGNER)
    for position in range(8 * len(good)):
        data = bytearray(good)
        data[position // 8] ^= 1 << position % 8
        with pytest.raises(IntegrityError):
            unseal(bytes(data), **PLACE, verifier=VERIFIER, name="it")


@pytest.mark.parametrize("other", [{"purpose": "manifest"}, {"line": "another"}])
def test_a_signature_proves_nothing_in_another_place(other: dict[str, str]) -> None:
    data = seal({"a": 1}, **PLACE, signer=SIGNER)
    with pytest.raises(IntegrityError, match="it is meant for another place"):
        unseal(data, **(PLACE | other), verifier=VERIFIER, name="it")


@pytest.mark.parametrize("data", [{"content": {}}, {"content": 1, "signature": None}, {"a": 1}])
def test_other_json_is_no_document(data: dict[str, object]) -> None:
    with pytest.raises(IntegrityError, match="it is no document of a registry"):
        unseal(canonical(data), **PLACE, verifier=VERIFIER, name="it")
