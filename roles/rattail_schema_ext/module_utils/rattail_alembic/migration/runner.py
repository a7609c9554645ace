# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Migrates, and writes scripts, by the app's own Alembic, each time in a child of its own."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from weakref import WeakSet

from ..postgres.connection import KEEPALIVES
from ..postgres.url import Target, leads_to
from ..problem import Refused
from . import drift
from .alembic_api import alembic_config, applied, run_env, steps_to, steps_to_stamp
from .ask_app import answer
from .child import PAUSE, QUIET, Event, Outcome, Report, in_child
from .connect_hook import intercept
from .guard import Guard
from .job import Job


def migrate(job: Job, listen: Report) -> Outcome:
    """``alembic upgrade heads`` or ``alembic downgrade``, step by step, under the eyes of a :class:`Guard`.

    Events: ``connected`` (``pid``), ``planned`` (``rows``, ``pending``), then ``applying`` (``revision``,
    ``path``) and ``applied`` (``revision``, ``seconds``) for each revision, and what the guard tells.
    ``applied`` says that the revision ran, not that it was committed: ask the database for that.

    :param listen: gets each event as it comes.
    """

    return in_child(lambda report: _migrate([job], report), listen)


def in_turn(turns: Sequence[tuple[Job, Callable[[Outcome], None]]]) -> None:
    """Run jobs on the same database one after another, in a child that loads the app once.

    Each job's outcome goes to what stands beside it while the child waits; what that raises ends the child, and is
    raised here. After a job that failed there is no other. Where the app's ``env.py`` cannot be run again in the
    same process, the jobs that are left have a child of their own.
    """
    done = 0
    while True:
        first, events = done, list[Event]()

        def listen(event: Event, events: list[Event] = events) -> None:
            nonlocal done
            if event == PAUSE:
                done += 1
                turns[done - 1][1](Outcome(list(events)))
                events.clear()
            elif event is not QUIET and event["event"] != "error":
                events.append(event)

        jobs = [job for job, _ in turns[first:]]
        outcome = in_child(partial(_migrate, jobs), listen)
        outcome.events = events
        if done > first and (outcome.error or outcome.ending) and outcome.last("planned") is None:
            continue
        turns[done][1](outcome)
        return


def _migrate(jobs: Sequence[Job], report: Report) -> None:
    """Run jobs one after another in this process, with a ``PAUSE`` between them."""
    guards: list[Guard] = []
    made: WeakSet[Any] = WeakSet()

    def settle(connection: Any) -> None:
        made.add(connection)
        guards[-1].settle(connection)

    def see(connection: Any) -> None:
        guards[-1].see(connection)

    def hear(connection: Any, text: str) -> None:
        guards[-1].hear(connection, text)

    lead_connections(jobs[0].target, jobs[0].redirect, settle, see, hear)
    if jobs[0].rehearsal or jobs[0].record:
        _listen_to_statements(lambda text: guards[-1].statement(text))
    for job in jobs:
        if guards:
            # A pool may keep one, and the next guard is to see all of its own.
            for connection in list(made):
                connection.close()
            report(PAUSE)
        guards.append(Guard(job, report))
        _migrate_one(job, guards[-1], report)


def _migrate_one(job: Job, guard: Guard, report: Report) -> None:
    contexts: list[Any] = []
    # Loading the app makes hundreds of thousands of objects that all stay: nothing to collect, again and again.
    gc.disable()

    def steps(script: Any, rows: Any, context: Any) -> Iterator[Any]:
        gc.freeze()
        gc.enable()
        guard.begin(_cursor(context))
        contexts.append(context)
        plan = steps_to(script, job.destination, rows, downward=job.downward)
        names = [step.revision.revision for step in plan]
        report({"event": "planned", "rows": list(rows), "pending": names})
        _refuse_unplanned(job, script, rows, names)
        _watch_autocommit(context, guard)
        for step in plan:
            at = {"revision": step.revision.revision, "path": step.revision.path}
            report({"event": "applying", **at})
            started = time.monotonic()
            step.migration_fn = _guarded(step.migration_fn, context, guard, at["revision"])
            yield step
            report({"event": "applied", "seconds": round(time.monotonic() - started, 3), **at})
        guard.end(_cursor(context))

    config = alembic_config(job.config_file, {})
    run_env(config, steps, destination=job.destination, directories=job.directories)
    if contexts and job.compare:
        report({"event": "drift", **_drift(contexts[0], job)})


