# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The role's variables: which there are, what is wrong with those that are set, and what modules are asked."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import yaml
from ansible.module_utils.common.validation import (
    check_type_bool,
    check_type_dict,
    check_type_float,
    check_type_int,
    check_type_list,
)
from ansible.module_utils.rattail_alembic.observe.request import argument_spec

from . import ROLE
from .believed import line

PREFIX = "rattail_schema_ext_"
_MESSAGE = f"{PREFIX}revision_message"
RESULTS = frozenset({f"{PREFIX}result", f"{PREFIX}results"})
# Libyaml's takes an eighth of the time, in each run of the role.
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_HTTP_USERINFO = re.compile(r"https?://[^/@\s]+@", re.IGNORECASE)
_PASSWORD = re.compile(r"[a-z][a-z0-9+.\-]*://[^/@\s:]*:[^/@\s]+@", re.IGNORECASE)
_DSN_PASSWORD = re.compile(r"\bpassword\s*=", re.IGNORECASE)
_READERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "bool": (check_type_bool, "true or false"),
    "int": (check_type_int, "a whole number from 0 on"),
    "float": (check_type_float, "a number from 0 on"),
    "list": (check_type_list, "a list"),
    "dict": (check_type_dict, "a dictionary"),
}

# One word each, which becomes part of commands and paths.
_NAMES = (f"{PREFIX}app", f"{PREFIX}user")
_NOT_ROTATED = "quotes, backslashes and braces"
# What others call theirs does not begin so, and is not as like to one of the role's.
_NEARLY = re.compile(r"^rattail_*schema|schema_*ext", re.IGNORECASE)
_ALIKE = 0.9
_BOOLEANS = {True: ("true", "yes", "on"), False: ("false", "no", "off")}

Options = Mapping[str, Mapping[str, Any]]


