"""The states of a database, told alike by our own reading and by Alembic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import environments
from support.postgres import Database
from support.server import Server
from support.upgrades import upgrade

CORE_HEAD = "c2ef84c99c93"
POSER_FIRST = "a010a6c92761"
POSER_HEAD = "b084beb32f02"
CRATE = "create table poser_crate (id integer primary key)"


def nothing(_server: Server) -> None:
    pass


def behind(server: Server) -> None:
    server.repository.add_revision("add crates", upgrade_sql=CRATE)


def ahead(server: Server) -> None:
    server.sql("insert into alembic_version values ('feedfacecafe')")


def diverged(server: Server) -> None:
    server.sql("insert into alembic_version values ('feedfacecafe')")
    server.repository.add_revision("add crates", upgrade_sql=CRATE)


def known_to_nobody(server: Server) -> None:
    server.sql("update alembic_version set version_num = 'feedfacecafe' where version_num = %s", POSER_HEAD)


def unstamped(server: Server) -> None:
    server.sql("delete from alembic_version")


def without_a_version_table(server: Server) -> None:
    server.sql("drop table alembic_version")


def empty(server: Server) -> None:
    server.sql("drop owned by current_user")


def two_heads(server: Server) -> None:
    server.repository.add_revision("add crates", upgrade_sql=CRATE, down_revision=POSER_HEAD)
    server.repository.add_revision("add boxes", upgrade_sql="create table poser_box ()", down_revision=POSER_HEAD)


def depends_on(server: Server) -> None:
    """A branch that another needs has no row of its own when it is up to date."""
    server.repository.add_revision("add crates", upgrade_sql=CRATE, depends_on=CORE_HEAD)
    server.git("pull", "--quiet")
    assert upgrade(server)["failure"] == ""


# deed → the state, and how many revisions are pending
DEEDS: dict[Callable[[Server], None], tuple[str, int]] = {
    nothing: ("current", 0),
    behind: ("behind", 1),
    ahead: ("ahead", 0),
    diverged: ("diverged", 0),
    known_to_nobody: ("diverged", 0),
    unstamped: ("unstamped", 275),
    without_a_version_table: ("unstamped", 275),
    empty: ("empty", 275),
    two_heads: ("behind", 2),
    depends_on: ("current", 0),
}


def look(server: Server, **options: Any) -> dict[str, Any]:
    variables = ("app", "user", "env_dir", "source_repo", "source_version", "backup")
    arguments = {name: server.vars[f"rattail_schema_ext_{name}"] for name in variables}
    paths = {"config_file": str(server.config), "source_dir": str(server.source_dir)}
    return server.module("rattail_alembic_info", {**arguments, **paths, **options})


def ask_alembic(server: Server) -> None:
    """From now on only Alembic can tell: ``env.py`` is the app's own, and a revision file is no plain text."""
    packaged = environments.site_packages(environments.base("rattail")) / "rattail" / "db" / "alembic"
    files = {name: (packaged / name).read_text() for name in ("env.py", "script.py.mako")}
    first = next(server.repository.versions.glob(f"{POSER_FIRST}*"))
    computed = first.read_text().replace(f"'{POSER_FIRST}'", f"'{POSER_FIRST[:6]}' + '{POSER_FIRST[6:]}'")
    computed = computed.replace(f'"{POSER_FIRST}"', f"'{POSER_FIRST[:6]}' + '{POSER_FIRST[6:]}'")
    assert computed != first.read_text()
    server.repository.commit({
        **{f"poser/db/alembic/{name}": text for name, text in files.items()},
        str(first.relative_to(server.repository.path)): computed,
    })  # fmt: skip
    server.git("pull", "--quiet")
    section = server.alembic_section().replace("= rattail.db:alembic\n", "= poser.db:alembic\n")
    server.write_config(alembic=section)


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_a_state_has_its_name_whoever_is_asked(deployed: Server, deed: Callable[[Server], None]) -> None:
    state, pending = DEEDS[deed]
    deed(deployed)
    tables = deployed.database.tables()
    ours = look(deployed)
    assert (ours["state"], len(ours["pending"]), ours["fast_path"]) == (state, pending, True), ours["summary"]
    ask_alembic(deployed)
    theirs = look(deployed)
    assert not theirs["fast_path"]
    parts = ("state", "heads", "current_before")
    assert {part: theirs[part] for part in parts} == {part: ours[part] for part in parts}, theirs["problems"]
    assert [each["revision"] for each in theirs["pending"]] == [each["revision"] for each in ours["pending"]]
    # neither of them has made a version table
    assert deployed.database.tables() == tables


