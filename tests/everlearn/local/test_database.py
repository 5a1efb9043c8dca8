from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.errors import BadInputError
from everlearn.local.database import Database, shown
from everlearn.orchestration.compatibility import fits, remedy

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg"])
def test_a_url_is_understood_with_and_without_the_name_of_the_driver(scheme: str) -> None:
    database = Database.read(f" {scheme}://me:se%40cret@db.example:5433/prefect?sslmode=require\n")
    assert database.url == "postgresql://me:se%40cret@db.example:5433/prefect?sslmode=require"
    assert database.for_prefect == "postgresql+asyncpg://me:se%40cret@db.example:5433/prefect?ssl=require"
    assert Database.read(database.for_prefect) == database
    assert database.shown == "postgresql://me:…@db.example:5433/prefect?sslmode=require"


def test_a_socket_on_this_machine_is_a_host_too() -> None:
    database = Database.read("postgresql:///prefect?host=/run/postgresql")
    assert database.for_prefect == "postgresql+asyncpg:///prefect?host=/run/postgresql"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mysql://me:secret@db/prefect", "mysql: is not understood"),
        ("sqlite:////tmp/secret.db", "sqlite: is not understood"),
        ("db.example/prefect", "it names no kind of database"),
        ("postgresql://me:secret@db.example", "names no database"),
        ("postgresql://me:secret@db.example/", "names no database"),
        ("postgresql://me:secret#1@db.example/prefect", "is no address|names no database"),
        ("postgresql:///prefect", "names no host"),
        ("postgresql://me:secret@db.example:port/prefect", "is no address"),
        ("postgresql://me:secret/1@db.example/prefect", "is no address"),
        ("postgresql://me:secret@db.example:99999/prefect", "is no address"),
        ("postgresql://me:secret@[::1/prefect", "is no address"),
    ],
)
def test_what_is_no_postgres_is_refused_with_the_form_that_is(text: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said) as raised:
        Database.read(text)
    assert "write postgresql://USER:PASSWORD@HOST:5432/NAME" in str(raised.value)
    assert "me:secret" not in str(raised.value)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=6))
def test_no_password_is_ever_shown(password: str) -> None:
    secret = f"<{password}>"
    assert secret not in shown(f"postgresql://me:{secret}@db.example/prefect")
    assert secret.replace("&", "") not in shown(f"postgresql://db/prefect?password={secret.replace('&', '')}")


def test_what_is_remembered_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "prefect" / "database"
    assert Database.recall(file) is None
    for name in ("first", "second"):
        database = Database.read(f"postgresql://me:secret@db/{name}")
        database.remember(file)
        assert Database.recall(file) == database
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "secret" not in repr(database)


@pytest.mark.parametrize(
    ("server", "client", "fit"),
    [
        ("3.8.8", "3.8.8", True),
        ("3.9.0", "3.8.8", True),
        ("3.10.0", "3.9.1", True),
        ("3.8.7", "3.8.8", False),
        ("3.8.8.dev1", "3.8.8", True),
        ("2.20.1", "3.8.8", False),
        ("4.0.0", "3.8.8", False),
    ],
)
def test_a_server_may_be_newer_than_its_clients_and_never_older(server: str, client: str, fit: bool) -> None:  # noqa: FBT001 - a row's column
    assert fits(server=server, client=client) is fit
    assert f"is version {server}, and here is {client}" in remedy(url="http://there", server=server, client=client)
