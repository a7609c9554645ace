# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sentences about what failed, out of what others said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.rattail_alembic.observe.answer import Answer
from ansible.module_utils.rattail_alembic.problem import mask

from .believed import line as line_of

# Of a line that somebody else wrote.
_LONGEST = 4000


def last(output: str, lines: int = 5) -> str:
    """The end of what a command printed, passwords in URLs masked, closed by a full stop."""
    kept = [line.strip() for line in output.splitlines() if line.strip()]
    return line_of(mask(" ".join(line[:_LONGEST] for line in kept[-lines:]))).rstrip(".") + "."


def of_git(result: Mapping[str, Any]) -> str:
    """Why git failed, in its own words: a sentence from the result of ``ansible.builtin.git``."""
    said = f"{result.get('stderr') or ''}\n{result.get('msg') or ''}"
    found = re.search(r"\bfatal: *(.+)", said) or re.search(r"\berror: *(.+)", said)
    return last(found[1] if found else said)


def of_pip(result: Mapping[str, Any]) -> str:
    """Why pip failed, from a result of ``ansible.builtin.pip``: what it says last is often that it said so above."""
    said = str(result.get("stderr") or result.get("msg") or "")
    aside = re.compile(r"\s*((note|hint|WARNING): |\[notice\]|$)")
    lines = [line for line in said.splitlines() if not aside.match(line)]
    ends = [number for number, line in enumerate(lines) if line.strip() == "[end of output]"]
    if ends:
        # of a program that pip started
        steps = [line.strip("\u00d7 ") for line in lines[: ends[0]] if line.strip().startswith("\u00d7")]
        step = steps[-1] if steps else "A program failed"
        return f"{line_of(step).rstrip('.')}: {last(lines[ends[0] - 1])}"
    return last(said, lines=1) if "Traceback (most recent call last)" in said else last("\n".join(lines))


def of_module(result: Mapping[str, Any]) -> str:
    """Why a module said nothing that can be used."""
    return f"The host did not answer as it should: {own_of(result)} Run again with -vvv to see it whole."


def own_of(result: Mapping[str, Any]) -> str:
    """The end of what was said where a module was to answer."""
    # ansible-core 2.19 has the message of a module that stopped in an object of its own.
    event = getattr(result.get("exception"), "event", None)
    said = result.get("module_stderr") or result.get("msg") or getattr(event, "msg", "") or "it said nothing"
    return last(str(said))


def unsettled(answer: Answer) -> str:
    """What to say where a run has come to its end and something still differs."""
    return (
        f"After the run something still differs: {'; '.join(answer.summary)}."
        " Run again with -vvv, or look at it with playbooks/status.yml."
    )


def failure(result: Mapping[str, Any], so_far: Mapping[str, Any], answer: Answer, variables: Mapping[str, Any]) -> str:
    """Why a run failed, and where that leaves checkout and database.

    :param result: of the task that failed.
    :param so_far: the answer before it was looked again.
    :param answer: the same afterwards.
    :param variables: among them what git and pip said, where they were at work.
    """
    directory = answer.source.directory
    failed_install, install, checkout = (
        variables.get(f"__rattail_schema_ext_{name}") or {} for name in ("failed_install", "install", "checkout")
    )
    if so_far.get("msg"):
        cause = last(str(so_far["msg"]))
    elif checkout and "after" not in checkout and not checkout.get("skipped"):
        said, remedy = of_git(checkout), "Mend what git says"
        lock = re.search(r"'(/[^']+\.lock)': File exists\.", said)
        if lock:
            # what git advises then is the same in many words
            said, remedy = said[: lock.end()], f"Remove {lock[1]} if no git is at work there"
        cause = f"{directory} could not be brought to {answer.source.wanted}: {said} {remedy}, then run again."
    elif str(result.get("msg")).startswith("pip failed"):
        cause = f"{directory} could not be installed: {of_pip(failed_install or install)}"
        cause += " Mend what pip says, then run again."
    else:
        cause = last(str(result.get("msg") or "A task failed."))
    at = ", ".join(answer.current_after) or "no revision"
    return f"{cause} Now the checkout is at {answer.source.after or 'no commit'} and the database at {at}."
