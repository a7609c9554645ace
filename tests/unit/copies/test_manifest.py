"""Which backups are ours, in which order, and which of them go: by their manifests, never by their names."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rattail_alembic.copies import backup, manifest

OURS = {
    "app": "poser",
    "database": "rattail",
    "oid": 16384,
    "system": "7398765432109876543",
    "server": "store1:5432",
    "mode": "full",
}


def put(directory: Path, number: int, *, name: str = "", content: str = "PGDMP", **said: Any) -> Path:
    """A backup of ours and its manifest."""
    path = directory / (name or f"poser.rattail.202601{number:02}T000000Z.abc.full.dump")
    path.write_text(content)
    manifest.write(str(path), {**OURS, "file": path.name, "number": number, "size": len(content), **said})
    return path


def settled(made: Path, *, changed: bool, keep: int) -> tuple[list[str], list[str]]:
    said = json.loads(Path(f"{made}.json").read_text())
    pruned, warnings = backup.settle(backup.Backup(str(made), 5, "", 0.1, "full", said), changed=changed, keep=keep)
    return [os.path.basename(each).split(".")[2][6:8] for each in pruned], warnings


def whole(directory: Path) -> list[int]:
    return [each.number for each in manifest.find(str(directory), OURS) if each.size is not None]


def left(directory: Path) -> set[str]:
    return {each.name for each in directory.iterdir()}


def test_a_manifest_is_for_our_own_account_and_replaced_as_a_whole(tmp_path: Path) -> None:
    before = os.umask(0o277)
    try:
        path = put(tmp_path, 1)
    finally:
        os.umask(before)
    assert Path(f"{path}.json").stat().st_mode & 0o7777 == 0o600
    manifest.write(str(path), {"file": "x"})
    assert Path(f"{path}.json").stat().st_mode & 0o7777 == 0o600
    assert json.loads(Path(f"{path}.json").read_text()) == {"file": "x"}
    assert left(tmp_path) == {path.name, f"{path.name}.json"}


def test_the_newest_is_the_one_with_the_highest_number_whatever_the_clock_said(tmp_path: Path) -> None:
    put(tmp_path, 1, name="poser.rattail.20990101T000000Z.abc.full.dump", time="2099-01-01T00:00:00Z")
    for number in (2, 10, 9):
        put(tmp_path, number)
    assert whole(tmp_path) == [10, 9, 2, 1]


STRANGE: dict[str, Callable[[Path], None]] = {
    "no manifest": lambda path: Path(f"{path}.json").unlink(),
    "of another server": lambda path: edit(path, system="1"),
    "of a copy of this server": lambda path: edit(path, server="store2:5432"),
    "of another database of this name": lambda path: edit(path, oid=16999),
    "of another app": lambda path: edit(path, app="poserb"),
    "of the other kind": lambda path: edit(path, mode="schema"),
    "a file put in its place": lambda path: _write(path, "by hand, before the inventory"),
    "a copy with its manifest": lambda path: edit(path, file="another.full.dump"),
    "a manifest that is not whole": lambda path: _write(Path(f"{path}.json"), '{"app": "poser", "fi'),
    "a manifest that is a list": lambda path: _write(Path(f"{path}.json"), "[1]"),
    "a manifest in Latin-1": lambda path: _write(Path(f"{path}.json"), b'{"app": "\xe9"}'),
    "a manifest too deep": lambda path: _write(Path(f"{path}.json"), "[" * 99_000),
    "a number that is none": lambda path: edit(path, number="1"),
    "a link": lambda path: _link(path),
    "a manifest that is a pipe": lambda path: _pipe(Path(f"{path}.json")),
}


def edit(path: Path, **changed: Any) -> None:
    said = json.loads(Path(f"{path}.json").read_text())
    Path(f"{path}.json").write_text(json.dumps({**said, **changed}))


def _write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def _link(path: Path) -> None:
    # as long as what it leads to
    path.rename(path.with_name("other"))
    path.symlink_to("other")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("case", STRANGE)
def test_what_is_not_ours_is_neither_counted_nor_removed(case: str, tmp_path: Path) -> None:
    strange = put(tmp_path, 1)
    STRANGE[case](strange)
    before = left(tmp_path)
    made = put(tmp_path, 3)
    put(tmp_path, 2)
    assert whole(tmp_path) == [3, 2]
    assert settled(made, changed=True, keep=1) == (["02"], [])
    assert left(tmp_path) == before | {made.name, f"{made.name}.json"}


# How many stay, and whether the run of the newest changed something → what goes. That of the third changed nothing.
PRUNED: dict[tuple[int, bool], list[str]] = {
    (1, True): ["03", "02", "01"],
    (2, True): ["03", "01"],
    (3, True): ["03"],
    (1, False): ["03"],
    (0, True): [],
    (0, False): [],
}


@pytest.mark.parametrize("case", PRUNED)
def test_a_run_that_changed_nothing_costs_no_backup_of_one_that_did(case: tuple[int, bool], tmp_path: Path) -> None:
    keep, changed = case
    # nobody knows what became of the first one's run
    put(tmp_path, 1)
    put(tmp_path, 2, outcome=manifest.CHANGED)
    put(tmp_path, 3, outcome=manifest.UNCHANGED)
    made = put(tmp_path, 4)
    pruned, warnings = settled(made, changed=changed, keep=keep)
    assert (sorted(pruned), warnings) == (sorted(PRUNED[case]), [])
    assert [f"{number:02}" for number in whole(tmp_path)] == [
        each for each in ("04", "03", "02", "01") if each not in pruned
    ]
    assert len(left(tmp_path)) == 2 * len(whole(tmp_path))
    said = json.loads(Path(f"{made}.json").read_text())
    assert said["outcome"] == ("changed" if changed else "unchanged")


def test_twenty_failed_attempts_leave_one_backup_more(tmp_path: Path) -> None:
    for number in (1, 2):
        settled(put(tmp_path, number), changed=True, keep=2)
    for number in range(3, 23):
        settled(put(tmp_path, number), changed=False, keep=2)
    assert whole(tmp_path) == [22, 2, 1]
    settled(put(tmp_path, 23), changed=True, keep=2)
    assert whole(tmp_path) == [23, 2]


def test_an_old_backup_that_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, made = put(tmp_path, 1), put(tmp_path, 2)

    def refuse(own: manifest.Own) -> None:
        raise PermissionError(1, "Operation not permitted", own.path)

    # root may remove everything
    monkeypatch.setattr(manifest, "remove", refuse)
    pruned, [warning] = settled(made, changed=True, keep=1)
    assert pruned == [] and f"{old} cannot be removed: Operation not permitted" in warning


def test_a_directory_that_is_not_there_holds_none(tmp_path: Path) -> None:
    assert manifest.find(str(tmp_path / "missing"), OURS) == []
