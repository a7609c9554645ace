"""Processes, sessions and servers that are gone: before the comparison in the end, during it, and instead of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from adversary.arena import AS_IT_WAS, template
from adversary.oracle import Picture, look
from support import spare
from support.gate import Gate
from support.postgres import OWNER, Database, Postgres
from support.server import Server
from support.spare import Spare
from support.upgrades import Upgrade, upgrade
from support.waiting import eventually

CORE_HEAD = "c2ef84c99c93"
POSER_HEAD = "b084beb32f02"
TABLE = 'op.execute("create table poser_x (id integer)")'
SESSIONS = "select pid from pg_stat_activity where datname = current_database() and application_name like '{} {}'"
ROLE = "rattail_schema_ext"
LOCK = "select pid from pg_locks l join pg_database d on d.oid = database and datname = current_database()"
LOCK += " where locktype = 'advisory' and granted"
LEFT = f"""
select 'session' from pg_stat_activity where datname = current_database() and application_name like '{ROLE} %'
union all select 'lock' from pg_locks join pg_database d on d.oid = database
  where locktype = 'advisory' and datname = current_database()
union all select 'prepared transaction' from pg_prepared_xacts where database = current_database()
union all select 'copy' from pg_database where datname ~ '{ROLE}'
"""
LOST = "The connection that holds the lock was lost: "
NOBODY = "Nobody could compare the database with what it was"
# From here on the revision is committed.
PHASES = {"before it": False, "in the revision": False, "after the COMMIT": True, "in the comparison": True}


def picture(database: Database) -> Picture:
    with database.connect("postgres") as connection, connection.cursor() as cursor:
        return look(cursor)


@contextmanager
def at(phase: str, server: Server, **options: Any) -> Iterator[Upgrade]:
    """An upgrade that has come as far as ``phase``, and can go on in the end."""
    gate = Gate(server.root / "gate")
    waits = {"in the revision": gate.python, "after the COMMIT": gate.after_the_commit}
    server.repository.add_revision("x", upgrade=f"{TABLE}\n{waits.get(phase, gate.after_the_commit)}")
    server.git("pull", "--quiet")
    blocked = f"{SESSIONS.format(ROLE, '%begins%' if phase == 'before it' else '%looks%')} and wait_event_type = 'Lock'"
    with server.database.connect("postgres") as admin, ExitStack() as stack:
        if phase == "before it":
            gate.remove()
            hold(admin)
        run = Upgrade(server, **options)
        if phase == "in the comparison":
            with gate.reached():
                hold(admin)
        elif phase != "before it":
            stack.enter_context(gate.reached())
        if phase in ("before it", "in the comparison"):
            eventually(lambda: server.sql(blocked), 20)
        yield run


def hold(connection: Any) -> None:
    """Keep everybody from reading a catalog that only a comparison reads."""
    connection.autocommit = False
    connection.cursor().execute("lock table pg_catalog.pg_conversion in access exclusive mode")


def converges(server: Server, before: Picture) -> None:
    """Nothing foreign differs, nothing is left behind, and the next run does what is left to do."""
    eventually(lambda: server.sql(LEFT) == [], 10)
    assert picture(server.database).foreign_changes(before) == []
    [new] = [path.name[:12] for path in server.versions.glob("*_x.py")]
    answer = upgrade(server)
    assert (answer["failure"], answer["state"], answer["violations"]) == ("", "current", [])
    assert server.database.heads() == {CORE_HEAD, new}
    assert server.database.tables("poser\\_x") == ["poser_x"]
    assert picture(server.database).foreign_changes(before) == []
    assert server.sql(LEFT) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("phase", PHASES)
def test_the_module_is_killed(few: Server, phase: str, how: signal.Signals) -> None:
    before = picture(few.database)
    with at(phase, few) as run:
        run.process.send_signal(how)
        assert run.process.wait(10)[0] == ""
    eventually(lambda: few.sql(LEFT) == [], 10)
    assert (few.database.tables("poser\\_x") != []) == PHASES[phase]
    assert (few.database.heads() == {CORE_HEAD, POSER_HEAD}) != PHASES[phase]
    converges(few, before)


def holds_to_what_is_there(server: Server, answer: dict[str, Any], *, committed: bool) -> None:
    """What is said of a run that nobody could compare in the end."""
    assert answer["failure"].startswith(LOST), answer["failure"]
    assert AS_IT_WAS not in answer["failure"]
    assert (server.database.heads() != {CORE_HEAD, POSER_HEAD}) == committed
    assert answer["changed"] == committed and len(answer["applied"]) == committed
    assert set(answer["current_after"]) == server.database.heads(), answer["current_after"]
    words = "have changed by 1 of its revisions" if committed else "have not changed so far"
    assert NOBODY in answer["failure"] and words in answer["failure"], answer["failure"]


@pytest.mark.parametrize("phase", PHASES)
def test_the_session_that_holds_the_lock_is_ended(few: Server, phase: str) -> None:
    before = picture(few.database)
    with at(phase, few) as run:
        few.sql(f"select pg_terminate_backend(pid) from ({LOCK}) l")
        if phase == "after the COMMIT":
            eventually(lambda: not few.sql(LOCK))
    answer = run.finish(30)
    if phase == "before it":
        assert answer["failure"].startswith(LOST) and not answer["changed"], answer["failure"]
    else:
        holds_to_what_is_there(few, answer, committed=PHASES[phase])
    converges(few, before)


@pytest.mark.parametrize("phase", ["in the revision", "after the COMMIT"])
def test_the_session_that_migrates_is_ended(few: Server, phase: str) -> None:
    before = picture(few.database)
    with at(phase, few) as run:
        few.sql(f"select pg_terminate_backend(pid) from ({SESSIONS.format(ROLE, '%')} and pid not in ({LOCK})) l")
    answer = run.finish(30)
    if PHASES[phase]:
        assert (answer["failure"], answer["changed"]) == ("", True)
    else:
        assert answer["failure"].startswith("Revision ") and "closed" in answer["failure"], answer["failure"]
        assert answer["failure"].endswith(" Read the log of the server, then run again.")
        assert f"Nothing was applied: {AS_IT_WAS}." in answer["failure"] and not answer["changed"]
    converges(few, before)


def test_the_session_that_builds_an_index_is_ended(few: Server) -> None:
    """What it leaves is said, with how to undo it, and the next run does so itself."""
    build = "create index concurrently poser_ix_x on poser_widget (description)"
    block = f'with op.get_context().autocommit_block():\n    op.execute("{build}")\n{TABLE}'
    few.repository.add_revision("x", upgrade=block)
    few.git("pull", "--quiet")
    before = picture(few.database)
    with few.database.connect() as reader:
        reader.autocommit = False
        reader.cursor().execute("lock table poser_widget in row exclusive mode")
        run = Upgrade(few)
        waits = f"{SESSIONS.format(ROLE, '%')} and wait_event = 'virtualxid'"
        [(pid,)] = eventually(lambda: few.sql(waits))
        few.sql("select pg_terminate_backend(%s)", pid)
        answer = run.finish(30)
    assert answer["failure"].startswith("Revision ") and AS_IT_WAS not in answer["failure"], answer["failure"]
    assert answer["failure"].endswith(" Read the log of the server, then run again.")
    assert answer["partial"]["undo"] == ['DROP INDEX "public"."poser_ix_x";']
    assert answer["partial"]["invalid_indexes"] == ["public.poser_ix_x"], answer["partial"]
    converges(few, before)


@pytest.fixture(scope="module")
def fallible(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Spare, Database]]:
    """A server that may be stopped, and a database on it that is a template."""
    name = template(postgres, tmp_path_factory.mktemp("fallible"), whole=False)
    with spare.running(postgres, name) as found:
        yield found, Database(found.server, name)


@pytest.mark.parametrize("phase", ["in the revision", "after the COMMIT", "in the comparison"])
def test_the_database_server_is_gone(
    fallible: tuple[Spare, Database], make_server: Callable[..., Server], phase: str
) -> None:
    found, whole = fallible
    database = Postgres(found.server).create(whole.name, f"store_{len(phase)}")
    server = make_server(deployed=True, content=database)
    before = picture(database)
    with at(phase, server) as run:
        found.stop()
    answer = run.finish(60)
    found.start()
    assert answer["failure"].startswith(LOST) and AS_IT_WAS not in answer["failure"], answer["failure"]
    assert NOBODY in answer["failure"] and "they cannot be read now" in answer["failure"], answer["failure"]
    assert (database.heads() != {CORE_HEAD, POSER_HEAD}) == PHASES[phase]
    converges(server, before)


def test_somebody_rewrites_a_catalog_of_the_whole_cluster(
    fallible: tuple[Spare, Database], make_server: Callable[..., Server]
) -> None:
    """He waits for the revision's transaction, and every query of others for him: it must not wait for one of ours."""
    found, whole = fallible
    database = Postgres(found.server).create(whole.name, "store_rewritten")
    server = make_server(deployed=True, content=database)
    gate = Gate(server.root / "gate")
    server.repository.add_revision("x", upgrade=f"{TABLE}\n{gate.python}")
    # What is told of one that leaves its transaction does not fit into a pipe that nobody reads.
    server.repository.add_revision("y", upgrade="with op.get_context().autocommit_block():\n    pass")
    server.git("pull", "--quiet")
    with database.connect("postgres") as admin, ThreadPoolExecutor() as beside:
        admin.autocommit = True
        run = Upgrade(server)
        with gate.reached():
            # So that nobody has in memory what that catalog holds.
            admin.cursor().execute(f"alter role {OWNER} connection limit 100; set statement_timeout = '30s'")
            rewriting = beside.submit(admin.cursor().execute, "vacuum full pg_authid")
            # Nobody can ask the server any more. Meanwhile the run says again what it is at.
            time.sleep(6)
            gate.remove()
        answer = run.finish(60)
        rewriting.result(60)
    assert (answer["failure"], len(answer["applied"])) == ("", 2)
