# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Version rows for a database that was migrated by hand, on the evidence of its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..migration import runner
from ..observe import history, report
from ..observe.answer import Answer, Diff
from ..observe.look import UPGRADES_OWN, judge_writable, look, to_write
from ..observe.observation import Ready
from ..observe.request import Request
from ..postgres.connection import connect
from ..postgres.connection import run as ask
from ..postgres.contents import VERSION_RIGHTS
from ..postgres.lock import Lock
from ..problem import Refused
from ..revisions import script
from ..revisions.graph import Graph, Revision, RevisionFile
from .under_lock import Tell, locked, look_afterwards, silent

HEADS = "heads"
_NAMED = 5
_TABLES = """
select n.nspname, c.relname, pg_table_is_visible(c.oid) from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
"""


def run(request: Request, *, check_mode: bool = False, tell: Tell = silent) -> Answer:
    """Look, hold the tables against the revisions, win the lock, write the rows, and look again.

    :param tell: is told, in a sentence, what a person who waits would like to know.
    :returns: its ``msg`` says why it failed, and is empty where it did not.
    """
    # A baseline makes no backup, and rehearses nothing.
    before = look(replace(request, backup="none", rehearsal="none"))
    answer = report.answer(before, excused={"unstamped", *UPGRADES_OWN})
    answer.check_mode = check_mode
    if answer.msg:
        return answer
    try:
        ready, rows = _plan(before.ready(), answer)
        if rows:
            _look_for_evidence(ready, rows)
    except Refused as refused:
        answer.refuse(refused.problem)
        return answer
    answer.diff = _as_diff(ready, rows)
    if check_mode:
        answer.changed, answer.stamped = bool(rows), sorted(rows)
    elif rows:
        locked(ready, answer, tell, lambda lock: _alone(ready, rows, answer, lock))
    return answer


def _plan(ready: Ready, answer: Answer) -> tuple[Ready, tuple[str, ...]]:
    """The version rows to write, once it is sure that nothing of what they stand for is applied by its row.

    :returns: no rows, where ``heads`` are wanted and all have theirs.
    :raises Refused: where one of them is not known, or was applied already, or the rows say that a branch is not at its
        head, or database or history stand in the way.
    """
    graph, wanted = ready.graph, ready.request.baseline_revision
    if not wanted:
        raise Refused(
            "baseline_missing",
            "It is not said which revisions the database is at.",
            f"Set rattail_schema_ext_baseline_revision, for instance to {list(graph.heads)}.",
        )
    applied = graph.applied(ready.plan.rows)
    heads = [head for head in graph.heads if HEADS in wanted and head not in applied]
    names = [name for each in wanted for name in (heads if each == HEADS else (each,))]
    for name in names:
        if name not in graph.revisions:
            raise Refused(
                "baseline_unknown",
                f"{name!r} is no revision that the code knows.",
                f"Name revisions of it; its heads are {', '.join(graph.heads)}.",
            )
    present = sorted(set(names) & applied)
    if present or ready.plan.unknown:
        what = ", ".join([*present, *ready.plan.unknown])
        raise Refused(
            "baseline_applied",
            f"The version table has {what} already, so the database is no stranger to it.",
            "Name only revisions of branches that have no row yet; what is merely behind is for the main entry point.",
        )
    for head in heads:
        _refuse_behind(graph, head, applied)
    # A row that another one implies is not written.
    rows = [name for name in dict.fromkeys(names) if not any(name in graph.ancestors([o]) - {o} for o in names)]
    if not rows:
        return ready, ()
    ready = to_write(ready)
    # Alembic changes or drops a row that a new one implies.
    implied = graph.ancestors(rows) & set(ready.plan.rows)
    rights = VERSION_RIGHTS if implied else ("SELECT", "INSERT")
    answer.warn(*judge_writable(ready.request, ready.contents, creates=False, rights=rights))
    answer.warn(*_warn_of_unseen(ready, rows))
    history.refuse_unwritable(ready.request.history_dir)
    return ready, tuple(rows)


def _refuse_behind(graph: Graph, head: str, applied: frozenset[str]) -> None:
    location = graph.revisions[head].location
    before = [name for name in graph.ancestors([head]) & applied if graph.revisions[name].location == location]
    if before:
        raise Refused(
            "baseline_behind",
            f"The version table says that the revisions of {location} are not all applied: {head} is pending there.",
            "Name the revisions of branches that have no row yet; what is merely behind is for the main entry point.",
        )


