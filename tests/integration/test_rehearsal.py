"""The upgrade tried out first: what it shows, what it stops, and that nothing of it stays."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import Any

import pytest
from support import environments
from support.catalogs import everything
from support.dumps import dump
from support.server import Server
from support.upgrades import upgrade
from test_scratch import binaries  # noqa: F401  a fixture

CORE_HEAD = "c2ef84c99c93"
POSER_HEAD = "b084beb32f02"


def abandoned() -> list[str]:
    """Throw-away clusters that are nobody's any more; those of the tests beside this one come and go."""
    found = [path for path in Path("/var/tmp").glob("rattail_schema_ext*/lock") if free(path)]
    if found:
        time.sleep(3)
    return sorted(str(path.parent) for path in found if free(path))


def free(lock: Path) -> bool:
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:
        return False


def traces(server: Server) -> dict[str, Any]:
    """What a rehearsal could leave behind besides what is in the database's dump."""
    ours = f"like 'rattail_schema_ext%{server.database.name}%'"
    return {
        "databases": server.sql(f"select datname from pg_database where datname {ours}"),
        "temporary": server.sql(
            "select relname from pg_class where relnamespace::regnamespace::text like 'pg_temp%' and relkind = 'r'"
        ),
        "clusters": abandoned(),
        "sessions": server.sql(
            "select pid from pg_stat_activity where application_name like 'rattail_schema_ext %'"
            " and datname = current_database()"
        ),
    }


def rehearse(server: Server, mode: str, **options: Any) -> dict[str, Any]:
    """An upgrade that is rehearsed first, and leaves no traces of that."""
    before = traces(server)
    assert before["databases"] == []
    answer = upgrade(server, rehearsal=mode, postgresql_bin_dir=str(server.database.server.binaries), **options)
    assert traces(server) == before
    return answer


def stopped(server: Server, mode: str, **options: Any) -> dict[str, Any]:
    """A rehearsal that shows that the upgrade is not to be run: nothing real is touched."""
    before = dump(server.database)
    answer = rehearse(server, mode, **options)
    assert (answer["changed"], answer["applied"], answer["state"]) == (False, [], "behind")
    assert answer["failure"] and dump(server.database) == before
    return answer


@pytest.fixture(params=["transaction", "clone"])
def mode(request: pytest.FixtureRequest) -> str:
    mode: str = request.param
    return mode


@pytest.fixture
def server(mode: str, request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue("cloning" if mode == "clone" else "deployed")
    return server


def test_it_shows_the_statements_the_time_and_the_locks_of_each_revision(server: Server, mode: str) -> None:
    crate = "create table poser_crate (id integer); select pg_sleep(0.5)"
    first = server.repository.add_revision("crates", upgrade_sql=crate)
    python = 'op.add_column("poser_widget", sa.Column("crates", sa.Integer))'
    second = server.repository.add_revision("count", upgrade=python)
    server.git("pull", "--quiet")
    answer = rehearse(server, mode)
    assert (answer["failure"], answer["state"]) == ("", "current")
    assert [each["revision"] for each in answer["applied"]] == [first, second]
    shown = answer["rehearsal"]
    assert shown["mode"] == mode
    assert shown["place"] == {"transaction": "the database itself", "clone": "a copy on the same server"}[mode]
    assert [each["revision"] for each in shown["revisions"]] == [first, second]
    assert shown["revisions"][0]["seconds"] >= 0.5 and shown["seconds"] > 0.5
    assert shown["revisions"][0]["sql"] == [crate]
    assert shown["revisions"][1]["sql"] == ["ALTER TABLE poser_widget ADD COLUMN crates INTEGER"]
    assert "AccessExclusiveLock on poser_widget" in shown["revisions"][1]["locks"]
    assert not any("poser_widget" in lock for lock in shown["revisions"][0]["locks"])
    assert server.database.heads() == {CORE_HEAD, second}


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("create table poser_crate (id integer); select 1 / 0", "division by zero"),
        ("create table poser_crate (id integer); drop table ifps_plu", "it is against the policy"),
    ],
    ids=["fails", "violates"],
)
def test_a_revision_that_is_not_to_run_stops_it_before_anything_real(
    server: Server, mode: str, sql: str, words: str
) -> None:
    server.repository.add_revision("good", upgrade_sql="create table poser_good (id integer)")
    bad = server.repository.add_revision("bad", upgrade_sql=sql)
    server.git("pull", "--quiet")
    answer = stopped(server, mode)
    assert answer["failure"].startswith("The rehearsal failed (") and "the upgrade was not run" in answer["failure"]
    assert f"Revision {bad} (" in answer["failure"] and words in answer["failure"]
    assert [each["object"] for each in answer["violations"]] == (["table public.ifps_plu"] if "policy" in words else [])
    good, *_ = answer["rehearsal"]["revisions"]
    assert good["sql"] == ["create table poser_good (id integer)"]


def hidden(statement: str) -> str:
    """Python that executes a statement which its text does not show."""
    return f'op.execute(bytes.fromhex("{statement.encode().hex()}").decode())'


