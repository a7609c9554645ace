# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a look at a database reads, without changing anything."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..problem import Refused
from . import driver
from .connection import CONNECT_TIMEOUT_SECONDS, ROLE, arguments, connect, first_line, run
from .url import Target

VERSION_TABLE = "alembic_version"
# The privileges that Alembic needs on the version table
VERSION_RIGHTS: tuple[str, ...] = ("SELECT", "INSERT", "UPDATE", "DELETE")
# How long a revision's identifier may be in the version table that Alembic makes.
VERSION_WIDTH = 32
# Those of SQL's reserved words that name a schema, a role or a table somewhere.
_RESERVED = frozenset(("all", "check", "current_user", "default", "end", "group", "order", "table", "user"))
# How a pooler works (PgBouncer's pool_mode): in session mode a client keeps its server connection, with its locks and
# settings; in transaction or statement mode it does not. Unknown, where the pooler did not serve two clients at once.
SESSION = "session"
TRANSACTION = "transaction"
UNKNOWN = "unknown"
# A pooler that reuses connections does so in the first of these rounds, unless other clients come between.
_ROUNDS = 10
# How long a client waits that was served before, or that wants a second server connection.
_PATIENCE_SECONDS = 1.0

# The same for two connections exactly when they lead to the same database of the same running server.
INCARNATION = """extract(epoch from pg_postmaster_start_time()) || '/' || (
    select oid from pg_database where datname = current_database())"""
# The role's own schema. Its two tables are believed only where they are plain ones, of owners who could lie to the role
# anyway, and written by nobody who cannot write the version table.
_TABLES_OF_OURS = "select from pg_class c where c.relnamespace = n.oid and c.relname in ('revision', 'run')"
_HISTORY = f"""
  (select json_build_object(
    'there', (select count(*) = 2 from ({_TABLES_OF_OURS}) x),
    'may_make', has_schema_privilege(n.oid, 'CREATE'),
    'plain', not exists ({_TABLES_OF_OURS}
      and (c.relkind <> 'r' or c.relhastriggers or c.relhasrules or c.relrowsecurity or c.relispartition)),
    'strangers', (select coalesce(json_agg(r.rolname order by r.rolname), '[]') from pg_roles r
      where not r.rolsuper and r.rolname <> current_user and r.rolname !~ '^pg_'
      and r.oid <> (select datdba from pg_database where datname = current_database())
      and case when r.oid = n.nspowner or exists ({_TABLES_OF_OURS} and c.relowner = r.oid)
        then r.oid is distinct from (select relowner from pg_class where oid = to_regclass('{VERSION_TABLE}'))
        else not pg_has_role(r.oid, n.nspowner, 'MEMBER')
          and has_table_privilege(r.oid, to_regclass('{VERSION_TABLE}'), 'UPDATE') is not true
          and (has_schema_privilege(r.oid, n.oid, 'CREATE') or exists ({_TABLES_OF_OURS}
            and (has_any_column_privilege(r.oid, c.oid, 'INSERT, UPDATE')
              or has_table_privilege(r.oid, c.oid, 'DELETE, TRUNCATE, TRIGGER')))) end),
    'readable', has_schema_privilege(n.oid, 'USAGE')
      and not exists ({_TABLES_OF_OURS} and not has_table_privilege(c.oid, 'SELECT')),
    'writable', not exists ({_TABLES_OF_OURS} and not (has_table_privilege(c.oid, 'INSERT')
      and has_table_privilege(c.oid, 'UPDATE') and has_table_privilege(c.oid, 'DELETE'))))
    from pg_namespace n where n.nspname = '{ROLE}') as history"""
# What another layout than this one holds is a later release's to read.
HISTORY_LAYOUT = 1
_KEPT = f"""
select coalesce(jsonb_object_agg(revision, entry), '{{}}') from {ROLE}.revision
where app = %s and layout = {HISTORY_LAYOUT}
"""
# One statement, since each costs a round trip, and this is most of what a run takes that has nothing to do. No
# transaction and no SET: behind a pooler, settings outlive the client.
_FACTS = f"""
select json_build_object('name', current_database(), 'host', %s, 'port', coalesce(%s, current_setting('port')::int),
    'user', current_user, 'server_version', current_setting('server_version'),
    'search_path', current_setting('search_path')) as identity,
  (select source from pg_settings where name = 'search_path') as search_path_source,
  pg_backend_pid() as server_pid,
  {INCARNATION} as incarnation,
  pg_is_in_recovery() as standby, current_setting('transaction_read_only')::bool as read_only,
  has_database_privilege(current_database(), 'CREATE') as may_create_schema,
  coalesce(current_schema(), '') as schema,{_HISTORY},
  coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) as may_create,
  exists (select from unnest(%s::text[]) name where to_regclass(name) is not null) as core_tables,
  exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and c.relname <> '{VERSION_TABLE}'
      and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', '{ROLE}')
      and not exists (select from pg_depend d
        where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')) as tables,
  (select coalesce(json_agg(json_build_array(n.nspname, format('%%I.%%I', n.nspname, c.relname),
      pg_table_is_visible(c.oid), has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT'),
      has_table_privilege(c.oid, 'INSERT'), has_table_privilege(c.oid, 'UPDATE'),
      has_table_privilege(c.oid, 'DELETE'), (select atttypmod - 4 from pg_attribute
        where attrelid = c.oid and attname = 'version_num')) order by n.nspname), '[]')
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relname = '{VERSION_TABLE}' and c.relkind in ('r', 'p') and not pg_is_other_temp_schema(n.oid)) as found,
  (select coalesce(json_agg(json_build_array(n.nspname, c.relname, pg_get_userbyid(c.relowner),
      has_any_column_privilege(c.oid, 'REFERENCES')) order by c.relname), '[]')
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and not pg_has_role(c.relowner, 'USAGE') and pg_table_is_visible(c.oid)
      and n.nspname not in ('pg_catalog', 'information_schema')) as others
"""
# Tables, and whether they are found without a schema.
_TABLES = """
select n.nspname, c.relname, pg_table_is_visible(c.oid) from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
"""


