"""What is written down of each run, and the checksums of what is applied."""

from __future__ import annotations

import getpass
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from support.server import Server
from support.upgrades import Upgrade, baseline, revert, upgrade

CORE_HEAD = "c2ef84c99c93"
POSER_FIRST = "a010a6c92761"
POSER_HEAD = "b084beb32f02"


def history(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in place(server, "history.jsonl").read_text().splitlines()]


def checksums(server: Server) -> dict[str, str]:
    found: dict[str, str] = json.loads(place(server, "checksums.json").read_text())["revisions"]
    return found


def place(server: Server, name: str) -> Path:
    return server.env_dir / "app" / "schema-history" / f"poser.{name}"


def add(server: Server, name: str, sql: str, undo: str = "") -> str:
    new = server.repository.add_revision(name, upgrade_sql=sql, downgrade_sql=undo)
    server.git("pull", "--quiet")
    return new


def test_each_run_adds_a_line_of_what_it_did(deployed: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "clerk")
    first = add(deployed, "crates", "create table poser_crate (); select pg_sleep(0.2)")
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert upgrade(deployed)["failure"] == ""
    [line] = history(deployed)
    assert began <= line["time"] <= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert (line["app"], line["host"], line["user"], line["login"]) == (
        "poser", os.uname().nodename, getpass.getuser(), "clerk",
    )  # fmt: skip
    assert line["database"]["name"] == deployed.database.name
    assert (set(line["from"]), set(line["to"])) == ({CORE_HEAD, POSER_HEAD}, {CORE_HEAD, first})
    assert list(line["applied"]) == [first] and 0.2 <= line["applied"][first] < 10
    assert (line["commit"], line["failed"]) == (deployed.repository.commit_id, "")
    kept = place(deployed, "history.jsonl").read_text()

    bad = add(deployed, "bad", "select 1 / 0")
    assert upgrade(deployed)["failure"]
    text = place(deployed, "history.jsonl").read_text()
    assert text.startswith(kept) and len(text.splitlines()) == 2
    line = history(deployed)[1]
    assert (line["from"], line["applied"]) == (line["to"], {})
    assert f"Revision {bad}" in line["failed"] and "division by zero" in line["failed"]
    for name in ("history.jsonl", "checksums.json"):
        assert place(deployed, name).stat().st_mode & 0o777 == 0o640
    assert place(deployed, "").parent.stat().st_mode & 0o777 == 0o750


def test_a_revert_and_a_baseline_say_what_they_did(deployed: Server) -> None:
    new = add(deployed, "crates", "create table poser_crate ()", undo="drop table poser_crate")
    assert upgrade(deployed)["failure"] == ""
    assert set(checksums(deployed)) == {POSER_FIRST, POSER_HEAD, new}
    assert revert(deployed, POSER_HEAD)["failure"] == ""
    line = history(deployed)[-1]
    assert list(line["reverted"]) == [new] and line["reverted"][new] >= 0
    assert (line["applied"], line["stamped"]) == ({}, [])
    assert (set(line["from"]), set(line["to"])) == ({CORE_HEAD, new}, {CORE_HEAD, POSER_HEAD})
    assert line["backup_file"].endswith(".full.dump")
    # what is not applied may be edited, and is applied as it is by then
    before = checksums(deployed)
    assert set(before) == {POSER_FIRST, POSER_HEAD}
    file = next(deployed.versions.glob(f"{new}*"))
    file.write_text(file.read_text() + "# edited\n")
    deployed.sql("create table poser_crate ()")
    answer = baseline(deployed, new)
    assert (answer["failure"], answer["warnings"]) == ("", [])
    line = history(deployed)[-1]
    assert (line["stamped"], line["applied"], line["reverted"]) == ([new], {}, {})
    after = checksums(deployed)
    assert set(after) == {*before, new} and before.items() <= after.items()


def test_who_waited_and_found_nothing_left_to_do_keeps_the_checksums(deployed: Server) -> None:
    """Another host has applied it meanwhile."""
    new = add(deployed, "crates", "create table poser_crate (); select pg_sleep(3)")
    run = Upgrade(deployed, history_dir=str(deployed.root / "of the other host"))
    deadline = time.monotonic() + 60
    while not deployed.sql(
        "select 1 from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    answer = upgrade(deployed)
    assert run.finish()["failure"] == ""
    assert (answer["failure"], answer["applied"], len(answer["lock"]["holders"])) == ("", [], 1)
    assert set(checksums(deployed)) == {POSER_FIRST, POSER_HEAD, new}
    assert not place(deployed, "history.jsonl").exists()
