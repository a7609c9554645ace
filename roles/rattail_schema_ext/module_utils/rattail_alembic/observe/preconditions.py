# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What can be told of pending revisions before any of them runs: by their text, and by what the role may do."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace

from ..config import database_url
from ..copies import backup, scratch
from ..postgres.contents import VERSION_RIGHTS, look_at
from ..postgres.url import parse_url
from ..problem import Refused
from ..revisions import script
from ..revisions.graph import RevisionFile
from . import database_checks, history
from .answer import branch_names
from .observation import Observation


def look_at_pending(seen: Observation) -> None:
    """Read the pending revisions, warn, and see whether what they need is there.

    :raises Refused: where the server, the role's rights, the backup or the history stand in the way.
    """
    assert seen.plan is not None and seen.graph is not None and seen.contents is not None
    request = seen.request
    look_past_pooler(seen)
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
    ensure_writable(seen, altered=needs.altered, referenced=needs.referenced)
    assert seen.way is not None
    if seen.backup_wanted:
        ensure_backup(seen)
    if request.rehearsal == "clone":
        scratch.refuse_impossible(seen.way, bin_dir=request.postgresql_bin_dir)
    elif request.rehearsal == "transaction":
        _refuse_to_rehearse(seen)
    history.refuse_unwritable(request.history_dir)


def ensure_backup(seen: Observation) -> None:
    """See that the backup that is asked for can be made.

    :raises Refused: where it cannot.
    """
    assert seen.way is not None
    request = seen.request
    backup.refuse_impossible(
        seen.way,
        mode=request.backup,
        directory=request.backup_dir,
        app=request.app,
        bin_dir=request.postgresql_bin_dir,
    )


def _warn_of_order(seen: Observation) -> None:
    """Warn of foreign keys that nothing but the order of the version locations provides for."""
    assert seen.plan is not None and seen.graph is not None
    names = branch_names(seen, seen.graph)
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


def ensure_writable(
    seen: Observation,
    *,
    altered: Collection[str] = (),
    referenced: Collection[str] = (),
    creates: bool = True,
    rights: Collection[str] = VERSION_RIGHTS,
) -> None:
    """Take the way past a pooler where the host's config has one, and see that the role may write there.

    ``seen.direct`` and ``seen.contents`` are of that way afterwards, and warnings are added to ``seen``.

    :param altered: tables, there already, that are to be altered, dropped or renamed.
    :param referenced: those that foreign keys are to be made to.
    :param creates: whether something new is to be made in the schema.
    :param rights: those on the version table that are needed, where it is there; else it is made.
    :raises Refused: where that way leads elsewhere, is no way for locks, or the server or the role's rights stand
        in the way.
    """
    look_past_pooler(seen)
    assert seen.contents is not None
    option = seen.request.database_option
    seen.warnings += database_checks.judge_upgrade(
        seen.contents,
        altered=altered,
        referenced=referenced,
        option=option,
        creates=creates or not seen.contents.version_schema,
        rights=rights,
    )


def look_past_pooler(seen: Observation) -> None:
    """Look at the same database by the way that the host's config has for migrations, where it has one.

    :raises Refused: where that leads nowhere, or elsewhere.
    """
    request, contents = seen.request, seen.contents
    if not request.database_option or seen.direct is not None:
        return
    assert contents is not None
    url = database_url.direct_url(request.config_file, request.base, os.environ, request.database_option)
    direct = parse_url(url)
    found = look_at(direct, request.base.tables)
    database_checks.refuse_another_place(contents, found, request.database_option)
    seen.direct = direct
    seen.contents = replace(found, rows=contents.rows, other_version_tables=contents.other_version_tables)
