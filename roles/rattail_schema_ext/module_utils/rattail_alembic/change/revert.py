# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Undo the app's own revisions, down to one that is named, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from ..migration import alembic_api
from ..observe import report
from ..observe.answer import Answer
from ..observe.database_checks import listed
from ..observe.look import judge_revisions, look
from ..observe.observation import Ready
from ..observe.request import Request
from ..observe.writable import UPGRADES_OWN, refuse_without_backup, refuse_without_history, to_write
from ..postgres.lock import Lock
from ..problem import Refused
from ..revisions.graph import Graph, Revision
from ..revisions.locations import standard
from .under_lock import Log, locked, migrate, refusals, saved, upgrade_job

BASE = "base"


def run(request: Request, *, log: Log, check_mode: bool = False) -> Answer:
    """Look, win the lock, make a backup, undo the revisions after ``request.revert_to``, and look again.

    :returns: its ``msg`` says why it failed, and is empty where it did not.
    """
    before = look(request)
    # What an upgrade would need is not needed to go back.
    answer = report.answer(before, excused=UPGRADES_OWN)
    answer.check_mode = check_mode
    if answer.msg:
        return answer
    with refusals(answer):
        ready = before.ready()
        destination, revisions = _plan(ready)
        if revisions:
            ready = judge_revisions(to_write(ready), revisions, answer.warn, "downgrade")
            refuse_without_backup(request, ready.way)
            refuse_without_history(ready)
        names = [each.revision for each in revisions]
        undone = report.describe(ready.locations, ready.graph, dict.fromkeys(names))
        answer.diff = report.as_diff(undone, answer.database, undone=True)
        if check_mode:
            answer.changed, answer.reverted = bool(undone), undone
        elif undone:
            locked(ready, answer, log, lambda lock: _alone(ready, destination, names, answer, lock))
    return answer


def _plan(ready: Ready) -> tuple[str, tuple[Revision, ...]]:
    """Alembic's destination, and the revisions to undo, newest first.

    :raises Refused: where it is not safe or not confirmed, or more than the app's own would be undone.
    """
    request, graph = ready.request, ready.graph
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
    target, location = request.revert_to, standard(request.app)
    own = [each for each in graph.revisions.values() if each.location == location]
    names = [each.revision for each in own]
    if target not in (BASE, *names):
        raise Refused(
            "revert_unknown",
            f"{target!r} is no revision of {request.app}.",
            f"Set rattail_schema_ext_revert_to to one of its revisions ({listed(names) or 'it has none'}), or to base.",
        )
    wanted = f"{request.app}@{target}"
    if request.revert_confirm != wanted:
        raise Refused(
            "revert_unconfirmed",
            f"To revert {request.app} to {target} drops what its later revisions made, rows included.",
            f"Confirm it with rattail_schema_ext_revert_confirm: {wanted}.",
        )
    applied = ready.plan.applied
    if target != BASE and target not in applied:
        raise Refused(
            "revert_not_applied",
            f"Revision {target} is not applied to the database, so there is nothing to go back to.",
            "See with playbooks/status.yml where it is.",
        )
    undone = _undone(graph, applied, target, location)
    destination = _base_of(own, request.app) if target == BASE else target
    amiss = _amiss(ready, destination, undone)
    if amiss:
        way = _earlier(ready, applied, target, own)
        remedy = f"Go back to {way} instead." if way else "Write a revision that undoes them instead."
        raise Refused("revert_rows", f"To revert {request.app} to {target} is not for Alembic: {amiss}.", remedy)
    return destination, undone


def _earlier(ready: Ready, applied: frozenset[str], target: str, own: Sequence[Revision]) -> str:
    """The newest revision before ``target`` that Alembic could go back to; empty where there is none."""
    graph = ready.graph
    for each in reversed(graph.ordered(())):
        if each in own and each.revision != target and each.revision in graph.ancestors([target]):
            with suppress(Refused):
                if not _amiss(ready, each.revision, _undone(graph, applied, each.revision, each.location)):
                    return each.revision
    return ""


def _amiss(ready: Ready, destination: str, undone: Sequence[Revision]) -> str:
    """What Alembic would do wrong, in words; it goes by ``depends_on`` in some places and not in others."""
    names = {each.revision for each in undone}
    if not names:
        return ""
    done, rows = alembic_api.undo(ready.graph.revision_map(), ready.plan.rows, destination)
    left = ", ".join(sorted(names.symmetric_difference(done)))
    if left:
        return f"it would not undo {left}, which needs what comes after that"
    implied = ", ".join(ready.graph.overlapping(rows))
    return f"it would leave the version row {implied}, which another row implies" if implied else ""


def _undone(graph: Graph, applied: frozenset[str], target: str, location: str) -> tuple[Revision, ...]:
    """The applied revisions after ``target``, newest first; all of the location's where that is base."""
    revisions = graph.revisions
    if target == BASE:
        gone = {name for name in applied if revisions[name].location == location}
    else:
        gone = {name for name in applied if name != target and target in graph.ancestors([name])}
    remedy = "Name a later revision to go back to."
    for name in sorted(applied - gone):
        if gone & graph.ancestors([name]):
            cause = f"Revision {name} ({revisions[name].path}) needs what would be undone."
            raise Refused("revert_needed", cause, remedy)
    for name in sorted(gone):
        if revisions[name].location != location:
            cause = f"Revision {name} ({revisions[name].path}), which is not the app's, would be undone as well."
            raise Refused("revert_foreign", cause, remedy)
    return tuple(revision for revision in reversed(graph.ordered(())) if revision.revision in gone)


def _base_of(own: Sequence[Revision], app: str) -> str:
    """``LABEL@base``, which Alembic knows only where the branch has a base and a label of its own."""
    bases = [revision for revision in own if not revision.down_revision]
    labels = [label for revision in bases for label in revision.branch_labels]
    if len(bases) != 1 or not labels:
        raise Refused(
            "revert_no_base",
            f"The branch of {app} has no base with a label of its own, so that Alembic cannot go back to before it.",
            "Name the revision to go back to.",
        )
    return f"{labels[0]}@base"


def _alone(ready: Ready, destination: str, order: Sequence[str], answer: Answer, lock: Lock) -> None:
    """The revert, once the lock is won."""
    job = replace(upgrade_job(ready, lock), destination=destination, downward=True, only=tuple(order))
    with saved(ready, answer, lock):
        migrate(ready, job, answer, lock)
