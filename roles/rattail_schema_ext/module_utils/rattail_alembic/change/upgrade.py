# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Apply what an observation found pending, one run at a time, and say truly what came of it."""

from __future__ import annotations

from typing import Any

from ..observe import history, owners
from ..observe.answer import describe, result
from ..observe.look import look
from ..observe.observation import Observation
from ..observe.request import Request
from ..postgres import catalog
from ..postgres.connection import run
from ..postgres.contents import quoted
from ..postgres.kinds import RELATIONS
from ..postgres.lock import Lock
from . import failure, jobs, partial, retry
from .rehearsal import rehearse
from .under_lock import Tell, bring_up_to_date, locked, save


def apply(request: Request, before: Observation, answer: dict[str, Any], tell: Tell, *, with_sql: bool = False) -> str:
    """Win the lock, save, try out, run ``upgrade heads``, look again, and bring the result ``answer`` up to date.

    The database is asked, not the process: only what the version table says afterwards counts.

    :param tell: is told, in a sentence, what a person who waits would like to know.
    :param with_sql: whether ``answer["executed"]`` is to have the SQL that ran, by revision.
    :returns: why it failed; empty where it did not.
    """
    return locked(request, before, answer, tell, lambda lock: _apply_alone(request, before, answer, lock, with_sql))


def _apply_alone(request: Request, before: Observation, answer: dict[str, Any], lock: Lock, with_sql: bool) -> str:
    before = _plan_again(request, before, answer, lock)
    answer["current_before"] = list(before.plan.rows) if before.plan else []
    if before.problems or before.plan is None or not before.plan.pending or before.way is None:
        bring_up_to_date(answer, before)
        if before.plan is not None and before.graph is not None and not before.problems:
            history.keep_applied(before, answer)
        return " ".join(map(str, before.problems))
    with lock.connection.cursor() as cursor:
        answer["warnings"] += partial.clear(cursor, before)
        found = catalog.snapshot(cursor)
    job = jobs.upgrade(before, lock, found, record=with_sql)
    if before.backup_wanted:
        save(request, before, answer, lock)
    rehearse(request, job, before.way, answer, lock)
    tried = retry.run(job, lock, request.lock_retries)
    failure.tell_what_was_seen(answer, tried)
    if with_sql:
        events = tried.outcome.events
        answer["executed"] = {each["revision"]: each["sql"] for each in events if each["event"] == "executed"}
    after = look(request)
    if after.plan is None or after.graph is None:
        reason = result(after)["state_reason"]
        return f"The upgrade was run, but the database cannot be looked at afterwards: {reason}"
    bring_up_to_date(answer, after)
    answer["changed"] = after.plan.rows != before.plan.rows
    _tell_what_was_applied(answer, before, after, tried)
    why = ""
    if after.plan.pending or after.plan.unknown:
        with lock.connection.cursor() as cursor:
            partial.tell(cursor, answer, tried, found)
        why = failure.explain(request, answer, tried)
    else:
        _tell_of_drift(answer, tried)
        with lock.connection.cursor() as cursor:
            answer["warnings"] += warn_of_others(cursor, after)
    if not why and tried.outcome.ending:
        answer["warnings"].append(f"The app's process {tried.outcome.ending}, yet every revision is applied.")
    history.keep(after, answer, why)
    return why


def _plan_again(request: Request, before: Observation, answer: dict[str, Any], lock: Lock) -> Observation:
    """The observation, made anew where another run has been at work since, or may have been.

    One that failed leaves the version rows as they were, but time has gone by, and revision files may have come.
    """
    assert before.plan is not None
    if not lock.holders and _rows(before, lock) == before.plan.rows:
        return before
    again = look(request)
    if again.plan is not None and again.plan.pending:
        answer["pending"] = result(again)["pending"]
        answer["warnings"] += [warning for warning in again.warnings if warning not in answer["warnings"]]
    return again


def _rows(before: Observation, lock: Lock) -> tuple[str, ...]:
    """The version rows as the lock's connection sees them now."""
    with lock.connection.cursor() as cursor:
        [(table,)] = run(cursor, "select to_regclass(%s)::text", (before.version_table,))
        rows = run(cursor, f"select version_num from {table} order by 1") if table else []
    return tuple(row for (row,) in rows)


def _tell_what_was_applied(
    answer: dict[str, Any], before: Observation, after: Observation, tried: retry.Attempts
) -> None:
    assert before.plan is not None and before.graph is not None and after.plan is not None and after.graph is not None
    fresh = after.graph.applied(after.plan.rows) - before.graph.applied(before.plan.rows)
    took = {event["revision"]: event["seconds"] for event in tried.outcome.events if event["event"] == "applied"}
    order = [revision.revision for revision in before.plan.pending]
    answer["applied"] = describe(after, {name: took.get(name) for name in order if name in fresh})


def _tell_of_drift(answer: dict[str, Any], tried: retry.Attempts) -> None:
    """How the app's own tables differ from its models."""
    compared = tried.outcome.last("drift")
    if compared is None:
        return
    answer["drift"] = compared["differences"]
    if compared["error"]:
        answer["warnings"].append(f"The app's tables could not be held against its models: {compared['error']}.")
    elif answer["drift"]:
        answer["warnings"].append(
            f"The app's tables differ from its models: {' '.join(answer['drift'])} Write a revision that mends it."
        )


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


def warn_of_others(cursor: Any, seen: Observation) -> list[str]:
    """Warnings about relations with an extension's prefix whose owner's rights the role has not.

    :param cursor: of a session of the role that upgrades.
    """
    whose = owners.of_locations(seen).values()
    return [
        f"The {kind} {schema}.{name} belongs to {owner}, whose rights {user} has not, so that no later revision can "
        f"alter it. Give it back: ALTER {kind.upper()} {quoted(schema)}.{quoted(name)} OWNER TO {quoted(user)}."
        for schema, name, owner, user, letter in run(cursor, _OTHERS, (list(RELATIONS),))
        for kind in [RELATIONS[letter]]
        if any(prefixes.owns(schema, name) for prefixes in whose)
    ]
