from __future__ import annotations

import pytest

from everlearn.errors import ServiceError
from everlearn.orchestration.server_version import incompatibility, is_compatible, read_version


@pytest.mark.parametrize(
    ("server", "client", "compatible"),
    [
        ("3.8.8", "3.8.8", True),
        ("3.9.0", "3.8.8", True),
        ("3.10.0", "3.9.1", True),
        ("3.8.7", "3.8.8", False),
        ("3.8.8.dev1", "3.8.8", True),
        ("2.20.1", "3.8.8", False),
        ("4.0.0", "3.8.8", False),
        ("nightly", "3.8.8", False),
    ],
)
def test_a_server_may_be_newer_than_its_clients_not_older(server: str, client: str, compatible: bool) -> None:  # noqa: FBT001 - a row's column
    assert is_compatible(server=server, client=client) is compatible
    assert f"is version {server}, and here is {client}" in incompatibility(
        url="http://there", server=server, client=client
    )


@pytest.mark.parametrize("url", ["http://127.0.0.1:42oo/api", "http://[::1/api", "http://ada:s3cret@127.0.0.1:9/api"])
def test_an_address_without_a_server_is_one_line_without_its_password(url: str) -> None:
    with pytest.raises(ServiceError, match="does not answer") as failed:
        read_version(url)
    assert "s3cret" not in str(failed.value)
