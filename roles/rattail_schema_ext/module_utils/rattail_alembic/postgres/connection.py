# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A connection of the role's own to PostgreSQL: its arguments, its name, and the refusal when it fails."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from select import select
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

# libpq's PQERRORS_VERBOSE
_VERBOSE = 2
_NO_PASSWORD = "28P01"
_PATIENCE_SECONDS = 3.0
_LOGIN = (
    "Correct the user or the password in the database URL of the config file, or have the server let that user in "
    "(CREATE ROLE, pg_hba.conf)."
)
# Why the server lets nobody in, by SQLSTATE → what to do.
_REMEDIES = {
    "28000": _LOGIN,
    "28P01": _LOGIN,
    "3D000": "Create it, or correct the database URL in the config file.",
    "42501": "Grant it (GRANT CONNECT ON DATABASE), or correct the database URL in the config file.",
    "53300": "End connections that nobody needs, or raise the limit (max_connections, or CONNECTION LIMIT of the role "
    "or the database), then run again.",
    "57P03": "Wait until the server is up, then run again.",
}
_OTHER_REMEDY = "Start the server, or correct the database URL in the config file."


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
    """The refusal where libpq's error is ``message``, which is in the language of the server or of libpq."""
    cause = f"No connection to the database {target}: {first_line(message)}."
    return Refused("database_unreachable", cause, _REMEDIES.get(_sqlstate(target), _OTHER_REMEDY))


def _sqlstate(target: Target) -> str:
    """With which SQLSTATE the server does not let us in; empty where there is none, or it does let us in.

    The driver's error does not have it, and its message only where libpq is told so before it connects.
    """
    with suppress(driver().Error, AttributeError, OSError), ExitStack() as opened:
        client = opened.enter_context(closing(driver().connect(**arguments(target), async_=True)))
        libpq, pointer = ctypes.CDLL(driver()._psycopg.__file__), ctypes.c_void_p(client.pgconn_ptr)
        libpq.PQsetErrorVerbosity(pointer, _VERBOSE)
        try:
            wait(client, time.monotonic() + _PATIENCE_SECONDS)
        except driver().Error as error:
            found = re.findall(r":  ([0-9A-Z]{5}): ", str(error))
            needs_one = bool(libpq.PQconnectionNeedsPassword(pointer))
            return found[-1] if found else _NO_PASSWORD * needs_one
    return ""


def wait(client: Any, deadline: float) -> None:
    """Wait for what an asynchronous connection does.

    :raises TimeoutError: where it is not done by then (``time.monotonic()``).
    """
    extensions = driver().extensions
    while (state := client.poll()) != extensions.POLL_OK:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        writes = state == extensions.POLL_WRITE
        select([] if writes else [client], [client] if writes else [], [], left)


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
