# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How many rows of which table a transaction has written, as PostgreSQL counts them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# The functions behind pg_stat_xact_user_tables, without its joins.
_COUNTS = """
select x.oid, x.nspname, x.relname, x.inserted, x.updated, x.deleted from (
  select c.oid, n.nspname, c.relname,
    pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) as inserted,
    pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) as updated,
    pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) as deleted
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind = 'r' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
) x
where x.inserted + x.updated + x.deleted > 0"""


@dataclass(frozen=True)
class Written:
    """Numbers of rows of one table; those that a rolled-back savepoint wrote are among them."""

    schema: str
    table: str
    inserted: int = 0
    updated: int = 0
    deleted: int = 0


def rows_written(cursor: Any) -> dict[int, Written] | None:
    """What this session wrote in the transaction so far, by the table's oid.

    PostgreSQL may not have set the counters back yet after the transaction before, so only the
    difference of two calls is the truth.

    :param cursor: a plain DBAPI cursor of psycopg2's.
    :return: None where the server does not count (``track_counts``).
    """
    cursor.execute("select pg_catalog.current_setting('track_counts')")
    if cursor.fetchone()[0] != "on":
        return None
    cursor.execute(_COUNTS)
    return {oid: Written(*rest) for oid, *rest in cursor.fetchall()}


def written_between(before: dict[int, Written], after: dict[int, Written]) -> list[Written]:
    """The difference of two calls in one session, by schema and table; tables without any are left out.

    Where a commit between them set a counter back, what it has reached since is taken.
    """
    found = []
    for oid, now in after.items():
        then = before.get(oid, Written(now.schema, now.table))
        grown = [b - a for a, b in zip(_numbers(then), _numbers(now))]
        numbers = _numbers(now) if min(grown) < 0 else tuple(grown)
        if any(numbers):
            found.append(Written(now.schema, now.table, *numbers))
    return sorted(found, key=lambda written: (written.schema, written.table))


def together(first: Iterable[Written], second: Iterable[Written]) -> list[Written]:
    """Both, added up by table."""
    found: dict[tuple[str, str], Written] = {}
    for each in (*first, *second):
        so_far = found.get((each.schema, each.table), Written(each.schema, each.table))
        numbers = (a + b for a, b in zip(_numbers(so_far), _numbers(each)))
        found[each.schema, each.table] = Written(each.schema, each.table, *numbers)
    return sorted(found.values(), key=lambda written: (written.schema, written.table))


def _numbers(written: Written) -> tuple[int, int, int]:
    return written.inserted, written.updated, written.deleted
