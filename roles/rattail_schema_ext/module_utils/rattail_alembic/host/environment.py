# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The app's virtual environment: who runs it, what it holds, and where it imports the app from.

Nothing here imports the app: a package is found, never executed.
"""

from __future__ import annotations

import glob
import importlib.util
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from ..problem import Refused
from . import distributions

if TYPE_CHECKING:
    from importlib.metadata import Distribution

PACKAGING_FILES = ("pyproject.toml", "setup.py", "setup.cfg")


def refuse_wrong_user(user: str) -> None:
    """Every file made here belongs to ``user``, so the role must be that user.

    :raises Refused: naming the line to add. ``become_user`` without ``become`` is ignored by Ansible
        in silence, which is the usual reason.
    """
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


def is_running_in(env_dir: str) -> bool:
    """Whether this very interpreter is the environment's."""
    return _same(sys.prefix, env_dir)


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
    error = _start_error(python, user)
    if error is None:
        return Refused(
            "look_failed",
            f"{python} works, but the look at the host as {user!r} failed.",
            "Run again with -vvv to see why; to become another unprivileged user, "
            "Ansible needs pipelining or the package acl on the host.",
        )
    return Refused(
        "environment_broken",
        f"{python} cannot be run as {user!r}: {error}.",
        f"Run it by hand as {user} to see why; a directory above it may be closed to that user.",
    )


def _start_error(python: str, user: str) -> str | None:
    """Why ``user`` cannot run ``python``; None where it runs."""
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        account = pwd.getpwnam(user)
        groups = os.getgrouplist(user, account.pw_gid)
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}
    try:
        done = subprocess.run([python, "-c", "import sys"], cwd="/", capture_output=True, check=False, **identity)
    except OSError as error:
        return error.strerror or str(error)
    lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"it ends with {done.returncode}"]
    return lines[-1].rstrip(".") if done.returncode else None


def version_of(distribution: str) -> str:
    """The installed version of a distribution.

    :raises Refused: naming interpreter and package, where it is missing.
    """
    version = distributions.version(distribution)
    if version is None:
        raise _missing(distribution)
    return version


def refuse_missing(package: str) -> None:
    """:raises Refused: where ``package`` cannot be imported here."""
    if importlib.util.find_spec(package) is None:
        raise _missing(package)


def _missing(package: str) -> Refused:
    advice = "psycopg2-binary" if package == "psycopg2" else package
    return Refused(
        "package_missing",
        f"{sys.executable} has no package {package!r}.",
        f"Install it: {sys.executable} -m pip install {advice}.",
    )


def version_tuple(version: str) -> tuple[int, ...]:
    """``"1.16.4"`` as ``(1, 16, 4)``, up to the first part that is no number."""
    return tuple(int(part) for part in takewhile(str.isdigit, version.split(".")))


def package_directory(package: str) -> str | None:
    """The directory that ``import package`` would use, or None. ``package`` may be dotted.

    Only the top-level package is looked up, so nothing is imported. Packages below it are expected in
    directories of their names.
    """
    top, _, rest = package.partition(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    places = (spec and spec.submodule_search_locations) or ()
    directories = (os.path.join(place, *rest.split(".")) if rest else place for place in places)
    return next(filter(os.path.isdir, directories), None)


def is_below(path: str, directory: str) -> bool:
    """Whether ``path`` is ``directory`` or lies in it, symbolic links resolved."""
    inner, outer = os.path.realpath(path), os.path.realpath(directory)
    return inner == outer or inner.startswith(outer + os.sep)


def install_reason(app: str, source_dir: str) -> str:
    """Why ``source_dir`` has to be installed as editable (again); empty where it need not be.

    Three reasons: the app is imported from elsewhere, a packaging file changed after the install, or a
    declared dependency is not met. A file has changed if its inode change time is newer than pip's record:
    a content hash would need a state file, and rsync keeps modification times.
    """
    found = package_directory(app)
    if found is None:
        return f"{app} is not installed"
    if not is_below(found, source_dir):
        return f"{app} is imported from {found}"
    record = _editable_record(source_dir)
    if record is None:
        return f"{app} is not an editable install of {source_dir}"
    installed = os.stat(record).st_mtime
    for name in PACKAGING_FILES:
        path = os.path.join(source_dir, name)
        if os.path.exists(path) and os.stat(path).st_ctime > installed:
            return f"{name} changed since the install"
    dist_info = os.path.dirname(record)
    if distributions.surely_met(dist_info):
        return ""
    from importlib.metadata import PathDistribution

    return next((f"the dependency {unmet} is not met" for unmet in _unmet(PathDistribution(Path(dist_info)))), "")


def _editable_record(source_dir: str) -> str | None:
    """pip's record (PEP 610) of the editable install of ``source_dir``."""
    for directory in sys.path:
        for record in glob.glob(os.path.join(glob.escape(directory), "*.dist-info", "direct_url.json")):
            try:
                content = json.loads(Path(record).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            url = urlparse(content.get("url", ""))
            editable = content.get("dir_info", {}).get("editable", False)
            if editable and url.scheme == "file" and _same(unquote(url.path), source_dir):
                return record
    return None


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _unmet(distribution: Distribution, extra: str = "") -> Iterator[str]:
    """Direct requirements that are not installed, or not in a version that is required.

    Extras of a requirement (``rattail[db]``) are followed one level. Without ``packaging`` or pip's copy
    of it, none is found.
    """
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import distribution as installed

    try:
        from packaging.requirements import Requirement
    except ImportError:
        try:
            from pip._vendor.packaging.requirements import Requirement  # type: ignore[assignment]  # the same class
        except ImportError:
            return
    for line in distribution.requires or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker and not marker.evaluate({"extra": extra}):
            continue
        if extra and (not marker or marker.evaluate({"extra": ""})):
            continue  # required without the extra, too
        try:
            found = installed(requirement.name)
        except PackageNotFoundError:
            yield str(requirement)
            continue
        if not requirement.specifier.contains(found.version, prereleases=True):
            yield f"{requirement} (installed: {found.version})"
        elif not extra:
            for name in sorted(requirement.extras):
                yield from _unmet(found, name)
