"""A database's system catalogs, row by row: what there is to say of it when nothing at all is to have been done.

pg_dump tells what a database is to be; a row of a catalog also which transaction wrote it, and under which oid. So what
was dropped and made again, or altered to what it was, shows here and in no dump.
"""

from __future__ import annotations

from ansible.module_utils.rattail_alembic.change.history import TABLES

from .dumps import dump
from .postgres import Database

# What ANALYZE writes, and what belongs to the whole server, where other tests are at work: its roles, settings of
# whole roles, tablespaces, subscriptions and replication.
LEFT_OUT = {
    *("pg_statistic", "pg_statistic_ext_data"),
    *("pg_authid", "pg_auth_members", "pg_tablespace", "pg_parameter_acl", "pg_subscription", "pg_replication_origin"),
}
# Of what is the whole server's, what is said of this database.
SHARED = {
    "pg_database": "t.datname = current_database()",
    "pg_db_role_setting": "t.setdatabase = (select oid from pg_database where datname = current_database())",
    "pg_shdepend": "t.dbid = (select oid from pg_database where datname = current_database())",
    "pg_shdescription": "t.objoid = (select oid from pg_database where datname = current_database())",
    "pg_shseclabel": "t.objoid = (select oid from pg_database where datname = current_database())",
}
# What VACUUM, ANALYZE and CREATE INDEX put into rows as they stand, rolled back or not (heap_inplace_update).
IN_PLACE = {
    "pg_class": {"relpages", "reltuples", "relallvisible", "relallfrozen", "relfrozenxid", "relminmxid"}
    | {"relhasindex", "relhasrules", "relhastriggers"},
    "pg_database": {"datfrozenxid", "datminmxid"},
}
_COLUMNS = """
select c.relname, array_agg(a.attname::text order by a.attnum)
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'r' group by 1 order by 1
"""


def catalogs(database: Database) -> list[str]:
    """A line for each catalog: how many rows it has, and a digest of them all, each with the transaction it is of."""
    queries = []
    for name, columns in database.sql(_COLUMNS, user="postgres"):
        if name not in LEFT_OUT:
            kept = ", ".join(f't."{column}"' for column in columns if column not in IN_PLACE.get(name, ()))
            queries.append(
                f"select '{name} ' || count(*) || ' ' || coalesce(md5(string_agg(r.digest, '' order by r.digest)), '') "
                f"from (select md5(row(t.xmin, {kept})::text) as digest from pg_catalog.{name} t "
                f"where {SHARED.get(name, 'true')}) r"
            )
    return sorted(f"catalog {line}" for (line,) in database.sql(" union all ".join(queries), user="postgres"))


def everything(database: Database) -> list[str]:
    """A whole dump and the catalogs: equal before and after only where nothing was committed but to the history."""
    _make_history(database)
    return dump(database) + catalogs(database)


def _make_history(database: Database) -> None:
    """Make what the history is kept in, as the first run that changes something does; once."""
    if database.sql("select to_regnamespace('rattail_schema_ext') is null") == [(True,)]:
        user = database.user
        make = f"create schema rattail_schema_ext authorization {user}; set role {user}; {TABLES}"
        database.sql(make, user="postgres")
