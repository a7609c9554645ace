# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which of PostgreSQL's system catalogs are read, and what of them; ``catalog`` makes one query of it.

Every column of a row is compared, apart from those in ``skip``. So what a newer PostgreSQL adds is compared, too.
"""

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
DATABASE = 1262
ROLE = 1260


class Source(NamedTuple):
    """Where rows of one kind come from: SQL expressions about a row ``x`` of ``catalog``.

    ``namespace`` is ``0`` for a row that belongs to the whole database, or to its parent. ``parent`` is the parent's
    catalog and two numbers of its key. ``skip`` names the columns that are not compared: ``facts`` or another source
    compares them, or they change by themselves. ``more`` is compared besides the columns, and ``facts`` instead; in
    both, ``{columns}`` and ``{pg_index}`` are the columns of ``x`` and of the row ``i`` of pg_index.
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
    more: str = ""
    facts: str = ""
    acl: str = ""
    filenode: str = "0"
    extra: str = "''"


# What initdb creates has an oid below (access/transam.h, FirstNormalObjectId).
MADE = "x.oid >= 16384"
# Temporary tables are left out, and so is what PostgreSQL keeps in pg_toast for a table.
LASTING = "x.nspname !~ '^pg_(toast|temp_|toast_temp_)'"
_KIND_OF_LETTER = " ".join(f"when '{letter}' then '{kind}'" for letter, kind in RELATIONS.items())
_KIND_OF_CLASS = f"case x.relkind {_KIND_OF_LETTER} when 'c' then 'type' else 'index' end"
# _RETURN is a view's query
_KIND_OF_RULE = "case when x.rulename = '_RETURN' then '' else 'rule' end"
_THIS_DATABASE = "(select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())"
# Roles belong to the whole server, and are created for other databases all the time. So they are read only if this
# session could change them: it is a superuser, has CREATEROLE, may grant a role, or can SET ROLE to one of these.
_CHANGES_ROLES = (
    "(select exists (select from pg_catalog.pg_roles r left join pg_catalog.pg_auth_members m on m.member = r.oid"
    " where (r.rolsuper or r.rolcreaterole or m.admin_option)"
    " and pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')))"
)
_OWNER = "left join pg_catalog.pg_depend d on d.classid = {} and d.objid = x.oid and d.objsubid = 0"
_METHOD = "(select ' using ' || a.amname from pg_catalog.pg_am a where a.oid = x.{})"


def _named(oid: int, catalog: str, kind: str, prefix: str, **more: Any) -> Source:
    """A catalog whose rows have a name in a schema; ``prefix`` is that of its columns."""
    return Source(oid, catalog, kind, f"x.{prefix}name", f"x.{prefix}namespace", **more)


def _database_wide(oid: int, catalog: str, kind: str, name: str, **more: Any) -> Source:
    return Source(oid, catalog, kind, f"x.{name}", **more)


def _detail(oid: int, catalog: str, parent: int, column: str, where: str = "true", **more: Any) -> Source:
    """A catalog whose rows say more about rows of another: ``column`` refers to the catalog ``parent``."""
    where = f"{where} and x.{column} >= 16384"
    return Source(oid, catalog, "''", parent=f"{parent}, x.{column}, 0", where=where, **more)


def _of_relation(oid: int, catalog: str, kind: str, column: str, where: str = "true", **more: Any) -> Source:
    """A catalog whose rows are parts of relations: ``column`` refers to pg_class."""
    where = f"{where} and x.{column} in (select oid from relation)"
    return Source(oid, catalog, kind, parent=f"{CLASS}, x.{column}, 0", where=where, **more)


