"""What is said, and what stands, after a revision that left its transaction; and after runs that were killed."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import pytest
from support.dumps import dump
from support.repository import Repository
from support.server import Server
from support.upgrades import Upgrade, upgrade
from support.waiting import eventually

CORE_HEAD = "c2ef84c99c93"
POSER_HEAD = "b084beb32f02"
INDEX = "create index concurrently poser_ix_note on poser_widget (description)"
AUTOCOMMIT = f"""
op.execute("create table poser_early (id integer)")
with op.get_context().autocommit_block():
    op.execute("{INDEX}")
"""
SESSIONS = """
select pid from pg_stat_activity
where application_name like 'rattail_schema_ext %' and datname = current_database()
"""
LOCKS = """
select pid from pg_locks join pg_database d on d.oid = database
where locktype = 'advisory' and datname = current_database()
"""


def add(server: Server, name: str, python: str) -> str:
    """Commit a revision and have it in the checkout; its id."""
    new = server.repository.add_revision(name, upgrade=python)
    server.git("pull", "--quiet")
    return new


@contextmanager
def reader(server: Server, table: str = "poser_widget") -> Iterator[Any]:
    """Somebody's transaction that has read a table."""
    with server.database.connect() as connection:
        connection.autocommit = False
        connection.cursor().execute(f"select count(*) from {table}")
        yield connection


# What a revision does, how it left its transaction, and what of it stays.
LEAVING: dict[str, tuple[str, str, list[str]]] = {
    "an error after an autocommit_block": (
        AUTOCOMMIT + 'op.execute("create table poser_late (id integer)")\nop.execute("select 1 / 0")',
        "autocommit_block",
        ["created index poser_ix_note on public.poser_widget", "created table public.poser_early"],
    ),
    "an error inside it": (
        AUTOCOMMIT + '    op.execute("select 1 / 0")',
        "autocommit_block",
        ["created index poser_ix_note on public.poser_widget", "created table public.poser_early"],
    ),
    "a violation after it": (
        AUTOCOMMIT + 'op.execute("create table gadget (id integer)")',
        "autocommit_block",
        ["created index poser_ix_note on public.poser_widget", "created table public.poser_early"],
    ),
    "a violation inside it": (
        AUTOCOMMIT + '    op.execute("create table gadget (id integer)")',
        "autocommit_block",
        [
            "created index poser_ix_note on public.poser_widget",
            "created table public.gadget",
            "created table public.poser_early",
        ],
    ),
    "an error after a COMMIT": (
        'op.execute("create table poser_early ()")\nop.execute("commit")\n'
        'op.execute("create table poser_late ()")\nop.execute("select 1 / 0")',
        "COMMIT",
        ["created table public.poser_early", "created table public.poser_late"],
    ),
    "a violation after a COMMIT": (
        'op.execute("create table poser_early ()")\nop.execute("commit")\nop.execute("create table gadget ()")',
        "COMMIT",
        ["created table public.gadget", "created table public.poser_early"],
    ),
    "the end of the process after a COMMIT": (
        'op.execute("create table poser_early ()")\nop.execute("commit")\nimport os; os._exit(0)',
        "COMMIT",
        ["created table public.poser_early"],
    ),
    "a ROLLBACK and what comes after it": (
        'op.execute("create table poser_early ()")\nop.execute("rollback")\nop.execute("create table poser_late ()")',
        "ROLLBACK",
        ["created table public.poser_late"],
    ),
}


HIDDEN = 'for word in ("create table poser_early ()", "commit"):\n    op.execute(word)\n'
LEAVING["an error after a COMMIT that is not read"] = (
    HIDDEN + 'op.execute("select 1 / 0")',
    "COMMIT",
    ["created table public.poser_early"],
)


