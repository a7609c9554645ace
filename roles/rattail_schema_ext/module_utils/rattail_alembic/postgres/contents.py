# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PostgreSQL through psycopg2: what is there, read without changing anything."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from select import select
from typing import Any, NamedTuple

from ..problem import Refused, mask
from .connection import CONNECT_TIMEOUT_SECONDS, driver, first_line, unreachable
from .url import Target

VERSION_TABLE = "alembic_version"

# The privileges that Alembic needs on the version table.
VERSION_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")

# Of SQL's reserved words, those that name a schema, a role or a table somewhere.
_RESERVED = frozenset(("all", "check", "current_user", "default", "end", "group", "order", "table", "user"))

# A client keeps its server connection: locks and settings last as long as it.
SESSION = "session"
# It does not (PgBouncer's pool_mode = transaction or statement).
TRANSACTION = "transaction"
# It could not be told, because the pooler did not give us two clients.
UNKNOWN = "unknown"

# A pooler that reuses connections does so at the first round, unless others take turns with us.
_ROUNDS = 10
_CONNECT_SECONDS = 10.0
# How long a client that already was served is waited for, and one that wants a second server connection.
_PATIENCE_SECONDS = 1.0

# All in one statement, since each costs a journey to the server, and this is most of what a look at an
# app with nothing to do takes. No transaction and no SET: behind a pooler, settings outlive the client.
_FACTS = f"""
select current_database(), current_user, current_setting('server_version'), current_setting('search_path'),
  current_setting('port')::int, current_setting('server_version_num')::int, pg_backend_pid(),
  extract(epoch from pg_postmaster_start_time()) || '/' || (
    select oid from pg_database where datname = current_database()),
  pg_is_in_recovery(), current_setting('transaction_read_only')::bool,
  current_schema(), coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),
  exists (select from unnest(%s::text[]) name where to_regclass(name) is not null),
  exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and c.relname <> '{VERSION_TABLE}'
      and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and not exists (select from pg_depend d
        where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')),
  (select coalesce(json_agg(json_build_array(n.nspname, c.relname, pg_table_is_visible(c.oid),
      has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT'),
      has_table_privilege(c.oid, 'INSERT'), has_table_privilege(c.oid, 'UPDATE'),
      has_table_privilege(c.oid, 'DELETE')) order by n.nspname), '[]')
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relname = '{VERSION_TABLE}' and c.relkind in ('r', 'p') and not pg_is_other_temp_schema(n.oid)),
  (select coalesce(json_agg(json_build_array(n.nspname, c.relname, pg_get_userbyid(c.relowner),
      has_any_column_privilege(c.oid, 'REFERENCES')) order by c.relname), '[]')
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and not pg_has_role(c.relowner, 'USAGE') and pg_table_is_visible(c.oid)
      and n.nspname not in ('pg_catalog', 'information_schema'))
"""


class VersionTable(NamedTuple):
    """A table with the version table's name in some other schema; ``rows`` is None where they cannot be read."""

    schema: str
    rows: tuple[str, ...] | None


class OthersTable(NamedTuple):
    """A table that belongs to a role whose rights ours has not. ``may_reference``: foreign keys to it are allowed."""

    schema: str
    name: str
    owner: str
    may_reference: bool


@dataclass(frozen=True)
class Contents:
    """What one look at a database found.

    ``rows`` are the revisions in the version table (none where there is no such table),
    ``core_tables`` says whether core's tables are there, and ``tables`` whether there are any but the
    version table and those of PostgreSQL's own extensions. ``identity`` is what results show of the
    database: keys ``name``, ``host``, ``port``, ``user``, ``server_version`` and ``search_path``.

    ``schema`` is where a table that is made without naming one comes to lie, and ``version_schema``
    where the version table lies; empty where there is none. ``version_rights`` are those of
    ``VERSION_RIGHTS`` that the role has on it. ``others`` are the tables in reach of ``search_path``
    that the role does not own. ``pooling`` is empty on a direct connection, else how the pooler
    between works: ``SESSION``, ``TRANSACTION`` or ``UNKNOWN``. ``search_path_source`` is what set
    ``search_path``, in the words of the view ``pg_settings``; empty where all is as it should be.
    ``incarnation`` is the same for two connections exactly when they lead to the same database of
    the same running server.
    """

    identity: dict[str, Any]
    rows: tuple[str, ...]
    core_tables: bool
    tables: bool = True
    schema: str = ""
    may_create: bool = True
    version_schema: str = ""
    version_rights: tuple[str, ...] = VERSION_RIGHTS
    other_version_tables: tuple[VersionTable, ...] = ()
    others: tuple[OthersTable, ...] = ()
    standby: bool = False
    read_only: bool = False
    pooling: str = ""
    search_path_source: str = ""
    server_version_num: int = 0
    incarnation: str = field(default="", repr=False)


