# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Undo of the app's own revisions, down to one that is named, and of nobody else's."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..observe import history, report
from ..observe.answer import Answer
from ..observe.look import UPGRADES_OWN, judge_writable, look, refuse_without_backup, to_write
from ..observe.observation import Ready
from ..observe.request import Request
from ..postgres import catalog
from ..postgres.lock import Lock
from ..problem import Refused
from ..revisions import script
from ..revisions.graph import Graph, Revision, RevisionFile
from ..revisions.locations import standard
from . import failure, jobs, partial, retry
from .under_lock import Tell, locked, look_afterwards, save, silent

BASE = "base"


@dataclass(frozen=True)
class Undo:
    """What a revert does: Alembic's destination, and the revisions to undo, newest first."""

    destination: str
    revisions: tuple[Revision, ...]


def run(request: Request, *, check_mode: bool = False, tell: Tell = silent) -> Answer:
    """Look, win the lock, save, undo the revisions after ``request.revert_to``, and look again.

    :param tell: is told, in a sentence, what a person who waits would like to know.
    :returns: its ``msg`` says why it failed, and is empty where it did not.
    """
    before = look(request)
    # What an upgrade would need is not needed to go back.
    answer = report.answer(before, excused=UPGRADES_OWN)
    answer.check_mode = check_mode
    if answer.msg:
        return answer
    try:
        _refuse_unsafe(request)
        undo = _plan(before.ready())
        ready = _look_at_undone(before.ready(), undo, answer)
    except Refused as refused:
        answer.refuse(refused.problem)
        return answer
    undone = report.describe(ready.locations, ready.graph, {each.revision: None for each in undo.revisions})
    answer.diff = report.as_diff(undone, answer.database, undone=True)
    if check_mode:
        answer.changed, answer.reverted = bool(undone), undone
    elif undone:
        locked(ready, answer, tell, lambda lock: _alone(ready, undo, answer, lock))
    return answer


def _plan(ready: Ready) -> Undo:
    """The revisions to undo.

    :raises Refused: where it is not confirmed (``APP@REVISION``), or more than the app's own would be undone.
    """
    request, graph = ready.request, ready.graph
    target = request.revert_to
    own = target in graph.revisions and graph.revisions[target].location == standard(request.app)
    if target != BASE and not own:
        raise Refused(
            "revert_unknown",
            f"{target!r} is no revision of {request.app}.",
            f"Set rattail_schema_ext_revert_to to one of its revisions ({_own(graph, request.app)}), or to base.",
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
    undone = _undone(graph, applied, target, standard(request.app))
    return Undo(_base_of(graph, request.app) if target == BASE else target, undone)


def _look_at_undone(ready: Ready, undo: Undo, answer: Answer) -> Ready:
    """What can be told beforehand, as with an upgrade: by the text of the downgrades, and by what the role may do.

    :raises Refused: where database, backup or history stand in the way.
    """
    if not undo.revisions:
        return ready
    facts = {}
    for each in undo.revisions:
        file = RevisionFile(each.path, each.location, ready.texts.get(each.path, ""))
        facts[each.revision] = script.inspect(file, "downgrade")
        answer.warn(*script.leaving(each.revision, facts[each.revision]))
    answer.warn(*script.not_read(facts))
    ready = replace(to_write(ready), facts=facts)
    needs = script.demands(facts.values())
    judged = judge_writable(
        ready.request, ready.contents, altered=needs.altered, referenced=needs.referenced, creates=needs.creates
    )
    answer.warn(*judged)
    refuse_without_backup(ready.request, ready.way)
    history.refuse_unwritable(ready.request.history_dir)
    return ready


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


def _alone(ready: Ready, undo: Undo, answer: Answer, lock: Lock) -> None:
    """The revert, once the lock is won."""
    order = [each.revision for each in undo.revisions]
    with lock.connection.cursor() as cursor:
        there = catalog.snapshot(cursor)
    save(ready, answer, lock)
    tried = retry.run(jobs.revert(ready, lock, there, undo.destination, order), lock, ready.request.lock_retries)
    failure.tell_what_was_seen(answer, tried)
    after = look_afterwards(ready, answer, "The revert was run")
    if after is None or after.plan is None or after.graph is None:
        return
    gone = ready.graph.applied(ready.plan.rows) - after.graph.applied(after.plan.rows)
    took = tried.seconds
    answer.reverted = report.describe(
        ready.locations, ready.graph, {name: took.get(name) for name in order if name in gone}
    )
    if not gone >= set(order):
        with lock.connection.cursor() as cursor:
            partial.tell(cursor, answer, tried, there)
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
