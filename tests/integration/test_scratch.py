"""Scratch copies: alike in everything, on the same server or on one of their own, and gone afterwards."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import psycopg2
import pytest
from ansible.module_utils.rattail_alembic.copies import backup, cluster, programs, scratch
from ansible.module_utils.rattail_alembic.postgres.url import Target, parse_url
from ansible.module_utils.rattail_alembic.problem import Refused
from support import copies
from support.places import BIN, ROOT
from support.postgres import Database, Postgres
from support.waiting import eventually

PREFIX = "rattail_schema_ext_"
VERSIONS = "create table alembic_version (version_num varchar(32)); insert into alembic_version values ('abc')"

# Holds a scratch database in a process of its own until it is told to end, or killed.
HOLDER = f"""
import json, signal, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
import conftest
from ansible.module_utils.rattail_alembic.copies import cluster, scratch
from ansible.module_utils.rattail_alembic.postgres.url import parse_url
# nohup, under which the tests may run, has it ignored
signal.signal(signal.SIGHUP, signal.SIG_DFL)
call = json.loads(sys.argv[1])
cluster.DIRECTORY = call["clusters"]
with scratch.database(parse_url(call["url"]), **call["arguments"]) as made:
    print(json.dumps({{"host": made.target.host, "dbname": made.target.dbname, "place": made.place}}), flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="session")
