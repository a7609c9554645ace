"""A checkout in which a git was killed: it is refused, and the remedy helps when it is followed to the letter."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest
from support.repository import git
from support.server import Server
from support.states import refused
from test_source import add_column, columns


def cleared(message: str, server: Server) -> None:
    """Do what is in brackets in the message, and deploy."""
    [command] = re.findall(r"\((rm .*?)\)", message)
    subprocess.run(command, shell=True, check=True, capture_output=True)
    run = server.run_role()
    assert run.rc == 0 and "colour" in columns(server), run.output


def at_its_start(server: Server) -> None:
    """Before it has written anything."""


def half_way(server: Server) -> None:
    """With a file that was changed, one that is new, and a revision, of which the last was just being written."""
    for name in server.repository.git("diff", "--name-only", "HEAD~2").splitlines():
        text = (server.repository.path / name).read_text()
        (server.source_dir / name).write_text(text[: len(text) // 2])


@pytest.mark.parametrize("killed", [at_its_start, half_way])
def test_a_git_that_was_killed_when_it_checked_out(deployed: Server, killed: Callable[[Server], None]) -> None:
    deployed.repository.commit({"README.md": "changed\n", "poser/prices.py": "price = 1\n"})
    add_column(deployed, "colour")
    lock = deployed.source_dir / ".git" / "index.lock"
    lock.write_text("")
    killed(deployed)
    cleared(refused(deployed, f"{lock} exists"), deployed)


def test_a_git_that_was_killed_when_it_cloned(server: Server) -> None:
    add_column(server, "colour")
    server.source_dir.parent.mkdir()
    git(server.root, "clone", "--quiet", "--no-checkout", str(server.repository.path), str(server.source_dir))
    lock = server.source_dir / ".git" / "index.lock"
    lock.write_text("")
    cleared(refused(server, f"{lock} exists"), server)


def test_a_lock_does_not_matter_where_nothing_is_to_move(deployed: Server) -> None:
    (deployed.source_dir / ".git" / "index.lock").write_text("")
    run = deployed.run_role()
    assert (run.rc, run.recap.changed) == (0, 0), run.output


def test_a_checkout_that_fails_is_not_built_upon(deployed: Server) -> None:
    """Of a lock that the look does not know, git tells."""
    add_column(deployed, "colour")
    lock = deployed.source_dir / ".git" / "refs" / "remotes" / "origin" / "main.lock"
    lock.write_text("")
    first, heads = deployed.git("rev-parse", "HEAD"), deployed.database.heads()
    run = deployed.run_role()
    assert run.rc == 2 and "Traceback" not in run.output, run.output
    assert f"{deployed.source_dir} could not be brought to {deployed.repository.commit_id}: " in run.message
    assert f"'{lock}': File exists. Remove {lock} if no git is at work there, then run again." in run.message
    assert (deployed.git("rev-parse", "HEAD"), deployed.database.heads()) == (first, heads)
    lock.unlink()
    run = deployed.run_role()
    assert run.rc == 0 and "colour" in columns(deployed), run.output