def _refuse_unplanned(job: Job, script: Any, rows: Sequence[str], names: Sequence[str]) -> None:
    """See that Alembic does what was planned: a file that came later was neither announced nor is it guarded.

    :param names: what Alembic would do now.
    :raises Refused: where that is something else.
    """
    done = applied(script, rows)
    # An app whose env.py commits each revision has done a part of it, where this is tried again.
    wanted = set(job.only) & done if job.downward else set(job.only) - done
    more, less = ", ".join(sorted(set(names) - wanted)), ", ".join(sorted(wanted - set(names)))
    if more or less:
        verb = "undo" if job.downward else "apply"
        differ = " and ".join([*([f"also {more}"] if more else []), *([f"not {less}"] if less else [])])
        raise Refused(
            "plan_other",
            f"Alembic would {verb} other revisions than were planned ({differ}), so nothing was done.",
            "Run again, once nobody changes the app's source any more.",
        )


def _cursor(context: Any) -> Any:
    """A DBAPI cursor of the migrating connection, in whatever transaction it is."""
    return context.connection.connection.cursor()


def _guarded(migration_fn: Any, context: Any, guard: Guard, revision: str) -> Any:
    """A revision's ``upgrade()`` with the guard before and after it, in the same transaction."""

    def run(**arguments: Any) -> None:
        guard.before(_cursor(context), revision)
        migration_fn(**arguments)
        guard.after(_cursor(context), revision)

    return run


def _watch_autocommit(context: Any, guard: Guard) -> None:
    """Have the guard know of every ``autocommit_block``, which commits what came before it."""
    from contextlib import contextmanager

    original = context.autocommit_block

    @contextmanager
    def autocommit_block() -> Iterator[None]:
        guard.leave()
        with original():
            guard.outside(_cursor(context))
            yield
        guard.back(_cursor(context))

    context.autocommit_block = autocommit_block


def _drift(context: Any, job: Job) -> dict[str, Any]:
    """How the app's own tables differ from its models, now that everything is committed.

    Alembic's own comparison, of tables with an own prefix only: nothing is said of what belongs to others.

    :returns: keys ``differences`` (sentences) and ``error`` (why it could not be told, else empty).
    """
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    def own(name: str | None, kind: str, *_more: Any) -> bool:
        return kind != "table" or job.own.owns("", name or "")

    try:
        metadata = context.opts["target_metadata"]
        if metadata is None:
            return {"differences": [], "error": "the app's env.py gives no target_metadata"}
        with context.connection.engine.connect() as connection:
            options = {
                "target_metadata": metadata,
                "compare_type": True,
                "include_name": own,
                "include_object": lambda _object, name, kind, *_more: own(name, kind),
            }
            found = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    except Exception as error:
        return {"differences": [], "error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
    return {"differences": [words for each in found for words in drift.words(each)], "error": ""}


def lead_connections(
    target: Target,
    redirect: Target | None,
    settle: Callable[[Any], None] | None = None,
    see: Callable[[Any], None] | None = None,
    hear: Callable[[Any, str], None] | None = None,
) -> None:
    """See to every connection that the app makes: where it leads, and its settings before its first transaction."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def lead(arguments: dict[str, Any]) -> dict[str, Any]:
        away = redirect is not None and leads_to(target, arguments)
        return {**KEEPALIVES, **(redirect.connect_kwargs() if redirect and away else arguments)}

    def connect(dialect: Any, _record: Any, arguments: Any, named: dict[str, Any]) -> Any:
        if dialect.name != "postgresql" or dialect.driver == "psycopg2":
            return None
        connection = dialect.connect(*arguments, **lead(named))
        if settle is not None:
            settle(connection)
        return connection

    intercept(lead, settle, see, hear)
    # another driver
    event.listen(Engine, "do_connect", connect)


def _listen_to_statements(hear: Callable[[str], None]) -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def statement(_connection: Any, _cursor: Any, text: str, *_rest: Any) -> None:
        hear(text)

    event.listen(Engine, "before_cursor_execute", statement)


def stamp(config_file: str, rows: Sequence[str], target: Target, direct: Target | None) -> None:
    """``alembic stamp``: write version rows, and run nothing.

    :param target: where the app's own config leads, and ``direct`` the way to it past a pooler.
    :raises Refused: where that fails.
    """

    def work(report: Report) -> None:
        lead_connections(target, direct)

        def steps(script: Any, found: Any, _context: Any) -> Any:
            plan = steps_to_stamp(script, tuple(rows), found)
            report({"event": "stamped"})
            return plan

        run_env(alembic_config(config_file, {}), steps, destination=tuple(rows))

    outcome = in_child(work)
    if outcome.error is not None or outcome.ending:
        outcome.events.clear()
    answer(outcome, "stamped", "The app's env.py", config_file)
