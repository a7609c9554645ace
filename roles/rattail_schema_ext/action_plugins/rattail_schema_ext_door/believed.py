# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is taken from what a host sent: known keys, values of their type, text of the form that it is to have.

Whoever owns the environment decides what its Python says, so it is read as what a stranger sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ansible.module_utils.rattail_alembic.config.section import key
from ansible.module_utils.rattail_alembic.observe.answer import Answer, Section
from ansible.module_utils.rattail_alembic.observe.request import Request
from ansible.module_utils.rattail_alembic.revisions.locations import standard

Shape = TypeVar("Shape")

# How many characters a host may say at once, and how many of them a line and a text of several lines may have.
MOST = 20_000_000
_LINE, _TEXT = 20_000, 1_000_000
# A database, a file and a process have no larger numbers.
_NUMBER = 2**63

_BREAKS = re.compile(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]\s*")
# What a terminal obeys, what turns the direction of writing, and halves of characters, which cannot be written.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_NO_NAME = re.compile(r"[^\w.+@:=~-]|^[^\w.]")
# What else has a form: a commit in full, a branch or tag (git check-ref-format), the code of a refusal, and the
# directory of a package or a path, as [alembic] has it.
_FORMS = {
    "commit": re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})?"),
    "ref": re.compile(r"(?!-|/)(?!.*(?:\.\.|@\{|//|[/.]$|\.lock$))[^\s\x00-\x20\x7f-\x9f~^:?*\[\\]{0,250}"),
    "code": re.compile(r"[a-z][a-z0-9_]{0,60}"),
    "location": re.compile(r"(?![#;=\[])\S(?:[^\x00-\x1f\x7f-\x9f\u2028\u2029]{0,4000}\S)?"),
}


class Unfit(Exception):
    """A host sent something else than what was asked for; says what, in a clause."""


def built(shape: type[Shape], data: Any) -> Shape:
    """A ``shape``, a dataclass, out of what somebody sent: what is no key of it, or of another type, is left out.

    Text becomes one line of what can be printed, unless the key has another ``form``.

    :raises Unfit: where it is too long, or text does not have the form that a program goes by.
    """
    return _Reading().built(shape, data)


def locations(request: Request) -> list[str]:
    """The version locations that the operator asked for, as ``[alembic]`` has them."""
    wanted = [standard(each) for each in (request.app, *request.integrations)] + [request.base.version_location]
    return [each.replace("%", "%%") for each in wanted]


def refuse_section(answer: Answer, request: Request) -> None:
    """Refuse an ``[alembic]`` that is not what the operator asked for.

    :raises Unfit: naming what is wrong.
    """
    section = answer.config.section
    if section is None and "config" not in answer.todo:
        return
    section = section or Section()
    written = [key(each) for each in section.version_locations]
    lacking = [each for each in locations(request) if key(each) not in written]
    if lacking:
        raise Unfit(f"lacks {line(lacking[0])!r} in version_locations")
    script = request.script_location.replace("%", "%%").strip()
    if not section.script_location or script not in ("", section.script_location):
        raise Unfit(f"has {section.script_location!r} for script_location")
    if not section.separator or not section.separator_name:
        raise Unfit("has no separator of the version locations")


def line(said: str) -> str:
    """One line out of any text, without what a terminal obeys."""
    return _CONTROL.sub("\ufffd", _BREAKS.sub(" ", _cut(said, _LINE).strip("\r\n")).replace("\t", " "))


def text(said: str) -> str:
    """The same with its lines."""
    return printable(_cut(said, _TEXT))


def printable(said: str) -> str:
    """All of it, without what a terminal obeys."""
    return _CONTROL.sub("\ufffd", said.replace("\r\n", "\n"))


def _cut(said: str, most: int) -> str:
    return said if len(said) <= most else f"{said[:most]}…"


@cache
def _keys(shape: type) -> list[tuple[str, Any, Any]]:
    """Of each key its name, its type, and the form of its text."""
    types = get_type_hints(shape)
    return [(each.name, types[each.name], each.metadata.get("form", "line")) for each in fields(shape)]


class _Reading:
    """One answer that is read, and how much more it may hold."""

    def __init__(self) -> None:
        self._left = MOST

    def built(self, shape: type[Shape], data: Any) -> Shape:
        made = shape()
        for name, kind, form in _keys(shape) if isinstance(data, Mapping) else ():  # type: ignore[arg-type]  # a type is hashable
            found = self._read(name, kind, form, data.get(name))
            if found is not None:
                setattr(made, name, found)
        return made

    def _read(self, name: str, kind: Any, form: Any, value: Any) -> Any:
        """``value`` where it is of a type, what of it is where it is a list, else None."""
        self._left -= len(value) + 1 if isinstance(value, (str, list)) else 1
        if self._left < 0:
            raise Unfit(f"is longer than {MOST} characters")
        if get_origin(kind) is Union:
            [kind] = [each for each in get_args(kind) if each is not type(None)]
        if is_dataclass(kind):
            # mypy: is_dataclass() holds of instances, too
            return self.built(kind, value) if isinstance(value, Mapping) and value else None  # type: ignore[arg-type]
        if get_origin(kind) is list:
            [inner] = get_args(kind)
            found = [self._read(name, inner, form, each) for each in value] if isinstance(value, list) else []
            return [each for each in found if each is not None]
        if kind is str:
            # Ansible hands over strings of classes of its own.
            return _formed(name, form, str(value)) if isinstance(value, str) else None
        if kind is bool or isinstance(value, bool):
            return value if kind is bool and isinstance(value, bool) else None
        fits = isinstance(value, (int, float) if kind is float else int) and abs(value) < _NUMBER
        return (int if isinstance(value, int) else float)(value) if fits else None


def _formed(name: str, form: Any, value: str) -> str:
    if form == "text":
        return text(value)
    if form == "line":
        return line(value)
    if form == "name":
        return _NO_NAME.sub("?", line(value)[:250])
    if value and (value not in form if isinstance(form, tuple) else not _FORMS[form].fullmatch(value)):
        raise Unfit(f"has {line(value)[:100]!r} for {name}")
    return value
