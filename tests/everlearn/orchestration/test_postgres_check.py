"""A Postgres is looked at before a Prefect server is started on it: each thing it may lack, on a real one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from everlearn.errors import ServiceError
from everlearn.local.ports import draw_ports
from everlearn.local.postgres_url import PostgresUrl
from everlearn.orchestration.postgres_check import Facts, examine, lack
from tests.support.postgres import ENCODED

if TYPE_CHECKING:
    from tests.support.postgres import Postgres

FIT = Facts(
    major=15, version="15.18", role="prefect", name="prefect", read_only=False, may_create_tables=True,
    may_extend=True, has_trigrams=True, uses_trigrams=False, revision=None,
)  # fmt: skip


def changed(**facts: object) -> Facts:
    return Facts(**{name: getattr(FIT, name) for name in Facts.__slots__} | facts)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"major": 12, "version": "12.9"}, "12.9 is too old; 13 is needed"),
        ({"read_only": True}, "name the primary server"),
        ({"may_create_tables": False}, "run there: ALTER DATABASE prefect OWNER TO prefect"),
        ({"has_trigrams": False}, "install Postgres's contrib package"),
        ({"may_extend": False}, "run there as superuser: CREATE EXTENSION pg_trgm"),
        ({"revision": "0123456789ab"}, "of another version of Prefect"),
    ],
)
def test_what_a_database_lacks_is_named_with_the_remedy(facts: dict[str, object], said: str) -> None:
    assert said in str(lack(changed(**facts)))


@pytest.mark.parametrize(
    "facts", [{}, {"uses_trigrams": True, "has_trigrams": False, "may_extend": False}, {"revision": "c8d5f2a71b3e"}]
)
def test_what_a_server_needs_is_enough(facts: dict[str, object]) -> None:
    assert lack(changed(**facts)) is None


def test_where_nobody_answers_the_address_is_named_and_its_password_is_not() -> None:
    port = draw_ports(("none",))["none"]
    with pytest.raises(ServiceError, match=rf"postgresql://me:…@127.0.0.1:{port}/db does not answer") as raised:
        examine(PostgresUrl.parse(f"postgresql://me:hidden@127.0.0.1:{port}/db"))
    assert "hidden" not in str(raised.value)


def test_a_real_database_is_found_fit_and_each_refusal_is_one_sentence(postgres: Postgres) -> None:
    fit = postgres.create("fit")
    assert examine(PostgresUrl.parse(fit)).startswith("PostgreSQL ")
    assert examine(PostgresUrl.parse(fit)).endswith(", empty")
    postgres.say("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    refused = {
        postgres.url("nowhere"): "no such database; create it",
        postgres.url("fit", password="wrong"): "mend user and password",
        postgres.url("fit", role="guest", password="guest"): "guest may not create tables",
    }
    for url, said in refused.items():
        with pytest.raises(ServiceError, match=said) as raised:
            examine(PostgresUrl.parse(url))
        assert ENCODED not in str(raised.value)


def test_tables_of_an_unknown_version_and_a_missing_right_are_found(postgres: Postgres) -> None:
    url = postgres.create("later")
    postgres.say("CREATE TABLE alembic_version (version_num varchar); GRANT ALL ON alembic_version TO prefect; "
                 "INSERT INTO alembic_version VALUES ('ffffffffffff')", name="later")  # fmt: skip
    with pytest.raises(ServiceError, match="revision ffffffffffff"):
        examine(PostgresUrl.parse(url))
    other = postgres.create("other", owner="postgres")
    postgres.say("GRANT CREATE ON SCHEMA public TO prefect", name="other")
    with pytest.raises(ServiceError, match="CREATE EXTENSION pg_trgm"):
        examine(PostgresUrl.parse(other))
    postgres.say("CREATE EXTENSION pg_trgm", name="other")
    assert "empty" in examine(PostgresUrl.parse(other))
