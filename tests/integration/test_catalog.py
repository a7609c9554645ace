"""What two looks at PostgreSQL's catalogs tell of what happened between them, and what they do not make up."""

from __future__ import annotations

import pickle
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from ansible.module_utils.rattail_alembic.postgres import catalog, catalog_changes, row_counts
from ansible.module_utils.rattail_alembic.postgres.catalog_changes import Change
from ansible.module_utils.rattail_alembic.postgres.connection import PIN, undone
from ansible.module_utils.rattail_alembic.postgres.kinds import KINDS
from support.postgres import Database, Postgres

# One of everything that a core could have.
BASE = """
create domain product_code as varchar(20) check (value <> '');
create type product_state as enum ('new', 'old');
create type product_pair as (left_one integer, right_one integer);
create type product_span as range (subtype = integer, multirange_type_name = product_spans);
create function product_touch() returns trigger language plpgsql as 'begin return new; end';
create function product_double(n integer) returns integer language sql immutable as 'select 2 * n';
create procedure product_nothing() language sql as 'select 1';
create aggregate product_total(integer) (sfunc = int4pl, stype = integer);
create table product (id serial primary key, upc varchar(20) not null default 'x', name text, code product_code,
    price numeric(8, 2), state product_state, constraint product_price_positive check (price > 0));
create index product_name on product (name);
create index product_lower on product (lower(name));
create statistics product_stats on upc, name from product;
create trigger product_touched before update on product for each row execute function product_touch();
create rule product_kept as on delete to product do instead nothing;
create policy product_seen on product using (true);
create table customer (id integer generated always as identity primary key, product_id integer references product (id));
create view product_list as select id, upc from product;
create materialized view product_count as select count(*) as n from product;
create table sale (day date not null, total numeric) partition by range (day);
create table sale_2020 partition of sale for values from ('2020-01-01') to ('2021-01-01');
create sequence product_number;
create collation product_order from "C";
create operator === (leftarg = integer, rightarg = integer, function = int4eq);
create text search configuration product_words (copy = simple);
create schema depot;
create table depot.shelf (id integer primary key);
create table poser_widget (id integer primary key, name text);
create table poser_part (id integer primary key, product_id integer not null references product (id));
create table news (id integer primary key);
create function news_touch() returns trigger language plpgsql as 'begin return new; end';
alter function news_touch depends on extension plpgsql;
create unique index shelf_only on depot.shelf (id);
alter table depot.shelf cluster on shelf_pkey;
alter table depot.shelf add constraint shelf_later check (id > 0) not valid;
comment on table product is 'what is sold';
insert into product (name, code) values ('apple', 'a');
"""

# what only a superuser makes
RARE = """
create foreign data wrapper product_wrapper;
create server product_far foreign data wrapper product_wrapper;
create foreign table product_remote (id integer) server product_far;
create publication product_news for table news;
create function product_equal(integer, integer) returns boolean language sql immutable as 'select $1 = $2';
create operator family product_family using hash;
"""

