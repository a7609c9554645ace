"""A real PgBouncer before the tests' PostgreSQL, out of Debian's package."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg2

from . import debian
from .postgres import OWNER, Database, Postgres

PORT = 6432
_START_SECONDS = 20


@dataclass(frozen=True)
class PgBouncer:
    """A pooler that runs; it listens on a Unix socket in ``directory``."""

    directory: Path

    def url(self, database: Database, user: str = "") -> str:
        """For ``default.url`` in rattail.conf, and for libpq: ``database`` by way of the pooler."""
        return f"postgresql://{user or database.user}@/{database.name}?host={quote(str(self.directory))}&port={PORT}"


@contextmanager
def running(
    postgres: Postgres, pool_mode: str, pool_size: int, settings: Mapping[str, str] = {}
) -> Iterator[PgBouncer]:
    """A PgBouncer with ``pool_mode`` and ``default_pool_size``, and ``settings`` of pgbouncer.ini besides.

    It runs as the server's account, since it refuses to run as root, and so from a copy of its own.
    The test fails where Debian's package cannot be had.
    """
    package = debian.programs("pgbouncer")
    account = postgres.server.account
    directory = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    try:
        shutil.copytree(package / "usr", directory / "usr", symlinks=True, ignore=shutil.ignore_patterns("share"))
        (directory / "users").write_text(f'"{OWNER}" ""\n"{postgres.admin.user}" ""\n')
        options = {
            "listen_addr": "",
            "listen_port": str(PORT),
            "unix_socket_dir": str(directory),
            "auth_type": "trust",
            "auth_file": str(directory / "users"),
            "pool_mode": pool_mode,
            "default_pool_size": str(pool_size),
            "logfile": str(directory / "log"),
            **(settings or {}),
        }
        lines = [
            "[databases]",
            f"* = host={postgres.server.socket_dir} port=5432",
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in options.items()),
        ]
        (directory / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
        if account.other:
            for path in (directory, *directory.rglob("*")):
                os.chown(path, account.uid, account.gid, follow_symlinks=False)
        process = subprocess.Popen(
            [str(directory / "usr/sbin/pgbouncer"), "-q", str(directory / "pgbouncer.ini")],
            env=debian.environment(directory),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=account.uid if account.other else None,
            group=account.gid if account.other else None,
            extra_groups=[] if account.other else None,
        )
        try:
            _wait(process, directory, postgres)
            yield PgBouncer(directory)
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(directory)


def _wait(process: subprocess.Popen[bytes], directory: Path, postgres: Postgres) -> None:
    """Until it lets somebody in; its log, where it does not."""
    log = directory / "log"
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            psycopg2.connect(PgBouncer(directory).url(postgres.admin)).close()
        except psycopg2.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"PgBouncer does not start: {log.read_text() if log.exists() else 'it left no log'}")
