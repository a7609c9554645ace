# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role writes beside each of its backups, ``<file>.json``: by that it knows its own again, never by a name.

A backup without one, or with one that does not fit, is somebody else's. Their order is that of ``number``, since a
clock may have been wrong. ``outcome`` says what came of the run that a backup was made for, once that is known.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..postgres import driver
from .credentials import query

CHANGED, UNCHANGED = "changed", "unchanged"
END, PARTIAL = ".json", ".partial"
_IDENTITY = ("app", "database", "oid", "system", "server", "mode")
_LONGEST = 100_000
_DATABASE = (
    "select datname::text, oid::bigint from pg_catalog.pg_database where datname = pg_catalog.current_database()"
)
_SYSTEM = "select system_identifier::text from pg_catalog.pg_control_system()"


class Own(NamedTuple):
    """A backup of ours. ``size`` is None where it was never completed, and ``partial`` the size of what is there."""

    path: str
    number: int
    outcome: str
    size: int | None
    partial: int | None


def identity(connection: Any, app: str, mode: str) -> dict[str, Any]:
    """What two backups have in common only where they are of the same app, database and kind.

    A server that is a copy of another one has its ``system`` and the same oids. So the host is in it, as the app's
    config names it, or this machine's own name.
    """
    [(database, oid)] = query(connection, _DATABASE)
    try:
        [(system,)] = query(connection, _SYSTEM)
    except driver.errors():  # a hosted server may keep it to itself
        system = ""
    asked = driver.parameters(connection)
    host = asked.get("host") or asked.get("hostaddr") or ""
    here = not host or host.startswith(("/", "127.")) or host in ("localhost", "::1")
    server = f"{os.uname().nodename if here else host}:{asked.get('port') or connection.info.port}"
    return dict(zip(_IDENTITY, (app, database, oid, system, server, mode)))


def find(directory: str, whose: Mapping[str, Any]) -> list[Own]:
    """The backups in ``directory`` that have this identity, newest first; none where it cannot be read."""
    try:
        files = [entry for entry in os.scandir(directory) if entry.is_file(follow_symlinks=False)]
        sizes = {entry.name: entry.stat(follow_symlinks=False).st_size for entry in files}
    except OSError:
        return []
    found = []
    for name in (each[: -len(END)] for each in sizes if each.endswith(END)):
        path, said = os.path.join(directory, name), None
        with contextlib.suppress(OSError, ValueError, RecursionError), open(path + END, "rb") as file:
            said = json.loads(file.read(_LONGEST))
        if not isinstance(said, dict) or said.get("file") != name or type(said.get("number")) is not int:
            continue
        own = Own(path, said["number"], said.get("outcome", ""), sizes.get(name), sizes.get(name + PARTIAL))
        if all(said.get(key) == whose[key] for key in _IDENTITY) and own.size in (None, said.get("size")):
            found.append(own)
    return sorted(found, key=lambda own: own.number, reverse=True)


def write(path: str, said: Mapping[str, Any]) -> None:
    """Write the manifest of the backup at ``path``, whole or not at all; only our own account may read it."""
    with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(path), prefix=".manifest.", delete=False) as file:
        try:
            json.dump(said, file, indent=1)
            file.flush()
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
            os.replace(file.name, path + END)
        except BaseException:
            os.unlink(file.name)
            raise


def remove(own: Own) -> None:
    """Remove a backup, or what there is of it; raises OSError where it stays."""
    for end in (PARTIAL if own.size is None else "", END):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(own.path + end)
