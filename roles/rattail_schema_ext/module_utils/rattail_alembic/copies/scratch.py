# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A scratch copy of a database, to try things on: filled by pg_dump and pg_restore, and dropped afterwards.

Where the role may create databases it lies beside the real one; else in a cluster of its own, made
from server programs on this machine. It is never made with TEMPLATE, which needs the real database
for itself alone.
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

from ..postgres.contents import quoted
from ..postgres.url import Target
from ..problem import Refused
from . import cluster, programs
from .credentials import Login, connected
from .transfer import FULL, LOCK_WAIT_SECONDS, SCHEMA, Source, failed, fill

__all__ = ["FULL", "SCHEMA", "Scratch", "database", "refuse_impossible"]

_PREFIX = "rattail_schema_ext_scratch_"
# Held while a scratch database is there and nobody is connected to it yet. Locks with two keys are
# other locks than those with one (PostgreSQL, "Advisory Locks"): nobody else's are met by chance.
_LOCK = (1_919_252_068, 1_935_897_447)
_LOCK_POLL_SECONDS = 0.2

# Where a setting comes from, in the words of the view pg_settings: what belongs to the one database,
# and what else a new session has.
_DATABASE_SOURCES = ("database", "database user")
_OTHER_SOURCES = ("configuration file", "command line", "global", "user")


@dataclass(frozen=True)
class Scratch:
    """A scratch database.

    ``place`` is ``server`` (beside the real one) or ``cluster``. ``seconds`` is how long it took to make;
    ``warnings`` are sentences about what is not in it as in the real one.
    """

    target: Target
    place: str
    seconds: float
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
    """A copy of the database, for as long as the block lasts; it belongs to the role that ``target`` logs in as.

    What runs that died have left behind is dropped first. SIGTERM and SIGHUP end the block by
    ``SystemExit`` where they would have ended the process.

    :param content: ``FULL``, or ``SCHEMA``: no rows but those of the version tables.
    :param bin_dir: the directory of PostgreSQL's programs, where the user names one.
    :param dump: a full backup that was made just now, to fill a full copy from: the real database is
        not read a second time, and the backup has been shown to restore.
    :param directory: where a cluster is made, if need be.
    :param lock_wait_seconds: how long pg_dump waits for a table that somebody holds exclusively.
    :raises Refused: where it cannot be made or filled.
    """
    started = time.monotonic()
    with _ended_by_signals(), connected(target) as real, contextlib.ExitStack() as stack:
        facts = _Facts.of(real)
        source = Source(real, content, dump, lock_wait_seconds)
        _drop_leftovers(real, facts)
        cluster.remove_leftovers(directory)
        if facts.beside:
            pg_dump = programs.choose("pg_dump", facts.major, bin_dir)
            made = stack.enter_context(_beside(real, target, facts))
            warnings = fill(source, pg_dump, made, owners=facts.superuser)
            _copy_settings(real, made, made.dbname, _DATABASE_SOURCES)
        else:
            initdb = _server_programs(facts, bin_dir, directory, content)
            admin = stack.enter_context(cluster.started(initdb, directory))
            made, restorer = _in_cluster(real, facts, admin)
            warnings = fill(source, initdb.beside("pg_dump"), restorer, owners=True)
            _copy_settings(real, restorer, facts.name, _DATABASE_SOURCES + _OTHER_SOURCES)
        place = "server" if facts.beside else "cluster"
        yield Scratch(made, place, round(time.monotonic() - started, 3), tuple(warnings))


def refuse_impossible(
    target: Target, *, content: str = FULL, bin_dir: str = "", directory: str = cluster.DIRECTORY
) -> None:
    """Whether a scratch database can be made at all, without making one.

    :raises Refused: where the role may not create one and there are no server programs (or no account,
        or no space) for a cluster, or no pg_dump that is new enough.
    """
    with connected(target) as connection:
        facts = _Facts.of(connection)
        if facts.beside:
            programs.choose("pg_dump", facts.major, bin_dir).beside("pg_restore")
        else:
            _server_programs(facts, bin_dir, directory, content)


