"""Each requirement on a Postgres database, checked on a real server where one is installed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.errors import ServiceError
from everlearn.local.ports import draw_ports
from everlearn.local.postgres_url import PostgresUrl
from everlearn.orchestration.postgres_check import DatabaseFacts, check_database, find_fault
from tests.support.postgres import ENCODED

if TYPE_CHECKING:
    from tests.support.postgres import Postgres

FIT = DatabaseFacts(
    major=15,
    version="15.18",
    role="prefect",
    name="prefect",
    read_only=False,
    may_create_tables=True,
    may_extend=True,
    has_trigrams=True,
    uses_trigrams=False,
    revision=None,
)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"major": 12, "version": "12.9"}, "12.9 is too old; at least 13 is needed"),
        ({"read_only": True}, "name the primary server"),
        ({"may_create_tables": False}, "run on that server: ALTER DATABASE prefect OWNER TO prefect"),
        ({"has_trigrams": False}, "install Postgres's contrib package"),
        ({"may_extend": False}, "run on that server as superuser: CREATE EXTENSION pg_trgm"),
        ({"revision": "0123456789ab"}, "belong to another version of Prefect"),
    ],
)
def test_a_missing_requirement_is_named_with_the_remedy(facts: dict[str, Any], message: str) -> None:
    assert message in str(find_fault(replace(FIT, **facts)))


@pytest.mark.parametrize(
    "facts", [{}, {"uses_trigrams": True, "has_trigrams": False, "may_extend": False}, {"revision": "c8d5f2a71b3e"}]
)
def test_a_database_that_meets_the_requirements_is_accepted(facts: dict[str, Any]) -> None:
    assert find_fault(replace(FIT, **facts)) is None


def test_an_unreachable_server_is_named_without_its_password() -> None:
    port = draw_ports(("none",))["none"]
    with pytest.raises(ServiceError, match=rf"postgresql://me:…@127.0.0.1:{port}/db does not answer") as raised:
        check_database(PostgresUrl.parse(f"postgresql://me:hidden@127.0.0.1:{port}/db"))
    assert "hidden" not in str(raised.value)


def test_each_refusal_of_a_real_server_is_one_sentence(postgres: Postgres) -> None:
    fit = postgres.create("fit")
    assert check_database(PostgresUrl.parse(fit)).startswith("PostgreSQL ")
    assert check_database(PostgresUrl.parse(fit)).endswith(", empty")
    postgres.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    refused = {
        postgres.url("nowhere"): "no such database; create it",
        postgres.url("fit", password="wrong"): "correct user and password",
        postgres.url("fit", role="guest", password="guest"): "guest may not create tables",
    }
    for url, message in refused.items():
        with pytest.raises(ServiceError, match=message) as raised:
            check_database(PostgresUrl.parse(url))
        assert ENCODED not in str(raised.value)


def test_foreign_tables_and_missing_rights_are_reported(postgres: Postgres) -> None:
    url = postgres.create("later")
    foreign = "CREATE TABLE alembic_version (version_num varchar); GRANT ALL ON alembic_version TO prefect; "
    postgres.execute(f"{foreign} INSERT INTO alembic_version VALUES ('ffffffffffff')", name="later")
    with pytest.raises(ServiceError, match="revision ffffffffffff"):
        check_database(PostgresUrl.parse(url))
    other = postgres.create("other", owner="postgres")
    postgres.execute("GRANT CREATE ON SCHEMA public TO prefect", name="other")
    with pytest.raises(ServiceError, match="CREATE EXTENSION pg_trgm"):
        check_database(PostgresUrl.parse(other))
    postgres.execute("CREATE EXTENSION pg_trgm", name="other")
    assert "empty" in check_database(PostgresUrl.parse(other))
