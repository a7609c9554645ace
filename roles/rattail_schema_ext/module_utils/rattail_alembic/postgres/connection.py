# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A connection to PostgreSQL: its arguments, its name, its settings, and the refusal when it fails."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ..problem import Refused, mask
from . import driver
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

# lock_not_available and deadlock_detected: the transaction may be tried again (PostgreSQL's manual, appendix A).
RETRYABLE = frozenset({"55P03", "40P01"})

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


@dataclass(frozen=True)
class Limits:
    """How long a statement of a migration may wait for a lock, and how long it may take; 0 is without end."""

    lock_timeout_seconds: float = 5.0
    statement_timeout_seconds: float = 0.0

    def settings(self, server_version: int) -> dict[str, str]:
        """What is SET; ``server_version`` is as libpq has it, e.g. 150004."""
        wanted = {
            "lock_timeout": f"{self.lock_timeout_seconds * 1000:.0f}ms",
            "statement_timeout": f"{self.statement_timeout_seconds * 1000:.0f}ms",
            "idle_in_transaction_session_timeout": "0",
            "tcp_keepalives_idle": "30",
            "tcp_keepalives_interval": "10",
            "tcp_keepalives_count": "3",
        }
        if server_version >= 140000:
            # during a statement, for whether the client is still there
            wanted["client_connection_check_interval"] = "1000ms"
        return wanted


def arguments(target: Target) -> dict[str, str]:
    """The arguments of the driver's ``connect``; what the URL says has precedence."""
    return {"connect_timeout": str(CONNECT_TIMEOUT_SECONDS), **KEEPALIVES, **target.connect_kwargs()}


def connect(target: Target) -> Any:
    """A connection in autocommit mode; refuses (``database_unreachable``) where there is none to be had."""
    try:
        return driver.connect(target.driver, arguments(target))
    except driver.errors() as error:
        raise unreachable(target, str(error)) from None


def unreachable(target: Target, message: str) -> Refused:
    """The refusal where the driver's error is ``message``, which is in the language of the server or of libpq."""
    cause = f"No connection to the database {target}: {first_line(message)}."
    return Refused("database_unreachable", cause, _REMEDIES.get(_sqlstate(target), _OTHER_REMEDY))


def _sqlstate(target: Target) -> str:
    """With which SQLSTATE the server does not let us in; empty where there is none, or it does let us in."""
    with suppress(AttributeError, OSError), closing(driver.Client(target.driver, arguments(target))) as client:
        found = re.findall(r":  ([0-9A-Z]{5}): ", client.connect(_PATIENCE_SECONDS))
        return found[-1] if found else _NO_PASSWORD * client.needs_password
    return ""


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
    # Where the driver is to begin transactions, it does so before the savepoint.
    alone = connection.autocommit and connection.info.transaction_status == driver.IDLE
    try:
        cursor.execute(f"{'begin' if alone else f'savepoint {LOOK}'}; {first}")
        yield
    finally:
        if not connection.closed:
            cursor.execute("rollback" if alone else f"rollback to {LOOK}; release {LOOK}")


def put_settings(cursor: Any, settings: Mapping[str, str], *also: str) -> list[Any]:
    """SET the settings for the session, or until a ROLLBACK, and return what the expressions ``also`` give.

    ``?options=`` in the app's URL overrides ``PGOPTIONS`` silently, and PgBouncer refuses it.
    """
    calls = ["pg_catalog.set_config(%s, %s, false)"] * len(settings)
    cursor.execute(f"select {', '.join([*also, *calls])}", [word for pair in settings.items() for word in pair])
    return list(cursor.fetchone()[: len(also)])


def finish_cursors(cursor: Any) -> None:
    """Run the queries of the session's cursors WITH HOLD to their end and close them, as else the COMMIT would."""
    held = "select pg_catalog.quote_ident(name) from pg_catalog.pg_cursors where is_holdable"
    while names := run(cursor, held):
        cursor.execute("; ".join(f"move forward all in {name}; close {name}" for (name,) in names))
