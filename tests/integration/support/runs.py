"""Running Ansible, and what a run did."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import preloaded
from .places import BIN, ROLE, ROOT

# of these nothing reaches the host: they are done where ansible-playbook runs
_ON_CONTROLLER = {
    "add_host", "assert", "debug", "fail", "group_by", "import_playbook", "import_role", "import_tasks",
    "include_role", "include_tasks", "include_vars", "meta", "pause", "set_fact", "set_stats",
    "validate_argument_spec",
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A task on a host, finished. ``status``: ok, failed, ignored, unreachable or skipped."""

    host: str
    name: str
    action: str
    register: str | None
    status: str
    result: dict[str, Any]

    @property
    def changed(self) -> bool:
        return bool(self.result.get("changed"))

    @property
    def on_host(self) -> bool:
        """Whether a module was executed on the host: before the role's own, variables are judged on the controller."""
        judged = self.action.startswith("rattail_alembic") and not {"answer", "path"} & self.result.keys()
        return self.status != "skipped" and self.action.rpartition(".")[2] not in _ON_CONTROLLER and not judged


@dataclass(frozen=True)
class Recap:
    """A host's line of the play recap; rescued tasks are not failures."""

    ok: int = 0
    changed: int = 0
    failed: int = 0
    unreachable: int = 0
    skipped: int = 0
    rescued: int = 0
    ignored: int = 0


@dataclass(frozen=True)
class Run:
    """What one run of Ansible did."""

    rc: int
    stdout: str
    stderr: str
    tasks: list[Task] = field(default_factory=list)
    recaps: dict[str, Recap] = field(default_factory=dict)

    @property
    def recap(self) -> Recap:
        """The recap of the only host there was, localhost aside; all zero where none was reached."""
        hosts = [host for host in self.recaps if host != "localhost"]
        assert len(hosts) < 2, f"several hosts: {hosts}"
        return self.recaps[hosts[0]] if hosts else Recap()

    @property
    def output(self) -> str:
        """Everything a person would have seen."""
        return self.stdout + self.stderr

    def facts(self, host: str | None = None) -> dict[str, Any]:
        """The facts that were set, and the results that were registered, by name; the last of each."""
        facts: dict[str, Any] = {}
        for task in self.tasks:
            if host in (None, task.host) and task.status != "skipped":
                if task.register:
                    facts[task.register] = task.result
                facts.update(task.result.get("ansible_facts") or {})
        return facts

    @property
    def result(self) -> dict[str, Any]:
        """``rattail_schema_ext_result``; empty where the run did not set it."""
        return dict(self.facts().get("rattail_schema_ext_result") or {})

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """``rattail_schema_ext_results``, by app."""
        return dict(self.facts().get("rattail_schema_ext_results") or {})

    @property
    def message(self) -> str:
        """What the failed task said; empty where none failed."""
        failed = [task.result for task in self.tasks if task.status in ("failed", "unreachable")]
        return str(failed[-1].get("msg", "")) if failed else ""

    @property
    def executions(self) -> list[Task]:
        """The tasks that executed a module on a host."""
        return [task for task in self.tasks if task.on_host]


def ansible(
    program: str,
    args: Sequence[str],
    *,
    cwd: Path,
    scratch: Path,
    env: Mapping[str, str] | None = None,
    controller: Path = BIN,
) -> Run:
    """Run ``ansible-playbook`` or ``ansible`` with this checkout's roles, and record what it does.

    It runs with none of the user's Ansible settings; ``scratch`` takes its temporary files, and ``controller`` is where
    the programs are.
    """
    record, environment = _prepared(scratch, env)
    command = [str(controller / program), *args]
    if set(env or {}) <= set(MODULE_PATHS) and controller == BIN:
        done = preloaded.ansible(command, cwd=cwd, environment=environment, scratch=scratch)
    else:
        done = subprocess.run(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    events = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    return Run(
        done.returncode,
        done.stdout,
        done.stderr,
        [Task(**event) for event in events if "recap" not in event],
        {event.pop("recap"): _recap(event) for event in events if "recap" in event},
    )


def start(program: str, args: Sequence[str], *, cwd: Path, scratch: Path) -> subprocess.Popen[bytes]:
    """The same, started and left alone; nothing is recorded."""
    _, environment = _prepared(scratch, None)
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(
        [str(BIN / program), *args], cwd=cwd, env=environment, stdin=nowhere, stdout=nowhere, stderr=nowhere
    )


def _prepared(scratch: Path, env: Mapping[str, str] | None) -> tuple[Path, dict[str, str]]:
    scratch.mkdir(parents=True, exist_ok=True)
    record = scratch / "record.jsonl"
    record.unlink(missing_ok=True)
    config = scratch / "ansible.cfg"
    config.write_text(
        f"[defaults]\nhome = {scratch}/ansible\nremote_tmp = {scratch}/remote\nroles_path = {ROOT}/roles\n"
        "interpreter_python = auto_silent\nretry_files_enabled = false\nlocalhost_warning = false\n"
        f"callback_plugins = {Path(__file__).parent}/callback_plugins\ncallbacks_enabled = recorder\n"
        "bin_ansible_callbacks = true\ncallback_result_format = yaml\n"
        # else it looks a thousand times a second whether a task has ended
        "internal_poll_interval = 0.01\n"
        "[connection]\npipelining = true\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "PG", "RATTAIL", "WUTTA"))}
    environment |= {
        "ANSIBLE_CONFIG": str(config),
        "ANSIBLE_NOCOLOR": "1",
        "RECORDER_FILE": str(record),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        **(env or {}),
    }
    return record, environment


def _recap(counts: Mapping[str, int]) -> Recap:
    return Recap(
        counts["ok"], counts["changed"], counts["failures"], counts["unreachable"], counts["skipped"],
        counts["rescued"], counts["ignored"],
    )  # fmt: skip


MODULE_PATHS = {
    "ANSIBLE_LIBRARY": str(ROLE / "library"),
    "ANSIBLE_MODULE_UTILS": str(ROLE / "module_utils"),
    "ANSIBLE_ACTION_PLUGINS": str(ROLE / "action_plugins"),
}
