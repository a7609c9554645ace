# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A scratch copy of a database, to try things on: filled by pg_dump and pg_restore, and dropped afterwards.

If the role may create databases, the copy is on the same server; if not, in a cluster of its own, made
with the server programs of this machine. It is never made with TEMPLATE, for which nobody else may be
connected to the real database.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..postgres.connection import driver
from ..postgres.contents import quoted
from ..postgres.url import Target
from ..problem import Refused
from . import cluster, programs
from .credentials import Login, connected, query
from .programs import FULL, LOCK_WAIT_SECONDS, SCHEMA
from .transfer import failed, fill

__all__ = ["FULL", "SCHEMA", "Scratch", "database", "refuse_impossible"]

SERVER, CLUSTER = "a copy on the same server", "a copy in a server of its own"
_PREFIX = "rattail_schema_ext_scratch_"
# Held while a scratch database exists to which nobody is connected yet. Locks with two keys and locks with one
# are different (PostgreSQL, "Advisory Locks"): it does not conflict with those of other programs.
_LOCK = (1_919_252_068, 1_935_897_447)
_LOCK_POLL_SECONDS = 0.2

# Values of pg_settings.source: of the settings of one database, and of those that a new session has besides.
_DATABASE_SOURCES: tuple[str, ...] = ("database", "database user")
_OTHER_SOURCES = ("configuration file", "command line", "global", "user")

# The last column: the extensions that only a superuser may create. Since release 13, a role that may create things
# in the database may create trusted extensions.
_FACTS = """
select current_database(), current_user::text, current_setting('server_version_num')::int / 10000,
  pg_database_size(current_database()), rolsuper, rolcreatedb,
  (select string_agg(extname, ', ' order by extname) from pg_extension where not exists (
    select from pg_available_extension_versions v where v.name = extname and v.version = extversion
      and coalesce((to_jsonb(v) ->> 'trusted')::bool, v.name = 'plpgsql')))
from pg_roles where rolname = current_user
"""


@dataclass(frozen=True)
class Scratch:
    """A scratch database.

    ``place`` is part of a sentence: ``SERVER`` or ``CLUSTER``. ``warnings`` are sentences about what is
    different from the real one.
    """

    target: Target
    place: str
    warnings: tuple[str, ...] = ()


@contextlib.contextmanager
def database(
    target: Target,
    *,
    content: str = FULL,
    bin_dir: str = "",
    dump: str = "",
    directory: str = cluster.DIRECTORY,
    lock_wait_seconds: int = LOCK_WAIT_SECONDS,
) -> Iterator[Scratch]:
    """A copy of the database, dropped at the end of the block; it belongs to the role that ``target`` logs in as.

    Copies that earlier runs could not drop are dropped first. SIGTERM and SIGHUP raise ``SystemExit`` in
    the block, unless the process handles or ignores them.

    :param content: ``FULL``, or ``SCHEMA``: no rows but those of the version tables.
    :param bin_dir: the directory of PostgreSQL's programs, if the user names one.
    :param dump: a full backup that was made just now, to fill a full copy from: the real database is not
        read a second time, and this shows that the backup can be restored.
    :param directory: where a cluster is made, if one is needed.
    :param lock_wait_seconds: how long pg_dump waits for a table that another session has locked.
    :raises Refused: if it cannot be made or filled.
    """
    with _ended_by_signals(), connected(target) as real, contextlib.ExitStack() as stack:
        facts = _Facts.of(real)
        _drop_leftovers(real, facts)
        cluster.remove_leftovers(directory)
        if facts.on_server:
            pg_dump = programs.choose("pg_dump", facts.major, bin_dir)
            made = filled = stack.enter_context(_on_server(real, target, facts))
            owners, sources = facts.superuser, _DATABASE_SOURCES
        else:
            initdb = _server_programs(facts, bin_dir, directory, content)
            pg_dump = initdb.beside("pg_dump")
            made, filled = _in_cluster(real, facts, stack.enter_context(cluster.started(initdb, directory)))
            owners, sources = True, _DATABASE_SOURCES + _OTHER_SOURCES
        warnings = fill(
            real, filled, pg_dump, content=content, dump=dump, owners=owners, lock_wait_seconds=lock_wait_seconds
        )
        _copy_settings(real, filled, sources)
        yield Scratch(made, SERVER if facts.on_server else CLUSTER, tuple(warnings))


