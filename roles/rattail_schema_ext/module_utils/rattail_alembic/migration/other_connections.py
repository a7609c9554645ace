# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The app's other connections while a revision runs, and other sessions: what may only read, and who did what.

What a revision commits on another connection is neither undone with it nor told from what other sessions do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from ..postgres import driver
from ..postgres.catalog import Catalog, Key
from ..postgres.catalog_changes import Change, difference
from ..postgres.connection import run
from ..postgres.driver import IDLE, IN_TRANSACTION, plain_cursor
from ..postgres.kinds import ALTERED_OUTSIDE
from ..revisions.sql import alters_only

# Two servers may each have a database of that name.
WHICH = "select pg_catalog.current_database(), pg_catalog.pg_postmaster_start_time()"
# A snapshot of the statistics is kept for the whole transaction otherwise.
_NO_SNAPSHOT = "select pg_catalog.pg_stat_clear_snapshot()"
_LAST_QUERIES = "select pid, query_start::text from pg_catalog.pg_stat_activity where pid = any (%s)"
# From here to the savepoint's release a transaction that was there before can only read; nothing makes it write again.
_HOLD = "savepoint rattail_schema_ext; set transaction read only"
_HELD = "select pg_catalog.transaction_timestamp()::text, pg_catalog.current_setting('transaction_read_only')"
_SESSION = "session"


class Beside:
    """Every connection of the app's, and what of them may do what."""

    def __init__(self) -> None:
        # The database that each leads to.
        self._connections: WeakKeyDictionary[Any, tuple[Any, ...]] = WeakKeyDictionary()
        # Those that may only read: from the next transaction on, or in one that began at that time.
        self._held: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self._migrating: Any = None
        self._which: tuple[Any, ...] = ()
        self._confined = self._everywhere = False
        self._running = self._opened = False
        self._queries: set[tuple[Any, ...]] = set()

    @property
    def confined(self) -> bool:
        """Whether a revision runs that may write on its own connection only."""
        return self._running and self._confined

    def add(self, connection: Any) -> None:
        """A connection was opened, and is in no transaction."""
        with plain_cursor(connection) as cursor:
            [self._connections[connection]] = run(cursor, WHICH)
        connection.commit()
        self._opened = self._opened or (self._running and self._connections[connection] == self._which)
        self.see(connection)

    def add_unseen(self) -> None:
        """One was opened of which nothing can be told."""
        self._opened = self._opened or self._running

    def begin(self, cursor: Any, *, confine: bool, everywhere: bool, watch: bool) -> None:
        """A revision begins, on the connection of ``cursor``; with ``watch``, it will be asked if the others worked.

        :param confine: whether they may only read, and ``everywhere`` whether those to other databases may, too.
        """
        self._migrating, self._running, self._opened = cursor.connection, True, False
        self._which = self._connections.get(self._migrating) or run(cursor, WHICH)[0]
        self._confine(confine, everywhere)
        if watch:
            self._queries = self._last_queries(cursor)

    def end(self, *, free: bool) -> None:
        """It has ended, and with ``free`` the others may write again."""
        self._running = False
        if free:
            self._confine(False, False)

    def _confine(self, confine: bool, everywhere: bool) -> None:
        self._confined, self._everywhere = confine, everywhere
        for connection in list(self._connections):
            self.see(connection)

    def see(self, connection: Any) -> None:
        """Have a connection only read, or write again, as it is now to be: before it is used.

        :raises RuntimeError: where that cannot be done; the connection is closed then.
        """
        which = self._connections.get(connection)
        if driver.is_async(connection) and self.confined:
            _close(connection, "an asynchronous")
        if which is None or connection is self._migrating or connection.closed:
            return
        wanted = self._confined if which == self._which else self._everywhere
        held = self._held.get(connection, "")
        if wanted and held != _SESSION and driver.is_busy(connection):
            _close(connection, "another busy")
        status = connection.info.transaction_status
        if status == IDLE:
            if wanted and held != _SESSION:
                set_session(connection, read_only=True)
                self._held[connection] = _SESSION
            elif held and not wanted:
                if held == _SESSION:
                    set_session(connection, read_only=False)
                del self._held[connection]
        elif status == IN_TRANSACTION and wanted and not held:
            with plain_cursor(connection) as cursor:
                cursor.execute(_HOLD)
                [(self._held[connection], _)] = run(cursor, _HELD)
        elif status == IN_TRANSACTION and held and held != _SESSION and not wanted:
            with plain_cursor(connection) as cursor:
                # A savepoint before ours may have been gone back to, or another transaction begun.
                if run(cursor, _HELD) == [(held, "on")]:
                    cursor.execute("release savepoint rattail_schema_ext")
            del self._held[connection]

    def worked(self, cursor: Any) -> bool:
        """Whether another connection to the same database was opened or used since the revision began."""
        return self._opened or self._last_queries(cursor) != self._queries

    def _last_queries(self, cursor: Any) -> set[tuple[Any, ...]]:
        """When each of them was used last."""
        pids = [
            connection.info.backend_pid
            for connection, which in self._connections.items()
            if connection is not self._migrating and not connection.closed and which == self._which
        ]
        if not pids:
            return set()
        run(cursor, _NO_SNAPSHOT)
        return set(run(cursor, _LAST_QUERIES, (pids,)))


def _close(connection: Any, which: str) -> NoReturn:
    driver.end(connection)
    raise RuntimeError(f"it uses {which} connection to the database, which cannot be kept from writing")


def is_pooled(connection: Any) -> bool:
    """Whether who answers is not who let us in: a pooler is between. It leaves no transaction open that was not."""
    idle = connection.info.transaction_status == IDLE
    with plain_cursor(connection) as cursor:
        [(pid,)] = run(cursor, "select pg_catalog.pg_backend_pid()")
    if idle:
        connection.rollback()
    return bool(pid != connection.info.backend_pid)


def set_session(connection: Any, *, read_only: bool) -> None:
    """Have a connection only read, or write again, from its next transaction on, also in one that it begins by SQL."""
    with plain_cursor(connection) as cursor:
        cursor.execute(f"set default_transaction_read_only to {'on' if read_only else 'default'}")
    connection.commit()
    driver.set_read_only(connection, True if read_only else None)


class Meanwhile:
    """What other sessions commit while a revision is outside of its transaction, as long as that can be told.

    :param committed: reads what another session sees.
    """

    def __init__(self, committed: Callable[[], Catalog]) -> None:
        self._committed = committed
        self.begin()

    def begin(self) -> None:
        """A revision begins."""
        self._outside, self._bounded = False, True
        self._keys: set[Key] = set()

    def hear(self, text: str, *, beside: bool) -> bool:
        """A statement is about to be executed; whether it is the first one outside that can alter anything.

        :param beside: whether that is on another connection than the revision's.
        """
        if not ((self._outside or beside) and self._bounded) or alters_only(text):
            return False
        self._bounded = False
        return True

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Around what a revision does outside of its transaction."""
        before = self._committed()
        self._outside = True
        try:
            yield
        finally:
            self._outside = False
        changes = difference(before, self._committed())
        self._keys |= {each.key for each in changes if each.kind not in ALTERED_OUTSIDE}

    def tell_apart(self, changes: Iterable[Change]) -> tuple[list[Change], list[Change]]:
        """Those of ``changes`` that may be the revision's, and those that were made by others."""
        theirs = [each for each in changes if self._bounded and each.key in self._keys]
        return [each for each in changes if each not in theirs], theirs
