# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two looks at the catalogs → what was created, altered and dropped, and how to undo what was created."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from .catalog import Catalog, Key, Row
from .catalog_sources import CLASS, CONSTRAINT, DEPEND, EXTENSION, INHERITS, NAMESPACE, PUBLISHED, TRIGGER
from .kinds import OBJECT, kind_of

CREATED = "created"
ALTERED = "altered"
DROPPED = "dropped"

Rows = Mapping[Key, Row]


@dataclass(frozen=True)
class Owner:
    """What an object is a part of: its table, its domain, or itself where it is no part of anything."""

    kind: str
    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {_plain(self.schema, self.name)}"


@dataclass(frozen=True)
class Change:
    """One object that was created, altered or dropped, and not merely with what it is a part of.

    ``kind`` is ``table``, ``column``, ``index``, ``grant`` and so on, ``identity`` what a person calls
    the object; after a rename it has the new name, and ``was`` the identity before. ``table`` is the
    schema-qualified table (or view, or domain) that it is a part of, else empty. ``owners`` are all
    who are concerned: what it belonged to before and what it belongs to now, and both tables of
    an inheritance. ``key`` finds it in a Catalog; ``undo`` and ``turn`` are for ``undo_sql``.
    """

    action: str
    kind: str
    schema: str
    name: str
    table: str
    identity: str
    owners: tuple[Owner, ...]
    was: str = ""
    key: Key = field(default=(0, 0, 0, 0), compare=False, repr=False)
    undo: tuple[str, ...] = field(default=(), compare=False, repr=False)
    turn: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.action} {self.identity}" + (f" (was {self.was})" if self.was else "")


def difference(before: Catalog, after: Catalog) -> list[Change]:
    """What was created, altered and dropped between two looks, parts left out where their whole is there.

    A table that was created is one change, and its columns, indexes and constraints are none. What
    only moves by itself is none either: statistics, the flags that tell of triggers and indexes, the
    internal triggers that come and go with a foreign key.
    """
    changes = list(_Comparison(before.rows, after.rows).changes())
    # PostgreSQL itself makes indexes and constraints anew where the type of a column changes.
    remade = [change for change in changes if change.table and kind_of(change.kind).remade]
    created = {change.identity: change for change in remade if change.action == CREATED}
    dropped = {change.identity: change for change in remade if change.action == DROPPED}
    again = created.keys() & dropped.keys()
    replaced = [replace(created[identity], action=ALTERED, undo=()) for identity in sorted(again)]
    return [change for change in changes if change.action == ALTERED or change.identity not in again] + replaced


def rewritten(before: Catalog, after: Catalog, others: tuple[Catalog, Catalog] | None = None) -> list[Owner]:
    """Tables, materialized views and sequences that are in both looks, but with their rows in another file.

    TRUNCATE does that, and so do an ALTER TABLE that rewrites, ALTER SEQUENCE RESTART, CLUSTER and VACUUM FULL.

    :param others: as for ``made_by_others``, to leave out what another session did.
    """
    names = _Names(after.rows)
    found = []
    moved = [
        key
        for key, row in after.rows.items()
        if key in before.rows and row.filenode != before.rows[key].filenode and row.kind != "index"
    ]
    for key in sorted(moved):
        row = after.rows[key]
        then, now = (look.rows.get(key) for look in others) if others else (None, None)
        if then and now and then.filenode != now.filenode == row.filenode:
            continue
        found.append(Owner(row.kind, names.schema(row), row.name))
    return found


def made_by_others(
    changes: Iterable[Change], after: Catalog, others_before: Catalog, others_after: Catalog
) -> tuple[list[Change], list[Change]]:
    """Tell what the looking transaction did, which has not committed, from what others committed meanwhile.

    :param changes: what ``difference`` found, the later look being ``after``.
    :param others_before: what another session saw before that transaction began to change anything.
    :param others_after: what it saw after ``after`` was taken, and before that transaction ended.
    :return: ours, others'. An object that both of them changed is ours.
    """
    ours: list[Change] = []
    others: list[Change] = []
    for change in changes:
        # Equal alone would not do: what an earlier step of the same transaction made and a later one
        # took away is, to others, as it always was.
        seen = _compared(others_after.rows, change)
        theirs = seen == _compared(after.rows, change) and seen != _compared(others_before.rows, change)
        (others if theirs else ours).append(change)
    return ours, others


def undo_sql(changes: Iterable[Change]) -> list[str]:
    """Statements that drop what was created, in an order that works; they leave what was altered or dropped."""
    created = [change for change in changes if change.action == CREATED and change.undo]
    # Oids grow: a later object may need an earlier one, and not the other way round.
    newest = sorted(created, key=lambda change: (-change.turn, change.key[1:]), reverse=True)
    # Only a foreign key can be given to an earlier table that needs a later one.
    first = [statement for change in newest for statement in change.undo[:-1]]
    return first + [change.undo[-1] for change in newest]