def test_subdirectories_are_read_alike_whoever_is_asked(deployed: Server) -> None:
    """What is pending, its warnings and its files, of a commit that is not checked out and of one that is."""
    deployed.write_config(alembic=f"{deployed.alembic_section()}\nrecursive_version_locations = true\n")
    # two files of one name, and one that leaves its transaction, of which there is a warning
    leaves = "with op.get_context().autocommit_block(): op.execute('select 1')"
    for name, year in (("add crates", "2025"), ("add boxes", "2026")):
        revision = deployed.repository.add_revision(name, upgrade=leaves, commit=False, down_revision=POSER_HEAD)
        [file] = deployed.repository.versions.glob(f"{revision}*")
        (file.parent / year).mkdir()
        file.rename(file.parent / year / "crate.py")
    deployed.repository.commit({})
    ours = look(deployed)
    paths = {str(Path(each["path"]).relative_to(deployed.versions)) for each in ours["pending"]}
    assert paths == {"2025/crate.py", "2026/crate.py"}, ours["problems"]
    assert ours["fast_path"] and sum("leaves its transaction" in each for each in ours["warnings"]) == 2
    for where in ("the commit wanted", "the work tree"):
        if where == "the work tree":
            deployed.git("pull", "--quiet")
        else:
            later = deployed.repository.versions / "2026" / "crate.py"
            text = later.read_text().replace(f"= '{POSER_HEAD}'", f"= PARENT = str('{POSER_HEAD}')")
            assert text != later.read_text()
            deployed.repository.commit({str(later.relative_to(deployed.repository.path)): text})
        theirs = look(deployed)
        assert not theirs["fast_path"]
        parts = ("state", "heads", "pending", "warnings", "problems")
        assert {part: theirs[part] for part in parts} == {part: ours[part] for part in parts}, where
    assert [each["revision"] for each in upgrade(deployed)["applied"]] == [each["revision"] for each in ours["pending"]]
    # an applied file that was edited is noticed whoever reads it
    edited = deployed.versions / "2025" / "crate.py"
    edited.write_text(f"{edited.read_text()}\n# edited\n")
    deployed.git("commit", "--all", "--quiet", "--message", "Edit")
    deployed.git("push", "--quiet", "origin", "HEAD:refs/heads/edited")
    found = look(deployed, source_version="edited")
    assert any(str(edited) in each and "was changed after" in each for each in found["warnings"]), found


REFUSED: dict[Callable[[Server], None], str] = {
    diverged: "feedfacecafe",
    known_to_nobody: "feedfacecafe",
    unstamped: "no version rows",
    without_a_version_table: "no version rows",
}


@pytest.mark.parametrize("deed", REFUSED, ids=lambda deed: deed.__name__)
def test_what_is_not_known_is_not_upgraded(deployed: Server, deed: Callable[[Server], None]) -> None:
    deed(deployed)
    deployed.git("pull", "--quiet")
    before = contents(deployed.database)
    answer = upgrade(deployed)
    assert REFUSED[deed] in answer["failure"] and not answer["changed"]
    assert contents(deployed.database) == before


def contents(database: Database) -> tuple[list[str], set[str]]:
    return database.tables(), database.heads()
