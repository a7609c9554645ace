# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The app's virtual environment: who runs it, what it holds, and where it would import the app from."""

from __future__ import annotations

import glob
import importlib.util
import json
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from ..problem import Refused
from . import distributions

PYPROJECT, SETUP_PY = "pyproject.toml", "setup.py"
PACKAGING_FILES = (PYPROJECT, SETUP_PY, "setup.cfg")


def refuse_wrong_user(user: str) -> None:
    """:raises Refused: where this does not run as ``user``, usually since Ansible ignores a lone ``become_user``."""
    try:
        wanted = pwd.getpwnam(user).pw_uid
    except KeyError:
        raise Refused(
            "user_unknown",
            f"There is no user {user!r} on this host.",
            "Create it, or name the owner of the environment: rattail_schema_ext_user: NAME.",
        ) from None
    if os.geteuid() != wanted:
        running = user_name(os.geteuid())
        raise Refused(
            "become_missing",
            f"The role runs as {running!r} and cannot act as {user!r}, who owns the environment.",
            f"Add `become: true` to the play, or set rattail_schema_ext_user: {running}.",
        )


def user_name(uid: int) -> str:
    """The name of a user; the number, where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def explain_from_outside(env_dir: str, user: str) -> Refused:
    """Why the environment's Python could not be started, found out with another Python on the host."""
    try:
        refuse_wrong_user(user)
    except Refused as refused:
        if refused.problem.code == "user_unknown" or os.geteuid() != 0:
            return refused
    python = os.path.join(env_dir, "bin", "python")
    if not os.path.exists(python):
        return Refused(
            "environment_missing",
            f"There is no Python environment at {env_dir} ({python} does not exist).",
            "Create it (python3 -m venv) and install the app's base into it, or correct rattail_schema_ext_env_dir.",
        )
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        account = pwd.getpwnam(user)
        groups = os.getgrouplist(user, account.pw_gid)
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}
    try:
        # without our terminal and input: it is that user's program
        apart: dict[str, Any] = {"cwd": "/", "stdin": subprocess.DEVNULL, "start_new_session": True}
        version = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
        done = subprocess.run([python, "-c", version], capture_output=True, check=True, **apart, **identity)
        if re.fullmatch(rb"\d+\.\d+\.\d+\s*", done.stdout):
            distributions.judge({"Python": done.stdout.decode().strip()})
    except Refused as refused:
        return refused
    except OSError as error:
        why = error.strerror or str(error)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        why = lines[-1].rstrip(".") if lines else f"it ends with {error.returncode}"
    else:
        return Refused(
            "look_failed",
            f"{python} works, but the look at the host as {user!r} failed.",
            "Run again with -vvv to see it whole; to become another unprivileged user, "
            "Ansible needs pipelining or the package acl on the host.",
        )
    return Refused(
        "environment_broken",
        f"{python} cannot be run as {user!r}: {why}.",
        f"Run it by hand as {user} to see why; a directory above it may be closed to that user.",
    )


def refuse_unable_pip(files: Collection[str]) -> None:
    """:raises Refused: where this environment has no pip that can install a source as editable.

    :param files: which of ``PACKAGING_FILES`` the source has.
    """
    if importlib.util.find_spec("pip") is None:
        able = importlib.util.find_spec("ensurepip")
        first = "" if able else "Install the operating system's python3-venv, then "
        raise Refused(
            "pip_missing",
            f"The app has to be installed, and {sys.executable} has no pip.",
            f"{first}{'run' if first else 'Run'} {sys.executable} -m ensurepip, or install it yourself and set"
            " rattail_schema_ext_install_enabled: false.",
        )
    if SETUP_PY not in files or PYPROJECT in files:
        # An old one needs a setup.py alone to install a source as editable.
        distributions.judge({"pip": version_of("pip")})


def version_of(distribution: str) -> str:
    """:raises Refused: where ``distribution`` is not installed."""
    version = distributions.version(distribution)
    if version is None:
        raise _missing(distribution)
    return version