def refuse_impossible(
    target: Target, *, content: str = FULL, bin_dir: str = "", directory: str = cluster.DIRECTORY
) -> None:
    """Refuse if a scratch database cannot be made, without making one.

    :raises Refused: if the role may not create one and there are no server programs (or no account,
        or no space) for a cluster, or if no pg_dump is new enough.
    """
    with connected(target) as connection:
        facts = _Facts.of(connection)
        if facts.on_server:
            programs.choose("pg_dump", facts.major, bin_dir).beside("pg_restore")
        else:
            _server_programs(facts, bin_dir, directory, content)


@dataclass(frozen=True)
class _Facts:
    """The real database, and our role there. ``obstacle`` is why a copy cannot be on the same server, and ``remedy``
    what helps: each is the beginning of a sentence, and may be empty.
    """

    name: str
    role: str
    major: int
    size: int
    superuser: bool
    obstacle: str = ""
    remedy: str = ""

    @property
    def on_server(self) -> bool:
        """Whether the copy can be on the same server."""
        return not self.obstacle

    @classmethod
    def of(cls, connection: Any) -> _Facts:
        [(*facts, may_create, extensions)] = query(connection, _FACTS)
        found = cls(*facts)
        if found.superuser or (may_create and not extensions):
            return found
        if may_create:
            only = f"Only a superuser may create extensions that {found.name} has ({extensions}) in a scratch database"
            return replace(found, obstacle=only)
        return replace(
            found,
            obstacle=f"The role {found.role} may not create a scratch database",
            remedy=f"Allow it, as a superuser (ALTER ROLE {quoted(found.role)} CREATEDB), ",
        )


def _server_programs(facts: _Facts, bin_dir: str, directory: str, content: str) -> programs.Program:
    """``initdb`` of a release that can contain the database, with the other programs that are needed beside it."""
    try:
        initdb = programs.choose("initdb", facts.major, bin_dir)
        for name in ("postgres", "pg_dump", "pg_restore"):
            initdb.beside(name)
    except Refused as error:
        install = f"install {programs.package('initdb', facts.major)} here"
        raise cluster.impossible(
            f"{facts.obstacle}, and this machine has no programs for a server of its own:"
            f" {error.problem.cause.rstrip('.')}.",
            facts.remedy + (install if facts.remedy else install.capitalize()),
        ) from None
    cluster.refuse_impossible(directory, facts.size if content == FULL else 0)
    return initdb


@contextlib.contextmanager
def _on_server(real: Any, target: Target, facts: _Facts) -> Iterator[Target]:
    """An empty database on the same server; until it is dropped, we are connected to it."""
    name = f"{_prefix(facts.name)}{secrets.token_hex(4)}"
    made = replace(target, dbname=name, options={k: v for k, v in target.options.items() if k != "dbname"})
    with contextlib.ExitStack() as stack:
        with _alone(real):
            # before it is created, in case a signal arrives between the two
            stack.callback(_drop, target, name)
            _create(real, real, name)
            stack.enter_context(connected(made))
        yield made


def _create(real: Any, connection: Any, name: str) -> None:
    """Create the database ``name`` by ``connection``, with the encoding and collation of the real one."""
    [(row, encoding)] = query(
        real, "select to_jsonb(d), pg_encoding_to_char(encoding) from pg_database d where datname = current_database()"
    )
    options = {"encoding": encoding, "lc_collate": row["datcollate"], "lc_ctype": row["datctype"]}
    provider = {"i": "icu", "b": "builtin"}.get(row.get("datlocprovider", "c"))
    if provider:
        options["locale_provider"] = provider
        # the column had another name in releases 15 and 16
        options[f"{provider}_locale"] = row.get("datlocale") or row.get("daticulocale")
        options["icu_rules"] = row.get("daticurules")
    given = {option: value for option, value in options.items() if value}
    original, database = real.info.dbname, quoted(name).replace("%", "%%")
    comment = f"Scratch copy of {original}, made by rattail_schema_ext on {os.uname().nodename}: may be dropped."
    create = " ".join([f"create database {database} template template0", *(f"{option} %s" for option in given)])
    try:
        query(connection, create, list(given.values()))
        query(connection, f"comment on database {database} is %s", (comment,))
    except driver().Error as error:
        raise failed(original, str(error)) from None


def _prefix(database: str) -> str:
    return f"{_PREFIX}{hashlib.sha256(database.encode()).hexdigest()[:8]}_"


