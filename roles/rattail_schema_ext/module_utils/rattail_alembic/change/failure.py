# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why a migration failed, where that leaves the database, and what to do: for a person."""

from __future__ import annotations

from collections.abc import Sequence

from ..migration.child import Event
from ..migration.job import READ_ONLY
from ..observe.answer import Answer, Blocker, FailedRevision, Rows, Violation
from ..observe.request import Request
from ..postgres.limits import RETRYABLE
from ..problem import mask
from .retry import Attempts

_STATEMENT_CHARACTERS = 500
_VIOLATIONS = 3
_WRITE_INSIDE = (
    "Have it write rows in its transaction (before it leaves it, or after an autocommit_block), "
    "or set rattail_schema_ext_policy_data: report, then run again."
)


def explain(request: Request, answer: Answer, tried: Attempts, *, reverting: bool = False) -> str:
    """The sentences: cause, where the database is, remedy.

    ``answer`` gets what programs may want to know of it.
    """
    cause, remedy = words(request, answer, tried, reverting=reverting)
    return f"{cause} {_standing(answer, reverting=reverting)} {remedy}"


def words(request: Request, answer: Answer, tried: Attempts, *, reverting: bool = False) -> tuple[str, str]:
    """What went wrong, and what to do about it."""
    outcome = tried.outcome
    begun = outcome.unfinished
    if outcome.error:
        answer.exception = outcome.error["trace"]
    elif outcome.output:
        answer.app_output = outcome.output.splitlines()
    reason, remedy = _reason(answer, tried)
    what, command = ("revert", "downgrade") if reverting else ("upgrade", "upgrade heads")
    if outcome.error and outcome.error["problem"]:
        problem = outcome.error["problem"]
        return f"The {what} of {request.app!r} failed: {problem['cause']}", problem["remedy"]
    if begun is None:
        cause = f"The {what} of {request.app!r} with {answer.python} failed: {reason}."
        return cause, f"Run bin/alembic {command} by hand to see why."
    error = outcome.error or {}
    # masked before it is cut, since half a password is one, too
    statement = mask(" ".join((error.get("statement") or "").split()))[:_STATEMENT_CHARACTERS]
    answer.failed_revision = FailedRevision(begun["revision"], begun["path"], statement, reason)
    where = f" in the statement: {statement}" if statement else ""
    return f"Revision {begun['revision']} ({begun['path']}) failed: {reason}{where}.", remedy


def tell_what_was_seen(answer: Answer, tried: Attempts) -> None:
    """What the guard and the watch reported, in the result."""
    events = tried.outcome.events
    answer.retries = tried.retries
    answer.blockers = tried.blockers
    answer.violations = violations(tried)
    answer.data = data(tried)
    answer.warn(
        *(_others(event) for event in events if event["event"] == "others"),
        *(_uncounted(event) for event in events if event["event"] == "uncounted"),
    )
    if tried.outcome.error is None or tried.outcome.error["type"] != "Violated":
        answer.warn(
            *(f"Revision {each.revision} {each.action} {each.object}. {each.rule}" for each in answer.violations),
            *(f"Revision {each.revision} {wrote(each)}." for each in answer.data),
        )


def _others(event: Event) -> str:
    seen = f"While revision {event['revision']} ran, another session committed {', '.join(event['objects'])}"
    return f"{seen}: it is put down to the revision, which used a second connection." if event["beside"] else f"{seen}."


def _uncounted(event: Event) -> str:
    ran = f"Revision {event['revision']} ran {event['kind']} outside of its transaction"
    return f"{ran}: rows that it wrote there were not counted."


def violations(tried: Attempts) -> list[Violation]:
    """What the guard reported that the policy forbids."""
    events = tried.outcome.events
    return [Violation(**each) for event in events if event["event"] == "violations" for each in event["violations"]]


def data(tried: Attempts) -> list[Rows]:
    """The rows of others' tables that the guard reported."""
    return [Rows(**each) for event in tried.outcome.events if event["event"] == "data" for each in event["tables"]]


def wrote(entry: Rows) -> str:
    """One entry of ``data`` in words."""
    return f"wrote rows of {entry.table}, which is not this extension's: {_numbers(entry)}"


def _reason(answer: Answer, tried: Attempts) -> tuple[str, str]:
    """What went wrong, and what to do about it."""
    outcome = tried.outcome
    mend = "Mend the revision and run again."
    error = outcome.error
    if error is None:
        return (f"the app's process {outcome.ending}" if outcome.ending else "revisions are pending all the same"), mend
    if error["type"] == "Violated":
        return _violations(answer), mend
    if error["type"] == "WritesOutside":
        return f"it is against the policy ({error['message']})", _WRITE_INSIDE
    words = f"{error['type']}: {error['message']}"
    began = outcome.last("began")
    if error["sqlstate"] == READ_ONLY and outcome.unfinished and began and began["confined"]:
        own = "it opened a connection of its own, on which it may only read, since what it commits there is not undone"
        return f"{words} ({own})", "Have the revision write by op.execute() or op.get_bind(), and run again."
    if error["sqlstate"] not in RETRYABLE:
        return words, mend
    if tried.left:
        return f"{words} (not tried again, because something had been committed)", mend
    words += f", tried {tried.retries + 1} times" if tried.retries else ""
    words += f"; in the way: {blockers(tried.blockers)}" if tried.blockers else ""
    return words, "Have those sessions end, or give it more time (rattail_schema_ext_lock_retries), then run again."


def _violations(answer: Answer) -> str:
    found = [f"{each.object}: {each.rule.rstrip('.')}" for each in answer.violations]
    if not found:
        found = [f"it {wrote(each)}" for each in answer.data]
    more = f"; and {len(found) - _VIOLATIONS} more" if len(found) > _VIOLATIONS else ""
    return f"it is against the policy ({'; '.join(found[:_VIOLATIONS])}{more})"


def _numbers(written: Rows) -> str:
    counts = {"inserted": written.inserted, "updated": written.updated, "deleted": written.deleted}
    told = [f"{count} {what}" for what, count in counts.items() if count]
    return ", ".join(told + (["all of them replaced"] if written.rewritten else []))


def _standing(answer: Answer, *, reverting: bool) -> str:
    """Where the database is: what was committed and what was not, and how to undo what stands half way."""
    done, verb = (answer.reverted, "undone") if reverting else (answer.applied, "applied")
    count, partial = len(done), answer.partial
    words = f"{count} revision{'s were' if count > 1 else ' was'} {verb} and committed before it." if count else ""
    if partial:
        objects = ", ".join(partial.objects) or "nothing that the catalog shows"
        words += f" It had left its transaction ({partial.how}), so that of it was committed: {objects}."
        if partial.undo:
            words += f" To undo that: {' '.join(partial.undo)}"
        if any(not each.startswith("created ") for each in partial.objects):
            words += " What was altered or dropped is to be undone by hand."
        if partial.invalid_indexes:
            words += f" Not valid, and used by no query: {', '.join(partial.invalid_indexes)}."
    return words.strip() or f"Nothing was {verb}: the database is as it was."


def blockers(found: Sequence[Blocker]) -> str:
    """Who stood in the way, in a few words each."""
    return "; ".join(
        ", ".join(
            word
            for word in (
                f"pid {each.pid}",
                f"user {each.user or 'unknown'}",
                each.application or "no application name",
                f"from {each.address}" if each.address else "",
                each.state,
                "" if each.transaction_seconds is None else f"in a transaction for {each.transaction_seconds} s",
            )
            if word
        )
        for each in found
    )