SOURCES: tuple[Source, ...] = (
    _database_wide(NAMESPACE, "pg_namespace", "'schema'", "nspname", acl="nspacl", where=LASTING),
    _named(
        CLASS,
        "pg_class",
        _KIND_OF_CLASS,
        "rel",
        # An index belongs to its constraint, else to its table; a sequence to the column that owns it.
        parent=f"case when x.relkind = 'S' and d.objid is not null then {ATTRIBUTE}"
        f" else coalesce(d.refclassid, case when i.indexrelid is not null then {CLASS} end) end,"
        " coalesce(d.refobjid, i.indrelid), coalesce(d.refobjsubid, 0)",
        joins="left join pg_catalog.pg_index i on i.indexrelid = x.oid"
        " left join pg_catalog.pg_class t on t.oid = x.reltoastrelid"
        f" {_OWNER.format(CLASS)}"
        f" and (x.relkind = 'S' and d.refclassid = {CLASS} and d.refobjsubid > 0 and d.deptype in ('a', 'i')"
        f" or x.relkind in ('i', 'I') and d.refclassid = {CONSTRAINT} and d.deptype = 'i')",
        where="x.relkind <> 't'",
        # Statistics, what VACUUM sets, and flags that follow from the rows of other catalogs, some of them for
        # tables that only are referenced: relhastriggers of the target of a foreign key.
        skip="relpages reltuples relallvisible relallfrozen relfrozenxid relminmxid relhasindex relhasrules"
        " relhastriggers relhassubclass relnatts relchecks relfilenode reltoastrelid",
        more="t.reloptions, {pg_index}",
        acl="relacl",
        filenode="x.relfilenode",
    ),
    Source(
        ATTRIBUTE,
        "pg_attribute",
        "'column'",
        "x.attname",
        parent=f"{CLASS}, x.attrelid, 0",
        key="x.attrelid, x.attnum, 0",
        joins="join relation r on r.oid = x.attrelid and r.relkind not in ('i', 'I', 'S')",
        where="not x.attisdropped and (x.attnum > 0 or x.attacl is not null)",
        skip="atthasdef atthasmissing attmissingval",
        acl="attacl",
    ),
    # the columns of an index, whose names follow those of its table
    _detail(
        ATTRIBUTE,
        "pg_attribute",
        CLASS,
        "attrelid",
        key="x.attrelid, x.attnum, 0",
        joins="join relation r on r.oid = x.attrelid and r.relkind in ('i', 'I')",
        where="(x.attoptions is not null or coalesce(x.attstattarget, -1) <> -1)",
        facts="x.attstattarget, x.attoptions",
    ),
    Source(
        2604,
        "pg_attrdef",
        "'default'",
        parent=f"{ATTRIBUTE}, x.adrelid, x.adnum",
        # every ALTER gives it a new oid
        key="x.adrelid, x.adnum, 0",
        where="x.adrelid in (select oid from relation)",
    ),
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
    _of_relation(TRIGGER, "pg_trigger", "'trigger'", "tgrelid", "not x.tgisinternal", name="x.tgname"),
    # A foreign key makes internal triggers on both of its tables, all of them enabled. One that is not alters its
    # table, as long as its constraint is there.
    _of_relation(
        TRIGGER,
        "pg_trigger",
        "''",
        "tgrelid",
        "x.tgisinternal and x.tgenabled <> 'O'",
        facts="x.tgenabled",
        extra="x.tgconstraint::text",
    ),
    _of_relation(2618, "pg_rewrite", _KIND_OF_RULE, "ev_class", name="x.rulename"),
    _of_relation(3256, "pg_policy", "'policy'", "polrelid", name="x.polname"),
    _of_relation(INHERITS, "pg_inherits", "'inheritance'", "inhrelid", key="x.inhrelid, x.inhparent, 0"),
    _named(3381, "pg_statistic_ext", "'statistics'", "stx", parent=f"{CLASS}, x.stxrelid, 0"),
    _detail(2224, "pg_sequence", CLASS, "seqrelid", key="x.seqrelid, 0, 0"),
    _detail(3350, "pg_partitioned_table", CLASS, "partrelid", key="x.partrelid, 0, 0"),
    _detail(3118, "pg_foreign_table", CLASS, "ftrelid", key="x.ftrelid, 0, 0"),
    _named(
        TYPE,
        "pg_type",
        "case x.typtype when 'd' then 'domain' when 'e' then 'enum' else 'type' end",
        "typ",
        # The type of a table's rows belongs to the table, a range's multirange to the range.
        parent=f"case when x.typrelid <> 0 then {CLASS} when x.typtype = 'm' then {TYPE} end,"
        " case when x.typrelid <> 0 then x.typrelid when x.typtype = 'm' then (select d.refobjid"
        f" from pg_catalog.pg_depend d where d.classid = {TYPE} and d.objid = x.oid and d.refclassid = {TYPE}"
        " and d.deptype = 'i') end, 0",
        # Array types come with their element's; nobody can change one by itself.
        where="not exists (select from pg_catalog.pg_type e where e.typarray = x.oid)",
        facts="case when x.typrelid = 0 then row({columns}) end",
        acl="typacl",
    ),
    _detail(3501, "pg_enum", TYPE, "enumtypid"),
    _named(
        FUNCTION,
        "pg_proc",
        "case x.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end",
        "pro",
        # the constructors of a range type
        parent="d.refclassid, d.refobjid, 0",
        joins=f"{_OWNER.format(FUNCTION)} and d.refclassid = {TYPE} and d.deptype = 'i'",
        acl="proacl",
        extra="'(' || pg_catalog.oidvectortypes(x.proargtypes) || ')'",
    ),
    _detail(2600, "pg_aggregate", FUNCTION, "aggfnoid::oid", key="x.aggfnoid::oid, 0, 0"),
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
    _detail(2602, "pg_amop", 2753, "amopfamily"),
    _detail(2603, "pg_amproc", 2753, "amprocfamily"),
    _named(3456, "pg_collation", "'collation'", "coll"),
    _named(2607, "pg_conversion", "'conversion'", "con"),
    _named(3602, "pg_ts_config", "'text search configuration'", "cfg"),
    _named(3600, "pg_ts_dict", "'text search dictionary'", "dict"),
    _named(3601, "pg_ts_parser", "'text search parser'", "prs"),
    _named(3764, "pg_ts_template", "'text search template'", "tmpl"),
    _detail(3603, "pg_ts_config_map", 3602, "mapcfg", key="x.mapcfg, x.maptokentype, x.mapseqno"),
    Source(
        2605,
        "pg_cast",
        "'cast'",
        "pg_catalog.format_type(x.castsource, null) || ' as ' || pg_catalog.format_type(x.casttarget, null)",
        # that of a range to its multirange
        parent=f"case when m.oid is not null then {TYPE} end, m.oid, 0",
        joins="left join pg_catalog.pg_type m on m.oid = x.casttarget and m.typtype = 'm' and exists (select"
        " from pg_catalog.pg_depend d where d.classid = 2605 and d.objid = x.oid and d.deptype = 'i')",
        where=MADE,
    ),
    Source(
        3576,
        "pg_transform",
        "'transform'",
        "pg_catalog.format_type(x.trftype, null) || ' language '"
        " || (select l.lanname from pg_catalog.pg_language l where l.oid = x.trflang)",
        where=MADE,
    ),
    _database_wide(LANGUAGE, "pg_language", "'language'", "lanname", acl="lanacl"),
    _database_wide(2601, "pg_am", "'access method'", "amname"),
    _database_wide(EXTENSION, "pg_extension", "'extension'", "extname"),
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
    _database_wide(3466, "pg_event_trigger", "'event trigger'", "evtname"),
    _database_wide(6104, "pg_publication", "'publication'", "pubname"),
    _detail(PUBLISHED, "pg_publication_rel", 6104, "prpubid", extra="x.prrelid::text"),
    _detail(6237, "pg_publication_namespace", 6104, "pnpubid"),
    _database_wide(
        6100,
        "pg_subscription",
        "'subscription'",
        "subname",
        where=f"x.subdbid = {_THIS_DATABASE}",
        # the one that not everybody may read, and the one that replication moves
        skip="subconninfo subskiplsn",
    ),
    _database_wide(2328, "pg_foreign_data_wrapper", "'foreign data wrapper'", "fdwname", acl="fdwacl"),
    _database_wide(1417, "pg_foreign_server", "'foreign server'", "srvname", acl="srvacl"),
    # The view hides passwords; the catalog itself is for superusers.
    Source(
        1418,
        "pg_user_mappings",
        "'user mapping'",
        "x.usename",
        parent="1417, x.srvid, 0",
        key="x.umid, 0, 0",
        skip="srvname usename",
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
        where=f"x.setdatabase in (0, {_THIS_DATABASE})",
    ),
    _database_wide(
        DATABASE,
        "pg_database",
        "'database'",
        "datname",
        where=f"x.oid = {_THIS_DATABASE}",
        skip="datfrozenxid datminmxid datlastsysoid dathasloginevt",
        acl="datacl",
    ),
    # its settings are pg_db_role_setting's
    _database_wide(ROLE, "pg_roles", "'role'", "rolname", skip="rolconfig", where=_CHANGES_ROLES),
    Source(
        1261,
        "pg_auth_members",
        "'role membership'",
        "pg_catalog.pg_get_userbyid(x.member) || ' in ' || pg_catalog.pg_get_userbyid(x.roleid)",
        key="x.roleid, x.member, x.grantor",
        where=_CHANGES_ROLES,
    ),
    _database_wide(1213, "pg_tablespace", "'tablespace'", "spcname", acl="spcacl"),
    _database_wide(6243, "pg_parameter_acl", "'parameter privilege'", "parname"),
)


