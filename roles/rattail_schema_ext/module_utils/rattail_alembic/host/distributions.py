# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is installed in this Python, and whether that is what an installed distribution requires, and the role itself.

importlib.metadata and packaging answer both, but a look with nothing to do would spend a fifth of its time on
importing them. So the plain cases are answered here, from the files that those two read. In any other they are asked.
"""

from __future__ import annotations

import operator
import os
import re
import sys
from collections.abc import Iterator, Mapping

from ..problem import Refused

# Name → the oldest and the newest release, as scripts/document.py has them from supported.toml.
# ranges
RANGES = {
    "Python": ("3.9", "3.14"),
    "pip": ("21.3", "26.3"),
    "Alembic": ("1.7", "1.20"),
    "SQLAlchemy": ("1.4", "2.1"),
    "psycopg2": ("2.8", "2.9"),
    "psycopg": ("3.1", "3.3"),
    "PostgreSQL": ("13", "18"),
}
# /ranges

_REMEDIES = {
    "Python": "Make the environment anew with Python {oldest} or later.",
    "PostgreSQL": "Upgrade the server to PostgreSQL {oldest} or later.",
    "pip": "Upgrade it: {python} -m pip install 'pip>={oldest}'.",
    # not to a release with another first number, which Rattail may not work with
    "": "Upgrade it: {python} -m pip install '{name}~={oldest}'.",
}

# PEP 508, without URLs and markers
_REQUIREMENT = re.compile(
    r"\s*(?P<name>\w[\w.-]*)\s*(?:\[(?P<extras>[a-z0-9\s,]*)\])?\s*\(?(?P<clauses>[^();@\[\]]*)\)?\s*", re.ASCII
)
_EXTRA = re.compile(r"\s*extra\s*==\s*(['\"])(?P<extra>[a-z0-9]+)\1\s*", re.ASCII)
# PEP 440, without wildcards and without anything but numbers
_CLAUSE = re.compile(r"\s*(==|!=|<=|>=|<|>)\s*([0-9.]+)\s*")
_COMPARE = {
    "==": operator.eq, "!=": operator.ne, "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
# What is raised here where something is not there, or not plain.
_UNSURE = (KeyError, OSError, ValueError)


def judge(found: Mapping[str, str]) -> list[str]:
    """A warning about releases that are newer than those that the role was tested with.

    :param found: names in ``RANGES`` → version, of which only the first numbers count.
    :raises Refused: ``release_too_old``, at the first that is too old.
    """
    newer = []
    for name, version in found.items():
        oldest, newest = RANGES[name]
        if _first_numbers(version) < _first_numbers(oldest):
            remedy = _REMEDIES.get(name, _REMEDIES[""])
            raise Refused(
                "release_too_old",
                f"{name} {version} is older than {oldest}, the oldest release that the role works with.",
                remedy.format(name=name, oldest=oldest, python=sys.executable),
            )
        if _first_numbers(version)[: len(_first_numbers(newest))] > _first_numbers(newest):
            newer.append(f"{name} {version} (the newest tested is {newest})")
    return [f"The role was not tested with {' and '.join(newer)}."] if newer else []


def version(name: str) -> str | None:
    """The version of an installed distribution; None where it is not installed."""
    try:
        return _version(_installed()[_normal(name)])
    except _UNSURE:
        import importlib.metadata

        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None


def surely_met(dist_info: str) -> bool:
    """Whether all that a distribution requires is installed; False, too, where only packaging knows."""
    try:
        return _met(os.path.join(dist_info, "METADATA"), "", _installed())
    except _UNSURE:
        return False


def _met(metadata: str, extra: str, installed: dict[str, str]) -> bool:
    for requirement in _required(metadata, extra):
        there = installed[_normal(requirement["name"])]
        if requirement["clauses"].strip():
            found = _version(there)
            if not all(_holds(found, clause) for clause in requirement["clauses"].split(",")):
                return False
        # those of an extra are followed no further
        further = [] if extra else re.findall(r"[^\s,]+", requirement["extras"] or "")
        if not all(_met(there, each, installed) for each in further):
            return False
    return True


def _installed() -> dict[str, str]:
    """Name → file of metadata, for the first of each name on ``sys.path``; empty where that is not clear."""
    found: dict[str, str] = {}
    for place in sys.path:
        here: dict[str, str] = {}
        try:
            children = os.listdir(place or ".")
        except OSError:  # not there, or an archive
            continue
        for child in children:
            stem, _, kind = child.lower().rpartition(".")
            if kind in ("dist-info", "egg-info"):
                name = _normal(stem.partition("-")[0])
                here[name] = "" if name in here else os.path.join(place, child, "METADATA")
        found = {**here, **found}
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _fields(metadata: str, field: str) -> list[str]:
    with open(metadata, encoding="utf-8") as file:
        header = file.read().partition("\n\n")[0]
    if re.search(r"^[ \t]", header, re.MULTILINE):
        raise ValueError("a continuation line")
    return re.findall(rf"^{field}:[ \t]*(.*?)[ \t]*$", header, re.MULTILINE | re.IGNORECASE)


def _version(metadata: str) -> str:
    (found,) = _fields(metadata, "Version")
    return found


def _required(metadata: str, extra: str) -> Iterator[re.Match[str]]:
    """What a distribution requires in any case, or what an extra adds to that."""
    for line in _fields(metadata, "Requires-Dist"):
        text, _, marker = line.partition(";")
        only = _EXTRA.fullmatch(marker)
        if (only and only["extra"] != extra) or (extra and "extra" not in marker):
            continue  # of another extra, or required without the extra, too
        requirement = _REQUIREMENT.fullmatch(text)
        if requirement is None or (marker and not only):
            raise ValueError(line)
        yield requirement


def _holds(installed: str, clause: str) -> bool:
    found = _CLAUSE.fullmatch(clause)
    if found is None:
        raise ValueError(clause)
    return bool(_COMPARE[found[1]](_numbers(installed), _numbers(found[2])))


def _first_numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version.partition(" ")[0])]


def _numbers(release: str) -> list[int]:
    """The numbers of a release that is made of nothing else, without zeros at its end: 1.0 is 1."""
    return [int(part) for part in re.sub(r"(\.0+)*$", "", release).split(".")]
