# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How many rows of which table a transaction has written, as PostgreSQL counts them, and which sequences it moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..problem import Refused
from . import driver
from .connection import run, undone

# gives a cursor of another session
Another = Callable[[], AbstractContextManager[Any]]
# rows of a table that are looked at one by one
_MOST = 10_000

# The functions behind pg_stat_xact_user_tables, without its joins.
_COUNTS = """
  pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) as inserted,
  pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) as updated,
  pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) as deleted"""
_HAS_ROWS = """
  (c.relkind in ('r', 'm') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' or c.oid in (2613, 2995))"""
_COUNTED = f"""
select x.* from (
  select c.oid, n.nspname, c.relname, {_COUNTS}
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where {_HAS_ROWS}
) x
where x.inserted + x.updated + x.deleted > 0"""

# INSERT and the like, nextval and setval keep this lock until the transaction ends, or the savepoint that is gone back
# to. Large objects are rows of two catalogs, whose locks are not always kept. No rollback takes back what nextval and
# setval did. Only of a sequence that is locked is the value asked, which locks it.
_TOUCHED = f"""
select l.oid, case when {_HAS_ROWS} then 'rows' when c.relkind = 'S' and n.nspname !~ '^pg_' then 'sequence' end,
  n.nspname, c.relname, {_COUNTS}, coalesce(tn.nspname, n.nspname), coalesce(t.relname, c.relname),
  case when c.relkind = 'S' and pg_catalog.has_sequence_privilege(c.oid, 'USAGE, SELECT')
    then pg_catalog.pg_sequence_last_value(c.oid) end
from (
  select distinct relation as oid from pg_catalog.pg_locks
  where locktype = 'relation' and pid = pg_catalog.pg_backend_pid() and mode = 'RowExclusiveLock'
  union select 2613 union select 2995
) l
left join pg_catalog.pg_class c on c.oid = l.oid left join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_depend d on c.relkind = 'S'
  and d.classid = 1259 and d.objid = c.oid and d.refclassid = 1259 and d.refobjsubid > 0
left join pg_catalog.pg_class t on t.oid = d.refobjid left join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace"""
# A row that is seen although the transaction that wrote it is in progress was written by this one, or by a savepoint of
# its: of one that was rolled back nothing is seen. Its 32 bits of an id are counted from this transaction's.
_FRESH = """
select 1 from only {table} t,
  lateral (select t.xmin::text::int8 as id, (t.xmin::text::int8 - {now} % {all} + {all}) % {all} as d) x
where case when x.id > 2 and x.d < {all} / 2 then pg_catalog.txid_status({now} + x.d) = 'in progress' end limit 1"""


class Written(NamedTuple):
    """Numbers of rows of one table; those that a rolled-back savepoint wrote are among them: see :func:`stays`."""

    schema: str
    table: str
    inserted: int = 0
    updated: int = 0
    deleted: int = 0


@dataclass(frozen=True)
class Touched:
    """What a transaction may have written so far, apart from what it rolled back, by oid.

    ``rows`` has a table's numbers also where they are 0, and ``sequences`` those on which nextval or setval was called:
    its schema and name, those of the table whose column owns it (else its own), and its value.
    """

    oids: frozenset[int]
    rows: dict[int, Written]
    sequences: dict[int, tuple[Any, ...]]


def touched(cursor: Any) -> Touched:
    """What this session's transaction may have written so far; see :func:`rows_written` for the numbers."""
    found = run(cursor, _TOUCHED)
    return Touched(
        frozenset(oid for oid, *_ in found),
        {oid: Written(*rest[:5]) for oid, kind, *rest in found if kind == "rows"},
        {oid: (*rest[:2], *rest[5:]) for oid, kind, *rest in found if kind == "sequence"},
    )


def rows_written(cursor: Any) -> dict[int, Written]:
    """What this session wrote in the transaction so far, by the table's oid, as far as ``track_counts`` was on.

    The counters may still hold numbers of an earlier transaction, so only the difference of two calls is reliable.
    """
    return {oid: Written(*rest) for oid, *rest in run(cursor, _COUNTED)}


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


def stays(cursor: Any, written: Written, other: Another) -> bool:
    """Whether anything is left of what was counted, or was all of it rolled back to a savepoint or deleted again.

    :param other: its session sees the rows that this transaction deleted.
    """
    table = ".".join('"' + name.replace('"', '""') + '"' for name in written[:2])
    held = f"select ctid::text from only {table} where xmax::text <> '0' limit {_MOST + 1}"
    try:
        with undone(cursor):
            [(now,)] = run(cursor, "select pg_catalog.txid_current()")
            if run(cursor, _FRESH.format(table=table, now=now, all=2**32)):
                return True
            with other() as beside:
                # A lock of our own may keep it from looking.
                beside.execute("set lock_timeout = 100; set search_path = pg_catalog, pg_temp")
                rows = run(beside, held)
                # That a row is locked is written where its deletion is; for us such a row is still there.
                ctids = [ctid for (ctid,) in rows]
                there = run(cursor, f"select ctid::text from only {table} where ctid = any (%s::tid[])", (ctids,))
                return len(rows) > _MOST or bool(({*rows} - {*there}) & {*run(beside, held)})
    except driver.errors(Refused):
        # It cannot be told.
        return True
