# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PostgreSQL's programs on this machine: find them, choose the right version for a server, and run them."""

from __future__ import annotations

import ctypes
import glob
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from ..problem import Refused, mask
from .credentials import SERVICE, Login

# Where Debian, Red Hat, SUSE and a build from source install versions side by side.
_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/lib/postgresql[0-9]*/bin", "/usr/local/pgsql/bin")
# How much of a database is dumped.
SCHEMA, FULL = "schema", "full"
# How long pg_dump waits for a table that another session has locked.
LOCK_WAIT_SECONDS = 60
# The arguments by which a client program connects with a Login.
TO_DATABASE = (f"--dbname=service={SERVICE}", "--no-password")

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Program:
    """A program of PostgreSQL's; ``major`` is its major version (9 for all of 9.x)."""

    path: str
    major: int

    def beside(self, name: str) -> Program:
        """Another program of the same directory; raises Refused if it is not there."""
        # if this is a link, the others may be beside the program that it points to
        for origin in (self.path, os.path.realpath(self.path)):
            path = os.path.join(os.path.dirname(origin), name)
            if os.access(path, os.X_OK):
                return Program(path, self.major)
        directory, ours = os.path.split(self.path)
        raise _missing(f"{directory} has {ours}, but no {name}.", f"Install {package(name, self.major)}.")


@dataclass(frozen=True)
class Finished:
    """How a program ended: ``ending`` is empty if it succeeded; ``messages`` and ``output`` are what it wrote."""

    ending: str
    messages: str
    output: str = ""

    @property
    def ok(self) -> bool:
        return not self.ending

    @property
    def reason(self) -> str:
        """Its first error, or else how it ended: part of a sentence, without passwords."""
        found = errors(self.messages)
        return mask((found[0][0] if found else self.ending).rstrip("."))


def package(name: str, major: int) -> str:
    """The Debian package that contains a program of a major version."""
    return f"postgresql-{major}" if name in ("initdb", "postgres") else f"postgresql-client-{major}"


def find(name: str, bin_dir: str = "") -> list[Program]:
    """The programs called ``name`` that start here: in ``bin_dir`` if it is given, else in PATH and ``_PLACES``."""
    places = [each for place in _PLACES for each in sorted(glob.glob(place))]
    on_path = filter(None, os.environ.get("PATH", os.defpath).split(os.pathsep))
    directories = [bin_dir] if bin_dir else [*on_path, *places]
    found: dict[str, Program] = {}
    for directory in directories:
        path = os.path.join(directory, name)
        real = os.path.realpath(path)
        if real in found or not os.access(path, os.X_OK):
            continue
        if os.path.basename(real) == "pg_wrapper":
            # Debian's wrapper chooses a version itself; we look at the programs behind it.
            directories += places
            continue
        with suppress(Refused):
            major = major_of(run(Program(path, 0), ["--version"]).output)
            if major:
                found[real] = Program(path, major)
    return list(found.values())


def major_of(line: str) -> int:
    """The major version in what ``--version`` prints, ``pg_dump (PostgreSQL) 15.18 (Debian …)``; 0 without one."""
    match = re.match(r"\S+ \([^)]*\) (\d+)", line)
    return int(match.group(1)) if match else 0


def choose(name: str, server_major: int, bin_dir: str = "", *, otherwise: str = "") -> Program:
    """The program for a server: of its own major version, else of the next newer one.

    pg_dump refuses a server that is newer than itself (its manual page, "Notes"), and an older server may not
    accept what a newer pg_dump writes. Where there is none, the remedy ends with ``otherwise``.
    """
    found = find(name, bin_dir)
    enough = [each for each in found if each.major >= server_major]
    if enough:
        # the first of several alike, as PATH has it
        return min(enough, key=lambda each: each.major)
    remedy = (
        f"Install {package(name, server_major)} (your distribution's, or the PostgreSQL project's), or name its"
        f" directory in rattail_schema_ext_postgresql_bin_dir{otherwise and ', or '}{otherwise}."
    )
    if not found:
        where = bin_dir or "PATH and below /usr/lib/postgresql"
        raise _missing(f"There is no {name} in {where}, and the server is PostgreSQL {server_major}.", remedy)
    versions = " and ".join(f"{each.path} ({each.major})" for each in found)
    cause = f"The server is PostgreSQL {server_major}, which is too new for every {name} here: {versions}."
    raise Refused("program_too_old", cause, remedy)


