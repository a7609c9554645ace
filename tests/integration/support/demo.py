"""A copy of this project, in which commands run as somebody runs them who has just cloned it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg2

from .places import ROOT


def copy_project(copy: Path) -> None:
    """Make ``copy`` of what git would commit of this checkout."""
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in files.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)


def python() -> str:
    """The argument by which ``make`` takes the Python that runs the tests."""
    return f"PYTHON={os.path.realpath(sys.executable)}"


def run(checkout: Path, *command: str) -> str:
    """Run ``command`` in the checkout as a person would; what it prints. It must succeed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "MAKE", "PYTEST_", "GIT_"))}
    done = subprocess.run(
        command,
        cwd=checkout,
        env=environment | {"ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def query(dsn: str, sql: str) -> list[tuple[object, ...]]:
    """The rows that ``sql`` gives, none where it gives no result."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
