# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is installed in this Python, and whether that is what an installed distribution requires.

importlib.metadata and packaging answer both, but a look with nothing to do would spend a fifth of its time on
importing them. So the plain cases are answered here, from the files that those two read. In any other they are asked.
"""

from __future__ import annotations

import operator
import os
import re
import sys
from itertools import zip_longest

# PEP 508, without URLs and without markers other than that of one extra
_REQUIREMENT = re.compile(
    r"(?P<name>\w[\w.-]*)\s*(?:\[(?P<extras>[\w\s,.-]*)\])?\s*\(?(?P<clauses>[^();@\[\]]*)\)?\s*(?:;\s*(?P<marker>.*))?",
    re.ASCII,
)
_EXTRA = re.compile(r"extra\s*==\s*(['\"])(?P<extra>[a-z0-9]+)\1", re.ASCII)
# PEP 440, without wildcards and without anything but numbers
_RELEASE = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_CLAUSE = re.compile(r"\s*(==|!=|<=|>=|<|>|~=)\s*([0-9]+(?:\.[0-9]+)*)\s*")
_COMPARE = {
    "==": operator.eq, "!=": operator.ne, "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip


def version(name: str) -> str | None:
    """The version of an installed distribution; None where it is not installed."""
    found = _version(_installed().get(_normal(name), ""))
    if found:
        return found
    import importlib.metadata

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def surely_met(dist_info: str) -> bool:
    """Whether everything that a distribution requires is installed, those extras that it names of others included.

    :param dist_info: the directory of its metadata.
    :return: False where something is not met, and where only packaging knows.
    """
    return _met(dist_info, "", _installed())


def _met(dist_info: str, extra: str, installed: dict[str, str]) -> bool:
    requirements = _required(dist_info, extra)
    for requirement in requirements or ():
        there = installed.get(_normal(requirement["name"]), "")
        if not there or not _satisfied(there, requirement["clauses"]):
            return False
        # those of an extra are followed no further
        further = [] if extra else re.findall(r"[^\s,]+", requirement["extras"] or "")
        if not all(_met(there, each, installed) for each in further):
            return False
    return requirements is not None


def _installed() -> dict[str, str]:
    """Name → ``.dist-info`` directory, for the first of each name on ``sys.path``; empty where that is not clear."""
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
                plain = kind == "dist-info" and name not in here
                here[name] = os.path.join(place, child) if plain else ""
        found = {**here, **found}
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _fields(dist_info: str, field: str) -> list[str] | None:
    """The values of a field of the metadata; None where they are not plain."""
    try:
        with open(os.path.join(dist_info, "METADATA"), encoding="utf-8") as file:
            header = file.read().partition("\n\n")[0]
    except (OSError, UnicodeDecodeError):
        return None
    if re.search(r"^[ \t]", header, re.MULTILINE):  # a continuation line
        return None
    return re.findall(rf"^{field}:[ \t]*(.*?)[ \t]*$", header, re.MULTILINE | re.IGNORECASE)


def _version(dist_info: str) -> str:
    """The version of a distribution; empty where it is not plain."""
    found = _fields(dist_info, "Version") if dist_info else None
    return found[0] if found and len(found) == 1 else ""


def _required(dist_info: str, extra: str) -> list[re.Match[str]] | None:
    """What a distribution requires in any case, or what an extra adds to that; None where that is not plain."""
    lines = _fields(dist_info, "Requires-Dist")
    if lines is None or not re.fullmatch("[a-z0-9]*", extra):
        return None
    found = []
    for line in lines:
        requirement = _REQUIREMENT.fullmatch(line)
        marker = (requirement["marker"] if requirement else line.partition(";")[2]) or ""
        only = _EXTRA.fullmatch(marker.strip())
        if (only and only["extra"] != extra) or (extra and "extra" not in marker):
            continue  # of another extra, or required without the extra, too
        if requirement is None or (marker and not only):
            return None
        found.append(requirement)
    return found


def _satisfied(dist_info: str, clauses: str) -> bool:
    """Whether an installed distribution is in a version that is required; False, too, where that is not plain."""
    if not clauses.strip():
        return True
    installed = _version(dist_info)
    return bool(_RELEASE.fullmatch(installed)) and all(_holds(installed, each) for each in clauses.split(","))


def _holds(installed: str, clause: str) -> bool:
    found = _CLAUSE.fullmatch(clause)
    if found is None:
        return False
    here, there = zip(*zip_longest(*(map(int, release.split(".")) for release in (installed, found[2])), fillvalue=0))
    if found[1] != "~=":
        return bool(_COMPARE[found[1]](here, there))
    # ~=1.4.2 is >=1.4.2 and ==1.4.*, and one number alone is not allowed
    same = found[2].count(".")
    return same > 0 and here >= there and here[:same] == there[:same]
