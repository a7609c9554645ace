# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write what a run of Ansible did to a file, one JSON object a line, at no cost to the run."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: recorder
type: notification
short_description: record tasks and their results for the tests
description: Appends to the file that RECORDER_FILE names.
requirements: []
"""


_PARTS = ("task", "host", "result")


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible-core has no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "recorder"
    CALLBACK_NEEDS_ENABLED = True

    def _write(self, **event: Any) -> None:
        with open(os.environ["RECORDER_FILE"], "a", encoding="utf-8") as file:
            file.write(json.dumps(event, default=str) + "\n")

    def _record(self, status: str, result: Any) -> None:
        # before ansible-core 2.19 only so
        task, host, said = (getattr(result, name, None) or getattr(result, f"_{name}") for name in _PARTS)
        self._write(
            host=host.get_name(),
            name=task.get_name() if hasattr(task, "get_name") else result.task_name,
            action=getattr(task, "resolved_action", None) or task.action,
            # from ansible-core 2.21 on with what of the result is registered
            register=next(iter(task.register), None) if isinstance(task.register, dict) else task.register,
            status=status,
            result=said,
        )

    def v2_runner_on_ok(self, result: Any) -> None:
        self._record("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._record("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._record("unreachable", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._record("skipped", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        for host in sorted(stats.processed):
            self._write(recap=host, **stats.summarize(host))
