"""An upgrade, a revert or a baseline, as a process of its own in the app's environment.

It is what the modules do, without Ansible around. Of a run that nobody kills the process has Rattail loaded already.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

from . import preloaded
from .places import ROLE
from .server import Server

_ONCE = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
from rattail_alembic.change.upgrade import apply
from rattail_alembic.observe.look import look
from rattail_alembic.observe.answer import result
from rattail_alembic.observe.request import Request

def once(parameters):
    request = Request.from_parameters(json.loads(parameters))
    before = look(request)
    answer = result(before)
    failure = " ".join(answer["refusals"])
    told = []
    if answer["pending"] and not failure:
        failure = apply(request, before, answer, told.append)
    print(json.dumps({**answer, "failure": failure, "told": told}), flush=True)
"""
_UPGRADE = f"{_ONCE}\nonce(sys.argv[2])\n"
# What takes most of the time is what Rattail's env.py does first, which each child has from its parent here.
_UPGRADES = f"""{_ONCE}
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

_OTHERS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from rattail_alembic.change import baseline
from rattail_alembic.change import revert
from rattail_alembic.observe.look import look
from rattail_alembic.problem import Refused
from rattail_alembic.observe.answer import result
from rattail_alembic.observe.request import Request

what, *arguments, parameters = json.loads(sys.argv[2])
request = Request.from_parameters(parameters)
if what == "baseline":
    request = baseline.without_upgrade(request)
before = look(request)
answer = {**result(before), {"revert": "reverted", "baseline": "stamped"}[what]: []}
told = []
failure = " ".join({"revert": revert, "baseline": baseline}[what].in_the_way(before))
if not failure:
    try:
        if what == "revert":
            undo = revert.plan(before, *arguments)
        else:
            rows = baseline.plan(before, *arguments)
            if rows:
                baseline.look_for_evidence(before, rows)
        answer["warnings"] = result(before)["warnings"]
        if what == "revert":
            failure = revert.revert(request, before, undo, answer, told.append)
        elif rows:
            failure = baseline.stamp(request, before, rows, answer, told.append)
    except Refused as refused:
        failure = str(refused.problem)
print(json.dumps({**answer, "failure": failure, "told": told}))
"""


class Upgrade:
    """An upgrade that was started, and can be waited for or killed; ``options`` are the module's parameters."""

    def __init__(self, server: Server, **options: Any) -> None:
        self.process = _start(server, _UPGRADE, json.dumps(server.parameters(options)))

    def finish(self, seconds: float = 120) -> dict[str, Any]:
        """Its result, with the keys ``failure`` and ``told``."""
        return _finish(self.process, seconds)


def upgrade(server: Server, **options: Any) -> dict[str, Any]:
    """Run an upgrade to its end."""
    return _run(server, _UPGRADE, json.dumps(server.parameters(options)))


def revert(server: Server, to: str, **options: Any) -> dict[str, Any]:
    """Undo the app's revisions after ``to``, confirmed; the result has the keys ``failure`` and ``told``."""
    call = ["revert", to, f"{server.app}@{to}", server.parameters({"backup": "full", **options})]
    return _run(server, _OTHERS, json.dumps(call))


def baseline(server: Server, *revisions: str, **options: Any) -> dict[str, Any]:
    """Write version rows; the result has the keys ``failure`` and ``told``."""
    return _run(server, _OTHERS, json.dumps(["baseline", revisions, server.parameters(options)]))


class Upgrades:
    """Upgrades of one server, one after another, in one process that has imported Rattail already."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._process = _start(server, _UPGRADES, str(server.config))

    def __call__(self, **options: Any) -> dict[str, Any]:
        """Run an upgrade to its end."""
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._process.stdin.write(json.dumps(self._server.parameters(options)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._process.stderr.read()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.communicate()


def _finish(process: subprocess.Popen[str], seconds: float = 120) -> dict[str, Any]:
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, err
    answer: dict[str, Any] = json.loads(out)
    return answer


def _run(server: Server, program: str, argument: str) -> dict[str, Any]:
    if server.core != "rattail":
        return _finish(_start(server, program, argument))
    arguments = [str(ROLE / "module_utils"), argument]
    done = preloaded.run(server.env_dir, program, arguments, scratch=server.root / "ansible")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _start(server: Server, program: str, argument: str) -> subprocess.Popen[str]:
    command = [str(server.python), "-c", program, str(ROLE / "module_utils"), argument]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=preloaded.environment(), stdin=pipe, stdout=pipe, stderr=pipe, text=True)
