# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which names belong to an extension, for each version location and each revision."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ..policy import prefixes
from ..policy.prefixes import Prefixes
from ..revisions.locations import package_of, standard
from .observation import Ready

_CREATES = re.compile(r"\b(?:create_table\(|rename_table\(\s*['\"]\w+['\"],)\s*['\"](\w+)['\"]")


def of_revisions(ready: Ready, whose: Mapping[str, Prefixes]) -> dict[str, Prefixes]:
    """The names of each revision that is not core's: those of the version location that its file is in.

    :param whose: from :func:`of_locations`.
    """
    revisions = ready.graph.revisions.values()
    return {each.revision: whose[each.location] for each in revisions if each.location in whose}


def of_locations(ready: Ready) -> dict[str, Prefixes]:
    """The names of each version location that is not core's.

    A location that is a plain path, and so in no package, is the app's.
    """
    request = ready.request
    core = request.base.version_location
    core_directories = {os.path.realpath(each.directory) for each in ready.locations if each.spec == core}
    own: dict[str, tuple[str, ...]] = {}
    for location in ready.locations:
        package = package_of(location.spec).split(".")[0]
        if os.path.realpath(location.directory) in core_directories:
            continue
        if not package or location.spec == standard(request.app):
            own[location.spec] = _app_prefixes(ready)
        else:
            own[location.spec] = prefixes.of_package(package, request.integration_prefixes)
    tables = frozenset(_core_tables(ready, core))
    return {
        spec: Prefixes(mine, tuple(each for other, given in own.items() if other != spec for each in given), tables)
        for spec, mine in own.items()
    }


def _app_prefixes(ready: Ready) -> tuple[str, ...]:
    """What the user says; by default the app's name, or the real prefixes of the tables of a published app."""
    request = ready.request
    given = prefixes.clean(request.prefixes)
    return prefixes.of_package(request.app) if given == (request.app,) else given


def _core_tables(ready: Ready, core: str) -> set[str]:
    """Names of tables that core's revisions make, as far as a search of their text finds them."""
    paths = (each.path for each in ready.graph.revisions.values() if each.location == core)
    return {name for path in paths for name in _CREATES.findall(ready.texts.get(path, ""))}
