# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a look at a database reads, without changing anything."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from select import select
from typing import Any, NamedTuple

from ..problem import Refused, mask
from .connection import CONNECT_TIMEOUT_SECONDS, arguments, connect, driver, first_line, run
from .url import Target

VERSION_TABLE = "alembic_version"

# The privileges that Alembic needs on the version table.
VERSION_RIGHTS: tuple[str, ...] = ("SELECT", "INSERT", "UPDATE", "DELETE")

# Of SQL's reserved words, those that name a schema, a role or a table somewhere.
_RESERVED = frozenset(("all", "check", "current_user", "default", "end", "group", "order", "table", "user"))

# How a pooler works. A client keeps its server connection: locks and settings last as long as it.
SESSION = "session"
# It does not (PgBouncer's pool_mode = transaction or statement).
TRANSACTION = "transaction"
# Not known, because the pooler did not serve two clients at once.
UNKNOWN = "unknown"

# A pooler that reuses connections does so at the first round, unless other clients come between.
_ROUNDS = 10
# How long a client waits that was served before, or that wants a second server connection.
_PATIENCE_SECONDS = 1.0

# One statement, since each costs a round trip, and this is most of what a run takes that has nothing to do. No
# transaction and no SET: behind a pooler, settings outlive the client.
_FACTS = f"""
select json_build_object('name', current_database(), 'host', %s, 'port', coalesce(%s, current_setting('port')::int),
    'user', current_user, 'server_version', current_setting('server_version'),
    'search_path', current_setting('search_path')) as identity,
  pg_backend_pid() as server_pid,
  extract(epoch from pg_postmaster_start_time()) || '/' || (
    select oid from pg_database where datname = current_database()) as incarnation,
  pg_is_in_recovery() as standby, current_setting('transaction_read_only')::bool as read_only,
  coalesce(current_schema(), '') as schema,
  coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) as may_create,
  exists (select from unnest(%s::text[]) name where to_regclass(name) is not null) as core_tables,
  exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and c.relname <> '{VERSION_TABLE}'
      and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and not exists (select from pg_depend d
        where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')) as tables,
  (select coalesce(json_agg(json_build_array(n.nspname, format('%%I.%%I', n.nspname, c.relname),
      pg_table_is_visible(c.oid), has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT'),
      has_table_privilege(c.oid, 'INSERT'), has_table_privilege(c.oid, 'UPDATE'),
      has_table_privilege(c.oid, 'DELETE')) order by n.nspname), '[]')
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relname = '{VERSION_TABLE}' and c.relkind in ('r', 'p') and not pg_is_other_temp_schema(n.oid)) as found,
  (select coalesce(json_agg(json_build_array(n.nspname, c.relname, pg_get_userbyid(c.relowner),
      has_any_column_privilege(c.oid, 'REFERENCES')) order by c.relname), '[]')
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and not pg_has_role(c.relowner, 'USAGE') and pg_table_is_visible(c.oid)
      and n.nspname not in ('pg_catalog', 'information_schema')) as others
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
class Contents:
    """What one look at a database found.

    ``rows`` are the revisions in the version table (none where there is no such table), ``core_tables`` says whether
    core's tables are there, and ``tables`` whether there are any but the version table and those of PostgreSQL's own
    extensions. ``identity`` is what results show of the database: keys ``name``, ``host``, ``port``, ``user``,
    ``server_version`` and ``search_path``.

    ``schema`` is where a table is created whose schema is not named, and ``version_schema`` where the version table
    lies; empty where there is none. ``version_rights`` are those of ``VERSION_RIGHTS`` that the role has on it.
    ``others`` are the tables on ``search_path`` that the role does not own. ``pooling`` is empty on a direct
    connection, else how the pooler works: ``SESSION``, ``TRANSACTION`` or ``UNKNOWN``. ``search_path_source`` is what
    set ``search_path``, in the words of the view ``pg_settings``; only read where ``search_path`` may be wrong.
    ``incarnation`` is the same for two connections exactly when they lead to the same database of the same running
    server.
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
    incarnation: str = field(default="", repr=False)


