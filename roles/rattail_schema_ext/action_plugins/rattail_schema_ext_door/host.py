# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What all doors do alike: run a module on the host, as whom, and hear what it says."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from .believed import MOST, printable

# The host's own Python, for whoever is not the environment's owner.
SYSTEM_PYTHON = "python3"


class Host(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """An action that hears a host as it hears a stranger. What it returns is never what a module returned as it was.

    Ansible takes much from the result of any module: facts, which outrank the role's variables, and new hosts.
    """

    _requires_connection = True

    def _execute(self, module: str, arguments: Mapping[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """What a module says; where it cannot be run, or says nothing that can be read, why."""
        try:
            with _no_collection():
                said = self._execute_module(module_name=module, module_args=dict(arguments), task_vars=variables)
            return dict(said)
        except AnsibleConnectionFailure:
            raise
        except AnsibleError as error:  # the user could not be become
            return {"failed": True, "msg": str(error)}
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            # Ansible stumbled over it.
            return {"failed": True, "msg": f"it said what is no result of a module ({type(error).__name__}: {error})"}

    def _low_level_execute_command(self, *args: Any, **options: Any) -> dict[str, Any]:
        """What a command printed, without what a terminal obeys: Ansible shows some of it as it came.

        No JSON has such characters, so a result stays as it was.
        """
        said: dict[str, Any] = super()._low_level_execute_command(*args, **options)
        for stream in ("stdout", "stderr"):
            if len(said[stream]) > MOST:
                said.update(rc=1, stdout="", stderr=f"It said more than {MOST} characters.")
            said[stream] = printable(said[stream])
            said[f"{stream}_lines"] = said[stream].splitlines()
        return said

    def _play_user(self) -> str:
        """Whom the play becomes; empty where it becomes nobody."""
        top = self._task
        while getattr(top, "_parent", None) is not None:
            top = top._parent
        return (top._play.become_user or "root") if self._connection.become is not None else ""

    def _become(self, user: str) -> None:
        """Have what follows run as another user, where the play becomes somebody at all."""
        become = self._connection.become
        if become is not None:
            self._leave_files()
            become.set_option("become_user", user)
            # What it waited for the first time does not come where nobody has to be become.
            become.prompt = become.success = ""

    def _leave_files(self) -> None:
        """Have what follows make a directory of its own for its files: another user's it could not read."""
        shell = self._connection._shell
        if shell.tmpdir:
            self._remove_tmp_path(shell.tmpdir, force=True)
        shell.tmpdir = None


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without garbage collection, which takes a third of the time that Ansible packs a module in, and finds nothing.

    To see what a file imports, Ansible parses it, and each of the many nodes counts as something to be collected.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
