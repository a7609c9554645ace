"""The role as people install it, by ``requirements.yml`` and a tag."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from support.places import BIN, ROLE, ROOT
from support.repository import git
from support.server import Server

TAG = "v9.9.9"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository as it stands, committed and tagged."""
    path = tmp_path_factory.mktemp("galaxy") / "rattail_schema_ext"
    unwanted = shutil.ignore_patterns(".git", ".venv", ".cache", ".demo", "__pycache__")
    shutil.copytree(ROOT, path, ignore=unwanted, symlinks=True)
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
    command = [str(BIN / "ansible-galaxy"), "role", "install", "-r", "requirements.yml", "-p", "roles"]
    done = subprocess.run(command, cwd=repository.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return repository.parent / "roles"


def files(directory: Path) -> set[str]:
    found = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    return {each for each in found if "__pycache__" not in each}


def test_the_role_is_installed_and_nothing_else(roles: Path) -> None:
    installed = files(roles / "rattail_schema_ext")
    assert installed - files(ROLE) == {"meta/.galaxy_install_info", "rattail_schema_ext/LICENSE"}
    assert files(ROLE) - installed == set()


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
