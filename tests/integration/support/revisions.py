"""Writing revisions, without Ansible around: what the module does, in the app's environment."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from . import preloaded
from .places import ROLE
from .server import Server

_WRITE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from rattail_alembic.authoring import write
from rattail_alembic.observe.request import Request

parameters, check_mode = json.loads(sys.argv[2])
answer = write.run(Request.from_parameters(parameters), check_mode=check_mode)
print(json.dumps({**answer.as_result(), "failure": answer.msg}))
"""


def write(
    server: Server, message: str = "change the models", *, check_mode: bool = False, fresh: bool = False, **options: Any
) -> dict[str, Any]:
    """The module's result, with the key ``failure``; ``options`` are its parameters. No review unless asked for.

    ``fresh`` is for an app that changes core's own models: what a preloaded process has made of them, it does not see.
    """
    own = {name: options.pop(name) for name in ("review", "review_dir", "merge") if name in options}
    wish = {"revision_message": message, "revision_review": "false"}
    wish.update({f"revision_{name}": value for name, value in own.items()})
    arguments = [str(ROLE / "module_utils"), json.dumps([server.parameters({**options, **wish}), check_mode])]
    if server.core == "rattail" and not fresh:
        done = preloaded.run(server.env_dir, _WRITE, arguments, scratch=server.root / "ansible")
    else:
        command = [str(server.python), "-c", _WRITE, *arguments]
        environment = preloaded.environment()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def refused(server: Server, *words: str, message: str = "change the models", **options: Any) -> str:
    """What is said where nothing is written, in check mode and for real."""
    before = scripts(server)
    failures = []
    for check_mode in (True, False):
        answer = write(server, message, check_mode=check_mode, **options)
        assert (answer["changed"], scripts(server)) == (False, before), answer
        failures.append(str(answer["failure"]))
    assert failures[0] == failures[1]
    for word in words:
        assert word in failures[0], failures[0]
    return failures[0]


def scripts(server: Server) -> dict[str, str]:
    """The revision scripts in the checkout: name → text."""
    return {path.name: path.read_text() for path in sorted(server.versions.glob("*.py"))}


def script(answer: dict[str, Any]) -> str:
    """The text of the script that was written."""
    return Path(answer["revision"]["path"]).read_text()


def edit(server: Server, file: str, old: str, new: str) -> None:
    """Replace ``old``, which is there once, in a file of the app's package in the checkout."""
    path = server.source_dir / server.app / file
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} is in {file} {text.count(old)} times"
    path.write_text(text.replace(old, new))


def add_model(server: Server, text: str, name: str = "more") -> None:
    """A module of models more in the checkout, with ``sa``, ``orm`` and ``model`` at hand."""
    models = server.source_dir / server.app / "db" / "model"
    head = "import sqlalchemy as sa\nfrom sqlalchemy import orm\nfrom sqlalchemy.dialects import postgresql\n"
    (models / f"{name}.py").write_text(f"{head}from rattail.db import model\n\n\n{text}")
    with (models / "__init__.py").open("a") as file:
        file.write(f"from .{name} import *\n")
