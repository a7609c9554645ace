"""A version row that the code does not know is newer code's only where that is shown; else the run is refused."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from support.postgres import Database
from support.server import Server
from support.states import left_by_a_run, refused, state
from support.upgrades import revert, upgrade

POSER_HEAD = "b084beb32f02"


def sql(name: str) -> dict[str, Any]:
    return {"upgrade_sql": f"create table poser_{name} ()", "downgrade_sql": f"drop table poser_{name}"}


def add(server: Server, name: str) -> str:
    """A revision that is applied."""
    new = server.repository.add_revision(name, **sql(name))
    server.git("pull", "--quiet")
    assert upgrade(server)["failure"] == ""
    return new


def replace(server: Server, new: str, by: str) -> str:
    """The repository's last commit, which brought a revision, is no more; another one is in its place."""
    server.repository.git("reset", "--quiet", "--hard", "HEAD~1")
    assert not list(server.repository.versions.glob(f"{new}*"))
    return server.repository.add_revision(by, **sql(by))


def forget_history(server: Server) -> None:
    server.sql("drop schema if exists rattail_schema_ext cascade")
    shutil.rmtree(server.env_dir / "app" / "schema-history", ignore_errors=True)


def look(server: Server, **options: Any) -> dict[str, Any]:
    """An upgrade to the commit wanted that stops where it would begin to change something, as the role asks for it."""
    wanted = {name: server.vars[f"rattail_schema_ext_{name}"] for name in ("source_repo", "source_version")}
    return server.module("rattail_alembic_info", server.parameters({**wanted, **options}))


def test_a_force_push_that_replaces_what_is_applied_is_refused_and_the_remedy_helps(deployed: Server) -> None:
    """Check mode and the run say the same; what is to be done is done to the letter, by the role."""
    old = add(deployed, "crates")
    applied = deployed.repository.commit_id
    new = replace(deployed, old, "boxes")
    refused(
        deployed,
        f"has revision {old}, which the code does not know, while {new}, which the code wants, does not come before it",
        f"rattail_schema_ext_source_version: {applied})",
        f"go back to {POSER_HEAD} (playbooks/revert.yml)",
    )
    found = look(deployed)
    assert [each["code"] for each in found["problems"]] == ["diverged"]
    assert (found["state"], [each["revision"] for each in found["pending"]]) == ("diverged", [new])
    run = deployed.run_role({"rattail_schema_ext_source_version": applied})
    assert (run.rc, run.result["state"]) == (0, "current"), run.output
    assert revert(deployed, POSER_HEAD)["failure"] == ""
    run = deployed.run_role()
    assert run.rc == 0 and [each["revision"] for each in run.result["applied"]] == [new], run.output
    assert deployed.database.heads() >= {new}


def by_the_history(server: Server) -> None:
    """The files are nowhere: the checkout is a new one."""
    shutil.rmtree(server.source_dir)
    server.deploy()


def by_the_files_of_the_history(server: Server) -> None:
    server.sql("drop schema rattail_schema_ext cascade")
    server.database.forbid_schemas()
    new = server.repository.add_revision("bags", **sql("bags"))
    server.git("pull", "--quiet")
    assert upgrade(server)["failure"] == "" and new in server.database.heads()
    by_the_history(server)


def by_the_checkout(server: Server) -> None:
    """As it was when everything was applied by hand."""
    forget_history(server)


def by_the_reflog(server: Server) -> None:
    """The checkout has moved by now, and no branch has it any more."""
    forget_history(server)
    server.repository.git("reset", "--quiet", "--hard", "HEAD~1")
    server.git("fetch", "--quiet", "--prune")
    server.git("reset", "--quiet", "--hard", "origin/main")


def by_a_clone_of_depth_1(server: Server) -> None:
    forget_history(server)
    shutil.rmtree(server.source_dir)
    server.repository.git("clone", "--quiet", "--depth=1", f"file://{server.repository.path}", str(server.source_dir))


