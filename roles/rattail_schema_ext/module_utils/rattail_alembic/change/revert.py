# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Undo of the app's own revisions, down to one that is named, and of nobody else's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..observe import history
from ..observe.answer import describe, result
from ..observe.look import look
from ..observe.observation import Observation
from ..observe.preconditions import UPGRADES_OWN, ensure_backup, ensure_writable
from ..observe.request import Request
from ..postgres import catalog
from ..postgres.lock import Lock
from ..problem import Refused
from ..revisions import script
from ..revisions.graph import Graph, Revision, RevisionFile
from ..revisions.locations import standard
from . import failure, jobs, partial, retry
from .under_lock import Tell, bring_up_to_date, locked, save

BASE = "base"


@dataclass(frozen=True)
class Undo:
    """What a revert does: Alembic's destination, and the revisions to undo, newest first."""

    destination: str
    revisions: tuple[Revision, ...]


def in_the_way(seen: Observation) -> list[str]:
    """The problems of a look, without those that only an upgrade would have."""
    return [str(each) for each in seen.problems if each.code not in UPGRADES_OWN]


def plan(seen: Observation, revert_to: str, confirm: str) -> Undo:
    """The revisions to undo.

    :param revert_to: the revision of the app's that is to be the newest afterwards, or ``base`` for none.
    :param confirm: has to be ``APP@REVISION``, so that nobody reverts by accident.
    :raises Refused: where it is not confirmed, more than the app's own would be undone, or database, backup or
        history stand in the way.
    """
    assert seen.graph is not None and seen.plan is not None
    request, graph = seen.request, seen.graph
    target = revert_to
    own = target in graph.revisions and graph.revisions[target].location == standard(request.app)
    if target != BASE and not own:
        raise Refused(
            "revert_unknown",
            f"{revert_to!r} is no revision of {request.app}.",
            f"Set rattail_schema_ext_revert_to to one of its revisions ({_own(graph, request.app)}), or to base.",
        )
    wanted = f"{request.app}@{target}"
    if confirm != wanted:
        raise Refused(
            "revert_unconfirmed",
            f"To revert {request.app} to {target} drops what its later revisions made, rows included.",
            f"Confirm it with rattail_schema_ext_revert_confirm: {wanted}.",
        )
    applied = graph.applied(seen.plan.rows)
    if target != BASE and target not in applied:
        raise Refused(
            "revert_not_applied",
            f"Revision {target} is not applied to the database, so there is nothing to go back to.",
            "See with playbooks/status.yml where it is.",
        )
    undone = _undone(graph, applied, target, standard(request.app))
    destination = _base_of(graph, request.app) if target == BASE else target
    if undone:
        _look_at_undone(seen, undone)
    return Undo(destination, undone)


def _look_at_undone(seen: Observation, undone: tuple[Revision, ...]) -> None:
    """What can be told beforehand, as with an upgrade: by the text of the downgrades, and by what the role may do."""
    for each in undone:
        file = RevisionFile(each.path, each.location, seen.texts.get(each.path, ""))
        facts = script.inspect(file, "downgrade")
        seen.facts[each.revision] = facts
        seen.warnings += script.leaving(each.revision, facts)
    seen.warnings += script.not_read({each.revision: seen.facts[each.revision] for each in undone})
    needs = script.demands(seen.facts[each.revision] for each in undone)
    ensure_writable(seen, altered=needs.altered, referenced=needs.referenced, creates=needs.creates)
    ensure_backup(seen)
    history.refuse_unwritable(seen.request.history_dir)


def _own(graph: Graph, app: str) -> str:
    names = [name for name, revision in graph.revisions.items() if revision.location == standard(app)]
    return ", ".join(names[:10]) or "it has none"


def _undone(graph: Graph, applied: frozenset[str], target: str, location: str) -> tuple[Revision, ...]:
    """The applied revisions after ``target``; all of the location's where that is base."""
    kept = frozenset() if target == BASE else graph.ancestors([target])
    gone = {
        name
        for name in applied
        if name not in kept
        and (graph.revisions[name].location == location if target == BASE else target in graph.ancestors([name]))
    }
    for name in sorted(applied - gone):
        needs = {*graph.revisions[name].down_revision, *graph.revisions[name].depends_on}
        resolved = {graph.resolve(each) for each in needs}
        if resolved & gone:
            raise Refused(
                "revert_needed",
                f"Revision {name} ({graph.revisions[name].path}) needs what would be undone.",
                "Name a later revision to go back to.",
            )
    for name in sorted(gone):
        if graph.revisions[name].location != location:
            raise Refused(
                "revert_foreign",
                f"Revision {name} ({graph.revisions[name].path}), which is not the app's, would be undone as well.",
                "Name a later revision to go back to.",
            )
    order = [revision for revision in graph.ordered(()) if revision.revision in gone]
    return tuple(reversed(order))


def _base_of(graph: Graph, app: str) -> str:
    """``LABEL@base``, which Alembic knows only where the branch has a base and a label of its own."""
    own = [revision for revision in graph.revisions.values() if revision.location == standard(app)]
    bases = [revision for revision in own if not revision.down_revision]
    labels = [label for revision in bases for label in revision.branch_labels]
    if len(bases) != 1 or len(labels) < 1:
        raise Refused(
            "revert_no_base",
            f"The branch of {app} has no base with a label of its own, so that Alembic cannot go back to before it.",
            "Name the revision to go back to.",
        )
    return f"{labels[0]}@base"


def revert(request: Request, before: Observation, undo: Undo, answer: dict[str, Any], tell: Tell) -> str:
    """Win the lock, save, undo, look again; as ``apply`` does it.

    :returns: why it failed; empty where it did not.
    """

    def alone(lock: Lock) -> str:
        with lock.connection.cursor() as cursor:
            found = catalog.snapshot(cursor)
        save(request, before, answer, lock)
        job = jobs.revert(before, lock, found, undo.destination, [each.revision for each in undo.revisions])
        tried = retry.run(job, lock, request.lock_retries)
        failure.tell_what_was_seen(answer, tried)
        after = look(request)
        if after.plan is None or after.graph is None or before.graph is None or before.plan is None:
            return f"The revert was run, but the database cannot be looked at: {result(after)['state_reason']}"
        bring_up_to_date(answer, after)
        answer["changed"] = after.plan.rows != before.plan.rows
        gone = before.graph.applied(before.plan.rows) - after.graph.applied(after.plan.rows)
        took = {event["revision"]: event["seconds"] for event in tried.outcome.events if event["event"] == "applied"}
        order = [each.revision for each in undo.revisions]
        answer["reverted"] = describe(before, {name: took.get(name) for name in order if name in gone})
        why = ""
        if not gone >= set(order):
            with lock.connection.cursor() as cursor:
                partial.tell(cursor, answer, tried, found)
            why = failure.explain(request, answer, tried)
        history.keep(after, answer, why)
        return why

    return locked(request, before, answer, tell, alone)


def refuse_unsafe(request: Request) -> None:
    """A revert drops rows, so it is not done without a backup or without the policy.

    :raises Refused: where one of them is switched off.
    """
    if request.backup != "full":
        raise Refused(
            "revert_without_backup",
            f"A revert drops rows, and rattail_schema_ext_backup is {request.backup}.",
            "Set it to full for this run.",
        )
    if request.policy != "enforce":
        raise Refused(
            "revert_without_policy",
            f"A revert drops tables, and rattail_schema_ext_policy is {request.policy}.",
            "Set it to enforce for this run.",
        )
