"""An upgrade, a revert or a baseline, as a process of its own in the app's environment.

It is the very call that the module makes, without Ansible around. Of a run that nobody kills the process has Rattail
loaded already.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from . import preloaded
from .places import ROLE
from .server import Server

_RUN = """
import json, sys
sys.path.insert(0, sys.argv[1])
from rattail_alembic.change import baseline, revert, upgrade
from rattail_alembic.observe.request import Request

def once(parameters):
    told = []
    what, parameters = json.loads(parameters)
    action = {"upgrade": upgrade, "revert": revert, "baseline": baseline}[what]
    answer = action.run(Request.from_parameters(parameters), log=told.append)
    print(json.dumps({**answer.as_result(), "failure": answer.msg, "told": told}), flush=True)
"""
_ONCE = f"{_RUN}\nonce(sys.argv[2])\n"
# What takes most of the time is what Rattail's env.py does first, which each child has from its parent here.
_UPGRADES = f"""{_RUN}
from rattail.config import make_config
from rattail.db.config import configure_versioning
from sqlalchemy.orm import configure_mappers
config = make_config(sys.argv[2], usedb=False, versioning=False)
configure_versioning(config, force=True)
config.get_app().model
configure_mappers()
for line in sys.stdin:
    once(line)
"""
_UPGRADES_ON_WUTTA = f"{_RUN}\nimport wuttjamaican.db.model, alembic.command\nfor line in sys.stdin:\n    once(line)\n"


class Upgrade:
    """An upgrade that was started, and can be waited for or killed; ``options`` are the module's parameters."""

    def __init__(self, server: Server, **options: Any) -> None:
        arguments = [str(ROLE / "module_utils"), json.dumps(["upgrade", server.parameters(options)])]
        self.process = preloaded.Started(server.env_dir, _ONCE, arguments, scratch=server.root / "ansible")

    def finish(self, seconds: float = 120) -> dict[str, Any]:
        """Its result, with the keys ``failure`` and ``told``."""
        return _answer(*self.process.wait(seconds))


def upgrade(server: Server, **options: Any) -> dict[str, Any]:
    """Run an upgrade to its end."""
    return _run(server, "upgrade", options)


def revert(server: Server, to: str, **options: Any) -> dict[str, Any]:
    """Undo the app's revisions after ``to``, confirmed; the result has the keys ``failure`` and ``told``."""
    return _run(server, "revert", {**_confirmed(server, to), **options})


def _confirmed(server: Server, to: str) -> dict[str, Any]:
    return {"backup": "full", "revert_to": to, "revert_confirm": f"{server.app}@{to}"}


def baseline(server: Server, *revisions: str, **options: Any) -> dict[str, Any]:
    """Write version rows; the result has the keys ``failure`` and ``told``."""
    return _run(server, "baseline", {"baseline_revision": list(revisions), **options})


class Upgrades:
    """Upgrades and reverts of one server, one after another, in one process that has imported its core already."""

    def __init__(self, server: Server) -> None:
        self._server = server
        program = _UPGRADES if server.core == "rattail" else _UPGRADES_ON_WUTTA
        self._process = _start(server, program, str(server.config))

    def __call__(self, **options: Any) -> dict[str, Any]:
        """Run an upgrade to its end."""
        return self._run("upgrade", options)

    def revert(self, to: str, **options: Any) -> dict[str, Any]:
        """Undo the app's revisions after ``to``, as :func:`revert` does."""
        return self._run("revert", {**_confirmed(self._server, to), **options})

    def _run(self, what: str, options: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._process.stdin.write(json.dumps([what, self._server.parameters(options)]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._process.stderr.read()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.communicate()


def _run(server: Server, what: str, options: Mapping[str, Any]) -> dict[str, Any]:
    argument = json.dumps([what, server.parameters(options)])
    if server.core != "rattail":
        out, err = _start(server, _ONCE, argument).communicate(timeout=120)
    else:
        arguments = [str(ROLE / "module_utils"), argument]
        done = preloaded.run(server.env_dir, _ONCE, arguments, scratch=server.root / "ansible")
        out, err = done.stdout, done.stderr
    return _answer(out, err)


def _answer(out: str, err: str) -> dict[str, Any]:
    assert out, err
    answer: dict[str, Any] = json.loads(out)
    return answer


def _start(server: Server, program: str, argument: str) -> subprocess.Popen[str]:
    command = [str(server.python), "-c", program, str(ROLE / "module_utils"), argument]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=preloaded.environment(), stdin=pipe, stdout=pipe, stderr=pipe, text=True)
