"""What is written down of each run and of what is applied: where the database is, else in files."""

from __future__ import annotations

import getpass
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rattail_alembic.observe import database_checks
from ansible.module_utils.rattail_alembic.postgres.contents import look_at
from ansible.module_utils.rattail_alembic.postgres.url import parse_url
from ansible.module_utils.rattail_alembic.problem import Refused
from ansible.module_utils.rattail_alembic.revisions.applied import Applied
from support.postgres import GUARDED, OWNER, PASSWORD, Postgres
from support.server import Server
from support.states import state
from support.upgrades import Upgrade, Upgrades, baseline, revert, upgrade

CORE_HEAD = "c2ef84c99c93"
POSER_FIRST = "a010a6c92761"
POSER_HEAD = "b084beb32f02"


@pytest.fixture(params=["database", "files"])
def somewhere(deployed: Server, request: pytest.FixtureRequest) -> Server:
    """A server whose role may make a schema in the database, or may not."""
    if request.param == "files":
        deployed.database.forbid_schemas()
    return deployed


def in_database(server: Server) -> bool:
    return bool(server.sql("select 1 from pg_namespace where nspname = 'rattail_schema_ext'"))


def history(server: Server) -> list[dict[str, Any]]:
    if in_database(server):
        return [
            line for (line,) in server.sql("select entry from rattail_schema_ext.run order by entry->>'time', ctid")
        ]
    return [json.loads(line) for line in place(server, "history.jsonl").read_text().splitlines()]


def kept(server: Server, *, core: bool = False) -> dict[str, dict[str, Any]]:
    """What is kept of revisions, those without a checksum (core's) apart."""
    if in_database(server):
        found = dict(server.sql("select revision, entry from rattail_schema_ext.revision where app = 'poser'"))
    else:
        found = json.loads(place(server, "checksums.json").read_text())["revisions"]
    return {name: entry for name, entry in found.items() if core or "checksum" in entry}


def believed(server: Server) -> dict[str, Applied]:
    """What a look believes of it."""
    return database_checks.history(look_at(parse_url(server.database.url), ("person",), "poser"))


def place(server: Server, name: str) -> Path:
    return server.env_dir / "app" / "schema-history" / f"poser.{name}"


def add(server: Server, name: str, sql: str, undo: str = "") -> str:
    new = server.repository.add_revision(name, upgrade_sql=sql, downgrade_sql=undo)
    server.git("pull", "--quiet")
    return new


def test_each_run_adds_a_line_of_what_it_did(somewhere: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "clerk")
    first = add(somewhere, "crates", "create table poser_crate (); select pg_sleep(0.2)")
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    answer = upgrade(somewhere)
    assert (answer["failure"], answer["violations"]) == ("", [])
    assert answer["drift"] == ["The database has the table poser_crate, the models have not."]
    assert not any("history" in each for each in answer["warnings"]), answer["warnings"]
    [line] = history(somewhere)
    assert began <= line["time"] <= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert (line["app"], line["host"], line["user"], line["login"]) == (
        "poser", os.uname().nodename, getpass.getuser(), "clerk",
    )  # fmt: skip
    assert line["database"]["name"] == somewhere.database.name
    assert (set(line["from"]), set(line["to"])) == ({CORE_HEAD, POSER_HEAD}, {CORE_HEAD, first})
    assert list(line["applied"]) == [first] and 0.2 <= line["applied"][first] < 10
    commit = somewhere.repository.commit_id
    assert (line["commit"], line["failed"]) == (commit, "")
    [file] = somewhere.versions.glob(f"{first}*")
    entry = kept(somewhere)[first]
    assert {name: entry[name] for name in ("down_revision", "file", "at", "commit")} == {
        "down_revision": [POSER_HEAD], "file": file.name, "at": line["time"], "commit": commit,
    }  # fmt: skip
    # who had applied these, and when, nobody knows
    every = kept(somewhere, core=True)
    assert len(every) == 276 and every[POSER_FIRST]["branch_labels"] == ["poser"]
    assert {name for name, each in every.items() if "at" in each or "commit" in each} == {first}

    bad = add(somewhere, "bad", "select 1 / 0")
    failed = upgrade(somewhere)
    assert "the database is as it was" in failed["failure"]
    assert len(history(somewhere)) == 2 and history(somewhere)[0] == line and kept(somewhere, core=True) == every
    line = history(somewhere)[1]
    assert (line["from"], line["applied"]) == (line["to"], {})
    assert f"Revision {bad}" in line["failed"] and "division by zero" in line["failed"]
    # in one place and not in two
    assert in_database(somewhere) is not place(somewhere, "").parent.exists()
    if not in_database(somewhere):
        for name in ("history.jsonl", "checksums.json"):
            assert place(somewhere, name).stat().st_mode & 0o777 == 0o640
        assert place(somewhere, "").parent.stat().st_mode & 0o777 == 0o750


