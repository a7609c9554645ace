# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write down what a run did to a database: its line of the history, and the checksums of what is applied."""

from __future__ import annotations

from typing import Any

from . import history
from .observation import Observation


def keep(after: Observation, answer: dict[str, Any], failure: str) -> None:
    """Write it down. That this fails is a warning: the database is where it is."""
    request = after.request
    entry = {
        "database": {name: answer["database"].get(name) for name in ("name", "host", "port", "user")},
        "from": answer["current_before"],
        "to": answer["current_after"],
        "applied": _seconds(answer, "applied"),
        "reverted": _seconds(answer, "reverted"),
        "stamped": answer.get("stamped", []),
        "commit": after.checkout.commit,
        "backup_file": answer.get("backup_file", ""),
        "retries": answer["retries"],
        "failed": failure,
    }
    try:
        history.append(request.history_dir, request.app, entry)
    except OSError as error:
        answer["warnings"].append(_unwritten(request.history_dir, error))
    else:
        keep_checksums(after, answer)


def keep_checksums(after: Observation, answer: dict[str, Any]) -> None:
    """Keep the checksums of what is applied: anew of what was applied now, and none of what was undone."""
    request = after.request
    fresh = current_checksums(after)
    now = {*_seconds(answer, "applied"), *answer.get("stamped", [])}
    try:
        history.keep_checksums(
            request.history_dir,
            request.app,
            seen=fresh,
            applied={name: value for name, value in fresh.items() if name in now},
            reverted=_seconds(answer, "reverted"),
        )
    except OSError as error:
        answer["warnings"].append(_unwritten(request.history_dir, error))


def _seconds(answer: dict[str, Any], what: str) -> dict[str, float | None]:
    """Revision → the seconds that it took, of those ``applied`` or ``reverted``."""
    return {each["revision"]: each["seconds"] for each in answer.get(what, [])}


def _unwritten(directory: str, error: OSError) -> str:
    return f"What was done cannot be written to {directory}: {error.strerror}."


def current_checksums(seen: Observation) -> dict[str, str]:
    """The checksums, as they are now, of the files of all applied revisions that are not core's."""
    assert seen.graph is not None and seen.plan is not None
    core = seen.request.base.version_location
    applied = seen.graph.applied(seen.plan.rows)
    return {
        name: history.checksum(seen.texts[revision.path])
        for name, revision in seen.graph.revisions.items()
        if name in applied and revision.location != core and revision.path in seen.texts
    }


def warn_of_edits(seen: Observation) -> list[str]:
    """Warnings about applied revisions whose file is another than when it was applied.

    :raises Refused: where the kept checksums cannot be read.
    """
    kept = history.checksums(seen.request.history_dir, seen.request.app)
    if not kept:
        return []
    assert seen.graph is not None
    return [
        f"The file of revision {name} ({seen.graph.revisions[name].path}) was changed after it had been applied: "
        "databases that have it and databases that get it now will differ. Undo the change, and put it into a "
        "revision of its own."
        for name, value in current_checksums(seen).items()
        if name in kept and kept[name] != value
    ]
