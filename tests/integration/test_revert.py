"""Undo of the app's own revisions, and of nobody else's."""

from __future__ import annotations

from typing import Any

import pytest
from support.runs import Run
from support.server import HOST, Server
from support.states import difference, state
from support.upgrades import revert, upgrade

CORE_HEAD = "c2ef84c99c93"
POSER_FIRST = "a010a6c92761"
POSER_HEAD = "b084beb32f02"


def run(server: Server, to: str, confirm: str, *, check: bool = False, **more: Any) -> Run:
    variables = {
        "rattail_schema_ext_backup": "full",
        "rattail_schema_ext_revert_to": to,
        "rattail_schema_ext_revert_confirm": confirm,
    }
    return server.run_role({**variables, **more}, playbook="revert", check=check, diff=check)


def test_it_goes_back_to_the_revision_named_and_to_nothing_before(deployed: Server) -> None:
    core = deployed.database.tables("product%")
    confirm = f"poser@{POSER_FIRST}"
    before = state(deployed)
    promised = run(deployed, POSER_FIRST, confirm, check=True)
    assert (promised.rc, promised.recaps[HOST].changed) == (0, 1), promised.output
    assert difference(before, state(deployed)) == []
    assert [each["revision"] for each in promised.result["reverted"]] == [POSER_HEAD]
    assert f"-poser {POSER_HEAD}" in promised.output

    done = run(deployed, POSER_FIRST, confirm)
    assert (done.rc, done.recaps[HOST].changed) == (0, 1), done.output
    assert [each["revision"] for each in done.result["reverted"]] == [POSER_HEAD]
    assert deployed.database.heads() == deployed.current() == {CORE_HEAD, POSER_FIRST}
    assert done.result["backup"]["file"].endswith(".full.dump")
    assert deployed.database.tables("poser%") == ["poser_product"]
    assert deployed.database.tables("product%") == core

    again = run(deployed, POSER_FIRST, confirm)
    assert (again.rc, again.recaps[HOST].changed, again.result["reverted"]) == (0, 0, []), again.output

    forth = deployed.run_role()
    assert forth.rc == 0 and deployed.database.heads() == {CORE_HEAD, POSER_HEAD}, forth.output


def test_base_takes_all_of_the_app_and_nothing_of_core(deployed: Server) -> None:
    done = run(deployed, "base", "poser@base")
    assert done.rc == 0, done.output
    assert [each["revision"] for each in done.result["reverted"]] == [POSER_HEAD, POSER_FIRST]
    assert deployed.database.heads() == {CORE_HEAD}
    assert deployed.database.tables("poser%") == []
    assert len(deployed.database.tables("product%")) > 3


