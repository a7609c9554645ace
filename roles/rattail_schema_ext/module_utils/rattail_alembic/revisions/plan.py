# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Graph and version rows → the state of the database and the pending revisions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from .graph import Graph, Revision

CURRENT = "current"
BEHIND = "behind"
AHEAD = "ahead"
DIVERGED = "diverged"
UNSTAMPED = "unstamped"
EMPTY = "empty"
UNKNOWN = "unknown"


class Plan(NamedTuple):
    """What ``upgrade heads`` has to do here.

    ``rows`` are the version rows as they are, ``unknown`` those that the code has no revision for,
    and ``pending`` the revisions to apply, in Alembic's order.
    """

    state: str
    rows: tuple[str, ...]
    unknown: tuple[str, ...]
    pending: tuple[Revision, ...]


def make(graph: Graph, rows: Sequence[str], *, core_tables: bool) -> Plan:
    """The plan for a database with these version rows.

    :param core_tables: whether core's tables are there, by which a database without version rows is
        told from an empty one.
    """
    known = [row for row in rows if row in graph.revisions]
    unknown = graph.unknown(rows)
    pending = graph.pending(known)
    if unknown:
        pending -= _hidden(graph, graph.applied(known))
    ordered = tuple(revision for revision in graph.ordered(known) if revision.revision in pending) if pending else ()
    return Plan(_state(rows, unknown, pending, core_tables), tuple(rows), unknown, ordered)


def _state(rows: Sequence[str], unknown: Sequence[str], pending: Collection[str], core_tables: bool) -> str:
    if not rows:
        return UNSTAMPED if core_tables else EMPTY
    if unknown:
        return DIVERGED if pending else AHEAD
    return BEHIND if pending else CURRENT


def _hidden(graph: Graph, applied: frozenset[str]) -> frozenset[str]:
    """Revisions that an unknown row may well stand for.

    A row that the code does not know (newer code was rolled back) takes the place of the row of its
    branch, so that the branch seems never to have been applied. What has no applied revision in its
    line is therefore not pending, as long as there is an unknown row.
    """
    line: dict[str, str] = {name: name for name in graph.revisions}

    def root(name: str) -> str:
        while line[name] != name:
            line[name] = line[line[name]]
            name = line[name]
        return name

    for revision in graph.revisions.values():
        for parent in revision.down_revision:
            line[root(revision.revision)] = root(parent)
    begun = {root(name) for name in applied}
    return frozenset(name for name in graph.revisions if root(name) not in begun)
