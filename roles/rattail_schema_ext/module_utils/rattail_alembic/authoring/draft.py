# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which revision is to be written next, as an observation has it: what it follows, and what it depends on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..observe import owners
from ..observe.answer import Dependency
from ..observe.observation import Ready
from ..observe.report import branch_names
from ..policy.prefixes import Prefixes
from ..problem import Refused
from ..revisions import plan, script
from ..revisions.graph import Revision
from ..revisions.locations import package_of, standard

_LONGEST_MESSAGE = 200
# What would end the docstring that the message is put into, or be taken for something else there.
_ODD = re.compile(r"""["'`\\]|[\x00-\x1f\x7f]|\.\./|\$\{""")


@dataclass(frozen=True)
class Draft:
    """A revision to be written by comparing the app's models with its database.

    ``whose`` tells whose a name is, by version location. ``directories`` are the version locations, ``version_path``
    among them, to which the script goes. ``head`` is what it follows, none for the first one of a branch, which gets
    ``label``. ``trim`` is whether imports that nothing uses are taken out, which come from core's template.
    """

    ready: Ready
    whose: Mapping[str, Prefixes]
    directories: tuple[str, ...]
    version_path: str
    message: str
    head: tuple[str, ...]
    label: str
    trim: bool

    @property
    def own(self) -> Prefixes:
        """Which names are the app's."""
        return self.whose[standard(self.ready.request.app)]

    def owner(self, schema: str, name: str) -> str:
        """Whose a name is: core's label, the package of another version location, or ``others``."""
        location = self._location(schema, name)
        if not location and self.own.is_core(name):
            return self.ready.request.base.label
        return package_of(location).partition(".")[0] or "others"

    def _location(self, schema: str, name: str) -> str:
        """The version location that a name belongs to; empty where it is core's, or nobody's."""
        return next((spec for spec, prefixes in self.whose.items() if prefixes.owns(schema, name)), "")

    def depends_on(self, keys: Sequence[tuple[str, str]]) -> list[Dependency]:
        """The revisions that make the tables which foreign keys (pairs: from, to) lead to.

        Where none could be read that makes one, the newest of the branch that the table belongs to by its name. Those
        that the branch follows or depends on already are left out.
        """
        graph = self.ready.graph
        makers = _makers(self.ready) if keys else {}
        behind = graph.ancestors(self.head)
        needed: dict[str, str] = {}
        for table, target in keys:
            maker, how = makers.get(target, ""), "which revision {} makes"
            if not maker:
                core = self.ready.request.base.version_location
                maker = (graph.heads_in(self._location("", target)) or graph.heads_in(core))[0]
                how = "and no revision could be read that makes it: {} is the newest of its branch"
            if maker not in behind:
                needed.setdefault(maker, f"{table} has a foreign key to {target}, {how.format(maker)}.")
        implied = {name for name in needed if any(name in graph.ancestors([other]) for other in needed.keys() - {name})}
        return [Dependency(name, reason) for name, reason in needed.items() if name not in implied]


def _makers(ready: Ready) -> dict[str, str]:
    """Table → the revision after which it has that name, as far as the files can be read."""
    found: dict[str, str] = {}
    for revision in ready.graph.ordered(()):
        facts = script.inspect(ready.file(revision))
        for name in (*facts.created, *facts.renamed.values()):
            found[name.rpartition(".")[2]] = revision.revision
    return found


def refuse_message(message: str) -> None:
    """Refuse (``message_odd``) what cannot become a docstring and the name of a file."""
    odd = _ODD.search(message)
    if not re.search(r"\w", message):
        cause = "The revision has no message in words."
    elif len(message) > _LONGEST_MESSAGE:
        cause = f"The message has {len(message)} characters, more than {_LONGEST_MESSAGE}."
    elif odd:
        cause = f"The message {message!r} has {odd[0]!r} in it."
    else:
        return
    remedy = "Say in a few plain words what the revision does (rattail_schema_ext_revision_message: add widget colour)."
    raise Refused("message_odd", cause, remedy)


def refuse_unready(ready: Ready) -> None:
    """Refuse a host on which models and database cannot be compared, or to which a script cannot be written."""
    request = ready.request
    if not request.source_enabled:
        raise Refused(
            "source_needed",
            f"{request.app} is a released package here, and a revision is written into the source.",
            "Check the source out (rattail_schema_ext_source_enabled: true) on a host for development.",
        )
    first = [phase for phase in ready.todo if phase in ("install", "config")]
    if first:
        raise Refused(
            "host_unready",
            f"{request.app} is not yet as it should be on this host (to do: {', '.join(first)}).",
            "Run site.yml first, then write the revision.",
        )
    name = ready.contents.identity["name"]
    if ready.plan.pending:
        more = f" (and {len(ready.plan.pending) - 1} more)" if len(ready.plan.pending) > 1 else ""
        raise Refused(
            "database_behind",
            f"The database {name!r} is behind: {ready.plan.pending[0].revision} is pending{more}.",
            "Upgrade first (site.yml), then write the revision.",
        )
    if ready.plan.state != plan.CURRENT:
        raise Refused(
            "database_ahead",
            f"The database {name!r} has revision {', '.join(ready.plan.unknown)}, which the code does not know.",
            "Deploy the version that has it, or write the revision on a host whose database is current.",
        )


def written(ready: Ready) -> Revision | None:
    """The wanted revision where it is there already: the only pending one, the app's own, with the same message."""
    wanted = (standard(ready.request.app), ready.request.revision_message.strip())
    pending = ready.plan.pending
    return pending[0] if [(each.location, each.message.strip()) for each in pending] == [wanted] else None


def draft(ready: Ready, directory: str) -> Draft:
    """What is to be written into ``directory``, which becomes one more version location.

    :raises Refused: ``heads_several`` where the app has several heads, and they are not to be merged.
    """
    request, graph = ready.request, ready.graph
    heads = graph.heads_in(standard(request.app))
    if len(heads) > 1 and not request.revision_merge:
        raise Refused(
            "heads_several",
            f"{request.app} has {len(heads)} heads, {' and '.join(graph.revisions[each].path for each in heads)}: "
            "it is not clear which of them a revision is to follow.",
            f"Join them first: rattail_schema_ext_revision_merge: true, or bin/alembic -c {request.config_file} "
            f"merge {' '.join(heads)}.",
        )
    places = [each.directory for each in ready.locations]
    # beside the app's, for Alembic runs independent branches in the reverse order of their locations
    places.insert(places.index(place(ready)) + 1, directory)
    return Draft(
        ready=ready,
        whose=owners.of_locations(ready),
        directories=tuple(each for each in places if os.path.isdir(each)),
        version_path=directory,
        message=" ".join(request.revision_message.split()),
        head=heads,
        label="" if heads else branch(ready),
        trim=ready.section.script_location == request.base.script_location,
    )


def place(ready: Ready) -> str:
    """The directory of the app's own revisions."""
    return next(each.directory for each in ready.locations if each.spec == standard(ready.request.app))


def branch(ready: Ready) -> str:
    """What people call the app's branch; before its first revision, the label that this will have."""
    return branch_names(ready.locations, ready.graph)[standard(ready.request.app)]