REFUSED: dict[str, tuple[str, str, dict[str, Any], list[str]]] = {
    "not confirmed": (POSER_FIRST, "", {}, ["rattail_schema_ext_revert_confirm: poser@" + POSER_FIRST]),
    "confirmed for another": (POSER_FIRST, f"poser@{POSER_HEAD}", {}, ["drops", "poser@" + POSER_FIRST]),
    "unknown": ("feedfacecafe", "poser@feedfacecafe", {}, ["no revision of poser", POSER_FIRST]),
    "core's": (CORE_HEAD, f"poser@{CORE_HEAD}", {}, ["no revision of poser"]),
    "no backup": (POSER_FIRST, f"poser@{POSER_FIRST}", {"rattail_schema_ext_backup": "none"}, ["backup is none"]),
    "no policy": (POSER_FIRST, f"poser@{POSER_FIRST}", {"rattail_schema_ext_policy": "off"}, ["policy is off"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_meant_or_not_safe_is_refused(deployed: Server, case: str) -> None:
    to, confirm, more, words = REFUSED[case]
    before = state(deployed)
    done = run(deployed, to, confirm, **more)
    assert done.rc == 2, done.output
    for word in words:
        assert word in done.message, done.message
    assert difference(before, state(deployed)) == []


def test_a_downgrade_that_touches_core_is_rolled_back(deployed: Server) -> None:
    greedy = "op.execute('drop table poser_crate'); op.execute('alter table product drop column notes')"
    new = deployed.repository.add_revision("add crates", upgrade_sql="create table poser_crate ()", downgrade=greedy)
    assert deployed.run_role().rc == 0
    done = run(deployed, POSER_HEAD, f"poser@{POSER_HEAD}")
    assert done.rc == 2 and f"Revision {new}" in done.message and "column public.product.notes" in done.message, (
        done.message
    )
    assert deployed.database.heads() == {CORE_HEAD, new}
    assert deployed.database.tables("poser\\_crate") == ["poser_crate"]
    [[there]] = deployed.sql(
        "select count(*) from information_schema.columns where table_name = 'product' and column_name = 'notes'"
    )
    assert there == 1


CRATE = "create table poser_crate (id integer)"
BESIDE = "with op.get_context().autocommit_block():\n    op.execute('drop index concurrently poser_widget_ix')\n"
# what of a downgrade is committed before it fails
LEFT = {"autocommit_block": BESIDE, "COMMIT": "op.execute('commit')\n"}


@pytest.mark.parametrize("how", LEFT)
def test_what_a_downgrade_committed_before_it_failed_is_announced_and_told(deployed: Server, how: str) -> None:
    python = f"op.execute('drop table poser_crate')\n{LEFT[how]}op.execute('select 1 / 0')"
    index = "create index poser_widget_ix on poser_widget (code)"
    first = deployed.repository.add_revision("crates", upgrade_sql=f"{CRATE}; {index}", downgrade=python)
    last = deployed.repository.add_revision("boxes", upgrade_sql="create table poser_box ()")
    deployed.git("pull", "--quiet")
    assert upgrade(deployed)["failure"] == ""
    answer = revert(deployed, POSER_HEAD)
    [announced] = [each for each in answer["warnings"] if "its transaction" in each]
    assert announced.startswith(f"Revision {first} (") and how in announced, announced
    message = answer["failure"]
    assert "the database is as it was" not in message and "division by zero" in message, message
    assert f"It had left its transaction ({how})" in message, message
    assert "dropped table public.poser_crate" in message, message
    assert (answer["partial"]["revision"], answer["partial"]["how"]) == (first, how)
    assert deployed.database.tables("poser\\_crate") == []
    # with the undo of the one before it, row and all
    assert [each["revision"] for each in answer["reverted"]] == [last]
    assert "1 revision was undone and committed before it." in message, message
    assert deployed.database.heads() == {CORE_HEAD, first}


def test_where_nothing_of_a_downgrade_was_committed_that_is_said(deployed: Server) -> None:
    failing = "op.execute('drop table poser_crate; select 1 / 0')"
    deployed.repository.add_revision("crates", upgrade_sql=CRATE, downgrade=failing)
    deployed.git("pull", "--quiet")
    assert upgrade(deployed)["failure"] == ""
    message = revert(deployed, POSER_HEAD)["failure"]
    assert "Nothing was undone: the database is as it was." in message, message
    assert deployed.database.tables("poser\\_crate") == ["poser_crate"]


def add_merge(server: Server, *, between: bool) -> tuple[str, str, str]:
    """Two revisions after poser's head, the second of which needs the first, and a merge of the two, all applied.

    ``between``: the first has one after it, which is merged in its place.
    """
    add = server.repository.add_revision
    first = add("bins", upgrade_sql="create table poser_bin ()", downgrade_sql="drop table poser_bin",
                down_revision=POSER_HEAD)  # fmt: skip
    last = add("labels", down_revision=first) if between else first
    second = add("boxes", upgrade_sql="create table poser_box ()", downgrade_sql="drop table poser_box",
                 down_revision=POSER_HEAD, depends_on=first)  # fmt: skip
    add("merge", down_revision=(last, second))
    server.git("pull", "--quiet")
    assert upgrade(server)["failure"] == ""
    return first, last, second


@pytest.mark.parametrize("parent", ["needed", "in need"])
def test_where_alembic_would_leave_rows_that_imply_each_other_it_does_not_begin(deployed: Server, parent: str) -> None:
    first, _, second = add_merge(deployed, between=False)
    to = first if parent == "needed" else second
    before = state(deployed)
    for check in (True, False):
        done = run(deployed, to, f"poser@{to}", check=check)
        assert done.rc == 2 and f"To revert poser to {to} is not for Alembic" in done.message, done.output
        assert done.message.endswith(f"Go back to {POSER_HEAD} instead."), done.message
    assert difference(before, state(deployed)) == []
    # the remedy helps
    assert revert(deployed, POSER_HEAD)["failure"] == ""
    assert deployed.database.heads() == {CORE_HEAD, POSER_HEAD}
    assert upgrade(deployed)["failure"] == ""


def test_where_alembic_sees_no_way_back_it_does_not_begin(deployed: Server) -> None:
    """Another base of the app's needs the revision to go back to, by ``depends_on`` alone."""
    deployed.repository.add_revision("boxes", down_revision=None, depends_on=POSER_HEAD)
    deployed.git("pull", "--quiet")
    assert upgrade(deployed)["failure"] == ""
    before = state(deployed)
    failure = revert(deployed, POSER_HEAD)["failure"]
    assert f"To revert poser to {POSER_HEAD} is not for Alembic: it would not undo" in failure, failure
    assert difference(before, state(deployed)) == []
    way = failure.partition("Go back to ")[2].partition(" instead")[0]
    assert not way or revert(deployed, way)["failure"] == "", failure


def test_where_it_leaves_others_it_does(deployed: Server) -> None:
    _, last, second = add_merge(deployed, between=True)
    assert revert(deployed, last)["failure"] == ""
    assert deployed.database.heads() == {CORE_HEAD, last, second}
    assert upgrade(deployed)["failure"] == ""
