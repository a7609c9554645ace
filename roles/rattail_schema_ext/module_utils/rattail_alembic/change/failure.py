# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why a migration failed, where that leaves the database, and what to do: for a person."""

from __future__ import annotations

import re
from collections.abc import Collection

from ..migration.job import READ_ONLY
from ..observe.answer import Answer, Blocker, FailedRevision, Rows
from ..observe.observation import Ready
from ..observe.request import Request
from ..postgres.connection import RETRYABLE
from .net import Found
from .retry import Attempts

_STATEMENT_CHARACTERS = 500
_VIOLATIONS = 3
_MEND = "Mend the revision and run again."
FOLLOWED = "Every version row is written all the same: the database has followed."
LOOK_FOR_YOURSELF = "Look for yourself whether all of it is there: a next run has nothing to do."
_CUT_OFF = "Read the log of the server, then run again."
# admin_shutdown and its like, connection exceptions (errcodes of PostgreSQL); the driver's own words have no code
_GONE = re.compile("57P|08|(the )?connection (already|is) (closed|lost)|terminating connection|server closed the conn")
_WRITE_INSIDE = (
    "Have it write rows in its transaction (before it leaves it, or after an autocommit_block), "
    "or set rattail_schema_ext_policy_data: report, then run again."
)


def cause_and_remedy(request: Request, answer: Answer, tried: Attempts, *, reverting: bool = False) -> tuple[str, str]:
    """What went wrong, and what to do about it; ``answer`` gets what programs may want to know of it."""
    error, begun = tried.outcome.error, tried.outcome.unfinished
    if error and error["type"] == "Violated":
        # by what the last one left to be done at the COMMIT
        begun = begun or tried.outcome.last("applying")
    if error:
        answer.exception = error["trace"]
    elif tried.outcome.output:
        answer.app_output = tried.outcome.output.splitlines()
    what, command = ("revert", "downgrade") if reverting else ("upgrade", "upgrade heads")
    if error and error["problem"]:
        return f"The {what} of {request.app!r} failed: {error['problem']['cause']}", error["problem"]["remedy"]
    reason, remedy = _reason(answer, tried)
    if begun is None:
        cause = f"The {what} of {request.app!r} with {answer.python} failed: {reason}."
        return cause, f"Run bin/alembic {command} by hand to see why."
    statement = " ".join((error["statement"] if error else "").split())[:_STATEMENT_CHARACTERS]
    answer.failed_revision = FailedRevision(begun["revision"], begun["path"], statement, reason)
    where = f" in the statement: {statement}" if statement else ""
    return f"Revision {begun['revision']} ({begun['path']}) failed: {reason}{where}.", remedy


def report_events(answer: Answer, tried: Attempts) -> None:
    """Put what was reported while the revisions ran into ``answer``."""
    answer.retries, answer.blockers = tried.retries, tried.blockers
    answer.violations, answer.data = tried.violations, tried.data
    for event in tried.every("others"):
        seen = f"While revision {event['revision']} ran, another session committed {', '.join(event['objects'])}"
        beside = ": it counts as the revision's, which used a second connection" if event["beside"] else ""
        answer.warn(f"{seen}{beside}.")
    for event in tried.every("uncounted"):
        ran = f"Revision {event['revision']} ran {event['kind']} outside of its transaction"
        answer.warn(f"{ran}: rows that it wrote there were not counted.")
    if tried.outcome.error is None or tried.outcome.error["type"] != "Violated":
        # what the policy only warns about
        done = [f"{each.revision} {each.action} {each.object}. {each.rule}" for each in tried.violations]
        wrote = [f"{each.revision} {_wrote(each)}." for each in tried.data]
        answer.warn(*(f"Revision {each}" for each in done + wrote))


def _wrote(entry: Rows) -> str:
    counts = {"inserted": entry.inserted, "updated": entry.updated, "deleted": entry.deleted}
    numbers = [f"{count} {what}" for what, count in counts.items() if count]
    numbers += ["all of them replaced"] if entry.rewritten else []
    return f"wrote rows of {entry.table}, which is not this extension's: {', '.join(numbers) or 'not counted'}"


