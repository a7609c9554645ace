# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a connection pooler between us and PostgreSQL works, told by what it does.

PgBouncer's ``pool_mode`` cannot be asked for without its own administrator's password. What matters
is whether a client keeps its server connection from one transaction to the next: advisory locks and
``SET`` live on the server connection, so without that they are lost, or become somebody else's.
"""

from __future__ import annotations

import time
from select import select
from typing import Any

# A client keeps its server connection: locks and settings last as long as it.
SESSION = "session"
# It does not (PgBouncer's pool_mode = transaction or statement).
TRANSACTION = "transaction"
# It could not be told, because the pooler did not give us two clients.
UNKNOWN = "unknown"

# A pooler that reuses connections does so at the first round, unless others take turns with us.
_ROUNDS = 10
_CONNECT_SECONDS = 10.0
# How long a client that already was served is waited for, and one that wants a second server connection.
_PATIENCE_SECONDS = 1.0


class _Silent(Exception):
    """No answer in time."""


def pooling(arguments: dict[str, Any]) -> str:
    """``SESSION``, ``TRANSACTION`` or ``UNKNOWN``, by two clients that never open a transaction.

    Where a server connection is seen to serve both while both are there, or one of them is served by
    two in turn, nobody keeps one. Where there is none left for the second client, the first is asked
    again: it has an answer at once if it kept its own, and queues behind the second if not.

    :param arguments: of ``psycopg2.connect``.
    """
    import psycopg2

    first = second = None
    try:
        first = _Client(psycopg2, arguments)
        servers = {first.server(_CONNECT_SECONDS)}
        second = _Client(psycopg2, arguments)
        try:
            others = {second.server(_PATIENCE_SECONDS)}
        except _Silent:
            return _by_queue(first, second)
        for _ in range(_ROUNDS):
            if servers & others or len(servers) > 1 or len(others) > 1:
                return TRANSACTION
            servers.add(first.server(_PATIENCE_SECONDS))
            others.add(second.server(_PATIENCE_SECONDS))
    except (_Silent, psycopg2.Error):
        return UNKNOWN
    finally:
        for client in (first, second):
            if client is not None:
                client.connection.close()
    return SESSION


def _by_queue(first: _Client, second: _Client) -> str:
    try:
        first.server(_PATIENCE_SECONDS)
    except _Silent:
        return TRANSACTION
    # One that came free meanwhile went to the second client before the first: nothing can be told from that.
    return UNKNOWN if second.answered() else SESSION


class _Client:
    """A connection that never waits longer than it is told to."""

    def __init__(self, psycopg2: Any, arguments: dict[str, Any]) -> None:
        self._extensions = psycopg2.extensions
        self.connection = psycopg2.connect(**arguments, async_=True)
        self._cursor: Any = None

    def server(self, seconds: float) -> int:
        """The process id of the server connection that serves this client just now. Raises ``_Silent``."""
        deadline = time.monotonic() + seconds
        if self._cursor is None:
            self._wait(deadline)
            self._cursor = self.connection.cursor()
        self._cursor.execute("select pg_backend_pid()")
        self._wait(deadline)
        return int(self._cursor.fetchone()[0])

    def answered(self) -> bool:
        """Whether what was waited for in vain has come by now."""
        try:
            self._wait(time.monotonic())
        except _Silent:
            return False
        return True

    def _wait(self, deadline: float) -> None:
        while True:
            state = self.connection.poll()
            if state == self._extensions.POLL_OK:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise _Silent
            here = [self.connection]
            select(*(([], here, []) if state == self._extensions.POLL_WRITE else (here, [], [])), left)
