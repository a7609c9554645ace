# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which of PostgreSQL's system catalogs are read: every column that is not skipped, and so what a newer one adds."""

from __future__ import annotations

from typing import Any, NamedTuple

from .kinds import RELATIONS

# The oids of the catalogs themselves, the same in every PostgreSQL (src/include/catalog/*.h).
CLASS = 1259
ATTRIBUTE = 1249
TYPE = 1247
CONSTRAINT = 2606
NAMESPACE = 2615
EXTENSION = 3079
INHERITS = 2611
DEPEND = 2608
TRIGGER = 2620
PUBLISHED = 6106
FUNCTION = 1255
LANGUAGE = 2612
DEFAULT = 2604
INDEX = 2610
MEMBERS = 1261
DATABASE = 1262
ROLE = 1260


class Source(NamedTuple):
    """Where rows of one kind come from: SQL expressions about a row ``x`` of ``catalog``.

    ``namespace`` is ``0`` for a row that belongs to the whole database, or to its parent. ``parent`` is the parent's
    catalog and two numbers of its key. ``facts`` is what is compared: ``{columns}`` are those of ``x``, ``{pg_index}``
    those of a row ``i`` of pg_index. ``skip`` names columns that another source compares, or that change by themselves.
    """

    oid: int
    catalog: str
    kind: str
    name: str = "''"
    namespace: str = "0"
    parent: str = "null::oid, null::oid, 0"
    key: str = "x.oid, 0, 0"
    joins: str = ""
    where: str = "true"
    skip: str = ""
    facts: str = "row({columns})"
    acl: str = ""
    filenode: str = "0"
    extra: str = "''"

    @property
    def signed(self) -> bool:
        """Whether each row says which transaction wrote it: not those of views, and not to everybody elsewhere."""
        return self.catalog not in ("pg_roles", "pg_user_mappings", "pg_subscription")


# What initdb creates has an oid below (access/transam.h, FirstNormalObjectId).
_MADE = "x.oid >= 16384"
# Temporary tables are left out, and so is what PostgreSQL keeps in pg_toast for a table.
LASTING = "x.nspname !~ '^pg_(toast|(toast_)?temp_[0-9]+)$'"
_KIND_OF_LETTER = " ".join(f"when '{letter}' then '{kind}'" for letter, kind in RELATIONS.items())
# _RETURN is a view's query
_KIND_OF_RULE = "case when x.rulename = '_RETURN' then '' else 'rule' end"
# A foreign key makes internal triggers on both of its tables, all of them enabled. One that is not alters its table, as
# long as its constraint is there.
_DISABLED = "x.tgisinternal and x.tgenabled <> 'O'"
_THIS_DATABASE = "(select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())"
# Roles belong to the whole server, and are created for other databases all the time. So they are read only if this
# session could change them: it is a superuser, has CREATEROLE, may grant a role, or can SET ROLE to one of these.
_CHANGES_ROLES = (
    "(select exists (select from pg_catalog.pg_roles r left join pg_catalog.pg_auth_members m on m.member = r.oid"
    " where (r.rolsuper or r.rolcreaterole or m.admin_option)"
    " and pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')))"
)
_INTERNAL = "left join pg_catalog.pg_depend d on d.classid = {} and d.objid = x.oid and d.deptype = 'i'"
_METHOD = "(select ' using ' || a.amname from pg_catalog.pg_am a where a.oid = x.{})"
_MADE_OR_SCHEMA = f"(x.objoid >= 16384 or x.classoid in ({NAMESPACE}, {LANGUAGE}, {EXTENSION}))"
_SHARED = f"(x.classoid <> {DATABASE} or x.objoid = {_THIS_DATABASE}) and (x.classoid <> {ROLE} or {_CHANGES_ROLES})"


def _named(oid: int, catalog: str, kind: str, prefix: str, where: str = "true", **more: Any) -> Source:
    """A catalog whose rows have a name in a schema; ``prefix`` is that of its columns."""
    where = f"{where} and {_MADE} and x.{prefix}namespace in (select oid from space)"
    return Source(oid, catalog, kind, f"x.{prefix}name", f"x.{prefix}namespace", where=where, **more)


