# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A whole look: the app is asked what it alone can tell, and what must hold before anything is written is seen to."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace

from ..config import database_url
from ..copies import backup, scratch
from ..host.commits import Commits
from ..migration import ask_app
from ..postgres.contents import VERSION_RIGHTS, Contents, look_at
from ..postgres.url import Target, parse_url
from ..problem import Refused
from ..revisions import script
from ..revisions.graph import RevisionFile
from . import database_checks, first_look, history
from .observation import Observation, Ready, backup_wanted
from .report import branch_names
from .request import Request


class _Deeper:
    """See :class:`observation.Deeper`."""

    commits = Commits
    database_url = staticmethod(ask_app.database_url)
    version_table = staticmethod(ask_app.version_table)
    revisions = staticmethod(ask_app.revisions)

    @staticmethod
    def look_at_pending(seen: Observation) -> None:
        _look_at_pending(seen)


def look(request: Request) -> Observation:
    """Look at everything, as the user who owns the environment, with the environment's own Python."""
    return first_look.look(request, _Deeper())


def _look_at_pending(seen: Observation) -> None:
    """Read the pending revisions, warn, and see whether what they need is there.

    ``seen.direct`` and ``seen.contents`` are of the way past a pooler afterwards, where the host's config has one.

    :raises Refused: where the server, the role's rights, the backup or the history stand in the way.
    """
    assert seen.plan and seen.graph and seen.contents and seen.target
    request = seen.request
    seen.direct, seen.contents = past_pooler(request, seen.contents)
    way = seen.direct or seen.target
    for revision in seen.plan.pending:
        # Of core's hundreds only the tables matter, and only to a role that does not own them all.
        if revision.location != request.base.version_location or seen.contents.others:
            text = seen.texts.get(revision.path, "")
            facts = script.inspect(RevisionFile(revision.path, revision.location, text))
            seen.facts[revision.revision] = facts
            seen.warnings += script.leaving(revision.revision, facts)
    own = {each.revision for each in seen.plan.pending if each.location != request.base.version_location}
    seen.warnings += script.not_read({name: facts for name, facts in seen.facts.items() if name in own})
    _warn_of_order(seen)
    needs = script.demands(seen.facts[each.revision] for each in seen.plan.pending if each.revision in seen.facts)
    seen.warnings += judge_writable(request, seen.contents, altered=needs.altered, referenced=needs.referenced)
    if backup_wanted(request, seen.plan, seen.contents):
        refuse_without_backup(request, way)
    if request.rehearsal == "clone":
        scratch.refuse_impossible(way, bin_dir=request.postgresql_bin_dir)
    elif request.rehearsal == "transaction":
        _refuse_to_rehearse(seen)
    history.refuse_unwritable(request.history_dir)


def refuse_without_backup(request: Request, way: Target) -> None:
    """See that the backup that is asked for can be made.

    :raises Refused: where it cannot.
    """
    backup.refuse_impossible(
        way,
        mode=request.backup,
        directory=request.backup_dir,
        app=request.app,
        bin_dir=request.postgresql_bin_dir,
    )


def _warn_of_order(seen: Observation) -> None:
    """Warn of foreign keys that nothing but the order of the version locations provides for."""
    assert seen.plan is not None and seen.graph is not None
    names = branch_names(seen.locations, seen.graph)
    pending = [revision.revision for revision in seen.plan.pending]
    for location in dict.fromkeys(each.location for each in seen.plan.pending):
        if location == seen.request.base.version_location:
            continue
        paths = [each.path for each in seen.graph.revisions.values() if each.location == location]
        files = (RevisionFile(path, location, seen.texts.get(path, "")) for path in paths)
        facts = {file.path: script.inspect(file) for file in files}
        warning = script.unordered_foreign_keys(seen.graph, facts, location, names[location], pending)
        if warning:
            seen.warnings.append(warning)


def _refuse_to_rehearse(seen: Observation) -> None:
    for name, facts in seen.facts.items():
        if facts.leaves:
            raise Refused(
                "rehearsal_impossible",
                f"Revision {name} ({facts.path}) leaves its transaction, so that it cannot be rehearsed in one.",
                "Set rattail_schema_ext_rehearsal: clone, which runs it on a copy.",
            )


# What a look finds missing for the revisions that are pending; what else writes asks for what it needs itself.
UPGRADES_OWN = frozenset({"rights_missing"})


def judge_writable(
    request: Request,
    contents: Contents,
    *,
    altered: Collection[str] = (),
    referenced: Collection[str] = (),
    creates: bool = True,
    rights: Collection[str] = VERSION_RIGHTS,
) -> list[str]:
    """See that the role may write to the database as it is to; returns warnings.

    :param contents: of the way by which it is written to.
    :param altered: tables, there already, that are to be altered, dropped or renamed.
    :param referenced: those that foreign keys are to be made to.
    :param creates: whether something new is to be made in the schema.
    :param rights: those on the version table that are needed, where it is there; else it is made.
    :raises Refused: where that way is none for locks, or the server or the role's rights stand in the way.
    """
    return database_checks.judge_upgrade(
        contents,
        altered=altered,
        referenced=referenced,
        option=request.database_option,
        creates=creates or not contents.version_schema,
        rights=rights,
    )


def past_pooler(request: Request, contents: Contents) -> tuple[Target | None, Contents]:
    """The way to the same database that the host's config has for migrations, where it has one, and a look by it.

    :param contents: what was seen by the app's own way.
    :returns: None and ``contents`` where there is no such way.
    :raises Refused: where it leads nowhere, or elsewhere.
    """
    if not request.database_option:
        return None, contents
    url = database_url.direct_url(request.config_file, request.base, os.environ, request.database_option)
    direct = parse_url(url)
    found = look_at(direct, request.base.tables)
    database_checks.refuse_another_place(contents, found, request.database_option)
    return direct, replace(found, rows=contents.rows, other_version_tables=contents.other_version_tables)


def to_write(ready: Ready) -> Ready:
    """The same where nothing was pending, so that no look has yet gone past a pooler.

    :raises Refused: as :func:`past_pooler` does.
    """
    direct, contents = past_pooler(ready.request, ready.contents)
    return replace(ready, way=direct or ready.target, contents=contents)
