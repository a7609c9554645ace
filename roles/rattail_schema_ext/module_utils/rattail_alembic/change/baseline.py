# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Version rows for a database that was migrated by hand, on the evidence of its tables."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from ..migration import runner
from ..observe import report
from ..observe.answer import Answer, Diff
from ..observe.database_checks import listed, refuse_too_long
from ..observe.look import look
from ..observe.observation import Ready
from ..observe.request import Request
from ..observe.writable import UPGRADES_OWN, judge_writable, refuse_without_history, to_write
from ..postgres.connection import connect
from ..postgres.contents import VERSION_RIGHTS, tables_there
from ..postgres.lock import Lock
from ..problem import Refused
from ..revisions import script
from . import history
from .under_lock import Log, locked, look_afterwards, refusals

HEADS = "heads"
_ONLY_UNKNOWN = "Name only revisions of branches that have no row yet; what is behind is for the main entry point."


def run(request: Request, *, log: Log, check_mode: bool = False) -> Answer:
    """Look, compare the tables with the revisions, win the lock, write the rows, and look again.

    :returns: its ``msg`` says why it failed, and is empty where it did not.
    """
    # A baseline makes no backup, and rehearses nothing.
    before = look(replace(request, backup="none", rehearsal="none"))
    answer = report.answer(before, excused={"unstamped", *UPGRADES_OWN})
    answer.check_mode = check_mode
    if answer.msg:
        return answer
    with refusals(answer):
        ready = before.ready()
        rows = _plan(ready)
        if rows:
            refuse_too_long(ready.contents, ready.version_table, rows)
            ready = to_write(ready)
            # Alembic changes or drops a row that a new one implies.
            implied = ready.graph.ancestors(rows) & set(ready.plan.rows)
            rights = VERSION_RIGHTS if implied else ("SELECT", "INSERT")
            answer.warn(*judge_writable(ready.contents, option=request.database_option, creates=False, rights=rights))
            refuse_without_history(ready)
            with closing(connect(ready.way)) as connection:
                answer.warn(*_judge_tables(ready, rows, connection))
        answer.diff = _as_diff(ready, rows)
        if check_mode:
            answer.changed, answer.stamped = bool(rows), sorted(rows)
        elif rows:
            locked(ready, answer, log, lambda lock: _alone(ready, rows, answer, lock))
    return answer


def _plan(ready: Ready) -> tuple[str, ...]:
    """The version rows to write; none, where ``heads`` are wanted and all have theirs.

    :raises Refused: where one is not known, or was applied already, or belongs to a branch whose row is behind.
    """
    graph, wanted = ready.graph, ready.request.baseline_revision
    applied = ready.plan.applied
    heads = [head for head in graph.heads if HEADS in wanted and head not in applied]
    names = [name for each in wanted for name in (heads if each == HEADS else (each,))]
    for name in names:
        if name not in graph.revisions:
            raise Refused(
                "baseline_unknown",
                f"{name!r} is no revision that the code knows.",
                f"Name revisions of it; its heads are {', '.join(graph.heads)}.",
            )
    present = [*sorted(applied.intersection(names)), *ready.plan.unknown]
    if present:
        cause = f"The version table has {', '.join(present)} already."
        raise Refused("baseline_applied", cause, _ONLY_UNKNOWN)
    for head in heads:
        location = graph.revisions[head].location
        if any(graph.revisions[name].location == location for name in graph.ancestors([head]) & applied):
            cause = f"The version table says that the revisions of {location} are not all applied: {head} is pending."
            raise Refused("baseline_behind", cause, _ONLY_UNKNOWN)
    # A row that another one implies is not written.
    implied = graph.overlapping(names)
    return tuple(name for name in dict.fromkeys(names) if name not in implied)


def _judge_tables(ready: Ready, rows: Sequence[str], connection: Any) -> list[str]:
    """Compare the tables that the stamped revisions make with those that are there.

    :returns: a warning that names those of which no table tells, where there are any.
    :raises Refused: where one is missing, none is known of a version location, or one of a later revision is there.
    """
    with connection.cursor() as cursor:
        tables = tables_there(cursor)
    graph, core = ready.graph, ready.request.base.version_location
    facts = {name: script.inspect(ready.file(each)) for name, each in graph.revisions.items()}
    before, after = ready.plan.applied, ready.plan.applied | graph.ancestors(rows)
    ordered = graph.ordered(())
    stamped = [each for each in ordered if each.revision in after - before]
    expected = script.tables_created(facts[each.revision] for each in stamped)
    for location in dict.fromkeys(each.location for each in stamped):
        of_it = [each.revision for each in stamped if each.location == location]
        if not expected & script.tables_created(facts[name] for name in of_it):
            raise Refused(
                "baseline_no_evidence",
                f"No table is known that {listed(of_it)} of {location} made, so nothing shows that they were applied.",
                "Look for yourself, and use alembic stamp for them.",
            )
    # Core's drop no table in what is not read of them.
    theirs = [each.revision for each in stamped if each.location != core]
    unread = [name for name in theirs if facts[name].unread]
    missing = sorted(expected - tables)
    if missing:
        more = f" Where {listed(unread)} drops them in lines that could not be read, use alembic stamp."
        raise Refused(
            "baseline_table_missing",
            f"The database lacks tables that are there after {', '.join(rows)}: {listed(missing)}.",
            f"Name earlier revisions, those that were really applied.{more if unread else ''}",
        )
    for each in ordered:
        later = sorted((facts[each.revision].created - expected) & tables)
        if later and each.revision not in after:
            raise Refused(
                "baseline_table_of_later",
                f"The database has {listed(later)}, which revision {each.revision} ({each.path}) makes, "
                "but that revision is not named.",
                "Name that revision, if it was applied; else drop or rename what is in its way.",
            )
    unseen = listed(name for name in theirs if facts[name].unread or not facts[name].created)
    what = "look for yourself what they change."
    return [f"The tables alone do not show that all of {unseen} was applied: {what}"] if unseen else []


def _as_diff(ready: Ready, rows: Sequence[str]) -> Diff:
    """The version rows as Ansible's ``--diff`` shows them."""
    there = ready.plan.rows
    before, after = ("".join(f"{row}\n" for row in sorted(each)) for each in (there, {*there, *rows}))
    header = f"version rows of {ready.contents.identity['name']}"
    return Diff(before_header=header, after_header=header, before=before, after=after)


def _alone(ready: Ready, rows: Sequence[str], answer: Answer, lock: Lock) -> None:
    """The evidence once more, and the rows, once the lock is won."""
    _judge_tables(ready, rows, lock.connection)
    runner.stamp(ready.request.config_file, rows, ready.target, ready.redirect)
    after = look_afterwards(ready, answer)
    answer.stamped = sorted(set(after.plan.rows) - set(ready.plan.rows))
    history.keep(after, answer)
