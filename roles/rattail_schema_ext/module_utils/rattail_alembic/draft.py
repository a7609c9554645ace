# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a child is to write a revision script of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .policy import Prefixes
from .url import Target


class Dependency(NamedTuple):
    """A revision of another branch that has to be there, and why, in a sentence."""

    revision: str
    reason: str


@dataclass(frozen=True)
class Draft:
    """A revision to be written by comparing the app's models with its database.

    ``directories`` are the version locations, ``version_path`` among them, to which the script goes. ``head`` is
    what it follows, none for the first one of a branch, which gets ``label``. ``template_dir`` is the directory
    of a ``script.py.mako`` of the app's, empty for the one beside ``env.py``; ``trim`` says whether imports of the
    template's that nothing uses are taken out. ``depends_on`` tells what foreign keys (pairs of tables: from, to)
    need, and ``owner`` whose a name (schema, name) is.
    """

    app: str
    config_file: str
    target: Target
    direct: Target | None
    directories: tuple[str, ...]
    version_path: str
    message: str
    head: tuple[str, ...]
    label: str
    own: Prefixes
    depends_on: Callable[[Sequence[tuple[str, str]]], list[Dependency]]
    owner: Callable[[str, str], str]
    template_dir: str = ""
    trim: bool = True


@dataclass(frozen=True)
class Drafted:
    """A script that was written, or ``path`` empty where models and database agree.

    ``tables`` are those that it creates, ``left_out`` what it leaves to others (see :func:`operations.told`),
    ``hints`` sentences about what a person has to decide.
    """

    revision: str = ""
    path: str = ""
    text: str = ""
    tables: tuple[str, ...] = ()
    depends_on: tuple[Dependency, ...] = ()
    left_out: tuple[dict[str, Any], ...] = ()
    hints: tuple[str, ...] = ()
