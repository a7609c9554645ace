# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The upgrade tried out before anything real is touched: on a copy, or in a transaction that cannot be committed."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace

from ..copies import scratch
from ..migration.job import CLONE, POISONED, READ_ONLY, TRANSACTION, Job
from ..observe.answer import Answer, Rehearsal, Rehearsed
from ..observe.observation import Ready
from ..observe.request import Request
from ..postgres.lock import Lock
from ..problem import Refused
from . import failure, retry
from .retry import Attempts

NONE = "none"


def rehearse(ready: Ready, job: Job, answer: Answer, lock: Lock) -> None:
    """Run the upgrade as a rehearsal, where one is asked for, and put what it showed into ``answer.rehearsal``.

    :raises Refused: where the upgrade would fail, or the rehearsal cannot be held.
    """
    request = ready.request
    if request.rehearsal == NONE:
        return
    lock.enter("rehearsal")
    started = time.monotonic()
    with ExitStack() as stack:
        place = "the database itself"
        if request.rehearsal == CLONE:
            # The backup is that copy already, where it is a full one.
            dump = answer.backup.file if answer.backup and request.backup == "full" else ""
            copy = stack.enter_context(scratch.database(ready.way, bin_dir=request.postgresql_bin_dir, dump=dump))
            answer.warn(*copy.warnings)
            place = copy.place
            # Nobody else is there, to be locked out or to be told apart.
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
        answer.rehearsal = _told(request.rehearsal, place, tried, time.monotonic() - started)
        _judge(request, answer, tried, place)


def _told(mode: str, place: str, tried: Attempts, seconds: float) -> Rehearsal:
    took = tried.seconds
    return Rehearsal(
        mode=mode,
        place=place,
        seconds=round(seconds, 3),
        revisions=[
            Rehearsed(event["revision"], took.get(event["revision"]), event["sql"], event["locks"])
            for event in tried.outcome.events
            if event["event"] == "rehearsed"
        ],
        violations=failure.violations(tried),
        data=failure.data(tried),
    )


def _warnings(tried: Attempts) -> list[str]:
    """What the policy lets pass with a word."""
    found = [(each.revision, f"{each.action} {each.object}. {each.rule}") for each in failure.violations(tried)]
    found += [(each.revision, f"{failure.wrote(each)}.") for each in failure.data(tried)]
    return [f"In the rehearsal, revision {revision} {words}" for revision, words in found]


def _judge(request: Request, answer: Answer, tried: Attempts, place: str) -> None:
    outcome = tried.outcome
    ended = outcome.error is None and not outcome.ending
    if ended or (outcome.error is not None and outcome.error["type"] == "Rehearsed"):
        answer.warn(*_warnings(tried))
        return
    failure.tell_what_was_seen(answer, tried)
    why = _why_impossible(request, tried)
    if why:
        raise Refused(
            "rehearsal_impossible",
            f"The upgrade cannot be rehearsed in a transaction: {why}.",
            "Set rattail_schema_ext_rehearsal: clone, which runs it on a copy.",
        )
    cause, remedy = failure.words(request, answer, tried)
    raise Refused(
        "rehearsal_failed",
        f"The rehearsal failed ({place}), so nothing was done in earnest. {cause}",
        remedy,
    )


def _why_impossible(request: Request, tried: Attempts) -> str:
    """What shows that a revision left the transaction of a rehearsal in one; empty where none did."""
    error, begun = tried.outcome.error, tried.outcome.unfinished
    if error is None or request.rehearsal != TRANSACTION:
        return ""
    if error["type"] == "Unrehearsable":
        return str(error["message"])
    if begun is None or not (POISONED in error["message"] or error["sqlstate"] == READ_ONLY or tried.left):
        return ""
    return f"revision {begun['revision']} ({begun['path']}) ends its transaction by itself, or works outside of it"
