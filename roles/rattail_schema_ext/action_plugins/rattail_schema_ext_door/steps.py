# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The steps between look and upgrade: the config file, the script that is fetched, and what Ansible's modules do."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.rattail_alembic.observe.answer import Diff, key
from ansible.module_utils.rattail_alembic.observe.request import Request
from ansible.plugins.action.template import ActionModule as TemplateAction

from . import words
from .believed import Unfit, built, locations
from .host import SYSTEM_PYTHON, Host
from .variables import from_facts, judge

_LARGEST = 1_000_000


@dataclass(eq=False)
class _Edited:
    """What ``rattail_alembic_config`` returns."""

    changed: bool = False
    not_kept: bool = False
    path: str = ""
    backup_file: str = ""
    msg: str = ""
    diff: Diff = field(default_factory=Diff)


class ConfigDoor(Host):
    """Before ``rattail_alembic_config``."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, return what it may return.

        As whoever the play is, by the host's own Python, where root or that user keeps the file: the module sees to
        that. Else as the task has it, which is as the app's user.
        """
        super().run(tmp, task_vars)
        variables, arguments = task_vars or {}, dict(self._task.args)
        found, wrong = judge("main", variables, self._templar.template)
        if wrong:
            return {"failed": True, "msg": " ".join(wrong)}
        app_user, play_user = self.get_become_option("become_user"), self._play_user()
        edited, failed = _Edited(not_kept=True), False
        if play_user not in ("", app_user):
            self._become(play_user)
            outside = {**variables, "ansible_python_interpreter": SYSTEM_PYTHON}
            request = Request.from_parameters(found)
            script = request.script_location.replace("%", "%%") or request.base.script_location
            kept = {"only_kept": True, "locations": [script, *locations(request)]}
            edited, failed = self._edit({**arguments, **kept}, outside)
            self._become(app_user)
        if edited.not_kept:
            edited, failed = self._edit(arguments, variables)
        if failed:
            return {"failed": True, "msg": edited.msg}
        told = {name: value for name, value in vars(edited).items() if name not in ("diff", "not_kept")}
        return {**told, "diff": vars(edited.diff)}

    def _edit(self, arguments: dict[str, Any], variables: dict[str, Any]) -> tuple[_Edited, bool]:
        """What the module returned, and whether it failed."""
        said = self._execute(self._task.action, arguments, variables)
        try:
            edited = built(_Edited, said)
        except Unfit as unfit:
            said, edited = {"failed": True, "msg": f"its answer {unfit}"}, _Edited()
        failed = bool(said.get("failed")) or not (edited.path or edited.not_kept)
        if failed and not (said.get("problem") and edited.msg):
            edited.msg = words.of_module(said)
        return edited, failed


@dataclass(eq=False)
class _Shown(Diff):
    prepared: str = key("What a program shows itself.", form="text")


@dataclass(eq=False)
class _Ran:
    """What is taken from the results of Ansible's own modules."""

    changed: bool = False
    rc: int = -1
    msg: str = ""
    after: str = key("The commit checked out.", form="commit")
    stdout: str = key("What it printed.", form="text")
    stderr: str = key("What it complained of.", form="text")
    cmd: list[str] = field(default_factory=list)


class RunDoor(Host):
    """``rattail_schema_ext_run``: has a ``module`` of Ansible's own done with ``parameters``, as the app's user."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, return little of what it did."""
        super().run(tmp, task_vars)
        variables, args = task_vars or {}, self._task.args
        wrong = from_facts(variables)
        if wrong:
            return {"failed": True, "msg": " ".join(wrong)}
        return _told(self._execute(str(args["module"]), args["parameters"], variables))


class TemplateDoor(TemplateAction):  # type: ignore[misc]  # ansible-core has no types
    """``rattail_schema_ext_template``: as ``ansible.builtin.template``, whose user may be the app's as well."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the file, return as little as :class:`RunDoor` does."""
        wrong = from_facts(task_vars or {})
        if wrong:
            return {"failed": True, "msg": " ".join(wrong)}
        return _told(super().run(tmp, task_vars))


def _told(said: Mapping[str, Any]) -> dict[str, Any]:
    """What is taken of a module's result: what ``_Ran`` has and is not empty, and the diff."""
    if "module_stderr" in said:  # there was no result
        return {"failed": True, "msg": words.of_module(said)}
    shown = said.get("diff")
    try:
        ran, diff = built(_Ran, said), built(_Shown, shown[0] if isinstance(shown, list) and shown else shown)
    except Unfit as unfit:
        return {"failed": True, "msg": words.of_module({"msg": f"its answer {unfit}"})}
    result = {name: value for name, value in vars(ran).items() if value not in ("", -1, [])}
    changes = {name: value for name, value in vars(diff).items() if value}
    return {**result, "failed": bool(said.get("failed")), **({"diff": changes} if changes else {})}


@dataclass(eq=False)
class _Read:
    encoding: str = ""
    content: str = key("What was read.", form="text")


class FetchDoor(Host):
    """``rattail_schema_ext_fetch``: brings the file of a new ``revision`` to the directory ``to`` on this machine.

    ``below`` are the directories on the host that it may come from.
    """

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read the script as the app's user, and write it where no other file is."""
        super().run(tmp, task_vars)
        args, variables = self._task.args, task_vars or {}
        revision, path = str(args["revision"]["revision"]), str(args["revision"]["path"])
        wrong = from_facts(variables) or not_a_script(revision, path, args["below"])
        if wrong:
            return {"failed": True, "msg": " ".join(wrong)}
        said = self._execute("ansible.builtin.slurp", {"src": path}, variables)
        try:
            content = base64.b64decode(built(_Read, said).content, validate=True)
        except (Unfit, binascii.Error):
            content = b""
        if said.get("failed") or not content or len(content) > _LARGEST:
            return {"failed": True, "msg": f"{path} cannot be read on the host. Copy it by hand, and see why."}
        to = self._loader.path_dwim(str(args["to"]))
        place = os.path.join(to, os.path.basename(path))
        try:
            os.makedirs(to, exist_ok=True)
            with open(place, "xb") as file:
                file.write(content)
        except FileExistsError:
            if os.path.isfile(place) and _content(place) == content:
                return {"changed": False, "dest": place}
            return {"failed": True, "msg": f"There is another {place} already. Move it away, and copy {path} there."}
        except OSError as error:
            return {"failed": True, "msg": f"{place} cannot be written: {error.strerror}. Copy {path} by hand."}
        return {"changed": True, "dest": place}


def _content(place: str) -> bytes:
    with open(place, "rb") as file:
        return file.read(_LARGEST + 1)


def not_a_script(revision: str, path: str, below: list[str]) -> list[str]:
    """A sentence where a file's path is not that of the script of a revision, in one of the directories."""
    directory, name = os.path.split(path)
    inside = any(f"{directory}/".startswith(f"{os.path.normpath(each)}/") for each in below)
    named = re.fullmatch(r"[0-9a-zA-Z][\w.-]*\.py", name, re.ASCII) and revision in name
    if inside and named and os.path.normpath(path) == path and re.fullmatch(r"[0-9a-f]{12}", revision):
        return []
    return [f"The new revision's file {path} does not lie or is not named as one of the app's. Copy it by hand."]
