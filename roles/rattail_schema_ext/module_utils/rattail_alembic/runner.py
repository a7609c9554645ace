# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Drives the app's ``env.py`` through Alembic's API. The only file that runs the app's code.

Whatever the app does to its process (print, replace ``sys.stdout``, ``os.chdir``, ``sys.exit``,
``os._exit``) it does to a forked child. What the child has to say comes over a pipe of its own as
lines of JSON, its stdout and stderr go to a file, and it dies with its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import json
import os
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, NoReturn

from .cores import Core
from .problem import Refused, mask

Event = dict[str, Any]
Report = Callable[[Event], None]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_OUTPUT_LINES = 20
_PATIENCE_SECONDS = 0.1


@dataclass
class Outcome:
    """What became of a child.

    ``events`` are its messages in order. ``error`` is its last word where it failed: keys ``type``,
    ``message``, ``statement`` and ``trace``.
    ``ending`` says how the process ended where it ended without a last word. ``output`` is the end
    of what the app printed.
    """

    events: list[Event] = field(default_factory=list)
    error: Event | None = None
    ending: str = ""
    output: str = ""

    def last(self, name: str) -> Event | None:
        """The latest event of that name."""
        return next((event for event in reversed(self.events) if event["event"] == name), None)

    @property
    def unfinished(self) -> Event | None:
        """The ``applying`` event of the revision that was running when the child ended; None between revisions."""
        latest = self.events[-1] if self.events else None
        return latest if latest and latest["event"] == "applying" else None


def in_child(work: Callable[[Report], None]) -> Outcome:
    """Run ``work`` in a forked child and return what it reported.

    ``work`` gets a function that sends an event (a JSON-able dict with the key ``event``).
    """
    reading, writing = os.pipe()
    parent = os.getpid()
    # What the child leaves behind becomes ours.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryFile() as output:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _be_the_child(work, writing, output.fileno(), parent)
        os.close(writing)
        outcome = Outcome()
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            for event in _events(pipe, child):
                if event["event"] == "error":
                    outcome.error = event
                else:
                    outcome.events.append(event)
        _, status = os.waitpid(child, 0)
        output.seek(0)
        printed = output.read().decode(errors="replace").splitlines()
        outcome.output = mask("\n".join(printed[-_OUTPUT_LINES:]))
    if outcome.error is None and outcome.last("end") is None:
        _end_orphans()
        outcome.ending = (
            f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
            if os.WIFSIGNALED(status)
            else f"left with exit code {os.WEXITSTATUS(status)}"
        )
    return outcome


def _events(pipe: IO[bytes], child: int) -> Iterator[Event]:
    """What the child says, until its last word or its end.

    The pipe's own end is not waited for: a process that the app left behind may hold it open.
    """
    text = b""
    while True:
        # Whether the child has ended is asked before the pipe is emptied, so that nothing it said is missed.
        ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        while select.select([pipe], [], [], 0 if ended else _PATIENCE_SECONDS)[0]:
            more = pipe.read(65536)
            if not more:
                return
            *lines, text = (text + more).split(b"\n")
            for line in lines:
                event = json.loads(line)
                yield event
                if event["event"] in ("error", "end"):
                    return
        if ended:
            return


def _end_orphans() -> None:
    """End what a child left behind that had no last word: it may have forked, and migrate in the background."""
    while True:
        processes = {int(path.split("/")[2]): _parent_of(path) for path in glob.glob("/proc/[0-9]*/stat")}
        orphans = [process for process, parent in processes.items() if parent == os.getpid()]
        if not orphans:
            return
        for orphan in orphans:
            try:
                os.kill(orphan, signal.SIGKILL)
            except PermissionError:
                return  # it became another user
            os.waitpid(orphan, 0)