class _Comparison:
    def __init__(self, before: Rows, after: Rows) -> None:
        self.before, self.after = before, after
        self.names = {CREATED: _Names(after), ALTERED: _Names(after), DROPPED: _Names(before)}
        self.created = {key for key in after if key not in before}
        self.dropped = {key for key in before if key not in after}
        self.altered: set[Key] = set()
        self.granted: set[Key] = set()
        for key, row in after.items():
            old = before.get(key)
            if old is None or old == row:
                continue
            if (old.facts, old.parent, old.kind) != (row.facts, row.parent, row.kind):
                self.altered.add(key)
            if old.acl != row.acl:
                self.granted.add(key)
        self._follow_details()

    def _follow_details(self) -> None:
        """A row that only says more of another one alters that, if that one is there before and after."""
        for keys in (self.created, self.dropped, set(self.altered)):
            for key in keys:
                for rows in (self.before, self.after):
                    row = rows.get(key)
                    if row is None or row.kind or row.parent is None or not self._stays(row.parent):
                        continue
                    # An internal trigger goes with its foreign key, a place in a publication with its table.
                    other = _other(key, row)
                    if other is None or self._stays(other) or (key in self.created and key[0] != TRIGGER):
                        self.altered.add(row.parent)

    def _stays(self, key: Key) -> bool:
        return key in self.before and key in self.after

    def changes(self) -> Iterator[Change]:
        touched = {key for key in self.created | self.dropped | self.altered if key[0] == EXTENSION}
        members = {**_members(self.before), **_members(self.after)} if touched else {}
        found = (
            (CREATED, self.created, self.after),
            (ALTERED, self.altered, self.after),
            (DROPPED, self.dropped, self.before),
        )
        for action, keys, rows in found:
            for key in sorted(keys):
                if not rows[key].kind or (action != ALTERED and self._goes_with_whole(key, rows, keys)):
                    continue
                # What an extension holds is the extension's.
                if members.get(self._root(key)) in touched:
                    continue
                change = self._change(action, key)
                if change is not None:
                    yield change
        for key in sorted(self.granted):
            if members.get(self._root(key)) not in touched:
                change = self._change(ALTERED, key, grant=True)
                if change is not None:
                    yield change

    def _goes_with_whole(self, key: Key, rows: Rows, keys: set[Key]) -> bool:
        if key[0] == INHERITS:
            return all((CLASS, oid, 0, 0) in keys for oid in key[1:3])
        parent = rows[key].parent
        while parent is not None and parent in rows:
            if parent in keys:
                return True
            parent = rows[parent].parent
        return False

    def _root(self, key: Key) -> Key:
        rows = self.after if key in self.after else self.before
        return _Names(rows).root(key)

    def _change(self, action: str, key: Key, *, grant: bool = False) -> Change | None:
        owners: dict[Owner, None] = {}
        for rows in (self.before, self.after):
            if key in rows:
                names = _Names(rows)
                owners.update((names.owner(root), None) for root in names.roots(key))
        if not owners:
            # A part of something that is not looked at: a temporary table.
            return None
        names = self.names[action]
        row = names.rows[key]
        identity, was = names.identity(key), ""
        if action == ALTERED:
            was = self.names[DROPPED].identity(key)
        about = "grant on " if grant else ""
        whole = names.roots(key)
        part = not whole or whole[0] != key
        return Change(
            action,
            "grant" if grant else row.kind,
            names.schema(row) or (names.owner(whole[0]).schema if whole else ""),
            names.name(key),
            names.qualified(whole[0]) if part and whole else "",
            about + identity,
            tuple(owners),
            about + was if was and was != identity else "",
            key,
            tuple(names.undo(key)) if action == CREATED else (),
            # a foreign key goes before what it refers to
            0 if key[0] == CONSTRAINT and row.extra.isdigit() else kind_of(row.kind).turn,
        )


def _other(key: Key, row: Row) -> Key | None:
    """What a row is gone with besides its parent."""
    if key[0] == TRIGGER:
        return (CONSTRAINT, int(row.extra), 0, 0)
    if key[0] == PUBLISHED:
        return (CLASS, int(row.extra), 0, 0)
    return (key[1], key[2], 0, 0) if key[0] == DEPEND else None


def _members(rows: Rows) -> dict[Key, Key]:
    """What each extension holds: object → extension."""
    return {
        (key[1], key[2], 0, 0): row.parent
        for key, row in rows.items()
        if key[0] == DEPEND and row.extra == "e" and row.parent is not None
    }


