# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A config file on disk: its bytes, its owner, and whether it can be replaced without losing that."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from ..problem import Refused


def read(path: str) -> bytes:
    """The file's bytes.

    :raises Refused: where there is no such file, or it may not be read.
    """
    try:
        return Path(path).read_bytes()
    except PermissionError:
        raise Refused(
            "config_forbidden",
            f"The config file {path} cannot be read by {_user(os.geteuid())}.",
            f"Let that user read it: chown or chgrp {path}.",
        ) from None
    except OSError as error:
        raise Refused(
            "config_missing",
            f"There is no config file {path} ({error.strerror}).",
            "Create it with the database's URL (default.url in [rattail.db] or [wutta.db]), "
            "or correct rattail_schema_ext_config_file.",
        ) from None


def owner(path: str) -> str:
    """The name of the user who owns the file, links followed."""
    return _user(os.stat(path).st_uid)


def refuse_irreplaceable(path: str) -> None:
    """A file is replaced by renaming another one into its place, which has to get the owner and group of the old one.

    :raises Refused: where this process cannot do that.
    """
    there = os.stat(path)
    refuse_lost_owner(path, there.st_uid, there.st_gid, os.geteuid(), {os.getegid(), *os.getgroups()})
    directory = os.path.dirname(os.path.realpath(path))
    if not os.access(directory, os.W_OK):
        raise Refused(
            "config_forbidden",
            f"{path} has to change, but {_user(os.geteuid())} may not write to {directory}.",
            "Give the directory to that user, "
            "or set rattail_schema_ext_config_enabled: false and manage the section yourself.",
        )


def refuse_lost_owner(path: str, owner: int, group: int, user: int, groups: set[int]) -> None:
    """Only root may give a file to somebody else, and anybody only to a group of their own.

    :raises Refused: where the file, replaced by ``user``, would not keep its owner and group (numbers, as all here).
    """
    if user == 0 or (owner == user and group in groups):
        return
    raise Refused(
        "config_owner",
        f"The config file {path} belongs to {_user(owner)} and group {_group(group)},"
        f" and would not any more once {_user(user)} has replaced it.",
        f"Give it to the user that runs this: chown {_user(user)}:{_group(min(groups))} {path}.",
    )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