def _parent_of(path: str) -> int:
    """The parent's id in a ``/proc/PID/stat``, after the name in brackets and the state (proc(5)); 0 without one."""
    try:
        with open(path, "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def _be_the_child(work: Callable[[Report], None], pipe: int, output: int, parent: int) -> NoReturn:
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        stream = os.fdopen(pipe, "wb")
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  stays open as long as the child lives
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115

        def report(event: Event) -> None:
            stream.write(json.dumps(event).encode() + b"\n")
            stream.flush()

        try:
            work(report)
            report({"event": "end"})
        except BaseException as error:
            report(_describe(error))
        with contextlib.suppress(Exception):
            sys.stdout.flush()
    finally:
        os._exit(0)


def _describe(error: BaseException) -> Event:
    message = str(getattr(error, "orig", None) or error).strip()
    if isinstance(error, SyntaxError):
        message = f"{error.msg} in {error.filename}, line {error.lineno}"
    return {
        "event": "error",
        "type": type(error).__name__,
        "message": mask(message.splitlines()[0] if message else ""),
        "statement": getattr(error, "statement", None),
        "trace": mask("".join(traceback.format_exception(type(error), error, error.__traceback__))),
    }


def _alembic_config(config_file: str, options: Mapping[str, str]) -> Any:
    """Alembic's Config of the file, with ``options`` of ``[alembic]`` (raw, as in a file) put over it."""
    from alembic.config import Config

    config = Config(config_file)
    for name, value in options.items():
        config.set_main_option(name, value)
    return config


def _run_env(config: Any, steps: Callable[[Any, Any], Any]) -> None:
    """Run the app's ``env.py`` with ``steps(script, rows)`` as what is to be done."""
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(config)
    environment = EnvironmentContext(
        config,
        script,
        fn=lambda rows, _context: steps(script, rows),
        as_sql=False,
        starting_rev=None,
        destination_rev="heads",
        tag=None,
    )
    with environment:
        script.run_env()


def upgrade(config_file: str) -> Outcome:
    """``alembic upgrade heads``, step by step.

    Events: ``planned`` (``rows``, ``pending``), then ``applying`` (``revision``, ``path``) and
    ``applied`` (``revision``, ``seconds``) for each revision. ``applied`` says that the revision ran,
    not that it was committed: ask the database for that.
    """

    def work(report: Report) -> None:
        def steps(script: Any, rows: Any) -> Iterator[Any]:
            # The call that alembic.command.upgrade makes: there is no public way to its steps.
            plan = script._upgrade_revs("heads", rows)
            report({"event": "planned", "rows": list(rows), "pending": [step.revision.revision for step in plan]})
            for step in plan:
                at = {"revision": step.revision.revision, "path": step.revision.path}
                report({"event": "applying", **at})
                started = time.monotonic()
                yield step
                report({"event": "applied", "seconds": round(time.monotonic() - started, 3), **at})

        _run_env(_alembic_config(config_file, {}), steps)

    return in_child(work)


def version_rows(config_file: str, options: Mapping[str, str]) -> tuple[str, ...]:
    """The version rows as the app's own ``env.py`` leads to them.

    :param options: ``[alembic]`` options that the file is to have but may not have yet.
    :raises Refused: where ``env.py`` fails.
    """

    def work(report: Report) -> None:
        def steps(_script: Any, rows: Any) -> list[Any]:
            report({"event": "rows", "rows": list(rows)})
            return []

        _run_env(_alembic_config(config_file, options), steps)

    return tuple(sorted(_answer(in_child(work), "rows", "The app's env.py")["rows"]))


def revisions(
    config_file: str, options: Mapping[str, str], directories: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """What Alembic itself finds in version locations, for files that only it can read.

    :param options: ``[alembic]`` options that the file is to have but may not have yet.
    :param directories: pairs of a location as written and the directory that it means now.
    :returns: dicts with the fields of :class:`graph.Revision`, in Alembic's load order.
    :raises Refused: where a revision file cannot be loaded.
    """

    def work(report: Report) -> None:
        from alembic.script import ScriptDirectory

        script = ScriptDirectory.from_config(_alembic_config(config_file, options))
        script.version_locations = [path for _, path in directories]
        found = [
            {
                "revision": each.revision,
                "down_revision": _names(each.down_revision),
                "branch_labels": sorted(each._orig_branch_labels),
                "depends_on": _names(each.dependencies),
                "message": each.doc,
                "path": each.path,
            }
            # Their order decides the order in which independent bases run.
            for each in script._load_revisions()
        ]
        report({"event": "revisions", "revisions": found})

    found: list[dict[str, Any]] = _answer(in_child(work), "revisions", "A revision file")["revisions"]
    for each in found:
        path = os.path.realpath(each["path"])
        each["location"] = next(
            (spec for spec, directory in directories if path.startswith(os.path.realpath(directory) + os.sep)), ""
        )
    return found


def _names(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def database_url(config_file: str, core: Core) -> str:
    """The database URL that the app's own configuration machinery comes to.

    :raises Refused: where the app's configuration cannot be made, or has no database.
    """

    def work(report: Report) -> None:
        import importlib
        from urllib.parse import quote

        config = importlib.import_module(core.make_config).make_config(config_file, usedb=False)
        engine = config.appdb_engine
        if engine is None:
            raise LookupError("it configures no database")
        # SQLAlchemy 1.4 leaves a literal % as it is, which would be read as the beginning of an escape.
        login = {
            name: quote(value, safe="")
            for name, value in (("username", engine.url.username), ("password", engine.url.password))
            if value is not None
        }
        report({"event": "url", "url": engine.url.set(**login).render_as_string(hide_password=False)})

    url: str = _answer(in_child(work), "url", "The app's configuration")["url"]
    return url


def _answer(outcome: Outcome, name: str, what: str) -> Event:
    answer = outcome.last(name)
    if answer is not None:
        return answer
    error = outcome.error
    words = f"{error['type']}: {error['message']}" if error else f"the process {outcome.ending}"
    raise Refused(
        "app_failed",
        f"{what} cannot be run: {words.rstrip('.')}.",
        "Run bin/alembic -c CONFIG current by hand in the environment to see it whole.",
    )
