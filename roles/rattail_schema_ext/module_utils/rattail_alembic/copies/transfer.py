# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fill an empty database from another one with pg_dump and pg_restore. The rows never lie in a file of their own."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from ..postgres.contents import VERSION_TABLE, quoted
from ..postgres.url import Target
from ..problem import Refused
from . import cluster, programs
from .credentials import Login, connected, query
from .programs import FULL, LOCK_WAIT_SECONDS, SCHEMA

# Entries of an archive that are about more than the database: a copy must not subscribe to anything.
_NEVER = r"(?:PUBLICATION|SUBSCRIPTION)\b.*"
# Entries that only a superuser may create or change. An extension creates its own comment.
_SUPERUSERS = r"(?:EVENT TRIGGER|COMMENT - EXTENSION|COMMENT - EVENT TRIGGER|COMMENT - SCHEMA public)\b.*"
_GRANTS = r"(?:DEFAULT )?ACL\b.*"

_OTHER_OWNERS = """
select distinct pg_get_userbyid(relowner), current_user::text
from pg_class c join pg_namespace n on n.oid = relnamespace
where relkind <> 'i' and nspname !~ '^pg_' and nspname <> 'information_schema'
  and pg_get_userbyid(relowner) <> current_user
order by 1
"""


@dataclass(frozen=True)
class Source:
    """What a copy is filled from.

    ``connection`` is one to the real database. ``content`` is ``FULL``, or ``SCHEMA``: no rows but those
    of the version tables. ``dump`` is the path of a full backup to use for a full copy, if any.
    ``lock_wait_seconds`` is how long pg_dump waits for a table that another session has locked.
    """

    connection: Any
    content: str = FULL
    dump: str = ""
    lock_wait_seconds: int = LOCK_WAIT_SECONDS

    @property
    def name(self) -> str:
        return str(self.connection.info.dbname)


def fill(source: Source, pg_dump: programs.Program, target: Target, *, owners: bool) -> list[str]:
    """Fill ``target``; returns sentences about what could not be copied.

    :param owners: whether objects keep their owners, which takes a superuser; if not, everything belongs
        to the role of ``target``, which makes the grants that it is allowed to make.
    :raises Refused: if anything else fails.
    """
    dump = source.dump if source.content == FULL else ""
    with connected(target) as connection, open(dump, "rb") if dump else tempfile.TemporaryFile() as archive:
        into = _Restore(source.name, pg_dump.beside("pg_restore"), connection, archive, owners)
        if dump:
            into.definitions("pre-data")
            into.rows()
        else:
            # schema and rows are read one after the other, but must be of the same moment
            with _snapshot(source.connection) as snapshot:
                reading = _Dump(source, pg_dump, snapshot)
                reading.schema(archive)
                into.definitions("pre-data")
                reading.rows(into)
        into.definitions("post-data")
        warnings: list[str] = []
        if not owners:
            warnings += [
                f"What belongs to {quoted(owner)} in {source.name} belongs to {quoted(role)} in the copy."
                for owner, role in query(source.connection, _OTHER_OWNERS)
            ]
            warnings += into.grants()
        if source.content == FULL:
            # without statistics, a statement would not take as long as on the real database
            query(connection, "set statement_timeout = 0")
            query(connection, "analyze")
    return warnings


def failed(name: str, reason: str) -> Refused:
    """A failure to copy the database ``name``; see :func:`cluster.failed`."""
    return cluster.failed(f"A scratch copy of {name} could not be made", reason)


def _is(line: str, kind: str) -> bool:
    """Whether a line of the table of contents (``215; 1259 16390 TABLE public address rattail``) is of a kind."""
    return bool(re.match(rf"\d+; \d+ \d+ {kind}", line))


@contextlib.contextmanager
def _snapshot(connection: Any) -> Iterator[str]:
    query(connection, "begin isolation level repeatable read read only")
    try:
        query(connection, "set local idle_in_transaction_session_timeout = 0")
        if connection.info.server_version >= 170000:
            query(connection, "set local transaction_timeout = 0")
        yield query(connection, "select pg_export_snapshot()")[0][0]
    finally:
        if not connection.closed:
            query(connection, "rollback")


