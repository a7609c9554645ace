# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Version locations: from what the config file says to directories and the files in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ..host.environment import is_below
from ..problem import Refused


class Location(NamedTuple):
    """One of ``version_locations``, resolved.

    ``directory`` is empty where the package cannot be found. ``relative`` is the path inside the
    app's source, and None for a location that lies elsewhere.
    """

    spec: str
    package: str
    directory: str
    relative: str | None = None


def standard(package: str) -> str:
    """Where a package keeps its revisions, as Rattail's manual and its integrations have it."""
    return f"{package}.db:alembic/versions"


def package_of(spec: str) -> str:
    """The package of a ``pkg:path`` location, and empty for a plain path.

    Alembic's rule (``coerce_resource_to_filename``): a path that is not absolute and has a colon.
    """
    return "" if os.path.isabs(spec) or ":" not in spec else spec.split(":", 1)[0]


def resolve(
    spec: str,
    *,
    config_file: str,
    working_dir: str,
    package_directory: Callable[[str], str | None],
    source_dir: str = "",
    source_files: Iterable[str] = (),
) -> Location:
    """Where ``spec`` leads.

    A plain relative path counts from ``working_dir``, as Alembic counts it from the directory it is
    run in. ``source_dir`` is the app's source, of which ``source_files`` are the files that the
    commit wanted holds: a package found there is taken from there, whether it is installed or not.

    :raises Refused: where ``spec`` has an interpolation other than ``%(here)s``.
    """
    path = spec.replace("%(here)s", os.path.dirname(os.path.abspath(config_file)))
    if "%(" in path:
        raise Refused(
            "location_interpolation",
            f"The version location {spec!r} uses an interpolation other than %(here)s.",
            "Write it out in [alembic] of the config file.",
        )
    path = path.replace("%%", "%")
    package, base = package_of(path), working_dir
    if package:
        path = os.path.join(*path.split(":")[1:])
        base = _package_in_source(package, source_dir, source_files) or package_directory(package) or ""
        if not base:
            return Location(spec, package, "")
    directory = os.path.normpath(os.path.join(base, path))
    if not source_dir or not is_below(directory, source_dir):
        return Location(spec, package, directory)
    relative = os.path.relpath(os.path.realpath(directory), os.path.realpath(source_dir))
    return Location(spec, package, directory, relative)


def _package_in_source(package: str, source_dir: str, source_files: Iterable[str]) -> str:
    """The directory of ``package`` in a source tree: at its top, or below ``src``. Empty where it is not there."""
    parts = package.split(".")
    tops = {f"{root}{parts[0]}/__init__.py": root for root in ("", "src/")}
    found = next((name for name in source_files if name in tops), None)
    return os.path.join(source_dir, tops[found], *parts) if found else ""


def source_files(directory: str, package: str) -> list[str]:
    """What a work tree on disk offers to :func:`resolve` for ``package``: the names relative to ``directory``."""
    top = package.split(".")[0]
    names = (f"{root}{top}/__init__.py" for root in ("", "src/"))
    return [name for name in names if os.path.exists(os.path.join(directory, name))]


def names_in(directory: str, *, recursive: bool = False) -> Iterator[str]:
    """The files of a version location, relative to it, in the order in which Alembic loads them."""
    for root, directories, files in os.walk(directory):
        directories[:] = sorted(name for name in directories if recursive and name != "__pycache__")
        below = "" if root == directory else os.path.relpath(root, directory)
        for name in sorted(files):
            yield os.path.join(below, name)


def names_below(files: Iterable[str], relative: str, *, recursive: bool = False) -> list[str]:
    """The same for the files of a commit, whose names are relative to the source."""
    prefix = "" if relative in ("", ".") else relative.rstrip("/") + "/"
    below = (name[len(prefix) :] for name in files if name.startswith(prefix))
    kept = [name for name in below if "__pycache__" not in name.split("/") and (recursive or "/" not in name)]
    return sorted(kept, key=os.path.split)