def _reason(answer: Answer, tried: Attempts) -> tuple[str, str]:
    """What went wrong, and what to do about it."""
    outcome, error = tried.outcome, tried.outcome.error
    if error is None:
        return f"the app's process {outcome.ending}" if outcome.ending else "revisions are still pending", _MEND
    if error["type"] == "Violated":
        found = [f"{each.object}: {each.rule.rstrip('.')}" for each in answer.violations]
        found = found or [f"it {_wrote(each)}" for each in answer.data]
        return f"it is against the policy ({_several(found)})", _MEND
    if error["type"] == "WritesOutside":
        return f"it is against the policy ({error['message']})", _WRITE_INSIDE
    reason = f"{error['type']}: {error['message']}"
    began = outcome.last("began")
    if error["sqlstate"] == READ_ONLY and outcome.unfinished and began and began["confined"]:
        own = "it opened a connection of its own, on which it may only read, since what it commits there is not undone"
        return f"{reason} ({own})", "Have the revision write by op.execute() or op.get_bind(), and run again."
    if _GONE.match(error["sqlstate"] or error["message"]):
        return reason, _CUT_OFF
    if error["sqlstate"] not in RETRYABLE:
        return reason, _MEND
    if tried.every("left"):
        return f"{reason} (not tried again, because something had been committed)", _MEND
    reason += f", tried {tried.retries + 1} times" if tried.retries else ""
    reason += f"; in the way: {'; '.join(map(_blocker, tried.blockers))}" if tried.blockers else ""
    return reason, "Have those sessions end, or give it more time (rattail_schema_ext_lock_retries), then run again."


def report_net(answer: Answer, found: Found) -> None:
    """Put into ``answer`` what the database showed in the end, and nothing before."""
    answer.violations += found.violations
    answer.warn(*found.warnings)
    seen = (f"{each.action} {each.object} while it ran, by it or by another session" for each in found.violations)
    answer.warn(*(f"Seen in the end: {each}." for each in seen))


def trespass(answer: Answer, found: Found, *, reverting: bool) -> str:
    """Why a run failed whose revisions all came through."""
    what, done = ("revert", answer.reverted) if reverting else ("upgrade", answer.applied)
    named = _several([f"{each.action} {each.object}" for each in found.violations])
    return (
        f"The {what} is committed ({len(done)} revisions), but something else came with it that is against the policy: "
        f"{named}. Undo that by hand or restore the backup, and mend the revision."
    )


def standing(answer: Answer, net: Found, *, reverting: bool) -> str:
    """Where the database is: what was committed and what was not, and how to undo the part of a revision."""
    done, verb = (answer.reverted, "undone") if reverting else (answer.applied, "applied")
    count, partial = len(done), answer.partial
    found = f"{count} revision{'s were' if count > 1 else ' was'} {verb} and committed before it." if count else ""
    if partial:
        objects = ", ".join(partial.objects) or "nothing that the catalog shows"
        found += f" It had left its transaction ({partial.how}), so that of it was committed: {objects}."
        if partial.undo:
            found += f" To undo that: {' '.join(partial.undo)}"
        if any(not each.startswith("created ") for each in partial.objects) or len(partial.undo) < len(partial.objects):
            found += " The rest is to be undone by hand, if it is not another session's."
        if partial.invalid_indexes:
            found += f" Not valid, and used by no query: {', '.join(partial.invalid_indexes)}."
    if found:
        return found.strip()
    if net.ours:
        return f"Nothing was {verb}, but the database is not as it was: {_several(net.ours)}."
    if net.others:
        return f"Nothing was {verb}; another session, as far as can be told, has {_several(net.others)} meanwhile."
    return f"Nothing was {verb}: the database is as it was."


def _several(found: list[str]) -> str:
    """The first three of them, and how many more there are."""
    return "; ".join(found[:_VIOLATIONS]) + (f"; and {len(found) - _VIOLATIONS} more" if found[_VIOLATIONS:] else "")


def put_back(after: Ready, revisions: Collection[str]) -> str:
    """What to do about the version rows of revisions that failed, and whose rows are not Alembic's but their own."""
    rows = [(each.revision, *each.down_revision) for each in map(after.graph.revisions.get, revisions) if each]
    table, pairs = after.version_table, [row for row in rows if len(row) == 2]
    sql = [f" UPDATE {table} SET version_num = '{old}' WHERE version_num = '{new}';" for new, old in pairs]
    return f" It wrote its version row itself, and that stays. Put it back before you run again:{''.join(sql)}"


def _blocker(session: Blocker) -> str:
    where = f"from {session.address}" if session.address else ""
    seconds = session.transaction_seconds
    since = "" if seconds is None else f"in a transaction for {seconds} s"
    who = f"pid {session.pid}, user {session.user or 'unknown'}"
    return ", ".join(part for part in (who, session.application, where, session.state, since) if part)