class _Dump:
    """pg_dump of the real database, in one snapshot."""

    def __init__(self, source: Source, pg_dump: programs.Program, snapshot: str) -> None:
        self._source = source
        self._program = pg_dump
        self._login, arguments = programs.dumping(source.connection, "scratch", source.lock_wait_seconds)
        self._arguments = [*arguments, f"--snapshot={snapshot}"]

    def schema(self, file: IO[bytes]) -> None:
        """Write everything but the rows to ``file``."""
        full = self._source.content == FULL
        # --schema-only leaves out large objects, which rows may refer to
        sections = ["--section=pre-data", "--section=post-data"] if full else ["--schema-only"]
        finished = programs.run(self._program, [*self._arguments, *sections], self._login, stdout=file.fileno())
        if not finished.ok:
            raise failed(self._source.name, finished.reason)

    def rows(self, into: _Restore) -> None:
        """Send the rows through a pipe."""
        chosen = ["--section=data"]
        if self._source.content == SCHEMA:
            found = "select 1 from pg_tables where tablename = %s limit 1"
            if not query(self._source.connection, found, (VERSION_TABLE,)):
                return
            chosen = ["--data-only", f"--table=*.{VERSION_TABLE}"]
        reading, writing = os.pipe()
        arguments = [*self._arguments, "--compress=0", *chosen]
        with contextlib.ExitStack() as stack:
            try:
                dumping = stack.enter_context(programs.running(self._program, arguments, self._login, stdout=writing))
                restoring = stack.enter_context(into.reading(reading))
            finally:
                # so that each of the two notices when the other ends
                os.close(reading)
                os.close(writing)
            restored, dumped = restoring.wait(), dumping.wait()
        # The one that fails first ends the other: a pg_dump that nobody reads from has no error of its own, and
        # neither has a pg_restore that does not get the whole archive.
        if programs.errors(dumped.messages) and not re.search("Broken pipe", dumped.messages):
            raise failed(self._source.name, dumped.reason)
        into.judge(restored)
        if not dumped.ok:
            raise failed(self._source.name, dumped.reason)


class _Restore:
    """pg_restore of one archive into one database."""

    def __init__(self, name: str, program: programs.Program, connection: Any, archive: IO[bytes], owners: bool) -> None:
        self._name = name
        self._program = program
        self._login = Login.of(connection)
        self._archive = archive
        self._owners = owners
        self._arguments = [*programs.TO_DATABASE, "--no-tablespaces"]
        # A newer pg_restore begins with settings that an older server does not know.
        self._strict = ["--exit-on-error"] if program.major <= connection.info.server_version // 10000 else []

    def definitions(self, section: str) -> None:
        """Restore one section but for its rows."""
        plain = [] if self._owners else ["--no-owner", "--no-privileges"]
        self.judge(self._run([*self._strict, f"--section={section}", *plain], self._entries))

    def rows(self) -> None:
        """Restore all rows."""
        self.judge(self._run([*self._strict, "--section=data"]))

    def grants(self) -> list[str]:
        """Make the grants that the role may make; a sentence about each of the others."""
        entries = [line for line in self._entries if _is(line, _GRANTS)]
        errors = _true_errors(self._run(["--no-owner"], entries)) if entries else []
        return [f"The copy does not have this: {command or error}" for error, command in errors]

    def reading(self, pipe: int) -> contextlib.AbstractContextManager[programs.Running]:
        """Start restoring what comes through ``pipe``."""
        return programs.running(self._program, [*self._arguments, *self._strict], self._login, stdin=pipe)

    def judge(self, finished: programs.Finished) -> None:
        """Raise Refused if a restore failed."""
        found = _true_errors(finished)
        if found:
            raise failed(self._name, found[0][0])
        if not finished.ok and not programs.errors(finished.messages):
            raise failed(self._name, finished.ending)

    @functools.cached_property
    def _entries(self) -> list[str]:
        """The lines of the archive's table of contents that are to be restored."""
        never = _NEVER if self._owners else f"(?:{_NEVER}|{_SUPERUSERS})"
        with tempfile.TemporaryFile() as listed:
            descriptor = self._archive.fileno()
            path = f"/proc/self/fd/{descriptor}"
            finished = programs.run(self._program, ["--list", path], stdout=listed.fileno(), inherited=[descriptor])
            if not finished.ok:
                raise failed(self._name, finished.reason)
            listed.seek(0)
            lines = listed.read().decode().splitlines()
        return [line for line in lines if line and not line.startswith(";") and not _is(line, never)]

    def _run(self, options: Sequence[str], entries: Sequence[str] = ()) -> programs.Finished:
        """Restore ``entries``, or everything if none are given."""
        with tempfile.TemporaryFile() as chosen:
            chosen.write("".join(f"{line}\n" for line in entries).encode())
            chosen.flush()
            inherited = [self._archive.fileno(), chosen.fileno()]
            archive, entries_file = (f"/proc/self/fd/{descriptor}" for descriptor in inherited)
            arguments = [*self._arguments, *options, *([f"--use-list={entries_file}"] if entries else []), archive]
            return programs.run(self._program, arguments, self._login, inherited=inherited)


def _true_errors(finished: programs.Finished) -> list[tuple[str, str]]:
    """Its errors but for settings of pg_restore's own session, which an older server may not know."""
    return [(error, command) for error, command in programs.errors(finished.messages) if not command.startswith("SET ")]
