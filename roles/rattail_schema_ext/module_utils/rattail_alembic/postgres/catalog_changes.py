# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was created, altered and dropped between two looks at the catalogs, and how to drop what was created."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter

from .catalog import Catalog, Key, Row
from .catalog_sources import CLASS, CONSTRAINT, DEPEND, EXTENSION, INHERITS, NAMESPACE, PUBLISHED, TRIGGER
from .kinds import OBJECT, kind_of

CREATED = "created"
ALTERED = "altered"
DROPPED = "dropped"
# what of a row is compared, apart from its privileges
_STATE = attrgetter("facts", "parent", "kind")


@dataclass(frozen=True)
class Owner:
    """What an object is a part of: its table, its domain, or itself where it is no part of anything."""

    kind: str
    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {_readable(self.schema, self.name)}"


@dataclass(frozen=True)
class Change:
    """One object that was created, altered or dropped, and not merely with what it is a part of.

    ``identity`` is the kind with the name, for a person, and ``was`` the same before a rename. ``table`` is the
    schema-qualified table (or view, or domain) that it is a part of, else empty. ``owners`` are all that are concerned:
    what it belonged to before and what it belongs to now, and both tables of an inheritance. ``key`` finds it in a
    Catalog; ``undo`` gives statements that drop it, and is with ``turn`` for ``undo_sql``.
    """

    action: str
    kind: str
    table: str
    identity: str
    owners: tuple[Owner, ...]
    was: str
    key: Key
    undo: Callable[[], list[str]] = field(compare=False, repr=False)
    turn: int

    def __str__(self) -> str:
        return f"{self.action} {self.identity}" + (f" (was {self.was})" if self.was else "")


def difference(before: Catalog, after: Catalog, touched: Set[Key] | None = None) -> list[Change]:
    """What was created, altered and dropped between two looks.

    A table that was created is one change, and its columns, indexes and constraints are none.

    :param touched: the keys of all that differs, where that is known.
    """
    changes = list(_changes(_Names(before), _Names(after), _differing(before, after) if touched is None else touched))
    # PostgreSQL itself makes indexes and constraints anew where the type of a column changes.
    remade = [change for change in changes if change.table and kind_of(change.kind).remade]
    created = {change.identity: change for change in remade if change.action == CREATED}
    again = created.keys() & {change.identity for change in remade if change.action == DROPPED}
    replaced = [replace(created[identity], action=ALTERED, undo=list) for identity in sorted(again)]
    return [change for change in changes if change.action == ALTERED or change.identity not in again] + replaced


def rewritten(
    before: Catalog,
    after: Catalog,
    others: tuple[Catalog, Catalog] | None = None,
    touched: Set[Key] | None = None,
) -> list[Owner]:
    """Tables, materialized views and sequences that are in both looks, but with their rows in another file.

    TRUNCATE does that, and so do an ALTER TABLE that rewrites, ALTER SEQUENCE RESTART, CLUSTER and VACUUM FULL. What
    another session did is left out, if ``others`` is what another saw, as for ``made_by_others``.
    """
    names = _Names(after)
    found = []
    for key in sorted(_differing(before, after) if touched is None else touched):
        row, old = after.get(key), before.get(key)
        if row is None or old is None or old.filenode == row.filenode or row.kind == "index":
            continue
        then, now = (look.get(key) for look in others) if others else (None, None)
        if not (then and now and then.filenode != now.filenode == row.filenode):
            found.append(names.owner(key))
    return found


def made_by_others(
    changes: Iterable[Change], after: Catalog, others_before: Catalog, others_after: Catalog
) -> tuple[list[Change], list[Change]]:
    """Tell what the looking transaction did, which has not committed, from what others committed meanwhile.

    :param changes: what ``difference`` found, the later look being ``after``.
    :param others_before: what another session saw before that transaction began, and ``others_after`` after ``after``.
    :return: ours, others'. An object that both of them changed is ours.
    """
    ours: list[Change] = []
    others: list[Change] = []
    for change in changes:
        # Equal is not enough: what an earlier revision of the same transaction created and a later one dropped
        # never was there for others.
        seen = _compared(others_after, change)
        theirs = seen == _compared(after, change) and seen != _compared(others_before, change)
        (others if theirs else ours).append(change)
    return ours, others


