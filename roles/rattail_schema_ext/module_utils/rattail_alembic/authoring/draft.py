# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which revision is to be written next, told from an observation: what it follows, and what it depends on."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..observe import owners
from ..observe.answer import branch_names
from ..observe.observation import Observation
from ..policy.prefixes import Prefixes
from ..postgres.url import Target
from ..problem import Refused
from ..revisions import plan, script
from ..revisions.graph import Graph, Revision, RevisionFile
from ..revisions.locations import standard

_LONGEST_MESSAGE = 200
# What would end the docstring that the message is put into, or be taken for something else there.
_ODD = re.compile(r"""["'`\\]|[\x00-\x1f\x7f]|\.\./|\$\{""")
_SHOWN = 3


class Dependency(NamedTuple):
    """A revision of another branch that has to be there, and why, in a sentence."""

    revision: str
    reason: str


@dataclass(frozen=True)
class Draft:
    """A revision to be written by comparing the app's models with its database.

    ``directories`` are the version locations, ``version_path`` among them, to which the script goes. ``head`` is
    what it follows, none for the first one of a branch, which gets ``label``. ``template_dir`` is the directory
    of a ``script.py.mako`` of the app's, empty for the one beside ``env.py``; ``trim`` says whether imports of the
    template's that nothing uses are taken out. ``depends_on`` tells what foreign keys (pairs of tables: from, to)
    need, and ``owner`` whose a name (schema, name) is.
    """

    app: str
    config_file: str
    target: Target
    direct: Target | None
    directories: tuple[str, ...]
    version_path: str
    message: str
    head: tuple[str, ...]
    label: str
    own: Prefixes
    depends_on: Callable[[Sequence[tuple[str, str]]], list[Dependency]]
    owner: Callable[[str, str], str]
    template_dir: str = ""
    trim: bool = True


@dataclass(frozen=True)
class Drafted:
    """A script that was written, or ``path`` empty where models and database agree.

    ``tables`` are those that it creates, ``left_out`` what it leaves to others (see :func:`operations.told`),
    ``hints`` sentences about what a person has to decide.
    """

    revision: str = ""
    path: str = ""
    text: str = ""
    tables: tuple[str, ...] = ()
    depends_on: tuple[Dependency, ...] = ()
    left_out: tuple[dict[str, Any], ...] = ()
    hints: tuple[str, ...] = ()


def refuse_message(message: str) -> None:
    """Refuse (``message_odd``) what cannot become a docstring and the name of a file."""
    shown = message if len(message) <= 40 else f"{message[:40]}…"
    remedy = "Say in a few plain words what the revision does (rattail_schema_ext_revision_message: add widget colour)."
    if not message.strip():
        raise Refused("message_odd", "The revision has no message.", remedy)
    if len(message) > _LONGEST_MESSAGE:
        raise Refused(
            "message_odd", f"The message {shown!r} has {len(message)} characters, more than {_LONGEST_MESSAGE}.", remedy
        )
    odd = _ODD.search(message)
    if odd or not re.search(r"\w", message):
        what = f"has {odd[0]!r} in it" if odd else "has no letter in it"
        raise Refused("message_odd", f"The message {shown!r} {what}.", remedy)


def refuse_unready(seen: Observation) -> None:
    """Refuse a host on which models and database cannot be compared.

    :raises Refused: ``source_needed``, ``host_unready``, ``database_behind`` or ``database_ahead``.
    """
    assert seen.plan is not None
    request = seen.request
    if not request.source_enabled:
        raise Refused(
            "source_needed",
            f"{request.app} is a released package here, and a revision is written into the source.",
            "Check the source out (rattail_schema_ext_source_enabled: true) on a host for development.",
        )
    first = [phase for phase in seen.todo if phase in ("install", "config")]
    if first:
        raise Refused(
            "host_unready",
            f"{request.app} is not yet as it should be on this host: to do is {', '.join(first)}.",
            "Run site.yml first, then write the revision.",
        )
    name = seen.contents.identity["name"] if seen.contents else ""
    if seen.plan.pending:
        waiting = [revision.revision for revision in seen.plan.pending]
        more = f" and {len(waiting) - _SHOWN} more" if len(waiting) > _SHOWN else ""
        raise Refused(
            "database_behind",
            f"The database {name!r} is behind: {', '.join(waiting[:_SHOWN])}{more} "
            f"{'are' if len(waiting) > 1 else 'is'} pending.",
            "Upgrade first (site.yml), then write the revision.",
        )
    if seen.plan.state != plan.CURRENT:
        raise Refused(
            "database_ahead",
            f"The database {name!r} has revision {', '.join(seen.plan.unknown)}, which the code does not know.",
            "Deploy the version that has it, or write the revision on a host whose database is current.",
        )


def written(seen: Observation, message: str) -> Revision | None:
    """The one revision that is pending, where it is the app's own and has this very message: it is there already."""
    if seen.plan is None or len(seen.plan.pending) != 1:
        return None
    [revision] = seen.plan.pending
    mine = revision.location == standard(seen.request.app)
    return revision if mine and revision.message.strip() == message.strip() else None