def _compared(rows: Rows, change: Change) -> object:
    """Everything that decides whether ``change`` took place, as ``rows`` have it."""
    row = rows.get(change.key)
    if row is None:
        return None
    if change.kind == "grant":
        return row.acl
    details = sorted((key, each.facts) for key, each in rows.items() if not each.kind and each.parent == change.key)
    return row.facts, row.parent, details


class _Names:
    """What a person, and SQL, calls the objects of one look."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def roots(self, key: Key) -> list[Key]:
        """What ``key`` is a part of in the end; nothing for what concerns something temporary.

        A part with a name, of something that was not found, stands alone, so that it is reported rather than lost.
        """
        if key[0] == INHERITS:
            tables: list[Key] = [(CLASS, oid, 0, 0) for oid in key[1:3]]
            return [root for table in tables for root in self.roots(table)] if all(map(self.roots, tables)) else []
        row = self.rows.get(key)
        while row is not None and row.parent is not None:
            if row.parent not in self.rows and row.name:
                break
            key = row.parent
            row = self.rows.get(key)
        return [] if row is None else [key]

    def root(self, key: Key) -> Key:
        """The first of them, or ``key`` itself."""
        return (self.roots(key) or [key])[0]

    def schema(self, row: Row) -> str:
        space = self.rows.get((NAMESPACE, row.namespace, 0, 0))
        return space.name if space is not None else ""

    def name(self, key: Key) -> str:
        """The name of what ``key`` is about, where it has none itself: a default, a comment."""
        if key[0] == INHERITS:
            return self.name((CLASS, key[1], 0, 0))
        row = self.rows[key]
        return row.name or (self.name(row.parent) if row.parent in self.rows and row.parent is not None else "")

    def owner(self, key: Key) -> Owner:
        row = self.rows[key]
        return Owner(row.kind, self.schema(row), row.name)

    def qualified(self, key: Key) -> str:
        return _plain(self.schema(self.rows[key]), self.rows[key].name)

    def identity(self, key: Key) -> str:
        row = self.rows[key]
        kind = kind_of(row.kind)
        if kind.about and row.parent is not None:
            return f"{row.kind} on {self.identity(row.parent)}"
        alone = "{whole}" in kind.identity and self.root(key) == key
        return (OBJECT if alone else kind.identity).format(**self._fields(key, _plain))

    def undo(self, key: Key) -> list[str]:
        """Statements that drop it; none where that takes more than its name."""
        row = self.rows[key]
        kind = kind_of(row.kind)
        drop = kind.drop or (kind.sql and f"DROP {kind.sql}")
        if row.kind == "column":
            drop = kind_of(self.rows[self.root(key)].kind).drop_column
        about = self._address(row.parent) if kind.about and row.parent is not None else ""
        # a constraint trigger is dropped with its trigger
        if not drop or (kind.about and not about) or (row.kind == "constraint" and row.extra == "trigger"):
            return []
        return [*self._foreign_keys(key), f"{drop.format(about=about, **self._fields(key, _sql))};"]

    def _foreign_keys(self, table: Key) -> Iterator[str]:
        """Those of a new table that refer to one made after it."""
        for key, row in self.rows.items():
            if key[0] == CONSTRAINT and row.parent == table and row.extra.isdigit() and int(row.extra) > table[1]:
                yield from self.undo(key)

    def _address(self, key: Key) -> str:
        """What follows COMMENT ON; empty where we do not write it."""
        return kind_of(self.rows[key].kind).sql.format(**self._fields(key, _sql))

    def _fields(self, key: Key, write: Callable[..., str]) -> dict[str, str]:
        """What the formats of a kind are filled with; ``write`` makes one word of names."""
        if key[0] == INHERITS:
            row, whole = (self.rows[CLASS, oid, 0, 0] for oid in key[1:3])
        else:
            row, whole = self.rows[key], self.rows[self.root(key)]
        kind, space = self.rows[key].kind, self.schema(row)
        return {
            "kind": kind,
            "KIND": kind.upper(),
            "name": write(self.name(key)),
            "object": write(space, row.name),
            "whole": write(self.schema(whole), whole.name),
            "signature": row.extra,
            "text": row.name,
            "in_schema": f" in schema {write(space)}" if space else "",
            "domain": "DOMAIN " if whole.kind == "domain" else "",
            "altered": "DOMAIN" if whole.kind == "domain" else "TABLE",
        }


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _sql(*names: str) -> str:
    """Names as PostgreSQL reads them, whatever they are."""
    return ".".join(map(_quoted, filter(None, names)))


def _plain(*names: str) -> str:
    """Names as a person writes them, quoted only where they need it."""
    return ".".join(name if re.fullmatch(r"[a-z_][a-z0-9_$]*", name) else _quoted(name) for name in names if name)
