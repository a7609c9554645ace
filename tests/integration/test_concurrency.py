"""Several runs at once, and others at work on the same tables."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest
from support import environments
from support.postgres import Database
from support.server import Server
from support.upgrades import Upgrade, upgrade
from support.waiting import eventually

CORE_HEAD = "c2ef84c99c93"
POSER_HEAD = "b084beb32f02"
ROLE_SESSIONS = "select pid, application_name from pg_stat_activity where application_name like 'rattail_schema_ext %'"


LOCKS = (
    "from pg_locks join pg_database d on d.oid = database"
    " where locktype = 'advisory' and granted and datname = current_database()"
)


def sessions(database: Database) -> list[str]:
    """The names of the role's own sessions in the database."""
    query = f"{ROLE_SESSIONS} and datname = current_database() order by 2"
    return [name for _, name in database.sql(query)]


def in_revision(database: Database, revision: str) -> list[str]:
    """The sessions that run a revision."""
    return [name for name in sessions(database) if name.endswith(f" {revision}")]


@pytest.mark.parametrize("turn", range(5))
def test_of_twenty_runs_at_once_on_an_empty_database_one_applies(make_server: Callable[..., Server], turn: int) -> None:
    server = make_server(content="empty")
    slow = server.repository.add_revision(f"slow {turn}", upgrade_sql="create table poser_slow (); select pg_sleep(2)")
    server.deploy()
    runs = [Upgrade(server) for _ in range(20)]
    answers = [run.finish(180) for run in runs]
    assert [answer["failure"] for answer in answers if answer["failure"]] == []
    assert sorted(answer["changed"] for answer in answers) == [False] * 19 + [True]
    assert {answer["state"] for answer in answers} == {"current"}
    [winner] = [answer for answer in answers if answer["changed"]]
    assert len(winner["applied"]) == 276
    assert [answer["applied"] for answer in answers if answer is not winner] == [[]] * 19
    assert server.database.heads() == {CORE_HEAD, slow}
    assert sessions(server.database) == []


def test_who_waits_says_for_whom(deployed: Server) -> None:
    slow = deployed.repository.add_revision("slow", upgrade_sql="create table poser_slow (); select pg_sleep(8)")
    deployed.git("pull", "--quiet")
    first = Upgrade(deployed)
    # and the session that has the lock says so, too, which it does once a revision is not over at once
    eventually(lambda: [name for name in sessions(deployed.database) if f" {slow} 20" in name])
    impatient = upgrade(deployed, lock_wait_seconds=0.5)
    assert impatient["failure"].startswith("Another run is at work on the database ")
    for word in (
        "did not end within 0.5 s",
        "rattail_schema_ext of poser on ",
        "pid ",
        "user rattail",
        "since 20",
        slow,
    ):
        assert word in impatient["failure"], impatient["failure"]
    assert "rattail_schema_ext_lock_wait_seconds" in impatient["failure"]
    assert not impatient["changed"]
    patient = upgrade(deployed)
    assert (patient["failure"], patient["changed"], patient["state"]) == ("", False, "current")
    assert patient["lock"]["waited_seconds"] > 0.5
    assert [holder["phase"] in (slow, "looks") for holder in patient["lock"]["holders"]] == [True]
    assert any(warning.startswith("Waited ") for warning in patient["warnings"])
    for each in (impatient, patient):
        [told] = each["told"]
        assert told.startswith("Waiting for rattail_schema_ext of poser on ") and slow in told, told
    assert first.finish()["changed"]


BESIDES = "create table poser_late (); alter table product add column poser_late integer"


def test_a_revision_that_comes_while_a_run_waits_is_guarded_as_well(deployed: Server) -> None:
    """The run that was waited for failed, so that the version rows do not tell of anything."""
    slow = deployed.repository.add_revision("slow", upgrade_sql="create table poser_slow (); select pg_sleep(30)")
    deployed.git("pull", "--quiet")
    first = Upgrade(deployed)
    eventually(lambda: in_revision(deployed.database, slow))
    second = Upgrade(deployed)
    eventually(lambda: in_revision(deployed.database, "waits"))
    late = deployed.repository.add_revision("late", upgrade_sql=BESIDES)
    deployed.git("pull", "--quiet")
    file = next(deployed.versions.glob(f"{slow}*"))
    file.write_text(file.read_text().replace("pg_sleep(30)", "pg_sleep(0)"))
    first.process.kill()
    answer = second.finish()
    assert [each["revision"] for each in answer["pending"]] == [slow, late]
    assert f"Revision {late} " in answer["failure"] and "against the policy" in answer["failure"], answer["failure"]
    assert (answer["changed"], deployed.database.heads()) == (False, {CORE_HEAD, POSER_HEAD})


