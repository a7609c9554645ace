# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What upgrade, revert and baseline have in common: win the lock, make a backup, run a job, look again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from ..copies import backup
from ..migration.job import ENFORCE, Job
from ..observe import owners, report
from ..observe.answer import Answer, Backup, Holder
from ..observe.answer import Lock as Wait
from ..observe.look import look
from ..observe.observation import Ready
from ..postgres import catalog, driver
from ..postgres.connection import Limits
from ..postgres.lock import Lock, take
from ..problem import Refused
from ..revisions.locations import standard
from . import failure, history, net, partial, retry

# Takes sentences for a person who waits.
Log = Callable[[str], None]


@contextmanager
def refusals(answer: Answer) -> Iterator[None]:
    """What is refused inside ends there, and ``answer`` says why."""
    try:
        yield
    except Refused as refused:
        answer.refuse(refused.problem)


def locked(ready: Ready, answer: Answer, log: Log, work: Callable[[Lock], None]) -> None:
    """Do ``work`` while no other run can change the database.

    :raises Refused: where the lock was not won, or is lost, or as ``work`` does.
    """
    request = ready.request
    with take(ready.way, request.app, ready.version_table, request.lock_wait_seconds, log) as lock:
        answer.lock = Wait(lock.waited_seconds, [Holder(**vars(each)) for each in lock.holders])
        if lock.holders:
            answer.warn(f"Waited {lock.waited_seconds:g} s for {'; '.join(map(str, lock.holders))}.")
        history.prepare(ready, answer)
        try:
            work(lock)
        except driver.errors() as error:
            raise lock.failed(error) from None


@contextmanager
def saved(ready: Ready, answer: Answer, lock: Lock) -> Iterator[None]:
    """Back the database up, and see in the end whether what was done inside has changed it.

    :raises Refused: where the backup fails, since without it nothing is changed.
    """
    request = ready.request
    with lock.connection.cursor() as cursor:
        before = catalog.snapshot(cursor)
    lock.enter("backup")
    made = backup.make(
        ready.way,
        mode=request.backup,
        directory=request.backup_dir,
        app=request.app,
        heads=ready.plan.rows,
        bin_dir=request.postgresql_bin_dir,
    )
    shown = answer.backup = Backup(made.file, made.size, made.sha256, made.seconds, made.mode)
    refused = None
    try:
        yield
    except Refused as error:
        if error.problem.code != "rehearsal_failed":
            # Nobody knows: the lock or the server was lost, or a rehearsal not held to its end.
            raise
        refused = error
    with lock.connection.cursor() as cursor:
        known = answer.changed or (answer.partial is None and catalog.snapshot(cursor) == before)
    if known:
        shown.pruned, warnings = backup.settle(made, changed=answer.changed, keep=request.backup_keep)
        answer.warn(*warnings)
    if refused is not None:
        raise refused


def upgrade_job(ready: Ready, lock: Lock, *, record: bool = False) -> Job:
    """The job of bringing the database to the heads; ``record`` is whether it reports the SQL of each revision."""
    request = ready.request
    whose = owners.of_locations(ready)
    return Job(
        app=request.app,
        config_file=request.config_file,
        target=ready.target,
        database=ready.contents.identity["name"],
        redirect=ready.redirect,
        unpooled=not ready.contents.pooling,
        only=tuple(revision.revision for revision in ready.plan.pending),
        limits=Limits(request.lock_timeout_seconds, request.statement_timeout_seconds),
        policy=request.policy,
        policy_data=request.policy_data,
        prefixes=owners.of_revisions(ready, whose),
        own=whose[standard(request.app)],
        lock_pid=lock.pid,
        leaving=ready.leaving,
        compare=True,
        record=record,
    )


def migrate(ready: Ready, job: Job, answer: Answer, lock: Lock) -> retry.Attempts:
    """Run an upgrade or a revert, look again, and put into ``answer`` what came of it.

    :raises Refused: where the lock or the server was lost.
    """
    with lock.connection.cursor() as cursor:
        before = net.look(cursor)
    try:
        return _migrate(ready, replace(job, catalog=before.catalog), answer, lock, before)
    except Refused as refused:
        raise _not_compared(ready, job, answer, refused) from None
    except driver.errors() as error:
        raise _not_compared(ready, job, answer, lock.failed(error)) from None


