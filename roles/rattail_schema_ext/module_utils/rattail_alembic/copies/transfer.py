# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From one database into another, empty one: pg_dump and pg_restore, hand in hand, without a file of the rows."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from ..postgres.contents import VERSION_TABLE, quoted
from ..postgres.url import Target
from ..problem import Refused, mask
from . import programs
from .credentials import Login, connected

SCHEMA, FULL = "schema", "full"
LOCK_WAIT_SECONDS = 60

# Of an archive's entries, those that reach beyond the database: a copy must not subscribe to anything.
_NEVER = r"(?:PUBLICATION|SUBSCRIPTION)\b.*"
# Those that only a superuser may make, or change. Extensions bring their comments with them.
_SUPERUSERS = r"(?:EVENT TRIGGER|COMMENT - EXTENSION|COMMENT - EVENT TRIGGER|COMMENT - SCHEMA public)\b.*"
_GRANTS = r"(?:DEFAULT )?ACL\b.*"


@dataclass(frozen=True)
class Source:
    """What a copy is filled from.

    ``connection`` leads to the real database. ``content`` is ``FULL``, or ``SCHEMA``: no rows but those
    of the version tables. ``dump`` is a full backup to take instead, if any. ``lock_wait_seconds`` is how
    long pg_dump waits for a table that somebody holds exclusively.
    """

    connection: Any
    content: str = FULL
    dump: str = ""
    lock_wait_seconds: int = LOCK_WAIT_SECONDS

    @property
    def name(self) -> str:
        return str(self.connection.info.dbname)


@dataclass(frozen=True)
class _Archive:
    """A dump in a file; ``inherited`` are the descriptors that make its path valid for a program."""

    path: str
    inherited: tuple[int, ...] = ()


def fill(source: Source, pg_dump: programs.Program, target: Target, *, owners: bool) -> list[str]:
    """Fill ``target``; returns sentences about what could not be brought over.

    :param owners: whether objects are to belong to whom they belong to, which takes a superuser; else
        everything belongs to the role of ``target``, and grants are made as far as it can.
    :raises Refused: where anything else fails.
    """
    with connected(target) as connection, tempfile.TemporaryFile() as file:
        into = _Restore(source.name, pg_dump.beside("pg_restore"), connection)
        if source.dump and source.content == FULL:
            archive = _Archive(source.dump)
            wanted = _wanted(into, archive, owners)
            into.run(archive, ["--section=pre-data", *_plain(owners)], wanted)
            into.run(archive, ["--section=data"])
        else:
            archive = _Archive(f"/proc/self/fd/{file.fileno()}", (file.fileno(),))
            # Schema and rows are read one after the other, and are to be of the same moment.
            with _snapshot(source.connection) as snapshot:
                reading = _Reading(source, pg_dump, snapshot)
                reading.schema(file)
                wanted = _wanted(into, archive, owners)
                into.run(archive, ["--section=pre-data", *_plain(owners)], wanted)
                reading.rows(into)
        into.run(archive, ["--section=post-data", *_plain(owners)], wanted)
        warnings: list[str] = []
        if not owners:
            warnings += _other_owners(source.connection)
            into.try_each(archive, [line for line in wanted if _is(line, _GRANTS)], warnings)
        if source.content == FULL:
            with connection.cursor() as cursor:
                # without statistics, a query takes another time than it will take for real
                cursor.execute("set statement_timeout = 0")
                cursor.execute("analyze")
    return warnings


def _plain(owners: bool) -> list[str]:
    return [] if owners else ["--no-owner", "--no-privileges"]


def _wanted(into: _Restore, archive: _Archive, owners: bool) -> list[str]:
    never = _NEVER if owners else f"(?:{_NEVER}|{_SUPERUSERS})"
    return [line for line in into.entries(archive) if not _is(line, never)]


def _is(line: str, kind: str) -> bool:
    """Whether a line of the table of contents (``215; 1259 16390 TABLE public address rattail``) is of a kind."""
    return bool(re.match(rf"\d+; \d+ \d+ {kind}", line))


@contextlib.contextmanager
def _snapshot(connection: Any) -> Iterator[str]:
    with connection.cursor() as cursor:
        cursor.execute("begin isolation level repeatable read read only")
        try:
            cursor.execute("set local idle_in_transaction_session_timeout = 0")
            if connection.info.server_version >= 170000:
                cursor.execute("set local transaction_timeout = 0")
            cursor.execute("select pg_export_snapshot()")
            yield cursor.fetchone()[0]
        finally:
            if not connection.closed:
                cursor.execute("rollback")


