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
    """A revision was about to execute ``statement``, and the policy refuses rows of others' tables."""

    def __init__(self, kind: str, statement: str) -> None:
        super().__init__(f"{kind} outside of its transaction, where rows are not counted")
        self.statement = statement


class WrittenRows:
    """Counts for one revision, in its transaction on ``connection``, from the time that this is made.

    ``prefixes`` tells whose a table is, and ``refuse`` whether rows of others' tables are refused, and with them what
    cannot be counted. Events: ``data`` (``tables``), and once ``uncounted`` (``kind`` of the first such statement).
    """

    def __init__(self, connection: Any, revision: str, prefixes: Prefixes, report: Report, *, refuse: bool) -> None:
        self._connection = connection
        self._revision = revision
        self._prefixes = prefixes
        self._report = report
        self._refuse = refuse
        self._refused: WritesOutside | None = None
        self._told = False
        self._found: list[Written] = []
        self.begin()

    def begin(self) -> None:
        """It is in a transaction, in which it has written nothing yet."""
        self._base = self._written()
        self._outside = False

    def hear(self, connection: Any, text: str) -> None:
        """This is about to be executed on a connection.

        :raises WritesOutside: where that can write rows outside of the transaction, or Violated as :meth:`leave` does.
        """
        if connection is not self._connection:
            return
        if not self._outside:
            how = sql.ends_transaction(text)
            if connection.info.transaction_status == IDLE or how == "ROLLBACK":
                self._outside = True
            elif how:
                self.leave()
        kind = sql.writes_rows(text) if self._outside else ""
        if kind:
            self._miss(kind, text)

    def leave(self) -> None:
        """It is about to commit. Raises Violated where it has written rows that the policy refuses."""
        self._count()
        if self._refuse and self.judge(()):
            raise Violated(f"revision {self._revision} is against the policy")
        self._outside = True

    def end(self, *, unheard: bool) -> None:
        """It has run, and with ``unheard`` it committed in a way of which :meth:`hear` was not told.

        :raises WritesOutside: also where it was raised before, and the revision went on.
        """
        if unheard and not self._outside:
            self._outside = True
            self._miss("COMMIT", "")
        if self._refused is not None:
            raise self._refused
        self._count()

    def judge(self, rewritten: Iterable[Owner]) -> bool:
        """Tell of the rows that are not the extension's own (``rules.data_report``); whether they are refused."""
        data = rules.data_report(self._found, rewritten, self._prefixes)
        if data:
            tables = [{"revision": self._revision, **entry} for entry in data]
            self._report({"event": "data", "revision": self._revision, "tables": tables})
        return bool(data) and self._refuse

    def _written(self) -> dict[int, Written] | None:
        with plain_cursor(self._connection) as cursor:
            return rows_written(cursor)

    def _count(self) -> None:
        if not self._outside and self._connection.info.transaction_status == IN_TRANSACTION:
            now = self._written()
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
