# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The only list of the kinds of objects in PostgreSQL; ``catalog_sources`` has a query for each."""

from __future__ import annotations

from typing import Any, NamedTuple

# When an object is dropped: what depends on others is dropped first.
_ATTACHED, _VIEW, _INDEX, _COLUMN, _ALONE, _CONTAINER = range(6)

# Formats. A person reads ``identity``, where names are quoted only if they need it. PostgreSQL reads ``sql`` and
# ``drop``, where they always are. The fields of both, besides the kind:
#   name         of the object; of a default, the name of its column
#   object       its name with its schema; of an inheritance, the name of the table that inherits
#   whole        that of the table, view, type or domain that it is a part of, or that is inherited from
#   signature    what else belongs to the name: the arguments of a function
#   text         the name as it is, never quoted: it consists of several
#   in_schema    " in schema …", or nothing
#   domain       "DOMAIN " for a part of a domain, else nothing; and altered, DOMAIN or TABLE
#   about        what a comment is about
OBJECT = "{kind} {object}"
_SIGNED = "{kind} {object}{signature}"
_PART = "{kind} {name} on {whole}"
_SETTING = "{kind} of {name}{in_schema}"
_TEXT = "{kind} {text}"
_SQL_OBJECT = "{KIND} {object}"
_SQL_SIGNED = "{KIND} {object}{signature}"
_SQL_PART = "{KIND} {name} ON {domain}{whole}"
_SQL_NAME = "{KIND} {name}"


class Kind(NamedTuple):
    """A kind of object.

    ``prefixable``: its name can have a prefix that says whose it is, because it lies in a schema or is one. Any other
    kind is a part of something with such a name, or it concerns the whole database.
    ``identity`` is what a person calls the object. A part whose whole was not found is called ``OBJECT``.
    ``sql`` is what follows DROP and COMMENT ON; empty where neither is written. ``drop`` drops it, where DROP and
    ``sql`` do not, and ``drop_column`` a column of it. ``turn`` is when to drop it, the smallest first.
    ``remade``: PostgreSQL creates it anew when the type of a column changes.
    ``about``: it has no name, and says something about another object.
    ``relkinds`` are its letters in ``pg_class.relkind``, if it is a relation that has an owner of its own.
    """

    name: str
    prefixable: bool = False
    identity: str = OBJECT
    sql: str = ""
    drop: str = ""
    drop_column: str = ""
    turn: int = _ALONE
    remade: bool = False
    about: bool = False
    relkinds: str = ""


_DROP_COLUMN = "ALTER TABLE {whole} DROP COLUMN {name}"
_DROP_DEFAULT = "ALTER TABLE {whole} ALTER COLUMN {name} DROP DEFAULT"
_DROP_CONSTRAINT = "ALTER {altered} {whole} DROP CONSTRAINT {name}"
_NO_INHERIT = "ALTER TABLE {object} NO INHERIT {whole}"


def _in_schema(name: str, *, identity: str = OBJECT, sql: str = _SQL_OBJECT, **more: Any) -> Kind:
    return Kind(name, prefixable=True, identity=identity, sql=sql, **more)


_KINDS = (
    Kind("schema", prefixable=True, sql=_SQL_NAME, turn=_CONTAINER),
    # relations
    _in_schema("table", drop_column=_DROP_COLUMN, relkinds="rp"),
    _in_schema("view", turn=_VIEW, relkinds="v"),
    _in_schema("materialized view", turn=_VIEW, relkinds="m"),
    _in_schema("sequence", relkinds="S"),
    _in_schema("foreign table", drop_column=_DROP_COLUMN, relkinds="f"),
    # parts of relations, and of domains
    *(_in_schema(name, identity=_PART, turn=_INDEX, remade=True) for name in ("index", "statistics")),
    # how it is dropped depends on what it is a column of
    Kind("column", identity="{kind} {whole}.{name}", sql="COLUMN {whole}.{name}", turn=_COLUMN),
    Kind("default", identity="{kind} of {whole}.{name}", drop=_DROP_DEFAULT, turn=_ATTACHED),
    # a foreign key is _ATTACHED
    Kind("constraint", identity=_PART, sql=_SQL_PART, drop=_DROP_CONSTRAINT, turn=_INDEX, remade=True),
    *(Kind(name, identity=_PART, sql=_SQL_PART, turn=_ATTACHED) for name in ("trigger", "rule", "policy")),
    Kind("inheritance", identity="{kind} of {object} from {whole}", drop=_NO_INHERIT, turn=_ATTACHED),
    # what else lies in a schema
    _in_schema("type", drop_column="ALTER TYPE {whole} DROP ATTRIBUTE {name}"),
    _in_schema("enum", sql="TYPE {object}"),
    *(_in_schema(name) for name in ("domain", "collation", "conversion")),
    *(_in_schema(f"text search {name}") for name in ("configuration", "dictionary", "parser", "template")),
    *(_in_schema(name, identity=_SIGNED, sql=_SQL_SIGNED) for name in ("function", "procedure", "aggregate")),
    *(_in_schema(f"operator{name}", identity=_SIGNED, sql=_SQL_SIGNED) for name in ("", " class", " family")),
    # It does nothing until a foreign table uses it, so that its own name is enough.
    Kind("foreign server", prefixable=True, sql="SERVER {name}"),
    # What follows concerns the whole database, whatever its name. A cast and a language affect everybody's queries.
    Kind("cast", identity=_TEXT, sql="CAST ({text})"),
    *(Kind(name, identity=_TEXT) for name in ("transform", "role membership")),
    *(Kind(name, sql=_SQL_NAME) for name in ("language", "foreign data wrapper")),
    # It brings functions into other schemas, and can be there only once.
    Kind("extension", sql=_SQL_NAME, turn=_CONTAINER),
    # One fires for the core's DDL, the other can forbid updates of the tables that it holds.
    *(Kind(name, sql=_SQL_NAME, turn=_ATTACHED) for name in ("event trigger", "publication")),
    Kind("user mapping", identity=_PART),
    # They apply to what others create and run. ``rules`` knows the exception: default privileges in a schema with a
    # prefix, where nobody else creates anything.
    *(Kind(name, identity=_SETTING) for name in ("default privileges", "setting")),
    *(Kind(name) for name in ("access method", "subscription", "database")),
    *(Kind(name) for name in ("role", "tablespace", "parameter privilege")),
    Kind("comment", about=True, drop="COMMENT ON {about} IS NULL", turn=_ATTACHED),
    *(Kind(name, about=True) for name in ("security label", "grant")),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _KINDS}
# What the statements alter that are known to ``revisions.sql.alters_only``
ALTERED_OUTSIDE = ("index", "enum")
# ``pg_class.relkind`` → kind
RELATIONS: dict[str, str] = {letter: kind.name for kind in _KINDS for letter in kind.relkinds}


def kind_of(name: str) -> Kind:
    """The row of the kind ``name``. One that is not in the table concerns the whole database, and is not dropped."""
    return KINDS.get(name) or Kind(name)
