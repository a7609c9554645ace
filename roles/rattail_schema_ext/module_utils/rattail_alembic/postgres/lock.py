# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One migration at a time: an advisory lock for each database and version table.

It is held by a connection of its own, in the process that forks the migrating children: these
inherit the socket, so that the lock is held until the last of them has ended, whichever way.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from ..problem import Refused, mask
from .connection import ROLE, application_name, connect, driver, first_line, run, unreachable
from .url import Target

# A session that waits *in* pg_advisory_lock holds a snapshot, and CREATE INDEX CONCURRENTLY elsewhere waits for it.
_SHORTEST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0
_TELL_SECONDS = 30.0

_HOLDER = """
select a.pid, a.usename, a.application_name, host(a.client_addr), a.backend_start
from pg_locks l left join pg_stat_activity a using (pid)
where l.locktype = 'advisory' and l.granted and l.objsubid = 1
and l.database = (select oid from pg_database where datname = current_database())
and l.classid = %s and l.objid = %s
"""
# A run that was killed loses its lock at once, but what it had the server do goes on until the server notices.
_AT_WORK = f"""
select pid, usename, application_name, host(client_addr), backend_start from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and application_name ~ '^{ROLE} '
and application_name !~ ' waits$' and state in ('active', 'idle in transaction', 'idle in transaction (aborted)')
order by backend_start limit 1
"""
_TABLE = """
select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.oid = to_regclass(%s)
"""
_NOW = "select to_char(clock_timestamp() at time zone 'utc', 'YYYYMMDD\"T\"HH24MISS\"Z\"'), pg_backend_pid()"
_NAME = re.compile(rf"{ROLE} (?P<app>[^@]*)@(?P<host>\S*) (?P<phase>.*?) ?(?P<since>\d{{8}}T\d{{6}}Z)?$")


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
        who = f"{self.application or 'another session'} (pid {self.pid}, user {self.user or 'unknown'}{where})"
        since = f", since {self.since}" if self.since else ""
        return f"{who}{since}{f', now at: {self.phase}' if self.phase else ''}"

    def as_dict(self) -> dict[str, Any]:
        """The holder as results show it."""
        return dict(vars(self))


class Lock:
    """A lock that was won, until :meth:`release`.

    ``pid`` is the server process that holds it. ``waited_seconds`` and ``holders`` tell of the wait before it: each
    run that had the lock meanwhile, in order, as it was last seen.
    """

    def __init__(self, connection: Any, app: str) -> None:
        self.connection = connection
        self.app = app
        self.key = 0
        self.waited_seconds = 0.0
        self.holders: list[Holder] = []
        # Not what libpq says: a pooler in session mode has numbers of its own.
        self.pid = 0
        self._since = ""

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_how: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.release()

    def enter(self, phase: str) -> None:
        """Let everyone who waits see what is being done; fails where the lock's connection is lost.

        :raises Refused: where it is, since the migration must not outlive its lock.
        """
        name = application_name(self.app, f"{phase[:24]} {self._since}".strip())
        try:
            with self.connection.cursor() as cursor:
                cursor.execute("select set_config('application_name', %s, false)", (name,))
        except driver().Error as error:
            raise self.failed(error) from None

    def failed(self, error: Exception) -> Refused:
        """What to say where a statement on the lock's connection failed with ``error``."""
        words = mask(first_line(str(error)))
        if self.connection.closed:
            return Refused(
                "lock_lost",
                f"The connection that holds the lock was lost: {words}.",
                "Nothing goes on without it; run again.",
            )
        return Refused(
            "database_failed",
            f"The database did not do what is done under the lock: {words}.",
            "Look into the log of the server, then run again.",
        )

    def mark(self) -> None:
        """Note since when the lock is held, by the server's clock, and by whom."""
        with self.connection.cursor() as cursor:
            cursor.execute(_NOW)
            self._since, self.pid = cursor.fetchone()
        self.enter("begins")

    def release(self) -> None:
        """Give the lock back. Closing says goodbye to the server, which a mere end of this process would not."""
        self.connection.close()


