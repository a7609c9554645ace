# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which changes an extension must not make.

The rule is that of Rattail's manual: the tables of an extension have its prefix, names without a prefix
are core's, and core's tables are never modified. To extend one, make a table with a foreign key to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..postgres.catalog_changes import CREATED, Change, Owner
from ..postgres.connection import ROLE
from ..postgres.contents import VERSION_TABLE
from ..postgres.kinds import kind_of
from ..postgres.row_counts import Written
from .prefixes import Prefixes, is_of_role


def violations(revision: str, changes: Iterable[Change], prefixes: Prefixes) -> list[dict[str, str]]:
    """What of ``changes``, all made by ``revision``, its extension must not do.

    :return: entries with keys ``revision``, ``action``, ``kind``, ``object`` and ``rule``, a sentence that says what it
        may do instead.
    """
    found = []
    for change in changes:
        foreign = [owner for owner in change.owners if not _owns(prefixes, owner)]
        if change.kind == "schema" and change.was:
            # What is in it has come with it.
            foreign += [owner for owner in change.owners if owner.name in prefixes.searched]
        if foreign:
            what = f"{change.identity} (was {change.was})" if change.was else change.identity
            made = {"revision": revision, "action": change.action, "kind": change.kind, "object": what}
            found.append({**made, "rule": _rule(change, foreign[0], prefixes)})
    return found


def data_report(written: Iterable[Written], rewritten: Iterable[Owner], prefixes: Prefixes) -> list[dict[str, Any]]:
    """The tables that are not own and whose rows were written, for ``policy_data``; Alembic's own is left out.

    :param rewritten: see ``catalog_changes.rewritten``: the rows of these were replaced as a whole, which no
        counter shows (TRUNCATE).
    :return: entries with keys ``table``, ``inserted``, ``updated``, ``deleted`` and ``rewritten``, by table.
    """
    found: dict[str, dict[str, Any]] = {}

    def note(schema: str, name: str, **what: Any) -> None:
        if name != VERSION_TABLE and not prefixes.owns(schema, name):
            table = f"{schema}.{name}"
            nothing = {"table": table, "inserted": 0, "updated": 0, "deleted": 0, "rewritten": False}
            found.setdefault(table, nothing).update(what)

    for each in written:
        note(each.schema, each.table, inserted=each.inserted, updated=each.updated, deleted=each.deleted)
    for owner in rewritten:
        note(owner.schema, owner.name, rewritten=True)
    return [found[table] for table in sorted(found)]


def _owns(prefixes: Prefixes, owner: Owner) -> bool:
    # no other role creates anything in an extension's own schema
    if owner.kind == "default privileges":
        return prefixes.owns("", owner.schema)
    return kind_of(owner.kind).prefixable and prefixes.owns(owner.schema, owner.name)


def _rule(change: Change, foreign: Owner, prefixes: Prefixes) -> str:
    if not kind_of(foreign.kind).prefixable:
        return (
            f"It concerns the whole database, not one extension ({foreign.kind}):"
            " ask the database's administrator for it, and leave it out of revisions."
        )
    if change.kind == "inheritance":
        return f"{foreign} is not this extension's: a foreign key to it is allowed, inheriting from it is not."
    if change.table or kind_of(change.kind).about:
        return (
            f"It belongs to {foreign}, which is not this extension's: put what the extension needs into a table of"
            f" its own, named {prefixes}, with a foreign key to it."
        )
    schema = foreign.name if foreign.kind == "schema" else foreign.schema
    if is_of_role(schema) or is_of_role(foreign.name):
        return f"What is named {ROLE} is the history that this role keeps: leave it alone, and choose another name."
    if schema in prefixes.searched and prefixes.owns("", schema):
        return (
            f"The app's search_path finds what is in schema {schema} in the place of core's: name it {prefixes},"
            " or put it into a schema that is not on the search_path."
        )
    if change.action == CREATED:
        return (
            f"What this extension creates must be named {prefixes}: rename it,"
            " or add its prefix to rattail_schema_ext_prefixes."
        )
    return (
        f"It is not this extension's, whose names are {prefixes}: leave it as it is,"
        " and make a table of its own with a foreign key to it."
    )
