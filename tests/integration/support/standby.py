"""A throw-away pair of PostgreSQL servers: a primary and a physical standby of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg2

from .postgres import OWNER, Postgres

PRIMARY, STANDBY = 5441, 5442


@dataclass(frozen=True)
class Pair:
    """The two servers, with a database ``store`` of role ``rattail``'s; their sockets are in ``directory``."""

    directory: Path
    server: Postgres

    def url(self, port: int, user: str = OWNER, database: str = "store") -> str:
        """The URL of a database on the server at ``port``: ``PRIMARY`` or ``STANDBY``."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.directory))}&port={port}"

    def sql(self, query: str, user: str = OWNER, database: str = "store") -> None:
        """Run ``query`` on the primary, and wait until the standby has replayed it."""
        connection = psycopg2.connect(self.url(PRIMARY, user, database))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(query)
            cursor.execute("select pg_current_wal_lsn()")
            position = cursor.fetchone()
        connection.close()
        replica = psycopg2.connect(self.url(STANDBY, "postgres", "postgres"))
        replica.autocommit = True
        with replica.cursor() as cursor:
            cursor.execute(
                "do $$ begin for i in 1 .. 1000 loop exit when pg_last_wal_replay_lsn() >= "
                f"'{position[0]}'; perform pg_sleep(0.01); end loop; end $$"
            )
        replica.close()


@contextmanager
def running(postgres: Postgres) -> Iterator[Pair]:
    """A primary and its standby, made from the programs of ``postgres`` by ``pg_basebackup``, as its account."""
    server = postgres.server
    directory = Path(tempfile.mkdtemp(prefix="standby-"))
    if server.account.other:
        os.chown(directory, server.account.uid, server.account.gid)
    started: list[Path] = []

    def run(program: str, *args: str) -> None:
        done = server.run(program, *args)
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def start(data: Path, port: int) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={directory} -c port={port} -c fsync=off"
        run("pg_ctl", "start", "-w", "-s", "-D", str(data), "-l", f"{data}.log", "-o", options)
        started.append(data)

    try:
        run("initdb", "-D", str(directory / "primary"), "-U", "postgres", "--auth=trust", "--no-locale", "-E", "UTF8")
        start(directory / "primary", PRIMARY)
        run("psql", "-qXd", f"host={directory} port={PRIMARY} user=postgres dbname=postgres",
            "-c", f"create role {OWNER} login", "-c", f"create database store owner {OWNER}")  # fmt: skip
        run("pg_basebackup", "-R", "-c", "fast", "-D", str(directory / "replica"),
            "-d", f"host={directory} port={PRIMARY} user=postgres")  # fmt: skip
        start(directory / "replica", STANDBY)
        yield Pair(directory, postgres)
    finally:
        for data in reversed(started):
            server.run("pg_ctl", "stop", "-w", "-s", "-m", "immediate", "-D", str(data))
        shutil.rmtree(directory)