def _missing(cause: str, remedy: str) -> Refused:
    return Refused("program_missing", cause, remedy)


@dataclass(frozen=True)
class Running:
    """A program that was started; ``messages`` and ``output`` are the files that it writes to."""

    name: str
    process: subprocess.Popen[bytes]
    messages: IO[bytes]
    output: IO[bytes]

    def wait(self) -> Finished:
        status = self.process.wait()
        ending = f"{self.name} ended with exit code {status}" if status else ""
        if status < 0:
            ending = f"{self.name} was killed by {signal.Signals(-status).name}"
        self.messages.seek(0)
        self.output.seek(0)
        messages, output = (file.read().decode(errors="replace") for file in (self.messages, self.output))
        return Finished(ending, messages, output)


@contextmanager
def running(
    program: Program,
    arguments: Sequence[str],
    login: Login | None = None,
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int | None = None,
    inherited: Sequence[int] = (),
    at_our_death: signal.Signals = signal.SIGKILL,
    **account: Any,
) -> Iterator[Running]:
    """Start a program that lives no longer than this block, and no longer than this process.

    :param login: how it connects to a database; this is passed in its environment, not in its arguments.
    :param at_our_death: the signal that it gets when this process dies.
    :param account: arguments of ``Popen`` for another account than ours.
    :raises Refused: if it cannot be started.
    """
    ourselves = os.getpid()

    def die_with_us() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(at_our_death))
        if os.getppid() != ourselves:
            os._exit(1)

    # It gets its parameters from the login, not from our own PG* variables; and we read its messages, in English.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment["LC_ALL"] = "C"
    with ExitStack() as stack:
        messages, output = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        files = stack.enter_context(login.files()) if login else {}
        environment.update((name, f"/proc/self/fd/{descriptor}") for name, descriptor in files.items())
        try:
            process = subprocess.Popen(
                [program.path, *arguments],
                stdin=stdin,
                stdout=output if stdout is None else stdout,
                stderr=messages,
                env=environment,
                cwd="/",
                pass_fds=[*files.values(), *inherited],
                preexec_fn=die_with_us,
                **account,
            )
        except OSError as error:
            raise Refused(
                "program_failed",
                f"{program.path} cannot be started: {error.strerror}.",
                "Allow all users to run it, or name another directory in rattail_schema_ext_postgresql_bin_dir.",
            ) from None
        stack.callback(_end, process)
        yield Running(os.path.basename(program.path), process, messages, output)


def run(program: Program, arguments: Sequence[str], login: Login | None = None, **options: Any) -> Finished:
    """Run a program to its end; ``options`` as for :func:`running`."""
    with running(program, arguments, login, **options) as started:
        return started.wait()


def _end(process: subprocess.Popen[bytes]) -> None:
    # on SIGTERM, it cancels its query on the server; to one that has ended, nothing is sent
    process.terminate()
    try:
        process.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def dumping(connection: Any, purpose: str) -> tuple[Login, list[str]]:
    """How pg_dump connects to the database of ``connection``, and its arguments for an archive."""
    # application_name may have 63 bytes
    name = f"{SERVICE} {purpose} on {os.uname().nodename}"[:63]
    wait = f"--lock-wait-timeout={LOCK_WAIT_SECONDS * 1000}"
    return Login.of(connection, application_name=name), ["--format=custom", wait, *TO_DATABASE]


def errors(messages: str) -> list[tuple[str, str]]:
    """The errors of a program: pairs of the message and of the SQL command that failed, if it is shown."""
    found: list[tuple[str, str]] = []
    for line in messages.splitlines():
        error = re.match(r"\S+: (?:error|fatal): (?:could not execute query: |query failed: )?(.*)", line)
        command = re.match(r"(?:\S+: detail: )?(?:Command|Query) was: (.*)", line)
        if error:
            found.append((re.sub(r"\s+", " ", error.group(1)), ""))
        elif command and found and not found[-1][1]:
            found[-1] = (found[-1][0], command.group(1))
    return found