@cache
def specs() -> dict[str, Options]:
    """Entry point → its variables, as ``meta/argument_specs.yml`` describes them.

    There the name of an entry point has ``tasks/`` before it. Of one that is called as its file of tasks is, Ansible
    itself would judge the variables, in a task more, and print all descriptions where one is wrong.
    """
    text = (ROLE / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    found = yaml.load(text, _YAML)["argument_specs"]
    return {name.partition("/")[2]: spec["options"] for name, spec in found.items()}


def known() -> Options:
    """All variables of the role's."""
    return {name: option for options in specs().values() for name, option in options.items()}


def unknown(names: Iterable[str]) -> list[str]:
    """A sentence about each of these names that means one of the role's variables and is none of them.

    :param names: of all variables there are, those of others too.
    """
    found, right = [], {_letters(name): name for name in known()}
    for name in sorted({*names} - known().keys() - RESULTS):
        nearly = _NEARLY.search(name)
        if name.startswith("_") or not (nearly or "rattail" in name.lower() or "schema" in name.lower()):
            continue
        for nearest in difflib.get_close_matches(_letters(name), sorted(right), n=1, cutoff=0.0 if nearly else _ALIKE):
            found.append(f"There is no variable {name}. Did you mean {right[nearest]}?")
    return found


def _letters(name: str) -> str:
    return name.lower().replace("_", "")


def from_facts(variables: Mapping[str, Any]) -> list[str]:
    """A sentence where the host's facts hold a variable of the role's, which the playbook's defaults would not outrank.

    What runs on a host makes its facts, and may be the app's user's.
    """
    names = sorted(name for name in variables.get("ansible_facts") or {} if name.lstrip("_").startswith(PREFIX))
    return [
        f"The facts of the host hold {line(name)}, and facts do not decide what this role does."
        " Set it in the inventory or the playbook (set_fact without cacheable), and run again with --flush-cache."
        for name in names[:1]
    ]


def read(name: str, value: Any) -> tuple[Any, str]:
    """The value that a variable means, and a sentence about what is wrong with it; empty where nothing is."""
    option = known()[name]
    kind, choices = option["type"], option.get("choices")
    correct = "Correct it, or leave it out." if value in ("", None) else "Correct it."
    if kind in ("str", "path"):
        if choices and isinstance(value, bool):
            # Of such words YAML makes a boolean where they have no quotes.
            value = next((word for word in choices if word in _BOOLEANS[value]), value)
        if not choices and not isinstance(value, str):
            return value, f"{name} is {value!r}, which is no text. Write it in quotes."
    else:
        reader, meant = _READERS[kind]
        try:
            given, value = value, reader(_opened(kind, value))
            if kind in ("int", "float") and (isinstance(given, bool) or not 0 <= value < math.inf):
                return given, f"{name} is {given!r}, which is not {meant}. {correct}"
        except (TypeError, ValueError):
            return value, f"{name} is {value!r}, which is not {meant}. {correct}"
        for each in _no_texts(value):
            return value, f"{name} has {each!r} in it, which is no text. Write it in quotes."
    if choices and value not in choices:
        return value, f"{name} is {value!r}, which is none of {', '.join(choices)}. Choose one of them."
    return value, _unprintable(name, kind, value) or _secret(name, value)


def _no_texts(value: Any) -> Iterator[Any]:
    """What a list or a dictionary holds that is no text: YAML has made something else of it."""
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    for each in value if isinstance(value, list) else ():
        if isinstance(each, Mapping | list):
            yield from _no_texts(each)
        elif not isinstance(each, str):
            yield each


def _opened(kind: str, value: Any) -> Any:
    """A list or a dictionary out of JSON text, as surveys and ``-e NAME=VALUE`` give them; an empty one out of none."""
    if kind == "list" and not isinstance(value, (str, list, tuple)):
        # Ansible would make text of it, whatever was written: of 0123 it makes 83.
        raise TypeError
    if kind not in ("list", "dict") or not isinstance(value, str):
        return value
    if not value.strip():
        return [] if kind == "list" else {}
    return json.loads(value) if value.lstrip()[0] in "[{" else value


def _unprintable(name: str, kind: str, value: Any) -> str:
    if (kind == "path" or name in _NAMES) and re.search(r"[\x00-\x1f\x7f]", value):
        return f"{name} is {value!r}, which has a line break or another control character. Take it out."
    # logrotate takes these for a quote or the begin of its block.
    if name == f"{PREFIX}history_dir" and re.search(r"[{}\"'\\]", value):
        return f"{name} is {value!r}, which logrotate would not take for one path. Use a path without {_NOT_ROTATED}."
    return ""


def _secret(name: str, value: Any) -> str:
    if name == f"{PREFIX}source_repo" and (_HTTP_USERINFO.match(value) or _PASSWORD.match(value)):
        return (
            f"{name} has credentials in it, which would be shown in arguments and logs."
            f" Take them out, and use ssh with {PREFIX}source_key_file or git's credential store on the host."
        )
    if name == f"{PREFIX}database_option" and ("://" in value or _DSN_PASSWORD.search(value)):
        return (
            f"{name} is a database URL, which would be shown in arguments and logs."
            " Put it into the app's config on the host, and name its place there, e.g. rattail.db:migration.url."
        )
    return ""


def missing(entry_point: str, values: Mapping[str, Any]) -> list[str]:
    """A sentence about each variable that the entry point must have and that is not set."""
    return [
        f"{name} is not set. {_FIRST.get(name, 'Set it to what its description says.')}"
        for name, option in specs()[entry_point].items()
        if option.get("required") and values.get(name, "") in ("", [])
    ]


_FIRST = {f"{PREFIX}app": "Set it to the app's Python package, e.g. poser."}


def judge(
    entry_point: str, variables: Mapping[str, Any], template: Callable[[Any], Any]
) -> tuple[dict[str, Any], list[str]]:
    """The parameters of a module out of the variables, and sentences about what is wrong with these.

    :param variables: all that are set, those of others too.
    :param template: gives the value of one that is written with others.
    """
    values, wrong = {}, unknown(variables) + from_facts(variables)
    for name in specs()[entry_point]:
        if name in variables:
            value = template(variables[name])
            if name == _MESSAGE:
                value = whole_message(value, template(variables.get("_raw_params", "")))
            values[name], found = read(name, value)
            wrong += [found] if found else []
    wrong += missing(entry_point, values)
    return {name: values[PREFIX + name] for name in argument_spec() if PREFIX + name in values}, wrong


def whole_message(message: Any, words: Any) -> Any:
    """The message of a revision, with what was cut off from it.

    Of ``-e rattail_schema_ext_revision_message='add widget colour'`` the shell takes the quotes, and Ansible then only
    the first word.

    :param words: the others, which Ansible keeps as ``_raw_params``.
    """
    if not isinstance(message, str) or re.search(r"\s", message):
        return message
    return f"{message} {words or ''}".strip()