def _refuse_without_evidence(ready: Ready, rows: Sequence[str], tables: frozenset[str]) -> None:
    """Hold the tables that the stamped revisions make against those that are there.

    :param tables: as :func:`_tables_of` has them.
    :raises Refused: where one is missing, none can be told of one of the version locations, or one of a later
        revision is there.
    """
    graph = ready.graph
    stamped = _stamped(graph, rows, ready.plan.rows)
    facts = _facts(ready)
    expected = script.tables_created(facts[revision.revision] for revision in stamped)
    for location in dict.fromkeys(revision.location for revision in stamped):
        of_it = [revision.revision for revision in stamped if revision.location == location]
        if not expected & script.tables_created(facts[name] for name in of_it):
            raise Refused(
                "baseline_no_evidence",
                f"Not one table can be told that {_some(of_it)} of {location} make, so nothing shows that they were "
                "applied.",
                f"Look for yourself, and use alembic stamp for {'them' if len(of_it) > 1 else 'it'}.",
            )
    missing = sorted(expected - tables)
    if missing:
        core = ready.request.base.version_location
        # Core's drop no table in what is not read of them.
        unread = [each.revision for each in stamped if each.location != core and facts[each.revision].unread]
        more = (
            f" Where {_some(unread)} drops them in lines that could not be read, use alembic stamp." if unread else ""
        )
        raise Refused(
            "baseline_table_missing",
            f"The database lacks tables that are there after {', '.join(rows)}: {_some(missing)}.",
            f"Name earlier revisions, those that were really applied.{more}",
        )
    for revision in graph.ordered(()):
        later = sorted((facts[revision.revision].created - expected) & tables)
        if revision not in stamped and later and revision.revision not in graph.applied(ready.plan.rows):
            raise Refused(
                "baseline_table_of_later",
                f"The database has {_some(later)}, which revision {revision.revision} ({revision.path}) makes, "
                "and that is not among what is to be stamped.",
                "Name that revision, if it was applied; else drop or rename what is in its way.",
            )


def _stamped(graph: Graph, rows: Sequence[str], before: Sequence[str]) -> list[Revision]:
    """The revisions that the rows stand for and that were not applied before, in order."""
    names = graph.ancestors(rows) - graph.applied(before)
    return [revision for revision in graph.ordered(()) if revision.revision in names]


def _facts(ready: Ready) -> dict[str, script.Facts]:
    return {
        name: script.inspect(RevisionFile(each.path, each.location, ready.texts.get(each.path, "")))
        for name, each in ready.graph.revisions.items()
    }


def _warn_of_unseen(ready: Ready, rows: Sequence[str]) -> list[str]:
    """A warning about the revisions, core's aside, of which no table tells whether they were applied."""
    core, facts = ready.request.base.version_location, _facts(ready)
    unseen = [
        each.revision
        for each in _stamped(ready.graph, rows, ready.plan.rows)
        if each.location != core and (facts[each.revision].unread or not facts[each.revision].created)
    ]
    if not unseen:
        return []
    return [
        f"The tables alone do not show that all of {_some(unseen)} was applied: look for yourself what they change."
    ]


def _look_for_evidence(ready: Ready, rows: Sequence[str]) -> None:
    """The same by a connection of its own.

    :raises Refused: where the database lets nobody in, or does not show what it should.
    """
    connection = connect(ready.way)
    try:
        with connection.cursor() as cursor:
            _refuse_without_evidence(ready, rows, _tables_of(cursor))
    finally:
        connection.close()


def _as_diff(ready: Ready, rows: Sequence[str]) -> Diff:
    """The version rows as Ansible's ``--diff`` shows them."""
    there = ready.plan.rows
    before, after = ("".join(f"{row}\n" for row in sorted(each)) for each in (there, {*there, *rows}))
    header = f"version rows of {ready.contents.identity['name']}"
    return Diff(before_header=header, after_header=header, before=before, after=after)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _tables_of(cursor: Any) -> frozenset[str]:
    """The tables as revisions name them: all by ``schema.name``, and by name those that are found without a schema."""
    rows = ask(cursor, _TABLES)
    return frozenset(f"{schema}.{name}" for schema, name, _ in rows) | {name for _, name, visible in rows if visible}


def _alone(ready: Ready, rows: Sequence[str], answer: Answer, lock: Lock) -> None:
    """The evidence once more, and the rows, once the lock is won."""
    with lock.connection.cursor() as cursor:
        _refuse_without_evidence(ready, rows, _tables_of(cursor))
    runner.stamp(ready.request.config_file, rows, ready.target, ready.redirect)
    after = look_afterwards(ready, answer, "The rows were written")
    if after is not None and after.plan is not None:
        answer.stamped = sorted(set(after.plan.rows) - set(ready.plan.rows))
        history.keep(after, answer)
