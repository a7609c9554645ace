# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Answers: built anew from what a host sent, and put together from what modules said one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ansible.module_utils.rattail_alembic.observe.answer import Answer, Revision

Shape = TypeVar("Shape")
# Of a branch with more revisions than these, people are told how many they were.
_LINES = 10


def built(shape: type[Shape], data: Any) -> Shape:
    """A ``shape``, a dataclass, out of what somebody sent: what is no key of it, or of another type, is left out."""
    made = shape()
    if not isinstance(data, Mapping):
        return made
    types = get_type_hints(shape)
    for each in fields(shape):  # type: ignore[arg-type]  # a dataclass, which a TypeVar cannot say
        found = _as(types[each.name], data.get(each.name))
        if found is not None:
            setattr(made, each.name, found)
    return made


def _as(kind: Any, value: Any) -> Any:
    """``value`` where it is of a type, what of it is where it is a list, else None."""
    if get_origin(kind) is Union:
        [kind] = [each for each in get_args(kind) if each is not type(None)]
    if is_dataclass(kind):
        # is_dataclass() holds of instances, too, and types are looked up here only
        return built(kind, value) if isinstance(value, Mapping) and value else None  # type: ignore[arg-type]
    if get_origin(kind) is list:
        [inner] = get_args(kind)
        found = [_as(inner, each) for each in value] if isinstance(value, list) else []
        return [each for each in found if each is not None]
    for wanted in (int, float) if kind is float else (kind,):
        # Ansible hands over strings of classes of its own.
        if isinstance(value, wanted) and isinstance(value, bool) == (wanted is bool):
            return wanted(value)
    return None


def after_change(before: Answer, change: Answer) -> Answer:
    """The answer so far, once a change was made: what only a change tells is from there, and where things are now."""
    for each in fields(Answer):
        if each.metadata["change"]:
            setattr(before, each.name, getattr(change, each.name))
    return _now(before, change, change.summary)


def after_look(before: Answer, look: Answer) -> Answer:
    """The answer so far, once it was looked again."""
    return _now(before, look, look.summary)


def _now(before: Answer, now: Answer, summary: Iterable[str]) -> Answer:
    before.changed, before.msg = now.changed, now.msg
    before.state, before.current_after, before.branches = now.state, now.current_after, now.branches
    before.source.after = now.source.after
    before.problems = now.problems
    before.warn(*now.warnings)
    before.summary = [*summary, *_done(before)]
    return before


def _done(answer: Answer) -> list[str]:
    """What was done, in a few lines for a person; none where it was nothing."""
    # Check mode names what would be undone, and can know no seconds.
    undone = [each for each in answer.reverted if each.seconds is not None]
    lines = _revisions("applied", answer.applied) + _revisions("undone", undone)
    if answer.retries:
        lines.append(f"  begun again after a lock timeout: {answer.retries} times")
    if answer.backup:
        lines.append(f"  backup: {answer.backup.file}")
    return lines + [f"  warning: {warning}" for warning in answer.warnings] if lines else []


def _revisions(what: str, done: Iterable[Revision]) -> list[str]:
    """A line for each revision, or for a branch that has many of them."""
    branches: dict[str, list[Revision]] = {}
    for each in done:
        branches.setdefault(each.branch, []).append(each)
    lines = []
    for branch, revisions in branches.items():
        if len(revisions) > _LINES:
            seconds = sum(each.seconds or 0.0 for each in revisions)
            last = revisions[-1].revision
            lines.append(f"  {what}: {branch}, {len(revisions)} revisions to {last} ({seconds:.2f} s)")
            continue
        for each in revisions:
            took = "" if each.seconds is None else f" ({each.seconds:.2f} s)"
            lines.append(f"  {what}: {branch} {each.revision} {each.message}{took}")
    return lines
