"""Backups: what is refused before, what is written, that nothing of it leaks, and that it can be restored."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rattail_alembic.copies import backup, manifest, programs
from ansible.module_utils.rattail_alembic.postgres.url import Target, parse_url
from ansible.module_utils.rattail_alembic.problem import Refused
from support import copies, debian
from support.lacking import lacking
from support.places import BIN, ROOT
from support.postgres import GUARDED, PASSWORD, Database, Postgres
from support.waiting import eventually

HEADS = ["c2ef84c99c93", "b084beb32f02"]
DOCUMENT = (ROOT / "docs" / "backups.md").read_text()

# What runs a function of the role's in a process of its own: one that can be killed, or has a file system of its own.
RUNNER = f"""
import json, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
import conftest
from ansible.module_utils.rattail_alembic.copies import backup
from ansible.module_utils.rattail_alembic.postgres.url import parse_url
from ansible.module_utils.rattail_alembic.problem import Refused
call = json.loads(sys.argv[1])
try:
    done = getattr(backup, call["function"])(parse_url(call["url"]), **call["arguments"])
    print(json.dumps({{"file": done.file if done else ""}}))
except Refused as error:
    print(json.dumps(error.problem.as_dict()))
"""


@pytest.fixture
def binaries(postgres: Postgres) -> Path:
    """The programs that belong to the server."""
    return postgres.server.binaries


@pytest.fixture
def filled(database: Database) -> Database:
    """Core, and rows of every kind."""
    database.sql(copies.ODDITIES)
    database.sql(f'alter database "{database.name}" set search_path = public, poser')
    return database


@pytest.fixture
def role(postgres: Postgres) -> Iterator[Callable[..., str]]:
    """Make roles that may log in; they are gone afterwards."""
    made: list[str] = []

    def make(options: str = "") -> str:
        name = f"r{os.getpid()}_{len(made)}"
        postgres.admin.sql(f"create role {name} login {options}")
        made.append(name)
        return name

    yield make
    for name in made:
        for (database,) in postgres.admin.sql(
            "select datname from pg_database where datname ~ %s", f"^t{os.getpid()}_"
        ):
            Database(postgres.server, database).sql(f"drop owned by {name}", user="postgres")
        postgres.admin.sql(f"drop role {name}")


def target(database: Database, user: str = "", **more: str) -> Target:
    found = parse_url(database.server.url(database.name, user or database.user))
    return Target(found.host, found.port, found.dbname, found.user, options={**found.options, **more})


def arguments(directory: Path, binaries: Path, **changed: Any) -> dict[str, Any]:
    made = {"mode": "full", "directory": str(directory), "app": "poser", "heads": HEADS}
    return {**made, "bin_dir": str(binaries), **changed}


def look(database: Database, directory: Path, binaries: Path | str, mode: str = "full", user: str = "") -> None:
    backup.refuse_impossible(
        target(database, user), mode=mode, directory=str(directory), app="poser", bin_dir=str(binaries)
    )


def everything(database: Database, name: str = "") -> dict[str, Any]:
    return copies.contents(
        database.server.binaries, name or database.name, host=database.host, port=5432, user="postgres"
    )


def in_process(function: str, database: Database, arguments: dict[str, Any], *before: str, url: str = "") -> list[str]:
    """The command that calls ``function``; ``before`` is what the command begins with."""
    call = {"function": function, "url": url or database.url, "arguments": arguments}
    return [*before, str(BIN / "python"), "-c", RUNNER, json.dumps(call)]


def readable_by(database: Database, user: str) -> None:
    for schema in ("public", "poser"):
        for kind in ("tables", "sequences"):
            database.sql(f"grant select on all {kind} in schema {schema} to {user}")


@contextmanager
def held(database: Database, table: str = "poser_thing") -> Iterator[None]:
    """Nobody else can even read the table."""
    with database.connect() as connection:
        connection.autocommit = False
        connection.cursor().execute(f"lock table {table} in access exclusive mode")
        yield


def dumps_of(parent: int) -> list[int]:
    """The process ids of the pg_dumps that a process started, those that were only asked their version aside."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "stat").read_text()
            name, of = words[words.index("(") + 1 : words.rindex(")")], words[words.rindex(")") + 2 :].split()[1]
            arguments = (path / "cmdline").read_bytes()
        except OSError:
            continue
        if (name, int(of)) == ("pg_dump", parent) and b"--format=custom" in arguments:
            found.append(int(path.name))
    return found


