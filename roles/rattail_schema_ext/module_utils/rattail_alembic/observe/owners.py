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

# What makes a table, as far as a search of a revision's text finds it.
_CREATES = re.compile(r"\b(?:create_table\(|rename_table\(\s*['\"]\w+['\"],)\s*['\"](\w+)['\"]")


def of_locations(ready: Ready) -> dict[str, Prefixes]:
    """The names of each version location that is not core's; one that is a plain path, in no package, is the app's."""
    request, core = ready.request, ready.request.base.version_location
    core_directories = {os.path.realpath(each.directory) for each in ready.locations if each.spec == core}
    app = prefixes.clean(request.prefixes)
    if app == (request.app,):
        # That is the default; a published app's tables may have other prefixes.
        app = prefixes.of_package(request.app)
    own: dict[str, tuple[str, ...]] = {}
    for location in ready.locations:
        if os.path.realpath(location.directory) in core_directories:
            continue
        package = package_of(location.spec)
        if not package or location.spec == standard(request.app):
            own[location.spec] = app
        else:
            own[location.spec] = prefixes.of_package(package, request.integration_prefixes)
    texts = (ready.texts.get(each.path, "") for each in ready.graph.revisions.values() if each.location == core)
    tables = frozenset(name for text in texts for name in _CREATES.findall(text))
    searched = frozenset(ready.contents.before_core)
    others = {spec: tuple(each for other in own if other != spec for each in own[other]) for spec in own}
    return {spec: Prefixes(mine, others[spec], tables, searched) for spec, mine in own.items()}


def of_revisions(ready: Ready, whose: Mapping[str, Prefixes]) -> dict[str, Prefixes]:
    """The same for each revision, by the version location that its file is in."""
    revisions = ready.graph.revisions.values()
    return {each.revision: whose[each.location] for each in revisions if each.location in whose}
