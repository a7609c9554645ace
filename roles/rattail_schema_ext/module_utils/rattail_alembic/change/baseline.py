# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Version rows for a database that was migrated by hand, on the evidence of its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..migration import runner
from ..observe import history
from ..observe.answer import result
from ..observe.look import look
from ..observe.observation import Observation
from ..observe.preconditions import UPGRADES_OWN, ensure_writable
from ..observe.request import Request
from ..postgres.connection import connect, run
from ..postgres.contents import VERSION_RIGHTS
from ..postgres.lock import Lock
from ..problem import Refused
from ..revisions import script
from ..revisions.graph import Graph, Revision, RevisionFile
from .under_lock import Tell, bring_up_to_date, locked

HEADS = "heads"
_NAMED = 5
_TABLES = """
select n.nspname, c.relname, pg_table_is_visible(c.oid) from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
"""


def without_upgrade(request: Request) -> Request:
    """The request without what only an upgrade needs: a baseline makes no backup, and rehearses nothing."""
    return replace(request, backup="none", rehearsal="none")


def in_the_way(seen: Observation) -> list[str]:
    """The problems of a look, without those that a baseline has nothing to do with, or is there for."""
    return [str(each) for each in seen.problems if each.code not in {"unstamped", *UPGRADES_OWN}]


def plan(seen: Observation, wanted: Sequence[str]) -> tuple[str, ...]:
    """The version rows to write, once it is sure that nothing of what they stand for is applied by its row.

    :param wanted: revisions, or ``heads``: those that have no row yet.
    :returns: none, where ``heads`` are wanted and all have theirs.
    :raises Refused: where one of them is not known, or was applied already, or the rows say that a branch is not at its
        head, or database or history stand in the way.
    """
    assert seen.graph is not None and seen.plan is not None
    graph = seen.graph
    if not wanted:
        raise Refused(
            "baseline_missing",
            "It is not said which revisions the database is at.",
            f"Set rattail_schema_ext_baseline_revision, for instance to {list(graph.heads)}.",
        )
    applied = graph.applied(seen.plan.rows)
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
    if present or seen.plan.unknown:
        what = ", ".join([*present, *seen.plan.unknown])
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
        return ()
    # Alembic changes or drops a row that a new one implies.
    implied = graph.ancestors(rows) & set(seen.plan.rows)
    ensure_writable(seen, creates=False, rights=VERSION_RIGHTS if implied else ("SELECT", "INSERT"))
    seen.warnings += warn_of_unseen(seen, rows)
    history.refuse_unwritable(seen.request.history_dir)
    return tuple(rows)


def _refuse_behind(graph: Graph, head: str, applied: frozenset[str]) -> None:
    location = graph.revisions[head].location
    before = [name for name in graph.ancestors([head]) & applied if graph.revisions[name].location == location]
    if before:
        raise Refused(
            "baseline_behind",
            f"The version table says that the revisions of {location} are not all applied: {head} is pending there.",
            "Name the revisions of branches that have no row yet; what is merely behind is for the main entry point.",
        )


def refuse_without_evidence(seen: Observation, rows: Sequence[str], tables: frozenset[str]) -> None:
    """Hold the tables that the stamped revisions make against those that are there.

    :param tables: as :func:`tables_of` has them.
    :raises Refused: where one is missing, none can be told of one of the version locations, or one of a later
        revision is there.
    """
    assert seen.graph is not None and seen.plan is not None
    graph = seen.graph
    stamped = _stamped(graph, rows, seen.plan.rows)
    facts = _facts(seen)
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
        core = seen.request.base.version_location
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
        if revision not in stamped and later and revision.revision not in graph.applied(seen.plan.rows):
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


def _facts(seen: Observation) -> dict[str, script.Facts]:
    assert seen.graph is not None
    return {
        name: script.inspect(RevisionFile(each.path, each.location, seen.texts.get(each.path, "")))
        for name, each in seen.graph.revisions.items()
    }


def warn_of_unseen(seen: Observation, rows: Sequence[str]) -> list[str]:
    """A warning about the revisions, core's aside, of which no table tells whether they were applied."""
    assert seen.graph is not None and seen.plan is not None
    core, facts = seen.request.base.version_location, _facts(seen)
    unseen = [
        each.revision
        for each in _stamped(seen.graph, rows, seen.plan.rows)
        if each.location != core and (facts[each.revision].unread or not facts[each.revision].created)
    ]
    if not unseen:
        return []
    return [
        f"The tables alone do not show that all of {_some(unseen)} was applied: look for yourself what they change."
    ]


def look_for_evidence(before: Observation, rows: Sequence[str]) -> None:
    """The same by a connection of its own.

    :raises Refused: where the database lets nobody in, or does not show what it should.
    """
    assert before.way is not None
    connection = connect(before.way)
    try:
        with connection.cursor() as cursor:
            refuse_without_evidence(before, rows, tables_of(cursor))
    finally:
        connection.close()


def as_diff(before: Observation, rows: Sequence[str]) -> dict[str, str]:
    """The version rows as Ansible's ``--diff`` shows them."""
    assert before.plan is not None
    texts = ["".join(f"{row}\n" for row in sorted(each)) for each in (before.plan.rows, {*before.plan.rows, *rows})]
    header = f"version rows of {before.contents.identity['name'] if before.contents else ''}"
    return {"before_header": header, "after_header": header, "before": texts[0], "after": texts[1]}


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def tables_of(cursor: Any) -> frozenset[str]:
    """The tables as revisions name them: all by ``schema.name``, and by name those that are found without a schema."""
    rows = run(cursor, _TABLES)
    return frozenset(f"{schema}.{name}" for schema, name, _ in rows) | {name for _, name, visible in rows if visible}


def stamp(request: Request, before: Observation, rows: Sequence[str], answer: dict[str, Any], tell: Tell) -> str:
    """Win the lock, see the evidence once more, write the version rows and look again.

    :returns: why it failed; empty where it did not.
    """

    def alone(lock: Lock) -> str:
        assert before.target is not None
        with lock.connection.cursor() as cursor:
            refuse_without_evidence(before, rows, tables_of(cursor))
        runner.stamp(request.config_file, rows, before.target, before.direct)
        after = look(request)
        if after.plan is None or before.plan is None:
            return f"The rows were written, but the database cannot be looked at: {result(after)['state_reason']}"
        bring_up_to_date(answer, after)
        answer["changed"] = after.plan.rows != before.plan.rows
        answer["stamped"] = sorted(set(after.plan.rows) - set(before.plan.rows))
        history.keep(after, answer, "")
        return ""

    return locked(request, before, answer, tell, alone)
