-- What the app must not define: kind-object-action, the word by which what it touched must be named, and how.

-- table-gadget-create: gadget
create table gadget (id integer);

-- table-corepos_gadget-create: corepos_gadget
create table corepos_gadget (id integer);

-- table-gadget-create_as: gadget
create table gadget as select * from till;

-- table-gadget-create_quoted: Poser_gadget
create table "Poser_gadget" (id integer);

-- table-poserx-create: poserx_gadget
create table poserx_gadget (id integer);

-- table-drawer-drop: drawer
drop table drawer;

-- table-drawer-drop_and_make_again: drawer
drop table drawer;
create table drawer (id integer primary key, label text);

-- table-drawer-rename: drawer
alter table drawer rename to poser_drawer;

-- table-drawer-rename_and_replace: drawer
alter table drawer rename to poser_drawer;
create table drawer (like poser_drawer including all);

-- table-drawer-set_schema: drawer
alter table drawer set schema office;

-- table-poser_gadget-rename_away: gadget
create table poser_gadget (id integer);
alter table poser_gadget rename to gadget;

-- table-till-unlogged: corepos_till
alter table corepos_till set unlogged;

-- table-product-storage_parameter: product
alter table product set (fillfactor = 50);

-- table-till-replica_identity: till
alter table till replica identity full;

-- table-till-cluster_on: till
alter table till cluster on till_pk;

-- table-product-row_security: product
alter table product enable row level security;

-- table-till-force_row_security: till
alter table till force row level security;

-- table-till-grant: till
grant insert on till to guarded;

-- table-till-revoke: till
revoke select on till from guarded;

-- table-product-grant_public: product
grant all on product to public;

-- table-till-comment: till
comment on table till is null;

-- table-poser_till-inherit: till
create table poser_till () inherits (till);

-- table-poser_part-attach: ledger
create table poser_part (day date, amount numeric);
alter table ledger attach partition poser_part for values from ('2027-01-01') to ('2028-01-01');

-- table-ledger_2026-detach: ledger
alter table ledger detach partition ledger_2026;

-- table-till-access_method_default: till
alter table till alter column note set storage external;

-- column-product-add: product
alter table product add column poser_x integer;

-- column-till-add_with_default: till
alter table till add column poser_x integer default 7;

-- column-till-add_generated: till
alter table till add column poser_x integer generated always as (number * 2) stored;

-- column-till-drop: till
alter table till drop column note cascade;

-- column-product-rename: product
alter table product rename column notes to poser_notes;

-- column-product-type: product
alter table product alter size type varchar(90);

-- column-till_line-type_rewritten: till_line
alter table till_line alter id type bigint;

-- column-till-not_null: till
alter table till alter note set not null;

-- column-till-nullable: till
alter table till alter state drop not null;

-- column-till-statistics: till
alter table till alter code set statistics 500;

-- column-till-compression: till
alter table till alter note set compression pglz;

-- column-till-options: till
alter table till alter code set (n_distinct = 5);

-- column-product-grant: product
grant update (size) on product to guarded;

-- column-till-comment: till
comment on column till.code is 'poser';

-- column-till_log-identity: till_log
alter table till_log alter id set generated always;

-- default-product-set: product
alter table product alter item_id set default 'poser';

-- default-till-drop: till
alter table till alter code drop default;

-- index-product-create: product
create index poser_ix on product (size);

-- index-till-create_unique: till
create unique index poser_ix on till (number);

-- index-till-drop: till_ix_note
drop index till_ix_note;

-- index-till-rename: till
alter index till_ix_note rename to poser_ix_note;

-- index-till-fillfactor: till
alter index till_ix_note set (fillfactor = 50);

-- index-till-comment: till
comment on index till_ix_note is 'poser';

-- constraint-product-unique: product
alter table product add constraint poser_uq unique (uuid, size);

-- constraint-till-check: till
alter table till add constraint poser_ck check (number < 9);

-- constraint-till-check_not_valid: till
alter table till add constraint poser_ck check (number < 0) not valid;

-- constraint-till-foreign_key: till
create table poser_place (id integer primary key);
alter table till add constraint poser_fk foreign key (number) references poser_place not valid;

-- constraint-till_line-drop: till_line
alter table till_line drop constraint till_line_fk;

-- constraint-till_line-deferrable: till_line
alter table till_line alter constraint till_line_fk deferrable;

-- constraint-till-rename: till
alter table till rename constraint till_ck_number to poser_ck;

-- constraint-till-exclude: till
alter table till add constraint poser_ex exclude (number with =);

-- trigger-product-create: product
create function poser_note() returns trigger language plpgsql as 'begin return new; end'; create trigger poser_note before insert on product for each row execute function poser_note();

-- trigger-till-constraint: till
create function poser_note() returns trigger language plpgsql as 'begin return new; end'; create constraint trigger poser_note after insert on till deferrable for each row execute function poser_note();

-- trigger-till-disable: till_opened
alter table till disable trigger till_opened;

-- trigger-till-drop: till_closed
drop trigger till_closed on till;