def draft(seen: Observation, message: str, directory: str, *, merging: bool) -> Draft:
    """What is to be written into ``directory``, which becomes one more version location.

    :param merging: whether several heads of the app's branch are to be joined.
    :raises Refused: ``heads_several`` where they are not, ``label_taken``.
    """
    assert seen.graph is not None and seen.target is not None
    request, graph = seen.request, seen.graph
    ours = standard(request.app)
    heads = graph.heads_in(ours)
    if len(heads) > 1 and not merging:
        raise Refused(
            "heads_several",
            f"{request.app} has {len(heads)} heads, {' and '.join(graph.revisions[each].path for each in heads)}: "
            "which of them a revision is to follow cannot be told.",
            f"Join them first: rattail_schema_ext_revision_merge: true, or bin/alembic -c {request.config_file} "
            f"merge {' '.join(heads)}.",
        )
    places = [each.directory for each in seen.locations]
    own_place = next(each.directory for each in seen.locations if each.spec == ours)
    at = places.index(own_place)
    template = os.path.join(os.path.dirname(own_place), "script.py.mako")
    return Draft(
        app=request.app,
        config_file=request.config_file,
        target=seen.target,
        direct=seen.direct,
        # beside the app's, for Alembic runs independent branches in the reverse order of their locations
        directories=(*[each for each in places[: at + 1] if os.path.isdir(each)], directory, *places[at + 1 :]),
        version_path=directory,
        message=" ".join(message.split()),
        head=heads,
        label="" if heads else _label(graph, request.app),
        own=owners.of_locations(seen)[ours],
        depends_on=lambda keys: _dependencies(seen, heads, keys),
        owner=lambda schema, name: _owner(seen, schema, name),
        template_dir=os.path.dirname(template) if os.path.exists(template) else "",
        trim=not os.path.exists(template) and seen.section is not None
        and seen.section.script_location == request.base.script_location,
    )  # fmt: skip


def _label(graph: Graph, app: str) -> str:
    label = app.partition(".")[0]
    for revision in graph.revisions.values():
        if label == revision.revision or label in revision.branch_labels:
            raise Refused(
                "label_taken",
                f"The first revision of {app} would get the branch label {label}, which {revision.path} has already.",
                "Give that one another label.",
            )
    return label


def _owner(seen: Observation, schema: str, name: str) -> str:
    """Whose a name is: core's label, the package of another version location, or ``others``."""
    whose = owners.of_locations(seen)
    ours = standard(seen.request.app)
    if name in whose[ours].reserved:
        return seen.request.base.label
    packages = {location.spec: location.package.partition(".")[0] for location in seen.locations}
    theirs = (packages[spec] for spec, prefixes in whose.items() if spec != ours and prefixes.owns(schema, name))
    return next(theirs, "others")


def _dependencies(seen: Observation, heads: Sequence[str], keys: Sequence[tuple[str, str]]) -> list[Dependency]:
    """The revisions that make the tables which foreign keys lead to, unless the branch has them behind it already."""
    assert seen.graph is not None
    graph = seen.graph
    makers = _makers(seen) if keys else {}
    behind = graph.ancestors(heads)
    needed: dict[str, str] = {}
    for table, target in keys:
        maker = makers.get(target) or _newest(seen, target)
        if maker not in behind:
            how = (
                f"which revision {maker} makes"
                if target in makers
                else f"and no revision could be read that makes it: {maker} is the newest of its branch"
            )
            needed.setdefault(maker, f"{table} has a foreign key to {target}, {how}.")
    names = set(needed)
    implied = {name for name in names if any(name in graph.ancestors([other]) for other in names - {name})}
    return [Dependency(name, reason) for name, reason in needed.items() if name not in implied]


def _newest(seen: Observation, table: str) -> str:
    """The newest revision of the branch that a table belongs to by its name; core's, where it is no other's."""
    assert seen.graph is not None
    whose = owners.of_locations(seen)
    core = seen.request.base.version_location
    owner = next((spec for spec, prefixes in whose.items() if prefixes.owns("", table)), core)
    return (seen.graph.heads_in(owner) or seen.graph.heads_in(core))[0]


def _makers(seen: Observation) -> dict[str, str]:
    """Table → the revision after which it has that name, as far as the files tell."""
    assert seen.graph is not None
    found: dict[str, str] = {}
    for revision in seen.graph.ordered(()):
        text = seen.texts.get(revision.path, "")
        facts = script.inspect(RevisionFile(revision.path, revision.location, text))
        for name in (*facts.created, *facts.renamed.values()):
            found[name.rpartition(".")[2]] = revision.revision
    return found


def branch(seen: Observation) -> str:
    """What people call the app's branch; before its first revision, the label that this will have."""
    assert seen.graph is not None
    ours = standard(seen.request.app)
    has_one = bool(seen.graph.heads_in(ours))
    return branch_names(seen, seen.graph)[ours] if has_one else seen.request.app.partition(".")[0]