def commands(name: str) -> str:
    """A block of commands of docs/backups.md, as it is written there."""
    [block] = re.findall(rf"<!-- commands: {name} -->\n *```sh\n(.*?)\n *```", DOCUMENT, re.DOTALL)
    return str(block)


def administrator(file: str, database: Database, *blocks: str) -> str:
    """Run blocks of the document in a shell, as it says to; what they print."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
        "PGHOST": database.host,
        "PGPORT": "5432",
        "PGUSER": "postgres",
        "PATH": f"{database.server.binaries}:{os.environ['PATH']}",
    }
    script = "\n".join(["set -e", f"backup='{file}'", f"database='{database.name}'", *map(commands, blocks)])
    done = subprocess.run(["sh"], input=script, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_what_is_restored_as_documented_is_what_there_was(filled: Database, binaries: Path, tmp_path: Path) -> None:
    before = everything(filled)
    assert copies.rows(before) > 1100
    made = backup.make(target(filled), **arguments(tmp_path / "backups", binaries))
    # what a bad upgrade might have done
    filled.sql("drop table poser_part; update poser_thing set name = 'x' || id; drop table address cascade")
    copied = str(shutil.copy(made.file, str(tmp_path / "restore.dump")))
    said = administrator(copied, filled, "aside", "restore")
    assert everything(filled) == before
    assert "c2ef84c99c93" in said
    administrator(copied, filled, "tidy")
    assert filled.sql("select count(*) from pg_database where datname ~ %s", f"^{filled.name}_before") == [(0,)]
    assert not os.path.exists(copied)


def test_a_backup_is_checked_beside_the_database(filled: Database, binaries: Path, tmp_path: Path) -> None:
    before = everything(filled)
    made = backup.make(target(filled), **arguments(tmp_path, binaries))
    said = administrator(made.file, filled, "check", "beside")
    assert said.split()[0] == made.sha256
    assert "readable" in said
    copy = everything(filled, f"{filled.name}_restored")
    # the database itself is made by hand here
    different = {name for name in before if before[name] != copy[name]}
    assert different <= {"database", "settings"}
    administrator(made.file, filled, "drop beside")
    assert everything(filled) == before


def test_a_schema_backup_has_no_rows(filled: Database, binaries: Path, tmp_path: Path) -> None:
    made = backup.make(target(filled), **arguments(tmp_path, binaries, mode="schema"))
    assert made.mode == "schema"
    before = everything(filled)
    administrator(made.file, filled, "aside", "restore")
    after = everything(filled)
    assert after["schema"] == before["schema"]
    assert not after["public.poser_thing"] and not after["public.alembic_version"]
    assert before["public.poser_thing"]
    administrator(str(shutil.copy(made.file, str(tmp_path / "x"))), filled, "tidy")


def test_the_file(filled: Database, binaries: Path, tmp_path: Path) -> None:
    directory = tmp_path / "app" / "backups"
    started = time.time()
    made = backup.make(target(filled), **arguments(directory, binaries))
    file = Path(made.file)
    written = Path(f"{file}.json")
    assert {each.name for each in directory.iterdir()} == {file.name, written.name}
    said = json.loads(written.read_text())
    assert (said["file"], said["size"], said["sha256"]) == (file.name, made.size, made.sha256)
    assert (said["app"], said["database"], said["mode"], said["heads"]) == ("poser", filled.name, "full", sorted(HEADS))
    assert (
        said["system"] == filled.sql("select system_identifier::text from pg_control_system()", user="postgres")[0][0]
    )
    assert (written.stat().st_mode & 0o7777, written.stat().st_uid) == (0o600, os.geteuid())
    assert re.fullmatch(rf"poser\.{filled.name}\.\d{{8}}T\d{{6}}Z\.b084beb32f02\+c2ef84c99c93\.full\.dump", file.name)
    content = file.read_bytes()
    assert (made.size, made.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert content.startswith(b"PGDMP")
    assert 0 < made.seconds <= time.time() - started
    assert (file.stat().st_mode & 0o7777, file.stat().st_uid) == (0o600, os.geteuid())
    assert directory.stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("umask", [0, 0o077, 0o277])
def test_modes_do_not_depend_on_the_umask(filled: Database, binaries: Path, tmp_path: Path, umask: int) -> None:
    directory = tmp_path / "there"
    directory.mkdir()
    directory.chmod(0o2755)
    before = os.umask(umask)
    try:
        made = backup.make(target(filled), **arguments(directory, binaries, mode="schema"))
    finally:
        os.umask(before)
    assert Path(made.file).stat().st_mode & 0o7777 == 0o600
    assert directory.stat().st_mode & 0o7777 == 0o2755


def test_pg_dump_is_debian_s_and_older_than_the_server(filled: Database, tmp_path: Path) -> None:
    """The real one, of a release before the server's."""
    server = filled.sql("show server_version_num")[0][0][:2]
    names = [name for name in debian.available(r"postgresql-client-\d+") if name.split("-")[-1] < server]
    if not names:
        lacking(f"one of Debian's packages postgresql-client-N older than {server}", "apt knows none")
    version = names[-1].split("-")[-1]
    old = debian.programs(names[-1]) / "usr" / "lib" / "postgresql" / version / "bin"
    for attempt in (
        lambda: look(filled, tmp_path, old),
        lambda: backup.make(target(filled), **arguments(tmp_path, old)),
    ):
        with pytest.raises(Refused) as refusal:
            attempt()
        assert refusal.value.problem.code == "program_too_old"
        assert f"PostgreSQL {server}" in refusal.value.problem.cause
        assert f"{old}/pg_dump ({version})" in refusal.value.problem.cause
        for word in (f"postgresql-client-{server}", "_postgresql_bin_dir", "rattail_schema_ext_backup: none"):
            assert word in refusal.value.problem.remedy
    assert list(tmp_path.iterdir()) == []


