# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Migrates, and writes version rows, by the app's own Alembic, each time in a child of its own."""

from __future__ import annotations

import gc
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from weakref import WeakSet

from ..postgres import driver
from ..postgres.connection import KEEPALIVES
from ..postgres.contents import quoted
from ..postgres.url import Target, leads_to
from ..problem import Refused
from . import drift
from .alembic_api import alembic_config, applied, run_env, steps_to, steps_to_stamp
from .ask_app import answer, driver_other, refuse_another_driver
from .child import PAUSE, QUIET, Event, Outcome, Report, in_child
from .connect_hook import intercept
from .guard import Guard
from .job import Job

# Audit events (PEP 578) of what can reach the database unheard.
_ELSEWHERE = ("os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen", "socket.connect")
# as the role's own comparison of models and database does
_READS = re.compile(r"\s*(select|show)\s", re.IGNORECASE)


def migrate(job: Job, listen: Report) -> Outcome:
    """``alembic upgrade heads`` or ``alembic downgrade``, step by step, under the eyes of a :class:`Guard`.

    Events: ``connected`` (``pid``), ``planned``, then ``applying`` (``revision``, ``path``) and ``applied``
    (``revision``, ``seconds``) for each revision, and what the guard tells. ``applied`` says that the revision ran, not
    that it was committed: ask the database for that.
    """
    return in_child(partial(_migrate, [job]), listen)


def in_turn(turns: Sequence[tuple[Job, Callable[[Outcome], None]]]) -> None:
    """Run jobs on the same database one after another, in a child that loads the app once.

    Each job's outcome goes to what stands beside it while the child waits; what that raises ends the child, and is
    raised here. A job that failed is the last. Where ``env.py`` cannot be run again in one process, the jobs that are
    left have a child of their own.
    """
    left, events = list(turns), list[Event]()

    def listen(event: Event) -> None:
        if event == PAUSE:
            _, take = left.pop(0)
            take(Outcome(list(events)))
            events.clear()
        elif event is not QUIET and event["event"] != "error":
            events.append(event)

    outcome = in_child(partial(_migrate, [job for job, _ in turns]), listen)
    outcome.events = events
    if len(left) < len(turns) and (outcome.error or outcome.ending) and outcome.last("planned") is None:
        in_turn(left)
    else:
        left[0][1](outcome)


def _migrate(jobs: Sequence[Job], report: Report) -> None:
    """Run jobs one after another in this process, with a ``PAUSE`` between them."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    guards: list[Guard] = []
    made: WeakSet[Any] = WeakSet()

    def settle(connection: Any) -> None:
        made.add(connection)
        guards[-1].settle(connection)

    def see(connection: Any) -> None:
        guards[-1].beside.see(connection)

    def hear(connection: Any, text: str) -> None:
        if not (comparing and _READS.match(text)):
            guards[-1].hear(connection, text)

    def record(_connection: Any, _cursor: Any, text: str, *_rest: Any) -> None:
        guards[-1].statements.add(text)

    lead_connections(jobs[0].target, jobs[0].redirect, settle, see, hear)
    if jobs[0].rehearsal or jobs[0].record:
        event.listen(Engine, "before_cursor_execute", record)
    for job in jobs:
        if guards:
            # A pool may keep one, and the next guard is to see all of its own.
            for connection in list(made):
                driver.end(connection)
            report(PAUSE)
        guards.append(Guard(job, report))
        comparing = False
        context = _migrate_one(job, guards[-1], report)
        comparing = True
        if context is not None and job.compare:
            report({"event": "drift", **_drift(context, job)})


def _migrate_one(job: Job, guard: Guard, report: Report) -> Any:
    """Run a job; Alembic's context, where it came to that."""
    contexts: list[Any] = []
    # Loading the app makes hundreds of thousands of objects that all stay: nothing to collect, again and again.
    gc.disable()

    def steps(script: Any, rows: Any, context: Any) -> Iterator[Any]:
        gc.freeze()
        gc.enable()

        def cursor() -> Any:
            """A plain cursor of the migrating connection, in whatever transaction it is, of which no guard hears."""
            return driver.plain_cursor(context.connection.connection.cursor().connection)

        def audit(name: str, _arguments: Any) -> None:
            if name in _ELSEWHERE:
                guard.beside.add_unseen()
                guard.hear(None, name)

        refuse_another_driver(context)
        names = filter(None, (context.version_table_schema, context.version_table))
        guard.begin(cursor(), ".".join(map(quoted, names)), rows)
        sys.addaudithook(audit)
        contexts.append(context)
        of_env = tuple(context.on_version_apply_callbacks)
        at_commit = context.connection.dispatch.commit
        listening = len(at_commit)
        with guard.loading(cursor()):
            plan = steps_to(script, job.destination, rows, downward=job.downward)
        report({"event": "planned"})
        _refuse_unplanned(job, applied(script, rows), {step.revision.revision for step in plan})
        autocommit_block = context.autocommit_block
        context.autocommit_block = lambda: guard.outside(autocommit_block(), cursor)
        each_commits = bool(context.opts.get("transaction_per_migration"))

        def written(heads: set[str], **_more: Any) -> None:
            guard.written(cursor(), heads, then=following)

        def guarded(migration_fn: Any, revision: str) -> Any:
            """A revision's ``upgrade()`` with the guard before and after it, in the same transaction."""

            def run(**arguments: Any) -> None:
                guard.before(cursor(), revision)
                migration_fn(**arguments)
                # The guard's look is after what a revision has registered with Alembic, before what is env.py's.
                registered = [each for each in context.on_version_apply_callbacks if each not in (*of_env, written)]
                context.on_version_apply_callbacks = (*registered, written, *of_env)
                guard.after(cursor())
                guard.waits_for_commit = len(at_commit) > listening

            return run

        for step, then in zip(plan, [*(each.revision.revision for each in plan[1:]), ""]):
            following = "" if each_commits else then
            at = {"revision": step.revision.revision, "path": step.revision.path}
            report({"event": "applying", **at})
            started = time.monotonic()
            step.migration_fn = guarded(step.migration_fn, at["revision"])
            yield step
            report({"event": "applied", "seconds": round(time.monotonic() - started, 3), **at})
        guard.end(cursor())

    config = alembic_config(job.config_file, {})
    run_env(config, steps, destination=job.destination, directories=job.directories)
    return contexts[0] if contexts else None


