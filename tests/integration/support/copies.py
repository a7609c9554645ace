"""All of a database, to hold one against another; and rows of every kind, so that there is something to lose."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import psycopg2

# What a dump may lose: bytes, quotes and line ends in texts, precision, order of sequences, owners and grants.
ODDITIES = """
create schema poser;
comment on schema poser is 'what''s "poser"';
create type poser.mood as enum ('glad', 'so so');
create table poser_thing (
  id integer generated always as identity primary key, name text not null, data bytea, price numeric(12, 4),
  moods poser.mood[], extra jsonb, at timestamptz default now(), product_uuid varchar(32),
  doubled numeric generated always as (price * 2) stored, unique (name) deferrable initially deferred);
comment on column poser_thing.name is E'line\\nbreak';
create index poser_thing_price on poser_thing (price desc) where price > 0;
insert into poser_thing (name, data, price, moods, extra)
  select
    E'thing ' || n || E' \\t\\\\ "\\'\\r\\n é 漢 \\\\.',
    decode(md5(n::text), 'hex'), n / 7.0, '{glad,"so so"}', '{"n": null}'
  from generate_series(1, 1000) n;
insert into poser_thing (name) values ('');
create table poser_part (
  thing integer references poser_thing, n integer, primary key (thing, n)) partition by range (n);
create table poser_part_low partition of poser_part for values from (0) to (10);
create table poser_part_high partition of poser_part for values from (10) to (100);
insert into poser_part select 1, n from generate_series(1, 99) n;
create sequence poser.number start 41;
select nextval('poser.number'), nextval('poser.number');
create function poser_note() returns trigger language plpgsql as $$ begin new.name := new.name; return new; end $$;
create trigger poser_note before insert on poser_thing for each row execute function poser_note();
create view poser_dear as select id, name from poser_thing where price > 100;
create materialized view poser_sum as select sum(price) from poser_thing;
create domain poser.positive as integer check (value > 0);
grant select on poser_thing to guarded;
grant usage on schema poser to guarded;
alter default privileges in schema poser grant select on tables to guarded;
"""


# Words that differ each time: of pg_dump's own, and what PostgreSQL 15.20 notes of its own at each column.
_ARBITRARY = re.compile(r"^\\(un)?restrict |SET \(pg_attver=\d+\);$")


def contents(binaries: Path, database: str, **server: Any) -> dict[str, Any]:
    """A database's schema as pg_dump writes it, every row of every table, and the state of every sequence.

    ``server`` says where it is, and names a superuser, for psycopg2.
    """
    dsn = psycopg2.extensions.make_dsn(dbname=database, **server)
    written = subprocess.run(
        [binaries / "pg_dump", "--schema-only", f"--dbname={dsn}"], capture_output=True, text=True, check=True
    ).stdout
    found: dict[str, Any] = {"schema": [line for line in written.splitlines() if not _ARBITRARY.search(line)]}
    connection = psycopg2.connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "select format('%I.%I', nspname, relname), relkind"
                " from pg_class c join pg_namespace n on n.oid = relnamespace"
                " where relkind in ('r', 'm', 'S') and relispopulated"
                " and nspname !~ '^pg_' and nspname <> 'information_schema'"
            )
            for name, kind in cursor.fetchall():
                wanted = "last_value, is_called" if kind == "S" else "t::text"
                cursor.execute(f"select {wanted} from {name} t order by 1")
                found[name] = cursor.fetchall()
            cursor.execute(
                "select pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype"
                " from pg_database where datname = current_database()"
            )
            found["database"] = cursor.fetchall()
            cursor.execute(
                "select setrole::regrole::text, setconfig from pg_db_role_setting"
                " where setdatabase = (select oid from pg_database where datname = current_database()) order by 1"
            )
            found["settings"] = cursor.fetchall()
    finally:
        connection.close()
    return found


def rows(found: dict[str, Any]) -> int:
    """How many rows there are in what ``contents`` found."""
    return sum(len(value) for name, value in found.items() if name not in ("schema", "database", "settings"))


def wrap(program: Path, directory: Path) -> None:
    """Put a program into a directory by itself, without those that lie beside it."""
    wrapper = directory / program.name
    wrapper.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    wrapper.chmod(0o755)
