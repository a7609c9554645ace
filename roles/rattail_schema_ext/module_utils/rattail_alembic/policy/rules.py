# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What changed, and whose names begin how → what an extension must not have done.

The rule is Rattail's manual's: an extension's tables carry a prefix of their own, names without one
are core's, and core's tables are never modified; to extend one, make a table with a foreign key to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..postgres.catalog_changes import CREATED, Change, Owner
from ..postgres.kinds import kind_of
from ..postgres.row_counts import Written
from .prefixes import Prefixes


@dataclass(frozen=True)
class Violation:
    """Something that a revision must not do; ``rule`` is a sentence that says what it may do instead."""

    revision: str
    action: str
    kind: str
    object: str
    rule: str

    def as_dict(self) -> dict[str, str]:
        """As results show it: keys ``revision``, ``action``, ``kind``, ``object`` and ``rule``."""
        return {
            "revision": self.revision,
            "action": self.action,
            "kind": self.kind,
            "object": self.object,
            "rule": self.rule,
        }

    def __str__(self) -> str:
        return f"Revision {self.revision} {self.action} {self.object}. {self.rule}"


def violations(revision: str, changes: Iterable[Change], prefixes: Prefixes) -> list[Violation]:
    """What of ``changes``, all made by ``revision``, its extension must not do."""
    found = []
    for change in changes:
        foreign = [owner for owner in change.owners if not _owns(prefixes, owner)]
        if foreign:
            rule = _rule(change, foreign[0], prefixes)
            what = f"{change.identity} (was {change.was})" if change.was else change.identity
            found.append(Violation(revision, change.action, change.kind, what, rule))
    return found


def data_report(
    written: Iterable[Written],
    rewritten: Iterable[Owner],
    prefixes: Prefixes,
    version_table: str = "alembic_version",
) -> list[dict[str, Any]]:
    """The tables that are not own and whose rows were written, for ``policy_data``.

    :param rewritten: see ``catalog_changes.rewritten``: the rows of these were replaced as a whole, which no
        counter tells (TRUNCATE).
    :param version_table: Alembic's own rows in it are no revision's.
    :return: entries with keys ``table``, ``inserted``, ``updated``, ``deleted`` and ``rewritten``, by table.
    """
    found: dict[str, dict[str, Any]] = {}
    for each in written:
        if each.table != version_table and not prefixes.owns(each.schema, each.table):
            entry = found.setdefault(_table(each.schema, each.table), _entry(each.schema, each.table))
            entry.update(inserted=each.inserted, updated=each.updated, deleted=each.deleted)
    for owner in rewritten:
        if owner.name != version_table and not prefixes.owns(owner.schema, owner.name):
            found.setdefault(_table(owner.schema, owner.name), _entry(owner.schema, owner.name))["rewritten"] = True
    return [found[table] for table in sorted(found)]


def _entry(schema: str, table: str) -> dict[str, Any]:
    return {"table": _table(schema, table), "inserted": 0, "updated": 0, "deleted": 0, "rewritten": False}


def _table(schema: str, name: str) -> str:
    return f"{schema}.{name}"


def _owns(prefixes: Prefixes, owner: Owner) -> bool:
    # nobody else makes anything in an extension's own schema
    if owner.kind == "default privileges":
        return prefixes.owns(owner.schema, "")
    return kind_of(owner.kind).prefixable and prefixes.owns(owner.schema, owner.name)


def _rule(change: Change, foreign: Owner, prefixes: Prefixes) -> str:
    if not kind_of(foreign.kind).prefixable:
        return (
            f"{_article(foreign.kind)} concerns the whole database, not one extension:"
            " have it made by whoever looks after the database, outside of revisions."
        )
    if change.kind == "inheritance":
        return f"{foreign} is not this extension's: a foreign key to it is allowed, inheriting from it is not."
    if change.table or kind_of(change.kind).about:
        return (
            f"It belongs to {foreign}, which is not this extension's: put what it needs into a table"
            f" of its own that has a foreign key to it; own names are {prefixes}."
        )
    if change.action == CREATED:
        return (
            f"What this extension creates must be named {prefixes}: rename it,"
            " or add its prefix to rattail_schema_ext_prefixes."
        )
    return (
        f"It is not this extension's, whose names are {prefixes}: leave it as it is,"
        " and make a table of its own with a foreign key to what it extends."
    )


def _article(kind: str) -> str:
    if kind.endswith("privileges"):
        return kind.capitalize()
    return f"{'An' if kind[0] in 'aeio' else 'A'} {kind}"