def _about(oid: int, catalog: str, kind: str, value: str, subid: str, where: str) -> Source:
    """Comments and security labels: of an object that any catalog may hold."""
    parent = f"case when {subid} <> 0 and x.classoid = {CLASS} then {ATTRIBUTE} else x.classoid end, x.objoid, {subid}"
    return Source(oid, catalog, kind, parent=parent, key=f"x.classoid, x.objoid, {subid}", where=where, facts=value)


_MADE_OR_SCHEMA = f"(x.objoid >= 16384 or x.classoid in ({NAMESPACE}, {LANGUAGE}, {EXTENSION}))"
_SHARED = f"(x.classoid <> {DATABASE} or x.objoid = {_THIS_DATABASE}) and (x.classoid <> {ROLE} or {_CHANGES_ROLES})"
SOURCES += (
    _about(2609, "pg_description", "'comment'", "x.description", "x.objsubid", _MADE_OR_SCHEMA),
    _about(2396, "pg_shdescription", "'comment'", "x.description", "0", _SHARED),
    _about(3596, "pg_seclabel", "'security label'", "x.provider, x.label", "x.objsubid", _MADE_OR_SCHEMA),
    _about(3592, "pg_shseclabel", "'security label'", "x.provider, x.label", "0", _SHARED),
)
