# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The upgrade tried before it is run: on a copy, or in a transaction that cannot be committed."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace

from ..copies import scratch
from ..migration.job import CLONE, POISONED, READ_ONLY, TRANSACTION, Job
from ..observe.answer import Answer, Rehearsal, Rehearsed
from ..observe.look import cannot_be_rehearsed
from ..observe.observation import Ready
from ..observe.request import Request
from ..postgres.lock import Lock
from ..problem import Refused
from . import failure, retry
from .retry import Attempts

NONE = "none"


def rehearse(ready: Ready, job: Job, answer: Answer, lock: Lock) -> None:
    """Run the upgrade as a rehearsal, where one is asked for, and put what it showed into ``answer.rehearsal``.

    :raises Refused: where the upgrade would fail, or cannot be rehearsed.
    """
    request = ready.request
    if request.rehearsal == NONE:
        return
    lock.enter("rehearsal")
    started = time.monotonic()
    with ExitStack() as stack:
        place = "the database itself"
        if request.rehearsal == CLONE:
            # A full backup serves as the copy's content.
            dump = answer.backup.file if answer.backup and request.backup == "full" else ""
            copy = stack.enter_context(scratch.database(ready.way, bin_dir=request.postgresql_bin_dir, dump=dump))
            answer.warn(*copy.warnings)
            place = copy.place
            # No other session is there.
            job = replace(
                job,
                redirect=copy.target,
                database=copy.target.dbname,
                rehearsal=CLONE,
                lock_pid=0,
                catalog=None,
                compare=False,
            )
        else:
            job = replace(job, rehearsal=TRANSACTION, compare=False)
        tried = retry.run(job, lock, request.lock_retries)
        answer.rehearsal = Rehearsal(
            mode=request.rehearsal,
            place=place,
            seconds=round(time.monotonic() - started, 3),
            revisions=[
                Rehearsed(name, tried.seconds([name])[name], event["sql"], event["locks"])
                for event in tried.every("rehearsed")
                for name in [event["revision"]]
            ],
            violations=tried.violations,
            data=tried.data,
        )
        _judge(request, answer, tried, place)


def _judge(request: Request, answer: Answer, tried: Attempts, place: str) -> None:
    outcome = tried.outcome
    ended = outcome.error is None and not outcome.ending
    if ended or (outcome.error is not None and outcome.error["type"] == "Rehearsed"):
        answer.warn(*(f"In the rehearsal, revision {each}" for each in failure.allowed(tried)))
        return
    failure.report_events(answer, tried)
    why = _why_impossible(request, tried)
    if why:
        raise cannot_be_rehearsed(why)
    cause, remedy = failure.cause_and_remedy(request, answer, tried)
    raise Refused("rehearsal_failed", f"The rehearsal failed ({place}), so the upgrade was not run. {cause}", remedy)


def _why_impossible(request: Request, tried: Attempts) -> str:
    """What shows that a revision left the transaction of a rehearsal in one; empty where none did."""
    error, begun = tried.outcome.error, tried.outcome.unfinished
    if error is None or request.rehearsal != TRANSACTION:
        return ""
    if error["type"] == "Unrehearsable":
        return str(error["message"])
    if begun is None or not (POISONED in error["message"] or error["sqlstate"] == READ_ONLY or tried.every("left")):
        return ""
    return f"revision {begun['revision']} ({begun['path']}) ends its transaction by itself, or works outside of it"