def key_of(cursor: Any, version_table: str) -> int:
    """The lock's key, a bigint: databases have advisory locks of their own, so the table's name is enough.

    :param version_table: its name as env.py has it, with a schema or without: the schema that it lies in, or will be
        made in, is always part of the key.
    """
    found = run(cursor, _TABLE, (version_table,))
    if not found and "." not in version_table:
        found = run(cursor, "select current_schema() || '.' || %s", (version_table,))
    name = found[0][0] if found else version_table
    digest = hashlib.sha256(f"{ROLE} {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def holder_of(connection: Any, key: int) -> Holder | None:
    """Who has the lock now; None where nobody has."""
    high, low = (key >> 32) & 0xFFFFFFFF, key & 0xFFFFFFFF
    with connection.cursor() as cursor:
        cursor.execute(_HOLDER, (high, low))
        row = cursor.fetchone()
    return None if row is None else _holder(*row)


def _holder(pid: int, user: str | None, application: str | None, address: str | None, started: Any) -> Holder:
    found = _NAME.match(application or "")
    since = found["since"] if found and found["since"] else ""
    return Holder(
        pid=pid,
        user=user or "",
        application=f"{ROLE} of {found['app']} on {found['host']}" if found else application or "",
        address=address or "",
        host=found["host"] if found else "",
        phase=found["phase"] if found else "",
        since=_iso(since) if since else (started.isoformat() if started else ""),
    )


def _iso(since: str) -> str:
    return f"{since[:4]}-{since[4:6]}-{since[6:8]}T{since[9:11]}:{since[11:13]}:{since[13:15]}Z"


def take(target: Target, app: str, version_table: str, wait_seconds: float, tell: Callable[[str], None]) -> Lock:
    """Win the lock, however often it has to be asked for within ``wait_seconds``.

    :param tell: is told now and then, in a sentence, whom this run waits for.
    :raises Refused: where it is not free in time, or the server does not let us in.
    """
    lock = Lock(connect(target), app)
    try:
        with lock.connection.cursor() as cursor:
            lock.key = key_of(cursor, version_table)
        _win(lock, target, wait_seconds, tell)
    except driver().Error as error:
        lock.release()
        raise unreachable(target, str(error)) from None
    except BaseException:
        lock.release()
        raise
    return lock


def _win(lock: Lock, target: Target, wait_seconds: float, tell: Callable[[str], None]) -> None:
    lock.enter("waits")
    with lock.connection.cursor() as cursor:
        if lock.connection.server_version >= 140000:
            cursor.execute("set idle_session_timeout = 0")
        started = time.monotonic()
        told: float | None = None
        pause = _SHORTEST_PAUSE_SECONDS
        won = False
        while True:
            if not won:
                [(won,)] = run(cursor, "select pg_try_advisory_lock(%s)", (lock.key,))
            left_behind = [_holder(*row) for row in run(cursor, _AT_WORK)] if won else []
            now = time.monotonic()
            if won and not left_behind:
                break
            _note(lock.holders, left_behind[0] if won else holder_of(lock.connection, lock.key))
            if now - started >= wait_seconds:
                raise Refused(
                    "locked",
                    f"Another run is at work on the database {target} and did not end within {wait_seconds:g} s: "
                    f"{lock.holders[-1] if lock.holders else 'it has just ended'}.",
                    "Wait for it and run again, or give it more time (rattail_schema_ext_lock_wait_seconds).",
                )
            if lock.holders and (told is None or now - told >= _TELL_SECONDS):
                tell(
                    f"Waiting for {lock.holders[-1]}"
                    if told is None
                    else f"{now - started:.0f} s waited for {lock.holders[-1]}"
                )
                told = now
            time.sleep(max(0.0, min(pause * random.uniform(0.5, 1.0), started + wait_seconds - now)))
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
    lock.waited_seconds = round(now - started, 3) if lock.holders else 0.0
    lock.mark()


def _note(holders: list[Holder], seen: Holder | None) -> None:
    if seen is None:
        return
    if holders and holders[-1].pid == seen.pid:
        holders[-1] = seen
    else:
        holders.append(seen)
