# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Apply what a look found pending, one run at a time, and say truly what came of it."""

from __future__ import annotations

from typing import Any

from ..observe import history, owners, report
from ..observe.answer import Answer
from ..observe.look import look
from ..observe.observation import Observation, Ready, backup_wanted
from ..observe.request import Request
from ..postgres import catalog
from ..postgres.connection import run as ask
from ..postgres.contents import quoted
from ..postgres.kinds import RELATIONS
from ..postgres.lock import Lock
from . import failure, jobs, partial, retry
from .rehearsal import rehearse
from .under_lock import Tell, bring_up_to_date, locked, look_afterwards, save, silent

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


def run(request: Request, *, check_mode: bool = False, tell: Tell = silent, with_sql: bool = False) -> Answer:
    """Look, win the lock, save, try out, run ``upgrade heads``, and look again.

    :param tell: is told, in a sentence, what a person who waits would like to know.
    :param with_sql: whether the diff is to have the SQL that ran.
    :returns: its ``msg`` says why it failed, and is empty where it did not.
    """
    before = look(request)
    answer = report.answer(before, check_mode=check_mode)
    if answer.msg or not answer.pending:
        return answer
    answer.diff = report.as_diff(answer.pending, answer.database)
    if check_mode:
        answer.changed = True
        return answer
    ready, executed = before.ready(), dict[str, list[str]]()
    locked(ready, answer, tell, lambda lock: _alone(ready, answer, lock, executed if with_sql else None))
    answer.diff = report.as_diff(answer.pending, answer.database, executed=executed)
    return answer


def _alone(before: Ready, answer: Answer, lock: Lock, executed: dict[str, list[str]] | None) -> None:
    """The upgrade, once the lock is won.

    :param executed: takes the SQL of each revision, where it is wanted.
    """
    found = _plan_again(before, answer, lock)
    if found is None:
        return
    ready, request = found, found.request
    answer.current_before = list(ready.plan.rows)
    with lock.connection.cursor() as cursor:
        answer.warn(*partial.clear(cursor, ready))
        there = catalog.snapshot(cursor)
    job = jobs.upgrade(ready, lock, there, record=executed is not None)
    if backup_wanted(request, ready.plan, ready.contents):
        save(ready, answer, lock)
    rehearse(ready, job, answer, lock)
    tried = retry.run(job, lock, request.lock_retries)
    failure.tell_what_was_seen(answer, tried)
    if executed is not None:
        events = tried.outcome.events
        executed.update({each["revision"]: each["sql"] for each in events if each["event"] == "executed"})
    after = look_afterwards(ready, answer, "The upgrade was run")
    if after is None or after.plan is None or after.graph is None:
        return
    _tell_what_was_applied(answer, ready, after, tried)
    with lock.connection.cursor() as cursor:
        if after.plan.pending or after.plan.unknown:
            partial.tell(cursor, answer, tried, there)
            answer.msg = failure.explain(request, answer, tried)
        else:
            _tell_of_drift(answer, tried)
            answer.warn(*_warn_of_others(cursor, ready))
            if tried.outcome.ending:
                answer.warn(f"The app's process {tried.outcome.ending}, yet every revision is applied.")
    history.keep(after, answer)


def _plan_again(before: Ready, answer: Answer, lock: Lock) -> Ready | None:
    """The look, made anew where another run has been at work since, or may have been; None where that ends the run.

    One that failed leaves the version rows as they were, but time has gone by, and revision files may have come.
    """
    if not lock.holders and _rows(before, lock) == before.plan.rows:
        return before
    again = look(before.request)
    fresh = report.answer(again)
    if fresh.pending and not again.problems:
        answer.pending = fresh.pending
        answer.warn(*fresh.warnings)
        return again.ready()
    answer.current_before = fresh.current_before
    bring_up_to_date(answer, again)
    answer.problems, answer.msg = fresh.problems, fresh.msg
    if not again.problems:
        history.keep_applied(again, answer)
    return None


def _rows(before: Ready, lock: Lock) -> tuple[str, ...]:
    """The version rows as the lock's connection sees them now."""
    with lock.connection.cursor() as cursor:
        [(table,)] = ask(cursor, "select to_regclass(%s)::text", (before.version_table,))
        rows = ask(cursor, f"select version_num from {table} order by 1") if table else []
    return tuple(row for (row,) in rows)


def _tell_what_was_applied(answer: Answer, before: Ready, after: Observation, tried: retry.Attempts) -> None:
    assert after.plan is not None and after.graph is not None
    fresh = after.graph.applied(after.plan.rows) - before.graph.applied(before.plan.rows)
    took = tried.seconds
    order = [revision.revision for revision in before.plan.pending]
    answer.applied = report.describe(
        before.locations, before.graph, {name: took.get(name) for name in order if name in fresh}
    )


def _tell_of_drift(answer: Answer, tried: retry.Attempts) -> None:
    """How the app's own tables differ from its models."""
    compared = tried.outcome.last("drift")
    if compared is None:
        return
    answer.drift = compared["differences"]
    if compared["error"]:
        answer.warn(f"The app's tables could not be held against its models: {compared['error']}.")
    elif answer.drift:
        answer.warn(
            f"The app's tables differ from its models: {' '.join(answer.drift)} Write a revision that mends it."
        )


def _warn_of_others(cursor: Any, ready: Ready) -> list[str]:
    """Warnings about relations with an extension's prefix whose owner's rights the role has not.

    :param cursor: of a session of the role that upgrades.
    """
    whose = owners.of_locations(ready).values()
    return [
        f"The {kind} {schema}.{name} belongs to {owner}, whose rights {user} has not, so that no later revision can "
        f"alter it. Give it back: ALTER {kind.upper()} {quoted(schema)}.{quoted(name)} OWNER TO {quoted(user)}."
        for schema, name, owner, user, letter in ask(cursor, _OTHERS, (list(RELATIONS),))
        for kind in [RELATIONS[letter]]
        if any(prefixes.owns(schema, name) for prefixes in whose)
    ]