class VersionTable(NamedTuple):
    """A table with the version table's name in another schema; ``rows`` is None where they cannot be read."""

    schema: str
    rows: tuple[str, ...] | None


class OthersTable(NamedTuple):
    """A table of an owner whose rights the role does not have. ``may_reference``: it may have foreign keys to it."""

    schema: str
    name: str
    owner: str
    may_reference: bool


@dataclass(frozen=True)
class History:
    """The role's own schema, where it keeps what it has done: whether its tables are ``there``, or it may make them.

    ``strangers`` are roles that own it or may write there, and ought not to; ``plain`` is that nothing else acts when
    it is read or written. ``entries`` are what is kept of the app's revisions, as they are, where that was to be read.
    """

    there: bool = False
    may_make: bool = False
    plain: bool = True
    strangers: Sequence[str] = ()
    readable: bool = True
    writable: bool = True
    entries: Any = field(default_factory=dict)


@dataclass(frozen=True)
class Contents:
    """What one look at a database found.

    ``identity`` is what results show of it: ``name``, ``host``, ``port``, ``user``, ``server_version`` and
    ``search_path``. ``rows`` are the revisions in the version table, ``core_tables`` says whether core's tables are
    there, and ``tables`` whether there are any but the version table and those of extensions. ``schema`` is where a
    table is created whose schema is not named, and ``version_schema`` where the version table lies; empty where there
    is none. ``version_rights`` are those of ``VERSION_RIGHTS`` that the role has on it, and ``version_width`` is how
    many characters it takes, or Alembic's would; 0 where there is no limit, or it is not known. ``others`` are the
    tables on ``search_path`` that the role does not own. ``pooling`` is empty on a direct connection, else how the
    pooler works: ``SESSION``, ``TRANSACTION`` or ``UNKNOWN``. ``search_path_source`` is what set ``search_path``, in
    the words of ``pg_settings``. ``before_core`` are the schemas, there or not, that it leads through until core's, and
    that one. ``incarnation`` is that of ``INCARNATION``.
    """

    identity: dict[str, Any]
    rows: tuple[str, ...]
    core_tables: bool
    tables: bool = True
    schema: str = ""
    may_create: bool = True
    version_schema: str = ""
    version_rights: tuple[str, ...] = VERSION_RIGHTS
    version_width: int = VERSION_WIDTH
    other_version_tables: tuple[VersionTable, ...] = ()
    others: tuple[OthersTable, ...] = ()
    standby: bool = False
    read_only: bool = False
    pooling: str = ""
    search_path_source: str = ""
    before_core: tuple[str, ...] = ()
    incarnation: str = field(default="", repr=False)
    history: History = History()


def look_at(target: Target, core_tables: Sequence[str], app: str = "") -> Contents:
    """Read the version rows, what kind of database this is, and what the role may do there.

    Nothing is written or SET. Where a pooler is between, two more connections are made, to find out how it works.

    :param core_tables: names of tables. If one of them is there, so is the core schema.
    :param app: the app whose history is read.
    :raises Refused: where there is no connection, or the version table cannot be read.
    """
    elsewhere = []
    try:
        with closing(connect(target)) as connection, connection.cursor() as cursor:
            cursor.execute(_FACTS, (target.host, target.port, list(core_tables)))
            facts = dict(zip((column.name for column in cursor.description), cursor.fetchone()))
            pooled = connection.info.backend_pid != facts.pop("server_pid")
            facts["others"] = tuple(OthersTable(*each) for each in facts["others"])
            facts["rows"] = ()
            facts["history"] = _history(cursor, app, facts.pop("history"), facts.pop("may_create_schema"))
            for schema, table, visible, *has_rights, width in facts.pop("found"):
                if not visible:
                    elsewhere.append(VersionTable(schema, _rows_elsewhere(cursor, table) if has_rights[0] else None))
                elif not has_rights[0]:
                    user = facts["identity"]["user"]
                    grant = f"GRANT {', '.join(VERSION_RIGHTS)} ON {table} TO {quoted(user)}"
                    cause = f"The role {user} may not read the version table {table} of {target}."
                    raise _unreadable(cause, f"Grant it, as the table's owner: {grant}.")
                else:
                    rights = tuple(right for right, has in zip(VERSION_RIGHTS, has_rights) if has)
                    facts.update(rows=_rows(cursor, table), version_schema=schema, version_rights=rights)
                    facts["version_width"] = max(width or 0, 0)
    except driver.errors() as error:
        raise _unreadable(
            f"The database {target} cannot be looked at: {first_line(str(error))}.",
            "Read the log of the server, and of the pooler if there is one, then run again.",
        ) from None
    path = _schemas(**{name: facts["identity"][name] for name in ("search_path", "user")})
    core = facts.get("version_schema") or facts["schema"]
    facts["before_core"] = path[: path.index(core) + 1] if core in path else path
    return Contents(**facts, other_version_tables=tuple(elsewhere), pooling=_pooling(target) if pooled else "")


