# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Apply what an observation found pending, and say truly what came of it."""

from __future__ import annotations

from typing import Any

from . import runner
from .look import look
from .observation import Observation
from .report import describe, result
from .request import Request

_STATEMENT_CHARACTERS = 500


def as_diff(answer: dict[str, Any]) -> dict[str, str]:
    """The pending revisions as Ansible's ``--diff`` shows them."""
    lines = [f"{each['branch']} {each['revision']} {each['message']}\n" for each in answer["pending"]]
    return {
        "before_header": f"revisions applied to {answer['database'].get('name', '')}",
        "after_header": f"revisions applied to {answer['database'].get('name', '')}",
        "before": "",
        "after": "".join(lines),
    }


def apply(request: Request, before: Observation, answer: dict[str, Any]) -> str:
    """Run ``upgrade heads``, look again, and bring the module's result ``answer`` up to date.

    The database is asked, not the process: only what the version table says afterwards counts.

    :returns: why it failed; empty where it did not.
    """
    assert before.plan is not None and before.graph is not None
    outcome = runner.upgrade(request.config_file)
    after = look(request)
    now = result(after)
    if after.plan is None or after.graph is None:
        return f"The upgrade was run, but the database cannot be looked at afterwards: {now['state_reason']}"
    answer.update({name: now[name] for name in ("state", "heads", "current_after", "branches", "todo", "summary")})
    answer["warnings"] = now["warnings"]
    answer["changed"] = after.plan.rows != before.plan.rows
    fresh = after.graph.applied(after.plan.rows) - before.graph.applied(before.plan.rows)
    took = {event["revision"]: event["seconds"] for event in outcome.events if event["event"] == "applied"}
    order = [revision.revision for revision in before.plan.pending]
    answer["applied"] = describe(after, {name: took.get(name) for name in order if name in fresh})
    if not after.plan.pending and not after.plan.unknown:
        if outcome.ending:
            answer["warnings"].append(f"The app's process {outcome.ending}, yet every revision is applied.")
        return ""
    return _failed(request, answer, outcome)


def _failed(request: Request, answer: dict[str, Any], outcome: runner.Outcome) -> str:
    count = len(answer["applied"])
    standing = (
        f"{count} revision{'s were' if count > 1 else ' was'} applied and committed before it."
        if count
        else "Nothing was applied: the database is as it was."
    )
    error, begun = outcome.error, outcome.unfinished
    if error:
        words = f"{error['type']}: {error['message']}"
        answer["exception"] = error["trace"]
    else:
        words = f"the app's process {outcome.ending}" if outcome.ending else "Alembic ended, yet revisions are pending"
        if outcome.output:
            answer["app_output"] = outcome.output.splitlines()
    if begun is None:
        cause = f"The upgrade of {request.app!r} with {answer['python']} failed: {words}."
        return f"{cause} {standing} Run bin/alembic upgrade heads by hand to see why."
    statement = " ".join(((error and error["statement"]) or "").split())[:_STATEMENT_CHARACTERS]
    answer["failed_revision"] = {
        "revision": begun["revision"],
        "path": begun["path"],
        "statement": statement,
        "error": words,
    }
    where = f" in the statement: {statement}" if statement else ""
    cause = f"Revision {begun['revision']} ({begun['path']}) failed: {words}{where}."
    return f"{cause} {standing} Mend the revision and run again."
