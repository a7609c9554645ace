# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A backup by pg_dump before anything is changed: whether it can be made, and making it.

A backup appears under its own name only when it is whole; until then it is a ``.partial``, which the
next run removes. It is in pg_dump's custom format, and docs/backups.md says how it is restored.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..postgres.contents import quoted
from ..postgres.url import Target
from ..problem import Refused
from . import programs
from .credentials import Login, connected

NONE, SCHEMA, FULL = "none", "schema", "full"
LOCK_WAIT_SECONDS = 60

_SUFFIX = ".dump"
_PARTIAL = ".partial"
_OTHERWISE = "set rattail_schema_ext_backup: none"
_MEGABYTE = 1024 * 1024
# What a dump of the largest schema known takes, many times over: Rattail's is 1 MB.
_SCHEMA_BYTES = 16 * _MEGABYTE
_NAMED_AT_MOST = 3
_LONGEST_PART = 40
_MOST_HEADS = 4

# What pg_dump locks or reads (getTables and dumpTableData in its source): tables of all schemas but
# PostgreSQL's own, and, for their rows, sequences; what belongs to an extension only as far as that says.
_UNREADABLE = """
select n.nspname, format('%%I.%%I', n.nspname, c.relname), c.relkind = 'S',
  has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT'),
  c.relkind <> 'S' and row_security_active(c.oid)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = any(%s) and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  and not exists (
    select from pg_depend d join pg_extension e on e.oid = d.refobjid and d.refclassid = 'pg_extension'::regclass
    where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
      and not coalesce(c.oid = any(e.extconfig), false))
order by 2
"""


