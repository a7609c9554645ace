"""The role as people install it: by ``requirements.yml`` and a tag, and as a collection."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import collection
import pytest
import yaml
from support.demo import copy_project
from support.places import BIN, ROLE
from support.repository import git
from support.server import Server

TAG = "v9.9.9"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository as it stands, committed and tagged."""
    path = tmp_path_factory.mktemp("galaxy") / "rattail_schema_ext"
    copy_project(path)
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message=as it stands")
    git(path, "tag", TAG)
    return path


@pytest.fixture(scope="module")
def roles(repository: Path) -> Path:
    """Where the role is installed, as the README says."""
    wanted = {"name": "rattail_schema_ext", "src": f"file://{repository}", "scm": "git", "version": TAG}
    (repository.parent / "requirements.yml").write_text(yaml.safe_dump({"roles": [wanted]}))
    galaxy(repository.parent, "role", "install", "-r", "requirements.yml", "-p", "roles")
    return repository.parent / "roles"


def galaxy(directory: Path, *args: str) -> None:
    done = subprocess.run(
        [str(BIN / "ansible-galaxy"), *args], cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def files(directory: Path) -> set[str]:
    found = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    return {each for each in found if "__pycache__" not in each}


def test_the_role_is_installed_and_nothing_else(repository: Path, roles: Path) -> None:
    installed, own = files(roles / "rattail_schema_ext"), files(repository / "roles" / "rattail_schema_ext")
    assert installed - own == {"meta/.galaxy_install_info", "rattail_schema_ext/LICENSE"}
    assert own - installed == set()


def test_what_was_installed_deploys(roles: Path, deployed: Server) -> None:
    new = deployed.repository.add_revision("add crates", upgrade_sql="create table poser_crate ()")
    play = [{"hosts": "rattail", "gather_facts": False, "roles": ["rattail_schema_ext"]}]
    env = {"ANSIBLE_ROLES_PATH": str(roles)}
    run = deployed.run_role(playbook=play, args=["-vv"], env=env)
    assert run.rc == 0, run.output
    assert f"task path: {roles}/rattail_schema_ext/tasks/" in run.output
    assert f"task path: {ROLE}" not in run.output
    assert [each["revision"] for each in run.result["applied"]] == [new]
    assert (deployed.run_role(playbook=play, env=env).recap.changed, new in deployed.current()) == (0, True)


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the collection is installed."""
    scratch = tmp_path_factory.mktemp("collection")
    (scratch / "sources").mkdir()
    collection.fill(scratch / "sources")
    galaxy(scratch, "collection", "build", "sources", "--output-path", ".")
    galaxy(scratch, "collection", "install", f"rattail-schema_ext-{collection.version()}.tar.gz", "-p", "installed")
    return scratch / "installed"


def test_the_collection_deploys_by_its_own_plugins(collections: Path, deployed: Server) -> None:
    new = deployed.repository.add_revision("add crates", upgrade_sql="create table poser_crate ()")
    play = [{"hosts": "rattail", "gather_facts": False, "roles": [f"{collection.QUALIFIED}.rattail_schema_ext"]}]
    env = {"ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_ROLES_PATH": str(collections / "none")}
    run = deployed.run_role(playbook=play, args=["-vv"], env=env)
    assert run.rc == 0, run.output
    assert f"task path: {ROLE}" not in run.output
    assert [each["revision"] for each in run.result["applied"]] == [new]
    assert (deployed.run_role(playbook=play, env=env).recap.changed, new in deployed.current()) == (0, True)
    status = deployed.run_role(playbook=Path(f"{collection.QUALIFIED}.status"), env=env)
    assert (status.rc, status.result["state"]) == (0, "current"), status.output


def test_the_collection_s_modules_are_documented(collections: Path) -> None:
    names = [f"{collection.QUALIFIED}.{path.stem}" for path in (ROLE / "library").glob("*.py")]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections)}
    command = [str(BIN / "ansible-doc"), "--json", "--type", "module", *names]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == set(names)
