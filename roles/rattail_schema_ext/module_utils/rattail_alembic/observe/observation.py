# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What one look saw, as far as it came."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..config import section
from ..host import git
from ..postgres.contents import Contents
from ..postgres.url import Target
from ..problem import Problem
from ..revisions.graph import Graph, RevisionFile
from ..revisions.locations import Location
from ..revisions.plan import EMPTY, Plan
from .request import Request

if TYPE_CHECKING:
    from ..host.commits import Commits
    from ..revisions.script import Facts


@dataclass
class Observation:
    """What was seen. A part that could not be looked at keeps its empty value, and a problem says why."""

    request: Request
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
    own_files: list[RevisionFile] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Facts] = field(default_factory=dict)
    graph: Graph | None = None
    versions_needed: bool = False
    install_reason: str = ""
    target: Target | None = None
    direct: Target | None = None
    contents: Contents | None = None
    version_table: str = ""
    plan: Plan | None = None
    fast_path: bool = True

    @property
    def way(self) -> Target | None:
        """The way to the database: past a pooler where there is one, else the app's own."""
        return self.direct or self.target

    @property
    def backup_wanted(self) -> bool:
        """Whether something is pending on a database that holds something."""
        if self.request.backup == "none" or self.plan is None or not self.plan.pending:
            return False
        # one without core's tables may hold another application's
        return self.plan.state != EMPTY or self.contents is None or self.contents.tables

    @property
    def moves(self) -> bool:
        """Whether the work tree is not at the commit wanted."""
        return self.wanted is not None and self.wanted.differs_from(self.checkout)

    @property
    def source_failed(self) -> bool:
        """Whether it is not known which commit is wanted, though one is."""
        return self.request.repository is not None and self.wanted is None

    @property
    def todo(self) -> list[str]:
        """The phases that have something to do, in order."""
        if self.problems:
            return []
        return [
            phase
            for phase, needed in (
                ("source", self.moves),
                ("install", bool(self.install_reason)),
                ("config", self.section is not None and self.section.needed),
                ("versions", self.versions_needed),
                ("upgrade", self.plan is not None and bool(self.plan.pending)),
            )
            if needed
        ]
