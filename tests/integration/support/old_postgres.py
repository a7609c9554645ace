"""A PostgreSQL of an older release than the embedded one, out of Debian's packages."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest
from ansible.module_utils.rattail_alembic.copies import cluster, programs
from ansible.module_utils.rattail_alembic.postgres.url import Target

from . import debian
from .lacking import lacking


@contextmanager
def running() -> Iterator[tuple[programs.Program, Target]]:
    """A real server of an older release, with databases of the roles ``olga`` and ``paula``; hers wants a password.

    It knows German: see :func:`in_german`.
    """
    names = debian.available(r"postgresql-\d+")
    if not names:
        lacking("one of Debian's packages postgresql-N", "apt knows none")
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("as root, a server runs as the account postgres, which is not here")
    major = names[0].split("-")[-1]
    directory = Path(tempfile.mkdtemp(dir="/var/tmp"))
    directory.chmod(0o755)
    try:
        # another account must reach them, who may not reach the checkout
        place = Path("usr", "lib", "postgresql", major)
        for package in (names[0], f"postgresql-client-{major}"):
            for part in (place, Path("usr", "share", "postgresql", major)):
                (directory / part).mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "-a", f"{debian.programs(package) / part}/.", directory / part], check=True)
            shutil.copytree(debian.programs(package) / "usr/share/locale/de", directory / "usr/share/locale/de",
                            dirs_exist_ok=True)  # fmt: skip
        initdb = programs.choose("initdb", int(major), str(directory / place / "bin"))
        with _environment("LANGUAGE", "de"), cluster.started(initdb, str(directory)) as admin:
            connection = psycopg2.connect(**admin.connect_kwargs())
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("create role guarded")
                for role in ("olga", "paula"):
                    cursor.execute(f"create role {role} login createdb")
                    cursor.execute(f"create database {role}s owner {role}")
                cursor.execute("show hba_file")
                hba = Path(cursor.fetchone()[0])
                hba.write_text("local all paula scram-sha-256\n" + hba.read_text())
                cursor.execute("select pg_reload_conf()")
            connection.close()
            yield initdb, replace(admin, user="olga", dbname="olgas")
    finally:
        shutil.rmtree(directory)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        yield


@contextmanager
def in_german(target: Target) -> Iterator[None]:
    """What the server says meanwhile is German."""
    connection = psycopg2.connect(**replace(target, user="postgres", dbname="postgres").connect_kwargs())
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        for change in ("set lc_messages = 'C.utf8'", "reset lc_messages"):
            cursor.execute(f"alter system {change}")
            cursor.execute("select pg_reload_conf()")
            if change.startswith("set"):
                yield
