# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One migration at a time: an advisory lock for each database and version table.

A connection of its own holds it, in the process that forks the migrating children. These inherit the socket, so the
lock is held until the last of them has ended, however that happens.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..problem import Refused
from . import driver
from .connection import ROLE, application_name, connect, first_line, run, unreachable
from .url import Target

# A session that waits *in* pg_advisory_lock holds a snapshot, and CREATE INDEX CONCURRENTLY elsewhere waits for it.
_PAUSE_SECONDS = (0.1, 1.0)
_NOTICE_SECONDS = 30.0

_SESSION = """
select a.pid, coalesce(a.usename, ''), coalesce(a.application_name, ''), coalesce(host(a.client_addr), ''),
coalesce(to_char(a.backend_start at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), '') from pg_stat_activity a
"""
_HOLDER = f"""
{_SESSION} join pg_locks l using (pid)
where l.locktype = 'advisory' and l.granted and l.objsubid = 1
and l.database = (select oid from pg_database where datname = current_database())
and l.classid::bigint << 32 | l.objid::bigint = %s
"""
# A run that was killed loses its lock at once, but its statement runs on until the server notices.
_AT_WORK = f"""
{_SESSION} where a.datname = current_database() and a.pid <> pg_backend_pid() and a.application_name ~ '^{ROLE} '
and a.application_name !~ ' waits$' and a.state in ('active', 'idle in transaction', 'idle in transaction (aborted)')
order by a.backend_start limit 1
"""
_TABLE = """
select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.oid = to_regclass(%s)
"""
_NOW = "select to_char(clock_timestamp() at time zone 'utc', 'YYYYMMDD\"T\"HH24MISS\"Z\"'), pg_backend_pid()"
_NAME = re.compile(rf"{ROLE} ([^@]*)@(\S*) (.*?) ?(\d{{8}}T\d{{6}}Z)?$")


@dataclass(frozen=True)
class Holder:
    """Who has the lock. What the server does not show to this role is empty; ``since`` is ISO 8601, UTC."""

    pid: int
    user: str
    application: str
    address: str
    host: str
    phase: str
    since: str

    def __str__(self) -> str:
        where = f" from {self.address}" if self.address else ""
        since = f", since {self.since}" if self.since else ""
        phase = f", now at: {self.phase}" if self.phase else ""
        who = self.application or "another session"
        return f"{who} (pid {self.pid}, user {self.user or 'unknown'}{where}){since}{phase}"


@dataclass
class Lock:
    """The lock of this run: see :func:`take`.

    ``pid`` is the server process that holds it, and ``since`` the server's time when it was won. ``holders`` are the
    runs that were waited for, ``waited_seconds`` long, in order, each as it was last seen.
    """

    connection: Any
    app: str
    # Not libpq's: a pooler in session mode has numbers of its own.
    pid: int = 0
    since: str = ""
    waited_seconds: float = 0.0
    holders: list[Holder] = field(default_factory=list)

    def enter(self, phase: str) -> None:
        """Show in ``pg_stat_activity`` what is being done, to everyone who waits.

        :raises Refused: where the connection is lost, since the migration must not outlive its lock.
        """
        name = application_name(self.app, f"{phase[:24]} {self.since}".strip())
        try:
            with self.connection.cursor() as cursor:
                cursor.execute("select set_config('application_name', %s, false)", (name,))
        except driver.errors() as error:
            raise self.failed(error) from None

    def failed(self, error: Exception) -> Refused:
        """The refusal where a statement on the lock's connection failed with ``error``."""
        reason = first_line(str(error))
        # Where the server has only gone the driver does not know yet that this is the end; but no server spoke.
        if self.connection.closed or not driver.sqlstate(error):
            return lock_lost(reason)
        cause = f"A statement failed while this run had the lock: {reason}."
        return Refused("database_failed", cause, "Read the log of the server, then run again.")


def lock_lost(reason: str) -> Refused:
    """The refusal where nobody can say any more that this run alone migrates the database."""
    cause = f"The connection that holds the lock was lost: {reason}."
    return Refused("lock_lost", cause, "No migration goes on without the lock. Run again.")


def key_of(cursor: Any, version_table: str) -> int:
    """The lock's key, a bigint made of the version table's name and the schema that it is in, or will be created in."""
    found = run(cursor, _TABLE, (version_table,))
    if not found and "." not in version_table:
        found = run(cursor, "select current_schema() || '.' || %s", (version_table,))
    name = found[0][0] if found else version_table
    digest = hashlib.sha256(f"{ROLE} {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


@contextmanager
def take(target: Target, app: str, version_table: str, seconds: float, notify: Callable[[str], None]) -> Iterator[Lock]:
    """Win the lock within ``seconds``, and release it in the end.

    :param notify: is called now and then with a sentence: which run this one waits for.
    :raises Refused: where the lock is not free in time, or the database cannot be reached.
    """
    # Closed, since the server does not notice at once where a process only ends.
    with closing(connect(target)) as connection:
        lock = Lock(connection, app)
        try:
            with connection.cursor() as cursor:
                key = key_of(cursor, version_table)
                lock.enter("waits")
                _win(lock, cursor, key, target, seconds, notify)
                [(lock.since, lock.pid)] = run(cursor, _NOW)
            lock.enter("begins")
        except driver.errors() as error:
            raise unreachable(target, str(error)) from None
        yield lock


def _win(lock: Lock, cursor: Any, key: int, target: Target, seconds: float, notify: Callable[[str], None]) -> None:
    if lock.connection.info.server_version >= 140000:
        cursor.execute("set idle_session_timeout = 0")
    notice, won = 0.0, False
    started = time.monotonic()
    while True:
        won = won or run(cursor, "select pg_try_advisory_lock(%s)", (key,)) == [(True,)]
        found = run(cursor, _AT_WORK) if won else run(cursor, _HOLDER, (key,))
        waited = time.monotonic() - started
        if found:
            holder = _holder(*found[0])
            if lock.holders and lock.holders[-1].pid == holder.pid:
                lock.holders.pop()
            lock.holders.append(holder)
        elif won:
            break
        if waited >= seconds:
            raise Refused(
                "locked",
                f"Another run is at work on the database {target} and did not end within {seconds:g} s: "
                f"{lock.holders[-1] if lock.holders else 'it has just ended'}.",
                "Wait for it and run again, or give it more time (rattail_schema_ext_lock_wait_seconds).",
            )
        if lock.holders and waited >= notice:
            notify(f"{f'{waited:.0f} s waited' if notice else 'Waiting'} for {lock.holders[-1]}")
            notice = waited + _NOTICE_SECONDS
        time.sleep(min(random.uniform(*_PAUSE_SECONDS), seconds - waited))
    lock.waited_seconds = round(waited, 3) if lock.holders else 0.0


def _holder(pid: int, user: str, application: str, address: str, started: str) -> Holder:
    found = _NAME.match(application)
    if found is None:
        return Holder(pid, user, application, address, "", "", started)
    app, host, phase, since = found.groups("")
    since = re.sub("(....)(..)(..T..)(..)", r"\1-\2-\3:\4:", since)
    return Holder(pid, user, f"{ROLE} of {app} on {host}", address, host, phase, since or started)