def test_a_revert_and_a_baseline_say_what_they_did(somewhere: Server) -> None:
    new = add(somewhere, "crates", "create table poser_crate ()", undo="drop table poser_crate")
    assert upgrade(somewhere)["failure"] == ""
    assert set(kept(somewhere)) == {POSER_FIRST, POSER_HEAD, new}
    assert revert(somewhere, POSER_HEAD)["failure"] == ""
    line = history(somewhere)[-1]
    assert list(line["reverted"]) == [new] and line["reverted"][new] >= 0
    assert (line["applied"], line["stamped"]) == ({}, [])
    assert (set(line["from"]), set(line["to"])) == ({CORE_HEAD, new}, {CORE_HEAD, POSER_HEAD})
    assert line["backup_file"].endswith(".full.dump")
    # what is not applied may be edited, and is applied as it is by then
    before = kept(somewhere)
    assert set(before) == {POSER_FIRST, POSER_HEAD}
    file = next(somewhere.versions.glob(f"{new}*"))
    file.write_text(file.read_text() + "# edited\n")
    somewhere.sql("create table poser_crate ()")
    answer = baseline(somewhere, new)
    assert (answer["failure"], answer["warnings"]) == ("", [])
    line = history(somewhere)[-1]
    assert (line["stamped"], line["applied"], line["reverted"]) == ([new], {}, {})
    after = kept(somewhere)
    assert set(after) == {*before, new} and before.items() <= after.items()


