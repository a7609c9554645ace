"""What a database holds, told by SQL of its own: it shares no code with the role.

A picture is a digest for each catalog, table and sequence, of what is foreign and of everything. Own is what bears the
app's prefix, or belongs to such a table; everything else is foreign. Digests of everything hold the transaction that
wrote each row, so that what was changed and changed back differs too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from support.catalogs import IN_PLACE, LEFT_OUT, SHARED

_OWN_NAME = "~ '^_*(batch_)?poser_'"
_LEFT_OUT = {*LEFT_OUT, "pg_subscription_rel"}
_STATISTICS = ("pg_statistic", "pg_statistic_ext_data")
# More that is put into rows as they stand, rolled back or not.
_IN_PLACE = {**IN_PLACE, "pg_class": {*IN_PLACE["pg_class"], "relhassubclass"}, "pg_index": {"indcheckxmin"}}
# Objects are told by catalog and oid; ``own`` holds those of the app, ``passing`` those of temporary tables.
_WITH = f"""
with space as (select oid, nspname {_OWN_NAME.replace("poser_", "poser(_|$)")} as own, nspname ~ '^pg_(toast_)?temp_'
    or nspname = 'rattail_schema_ext' as passing from pg_namespace),
named as (
  select c.oid, s.passing from pg_class c join space s on s.oid = c.relnamespace
  where c.relkind not in ('i', 'I', 't') and (s.passing or s.own or c.relname {_OWN_NAME})),
owned as (
  select oid, passing from named union
  select d.objid, n.passing from pg_depend d join named n on n.oid = d.refobjid
  where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')),
stored as (
  select oid, passing from owned union
  select c.reltoastrelid, o.passing from pg_class c join owned o using (oid) where c.reltoastrelid <> 0),
relation as (
  select oid, passing from stored union
  select i.indexrelid, s.passing from pg_index i join stored s on s.oid = i.indrelid),
type as (
  select t.oid, coalesce(s.passing, false) as passing from pg_type t join space s on s.oid = t.typnamespace
  where t.typname {_OWN_NAME} or s.own or s.passing or t.typrelid in (select oid from relation)),
own as materialized (
  select 'pg_class'::regclass as catalog, oid, passing from relation
  union all select 'pg_type'::regclass, oid, passing from type
  union all select 'pg_namespace'::regclass, oid, passing from space where own or passing
  union all select 'pg_proc'::regclass, p.oid, s.passing from pg_proc p join space s on s.oid = p.pronamespace
    where p.proname {_OWN_NAME} or s.own or s.passing
  union all select 'pg_operator'::regclass, o.oid, s.passing from pg_operator o join space s on s.oid = o.oprnamespace
    where s.own or s.passing
  union all select 'pg_constraint'::regclass, c.oid, r.passing
    from pg_constraint c join relation r on r.oid = c.conrelid
  union all select 'pg_constraint'::regclass, c.oid, t.passing from pg_constraint c join type t on t.oid = c.contypid
    where c.conrelid = 0
  union all select 'pg_attrdef'::regclass, c.oid, r.passing from pg_attrdef c join relation r on r.oid = c.adrelid
  union all select 'pg_trigger'::regclass, c.oid, r.passing from pg_trigger c join relation r
    on r.oid = case when c.tgisinternal and c.tgconstrrelid in (select oid from relation)
    then c.tgconstrrelid else c.tgrelid end
  union all select 'pg_rewrite'::regclass, c.oid, r.passing from pg_rewrite c join relation r on r.oid = c.ev_class
  union all select 'pg_policy'::regclass, c.oid, r.passing from pg_policy c join relation r on r.oid = c.polrelid
  union all select 'pg_statistic_ext'::regclass, c.oid, r.passing
    from pg_statistic_ext c join relation r on r.oid = c.stxrelid)
"""
# The object that a row is a part of, where its own oid does not say it. Dependencies are told by what depends.
_PART_OF = {
    "pg_attribute": ("pg_class", "attrelid"),
    "pg_index": ("pg_class", "indrelid"),
    "pg_sequence": ("pg_class", "seqrelid"),
    "pg_partitioned_table": ("pg_class", "partrelid"),
    # whoever inherits changes what its parent shows
    "pg_inherits": ("pg_class", "inhparent"),
    "pg_aggregate": ("pg_proc", "aggfnoid"),
    # a range brings one
    "pg_cast": ("pg_type", "castsource"),
    "pg_enum": ("pg_type", "enumtypid"),
    "pg_range": ("pg_type", "rngtypid"),
}
# The column that says which object a row is about; large objects may have any number.
_KEYS = ("oid", "objid", "objoid", "attrelid", "indexrelid", "aggfnoid", "rngtypid", "seqrelid", "inhrelid")
_SMALL_NUMBERS = ("pg_largeobject", "pg_largeobject_metadata", "pg_database", "pg_shdepend", "pg_shdescription")
_CATALOGS = """
select c.relname, array_agg(a.attname::text order by a.attnum)
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'r' group by 1 order by 1
"""
_STORED = f"""
select format('%I.%I', n.nspname, c.relname), c.relkind, c.relname {_OWN_NAME} or n.nspname ~ '^poser(_|$)'
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'rattail_schema_ext')
  and (c.relkind = 'S' or c.relkind in ('r', 'm') and pg_relation_size(c.oid) > 0) order by 1
