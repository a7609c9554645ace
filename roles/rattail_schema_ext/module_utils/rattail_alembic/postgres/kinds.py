# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kinds of objects that PostgreSQL knows: what each is called, whether it can carry a prefix, how it is dropped.

This is the only list of them. To support a new kind, add its row here, and its query in ``catalog_sources``.
"""

from __future__ import annotations

from typing import NamedTuple

# When an object is dropped: what depends on others goes first.
_ATTACHED, _VIEW, _INDEX, _COLUMN, _ALONE, _CONTAINER = range(6)

# Formats. A person reads ``identity``, where names are quoted only if they need it. PostgreSQL reads ``sql`` and
# ``drop``, where they always are. The fields of both:
#   kind, KIND   the kind, and the same in capital letters
#   name         of the object; of a default, the name of its column
#   object       its name with its schema; of an inheritance, the name of the table that inherits
#   whole        that of the table, view, type or domain that it is a part of, or that is inherited from
#   signature    what else belongs to the name: the arguments of a function
#   text         the name as it is, never quoted: it consists of several
#   in_schema    " in schema …", or nothing
#   domain       "DOMAIN " for a part of a domain, else nothing
#   altered      DOMAIN or TABLE
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

    ``prefixable``: its name can say whose it is, because it lies in a schema or is one. Any other kind is a part
    of something whose name does, or it concerns the whole database.
    ``identity`` is what a person calls the object. A part whose whole was not found is called ``OBJECT``.
    ``sql`` is what follows DROP and COMMENT ON; empty where we write neither.
    ``drop`` drops it, where DROP and ``sql`` do not. ``drop_column`` drops a column of it.
    ``turn`` is when to drop it, the smallest first.
    ``remade``: PostgreSQL makes it anew when the type of a column changes.
    ``about``: it has no name, and says something of another object.
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

_KINDS = (
    Kind("schema", prefixable=True, sql=_SQL_NAME, turn=_CONTAINER),
    # relations
    Kind("table", prefixable=True, sql=_SQL_OBJECT, drop_column=_DROP_COLUMN, relkinds="rp"),
    Kind("view", prefixable=True, sql=_SQL_OBJECT, turn=_VIEW, relkinds="v"),
    Kind("materialized view", prefixable=True, sql=_SQL_OBJECT, turn=_VIEW, relkinds="m"),
    Kind("sequence", prefixable=True, sql=_SQL_OBJECT, relkinds="S"),
    Kind("foreign table", prefixable=True, sql=_SQL_OBJECT, drop_column=_DROP_COLUMN, relkinds="f"),
    # parts of relations, and of domains
    Kind("index", prefixable=True, identity=_PART, sql=_SQL_OBJECT, turn=_INDEX, remade=True),
    Kind("statistics", prefixable=True, identity=_PART, sql=_SQL_OBJECT, turn=_INDEX, remade=True),
    # how it is dropped depends on what it is a column of
    Kind("column", identity="{kind} {whole}.{name}", sql="COLUMN {whole}.{name}", turn=_COLUMN),
    Kind(
        "default",
        identity="{kind} of {whole}.{name}",
        drop="ALTER TABLE {whole} ALTER COLUMN {name} DROP DEFAULT",
        turn=_ATTACHED,
    ),
    Kind(
        "constraint",
        identity=_PART,
        sql=_SQL_PART,
        drop="ALTER {altered} {whole} DROP CONSTRAINT {name}",
        # a foreign key is _ATTACHED
        turn=_INDEX,
        remade=True,
    ),
    Kind("trigger", identity=_PART, sql=_SQL_PART, turn=_ATTACHED),
    Kind("rule", identity=_PART, sql=_SQL_PART, turn=_ATTACHED),
    Kind("policy", identity=_PART, sql=_SQL_PART, turn=_ATTACHED),
    Kind(
        "inheritance",
        identity="{kind} of {object} from {whole}",
        drop="ALTER TABLE {object} NO INHERIT {whole}",
        turn=_ATTACHED,
    ),
    # what else lies in a schema
    Kind("type", prefixable=True, sql=_SQL_OBJECT, drop_column="ALTER TYPE {whole} DROP ATTRIBUTE {name}"),
    Kind("domain", prefixable=True, sql=_SQL_OBJECT),
    Kind("enum", prefixable=True, sql="TYPE {object}"),
    Kind("function", prefixable=True, identity=_SIGNED, sql=_SQL_SIGNED),
    Kind("procedure", prefixable=True, identity=_SIGNED, sql=_SQL_SIGNED),
    Kind("aggregate", prefixable=True, identity=_SIGNED, sql=_SQL_SIGNED),
    Kind("operator", prefixable=True, identity=_SIGNED, sql=_SQL_SIGNED),
    Kind("operator class", prefixable=True, identity=_SIGNED, sql=_SQL_SIGNED),
    Kind("operator family", prefixable=True, identity=_SIGNED, sql=_SQL_SIGNED),
    Kind("collation", prefixable=True, sql=_SQL_OBJECT),
    Kind("conversion", prefixable=True, sql=_SQL_OBJECT),
    Kind("text search configuration", prefixable=True, sql=_SQL_OBJECT),
    Kind("text search dictionary", prefixable=True, sql=_SQL_OBJECT),
    Kind("text search parser", prefixable=True, sql=_SQL_OBJECT),
    Kind("text search template", prefixable=True, sql=_SQL_OBJECT),
    # It does nothing until a foreign table uses it, so that its own name is enough.
    Kind("foreign server", prefixable=True, sql="SERVER {name}"),
    # What follows concerns the whole database, whatever its name. A cast and a language count in everybody's queries.
    Kind("cast", identity=_TEXT, sql="CAST ({text})"),
    Kind("transform", identity=_TEXT),
    Kind("language", sql=_SQL_NAME),
    Kind("access method"),
    # It brings functions into the schemas of others, and can be there only once.
    Kind("extension", sql=_SQL_NAME, turn=_CONTAINER),
    # It fires for the core's DDL.
    Kind("event trigger", sql=_SQL_NAME, turn=_ATTACHED),
    # It can forbid updates of the tables that it holds.
    Kind("publication", sql=_SQL_NAME, turn=_ATTACHED),
    Kind("subscription"),
    Kind("foreign data wrapper", sql=_SQL_NAME),
    Kind("user mapping", identity=_PART),
    # These two are for what others make and run. Default privileges in a schema with a prefix are the exception,
    # which ``rules`` knows: nobody else makes anything there.
    Kind("default privileges", identity=_SETTING),
    Kind("setting", identity=_SETTING),
    Kind("database"),
    # Roles and what follows belong to the whole server.
    Kind("role"),
    Kind("role membership", identity=_TEXT),
    Kind("tablespace"),
    Kind("parameter privilege"),
    # said of other objects
    Kind("comment", about=True, drop="COMMENT ON {about} IS NULL", turn=_ATTACHED),
    Kind("security label", about=True),
    Kind("grant", about=True),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _KINDS}

# ``pg_class.relkind`` → kind, of the relations that have an owner of their own
RELATIONS: dict[str, str] = {letter: kind.name for kind in _KINDS for letter in kind.relkinds}


def kind_of(name: str) -> Kind:
    """The row of the kind ``name``. One that is not in the table concerns the whole database, and is not dropped."""
    return KINDS.get(name) or Kind(name)