def look_at(target: Target, core_tables: Sequence[str]) -> Contents:
    """Read the version rows, what kind of database this is, and what the role may do there.

    Nothing is written or SET. Where a pooler is between, two more connections are made, to find out how it works.

    :param core_tables: names of tables. If one of them is there, so is the core schema.
    :raises Refused: where there is no connection, or the version table cannot be read.
    """
    connection = connect(target)
    try:
        with connection.cursor() as cursor:
            cursor.execute(_FACTS, (target.host, target.port, list(core_tables)))
            facts = dict(zip((column.name for column in cursor.description), cursor.fetchone()))
            pooled = connection.info.backend_pid != facts.pop("server_pid")
            others = tuple(OthersTable(*each) for each in facts.pop("others"))
            version_schema, rights = "", VERSION_RIGHTS
            rows: tuple[str, ...] = ()
            elsewhere: list[VersionTable] = []
            for table_schema, table, visible, *has_rights in facts.pop("found"):
                if not visible:
                    elsewhere.append(VersionTable(table_schema, _rows_elsewhere(cursor, table, has_rights[0])))
                    continue
                if not has_rights[0]:
                    user = facts["identity"]["user"]
                    cause = f"The role {user} may not read the version table {table} of {target}."
                    grant = f"GRANT {', '.join(VERSION_RIGHTS)} ON {table} TO {quoted(user)}"
                    raise _unreadable(cause, f"Grant it, as the table's owner: {grant}.")
                version_schema, rows = table_schema, _rows(cursor, table)
                rights = tuple(right for right, has in zip(VERSION_RIGHTS, has_rights) if has)
            source = ""
            if elsewhere or not facts["schema"]:
                [(source,)] = run(cursor, "select source from pg_settings where name = 'search_path'")
    except driver().Error as error:
        raise _unreadable(
            f"The database {target} cannot be looked at: {mask(first_line(str(error)))}.",
            "Read the log of the server, and of the pooler if there is one, then run again.",
        ) from None
    finally:
        connection.close()
    return Contents(
        rows=rows,
        version_schema=version_schema,
        version_rights=rights,
        other_version_tables=tuple(elsewhere),
        others=others,
        pooling=_pooling(target) if pooled else "",
        search_path_source=source,
        **facts,
    )


def _pooling(target: Target) -> str:
    """How a pooler works: ``SESSION``, ``TRANSACTION`` or ``UNKNOWN``.

    PgBouncer tells its ``pool_mode`` only to its own administrator. What matters is whether a client keeps its server
    connection from one transaction to the next: advisory locks and ``SET`` belong to the server connection.

    Two clients ask for the process id of their server connection in turn. In session mode each always has its own. If
    the pooler has no second server connection, the first client asks again: it has an answer at once if it kept its
    own, and queues behind the second client if not.
    """
    with ExitStack() as opened:
        try:
            first = _Client(target, opened)
            servers = {first.server(CONNECT_TIMEOUT_SECONDS)}
            second = _Client(target, opened)
            try:
                others = {second.server(_PATIENCE_SECONDS)}
            except TimeoutError:
                return _by_queue(first, second)
            for _ in range(_ROUNDS):
                if servers & others or len(servers) > 1 or len(others) > 1:
                    return TRANSACTION
                servers.add(first.server(_PATIENCE_SECONDS))
                others.add(second.server(_PATIENCE_SECONDS))
        except (TimeoutError, driver().Error):
            return UNKNOWN
    return SESSION


def _by_queue(first: _Client, second: _Client) -> str:
    try:
        first.server(_PATIENCE_SECONDS)
    except TimeoutError:
        return TRANSACTION
    # A server connection that came free went to the second client before the first: that proves nothing.
    return UNKNOWN if second.answered() else SESSION


class _Client:
    """A connection that waits no longer than it is asked to."""

    def __init__(self, target: Target, opened: ExitStack) -> None:
        self._connection = opened.enter_context(closing(driver().connect(**arguments(target), async_=True)))
        self._cursor: Any = None

    def server(self, seconds: float) -> int:
        """The process id of the server connection that serves this client now.

        :raises TimeoutError: where there is no answer in time.
        """
        deadline = time.monotonic() + seconds
        if self._cursor is None:
            self._wait(deadline)
            self._cursor = self._connection.cursor()
        self._cursor.execute("select pg_backend_pid()")
        self._wait(deadline)
        return int(self._cursor.fetchone()[0])

    def answered(self) -> bool:
        """Whether an answer has come since :meth:`server` gave up."""
        try:
            self._wait(time.monotonic())
        except TimeoutError:
            return False
        return True

    def _wait(self, deadline: float) -> None:
        extensions = driver().extensions
        while (state := self._connection.poll()) != extensions.POLL_OK:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            here = [self._connection]
            select(*(([], here, []) if state == extensions.POLL_WRITE else (here, [], [])), left)


def _rows(cursor: Any, table: str) -> tuple[str, ...]:
    return tuple(row[0] for row in run(cursor, f"select version_num from {table} order by 1"))


def _rows_elsewhere(cursor: Any, table: str, readable: bool) -> tuple[str, ...] | None:
    """The same for a table that only has the name, and may be of any shape."""
    try:
        return _rows(cursor, table) if readable else None
    except driver().Error:
        return None


def quoted(name: str) -> str:
    """``name`` as an identifier in SQL, with quotes where it needs them."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name not in _RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def _unreadable(cause: str, remedy: str) -> Refused:
    return Refused("database_unreadable", cause, remedy)
