# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rows written by a revision, through whatever commits of its own it makes.

PostgreSQL's counters tell the truth inside of a transaction only. When one ends they may be set back, or not yet: by
the clock (a second since the last time, half a second before version 15). So they are read before every COMMIT.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..postgres.connection import driver
from ..postgres.row_counts import Written, rows_written, set_back, together, written_between
from .connect_hook import plain_cursor
from .other_connections import IDLE, IN_TRANSACTION

# psycopg2.extensions: STATUS_BEGIN
_BEGUN = 2

_SPACE = r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*"
# What means the same with BEGIN before and COMMIT after it as alone.
_WHOLE = re.compile(_SPACE + r"(?:insert|update|delete|merge|with|select|copy|values)\b", re.I | re.S)
_BLOCK = re.compile(_SPACE + r"do\b", re.I | re.S)
_COMMITS = re.compile(r"\b(?:commit|rollback)\b", re.I)
_ENDS = re.compile(r"\b(?:commit|end|rollback|abort)\b", re.I)


class Tally:
    """Counts from :meth:`begin` to :meth:`stop`, and in between does nothing where the server does not count."""

    def __init__(self) -> None:
        self._base: dict[int, Written] | None = None
        self._found: list[Written] = []

    def begin(self, cursor: Any) -> None:
        """A revision begins, in a transaction."""
        self._base, self._found = rows_written(cursor), []

    def stop(self) -> None:
        """It has ended."""
        self._base, self._found = None, []

    def count(self, cursor: Any) -> None:
        """Before a COMMIT, in the transaction that it ends."""
        if self._base is not None:
            now = rows_written(cursor)
            self._found += written_between(self._base, now) if now is not None else []
            self._base = now

    def go_on(self, cursor: Any) -> None:
        """In the next transaction, before anything is written in it."""
        if self._base is not None:
            self._base = rows_written(cursor)

    def total(self, cursor: Any) -> list[Written]:
        """What was written up to now, by table."""
        self.count(cursor)
        return together(self._found, [])

    @contextmanager
    def around(self, cursor: Any, text: str) -> Iterator[None]:
        """Count what one statement writes, where it commits by itself or ends a transaction.

        One that writes rows, and would be a transaction of its own, is made one in which the counters can be read.

        :param cursor: the one that executes it in between.
        """
        connection = cursor.connection
        if self._base is None:
            yield
            return
        alone = connection.info.transaction_status == IDLE and (connection.autocommit or connection.status == _BEGUN)
        with plain_cursor(connection) as own:
            if alone and not cursor.name and _can_be_in_a_transaction(text):
                own.execute("begin")
                try:
                    self.go_on(own)
                    yield
                    self.count(own)
                except BaseException:
                    with contextlib.suppress(driver().Error):
                        own.execute("rollback")
                    raise
                own.execute("commit")
            elif alone or _ENDS.search(text):
                if alone:
                    # As near as can be: VACUUM and its like write no rows, but a procedure may, and commit them.
                    set_back(own)
                    self.go_on(own)
                else:
                    self.count(own)
                yield
                if connection.info.transaction_status in (IDLE, IN_TRANSACTION):
                    self.count(own)
            else:
                yield


def _can_be_in_a_transaction(text: str) -> bool:
    return bool(_WHOLE.match(text) or (_BLOCK.match(text) and not _COMMITS.search(text)))