@pytest.mark.parametrize("what", LEAVING)
def test_after_leaving_its_transaction_it_says_what_was_committed_and_how_to_undo_it(
    deployed: Server, what: str
) -> None:
    python, how, objects = LEAVING[what]
    deployed.sql("insert into poser_widget (uuid, code, description, active) values ('w', 'w', 'one', true)")
    good = deployed.repository.add_revision("good", upgrade_sql="create table poser_good (id integer)")
    before = dump(deployed.database)
    bad = add(deployed, what, python)
    answer = upgrade(deployed)
    assert answer["failure"].startswith(f"Revision {bad} ("), answer["failure"]
    words = "could not be read as a whole" if HIDDEN in python else "its transaction"
    assert [each for each in answer["warnings"] if bad in each and words in each], answer["warnings"]
    assert "Nothing was applied" not in answer["failure"]
    assert answer["retries"] == 0
    partial = answer["partial"]
    assert (partial["revision"], partial["how"], sorted(partial["objects"])) == (bad, how, objects)
    assert partial["invalid_indexes"] == []
    for each in (how, *objects, *partial["undo"]):
        assert each in answer["failure"], answer["failure"]
    # what the earlier revision made is committed with it, and is not to be undone
    committed = [] if how == "ROLLBACK" else [good]
    assert [each["revision"] for each in answer["applied"]] == committed
    assert deployed.database.heads() == {CORE_HEAD, *(committed or [POSER_HEAD])}
    assert not [statement for statement in partial["undo"] if "gadget" in statement]
    for statement in [*partial["undo"], "drop table if exists gadget"]:
        deployed.sql(statement)
    if committed:
        deployed.sql(f"drop table poser_good; update alembic_version set version_num = '{POSER_HEAD}'"
                     f" where version_num = '{good}'")  # fmt: skip
    assert dump(deployed.database) == before


def test_what_leaves_its_transaction_is_announced_by_a_look(deployed: Server) -> None:
    leaving = add(deployed, "leaves", AUTOCOMMIT)
    raw = add(deployed, "commits", 'op.execute("COMMIT")')
    vacuum = add(deployed, "vacuums", 'op.execute("vacuum poser_widget")')
    known = {"app": "poser", "env_dir": deployed.env_dir, "user": deployed.vars["rattail_schema_ext_user"]}
    paths = {"config_file": deployed.config, "source_dir": deployed.source_dir}
    given = {name: str(value) for name, value in {**known, **paths}.items()}
    answer = deployed.module("rattail_alembic_info", {**given, "backup": "none"})
    for revision, words in ((leaving, "autocommit_block"), (raw, "COMMIT"), (vacuum, "refuses inside a transaction")):
        assert [w for w in answer["warnings"] if revision in w and words.lower() in w.lower()], answer["warnings"]
    assert deployed.database.heads() == {CORE_HEAD, POSER_HEAD}


def test_what_cannot_run_in_a_transaction_changes_nothing(deployed: Server) -> None:
    before = dump(deployed.database)
    new = add(deployed, "vacuums", 'op.execute("create table poser_early ()")\nop.execute("vacuum poser_widget")')
    answer = upgrade(deployed)
    assert answer["failure"].startswith(f"Revision {new} (") and "VACUUM cannot run inside" in answer["failure"]
    assert "vacuum poser_widget" in answer["failure"]
    assert "Nothing was applied: the database is as it was." in answer["failure"]
    assert dump(deployed.database) == before


@pytest.mark.parametrize("second", ["error", "violation"])
def test_of_three_revisions_the_second_takes_all_back(deployed: Server, second: str) -> None:
    before = dump(deployed.database)
    sql = "select no_such_column from product" if second == "error" else "drop table ifps_plu"
    deployed.repository.add_revision("first", upgrade_sql="create table poser_first ()")
    bad = deployed.repository.add_revision("second", upgrade_sql=f"create table poser_second (); {sql}")
    add(deployed, "third", 'op.execute("create table poser_third ()")')
    answer = upgrade(deployed)
    file = next(deployed.versions.glob(f"{bad}*"))
    assert answer["failure"].startswith(f"Revision {bad} ({file}) failed: "), answer["failure"]
    assert ("select no_such_column from product" if second == "error" else "ifps_plu") in answer["failure"]
    assert "Nothing was applied: the database is as it was." in answer["failure"]
    assert (answer["applied"], answer["changed"], answer["partial"]) == ([], False, {})
    assert dump(deployed.database) == before


def test_a_lock_timeout_after_an_autocommit_block_is_not_tried_again(deployed: Server) -> None:
    late = 'op.execute("alter table poser_product add column late integer")'
    new = add(deployed, "late", AUTOCOMMIT + late)
    with reader(deployed, "poser_product"):
        started = time.monotonic()
        answer = upgrade(deployed, lock_timeout_seconds=1, lock_retries=20)
    assert time.monotonic() - started < 60
    assert answer["retries"] == 0
    assert f"Revision {new}" in answer["failure"] and "not tried again" in answer["failure"]
    assert answer["partial"]["how"] == "autocommit_block"