CRATE = 'op.execute("create table poser_crate (id integer)")'
LEAKS = {
    "a COMMIT": [CRATE, hidden("commit")],
    "a COMMIT and more": [CRATE, hidden("commit"), CRATE],
    "a ROLLBACK and more": [hidden("rollback"), CRATE],
    "a transaction of its own": [hidden("rollback"), hidden("begin"), CRATE, hidden("commit")],
    "a transaction that may write": [hidden("rollback"), hidden("begin read write"), CRATE, hidden("commit")],
    "what keeps it from committing taken away": [
        CRATE,
        hidden("delete from pg_temp.rattail_schema_ext_rehearsal"),
        hidden("commit"),
    ],
    "an error ignored and nothing more": [f"{CRATE}\ntry:\n    {hidden('commit')}\nexcept Exception:\n    pass"],
    "a savepoint released": [hidden("savepoint a"), CRATE, hidden("release a"), hidden("commit")],
    "an error ignored": [
        f"{CRATE}\ntry:\n    {hidden('commit')}\nexcept Exception:\n    {hidden('rollback')}\n{CRATE}"
    ],
    "the driver's commit": [CRATE, "op.get_bind().connection.commit()", CRATE],
    "the driver's rollback": ["op.get_bind().connection.rollback()", CRATE, "op.get_bind().connection.commit()"],
    "the driver's commit in disguise": [CRATE, 'getattr(op.get_bind().connection, "timmoc"[::-1])()', CRATE],
    "a cursor of which nobody hears": [
        "from psycopg2.extensions import connection",
        "cursor = connection.cursor(op.get_bind().connection.dbapi_connection)",
        hidden("rollback").replace("op.", "cursor."),
        CRATE.replace("op.", "cursor."),
    ],
    "another connection": [
        "with op.get_bind().engine.connect() as other, other.begin():\n"
        '    other.execute(sa.text("create table poser_crate (id integer)"))'
    ],
}


@pytest.mark.parametrize("leak", LEAKS)
def test_nothing_leaks_from_a_rehearsal_in_a_transaction(deployed: Server, leak: str) -> None:
    new = deployed.repository.add_revision(leak, upgrade="\n".join(LEAKS[leak]))
    deployed.git("pull", "--quiet")
    answer = stopped(deployed, "transaction")
    assert f"evision {new}" in answer["failure"] and "its transaction" in answer["failure"], answer["failure"]
    assert "rattail_schema_ext_rehearsal: clone" in answer["failure"]


@pytest.mark.parametrize(
    "python",
    ['op.execute("commit")', 'with op.get_context().autocommit_block():\n    op.execute("vacuum poser_widget")'],
    ids=["COMMIT", "autocommit_block"],
)
def test_what_leaves_its_transaction_is_rehearsed_on_a_copy_only(cloning: Server, python: str) -> None:
    new = cloning.repository.add_revision("leaves", upgrade=python)
    cloning.git("pull", "--quiet")
    answer = stopped(cloning, "transaction")
    assert f"revision {new}" in answer["failure"] and "rattail_schema_ext_rehearsal: clone" in answer["failure"]
    answer = rehearse(cloning, "clone")
    assert (answer["failure"], answer["state"]) == ("", "current")
    assert [each["revision"] for each in answer["rehearsal"]["revisions"]] == [new]


ELSEWHERE = """\
import psycopg2
from alembic import context
from sqlalchemy import create_engine

engine = create_engine("postgresql://", creator=lambda: psycopg2.{connect}({url!r}))
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
"""


@pytest.mark.parametrize(
    ("place", "connect"),
    [("server", "extensions.connection"), ("cluster", "extensions.connection"), ("server", "connect")],
)
def test_an_env_py_that_connects_elsewhere_is_led_to_the_copy_or_noticed(
    place: str, connect: str, request: pytest.FixtureRequest
) -> None:
    """A copy in a server of its own has the very name of the real database."""
    server: Server = request.getfixturevalue("cloning" if place == "server" else "deployed")
    bin_dir = server.database.server.binaries if place == "server" else request.getfixturevalue("binaries")
    url = server.database.url
    packaged = environments.site_packages(environments.base("rattail")) / "rattail" / "db" / "alembic"
    server.repository.commit({
        "poser/db/alembic/env.py": ELSEWHERE.format(url=url, connect=connect),
        "poser/db/alembic/script.py.mako": (packaged / "script.py.mako").read_text(),
    })  # fmt: skip
    server.repository.add_revision("crates", upgrade_sql="create table poser_crate (id integer)")
    server.git("pull", "--quiet")
    server.write_config(
        url=url, alembic=server.alembic_section().replace("= rattail.db:alembic\n", "= poser.db:alembic\n")
    )
    before = dump(server.database)
    answer = upgrade(server, rehearsal="clone", postgresql_bin_dir=str(bin_dir))
    if connect == "connect":
        assert (answer["failure"], answer["state"]) == ("", "current")
        assert [each["sql"] for each in answer["rehearsal"]["revisions"]] == [
            ["create table poser_crate (id integer)"],
        ]  # fmt: skip
        return
    assert "env.py" in answer["failure"] and "copy" in answer["failure"], answer["failure"]
    assert (answer["changed"], dump(server.database)) == (False, before)