@pytest.mark.parametrize("rehearsal", ["none", "transaction"])
def test_a_revision_that_comes_after_the_plan_is_not_run(deployed: Server, rehearsal: str) -> None:
    """Here it comes when the app is imported, which only the migration does."""
    new = deployed.repository.add_revision("new", upgrade_sql="create table poser_new ()")
    deployed.git("pull", "--quiet")
    late = deployed.repository.add_revision("late", upgrade_sql=BESIDES)
    [file] = deployed.repository.versions.glob(f"{late}*")
    code = f"import shutil\nshutil.copy({str(file)!r}, {str(deployed.versions)!r})\n"
    (deployed.source_dir / "poser" / "db" / "__init__.py").write_text(code)
    answer = upgrade(deployed, rehearsal=rehearsal)
    assert [each["revision"] for each in answer["pending"]] == [new]
    assert f"other revisions than were planned (also {late})" in answer["failure"], answer["failure"]
    assert "Run again" in answer["failure"] and "by hand" not in answer["failure"]
    assert (answer["changed"], deployed.database.heads()) == (False, {CORE_HEAD, POSER_HEAD})
    again = upgrade(deployed, policy="warn")
    assert (again["failure"], [each["revision"] for each in again["applied"]]) == ("", [new, late])


def test_a_run_that_waits_does_not_hang_an_index_that_is_built_concurrently(deployed: Server) -> None:
    """Who waits *in* a lock has a snapshot, for the end of which CREATE INDEX CONCURRENTLY would wait."""
    concurrently = """
op.execute("select pg_sleep(5)")
with op.get_context().autocommit_block():
    op.execute("create index concurrently ix_poser_widget_note on poser_widget (description)")
"""
    new = deployed.repository.add_revision("index", upgrade=concurrently)
    deployed.git("pull", "--quiet")
    first = Upgrade(deployed)
    eventually(lambda: in_revision(deployed.database, new))
    second = Upgrade(deployed)
    assert first.finish(60)["failure"] == ""
    answer = second.finish(60)
    assert answer["failure"] == ""
    assert answer["lock"]["holders"], "it came too late to wait, so nothing was shown"
    assert deployed.sql("select indisvalid from pg_index where indexrelid = 'ix_poser_widget_note'::regclass") == [
        (True,)
    ]


ALTER = "alter table poser_widget add column crates integer"


def test_readers_wait_no_longer_than_the_lock_timeout_and_the_upgrade_comes_through(deployed: Server) -> None:
    new = deployed.repository.add_revision("crates", upgrade_sql=ALTER)
    deployed.git("pull", "--quiet")
    with deployed.database.connect() as reader:
        reader.autocommit = False
        cursor = reader.cursor()
        cursor.execute("set application_name = 'nightly report'")
        cursor.execute("select count(*) from poser_widget")
        run = Upgrade(deployed, lock_timeout_seconds=1, lock_retries=20)
        eventually(lambda: in_revision(deployed.database, new))
        waits = []
        until = time.monotonic() + 4
        while time.monotonic() < until:
            started = time.monotonic()
            deployed.sql("select count(*) from poser_widget")
            waits.append(time.monotonic() - started)
        reader.commit()
    answer = run.finish()
    assert max(waits) < 2.5, waits  # the timeout, and what a slow machine adds
    assert max(waits) > 0.3, "nobody had to wait, so nothing was shown"
    assert (answer["failure"], answer["changed"], answer["state"]) == ("", True, "current")
    assert answer["retries"] >= 1