def _compared(rows: Catalog, change: Change) -> object:
    """Everything that decides whether ``change`` took place, as ``rows`` have it."""
    row = rows.get(change.key)
    if row is None or change.kind == "grant":
        return row and row.acl
    details = sorted((key, each.facts) for key, each in rows.items() if not each.kind and each.parent == change.key)
    return row.facts, row.parent, details


def undo_sql(changes: Iterable[Change]) -> list[str]:
    """Statements that drop what was created, in an order that works; they leave what was altered or dropped."""
    # Oids grow: a later object may need an earlier one, and not the other way round.
    newest = sorted(changes, key=lambda change: (-change.turn, change.key[1:]), reverse=True)
    found = [change.undo() for change in newest]
    # Only a foreign key can make an earlier table need a later one.
    first = [statement for statements in found for statement in statements[:-1]]
    return first + [statements[-1] for statements in found if statements]


def owner_of(rows: Catalog, key: Key) -> Owner:
    """What the object of ``key`` is a part of in the end."""
    names = _Names(rows)
    return names.owner(names.root(key) or key)


def _differing(before: Catalog, after: Catalog) -> set[Key]:
    """Those of all that differs in any way."""
    return {key for key, row in after.items() if before.get(key) != row} | (before.keys() - after.keys())


def _changes(then: _Names, now: _Names, touched: Set[Key]) -> Iterator[Change]:
    before, after = then.rows, now.rows
    created, dropped = ({key for key in touched if key not in rows} for rows in (before, after))
    both = touched - created - dropped
    altered = {key for key in both if _STATE(before[key]) != _STATE(after[key])}
    granted = {key for key in both if before[key].acl != after[key].acl}
    # A row that only says more about another one alters that, if that one is there before and after.
    for key in created | dropped | altered:
        for row in (before.get(key), after.get(key)):
            if row is None or row.kind or row.parent not in before or row.parent not in after:
                continue
            other = _other(key, row)
            stays = other is None or (other in before and other in after)
            if stays or (key in created and key[0] != TRIGGER):
                altered.add(row.parent)
    # What an extension holds is the extension's.
    extensions = {key for key in created | dropped | altered if key[0] == EXTENSION}
    held = {
        (key[1], key[2], 0, 0)
        for rows in ((before, after) if extensions else ())
        for key, row in rows.items()
        if key[0] == DEPEND and row.extra == "e" and row.parent in extensions
    }
    for action, keys, names, about in (
        (CREATED, created, now, ""),
        (ALTERED, altered, now, ""),
        (DROPPED, dropped, then, ""),
        (ALTERED, granted, now, "grant on "),
    ):
        for key in sorted(keys):
            row = names.rows[key]
            if not row.kind or (action != ALTERED and names.goes_with_whole(key, keys)):
                continue
            owners = [each.owner(root) for each in (then, now) if key in each.rows for root in each.roots(key)]
            # Without owners it is a part of something that is not looked at: a temporary table.
            if not owners or (names.root(key) or key) in held:
                continue
            whole = next(iter(names.roots(key)), key)
            owner, identity = names.owner(whole), names.identity(key)
            was = then.identity(key) if action == ALTERED else identity
            yield Change(
                action,
                "grant" if about else row.kind,
                "" if whole == key else _readable(owner.schema, owner.name),
                about + identity,
                tuple(dict.fromkeys(owners)),
                about + was if was != identity else "",
                key,
                partial(names.undo, key) if action == CREATED else list,
                # a foreign key is dropped before what it refers to
                0 if key[0] == CONSTRAINT and row.extra.isdigit() else kind_of(row.kind).turn,
            )


def _other(key: Key, row: Row) -> Key | None:
    """What a row goes with besides its parent: an internal trigger with its foreign key, for example."""
    if key[0] == DEPEND:
        return (key[1], key[2], 0, 0)
    catalog = {TRIGGER: CONSTRAINT, PUBLISHED: CLASS}.get(key[0])
    return (catalog, int(row.extra), 0, 0) if catalog else None


