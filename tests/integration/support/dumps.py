"""A database as pg_dump writes it: what there is to say of it when nothing is to have changed."""

from __future__ import annotations

import subprocess

import psycopg2

from .postgres import Database


def dump(database: Database) -> list[str]:
    """The lines of a whole dump: the database itself, its settings and privileges, every object, every row.

    The role's own history is left out. A dump knows no invalid indexes; they are named at its end.
    """
    url = database.server.url(database.name, "postgres")
    command = [str(database.server.binaries / "pg_dump"), "--create", "--exclude-schema=rattail_schema_ext"]
    text = subprocess.run([*command, f"--dbname={url}"], capture_output=True, text=True, check=True).stdout
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("select indexrelid::regclass::text from pg_index where not indisvalid order by 1")
            invalid = [f"invalid index {name}" for (name,) in cursor.fetchall()]
    finally:
        connection.close()
    # pg_dump writes another word each time
    return [line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))] + invalid
