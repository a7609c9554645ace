# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PostgreSQL through psycopg2: what is there, read without changing anything."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .problem import Refused, mask
from .url import Target

VERSION_TABLE = "alembic_version"
CONNECT_TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class Contents:
    """What one look at a database found.

    ``rows`` are the revisions in the version table (none where there is no such table), and
    ``core_tables`` says whether core's tables are there. ``identity`` is what results show of the
    database: keys ``name``, ``host``, ``port``, ``user``, ``server_version`` and ``search_path``.
    """

    identity: dict[str, Any]
    rows: tuple[str, ...]
    core_tables: bool


def look_at(target: Target, core_tables: Sequence[str]) -> Contents:
    """Read the version rows and what kind of database this is, in one read-only connection.

    :param core_tables: names of tables of which any one shows that the core schema is there.
    :raises Refused: where the server does not let us in, or the version table cannot be read.
    """
    psycopg2 = _driver()
    try:
        arguments: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_SECONDS, **target.connect_kwargs()}
        connection = psycopg2.connect(**arguments)
    except psycopg2.Error as error:
        raise _unreachable(target, str(error)) from None
    try:
        connection.set_session(readonly=True, autocommit=True)
        with connection.cursor() as cursor:
            cursor.execute(
                "select current_database(), current_user, current_setting('server_version'),"
                " current_setting('search_path'), current_setting('port'), to_regclass(%s),"
                " exists (select from unnest(%s::text[]) name where to_regclass(name) is not null)",
                (VERSION_TABLE, list(core_tables)),
            )
            name, user, version, search_path, port, version_table, has_core = cursor.fetchone()
            rows: tuple[str, ...] = ()
            if version_table is not None:
                cursor.execute(f"select version_num from {version_table} order by 1")
                rows = tuple(row[0] for row in cursor.fetchall())
    except psycopg2.Error as error:
        raise Refused(
            "database_unreadable",
            f"The version table of {target} cannot be read: {_first_line(str(error))}.",
            f"Grant it: GRANT SELECT ON {VERSION_TABLE} TO {target.user}.",
        ) from None
    finally:
        connection.close()
    identity = {
        "name": name,
        "host": target.host,
        "port": target.port or int(port),
        "user": user,
        "server_version": version,
        "search_path": search_path,
    }
    return Contents(identity, rows, has_core)


def _driver() -> Any:
    try:
        import psycopg2
    except ImportError as error:
        raise Refused(
            "package_missing",
            f"{sys.executable} cannot load its psycopg2: {error}.",
            "Install psycopg2-binary in its place, or the libpq library that psycopg2 was built with.",
        ) from None
    return psycopg2


def _unreachable(target: Target, message: str) -> Refused:
    words = mask(_first_line(message))
    if "password authentication failed" in message or "no password supplied" in message:
        remedy = "Correct the user or the password in the database URL of the config file."
    elif "does not exist" in message:
        remedy = "Create it, or correct the database URL in the config file."
    else:
        remedy = "Start the server, or correct the database URL in the config file."
    return Refused("database_unreachable", f"The database {target} does not let us in: {words}.", remedy)


def _first_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return (lines[0] if lines else "no reason given").rstrip(".")