# (SQL by the owner of everything, or by a superuser where that comes first; what a look after it finds)
CASES: dict[str, tuple[str, ...]] = {
    # tables
    "create table": (
        "create table poser_crate (id serial primary key, code text unique check (code <> ''), width integer"
        " default 3);"
        " create index on poser_crate (width); comment on column poser_crate.width is 'cm'; grant select on poser_crate"
        " to public; create trigger t before update on poser_crate for each row execute function product_touch()",
        "created table public.poser_crate",
    ),
    "create table in schema": ("create table depot.box (id integer)", "created table depot.box"),
    "create table with a name to quote": ('create table "Crate.""X" ()', 'created table public."Crate.""X"'),
    "create table as": ("create table product_copy as select * from product", "created table public.product_copy"),
    "create a temporary table": (
        "create temp table crate (id serial primary key, state product_state default 'new'); create index on"
        " crate (id);"
        " comment on table crate is 'x'; create trigger t before update on crate for each row execute function"
        " product_touch(); create temp view crates as select * from crate; create function pg_temp.f() returns integer"
        " language sql as 'select 1'; create type pg_temp.kind as enum ('a')",
    ),
    "create and drop": ("create table crate (id serial primary key); drop table crate",),
    "foreign key to core": (
        "create table poser_crate (id integer primary key references product (id))",
        "created table public.poser_crate",
    ),
    "foreign key to core afterwards": (
        "alter table poser_widget add foreign key (id) references product",
        "created constraint poser_widget_id_fkey on public.poser_widget",
    ),
    "foreign key from core": (
        "alter table product add foreign key (id) references poser_widget not valid",
        "created constraint product_id_fkey on public.product",
    ),
    "drop table": ("drop table customer", "dropped table public.customer"),
    "drop table with what depends on it": (
        "drop table product cascade",
        "dropped constraint customer_product_id_fkey on public.customer",
        "dropped constraint poser_part_product_id_fkey on public.poser_part",
        "dropped materialized view public.product_count",
        "dropped table public.product",
        "dropped view public.product_list",
    ),
    "rename table": (
        "alter table product rename to poser_product",
        "altered table public.poser_product (was table public.product)",
    ),
    "move table": (
        "alter table customer set schema depot",
        "altered sequence depot.customer_id_seq (was sequence public.customer_id_seq)",
        "altered table depot.customer (was table public.customer)",
        "altered index customer_pkey on depot.customer (was index customer_pkey on public.customer)",
        "18: altered constraint customer_id_not_null on depot.customer (was constraint customer_id_not_null on"
        " public.customer)",
        "altered constraint customer_pkey on depot.customer (was constraint customer_pkey on public.customer)",
        "altered constraint customer_product_id_fkey on depot.customer (was constraint"
        " customer_product_id_fkey on public.customer)",
    ),
    "table options": ("alter table product set (fillfactor = 70)", "altered table public.product"),
    "toast options": ("alter table product set (toast.autovacuum_enabled = off)", "altered table public.product"),
    "persistence": (
        "alter table depot.shelf set unlogged",
        "altered index shelf_pkey on depot.shelf",
        "altered index shelf_only on depot.shelf",
        "altered table depot.shelf",
    ),
    "row security": ("alter table product enable row level security", "altered table public.product"),
    "forced row security": ("alter table product force row level security", "altered table public.product"),
    "replica identity": ("alter table product replica identity full", "altered table public.product"),
    "cluster on": ("alter table product cluster on product_name", "altered index product_name on public.product"),
    # columns
    "add column": ("alter table product add poser_note text", "created column public.product.poser_note"),
    "add column with everything": (
        "alter table product add poser_number serial not null unique; comment on column product.poser_number is 'x'",
        "created column public.product.poser_number",
        "created constraint product_poser_number_key on public.product",
    ),
    "drop column": (
        "alter table product drop price",
        "dropped column public.product.price",
        "dropped constraint product_price_positive on public.product",
    ),
    "rename column": (
        "alter table product rename name to title",
        "altered column public.product.title (was column public.product.name)",
    ),
    "type": (
        "alter table product alter price type numeric(10, 2)",
        "altered column public.product.price",
        "altered constraint product_price_positive on public.product",
    ),
    "not null": (
        "alter table product alter name set not null",
        "altered column public.product.name",
        "18: created constraint product_name_not_null on public.product",
    ),
    "nullable": (
        "alter table product alter upc drop not null",
        "altered column public.product.upc",
        "18: dropped constraint product_upc_not_null on public.product",
    ),
    "set default": ("alter table product alter name set default 'y'", "created default of public.product.name"),
    "change default": ("alter table product alter upc set default 'y'", "altered default of public.product.upc"),
    "drop default": ("alter table product alter upc drop default", "dropped default of public.product.upc"),
    "identity": (
        "alter table product alter price drop default; alter table customer alter id set generated by default",
        "altered column public.customer.id",
    ),
    "no identity": (
        "alter table customer alter id drop identity",
        "altered column public.customer.id",
        "dropped sequence public.customer_id_seq",
    ),
    "storage": ("alter table product alter name set storage external", "altered column public.product.name"),
    "compression": ("alter table product alter name set compression pglz", "altered column public.product.name"),
    "statistics target": ("alter table product alter name set statistics 500", "altered column public.product.name"),
    "column options": ("alter table product alter name set (n_distinct = 5)", "altered column public.product.name"),
    "collation of a column": (
        'alter table product alter name type text collate "C"',
        "altered column public.product.name",
        "altered index product_name on public.product",
        "altered index product_lower on public.product",
        "altered statistics product_stats on public.product",
    ),
    "column of a view": (
        "create or replace view product_list as select id, upc, name from product",
        "altered view public.product_list",
        "created column public.product_list.name",
    ),
    # indexes
    "create index": (
        "create index poser_widget_name on product (price)",
        "created index poser_widget_name on public.product",
    ),
    "drop index": ("drop index product_name", "dropped index product_name on public.product"),
    "rename index": (
        "alter index product_name rename to poser_name",
        "altered index poser_name on public.product (was index product_name on public.product)",
    ),
    "index options": ("alter index product_name set (fillfactor = 50)", "altered index product_name on public.product"),
    "index on own table": (
        "create index product_of on poser_widget (name)",
        "created index product_of on public.poser_widget",
    ),
    "index of a materialized view": (
        "create index on product_count (n)",
        "created index product_count_n_idx on public.product_count",
    ),
    "reindex": ("reindex table product",),
    # constraints
    "check": ("alter table product add constraint c check (name <> '')", "created constraint c on public.product"),
    "check not valid": (
        "alter table product add constraint c check (name <> '') not valid",
        "created constraint c on public.product",
    ),
    "unique": ("alter table product add constraint u unique (upc)", "created constraint u on public.product"),
    "unique by index": (
        "create unique index u on product (upc); alter table product add constraint u unique using index u",
        "created constraint u on public.product",
    ),
    "exclude": ("alter table product add constraint e exclude (upc with =)", "created constraint e on public.product"),
    "drop constraint": (
        "alter table product drop constraint product_price_positive",
        "dropped constraint product_price_positive on public.product",
    ),
    "rename constraint": (
        "alter table product rename constraint product_price_positive to p",
        "altered constraint p on public.product (was constraint product_price_positive on public.product)",
    ),
    "deferrable": (
        "alter table customer alter constraint customer_product_id_fkey deferrable",
        "altered constraint customer_product_id_fkey on public.customer",
    ),
    "drop foreign key": (
        "alter table customer drop constraint customer_product_id_fkey",
        "dropped constraint customer_product_id_fkey on public.customer",
    ),
    # triggers, rules, policies, statistics
    "create trigger": (
        "create trigger poser_t after insert on product execute function product_touch()",
        "created trigger poser_t on public.product",
    ),
    "constraint trigger": (
        "create constraint trigger poser_t after insert on product for each row execute function product_touch()",
        "created trigger poser_t on public.product",
        "created constraint poser_t on public.product",
    ),
    "disable trigger": (
        "alter table product disable trigger product_touched",
        "altered trigger product_touched on public.product",
    ),
    "rename trigger": (
        "alter trigger product_touched on product rename to t",
        "altered trigger t on public.product (was trigger product_touched on public.product)",
    ),
    "replace trigger": (
        "create or replace trigger product_touched before delete on product for each row execute function"
        " product_touch()",
        "altered trigger product_touched on public.product",
    ),
    "drop trigger": ("drop trigger product_touched on product", "dropped trigger product_touched on public.product"),
    "disable foreign keys": ("super", "alter table customer disable trigger all", "altered table public.customer"),
    "disable foreign keys on the other side": (
        "super",
        "alter table product disable trigger all",
        "altered table public.product",
        "altered trigger product_touched on public.product",
    ),
    "create rule": (
        "create rule poser_r as on insert to product do also nothing",
        "created rule poser_r on public.product",
    ),
    "create a table's first rule": (
        "create rule product_r as on insert to poser_widget do also nothing",
        "created rule product_r on public.poser_widget",
    ),
    "replace rule": (
        "create or replace rule product_kept as on delete to product do also nothing",
        "altered rule product_kept on public.product",
    ),
    "disable rule": ("alter table product disable rule product_kept", "altered rule product_kept on public.product"),
    "drop rule": ("drop rule product_kept on product", "dropped rule product_kept on public.product"),
    "create policy": ("create policy poser_p on product using (false)", "created policy poser_p on public.product"),
    "alter policy": (
        "alter policy product_seen on product using (false)",
        "altered policy product_seen on public.product",
    ),
    "drop policy": ("drop policy product_seen on product", "dropped policy product_seen on public.product"),
    "create statistics": (
        "create statistics poser_s on upc, price from product",
        "created statistics poser_s on public.product",
    ),
    "alter statistics": (
        "alter statistics product_stats set statistics 5",
        "altered statistics product_stats on public.product",
    ),
    "drop statistics": ("drop statistics product_stats", "dropped statistics product_stats on public.product"),
    # views
    "create view": ("create view poser_v as select * from product", "created view public.poser_v"),
    "replace view": (
        "create or replace view product_list as select id, upc from product where id > 0",
        "altered view public.product_list",
    ),
    "view options": ("alter view product_list set (security_barrier)", "altered view public.product_list"),
    "default of a view": (
        "alter view product_list alter upc set default 'z'",
        "created default of public.product_list.upc",
    ),
    "drop view": ("drop view product_list", "dropped view public.product_list"),
    "create materialized view": (
        "create materialized view poser_m as select 1 as one",
        "created materialized view public.poser_m",
    ),
    "refresh materialized view": ("refresh materialized view product_count",),
    "empty materialized view": (
        "refresh materialized view product_count with no data",
        "altered materialized view public.product_count",
    ),
    "drop materialized view": (
        "drop materialized view product_count",
        "dropped materialized view public.product_count",
    ),
    # sequences
    "create sequence": ("create sequence poser_s", "created sequence public.poser_s"),
    "own sequence": ("create sequence s owned by poser_widget.id", "created sequence public.s"),
    "alter sequence": ("alter sequence product_number increment 5", "altered sequence public.product_number"),
    "take sequence": (
        "alter sequence product_number owned by poser_widget.id",
        "altered sequence public.product_number",
    ),
    "alter the sequence of a column": (
        "alter sequence product_id_seq cache 5",
        "altered sequence public.product_id_seq",
    ),
    "drop sequence": ("drop sequence product_number", "dropped sequence public.product_number"),
    "use sequence": ("select nextval('product_number')",),
    # types
    "create enum": ("create type poser_e as enum ('a')", "created enum public.poser_e"),
    "add label": ("alter type product_state add value 'gone'", "altered enum public.product_state"),
    "rename label": ("alter type product_state rename value 'new' to 'fresh'", "altered enum public.product_state"),
    "rename enum": ("alter type product_state rename to s", "altered enum public.s (was enum public.product_state)"),
    "create domain": ("create domain poser_d as text", "created domain public.poser_d"),
    "default of a domain": ("alter domain product_code set default 'x'", "altered domain public.product_code"),
    "not null of a domain": (
        "alter domain product_code set not null",
        "altered domain public.product_code",
        "17: created constraint product_code_not_null on public.product_code",
    ),
    "constraint of a domain": (
        "alter domain product_code add constraint c check (value <> 'x')",
        "created constraint c on public.product_code",
    ),
    "drop constraint of a domain": (
        "alter domain product_code drop constraint product_code_check",
        "dropped constraint product_code_check on public.product_code",
    ),
    "create composite type": ("create type poser_c as (a integer)", "created type public.poser_c"),
    "add attribute": (
        "alter type product_pair add attribute middle integer",
        "created column public.product_pair.middle",
    ),
    "rename composite type": (
        "alter type product_pair rename to p",
        "altered type public.p (was type public.product_pair)",
    ),
    "create range": ("create type poser_r as range (subtype = float8)", "created type public.poser_r"),
    "drop range": ("drop type product_span", "dropped type public.product_span"),
    "drop enum": (
        "alter table product drop state; drop type product_state",
        "dropped column public.product.state",
        "dropped enum public.product_state",
    ),
    # functions
    "create function": (
        "create function poser_f(a integer, b text) returns integer language sql as 'select 1'",
        "created function public.poser_f(integer, text)",
    ),
    "replace function": (
        "create or replace function product_double(n integer) returns integer language sql immutable as 'select 3 * n'",
        "altered function public.product_double(integer)",
    ),
    "function options": (
        "alter function product_double set search_path = public",
        "altered function public.product_double(integer)",
    ),
    "overload function": (
        "create function product_double(n text) returns text language sql as 'select n'",
        "created function public.product_double(text)",
    ),
    "rename function": (
        "alter function product_double rename to d",
        "altered function public.d(integer) (was function public.product_double(integer))",
    ),
    "drop function": ("drop function product_double", "dropped function public.product_double(integer)"),
    "replace procedure": (
        "create or replace procedure product_nothing() language sql as 'select 2'",
        "altered procedure public.product_nothing()",
    ),
    "replace aggregate": (
        "create or replace aggregate product_total(integer) (sfunc = int4mul, stype = integer)",
        "altered aggregate public.product_total(integer)",
    ),
    # comments, grants, owners
    "comment": ("comment on table customer is 'who buys'", "created comment on table public.customer"),
    "change comment": ("comment on table product is 'goods'", "altered comment on table public.product"),
    "drop comment": ("comment on table product is null", "dropped comment on table public.product"),
    "comment on a column": ("comment on column product.upc is 'code'", "created comment on column public.product.upc"),
    "comment on a constraint": (
        "comment on constraint product_price_positive on product is 'c'",
        "created comment on constraint product_price_positive on public.product",
    ),
    "comment on a trigger": (
        "comment on trigger product_touched on product is 'c'",
        "created comment on trigger product_touched on public.product",
    ),
    "comment on an index": (
        "comment on index product_name is 'c'",
        "created comment on index product_name on public.product",
    ),
    "comment on a function": (
        "comment on function product_double is 'c'",
        "created comment on function public.product_double(integer)",
    ),
    "comment on a type": ("comment on type product_pair is 'c'", "created comment on type public.product_pair"),
    "comment on a schema": ("comment on schema depot is 'c'", "created comment on schema depot"),
    "comment on the database": ("comment on database DBNAME is 'c'", "created comment on database DBNAME"),
    "grant": ("grant select on product to guarded", "altered grant on table public.product"),
    "revoke": ("revoke insert on product from rattail", "altered grant on table public.product"),
    "grant on a column": ("grant select (upc) on product to guarded", "altered grant on column public.product.upc"),
    "grant on a sequence": (
        "grant usage on sequence product_number to guarded",
        "altered grant on sequence public.product_number",
    ),
    "grant on a function": (
        "revoke execute on function product_double from public",
        "altered grant on function public.product_double(integer)",
    ),
    "grant on a type": ("revoke usage on type product_pair from public", "altered grant on type public.product_pair"),
    "grant on a schema": ("grant create on schema depot to guarded", "altered grant on schema depot"),
    "grant on the database": ("grant create on database DBNAME to guarded", "altered grant on database DBNAME"),
    "owner": (
        "super",
        "alter table depot.shelf owner to guarded",
        "altered table depot.shelf",
        "altered index shelf_pkey on depot.shelf",
        "altered index shelf_only on depot.shelf",
    ),
    "owner of a function": (
        "super",
        "alter function product_double owner to guarded",
        "altered function public.product_double(integer)",
    ),
    # inheritance and partitions
    "inherit": (
        "create table poser_p () inherits (product)",
        "created table public.poser_p",
        "created inheritance of public.poser_p from public.product",
    ),
    "let inherit": (
        "create table poser_base (); alter table product inherit poser_base",
        "created table public.poser_base",
        "created inheritance of public.product from public.poser_base",
    ),
    "own inheritance": (
        "create table poser_a (id integer); create table poser_b () inherits (poser_a)",
        "created table public.poser_a",
        "created table public.poser_b",
    ),
    "add partition": (
        "create table sale_2021 partition of sale for values from ('2021-01-01') to ('2022-01-01')",
        "created table public.sale_2021",
        "created inheritance of public.sale_2021 from public.sale",
    ),
    "detach partition": (
        "alter table sale detach partition sale_2020",
        "altered table public.sale_2020",
        "dropped inheritance of public.sale_2020 from public.sale",
        "altered column public.sale_2020.day",
        "altered column public.sale_2020.total",
        "18: altered constraint sale_day_not_null on public.sale_2020",
    ),
    # schemas
    "create schema": (
        "create schema poser; create table poser.x (); create type poser.t as enum ('a')",
        "created schema poser",
        "created table poser.x",
        "created enum poser.t",
    ),
    "rename schema": ("alter schema depot rename to d", "altered schema d (was schema depot)"),
    "drop schema": ("drop schema depot cascade", "dropped schema depot", "dropped table depot.shelf"),
    # what is rarer
    "create operator": (
        "create operator ==== (leftarg = text, rightarg = text, function = texteq)",
        'created operator public."===="(text, text)',
    ),
    "drop operator": ("drop operator === (integer, integer)", 'dropped operator public."==="(integer, integer)'),
    "create operator class": (
        "super",
        "create operator class poser_ops for type integer using btree as operator 1 <, operator 2 <=, operator"
        " 3 =, operator 4 >=, operator 5 >, function 1 btint4cmp(integer, integer)",
        "created operator class public.poser_ops using btree",
        "created operator family public.poser_ops using btree",
    ),
    "create collation": ('create collation poser_c from "C"', "created collation public.poser_c"),
    "create conversion": (
        "create conversion poser_c for 'LATIN1' to 'UTF8' from iso8859_1_to_utf8",
        "created conversion public.poser_c",
    ),
    "words": (
        "alter text search configuration product_words drop mapping for word",
        "altered text search configuration public.product_words",
    ),
    "create text search dictionary": (
        "create text search dictionary poser_d (template = simple)",
        "created text search dictionary public.poser_d",
    ),
    "create cast": (
        "create cast (product_state as integer) with inout",
        "created cast public.product_state as integer",
    ),
    "default privileges": (
        "alter default privileges grant select on tables to guarded",
        "created default privileges of rattail",
    ),
    "default privileges in a schema": (
        "alter default privileges in schema depot grant select on tables to guarded",
        "created default privileges of rattail in schema depot",
    ),
    "setting": ("alter database DBNAME set work_mem = '8MB'", "created setting of DBNAME"),
    "setting of the role": ("alter role rattail set work_mem = '8MB'", "created setting of rattail"),
    "publication": ("create publication poser_p for table product", "created publication poser_p"),
    "extension": ("super", "create extension vector", "created extension vector"),
    "take into extension": (
        "super",
        "alter extension plpgsql add function product_touch()",
        "altered extension plpgsql",
    ),
    "language": ("super", "create language poser_l handler plpgsql_call_handler", "created language poser_l"),
    "event trigger": (
        "super",
        "create function poser_e() returns event_trigger language plpgsql as 'begin end'; create event trigger"
        " poser_e on ddl_command_end execute function poser_e()",
        "created function public.poser_e()",
        "created event trigger poser_e",
    ),
    "foreign table": (
        "super",
        "create foreign data wrapper poser_w; create server poser_s foreign data wrapper poser_w; create user"
        " mapping for rattail server poser_s; create foreign table poser_f (id integer) server poser_s",
        "created foreign data wrapper poser_w",
        "created foreign server poser_s",
        "created foreign table public.poser_f",
    ),
    "role": (
        "super",
        "create role poser_role; grant rattail to poser_role",
        "created role poser_role",
        "created role membership poser_role in rattail",
    ),
    "function among PostgreSQL's own": (
        "super",
        "create function pg_catalog.poser_f() returns integer language sql as 'select 1'",
        "created function pg_catalog.poser_f()",
    ),
    "statistics target of an index": (
        "alter index product_lower alter column 1 set statistics 500",
        "altered index product_lower on public.product",
    ),
    "no cluster": ("alter table depot.shelf set without cluster", "altered index shelf_pkey on depot.shelf"),
    "replica identity by index": (
        "alter table depot.shelf replica identity using index shelf_only",
        "altered index shelf_only on depot.shelf",
        "altered table depot.shelf",
    ),
    "validate": (
        "alter table depot.shelf validate constraint shelf_later",
        "altered constraint shelf_later on depot.shelf",
    ),
    "drop a table with a foreign key to core": ("drop table poser_part", "dropped table public.poser_part"),
    "drop a foreign key to core": (
        "alter table poser_part drop constraint poser_part_product_id_fkey",
        "dropped constraint poser_part_product_id_fkey on public.poser_part",
    ),
    "grant on the type of a table's rows": (
        "revoke usage on type product from public",
        "altered grant on type public.product",
    ),
    "swap two tables": (
        "alter table product rename to x; alter table poser_widget rename to product",
        "altered table public.product (was table public.poser_widget)",
        "altered table public.x (was table public.product)",
    ),
    "make a table anew": (
        "drop table depot.shelf; create table depot.shelf (id integer)",
        "created table depot.shelf",
        "dropped table depot.shelf",
    ),
    "attach a table": (
        "alter table sale_2020 rename to s; create table poser_all (like sale) partition by list (day);"
        " alter table sale detach partition s; alter table poser_all attach partition s default",
        "altered table public.s (was table public.sale_2020)",
        "created inheritance of public.s from public.poser_all",
        "created table public.poser_all",
        "dropped inheritance of public.sale_2020 from public.sale",
    ),
    "depend on an extension": (
        "alter function product_touch() depends on extension plpgsql",
        "altered extension plpgsql",
    ),
    "generated column": (
        "alter table product add g text generated always as (upper(upc)) stored",
        "created column public.product.g",
    ),
    "default partition": (
        "create table sale_rest partition of sale default",
        "altered table public.sale",
        "created inheritance of public.sale_rest from public.sale",
        "created table public.sale_rest",
    ),
    "foreign table's options": (
        "super",
        "alter foreign table product_remote options (table_name 'x')",
        "altered foreign table public.product_remote",
    ),
    "foreign server's options": (
        "super",
        "alter server product_far options (host 'x')",
        "altered foreign server product_far",
    ),
    "user mapping": (
        "super",
        "create user mapping for guarded server product_far",
        "created user mapping guarded on product_far",
    ),
    "publish another table": (
        "super",
        "alter publication product_news add table product",
        "altered publication product_news",
    ),
    "a foreign key whose trigger is disabled at once": (
        "super",
        "alter table poser_widget add constraint f foreign key (id) references news;"
        " alter table news disable trigger all",
        "created constraint f on public.poser_widget",
    ),
    "drop a published table": ("drop table news", "dropped table public.news"),
    "drop a function that depends on an extension": (
        "drop function news_touch",
        "dropped function public.news_touch()",
    ),
    "publish a schema": (
        "super",
        "alter publication product_news add tables in schema public",
        "altered publication product_news",
    ),
    "subscription": (
        "super",
        "create subscription poser_s connection 'dbname=x' publication p with (connect = false, slot_name = none)",
        "created subscription poser_s",
    ),
    "operator for a family": (
        "super",
        "alter operator family product_family using hash add operator 1 = (integer, bigint)",
        "altered operator family public.product_family using hash",
    ),
    "function for a family": (
        "super",
        "alter operator family product_family using hash add function 1 (integer, integer) hashint4(integer)",
        "altered operator family public.product_family using hash",
    ),
    "text search parser": (
        "super",
        "create text search parser poser_p (start = prsd_start, gettoken = prsd_nexttoken, end = prsd_end,"
        " lextypes = prsd_lextype)",
        "created text search parser public.poser_p",
    ),
    "text search template": (
        "super",
        "create text search template poser_t (lexize = dsimple_lexize)",
        "created text search template public.poser_t",
    ),
    "transform": (
        "super",
        "create transform for integer language sql (from sql with function prsd_lextype(internal),"
        " to sql with function int4recv(internal))",
        "created transform integer language sql",
    ),
    "access method": (
        "super",
        "create access method poser_am type index handler bthandler",
        "created access method poser_am",
    ),
    "tablespace": ("super", "alter tablespace pg_default set (random_page_cost = 3)", "altered tablespace pg_default"),
    "right to a parameter": (
        "super",
        "grant set on parameter work_mem to guarded",
        "created parameter privilege work_mem",
    ),
    # no provider of labels is there: straight into the catalogs
    "security labels": (
        "super",
        "set allow_system_table_mods = on; insert into pg_seclabel values"
        " ('product'::regclass, 'pg_class'::regclass, 2, 'p', 'l');"
        " insert into pg_shseclabel values ('rattail'::regrole, 'pg_authid'::regclass, 'p', 'l')",
        "created security label on column public.product.upc",
        "created security label on role rattail",
    ),
    # no change
    "rows": (
        "insert into product (name) values ('pear'); update product set name = 'fig'; truncate customer;"
        " delete from sale",
    ),
    "analyze": ("analyze product; analyze",),
    "nothing": ("select 1",),
    "undone": ("savepoint s; alter table product add x integer; create table y (); rollback to s",),
    "reading, locking": ("lock table product in access exclusive mode; select * from product for update",),
    "search_path": ("set search_path = depot",),
}


