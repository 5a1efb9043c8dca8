"""The Postgres that a Prefect server is to run on, looked at before anything is started.

    found = examine(PostgresUrl.parse("postgresql://prefect:secret@db.example/prefect"))    # "PostgreSQL 15.18, …"

Prefect's server makes and migrates its tables itself when it starts; what it cannot do without is asked for here, so
that the answer is one sentence instead of the end of a log.
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

OLDEST = 13
"""Major version from which a database's owner may create pg_trgm without being superuser."""
PATIENCE_S = 10.0
_ASKED = """
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
class Facts:
    """What the database says of itself. `revision` is that of Prefect's tables in it, None where there are none."""

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


def examine(database: PostgresUrl) -> str:
    """What is there, for people. ServiceError names what a Prefect server would lack, and what to do."""
    try:
        facts = asyncio.run(asyncio.wait_for(_ask(database), PATIENCE_S))
    except asyncpg.InvalidCatalogNameError:
        raise ServiceError(f"{database.redacted}: no such database; create it (`createdb`), or name another") from None
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        raise ServiceError(
            f"{database.redacted} refuses: {error}; mend user and password (percent-encoded), or pg_hba.conf there"
        ) from None
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise ServiceError(
            f"{database.redacted} does not answer as a Postgres ({error or 'no answer in time'}); start it, or mend the address"
        ) from None
    fault = lack(facts)
    if fault is not None:
        raise ServiceError(f"{database.redacted}: {fault}")
    return f"PostgreSQL {facts.version}, {'with the tables of a server' if facts.revision else 'empty'}"


def lack(facts: Facts) -> str | None:
    """The first thing that is missing, and its remedy."""
    role, name = facts.role, facts.name
    foreign = facts.revision is not None and not _knows(facts.revision)
    faults = (
        (facts.major < OLDEST, f"PostgreSQL {facts.version} is too old; {OLDEST} is needed at least"),
        (facts.read_only, "it cannot be written to; name the primary server"),
        (
            not facts.may_create_tables,
            f"{role} may not create tables; run there: ALTER DATABASE {name} OWNER TO {role}",
        ),
        (
            not (facts.has_trigrams or facts.uses_trigrams),
            "the extension pg_trgm is not installed there; install Postgres's contrib package on that server",
        ),
        (
            not (facts.may_extend or facts.uses_trigrams),
            f"{role} may not create the extension pg_trgm; run there as superuser: CREATE EXTENSION pg_trgm",
        ),
        (
            foreign,
            f"its tables are those of another version of Prefect (revision {facts.revision}); install that here, or name an empty database",
        ),
    )
    return next((fault for amiss, fault in faults if amiss), None)


async def _ask(database: PostgresUrl) -> Facts:
    connection: Any = await asyncpg.connect(database.url, timeout=PATIENCE_S)
    try:
        found = dict(await connection.fetchrow(_ASKED))
        used = found.pop("is_used")
        return Facts(
            **found, revision=await connection.fetchval("SELECT version_num FROM alembic_version") if used else None
        )
    finally:
        await connection.close()


def _knows(revision: str) -> bool:
    """Whether Prefect, as it is installed here, has a migration of that name."""
    (prefect,) = find_spec("prefect").submodule_search_locations  # type: ignore[union-attr, misc]
    places = Path(prefect) / "server" / "database" / "_migrations" / "versions" / "postgresql"
    return any(f'revision = "{revision}"' in each.read_text(encoding="utf-8") for each in places.glob("*.py"))