"""
# what no catalog says, where nobody else is at work
_OF_THE_SERVER = """
select 'configuration ' || coalesce(name, ''), concat(setting, error) from pg_file_settings union all
select 'replication slot ' || slot_name, slot_type from pg_replication_slots
"""


@dataclass(frozen=True)
class Picture:
    """What there is, by digests: catalog, table or sequence → digest; ``versions`` are the version rows."""

    foreign: dict[str, str] = field(default_factory=dict)
    everything: dict[str, str] = field(default_factory=dict)
    versions: frozenset[str] = frozenset()

    def beside(self, names: Iterable[str]) -> Picture:
        """With these names, of what is not the app's, added."""
        more = dict.fromkeys(names, "is there")
        return Picture({**self.foreign, **more}, {**self.everything, **more}, self.versions)

    def foreign_changes(self, before: Picture) -> list[str]:
        """Of what is not the app's, where this differs from an earlier picture."""
        return _differ(before.foreign, self.foreign)

    def changes(self, before: Picture) -> list[str]:
        """The same of everything."""
        return _differ(before.everything, self.everything)


def _differ(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def look(cursor: Any, *, server: bool = False) -> Picture:
    """The picture that a superuser's session has in whatever transaction it is; with ``server``, of all the server."""
    foreign, everything = {}, {}
    cursor.execute(_catalog_query(_columns(cursor), server=server))
    for name, own, digest, whole in cursor.fetchall():
        if own != "own":
            foreign[name] = digest
        everything[f"{name} ({own})"] = whole
    if server:
        cursor.execute(_OF_THE_SERVER)
        found = dict(cursor.fetchall())
        foreign, everything = {**foreign, **found}, {**everything, **found}
    cursor.execute(_STORED)
    parts = []
    for name, kind, own in cursor.fetchall():
        row = "row(t.last_value, t.is_called)" if kind == "S" else "row(t.xmin, t)"
        what = "sequence" if kind == "S" else "rows of"
        parts.append(f"select '{what} {name}', {own}, sum(hashtextextended({row}::text, 0))::text from {name} t")
    cursor.execute(" union all ".join(parts))
    versions = frozenset[str]()
    for name, own, digest in cursor.fetchall():
        everything[name] = digest
        if not own and name != "rows of public.alembic_version":
            foreign[name] = digest
    cursor.execute("select to_regclass('public.alembic_version') is not null")
    if cursor.fetchone() == (True,):
        cursor.execute("select version_num from public.alembic_version")
        versions = frozenset(version for (version,) in cursor.fetchall())
    return Picture(foreign, everything, versions)


_known: dict[str, list[str]] = {}


def _columns(cursor: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not _known:
        cursor.execute(_CATALOGS)
        _known.update(cursor.fetchall())
    return tuple((name, tuple(columns)) for name, columns in _known.items())


@cache
def _catalog_query(catalogs: tuple[tuple[str, tuple[str, ...]], ...], *, server: bool) -> str:
    parts = []
    for name, columns in catalogs:
        if name in (_STATISTICS if server else _LEFT_OUT):
            continue
        kept = ", ".join(f't."{column}"' for column in columns if column not in _IN_PLACE.get(name, ()))
        own = "coalesce(case when o.passing then 'passing' when o.oid is not null then 'own' end, 'foreign')"
        if name in ("pg_depend", "pg_shdepend"):
            # they say nothing that the objects do not say, but what an extension holds
            own = "case when o.passing then 'passing' when t.deptype in ('e', 'x') then 'foreign' else 'own' end"
        if name == "pg_default_acl":
            in_own = "exists (select from space where oid = t.defaclnamespace and own)"
            own = f"case when {in_own} then 'own' else 'foreign' end"
        where = "true" if server else SHARED.get(name, "true")
        key = next((column for column in _KEYS if column in columns), "") if name not in _SMALL_NUMBERS else ""
        if key:
            # Of PostgreSQL's own objects it is enough to know the transactions that wrote them.
            written = "concat(count(*), ' ', sum(t.xmin::text::bigint))"
            parts.append(
                f"select '{name} of PostgreSQL' as name, 'foreign' as own, {written} as digest, {written} as whole"
                f" from pg_catalog.{name} t where {where} and t.{key} < 16384"
            )
            where += f" and t.{key} >= 16384"
        parts.append(
            f"select '{name}', r.own, sum(hashtextextended(r.line, 0))::text,"
            f" sum(hashtextextended(concat(r.xmin, r.line), 0))::text"
            f" from (select {own} as own, t.xmin, row({kept})::text as line"
            f" from pg_catalog.{name} t left join own o on {_whose(name, columns)} where {where}) r"
            " where r.own <> 'passing' group by 1, 2"
        )
    return _WITH + " union all ".join(parts)


def _whose(name: str, columns: tuple[str, ...]) -> str:
    """The condition that a row of a catalog, ``t``, is about an object, ``o``."""
    if name in _PART_OF:
        catalog, column = _PART_OF[name]
        return f"o.catalog = '{catalog}'::regclass and o.oid = t.{column}"
    if {"classid", "objid"} <= set(columns):
        return "o.catalog = t.classid and o.oid = t.objid"
    if {"classoid", "objoid"} <= set(columns):
        return "o.catalog = t.classoid and o.oid = t.objoid"
    if "oid" in columns:
        return f"o.catalog = 'pg_catalog.{name}'::regclass and o.oid = t.oid"
    return "false"