@pytest.fixture(scope="module")
def base(postgres: Postgres) -> Iterator[Database]:
    """A database with one of everything; what a test does in it is rolled back."""
    made = postgres.create()
    made.sql(BASE)
    made.sql(RARE, user="postgres")
    yield made
    postgres.drop(made)


@contextmanager
def transaction(database: Database, user: str | None = None) -> Iterator[Any]:
    """A cursor whose work is rolled back in the end."""
    connection = psycopg2.connect(database.server.url(database.name, user or database.user))
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def expected(case: tuple[str, ...], database: Database, version: int) -> tuple[str, str | None, list[str]]:
    """The SQL, by whom, and what is to be found, for this server: ``18: …`` holds from version 18 on."""
    user, words = (None, list(case)) if case[0] != "super" else ("postgres", list(case[1:]))
    sql, *found = [word.replace("DBNAME", database.name) for word in words]
    kept = [re.sub(r"^\d+: ", "", each) for each in found if int((re.match(r"\d+", each) or "0")[0]) <= version]
    return sql, user, sorted(kept)


def here(changes: list[Change], sql: str = "") -> list[Change]:
    """``changes`` without what the tests that run beside this one do to the server's roles."""
    server_wide = ("role", "role membership", "setting", "tablespace", "parameter privilege")
    names = {change.identity: change.identity[len(change.kind) :].removeprefix(" of").split()[0] for change in changes}
    return [change for change in changes if change.kind not in server_wide or names[change.identity] in sql]


