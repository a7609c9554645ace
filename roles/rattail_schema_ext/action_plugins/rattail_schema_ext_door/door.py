# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What stands before each module: parameters from variables, an answer from what a host sent."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ansible.module_utils.rattail_alembic.observe.answer import Answer, Diff
from ansible.module_utils.rattail_alembic.observe.request import Request
from ansible.module_utils.rattail_alembic.problem import mask

from . import believed, words
from .answers import after_change, after_look
from .believed import Unfit, built
from .host import SYSTEM_PYTHON, Host
from .variables import judge


class _Door(Host):
    """Stands before a module that returns an ``Answer``.

    A task gives it the answer ``so_far``, if there is one, and gets it back with what the module said.
    """

    # What tasks tell the door, and no module.
    _own: tuple[str, ...] = ("so_far",)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Judge the variables, run the module, return the answer."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = {name: value for name, value in self._task.args.items() if name not in self._own}
        if self._task._role is not None:
            found, wrong = judge(self._entry_point(), variables, self._templar.template)
            wrong += self._overruled(variables)
            if wrong:
                return self._refused(" ".join(wrong))
            arguments = {**found, **arguments}
        said, now = self._ask(arguments, variables), Answer()
        if _answers(said):
            try:
                now = self._believed(said["answer"], arguments)
            except Unfit as unfit:
                said = {"failed": True, "msg": f"its answer {unfit}"}
        answer = now
        if self._task.args.get("so_far"):
            answer = built(Answer, self._task.args["so_far"])
            if _answers(said):
                answer = self._put_together(answer, now)
        answer.msg = self._message(answer, now, variables) if _answers(said) else words.of_module(said)
        return self._result(said, answer)

    def _believed(self, said: Any, arguments: Mapping[str, Any]) -> Answer:
        """The answer out of what the module said; what the operator decides is as the operator has it.

        :raises Unfit: where it is no answer of the role's.
        """
        answer = built(Answer, said)
        answer.check_mode = bool(self._task.check_mode)
        if self._task._role is not None:
            request = Request.from_parameters(arguments)
            answer.config.path = request.config_file
            believed.refuse_section(answer, request)
        return answer

    def _overruled(self, variables: Mapping[str, Any]) -> list[str]:
        """A sentence where the modules would run with another Python than the task says."""
        name = "ansible_python_interpreter"
        wanted, given = (self._templar.template(each.get(name)) for each in (self._task.vars, variables))
        if wanted in (None, given):
            return []
        return [
            f"{name} is given with -e, which overrules the role's, and {believed.line(str(given))}"
            f" is not the app's Python ({wanted}). Set it in the inventory instead."
        ]

    def _refused(self, msg: str) -> dict[str, Any]:
        """What Ansible gets where the variables are wrong; where there is an answer so far, tasks tell its message."""
        if not self._task.args.get("so_far"):
            return {"failed": True, "msg": msg}
        answer = built(Answer, self._task.args["so_far"])
        answer.msg = msg
        return self._result({}, answer)

    def _result(self, said: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
        """What Ansible gets."""
        result = {"changed": answer.changed, "warnings": answer.warnings, "answer": answer.as_result()}
        diff = vars(built(Diff, said.get("diff")))
        if answer.changed and any(diff.values()):
            result["diff"] = diff
        if said.get("failed"):
            exception = said.get("exception")
            shown = believed.text(mask(exception)) if isinstance(exception, str) else ""
            result.update(failed=True, msg=answer.msg, exception=shown)
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


def _answers(said: Mapping[str, Any]) -> bool:
    """Whether a module said something that may be an answer."""
    return isinstance(said.get("answer"), Mapping)


class LookDoor(_Door):
    """Before ``rattail_alembic_info``.

    ``entry_point`` is whose variables are judged. ``settled`` says that nothing is to differ any more. ``failed`` is
    the result of a task that failed, after which it is looked where things are.
    """

    _own = ("so_far", "entry_point", "settled", "failed")
    # what the module said that was to look with the environment's Python, and did not
    _inside: Mapping[str, Any] = MappingProxyType({})

    def _entry_point(self) -> str:
        return str(self._task.args.get("entry_point", "main"))

    def _ask(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """What the module says; where the environment's Python cannot be started, what is seen from outside of it."""
        said = super()._ask(arguments, variables)
        if said.get("deeper"):
            # It takes the app's own Alembic, or what only a change needs: the module that has it looks.
            said = self._execute("rattail_alembic", {**arguments, "command": "look"}, variables)
        if _answers(said):
            return said
        self._inside = said
        self._become(self._play_user())
        outside = self._execute(
            self._task.action, arguments, {**variables, "ansible_python_interpreter": SYSTEM_PYTHON}
        )
        return outside if _answers(outside) else {**said, "failed": True}

    def _put_together(self, before: Answer, now: Answer) -> Answer:
        return after_look(before, now)

    def _message(self, answer: Answer, now: Answer, variables: Mapping[str, Any]) -> str:
        args = self._task.args
        if args.get("settled") and (now.problems or now.todo):
            return words.unsettled(now)
        if args.get("failed"):
            return words.failure(args["failed"], args["so_far"], answer, variables)
        if now.problems and now.problems[0].code == "look_failed":
            problem = now.problems[0]
            return f"{problem.cause} It said: {words.own_of(self._inside)} {problem.remedy}"
        return super()._message(answer, now, variables)


class ChangeDoor(_Door):
    """Before ``rattail_alembic``."""

    def _ask(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """What the module says; where the look came from outside, nothing can be changed, and it is not asked."""
        so_far = self._task.args.get("so_far")
        if so_far and not so_far["alembic_version"]:
            return {"answer": so_far, "failed": so_far["msg"] != ""}
        said = super()._ask(arguments, variables)
        return said if _answers(said) else {**said, "failed": True}

    def _entry_point(self) -> str:
        command = str(self._task.args["command"])
        return "main" if command == "upgrade" else command

    def _put_together(self, before: Answer, now: Answer) -> Answer:
        return after_change(before, now)
