# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Graph and version rows → the state of the database and the pending revisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .applied import Applied
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

    ``rows`` are the version rows as they are, ``unknown`` those that the code has no revision for, and ``pending`` the
    revisions to apply, in Alembic's order. ``applied`` are those of the code that the rows imply. ``lost`` is where
    nothing tells what comes before it: an unknown row, or what such a one follows.
    """

    state: str
    rows: tuple[str, ...]
    unknown: tuple[str, ...]
    pending: tuple[Revision, ...]
    applied: frozenset[str]
    lost: frozenset[str]


def make(graph: Graph, rows: Sequence[str], past: Mapping[str, Applied], *, core_tables: bool) -> Plan:
    """The plan for a database with these version rows.

    A row that the code does not know is that of newer code only where it is shown to follow all that the code wants
    (``ahead``). Else the two have gone different ways, or nobody can say that they have not (``diverged``).

    :param past: what is known of revisions that were applied.
    :param core_tables: whether core's tables are there, by which a database without version rows is
        told from an empty one.
    """
    unknown, reached = graph.unknown(rows), graph.reached(rows, past)
    applied = reached & graph.revisions.keys()
    lost = frozenset(name for name in reached - applied if name not in past or past[name].down_revision is None)
    # Where some of what is applied is not known, what is pending is not, either.
    pending = frozenset() if lost else graph.pending(applied)
    if not rows:
        state = UNSTAMPED if core_tables else EMPTY
    elif unknown:
        state = AHEAD if applied.issuperset(graph.heads) else DIVERGED
    else:
        state = BEHIND if pending else CURRENT
    ordered = tuple(each for each in graph.ordered(rows) if each.revision in pending) if pending else ()
    return Plan(state, tuple(rows), unknown, ordered, applied, lost)
