"""Where nothing is to be done, neither Alembic nor the app is imported."""

from __future__ import annotations

import getpass
import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from support.places import ROLE
from support.server import Server

_LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from rattail_alembic.observe.look import look
from rattail_alembic.observe.report import answer
from rattail_alembic.observe.request import Request
seen = answer(look(Request.from_parameters(json.loads(sys.argv[2])))).as_result()
heavy = {"alembic", "sqlalchemy", "rattail", "wuttjamaican", "poser"}
imported = sorted(heavy & {name.partition(".")[0] for name in sys.modules})
print(json.dumps({"answer": seen, "imported": imported}))
"""


def look(server: Server) -> dict[str, Any]:
    """What a look in the environment's own Python answers, and which of the heavy packages it imported."""
    parameters = {
        "app": server.app,
        "env_dir": str(server.env_dir),
        "config_file": str(server.config),
        "source_dir": str(server.source_dir),
        "source_repo": str(server.vars["rattail_schema_ext_source_repo"]),
        "source_version": "main",
        "user": getpass.getuser(),
    }
    command = [str(server.python), "-c", _LOOK, str(ROLE / "module_utils"), json.dumps(parameters)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def test_nothing_to_do_is_told_without_alembic_and_without_the_app(deployed: Server) -> None:
    seen = look(deployed)
    assert seen["answer"]["state"] == "current" and seen["answer"]["fast_path"]
    assert seen["answer"]["todo"] == []
    assert seen["imported"] == []
    assert set(seen["answer"]["current_before"]) == deployed.current()


@pytest.mark.parametrize("content", ["core", "empty"])
def test_the_order_of_what_is_pending_is_alembics_own(make_server: Callable[..., Server], content: str) -> None:
    server = make_server(content=content)
    server.deploy()
    seen = look(server)
    assert "rattail" not in seen["imported"] and "poser" not in seen["imported"]
    order = [each["revision"] for each in seen["answer"]["pending"]]
    script = (
        "import sys; from alembic.config import Config; from alembic.script import ScriptDirectory;"
        f"rows = {tuple(seen['answer']['current_before'])!r};"
        f"script = ScriptDirectory.from_config(Config({str(server.config)!r}));"
        "print(*[step.revision.revision for step in script._upgrade_revs('heads', rows)])"
    )
    done = subprocess.run([str(server.python), "-c", script], capture_output=True, text=True, check=True)
    assert order == done.stdout.split()
    assert seen["answer"]["state"] == {"core": "behind", "empty": "empty"}[content]
