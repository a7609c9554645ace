# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A temporary PostgreSQL cluster: its socket is in a private directory, and it is removed afterwards."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import pwd
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from ..postgres.url import Target
from ..problem import Refused, mask
from . import programs
from .credentials import connected

# It is on a disk, where /tmp may be in memory. It is short: the path of a socket may have 107 bytes (unix(7)).
DIRECTORY = "/var/tmp"

_OTHERWISE = "or do without the scratch copy"
_PREFIX = "rattail_schema_ext_"
_SUPERUSER = "postgres"
_PORT = 5432
_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.05
_MEGABYTE = 1024 * 1024
# An empty cluster has 40 MB, and its WAL may grow to twice max_wal_size.
_OWN_BYTES = 300 * _MEGABYTE
_SETTINGS = {
    "listen_addresses": "",
    "port": str(_PORT),
    "unix_socket_permissions": "0700",
    # it does not have to survive a crash
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "128MB",
}
# They keep libpq from using the PG* variables, which are about the real server.
_DIRECT = {
    "hostaddr": "",
    "sslmode": "disable",
    "gssencmode": "disable",
    "target_session_attrs": "any",
    "requirepeer": "",
    "options": "",
}


def refuse_impossible(directory: str, content_bytes: int) -> None:
    """Refuse if there is no account to run a cluster as, or not enough space for a database of that size in it."""
    _account()
    if not os.access(directory, os.W_OK | os.X_OK):
        raise impossible(
            f"The server for a scratch copy needs a directory in {directory}, which cannot be written to.",
            f"Allow all users to create files in {directory}, as is usual",
        )
    free, needed = shutil.disk_usage(directory).free, content_bytes + _OWN_BYTES
    if free < needed:
        cause = (
            f"There is too little space for a scratch copy in {directory}: {free // _MEGABYTE} MB are free"
            f" and {needed // _MEGABYTE} MB are wanted, the size of the database and {_OWN_BYTES // _MEGABYTE} MB."
        )
        raise Refused("scratch_no_space", cause, f"Make room there, {_OTHERWISE}.")


@contextlib.contextmanager
def started(initdb: programs.Program, directory: str, driver: str = "") -> Iterator[Target]:
    """Make a cluster and run its server, or raise Refused; yields how its superuser connects to its database template1.

    The server ends with this process. If this process is killed, the next run removes the directory.
    """
    account = _account()
    home = tempfile.mkdtemp(prefix=_PREFIX, dir=directory)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        # held as long as this process lives
        lock = os.open(os.path.join(home, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        stack.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if account:
            os.chown(home, account["user"], account["group"])
        data = os.path.join(home, "data")
        options = [f"--username={_SUPERUSER}", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        finished = programs.run(initdb, [f"--pgdata={data}", *options], **account)
        if not finished.ok:
            raise failed(finished.reason)
        settings = {**_SETTINGS, "unix_socket_directories": home}
        arguments = ["-D", data, *(f"--{name}={value}" for name, value in settings.items())]
        server = stack.enter_context(
            programs.running(initdb.beside("postgres"), arguments, at_our_death=signal.SIGQUIT, **account)
        )
        # an immediate shutdown, since there is nothing to save
        stack.callback(server.process.wait)
        stack.callback(server.process.send_signal, signal.SIGQUIT)
        target = Target(host=home, port=_PORT, dbname="template1", user=_SUPERUSER, options=_DIRECT, driver=driver)
        _await(target, server)
        yield target


def remove_leftovers(directory: str) -> None:
    """Remove our own clusters that no process uses any more."""
    for path in glob.glob(os.path.join(directory, f"{_PREFIX}*", "lock")):
        with contextlib.suppress(OSError), open(os.open(path, os.O_RDWR | os.O_NOFOLLOW), "rb") as lock:
            if os.fstat(lock.fileno()).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(os.path.dirname(path), ignore_errors=True)


def _account() -> dict[str, Any]:
    """Arguments of ``Popen`` for the account to run a server as; none for our own.

    PostgreSQL refuses to run as root. Of the other accounts, only its own may read what is in a database.
    """
    if os.geteuid() != 0:
        return {}
    try:
        found = pwd.getpwnam("postgres")
    except KeyError:
        raise impossible(
            "The server for a scratch copy would run as root, which PostgreSQL refuses, and this machine has no"
            " account postgres.",
            "Set rattail_schema_ext_user to a user who is not root",
        ) from None
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}


def _await(target: Target, server: programs.Running) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            with connected(target):
                return
        except Refused as error:
            ended = server.process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise failed(server.wait().reason if ended else error.problem.cause) from None
        time.sleep(_POLL_SECONDS)


def failed(reason: str) -> Refused:
    """A failure while a scratch copy is made, as a program or libpq said it."""
    cause = f"A scratch copy of the database could not be made: {mask(' '.join(reason.split()).rstrip('.'))}."
    return Refused("scratch_failed", cause, f"Correct that and run again, {_OTHERWISE}.")


def impossible(cause: str, remedy: str) -> Refused:
    """A reason why a scratch copy cannot be made; ``remedy`` is the beginning of a sentence."""
    return Refused("scratch_impossible", cause, f"{remedy}, {_OTHERWISE}.")
