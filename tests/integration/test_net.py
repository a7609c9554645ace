"""What is there when a run has ended, and who made it: revisions past their guard, other sessions, nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import environments
from support.catalogs import everything
from support.repository import Repository
from support.server import Server
from support.upgrades import Upgrade, upgrade
from support.waiting import eventually
from test_guard_ground import COLUMN, DO, TWICE

CORE_HEAD = "c2ef84c99c93"
POSER_HEAD = "b084beb32f02"
AS_IT_WAS = "the database is as it was"


def add(server: Server, name: str, python: str = "", sql: str = "") -> str:
    """Commit a revision and have it in the checkout; its id."""
    new = server.repository.add_revision(name, upgrade=python, upgrade_sql=sql)
    server.git("pull", "--quiet")
    return new


def named(answer: dict[str, Any]) -> list[str]:
    """What the policy forbids, as the answer names it."""
    return sorted(f"{each['action']} {each['object']}" for each in answer["violations"])


def own_env(repository: Repository, old: str, new: str) -> None:
    """The app's own env.py: the packaged one with its text changed."""
    packaged = environments.site_packages(environments.base("rattail")) / "rattail" / "db" / "alembic"
    text = (packaged / "env.py").read_text()
    assert old in text
    repository.commit({
        f"{repository.package}/db/alembic/env.py": text.replace(old, new),
        f"{repository.package}/db/alembic/script.py.mako": (packaged / "script.py.mako").read_text(),
    })  # fmt: skip


@pytest.fixture
def with_env(make_server: Callable[..., Server], tmp_path: Path) -> Callable[[str, str], Server]:
    """A server with everything applied, whose app has an env.py of its own."""

    def make(old: str, new: str) -> Server:
        repository = Repository.of_poser(tmp_path / "poser.git")
        own_env(repository, old, new)
        server = make_server(content="poser", repository=repository)
        server.deploy()
        section = server.alembic_section().replace("= rattail.db:alembic\n", "= poser.db:alembic\n")
        server.write_config(alembic=section)
        return server

    return make