def _refuse_unplanned(job: Job, done: set[str], names: set[str]) -> None:
    """Refuse to do anything but what was planned: a file that came later was neither announced nor is it guarded.

    :param done: the revisions that are applied, and ``names`` those that Alembic would run now.
    """
    # An app whose env.py commits each revision has done a part of it, where this is tried again.
    wanted = set(job.only) & done if job.downward else set(job.only) - done
    parts = [("also", names - wanted), ("not", wanted - names)]
    differ = " and ".join(f"{word} {', '.join(sorted(found))}" for word, found in parts if found)
    if differ:
        verb = "undo" if job.downward else "apply"
        raise Refused(
            "plan_other",
            f"Alembic would {verb} other revisions than were planned ({differ}), so nothing was done.",
            "Run again, once nobody changes the app's source any more.",
        )


def _drift(context: Any, job: Job) -> dict[str, Any]:
    """How the app's own tables differ from its models, by Alembic's own comparison, now that everything is committed.

    :returns: keys ``differences`` (sentences) and ``error`` (why it could not be told, else empty).
    """
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    without_model = set[str]()

    def plain(schema: str | None) -> str | None:
        """As Alembic has it: none for the default schema."""
        return None if schema == context.dialect.default_schema_name else schema

    def own(name: str | None, kind: str, where: Mapping[str, str | None]) -> bool:
        if kind == "schema":
            return name is None or name in {schema for schema, _ in models}
        place = (where.get("schema_name"), str(name))
        if kind != "table" or place == version_table or not job.own.owns(place[0] or "", place[1]):
            return kind != "table"
        if place not in models:
            # Alembic would read all about it first.
            without_model.add(".".join(filter(None, place)))
        return place in models

    def own_object(thing: Any, name: str | None, kind: str, *_more: Any) -> bool:
        return kind != "table" or own(name, kind, {"schema_name": plain(thing.schema)})

    metadata = context.opts["target_metadata"]
    version_table = (plain(context.version_table_schema), context.version_table)
    try:
        if metadata is None:
            return {"differences": [], "error": "the app's env.py gives no target_metadata"}
        models = {(plain(table.schema), table.name) for table in metadata.tables.values()}
        with context.connection.engine.connect() as connection:
            options = {
                "target_metadata": metadata,
                "compare_type": True,
                "include_schemas": True,
                "include_name": own,
                "include_object": own_object,
            }
            found = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
        tables = [drift.only_there(f"table {name}") for name in sorted(without_model)]
        return {"differences": tables + drift.sentences(found), "error": ""}
    except Exception as error:
        message = str(error).partition("\n")[0]
        return {"differences": [], "error": f"{type(error).__name__}: {message}"}


def lead_connections(target: Target, redirect: Target | None, *told: Any) -> None:
    """See to every connection that the app makes: where it leads, and who hears of it (``told``, see ``intercept``)."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def lead(arguments: dict[str, Any]) -> dict[str, Any]:
        away = redirect is not None and leads_to(target, arguments)
        return {**KEEPALIVES, **(redirect.connect_kwargs() if redirect and away else arguments)}

    def refuse(dialect: Any, *_arguments: Any) -> None:
        if dialect.name == "postgresql" and (dialect.driver not in driver.NAMES or dialect.is_async):
            raise driver_other(dialect)

    intercept(lead, *told)
    event.listen(Engine, "do_connect", refuse)


def stamp(config_file: str, rows: Sequence[str], target: Target, direct: Target | None) -> None:
    """``alembic stamp``: write version rows, and run nothing; refused where that fails.

    :param target: where the app's own config leads, and ``direct`` the way to it past a pooler.
    """

    def work(report: Report) -> None:
        def steps(script: Any, found: Any, _context: Any) -> Any:
            return steps_to_stamp(script, tuple(rows), found)

        lead_connections(target, direct)
        run_env(alembic_config(config_file, {}), steps, destination=tuple(rows))
        report({"event": "stamped"})

    answer(in_child(work), "stamped", "The app's env.py", config_file)
