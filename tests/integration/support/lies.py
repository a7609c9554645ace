"""Lies that an environment's Python can tell, and an environment that tells them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# It answers with the files `replies/1`, `replies/2` and so on, then with the last one over and over.
_PYTHON = """\
#!/bin/sh
cat >/dev/null
id -un >>{root}/calls/log
n=$(wc -l <{root}/calls/log)
[ -e {root}/replies/$n ] || n=last
cat {root}/replies/$n
"""


def make_environment(root: Path, at: str = "") -> None:
    """Make an environment below ``root``, which is to lie at another place where ``at`` names one."""
    for name in ("env/bin", "env/app", "calls", "replies"):
        (root / name).mkdir(parents=True)
    python = root / "env" / "bin" / "python"
    python.write_text(_PYTHON.format(root=at or root))
    python.chmod(0o755)
    (root / "env" / "app" / "rattail.conf").write_text("[rattail]\n")


def will_say(root: Path, *replies: Any) -> None:
    """Have the environment's Python answer with these, text as it is and all else as JSON."""
    shutil.rmtree(root / "replies")
    (root / "replies").mkdir()
    (root / "calls" / "log").unlink(missing_ok=True)
    for number, reply in enumerate(replies, start=1):
        text = reply if isinstance(reply, str) else json.dumps(reply)
        for name in (str(number), "last"):
            (root / "replies" / name).write_text(text)


LOCATIONS = ["poser.db:alembic/versions", "rattail.db:alembic/versions"]
SECTION = {
    "script_location": "rattail.db:alembic",
    "version_locations": LOCATIONS,
    "separator_name": "path_separator",
    "separator": "space",
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NEW = "0123456789ab"


def says(answer: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """What a module returns that has something to do and found nothing wrong."""
    return {"answer": {"state": "behind", "alembic_version": "1.19.2", "todo": ["upgrade"], **(answer or {})}, **more}


def written(path: Any, revision: Any = NEW, **more: Any) -> dict[str, Any]:
    """What the module returns that wrote a revision."""
    return says({"todo": [], "revision": {"revision": revision, "path": path}}, **more)


def config(**section: Any) -> dict[str, Any]:
    """What a look returns that wants the section in the config file."""
    return says({"todo": ["config"], "config": {"owner": "root", "section": {**SECTION, **section}}})


EVERY_PHASE: dict[str, Any] = {
    "todo": ["source", "install", "config", "versions", "upgrade"],
    "source": {"before": COMMIT, "after": COMMIT, "wanted": COMMIT, "version": "main", "branch": "main"},
    "config": {"section": SECTION},
    "versions": "/nowhere",
}

# Beside an answer: what Ansible itself takes from a module's result.
DEEDS: list[dict[str, Any]] = [
    {"ansible_facts": {"rattail_schema_ext_user": "root"}},
    {"ansible_facts": {"ansible_become_user": "root", "ansible_python_interpreter": "/bin/sh"}},
    {"ansible_facts": {"__rattail_schema_ext_python": "/bin/sh", "__rattail_schema_ext_user_tasks": True}},
    {"add_host": {"host_name": "store", "groups": ["rattail"], "host_vars": {"rattail_schema_ext_user": "root"}}},
    {"add_group": "rattail", "_ansible_no_log": True, "_ansible_delegated_vars": {"ansible_host": "x"}},
]

# Sections that would write more than locations, or other options.
SECTIONS: list[dict[str, Any]] = [
    {"script_location": "x\n  [Service]\n  ExecStartPre=/tmp/evil"},
    {"version_locations": [*LOCATIONS, "x\n[Service]\nExecStartPre=/tmp/evil"]},
    {"separator_name": "ExecStartPre", "separator": "/tmp/evil"},
    {"other_separator_name": "ExecStartPre", "other_separator": "space"},
]
# Locations that nobody asked for, of which only the config file's owner is to have any.
STRANGE: list[dict[str, Any]] = [
    {"version_locations": ["/tmp/evil", *LOCATIONS]},
    {"version_locations": ["poser.db:alembic/versions", "%(here)s/evil", "rattail.db:alembic/versions"]},
    {"version_locations": [*LOCATIONS, "evil.db:alembic/versions"], "separator": "newline"},
    {"script_location": "evil:alembic"},
]

ESCAPES = "\x1b[2J\x1b[1;1H\x9b31m\x07\u202e"
# What a terminal obeys, and what turns the direction of writing.
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

NO_ANSWERS: list[Any] = [
    "[1, 2]",
    "no JSON" + ESCAPES,
    "",
    "[" * 100_000,
    '{"answer": ' + "[" * 100_000,
    "null",
    {"answer": []},
    {"answer": "current"},
    {"answer": None, "msg": [ESCAPES]},
    {"failed": True, "msg": f"no{ESCAPES}\nTASK [fine]", "exception": ESCAPES, "warnings": [ESCAPES]},
    {"ansible_facts": {"discovered_interpreter_python": "/bin/sh"}},
    {"module_stderr": ESCAPES, "rc": 1, "stderr": {"a": 1}},
    '{"answer": {"msg": "' + "x" * 50_000_000 + '"}}',
    says({"state": "fine" + ESCAPES}),
    '{"answer": {"retries": ' + "9" * 10_000 + "}}",
]