def _part(
    oid: int, catalog: str, kind: str, whole: int, column: str, where: str = "true", number: str = "0", **more: Any
) -> Source:
    """A catalog whose rows are parts of those of another: ``column`` and ``number`` refer to the catalog ``whole``."""
    made = f"exists (select from relation r where r.oid = x.{column})"
    where = f"{where} and {made if whole in (CLASS, ATTRIBUTE) else f'x.{column} >= 16384'}"
    return Source(oid, catalog, kind, parent=f"{whole}, x.{column}, {number}", where=where, **more)


def _about(oid: int, catalog: str, kind: str, subid: str, where: str) -> Source:
    """Comments and security labels: of an object that any catalog may hold."""
    parent = f"case when {subid} <> 0 and x.classoid = {CLASS} then {ATTRIBUTE} else x.classoid end, x.objoid, {subid}"
    return Source(oid, catalog, kind, parent=parent, key=f"x.classoid, x.objoid, {subid}", where=where)


SOURCES: tuple[Source, ...] = (
    Source(NAMESPACE, "pg_namespace", "'schema'", "x.nspname", acl="nspacl", where=LASTING),
    _named(
        CLASS,
        "pg_class",
        f"case x.relkind {_KIND_OF_LETTER} when 'c' then 'type' else 'index' end",
        "rel",
        # An index belongs to its constraint, else to its table; a sequence to the column that owns it.
        parent=f"case when x.relkind = 'S' and d.objid is not null then {ATTRIBUTE}"
        f" else coalesce(d.refclassid, case when i.indexrelid is not null then {CLASS} end) end,"
        " coalesce(d.refobjid, i.indrelid), coalesce(d.refobjsubid, 0)",
        joins="left join pg_catalog.pg_index i on i.indexrelid = x.oid"
        " left join pg_catalog.pg_class t on t.oid = x.reltoastrelid"
        f" left join pg_catalog.pg_depend d on d.classid = {CLASS} and d.objid = x.oid and d.objsubid = 0"
        f" and (x.relkind = 'S' and d.refclassid = {CLASS} and d.refobjsubid > 0 and d.deptype in ('a', 'i')"
        f" or x.relkind in ('i', 'I') and d.refclassid = {CONSTRAINT} and d.deptype = 'i')",
        where="x.relkind <> 't'",
        # Statistics, what VACUUM sets, and flags that follow from the rows of other catalogs, some of them for
        # tables that only are referenced: relhastriggers of the target of a foreign key.
        skip="relpages reltuples relallvisible relallfrozen relfrozenxid relminmxid relhasindex relhasrules"
        " relhastriggers relhassubclass relnatts relchecks relfilenode reltoastrelid",
        facts="row({columns}, t.reloptions, {pg_index})",
        acl="relacl",
        filenode="x.relfilenode",
    ),
    # The columns of an index, whose names follow those of its table, are only compared as far as they can be altered.
    Source(
        ATTRIBUTE,
        "pg_attribute",
        "case when r.relkind in ('i', 'I') then '' else 'column' end",
        "x.attname",
        parent=f"{CLASS}, x.attrelid, 0",
        key="x.attrelid, x.attnum, 0",
        joins="join relation r on r.oid = x.attrelid and r.relkind <> 'S'",
        where="not x.attisdropped and case when r.relkind in ('i', 'I') then x.attoptions is not null"
        " or coalesce(x.attstattarget, -1) <> -1 else x.attnum > 0 or x.attacl is not null end",
        skip="atthasdef atthasmissing attmissingval",
        facts="case when r.relkind in ('i', 'I') then row(x.attstattarget, x.attoptions) else row({columns}) end",
        acl="attacl",
    ),
    # every ALTER gives it a new oid
    _part(DEFAULT, "pg_attrdef", "'default'", ATTRIBUTE, "adrelid", number="x.adnum", key="x.adrelid, x.adnum, 0"),
    _named(
        CONSTRAINT,
        "pg_constraint",
        "'constraint'",
        "con",
        parent=f"case when x.contypid <> 0 then {TYPE} when x.contype = 'n' then {ATTRIBUTE} else {CLASS} end,"
        " coalesce(nullif(x.contypid, 0), x.conrelid),"
        " case when x.contype = 'n' and x.contypid = 0 then x.conkey[1] else 0 end",
        # for a foreign key, the table that it refers to
        extra="case x.contype when 'f' then x.confrelid::text when 't' then 'trigger' else '' end",
    ),
    _part(TRIGGER, "pg_trigger", "'trigger'", CLASS, "tgrelid", "not x.tgisinternal", name="x.tgname"),
    _part(TRIGGER, "pg_trigger", "''", CLASS, "tgrelid", _DISABLED, extra="x.tgconstraint::text"),
    _part(2618, "pg_rewrite", _KIND_OF_RULE, CLASS, "ev_class", name="x.rulename"),
    _part(3256, "pg_policy", "'policy'", CLASS, "polrelid", name="x.polname"),
    _part(INHERITS, "pg_inherits", "'inheritance'", CLASS, "inhrelid", key="x.inhrelid, x.inhparent, 0"),
    _named(3381, "pg_statistic_ext", "'statistics'", "stx", parent=f"{CLASS}, x.stxrelid, 0"),
    _part(2224, "pg_sequence", "''", CLASS, "seqrelid", key="x.seqrelid, 0, 0"),
    _part(3350, "pg_partitioned_table", "''", CLASS, "partrelid", key="x.partrelid, 0, 0"),
    _part(3118, "pg_foreign_table", "''", CLASS, "ftrelid", key="x.ftrelid, 0, 0"),
    _named(
        TYPE,
        "pg_type",
        "case x.typtype when 'd' then 'domain' when 'e' then 'enum' else 'type' end",
        "typ",
        # The type of a table's rows belongs to the table, a range's multirange to the range.
        parent=f"case when x.typrelid <> 0 then {CLASS} else d.refclassid end,"
        " coalesce(nullif(x.typrelid, 0), d.refobjid), 0",
        joins=_INTERNAL.format(TYPE),
        # Array types come with their element's; nobody can change one by itself.
        where="not exists (select from pg_catalog.pg_type e where e.typarray = x.oid)",
        facts="case when x.typrelid = 0 then row({columns}) end",
        acl="typacl",
    ),
    _part(3501, "pg_enum", "''", TYPE, "enumtypid"),
    _named(
        FUNCTION,
        "pg_proc",
        "case x.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end",
        "pro",
        # the constructors of a range type
        parent="d.refclassid, d.refobjid, 0",
        joins=_INTERNAL.format(FUNCTION),
        acl="proacl",
        extra="'(' || pg_catalog.oidvectortypes(x.proargtypes) || ')'",
    ),
    _part(2600, "pg_aggregate", "''", FUNCTION, "aggfnoid::oid", key="x.aggfnoid::oid, 0, 0"),
    _named(
        2617,
        "pg_operator",
        "'operator'",
        "opr",
        extra="'(' || case when x.oprleft = 0 then 'none' else pg_catalog.format_type(x.oprleft, null) end || ', '"
        " || pg_catalog.format_type(x.oprright, null) || ')'",
    ),
    _named(2616, "pg_opclass", "'operator class'", "opc", extra=_METHOD.format("opcmethod")),
    _named(2753, "pg_opfamily", "'operator family'", "opf", extra=_METHOD.format("opfmethod")),
    _part(2602, "pg_amop", "''", 2753, "amopfamily"),
    _part(2603, "pg_amproc", "''", 2753, "amprocfamily"),
    _named(3456, "pg_collation", "'collation'", "coll"),
    _named(2607, "pg_conversion", "'conversion'", "con"),
    _named(3602, "pg_ts_config", "'text search configuration'", "cfg"),
    _named(3600, "pg_ts_dict", "'text search dictionary'", "dict"),
    _named(3601, "pg_ts_parser", "'text search parser'", "prs"),
    _named(3764, "pg_ts_template", "'text search template'", "tmpl"),
    _part(3603, "pg_ts_config_map", "''", 3602, "mapcfg", key="x.mapcfg, x.maptokentype, x.mapseqno"),
    Source(
        2605,
        "pg_cast",
        "'cast'",
        "pg_catalog.format_type(x.castsource, null) || ' as ' || pg_catalog.format_type(x.casttarget, null)",
        # That of a range to its multirange comes with them; nobody can change it by itself.
        where=f"{_MADE} and not exists (select from pg_catalog.pg_depend d"
        " where d.classid = 2605 and d.objid = x.oid and d.deptype = 'i')",
    ),
    Source(
        3576,
        "pg_transform",
        "'transform'",
        "pg_catalog.format_type(x.trftype, null) || ' language '"
        " || (select l.lanname from pg_catalog.pg_language l where l.oid = x.trflang)",
        where=_MADE,
    ),
    Source(LANGUAGE, "pg_language", "'language'", "x.lanname", acl="lanacl"),
    Source(2601, "pg_am", "'access method'", "x.amname"),
    Source(EXTENSION, "pg_extension", "'extension'", "x.extname"),
    # what an extension holds, and what was declared to depend on it
    Source(
        DEPEND,
        "pg_depend",
        "''",
        parent=f"{EXTENSION}, x.refobjid, 0",
        key="x.classid, x.objid, x.refobjid",
        where=f"x.refclassid = {EXTENSION} and x.deptype in ('e', 'x')",
        extra="x.deptype::text",
    ),
    Source(3466, "pg_event_trigger", "'event trigger'", "x.evtname"),
    Source(6104, "pg_publication", "'publication'", "x.pubname"),
    _part(PUBLISHED, "pg_publication_rel", "''", 6104, "prpubid", extra="x.prrelid::text"),
    _part(6237, "pg_publication_namespace", "''", 6104, "pnpubid"),
    Source(
        6100,
        "pg_subscription",
        "'subscription'",
        "x.subname",
        where=f"x.subdbid = {_THIS_DATABASE}",
        # the one that not everybody may read, and the one that replication moves
        skip="subconninfo subskiplsn",
    ),
    Source(2328, "pg_foreign_data_wrapper", "'foreign data wrapper'", "x.fdwname", acl="fdwacl"),
    Source(1417, "pg_foreign_server", "'foreign server'", "x.srvname", acl="srvacl"),
    # The view hides passwords; the catalog itself is for superusers.
    _part(
        1418, "pg_user_mappings", "'user mapping'", 1417, "srvid", name="x.usename", key="x.umid, 0, 0", skip="usename"
    ),
    Source(
        826, "pg_default_acl", "'default privileges'", "pg_catalog.pg_get_userbyid(x.defaclrole)", "x.defaclnamespace"
    ),
    Source(
        2964,
        "pg_db_role_setting",
        "'setting'",
        "case when x.setrole = 0 then pg_catalog.current_database() else pg_catalog.pg_get_userbyid(x.setrole) end",
        key="x.setdatabase, x.setrole, 0",
        # Those of other roles are as they are.
        where=f"x.setdatabase in (0, {_THIS_DATABASE}) and (x.setrole = 0"
        f" or pg_catalog.pg_has_role(session_user, x.setrole, 'MEMBER') or {_CHANGES_ROLES})",
    ),
    Source(
        DATABASE,
        "pg_database",
        "'database'",
        "x.datname",
        where=f"x.oid = {_THIS_DATABASE}",
        skip="datfrozenxid datminmxid datlastsysoid dathasloginevt",
        acl="datacl",
    ),
    # its settings are pg_db_role_setting's
    Source(ROLE, "pg_roles", "'role'", "x.rolname", skip="rolconfig", where=_CHANGES_ROLES),
    Source(
        MEMBERS,
        "pg_auth_members",
        "'role membership'",
        "pg_catalog.pg_get_userbyid(x.member) || ' in ' || pg_catalog.pg_get_userbyid(x.roleid)",
        key="x.roleid, x.member, x.grantor",
        where=_CHANGES_ROLES,
    ),
    Source(1213, "pg_tablespace", "'tablespace'", "x.spcname", acl="spcacl"),
    Source(6243, "pg_parameter_acl", "'parameter privilege'", "x.parname"),
    _about(2609, "pg_description", "'comment'", "x.objsubid", _MADE_OR_SCHEMA),
    _about(2396, "pg_shdescription", "'comment'", "0", _SHARED),
    _about(3596, "pg_seclabel", "'security label'", "x.objsubid", _MADE_OR_SCHEMA),
    _about(3592, "pg_shseclabel", "'security label'", "0", _SHARED),
)
