"""A release of this project, in a copy of it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.demo import copy_project
from support.repository import git

NEXT = "7.7.7"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    copy = tmp_path / "checkout"
    copy_project(copy)
    changelog = copy / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("# Changelog\n", f"# Changelog\n\n## {NEXT} (unreleased)\n", 1))
    git(copy, "init", "--quiet", "--initial-branch=main")
    for name, value in {"user.name": "Tests", "user.email": "tests@localhost", "commit.gpgsign": "false"}.items():
        git(copy, "config", name, value)
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "--message=as it stands")
    git(copy, "tag", "v7.7.6")
    return copy


def release(checkout: Path, version: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/release.py", version]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


def test_a_release_is_a_tag_on_a_dated_changelog_and_a_collection_of_that_version(checkout: Path) -> None:
    done = release(checkout, NEXT)
    assert done.returncode == 0, done.stderr
    assert git(checkout, "describe", "--exact-match") == f"v{NEXT}" and git(checkout, "status", "--porcelain") == ""
    assert re.search(rf"^## {NEXT} \(20\d\d-\d\d-\d\d\)$", (checkout / "CHANGELOG.md").read_text(), re.M)
    assert f"    version: v{NEXT}\n" in (checkout / "README.md").read_text()
    assert (checkout / "dist" / f"rattail-schema_ext-{NEXT}.tar.gz").is_file()
    assert "is a release already" in release(checkout, NEXT).stderr or "begins with" in release(checkout, NEXT).stderr


@pytest.mark.parametrize(
    ("version", "written", "said"),
    [
        ("7.7", {}, "'7.7' is no version"),
        ("7.7.8", {}, f"begins with '## {NEXT} (unreleased)'"),
        (NEXT, {"README.md": "changed"}, "uncommitted changes"),
        (NEXT, {"CHANGELOG.md": "## 7.7.7 (2026-01-01)\n"}, "begins with '## 7.7.7 (2026-01-01)'"),
    ],
    ids=["version", "other", "uncommitted", "dated"],
)
def test_what_is_not_ready_is_refused_and_nothing_is_changed(
    checkout: Path, version: str, written: Mapping[str, str], said: str
) -> None:
    for name, text in written.items():
        (checkout / name).write_text(text)
    before = git(checkout, "status", "--porcelain")
    done = release(checkout, version)
    assert done.returncode == 1 and said in done.stderr, done.stderr
    assert (git(checkout, "status", "--porcelain"), git(checkout, "tag")) == (before, "v7.7.6")


def test_an_older_version_is_refused(checkout: Path) -> None:
    git(checkout, "tag", "v7.10.0")
    assert "v7.10.0 is a release already" in release(checkout, NEXT).stderr