def test_a_lock_timeout_after_a_commit_is_not_tried_again(deployed: Server) -> None:
    python = 'op.execute("create table poser_early ()")\nop.execute("commit")\nop.execute("begin")\n'
    new = add(deployed, "late", python + 'op.execute("alter table poser_widget add column late integer")')
    with reader(deployed):
        answer = upgrade(deployed, lock_timeout_seconds=1, lock_retries=1)
    assert answer["retries"] == 0
    assert f"Revision {new}" in answer["failure"] and "not tried again" in answer["failure"]
    assert answer["partial"]["objects"] == ["created table public.poser_early"]


def test_inside_an_autocommit_block_there_is_no_lock_timeout(deployed: Server) -> None:
    """It would leave an invalid index behind."""
    new = add(deployed, "patient", AUTOCOMMIT)
    waits = f"select pid from pg_stat_activity where application_name like '% {new}' and wait_event_type = 'Lock'"
    with deployed.database.connect() as writer:
        writer.autocommit = False
        writer.cursor().execute("lock table poser_widget in row exclusive mode")
        run = Upgrade(deployed, lock_timeout_seconds=1)
        eventually(lambda: deployed.sql(waits))
        time.sleep(2.5)
        assert deployed.sql(waits)
        # for another database of the server's, which is none of the revision's business
        deployed.database.sql(
            "create role somebody_else; comment on role somebody_else is 'of another'", user="postgres"
        )
        writer.commit()
    answer = run.finish()
    deployed.database.sql("drop role somebody_else", user="postgres")
    assert (answer["failure"], answer["state"], answer["retries"]) == ("", "current", 0)
    assert deployed.sql("select indisvalid from pg_index where indexrelid = 'poser_ix_note'::regclass") == [(True,)]


@pytest.mark.parametrize("finished", [False, True])
def test_an_index_that_an_interrupted_run_left_is_dropped_and_built_again(deployed: Server, finished: bool) -> None:
    late = 'op.execute("select pg_sleep(30)")' if finished else ""
    new = add(deployed, "index", f'with op.get_context().autocommit_block():\n    op.execute("{INDEX}")\n{late}')
    valid = "select indisvalid from pg_index where indexrelid = to_regclass('poser_ix_note')"
    waits = f"select pid from pg_stat_activity where application_name like '% {new}' and wait_event ~ '{{}}'"
    run = Upgrade(deployed)
    with deployed.database.connect() as other:
        other.autocommit = False
        if not finished:
            other.cursor().execute("lock table poser_widget in row exclusive mode")
        eventually(lambda: deployed.sql(waits.format("PgSleep" if finished else "virtualxid")))
        run.process.kill()
        run.process.wait(10)
        eventually(lambda: deployed.sql(SESSIONS) == [])
    assert deployed.sql(valid) == [(finished,)]
    file = next(deployed.versions.glob(f"{new}*"))
    file.write_text(file.read_text().replace("pg_sleep(30)", "pg_sleep(0)"))
    oid = deployed.sql("select 'poser_ix_note'::regclass::oid")
    answer = upgrade(deployed)
    assert (answer["failure"], answer["state"]) == ("", "current")
    assert [each for each in answer["warnings"] if "poser_ix_note" in each and "built again" in each]
    assert deployed.sql(valid) == [(True,)] and deployed.sql("select 'poser_ix_note'::regclass::oid") != oid


def test_an_index_of_that_name_stays_where_the_revision_does_not_mind_it(deployed: Server) -> None:
    sql = INDEX.replace("concurrently", "concurrently if not exists")
    add(deployed, "index", f'with op.get_context().autocommit_block():\n    op.execute("{sql}")')
    deployed.sql(INDEX)
    oid = deployed.sql("select 'poser_ix_note'::regclass::oid")
    answer = upgrade(deployed)
    assert (answer["failure"], answer["state"]) == ("", "current")
    assert deployed.sql("select 'poser_ix_note'::regclass::oid") == oid


ROWS = 5000
WIDGETS = "select count(*), md5(string_agg(uuid || code, ',' order by uuid)) from poser_widget"


