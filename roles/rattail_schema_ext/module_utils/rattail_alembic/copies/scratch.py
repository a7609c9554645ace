# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A scratch copy of a database, to try things on: filled by pg_dump and pg_restore, and dropped afterwards.

It is on the same server if the role may create it there, and else in a cluster of its own on this machine. It is never
made with TEMPLATE, for which nobody else may be connected to the real database.
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
from itertools import compress
from typing import Any

from ..postgres import driver
from ..postgres.contents import quoted
from ..postgres.url import Target
from ..problem import Refused
from . import cluster, programs
from .credentials import Login, connected, query
from .programs import FULL, SCHEMA
from .transfer import fill

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
_LEFTOVERS = """
select datname from pg_database d where left(datname, length(%s)) = %s and pg_has_role(datdba, 'USAGE')
  and not exists (select from pg_stat_activity a where a.datname = d.datname)
"""
_ATTRIBUTES = ("login", "superuser", "createrole", "createdb", "noinherit", "bypassrls")


@dataclass(frozen=True)
class Scratch:
    """A scratch database; ``place`` is ``SERVER`` or ``CLUSTER``, and ``warnings`` tell what it does not have."""

    target: Target
    place: str
    warnings: tuple[str, ...]


@contextlib.contextmanager
def database(target: Target, *, content: str = FULL, bin_dir: str = "", dump: str = "") -> Iterator[Scratch]:
    """A copy of the database, dropped at the end of the block; it belongs to the role that ``target`` logs in as.

    SIGTERM and SIGHUP raise ``SystemExit`` in the block, unless the process handles or ignores them.

    :param content: ``FULL``, or ``SCHEMA``: no rows but those of the version tables.
    :param bin_dir: the directory of PostgreSQL's programs, if the user names one.
    :param dump: a full backup that was made just now, to fill a full copy from: the real database is not
        read a second time, and this shows that the backup can be restored.
    :raises Refused: if it cannot be made or filled.
    """
    with _ended_by_signals(), connected(target) as real, contextlib.ExitStack() as stack:
        facts = _Facts.of(real)
        cluster.remove_leftovers(cluster.DIRECTORY)
        program = _program(facts, content, bin_dir)
        if facts.on_server:
            made = filled = _on_server(stack, real, target, facts.name)
            place, owners, sources = SERVER, facts.superuser, _DATABASE_SOURCES
        else:
            admin = stack.enter_context(cluster.started(program, cluster.DIRECTORY, target.driver))
            made, filled = _in_cluster(real, facts, admin)
            place, owners, sources = CLUSTER, True, _DATABASE_SOURCES + _OTHER_SOURCES
        warnings = fill(real, filled, program.beside("pg_dump"), content=content, dump=dump, owners=owners)
        _copy_settings(real, filled, sources)
        yield Scratch(made, place, tuple(warnings))


def refuse_impossible(target: Target, *, content: str = FULL, bin_dir: str = "") -> None:
    """Refuse if a scratch database cannot be made, without making one: for want of programs, an account or space."""
    with connected(target) as connection:
        _program(_Facts.of(connection), content, bin_dir)


@dataclass(frozen=True)
class _Facts:
    """The real database, our role there, why a copy cannot be on the same server (or empty), and what would help."""

    name: str
    role: str
    major: int
    size: int
    superuser: bool
    obstacle: str
    remedy: str

    @property
    def on_server(self) -> bool:
        return not self.obstacle

    @classmethod
    def of(cls, connection: Any) -> _Facts:
        [(name, role, major, size, superuser, may_create, extensions)] = query(connection, _FACTS)
        obstacle = remedy = ""
        if not superuser and not may_create:
            obstacle = f"The role {role} may not create a scratch database"
            remedy = f", or allow it, as a superuser (ALTER ROLE {quoted(role)} CREATEDB)"
        elif not superuser and extensions:
            obstacle = f"Only a superuser may create extensions that {name} has ({extensions}) in a scratch database"
        return cls(name, role, major, size, superuser, obstacle, remedy)


