# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A config file on disk: its bytes, its owner, and whether it can be replaced without losing that."""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path

from ..host.environment import user_name
from ..problem import Refused


def read(path: str) -> bytes:
    """:raises Refused: where there is no such file, or it may not be read."""
    try:
        return Path(path).read_bytes()
    except PermissionError:
        user = user_name(os.geteuid())
        raise Refused(
            "config_forbidden",
            f"The config file {path} cannot be read by {user}.",
            _let_read(path, user),
        ) from None
    except OSError as error:
        raise Refused(
            "config_missing",
            f"There is no config file {path} ({error.strerror}).",
            "Create it with the database's URL (default.url in [rattail.db] or [wutta.db]), "
            "or correct rattail_schema_ext_config_file.",
        ) from None


def _let_read(path: str, user: str) -> str:
    """What is to be done so that ``user``, who runs this, may read the file."""
    try:
        mine = os.stat(path).st_uid == os.geteuid()
    except PermissionError:
        return f"Open the directory above it that is closed (namei -l {path} shows which), or move the file."
    return f"Let that user read it: {'' if mine else f'chown {user} {path} && '}chmod u+r {path}."


def owner(path: str) -> str:
    """The name of the user who owns the file, links followed."""
    return user_name(os.stat(path).st_uid)


def is_kept(path: str, by: int) -> bool:
    """Whether nobody but root and the user with the number ``by`` can put another file into the place of ``path``.

    Every directory and every link on the way there has to be theirs.
    """
    try:
        os.stat(path)  # fails where links go round in a circle
        return _is_kept(Path(path), {0, by})
    except OSError:
        return False


def _is_kept(path: Path, by: set[int]) -> bool:
    for place in (*reversed(path.parents), path):
        there = os.lstat(place)
        others_write = stat.S_ISDIR(there.st_mode) and there.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if there.st_uid not in by or (others_write and not there.st_mode & stat.S_ISVTX):
            return False
        if stat.S_ISLNK(there.st_mode):
            return _is_kept(place.parent / os.readlink(place) / path.relative_to(place), by)
    return True


def refuse_irreplaceable(path: str) -> None:
    """:raises Refused: where this process cannot rename another file of the same owner and group into its place."""
    there = os.stat(path)
    refuse_lost_owner(path, there.st_uid, there.st_gid, os.geteuid(), {os.getegid(), *os.getgroups()})
    directory = os.path.dirname(os.path.realpath(path))
    if not os.access(directory, os.W_OK):
        raise Refused(
            "config_not_writable",
            f"{path} has to change, but {user_name(os.geteuid())} may not write to {directory}.",
            "Give the directory to that user, "
            "or set rattail_schema_ext_config_enabled: false and manage the section yourself.",
        )


def refuse_lost_owner(path: str, owner: int, group: int, user: int, groups: set[int]) -> None:
    """Only root may give a file to another user, and other users only to a group of their own (all are numbers).

    :raises Refused: where the file, replaced by ``user``, would not keep its owner and group.
    """
    if user == 0 or (owner == user and group in groups):
        return
    raise Refused(
        "config_owner",
        f"The config file {path} belongs to {user_name(owner)} and group {_group_name(group)},"
        f" and {user_name(user)} cannot replace it without changing that.",
        f"Give it to the user that runs this: chown {user_name(user)}:{_group_name(min(groups))} {path},"
        " or keep it below directories that only root can write to, and set rattail_schema_ext_config_file.",
    )


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
