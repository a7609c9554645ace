"""Programs run by a process that has loaded already what takes most of their time to load.

One process a test run loads it once, and is forked for each program; the copy then becomes what a process of its own
would be: its files, its variables, its arguments. There is one for Rattail's models, which an upgrade and each of
Alembic's commands need, and one for Ansible. What the first cannot show is an app that changes core's own models, for
these are made by then.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from . import environments
from .waiting import eventually

_SERVE = """
import atexit, gc, json, os, sys, traceback

def be_of_its_own(call):
    for number, file in enumerate((os.devnull, call["out"], call["err"])):
        opened = os.open(file, os.O_WRONLY if number else os.O_RDONLY)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(call["cwd"])
    os.environ.clear()
    os.environ.update(call["environment"])
    sys.argv = call["arguments"]
    # what is registered is the other process's
    atexit._clear()

def run(call):
    code = 1
    try:
        be_of_its_own(call)
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
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

gc.collect()
gc.freeze()
gc.set_threshold(100_000)
print("ready", flush=True)
for line in sys.stdin:
    call = json.loads(line)
    child = os.fork()
    if child == 0:
        run(call)
    # of one that is not waited for a zombie stays, which tells that it has ended
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if call["wait"] else child, flush=True)
"""

# What Rattail's env.py does before it loads the app's own models, by the same calls.
_RATTAIL = """
import importlib, os, site, sys
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
    base, sys.prefix = sys.prefix, call["prefix"]
    sys.exec_prefix, sys.executable = sys.prefix, os.path.join(sys.prefix, "bin", "python")
    sys.path[:] = [place for place in sys.path if not place.startswith(base)]
    site.addsitedir(call["packages"])
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()
"""

# What it has read of its own settings by then is read again from the ansible.cfg of the run.
_ANSIBLE = """
import os, sys
import ansible.cli.adhoc, ansible.cli.playbook, ansible.plugins.action.normal, ansible.plugins.callback.default
import ansible.plugins.strategy.linear
from ansible import constants
from ansible.plugins.loader import filter_loader, test_loader
for loader in filter_loader, test_loader:
    list(loader.all())

def become(call):
    config = constants.config
    config._config_file = os.environ["ANSIBLE_CONFIG"]
    config._parse_config_file()
    # modules that were packed for one run lie in the temporary directory for the next
    for setting in config.get_configuration_definitions():
        if setting != "DEFAULT_LOCAL_TMP":
            constants.set_constant(setting, config.get_config_value(setting, variables=vars(constants)))
"""
_RUN_FILE = "import runpy, sys\nrunpy.run_path(sys.argv[0], run_name='__main__')"


class _Preloaded:
    def __init__(self, python: Sequence[str], loaded: str, environment: Mapping[str, str]) -> None:
        pipe = subprocess.PIPE
        command = [*python, loaded + _SERVE]
        self._process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)
        atexit.register(self._process.communicate)
        assert self._answer(120) == "ready"

    def run(self, call: Mapping[str, object], *, scratch: Path, seconds: float) -> subprocess.CompletedProcess[str]:
        """What has become of a call."""
        files = _files(scratch)
        code = self._ask({**call, **files, "wait": True}, seconds)
        return subprocess.CompletedProcess([], code, *_printed(files))

    def start(self, call: Mapping[str, object], files: Mapping[str, str]) -> int:
        """The process of a call, which nobody has waited for."""
        return self._ask({**call, **files, "wait": False}, 10)

    def _ask(self, call: Mapping[str, object], seconds: float) -> int:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        return int(self._answer(seconds))

    def _answer(self, seconds: float) -> str:
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            # Its process, and what that has started, would only be in the way of the next.
            for each in psutil.Process(self._process.pid).children(recursive=True):
                each.kill()
            self._process.kill()
            self._process.wait()
            raise TimeoutError(f"not within {seconds} s")
        return self._process.stdout.readline().strip()

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None


_there: dict[object, _Preloaded] = {}


def _preloaded(key: object, make: Callable[[], _Preloaded]) -> _Preloaded:
    if key not in _there or _there[key].ended:
        _there[key] = make()
    return _there[key]


def _rattail() -> _Preloaded:
    python = str(environments.base("rattail") / "bin" / "python")
    return _preloaded("rattail", lambda: _Preloaded([python, "-c"], _RATTAIL, environment()))


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
    return _rattail().run(_call(env_dir, program, arguments), scratch=scratch, seconds=seconds)


class Started:
    """The same, started: a process that can be waited for or killed."""

    def __init__(self, env_dir: Path, program: str, arguments: Sequence[str], *, scratch: Path) -> None:
        self._files = _files(scratch)
        self.pid = _rattail().start(_call(env_dir, program, arguments), self._files)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, seconds: float) -> tuple[str, str]:
        """What it has printed by its end, on both streams."""
        eventually(lambda: psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE, seconds)
        return _printed(self._files)


def _call(env_dir: Path, program: str, arguments: Sequence[str]) -> dict[str, Any]:
    return {
        "prefix": str(env_dir),
        "packages": str(environments.site_packages(env_dir)),
        "program": program,
        "arguments": ["-c", *arguments],
        "environment": environment(),
        "cwd": os.getcwd(),
    }


def _files(scratch: Path) -> dict[str, str]:
    """Where a process is to write what it prints."""
    scratch.mkdir(exist_ok=True)
    files = {}
    for stream in ("out", "err"):
        descriptor, files[stream] = tempfile.mkstemp(dir=scratch)
        os.close(descriptor)
    return files


def _printed(files: Mapping[str, str]) -> tuple[str, str]:
    return Path(files["out"]).read_text(), Path(files["err"]).read_text()


def ansible(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], scratch: Path, seconds: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run ``command``, a program of Ansible's and its arguments, in a process that has Ansible loaded.

    The settings of ``environment`` are for Ansible to read as it is loaded: it is loaded once for each set of them.
    """
    settings = {k: v for k, v in environment.items() if k.startswith("ANSIBLE_") and k != "ANSIBLE_CONFIG"}
    compiled = {k: v for k, v in environment.items() if k != "PYTHONDONTWRITEBYTECODE"}
    process = _preloaded(
        frozenset(settings.items()), lambda: _Preloaded([sys.executable, "-P", "-c"], _ANSIBLE, compiled)
    )
    call = {"program": _RUN_FILE, "arguments": list(command), "environment": dict(environment), "cwd": str(cwd)}
    return process.run(call, scratch=scratch, seconds=seconds)


def environment() -> dict[str, str]:
    """The caller's variables, but no PG* or RATTAIL_*."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PG", "RATTAIL", "WUTTA"))}
