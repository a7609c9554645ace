"""What the commit wanted brings for Alembic: check mode asks that, not what is checked out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support import environments
from support.repository import Repository
from support.server import Server
from support.states import brought, check, refused
from test_install import make_wheel, only_from

CORE_HEAD = "c2ef84c99c93"
OWN = {"rattail_schema_ext_script_location": "poser.db:alembic"}
ALEMBIC = "poser/db/alembic"
GIVEN = "target_metadata=target_metadata"


def core_files() -> dict[str, str]:
    """Core's env.py and script.py.mako, by their paths in the app's repository."""
    core = environments.site_packages(environments.base("rattail")) / "rattail" / "db" / "alembic"
    return {f"{ALEMBIC}/{name}": (core / name).read_text() for name in ("env.py", "script.py.mako")}


def with_env(repository: Repository, old: str = "", new: str = "", **files: str) -> None:
    """Commit an env.py of the app's own: core's with its text changed."""
    own = core_files()
    env = own[f"{ALEMBIC}/env.py"]
    assert old in env
    repository.commit({**own, f"{ALEMBIC}/env.py": env.replace(old, new) if old else env, **files})


def add_box(repository: Repository) -> str:
    return repository.add_revision("add boxes", upgrade_sql="create table poser_box (id serial primary key)")


def copy_rows(server: Server, table: str, of: str = "alembic_version") -> None:
    server.sql(f"create table {table} as select * from {of}")
    server.sql(f"alter table {table} add primary key (version_num)")


def test_an_env_that_arrives_with_the_commit_is_asked(deployed: Server) -> None:
    with_env(deployed.repository)
    new = add_box(deployed.repository)
    run = brought(deployed, OWN)
    assert run.result["todo"] == ["source", "config", "upgrade"]
    assert deployed.current() == {CORE_HEAD, new}
    # nor is one that goes asked
    files = core_files()
    deployed.repository.commit(dict.fromkeys(files))
    refused(deployed, str(deployed.source_dir / ALEMBIC), "Mend it, commit and push it, then run again.")


def test_a_version_table_that_changes_with_the_commit_is_read(deployed: Server) -> None:
    repository = deployed.repository
    with_env(repository)
    brought(deployed, OWN)
    # its name comes from what env.py imports
    named = f"{GIVEN}, version_table=__import__('poser.tables').tables.VERSIONS"
    with_env(repository, GIVEN, named, **{"poser/tables.py": "VERSIONS = 'poser_versions'\n"})
    new = add_box(repository)
    refused(deployed, "holds rattail tables but no version rows", vars=OWN)
    copy_rows(deployed, "poser_versions")
    assert [each["revision"] for each in brought(deployed, OWN).result["applied"]] == [new]
    # what it imports changes alone
    repository.commit({"poser/tables.py": "VERSIONS = 'poser_rows'\n"})
    refused(deployed, "holds rattail tables but no version rows", vars=OWN)
    copy_rows(deployed, "poser_rows", "poser_versions")
    brought(deployed, OWN)
    # where it is written as a path, too
    repository.commit({"poser/tables.py": "VERSIONS = 'poser_versions'\n"})
    where = {"rattail_schema_ext_script_location": f"{deployed.source_dir}/{ALEMBIC}"}
    assert check(deployed, where).result["current_before"] == sorted({CORE_HEAD, new})
    deployed.sql("delete from poser_versions")
    refused(deployed, "holds rattail tables but no version rows", vars=where)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("from alembic import", "import nothing_like_it\nfrom alembic import", "No module named 'nothing_like_it'"),
        ("from alembic import", "from alembic import (", f"{ALEMBIC}/env.py"),
    ],
    ids=["import", "syntax"],
)
def test_an_env_that_fails_is_refused_before_it_is_checked_out(
    deployed: Server, old: str, new: str, words: str
) -> None:
    with_env(deployed.repository, old, new)
    message = refused(deployed, words, f"{deployed.source_dir}/{ALEMBIC}/env.py", "commit and push", vars=OWN)
    assert "/tree/" not in message


def test_an_env_that_needs_what_is_installed_first_is_unknown(deployed: Server) -> None:
    repository, wheels = deployed.repository, deployed.root / "wheels"
    make_wheel(wheels)
    only_from(deployed, wheels)
    project = (repository.path / "pyproject.toml").read_text()
    needs = project.replace('"psycopg2-binary",', '"psycopg2-binary", "shelf-labels",')
    with_env(repository, "from alembic import", "import shelf_labels\nfrom alembic import", **{"pyproject.toml": needs})
    new = add_box(repository)
    promised = check(deployed, OWN).result
    assert (promised["state"], promised["pending"]) == ("unknown", [])
    assert "No module named 'shelf_labels'" in promised["state_reason"]
    assert promised["todo"] == ["source", "install", "config", "upgrade"]
    run = deployed.run_role(OWN)
    assert (run.rc, run.result["state"], run.result["state_reason"]) == (0, "current", ""), run.output
    for told in ("pending", "applied"):
        assert [each["revision"] for each in run.result[told]] == [new]
    assert deployed.current() == {CORE_HEAD, new}


def test_an_env_of_an_app_that_is_not_there_yet_is_asked(make_server: Callable[..., Server]) -> None:
    server = make_server(content="core")
    with_env(server.repository, GIVEN, f"{GIVEN}, version_table='poser_versions'")
    refused(server, "holds rattail tables but no version rows", vars=OWN)
    copy_rows(server, "poser_versions")
    server.sql("drop table alembic_version")
    brought(server, OWN)


def test_a_package_that_moves_is_installed_again(make_server: Callable[..., Server]) -> None:
    server = make_server()
    repository = server.repository
    project = (repository.path / "pyproject.toml").read_text()
    # hatchling finds it by itself then
    repository.commit({"pyproject.toml": project.partition("[tool.hatch")[0]})
    brought(server)
    (repository.path / "src").mkdir()
    (repository.path / "poser").rename(repository.path / "src" / "poser")
    repository.commit({}, "Move the package")
    run = brought(server)
    assert run.result["todo"] == ["source", "install"] and "src/poser" in run.result["install_reason"]


# A run that ends with something undone


def unreadable(server: Server) -> str:
    return f"sed -i s/{server.database.name}/nosuch/ {server.config}"


def undone(server: Server) -> str:
    return f"rm -r {environments.site_packages(server.env_dir)}/poser-*.dist-info"


@pytest.mark.parametrize("spoil", [unreadable, undone], ids=lambda spoil: spoil.__name__)
def test_where_something_still_differs_the_checkout_goes_back(deployed: Server, spoil: Callable[[Server], str]) -> None:
    first = deployed.git("rev-parse", "HEAD")
    hook = deployed.source_dir / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{spoil(deployed)} || true\n")
    hook.chmod(0o755)
    deployed.repository.commit({"poser/prices.py": "one = 1\n"})
    run = deployed.run_role()
    assert run.rc == 2 and "After the run something still differs" in run.message, run.output
    assert f"Now the checkout is at {first}" in run.message
    assert (deployed.git("rev-parse", "HEAD"), deployed.git("rev-parse", "--abbrev-ref", "HEAD")) == (first, "main")
    hook.unlink()


def test_where_the_database_has_followed_it_stays(deployed: Server) -> None:
    removes = f"__import__('os').system({undone(deployed)!r})"
    new = deployed.repository.add_revision("add boxes", upgrade=removes)
    run = deployed.run_role()
    assert run.rc == 2 and "something still differs" in run.message, run.output
    assert deployed.git("rev-parse", "HEAD") == deployed.repository.commit_id
    assert deployed.database.heads() == {CORE_HEAD, new}