class _Names:
    """The names of the objects of one look, for a person and for SQL."""

    def __init__(self, rows: Catalog) -> None:
        self.rows = rows

    def root(self, key: Key) -> Key | None:
        """What ``key`` is a part of in the end; None for what concerns something temporary.

        A part with a name, of something that was not found, stands alone, so that it is reported.
        """
        row = self.rows.get(key)
        while row is not None and row.parent is not None and (row.parent in self.rows or not row.name):
            key = row.parent
            row = self.rows.get(key)
        return None if row is None else key

    def roots(self, key: Key) -> list[Key]:
        """The same, for an inheritance of both tables; empty where there is none."""
        ends = _ends(key)
        found = [root for root in map(self.root, ends) if root is not None]
        return found if len(found) == len(ends) else []

    def goes_with_whole(self, key: Key, keys: Set[Key]) -> bool:
        """Whether what it is a part of is among ``keys``, too."""
        return keys >= set(_ends(key)) if key[0] == INHERITS else self.rows[key].parent in keys

    def owner(self, key: Key) -> Owner:
        row = self.rows[key]
        space = self.rows.get((NAMESPACE, row.namespace, 0, 0))
        return Owner(row.kind, space.name if space else "", row.name)

    def identity(self, key: Key) -> str:
        row = self.rows[key]
        kind = kind_of(row.kind)
        if kind.about and row.parent is not None:
            return f"{row.kind} on {self.identity(row.parent)}"
        alone = "{whole}" in kind.identity and self.root(key) in (key, None)
        return (OBJECT if alone else kind.identity).format(**self._fields(key, _readable))

    def undo(self, key: Key) -> list[str]:
        """Statements that drop it, foreign keys to newer tables first; none where that takes more than its name."""
        row = self.rows[key]
        kind = kind_of(row.kind)
        drop = kind.drop or (kind.sql and f"DROP {kind.sql}")
        fields = self._fields(key, _sql)
        if row.kind == "column":
            drop = kind_of(self.rows[self.root(key) or key].kind).drop_column
        if kind.about and row.parent is not None:
            # What follows COMMENT ON; empty where that is not written.
            fields["about"] = kind_of(self.rows[row.parent].kind).sql.format(**self._fields(row.parent, _sql))
        # a constraint trigger is dropped with its trigger
        if not drop or fields.get("about") == "" or (row.kind == "constraint" and row.extra == "trigger"):
            return []
        statements = [f"{drop.format(**fields)};"]
        for each, part in self.rows.items():
            if each[0] == CONSTRAINT and part.parent == key and part.extra.isdigit() and int(part.extra) > key[1]:
                statements[:0] = self.undo(each)
        return statements

    def _fields(self, key: Key, write: Callable[..., str]) -> dict[str, str]:
        """What the formats of a kind are filled with; ``write`` joins names, and quotes them."""
        row = self.rows[key]
        parent = self.rows.get(row.parent) if row.parent is not None else None
        own, whole = self.owner(key), self.owner(self.root(key) or key)
        if key[0] == INHERITS:
            own, whole = map(self.owner, _ends(key))
        return {
            "kind": row.kind,
            "KIND": row.kind.upper(),
            "name": write(own.name or (parent.name if parent else "")),
            "object": write(own.schema, own.name),
            "whole": write(whole.schema, whole.name),
            "signature": row.extra,
            "text": own.name,
            "in_schema": f" in schema {write(own.schema)}" if own.schema else "",
            "domain": "DOMAIN " if whole.kind == "domain" else "",
            "altered": "DOMAIN" if whole.kind == "domain" else "TABLE",
        }


def _ends(key: Key) -> list[Key]:
    """Both tables of an inheritance, else ``key``."""
    return [(CLASS, oid, 0, 0) for oid in key[1:3]] if key[0] == INHERITS else [key]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _sql(*names: str) -> str:
    """Names for SQL, always quoted."""
    return ".".join(map(_quoted, filter(None, names)))


def _readable(*names: str) -> str:
    """Names for a person, quoted only where they need it."""
    return ".".join(name if re.fullmatch(r"[a-z_][a-z0-9_$]*", name) else _quoted(name) for name in names if name)
