# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PostgreSQL's system catalogs, read in one query: what a database holds, apart from rows, and what becomes of it.

Expressions are compared as the catalogs store them, which does not depend on search_path. Left out: PostgreSQL's own
objects, which only a superuser can change, temporary ones, large objects, the values of sequences, and passwords.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from .catalog_sources import (
    ATTRIBUTE,
    CLASS,
    CONSTRAINT,
    DEFAULT,
    DEPEND,
    EXTENSION,
    INDEX,
    LASTING,
    MEMBERS,
    ROLE,
    SOURCES,
    TYPE,
    Source,
)
from .connection import PIN, run, undone
from .connection import ROLE as OURS

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

# Each query as it is prepared in a session: its name, which nobody can know before, and when that was done, since it
# can be found afterwards, and another prepared under its name.
_PREPARED = """
select pg_catalog.date_part('epoch', prepare_time) from pg_catalog.pg_prepared_statements where name = %s"""
_prepared: WeakKeyDictionary[Any, dict[str, tuple[str, float]]] = WeakKeyDictionary()
_SPACES = f"space as materialized (select x.oid from pg_catalog.pg_namespace x where {LASTING})"
_RELATIONS = """(
  select x.oid, x.relkind from pg_catalog.pg_class x where x.oid >= 16384 and x.relnamespace in (select oid from space)
)"""
_WITH = f"with {_SPACES}, relation as materialized {_RELATIONS} "

# A row that is seen although the transaction that wrote it is in progress was written by this one or by a savepoint of
# its. $2 is the transaction to which age() counts, and $3 a number of a command, after which a row is new. Where a
# savepoint was gone back to in which a row was deleted, its cmin is no such number.
_OURS = """pg_catalog.age({0}.xmin) <= 0 and case when pg_catalog.age({0}.xmin) > -1000000000
  then pg_catalog.txid_status($2 - pg_catalog.age({0}.xmin)) = 'in progress' end"""
_COMMAND = "{0}.cmin::pg_catalog.text::pg_catalog.int8"
_NEW = f"pg_catalog.age({{0}}.xmin) <= 0 and ({{0}}.xmax <> '0' or {_COMMAND} > $3) and {_OURS}"
# What of a row of pg_class is written in other catalogs.
_CLASS_ELSEWHERE = f"""
union all select c.ctid from pg_catalog.pg_class c where c.oid = any (array(
  select y.indexrelid from pg_catalog.pg_index y where {INDEX} = any ($1) and {_NEW.format("y")} union all
  select y.conindid from pg_catalog.pg_constraint y where {CONSTRAINT} = any ($1) and {_NEW.format("y")} union all
  select s.seqrelid from pg_catalog.pg_sequence s where {DEPEND} = any ($1) and exists (
    select from pg_catalog.pg_depend y where y.classid = {CLASS} and y.objid = s.seqrelid and {_NEW.format("y")})))
"""
_ROLES = frozenset((ROLE, MEMBERS))
# Those that change with a table are asked by themselves, since each that could be asked costs.
_OFTEN = frozenset((CLASS, INDEX, ATTRIBUTE, TYPE, CONSTRAINT, DEPEND, DEFAULT))
_COUNTED = sorted({INDEX, DEPEND, *(source.oid for source in SOURCES)})
# Who may change track_counts may also have written what nobody counted.
_WRITTEN = """
select pg_catalog.txid_current(), pg_catalog.txid_current()
    + pg_catalog.age((pg_catalog.txid_current() %% 4294967296)::pg_catalog.text::pg_catalog.xid),
  pg_catalog.current_setting('track_counts') = 'on' and not exists (
    select from pg_catalog.pg_roles r where pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER') and ({may})),
  (select pg_catalog.array_agg(array[c.oid::pg_catalog.int8, pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid)
      + pg_catalog.pg_stat_get_xact_tuples_updated(c.oid), pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid)])
    from pg_catalog.unnest(%s::pg_catalog.oid[]) c(oid))"""