def binaries(postgres: Postgres) -> Iterator[Path]:
    """Programs of the server's release that a server of its own can be made from, by whom this may be."""
    if os.geteuid() != 0:
        yield postgres.server.binaries
        return
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("as root, a server of its own runs as the account postgres, which is not here")
    origin = postgres.server.binaries.resolve()
    directory = Path(tempfile.mkdtemp(dir="/var/tmp"))
    directory.chmod(0o755)
    try:
        shutil.copytree(origin.parents[2], directory / "install", symlinks=True)
        yield directory / "install" / origin.relative_to(origin.parents[2])
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory for clusters, which is empty in the end."""
    directory = Path(tempfile.mkdtemp(dir="/var/tmp"))
    directory.chmod(0o755)
    monkeypatch.setattr(cluster, "DIRECTORY", str(directory))
    yield directory
    try:
        assert list(directory.iterdir()) == []
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def role(postgres: Postgres) -> Iterator[Callable[..., str]]:
    """Make roles that may log in. To be set up before the databases that they own."""
    made: list[str] = []

    def make(options: str = "") -> str:
        made.append(f"s{os.getpid()}_{len(made)}")
        postgres.admin.sql(f"create role {made[-1]} login {options}")
        return made[-1]

    yield make
    for name in made:
        postgres.admin.sql(f"drop owned by {name}")
        postgres.admin.sql(f"drop role {name}")


@pytest.fixture
def owned(role: Callable[..., str], make_database: Callable[..., Database]) -> Callable[..., Database]:
    """Make databases with rows of every kind, that belong to a new role; it may make more of them unless told."""

    def make(options: str = "createdb", owner: str = "") -> Database:
        owner = owner or role(options)
        database = make_database("empty")
        database.sql(f'alter database "{database.name}" owner to {owner}', user="postgres")
        database.sql("alter schema public owner to pg_database_owner", user="postgres")
        mine = replace(database, user=owner)
        mine.sql(copies.ODDITIES)
        mine.sql(VERSIONS)
        mine.sql(f"""alter database "{database.name}" set search_path = public, poser, "Odd, one" """)
        return mine

    return make


def target(database: Database) -> Target:
    return parse_url(database.url)


def contents(binaries: Path, where: Target) -> dict[str, Any]:
    return copies.contents(binaries, where.dbname, host=where.host, port=5432, user="postgres")


def rows_of(where: Target, query: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(**where.connect_kwargs())
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())
    finally:
        connection.close()


def scratches(postgres: Postgres, database: Database) -> list[str]:
    """The scratch databases there are of a database."""
    comment = f"Scratch copy of {database.name}, %"
    found = postgres.admin.sql(
        "select datname from pg_database where shobj_description(oid, 'pg_database') like %s", comment
    )
    return [name for (name,) in found]


@contextmanager
def holder(database: Database, **arguments: Any) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    arguments = {name: str(value) for name, value in arguments.items()}
    call = json.dumps({"url": database.url, "arguments": arguments, "clusters": cluster.DIRECTORY})
    run = subprocess.Popen(
        [str(BIN / "python"), "-c", HOLDER, call], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert run.stdout
        yield run, json.loads(run.stdout.readline())
    finally:
        run.communicate("", timeout=60)


@pytest.mark.parametrize("how", ["dump and restore", "from a backup"])
def test_a_copy_on_the_same_server_is_alike(
    how: str, owned: Callable[..., Database], postgres: Postgres, binaries: Path, tmp_path: Path
) -> None:
    database = owned()
    before = contents(binaries, target(database))
    assert copies.rows(before) > 1000 and before["settings"]
    dump = ""
    if how == "from a backup":
        dump = backup.make(
            target(database), mode="full", directory=str(tmp_path), app="poser", heads=[], bin_dir=str(binaries)
        ).file
    with scratch.database(target(database), bin_dir=str(binaries), dump=dump) as made:
        assert (made.place, made.warnings) == (scratch.SERVER, ())
        assert made.target.dbname.startswith(f"{PREFIX}scratch_")
        assert scratches(postgres, database) == [made.target.dbname]
        copy = contents(binaries, made.target)
        assert copy == before
        who = "select current_user, pg_get_userbyid(datdba), current_schemas(false)::text from pg_database"
        assert rows_of(made.target, f"{who} where datname = current_database()") == [
            (database.user, database.user, "{public,poser}")
        ]
        # what is done to it is done to it alone
        with psycopg2.connect(**made.target.connect_kwargs()) as connection:
            connection.cursor().execute("drop table poser_part; drop table poser_thing cascade")
        connection.close()
        with psycopg2.connect(**made.target.connect_kwargs()) as still_there:
            assert still_there.closed == 0
    assert scratches(postgres, database) == []
    assert contents(binaries, target(database)) == before


def test_a_copy_without_rows_knows_its_revisions(owned: Callable[..., Database], binaries: Path) -> None:
    database = owned()
    before = contents(binaries, target(database))
    with scratch.database(target(database), content="schema", bin_dir=str(binaries)) as made:
        copy = contents(binaries, made.target)
    assert copy["schema"] == before["schema"]
    assert copy["public.alembic_version"] == [("(abc)",)]
    assert before["public.poser_thing"] and not copy["public.poser_thing"]


def test_a_copy_of_a_database_without_revisions(owned: Callable[..., Database], binaries: Path) -> None:
    database = owned()
    database.sql("drop table alembic_version")
    with scratch.database(target(database), content="schema", bin_dir=str(binaries)) as made:
        assert rows_of(made.target, "select count(*) from poser_thing") == [(0,)]


def test_all_of_core(database: Database, role: Callable[..., str], binaries: Path, postgres: Postgres) -> None:
    """By a role that has its rights from the owner: the copy belongs to the role itself, and that is said."""
    member = replace(database, user=role("createdb in role rattail"))
    before = contents(binaries, target(database))
    with scratch.database(target(member), bin_dir=str(binaries)) as made:
        copy = contents(binaries, made.target)
    assert {name for name in before if copy[name] != before[name]} == {"schema", "database"}
    assert [line for line in before["schema"] if "OWNER" not in line and "Owner" not in line] == [
        line for line in copy["schema"] if "OWNER" not in line and "Owner" not in line
    ]
    assert made.warnings == (f"What belongs to rattail in {database.name} belongs to {member.user} in the copy.",)
    assert scratches(postgres, database) == []


def test_a_superuser_s_copy_has_all_owners_and_rights(
    owned: Callable[..., Database], role: Callable[..., str], binaries: Path
) -> None:
    other = role()
    database = owned()
    database.sql(
        f"create table others (); alter table others owner to {other};"
        f" grant select on others to {database.user} with grant option; create extension vector;"
        f" set session authorization {database.user}; grant select on others to {other}",
        user="postgres",
    )
    before = contents(binaries, target(database))
    with scratch.database(replace(target(database), user="postgres"), bin_dir=str(binaries)) as made:
        assert made.place == scratch.SERVER
        copy = contents(binaries, made.target)
    assert {name for name in before if copy[name] != before[name]} == {"database"}


def test_a_copy_in_a_cluster_is_alike(
    owned: Callable[..., Database], role: Callable[..., str], binaries: Path, clusters: Path, postgres: Postgres
) -> None:
    """With all owners and rights, for a role that may do no more there than on the real server."""
    other = role()
    database = owned("nocreatedb")
    database.sql(
        f"create table others (); alter table others owner to {other}; create extension vector;"
        f" grant select on others to {database.user}; alter role {database.user} set lock_timeout = '77s'",
        user="postgres",
    )
    before = contents(binaries, target(database))
    with scratch.database(target(database), bin_dir=str(binaries)) as made:
        assert (made.place, made.warnings, made.target.dbname) == (scratch.CLUSTER, (), database.name)
        [home] = clusters.iterdir()
        assert made.target.host == str(home) and home.stat().st_mode & 0o7777 == 0o700
        copy = contents(binaries, made.target)
        assert {name for name in before if copy[name] != before[name]} <= {"settings"}
        shown = "select current_user, current_schemas(false)::text, current_setting('lock_timeout'), rolsuper"
        assert rows_of(made.target, f"{shown} from pg_roles where rolname = current_user") == [
            (database.user, "{public,poser}", "77s", False)
        ]
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            rows_of(made.target, "alter table others add n integer")
        # nobody comes in from elsewhere
        assert rows_of(made.target, "show listen_addresses") == [("",)]
    assert list(clusters.iterdir()) == []
    assert processes(str(clusters)) == []
    assert scratches(postgres, database) == []
    assert contents(binaries, target(database)) == before


def processes(word: str) -> list[int]:
    """The processes with a word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (path / "cmdline").read_bytes() and int(path.name) != os.getpid():
                found.append(int(path.name))
        except OSError:
            continue
    return found


