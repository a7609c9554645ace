# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Words of others, as the role needs them: why a command failed, and a message that lost its quotes."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PREFIX = "rattail_schema_ext_"


def last_words(output: str, lines: int = 5) -> str:
    """The end of what a command printed, passwords in URLs masked, closed by a full stop."""
    kept = [line.strip() for line in output.splitlines() if line.strip() and not line.startswith("[notice]")]
    return _masker()(" ".join(kept[-lines:])).rstrip(".") + "."


def words_of_git(result: Mapping[str, Any]) -> str:
    """Why git failed, in its own words: a sentence from the result of ``ansible.builtin.git``."""
    said = f"{result.get('stderr') or ''}\n{result.get('msg') or ''}"
    found = re.search(r"\bfatal: *(.+)", said) or re.search(r"\berror: *(.+)", said)
    return last_words(found[1] if found else said)


def whole_message(message: object, words: str | None = "") -> str:
    """The message of a revision, with what was cut off from it.

    Of ``-e rattail_schema_ext_revision_message='add widget colour'`` the shell takes the quotes, and Ansible then only
    the first word.

    :param words: the others, which Ansible keeps as ``_raw_params``.
    """
    text = str(message)
    return text if re.search(r"\s", text) else f"{text} {words or ''}".strip()


def _masker() -> Callable[[str], str]:
    """The one ``mask`` there is: the modules', which Ansible does not put on the controller's path."""
    path = Path(__file__).parents[1] / "module_utils" / "rattail_alembic" / "problem.py"
    spec = importlib.util.spec_from_file_location("rattail_schema_ext_problem", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    masker: Callable[[str], str] = module.mask
    return masker


class FilterModule:
    """The role's filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name → function."""
        found = (last_words, words_of_git, whole_message)
        return {f"{PREFIX}{function.__name__}": function for function in found}
