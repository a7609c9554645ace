# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The upgrade tried before it is run: on a copy, or in a transaction that cannot be committed."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace

from ..copies import scratch
from ..migration.job import POISONED, READ_ONLY, TRANSACTION, Job
from ..observe.answer import Answer, Rehearsal, Rehearsed
from ..observe.look import cannot_be_rehearsed
from ..observe.observation import Ready
from ..observe.request import Request
from ..postgres import catalog
from ..postgres.lock import Lock
from ..problem import Refused
from . import failure, retry
from .retry import Attempts


def rehearse(ready: Ready, job: Job, answer: Answer, lock: Lock) -> None:
    """Run the upgrade as a rehearsal, where one is asked for, and put what it showed into ``answer.rehearsal``.

    :raises Refused: where the upgrade would fail, or cannot be rehearsed.
    """
    request = ready.request
    if request.rehearsal == "none":
        return
    lock.enter("rehearsal")
    started = time.monotonic()
    job = replace(job, rehearsal=request.rehearsal, compare=False)
    place = "the database itself"
    with ExitStack() as stack:
        if request.rehearsal == TRANSACTION:
            with lock.connection.cursor() as cursor:
                job = replace(job, catalog=catalog.snapshot(cursor))
        else:
            # A full backup serves as the copy's content.
            dump = answer.backup.file if answer.backup and request.backup == "full" else ""
            copy = stack.enter_context(scratch.database(ready.way, bin_dir=request.postgresql_bin_dir, dump=dump))
            answer.warn(*copy.warnings)
            place = copy.place
            # No other session is there.
            job = replace(job, redirect=copy.target, database=copy.target.dbname, lock_pid=0, catalog=None)
        tried = retry.run(job, lock, request.lock_retries)
    seconds = round(time.monotonic() - started, 3)
    events = tried.every("rehearsed")
    took = tried.seconds(each["revision"] for each in events)
    revisions = [Rehearsed(each["revision"], took[each["revision"]], each["sql"], each["locks"]) for each in events]
    answer.rehearsal = Rehearsal(request.rehearsal, place, seconds, revisions, tried.violations, tried.data)
    _judge(request, answer, tried, place)


def _judge(request: Request, answer: Answer, tried: Attempts, place: str) -> None:
    """Refuse what a rehearsal showed that would fail, or that it cannot show."""
    error, begun = tried.outcome.error, tried.outcome.unfinished
    passed = error["type"] == "Rehearsed" if error else not tried.outcome.ending
    if passed:
        # What the policy only warns of, the upgrade itself tells.
        return
    failure.report_events(answer, tried)
    if error and request.rehearsal == TRANSACTION:
        if error["type"] == "Unrehearsable":
            raise cannot_be_rehearsed(error["message"])
        if begun and (POISONED in error["message"] or error["sqlstate"] == READ_ONLY or tried.every("left")):
            named = f"revision {begun['revision']} ({begun['path']})"
            raise cannot_be_rehearsed(f"{named} ends its transaction by itself, or works outside of it")
    cause, remedy = failure.cause_and_remedy(request, answer, tried)
    raise Refused("rehearsal_failed", f"The rehearsal failed ({place}), so the upgrade was not run. {cause}", remedy)