@pytest.mark.usefixtures("clusters")
def test_variables_for_the_real_server_lead_nobody_astray(
    owned: Callable[..., Database], binaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = owned("nocreatedb")
    real = target(database)
    for name, value in {
        "PGHOST": real.host,
        "PGPORT": "5432",
        "PGUSER": database.user,
        "PGDATABASE": database.name,
        "PGOPTIONS": "-c work_mem=5MB",
        "PGTARGETSESSIONATTRS": "read-write",
        "PGREQUIREPEER": pwd.getpwuid(os.stat(real.host).st_uid).pw_name,
        "PGCHANNELBINDING": "prefer",
    }.items():
        monkeypatch.setenv(name, value)
    with scratch.database(Target(), bin_dir=str(binaries)) as made:
        assert made.place == scratch.CLUSTER
        shown = rows_of(made.target, "select current_setting('work_mem'), current_setting('wal_level')")
        assert shown == [("5MB", "minimal")]
        assert rows_of(made.target, "select count(*) from poser_thing") == [(1001,)]


def test_neither_on_the_server_nor_in_a_cluster(owned: Callable[..., Database], binaries: Path, tmp_path: Path) -> None:
    database = owned("nocreatedb")
    for name in ("pg_dump", "pg_restore"):
        copies.wrap(binaries / name, tmp_path)
    with pytest.raises(Refused) as refusal:
        scratch.refuse_impossible(target(database), bin_dir=str(tmp_path))
    assert f"role {database.user} may not create" in refusal.value.problem.cause
    assert "no initdb" in refusal.value.problem.cause
    assert f"ALTER ROLE {database.user} CREATEDB" in refusal.value.problem.remedy
    assert "Install postgresql-18 here" in refusal.value.problem.remedy
    with pytest.raises(Refused) as again, scratch.database(target(database), bin_dir=str(tmp_path)):
        pass
    assert str(again.value) == str(refusal.value)
    database.sql(f"alter role {database.user} createdb", user="postgres")
    scratch.refuse_impossible(target(database), bin_dir=str(tmp_path))


@pytest.mark.usefixtures("clusters")
def test_an_extension_that_only_a_superuser_may_make(
    owned: Callable[..., Database], binaries: Path, tmp_path: Path
) -> None:
    database = owned()
    database.sql("create extension vector", user="postgres")
    database.sql("create table poser_vector (v vector(2)); insert into poser_vector values ('[1,2]')")
    before = contents(binaries, target(database))
    with scratch.database(target(database), bin_dir=str(binaries)) as made:
        assert made.place == scratch.CLUSTER
        copy = contents(binaries, made.target)
        assert {name for name in before if copy[name] != before[name]} <= {"settings"}
    for name in ("pg_dump", "pg_restore"):
        copies.wrap(binaries / name, tmp_path)
    with pytest.raises(Refused, match=r"extensions that .* has \(vector\)"):
        scratch.refuse_impossible(target(database), bin_dir=str(tmp_path))


@pytest.mark.parametrize("place", [scratch.SERVER, scratch.CLUSTER])
@pytest.mark.parametrize("end", [ValueError("wrong"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_it_is_dropped_whatever_happens(
    place: str, end: BaseException, owned: Callable[..., Database], binaries: Path, clusters: Path, postgres: Postgres
) -> None:
    database = owned("createdb" if place == scratch.SERVER else "nocreatedb")
    left_open = None
    with (
        pytest.raises(type(end)) as raised,
        scratch.database(target(database), content="schema", bin_dir=str(binaries)) as made,
    ):
        assert made.place == place
        left_open = psycopg2.connect(**made.target.connect_kwargs())
        left_open.cursor().execute("lock table poser_thing")
        raise end
    assert raised.value is end
    assert left_open
    left_open.close()
    assert scratches(postgres, database) == []
    assert list(clusters.iterdir()) == [] and processes(str(clusters)) == []


@pytest.mark.parametrize("place", [scratch.SERVER, scratch.CLUSTER])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_drops_it(
    place: str,
    number: signal.Signals,
    owned: Callable[..., Database],
    binaries: Path,
    clusters: Path,
    postgres: Postgres,
) -> None:
    database = owned("createdb" if place == scratch.SERVER else "nocreatedb")
    with holder(database, bin_dir=binaries, content="schema") as (run, made):
        assert made["place"] == place
        run.send_signal(number)
        assert run.wait(20) == 128 + number
    assert scratches(postgres, database) == []
    assert list(clusters.iterdir()) == [] and processes(str(clusters)) == []


def test_the_next_run_drops_what_a_killed_one_left(
    owned: Callable[..., Database], binaries: Path, postgres: Postgres
) -> None:
    database, other = owned(), owned()
    arguments: dict[str, Any] = {"bin_dir": str(binaries), "content": "schema"}
    with (
        holder(database, **arguments) as (dead, left),
        holder(database, **arguments) as (_, living),
        holder(other, **arguments) as (_, others),
    ):
        dead.kill()
        dead.wait()
        assert left["dbname"] in scratches(postgres, database)
        query = "select count(*) from pg_stat_activity where datname = %s"
        eventually(lambda: postgres.admin.sql(query, left["dbname"]) == [(0,)])
        with scratch.database(target(database), **arguments) as made:
            assert sorted(scratches(postgres, database)) == sorted([living["dbname"], made.target.dbname])
        assert scratches(postgres, other) == [others["dbname"]]


def test_the_next_run_removes_a_killed_one_s_cluster(
    owned: Callable[..., Database], binaries: Path, clusters: Path
) -> None:
    database = owned("nocreatedb")
    arguments: dict[str, Any] = {"bin_dir": str(binaries), "content": "schema"}
    (clusters / f"{PREFIX}mine").mkdir()
    with holder(database, **arguments) as (dead, left), holder(database, **arguments) as (living, other):
        dead.kill()
        dead.wait()
        assert os.path.isdir(left["host"])
        # the server does not outlive the run
        eventually(lambda: not processes(left["host"]))
        with scratch.database(target(database), **arguments):
            assert not os.path.exists(left["host"])
        assert processes(other["host"])
        assert living.stdin
        living.communicate("")
        assert living.returncode == 0
    # what has no lock of ours is none of ours
    (clusters / f"{PREFIX}mine").rmdir()


def test_several_at_once(owned: Callable[..., Database], binaries: Path, postgres: Postgres) -> None:
    database = owned()
    found: list[Any] = []
    barrier = threading.Barrier(3)

    def one() -> None:
        with scratch.database(target(database), bin_dir=str(binaries)) as made:
            barrier.wait(60)
            found.append(rows_of(made.target, "select current_database(), (select count(*) from poser_thing)")[0])

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({name for name, _ in found}) == 3 and {count for _, count in found} == {1001}
    assert scratches(postgres, database) == []


def test_rows_that_come_meanwhile(owned: Callable[..., Database], binaries: Path) -> None:
    """Schema and rows are of one moment: a foreign key holds in the copy although its tables are being filled."""
    database = owned()
    done = threading.Event()

    def fill() -> None:
        with database.connect() as connection, connection.cursor() as cursor:
            number = 0
            while not done.is_set():
                number += 1
                cursor.execute(
                    "with t as (insert into poser_thing (name) values (%s) returning id)"
                    " insert into poser_part select id, 1 from t",
                    (f"meanwhile {number}",),
                )
                # a table that only one of the two knew would have rows and no definition
                cursor.execute(f"create table poser_new_{number} as select {number} n")
                time.sleep(0.01)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        for _ in range(3):
            with scratch.database(target(database), bin_dir=str(binaries)) as made:
                [(things, parts)] = rows_of(
                    made.target,
                    "select count(*), (select count(*) from poser_part where thing > 1001) from poser_thing"
                    " where id > 1001",
                )
                assert things == parts > 0
    finally:
        done.set()
        thread.join()


def test_rights_that_cannot_be_given_are_told(owned: Callable[..., Database], binaries: Path) -> None:
    database = owned()
    database.sql(
        "create table others (); alter default privileges for role postgres grant select on tables to guarded",
        user="postgres",
    )
    database.sql(f"grant select on others to {database.user}", user="postgres")
    with scratch.database(target(database), bin_dir=str(binaries)) as made:
        assert any("ALTER DEFAULT PRIVILEGES FOR ROLE postgres" in each for each in made.warnings)
        assert any("belongs to postgres" in each for each in made.warnings)
        assert rows_of(made.target, "select count(*) from others") == [(0,)]


def test_what_cannot_be_read_is_told(owned: Callable[..., Database], binaries: Path, postgres: Postgres) -> None:
    database = owned()
    database.sql("create table others ()", user="postgres")
    with (
        pytest.raises(Refused, match="permission denied for table others") as refusal,
        scratch.database(target(database), bin_dir=str(binaries)),
    ):
        pass
    assert refusal.value.problem.code == "scratch_failed"
    assert scratches(postgres, database) == []


def test_a_table_that_somebody_holds_is_not_waited_for_for_ever(
    owned: Callable[..., Database], binaries: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "LOCK_WAIT_SECONDS", 1)
    database = owned()
    with database.connect() as connection:
        connection.autocommit = False
        connection.cursor().execute("lock table poser_thing in access exclusive mode")
        started = time.monotonic()
        with (
            pytest.raises(Refused, match="canceling statement"),
            scratch.database(target(database), bin_dir=str(binaries)),
        ):
            pass
        assert time.monotonic() - started < 8
    assert scratches(postgres, database) == []


def test_rows_that_do_not_go_in_are_told(owned: Callable[..., Database], binaries: Path, postgres: Postgres) -> None:
    """A constraint that asks another table says no before that has its rows: pg_restore fails, and pg_dump with it."""
    database = owned()
    database.sql(
        "create table a_first (n int); create table b_then (n int);"
        " create function known(int) returns bool language sql as"
        " 'select exists (select from public.b_then where n = $1)';"
        " insert into b_then values (1); insert into a_first values (1); alter table a_first add check (known(n))"
    )
    with pytest.raises(Refused, match="a_first") as refusal, scratch.database(target(database), bin_dir=str(binaries)):
        pass
    assert "violates check constraint" in refusal.value.problem.cause
    assert scratches(postgres, database) == []


def test_an_older_server_and_newer_programs(
    old_server: tuple[programs.Program, Target], binaries: Path, tmp_path: Path
) -> None:
    """pg_restore's first words are not understood there; and an extension comes with a comment of the superuser's."""
    initdb, real = old_server
    with psycopg2.connect(**real.connect_kwargs()) as connection:
        connection.cursor().execute(copies.ODDITIES)
        connection.cursor().execute(VERSIONS)
        places = Path(initdb.path).parents[3].glob(f"share/postgresql/{initdb.major}/extension/hstore.control")
        if list(places):
            connection.cursor().execute("create extension hstore; create table poser_bag (h hstore)")
    connection.close()
    for bin_dir in (binaries, Path(initdb.path).parent):
        before = contents(binaries, real)
        with scratch.database(real, bin_dir=str(bin_dir)) as made:
            assert (made.place, made.warnings) == (scratch.SERVER, ())
            copy = contents(binaries, made.target)
            assert set(copy["schema"]) ^ set(before["schema"]) == set()
            assert copy == before
        made_backup = backup.make(
            real, mode="full", directory=str(tmp_path), app="poser", heads=[], bin_dir=str(bin_dir)
        )
        assert made_backup.size > 10_000


@pytest.mark.parametrize("password", ["opensesame", "a:b\\c", ' it\'s "odd" ', "né漢%40 ", "x=y #z"])
def test_odd_passwords_of_an_older_server(
    password: str, old_server: tuple[programs.Program, Target], tmp_path: Path
) -> None:
    initdb, real = old_server
    with psycopg2.connect(**replace(real, user="postgres").connect_kwargs()) as connection:
        connection.cursor().execute("alter role paula password %s", (password,))
    connection.close()
    real = replace(real, user="paula", dbname="paulas")
    eventually(lambda: not enters(real))
    real = replace(real, password=password)
    with psycopg2.connect(**real.connect_kwargs()) as connection:
        connection.cursor().execute(f"drop table if exists alembic_version; {VERSIONS}")
    connection.close()
    own = str(Path(initdb.path).parent)
    made = backup.make(real, mode="full", directory=str(tmp_path), app="poser", heads=[], bin_dir=own)
    assert made.size
    with scratch.database(real, bin_dir=own) as copy:
        assert rows_of(copy.target, "select version_num from alembic_version") == [("abc",)]


def enters(where: Target) -> bool:
    try:
        psycopg2.connect(**where.connect_kwargs()).close()
    except psycopg2.OperationalError:
        return False
    return True


def test_the_processes_of_a_scratch_database_show_no_password(
    owned: Callable[..., Database], binaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While pg_dump waits for a table."""
    from support.postgres import GUARDED, PASSWORD

    monkeypatch.setattr(programs, "LOCK_WAIT_SECONDS", 3)
    database = owned()
    for schema in ("public", "poser"):
        for kind in ("tables", "sequences"):
            database.sql(f"grant select on all {kind} in schema {schema} to {GUARDED}")
    url = database.server.url(database.name, GUARDED).replace(f"{GUARDED}@", f"{GUARDED}:{PASSWORD}@")
    refusals: list[Refused] = []

    def attempt(log: IO[str] | None = None) -> None:
        del log
        try:
            with scratch.database(parse_url(url), bin_dir=str(binaries)):
                pass
        except Refused as error:
            refusals.append(error)

    with database.connect() as connection:
        connection.autocommit = False
        connection.cursor().execute("lock table poser_thing in access exclusive mode")
        thread = threading.Thread(target=attempt)
        thread.start()
        shown = ""
        while thread.is_alive():
            shown += subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=True).stdout
            time.sleep(0.1)
        thread.join()
    assert "initdb" in shown or "pg_dump" in shown
    assert PASSWORD not in shown
    assert refusals and PASSWORD not in str(refusals[0])