@contextlib.contextmanager
def _alone(real: Any) -> Iterator[None]:
    """Only one session at a time creates or drops scratch databases of this database."""
    # It is never blocked in the server: a session that waits there would block CREATE INDEX CONCURRENTLY.
    while not query(real, "select pg_try_advisory_lock(%s, %s)", _LOCK)[0][0]:
        time.sleep(_LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        if not real.closed:
            query(real, "select pg_advisory_unlock(%s, %s)", _LOCK)


def _drop_leftovers(real: Any, facts: _Facts) -> None:
    """Drop the databases that earlier runs could not drop: their names and owner are ours, and nobody is connected."""
    with _alone(real):
        leftovers = query(
            real,
            "select datname from pg_database d where left(datname, length(%s)) = %s and pg_has_role(datdba, 'USAGE')"
            " and not exists (select from pg_stat_activity a where a.datname = d.datname)",
            (_prefix(facts.name),) * 2,
        )
        for (name,) in leftovers:
            # it fails if somebody has connected meanwhile, and then the database is in use
            with contextlib.suppress(driver().Error):
                query(real, f"drop database if exists {quoted(name)}")


def _drop(target: Target, name: str) -> None:
    """Drop a scratch database, and end our own sessions in it. If that fails, the next run drops it."""
    with contextlib.suppress(Refused, driver().Error), connected(target) as connection:
        query(
            connection,
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = %s and pg_has_role(usesysid, 'USAGE')",
            (name,),
        )
        query(connection, f"drop database if exists {quoted(name)}")


def _copy_settings(real: Any, copy: Target, sources: Sequence[str]) -> None:
    """Give the copy the settings that a session of the real one begins with, such as search_path.

    Settings that the role may not make are left out.
    """
    chosen = "select name, reset_val from pg_settings where context = 'user' and source = any(%s)"
    with connected(copy) as connection:
        for setting, value in query(real, chosen, (list(sources),)):
            with contextlib.suppress(driver().Error):
                # ALTER DATABASE alone would read a list as one name
                query(connection, "select set_config(%s, %s, false)", (setting, value))
                query(connection, f"alter database {quoted(copy.dbname)} set {quoted(setting)} from current")


def _in_cluster(real: Any, facts: _Facts, admin: Target) -> tuple[Target, Target]:
    """An empty database in the cluster: how our role connects to it, and how the superuser who fills it does."""
    parameters = Login.of(real).parameters
    options = {name: value for name, value in parameters.items() if name in ("options", "client_encoding")}
    restorer = replace(admin, dbname=facts.name)
    made = replace(restorer, user=real.info.user, options={**admin.options, **options})
    with connected(admin) as connection:
        _copy_roles(real, connection)
        query(connection, f"drop database if exists {quoted(facts.name)}")
        _create(real, connection, facts.name)
        query(connection, f"alter database {quoted(facts.name)} owner to {quoted(facts.role)}")
    return made, restorer


def _copy_roles(real: Any, connection: Any) -> None:
    """Create the roles of the real server, without passwords, since they own objects and have rights on them."""
    roles = query(
        real,
        "select rolname, rolname = %s, rolsuper, rolcreaterole, rolcreatedb, rolinherit, rolbypassrls"
        " from pg_roles where rolname !~ '^pg_'",
        (real.info.user,),
    )
    existing = {name for (name,) in query(connection, "select rolname from pg_roles")}
    for name, ours, *attributes in roles:
        if name not in existing:
            words = zip(("superuser", "createrole", "createdb", "inherit", "bypassrls"), attributes)
            chosen = " ".join(word if has else f"no{word}" for word, has in words)
            query(connection, f"create role {quoted(name)} {'login' if ours else 'nologin'} {chosen}")
    for role, member in query(real, "select roleid::regrole::text, member::regrole::text from pg_auth_members"):
        # a predefined role of PostgreSQL may be missing in this release
        with contextlib.suppress(driver().Error):
            query(connection, f"grant {role} to {member}")


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Raise SystemExit for a signal that would end this process; a second one ends it at once."""
    # only the main thread may set handlers
    signals = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    with contextlib.ExitStack() as stack:

        def end(number: int, _frame: Any) -> None:
            stack.close()
            raise SystemExit(128 + number)

        for each in signals:
            if signal.getsignal(each) == signal.SIG_DFL:
                stack.callback(signal.signal, each, signal.SIG_DFL)
                signal.signal(each, end)
        yield