def _not_compared(ready: Ready, job: Job, answer: Answer, refused: Refused) -> Refused:
    """The refusal where nobody could see in the end what is there; ``answer`` gets what version rows tell."""
    problem, seen = refused.problem, "and they cannot be read now"
    with suppress(Refused):
        after = look_afterwards(ready, answer)
        moved = ready.plan.applied ^ after.plan.applied
        done = report.describe(ready.locations, ready.graph, dict.fromkeys(each for each in job.only if each in moved))
        answer.applied, answer.reverted = ([], done) if job.downward else (done, [])
        seen = f"and have changed by {len(done)} of its revisions" if done else "and have not changed so far"
        answer.msg = str(problem)
        history.keep(after, answer)
    cause = f"{problem.cause} Nobody could compare the database with what it was: only version rows tell, {seen}."
    return Refused(problem.code, cause, problem.remedy)


def _migrate(ready: Ready, job: Job, answer: Answer, lock: Lock, before: net.Seen) -> retry.Attempts:
    tried = retry.run(job, lock, ready.request.lock_retries)
    with lock.connection.cursor() as cursor:
        found = net.compare(cursor, before, job, tried)
    failure.report_events(answer, tried)
    after = look_afterwards(ready, answer)
    moved = set(ready.plan.applied ^ after.plan.applied)
    # A revision that did not come as far as that Alembic wrote its row is not applied, whatever the rows say.
    begun = tried.outcome.unfinished
    unwritten = {begun["revision"]} - {each["revision"] for each in tried.every("written")} if begun else set()
    by_itself = moved & unwritten
    moved -= unwritten
    done = report.describe(ready.locations, ready.graph, tried.seconds(name for name in job.only if name in moved))
    if job.downward:
        answer.reverted = done
        whole = moved.issuperset(job.only)
    else:
        answer.applied = done
        whole = not (after.plan.pending or after.plan.unknown)
    if not by_itself:
        with lock.connection.cursor() as cursor:
            found.violations += net.version_rows(cursor, ready.plan.rows, after.plan.rows, tried)
    failure.report_net(answer, found)
    outcome, forbidden = tried.outcome, tried.violations if job.policy == ENFORCE else []
    if found.violations and job.policy == ENFORCE and not (outcome.error or outcome.ending or outcome.unfinished):
        answer.msg = failure.trespass(answer, found, reverting=job.downward)
    elif not whole or outcome.error or outcome.ending or forbidden:
        with lock.connection.cursor() as cursor:
            partial.report(cursor, answer, tried, job)
        cause, remedy = failure.cause_and_remedy(ready.request, answer, tried, reverting=job.downward)
        where = failure.standing(answer, found, reverting=job.downward)
        if by_itself:
            where += failure.put_back(after, by_itself)
        elif whole:
            where, remedy = failure.FOLLOWED, failure.LOOK_FOR_YOURSELF
        answer.msg = f"{cause} {where} {remedy}"
    history.keep(after, answer)
    return tried


def look_afterwards(ready: Ready, answer: Answer) -> Ready:
    """Look again and bring ``answer`` up to date: what the version table says counts, not what the process said."""
    after = look(ready.request)
    if after.plan is None:
        why = after.not_yet or after.problems[0]
        cause = f"The run has ended, but the database cannot be looked at afterwards: {why.cause}"
        raise Refused(why.code, cause, why.remedy)
    bring_up_to_date(answer, report.answer(after))
    answer.changed = after.plan.rows != ready.plan.rows
    found = after.ready()
    # What is written of it goes the way that the change went.
    return replace(found, way=ready.redirect or found.target)


def bring_up_to_date(answer: Answer, now: Answer) -> None:
    """Take over where code and database are now."""
    for name in ("state", "heads", "current_after", "branches", "todo", "summary"):
        setattr(answer, name, getattr(now, name))
    answer.warn(*now.warnings)
