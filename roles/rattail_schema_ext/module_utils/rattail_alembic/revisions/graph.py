# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Revision files to branches, heads, ancestors and dependencies, as Alembic's ScriptDirectory sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..problem import Refused
from .applied import Applied
from .file import Revision, RevisionFile, Unreadable, is_revision_file, read_revision

__all__ = ["Graph", "Revision", "RevisionFile", "Unreadable", "is_revision_file", "read_revision"]


class Graph:
    """The revisions of all version locations, in Alembic's load order.

    That order is the locations' as configured and, inside a location, the names' (in Alembic 1.7,
    the directory's own). Raises ``Refused``: ``revision_duplicate`` (Alembic, 1.7 to 1.20, only
    warns and goes on with the file it read last, so that the other is never applied),
    ``label_duplicate``, ``revision_missing`` and ``revision_cycle``.
    """

    def __init__(self, revisions: Iterable[Revision]) -> None:
        self.revisions: dict[str, Revision] = {}
        for revision in revisions:
            other = self.revisions.setdefault(revision.revision, revision)
            if other is not revision:
                raise Refused(
                    "revision_duplicate",
                    f"The revision {revision.revision} is in two files, {other.path} and {revision.path}.",
                    "Remove one of them, or give it a revision identifier of its own.",
                )
        # Revisions and branch labels share one name space.
        self._ids = {name: name for name in self.revisions}
        for name, revision in self.revisions.items():
            for label in revision.branch_labels:
                if label in self._ids:
                    raise Refused(
                        "label_duplicate",
                        f"The branch label {label} in {revision.path} is already a name in "
                        f"{self.revisions[self._ids[label]].path}.",
                        "Choose another label.",
                    )
                self._ids[label] = name
        self._down = {name: revision.down_revision for name, revision in self.revisions.items()}
        self._needs = {name: self._checked_needs(revision) for name, revision in self.revisions.items()}
        # A Python without it is told that it is too old, by this very code.
        from graphlib import CycleError, TopologicalSorter

        try:
            TopologicalSorter(self._needs).prepare()
        except CycleError as error:
            cycle = [self.revisions[name] for name in error.args[1][1:]]
            raise Refused(
                "revision_cycle",
                f"The revisions {', '.join(sorted(r.revision for r in cycle))} need each other.",
                f"Correct down_revision or depends_on in {' or '.join(sorted(r.path for r in cycle))}.",
            ) from error
        self.heads = self._newest(self.revisions)

    @classmethod
    def from_files(cls, files: Iterable[RevisionFile]) -> Graph:
        """The graph of ``files``, given in load order; a path that comes again is passed over, as by Alembic.

        Raises what the constructor raises, and ``Unreadable``.
        """
        by_path: dict[str, RevisionFile] = {}
        for file in files:
            by_path.setdefault(file.path, file)
        return cls(read_revision(file) for file in by_path.values())

    def resolve(self, name: str) -> str:
        """The revision that ``name``, an identifier in full or a branch label, means in ``depends_on``.

        RevisionMap._add_depends_on knows no prefixes. Raises ``Refused`` (``revision_missing``).
        """
        if name not in self._ids:
            raise self._missing(f"{name} is neither a revision nor a branch label of the version locations.", name)
        return self._ids[name]

    def ancestors(self, revisions: Iterable[str]) -> frozenset[str]:
        """``revisions`` (all known) and everything they need, by ``down_revision`` and ``depends_on``."""
        return reach(revisions, self._needs)

    def unknown(self, rows: Iterable[str]) -> tuple[str, ...]:
        """The version rows that are no revision here."""
        return tuple(row for row in rows if row not in self.revisions)

    def reached(self, rows: Iterable[str], past: Mapping[str, Applied]) -> frozenset[str]:
        """All that the version rows imply, be it in this code or not, as far as it goes on from there.

        :param past: what is known of revisions that were applied. What the graph has of one counts.
        """
        labels = {label: name for name, each in past.items() for label in each.branch_labels} | self._ids
        needs = {name: self._needs_of(each, labels) for name, each in past.items()}
        return reach(rows, {**needs, **self._needs})

    @staticmethod
    def _needs_of(each: Applied, labels: Mapping[str, str]) -> tuple[str, ...]:
        return (*(each.down_revision or ()), *(labels.get(name, name) for name in each.depends_on))

    def applied(self, rows: Iterable[str]) -> frozenset[str]:
        """Every revision that the known ones of the version rows imply."""
        return self.ancestors(row for row in rows if row in self.revisions)

    def pending(self, rows: Iterable[str]) -> frozenset[str]:
        """What ``upgrade heads`` would apply, from the known ones of the version rows."""
        return frozenset(self.revisions) - self.applied(rows)

    def overlapping(self, rows: Iterable[str]) -> tuple[str, ...]:
        """The version rows that another one implies: Alembic writes no such rows, nor upgrades from them."""
        known = [row for row in dict.fromkeys(rows) if row in self.revisions]
        return tuple(row for row in known if row in self.ancestors(other for other in known if other != row))

    def heads_in(self, location: str) -> tuple[str, ...]:
        """The newest revisions of a version location: none of its others comes after them in a branch."""
        return self._newest({name for name, r in self.revisions.items() if r.location == location})

    def current_in(self, location: str, rows: Iterable[str]) -> tuple[str, ...]:
        """The newest applied revisions of a version location; its ``heads_in``, when nothing is pending."""
        return self._newest({name for name in self.applied(rows) if self.revisions[name].location == location})

    def ordered(self, rows: Iterable[str]) -> list[Revision]:
        """The pending revisions in the order in which ``upgrade heads`` applies them, by Alembic's own sort.

        Where one revision depends on several others, Alembic goes by the order of a set: the next
        process may take those branches the other way round. Imports alembic; raises ``Refused``
        (``rows_overlap``), where Alembic raises too.
        """
        known = tuple(row for row in dict.fromkeys(rows) if row in self.revisions)
        overlapping = self.overlapping(known)
        if overlapping:
            raise Refused(
                "rows_overlap",
                f"The version table holds {', '.join(overlapping)} beside a row that already implies it.",
                "Find out who wrote that row, and delete it from the version table.",
            )
        newest_first = self.revision_map().iterate_revisions("heads", known, implicit_base=True)
        return [self.revisions[found.revision] for found in newest_first][::-1]

    def revision_map(self) -> Any:
        """The same revisions as Alembic has them. Imports alembic."""
        from alembic.script.revision import Revision as AlembicRevision
        from alembic.script.revision import RevisionMap

        revisions = [
            AlembicRevision(r.revision, r.down_revision, r.depends_on, r.branch_labels) for r in self.revisions.values()
        ]
        return RevisionMap(lambda: revisions)

    def _checked_needs(self, revision: Revision) -> tuple[str, ...]:
        """What must be applied before ``revision``."""
        for field, names, known in (
            ("down_revision", revision.down_revision, self.revisions),
            ("depends_on", revision.depends_on, self._ids),
        ):
            for name in names:
                if name not in known:
                    raise self._missing(f"{revision.path} has {field} {name}, which no version location holds.", name)
        return (*revision.down_revision, *(self._ids[name] for name in revision.depends_on))

    def _missing(self, cause: str, name: str) -> Refused:
        meant = {self._ids[known] for known in self._ids if known.startswith(name)}
        remedy = f"Write {meant.pop()} in full." if len(meant) == 1 else "Add the location that holds it."
        return Refused("revision_missing", cause, remedy)

    def _newest(self, subset: Iterable[str]) -> tuple[str, ...]:
        """Those of ``subset`` that are no ancestor of another by ``down_revision``, in load order."""
        chosen = set(subset)
        older = reach((down for name in chosen for down in self._down[name]), self._down)
        return tuple(name for name in self.revisions if name in chosen and name not in older)


def reach(start: Iterable[str], edges: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """Everything that ``edges`` lead to from ``start``, itself included; of what they do not have, nothing more."""
    seen: set[str] = set()
    todo = list(start)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(edges.get(name, ()))
    return frozenset(seen)