@dataclass(frozen=True)
class _Facts:
    """Of the real database and of our role there; ``obstacle`` is why a copy cannot lie beside it, and ``remedy``
    what helps, each the beginning of a sentence; both may be empty.
    """

    name: str
    role: str
    major: int
    size: int
    superuser: bool
    obstacle: str = ""
    remedy: str = ""

    @property
    def beside(self) -> bool:
        return not self.obstacle

    @classmethod
    def of(cls, connection: Any) -> _Facts:
        with connection.cursor() as cursor:
            cursor.execute(
                "select current_database(), current_user, current_setting('server_version_num')::int / 10000,"
                " pg_database_size(current_database()), rolsuper, rolcreatedb"
                " from pg_roles where rolname = current_user"
            )
            *facts, may_create = cursor.fetchone()
            found = cls(*facts)
            if found.superuser:
                return found
            if not may_create:
                return replace(
                    found,
                    obstacle=f"The role {found.role} may not create a scratch database",
                    remedy=f"Let it, as a superuser (ALTER ROLE {quoted(found.role)} CREATEDB), ",
                )
            # since 13 there are some that anybody may make who may create things in the database
            trusted = "trusted" if found.major >= 13 else "name = 'plpgsql'"
            cursor.execute(
                "select string_agg(extname, ', ' order by extname) from pg_extension where not exists ("
                " select from pg_available_extension_versions v"
                f" where v.name = extname and v.version = extversion and {trusted})"
            )
            [superusers] = cursor.fetchone()
        if superusers:
            obstacle = (
                f"Only a superuser may make extensions that {found.name} has ({superusers}) in a scratch database"
            )
            return replace(found, obstacle=obstacle)
        return found


def _server_programs(facts: _Facts, bin_dir: str, directory: str, content: str) -> programs.Program:
    """``initdb`` of a release that can take the database in, with all that is needed beside it."""
    try:
        initdb = programs.choose("initdb", facts.major, bin_dir)
        for name in ("postgres", "pg_dump", "pg_restore"):
            initdb.beside(name)
    except Refused as error:
        raise Refused(
            "scratch_impossible",
            f"{facts.obstacle}, and this machine has no programs for a server of its own:"
            f" {error.problem.cause.rstrip('.')}.",
            f"{facts.remedy}install {programs.package('initdb', facts.major)} here, or do without trying it on a copy.",
        ) from None
    cluster.refuse_impossible(directory, facts.size if content == FULL else 0)
    return initdb


@contextlib.contextmanager
def _beside(real: Any, target: Target, facts: _Facts) -> Iterator[Target]:
    """An empty database on the same server; somebody of ours is connected to it as long as it is there."""
    name = f"{_prefix(facts.name)}{secrets.token_hex(4)}"
    made = replace(target, dbname=name, options={k: v for k, v in target.options.items() if k != "dbname"})
    with contextlib.ExitStack() as stack:
        with _alone(real):
            # said before it is made, lest a signal come between
            stack.callback(_drop, target, name)
            _create(real, facts.name, name, "")
            stack.enter_context(connected(made))
        yield made


def _create(connection: Any, original: str, name: str, words: str, locale: str = "") -> None:
    import psycopg2

    comment = f"Scratch copy of {original}, made by rattail_schema_ext on {os.uname().nodename}: may be dropped."
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"create database {quoted(name)} template template0 {locale or _locale(connection)} {words}")
            cursor.execute(f"comment on database {quoted(name)} is %s", (comment,))
    except psycopg2.Error as error:
        raise failed(original, str(error)) from None


def _prefix(database: str) -> str:
    return f"{_PREFIX}{hashlib.sha256(database.encode()).hexdigest()[:8]}_"


@contextlib.contextmanager
def _alone(real: Any) -> Iterator[None]:
    """One at a time makes or drops scratch databases of this database."""
    with real.cursor() as cursor:
        while True:
            # never blocked in the server, where a waiter would hold up CREATE INDEX CONCURRENTLY
            cursor.execute("select pg_try_advisory_lock(%s, %s)", _LOCK)
            if cursor.fetchone()[0]:
                break
            time.sleep(_LOCK_POLL_SECONDS)
        try:
            yield
        finally:
            if not real.closed:
                cursor.execute("select pg_advisory_unlock(%s, %s)", _LOCK)


def _drop_leftovers(real: Any, facts: _Facts) -> None:
    """Drop what runs left behind that died: ours by name and owner, with nobody connected."""
    import psycopg2

    with _alone(real), real.cursor() as cursor:
        cursor.execute(
            "select datname from pg_database d where left(datname, length(%s)) = %s and pg_has_role(datdba, 'USAGE')"
            " and not exists (select from pg_stat_activity a where a.datname = d.datname)",
            (_prefix(facts.name),) * 2,
        )
        for (name,) in cursor.fetchall():
            # it fails where somebody has come in meanwhile, and then it is no leftover
            with contextlib.suppress(psycopg2.Error):
                cursor.execute(f"drop database if exists {quoted(name)}")


