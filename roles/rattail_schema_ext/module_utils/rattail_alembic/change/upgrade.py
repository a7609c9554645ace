# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Apply what a look found pending, one run at a time, and report what is applied afterwards."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from ..observe import owners, report
from ..observe.answer import Answer
from ..observe.look import look
from ..observe.observation import Ready
from ..observe.request import Request
from ..postgres.connection import run as ask
from ..postgres.contents import quoted
from ..postgres.kinds import RELATIONS
from ..postgres.lock import Lock
from . import history, partial
from .rehearsal import rehearse
from .retry import Attempts
from .under_lock import Log, bring_up_to_date, locked, migrate, refusals, saved, upgrade_job

# Of what may be thousands.
_MOST_SHOWN = 10
# A column's own sequence goes with its table.
_OTHERS = """
select n.nspname, c.relname, pg_get_userbyid(c.relowner), current_user, c.relkind
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = any (%s) and not pg_has_role(c.relowner, 'USAGE')
  and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  and not exists (select from pg_depend d
    where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i', 'e'))
order by 1, 2
"""


def run(request: Request, *, log: Log, check_mode: bool = False, with_sql: bool = False) -> Answer:
    """Look, win the lock, make a backup, rehearse, run ``upgrade heads``, and look again.

    :param with_sql: whether the diff is to have the SQL that ran.
    :returns: its ``msg`` says why it failed, and is empty where it did not.
    """
    before = look(request)
    answer = report.answer(before, check_mode=check_mode)
    if answer.msg or not answer.pending:
        return answer
    executed: dict[str, list[str]] | None = {} if with_sql else None
    if check_mode:
        answer.changed = True
    else:
        ready = before.ready()
        with refusals(answer):
            locked(ready, answer, log, lambda lock: _alone(ready, answer, lock, executed))
    answer.diff = report.as_diff(answer.pending, answer.database, executed=executed)
    return answer


def _alone(before: Ready, answer: Answer, lock: Lock, executed: dict[str, list[str]] | None) -> None:
    """The upgrade, once the lock is won; ``executed`` takes the SQL of each revision, where it is wanted."""
    ready = _plan_again(before, answer, lock)
    if ready is None:
        return
    answer.current_before = list(ready.plan.rows)
    with lock.connection.cursor() as cursor:
        answer.warn(*partial.clear(cursor, ready))
    job = upgrade_job(ready, lock, record=executed is not None)
    with saved(ready, answer, lock) if ready.backup_wanted else nullcontext():
        rehearse(ready, job, answer, lock)
        tried = migrate(ready, job, answer, lock)
    if executed is not None:
        executed.update({each["revision"]: each["sql"] for each in tried.every("executed")})
    if answer.msg:
        return
    _report_drift(answer, tried)
    with lock.connection.cursor() as cursor:
        answer.warn(*_warn_of_others(cursor, ready))


def _plan_again(before: Ready, answer: Answer, lock: Lock) -> Ready | None:
    """A new look where another run was at work meanwhile, or may have been; None where that ends this run.

    A run that failed leaves the version rows as they were, but revision files may have come meanwhile.
    """
    with lock.connection.cursor() as cursor:
        [(table,)] = ask(cursor, "select to_regclass(%s)::text", (before.version_table,))
        rows = ask(cursor, f"select version_num from {table} order by 1") if table else []
    if not lock.holders and rows == [(row,) for row in before.plan.rows]:
        return before
    again = look(before.request)
    fresh = report.answer(again)
    if fresh.pending and not again.problems:
        answer.pending = fresh.pending
        answer.warn(*fresh.warnings)
        return again.ready()
    answer.current_before = fresh.current_before
    bring_up_to_date(answer, fresh)
    answer.problems, answer.msg = fresh.problems, fresh.msg
    if not again.problems:
        history.keep(again.ready(), answer, line=False)
    return None


def _report_drift(answer: Answer, tried: Attempts) -> None:
    """How the app's own tables differ from its models."""
    compared = tried.outcome.last("drift")
    if compared is None:
        return
    answer.drift = compared["differences"]
    if compared["error"]:
        answer.warn(f"The app's tables could not be compared with its models: {compared['error']}.")
    elif answer.drift:
        differ, more = " ".join(answer.drift[:_MOST_SHOWN]), len(answer.drift) - _MOST_SHOWN
        differ += f" And {more} more, which the result lists (drift)." if more > 0 else ""
        answer.warn(f"The app's tables differ from its models: {differ} Write a revision that mends it.")


def _warn_of_others(cursor: Any, ready: Ready) -> list[str]:
    """Warnings about relations with an extension's prefix that the role, whose session this is, does not own."""
    whose = owners.of_locations(ready).values()
    return [
        f"The {kind} {schema}.{name} belongs to {owner}, and {user} does not have its rights, so no later revision can "
        f"alter it. Give it back: ALTER {kind.upper()} {quoted(schema)}.{quoted(name)} OWNER TO {quoted(user)}."
        for schema, name, owner, user, letter in ask(cursor, _OTHERS, (list(RELATIONS),))
        for kind in [RELATIONS[letter]]
        if any(prefixes.owns(schema, name) for prefixes in whose)
    ]
