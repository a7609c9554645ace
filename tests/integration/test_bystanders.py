"""Others who are at work on the same database: nobody is blamed for them, and nothing of theirs is to be undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from adversary.arena import AS_IT_WAS
from support.gate import Gate
from support.repository import Repository
from support.server import Server
from support.upgrades import Upgrade, upgrade
from support.waiting import eventually
from test_faults import CORE_HEAD, LEFT
from test_net import named, own_env

# What a clerk's sessions do, each as short as can be, and what is said of it.
CLERK = {
    "create table clerk_notes (id integer)": "created table public.clerk_notes",
    "drop table till_line": "dropped table public.till_line",
    "alter table drawer add column clerk_note text": "created column public.drawer.clerk_note",
    "comment on table office.desk is 'of the clerk'": "created comment on table office.desk",
    "grant select on product to guarded": "altered grant on table public.product",
    "select nextval('till_seq')": "",
    "insert into drawer values (7, 'a clerk was here')": "",
}
BUILD = 'op.execute("create index concurrently poser_ix_x on poser_widget (description)")'
TRESPASS = "alter table product add column color text"


def body(when: str, gate: Gate, ending: str) -> str:
    """A revision that waits at ``gate``: in its transaction, outside of it, or when that is committed."""
    table = 'op.execute("create table poser_x (id integer)")'
    if when == "outside":
        block = f"with op.get_context().autocommit_block():\n    {gate.python}\n    {BUILD}"
        return f"{table}\n{block}\n{ending}"
    wait = gate.after_the_commit if when == "after the COMMIT" else gate.python
    return f"{table}\n{wait}\n{ending}"


@contextmanager
def waiting(server: Server, when: str, ending: str = "", **options: Any) -> Iterator[Upgrade]:
    """An upgrade that waits, and goes on in the end."""
    gate = Gate(server.root / "gate")
    server.repository.add_revision("x", upgrade=body(when, gate, ending))
    server.git("pull", "--quiet")
    run = Upgrade(server, **options)
    with gate.reached():
        yield run


def work(server: Server) -> None:
    for statement in CLERK:
        server.sql(statement)


def blames_nobody(answer: dict[str, Any], *, said: bool = True) -> None:
    """What the clerk did is neither a violation nor to be undone; ``said`` is whether it is told nevertheless."""
    assert answer["violations"] == [] and answer["data"] == []
    told = answer["failure"] + " ".join(answer["warnings"])
    for words in filter(None, CLERK.values()):
        assert not said or words.split(" ", 1)[1] in told, (words, told)
    partial = answer["partial"]
    for each in ("clerk", "till_line", "desk", "grant"):
        assert not [words for words in partial.get("objects", []) + partial.get("undo", []) if each in words], partial


WHEN = ["in the revision", "outside", "after the COMMIT"]


@pytest.mark.parametrize("data", ["report", "refuse"])
@pytest.mark.parametrize("when", WHEN)
def test_a_run_that_comes_through(few: Server, when: str, data: str) -> None:
    with waiting(few, when, policy_data=data) as run:
        work(few)
    answer = run.finish()
    assert (answer["failure"], answer["state"]) == ("", "current")
    blames_nobody(answer)
    assert few.sql(LEFT) == []


@pytest.mark.parametrize("when", WHEN[:2])
def test_a_run_that_fails(few: Server, when: str) -> None:
    with waiting(few, when, 'op.execute("select 1 / 0")') as run:
        work(few)
    answer = run.finish()
    assert answer["failure"].startswith("Revision ") and "division by zero" in answer["failure"]
    assert AS_IT_WAS not in answer["failure"]
    blames_nobody(answer, said=when == "in the revision")
    wanted = ['DROP INDEX "public"."poser_ix_x";', 'DROP TABLE "public"."poser_x";'] if when == "outside" else []
    assert sorted(answer["partial"].get("undo", [])) == wanted


OUTSIDE = {
    "in the block": ("outside", f'with op.get_context().autocommit_block():\n    op.execute("{TRESPASS}")'),
    "after a COMMIT of its own": (
        "in the revision", f'op.execute("commit")\nop.execute("{TRESPASS}")\nop.execute("commit")'
    ),
    "beside": (
        "in the revision",
        "with op.get_bind().engine.begin() as beside:\n    beside.exec_driver_sql('set transaction read write')\n"
        f"    beside.exec_driver_sql('{TRESPASS}')",
    ),
    "by another program": (
        "in the revision",
        "import subprocess, sys\nprogram = 'import sys, psycopg2; c = psycopg2.connect(sys.argv[1]); '"
        " 'c.cursor().execute(sys.argv[2]); c.commit()'\n"
        f"subprocess.run([sys.executable, '-c', program, op.get_bind().connection.dsn, '{TRESPASS}'], check=True)",
    ),
    "after the last look": (
        "in the revision",
        "from sqlalchemy import event, pool\nengine, done = op.get_bind().engine, []\ndef more(*_):\n"
        "    if not done:\n        done.append(1)\n"
        f"        with engine.begin() as beside:\n            beside.exec_driver_sql('{TRESPASS}')\n"
        "event.listen(pool.Pool, 'checkin', more)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", OUTSIDE)
def test_what_the_revision_does_outside_of_its_transaction_is_its_own_whoever_else_is_at_work(
    few: Server,
    how: str,
) -> None:
    when, ending = OUTSIDE[how]
    with waiting(few, when, ending) as run:
        few.sql("create table clerk_notes (id integer)")
    answer = run.finish()
    assert "created column public.product.color" in named(answer), answer["failure"]
    assert answer["failure"] and AS_IT_WAS not in answer["failure"]
    assert not [each for each in answer["partial"].get("undo", []) if "clerk" in each]


def test_of_two_runs_of_the_same_revision_neither_is_blamed(few: Server) -> None:
    with waiting(few, "in the revision") as first:
        second = Upgrade(few)
        waits = "select 1 from pg_stat_activity where application_name like '% waits' and datname = current_database()"
        eventually(lambda: few.sql(waits))
    answers = [run.finish() for run in (first, second)]
    told = [(each["failure"], each["changed"], each["violations"]) for each in answers]
    assert told == [("", True, []), ("", False, [])]
    assert not [words for each in answers for words in each["warnings"] if "another session" in words]


def test_of_two_apps_with_version_tables_of_their_own_neither_is_blamed(
    few: Server,
    make_server: Callable[..., Server],
    tmp_path: Path,
) -> None:
    repository = Repository.of_poser(tmp_path / "acme_co.git", "acme_co")
    own_env(repository, "target_metadata=target_metadata)", "target_metadata=target_metadata, version_table='acme_v')")
    acme = make_server("acme", content=few.database, app="acme_co", repository=repository)
    acme.deploy()
    acme.write_config(alembic=acme.alembic_section().replace("= rattail.db:alembic\n", "= acme_co.db:alembic\n"))
    few.sql(f"create table acme_v (version_num varchar(32) primary key); insert into acme_v values ('{CORE_HEAD}')")
    with waiting(few, "after the COMMIT") as run:
        other = upgrade(acme)
    answer = run.finish()
    for each in (other, answer):
        assert (each["failure"], each["violations"], each["state"]) == ("", [], "current")
    assert few.database.tables("acme\\_co\\_widget") == ["acme_co_widget"]
