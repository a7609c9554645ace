# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Undo the app's own revisions, down to one that is named, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..observe import report
from ..observe.answer import Answer
from ..observe.database_checks import listed
from ..observe.look import judge_revisions, look
from ..observe.observation import Ready
from ..observe.request import Request
from ..observe.writable import (
    UPGRADES_OWN,
    refuse_without_backup,
    refuse_without_history,
    to_write,
)
from ..postgres import catalog
from ..postgres.lock import Lock
from ..problem import Refused
from ..revisions.graph import Graph, Revision
from ..revisions.locations import standard
from . import failure, history, partial, retry
from .under_lock import Log, locked, look_afterwards, refusals, save, upgrade_job

BASE = "base"


def run(request: Request, *, log: Log, check_mode: bool = False) -> Answer:
    """Look, win the lock, make a backup, undo the revisions after ``request.revert_to``, and look again.

    :param log: takes sentences for a person who waits.
    :returns: its ``msg`` says why it failed, and is empty where it did not.
    """
    before = look(request)
    # What an upgrade would need is not needed to go back.
    answer = report.answer(before, excused=UPGRADES_OWN)
    answer.check_mode = check_mode
    if answer.msg:
        return answer
    with refusals(answer):
        _refuse_unsafe(request)
        destination, revisions = _plan(before.ready())
        ready = _look_at_undone(before.ready(), revisions, answer)
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

    :raises Refused: where it is not confirmed (``APP@REVISION``), or more than the app's own would be undone.
    """
    request, graph = ready.request, ready.graph
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
    applied = graph.applied(ready.plan.rows)
    if target != BASE and target not in applied:
        raise Refused(
            "revert_not_applied",
            f"Revision {target} is not applied to the database, so there is nothing to go back to.",
            "See with playbooks/status.yml where it is.",
        )
    undone = _undone(graph, applied, target, location)
    return _base_of(own, request.app) if target == BASE else target, undone


def _look_at_undone(ready: Ready, revisions: Sequence[Revision], answer: Answer) -> Ready:
    """What can be seen beforehand, as with an upgrade: by the text of the downgrades, and by what the role may do.

    :raises Refused: where database, backup or history stand in the way.
    """
    if not revisions:
        return ready
    ready = judge_revisions(to_write(ready), revisions, answer.warn, "downgrade")
    refuse_without_backup(ready.request, ready.way)
    refuse_without_history(ready.request.history_dir)
    return ready


def _undone(graph: Graph, applied: frozenset[str], target: str, location: str) -> tuple[Revision, ...]:
    """The applied revisions after ``target``, newest first; all of the location's where that is base."""
    revisions = graph.revisions
    if target == BASE:
        gone = {name for name in applied if revisions[name].location == location}
    else:
        gone = {name for name in applied if name != target and target in graph.ancestors([name])}
    remedy = "Name a later revision to go back to."
    for name in sorted(applied - gone):
        needs = (*revisions[name].down_revision, *revisions[name].depends_on)
        if gone & {graph.resolve(each) for each in needs}:
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
    with lock.connection.cursor() as cursor:
        found = catalog.snapshot(cursor)
    save(ready, answer, lock)
    job = replace(upgrade_job(ready, lock, found), destination=destination, downward=True, only=tuple(order))
    tried = retry.run(job, lock, ready.request.lock_retries)
    failure.report_events(answer, tried)
    after = look_afterwards(ready, answer, "The revert was run")
    if after is None:
        return
    gone = ready.graph.applied(ready.plan.rows) - after.graph.applied(after.plan.rows)
    took = tried.seconds(name for name in order if name in gone)
    answer.reverted = report.describe(ready.locations, ready.graph, took)
    if not gone.issuperset(order):
        with lock.connection.cursor() as cursor:
            partial.report(cursor, answer, tried, found)
        answer.msg = failure.explain(ready.request, answer, tried, reverting=True)
    history.keep(after, answer)


def _refuse_unsafe(request: Request) -> None:
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
