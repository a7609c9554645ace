# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rows that a revision writes in its transaction, and what it runs outside of it, where nothing is counted.

PostgreSQL's counters tell the truth inside of a transaction only. When one ends they may be set back, or not yet: by
the clock (a second since the last time, half a second before version 15).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Any

from ..policy import rules
from ..policy.prefixes import Prefixes, is_of_role
from ..postgres.catalog_changes import Owner
from ..postgres.connection import PIN, run, undone
from ..postgres.driver import IDLE, IN_TRANSACTION, errors, plain_cursor
from ..postgres.row_counts import Another, Written, rows_written, stays, touched, written_between
from ..revisions import sql
from .child import Report


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
    cannot be counted; with ``enforce``, those of this role's own are in any case. Events: ``data`` (``tables``), and
    once ``uncounted`` (``kind`` of the first such statement). ``other`` gives a cursor of another session. Where
    nothing was executed since the ``last`` one was counted, what it found holds.
    """

    def __init__(
        self,
        connection: Any,
        revision: str,
        prefixes: Prefixes,
        report: Report,
        *,
        refuse: bool,
        enforce: bool,
        other: Another,
        last: WrittenRows | None = None,
    ) -> None:
        self._connection = connection
        self._revision = revision
        self._prefixes = prefixes
        self._report = report
        self._refuse = refuse
        self._enforce = enforce
        self._other = other
        self._refused: WritesOutside | None = None
        self._told = False
        self._found: list[Written] = []
        self._moved: set[Written] = set()
        self._base: dict[int, Written] = last._base if last else {}
        # what this transaction may have written to before, and by now
        self._written_to: set[int] = last._written_to if last else set()
        self._known = self._written_to
        self._sequences: dict[int, tuple[Any, ...]] = last._sequences if last else {}
        self._outside = False
        if last is None:
            self.begin()

    def begin(self) -> None:
        """It is in a transaction, in which it has written nothing yet."""
        with plain_cursor(self._connection) as cursor:
            now = touched(cursor)
            self._base, self._sequences = rows_written(cursor), now.sequences
        self._known, self._written_to, self._outside = {*now.oids}, {*now.oids}, False

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
        if self._connection.info.transaction_status == IN_TRANSACTION:
            with plain_cursor(self._connection) as cursor:
                # It would come with the COMMIT, after the count.
                cursor.execute("set constraints all immediate")
                with undone(cursor, PIN):
                    self.count()
        if self._refuses(self._data(())):
            self.judge(())
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

    def judge(self, rewritten: Iterable[Owner]) -> bool:
        """Tell of the rows that are not the extension's own (``rules.data_report``); whether they are refused."""
        data = self._data(rewritten)
        if data:
            tables = [{"revision": self._revision, **entry} for entry in data]
            self._report({"event": "data", "revision": self._revision, "tables": tables})
        return self._refuses(data)

    def _data(self, rewritten: Iterable[Owner]) -> list[dict[str, Any]]:
        return rules.data_report([*self._moved, *self._found], rewritten, self._prefixes)

    def _refuses(self, data: Iterable[dict[str, Any]]) -> bool:
        # What the role keeps of what is applied is no data of the app's.
        return any(self._refuse or (self._enforce and is_of_role(each["table"].partition(".")[0])) for each in data)

    def count(self) -> None:
        """Count what it has written so far, where it is still in its transaction."""
        if self._outside or self._connection.info.transaction_status != IN_TRANSACTION:
            return
        with plain_cursor(self._connection) as cursor:
            now = touched(cursor)
            grown = {each[:2] for each in written_between(self._base, now.rows)}
            foreign = {oid: each for oid, each in now.rows.items() if rules.data_report([each], (), self._prefixes)}
            # A superuser can keep rows from being counted, but not what it writes to from being locked.
            asked = {oid for oid, each in foreign.items() if each[:2] in grown or oid not in self._known}
            there = {oid for oid in asked if stays(cursor, foreign[oid], self._other)}
            self._written_to = {*now.oids} - (asked - there)
            kept = {oid: each for oid, each in now.rows.items() if oid in there or oid not in foreign}
            self._found = written_between(self._base, kept, self._found)
            self._moved |= {Written(*foreign[oid][:2]) for oid in there if foreign[oid][:2] not in grown}
            self._base = {**self._base, **now.rows}
            before, self._sequences = self._sequences, now.sequences
            for oid, used in self._sequences.items():
                if used != before.get(oid) and not self._prefixes.owns(*used[2:4]):
                    self._moved.add(Written(used[0], used[1], updated=1))

    def _miss(self, kind: str, text: str) -> None:
        if self._refuse:
            self._refused = WritesOutside(kind, text)
            raise self._refused
        if not self._told:
            self._told = True
            self._report({"event": "uncounted", "revision": self._revision, "kind": kind})


_LEADS_TO = "select pg_catalog.to_regclass(%s)::pg_catalog.oid"


class VersionRows:
    """The rows of the version table, which nobody but Alembic writes.

    ``name`` is that of the table in ``env.py``, and ``rows`` are those that Alembic has read or written last.
    """

    def __init__(self, cursor: Any, name: str, rows: Collection[str]) -> None:
        self.rows = sorted(rows)
        self.name = name
        [(self._oid,)] = run(cursor, _LEADS_TO, (name,))
        with undone(cursor, PIN):
            [(self._table, literal)] = run(cursor, "select %s::regclass::text, quote_literal(%s)", (self._oid, name))
        rows = f"array(select version_num::pg_catalog.text from {self._table})"
        self._both = f"{_LEADS_TO % literal}, {rows}"

    def violations(self, cursor: Any, revision: str) -> list[dict[str, str]]:
        """What ``revision`` did to them, and to where the name leads, as ``rules.violations`` has it."""
        if self._oid is None:
            return []
        what, found = [], ["(not to be read)"]
        with suppress(*errors()), undone(cursor, self._both):
            leads_to, rows = cursor.fetchone()
            if leads_to not in (None, self._oid):
                what.append(f"version table {self._table}, which another one hides")
            found = sorted(rows)
        if found != self.rows:
            there, by_alembic = (", ".join(rows) or "none" for rows in (found, self.rows))
            what.append(f"version rows of {self._table} ({there}; by Alembic {by_alembic})")
        rule = "Only Alembic writes version rows: use alembic stamp by hand to be rid of one."
        made = {"revision": revision, "action": "altered", "kind": "version rows", "rule": rule}
        return [{**made, "object": each} for each in what]