def test_where_the_role_may_not_create_databases_a_server_of_its_own_is_used(
    deployed: Server, request: pytest.FixtureRequest
) -> None:
    bin_dir: Path = request.getfixturevalue("binaries")
    before = dump(deployed.database)
    traced = traces(deployed)
    bad = deployed.repository.add_revision("bad", upgrade_sql="create table poser_bad (); drop table ifps_plu")
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed, rehearsal="clone", postgresql_bin_dir=str(bin_dir))
    assert f"Revision {bad}" in answer["failure"] and "against the policy" in answer["failure"], answer["failure"]
    assert answer["rehearsal"]["place"] == "a copy in a server of its own"
    assert (dump(deployed.database), traces(deployed)) == (before, traced)
    file = next(deployed.versions.glob(f"{bad}*"))
    file.write_text(file.read_text().replace("drop table ifps_plu", "select 1"))
    answer = upgrade(deployed, rehearsal="clone", postgresql_bin_dir=str(bin_dir), allow_uncommitted_revisions=True)
    assert (answer["failure"], answer["state"]) == ("", "current")
    assert [each["revision"] for each in answer["rehearsal"]["revisions"]] == [bad]
    assert traces(deployed) == traced


def test_the_rows_of_the_real_database_are_in_the_copy(cloning: Server) -> None:
    """A revision that goes well on an empty table only is found out."""
    cloning.sql("insert into poser_widget (uuid, code, active) values ('a', 'a', true), ('b', 'b', true)")
    new = cloning.repository.add_revision("narrow", upgrade_sql="create unique index poser_ux on poser_widget ((1))")
    cloning.git("pull", "--quiet")
    answer = stopped(cloning, "clone")
    assert answer["failure"].startswith("The rehearsal failed (a copy on the same server)")
    assert f"Revision {new}" in answer["failure"] and "poser_ux" in answer["failure"]


def test_what_the_policy_only_warns_of_is_shown(server: Server, mode: str) -> None:
    trespass = "create table gadget (id integer); insert into setting (name, value) values ('poser.a', '1')"
    new = server.repository.add_revision("trespass", upgrade_sql=trespass)
    server.git("pull", "--quiet")
    answer = rehearse(server, mode, policy="warn")
    assert (answer["failure"], answer["state"]) == ("", "current")
    shown = answer["rehearsal"]
    assert [(each["revision"], each["object"]) for each in shown["violations"]] == [(new, "table public.gadget")]
    assert [(each["table"], each["inserted"]) for each in shown["data"]] == [("public.setting", 1)]
    # once, by the upgrade itself
    table, rows = answer["warnings"]
    assert table.startswith(f"Revision {new} created table public.gadget. ")
    assert rows == f"Revision {new} wrote rows of public.setting, which is not this extension's: 1 inserted."


def test_a_lock_that_a_rehearsal_does_not_get_is_tried_for_again_and_its_holder_named(deployed: Server) -> None:
    new = deployed.repository.add_revision("color", upgrade_sql="alter table poser_widget add color text")
    deployed.git("pull", "--quiet")
    before = dump(deployed.database)
    with deployed.database.connect() as blocker:
        blocker.autocommit = False
        blocker.cursor().execute("lock table poser_widget in row exclusive mode")
        limits = {"lock_timeout_seconds": 1.5, "lock_retries": 1}
        answer = upgrade(deployed, rehearsal="transaction", **limits)
        pid = blocker.info.backend_pid
    assert answer["failure"].startswith("The rehearsal failed (the database itself), so the upgrade was not run.")
    assert f"Revision {new} (" in answer["failure"] and "tried 2 times" in answer["failure"], answer["failure"]
    assert f"in the way: pid {pid}" in answer["failure"], answer["failure"]
    assert (answer["retries"], [each["pid"] for each in answer["blockers"]]) == (1, [pid])
    assert (answer["changed"], answer["applied"], dump(deployed.database)) == (False, [], before)


BESIDE = """
import psycopg2
beside = psycopg2.connect({dsn!r})
beside.cursor().execute("create table poser_elsewhere ()")
"""


@pytest.mark.parametrize(("where", "policy"), [("itself", "enforce"), ("elsewhere", "enforce"), ("elsewhere", "warn")])
def test_on_a_copy_nothing_is_written_anywhere_else(cloning: Server, where: str, policy: str) -> None:
    """What leads to the database leads to its copy, and elsewhere a revision may only read; past the engine, too."""
    database = cloning.database
    dsn = {"itself": database.url, "elsewhere": database.server.url("postgres", "rattail")}[where]
    cloning.repository.add_revision("beside", upgrade=BESIDE.format(dsn=dsn) + "beside.commit()")
    cloning.git("pull", "--quiet")
    before = everything(database)
    answer = upgrade(cloning, rehearsal="clone", policy=policy)
    assert "rehearsal failed" in answer["failure"], answer["failure"]
    assert "cannot execute CREATE TABLE in a read-only transaction" in answer["failure"], answer["failure"]
    assert everything(database) == before