def test_when_the_retries_are_used_up_it_says_who_stood_in_the_way(deployed: Server) -> None:
    new = deployed.repository.add_revision("crates", upgrade_sql=f"create table poser_early (); {ALTER}")
    deployed.git("pull", "--quiet")
    with deployed.database.connect() as reader:
        reader.autocommit = False
        cursor = reader.cursor()
        cursor.execute("set application_name = 'nightly report'")
        cursor.execute("select count(*) from poser_widget")
        pid = reader.info.backend_pid
        answer = upgrade(deployed, lock_timeout_seconds=2, lock_retries=1)
    assert answer["retries"] == 1
    assert not answer["changed"] and deployed.database.heads() == {CORE_HEAD, POSER_HEAD}
    assert deployed.database.tables("poser\\_early") == []
    for word in (new, "lock", f"pid {pid}", "user rattail", "nightly report", "idle in transaction", "tried 2 times"):
        assert word in answer["failure"], answer["failure"]
    [blocker] = answer["blockers"]
    assert (blocker["pid"], blocker["application"]) == (pid, "nightly report")
    assert blocker["transaction_seconds"] >= 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_killed_leaves_no_lock_and_the_next_one_converges(deployed: Server, how: signal.Signals) -> None:
    slow = deployed.repository.add_revision("slow", upgrade_sql="create table poser_slow (); select pg_sleep(30)")
    deployed.git("pull", "--quiet")
    run = Upgrade(deployed)
    eventually(lambda: in_revision(deployed.database, slow))
    run.process.send_signal(how)
    run.process.wait(10)
    eventually(lambda: sessions(deployed.database) == [], 10)
    assert deployed.sql(f"select pid {LOCKS}") == []
    assert deployed.database.heads() == {CORE_HEAD, POSER_HEAD}
    file = next(deployed.versions.glob(f"{slow}*"))
    file.write_text(file.read_text().replace("pg_sleep(30)", "pg_sleep(0)"))
    answer = upgrade(deployed)
    assert (answer["failure"], answer["changed"]) == ("", True)
    assert deployed.database.heads() == {CORE_HEAD, slow}


# As with a PostgreSQL before 14, which does not notice in the middle of a statement that its client is gone.
BLIND = "set client_connection_check_interval = 0"
PLAIN = f'op.execute("{BLIND}; create table poser_slow (); select pg_sleep(8)")'
CONCURRENT = f"""
with op.get_context().autocommit_block():
    op.execute("{BLIND}")
    op.execute("create index concurrently ix_poser_widget_note on poser_widget (description)")
"""


@pytest.mark.parametrize("upgrade_code", [PLAIN, CONCURRENT], ids=["plain", "concurrently"])
def test_what_a_killed_run_still_has_the_server_do_is_waited_for(deployed: Server, upgrade_code: str) -> None:
    slow = deployed.repository.add_revision("slow", upgrade=upgrade_code)
    deployed.git("pull", "--quiet")
    with deployed.database.connect() as reader:
        # for whose end an index that is built concurrently waits
        reader.autocommit = False
        reader.cursor().execute("lock table poser_widget in row exclusive mode")
        first = Upgrade(deployed)
        at_work = "select pid from pg_stat_activity where query ~ 'pg_sleep|^create index' and pid <> pg_backend_pid()"
        at_work += " and datname = current_database() and state = 'active'"
        [(pid,)] = eventually(lambda: deployed.sql(at_work))
        second = Upgrade(deployed, lock_timeout_seconds=1, lock_retries=0)
        eventually(lambda: in_revision(deployed.database, "waits"))
        first.process.kill()
        eventually(
            lambda: len(deployed.sql(f"select pid {LOCKS}")) == 1 and not in_revision(deployed.database, "begins")
        )
        time.sleep(2)
        assert deployed.sql(at_work) == [(pid,)]
        reader.commit()
    answer = second.finish()
    assert (answer["failure"], answer["retries"], answer["state"]) == ("", 0, "current")
    last = answer["lock"]["holders"][-1]
    assert (last["pid"], last["phase"]) == (pid, slow)
    assert deployed.database.heads() == {CORE_HEAD, slow}
    assert (
        deployed.sql("select relname from pg_class c join pg_index i on c.oid = indexrelid where not indisvalid") == []
    )