def test_there_is_no_pg_dump(filled: Database, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=rf"no pg_dump in {tmp_path}") as refusal:
        look(filled, tmp_path, tmp_path)
    assert refusal.value.problem.code == "program_missing"


def test_there_is_no_pg_restore(filled: Database, binaries: Path, tmp_path: Path) -> None:
    copies.wrap(binaries / "pg_dump", tmp_path)
    with pytest.raises(Refused, match="but no pg_restore"):
        look(filled, tmp_path, tmp_path)


def test_a_link_leads_to_the_others(filled: Database, binaries: Path, tmp_path: Path) -> None:
    (tmp_path / "pg_dump").symlink_to(binaries / "pg_dump")
    look(filled, tmp_path, tmp_path)


def test_the_right_one_is_found_among_several(
    filled: Database, binaries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's wrapper, which takes what it likes, comes first on PATH."""
    wrapper = tmp_path / "pg_wrapper"
    wrapper.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 99'\n")
    wrapper.chmod(0o755)
    (tmp_path / "pg_dump").symlink_to("pg_wrapper")
    monkeypatch.setenv("PATH", f"{tmp_path}:{binaries}:{os.environ['PATH']}")
    made = backup.make(target(filled), **{**arguments(tmp_path / "b", binaries, mode="schema"), "bin_dir": ""})
    assert made.size


def test_a_file_is_in_the_way(filled: Database, binaries: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match=rf"{tmp_path}/file is not a directory") as refusal:
        look(filled, tmp_path / "file" / "backups", binaries)
    assert "rattail_schema_ext_backup_dir" in refusal.value.problem.remedy
    with pytest.raises(Refused, match="No backup can be written"):
        backup.make(target(filled), **arguments(tmp_path / "file" / "backups", binaries))


def on_a_small_disk(
    directory: Path, options: str, function: str, database: Database, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Call ``function`` where ``directory`` is a file system of its own; what it returns or refuses."""
    directory.mkdir(exist_ok=True)
    script = 'mount -t tmpfs -o "$1" none "$2" && shift 2 && "$@" && ls -A "$DIRECTORY" >&2'
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system for a test")
    command = [*unshare, "sh", "-c", script, "sh", options, str(directory)]
    done = subprocess.run(
        in_process(function, database, arguments, *command),
        env={**os.environ, "DIRECTORY": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # nothing is left there, whatever happened
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_too_little_space_is_seen_before(filled: Database, binaries: Path, tmp_path: Path) -> None:
    wanted = {"mode": "full", "directory": str(tmp_path / "disk"), "app": "poser", "bin_dir": str(binaries)}
    refusal = on_a_small_disk(tmp_path / "disk", "size=2m", "refuse_impossible", filled, wanted)
    assert refusal["code"] == "backup_no_space"
    assert re.search(r"2 MB are free and \d\d MB are wanted, since the database takes \d\d MB", refusal["cause"])
    assert on_a_small_disk(tmp_path / "disk", "size=99m", "refuse_impossible", filled, wanted) == {"file": ""}


def test_the_disk_is_full_before_the_backup_is_whole(filled: Database, binaries: Path, tmp_path: Path) -> None:
    for size in ("8k", "64k", "300k"):
        wanted = arguments(tmp_path / "disk", binaries)
        refusal = on_a_small_disk(tmp_path / "disk", f"size={size}", "make", filled, wanted)
        assert refusal["code"] == "backup_no_space", refusal
        assert f"too little space for a backup in {tmp_path / 'disk'}" in refusal["cause"]


def test_the_directory_cannot_be_written_to(filled: Database, binaries: Path, tmp_path: Path) -> None:
    below = tmp_path / "disk" / "backups"
    wanted = {"mode": "full", "directory": str(below), "app": "poser", "bin_dir": str(binaries)}
    refusal = on_a_small_disk(tmp_path / "disk", "ro", "refuse_impossible", filled, wanted)
    assert refusal["code"] == "backup_directory"
    assert f"{tmp_path / 'disk'} cannot be written to" in refusal["cause"]
    refusal = on_a_small_disk(tmp_path / "disk", "ro", "make", filled, arguments(below, binaries))
    assert refusal["code"] == "backup_directory"


OTHERS = {
    "table": ("create table others_table ()", "public.others_table", ("full", "schema")),
    "many tables": (
        "create schema others; create table others.a (); create table others.b ();"
        " create table others.c (); create table others.d (); grant usage on schema others to {role}",
        "others.a, others.b, others.c and 1 more",
        ("full", "schema"),
    ),
    "odd names": (
        'create schema "Odd ""schema"; create table "Odd ""schema"."Tab le" ()',
        '"Odd ""schema"."Tab le"',
        ("full", "schema"),
    ),
    "sequence": ("create sequence others_number", "public.others_number", ("full",)),
    "row security": (
        "create table others_secret (n int); alter table others_secret enable row level security;"
        " grant select on others_secret to {role}",
        "public.others_secret",
        ("full",),
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_the_role_may_not_read_everything(case: str, filled: Database, binaries: Path, tmp_path: Path) -> None:
    sql, named, modes = OTHERS[case]
    filled.sql(sql.format(role=filled.user), user="postgres")
    for mode in ("full", "schema"):
        if mode in modes:
            with pytest.raises(Refused) as refusal:
                look(filled, tmp_path, binaries, mode)
            assert refusal.value.problem.code == "backup_rights_missing"
            assert f"role {filled.user}" in refusal.value.problem.cause and named in refusal.value.problem.cause
            # and pg_dump thinks so, too
            with pytest.raises(Refused, match=r"permission denied|row-level security|lack SELECT privilege"):
                backup.make(target(filled), **arguments(tmp_path, binaries, mode=mode))
            assert list(tmp_path.iterdir()) == []
        else:
            look(filled, tmp_path, binaries, mode)
            backup.make(target(filled), **arguments(tmp_path, binaries, mode=mode))


@pytest.mark.parametrize("case", OTHERS)
def test_what_the_refusal_says_to_grant_is_enough(
    case: str, filled: Database, binaries: Path, role: Callable[..., str], tmp_path: Path
) -> None:
    reader = role()
    filled.sql(OTHERS[case][0].format(role=reader), user="postgres")
    with pytest.raises(Refused) as refusal:
        look(filled, tmp_path, binaries, user=reader)
    for _ in range(2):  # rows are hidden only from those who may read
        [grants] = re.findall(r"\((?=GRANT|ALTER)(.*)\), or set", refusal.value.problem.remedy)
        filled.sql(grants, user="postgres")
        try:
            look(filled, tmp_path, binaries, user=reader)
        except Refused as again:
            refusal.value.problem = again.problem
        else:
            break
    backup.make(target(filled, reader), **arguments(tmp_path, binaries))


def test_a_superuser_and_others_tables_of_an_extension(filled: Database, binaries: Path, tmp_path: Path) -> None:
    filled.sql("create table others_table (); create extension vector", user="postgres")
    look(filled, tmp_path, binaries, user="postgres")
    with pytest.raises(Refused, match="others_table"):
        look(filled, tmp_path, binaries)
    filled.sql("drop table others_table", user="postgres")
    look(filled, tmp_path, binaries)
    backup.make(target(filled), **arguments(tmp_path, binaries))


def test_a_table_that_somebody_holds_is_not_waited_for_for_ever(
    filled: Database, binaries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "LOCK_WAIT_SECONDS", 1)
    with held(filled):
        # a look does not wait for it
        look(filled, tmp_path, binaries)
        started = time.monotonic()
        with pytest.raises(Refused, match="canceling statement due to") as refusal:
            backup.make(target(filled), **arguments(tmp_path, binaries))
    assert time.monotonic() - started < 5
    assert refusal.value.problem.code == "backup_failed"
    assert "no other session holds the table" in refusal.value.problem.remedy
    assert list(tmp_path.iterdir()) == []


def test_pg_dump_is_killed(filled: Database, binaries: Path, tmp_path: Path) -> None:
    said = []

    def attempt() -> None:
        try:
            backup.make(target(filled), **arguments(tmp_path, binaries))
        except Refused as error:
            said.append(str(error))

    with held(filled):
        thread = threading.Thread(target=attempt)
        thread.start()
        [process] = eventually(lambda: dumps_of(os.getpid()))
        os.kill(process, signal.SIGKILL)
        thread.join()
    assert "pg_dump was killed by SIGKILL" in said[0]
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_leaves_behind_goes_with_the_next(filled: Database, binaries: Path, tmp_path: Path) -> None:
    with held(filled):
        run = subprocess.Popen(in_process("make", filled, arguments(tmp_path, binaries)))
        [process] = eventually(lambda: dumps_of(run.pid))
        run.kill()
        run.wait()
        # pg_dump does not outlive the run
        eventually(lambda: not os.path.exists(f"/proc/{process}"))
    names = sorted(each.name for each in tmp_path.iterdir())
    assert [name.partition(".full.dump")[2] for name in names] == [".json", ".partial"]
    look(filled, tmp_path, binaries)
    made = backup.make(target(filled), **arguments(tmp_path, binaries))
    assert {str(file) for file in tmp_path.iterdir()} == {made.file, f"{made.file}.json"}


def test_what_another_run_is_writing_stays(filled: Database, binaries: Path, tmp_path: Path) -> None:
    made = backup.make(target(filled), **arguments(tmp_path, binaries))
    written = Path(f"{made.file}.partial")
    Path(made.file).rename(written)
    with written.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        backup.make(target(filled), **arguments(tmp_path, binaries))
        assert written.exists() and Path(f"{made.file}.json").exists()
    backup.make(target(filled), **arguments(tmp_path, binaries))
    assert not written.exists() and not Path(f"{made.file}.json").exists()


def attempt(
    database: Database, directory: Path, binaries: Path, changed: bool | None, keep: int = 2, app: str = "poser"
) -> Path:
    """A run that made a backup and then changed the database, or not, or was killed."""
    made = backup.make(target(database), **arguments(directory, binaries, mode="schema", app=app))
    if changed is not None:
        _, warnings = backup.settle(made, changed=changed, keep=keep)
        assert warnings == []
    return Path(made.file)


def dumps(directory: Path) -> set[str]:
    return {str(path) for path in directory.glob("*.dump")}


def test_the_backup_before_a_change_outlives_attempts_that_change_nothing(
    filled: Database, binaries: Path, tmp_path: Path
) -> None:
    changes = [attempt(filled, tmp_path, binaries, True) for _ in range(3)]
    failed = [attempt(filled, tmp_path, binaries, False) for _ in range(4)]
    assert dumps(tmp_path) == {str(each) for each in (*changes[1:], failed[-1])}
    killed = attempt(filled, tmp_path, binaries, None)
    assert dumps(tmp_path) == {str(each) for each in (*changes[1:], failed[-1], killed)}
    last = attempt(filled, tmp_path, binaries, True)
    assert dumps(tmp_path) == {str(killed), str(last)}
    assert len(list(tmp_path.iterdir())) == 4


def test_a_clock_that_was_ahead_once_keeps_no_backup_for_ever(
    filled: Database, binaries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 4_102_444_800.0)
    ahead = attempt(filled, tmp_path, binaries, True)
    monkeypatch.undo()
    assert ".21000101T000000Z." in ahead.name
    now = [attempt(filled, tmp_path, binaries, True) for _ in range(2)]
    assert dumps(tmp_path) == {str(each) for each in now}


@pytest.mark.parametrize(
    "how", ["another database of this name", "another server", "a copy of this server", "another app"]
)
def test_two_that_share_a_directory_do_not_prune_each_other(
    how: str, filled: Database, binaries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other's are those of a real server, whose answers are what another one's would be."""
    theirs = [attempt(filled, tmp_path, binaries, True) for _ in range(2)]
    if how == "another database of this name":
        admin = Database(filled.server, "postgres")
        admin.sql(f'alter database "{filled.name}" rename to "{filled.name}_old"', user="postgres")
        admin.sql(
            f'create database "{filled.name}" template "{filled.name}_old" owner "{filled.user}"', user="postgres"
        )
        admin.sql(f'drop database "{filled.name}_old"', user="postgres")
    elif how == "another server":
        monkeypatch.setattr(manifest, "_SYSTEM", "select '1'")
    elif how == "a copy of this server":
        name = os.uname()
        monkeypatch.setattr(os, "uname", lambda: os.uname_result((name[0], "store2", *name[2:])))
    app = "poser.b" if how == "another app" else "poser"
    ours = [attempt(filled, tmp_path, binaries, True, keep=1, app=app) for _ in range(2)]
    assert dumps(tmp_path) == {str(each) for each in (*theirs, ours[-1])}


def test_a_role_that_may_not_ask_for_the_server_s_identifier_has_backups_all_the_same(
    filled: Database, binaries: Path, tmp_path: Path
) -> None:
    """As on a hosted server."""
    filled.sql("revoke execute on function pg_control_system() from public", user="postgres")
    first, second = (attempt(filled, tmp_path, binaries, True, keep=1) for _ in range(2))
    assert json.loads(Path(f"{second}.json").read_text())["system"] == ""
    assert dumps(tmp_path) == {str(second)} and not first.exists()


def test_files_that_a_person_named_alike_stay(filled: Database, binaries: Path, tmp_path: Path) -> None:
    made = attempt(filled, tmp_path, binaries, True)
    copied = tmp_path / made.name.replace(".schema", "0.schema")
    shutil.copy(made, copied)
    shutil.copy(f"{made}.json", f"{copied}.json")
    names = [
        f"poser.{filled.name}.20200101T000000Z.abc.schema.dump",
        f"poser.{filled.name}.20200101T000000Z.abc.schema.dump.partial",
        f"poser.{filled.name}.20200102T000000Z.abc.schema.dump.json",
        "notes.txt",
    ]
    for name in names:
        (tmp_path / name).write_text("")
    (tmp_path / f"poser.{filled.name}.20190101T000000Z.abc.schema.dump").mkdir()
    before = set(os.listdir(tmp_path))
    last = attempt(filled, tmp_path, binaries, True, keep=1)
    gone = {made.name, f"{made.name}.json"}
    assert set(os.listdir(tmp_path)) == before - gone | {last.name, f"{last.name}.json"}


def test_the_space_that_is_wanted_goes_by_our_own_backups(
    filled: Database, binaries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not by a file that is called like one, or by another server's."""
    strange = tmp_path / f"poser.{filled.name}.20990101T000000Z.abc.full.dump"
    strange.write_bytes(b"x" * 9_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 0))
    with pytest.raises(Refused, match="since the database takes"):
        look(filled, tmp_path, binaries)
    backup.make(target(filled), **arguments(tmp_path, binaries))
    with pytest.raises(Refused, match="since the last backup takes 1 MB"):
        look(filled, tmp_path, binaries)


def test_the_password_is_nowhere(filled: Database, binaries: Path, tmp_path: Path) -> None:
    """Not in arguments, environments, files or names, while it is used as well as afterwards."""
    readable_by(filled, GUARDED)
    url = filled.server.url(filled.name, GUARDED).replace(f"{GUARDED}@", f"{GUARDED}:{PASSWORD}@")
    made: list[Any] = []
    with held(filled):
        thread = threading.Thread(
            target=lambda: made.append(backup.make(parse_url(url), **arguments(tmp_path, binaries)))
        )
        thread.start()
        [process] = eventually(lambda: dumps_of(os.getpid()))
        eventually(lambda: filled.sql("select 1 from pg_stat_activity where query ~ '^LOCK TABLE'", user="postgres"))
        seen = [Path(f"/proc/{process}/{name}").read_text() for name in ("cmdline", "environ")]
        # not of the tests that run beside this one
        shown = ["ps", "eww", "-p", f"{process},{os.getpid()}"]
        seen.append(subprocess.run(shown, capture_output=True, text=True, check=True).stdout)
        assert [each.stat().st_mode & 0o7777 for each in tmp_path.iterdir()] == [0o600, 0o600]
    thread.join()
    assert made
    assert all("pg_dump" in each for each in (seen[0], seen[2]))
    assert "/proc/self/fd/" in seen[1]
    seen += [
        str(made),
        json.dumps(asdict(made[0])),
        Path(f"{made[0].file}.json").read_text(),
        *os.listdir(tmp_path),
        Path(made[0].file).read_bytes().hex(),
    ]
    for each in seen:
        assert PASSWORD not in each and PASSWORD.encode().hex() not in each


def test_a_wrong_password_is_not_repeated(filled: Database, binaries: Path, tmp_path: Path) -> None:
    url = filled.server.url(filled.name, GUARDED).replace(f"{GUARDED}@", f"{GUARDED}:wrong{PASSWORD}@")
    with pytest.raises(Refused) as refusal:
        backup.make(parse_url(url), **arguments(tmp_path, binaries))
    assert refusal.value.problem.code == "database_unreachable"
    assert PASSWORD not in str(refusal.value)


@pytest.mark.parametrize("how", ["variables", "service", "service in the url", "password file"])
def test_what_libpq_would_be_told_elsewhere_is_told(
    how: str, filled: Database, binaries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """psycopg2 and pg_dump come to the same database by every way that libpq knows."""
    readable_by(filled, GUARDED)
    told = {"host": filled.host, "port": "5432", "dbname": filled.name, "user": GUARDED, "password": PASSWORD}
    url = "postgresql:///"
    if how == "variables":
        names = {"dbname": "PGDATABASE"}
        for name, value in {**told, "options": "-c work_mem=5MB"}.items():
            monkeypatch.setenv(names.get(name, f"PG{name.upper()}"), value)
    elif how == "password file":
        passwords = tmp_path / "passwords"
        passwords.write_text(f"*:*:*:{GUARDED}:{PASSWORD}\n")
        passwords.chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(passwords))
        url = filled.server.url(filled.name, GUARDED)
    else:
        services = tmp_path / "services"
        services.write_text("[mine]\n" + "".join(f"{name}={value}\n" for name, value in told.items()))
        monkeypatch.setenv("PGSERVICEFILE", str(services))
        if how == "service":
            monkeypatch.setenv("PGSERVICE", "mine")
        else:
            url = "postgresql:///?service=mine"
    backup.refuse_impossible(
        parse_url(url), mode="full", directory=str(tmp_path / "b"), app="poser", bin_dir=str(binaries)
    )
    made = backup.make(parse_url(url), **arguments(tmp_path / "b", binaries))
    assert f"poser.{filled.name}." in made.file and made.size > 10_000


def test_a_look_writes_nothing(filled: Database, binaries: Path, tmp_path: Path) -> None:
    before = everything(filled)
    look(filled, tmp_path / "missing" / "backups", binaries)
    assert list(tmp_path.iterdir()) == []
    assert everything(filled) == before
