"""Version rows for databases that were migrated by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.repository import Repository
from support.runs import Run
from support.server import HOST, Server
from support.states import difference, refused, settled, state
from support.upgrades import baseline, upgrade

CORE_HEAD = "c2ef84c99c93"
POSER_FIRST = "a010a6c92761"
POSER_HEAD = "b084beb32f02"


def run(server: Server, revisions: list[str], *, check: bool = False, **more: Any) -> Run:
    variables = {"rattail_schema_ext_baseline_revision": revisions}
    return server.run_role({**variables, **more}, playbook="baseline", check=check, diff=check)


@pytest.mark.parametrize("revisions", [["heads"], [CORE_HEAD, POSER_HEAD]])
def test_rows_are_written_for_what_is_there(deployed: Server, revisions: list[str]) -> None:
    deployed.sql("delete from alembic_version")
    before = state(deployed)
    promised = run(deployed, revisions, check=True)
    assert (promised.rc, promised.recaps[HOST].changed) == (0, 1), promised.output
    assert difference(before, state(deployed)) == []
    assert f"+{POSER_HEAD}" in promised.output
    done = run(deployed, revisions)
    assert (done.rc, done.recaps[HOST].changed) == (0, 1), done.output
    assert done.result["stamped"] == sorted([CORE_HEAD, POSER_HEAD])
    assert deployed.database.heads() == deployed.current() == {CORE_HEAD, POSER_HEAD}
    settled(deployed)


def test_a_branch_whose_tables_were_made_by_hand_gets_its_row(deployed: Server) -> None:
    deployed.sql("delete from alembic_version where version_num = %s", POSER_HEAD)
    # what an upgrade would need is not asked for: a baseline makes no backup
    upgrades: dict[str, Any] = {
        "rattail_schema_ext_backup": "full",
        "rattail_schema_ext_postgresql_bin_dir": "/nowhere",
    }
    done = run(deployed, [POSER_HEAD], **upgrades)
    assert (done.rc, done.result["stamped"]) == (0, [POSER_HEAD]), done.output
    settled(deployed)


@pytest.mark.parametrize("missing", [POSER_HEAD, CORE_HEAD])
def test_heads_completes_what_is_stamped_in_part(deployed: Server, missing: str) -> None:
    deployed.sql("delete from alembic_version where version_num = %s", missing)
    before = state(deployed)
    promised = run(deployed, ["heads"], check=True)
    assert (promised.rc, promised.result["stamped"]) == (0, [missing]), promised.output
    assert difference(before, state(deployed)) == []
    done = run(deployed, ["heads"])
    assert (done.rc, done.recaps[HOST].changed, done.result["stamped"]) == (0, 1, [missing]), done.output
    assert deployed.database.heads() == deployed.current() == {CORE_HEAD, POSER_HEAD}
    for check in (True, False):
        again = run(deployed, ["heads"], check=check)
        assert (again.rc, again.recaps[HOST].changed, again.result["stamped"]) == (0, 0, []), again.output
    settled(deployed)


def test_of_each_branch_that_it_completes_it_wants_the_same_evidence(deployed: Server) -> None:
    deployed.sql("delete from alembic_version where version_num = %s", POSER_HEAD)
    deployed.sql("drop table poser_widget")
    refuse(deployed, ["heads"], "lacks tables", "poser_widget")


def test_a_row_that_contradicts_it_is_not_overwritten(deployed: Server) -> None:
    deployed.sql("update alembic_version set version_num = %s where version_num = %s", POSER_FIRST, POSER_HEAD)
    refuse(deployed, ["heads"], f"{POSER_HEAD} is pending", "for the main entry point")
    deployed.sql("update alembic_version set version_num = 'feedfacecafe' where version_num = %s", POSER_FIRST)
    refuse(deployed, ["heads"], "feedfacecafe")


def refuse(server: Server, revisions: list[str], *words: str) -> None:
    before = state(server)
    for check in (True, False):
        done = run(server, revisions, check=check)
        assert done.rc == 2, done.output
        for word in words:
            assert word in done.message, done.message
    assert difference(before, state(server)) == []


def test_without_the_tables_nothing_is_stamped(deployed: Server) -> None:
    deployed.sql("delete from alembic_version")
    deployed.sql("drop table poser_product")
    refuse(deployed, ["heads"], "lacks tables", "poser_product")


def test_what_is_there_of_a_later_revision_is_asked_about(deployed: Server) -> None:
    deployed.sql("delete from alembic_version")
    refuse(deployed, [CORE_HEAD], "poser_product", POSER_FIRST)


HIDDEN = """
meta = sa.MetaData()
sa.Table("poser_" + bytes.fromhex("637261746573").decode(), meta, sa.Column("id", sa.Integer))
meta.create_all(op.get_bind())
"""


def test_a_branch_of_which_no_table_can_be_told_has_no_evidence_in_another_s(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    repository = Repository.of_poser(tmp_path / "poser.git")
    repository.commit({str(file.relative_to(repository.path)): None for file in repository.versions.glob("*.py")})
    new = repository.add_revision("crates", upgrade=HIDDEN)
    server = make_server(content="core", repository=repository)
    server.deploy()
    server.sql("delete from alembic_version")
    answer = baseline(server, "heads")
    assert f"No table is known that {new} of poser.db:alembic/versions made" in answer["failure"], answer
    assert (answer["changed"], server.database.heads()) == (False, set())
    answer = baseline(server, CORE_HEAD)
    assert (answer["failure"], answer["stamped"], server.database.heads()) == ("", [CORE_HEAD], {CORE_HEAD})


def test_a_table_in_a_schema_of_its_own_is_looked_for_there(deployed: Server) -> None:
    table = 'op.create_table("bin", sa.Column("id", sa.Integer), schema="poser_store")'
    new = deployed.repository.add_revision("bins", upgrade=table)
    deployed.git("pull", "--quiet")
    deployed.sql("delete from alembic_version; create table bin (id integer)")
    answer = baseline(deployed, "heads")
    assert "lacks tables" in answer["failure"] and "poser_store.bin" in answer["failure"], answer["failure"]
    deployed.sql("create schema poser_store; create table poser_store.bin (id integer)")
    assert f"has poser_store.bin, which revision {new}" in baseline(deployed, CORE_HEAD, POSER_HEAD)["failure"]
    answer = baseline(deployed, "heads")
    assert (answer["failure"], answer["warnings"]) == ("", [])
    assert deployed.database.heads() == {CORE_HEAD, new}


def test_what_no_table_tells_of_is_warned_about(deployed: Server) -> None:
    new = deployed.repository.add_revision("color", upgrade_sql="alter table poser_widget add color text")
    deployed.git("pull", "--quiet")
    deployed.sql("delete from alembic_version")
    answer = baseline(deployed, "heads")
    assert (answer["failure"], answer["stamped"]) == ("", sorted([CORE_HEAD, new]))
    [warning] = answer["warnings"]
    assert f"do not show that all of {new} was applied" in warning


def test_a_table_that_is_dropped_where_nobody_can_read_it_is_not_called_missing_for_sure(deployed: Server) -> None:
    loop = 'for name in ("poser_product",):\n    op.drop_table(name)'
    new = deployed.repository.add_revision("no products", upgrade=loop)
    deployed.git("pull", "--quiet")
    deployed.alembic("upgrade", "heads")
    deployed.sql("delete from alembic_version")
    refuse(deployed, ["heads"], "lacks tables", "poser_product", f"Where {new} drops them", "use alembic stamp")
    # the remedy helps
    deployed.alembic("stamp", "heads")
    settled(deployed)


def test_what_is_applied_or_unknown_is_refused(deployed: Server) -> None:
    refuse(deployed, [POSER_HEAD], f"has {POSER_HEAD}")
    deployed.sql("delete from alembic_version")
    refuse(deployed, ["feedfacecafe"], "no revision that the code knows", POSER_HEAD)


# what is there of the branch that has no row → the revision to name; none, where no revision makes just that
WITHOUT_A_ROW: dict[str, tuple[str, str]] = {
    "all tables": ("select 1", POSER_HEAD),
    "those of the first revision": ("drop table poser_widget, poser_widget_version", POSER_FIRST),
    "others": ("drop table poser_product", ""),
    "a part of the second's": ("drop table poser_widget", ""),
}


@pytest.mark.parametrize("there", WITHOUT_A_ROW)
def test_an_upgrade_says_what_to_do_where_a_branch_has_tables_and_no_row(deployed: Server, there: str) -> None:
    sql, named = WITHOUT_A_ROW[there]
    deployed.sql("delete from alembic_version where version_num = %s", POSER_HEAD)
    deployed.sql(sql)
    message = refused(deployed, "but no version row of poser.db:alembic/versions")
    if not named:
        assert "Drop or rename them" in message, message
        deployed.sql("drop table if exists poser_product, poser_widget, poser_widget_version")
    else:
        assert f'rattail_schema_ext_baseline_revision: ["{named}"]' in message, message
        done = run(deployed, [named])
        assert (done.rc, done.result["stamped"]) == (0, [named]), done.output
    forth = deployed.run_role()
    assert (forth.rc, deployed.database.heads()) == (0, {CORE_HEAD, POSER_HEAD}), forth.output


def test_that_is_said_of_an_integration_s_branch_too(deployed: Server) -> None:
    deployed.sql("create table corepos_vendor (uuid varchar(32))")
    message = refused(deployed, "corepos_vendor", vars={"rattail_schema_ext_integrations": ["rattail_corepos"]})
    assert "no version row of rattail_corepos.db:alembic/versions" in message, message


# a first revision that takes what is there as it is, or out of its way
WITH_CARE = {
    "asks": "if not sa.inspect(op.get_bind()).has_table('poser_crate'):\n    op.create_table('poser_crate')",
    "in SQL": "op.execute('create table if not exists poser_crate ()')",
    "drops it": "op.drop_table('poser_crate')\nop.create_table('poser_crate')",
}


@pytest.mark.parametrize("care", WITH_CARE)
def test_a_revision_that_expects_its_tables_is_applied(
    make_server: Callable[..., Server], tmp_path: Path, care: str
) -> None:
    repository = Repository.of_poser(tmp_path / "poser.git")
    repository.commit({str(file.relative_to(repository.path)): None for file in repository.versions.glob("*.py")})
    new = repository.add_revision("crates", upgrade=WITH_CARE[care], down_revision=None)
    server = make_server(content="core", repository=repository)
    server.deploy()
    server.sql("create table poser_crate ()")
    answer = upgrade(server)
    assert (answer["failure"], server.database.heads()) == ("", {CORE_HEAD, new}), answer


@pytest.mark.parametrize("needs", ["its own branch", "core's"])
def test_two_heads_after_one_row_get_theirs(deployed: Server, needs: str) -> None:
    add = deployed.repository.add_revision
    how: dict[str, Any] = {"down_revision": POSER_HEAD} if needs == "its own branch" else {"down_revision": None}
    if needs == "core's":
        how["depends_on"] = CORE_HEAD
    new = {add(f"add {name}", upgrade_sql=f"create table poser_{name} ()", **how) for name in ("bin", "box")}
    deployed.git("pull", "--quiet")
    deployed.sql("create table poser_bin (); create table poser_box ()")
    answer = baseline(deployed, *sorted(new))
    assert (answer["failure"], set(answer["stamped"])) == ("", new)
    assert deployed.database.heads() == new | ({POSER_HEAD} if needs == "core's" else {CORE_HEAD})
    settled(deployed)