@pytest.mark.parametrize(
    "shown",
    [by_the_history, by_the_files_of_the_history, by_the_checkout, by_the_reflog, by_a_clone_of_depth_1],
    ids=lambda shown: str(shown.__name__),
)
def test_a_rollback_to_an_older_version_is_ahead(deployed: Server, shown: Callable[[Server], None]) -> None:
    deployed.repository.git("tag", "v1")
    add(deployed, "crates")
    newest = add(deployed, "boxes")
    shown(deployed)
    found = look(deployed, source_version="v1")
    assert (found["state"], found["problems"], found["pending"]) == ("ahead", [], []), found["problems"]
    assert any("is ahead" in each for each in found["warnings"])
    # of the code wanted, all is applied
    [own] = [each for each in found["branches"] if each["branch"] == "poser"]
    assert (own["current"], own["heads"]) == ([POSER_HEAD], [POSER_HEAD]) and newest not in own["current"]


def test_a_row_of_which_nothing_is_known_is_refused(deployed: Server) -> None:
    """A force-push, and neither a checkout nor a history has what it took away."""
    old = add(deployed, "crates")
    new = replace(deployed, old, "boxes")
    deployed.repository.git("reflog", "expire", "--expire=now", "--all")
    forget_history(deployed)
    shutil.rmtree(deployed.source_dir)
    deployed.deploy()
    before = state(deployed)
    for options in ({}, {"source_version": deployed.repository.commit_id}):
        found = look(deployed, **options)
        assert [each["code"] for each in found["problems"]] == ["diverged"] and found["state"] == "diverged"
        assert f"nothing shows that it comes after {new}" in found["msg"]
    assert "not known what is pending" in " ".join(found["summary"])
    assert upgrade(deployed)["problems"][0]["code"] == "diverged"
    assert left_by_a_run(before, state(deployed)) == []


def test_a_host_that_lags_behind_the_fleet_is_ahead(deployed: Server, make_server: Callable[..., Server]) -> None:
    """It has never seen what another host applied."""
    lagging = make_server("lagging", content=deployed.database, deployed=True)
    assert lagging.database.name == deployed.database.name
    add(deployed, "crates")
    answer = upgrade(lagging)
    assert (answer["state"], answer["failure"], answer["applied"]) == ("ahead", "", [])


def test_of_two_branches_one_is_ahead_and_the_other_behind(deployed: Server) -> None:
    """Be it known or not, nothing is done."""
    label = deployed.repository.add_revision("kiosk", down_revision=None, branch_labels=("kiosk",), **sql("kiosk"))
    deployed.git("pull", "--quiet")
    assert upgrade(deployed)["failure"] == ""
    older = deployed.repository.commit_id
    deployed.repository.add_revision("crates", down_revision=POSER_HEAD, **sql("crates"))
    deployed.git("pull", "--quiet")
    assert upgrade(deployed)["failure"] == ""
    deployed.repository.git("reset", "--quiet", "--hard", older)
    assert look(deployed)["state"] == "ahead"
    behind = deployed.repository.add_revision("stand", down_revision=label, **sql("stand"))
    found = look(deployed)
    assert [each["code"] for each in found["problems"]] == ["diverged"], found["msg"]
    assert (found["state"], [each["revision"] for each in found["pending"]]) == ("diverged", [behind])


def test_a_restored_backup_brings_its_history_along(deployed: Server, make_database: Callable[..., Database]) -> None:
    """What was applied after it was made is not in there, and what was before is."""
    first = add(deployed, "crates")
    second = deployed.repository.add_revision("boxes", **sql("boxes"))
    deployed.git("pull", "--quiet")
    backup = upgrade(deployed, backup="full")["backup"]["file"]
    kept = "select revision from rattail_schema_ext.revision where entry ? 'at'"
    assert {name for (name,) in deployed.sql(kept)} == {first, second}
    deployed.database = make_database("empty")
    program = str(deployed.database.server.binaries / "pg_restore")
    url = deployed.database.server.url(deployed.database.name, "postgres")
    subprocess.run([program, "--exit-on-error", f"--dbname={url}", backup], check=True)
    deployed.write_config(alembic=deployed.alembic_section())
    assert {name for (name,) in deployed.sql(kept)} == {first}
    answer = upgrade(deployed)
    assert (answer["failure"], [each["revision"] for each in answer["applied"]]) == ("", [second])
    assert {name for (name,) in deployed.sql(kept)} == {first, second}
    assert deployed.sql("select count(*) from rattail_schema_ext.run") == [(2,)]
