# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is kept of an applied revision, so that something is known of it when the code has it no more, or another one.

It is kept where the database is, or in a file (``change.history``), and read by every look as data that anybody may
have written.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..problem import Refused
from .file import Revision

_COMMIT = re.compile(r"[0-9a-f]{7,64}")


class Applied(NamedTuple):
    """An applied revision: what its file said (``down_revision`` is None where nobody knows) and its SHA-256.

    ``at`` (ISO 8601, UTC) and ``commit``, the one that was checked out, are empty where it was applied by hand.
    """

    down_revision: tuple[str, ...] | None = None
    depends_on: tuple[str, ...] = ()
    branch_labels: tuple[str, ...] = ()
    checksum: str = ""
    file: str = ""
    at: str = ""
    commit: str = ""


_EMPTY = Applied()._asdict()


def of(revision: Revision, text: str = "", *, at: str = "", commit: str = "") -> Applied:
    """What is to be kept of a revision whose file has this text; its checksum is empty where the text is not known."""
    checksum = hashlib.sha256(text.encode("utf-8", errors="surrogateescape")).hexdigest() if text else ""
    name = revision.path.rpartition("/")[2]
    return Applied(
        revision.down_revision, revision.depends_on, revision.branch_labels, checksum, name, at=at, commit=commit
    )


def read(entries: Any) -> dict[str, Applied]:
    """Revision → what is kept of it; an entry that is a text is a checksum, which was all that once was kept.

    :param entries: what JSON gave, of which nothing is certain.
    :raises ValueError: where it is something else.
    """
    if not isinstance(entries, Mapping):
        raise ValueError("it is no object")
    return {str(name): _read({"checksum": each} if isinstance(each, str) else each) for name, each in entries.items()}


def _read(entry: Any) -> Applied:
    if not isinstance(entry, Mapping):
        raise ValueError(f"an entry is {entry!r}")
    # There are hundreds, and each look reads all of them.
    found = {name: value for name, value in entry.items() if name in _EMPTY and value is not None}
    for name, value in found.items():
        if not isinstance(value, str if isinstance(_EMPTY[name], str) else list):
            raise ValueError(f"{name} is {value!r}")
        if isinstance(value, list):
            found[name] = tuple(map(str, value))
    return Applied(**found)


def checksums_file(directory: str, app: str) -> Path:
    """Where it is kept when there is no place in the database."""
    return Path(directory, f"{app}.checksums.json")


def read_file(directory: str, app: str) -> dict[str, Applied]:
    """What that file holds; nothing where it is not there.

    :raises Refused: where it cannot be understood.
    """
    path = checksums_file(directory, app)
    try:
        return read(json.loads(path.read_text(encoding="utf-8"))["revisions"])
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(
            "checksums_unreadable",
            f"{path} cannot be read: {error}.",
            "Correct it, or move it away: the next upgrade makes a new one.",
        ) from None


def commit_of(entry: Applied) -> str:
    """The commit that was checked out when it was applied; empty where that is not known, or is no commit's name."""
    return entry.commit if _COMMIT.fullmatch(entry.commit) else ""
