# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was done to the schema, when and by whom, and what the applied revision files looked like.

Two files for each app. ``<app>.history.jsonl`` gets a line of JSON for each run that touched the
database; logrotate may take it away. ``<app>.checksums.json`` is never rotated: every look compares an applied
revision's file with it.
"""

from __future__ import annotations

import json
import os
import pwd
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..observe.answer import Answer, Database, Revision
from ..observe.observation import Ready
from ..observe.revision_files import checksums_file, current_checksums, kept_checksums

_DIRECTORY_MODE = 0o750
_FILE_MODE = 0o640


def keep(after: Ready, answer: Answer) -> None:
    """Write down what a run did. That this fails is a warning: the database is as it is."""
    where = answer.database or Database()
    entry = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "app": after.request.app,
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        # who became that user
        "login": os.environ.get("SUDO_USER", ""),
        "host": os.uname().nodename,
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
        _append(after.request.history_dir, after.request.app, entry)
    except OSError as error:
        answer.warn(_unwritten(after, error))
    else:
        keep_checksums(after, answer)


def keep_checksums(after: Ready, answer: Answer) -> None:
    """Keep the checksums of what is applied: new ones of what was applied now, and none of what was undone.

    Of a revision that was applied before, by whomever, the checksum is kept that is there, else the file's as it is.
    """
    directory, app = after.request.history_dir, after.request.app
    kept, fresh = kept_checksums(directory, app), current_checksums(after)
    now, gone = {*_seconds(answer.applied), *answer.stamped}, _seconds(answer.reverted)
    applied = {name: value for name, value in fresh.items() if name in now}
    wanted = {name: value for name, value in {**fresh, **kept, **applied}.items() if name not in gone}
    if wanted == kept:
        return
    try:
        _replace(checksums_file(directory, app), {"revisions": dict(sorted(wanted.items()))})
    except OSError as error:
        answer.warn(_unwritten(after, error))


def _append(directory: str, app: str, entry: dict[str, Any]) -> None:
    """Add a line to the history. One write in append mode: lines of two runs do not mix."""
    os.makedirs(directory, mode=_DIRECTORY_MODE, exist_ok=True)
    descriptor = os.open(Path(directory, f"{app}.history.jsonl"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, _FILE_MODE)
    try:
        os.fchmod(descriptor, _FILE_MODE)
        os.write(descriptor, json.dumps(entry).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: Path, content: dict[str, Any]) -> None:
    """Put a whole file in the place of another one."""
    os.makedirs(path.parent, mode=_DIRECTORY_MODE, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            json.dump(content, file, indent=1)
            file.write("\n")
            file.flush()
            os.fchmod(file.fileno(), _FILE_MODE)
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _seconds(revisions: Iterable[Revision]) -> dict[str, float | None]:
    """Revision → the seconds that it took."""
    return {each.revision: each.seconds for each in revisions}


def _unwritten(after: Ready, error: OSError) -> str:
    return f"What was done cannot be written to {after.request.history_dir}: {error.strerror}."
