# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A PostgreSQL cluster for the time of one block: on a socket in a private directory, gone afterwards."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ..postgres.url import Target
from ..problem import Refused
from . import programs
from .credentials import connected

# On a disk, where /tmp may be memory; and short, since a socket's path may have 107 bytes (unix(7)).
DIRECTORY = "/var/tmp"

_PREFIX = "rattail_schema_ext_"
_SUPERUSER = "postgres"
_PORT = 5432
_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.05
_MEGABYTE = 1024 * 1024
# An empty cluster has 40 MB, and its log may grow to twice max_wal_size.
_OWN_BYTES = 300 * _MEGABYTE
_SETTINGS = {
    "listen_addresses": "",
    "port": str(_PORT),
    "unix_socket_permissions": "0700",
    # nothing in it is to survive anything
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "128MB",
    "archive_mode": "off",
    "max_connections": "20",
    "logging_collector": "off",
}
# Whatever PG* variables say of the way to the real server must not be said of this one.
_DIRECT = {
    "hostaddr": "",
    "sslmode": "disable",
    "gssencmode": "disable",
    "target_session_attrs": "any",
    "requirepeer": "",
    "options": "",
}
_DIRECT_WHERE_SET = {"PGREQUIREAUTH": ("require_auth", ""), "PGCHANNELBINDING": ("channel_binding", "prefer")}


@dataclass(frozen=True)
class _Account:
    """Whom the server runs as; None and None where that is us."""

    uid: int | None
    gid: int | None


def refuse_impossible(directory: str, content_bytes: int) -> None:
    """Whether there is an account and room for a cluster.

    :param content_bytes: the size of what it will hold.
    :raises Refused: where not.
    """
    _account()
    if not os.access(directory, os.W_OK | os.X_OK):
        raise Refused(
            "scratch_impossible",
            f"A server for a scratch copy would lie below {directory}, which cannot be written to.",
            f"Let everybody make files in {directory}, as is usual, or do without trying it on a copy.",
        )
    filesystem = os.statvfs(directory)
    free, needed = filesystem.f_bavail * filesystem.f_frsize, content_bytes + _OWN_BYTES
    if free < needed:
        raise Refused(
            "scratch_no_space",
            f"There is too little space for a scratch copy in {directory}: {free // _MEGABYTE} MB are free"
            f" and {needed // _MEGABYTE} MB are wanted, the size of the database and {_OWN_BYTES // _MEGABYTE} MB.",
            "Make room there, or do without trying it on a copy.",
        )


@contextlib.contextmanager
def started(initdb: programs.Program, directory: str = DIRECTORY) -> Iterator[Target]:
    """Make a cluster and run its server; yields the way of its superuser to its database template1.

    The server dies with this process, and the directory is removed by the next one then.

    :raises Refused: where it cannot be made or does not start.
    """
    account = _account()
    home = tempfile.mkdtemp(prefix=_PREFIX, dir=directory)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        # whoever holds this lock is alive
        lock = os.open(os.path.join(home, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        stack.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if account.uid is not None and account.gid is not None:
            os.chown(home, account.uid, account.gid)
        data, log = os.path.join(home, "data"), os.path.join(home, "log")
        options = [f"--username={_SUPERUSER}", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        said = programs.run(initdb, [f"--pgdata={data}", *options], uid=account.uid, gid=account.gid)
        if not said.ok:
            raise _failed(said.reason)
        settings = {**_SETTINGS, "unix_socket_directories": home}
        arguments = ["-D", data, *(f"--{name}={value}" for name, value in settings.items())]
        with (
            open(log, "wb") as output,
            programs.running(
                initdb.beside("postgres"),
                arguments,
                stdout=output,
                uid=account.uid,
                gid=account.gid,
                at_our_death=signal.SIGQUIT,
            ) as server,
        ):
            try:
                target = Target(host=home, port=_PORT, dbname="template1", user=_SUPERUSER, options=_direct())
                _await(target, server)
                yield target
            finally:
                # at once, since there is nothing to save
                if server.process.poll() is None:
                    server.process.send_signal(signal.SIGQUIT)
                    server.process.wait()


def remove_leftovers(directory: str = DIRECTORY) -> None:
    """Remove the clusters of ours whose process is dead."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            if not entry.name.startswith(_PREFIX) or not entry.is_dir(follow_symlinks=False):
                continue
            with contextlib.suppress(OSError):
                lock = os.open(os.path.join(entry.path, "lock"), os.O_RDWR | os.O_NOFOLLOW)
                try:
                    if os.fstat(lock).st_uid == os.geteuid():
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        shutil.rmtree(entry.path, ignore_errors=True)
                finally:
                    os.close(lock)


def _account() -> _Account:
    """PostgreSQL refuses to run as root. Of the others only its own account may see what is in a database."""
    if os.geteuid() != 0:
        return _Account(None, None)
    try:
        found = pwd.getpwnam("postgres")
    except KeyError:
        raise Refused(
            "scratch_impossible",
            "A server for a scratch copy would have to run as root, which PostgreSQL refuses, and there is no account"
            " postgres here.",
            "Set rattail_schema_ext_user to a user who is not root, or do without trying it on a copy.",
        ) from None
    return _Account(found.pw_uid, found.pw_gid)


def _direct() -> dict[str, str]:
    more = dict(pair for name, pair in _DIRECT_WHERE_SET.items() if name in os.environ)
    return {**_DIRECT, **more}


def _await(target: Target, server: programs.Running) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            with connected(target):
                return
        except Refused as error:
            if server.process.poll() is not None:
                raise _failed(server.wait().reason) from None
            if time.monotonic() > deadline:
                raise _failed(error.problem.cause.rstrip(".")) from None
        time.sleep(_POLL_SECONDS)


def _failed(reason: str) -> Refused:
    return Refused(
        "scratch_failed",
        f"A server for a scratch copy cannot be started: {reason}.",
        "Put that right and run again, or do without trying it on a copy.",
    )