@dataclass(frozen=True)
class Backup:
    """A backup that was made.

    ``size`` is in bytes, ``seconds`` is how long it took. ``pruned`` are the older ones that were
    removed for it, and ``warnings`` are sentences about those that could not be.
    """

    file: str
    size: int
    sha256: str
    seconds: float
    mode: str
    pruned: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def refuse_impossible(target: Target, *, mode: str, directory: str, app: str, bin_dir: str = "") -> None:
    """Everything that can be known to go wrong with a backup, without writing anything.

    :param mode: ``NONE`` (nothing is looked at), ``SCHEMA`` or ``FULL``.
    :param directory: where the backup is to go; it may be missing.
    :param bin_dir: the directory of PostgreSQL's programs, where the user names one.
    :raises Refused: where the directory cannot be written to or has no space, pg_dump is missing or
        older than the server, or the role may not read everything.
    """
    if mode == NONE:
        return
    place = _writable(directory)
    with connected(target) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select current_database(), current_user, current_setting('server_version_num')::int,"
            " pg_database_size(current_database())"
        )
        database, role, version, size = cursor.fetchone()
        pg_dump = programs.choose("pg_dump", version // 10000, bin_dir, otherwise=_OTHERWISE)
        pg_dump.beside("pg_restore")
        cursor.execute(_UNREADABLE, (["r", "p", "S"] if mode == FULL else ["r", "p"],))
        _judge_rights(role, mode, cursor.fetchall())
    _judge_space(place, directory, Names(app, database), mode, size)


def make(
    target: Target,
    *,
    mode: str,
    directory: str,
    app: str,
    heads: Sequence[str],
    keep: int,
    bin_dir: str = "",
    lock_wait_seconds: int = LOCK_WAIT_SECONDS,
) -> Backup:
    """Dump the database to a new file in ``directory``, which is made (0700) where it is missing.

    The file has mode 0600 from its beginning. Of this app's and database's backups of the same mode
    the newest ``keep`` stay, this one among them; with 0, all stay. Leftovers of runs that died go.

    :param heads: the version rows, for the name.
    :param lock_wait_seconds: how long pg_dump waits for a table that somebody holds exclusively.
    :raises Refused: where it failed; nothing of it is left then.
    """
    started = time.monotonic()
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
    except OSError as error:
        raise _unwritable(directory, str(error.strerror)) from None
    with connected(target) as connection:
        database = connection.info.dbname
        login = Login.of(connection).to(application_name=_application_name())
        pg_dump = programs.choose("pg_dump", connection.info.server_version // 10000, bin_dir, otherwise=_OTHERWISE)
    names = Names(app, database)
    _remove_leftovers(directory, names)
    path = _free_name(directory, names, heads, mode)
    arguments = ["--format=custom", f"--lock-wait-timeout={lock_wait_seconds * 1000}", *programs.TO_DATABASE]
    if mode == SCHEMA:
        arguments.append("--schema-only")
    try:
        with _partial(path) as (number, partial):
            said = programs.run(pg_dump, arguments, login, stdout=number)
            if said.ok:
                os.fsync(number)
                size, checksum = _measure(partial)
                # that it can be read at all
                said = programs.run(pg_dump.beside("pg_restore"), ["--list", partial])
            if not said.ok:
                raise _failed(database, directory, said)
            os.rename(partial, path)
        _sync_directory(directory)
    except OSError as error:
        raise _failed(database, directory, programs.Said(str(error.strerror), "")) from None
    pruned, warnings = _prune(directory, names, mode, keep, os.path.basename(path))
    return Backup(path, size, checksum, round(time.monotonic() - started, 3), mode, pruned, warnings)


class Names:
    """How the backups of one app and database are called, and which files are such backups.

    ``APP.DATABASE.TIME.HEADS.MODE.dump``, with the time in UTC and no character that a shell minds.
    """

    def __init__(self, app: str, database: str) -> None:
        self._prefix = f"{_part(app)}.{_part(database)}."
        self._pattern = re.compile(
            re.escape(self._prefix) + r"(?P<time>\d{8}T\d{6}Z)\.[A-Za-z0-9_+-]+\.(?P<mode>full|schema)"
            rf"{re.escape(_SUFFIX)}(?P<partial>{re.escape(_PARTIAL)})?"
        )

    def new(self, when: float, heads: Sequence[str], mode: str) -> str:
        """The name of a backup made at ``when`` (seconds since the epoch)."""
        named = [_part(head) for head in sorted(heads)[:_MOST_HEADS]] or ["base"]
        if len(heads) > _MOST_HEADS:
            named.append(f"{len(heads) - _MOST_HEADS}more")
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(when))
        return f"{self._prefix}{stamp}.{'+'.join(named)}.{mode}{_SUFFIX}"

    def whole(self, files: Sequence[str], mode: str) -> list[str]:
        """Those of ``files`` that are backups of this mode, newest first."""
        found = [(match["time"], file) for file in files for match in [self._pattern.fullmatch(file)]
                 if match and match["mode"] == mode and not match["partial"]]  # fmt: skip
        return [file for _, file in sorted(found, reverse=True)]

    def partial(self, files: Sequence[str]) -> list[str]:
        """Those of ``files`` that were never finished."""
        return [file for file in files for match in [self._pattern.fullmatch(file)] if match and match["partial"]]


def _part(text: str) -> str:
    """``text`` for a file name: as it is where it is plain, else so that two texts stay two names."""
    plain = re.sub(r"^-|[^A-Za-z0-9_-]", "_", text)[:_LONGEST_PART]
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def to_prune(whole: Sequence[str], new: str, keep: int) -> list[str]:
    """Which backups are too old: all but the newest ``keep``, and never ``new``; none where ``keep`` is 0.

    :param whole: of one app, database and mode, newest first.
    """
    return [file for file in whole[keep:] if file != new] if keep > 0 else []


def bytes_needed(mode: str, database_bytes: int, last_backup_bytes: int | None) -> int:
    """How much must be free for a backup, in bytes.

    A full one takes what the last one took and half as much again; where there is none to go by, as
    much as the whole database, which compresses to less than that in all but the oddest cases.
    """
    if mode == SCHEMA:
        return _SCHEMA_BYTES
    expected = database_bytes
    if last_backup_bytes is not None:
        expected = min(expected, last_backup_bytes * 3 // 2)
    return expected + _SCHEMA_BYTES


def _writable(directory: str) -> str:
    """The directory, or what is there of the way to it, once it is sure that we can write there."""
    place = os.path.abspath(directory)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        raise _unwritable(directory, f"{place} is not a directory")
    if not os.access(place, os.W_OK | os.X_OK):
        raise _unwritable(directory, f"{place} cannot be written to by user {os.geteuid()}")
    return place


def _judge_space(place: str, directory: str, names: Names, mode: str, database_bytes: int) -> None:
    found = _files(directory)
    sizes = [_size(directory, file) for file in names.whole(found, mode)[:1]]
    needed = bytes_needed(mode, database_bytes, sizes[0] if sizes else None)
    filesystem = os.statvfs(place)
    free = filesystem.f_bavail * filesystem.f_frsize + sum(_size(directory, file) for file in names.partial(found))
    if free < needed:
        why = f"the last backup of this kind there took {_megabytes(sizes[0])}" if sizes else (
            f"the database takes {_megabytes(database_bytes)}, and there is no earlier backup to go by"
        )  # fmt: skip
        raise _no_space(directory, f"{_megabytes(free)} are free and {_megabytes(needed)} are wanted, since {why}")


def _judge_rights(role: str, mode: str, found: Sequence[Sequence[Any]]) -> None:
    """Refuse where pg_dump would end at a relation that the role may not read."""
    closed = sorted({schema for schema, _, _, usage, _, _ in found if not usage})
    unread = [each for each in found if not each[4]]
    hidden = [name for _, name, _, _, select, rows in found if mode == FULL and select and rows]
    if closed or unread:
        names = [f"schema {schema}" for schema in closed] + [name for _, name, _, _, _, _ in unread]
        grants = [f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {quoted(role)}" for schema in closed]
        for kind, sequences in (("TABLE", False), ("SEQUENCE", True)):
            grants += _grants(role, kind, [each for each in unread if each[2] is sequences])
        raise Refused(
            "backup_rights_missing",
            f"The role {role} may not read all that pg_dump has to read: {_some(names)}.",
            f"Grant it, as the owner ({'; '.join(grants)}), or {_OTHERWISE}.",
        )
    if hidden:
        raise Refused(
            "backup_rights_missing",
            f"Row security hides rows from the role {role}, so that a backup would not hold them: {_some(hidden)}.",
            f"Let it see all rows, as a superuser (ALTER ROLE {quoted(role)} BYPASSRLS), or {_OTHERWISE}.",
        )


def _grants(role: str, kind: str, unread: Sequence[Sequence[Any]]) -> Iterator[str]:
    if 0 < len(unread) <= _NAMED_AT_MOST:
        yield f"GRANT SELECT ON {kind} {', '.join(each[1] for each in unread)} TO {quoted(role)}"
        return
    for schema in sorted({each[0] for each in unread}):
        yield f"GRANT SELECT ON ALL {kind}S IN SCHEMA {quoted(schema)} TO {quoted(role)}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


@contextlib.contextmanager
def _partial(path: str) -> Iterator[tuple[int, str]]:
    """A new file at ``path.partial``, locked as long as it is written, and gone at the end unless renamed."""
    partial = path + _PARTIAL
    try:
        number = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unwritable(os.path.dirname(path), str(error.strerror)) from None
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        os.fchmod(number, 0o600)
        yield number, partial
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        os.close(number)


def _remove_leftovers(directory: str, names: Names) -> None:
    for file in names.partial(_files(directory)):
        path = os.path.join(directory, file)
        try:
            number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            # whoever writes it holds the lock, its pg_dump included
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        except OSError:
            continue
        finally:
            os.close(number)


def _free_name(directory: str, names: Names, heads: Sequence[str], mode: str) -> str:
    while True:
        path = os.path.join(directory, names.new(time.time(), heads, mode))
        if not os.path.lexists(path) and not os.path.lexists(path + _PARTIAL):
            return path
        time.sleep(0.2)


def _prune(directory: str, names: Names, mode: str, keep: int, new: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    pruned, warnings = [], []
    for file in to_prune(names.whole(_files(directory), mode), new, keep):
        path = os.path.join(directory, file)
        try:
            os.unlink(path)
        except OSError as error:
            warnings.append(f"The old backup {path} cannot be removed: {error.strerror}.")
        else:
            pruned.append(path)
    return tuple(pruned), tuple(warnings)


def _files(directory: str) -> list[str]:
    """The names of the regular files in a directory; none where it is not there or not ours to read."""
    try:
        return [entry.name for entry in os.scandir(directory) if entry.is_file(follow_symlinks=False)]
    except OSError:
        return []


def _size(directory: str, file: str) -> int:
    try:
        about = os.lstat(os.path.join(directory, file))
    except OSError:
        return 0
    return about.st_size if stat.S_ISREG(about.st_mode) else 0


def _measure(path: str) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with open(path, "rb") as file:
        while True:
            block = file.read(_MEGABYTE)
            if not block:
                return size, digest.hexdigest()
            digest.update(block)
            size += len(block)


def _sync_directory(directory: str) -> None:
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _application_name() -> str:
    return f"rattail_schema_ext backup on {os.uname().nodename}"[:63]


def _megabytes(size: int) -> str:
    return f"{-(-size // _MEGABYTE)} MB"


def _unwritable(directory: str, reason: str) -> Refused:
    return Refused(
        "backup_directory",
        f"No backup can be written to {directory}: {reason}.",
        f"Make that directory for the role's user, name another one in rattail_schema_ext_backup_dir, or {_OTHERWISE}.",
    )


def _no_space(directory: str, reason: str) -> Refused:
    return Refused(
        "backup_no_space",
        f"There is too little space for a backup in {directory}: {reason}.",
        f"Make room there, name a directory elsewhere in rattail_schema_ext_backup_dir, or {_OTHERWISE}.",
    )


def _failed(database: str, directory: str, said: programs.Said) -> Refused:
    if re.search("No space left on device|Disk quota exceeded", said.messages + said.ending):
        return _no_space(directory, "it was full before the backup was whole")
    held = any(command.startswith("LOCK TABLE") for _, command in programs.errors(said.messages))
    cause = "when no other session holds the table" if held else "when that is put right"
    return Refused(
        "backup_failed",
        f"The backup of {database} was not made, and nothing was changed: {said.reason}.",
        f"Run again {cause}, or {_OTHERWISE}.",
    )
