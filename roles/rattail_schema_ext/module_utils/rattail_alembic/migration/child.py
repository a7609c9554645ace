# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A forked child in which the app's code can do what it likes.

Whatever the app does to its process (print, ``os.chdir``, ``sys.exit``, ``os._exit``) it does to the child. That speaks
in lines of JSON and never waits to be heard, its stdout and stderr go to a file, and it dies with its parent.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import glob
import json
import os
import pickle
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, NoReturn

from ..postgres.catalog import Catalog
from ..postgres.driver import sqlstate
from ..problem import Refused, mask

Event = dict[str, Any]
Report = Callable[[Event], None]

QUIET: Event = {"event": "quiet"}
# A child that reports this goes on once its parent has heard it.
PAUSE: Event = {"event": "pause"}

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_OUTPUT_LINES = 20
_PATIENCE_SECONDS = 0.1


@dataclass
class Outcome:
    """What became of a child.

    ``events`` are its messages in order, and ``error`` is its last word where it failed, see :func:`_describe`.
    ``ending`` says how the process ended where it had no last word. ``output`` is the end of what the app printed.
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
        turns = [event for event in self.events if event["event"] in ("applying", "applied")]
        return turns[-1] if turns and turns[-1]["event"] == "applying" else None


def in_child(work: Callable[[Report], None], listen: Report = lambda _event: None) -> Outcome:
    """Run ``work`` in a forked child and return what it reported.

    ``work`` gets a function that sends an event, a JSON-able dict with the key ``event``.

    :param listen: gets each event as it comes, and ``QUIET`` every tenth of a second without one. What it raises ends
        the child, and is raised here.
    """
    # A pipe that is full would stop the child, in a transaction for which others, and we for them, may be waiting. So
    # what it says goes into memory, and over the pipe comes only that there is something new.
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    waiting, waking = os.pipe()
    parent = os.getpid()
    # What the child leaves behind becomes ours.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryFile() as output, os.fdopen(os.memfd_create("said"), "r+b", buffering=0) as said:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            os.close(reading)
            os.close(waking)
            _be_the_child(work, said, writing, waiting, output.fileno(), parent)
        os.close(writing)
        os.close(waiting)
        outcome = Outcome()
        try:
            with os.fdopen(reading, "rb", buffering=0) as pipe, os.fdopen(waking, "wb", buffering=0) as wake:
                for event in _events(said, pipe, child):
                    listen(event)
                    if event["event"] == "error":
                        outcome.error = event
                    elif event == PAUSE:
                        with contextlib.suppress(BrokenPipeError):
                            wake.write(b"\n")
                    elif event is not QUIET:
                        outcome.events.append(event)
        except BaseException:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            _end_orphans()
            raise
        _, status = os.waitpid(child, 0)
        output.seek(0)
        printed = mask(output.read().decode(errors="replace")).splitlines()
        outcome.output = "\n".join(printed[-_OUTPUT_LINES:])
    if outcome.error is None and outcome.last("end") is None:
        _end_orphans()
        if os.WIFSIGNALED(status):
            outcome.ending = f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
        else:
            outcome.ending = f"left with exit code {os.WEXITSTATUS(status)}"
    return outcome


def _events(said: IO[bytes], pipe: IO[bytes], child: int) -> Iterator[Event]:
    """What the child says, until its last word or its end; a process that it left behind may hold the pipe open."""
    text, heard = b"", 0
    while True:
        # Whether the child has ended is asked before we listen, so that nothing it said is missed.
        ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        new = select.select([pipe], [], [], 0 if ended else _PATIENCE_SECONDS)[0]
        closed = new and not pipe.read(65536)
        # not from where the child is about to write
        more = os.pread(said.fileno(), os.fstat(said.fileno()).st_size - heard, heard)
        heard += len(more)
        *lines, text = (text + more).split(b"\n")
        for line in lines:
            event = json.loads(line)
            yield event
            if event["event"] in ("error", "end"):
                return
        if ended or closed:
            return
        if not more:
            yield QUIET


def _end_orphans() -> None:
    """End what a child left behind that had no last word: it may have forked, and migrate in the background."""
    while True:
        orphans = []
        for path in glob.glob("/proc/[0-9]*/stat"):
            with contextlib.suppress(OSError), open(path, "rb") as file:
                # proc(5): the parent's id comes after the name, in brackets, and the state
                if int(file.read().rpartition(b")")[2].split()[1]) == os.getpid():
                    orphans.append(int(path.split("/")[2]))
        if not orphans:
            return
        for orphan in orphans:
            try:
                os.kill(orphan, signal.SIGKILL)
            except PermissionError:
                return  # it became another user
            os.waitpid(orphan, 0)


def _be_the_child(
    work: Callable[[Report], None], said: IO[bytes], pipe: int, waiting: int, output: int, parent: int
) -> NoReturn:
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  stays open as long as the child lives
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115

        def report(event: Event) -> None:
            said.write(json.dumps(event).encode() + b"\n")
            with contextlib.suppress(BlockingIOError):
                os.write(pipe, b"\n")
            if event == PAUSE:
                os.read(waiting, 1)

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
    """The last word of a child that failed; ``problem`` is there where it was refused."""
    if type(error).__name__ == "PendingRollbackError" and error.__context__:
        # SQLAlchemy's, where an ``autocommit_block`` is left after its connection was lost
        error = error.__context__
    origin = getattr(error, "orig", None) or error
    message = str(origin).strip()
    if isinstance(error, SyntaxError):
        message = f"{error.msg} in {error.filename}, line {error.lineno}"
    return {
        "event": "error",
        "type": type(error).__name__,
        "message": mask(message).partition("\n")[0],
        "statement": mask(_as_written(str(getattr(error, "statement", None) or ""))),
        "sqlstate": sqlstate(origin),
        "problem": error.problem.as_dict() if isinstance(error, Refused) else None,
        "trace": mask("".join(traceback.format_exception(type(error), error, error.__traceback__))),
    }


def _as_written(sql: str) -> str:
    """A statement as the server gets it: SQLAlchemy doubles each ``%`` for the driver."""
    return sql.replace("%%", "%")


_CHARACTERS = 2_000
_OF_A_REVISION = 20_000
_OF_ALL = 200_000


class Statements:
    """The statements of one revision after another. With ``bounded`` long ones are cut, and too many are counted."""

    def __init__(self, *, bounded: bool) -> None:
        self._bounded = bounded
        self._kept: list[str] = []
        self._more = 0
        self._left = _OF_ALL
        self._room = _OF_A_REVISION

    def add(self, text: str) -> None:
        """A statement is executed."""
        # masked before it is cut, since half a password is one, too
        words = mask(" ".join(_as_written(text).split()))
        if self._bounded:
            words = words if len(words) <= _CHARACTERS else f"{words[:_CHARACTERS]} …"
            if self._more or len(words) > self._room:
                self._more += 1
                return
            self._room -= len(words)
            self._left -= len(words)
        self._kept.append(words)

    def take(self) -> list[str]:
        """Those since the last time; in place of what is left out, a comment says how many there were."""
        found = self._kept + ([f"-- and {self._more} more"] if self._more else [])
        self._kept, self._more = [], 0
        self._room = min(_OF_A_REVISION, self._left)
        return found


def packed(found: Catalog | None) -> str:
    """For :func:`as_found`."""
    return base64.b64encode(pickle.dumps(found)).decode() if found else ""


def as_found(left: Event) -> Catalog | None:
    """The catalog as the revision of a ``left`` or ``began`` event found it, where it was told."""
    # The child is our own fork, and what it says has come over a pipe that nobody else has.
    found: Catalog | None = pickle.loads(base64.b64decode(left["found"])) if left["found"] else None
    return found
