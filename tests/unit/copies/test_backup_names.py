"""What a backup is called, how much room is wanted, and what programs say."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.rattail_alembic.copies import backup, programs, transfer
from ansible.module_utils.rattail_alembic.copies.credentials import Login
from ansible.module_utils.rattail_alembic.copies.programs import Program
from ansible.module_utils.rattail_alembic.problem import Refused
from hypothesis import given
from hypothesis import strategies as st

MIDNIGHT = 1_795_305_600.0

NAMES = {
    ("poser", "rattail", ("b1", "a2")): "poser.rattail.20261122T000000Z.a2+b1.full.dump",
    ("poser", "rattail", ()): "poser.rattail.20261122T000000Z.base.full.dump",
    ("poser", "rattail", tuple("abcdef")): "poser.rattail.20261122T000000Z.a+b+c+d+2more.full.dump",
}


@pytest.mark.parametrize("of", NAMES)
def test_names(of: tuple[str, str, tuple[str, ...]]) -> None:
    app, database, heads = of
    assert backup.name_of(app, database, MIDNIGHT, heads, "full") == NAMES[of]


ANY = st.text(min_size=1, max_size=100)


@given(ANY, ANY, st.lists(ANY, max_size=6), st.sampled_from(["full", "schema"]), ANY)
def test_a_name_is_plain_and_nobody_else_s(app: str, database: str, heads: list[str], mode: str, other: str) -> None:
    name = backup.name_of(app, database, MIDNIGHT, heads, mode)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+-_")
    assert len(name) < 245 and not name.startswith(("-", "."))
    if other not in (app, database):
        assert name != backup.name_of(app, other, MIDNIGHT, heads, mode)
        assert name != backup.name_of(other, database, MIDNIGHT, heads, mode)


MEGABYTE = 1024 * 1024
NEEDED = {
    ("schema", 9_000, None): 16,
    ("full", 1_000, None): 1_016,
    ("full", 1_000, 100): 166,
    # never more than all of it
    ("full", 1_000, 900): 1_016,
}


@pytest.mark.parametrize("case", NEEDED)
def test_room(case: tuple[str, int, int | None]) -> None:
    mode, database, last = case
    needed = backup.bytes_needed(mode, database * MEGABYTE, None if last is None else last * MEGABYTE)
    assert needed == NEEDED[case] * MEGABYTE


MAJORS = {
    "pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)": 15,
    "pg_dump (PostgreSQL) 18beta1": 18,
    "pg_dump (PostgreSQL) 9.6.24": 9,
    "initdb (EnterpriseDB Advanced Server) 16.2.0": 16,
    "Error: PostgreSQL version 99 is not installed": 0,
    "": 0,
}


@pytest.mark.parametrize("line", MAJORS)
def test_versions(line: str) -> None:
    assert programs.major_of(line) == MAJORS[line]


# The server's version, those of the programs in the order of PATH, and the one that is chosen.
CHOICES = {(15, (18, 15, 16)): 15, (17, (18, 19, 15)): 18, (18, (18, 18)): 18, (19, (15, 18)): None, (9, (15,)): 15}


@pytest.mark.parametrize("case", CHOICES)
def test_the_nearest_version_is_chosen(case: tuple[int, tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    server, majors = case
    found = [Program(f"/{number}/pg_dump", major) for number, major in enumerate(majors)]
    monkeypatch.setattr(programs, "find", lambda *_: found)
    nearest = CHOICES[case]
    if nearest is None:
        with pytest.raises(Refused, match=f"PostgreSQL {server}, which is too new for every pg_dump here"):
            programs.choose("pg_dump", server)
    else:
        # the first of several alike, as PATH has it
        assert programs.choose("pg_dump", server) == Program(f"/{majors.index(nearest)}/pg_dump", nearest)


def test_packages() -> None:
    assert programs.package("pg_dump", 17) == "postgresql-client-17"
    assert programs.package("initdb", 17) == "postgresql-17"


SAID = {
    'pg_dump: error: connection to server at "db1" failed: FATAL:  no': [
        ('connection to server at "db1" failed: FATAL: no', "")
    ],
    "pg_dump: error: query failed: ERROR:  Keine Berechtigung\npg_dump: detail: Query was: LOCK TABLE x": [
        ("ERROR: Keine Berechtigung", "LOCK TABLE x")
    ],
    "pg_restore: while INITIALIZING:\npg_restore: error: could not execute query: ERROR:  unbekannt\n"
    "Command was: SET transaction_timeout = 0;\npg_restore: error: second\npg_restore: warning: errors ignored": [
        ("ERROR: unbekannt", "SET transaction_timeout = 0;"),
        ("second", ""),
    ],
    "pg_dump: warning: there are circular foreign-key constraints": [],
    "": [],
}


@pytest.mark.parametrize("text", SAID)
def test_what_programs_say(text: str) -> None:
    assert programs.errors(text) == SAID[text]


RESTORED = {
    ("", ""): [],
    ("it ended", ""): [("it ended", "")],
    ("it ended", "pg_restore: error: no\nCommand was: SET x = 0;"): [],
    ("it ended", "pg_restore: error: no\nCommand was: SET x = 0;\npg_restore: error: yes"): [("yes", "")],
}


@pytest.mark.parametrize("how", RESTORED)
def test_a_setting_that_an_older_server_does_not_know_is_no_error(how: tuple[str, str]) -> None:
    assert transfer._true_errors(programs.Finished(*how)) == RESTORED[how]


def test_a_reason_has_no_password() -> None:
    said = programs.Finished(
        "pg_dump ended with exit code 1", "pg_dump: error: postgresql://poser:secret@db1/x is wrong."
    )
    assert said.reason == "postgresql://poser:***@db1/x is wrong"
    assert programs.Finished("pg_dump was killed by SIGKILL", "").reason == "pg_dump was killed by SIGKILL"


LINES = {
    "215; 1259 16390 TABLE public address rattail": "",
    "216; 0 0 SUBSCRIPTION - lane1 rattail": "never",
    "217; 6104 2 PUBLICATION - all rattail": "never",
    "218; 6106 2 PUBLICATION TABLE public all address rattail": "never",
    "3; 3079 16384 EXTENSION - vector ": "",
    "4; 0 0 COMMENT - EXTENSION vector ": "superuser",
    "5; 0 0 COMMENT - SCHEMA public pg_database_owner": "superuser",
    "6; 0 0 COMMENT public TABLE address rattail": "",
    "7; 3466 9 EVENT TRIGGER - audit postgres": "superuser",
    "8; 0 0 ACL public TABLE address rattail": "grant",
    "9; 826 9 DEFAULT ACL poser DEFAULT PRIVILEGES FOR TABLES rattail": "grant",
    "10; 1259 1 TABLE public ACL rattail": "",
    "11; 1259 1 TABLE public PUBLICATION rattail": "",
}


@pytest.mark.parametrize("line", LINES)
def test_entries_of_an_archive(line: str) -> None:
    kinds = {"never": transfer._NEVER, "superuser": transfer._SUPERUSERS, "grant": transfer._GRANTS}
    assert [name for name, kind in kinds.items() if transfer._is(line, kind)] == [
        each for each in [LINES[line]] if each
    ]


class _Info:
    """What is asked of a psycopg2 connection that took a way through a list of hosts."""

    dsn_parameters = {  # noqa: RUF012
        "host": "db1,db2",
        "hostaddr": "10.0.0.1,10.0.0.2",
        "port": "5432,5433",
        "user": "rattail",
        "dbname": "rattail",
        "service": "mine",
        "passfile": "/root/.pgpass",
        "options": "",
        "sslnegotiation": "postgres",
        "require_auth": "scram-sha-256",
        "sslsni": "1",
        "invented_later": "yes",
    }
    host, port, password = "db2", 5433, "a:b\\c"


class _Connection:
    info = _Info()


def test_the_way_of_a_connection() -> None:
    login = Login.of(_Connection())
    assert login.parameters == {
        "host": "db2",
        "port": "5433",
        "user": "rattail",
        "dbname": "rattail",
        "require_auth": "scram-sha-256",
    }
    assert "a:b" not in repr(login) and "rattail" not in repr(login)


def test_a_program_reads_its_login_from_files_without_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PGPASSWORD", "x")
    monkeypatch.setenv("PGHOST", "elsewhere")
    script = 'env | grep ^PG | sort; stat -L -c %a "$PGSERVICEFILE" "$PGPASSFILE"; cat "$PGPASSFILE" "$PGSERVICEFILE"'
    with open(tmp_path / "out", "w+b") as out:
        login = Login.of(_Connection(), dbname="other")
        assert programs.run(Program("/bin/sh", 0), ["-c", script], login, stdout=out).ok
        out.seek(0)
        passwords, services, *lines = out.read().decode().splitlines()
    assert passwords.startswith("PGPASSFILE=/proc/self/fd/") and services.startswith("PGSERVICEFILE=/proc/self/fd/")
    assert lines[:4] == ["600", "600", "*:*:*:*:a\\:b\\\\c", "[rattail_schema_ext]"]
    assert {"dbname=other", "host=db2"} < set(lines[4:])


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(Refused, match=r"no pg_dump in /nowhere.*postgresql-client-15.*or do without\."):
        programs.choose("pg_dump", 15, "/nowhere", otherwise="do without")
