# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Apply what an observation found pending, and say truly what came of it."""

from __future__ import annotations

from typing import Any

from . import runner
from .look import Observation, look
from .report import describe, result
from .request import Request

_STATEMENT_CHARACTERS = 500


def as_diff(answer: dict[str, Any]) -> dict[str, str]:
    """The pending revisions as Ansible's ``--diff`` shows them."""
    lines = [f"{each['branch']} {each['revision']} {each['message']} ({each['path']})\n" for each in answer["pending"]]
    return {
        "before_header": f"revisions applied to {answer['database'].get('name', '')}",
        "after_header": f"revisions applied to {answer['database'].get('name', '')}",
        "before": "",
        "after": "".join(lines),
    }


def apply(request: Request, before: Observation) -> tuple[dict[str, Any], str]:
    """Run ``upgrade heads`` and look again.

    The database is asked, not the process: only what the version table says afterwards counts.

    :returns: the module's result, and why it failed (empty where it did not).
    """
    outcome = runner.upgrade(request.config_file)
    after = look(request)
    answer = result(after)
    took = {event["revision"]: event["seconds"] for event in outcome.events if event["event"] == "applied"}
    assert before.plan is not None and before.graph is not None
    if after.plan is None or after.graph is None:
        answer["pending"] = result(before)["pending"]
        return answer, f"The upgrade was run, but the database cannot be looked at afterwards: {answer['state_reason']}"
    fresh = after.graph.applied(after.plan.rows) - before.graph.applied(before.plan.rows)
    # Alembic's own order where it told it; a plan made in another process may since have been overtaken.
    order = (outcome.last("planned") or {"pending": [each.revision for each in before.plan.pending]})["pending"]
    answer["applied"] = describe(after, {name: took.get(name) for name in order if name in fresh})
    answer["pending"] = result(before)["pending"]
    answer["current_before"] = list(before.plan.rows)
    answer["changed"] = after.plan.rows != before.plan.rows
    if not after.plan.pending and not after.plan.unknown:
        if outcome.ending:
            answer["warnings"].append(f"The app's process {outcome.ending}, but every revision was applied before.")
        return answer, ""
    return _failed(answer, outcome)


def _failed(answer: dict[str, Any], outcome: runner.Outcome) -> tuple[dict[str, Any], str]:
    count = len(answer["applied"])
    standing = (
        f"{count} revision{'s were' if count > 1 else ' was'} applied and committed before it."
        if count
        else "Nothing was applied: the database is as it was."
    )
    error = outcome.error
    if error is None:
        words = f"The app's process {outcome.ending}" if outcome.ending else "Alembic ended, yet revisions are pending"
        if outcome.output:
            answer["app_output"] = outcome.output.splitlines()
        return answer, f"{words}. {standing} Run bin/alembic upgrade heads by hand to see why."
    answer["exception"] = error["trace"]
    if "revision" not in error:
        return answer, f"The upgrade failed: {error['type']}: {error['message']}. {standing} Mend it and run again."
    statement = " ".join((error["statement"] or "").split())[:_STATEMENT_CHARACTERS]
    answer["failed_revision"] = {
        "revision": error["revision"],
        "path": error["path"],
        "statement": statement,
        "error": f"{error['type']}: {error['message']}",
    }
    where = f" in the statement: {statement}" if statement else ""
    cause = f"Revision {error['revision']} ({error['path']}) failed: {error['type']}: {error['message']}{where}."
    return answer, f"{cause} {standing} Mend the revision and run again."
