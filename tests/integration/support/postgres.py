"""One PostgreSQL server for all tests, and a database for each."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg2

from .places import CACHE, ROOT, locked

sys.path.insert(0, str(ROOT / "scripts"))

import embedded_postgres

DIRECTORY = CACHE / "postgres"
# who owns the databases, as on a Rattail server: no superuser
OWNER = "rattail"
# a role that must give its password, for tests of what is said (and not said) about it
GUARDED, PASSWORD = "guarded", "opensesame"

_USERS = CACHE / "postgres.users"
_SETTINGS = [
    # nothing in it is to survive a power failure
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=200",
    "max_prepared_transactions=20",
    "log_lock_waits=on",
    "max_prepared_transactions=20",
]


@dataclass(frozen=True)
class Database:
    """A database of one test's."""

    server: embedded_postgres.Server
    name: str
    user: str = OWNER

    @property
    def url(self) -> str:
        """For ``default.url`` in rattail.conf, and for libpq."""
        return self.server.url(self.name, self.user)

    @property
    def host(self) -> str:
        """The directory of the server's socket."""
        return str(self.server.socket_dir)

    @contextmanager
    def connect(self, user: str | None = None) -> Iterator[Any]:
        """A psycopg2 connection in autocommit mode; ``user`` is the database's owner unless given."""
        connection = psycopg2.connect(self.server.url(self.name, user or self.user))
        connection.autocommit = True
        try:
            yield connection
        finally:
            connection.close()

    def sql(self, query: str, *params: object, user: str | None = None) -> list[tuple[Any, ...]]:
        """Run ``query`` and return its rows; none where it gives none."""
        with self.connect(user) as connection, connection.cursor() as cursor:
            cursor.execute(query, params or None)
            return cursor.fetchall() if cursor.description else []

    def tables(self, like: str = "%") -> list[str]:
        """The names of the tables of schema public, sorted; ``like`` as in SQL."""
        query = "select tablename from pg_tables where schemaname = 'public' and tablename like %s order by 1"
        return [name for (name,) in self.sql(query, like)]

    def forbid_schemas(self) -> None:
        """From now on nobody but a superuser may make a schema."""
        self.sql(f'revoke create on database "{self.name}" from public, {self.user}', user=embedded_postgres.SUPERUSER)

    def heads(self) -> set[str]:
        """The rows of alembic_version; empty, too, where there is no such table."""
        if not self.tables("alembic\\_version"):
            return set()
        return {name for (name,) in self.sql("select version_num from alembic_version")}


class Postgres:
    """The server, and the making of databases in it."""

    def __init__(self, server: embedded_postgres.Server) -> None:
        self.server = server
        self._numbers = count(1)

    @property
    def admin(self) -> Database:
        """The database ``postgres``, as superuser."""
        return Database(self.server, "postgres", embedded_postgres.SUPERUSER)

    def create(self, template: str = "template0", name: str = "") -> Database:
        """A new database, a copy of ``template``; some 100 ms for one with the whole of Rattail's core."""
        name = name or f"t{os.getpid()}_{next(self._numbers)}"
        self.admin.sql(f'create database "{name}" owner {OWNER} template "{template}" strategy file_copy')
        return Database(self.server, name)

    def drop(self, database: Database) -> None:
        self.admin.sql(f'drop database if exists "{database.name}" with (force)')

    def template(self, name: str, version: str, fill: Callable[[Database], None], base: str = "template0") -> str:
        """The name of a database made once by ``fill``, for ``create``; made anew when ``version`` is another."""
        full = f"template_{name}_{version}"
        with locked(CACHE / f"template_{name}.lock"):
            found = {n for (n,) in self.admin.sql("select datname from pg_database where datistemplate")}
            if full in found:
                return full
            for old in (n for n in found if n.startswith(f"template_{name}_")):
                self.admin.sql(f'alter database "{old}" is_template false')
                self.drop(Database(self.server, old))
            unfinished = Database(self.server, f"unfinished_{name}")
            self.drop(unfinished)
            fill(self.create(base, unfinished.name))
            self.admin.sql(f'alter database "{unfinished.name}" rename to "{full}"')
            self.admin.sql(f'alter database "{full}" is_template true')
        return full


@contextmanager
def running() -> Iterator[Postgres]:
    """The server, started if it is not running; several processes may use it at once."""
    CACHE.mkdir(exist_ok=True)
    with _USERS.open("a") as users:
        with locked(CACHE / "postgres.lock"):
            fcntl.flock(users, fcntl.LOCK_SH)
            found = embedded_postgres.find(DIRECTORY)
            fresh = found is None or not found.running()
            postgres = Postgres(embedded_postgres.start(DIRECTORY, _SETTINGS))
            if fresh:
                _prepare(postgres)
        yield postgres


def stop_unless_used() -> None:
    """Stop the server once no process uses it any more; leave it to them if they go on."""
    if not DIRECTORY.exists():
        return
    with locked(CACHE / "postgres.lock"), _USERS.open("a") as users:
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.1)
            else:
                embedded_postgres.stop(DIRECTORY)
                return


def _prepare(postgres: Postgres) -> None:
    """Drop what an earlier run left behind; make the roles."""
    admin = postgres.admin
    for (name,) in admin.sql("select datname from pg_database where datname ~ '^t[0-9]+_'"):
        postgres.drop(Database(postgres.server, name))
    roles = {name for (name,) in admin.sql("select rolname from pg_roles")}
    for role, password in ((OWNER, None), (GUARDED, PASSWORD)):
        if role not in roles:
            admin.sql(f"create role {role} login password %s", password)
    hba = Path(admin.sql("show hba_file")[0][0])
    rule = f"local all {GUARDED} scram-sha-256\n"
    text = hba.read_text()
    if rule not in text:
        hba.write_text(rule + text)
        admin.sql("select pg_reload_conf()")
