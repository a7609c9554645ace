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
from typing import IO, Any

from ..postgres.contents import VERSION_TABLE
from ..postgres.url import Target
from . import programs
from .cluster import failed
from .credentials import Login, connected, query
from .programs import FULL, Program

# Entries of an archive that are about more than the database: a copy must not subscribe to anything.
_NEVER = r"(?:PUBLICATION|SUBSCRIPTION)\b.*"
# Entries that only a superuser may create or change. An extension creates its own comment.
_SUPERUSERS = r"(?:EVENT TRIGGER|COMMENT - EXTENSION|COMMENT - EVENT TRIGGER|COMMENT - SCHEMA public)\b.*"
_GRANTS = r"(?:DEFAULT )?ACL\b.*"

_OTHER_OWNERS = """
select distinct relowner::regrole::text, current_user::regrole::text
from pg_class c join pg_namespace n on n.oid = relnamespace
where relkind <> 'i' and nspname !~ '^pg_' and nspname <> 'information_schema'
  and pg_get_userbyid(relowner) <> current_user
order by 1
"""


def fill(real: Any, target: Target, pg_dump: Program, *, content: str, dump: str, owners: bool) -> list[str]:
    """Fill ``target`` from the database of the connection ``real``; returns sentences about what was not copied.

    :param content: ``FULL``, or ``SCHEMA``: no rows but those of the version tables.
    :param dump: the path of a full backup to use for a full copy, if any.
    :param owners: whether objects keep their owners, which takes a superuser; if not, everything belongs
        to the role of ``target``, which makes the grants that it is allowed to make.
    :raises Refused: if anything else fails.
    """
    with connected(target) as connection, open(dump, "rb") if dump else tempfile.TemporaryFile() as archive:
        transfer = _Transfer(real, connection, pg_dump, archive, owners)
        if dump:
            transfer.restore("pre-data", "data")
        else:
            # schema and rows are read one after the other, but must be of the same moment
            with _snapshot(real) as snapshot:
                transfer.dump(snapshot, content)
                transfer.restore("pre-data")
                if content == FULL:
                    transfer.pipe(snapshot, "--section=data")
                elif query(real, "select 1 from pg_tables where tablename = %s limit 1", (VERSION_TABLE,)):
                    transfer.pipe(snapshot, "--data-only", f"--table=*.{VERSION_TABLE}")
        transfer.restore("post-data")
        warnings = [] if owners else transfer.grant()
        if content == FULL:
            # without statistics, a statement would not take as long as on the real database
            query(connection, "set statement_timeout = 0")
            query(connection, "analyze")
    return warnings


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


class _Transfer:
    """pg_dump of the real database, and pg_restore into the database of ``connection``, by way of ``archive``."""

    def __init__(self, real: Any, connection: Any, pg_dump: Program, archive: IO[bytes], owners: bool) -> None:
        self._real = real
        self._archive = archive
        self._owners = owners
        self._pg_dump = pg_dump
        self._source, self._dump_arguments = programs.dumping(real, "scratch")
        self._pg_restore = pg_dump.beside("pg_restore")
        self._target = Login.of(connection)
        self._restore_arguments = [*programs.TO_DATABASE, "--no-tablespaces"]
        # A newer pg_restore begins with settings that an older server does not know.
        if pg_dump.major <= connection.info.server_version // 10000:
            self._restore_arguments.append("--exit-on-error")

    def dump(self, snapshot: str, content: str) -> None:
        """Write everything but the rows to the archive."""
        # --schema-only leaves out large objects, which rows may refer to
        sections = ["--section=pre-data", "--section=post-data"] if content == FULL else ["--schema-only"]
        arguments = [*self._dump_arguments, f"--snapshot={snapshot}", *sections]
        finished = programs.run(self._pg_dump, arguments, self._source, stdout=self._archive.fileno())
        if not finished.ok:
            raise failed(finished.reason)

    def pipe(self, snapshot: str, *chosen: str) -> None:
        """Send rows from one database to the other."""
        arguments = [*self._dump_arguments, f"--snapshot={snapshot}", "--compress=0", *chosen]
        reading, writing = os.pipe()
        with contextlib.ExitStack() as stack:
            try:
                dumping = stack.enter_context(programs.running(self._pg_dump, arguments, self._source, stdout=writing))
                restoring = stack.enter_context(
                    programs.running(self._pg_restore, self._restore_arguments, self._target, stdin=reading)
                )
            finally:
                # so that each of the two notices when the other ends
                os.close(reading)
                os.close(writing)
            restored, dumped = restoring.wait(), dumping.wait()
        # The one that fails first ends the other: a pg_dump that nobody reads from has no error of its own, and
        # neither has a pg_restore that does not get the whole archive.
        if programs.errors(dumped.messages) and not re.search("Broken pipe", dumped.messages):
            raise failed(dumped.reason)
        _judge(restored)
        if not dumped.ok:
            raise failed(dumped.reason)

    def restore(self, *sections: str) -> None:
        """Restore sections of the archive."""
        plain = [] if self._owners else ["--no-owner", "--no-privileges"]
        _judge(self._run([*(f"--section={each}" for each in sections), *plain], self._entries))

    def grant(self) -> list[str]:
        """Make the grants that the role may make; sentences about the others, and about owners."""
        others = query(self._real, _OTHER_OWNERS)
        name = self._real.info.dbname
        told = [f"What belongs to {owner} in {name} belongs to {role} in the copy." for owner, role in others]
        entries = [line for line in self._entries if _is(line, _GRANTS)]
        errors = _true_errors(self._run(["--no-owner"], entries)) if entries else []
        return told + [f"The copy does not have this: {command or error}" for error, command in errors]

    @functools.cached_property
    def _entries(self) -> list[str]:
        """The lines of the archive's table of contents that are to be restored."""
        never = _NEVER if self._owners else f"(?:{_NEVER}|{_SUPERUSERS})"
        descriptor = self._archive.fileno()
        listed = programs.run(self._pg_restore, ["--list", f"/proc/self/fd/{descriptor}"], inherited=[descriptor])
        if not listed.ok:
            raise failed(listed.reason)
        lines = listed.output.splitlines()
        return [line for line in lines if line and not line.startswith(";") and not _is(line, never)]

    def _run(self, options: Sequence[str], entries: Sequence[str]) -> programs.Finished:
        with tempfile.TemporaryFile() as chosen:
            chosen.write("".join(f"{line}\n" for line in entries).encode())
            chosen.flush()
            inherited = [self._archive.fileno(), chosen.fileno()]
            archive, use = (f"/proc/self/fd/{descriptor}" for descriptor in inherited)
            arguments = [*self._restore_arguments, *options, f"--use-list={use}", archive]
            return programs.run(self._pg_restore, arguments, self._target, inherited=inherited)


def _true_errors(finished: programs.Finished) -> list[tuple[str, str]]:
    """Its errors but for settings of pg_restore's own session, which an older server may not know."""
    errors = programs.errors(finished.messages)
    if not finished.ok and not errors:
        return [(finished.ending, "")]
    return [(error, command) for error, command in errors if not command.startswith("SET ")]


def _judge(finished: programs.Finished) -> None:
    """Raise Refused if a restore failed."""
    errors = _true_errors(finished)
    if errors:
        raise failed(errors[0][0])