def look_at(target: Target, core_tables: Sequence[str]) -> Contents:
    """Read the version rows, what kind of database this is, and what the role may do there.

    Nothing is written, and no setting is made. Where a pooler is between, two more connections are
    made, which tell how it works.

    :param core_tables: names of tables of which any one shows that the core schema is there.
    :raises Refused: where the server does not let us in, or the version table cannot be read.
    """
    psycopg2 = driver()
    arguments: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_SECONDS, **target.connect_kwargs()}
    try:
        connection = psycopg2.connect(**arguments)
    except psycopg2.Error as error:
        raise unreachable(target, str(error)) from None
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(_FACTS, (list(core_tables),))
            (name, user, version, search_path, port, version_num, server_pid, incarnation, standby, read_only,
             schema, may_create, has_core, has_tables, version_tables, others) = cursor.fetchone()  # fmt: skip
            ours = next((table for table in version_tables if table[2]), None)
            rows: tuple[str, ...] = ()
            if ours is not None:
                if not ours[3]:
                    raise _unreadable(target, user, ours[0])
                rows = _rows(psycopg2, cursor, ours[0])
            elsewhere = tuple(
                VersionTable(table[0], _rows_elsewhere(psycopg2, cursor, table[0]) if table[3] else None)
                for table in version_tables
                if table is not ours
            )
            source = ""
            if elsewhere or schema is None:
                cursor.execute("select source from pg_settings where name = 'search_path'")
                [source] = cursor.fetchone()
        pooled = connection.info.backend_pid != server_pid
    except psycopg2.Error as error:
        raise Refused(
            "database_unreadable",
            f"The database {target} cannot be looked at: {mask(first_line(str(error)))}.",
            "Look into the log of the server, and of the pooler if one is between, then run again.",
        ) from None
    finally:
        connection.close()
    identity = {
        "name": name,
        "host": target.host,
        "port": int(target.port or port),
        "user": user,
        "server_version": version,
        "search_path": search_path,
    }
    return Contents(
        identity,
        rows,
        has_core,
        tables=has_tables,
        schema=schema or "",
        may_create=may_create,
        version_schema=ours[0] if ours else "",
        version_rights=tuple(r for r, has in zip(VERSION_RIGHTS, ours[3:]) if has) if ours else VERSION_RIGHTS,
        other_version_tables=elsewhere,
        others=tuple(OthersTable(*each) for each in others),
        standby=standby,
        read_only=read_only,
        pooling=_pooling(psycopg2, arguments) if pooled else "",
        search_path_source=source,
        server_version_num=version_num,
        incarnation=incarnation,
    )


class _Silent(Exception):
    """No answer in time."""


def _pooling(psycopg2: Any, arguments: dict[str, Any]) -> str:
    """How a pooler works, by two clients that never open a transaction: ``SESSION``, ``TRANSACTION`` or ``UNKNOWN``.

    PgBouncer's ``pool_mode`` cannot be asked for without its own administrator's password. What matters is whether a
    client keeps its server connection from one transaction to the next: advisory locks and ``SET`` live on the server
    connection, so without that they are lost, or become somebody else's.

    Where a server connection is seen to serve both while both are there, or one of them is served by
    two in turn, nobody keeps one. Where there is none left for the second client, the first is asked
    again: it has an answer at once if it kept its own, and queues behind the second if not.

    :param arguments: of ``psycopg2.connect``.
    """
    first = second = None
    try:
        first = _Client(psycopg2, arguments)
        servers = {first.server(_CONNECT_SECONDS)}
        second = _Client(psycopg2, arguments)
        try:
            others = {second.server(_PATIENCE_SECONDS)}
        except _Silent:
            return _by_queue(first, second)
        for _ in range(_ROUNDS):
            if servers & others or len(servers) > 1 or len(others) > 1:
                return TRANSACTION
            servers.add(first.server(_PATIENCE_SECONDS))
            others.add(second.server(_PATIENCE_SECONDS))
    except (_Silent, psycopg2.Error):
        return UNKNOWN
    finally:
        for client in (first, second):
            if client is not None:
                client.connection.close()
    return SESSION


def _by_queue(first: _Client, second: _Client) -> str:
    try:
        first.server(_PATIENCE_SECONDS)
    except _Silent:
        return TRANSACTION
    # One that came free meanwhile went to the second client before the first: nothing can be told from that.
    return UNKNOWN if second.answered() else SESSION


class _Client:
    """A connection that never waits longer than it is told to."""

    def __init__(self, psycopg2: Any, arguments: dict[str, Any]) -> None:
        self._extensions = psycopg2.extensions
        self.connection = psycopg2.connect(**arguments, async_=True)
        self._cursor: Any = None

    def server(self, seconds: float) -> int:
        """The process id of the server connection that serves this client just now. Raises ``_Silent``."""
        deadline = time.monotonic() + seconds
        if self._cursor is None:
            self._wait(deadline)
            self._cursor = self.connection.cursor()
        self._cursor.execute("select pg_backend_pid()")
        self._wait(deadline)
        return int(self._cursor.fetchone()[0])

    def answered(self) -> bool:
        """Whether what was waited for in vain has come by now."""
        try:
            self._wait(time.monotonic())
        except _Silent:
            return False
        return True

    def _wait(self, deadline: float) -> None:
        while True:
            state = self.connection.poll()
            if state == self._extensions.POLL_OK:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise _Silent
            here = [self.connection]
            select(*(([], here, []) if state == self._extensions.POLL_WRITE else (here, [], [])), left)


def _rows(psycopg2: Any, cursor: Any, schema: str) -> tuple[str, ...]:
    table = f"{psycopg2.extensions.quote_ident(schema, cursor)}.{VERSION_TABLE}"
    cursor.execute(f"select version_num from {table} order by 1")
    return tuple(row[0] for row in cursor.fetchall())


def _rows_elsewhere(psycopg2: Any, cursor: Any, schema: str) -> tuple[str, ...] | None:
    """The same where it may be anything that bears the name."""
    try:
        return _rows(psycopg2, cursor, schema)
    except psycopg2.Error:
        return None


def quoted(name: str) -> str:
    """``name`` as an identifier in SQL, with quotes where it needs them."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name not in _RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def _unreadable(target: Target, user: str, schema: str) -> Refused:
    table = f"{quoted(schema)}.{VERSION_TABLE}"
    return Refused(
        "database_unreadable",
        f"The role {user} may not read the version table {table} of {target}.",
        f"Grant it, as the table's owner: GRANT {', '.join(VERSION_RIGHTS)} ON {table} TO {quoted(user)}.",
    )
