# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A backup by pg_dump before anything is changed.

It gets its own name when it is complete. Until then it is a ``.partial``, which the next run removes if it stays one.
What is ours is told by the manifest beside each backup, see :mod:`manifest`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..postgres.contents import quoted
from ..postgres.url import Target
from ..problem import Refused
from . import manifest, programs
from .credentials import connected, query
from .manifest import CHANGED, PARTIAL, UNCHANGED, Own
from .programs import FULL, SCHEMA

_OTHERWISE = "set rattail_schema_ext_backup: none"
_MEGABYTE = 1024 * 1024
# Far more than any schema needs: a dump of Rattail's has 1 MB.
_SCHEMA_BYTES = 16 * _MEGABYTE
_NAMED_AT_MOST = 3
_LONGEST_PART = 40
_MOST_HEADS = 4

# What pg_dump locks or reads (getTables and dumpTableData in its source): the tables of all schemas but
# PostgreSQL's own, and, with the rows, sequences; of an extension only its configuration tables.
_READ = """
select n.nspname, format('%%I.%%I', n.nspname, c.relname), case c.relkind when 'S' then 'SEQUENCES' else 'TABLES' end,
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
    """A backup; ``manifest`` is what is written beside it."""

    file: str
    size: int
    sha256: str
    seconds: float
    mode: str
    manifest: Mapping[str, Any]


def refuse_impossible(target: Target, *, mode: str, directory: str, app: str, bin_dir: str = "") -> None:
    """Refuse if a backup cannot be made, as far as that can be known without writing anything; see :func:`make`."""
    place = _writable(directory)
    with connected(target) as connection:
        _pg_dump(connection, bin_dir).beside("pg_restore")
        [(role, size)] = query(connection, "select current_user, pg_database_size(current_database())")
        read = query(connection, _READ, (["r", "p", "S"] if mode == FULL else ["r", "p"],))
        own = manifest.find(directory, manifest.identity(connection, app, mode))
    _judge_rights(role, mode, [_Relation(*each) for each in read])
    _judge_space(place, directory, own, mode, size)


def make(target: Target, *, mode: str, directory: str, app: str, heads: Sequence[str], bin_dir: str = "") -> Backup:
    """Dump the database to a new file in ``directory``, which is made (0700) if it is missing.

    The file and its manifest have mode 0600 from the beginning. What an earlier run left unfinished is removed, but no
    whole backup, see :func:`settle`.

    :param mode: ``SCHEMA`` or ``FULL``.
    :param heads: the version rows.
    :param bin_dir: the directory of PostgreSQL's programs, if the user names one.
    :raises Refused: if it failed; then no file of it is left.
    """
    started = time.monotonic()
    with connected(target) as connection:
        identity = manifest.identity(connection, app, mode)
        login, arguments = programs.dumping(connection, "backup")
        pg_dump = _pg_dump(connection, bin_dir)
    own = manifest.find(directory, identity)
    _remove_leftovers(own)
    path = _free_name(directory, app, identity["database"], heads, mode)
    said = {"file": os.path.basename(path), **identity, "number": own[0].number + 1 if own else 1}
    said.update(time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), heads=sorted(heads))
    if mode == SCHEMA:
        arguments.append("--schema-only")
    try:
        with _partial(path) as (number, partial):
            manifest.write(path, said)
            finished = programs.run(pg_dump, arguments, login, stdout=number)
            if finished.ok:
                os.fsync(number)
                size, checksum = os.path.getsize(partial), _sha256(partial)
                # this shows that it can be read
                finished = programs.run(pg_dump.beside("pg_restore"), ["--list", partial])
            if not finished.ok:
                raise _failed(directory, finished)
            said.update(size=size, sha256=checksum)
            manifest.write(path, said)
            os.rename(partial, path)
        _sync(directory)
    except OSError as error:
        raise _failed(directory, programs.Finished(str(error.strerror), "")) from None
    return Backup(path, size, checksum, round(time.monotonic() - started, 3), mode, said)


def settle(made: Backup, *, changed: bool, keep: int) -> tuple[list[str], list[str]]:
    """Say what came of the run that a backup was made for, and remove older ones.

    Of backups whose runs changed nothing only the last one stays. A run that did change something leaves the newest
    ``keep`` of the others, this one among them. With 0, all stay.

    :returns: the files that were removed, and warnings about those that could not be.
    """
    pruned, warnings = [], []
    with contextlib.suppress(OSError):
        manifest.write(made.file, {**made.manifest, "outcome": CHANGED if changed else UNCHANGED})
    own = manifest.find(os.path.dirname(made.file), made.manifest)
    others = [each for each in own if each.size is not None and each.path != made.file]
    old = [each for each in others if each.outcome == UNCHANGED]
    old += [each for each in others if each not in old][keep - 1 :] if changed else []
    for each in old if keep > 0 else []:
        try:
            manifest.remove(each)
        except OSError as error:
            warnings.append(f"The old backup {each.path} cannot be removed: {error.strerror}.")
        else:
            pruned.append(each.path)
    return pruned, warnings


def _pg_dump(connection: Any, bin_dir: str) -> programs.Program:
    return programs.choose("pg_dump", connection.info.server_version // 10000, bin_dir, otherwise=_OTHERWISE)


def name_of(app: str, database: str, when: float, heads: Sequence[str], mode: str) -> str:
    """The name of a backup made at ``when`` (seconds since the epoch): ``APP.DATABASE.TIME.HEADS.MODE.dump``."""
    named = [_part(head) for head in sorted(heads)[:_MOST_HEADS]] or ["base"]
    if len(heads) > _MOST_HEADS:
        named.append(f"{len(heads) - _MOST_HEADS}more")
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(when))
    return f"{_part(app)}.{_part(database)}.{stamp}.{'+'.join(named)}.{mode}.dump"


def _part(text: str) -> str:
    """``text`` without what a shell treats specially; where it is changed, its hash keeps it different from others."""
    plain = re.sub(r"^-|[^A-Za-z0-9_-]", "_", text)[:_LONGEST_PART]
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def bytes_needed(mode: str, database_bytes: int, last_backup_bytes: int | None) -> int:
    """The free space that a backup needs: one and a half times the last one, or as much as the whole database."""
    if mode == SCHEMA:
        return _SCHEMA_BYTES
    last = database_bytes if last_backup_bytes is None else last_backup_bytes * 3 // 2
    return min(database_bytes, last) + _SCHEMA_BYTES


def _writable(directory: str) -> str:
    """The directory, or the nearest one above it that exists; raises Refused if it cannot be written to."""
    place = os.path.abspath(directory)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        raise _unwritable(directory, f"{place} is not a directory")
    if not os.access(place, os.W_OK | os.X_OK):
        raise _unwritable(directory, f"{place} cannot be written to by user {os.geteuid()}")
    return place


def _judge_space(place: str, directory: str, own: Sequence[Own], mode: str, database_bytes: int) -> None:
    last = next((each.size for each in own if each.size is not None), None)
    needed = bytes_needed(mode, database_bytes, last)
    # unfinished files are removed first
    free = shutil.disk_usage(place).free + sum(each.partial or 0 for each in own if each.size is None)
    if free < needed:
        what, taken = ("database", database_bytes) if last is None else ("last backup", last)
        why = f"since the {what} takes {_megabytes(taken)}"
        raise _no_space(directory, f"{_megabytes(free)} are free and {_megabytes(needed)} are wanted, {why}")


class _Relation(NamedTuple):
    """A table or sequence that pg_dump reads; ``usage`` and ``select`` are rights, and ``name`` is quoted in full."""

    schema: str
    name: str
    kind: str
    usage: bool
    select: bool
    row_security: bool


def _judge_rights(role: str, mode: str, relations: Sequence[_Relation]) -> None:
    """Refuse if pg_dump would fail because of a relation that the role may not read."""
    closed = sorted({each.schema for each in relations if not each.usage})
    unread = [each for each in relations if not each.select]
    hidden = [each.name for each in relations if each.row_security and mode == FULL]
    if closed or unread:
        cause = f"The role {role} may not read all that pg_dump has to read"
        names = [f"schema {schema}" for schema in closed] + [each.name for each in unread]
        rights = [f"USAGE ON SCHEMA {quoted(schema)}" for schema in closed]
        if len(unread) <= _NAMED_AT_MOST:
            rights += [f"SELECT ON {each.name}" for each in unread]
        else:
            rights += sorted({f"SELECT ON ALL {each.kind} IN SCHEMA {quoted(each.schema)}" for each in unread})
        grants = "; ".join(f"GRANT {right} TO {quoted(role)}" for right in rights)
        remedy = f"Grant it, as the owner ({grants})"
    elif hidden:
        cause = f"Row security hides rows from the role {role}, so that a backup would not contain them"
        names = hidden
        remedy = f"Allow it to read all rows, as a superuser (ALTER ROLE {quoted(role)} BYPASSRLS)"
    else:
        return
    more = len(names) - _NAMED_AT_MOST
    named = ", ".join(names[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
    raise Refused("backup_rights_missing", f"{cause}: {named}.", f"{remedy}, or {_OTHERWISE}.")


@contextlib.contextmanager
def _partial(path: str) -> Iterator[tuple[int, str]]:
    """A new file ``path.partial``, which is locked while it is open, and removed at the end unless it was renamed."""
    partial = path + PARTIAL
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
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
            os.unlink(path + manifest.END)
        os.close(number)


def _remove_leftovers(own: Sequence[Own]) -> None:
    for each in (each for each in own if each.size is None):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            if each.partial is not None:
                # a run that is writing the file holds the lock, and so does its pg_dump
                file = stack.enter_context(open(each.path + PARTIAL, "rb"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            manifest.remove(each)


def _free_name(directory: str, app: str, database: str, heads: Sequence[str], mode: str) -> str:
    while True:
        path = os.path.join(directory, name_of(app, database, time.time(), heads, mode))
        if not any(os.path.lexists(path + end) for end in ("", PARTIAL, manifest.END)):
            return path
        time.sleep(0.2)


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(_MEGABYTE), b""):
            digest.update(block)
    return digest.hexdigest()


def _sync(directory: str) -> None:
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _megabytes(size: int) -> str:
    return f"{-(-size // _MEGABYTE)} MB"


def _unwritable(directory: str, reason: str) -> Refused:
    cause = f"No backup can be written to {directory}: {reason}."
    remedy = "Make that directory for the role's user, name another one in rattail_schema_ext_backup_dir"
    return Refused("backup_directory", cause, f"{remedy}, or {_OTHERWISE}.")


def _no_space(directory: str, reason: str) -> Refused:
    cause = f"There is too little space for a backup in {directory}: {reason}."
    remedy = "Make room there, name a directory elsewhere in rattail_schema_ext_backup_dir"
    return Refused("backup_no_space", cause, f"{remedy}, or {_OTHERWISE}.")


def _failed(directory: str, finished: programs.Finished) -> Refused:
    if re.search("No space left on device|Disk quota exceeded", finished.messages + finished.ending):
        return _no_space(directory, "it was full before the backup was complete")
    held = any(command.startswith("LOCK TABLE") for _, command in programs.errors(finished.messages))
    cause = f"The backup was not made, and nothing was changed: {finished.reason}."
    remedy = f"Run again when {'no other session holds the table' if held else 'that is corrected'}, or {_OTHERWISE}."
    return Refused("backup_failed", cause, remedy)