def test_who_waited_and_found_nothing_left_to_do_keeps_what_is_applied(somewhere: Server) -> None:
    """Another host has applied it meanwhile."""
    new = add(somewhere, "crates", "create table poser_crate (); select pg_sleep(3)")
    run = Upgrade(somewhere, history_dir=str(somewhere.root / "of the other host"))
    deadline = time.monotonic() + 60
    while not somewhere.sql(
        "select 1 from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    answer = upgrade(somewhere)
    assert run.finish()["failure"] == ""
    assert (answer["failure"], answer["applied"], len(answer["lock"]["holders"])) == ("", [], 1)
    assert set(kept(somewhere)) == {POSER_FIRST, POSER_HEAD, new}
    assert not place(somewhere, "history.jsonl").exists()


def test_files_of_earlier_runs_are_moved_to_where_the_database_is(deployed: Server) -> None:
    """Of each host, and nothing of them is lost: not a line that was cut off, nor what was odd in one."""
    deployed.database.forbid_schemas()
    add(deployed, "crates", "create table poser_crate ()")
    assert upgrade(deployed)["failure"] == ""
    lines, entries = history(deployed), kept(deployed, core=True)
    sums, runs = place(deployed, "checksums.json"), place(deployed, "history.jsonl")
    # as an earlier release wrote them
    [label, text] = POSER_FIRST, json.dumps({name: each["checksum"] for name, each in kept(deployed).items()})
    sums.write_text(f'{{"revisions": {text}}}')
    with runs.open("a") as file:
        file.write('{}\n{"failed": "\\u0000 \\udc80"}\n{"cut o')
    deployed.database.sql(f'grant create on database "{deployed.database.name}" to {OWNER}', user="postgres")
    # a look moves nothing, and reads what is there
    edited = next(deployed.versions.glob(f"{label}*"))
    before, whole = state(deployed), edited.read_text()
    edited.write_text(f"{whole}# edited\n")
    assert any(f"move {sums} away" in each for each in upgrade(deployed)["warnings"])
    edited.write_text(whole)
    assert state(deployed) == before
    new = add(deployed, "boxes", "create table poser_box ()")
    assert not any("history" in each for each in upgrade(deployed)["warnings"])
    assert not sums.exists() and not runs.exists()
    found = [line for (line,) in deployed.sql("select entry from rattail_schema_ext.run")]
    assert found[:4] == [*lines, {}, {"failed": "? ?"}, '{"cut o'] and list(found[4]["applied"]) == [new]
    after = kept(deployed, core=True)
    # nobody knew any more who had applied it
    known = {name: {key: entry[key] for key in entry if key not in ("at", "commit")} for name, entry in entries.items()}
    assert {name: each for name, each in after.items() if name != new} == known
    # another host of the fleet comes with files of its own
    runs.parent.mkdir(exist_ok=True)
    runs.write_text(json.dumps(lines[0]) + '\n{"host": "other"}\n')
    sums.write_text(json.dumps({"revisions": {new: "00ff", "feedfacecafe": entries[POSER_FIRST]}}))
    add(deployed, "bags", "create table poser_bag ()")
    assert not any("history" in each for each in upgrade(deployed)["warnings"])
    assert not sums.exists() and not runs.exists()
    assert len(history(deployed)) == len(found) + 2
    assert kept(deployed)[new] == after[new] and "feedfacecafe" in kept(deployed)


def test_a_host_of_the_fleet_knows_what_another_one_applied(deployed: Server) -> None:
    """Of a file that was edited there, say; and nothing of that is in the one's own files."""
    new = add(deployed, "crates", "create table poser_crate ()")
    assert upgrade(deployed)["failure"] == ""
    other = {"history_dir": str(deployed.root / "of the other host")}
    assert upgrade(deployed, **other)["warnings"] == []
    [file] = deployed.versions.glob(f"{new}*")
    text = file.read_text()
    file.write_text(f"{text}# edited\n")
    [warning] = upgrade(deployed, **other)["warnings"]
    assert warning.startswith(f"The file of revision {new} ({file}) was changed after it had been applied")
    # to the letter
    forget = warning.partition("forgotten (")[2].partition(")")[0]
    deployed.sql(forget)
    add(deployed, "boxes", "create table poser_box ()")
    assert not any("was changed after" in each for _ in range(2) for each in upgrade(deployed)["warnings"])
    assert not (deployed.root / "of the other host").exists()


DEEDS = (
    "drop schema rattail_schema_ext cascade",
    "create table rattail_schema_ext.poser_x ()",
    "create view rattail_schema_ext_run as select 1",
    "insert into rattail_schema_ext.run values ('poser', 1, '{}')",
    "truncate rattail_schema_ext.revision",
)


def test_a_revision_that_touches_it_is_against_the_policy_whatever_the_prefixes(deployed: Server) -> None:
    add(deployed, "crates", "create table poser_crate ()")
    assert upgrade(deployed)["failure"] == ""
    before, new = kept(deployed, core=True), add(deployed, "deed", "select 1")
    [file] = deployed.versions.glob(f"{new}*")
    text, run = file.read_text(), Upgrades(deployed)
    try:
        for deed in DEEDS:
            file.write_text(text.replace("'select 1'", repr(deed)))
            failure = run(prefixes=["poser", "rattail", "rattail_schema_ext"])["failure"]
            assert f"Revision {new}" in failure and "is against the policy" in failure, failure
            assert "rattail_schema_ext" in failure.partition("is against the policy")[2], failure
            assert kept(deployed, core=True) == before and history(deployed)[-1]["failed"] == failure, deed
        # what is only warned about is done
        file.write_text(text.replace("'select 1'", repr(DEEDS[3])))
        assert run(policy="warn")["failure"] == "" and {} in history(deployed)
    finally:
        run.close()


# what was done → what the refusal says of it
HOSTILE = {
    "grant insert on rattail_schema_ext.run to {other}": "{other} may write there",
    "grant update (entry) on rattail_schema_ext.revision to {other}": "{other} may write there",
    "grant trigger on rattail_schema_ext.revision to public": "{other}",
    "grant create on schema rattail_schema_ext to {other}": "{other} may write there",
    "alter table rattail_schema_ext.run owner to {other}": "{other} may write there, or owns",
    "alter schema rattail_schema_ext owner to {other}": "{other} may write there, or owns",
    "alter table rattail_schema_ext.revision rename to r; "
    "create view rattail_schema_ext.revision as select * from rattail_schema_ext.r": "a view",
    "create function t() returns trigger language plpgsql as 'begin raise exception ''ran''; end'; "
    "create trigger t before insert on rattail_schema_ext.run execute function t()": "a trigger",
    "alter table rattail_schema_ext.revision enable row level security": "row security",
    "update rattail_schema_ext.revision set entry = '{{\"down_revision\": 7}}'": "down_revision is 7",
    "update rattail_schema_ext.revision set entry = '[\"\\u001b[2J\"]'": "an entry is",
}
AFRESH = """
create schema rattail_schema_ext;
create table rattail_schema_ext.run (like template.run including all);
create table rattail_schema_ext.revision (like template.revision including all);
insert into rattail_schema_ext.revision select * from template.revision;
"""


def test_what_another_role_can_write_is_not_believed(deployed: Server, postgres: Postgres) -> None:
    add(deployed, "crates", "create table poser_crate ()")
    assert upgrade(deployed)["failure"] == ""
    other = f"other_{deployed.database.name}"
    postgres.admin.sql(f"create role {other}")
    deployed.sql("alter schema rattail_schema_ext rename to template")
    add(deployed, "boxes", "create table poser_box ()")
    try:
        for sql, says in HOSTILE.items():
            deployed.sql(AFRESH)
            deployed.database.sql(sql.format(other=other), user="postgres")
            with pytest.raises(Refused) as refused:
                believed(deployed)
            problem = refused.value.problem
            assert problem.code == "history_foreign" and says.format(other=other) in problem.cause, (sql, problem)
            assert "\x1b" not in str(problem)
            # to the letter
            deployed.database.sql(problem.remedy.rpartition(": ")[2].rstrip("."), user="postgres")
            assert believed(deployed) == {}
            deployed.database.sql("drop schema rattail_schema_ext_aside cascade", user="postgres")
        deployed.sql(AFRESH)
        assert set(believed(deployed)) == set(kept(deployed, core=True))
        deployed.sql(f"grant insert on rattail_schema_ext.run to {other}")
        answer = upgrade(deployed)
        assert [each["code"] for each in answer["problems"]] == ["history_foreign"] and not answer["changed"]
        # who may write the version table, too, could tell lies anyway
        deployed.sql(f"grant all on rattail_schema_ext.run, rattail_schema_ext.revision, alembic_version to {other}")
        assert upgrade(deployed)["failure"] == ""
    finally:
        deployed.database.sql(f"drop owned by {other}", user="postgres")
        postgres.admin.sql(f"drop role {other}")


def test_default_privileges_do_not_open_it(deployed: Server, postgres: Postgres) -> None:
    other = f"other_{deployed.database.name}"
    postgres.admin.sql(f"create role {other}")
    try:
        deployed.sql(f"alter default privileges grant all on tables to {other}, public")
        deployed.sql(f"alter default privileges grant all on schemas to {other}")
        for name in ("crates", "boxes"):
            add(deployed, name, f"create table poser_{name} ()")
            answer = upgrade(deployed)
            assert answer["failure"] == "" and not any("history" in each for each in answer["warnings"])
        assert len(history(deployed)) == 2
    finally:
        deployed.database.sql(f"drop owned by {other}", user="postgres")
        postgres.admin.sql(f"drop role {other}")


def test_the_app_s_own_role_reads_what_the_migrating_one_keeps(deployed: Server) -> None:
    """Of another one it has the right to read, and no other; where that is gone, it is told how to have it again."""
    deployed.sql(f"grant select, insert, update, delete on all tables in schema public to {GUARDED}")
    url = deployed.database.url.replace(f"//{OWNER}@", f"//{GUARDED}:{PASSWORD}@")
    deployed.write_config(url=url, alembic=deployed.alembic_section())
    section = f"\n[rattail.db]\nmigration.url = {deployed.database.url}\n"
    deployed.config.write_text(deployed.config.read_text().replace("\n[rattail.db]\n", section, 1))
    option = {"database_option": "rattail.db:migration.url"}
    new = add(deployed, "crates", "create table poser_crate ()")
    answer = upgrade(deployed, **option)
    assert answer["failure"] == "" and not any("history" in each for each in answer["warnings"]), answer
    assert new in kept(deployed) and len(history(deployed)) == 1
    [file] = deployed.versions.glob(f"{new}*")
    text = file.read_text()
    file.write_text(f"{text}# edited\n")
    assert any("was changed after" in each for each in upgrade(deployed, **option)["warnings"])
    file.write_text(text)
    deployed.sql(f"revoke usage on schema rattail_schema_ext from {GUARDED}")
    failure = upgrade(deployed, **option)["failure"]
    assert f"The role {GUARDED} may not read the history" in failure
    deployed.sql(failure.rpartition("owner: ")[2].rstrip("."))
    assert upgrade(deployed, **option)["failure"] == ""
