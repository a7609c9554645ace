# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A connection of the role's own to PostgreSQL: its arguments, its name, and the refusal when it fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..problem import Refused, mask
from .url import Target

CONNECT_TIMEOUT_SECONDS = 10
# The end of a connection is noticed after a minute, not after two hours.
KEEPALIVES = {"keepalives": "1", "keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
ROLE = "rattail_schema_ext"
# the savepoint of ``undone``
LOOK = f"{ROLE}_look"
# Whatever the session's settings are, a query then means what it says. Types and relations in pg_temp come first
# where pg_temp is not named.
PIN = (
    "set local search_path = pg_catalog, pg_temp; set local quote_all_identifiers = off;"
    " set local plan_cache_mode = force_generic_plan"
)


def arguments(target: Target) -> dict[str, str]:
    """The arguments of ``psycopg2.connect``; what the URL says has precedence."""
    return {"connect_timeout": str(CONNECT_TIMEOUT_SECONDS), **KEEPALIVES, **target.connect_kwargs()}


def connect(target: Target) -> Any:
    """A psycopg2 connection in autocommit mode; refuses (``database_unreachable``) where there is none to be had."""
    psycopg2 = driver()
    try:
        connection = psycopg2.connect(**arguments(target))
        connection.autocommit = True
    except psycopg2.Error as error:
        raise unreachable(target, str(error)) from None
    return connection


def driver() -> Any:
    """The module psycopg2; refuses (``driver_missing``) where it cannot be loaded."""
    try:
        import psycopg2
    except ImportError as error:
        raise Refused(
            "driver_missing",
            f"{sys.executable} cannot load its psycopg2: {error}.",
            "Install psycopg2-binary in its place, or the libpq library that psycopg2 was built with.",
        ) from None
    return psycopg2


def unreachable(target: Target, message: str) -> Refused:
    """The refusal where libpq's error is ``message``."""
    reason = first_line(message)
    if "password authentication failed" in message or "no password supplied" in message:
        remedy = "Correct the user or the password in the database URL of the config file."
    elif "does not exist" in message:
        remedy = "Create it, or correct the database URL in the config file."
    else:
        remedy = "Start the server, or correct the database URL in the config file."
    return Refused("database_unreachable", f"No connection to the database {target}: {reason}.", remedy)


def first_line(message: str) -> str:
    """The first line of an error's text that is not empty, without its full stop, and without passwords."""
    return (mask(message).strip().splitlines() or ["no reason given"])[0].rstrip(". ")


def application_name(app: str, phase: str) -> str:
    """What ``pg_stat_activity`` shows of a session: the role, the app, the host, and what is being done."""
    host = os.uname().nodename.partition(".")[0]
    # for the host's name, lest the phase be cut off at PostgreSQL's NAMEDATALEN - 1
    room = 63 - len(f"{ROLE} {app}@ {phase}".encode())
    return f"{ROLE} {app}@{host[: max(room, 8)]} {phase}"


def run(cursor: Any, query: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
    """The rows of a query; none for a statement that has no result."""
    cursor.execute(query, parameters)
    return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def undone(cursor: Any, first: str = "") -> Iterator[None]:
    """What is executed inside, settings included, is taken back: in a savepoint, or in a transaction of its own.

    :param first: what is executed right away, in the same round trip.
    """
    connection = cursor.connection
    # pq: PQTRANS_IDLE. Where the driver is to begin transactions, it does so before the savepoint.
    alone = connection.autocommit and connection.info.transaction_status == 0
    try:
        cursor.execute(f"{'begin' if alone else f'savepoint {LOOK}'}; {first}")
        yield
    finally:
        if not connection.closed:
            cursor.execute("rollback" if alone else f"rollback to {LOOK}; release {LOOK}")


def finish_cursors(cursor: Any) -> None:
    """Run the queries of the session's cursors WITH HOLD to their end and close them, as else the COMMIT would."""
    held = "select pg_catalog.quote_ident(name) from pg_catalog.pg_cursors where is_holdable"
    while names := run(cursor, held):
        cursor.execute("; ".join(f"move forward all in {name}; close {name}" for (name,) in names))