_MAY = "r.rolsuper"
_MAY_SINCE_15 = "r.rolsuper or pg_catalog.has_parameter_privilege(r.oid, 'track_counts', 'set')"


@dataclass(frozen=True)
class Since:
    """A moment of a transaction: what of it is written later is found by :func:`read_on`.

    ``command`` is a number of one, as in cmin, and ``written`` the rows that were inserted or updated and those that
    were deleted, by the oid of the system catalog.
    """

    transaction: int
    command: int
    written: dict[int, tuple[int, int]]


def snapshot(cursor: Any) -> Catalog:
    """What the database holds now, as the transaction of ``cursor``, a plain one, sees it.

    Nothing is written. The statement stays prepared in the session, since planning takes a third of the time.
    """
    with undone(cursor, PIN):
        return read(cursor)


def read(cursor: Any) -> Catalog:
    """The same inside of ``undone``, where ``PIN`` has been executed."""
    cursor.execute(f"execute {_prepare(cursor, '', _whole_query)}")
    found: Catalog = {}
    for oid, a, b, c, *row in cursor.fetchall():
        found[oid, a, b, c] = _row(*row)
    return found


def now(cursor: Any) -> Since | None:
    """This moment, in ``undone``; None where it could not be told afterwards what was written. Assigns an id."""
    found = _now(cursor)
    return found[0] if found else None


def read_on(cursor: Any, before: Catalog, since: Since | None) -> tuple[Catalog, set[Key] | None, Since | None]:
    """What the database holds now as far as this transaction changed it, else as it was ``before``.

    Read is only what was written since then, so that it does not matter how much there is, and what other sessions
    commit meanwhile is not seen. Like :func:`read` inside of ``undone``.

    :param since: the moment of ``before``. Without one, and where it was in another transaction, all is read.
    :return: with the keys of all that differs from ``before``, or None where all was read, and with this moment.
    """
    found = _now(cursor)
    moment, counted_to = found if found else (None, 0)
    changed = set[int]()
    if moment and since and moment.transaction == since.transaction:
        changed = {oid for oid, rows in moment.written.items() if rows != since.written[oid]}
    if not moment or not since or moment.transaction != since.transaction or changed & _ROLES:
        return read(cursor), None, moment
    if not changed:
        return before, set(), moment
    rows: list[Any] = []
    for among in (_OFTEN, {*_COUNTED} - _OFTEN):
        if changed & among:
            name = _prepare(cursor, f"{min(among)}", partial(_query_of_new, among))
            rows += run(cursor, f"execute {name} (%s, %s, %s)", (sorted(changed & among), counted_to, since.command))
    after, touched, command = dict(before), set[Key](), since.command
    for number, is_there, oid, a, b, c, *row in rows:
        key = (oid, a, b, c)
        if key not in touched or is_there:
            touched.add(key)
            after.pop(key, None)
            if is_there:
                after[key] = _row(*row)
        command = max(command, number or 0)
    deleted = {oid for oid in changed if moment.written[oid][1] != since.written[oid][1]}
    if DEPEND in deleted or INDEX in deleted:
        # An index may have lost its constraint, or a sequence its column, without a word in pg_class.
        return read(cursor), None, moment
    if deleted:
        left = _keys(cursor, deleted)
        for key in [each for each in after if each[0] in deleted and each not in left]:
            touched.add(key)
            del after[key]
    differing = {key for key in touched if before.get(key) != after.get(key)}
    return after, differing, replace(moment, command=command)


def _now(cursor: Any) -> tuple[Since, int] | None:
    """This moment, and the transaction to which age() counts; None where rows of catalogs may go uncounted."""
    may = _MAY_SINCE_15 if cursor.connection.info.server_version >= 150000 else _MAY
    cursor.execute(_WRITTEN.format(may=may), (_COUNTED,))
    transaction, counted_to, counts, written = cursor.fetchone()
    moment = Since(transaction, -1, {oid: (rows, deleted) for oid, rows, deleted in written})
    return (moment, counted_to) if counts else None


