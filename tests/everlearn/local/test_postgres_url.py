from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.errors import BadInputError
from everlearn.local.postgres_url import PostgresUrl, redact

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg"])
def test_a_url_is_parsed_with_and_without_the_driver_name(scheme: str) -> None:
    database = PostgresUrl.parse(f" {scheme}://me:se%40cret@db.example:5433/prefect?sslmode=require\n")
    assert database.url == "postgresql://me:se%40cret@db.example:5433/prefect?sslmode=require"
    assert database.for_prefect == "postgresql+asyncpg://me:se%40cret@db.example:5433/prefect?ssl=require"
    assert PostgresUrl.parse(database.for_prefect) == database
    assert database.redacted == "postgresql://me:…@db.example:5433/prefect?sslmode=require"


def test_a_unix_socket_counts_as_a_host() -> None:
    database = PostgresUrl.parse("postgresql:///prefect?host=/run/postgresql")
    assert database.for_prefect == "postgresql+asyncpg:///prefect?host=/run/postgresql"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mysql://me:secret@db/prefect", "mysql: is not supported"),
        ("sqlite:////tmp/secret.db", "sqlite: is not supported"),
        ("db.example/prefect", "it has no scheme"),
        ("postgresql://me:secret@db.example", "names no database"),
        ("postgresql://me:secret@db.example/", "names no database"),
        ("postgresql://me:secret#1@db.example/prefect", "is not a URL|names no database"),
        ("postgresql:///prefect", "names no host"),
        ("postgresql://me:secret@db.example:port/prefect", "is not a URL"),
        ("postgresql://me:secret/1@db.example/prefect", "is not a URL"),
        ("postgresql://me:secret@db.example:99999/prefect", "is not a URL"),
        ("postgresql://me:secret@[::1/prefect", "is not a URL"),
    ],
)
def test_other_urls_are_refused_with_the_right_form(text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message) as raised:
        PostgresUrl.parse(text)
    assert "write postgresql://USER:PASSWORD@HOST:5432/NAME" in str(raised.value)
    assert "me:secret" not in str(raised.value)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=6))
def test_a_redacted_url_holds_no_password(password: str) -> None:
    secret = f"<{password}>"
    assert secret not in redact(f"postgresql://me:{secret}@db.example/prefect")
    assert secret.replace("&", "") not in redact(f"postgresql://db/prefect?password={secret.replace('&', '')}")


def test_a_saved_url_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "prefect" / "database"
    assert PostgresUrl.load(file) is None
    for name in ("first", "second"):
        database = PostgresUrl.parse(f"postgresql://me:secret@db/{name}")
        database.save(file)
        assert PostgresUrl.load(file) == database
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "secret" not in repr(database)
