# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Graph and version rows → the state of the database and the pending revisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .graph import Graph, Revision, reach

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
    unknown = graph.unknown(rows)
    pending = graph.pending(rows)
    if unknown:
        pending &= _begun(graph, rows)
    if not rows:
        state = UNSTAMPED if core_tables else EMPTY
    elif unknown:
        state = DIVERGED if pending else AHEAD
    else:
        state = BEHIND if pending else CURRENT
    ordered = tuple(revision for revision in graph.ordered(rows) if revision.revision in pending) if pending else ()
    return Plan(state, tuple(rows), unknown, ordered)


def _begun(graph: Graph, rows: Sequence[str]) -> frozenset[str]:
    """The revisions that have an applied one in their line.

    A row that the code does not know (newer code was rolled back) takes the place of the row of its branch, so
    that the branch seems never to have been applied. The others are therefore not pending beside such a row.
    """
    line = {name: set(revision.down_revision) for name, revision in graph.revisions.items()}
    for name, revision in graph.revisions.items():
        for parent in revision.down_revision:
            line[parent].add(name)
    return reach(graph.applied(rows), line)