def _drop(target: Target, name: str) -> None:
    """Drop a scratch database, whoever of ours is still connected to it. Where that fails, the next run does it."""
    import psycopg2

    with contextlib.suppress(Refused, psycopg2.Error), connected(target) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = %s and pg_has_role(usesysid, 'USAGE')",
            (name,),
        )
        cursor.execute(f"drop database if exists {quoted(name)}")


def _locale(connection: Any) -> str:
    """The words of CREATE DATABASE that give another database the encoding and collation of this one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select to_jsonb(d), pg_encoding_to_char(encoding) from pg_database d where datname = current_database()"
        )
        row, encoding = cursor.fetchone()
        words = {"encoding": encoding, "lc_collate": row["datcollate"], "lc_ctype": row["datctype"]}
        provider = {"i": "icu", "b": "builtin"}.get(row.get("datlocprovider", "c"))
        if provider:
            words["locale_provider"] = provider
            # its column had another name in 15 and 16
            words[f"{provider}_locale"] = row.get("datlocale") or row.get("daticulocale")
            words["icu_rules"] = row.get("daticurules")
        given = {name: value for name, value in words.items() if value}
        cursor.execute("select " + ", ".join(["quote_literal(%s)"] * len(given)), list(given.values()))
        return " ".join(f"{name} {literal}" for name, literal in zip(given, cursor.fetchone()))


def _copy_settings(real: Any, made: Target, name: str, sources: Sequence[str]) -> None:
    """Give the database ``name`` the settings that sessions of the real one begin with: search_path, say.

    Those that the role may not make are left out.
    """
    import psycopg2

    with real.cursor() as cursor:
        cursor.execute(
            "select name, reset_val from pg_settings where context = 'user' and source = any(%s)", (list(sources),)
        )
        settings = cursor.fetchall()
    if settings:
        with connected(made) as connection, connection.cursor() as cursor:
            for setting, value in settings:
                with contextlib.suppress(psycopg2.Error):
                    # by itself it takes a list for one name
                    cursor.execute("select set_config(%s, %s, false)", (setting, value))
                    cursor.execute(f"alter database {quoted(name)} set {quoted(setting)} from current")


def _in_cluster(real: Any, facts: _Facts, admin: Target) -> tuple[Target, Target]:
    """An empty database in the cluster: as our role has it, and as the superuser who fills it."""
    parameters = Login.of(real).parameters
    options = {str(name): parameters[name] for name in ("options", "client_encoding") if name in parameters}
    restorer = replace(admin, dbname=facts.name)
    made = replace(restorer, user=real.info.user, options={**admin.options, **options})
    with connected(admin) as connection:
        _copy_roles(real, connection)
        with connection.cursor() as cursor:
            cursor.execute(f"drop database if exists {quoted(facts.name)}")
        _create(connection, facts.name, facts.name, f"owner {quoted(facts.role)}", _locale(real))
    return made, restorer


def _copy_roles(real: Any, connection: Any) -> None:
    """The real server's roles, without passwords: objects belong to them, and rights are given to them."""
    import psycopg2

    with real.cursor() as cursor:
        cursor.execute(
            "select rolname, rolname = %s, rolsuper, rolcreaterole, rolcreatedb, rolinherit, rolbypassrls"
            " from pg_roles where rolname !~ '^pg_'",
            (real.info.user,),
        )
        roles = cursor.fetchall()
        cursor.execute(
            "select r.rolname, m.rolname from pg_auth_members a join pg_roles r on r.oid = a.roleid"
            " join pg_roles m on m.oid = a.member"
        )
        members = cursor.fetchall()
    with connection.cursor() as cursor:
        cursor.execute("select rolname from pg_roles")
        there = {name for (name,) in cursor.fetchall()}
        for name, ours, *attributes in roles:
            words = ("superuser", "createrole", "createdb", "inherit", "bypassrls")
            chosen = " ".join(word if has else f"no{word}" for word, has in zip(words, attributes))
            if name not in there:
                cursor.execute(f"create role {quoted(name)} {'login' if ours else 'nologin'} {chosen}")
        for role, member in members:
            # it may be a role of PostgreSQL's that this release does not have
            with contextlib.suppress(psycopg2.Error):
                cursor.execute(f"grant {quoted(role)} to {quoted(member)}")


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let a signal that would end this process unwind it first; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) == signal.SIG_DFL]

    def restore() -> None:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)

    def end(number: int, _frame: Any) -> None:
        restore()
        raise SystemExit(128 + number)

    for each in ours:
        signal.signal(each, end)
    try:
        yield
    finally:
        restore()
