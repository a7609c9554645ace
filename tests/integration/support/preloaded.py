"""Programs of an app's environment, run by a process that has loaded Rattail's models already.

Loading them takes most of the time of an upgrade, and of a command of Alembic's. One process a test run does it once,
and is forked for each program; the copy then becomes what the environment's own Python would be: its prefix, its path,
its variables. What it cannot show is an app that changes core's own models, for these are made by then.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from . import environments
from .waiting import eventually

# What Rattail's env.py does before it loads the app's own models, by the same calls.
_PRELOADED = """
import importlib, json, os, site, sys, traceback
import alembic.autogenerate, alembic.command, psycopg2, sqlalchemy
import sqlalchemy_continuum as continuum
from sqlalchemy_continuum.plugins import TransactionMetaPlugin
from sqlalchemy.orm import configure_mappers
import rattail.config, rattail.db.config
from rattail.db.continuum import RattailPlugin, versioning_manager
continuum.make_versioned(manager=versioning_manager, plugins=[TransactionMetaPlugin(), RattailPlugin()])
import rattail.db.model
configure_mappers()

def become(call):
    for number, file in enumerate((os.devnull, call["out"], call["err"])):
        opened = os.open(file, os.O_WRONLY if number else os.O_RDONLY)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(call["environment"])
    base, sys.prefix = sys.prefix, call["prefix"]
    sys.exec_prefix, sys.executable = sys.prefix, os.path.join(sys.prefix, "bin", "python")
    sys.argv = ["-c", *call["arguments"]]
    sys.path[:] = [place for place in sys.path if not place.startswith(base)]
    site.addsitedir(call["packages"])
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()

def run(call):
    code = 1
    try:
        become(call)
        exec(compile(call["program"], "<string>", "exec"), {"__name__": "__main__"})
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(bool(error.code))
        if code != error.code:
            print(error.code or "", file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

print("ready", flush=True)
for line in sys.stdin:
    call = json.loads(line)
    child = os.fork()
    if child == 0:
        run(call)
    # of one that is not waited for a zombie stays, which tells that it has ended
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if call["wait"] else child, flush=True)
"""


class _Preloaded:
    def __init__(self) -> None:
        python = environments.base("rattail") / "bin" / "python"
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [str(python), "-c", _PRELOADED], env=environment(), stdin=pipe, stdout=pipe, text=True
        )
        atexit.register(self._process.communicate)
        assert self._answer(120) == "ready"

    def run(self, call: Mapping[str, object], seconds: float = 10) -> int:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        return int(self._answer(seconds))

    def _answer(self, seconds: float) -> str:
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            self._process.kill()
            raise TimeoutError(f"not within {seconds} s")
        return self._process.stdout.readline().strip()


@cache
def _preloaded() -> _Preloaded:
    return _Preloaded()


def run(
    env_dir: Path,
    program: str,
    arguments: Sequence[str],
    *,
    scratch: Path,
    seconds: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run ``program`` as ``env_dir/bin/python -c`` would, in a process that has Rattail loaded.

    ``env_dir`` is a light environment with Rattail; ``scratch`` takes what is printed.
    """
    call = _call(env_dir, program, arguments, scratch)
    code = _preloaded().run({**call, "wait": True}, seconds)
    return subprocess.CompletedProcess(["-c", *arguments], code, *_printed(call))


class Started:
    """The same, started: a process that can be waited for or killed."""

    def __init__(self, env_dir: Path, program: str, arguments: Sequence[str], *, scratch: Path) -> None:
        self._call = _call(env_dir, program, arguments, scratch)
        self.pid = _preloaded().run({**self._call, "wait": False})

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, seconds: float) -> tuple[str, str]:
        """What it has printed by its end, on both streams."""
        eventually(lambda: psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE, seconds)
        return _printed(self._call)


def _call(env_dir: Path, program: str, arguments: Sequence[str], scratch: Path) -> dict[str, Any]:
    scratch.mkdir(exist_ok=True)
    out, err = (tempfile.mkstemp(dir=scratch) for _ in range(2))
    for descriptor, _ in (out, err):
        os.close(descriptor)
    return {
        "prefix": str(env_dir),
        "packages": str(environments.site_packages(env_dir)),
        "program": program,
        "arguments": list(arguments),
        "environment": environment(),
        "out": out[1],
        "err": err[1],
    }


def _printed(call: Mapping[str, Any]) -> tuple[str, str]:
    return Path(call["out"]).read_text(), Path(call["err"]).read_text()


def environment() -> dict[str, str]:
    """The caller's variables, but no PG* or RATTAIL_*."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PG", "RATTAIL", "WUTTA"))}