class _Reading:
    """pg_dump of the real database, in one snapshot."""

    def __init__(self, source: Source, pg_dump: programs.Program, snapshot: str) -> None:
        self._source = source
        self._program = pg_dump
        self._login = Login.of(source.connection).to(
            application_name=f"rattail_schema_ext scratch on {os.uname().nodename}"[:63]
        )
        wait = f"--lock-wait-timeout={source.lock_wait_seconds * 1000}"
        self._arguments = ["--format=custom", f"--snapshot={snapshot}", wait, *programs.TO_DATABASE]

    def schema(self, file: IO[bytes]) -> None:
        """Write everything but the rows to ``file``."""
        full = self._source.content == FULL
        # --schema-only leaves out large objects, which rows may refer to
        sections = ["--section=pre-data", "--section=post-data"] if full else ["--schema-only"]
        said = programs.run(self._program, [*self._arguments, *sections], self._login, stdout=file.fileno())
        if not said.ok:
            raise failed(self._source.name, said.reason)

    def rows(self, into: _Restore) -> None:
        """Pipe the rows over."""
        chosen = ["--section=data"]
        if self._source.content == SCHEMA:
            if not self._has_version_table():
                return
            chosen = ["--data-only", f"--table=*.{VERSION_TABLE}"]
        reading, writing = os.pipe()
        arguments = [*self._arguments, "--compress=0", *chosen]
        with contextlib.ExitStack() as stack:
            try:
                dumping = stack.enter_context(programs.running(self._program, arguments, self._login, stdout=writing))
                restoring = stack.enter_context(into.reading(reading))
            finally:
                # each of the two is to see when the other is gone
                os.close(reading)
                os.close(writing)
            restored, dumped = restoring.wait(), dumping.wait()
        # Whichever ended first took the other with it: a pg_dump that nobody reads any more has no error of
        # its own, and neither has a pg_restore that got no whole archive.
        if programs.errors(dumped.messages) and not re.search("Broken pipe", dumped.messages):
            raise failed(self._source.name, dumped.reason)
        into.judge(restored)
        if not dumped.ok:
            raise failed(self._source.name, dumped.reason)

    def _has_version_table(self) -> bool:
        with self._source.connection.cursor() as cursor:
            cursor.execute("select exists (select from pg_tables where tablename = %s)", (VERSION_TABLE,))
            return bool(cursor.fetchone()[0])


class _Restore:
    """pg_restore into one database."""

    def __init__(self, name: str, program: programs.Program, connection: Any) -> None:
        self._name = name
        self._program = program
        self._login = Login.of(connection)
        self._arguments = [*programs.TO_DATABASE, "--no-tablespaces"]
        # A newer pg_restore begins with settings that an older server does not know.
        self._strict = ["--exit-on-error"] if program.major <= connection.info.server_version // 10000 else []

    def entries(self, archive: _Archive) -> list[str]:
        """The archive's table of contents, line by line."""
        with tempfile.TemporaryFile() as file:
            said = programs.run(
                self._program, ["--list", archive.path], stdout=file.fileno(), inherited=archive.inherited
            )
            if not said.ok:
                raise failed(self._name, said.reason)
            file.seek(0)
            lines = file.read().decode().splitlines()
        return [line for line in lines if line and not line.startswith(";")]

    def run(self, archive: _Archive, options: Sequence[str], entries: Sequence[str] = ()) -> None:
        """Restore ``entries``, or everything where none are given.

        :raises Refused: at an error.
        """
        self.judge(self._run(archive, [*self._strict, *options], entries))

    def try_each(self, archive: _Archive, entries: Sequence[str], warnings: list[str]) -> None:
        """Restore ``entries``, and what cannot be goes to ``warnings``."""
        if entries:
            said = self._run(archive, ["--no-owner"], entries)
            warnings += [f"The copy is without this: {command or error}" for error, command in _true_errors(said)]

    def _run(self, archive: _Archive, options: Sequence[str], entries: Sequence[str]) -> programs.Said:
        with tempfile.TemporaryFile() as file:
            arguments, inherited = [*self._arguments, *options], list(archive.inherited)
            if entries:
                file.write("".join(f"{line}\n" for line in entries).encode())
                file.flush()
                arguments.append(f"--use-list=/proc/self/fd/{file.fileno()}")
                inherited.append(file.fileno())
            return programs.run(self._program, [*arguments, archive.path], self._login, inherited=inherited)

    @contextlib.contextmanager
    def reading(self, pipe: int) -> Iterator[programs.Running]:
        """Start restoring what comes over ``pipe``."""
        with programs.running(self._program, [*self._arguments, *self._strict], self._login, stdin=pipe) as started:
            yield started

    def judge(self, said: programs.Said) -> None:
        """Raise Refused where a restore failed."""
        found = _true_errors(said)
        if found:
            raise failed(self._name, found[0][0])
        if not said.ok and not programs.errors(said.messages):
            raise failed(self._name, said.ending)


def _true_errors(said: programs.Said) -> list[tuple[str, str]]:
    """A setting of pg_restore's own session that an older server does not know is none."""
    return [(error, command) for error, command in programs.errors(said.messages) if not command.startswith("SET ")]


def _other_owners(connection: Any) -> Iterator[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "select distinct pg_get_userbyid(relowner), current_user::text from pg_class c"
            " join pg_namespace n on n.oid = relnamespace where relkind <> 'i' and nspname !~ '^pg_'"
            " and nspname <> 'information_schema' and pg_get_userbyid(relowner) <> current_user order by 1"
        )
        for owner, role in cursor.fetchall():
            yield f"What belongs to {quoted(owner)} in {connection.info.dbname} belongs to {quoted(role)} in the copy."


def failed(name: str, reason: str) -> Refused:
    """That a copy of the database ``name`` could not be made, and why: part of a sentence."""
    words = mask(" ".join(reason.split()).rstrip("."))
    return Refused(
        "scratch_failed",
        f"A scratch copy of {name} could not be made: {words}.",
        "Put that right and run again, or do without trying it on a copy.",
    )