def _history(cursor: Any, app: str, found: dict[str, Any] | None, may_create: bool) -> History:
    """The history as it is, read where it is to be believed."""
    if found is None:
        return History(may_make=may_create)
    history = History(**found)
    believed = history.there and history.plain and not history.strangers
    if believed and not history.readable:
        [(user,)] = run(cursor, "select current_user")
        name = quoted(user)
        raise _unreadable(
            f"The role {user} may not read the history in schema {ROLE}.",
            f"Grant it, as its owner: GRANT USAGE ON SCHEMA {ROLE} TO {name}; "
            f"GRANT SELECT ON ALL TABLES IN SCHEMA {ROLE} TO {name}.",
        )
    if believed:
        [(entries,)] = run(cursor, _KEPT, (app,))
        history = replace(history, entries=entries)
    return history


def tables_there(cursor: Any) -> set[str]:
    """The tables as revisions name them: with a schema, and without one where that finds them."""
    found = run(cursor, _TABLES)
    return {f"{schema}.{name}" for schema, name, _ in found} | {name for _, name, visible in found if visible}


def _schemas(search_path: str, user: str) -> tuple[str, ...]:
    """The schemas that a search_path names, as the server reads it for that user."""
    words = re.findall(r'"((?:[^"]|"")*)"|([^\s,"]+)', search_path)
    names = (quoted.replace('""', '"') or plain.lower() for quoted, plain in words)
    return tuple(user if name == "$user" else name for name in names)


def _unreadable(cause: str, remedy: str) -> Refused:
    return Refused("database_unreadable", cause, remedy)


def _rows(cursor: Any, table: str) -> tuple[str, ...]:
    return tuple(row[0] for row in run(cursor, f"select version_num from {table} order by 1"))


def _rows_elsewhere(cursor: Any, table: str) -> tuple[str, ...] | None:
    """The same for a table that only has the name, and may be of any shape."""
    try:
        return _rows(cursor, table)
    except driver.errors():
        return None


def _pooling(target: Target) -> str:
    """How a pooler works: ``SESSION``, ``TRANSACTION`` or ``UNKNOWN``.

    PgBouncer tells its ``pool_mode`` only to its own administrator. So two clients ask for the process id of their
    server connection in turn. In session mode each always has its own. If the pooler has no second server connection,
    the first client asks again: it has an answer at once if it kept its own, and queues behind the second if not.
    """
    with ExitStack() as opened:
        try:
            first, second = (
                opened.enter_context(closing(driver.Client(target.driver, arguments(target)))) for _ in range(2)
            )
            for client in (first, second):
                if client.connect(CONNECT_TIMEOUT_SECONDS):
                    return UNKNOWN
            servers = {_server(first, CONNECT_TIMEOUT_SECONDS)}
            try:
                others = {_server(second, _PATIENCE_SECONDS)}
            except TimeoutError:
                return _by_queue(first, second)
            for _ in range(_ROUNDS):
                if servers & others or len(servers) > 1 or len(others) > 1:
                    return TRANSACTION
                servers.add(_server(first, _PATIENCE_SECONDS))
                others.add(_server(second, _PATIENCE_SECONDS))
        except (AttributeError, OSError):
            return UNKNOWN
    return SESSION


def _by_queue(first: driver.Client, second: driver.Client) -> str:
    try:
        _server(first, _PATIENCE_SECONDS)
    except TimeoutError:
        return TRANSACTION
    # A server connection that came free went to the second client before the first: that proves nothing.
    return UNKNOWN if second.has_answer() else SESSION


def _server(client: driver.Client, seconds: float) -> int:
    """The process id of the server connection that serves a client now.

    :raises TimeoutError: where there is no answer in time.
    """
    client.send("select pg_backend_pid()")
    return int(client.receive(seconds))


def quoted(name: str) -> str:
    """``name`` as an identifier in SQL, with quotes where it needs them."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name not in _RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'