def _row(kind: str, name: str, namespace: int, oid: int | None, a: int, b: int, *rest: Any) -> Row:
    return Row(kind, name, namespace, None if oid is None else (oid, a, b, 0), *rest)


def _prepare(cursor: Any, which: str, query: Callable[[dict[str, dict[str, str]]], str]) -> str:
    """The name of a query that is prepared in this session, and is what we prepared."""
    ours = _prepared.setdefault(cursor.connection, {})
    name, prepared = ours.get(which, ("", 0.0))
    cursor.execute(_PREPARED, (name,))
    if cursor.fetchone() != (prepared,):
        cursor.execute(_COLUMNS, (["pg_index", *(source.catalog for source in SOURCES)],))
        columns = {catalog: dict(zip(names, read)) for catalog, names, read in cursor.fetchall()}
        name = f"{OURS}_{os.urandom(8).hex()}"
        cursor.execute(f"prepare {name} {query(columns)}")
        cursor.execute(_PREPARED, (name,))
        ours[which] = (name, cursor.fetchone()[0])
    return name


def _whole_query(columns: dict[str, dict[str, str]]) -> str:
    parts = [f"select {select} where {source.where}" for source, select in _parts(columns)]
    return f"as {_WITH}" + " union all ".join(parts)


def _query_of_new(among: Set[int], columns: dict[str, dict[str, str]]) -> str:
    """What is new, whether it is to be looked at or not, of the catalogs $1, ``among`` these; else as in ``_NEW``."""
    parts = []
    for source, select in _parts(columns):
        if source.oid not in among:
            continue
        which = f"y.refclassid = {EXTENSION}" if source.oid == DEPEND else f"{source.oid} = any ($1)"
        ctids = f"select y.ctid from pg_catalog.{source.catalog} y where {which} and {_NEW.format('y')}"
        ctids += _CLASS_ELSEWHERE if source.oid == CLASS else ""
        catalogs = (CLASS, INDEX, CONSTRAINT, DEPEND) if source.oid == CLASS else (source.oid,)
        number = f"case when x.xmax = '0' and {_OURS.format('x')} then {_COMMAND.format('x')} end"
        new = f"x.ctid = any (array({ctids}))"
        if not source.signed:
            number, new = "null::pg_catalog.int8", "true"
        parts.append(
            f"select {number}, ({source.where}), {select}"
            f" where array[{', '.join(map(str, catalogs))}]::pg_catalog.oid[] && $1 and {new}"
        )
    spaces = f"with {_SPACES}, relation as not materialized {_RELATIONS} "
    return f"(oid[], int8, int8) as {spaces}" + " union all ".join(parts)


def _parts(columns: dict[str, dict[str, str]]) -> Iterator[tuple[Source, str]]:
    """Each source with what is selected from where."""
    index = _read("i", columns["pg_index"], {"indexrelid", "indcheckxmin"})
    for source in SOURCES:
        own = columns.get(source.catalog, {})
        # where this server does not have the catalog, or does not show it to this role
        if not own or ("x.oid" in source.key and "oid" not in own):
            continue
        read = _read("x", own, {"oid", source.acl, *source.skip.split()})
        facts = source.facts.replace("{columns}", read).replace("{pg_index}", index)
        acl = f"x.{source.acl}::pg_catalog.text" if source.acl else "null"
        yield (
            source,
            (
                f"{source.oid}::oid, {source.key}, {source.kind}, {source.name}::text, {source.namespace}::oid,"
                f" {source.parent}, ({facts})::pg_catalog.text, {acl}, {source.filenode}, {source.extra}"
                f" from pg_catalog.{source.catalog} x {source.joins}"
            ),
        )


def _keys(cursor: Any, catalogs: set[int]) -> set[Key]:
    """The keys of all that there is in these catalogs."""
    parts = [
        f"select {source.oid}::oid, {source.key} from pg_catalog.{source.catalog} x {source.joins} where {source.where}"
        for source in SOURCES
        if source.oid in catalogs
    ]
    return {*run(cursor, _WITH + " union all ".join(parts))} if parts else set()


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