def refuse_missing(*packages: str) -> None:
    """:raises Refused: where one of ``packages`` cannot be imported here."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise _missing(*missing)


# What is installed so that a package can be imported, and with a core the driver that its SQLAlchemy takes.
_BRINGS = {"rattail": "'rattail[db]' psycopg2-binary", "wuttjamaican": "'WuttJamaican[db]' 'psycopg[binary]'"}


def _missing(*packages: str) -> Refused:
    several = f"packages {' and '.join(map(repr, packages))}" if len(packages) > 1 else f"package {packages[0]!r}"
    names = " ".join(_BRINGS.get(package, package) for package in packages)
    first = "" if importlib.util.find_spec("pip") else f"{sys.executable} -m ensurepip && "
    return Refused(
        "package_missing",
        f"{sys.executable} has no {several}.",
        f"Install what is missing: {first}{sys.executable} -m pip install {names}.",
    )


def version_tuple(version: str) -> tuple[int, ...]:
    """``"1.16.4"`` as ``(1, 16, 4)``, up to the first part that is no number."""
    return tuple(int(part) for part in takewhile(str.isdigit, version.split(".")))


def package_directory(package: str) -> str | None:
    """The directory that ``import package`` would use, or None, without an import of the packages above it."""
    top, _, rest = package.partition(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    places = (spec and spec.submodule_search_locations) or ()
    directories = (os.path.join(place, *rest.split(".")) if rest else place for place in places)
    return next(filter(os.path.isdir, directories), None)


def is_same(path: str, other: str) -> bool:
    """Whether both are one place, symbolic links resolved."""
    return os.path.realpath(path) == os.path.realpath(other)


def is_below(path: str, directory: str) -> bool:
    """Whether ``path`` is ``directory`` or lies in it, symbolic links resolved."""
    inner, outer = os.path.realpath(path), os.path.realpath(directory)
    return inner == outer or inner.startswith(outer + os.sep)


def install_reason(app: str, source_dir: str) -> str:
    """Why ``source_dir`` has to be installed as editable (again); empty where it need not be.

    A file has changed if its inode change time is newer than pip's record: a content hash would need a state file,
    and rsync keeps modification times.
    """
    found = package_directory(app)
    if found is None:
        return f"{app} is not installed"
    if not is_below(found, source_dir):
        return f"{app} is imported from {found}"
    record, metadata = _editable_record(source_dir, found)
    if not record:
        return f"{app} is not an editable install of {source_dir}"
    installed = os.stat(record).st_mtime
    for name in PACKAGING_FILES:
        path = os.path.join(source_dir, name)
        if os.path.exists(path) and os.stat(path).st_ctime > installed:
            return f"{name} changed since the install"
    if distributions.surely_met(metadata):
        return ""
    from importlib.metadata import PathDistribution

    requires = PathDistribution(Path(metadata)).requires or ()
    return next((f"the dependency {unmet} is not met" for unmet in _unmet(requires)), "")


def _editable_record(source_dir: str, package: str) -> tuple[str, str]:
    """The file in which pip keeps that ``source_dir`` is installed as editable, and the directory of the metadata.

    Where a build backend made the install, a record by PEP 610. Where ``setup.py develop`` did, a link to the place in
    the source that has the metadata and the directory ``package``. Empty where there is neither.
    """
    for directory in sys.path:
        for record in glob.glob(os.path.join(glob.escape(directory), "*.dist-info", "direct_url.json")):
            try:
                content = json.loads(Path(record).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            url = urlparse(content.get("url", ""))
            editable = content.get("dir_info", {}).get("editable", False)
            if editable and url.scheme == "file" and is_same(unquote(url.path), source_dir):
                return record, os.path.dirname(record)
        for link in glob.glob(os.path.join(glob.escape(directory), "*.egg-link")):
            place = Path(link).read_text(encoding="utf-8", errors="surrogateescape").partition("\n")[0]
            for metadata in glob.glob(os.path.join(glob.escape(place), "*.egg-info")):
                if is_below(place, source_dir) and is_below(package, place):
                    return link, metadata
    return "", ""


def _unmet(requires: Iterable[str], extra: str = "") -> Iterator[str]:
    """Requirements that are not installed, or not in a version that is required; none without ``packaging``.

    Extras of a requirement (``rattail[db]``) are followed one level.
    """
    from importlib import metadata

    try:
        from packaging.requirements import Requirement
    except ImportError:
        try:
            from pip._vendor.packaging.requirements import Requirement  # type: ignore[assignment]  # the same class
        except ImportError:
            return
    for line in requires:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker and not marker.evaluate({"extra": extra}):
            continue
        if extra and (not marker or marker.evaluate({"extra": ""})):
            continue  # required without the extra, too
        try:
            found = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            yield str(requirement)
            continue
        if not requirement.specifier.contains(found.version, prereleases=True):
            yield f"{requirement} (installed: {found.version})"
        elif not extra:
            for name in sorted(requirement.extras):
                yield from _unmet(found.requires or (), name)
