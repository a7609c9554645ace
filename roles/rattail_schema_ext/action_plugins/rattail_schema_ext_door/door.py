# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What stands before each module: parameters from variables, an answer from what a host sent."""

from __future__ import annotations

import gc
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.rattail_alembic.observe.answer import Answer, Diff
from ansible.module_utils.rattail_alembic.problem import mask
from ansible.plugins.action import ActionBase

from . import words
from .answers import after_change, after_look, built
from .variables import judge

# The host's own Python, for when the environment's cannot be started.
_SYSTEM_PYTHON = "python3"


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


class _Door(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Stands before a module that returns an ``Answer``.

    A task gives it the answer ``so_far``, if there is one, and gets it back with what the module said.
    """

    _requires_connection = True
    # What tasks tell the door, and no module.
    _own: tuple[str, ...] = ("so_far",)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Judge the variables, run the module, return the answer."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = {name: value for name, value in self._task.args.items() if name not in self._own}
        if self._task._role is not None:
            found, wrong = judge(self._entry_point(), variables, self._templar.template)
            if wrong:
                return {"failed": True, "msg": " ".join(wrong)}
            arguments = {**found, **arguments}
        said = self._ask(arguments, variables)
        now = answer = built(Answer, said.get("answer"))
        if self._task.args.get("so_far"):
            answer = built(Answer, self._task.args["so_far"])
            if "answer" in said:
                answer = self._put_together(answer, now)
        answer.msg = self._message(answer, now, variables) if "answer" in said else words.of_module(said)
        return self._result(said, answer)

    def _result(self, said: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
        """What Ansible gets."""
        result = {"changed": answer.changed, "warnings": answer.warnings, "answer": answer.as_result()}
        diff = vars(built(Diff, said.get("diff")))
        if answer.changed and any(diff.values()):
            result["diff"] = diff
        if said.get("failed"):
            exception = said.get("exception")
            result.update(failed=True, msg=answer.msg, exception=mask(exception) if isinstance(exception, str) else "")
        return result

    @abstractmethod
    def _entry_point(self) -> str:
        """The entry point whose variables are judged."""

    @abstractmethod
    def _put_together(self, before: Answer, now: Answer) -> Answer:
        """The answer so far with what the module said now."""

    def _message(self, answer: Answer, _now: Answer, _variables: Mapping[str, Any]) -> str:
        """Why nothing is done, or why the run failed."""
        return answer.msg

    def _ask(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """What the module says."""
        return self._execute(self._task.action, arguments, variables)

    def _execute(self, module: str, arguments: Mapping[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        try:
            with _no_collection():
                said = self._execute_module(module_name=module, module_args=dict(arguments), task_vars=variables)
        except AnsibleConnectionFailure:
            raise
        except AnsibleError as error:  # the user could not be become
            return {"msg": str(error)}
        return dict(said)


class LookDoor(_Door):
    """Before ``rattail_alembic_info``.

    ``entry_point`` is whose variables are judged. ``settled`` says that nothing is to differ any more. ``failed`` is
    the result of a task that failed, after which it is looked where things are.
    """

    _own = ("so_far", "entry_point", "settled", "failed")

    def _entry_point(self) -> str:
        return str(self._task.args.get("entry_point", "main"))

    def _ask(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """What the module says; where the environment's Python cannot be started, what is seen from outside of it."""
        said = super()._ask(arguments, variables)
        if said.get("deeper"):
            # It takes the app's own Alembic, or what only a change needs: the module that has it looks.
            said = self._execute("rattail_alembic", {**arguments, "command": "look"}, variables)
        if "answer" in said:
            return said
        outside = self._execute(self._task.action, arguments, self._from_outside(variables))
        return outside if "answer" in outside else {**said, "failed": True}

    def _from_outside(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Have what follows run as whoever the play is, with the host's own Python; returns the variables for it."""
        become = self._connection.become
        if become is not None:
            top = self._task
            while getattr(top, "_parent", None) is not None:
                top = top._parent
            become.set_option("become_user", top._play.become_user or "root")
            # What it waited for the first time does not come where nobody has to be become.
            become.prompt = become.success = ""
        return {**variables, "ansible_python_interpreter": _SYSTEM_PYTHON}

    def _put_together(self, before: Answer, now: Answer) -> Answer:
        return after_look(before, now)

    def _message(self, answer: Answer, now: Answer, variables: Mapping[str, Any]) -> str:
        args = self._task.args
        if args.get("settled") and (now.problems or now.todo):
            return words.unsettled(now)
        if args.get("failed"):
            return words.failure(args["failed"], args["so_far"], answer, variables)
        return super()._message(answer, now, variables)


class ChangeDoor(_Door):
    """Before ``rattail_alembic``."""

    def _ask(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """What the module says; where the look came from outside, nothing can be changed, and it is not asked."""
        so_far = self._task.args.get("so_far")
        if so_far and not so_far["alembic_version"]:
            return {"answer": so_far, "failed": so_far["msg"] != ""}
        said = super()._ask(arguments, variables)
        return said if "answer" in said else {**said, "failed": True}

    def _entry_point(self) -> str:
        command = str(self._task.args["command"])
        return "main" if command == "upgrade" else command

    def _put_together(self, before: Answer, now: Answer) -> Answer:
        return after_change(before, now)


@dataclass(eq=False)
class _Edited:
    """What ``rattail_alembic_config`` returns."""

    changed: bool = False
    path: str = ""
    backup_file: str = ""
    msg: str = ""
    diff: Diff = field(default_factory=Diff)


class ConfigDoor(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Before ``rattail_alembic_config``."""

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, return what it may return."""
        super().run(tmp, task_vars)
        said = self._execute_module(module_name=self._task.action, module_args=self._task.args, task_vars=task_vars)
        edited = built(_Edited, said)
        if said.get("failed"):
            return {"failed": True, "msg": edited.msg if edited.path or edited.msg else words.of_module(said)}
        return {**vars(edited), "diff": vars(edited.diff)}