def test_a_lock_that_is_lost_before_the_migration_begins(deployed: Server) -> None:
    """While the lock's own connection drops what an interrupted run has left."""
    new = deployed.repository.add_revision("index", upgrade=CONCURRENT)
    deployed.git("pull", "--quiet")
    deployed.sql("create index ix_poser_widget_note on poser_widget (description)")
    with deployed.database.connect() as reader:
        reader.autocommit = False
        reader.cursor().execute("lock table poser_widget in access share mode")
        run = Upgrade(deployed)
        dropping = f"pid in (select pid {LOCKS}) and query ~ '^drop index'"
        eventually(lambda: deployed.sql(f"select pid from pg_stat_activity where {dropping}"))
        deployed.sql(f"select pg_terminate_backend(pid) {LOCKS}")
        answer = run.finish(30)
    assert answer["failure"].startswith("The connection that holds the lock was lost: "), answer["failure"]
    assert not answer["changed"] and new not in deployed.database.heads()


def test_one_version_table_has_one_lock_whether_its_schema_is_named_or_not(deployed: Server) -> None:
    packaged = environments.site_packages(environments.base("rattail")) / "rattail" / "db" / "alembic"
    env = (packaged / "env.py").read_text()
    named = "target_metadata=target_metadata, version_table_schema='public')"
    deployed.repository.commit({
        "poser/db/alembic/env.py": env.replace("target_metadata=target_metadata)", named),
        "poser/db/alembic/script.py.mako": (packaged / "script.py.mako").read_text(),
    })  # fmt: skip
    slow = deployed.repository.add_revision("slow", upgrade_sql="create table poser_slow (); select pg_sleep(12)")
    deployed.git("pull", "--quiet")
    first = Upgrade(deployed)
    eventually(lambda: in_revision(deployed.database, slow))
    section = deployed.alembic_section()
    deployed.write_config(alembic=section.replace("= rattail.db:alembic\n", "= poser.db:alembic\n"))
    answer = upgrade(deployed, lock_wait_seconds=0.5)
    assert answer["failure"].startswith("Another run is at work on the database "), answer["failure"]
    assert first.finish()["failure"] == ""


def test_a_run_whose_lock_is_lost_does_not_go_on(deployed: Server) -> None:
    slow = deployed.repository.add_revision("slow", upgrade_sql="create table poser_slow (); select pg_sleep(20)")
    deployed.git("pull", "--quiet")
    run = Upgrade(deployed)
    eventually(lambda: in_revision(deployed.database, slow))
    deployed.sql(f"select pg_terminate_backend(pid) {LOCKS}")
    answer = run.finish(15)
    assert "The connection that holds the lock was lost" in answer["failure"]
    eventually(lambda: sessions(deployed.database) == [], 10)
    assert deployed.database.heads() == {CORE_HEAD, POSER_HEAD}


def test_the_url_s_own_options_do_not_overrule_the_limits(deployed: Server) -> None:
    tell = (
        "with op.get_bind().engine.connect() as other:\n    [[beside]] = other.execute(sa.text('show lock_timeout'))\n"
        "op.execute(f\"create table poser_limits as select current_setting('lock_timeout') as lock, \"\n"
        "    \"current_setting('statement_timeout') as statement, current_setting('application_name') as name, \"\n"
        "    f\"current_setting('client_connection_check_interval') as gone, '{beside}' as beside\")"
    )
    new = deployed.repository.add_revision("limits", upgrade=tell)
    deployed.git("pull", "--quiet")
    options = "&options=-c%%20lock_timeout%%3D0%%20-c%%20statement_timeout%%3D1h&application_name=till"
    deployed.write_config(url=f"{deployed.database.url}{options}", alembic=deployed.alembic_section())
    answer = upgrade(deployed, lock_timeout_seconds=7, statement_timeout_seconds=90)
    assert answer["failure"] == ""
    [(lock, statement, name, gone, beside)] = deployed.sql("select * from poser_limits")
    assert (lock, statement, gone, beside) == ("7s", "90s", "1s", "7s")
    assert name.startswith("rattail_schema_ext poser@") and name.endswith(f" {new}")