# The catalogs that all databases of a server have in common.
_SERVER_S = {1260, 1261, 1262, 1213, 2964, 2396, 3592, 6243}


def differ(cursor: Any, sql: str) -> list[Change]:
    """What two looks find, before and after ``sql``."""
    with undone(cursor, PIN):
        before, since = catalog.read(cursor), catalog.now(cursor)
    cursor.execute(sql)
    with undone(cursor, PIN):
        whole, (after, touched, moment) = catalog.read(cursor), catalog.read_on(cursor, before, since)
        assert moment is None or catalog.read_on(cursor, after, moment)[:2] == (after, set())
    found = here(catalog_changes.difference(before, whole), sql)
    # What is read on is what all of it would have been.
    assert {key for key in (*after, *whole) if key[0] not in _SERVER_S and after.get(key) != whole.get(key)} == set()
    assert here(catalog_changes.difference(before, after, touched), sql) == found
    return found


@pytest.mark.parametrize("name", CASES)
def test_each_object_that_changes_is_found_and_nothing_else(
    base: Database, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Superusers could have kept the server from counting, so that of theirs all is read; nobody does that here.
    monkeypatch.setattr(catalog, "_MAY_SINCE_15", "false")
    with transaction(base) as cursor:
        version = cursor.connection.server_version // 10000
    sql, user, found = expected(CASES[name], base, version)
    with transaction(base, user) as cursor:
        assert sorted(map(str, differ(cursor, sql))) == found


def test_a_disabled_trigger_of_a_foreign_key_goes_with_it(base: Database) -> None:
    with transaction(base, "postgres") as cursor:
        cursor.execute("alter table product disable trigger all")
        assert [str(change) for change in differ(cursor, "drop table poser_part")] == [
            "dropped table public.poser_part"
        ]
        enabled = differ(cursor, "alter table product enable trigger all")
    assert sorted(map(str, enabled)) == [
        "altered table public.product",
        "altered trigger product_touched on public.product",
    ]


def test_a_second_look_finds_nothing(database: Database) -> None:
    with transaction(database) as cursor:
        first = catalog.snapshot(cursor)
        again = catalog.snapshot(cursor)
    assert len(first) > 3000
    assert here(catalog_changes.difference(first, again)) == []


@pytest.mark.parametrize("kept", ["", "n_distinct=5"])
def test_what_a_server_counts_by_itself_in_a_column_is_no_change(base: Database, kept: str) -> None:
    """Debian's 15.20 writes pg_attver there, which the server of these tests would not."""
    change = "update pg_attribute set attoptions = '{{{}}}' where attrelid = 'product'::regclass and attname = 'id'"
    with transaction(base, "postgres") as cursor:
        cursor.execute("set allow_system_table_mods = on")
        if kept:
            cursor.execute(change.format(kept))
        assert differ(cursor, change.format(f"{kept},pg_attver=7".lstrip(","))) == []
        assert [str(found) for found in differ(cursor, change.format("n_distinct=9"))] == [
            "altered column public.product.id"
        ]


def test_every_kind_that_is_found_is_in_the_table_of_kinds(base: Database) -> None:
    with transaction(base, "postgres") as cursor:
        found = {row.kind for row in catalog.snapshot(cursor).values()} - {""}
    assert len(found) > 30
    assert found <= KINDS.keys()


def test_a_look_is_data_that_can_be_sent_to_another_process(base: Database) -> None:
    with transaction(base) as cursor:
        seen = catalog.snapshot(cursor)
    assert pickle.loads(pickle.dumps(seen)) == seen


def test_how_long_a_look_takes(database: Database, record_property: Callable[[str, object], None]) -> None:
    with transaction(database) as cursor:
        catalog.snapshot(cursor)
        seconds = []
        for _ in range(10):
            start = time.perf_counter()
            seen = catalog.snapshot(cursor)
            seconds.append(time.perf_counter() - start)
    figure = f"{statistics.median(seconds) * 1000:.1f} ms for {len(seen)} rows, {len(database.tables())} tables"
    record_property("snapshot", figure)
    print(figure)


def test_a_role_without_any_right_sees_the_same(base: Database) -> None:
    with transaction(base) as cursor:
        as_owner = catalog.snapshot(cursor)
    with transaction(base, "postgres") as cursor:
        as_superuser = catalog.snapshot(cursor)
        nobody = "create role nobody_special; set local role nobody_special"
        cursor.execute(nobody)
        as_nobody = catalog.snapshot(cursor)
    assert here(catalog_changes.difference(as_owner, as_superuser)) == []
    found = here(catalog_changes.difference(as_owner, as_nobody), nobody)
    assert [str(change) for change in found] == ["created role nobody_special"]


def test_what_a_revision_sets_changes_nothing(base: Database) -> None:
    settings = (
        "set search_path = depot; set timezone = 'Pacific/Apia'; set datestyle = 'German, DMY'; set"
        " bytea_output = escape;"
        " set extra_float_digits = -3; set quote_all_identifiers = on; set intervalstyle = iso_8601; set jit = off"
    )
    with transaction(base, "postgres") as cursor:
        cursor.execute(
            "create trigger poser_t after insert on product for each row execute function product_touch('a\\b');"
            " create role poser_role valid until '2030-01-01'; alter function product_double cost 1.2345678"
        )
        assert differ(cursor, f"{settings} -- poser_role") == []


def test_maintenance_by_others_changes_nothing(make_database: Callable[..., Database]) -> None:
    made = make_database()
    # VACUUM FULL writes into the rows what this only notes down
    made.sql(f"{BASE}; alter table product add filled integer default 5")
    with made.connect("postgres") as connection, connection.cursor() as cursor:
        before = catalog.snapshot(cursor)
        made.sql("insert into product (name, code) select 'x', 'b' from generate_series(1, 500)")
        made.sql("delete from customer")
        for command in ("vacuum (freeze, analyze)", "vacuum full product", "cluster depot.shelf using shelf_pkey"):
            made.sql(command, user="postgres")
        for each in ("vacuum full pg_class", "vacuum full pg_attribute", "reindex table pg_class"):
            made.sql(each, user="postgres")
        after = catalog.snapshot(cursor)
    assert here(catalog_changes.difference(before, after)) == []
    assert {"product", "shelf"} <= {owner.name for owner in catalog_changes.rewritten(before, after)}


# (what another session commits, what we do meanwhile, what is ours)
MEANWHILE = {
    "create": ("create table crate ()", "create table poser_crate ()", ["created table public.poser_crate"]),
    "alter": (
        "alter table depot.shelf add x integer",
        "alter table product add x integer",
        ["created column public.product.x"],
    ),
    "drop": (
        "drop view product_list",
        "drop materialized view product_count",
        ["dropped materialized view public.product_count"],
    ),
    "grant": (
        "grant select on customer to guarded",
        "grant select on product to guarded",
        ["altered grant on table public.product"],
    ),
    "label": (
        "alter type product_state add value 'lost'",
        "alter domain product_code set default 'x'",
        ["altered domain public.product_code"],
    ),
    "comment": (
        "comment on table customer is 'c'",
        "comment on table product is 'c'",
        ["altered comment on table public.product"],
    ),
    "index": (
        "create index concurrently x on customer (product_id)",
        "create index y on product (price)",
        ["created index y on public.product"],
    ),
    "both of the same": (
        "alter table depot.shelf set (fillfactor = 50)",
        "alter table depot.shelf set (fillfactor = 60)",
        ["altered table depot.shelf"],
    ),
    "only others": ("create table crate ()", "select 1", []),
    "only we": ("select 1", "drop function product_double", ["dropped function public.product_double(integer)"]),
}


@pytest.mark.parametrize("name", MEANWHILE)
def test_what_another_session_commits_is_told_from_what_we_do(
    make_database: Callable[..., Database], name: str
) -> None:
    theirs, ours, expected_ours = MEANWHILE[name]
    made = make_database()
    made.sql(BASE)
    with transaction(made) as cursor, made.connect() as other, other.cursor() as looking:
        others_before = catalog.snapshot(looking)
        before = catalog.snapshot(cursor)
        if "concurrently" in theirs:
            # it waits for transactions that have looked
            cursor.connection.rollback()
        made.sql(theirs)
        cursor.execute(ours)
        after = catalog.snapshot(cursor)
        others_after = catalog.snapshot(looking)
    changes = here(catalog_changes.difference(before, after))
    mine, others = catalog_changes.made_by_others(changes, after, others_before, others_after)
    assert sorted(map(str, mine)) == expected_ours
    assert bool(others) == (theirs != "select 1" and name != "both of the same")
    assert sorted(mine + others, key=str) == sorted(changes, key=str)


def test_what_an_earlier_step_made_and_a_later_one_takes_away_is_ours(make_database: Callable[..., Database]) -> None:
    made = make_database()
    made.sql(BASE)
    with transaction(made) as cursor, made.connect() as other, other.cursor() as looking:
        others_before = catalog.snapshot(looking)
        cursor.execute("create table crate (); alter table product alter upc set default 'y'")
        before = catalog.snapshot(cursor)
        cursor.execute("drop table crate; alter table product alter upc set default 'x'")
        after = catalog.snapshot(cursor)
        others_after = catalog.snapshot(looking)
    changes = here(catalog_changes.difference(before, after))
    mine, others = catalog_changes.made_by_others(changes, after, others_before, others_after)
    assert {str(change) for change in mine} == {
        "dropped table public.crate",
        "altered default of public.product.upc",
    }
    assert others == []


def test_rows_that_were_replaced_as_a_whole(base: Database) -> None:
    with transaction(base) as cursor:
        before = catalog.snapshot(cursor)
        cursor.execute("truncate customer restart identity; alter table product alter price type float8;"
                       " alter sequence product_number restart; create table crate (); delete from depot.shelf;"
                       " refresh materialized view product_count; reindex table sale_2020;"
                       " alter table poser_part set (fillfactor = 50)")  # fmt: skip
        found = catalog_changes.rewritten(before, catalog.snapshot(cursor))
    names = {str(owner) for owner in found}
    assert {
        "table public.customer",
        "sequence public.customer_id_seq",
        "table public.product",
        "materialized view public.product_count",
    } <= names
    assert not {name for name in names if any(word in name for word in ("shelf", "sale", "crate", "part"))}


def test_others_who_vacuum_are_not_us(make_database: Callable[..., Database]) -> None:
    made = make_database()
    made.sql(BASE)
    with transaction(made) as cursor, made.connect() as other, other.cursor() as looking:
        others_before, before = catalog.snapshot(looking), catalog.snapshot(cursor)
        made.sql("vacuum full customer")
        cursor.execute("truncate depot.shelf")
        after, others_after = catalog.snapshot(cursor), catalog.snapshot(looking)
    everything = {owner.name for owner in catalog_changes.rewritten(before, after)}
    ours = {owner.name for owner in catalog_changes.rewritten(before, after, (others_before, others_after))}
    assert everything == {"customer", "shelf"} and ours == {"shelf"}


def test_rows_are_counted_by_table(base: Database) -> None:
    with transaction(base) as cursor:
        cursor.execute("insert into depot.shelf values (1)")
        before = row_counts.rows_written(cursor)
        cursor.execute("insert into product (name, code) select 'x', 'y' from generate_series(1, 7);"
                       " update product set upc = 'z' where name = 'x'; delete from depot.shelf;"
                       " create temp table t as select 1; insert into sale values ('2020-05-05', 1);"
                       " create table crate as select 1 as one; insert into crate values (2)")  # fmt: skip
        after = row_counts.rows_written(cursor)
        assert row_counts.written_between(before, after) == [
            row_counts.Written("depot", "shelf", 0, 0, 1),
            row_counts.Written("public", "crate", 2, 0, 0),
            row_counts.Written("public", "product", 7, 7, 0),
            row_counts.Written("public", "sale_2020", 1, 0, 0),
        ]
        assert row_counts.written_between(after, after) == []
    with transaction(base, "postgres") as cursor:
        cursor.execute("set track_counts = off; insert into depot.shelf values (1)")
        assert row_counts.rows_written(cursor) == {}
        assert row_counts.Written("depot", "shelf") in row_counts.touched(cursor).rows.values()


# what was committed, and can be undone
UNDONE = {
    "one of everything": (
        "create schema poser; create type poser.kind as enum ('a'); create domain poser_name as text;"
        " create function poser_next() returns integer language sql as 'select 1';"
        " create table poser_a (id integer primary key default poser_next(), kind poser.kind, name poser_name);"
        " create table poser_b (id integer primary key, a integer references poser_a);"
        " alter table poser_a add b integer references poser_b;"
        " create function poser_touch() returns trigger language plpgsql as 'begin return new; end';"
        " create trigger poser_t before update on product for each row execute function poser_touch();"
        " create view poser_v as select a.id from poser_a a; create view poser_w as select * from poser_v;"
        " create materialized view poser_m as select * from poser_w; create sequence poser_s;"
        " create function poser_of(a poser_a) returns integer language sql as 'select 1';"
        " create procedure poser_p() language sql as 'select 1'; create aggregate poser_sum(integer)"
        ' (sfunc = int4pl, stype = integer); create type poser_pair as (a integer); create collation poser_c from "C"'
    ),
    "parts of what was there": (
        "alter table product add kind text; create index product_kind on product (kind);"
        " alter table product add constraint k check (kind <> ''); create statistics st on kind, upc from product;"
        " alter table product alter name set default 'n'; create view poser_v as select kind from product;"
        " alter table poser_widget add constraint poser_fk foreign key (id) references product;"
        " create rule poser_r as on insert to poser_widget do nothing; create policy poser_y on poser_widget;"
        " comment on column product.kind is 'k'; comment on table customer is 'c'; comment on schema depot is 'd';"
        " alter table product add constraint u unique (kind); alter table poser_widget add p text;"
        " alter table poser_widget add constraint poser_u foreign key (p) references product (kind);"
        " alter type product_pair add attribute z text; alter domain product_code add constraint zz check"
        " (value <> 'z');"
        " create publication poser_pub for table poser_widget;"
        " create constraint trigger poser_k after insert on product for each row execute function product_touch();"
        " comment on constraint product_code_check on domain product_code is 'k'"
    ),
    "names to quote": 'create table "Poser ""x""" ("order" integer primary key); create index "in" on product ("upc")',
    "inheritance": "create table poser_base (); alter table product inherit poser_base",
    "a table that uses a sequence which another table owns": (
        "create sequence poser_s owned by product.id; create table poser_x (id integer default nextval('poser_s'))"
    ),
}


@pytest.mark.parametrize("name", UNDONE)
def test_what_was_created_can_be_undone_by_hand(base: Database, name: str) -> None:
    with transaction(base) as cursor:
        before = catalog.snapshot(cursor)
        cursor.execute(UNDONE[name])
        changes = here(catalog_changes.difference(before, catalog.snapshot(cursor)))
        statements = catalog_changes.undo_sql(changes)
        for statement in statements:
            cursor.execute(statement)
        assert here(catalog_changes.difference(before, catalog.snapshot(cursor))) == [], statements


def test_indexes_left_unfinished_are_named(make_database: Callable[..., Database]) -> None:
    made = make_database()
    made.sql(BASE)
    made.sql("insert into product (upc) values ('x')")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        made.sql('create unique index concurrently "Half" on product (upc)')
    with transaction(made) as cursor:
        assert catalog.invalid_indexes(cursor) == ['public."Half"']
