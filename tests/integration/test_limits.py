"""What docs/security.md says: limits, so that the page changes when one of them is mended, and the modes of files."""

from __future__ import annotations

import re

import pytest
from adversary.arena import Arena, Case
from adversary.games import SUPERUSER_GAMES
from adversary.ways import executed
from support.places import ROOT
from support.server import Server
from support.upgrades import upgrade

TEXT = (ROOT / "docs" / "security.md").read_text()
PAGE = " ".join(TEXT.split())


def unnoticed(server: Server, sql: str) -> None:
    """A revision does this, and the run says nothing of it."""
    server.repository.add_revision("go past it", upgrade_sql=sql)
    server.git("pull", "--quiet")
    answer = upgrade(server)
    said = (answer["failure"], answer["state"], answer["violations"], answer["data"], answer["warnings"])
    assert said == ("", "current", [], [], [])


_BLOCK = "with op.get_context().autocommit_block():\n    op.execute({!r})"
_LOWER = "create or replace function pg_catalog.lower(text) returns text language internal immutable strict as 'upper'"
# what the page says → a revision of a superuser's
UNSEEN = {
    "(`pg_catalog`, ": executed(_LOWER),
    ", `information_schema`, ": executed("drop view information_schema.character_sets"),
    "`pg_toast`)": executed("create function pg_toast.gadget() returns integer language sql as 'select 1'"),
    "grants included": executed("grant execute on function pg_catalog.pg_read_file(text) to public"),
    "internal triggers of foreign keys": executed("delete from pg_trigger where tgrelid = 'till_line'::regclass"),
    "(`track_counts`)": executed("set track_counts = off", "select lo_put(4711, 0, 'poser')"),
    "other databases": executed("alter database template1 set work_mem = '8MB'"),
    "the rest of the server: other databases": _BLOCK.format("create database poser_db"),
    "`ALTER SYSTEM`": _BLOCK.format("alter system set work_mem = '8MB'"),
    "replication slots": executed("select pg_create_physical_replication_slot('poser_slot')"),
}


@pytest.mark.parametrize("words", UNSEEN)
def test_what_only_a_superuser_can_do(superuser: Arena, words: str) -> None:
    assert words in PAGE
    seen = superuser.run(Case(UNSEEN[words]))
    assert (seen.answer["failure"], seen.answer["violations"], seen.answer["data"]) == ("", [], [])
    assert seen.after.foreign_changes(seen.before)


def test_a_program_of_the_server_s(superuser: Arena) -> None:
    assert "the change stays, is named as another session's, and fails nothing" in PAGE
    seen = superuser.run(SUPERUSER_GAMES["program-psql"])
    [said] = seen.answer["warnings"]
    assert seen.answer["failure"] == "" and "another session committed column public.product.poser_x" in said, said
    assert seen.after.foreign_changes(seen.before)


def test_the_password_of_a_role(cloning: Server) -> None:
    assert "`ALTER ROLE … PASSWORD`" in PAGE
    unnoticed(cloning, "alter role current_user password 'changed it'")
    password = "select rolpassword is not null from pg_authid where rolname = %s"
    assert cloning.database.sql(password, cloning.database.user, user="postgres") == [(True,)]


TAKE_AWAY = "delete from pg_temp.rattail_schema_ext_rehearsal; commit"
GONE_ABOUT = {
    "past the driver's cursors": "import psycopg2\ncursor = op.get_bind().connection.cursor()\n"
    f"psycopg2.extensions.cursor.execute(cursor, {TAKE_AWAY!r})",
    "in what looks like a literal": "run = op.get_bind().exec_driver_sql\n"
    "run('set standard_conforming_strings = off')\n"
    f"""run(r"select 'a\\''; {TAKE_AWAY}; select ''")""",
}


@pytest.mark.parametrize("way", GONE_ABOUT)
def test_a_rehearsal_in_a_transaction_that_is_gone_about(deployed: Server, way: str) -> None:
    assert "`rehearsal: transaction`" in PAGE
    deployed.repository.add_revision(way, upgrade=f"op.execute('create table poser_crate (id int)')\n{GONE_ABOUT[way]}")
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed, rehearsal="transaction")
    assert "cannot be rehearsed in a transaction" in answer["failure"], answer["failure"]
    assert deployed.database.tables("poser\\_crate") == ["poser_crate"]


def test_what_is_written_has_the_mode_that_the_page_says(deployed: Server) -> None:
    deployed.repository.add_revision("add crates", upgrade_sql="create table poser_crate (id integer)")
    deployed.database.forbid_schemas()
    deployed.write_config()
    deployed.config.chmod(0o660)
    run = deployed.run_role({"rattail_schema_ext_backup": "full", "rattail_schema_ext_config_backup": True})
    assert run.rc == 0, run.output
    app = deployed.config.parent
    history, backups = app / "schema-history", app / "backups"
    [dump], [manifest], [copy] = (backups.glob("*.dump"), backups.glob("*.json"), app.glob("rattail.conf.*~"))
    wanted = {
        "the history": (history, history / "poser.history.jsonl"),
        "what is known of applied revisions": (history / "poser.checksums.json",),
        "backups": (backups, dump),
        "what is known of each backup": (manifest,),
    }
    rows = re.findall(r"^\| (.*?) \| .* \| (.*?) \|$", TEXT, re.MULTILINE)
    for what, paths in wanted.items():
        modes = [f"{path.stat().st_mode & 0o7777:04o}" for path in paths]
        assert [re.findall("0[0-7]{3}", mode) for each, mode in rows if each == what] == [modes], what
    assert {path.stat().st_mode & 0o777 for path in (deployed.config, copy)} == {0o660}
