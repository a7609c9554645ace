# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What one look saw: as far as it came, and, where it found no problem, as what follows stands on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, NoReturn, Protocol

from ..config import section
from ..host import git
from ..postgres.contents import Contents
from ..postgres.url import Target
from ..problem import Problem, Refused
from ..revisions.applied import Applied
from ..revisions.graph import Graph, Revision, RevisionFile
from ..revisions.locations import Location
from ..revisions.plan import EMPTY, Plan
from .request import Request


class DeeperNeeded(Exception):
    """The look takes more than files and one query."""


def _needed(*_arguments: Any) -> NoReturn:
    raise DeeperNeeded


class Deeper(NamedTuple):
    """What a look needs more, where something is to be done or the config cannot be read as text; see ``look``."""

    look_at_commit: Callable[[Observation, git.Repository, git.Wanted], None] = _needed
    look_at_pending: Callable[[Observation], None] = _needed
    earlier_revisions: Callable[[Observation], Mapping[str, Applied]] = _needed
    database_url: Callable[[Observation], str] = _needed
    version_table: Callable[[Observation, Contents], tuple[tuple[str, ...], str, int]] = _needed
    revisions: Callable[[Observation, Sequence[tuple[str, str]]], list[dict[str, Any]]] = _needed


class Commits(Protocol):
    """What is read of commits that are not checked out; see :class:`host.commits.Commits`, which no look imports."""

    def tree(self, commit: str) -> str: ...

    def files(self, commit: str, below: str = "") -> list[str]: ...

    def present(self, commit: str, names: Iterable[str]) -> list[str]: ...

    def read(self, commit: str, names: list[str]) -> dict[str, bytes]: ...

    def changes(self, before: str, after: str, names: tuple[str, ...]) -> list[str]: ...


@dataclass
class Observation:
    """What was seen. A part that could not be looked at keeps its empty value, and a problem says why.

    ``not_yet`` is why the app cannot be asked before it is installed, and so it is not known what is pending.
    """

    request: Request
    deeper: Deeper
    closing: ExitStack = field(default_factory=ExitStack)  # once the look is over
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    alembic: str = ""
    checkout: git.Checkout = field(default_factory=lambda: git.Checkout(""))
    wanted: git.Wanted | None = None
    commits: Commits | None = None
    moved_tags: list[str] = field(default_factory=list)
    config_owner: str = ""
    options: dict[str, str] = field(default_factory=dict)
    section: section.Wanted | None = None
    locations: list[Location] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    leaving: frozenset[str] = frozenset()
    concurrent_indexes: Mapping[str, str] = field(default_factory=dict)
    graph: Graph | None = None
    versions_needed: bool = False
    install_reason: str = ""
    target: Target | None = None
    way: Target | None = None
    contents: Contents | None = None
    version_table: str = ""
    past: Mapping[str, Applied] = field(default_factory=dict)
    plan: Plan | None = None
    fast_path: bool = True
    not_yet: Problem | None = None

    @property
    def source_failed(self) -> bool:
        """Whether it is not known which commit is wanted, though one is."""
        return self.request.repository is not None and self.wanted is None

    @property
    def todo(self) -> list[str]:
        """The phases that have something to do, in order."""
        needed = {
            "source": self.wanted is not None and self.wanted.differs_from(self.checkout),
            "install": self.install_reason,
            "config": self.section is not None and self.section.reasons,
            "versions": self.versions_needed,
            "upgrade": self.not_yet or (self.plan is not None and self.plan.pending),
        }
        return [phase for phase, need in needed.items() if need and not self.problems]

    def ready(self) -> Ready:
        """The same for what follows a look that came to a plan, which every other part comes before.

        :raises Refused: where the app has to be installed first.
        """
        if self.not_yet:
            raise Refused(self.not_yet.code, self.not_yet.cause, self.not_yet.remedy)
        assert self.target and self.contents and self.section and self.graph and self.plan
        return Ready(**{each.name: getattr(self, each.name) for each in fields(Ready)})


@dataclass(frozen=True)
class Ready:
    """What is known once a look has come to a plan; see :class:`Observation`.

    ``target`` is where the app's config leads, and ``way`` how the same database is reached for a change: past a pooler
    where there is one. ``texts`` are those of all revisions, by path. Of the revisions that are to run, ``leaving`` are
    those that leave their transaction, or may do so where they could not be read, and ``concurrent_indexes`` the
    indexes that they build concurrently: index → revision. ``past`` is what is kept of those that were applied.
    """

    request: Request
    checkout: git.Checkout
    section: section.Wanted
    locations: Sequence[Location]
    texts: Mapping[str, str]
    leaving: frozenset[str]
    concurrent_indexes: Mapping[str, str]
    graph: Graph
    target: Target
    way: Target
    contents: Contents
    version_table: str
    past: Mapping[str, Applied]
    plan: Plan
    todo: Sequence[str]

    def file(self, revision: Revision) -> RevisionFile:
        """The file of a revision; without text where that is not known."""
        return RevisionFile(revision.path, revision.location, self.texts.get(revision.path, ""))

    @property
    def redirect(self) -> Target | None:
        """Where the app's connections are led instead; None where they go as they are."""
        return self.way if self.way is not self.target else None

    @property
    def backup_wanted(self) -> bool:
        """Whether something is pending on a database that holds something, be it another application's."""
        holds = self.plan.state != EMPTY or self.contents.tables
        return self.request.backup != "none" and bool(self.plan.pending) and holds
