# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is installed in this Python, and whether that is what an installed distribution requires.

importlib.metadata and packaging answer both, but a look with nothing to do would spend a fifth of its time on
importing them. So the plain cases are answered here from the files that those two read; in any other they are asked.
"""

from __future__ import annotations

import os
import re
import sys

# PEP 508, without URLs and without markers other than that of one extra
_REQUIREMENT = re.compile(
    r"(?P<name>\w[\w.-]*)\s*(?:\[(?P<extras>[\w\s,.-]*)\])?\s*(?P<clauses>\(?[^();@\[\]]*\)?)\s*(?:;\s*(?P<marker>.*))?",
    re.ASCII,
)
_EXTRA = re.compile(r"extra\s*==\s*(['\"])(?P<extra>[a-z0-9]+)\1", re.ASCII)
# PEP 440, without wildcards and without anything but numbers
_RELEASE = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_CLAUSE = re.compile(r"\s*(==|!=|<=|>=|<|>|~=)\s*([0-9]+(?:\.[0-9]+)*)\s*")


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
    :return: False where something is not met, and where it cannot be told here.
    """
    installed = _installed()

    def met(requirement: re.Match[str] | None) -> str:
        """The directory of what meets it; empty where nothing does."""
        there = installed.get(_normal(requirement["name"]), "") if requirement else ""
        return there if requirement and there and _satisfied(there, requirement["clauses"]) else ""

    for requirement in _required(dist_info):
        there = met(requirement)
        if not requirement or not there:
            return False
        extras = filter(None, re.split(r"[\s,]+", requirement["extras"] or ""))
        if not all(met(further) for extra in extras for further in _required(there, extra)):
            return False
    return True


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
    """The values of a field of the metadata; None where they cannot be told."""
    try:
        with open(os.path.join(dist_info, "METADATA"), encoding="utf-8") as file:
            header = file.read().partition("\n\n")[0]
    except (OSError, UnicodeDecodeError):
        return None
    if re.search(r"^[ \t]", header, re.MULTILINE):  # a line that goes on
        return None
    return re.findall(rf"^{field}:[ \t]*(.*?)[ \t]*$", header, re.MULTILINE | re.IGNORECASE)


def _version(dist_info: str) -> str:
    """The version of a distribution; empty where it cannot be told."""
    found = _fields(dist_info, "Version") if dist_info else None
    return found[0] if found and len(found) == 1 else ""


def _required(dist_info: str, extra: str = "") -> list[re.Match[str] | None]:
    """What a distribution requires in any case, or what an extra adds to that; None for what cannot be told."""
    lines = _fields(dist_info, "Requires-Dist")
    if lines is None:
        return [None]
    found: list[re.Match[str] | None] = []
    for line in lines:
        requirement = _REQUIREMENT.fullmatch(line)
        marker = (requirement["marker"] if requirement else line.partition(";")[2]) or ""
        if "extra" not in marker:
            if extra:
                continue  # required without the extra, too
            found.append(None if marker else requirement)
        else:
            only = _EXTRA.fullmatch(marker.strip())
            if only is None or (extra and not re.fullmatch("[a-z0-9]+", extra)):
                found.append(None)
            elif only["extra"] == extra:
                found.append(requirement)
    return found


def _satisfied(dist_info: str, clauses: str) -> bool:
    """Whether an installed distribution is in a version that is asked for; False, too, where it cannot be told."""
    clauses = clauses.strip()
    if clauses.startswith("(") and clauses.endswith(")"):
        clauses = clauses[1:-1].strip()
    if not clauses:
        return True
    installed = _version(dist_info)
    return bool(_RELEASE.fullmatch(installed)) and all(_holds(installed, each) for each in clauses.split(","))


def _holds(installed: str, clause: str) -> bool:
    found = _CLAUSE.fullmatch(clause)
    if found is None:
        return False
    operator, prefix = found[1], found[2].count(".")
    here, there = _numbers(installed), _numbers(found[2])
    length = max(len(here), len(there))
    here += [0] * (length - len(here))
    there += [0] * (length - len(there))
    return {
        "==": here == there,
        "!=": here != there,
        "<=": here <= there,
        ">=": here >= there,
        "<": here < there,
        ">": here > there,
        # one number alone would leave nothing to agree in, and is not allowed
        "~=": prefix > 0 and here >= there and here[:prefix] == there[:prefix],
    }[operator]


def _numbers(release: str) -> list[int]:
    return [int(number) for number in release.split(".")]
