"""Check a Postgres database before a Prefect server is started on it.

    check_database(PostgresUrl.parse("postgresql://prefect:secret@db.example/prefect"))    # "PostgreSQL 15.18, …"

Prefect's server creates and migrates its tables when it starts. Its requirements are checked before, so that a fault is
reported in one sentence instead of at the end of a log.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from everlearn.errors import ServiceError

if TYPE_CHECKING:
    from everlearn.local.postgres_url import PostgresUrl

MIN_MAJOR = 13
"""From this version on, the owner of a database may create pg_trgm without being superuser."""
TIMEOUT_S = 10.0
_QUERY = """
    SELECT current_setting('server_version_num')::int / 10000 AS major,
           current_setting('server_version') AS version,
           current_user AS role,
           current_database() AS name,
           pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool AS read_only,
           current_schema() IS NOT NULL
               AND has_schema_privilege(current_schema(), 'CREATE') AS may_create_tables,
           has_database_privilege(current_database(), 'CREATE') AS may_extend,
           EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm') AS has_trigrams,
           EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm') AS uses_trigrams,
           to_regclass('alembic_version') IS NOT NULL AS is_used
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """Properties of a database. `revision` is the migration of Prefect's tables in it, None if there are none."""

    major: int
    version: str
    role: str
    name: str
    read_only: bool
    may_create_tables: bool
    may_extend: bool
    has_trigrams: bool
    uses_trigrams: bool
    revision: str | None


def check_database(database: PostgresUrl) -> str:
    """Return a description of the database. ServiceError if it is unreachable or does not meet a requirement."""
    try:
        facts = asyncio.run(asyncio.wait_for(_read_facts(database), TIMEOUT_S))
    except asyncpg.InvalidCatalogNameError:
        raise ServiceError(
            f"{database.redacted}: there is no such database; create it (`createdb`), or name another"
        ) from None
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        raise ServiceError(
            f"{database.redacted} refuses the login: {error}; correct user and password (percent-encoded), or pg_hba.conf on that server"
        ) from None
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise ServiceError(
            f"{database.redacted} does not answer as Postgres ({error or 'timeout'}); start it, or correct the address"
        ) from None
    fault = find_fault(facts)
    if fault is not None:
        raise ServiceError(f"{database.redacted}: {fault}")
    content = "with Prefect's tables" if facts.revision else "empty"
    return f"PostgreSQL {facts.version}, {content}"


def find_fault(facts: DatabaseFacts) -> str | None:
    """Return the first requirement that is not met, with the remedy; None if all are."""
    role, name = facts.role, facts.name
    is_foreign = facts.revision is not None and not _has_migration(facts.revision)
    faults = (
        (facts.major < MIN_MAJOR, f"PostgreSQL {facts.version} is too old; at least {MIN_MAJOR} is needed"),
        (facts.read_only, "it is read-only; name the primary server"),
        (
            not facts.may_create_tables,
            f"{role} may not create tables; run on that server: ALTER DATABASE {name} OWNER TO {role}",
        ),
        (
            not (facts.has_trigrams or facts.uses_trigrams),
            "the extension pg_trgm is not installed; install Postgres's contrib package on that server",
        ),
        (
            not (facts.may_extend or facts.uses_trigrams),
            f"{role} may not create the extension pg_trgm; run on that server as superuser: CREATE EXTENSION pg_trgm",
        ),
        (
            is_foreign,
            f"its tables belong to another version of Prefect (revision {facts.revision}); install that version here, or name an empty database",
        ),
    )
    return next((fault for is_missing, fault in faults if is_missing), None)


async def _read_facts(database: PostgresUrl) -> DatabaseFacts:
    connection: Any = await asyncpg.connect(database.url, timeout=TIMEOUT_S)
    try:
        row = dict(await connection.fetchrow(_QUERY))
        is_used = row.pop("is_used")
        revision = await connection.fetchval("SELECT version_num FROM alembic_version") if is_used else None
        return DatabaseFacts(**row, revision=revision)
    finally:
        await connection.close()


def _has_migration(revision: str) -> bool:
    """Return whether the installed Prefect has the migration `revision`."""
    (prefect,) = find_spec("prefect").submodule_search_locations  # type: ignore[union-attr, misc]
    migrations = Path(prefect) / "server" / "database" / "_migrations" / "versions" / "postgresql"
    return any(f'revision = "{revision}"' in file.read_text(encoding="utf-8") for file in migrations.glob("*.py"))
