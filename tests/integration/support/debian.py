"""Programs out of Debian's packages, unpacked below .cache/ and never installed: no root is needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from .lacking import lacking
from .places import CACHE, locked

DIRECTORY = CACHE / "debian"

# Lists and archives of our own: the system's are neither needed nor touched. As root, apt would
# otherwise fetch as a user that cannot write here.
_OWN = [
    *("-o", f"Dir::State::Lists={DIRECTORY / 'lists'}"),
    *("-o", f"Dir::Cache={DIRECTORY / 'cache'}"),
]
_AS_WE_ARE = ["-o", "APT::Sandbox::User=root"]


def programs(*packages: str) -> Path:
    """The root of a tree with ``packages`` and what they need and this machine has not.

    A package's files are where they would be below ``/``; run a program with ``environment(root)``.
    Where there is no apt, or it cannot fetch them, the test fails (see ``lacking``).
    """
    root = DIRECTORY / "+".join(packages)
    if not root.is_dir() and not (shutil.which("apt-get") and shutil.which("dpkg")):
        lacking(_named(packages), "there is no apt-get and dpkg")
    with locked(DIRECTORY / "lock"):
        if not root.is_dir():
            unfinished = root.with_suffix(".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            for archive in _fetch(packages, unfinished):
                subprocess.run(["dpkg", "-x", archive, unfinished], check=True)
                archive.unlink()
            unfinished.rename(root)
    return root


def environment(root: Path) -> dict[str, str]:
    """The environment in which programs of ``root`` find their libraries."""
    libraries = [str(path) for path in sorted(root.glob("usr/lib/*-linux-*")) + sorted(root.glob("lib/*-linux-*"))]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}


def available(pattern: str) -> list[str]:
    """The names of the packages, of those apt knows here, that a regular expression matches whole; sorted."""
    if not shutil.which("apt-cache"):
        return []
    with locked(DIRECTORY / "lock"):
        for own in ([], _OWN):
            if own:
                _update()
            names = _run(["apt-cache", *own, "pkgnames"]).stdout.split()
            found = sorted(name for name in names if re.fullmatch(pattern, name))
            # packages that are installed are known without any list
            if found and any(_candidate(name, own) for name in found):
                return [name for name in found if _candidate(name, own)]
    return []


def _candidate(name: str, options: list[str]) -> bool:
    return bool(re.search(r"https?://|cdrom:|file:", _run(["apt-cache", *options, "policy", name]).stdout))


def _fetch(packages: tuple[str, ...], directory: Path) -> list[Path]:
    """The archives, by the system's lists where they are there and not out of date, else by fresh ones."""
    said = ""
    for own in ([], _OWN):
        if own:
            _update()
        planned = _run(["apt-get", *own, "--simulate", "--no-install-recommends", "install", *packages]).stdout
        wanted = {*packages, *re.findall(r"^Inst (\S+)", planned, re.MULTILINE)}
        done = _run(["apt-get", *_AS_WE_ARE, *own, "download", *sorted(wanted)], cwd=directory)
        found = sorted(directory.glob("*.deb"))
        if done.returncode == 0 and len(found) == len(wanted):
            return found
        said = done.stderr
        for archive in found:
            archive.unlink()
    return lacking(_named(packages), f"apt cannot fetch it: {' '.join(said.split())}")


def _named(packages: tuple[str, ...]) -> str:
    return f"Debian's package {' and '.join(packages)}"


def _update() -> None:
    for name in ("lists", "cache"):
        (DIRECTORY / name / "partial").mkdir(parents=True, exist_ok=True)
    _run(["apt-get", *_AS_WE_ARE, *_OWN, "update"])


def _run(command: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, "LC_ALL": "C.UTF-8"}, capture_output=True, text=True, check=False
    )
