# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What can be told of pending revisions before any of them runs: by their text, and by what the role may do."""

from __future__ import annotations

from . import backup, history, inspection, scratch
from .graph import RevisionFile
from .observation import Observation
from .problem import Refused
from .report import branch_names
from .writable import ensure_writable, look_past_pooler


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
            facts = inspection.inspect(RevisionFile(revision.path, revision.location, text))
            seen.facts[revision.revision] = facts
            seen.warnings += inspection.leaving(revision.revision, facts)
    _warn_of_order(seen)
    needs = inspection.demands(seen.facts[each.revision] for each in seen.plan.pending if each.revision in seen.facts)
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
        facts = {file.path: inspection.inspect(file) for file in files}
        warning = inspection.unordered_foreign_keys(seen.graph, facts, location, names[location], pending)
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
