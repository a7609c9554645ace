# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which revision is to be written next, told from an observation: what it follows, and what it depends on."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..observe import owners
from ..observe.answer import Dependency, LeftOut
from ..observe.observation import Ready
from ..observe.report import branch_names
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

    ``tables`` are those that it creates, ``left_out`` what it leaves to others,
    ``hints`` sentences about what a person has to decide.
    """

    revision: str = ""
    path: str = ""
    text: str = ""
    tables: tuple[str, ...] = ()
    depends_on: tuple[Dependency, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
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


def refuse_unready(ready: Ready) -> None:
    """Refuse a host on which models and database cannot be compared.

    :raises Refused: ``source_needed``, ``host_unready``, ``database_behind`` or ``database_ahead``.
    """
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
            f"{request.app} is not yet as it should be on this host: to do is {', '.join(first)}.",
            "Run site.yml first, then write the revision.",
        )
    name = ready.contents.identity["name"]
    if ready.plan.pending:
        waiting = [revision.revision for revision in ready.plan.pending]
        more = f" and {len(waiting) - _SHOWN} more" if len(waiting) > _SHOWN else ""
        raise Refused(
            "database_behind",
            f"The database {name!r} is behind: {', '.join(waiting[:_SHOWN])}{more} "
            f"{'are' if len(waiting) > 1 else 'is'} pending.",
            "Upgrade first (site.yml), then write the revision.",
        )
    if ready.plan.state != plan.CURRENT:
        raise Refused(
            "database_ahead",
            f"The database {name!r} has revision {', '.join(ready.plan.unknown)}, which the code does not know.",
            "Deploy the version that has it, or write the revision on a host whose database is current.",
        )


def written(ready: Ready, message: str) -> Revision | None:
    """The one revision that is pending, where it is the app's own and has this very message: it is there already."""
    if len(ready.plan.pending) != 1:
        return None
    [revision] = ready.plan.pending
    mine = revision.location == standard(ready.request.app)
    return revision if mine and revision.message.strip() == message.strip() else None


def draft(ready: Ready, message: str, directory: str, *, merging: bool) -> Draft:
    """What is to be written into ``directory``, which becomes one more version location.

    :param merging: whether several heads of the app's branch are to be joined.
    :raises Refused: ``heads_several`` where they are not, ``label_taken``.
    """
    request, graph = ready.request, ready.graph
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
    places = [each.directory for each in ready.locations]
    own_place = next(each.directory for each in ready.locations if each.spec == ours)
    at = places.index(own_place)
    template = os.path.join(os.path.dirname(own_place), "script.py.mako")
    return Draft(
        app=request.app,
        config_file=request.config_file,
        target=ready.target,
        direct=ready.redirect,
        # beside the app's, for Alembic runs independent branches in the reverse order of their locations
        directories=(*[each for each in places[: at + 1] if os.path.isdir(each)], directory, *places[at + 1 :]),
        version_path=directory,
        message=" ".join(message.split()),
        head=heads,
        label="" if heads else _label(graph, request.app),
        own=owners.of_locations(ready)[ours],
        depends_on=lambda keys: _dependencies(ready, heads, keys),
        owner=lambda schema, name: _owner(ready, schema, name),
        template_dir=os.path.dirname(template) if os.path.exists(template) else "",
        trim=not os.path.exists(template) and ready.section.script_location == request.base.script_location,
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


def _owner(ready: Ready, schema: str, name: str) -> str:
    """Whose a name is: core's label, the package of another version location, or ``others``."""
    whose = owners.of_locations(ready)
    ours = standard(ready.request.app)
    if whose[ours].is_core(name):
        return ready.request.base.label
    packages = {location.spec: location.package.partition(".")[0] for location in ready.locations}
    theirs = (packages[spec] for spec, prefixes in whose.items() if spec != ours and prefixes.owns(schema, name))
    return next(theirs, "others")


def _dependencies(ready: Ready, heads: Sequence[str], keys: Sequence[tuple[str, str]]) -> list[Dependency]:
    """The revisions that make the tables which foreign keys lead to, unless the branch has them behind it already."""
    graph = ready.graph
    makers = _makers(ready) if keys else {}
    behind = graph.ancestors(heads)
    needed: dict[str, str] = {}
    for table, target in keys:
        maker = makers.get(target) or _newest(ready, target)
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


def _newest(ready: Ready, table: str) -> str:
    """The newest revision of the branch that a table belongs to by its name; core's, where it is no other's."""
    whose = owners.of_locations(ready)
    core = ready.request.base.version_location
    owner = next((spec for spec, prefixes in whose.items() if prefixes.owns("", table)), core)
    return (ready.graph.heads_in(owner) or ready.graph.heads_in(core))[0]


def _makers(ready: Ready) -> dict[str, str]:
    """Table → the revision after which it has that name, as far as the files tell."""
    found: dict[str, str] = {}
    for revision in ready.graph.ordered(()):
        text = ready.texts.get(revision.path, "")
        facts = script.inspect(RevisionFile(revision.path, revision.location, text))
        for name in (*facts.created, *facts.renamed.values()):
            found[name.rpartition(".")[2]] = revision.revision
    return found


def branch(ready: Ready) -> str:
    """What people call the app's branch; before its first revision, the label that this will have."""
    ours = standard(ready.request.app)
    has_one = bool(ready.graph.heads_in(ours))
    return branch_names(ready.locations, ready.graph)[ours] if has_one else ready.request.app.partition(".")[0]