AFTERWARDS = """        connection.close()
        with engine.begin() as after:
            # a look runs env.py, too
            after.exec_driver_sql("do $$ begin if to_regclass('poser_good') is not null then {sql}; end if; end $$")
"""
# Nothing of this is there when a guard looks, and all of it when the run has ended.
PAST = {
    "a table": ("create table if not exists gadget (id integer)", ["created table public.gadget"]),
    "a column": ("alter table product add column if not exists color text", ["created column public.product.color"]),
    "an index": ("drop index if exists product_ix_upc", ["dropped index product_ix_upc on public.product"]),
    "a version row": (
        f"delete from alembic_version where version_num = '{CORE_HEAD}'", [f"altered version row of {CORE_HEAD}"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", PAST)
def test_what_comes_after_the_last_look_of_the_guard_fails_the_run(
    with_env: Callable[[str, str], Server], what: str
) -> None:
    sql, expected = PAST[what]
    server = with_env("        connection.close()\n", AFTERWARDS.format(sql=sql))
    new = add(server, "good", sql="create table poser_good ()")
    answer = upgrade(server)
    assert set(expected) <= set(named(answer)), answer["failure"]
    assert new in server.database.heads()
    for word in (*expected, "against the policy", "by hand"):
        assert word in answer["failure"], answer["failure"]
    assert answer["changed"] and AS_IT_WAS not in answer["failure"]


def test_where_the_policy_warns_it_is_named_and_off_is_silent(with_env: Callable[[str, str], Server]) -> None:
    server = with_env("        connection.close()\n", AFTERWARDS.format(sql="create table if not exists gadget ()"))
    add(server, "good", sql="create table poser_good ()")
    answer = upgrade(server, policy="warn")
    assert (answer["failure"], named(answer)) == ("", ["created table public.gadget"])
    assert [each for each in answer["warnings"] if "created table public.gadget" in each]
    server.sql("drop table gadget")
    add(server, "more", sql="create table poser_more ()")
    answer = upgrade(server, policy="off")
    assert server.database.tables("gadget") == ["gadget"]
    assert (answer["failure"], answer["violations"]) == ("", [])
    assert not [each for each in answer["warnings"] if "gadget" in each]


COMMIT = """
def more(connection):
    connection.exec_driver_sql("{sql}")
sa.event.listen(op.get_bind(), "commit", more)
"""


@contextmanager
def busy(server: Server) -> Iterator[None]:
    """A session of somebody's that is at work all the time."""
    ended = threading.Event()

    def work() -> None:
        with server.database.connect() as connection, connection.cursor() as cursor:
            while not ended.wait(0.05):
                cursor.execute("select 1")

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("others", [False, True], ids=["alone", "with others"])
def test_what_the_revision_s_own_transaction_wrote_is_its_own(deployed: Server, others: bool) -> None:
    """Whoever else is at work: the rows of the catalogs say which transaction wrote them."""
    add(deployed, "at commit", COMMIT.format(sql="alter table product add column color text"))
    if others:
        with busy(deployed):
            answer = upgrade(deployed)
    else:
        answer = upgrade(deployed)
    assert named(answer) == ["created column public.product.color"]
    assert answer["failure"]


def test_that_others_are_at_work_excuses_nothing(with_env: Callable[[str, str], Server]) -> None:
    server = with_env("        connection.close()\n", AFTERWARDS.format(sql="create table if not exists gadget ()"))
    add(server, "good", sql="create table poser_good ()")
    with busy(server):
        answer = upgrade(server)
    assert named(answer) == ["created table public.gadget"] and answer["failure"]


BESIDE = """
with op.get_bind().engine.begin() as beside:
    beside.execute(sa.text("set transaction read write"))
    beside.execute(sa.text("{sql}"))
{more}
"""
# What stays although all is rolled back, and what is said of it.
STAYS = {
    "an index on core's, beside": (
        BESIDE.format(sql="create index poser_beside on product (size)", more=""), "created index poser_beside"
    ),
    "a table of its own, beside": (
        BESIDE.format(sql="create table poser_beside ()", more="raise KeyError()"), "table public.poser_beside"
    ),
    "a function, beside": (
        BESIDE.format(sql="create function gadget() returns int language sql as 'select 1'", more="raise KeyError()"),
        "function public.gadget()",
    ),
    "core's sequence": (
        "op.execute(\"select setval('till_seq', 77)\")\nop.execute(\"select 1 / 0\")", "sequence public.till_seq"
    ),
    "core's sequence, one further": (
        "op.execute(\"select nextval('till_seq')\")\nop.execute(\"drop table product\")", "sequence public.till_seq"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", STAYS)
def test_that_it_is_as_it_was_is_said_only_where_it_is(deployed: Server, what: str) -> None:
    python, word = STAYS[what]
    deployed.sql("create sequence till_seq")
    new = add(deployed, what, python)
    answer = upgrade(deployed)
    assert answer["failure"].startswith(f"Revision {new} ("), answer["failure"]
    assert AS_IT_WAS not in answer["failure"] and "is not as it was" in answer["failure"], answer["failure"]
    assert word in answer["failure"].split("is not as it was", 1)[1], answer["failure"]
    assert deployed.database.heads() == {CORE_HEAD, POSER_HEAD}


@pytest.mark.parametrize("policy_data", ["report", "refuse"])
def test_a_sequence_of_core_s_is_refused_with_its_rows(deployed: Server, policy_data: str) -> None:
    deployed.sql("create sequence till_seq; create table poser_x (n serial)")
    add(deployed, "moves", sql="select nextval('till_seq'); insert into poser_x default values")
    answer = upgrade(deployed, policy_data=policy_data)
    assert bool(answer["failure"]) == (policy_data == "refuse"), answer["failure"]
    assert named(answer) == (["altered value of sequence public.till_seq"] if policy_data == "refuse" else [])


def test_what_another_session_made_is_said_where_a_run_failed(deployed: Server) -> None:
    add(deployed, "slow", sql="create table poser_slow (); select pg_sleep(2); select 1 / 0")
    sleeps = "select 1 from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    with busy(deployed):
        run = Upgrade(deployed)
        eventually(lambda: deployed.sql(sleeps))
        deployed.sql("create table clerk_notes (id integer)")
        answer = run.finish()
    assert "another session, as far as can be told, has created table public.clerk_notes" in answer["failure"]
    assert answer["violations"] == []


PREPARED = "select gid from pg_prepared_xacts where database = current_database() order by 1"
# Past whatever hears what the app's connections execute.
UNHEARD = """
import psycopg2.extensions as plain
raw = op.get_bind().connection.dbapi_connection
plain.connection.cursor(raw, cursor_factory=plain.cursor).execute("prepare transaction '{name}'")
"""
PREPARES = {
    "by SQL": "op.execute(\"prepare transaction '{name}'\")",
    "by SQL, and goes on": (
        "op.execute(\"prepare transaction '{name}'\")\nop.execute('create table poser_more ()')\nraise KeyError()"
    ),
    "unheard": UNHEARD,
    "unheard, on its last breath": UNHEARD + "import os; os._exit(0)",
}


@pytest.mark.parametrize("how", PREPARES)
def test_a_transaction_that_a_revision_prepared_is_rolled_back(deployed: Server, how: str) -> None:
    name = f"it''s {deployed.database.name}"
    add(deployed, how, "op.execute('lock table product; drop table ifps_plu')\n" + PREPARES[how].format(name=name))
    answer = upgrade(deployed)
    assert answer["failure"]
    if how == "unheard":
        assert "it ended its transaction with a PREPARE TRANSACTION of its own" in answer["failure"]
    if "unheard" in how:
        assert [each for each in answer["warnings"] if "prepared transaction" in each and "rolled back" in each]
    assert deployed.sql(PREPARED) == []
    deployed.sql("set lock_timeout = '1s'; begin; lock table product, ifps_plu; rollback")


def test_what_others_have_prepared_is_left_alone(deployed: Server) -> None:
    name = deployed.database.name
    deployed.sql(f"begin; create table clerk_notes (); prepare transaction 'before {name}'")
    add(deployed, "slow", sql="create table poser_slow (); select pg_sleep(2)")
    run = Upgrade(deployed)
    sleeps = "select 1 from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    eventually(lambda: deployed.sql(sleeps))
    deployed.sql(f"begin; create table clerk_more (); prepare transaction 'meanwhile {name}'")
    answer = run.finish()
    try:
        assert (answer["failure"], answer["violations"]) == ("", [])
        assert deployed.sql(PREPARED) == [(f"before {name}",), (f"meanwhile {name}",)]
        assert [each for each in answer["warnings"] if f"ROLLBACK PREPARED 'meanwhile {name}'" in each]
    finally:
        for each in ("before", "meanwhile"):
            deployed.sql(f"rollback prepared '{each} {name}'")


BLOCK = """
with op.get_context().autocommit_block():
    op.execute("{sql}")
{more}
"""
INDEX = "create index concurrently poser_ix_note on poser_widget (description)"
# What a clerk's session does while the index is built.
CLERKS = {
    "a table": "create table clerk_notes (id integer)",
    "a column of core's": "alter table ifps_plu add column clerk_note text",
    "a function": "create function clerk_total() returns int language sql as 'select 1'",
    "a view": "create view clerk_view as select uuid from product",
}


def while_it_is_built(server: Server, new: str, clerk: str, **options: Any) -> dict[str, Any]:
    """An upgrade during which a clerk's session comes and goes while the index is built concurrently."""
    waits = f"select pid from pg_stat_activity where application_name like '% {new}' and wait_event = 'virtualxid'"
    with server.database.connect() as reader:
        reader.autocommit = False
        reader.cursor().execute("select count(*) from poser_widget")
        reader.cursor().execute("lock table poser_widget in row exclusive mode")
        run = Upgrade(server, **options)
        eventually(lambda: server.sql(waits))
        server.sql(clerk)
        reader.commit()
    return run.finish()


@pytest.mark.parametrize("what", CLERKS)
def test_what_a_clerk_makes_while_an_index_is_built_is_not_blamed_on_the_revision(deployed: Server, what: str) -> None:
    new = add(deployed, what, BLOCK.format(sql=INDEX, more='op.execute("create table poser_late ()")'))
    answer = while_it_is_built(deployed, new, CLERKS[what])
    assert (answer["failure"], answer["violations"], answer["state"]) == ("", [], "current")
    [warning] = [each for each in answer["warnings"] if "another session" in each]
    assert new in warning and "clerk" in warning


@pytest.mark.parametrize("what", CLERKS)
def test_nor_is_anybody_told_to_undo_it(deployed: Server, what: str) -> None:
    new = add(deployed, what, BLOCK.format(sql=INDEX, more='op.execute("select 1 / 0")'))
    answer = while_it_is_built(deployed, new, CLERKS[what])
    assert answer["failure"].startswith(f"Revision {new} (") and "division by zero" in answer["failure"]
    partial = answer["partial"]
    assert partial["objects"] == ["created index poser_ix_note on public.poser_widget"]
    assert partial["undo"] == ['DROP INDEX "public"."poser_ix_note";']
    assert "clerk" not in answer["failure"]
    assert [each for each in answer["warnings"] if "clerk" in each and "another session" in each]


FORBIDDEN = {
    "in the block": ('op.execute("create table gadget (id integer)")', ""),
    "by a function in it": (
        "op.execute(\"do $$ begin create table gadget (id integer); end $$\")", ""
    ),
    "after it": ("", 'op.execute("create table gadget (id integer)")'),
}  # fmt: skip


@pytest.mark.parametrize("where", FORBIDDEN)
def test_what_the_revision_does_there_itself_is_found_all_the_same(deployed: Server, where: str) -> None:
    inside, after = FORBIDDEN[where]
    new = add(deployed, where, BLOCK.format(sql=INDEX, more=f"    {inside}\n{after}"))
    answer = while_it_is_built(deployed, new, CLERKS["a table"])
    assert "created table public.gadget" in named(answer), answer["failure"]
    assert answer["failure"].startswith(f"Revision {new} (") and "against the policy" in answer["failure"]
    assert not [each for each in answer["partial"]["undo"] if "gadget" in each or "clerk" in each]


def test_what_it_had_made_before_the_block_is_its_own(deployed: Server) -> None:
    before = 'op.execute("create table gadget (id integer)")\n'
    new = add(deployed, "before", before + BLOCK.format(sql=INDEX, more=""))
    answer = while_it_is_built(deployed, new, CLERKS["a table"])
    assert named(answer) == ["created table public.gadget"], answer["failure"]


def test_core_s_own_revisions_are_free_and_the_app_s_after_them_are_not(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    repository = Repository.of_poser(tmp_path / "poser.git")
    server = make_server(content="empty", repository=repository)
    server.deploy()
    answer = upgrade(server)
    assert (answer["failure"], answer["violations"], answer["state"]) == ("", [], "current")
    other = make_server("other", content="empty", repository=repository)
    add_to = COMMIT.format(sql="alter table product add column color text")
    repository.add_revision("at commit", upgrade=add_to)
    other.deploy()
    answer = upgrade(other)
    assert named(answer) == ["created column public.product.color"], answer["failure"]


def around_core(make_server: Callable[..., Server], tmp_path: Path, sql: str) -> tuple[Server, str, str]:
    """An app whose merge revision names core's branch first: Alembic runs core's revisions between the app's two."""
    repository = Repository.of_poser(tmp_path / "poser.git")
    first = repository.add_revision("first", upgrade_sql=sql)
    merge = repository.add_revision("merge", upgrade_sql="select 1", down_revision=(CORE_HEAD, first))
    server = make_server(content="poser", repository=repository)
    server.deploy()
    server.alembic("downgrade", "rattail@-8")
    return server, first, merge


def test_core_s_own_revisions_are_free_between_the_app_s_too(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    server, first, merge = around_core(make_server, tmp_path, "create table poser_first ()")
    answer = upgrade(server, policy_data="refuse")
    assert (answer["failure"], answer["violations"], answer["data"]) == ("", [], [])
    applied = [(each["branch"], each["revision"]) for each in answer["applied"]]
    assert applied[0] == ("poser", first) and applied[-1] == ("poser", merge)
    assert {branch for branch, _ in applied[1:-1]} == {"rattail"} and len(applied) == 10


def test_what_is_deferred_is_told_of_once_where_nothing_runs_it(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    """Where it is only tried, it is there before the app's next revision begins, too."""
    server, first, merge = around_core(make_server, tmp_path, DO.format(sql=COLUMN))
    answer = upgrade(server, policy="warn", rehearsal="transaction")
    assert (answer["failure"], answer["applied"][-1]["revision"]) == ("", merge)
    for violations in (answer["rehearsal"]["violations"], answer["violations"]):
        assert [(each["revision"], each["object"]) for each in violations] == [(first, "column public.product.poser_x")]


def test_what_comes_after_core_s_own_revisions_and_the_app_s_is_not_taken_for_core_s(
    with_env: Callable[[str, str], Server],
) -> None:
    server = with_env("        connection.close()\n", AFTERWARDS.format(sql="create table if not exists gadget ()"))
    server.alembic("downgrade", "rattail@-8")
    add(server, "good", sql="create table poser_good ()")
    answer = upgrade(server)
    assert len(answer["applied"]) == 9
    assert named(answer) == ["created table public.gadget"] and answer["failure"]


def test_what_an_app_s_leaves_for_the_commit_is_not_left_to_core_s(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    """It would be there before the app's next one, and so be nobody's."""
    sql = TWICE.format(times=1, sql=COLUMN, end="end if")
    server, first, _ = around_core(make_server, tmp_path, sql)
    before = everything(server.database)
    answer = upgrade(server)
    assert answer["failure"].startswith(f"Revision {first} ("), answer["failure"]
    assert "column public.product.poser_x" in answer["failure"], answer["failure"]
    assert everything(server.database) == before


def test_nothing_is_left_of_a_run_that_only_failed(deployed: Server) -> None:
    before = everything(deployed.database)
    add(deployed, "fails", sql="create table poser_x (); select 1 / 0")
    answer = upgrade(deployed)
    assert f"Nothing was applied: {AS_IT_WAS}." in answer["failure"]
    assert everything(deployed.database) == before