-- trigger-till-rename: poser_closed
alter trigger till_closed on till rename to poser_closed;

-- rule-product-create: product
create rule poser_rule as on insert to product do instead nothing;

-- rule-till_log-drop: till_kept
drop rule till_kept on till_log;

-- rule-till_log-disable: till_kept
alter table till_log disable rule till_kept;

-- policy-till-create: till
create policy poser_policy on till using (false);

-- policy-till-drop: till_seen
drop policy till_seen on till;

-- policy-till-alter: till_seen
alter policy till_seen on till using (id > 1);

-- view-gadgets-create: gadgets
create view gadgets as select 1 as n;

-- view-open_tills-replace: open_tills
create or replace view open_tills as select id, note from till;

-- view-open_tills-drop: open_tills
drop view open_tills;

-- view-open_tills-option: open_tills
alter view open_tills set (security_barrier);

-- materialized_view-gadgets-create: gadgets
create materialized view gadgets as select 1 as n;

-- materialized_view-till_numbers-drop: till_numbers
drop materialized view till_numbers;

-- sequence-gadget_seq-create: gadget_seq
create sequence gadget_seq;

-- sequence-till_seq-alter: till_seq
alter sequence till_seq increment 2;

-- sequence-till_seq-drop: till_seq
drop sequence till_seq;

-- sequence-till_seq-owned_by: till_seq
create table poser_t (id integer);
alter sequence till_seq owned by poser_t.id;

-- sequence-till_seq-grant: till_seq
grant usage on sequence till_seq to guarded;

-- enum-gadget_kind-create: gadget_kind
create type gadget_kind as enum ('big');

-- enum-till_state-add_value: till_state
alter type till_state add value 'ajar';

-- enum-till_state-rename_value: till_state
alter type till_state rename value 'shut' to 'closed';

-- type-till_slip-add_attribute: till_slip
alter type till_slip add attribute poser_x text;

-- type-till_slip-drop: till_slip
drop type till_slip;

-- range-gadget_range-create: gadget_range
create type gadget_range as range (subtype = integer);

-- domain-gadget_code-create: gadget_code
create domain gadget_code as text;

-- domain-till_code-add_constraint: till_code
alter domain till_code add constraint poser_short check (length(value) < 3);

-- domain-till_mark-drop: till_mark
drop domain till_mark;

-- function-gadgets-create: gadgets
create function gadgets() returns integer language sql as 'select 1';

-- function-till_opened-replace: till_opened
create or replace function till_opened() returns trigger language plpgsql as 'begin return null; end';

-- function-till_count-drop: till_count
drop function till_count();

-- function-till_count-security_definer: till_count
alter function till_count() security definer;

-- function-till_count-set: till_count
alter function till_count() set search_path = poser;

-- function-till_count-revoke: till_count
revoke execute on function till_count() from public;

-- function-till_count-overload: till_count
create function public.till_count(integer) returns bigint language sql as 'select 0::bigint';

-- procedure-till_close-replace: till_close
create or replace procedure till_close() language sql as 'select 2';

-- aggregate-gadget_sum-create: gadget_sum
create aggregate gadget_sum(integer) (sfunc = int4pl, stype = integer);

-- statistics-product-create: product
create statistics poser_stats on size, item_id from product;

-- statistics-till-drop: till_stats
drop statistics till_stats;

-- schema-gadgets-create: gadgets
create schema gadgets;

-- schema-office-rename: office
alter schema office rename to poser_office;

-- schema-office-drop: office
drop schema office cascade;

-- schema-office-grant: office
grant usage on schema office to guarded;

-- schema-public-comment: office
comment on schema office is 'poser';

-- collation-till_order-drop: till_order
drop collation till_order;

-- collation-gadget_order-create: gadget_order
create collation gadget_order (locale = 'C');

-- text_search-till_words-alter: till_words
alter text search configuration till_words drop mapping for word;

-- text_search-gadget_words-create: gadget_words
create text search configuration gadget_words (copy = simple);

-- operator-public-create: <#>
create operator <#> (leftarg = integer, rightarg = integer, function = int4mi);

-- operator-public-drop: ###
drop operator ### (integer, integer);

-- cast-till_slip-create: cast (public\.)?till_slip
create cast (till_slip as text) with inout;

-- publication-poser-create: poser_publication
create publication poser_publication for table drawer;

-- publication-till_lines-alter: till_lines
alter publication till_lines drop table till_line;

-- default_privileges-rattail-alter: default privileges
alter default privileges revoke select on tables from guarded;

-- database-setting: setting of
do $d$ begin execute format('alter database %I set work_mem = ''8MB''', current_database()); end $d$;

-- database-comment: comment on database
do $d$ begin execute format('comment on database %I is ''poser''', current_database()); end $d$;

-- database-grant: grant on database
do $d$ begin execute format('grant temporary on database %I to guarded', current_database()); end $d$;

-- version_table-add_column: alembic_version
alter table alembic_version add column poser_x integer;

-- version_table-comment: alembic_version
comment on table alembic_version is 'poser';

