# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was done to the schema, when and by whom, and what the applied revision files looked like.

Of each app, ``<app>.history.jsonl`` gets a line for each run that touched the database; logrotate may take it away.
``<app>.checksums.json`` stays: every look compares an applied revision's file with it.
"""

from __future__ import annotations

import json
import os
import pwd
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from ..observe.answer import Answer, Revision
from ..observe.observation import Ready
from ..observe.revision_files import checksums_file, current_checksums, kept_checksums
from ..problem import mask

_DIRECTORY_MODE = 0o750
_FILE_MODE = 0o640


def keep(after: Ready, answer: Answer, *, line: bool = True) -> None:
    """Write down what a run did. That this fails is a warning: the database is as it is.

    :param line: whether it did something itself, so that the history gets a line, and not the checksums alone.
    """
    directory, app = after.request.history_dir, after.request.app
    try:
        os.makedirs(directory, mode=_DIRECTORY_MODE, exist_ok=True)
        if line:
            entry = json.dumps(_entry(after, answer)).encode() + b"\n"
            history = Path(directory, f"{app}.history.jsonl")
            # One write in append mode: lines of two runs do not mix.
            with open(history, "ab", buffering=0, opener=partial(os.open, mode=_FILE_MODE)) as file:
                os.fchmod(file.fileno(), _FILE_MODE)
                file.write(entry)
                os.fsync(file.fileno())
        kept = kept_checksums(directory, app)
        wanted = _checksums(after, answer, kept)
        if wanted != kept:
            _replace(checksums_file(directory, app), {"revisions": dict(sorted(wanted.items()))})
    except OSError as error:
        answer.warn(f"What was done cannot be written to {directory}: {error.strerror}.")


def _entry(after: Ready, answer: Answer) -> dict[str, Any]:
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "app": after.request.app,
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        # who became that user
        "login": os.environ.get("SUDO_USER", ""),
        "host": os.uname().nodename,
        "database": {name: getattr(answer.database, name) for name in ("name", "host", "port", "user")},
        "from": answer.current_before,
        "to": answer.current_after,
        "applied": _seconds(answer.applied),
        "reverted": _seconds(answer.reverted),
        "stamped": answer.stamped,
        "commit": after.checkout.commit,
        "backup_file": answer.backup.file if answer.backup else "",
        "retries": answer.retries,
        "failed": mask(answer.msg),
    }


def _checksums(after: Ready, answer: Answer, kept: dict[str, str]) -> dict[str, str]:
    """The checksums of what is applied: new ones of what was applied now, and none of what was undone.

    Of a revision that was applied before, by whomever, the checksum is kept that is there, else the file's as it is.
    """
    fresh = current_checksums(after)
    now, gone = {*_seconds(answer.applied), *answer.stamped}, _seconds(answer.reverted)
    applied = {name: value for name, value in fresh.items() if name in now}
    return {name: value for name, value in {**fresh, **kept, **applied}.items() if name not in gone}


def _replace(path: Path, content: dict[str, Any]) -> None:
    """Put a whole file in the place of another one."""
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
