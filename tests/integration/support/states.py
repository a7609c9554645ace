"""A server as it is, byte by byte and row by row, and runs that are held against it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from typing import Any

from .runs import Run
from .server import HOST, Server

_COLUMNS = """
select table_name, column_name, data_type from information_schema.columns
where table_schema not in ('pg_catalog', 'information_schema', 'rattail_schema_ext') order by 1, 2
"""


def state(server: Server) -> dict[str, Any]:
    """Everything that a run could have changed.

    Each file and directory below the server's root, the checkout's ``.git`` and the repository among
    them; the columns of all tables; the history; the version rows, with the transactions that wrote them.
    """
    found: dict[str, Any] = {}
    for directory, directories, files in os.walk(server.root):
        # what the tests and Ansible itself leave there, and what Python may write at any time
        hidden = {"__pycache__", "ansible", "hosts.json", "playbook.json"}
        directories[:] = [name for name in directories if name not in hidden]
        for name in {*directories, *files} - hidden:
            path = os.path.join(directory, name)
            about = os.lstat(path)
            content = os.readlink(path) if os.path.islink(path) else ""
            if os.path.isfile(path) and not content:
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            found[os.path.relpath(path, server.root)] = (about.st_mode, about.st_uid, content)
    found["columns"] = server.sql(_COLUMNS)
    if server.sql("select 1 from pg_namespace where nspname = 'rattail_schema_ext'"):
        found["env/app/schema-history"] = server.sql("select entry from rattail_schema_ext.run")
    if server.database.tables("alembic\\_version"):
        found["rows"] = sorted(server.sql("select version_num, xmin::text from alembic_version"))
    return found


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The names of what differs between two states."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def left_by_a_run(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The same for a run that came as far as the database: but for its line in the history."""
    return [name for name in difference(before, after) if not name.startswith("env/app/schema-history")]


def check(server: Server, vars: Mapping[str, Any] | None = None, *, rc: int = 0, **options: Any) -> Run:
    """A run in check mode. It ends with ``rc``, and nothing is changed by it."""
    before = state(server)
    run = server.run_role(vars, check=True, **options)
    assert run.rc == rc, run.output
    assert difference(before, state(server)) == [], run.output
    return run


def settled(server: Server, vars: Mapping[str, Any] | None = None, **options: Any) -> Run:
    """A run that finds nothing to do, by one module on the host."""
    before = state(server)
    run = server.run_role(vars, **options)
    assert run.rc == 0, run.output
    assert (run.recaps[HOST].changed, [task.action for task in run.executions]) == (0, ["rattail_alembic_info"]), (
        run.output
    )
    assert run.result["state"] == "current", run.output
    assert difference(before, state(server)) == [], run.output
    return run


def brought(server: Server, vars: Mapping[str, Any] | None = None, **options: Any) -> Run:
    """A run that changes something: announced in check mode, done for real, and not done again."""
    promised = check(server, vars, **options)
    assert promised.recaps[HOST].changed > 0, promised.output
    run = server.run_role(vars, **options)
    assert (run.rc, run.recaps[HOST].changed) == (0, promised.recaps[HOST].changed), run.output
    assert run.result["todo"] == promised.result["todo"], run.output
    announced = [each["revision"] for each in promised.result["pending"]]
    assert [each["revision"] for each in run.result["applied"]] == announced, run.output
    settled(server, vars, **options)
    return run


def refused(server: Server, *words: str, vars: Mapping[str, Any] | None = None, **options: Any) -> str:
    """A run that is refused, in check mode and for real: nothing is touched.

    The message, alike in both, is a sentence of cause and one of remedy; it holds ``words``.
    """
    before = state(server)
    messages = []
    for checking in (True, False):
        run = server.run_role(vars, check=checking, **options)
        assert (run.rc, run.recap.failed) == (2, 1), run.output
        assert "Traceback" not in run.output, run.output
        assert difference(before, state(server)) == [], run.output
        messages.append(run.message)
    assert messages[0] == messages[1]
    sentences = re.split(r"(?<=\.) (?=[A-Z`])", messages[0])
    assert len(sentences) == 2, sentences
    for word in words:
        assert word in messages[0], messages[0]
    return messages[0]