def add_widgets(server: Server) -> None:
    server.sql(
        "insert into poser_widget (uuid, code, description, active)"
        f" select 'w' || n, 'c' || n, 'widget ' || n, true from generate_series(1, {ROWS}) n"
    )


def test_killed_at_ten_moments_of_a_long_upgrade_the_next_run_converges_and_the_rows_are_there(
    deployed: Server,
) -> None:
    add_widgets(deployed)
    checkout = Repository(deployed.source_dir)
    rows = deployed.sql(WIDGETS)
    moments = random.Random(3)
    stopped = 0
    for turn in range(10):
        nap = 'op.execute("select pg_sleep(0.2)")\n'
        steps = [
            f'op.execute("alter table poser_widget add column a{turn} integer default 1")',
            f'op.execute("update poser_widget set a{turn} = length(description)")',
            "with op.get_context().autocommit_block():\n"
            f'    op.execute("create index concurrently poser_ix_a{turn} on poser_widget (a{turn})")',
            f'op.execute("create table poser_kept_{turn} as select uuid, a{turn} from poser_widget")',
            f'op.execute("alter table poser_widget alter a{turn} set not null")',
            f'op.execute("create index poser_ix_b{turn} on poser_kept_{turn} (uuid)")',
        ]
        for number, step in enumerate(steps):
            last = checkout.add_revision(f"turn {turn} {number}", upgrade=nap + step + "\n" + nap, commit=False)
        run = Upgrade(deployed, allow_uncommitted_revisions=True)
        eventually(lambda: deployed.sql(SESSIONS))
        time.sleep(moments.uniform(0, 5))
        run.process.send_signal(signal.SIGKILL if turn % 2 else signal.SIGTERM)
        run.process.wait(30)
        eventually(lambda: deployed.sql(SESSIONS) == [])
        assert deployed.sql(LOCKS) == []
        assert deployed.sql(WIDGETS) == rows
        stopped += last not in deployed.database.heads()
        answer = upgrade(deployed, allow_uncommitted_revisions=True)
        assert (answer["failure"], answer["state"]) == ("", "current")
        assert deployed.database.heads() == {CORE_HEAD, last}
        assert deployed.sql(WIDGETS) == rows
        assert deployed.sql(f"select count(*), min(a{turn}) > 1 from poser_kept_{turn}") == [(ROWS, True)]
        assert deployed.sql("select count(*) from pg_index where not indisvalid") == [(0,)]
    assert stopped >= 5


def kill_controller(process: subprocess.Popen[bytes]) -> None:
    """End Ansible at once, its workers with it; to the module on the host that is a connection that was lost."""
    everyone: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        everyone = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for each in everyone:
        with suppress(psutil.NoSuchProcess):
            if any("ansible-playbook" in word for word in each.cmdline()):
                each.kill()
    process.wait(30)


def test_the_controller_is_killed_at_ten_moments_the_next_run_converges_and_the_rows_are_there(
    deployed: Server,
) -> None:
    add_widgets(deployed)
    checkout = Repository(deployed.source_dir)
    rows = deployed.sql(WIDGETS)
    lies = {"rattail_schema_ext_source_repo": "", "rattail_schema_ext_source_version": None}
    moments = random.Random(4)
    lost = 0
    for turn in range(10):
        for number in range(3):
            nap = 'op.execute("select pg_sleep(0.4)")'
            column = f'op.execute("alter table poser_widget add column c{turn}_{number} integer default {number}")'
            last = checkout.add_revision(f"turn {turn} {number}", upgrade=f"{nap}\n{column}\n{nap}", commit=False)
        controller = deployed.start_role(lies)
        # from the lock on to the look afterwards
        eventually(lambda: deployed.sql(SESSIONS))
        time.sleep(moments.uniform(0, 5))
        lost += controller.poll() is None
        kill_controller(controller)
        run = deployed.run_role(lies)
        assert (run.rc, run.result["state"]) == (0, "current"), run.output
        assert deployed.database.heads() == {CORE_HEAD, last}
        assert deployed.sql(WIDGETS) == rows
        assert deployed.sql(f"select count(*) from poser_widget where c{turn}_2 = 2") == [(ROWS,)]
        # the server ends a session a moment after its client has gone
        eventually(lambda: deployed.sql(SESSIONS) == [])
        assert deployed.sql(LOCKS) == []
    assert lost >= 5
