# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PostgreSQL's system catalogs, read in one query: what a database holds, apart from rows.

Expressions are compared as the catalogs store them, which does not depend on search_path. Left out: PostgreSQL's own
objects, which only a superuser can change, temporary ones, large objects, the values of sequences, and passwords.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from .catalog_sources import LASTING, SOURCES
from .connection import PIN, ROLE, undone

# (the catalog's oid, up to three numbers that identify the row)
Key = tuple[int, int, int, int]


class Row(NamedTuple):
    """A row of a system catalog; one without a ``kind`` only says more about its ``parent``.

    ``parent`` is what it is a part of: the column of a default, the table of an index. ``facts`` is everything that is
    compared, as text, and ``acl`` its privileges. ``extra`` completes the name (the arguments of a function), or is the
    oid of what else the row refers to.
    """

    kind: str
    name: str
    namespace: int
    parent: Key | None
    facts: str | None
    acl: str | None
    filenode: int
    extra: str


# What a database held at one moment, as one role in one transaction saw it. Plain data, to be pickled.
Catalog = dict[Key, Row]

# The columns that this role may read in this server's catalogs, and an expression for each, with @ for the row, that
# does not depend on what a revision has set: search_path (regproc), TimeZone, bytea_output, extra_float_digits.
# Debian's PostgreSQL 15.20 counts pg_attver up in attoptions, for columns that nobody changed.
_COLUMNS = """
select c.relname, pg_catalog.array_agg(a.attname::pg_catalog.text order by a.attnum), pg_catalog.array_agg(
  case when a.attname = 'attoptions' then
    pg_catalog.format('nullif(pg_catalog.regexp_replace(@.%%I::pg_catalog.text, %%L, ''''), '''')', a.attname,
      '^{pg_attver=[0-9]+}$|pg_attver=[0-9]+,|,pg_attver=[0-9]+')
  else pg_catalog.format(case a.atttypid
    when 24 then '@.%%I::pg_catalog.oid'
    when 1184 then 'pg_catalog.date_part(''epoch'', @.%%I)::pg_catalog.numeric'
    when 17 then 'pg_catalog.encode(@.%%I, ''hex'')'
    when 700 then '@.%%I::pg_catalog.numeric'
    else '@.%%I' end, a.attname)
  end order by a.attnum)
from pg_catalog.pg_class c join pg_catalog.pg_attribute a on a.attrelid = c.oid
where c.relnamespace = 11 and c.relname = any(%s) and a.attnum > 0
  and pg_catalog.has_column_privilege(c.oid, a.attnum, 'select')
group by 1"""

# The query as it is prepared in each session: its name, which nobody can know before, and when that was done, since it
# can be found afterwards, and another prepared under its name.
_PREPARED = """
select pg_catalog.date_part('epoch', prepare_time) from pg_catalog.pg_prepared_statements where name = %s"""
_prepared: WeakKeyDictionary[Any, tuple[str, float]] = WeakKeyDictionary()
_WITH = f"""
with space as materialized (select x.oid from pg_catalog.pg_namespace x where {LASTING}),
relation as materialized (
  select x.oid, x.relkind from pg_catalog.pg_class x where x.oid >= 16384 and x.relnamespace in (select oid from space)
)
"""


def snapshot(cursor: Any) -> Catalog:
    """What the database holds now, as the transaction of ``cursor``, a plain one of psycopg2's, sees it.

    Nothing is written. The statement stays prepared in the session, since planning takes a third of the time.
    """
    with undone(cursor, PIN):
        return read(cursor)


def read(cursor: Any) -> Catalog:
    """The same inside of ``undone``, where ``PIN`` has been executed."""
    name, prepared = _prepared.get(cursor.connection, ("", 0.0))
    cursor.execute(_PREPARED, (name,))
    if cursor.fetchone() != (prepared,):
        cursor.execute(_COLUMNS, (["pg_index", *(source.catalog for source in SOURCES)],))
        columns = {catalog: dict(zip(names, read)) for catalog, names, read in cursor.fetchall()}
        name = f"{ROLE}_{os.urandom(8).hex()}"
        cursor.execute(f"prepare {name} as {_query(columns)}")
        cursor.execute(_PREPARED, (name,))
        _prepared[cursor.connection] = (name, cursor.fetchone()[0])
    cursor.execute(f"execute {name}")
    found: Catalog = {}
    for oid, a, b, c, kind, name, namespace, parent_oid, parent_a, parent_b, *rest in cursor.fetchall():
        parent = None if parent_oid is None else (parent_oid, parent_a, parent_b, 0)
        found[oid, a, b, c] = Row(kind, name, namespace, parent, *rest)
    return found


def _query(columns: dict[str, dict[str, str]]) -> str:
    index = _read("i", columns["pg_index"], {"indexrelid", "indcheckxmin"})
    parts = []
    for source in SOURCES:
        own = columns.get(source.catalog, {})
        # where this server does not have the catalog, or does not show it to this role
        if not own or ("x.oid" in source.key and "oid" not in own):
            continue
        read = _read("x", own, {"oid", source.acl, *source.skip.split()})
        facts = source.facts.replace("{columns}", read).replace("{pg_index}", index)
        acl = f"x.{source.acl}::pg_catalog.text" if source.acl else "null"
        parts.append(
            f"select {source.oid}::oid, {source.key}, {source.kind}, {source.name}::text, {source.namespace}::oid,"
            f" {source.parent}, ({facts})::pg_catalog.text, {acl}, {source.filenode}, {source.extra}"
            f" from pg_catalog.{source.catalog} x {source.joins} where {source.where}"
        )
    return _WITH + "\nunion all\n".join(parts)


def _read(alias: str, columns: dict[str, str], skipped: set[str]) -> str:
    return ", ".join(read.replace("@", alias) for name, read in columns.items() if name not in skipped)


def invalid_indexes(cursor: Any) -> list[str]:
    """The invalid indexes that a failed CREATE INDEX CONCURRENTLY left behind, schema-qualified and quoted, sorted."""
    cursor.execute(
        "select pg_catalog.format('%I.%I', n.nspname, x.relname) from pg_catalog.pg_index i"
        " join pg_catalog.pg_class x on x.oid = i.indexrelid"
        " join pg_catalog.pg_namespace n on n.oid = x.relnamespace"
        f" where not i.indisvalid and x.relkind = 'i' and {LASTING.replace('x.', 'n.')} order by 1"
    )
    return [name for (name,) in cursor.fetchall()]