def _program(facts: _Facts, content: str, bin_dir: str) -> programs.Program:
    """``pg_dump``, or ``initdb`` for a cluster, of a release that fits, with the others that are needed beside it."""
    if facts.on_server:
        pg_dump = programs.choose("pg_dump", facts.major, bin_dir)
        pg_dump.beside("pg_restore")
        return pg_dump
    try:
        initdb = programs.choose("initdb", facts.major, bin_dir)
        for name in ("postgres", "pg_dump", "pg_restore"):
            initdb.beside(name)
    except Refused as error:
        raise cluster.impossible(
            f"{facts.obstacle}, and this machine has no programs for a server of its own: {error.problem.cause}",
            f"Install {programs.package('initdb', facts.major)} here{facts.remedy}",
        ) from None
    cluster.refuse_impossible(cluster.DIRECTORY, facts.size if content == FULL else 0)
    return initdb


def _on_server(stack: contextlib.ExitStack, real: Any, target: Target, original: str) -> Target:
    """An empty database on the same server, dropped by ``stack``. What earlier runs left there is dropped before."""
    prefix = f"{_PREFIX}{hashlib.sha256(original.encode()).hexdigest()[:8]}_"
    name = prefix + secrets.token_hex(4)
    made = replace(target, dbname=name, options={k: v for k, v in target.options.items() if k != "dbname"})
    # Only one session at a time. It is never blocked in the server: one that waits there would block CREATE INDEX
    # CONCURRENTLY.
    while not query(real, "select pg_try_advisory_lock(%s, %s)", _LOCK)[0][0]:
        time.sleep(_LOCK_POLL_SECONDS)
    try:
        for (leftover,) in query(real, _LEFTOVERS, (prefix, prefix)):
            # it fails if somebody has connected meanwhile, and then the database is in use
            with contextlib.suppress(*driver.errors()):
                query(real, f"drop database if exists {quoted(leftover)}")
        # before it is created, in case a signal arrives between the two
        stack.callback(_drop, target, name)
        _create(real, real, name)
        # until it is dropped, for one to which nobody is connected is a leftover
        stack.enter_context(connected(made))
    finally:
        if not real.closed:
            query(real, "select pg_advisory_unlock(%s, %s)", _LOCK)
    return made


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
    database, original = quoted(name).replace("%", "%%"), real.info.dbname
    comment = f"Scratch copy of {original}, made by rattail_schema_ext on {os.uname().nodename}: may be dropped."
    create = " ".join([f"create database {database} template template0", *(f"{option} %s" for option in given)])
    try:
        query(connection, create, list(given.values()))
        query(connection, f"comment on database {database} is %s", (comment,))
    except driver.errors() as error:
        raise cluster.failed(str(error)) from None


def _drop(target: Target, name: str) -> None:
    """Drop a scratch database, and end our own sessions in it. If that fails, the next run drops it."""
    with contextlib.suppress(Refused, *driver.errors()), connected(target) as connection:
        of_ours = "from pg_stat_activity where datname = %s and pg_has_role(usesysid, 'USAGE')"
        query(connection, f"select pg_terminate_backend(pid) {of_ours}", (name,))
        query(connection, f"drop database if exists {quoted(name)}")


def _copy_settings(real: Any, copy: Target, sources: Sequence[str]) -> None:
    """Give the copy the settings, such as search_path, that a session of the real one begins with, if it may."""
    chosen = "select name, reset_val from pg_settings where context = 'user' and source = any(%s)"
    with connected(copy) as connection:
        for setting, value in query(real, chosen, (list(sources),)):
            with contextlib.suppress(*driver.errors()):
                # ALTER DATABASE alone would read a list as one name
                query(connection, "select set_config(%s, %s, false)", (setting, value))
                query(connection, f"alter database {quoted(copy.dbname)} set {quoted(setting)} from current")


def _in_cluster(real: Any, facts: _Facts, admin: Target) -> tuple[Target, Target]:
    """An empty database in the cluster: how our role connects to it, and how the superuser who fills it does."""
    given = Login.of(real).parameters.items()
    options = {name: value for name, value in given if name in ("options", "client_encoding")}
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
        "select rolname, rolname = %s, rolsuper, rolcreaterole, rolcreatedb, not rolinherit, rolbypassrls"
        " from pg_roles where rolname !~ '^pg_'",
        (real.info.user,),
    )
    existing = {name for (name,) in query(connection, "select rolname from pg_roles")}
    for name, *attributes in roles:
        if name not in existing:
            query(connection, f"create role {quoted(name)} {' '.join(compress(_ATTRIBUTES, attributes))}")
    for role, member in query(real, "select roleid::regrole::text, member::regrole::text from pg_auth_members"):
        # a predefined role of PostgreSQL may be missing in this release
        with contextlib.suppress(*driver.errors()):
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
