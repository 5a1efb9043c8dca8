from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.canonical_json import canonical
from everlearn.errors import IntegrityError
from everlearn.registry.sealed_document import seal, unseal
from tests.support.line import SIGNER, VERIFIER

PLACE = {"purpose": "event", "line": "integration"}


def test_unseal_inverts_seal() -> None:
    data = seal({"a": 1}, **PLACE, signer=SIGNER)
    assert unseal(data, **PLACE, verifier=VERIFIER, name="it") == {"a": 1}


@given(position=st.integers(min_value=0), mask=st.integers(min_value=1, max_value=255))
def test_changing_any_byte_is_detected(position: int, mask: int) -> None:
    data = bytearray(seal({"a": 1, "why": "because"}, **PLACE, signer=SIGNER))
    data[position % len(data)] ^= mask
    with pytest.raises(IntegrityError):
        unseal(bytes(data), **PLACE, verifier=VERIFIER, name="it")


def test_flipping_any_single_bit_is_detected() -> None:
    good = seal({"a": 1, "why": "because"}, **PLACE, signer=SIGNER)
    for position in range(8 * len(good)):
        data = bytearray(good)
        data[position // 8] ^= 1 << position % 8
        with pytest.raises(IntegrityError):
            unseal(bytes(data), **PLACE, verifier=VERIFIER, name="it")


@pytest.mark.parametrize("other", [{"purpose": "manifest"}, {"line": "another"}])
def test_signature_is_bound_to_line_and_purpose(other: dict[str, str]) -> None:
    data = seal({"a": 1}, **PLACE, signer=SIGNER)
    with pytest.raises(IntegrityError, match="it belongs elsewhere"):
        unseal(data, **(PLACE | other), verifier=VERIFIER, name="it")


@pytest.mark.parametrize("data", [{"content": {}}, {"content": 1, "signature": None}, {"a": 1}])
def test_other_json_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(IntegrityError, match="it is not a registry document"):
        unseal(canonical(data), **PLACE, verifier=VERIFIER, name="it")
