# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How many rows of which table a transaction has written, as PostgreSQL counts them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

# The functions behind pg_stat_xact_user_tables, without its joins.
_COUNTS = """
select x.* from (
  select c.oid, n.nspname, c.relname,
    pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) as inserted,
    pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) as updated,
    pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) as deleted
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind = 'r' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
) x
where x.inserted + x.updated + x.deleted > 0"""


class Written(NamedTuple):
    """Numbers of rows of one table; those that a rolled-back savepoint wrote are among them."""

    schema: str
    table: str
    inserted: int = 0
    updated: int = 0
    deleted: int = 0


def rows_written(cursor: Any) -> dict[int, Written] | None:
    """What this session wrote in the transaction so far, by the table's oid; None where ``track_counts`` is off.

    The counters may still hold numbers of an earlier transaction, so only the difference of two calls is reliable.
    """
    cursor.execute("select pg_catalog.current_setting('track_counts')")
    if cursor.fetchone()[0] != "on":
        return None
    cursor.execute(_COUNTS)
    return {oid: Written(*rest) for oid, *rest in cursor.fetchall()}


def written_between(
    before: dict[int, Written], after: dict[int, Written], earlier: Iterable[Written] = ()
) -> list[Written]:
    """The difference of two calls in one session, added to ``earlier`` ones, by table; only where there is one.

    A counter that is lower than before was reset by a commit between the calls: then its present value counts.
    """
    found = {(schema, table): numbers for schema, table, *numbers in earlier}
    for oid, (schema, table, *now) in after.items():
        grown = [b - a for a, b in zip(before[oid][2:], now)] if oid in before else now
        numbers = now if min(grown) < 0 else grown
        if any(numbers):
            so_far = found.get((schema, table), [0, 0, 0])
            found[schema, table] = [a + b for a, b in zip(so_far, numbers)]
    return sorted(Written(schema, table, *numbers) for (schema, table), numbers in found.items())
