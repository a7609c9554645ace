# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rows that a revision writes in its transaction, and what it runs outside of it, where nothing is counted.

PostgreSQL's counters tell the truth inside of a transaction only. When one ends they may be set back, or not yet: by
the clock (a second since the last time, half a second before version 15).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..policy import rules
from ..policy.prefixes import Prefixes
from ..postgres.catalog_changes import Owner
from ..postgres.row_counts import Written, rows_written, written_between
from ..revisions import sql
from .child import Report
from .connect_hook import plain_cursor
from .other_connections import IDLE, IN_TRANSACTION


class Violated(Exception):
    """A revision did what the policy forbids. What it did has been told before this is raised."""


class WritesOutside(Exception):
    """A revision was about to write rows outside of its transaction, and the policy refuses rows of others' tables.

    :ivar statement: what it was about to execute, for the failure's words.
    """

    def __init__(self, kind: str, statement: str) -> None:
        super().__init__(f"{kind} outside of its transaction, where rows are not counted")
        self.statement = statement


class WrittenRows:
    """Counts for one revision, in its transaction, from the time that this is made.

    Events: ``data`` (``tables``), and once ``uncounted`` (``revision``, ``kind`` of the first statement that was not).

    :ivar outside: whether the revision has left its transaction.
    """

    def __init__(self, cursor: Any, revision: str, prefixes: Prefixes, report: Report, *, refuse: bool) -> None:
        """Begin.

        :param prefixes: whose a table is.
        :param refuse: whether rows of others' tables are refused, and with them what cannot be counted.
        """
        self._revision = revision
        self._prefixes = prefixes
        self._report = report
        self._refuse = refuse
        self._refused: WritesOutside | None = None
        self._told = False
        self._found: list[Written] = []
        self.outside = False
        self.begin(cursor)

    def begin(self, cursor: Any) -> None:
        """It is in a transaction, in which it has written nothing yet."""
        # in this order, since the app's own cursor may tell of this query
        self._base = rows_written(cursor)
        self.outside = False

    def hear(self, connection: Any, text: str) -> None:
        """It is about to execute this on its connection.

        :raises Violated: see :meth:`leave`.
        :raises WritesOutside: where that can write rows outside of its transaction, and this is refused.
        """
        if not self.outside:
            how = sql.ends_transaction(text)
            if connection.info.transaction_status == IDLE or how == "ROLLBACK":
                self.outside = True
            elif how:
                self.leave(connection)
        kind = sql.writes_rows(text) if self.outside else ""
        if kind:
            self._miss(kind, text)

    def leave(self, connection: Any) -> None:
        """It is about to commit.

        :raises Violated: where it has written rows that the policy refuses, which can still be rolled back.
        """
        with plain_cursor(connection) as cursor:
            self._count(cursor)
        if self._refuse and self._tell(()):
            raise Violated(f"revision {self._revision} is against the policy")
        self.outside = True

    def end(self, cursor: Any, *, unheard: bool) -> None:
        """It has run.

        :param unheard: whether it committed in a way of which :meth:`hear` was not told.
        :raises WritesOutside: also where it was raised before, and the revision went on.
        """
        if unheard and not self.outside:
            self.outside = True
            self._miss("COMMIT", "")
        if self._refused is not None:
            raise self._refused
        self._count(cursor)

    def judge(self, rewritten: Iterable[Owner]) -> bool:
        """Tell of the rows that are not the extension's own, and return whether the policy refuses them.

        :param rewritten: see :func:`.rules.data_report`.
        """
        return self._tell(rewritten) and self._refuse

    def _tell(self, rewritten: Iterable[Owner]) -> bool:
        data = rules.data_report(self._found, rewritten, self._prefixes)
        if data:
            self._report({"event": "data", "tables": [{"revision": self._revision, **entry} for entry in data]})
        return bool(data)

    def _count(self, cursor: Any) -> None:
        if not self.outside and cursor.connection.info.transaction_status == IN_TRANSACTION:
            now = rows_written(cursor)
            if self._base is not None and now is not None:
                self._found = written_between(self._base, now, self._found)
            self._base = now

    def _miss(self, kind: str, text: str) -> None:
        if self._refuse:
            self._refused = WritesOutside(kind, text)
            raise self._refused
        if not self._told:
            self._told = True
            self._report({"event": "uncounted", "revision": self._revision, "kind": kind})
