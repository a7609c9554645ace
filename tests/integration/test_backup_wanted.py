"""Upgrades and their backups: when one is wanted, and that nothing is applied where it cannot be made."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.dumps import dump
from support.postgres import Database
from support.server import Server
from support.upgrades import upgrade


def refusals(server: Server, **options: Any) -> list[str]:
    """What a look says stands in the way of an upgrade with a full backup."""
    given = {
        "app": server.app,
        "env_dir": str(server.env_dir),
        "config_file": str(server.config),
        "source_dir": str(server.source_dir),
        "user": getpass.getuser(),
        **options,
    }
    found = server.module("rattail_alembic_info", given)["problems"]
    return [f"{each['cause']} {each['remedy']}" for each in found]


def test_what_another_application_holds_is_backed_up_too(
    make_server: Callable[..., Server], make_database: Callable[..., Database]
) -> None:
    database = make_database("empty")
    server = make_server(content=database, deployed=True)
    database.sql("create table alembic_version (version_num varchar(32) primary key)")
    assert refusals(server, postgresql_bin_dir="/nowhere") == []
    database.sql("create schema clerk; create table clerk.notes (note text)")
    [refusal] = refusals(server, postgresql_bin_dir="/nowhere")
    assert "pg_dump" in refusal


def programs(server: Server, directory: Path, **scripts: str) -> str:
    """A directory with the server's programs, of which some are shell scripts; ``{}`` stands for the real one."""
    directory.mkdir()
    for program in server.database.server.binaries.iterdir():
        name = program.name
        if name not in scripts:
            (directory / name).symlink_to(program)
            continue
        (directory / name).write_text(f"#!/bin/sh\n{scripts[name].format(program)}\n")
        (directory / name).chmod(0o755)
    return str(directory)


FAILING = 'case "$*" in *--version*) exec {} --version;; esac; echo "pg_dump: error: no more space" >&2; exit 1'
BROKEN = {
    "fails midway": (FAILING, "was not made, and nothing was changed: no more space."),
    "is older than the server": ('echo "pg_dump (PostgreSQL) 9.6.24"', "too new for every pg_dump here"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_nothing_is_applied_where_pg_dump(deployed: Server, tmp_path: Path, case: str) -> None:
    script, words = BROKEN[case]
    deployed.repository.add_revision("crates", upgrade_sql="create table poser_crate ()")
    deployed.git("pull", "--quiet")
    before = dump(deployed.database)
    bin_dir = programs(deployed, tmp_path / "bin", pg_dump=script)
    answer = upgrade(deployed, backup="full", postgresql_bin_dir=bin_dir)
    assert words in answer["failure"], answer["failure"]
    assert (answer["changed"], answer["applied"], answer["backup"]) == (False, [], {})
    assert dump(deployed.database) == before
    assert list(deployed.env_dir.glob("app/backups/*")) == []


def test_attempts_that_change_nothing_use_up_no_backups(deployed: Server) -> None:
    """What stays is the last one from before each change, and of the attempts since the newest."""
    backups = deployed.env_dir / "app" / "backups"
    numbers = iter(range(99))

    def attempt(sql: str, **options: Any) -> str:
        """Deploy a revision, which is taken back where it fails; the name of the backup."""
        deployed.repository.add_revision(f"attempt {next(numbers)}", upgrade=sql)
        deployed.git("pull", "--quiet")
        answer = upgrade(deployed, backup="full", backup_keep=2, **options)
        if answer["failure"]:
            deployed.repository.git("reset", "--quiet", "--hard", "HEAD~1")
            deployed.git("reset", "--quiet", "--hard", "HEAD~1")
        assert bool(answer["failure"]) == ("raise" in sql or "product" in sql), answer["failure"]
        return Path(answer["backup"]["file"]).name

    def kept() -> dict[str, str]:
        """Backup → what became of its run."""
        said = (json.loads(path.read_text()) for path in backups.glob("*.json"))
        outcomes = {each["file"]: each.get("outcome", "") for each in said}
        assert set(outcomes) == {path.name for path in backups.glob("*.dump")}
        return outcomes

    fails = "op.execute('create table poser_a ()'); raise ValueError('no')"
    attempt(fails)
    failed = attempt("op.execute('alter table product add column poser_x int')")
    assert kept() == {failed: "unchanged"}
    left = attempt("op.execute('create table poser_left ()'); op.execute('commit'); raise ValueError('no')")
    # what it committed is not undone, so it stays until there are newer ones
    assert kept() == {failed: "unchanged", left: ""}
    rehearsed = attempt(fails, rehearsal="transaction")
    assert kept() == {left: "", rehearsed: "unchanged"}
    first = attempt("op.execute('create table poser_b ()')")
    assert kept() == {left: "", first: "changed"}
    failed = attempt(fails)
    assert kept() == {left: "", first: "changed", failed: "unchanged"}
    deployed.repository.add_revision("second", upgrade_sql="create table poser_c ()")
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed, backup="full", backup_keep=2)
    assert kept() == {first: "changed", Path(answer["backup"]["file"]).name: "changed"}
    assert {Path(each).name for each in answer["backup"]["pruned"]} == {left, failed}
