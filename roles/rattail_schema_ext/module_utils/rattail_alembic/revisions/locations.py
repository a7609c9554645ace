# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Version locations: from what the config file says to directories and the files in them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

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

    @property
    def name(self) -> str:
        """The app or integration whose revisions it has: ``acme.poser`` of ``acme.poser.db:alembic/versions``."""
        return re.split(r"\.db(?:\.|$)", self.package)[0]


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
    run in. ``source_dir`` is the app's source, of which ``source_files`` are those :func:`signs` that the
    commit wanted has: a package found there is taken from there, whether it is installed or not.

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
    if not source_dir:
        return Location(spec, package, directory)
    # Where links lead is for the commit wanted to say, unless they lead to the source.
    relative = os.path.relpath(directory, source_dir)
    if _is_outside(relative):
        relative = os.path.relpath(os.path.realpath(directory), os.path.realpath(source_dir))
    return Location(spec, package, directory, None if _is_outside(relative) else relative)


def _is_outside(relative: str) -> bool:
    return relative.split(os.sep)[0] == os.pardir


def _package_in_source(package: str, source_dir: str, source_files: Iterable[str]) -> str:
    """The directory of ``package`` in a source tree: at its top, or below ``src``. Empty where it is not there."""
    offered = set(source_files)
    found = next((root for name, root in signs(package).items() if name in offered), None)
    return os.path.join(source_dir, found, *package.split(".")) if found is not None else ""


def signs(package: str) -> dict[str, str]:
    """What shows that a source tree has ``package``, the surest first: name in the tree → the root it is below.

    Packages above others, or all of them, may have no ``__init__.py`` (PEP 420).
    """
    parts = package.split(".")
    places = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    names = [f"{place}/__init__.py" for place in places] + places[-1:]
    return {root + name: root for name in names for root in ("", "src/")}


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
