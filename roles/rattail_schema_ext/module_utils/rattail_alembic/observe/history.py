# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was done to the schema, when and by whom, and what the applied revision files looked like.

Two files for each app. ``<app>.history.jsonl`` gets a line of JSON for each run that touched the
database; logrotate may take it away. ``<app>.checksums.json`` is never rotated: it is what an applied
revision's file is held against ever after.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..problem import Refused
from .answer import Answer, Database, Revision
from .observation import Observation

_DIRECTORY_MODE = 0o750
_FILE_MODE = 0o640


def history_file(directory: str, app: str) -> Path:
    """Where the runs are written down."""
    return Path(directory, f"{app}.history.jsonl")


def checksums_file(directory: str, app: str) -> Path:
    """Where the checksums of applied revision files are kept."""
    return Path(directory, f"{app}.checksums.json")


def refuse_unwritable(directory: str) -> None:
    """See beforehand that a run can be written down.

    :raises Refused: where the directory is there and not ours to write, or cannot be made.
    """
    place = directory
    while not os.path.isdir(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    if not os.access(place, os.W_OK | os.X_OK):
        raise Refused(
            "history_unwritable",
            f"The history of the schema cannot be written to {directory}: {place} is not writable for "
            f"{pwd.getpwuid(os.geteuid()).pw_name}.",
            f"Make it that user's, or set rattail_schema_ext_history_dir to a directory that is (now {directory}).",
        )


def append(directory: str, app: str, entry: Mapping[str, Any]) -> None:
    """Add a line to the history, with the time and who it was.

    One write in append mode: lines of two runs do not mix.

    :raises OSError: where it cannot be written.
    """
    _make(directory)
    line = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "app": app, **_who(), **entry}
    path = history_file(directory, app)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _FILE_MODE)
    try:
        os.fchmod(descriptor, _FILE_MODE)
        os.write(descriptor, json.dumps(line).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _who() -> dict[str, str]:
    """The user that wrote, the one who became it, and the host."""
    return {
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "login": os.environ.get("SUDO_USER", ""),
        "host": os.uname().nodename,
    }


def checksum(text: str) -> str:
    """The SHA-256 of a revision file's text."""
    return hashlib.sha256(text.encode("utf-8", errors="surrogateescape")).hexdigest()


def checksums(directory: str, app: str) -> dict[str, str]:
    """Revision → checksum of its file when it was applied; empty where none were kept.

    :raises Refused: where the file cannot be understood.
    """
    path = checksums_file(directory, app)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(value) for name, value in found["revisions"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(
            "checksums_unreadable",
            f"{path} cannot be read: {error}.",
            "Correct it, or move it away: it is begun anew with the next upgrade.",
        ) from None


def keep_checksums(
    directory: str,
    app: str,
    *,
    seen: Mapping[str, str],
    applied: Mapping[str, str],
    reverted: Collection[str] = (),
) -> None:
    """Bring the kept checksums up to date.

    :param seen: revisions that were applied before, by whomever: kept where nothing is known of them yet.
    :param applied: revisions that were applied now.
    :param reverted: revisions that were undone now.
    :raises OSError: where they cannot be written.
    """
    before = checksums(directory, app)
    after = {name: value for name, value in {**seen, **before, **applied}.items() if name not in reverted}
    if after == before:
        return
    _make(directory)
    path = checksums_file(directory, app)
    with tempfile.NamedTemporaryFile("w", dir=directory, prefix=f".{path.name}.", delete=False) as file:
        try:
            json.dump({"revisions": dict(sorted(after.items()))}, file, indent=1)
            file.write("\n")
            file.flush()
            os.fchmod(file.fileno(), _FILE_MODE)
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _make(directory: str) -> None:
    """Make the directory, unless it is there: the mode of one that exists is its owner's affair."""
    try:
        os.makedirs(directory, mode=_DIRECTORY_MODE)
    except FileExistsError:
        return


def keep(after: Observation, answer: Answer) -> None:
    """Write down what a run did. That this fails is a warning: the database is where it is."""
    request = after.request
    where = answer.database or Database()
    entry = {
        "database": {"name": where.name, "host": where.host, "port": where.port, "user": where.user},
        "from": answer.current_before,
        "to": answer.current_after,
        "applied": _seconds(answer.applied),
        "reverted": _seconds(answer.reverted),
        "stamped": answer.stamped,
        "commit": after.checkout.commit,
        "backup_file": answer.backup.file if answer.backup else "",
        "retries": answer.retries,
        "failed": answer.msg,
    }
    try:
        append(request.history_dir, request.app, entry)
    except OSError as error:
        answer.warn(_unwritten(request.history_dir, error))
    else:
        keep_applied(after, answer)


def keep_applied(after: Observation, answer: Answer) -> None:
    """Keep the checksums of what is applied: anew of what was applied now, and none of what was undone."""
    request = after.request
    fresh = current_checksums(after)
    now = {*_seconds(answer.applied), *answer.stamped}
    try:
        keep_checksums(
            request.history_dir,
            request.app,
            seen=fresh,
            applied={name: value for name, value in fresh.items() if name in now},
            reverted=_seconds(answer.reverted),
        )
    except OSError as error:
        answer.warn(_unwritten(request.history_dir, error))


def _seconds(revisions: Iterable[Revision]) -> dict[str, float | None]:
    """Revision → the seconds that it took."""
    return {each.revision: each.seconds for each in revisions}


def _unwritten(directory: str, error: OSError) -> str:
    return f"What was done cannot be written to {directory}: {error.strerror}."


def current_checksums(seen: Observation) -> dict[str, str]:
    """The checksums, as they are now, of the files of all applied revisions that are not core's."""
    assert seen.graph is not None and seen.plan is not None
    core = seen.request.base.version_location
    applied = seen.graph.applied(seen.plan.rows)
    return {
        name: checksum(seen.texts[revision.path])
        for name, revision in seen.graph.revisions.items()
        if name in applied and revision.location != core and revision.path in seen.texts
    }


def warn_of_edits(seen: Observation) -> list[str]:
    """Warnings about applied revisions whose file is another than when it was applied.

    :raises Refused: where the kept checksums cannot be read.
    """
    kept = checksums(seen.request.history_dir, seen.request.app)
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
