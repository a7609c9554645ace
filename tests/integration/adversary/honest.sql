-- What an app may do: each is to get through, and nothing is said of it.

-- table-create: honest
create table poser_a (id integer primary key, note text);

-- table-foreign_key_to_core: honest
create table poser_a (uuid varchar(32) primary key references product (uuid) on delete cascade, note text);

-- table-foreign_key_to_the_store: honest
create table poser_a (id integer primary key, till_id integer references till (id) on delete set null);

-- table-deferrable_foreign_key: honest
create table poser_a (id integer primary key, till_id integer references till deferrable initially deferred);
insert into poser_a values (1, 1), (2, 2);

-- table-serial_and_identity: honest
create table poser_a (id serial primary key, n bigint generated always as identity);
insert into poser_a default values;

-- table-batch: honest
create table batch_poser_a (id integer primary key);
create table batch_poser_a_row (id integer primary key, batch_id integer references batch_poser_a);

-- table-version: honest
create table poser_a (id integer primary key);
create table poser_a_version (id integer, transaction_id bigint, primary key (id, transaction_id));

-- table-like_core: honest
create table poser_a (like till including all);

-- table-as_core: honest
create table poser_a as select * from till;

-- table-partitioned: honest
create table poser_a (day date, n integer) partition by range (day);
create table poser_a_1 partition of poser_a for values from ('2026-01-01') to ('2027-01-01');
insert into poser_a values ('2026-05-05', 1);
alter table poser_a detach partition poser_a_1;

-- table-inherits_own: honest
create table poser_a (id integer);
create table poser_b (n integer) inherits (poser_a);

-- table-unlogged: honest
create unlogged table poser_a (id integer);
alter table poser_a set logged;

-- table-temporary: honest
create temp table work as select * from till;
update work set note = 'x';
create table poser_a as select * from work;
drop table work;

-- table-temporary_left: honest
create temp table work on commit drop as select * from till;

-- table-rename: honest
alter table poser_widget rename to poser_gadget;
alter table poser_gadget rename column code to sku;

-- table-drop: honest
drop table poser_widget, poser_widget_version;

-- table-own_schema: honest
create schema poser_kitchen;
create table poser_kitchen.pot (id integer primary key);
alter table poser_widget set schema poser_kitchen;

-- table-own_schema_dropped: honest
create schema poser_kitchen;
create table poser_kitchen.pot (id integer primary key);
drop schema poser_kitchen cascade;

-- table-storage: honest
alter table poser_widget set (fillfactor = 50, autovacuum_enabled = off);
alter table poser_widget replica identity full;
alter table poser_widget cluster on pk_poser_widget;
cluster poser_widget;

-- table-truncate_own: honest
truncate poser_widget, poser_product;

-- column-add_and_alter: honest
alter table poser_widget add column crates integer not null default 5, add column note text;
alter table poser_widget alter crates type bigint, alter note set default 'x', drop column description;

-- column-generated: honest
alter table poser_widget add column doubled text generated always as (code || code) stored;

-- column-statistics: honest
alter table poser_widget alter code set statistics 500, alter code set storage external;

-- index-all_kinds: honest
create index on poser_widget (lower(code));
create unique index poser_ix on poser_widget (code) where active;
alter index poser_ix rename to widgets_by_code;
drop index widgets_by_code;

-- constraint-all_kinds: honest
alter table poser_widget add constraint short check (length(code) < 100), add constraint uq unique (description);
alter table poser_widget rename constraint short to shorter;
alter table poser_widget drop constraint uq;
alter table poser_product drop constraint poser_product_fk_product;
alter table poser_product add constraint of_product foreign key (uuid) references product (uuid) not valid;
alter table poser_product validate constraint of_product;

-- trigger-on_own: honest
create function poser_note() returns trigger language plpgsql as 'begin new.description = new.code; return new; end';
create trigger noted before insert on poser_widget for each row execute function poser_note();
insert into poser_widget (uuid, code, active) values ('w', 'w', true);
alter table poser_widget disable trigger noted;

-- trigger-deferred_on_own: honest
create function poser_note() returns trigger language plpgsql as
  'begin insert into poser_product (uuid) select uuid from product limit 0; return new; end';
create constraint trigger noted after insert on poser_widget deferrable initially deferred
  for each row execute function poser_note();
insert into poser_widget (uuid, code, active) values ('w', 'w', true);

-- trigger-core_s_function: honest
create trigger opened before update on poser_widget for each row execute function till_opened();

-- rule-on_own: honest
create rule kept as on delete to poser_widget do instead nothing;

-- policy-on_own: honest
alter table poser_widget enable row level security;
create policy everybody on poser_widget using (true);

-- view-of_core_s: honest
create view poser_tills as select * from till;
create or replace view poser_tills with (security_barrier) as select id, code, state, note, number from till;
create materialized view poser_numbers as select number from till;
refresh materialized view poser_numbers;
create unique index on poser_numbers (number);

-- sequence-own: honest
create sequence poser_seq;
select nextval('poser_seq');
select setval('poser_seq', 50);
alter sequence poser_seq increment 5 owned by poser_widget.uuid;

-- type-all_kinds: honest
create type poser_taste as enum ('sweet');
alter type poser_taste add value 'sour';
create type poser_pair as (a integer, b text);
alter type poser_pair add attribute c date;
create domain poser_grams as integer check (value > 0);
create type poser_span as range (subtype = integer);
create table poser_a (t poser_taste, p poser_pair, g poser_grams, s poser_span, state till_state, code till_code);

-- function-all_kinds: honest
create function poser_f(integer) returns integer language sql as 'select $1';
create or replace function poser_f(integer) returns integer language sql as 'select $1 + 1';
create procedure poser_p() language sql as 'select 1';
create aggregate poser_sum(integer) (sfunc = int4pl, stype = integer);
call poser_p();
drop function poser_f(integer);

-- comment-on_own: honest
comment on table poser_widget is 'a widget';
comment on column poser_widget.code is 'its code';
comment on constraint pk_poser_widget on poser_widget is 'its key';

-- grant-on_own: honest
grant select, insert on poser_widget to guarded;
grant update (code) on poser_widget to public;
revoke all on poser_widget from public;

-- statistics-on_own: honest
create statistics poser_stats on uuid, code from poser_widget;
analyze poser_widget;

-- rows-own: honest
insert into poser_widget (uuid, code, active) select name, name, true from setting;
update poser_widget set description = (select note from till where id = 1);
delete from poser_widget where code = 'till.a';

-- rows-core_s_read: honest
select count(*) from till join till_line on till_id = till.id;
create table poser_a as select t.id, l.what from till t left join till_line l on l.till_id = t.id;

-- rows-core_s_locked: honest
select * from till for share;
lock table till in share mode;

-- rows-undone: honest
savepoint poser_s;
update till set note = 'x';
rollback to savepoint poser_s;

-- rows-undone_by_an_exception: honest
do $$ begin update till set number = -1; exception when check_violation then null; end $$;

-- rows-updated_by_nobody: honest
update till set note = 'x' where false;
delete from till where id = 77;
insert into drawer (id, label) values (1, 'x') on conflict do nothing;

-- definitions-undone: honest
savepoint poser_s;
drop table drawer;
alter table product add column poser_x integer;
rollback to savepoint poser_s;
create table poser_a (id integer);

-- definitions-made_and_dropped: honest
create table gadget (id integer);
drop table gadget;

-- session-settings: honest
set local work_mem = '8MB';
set search_path = public;
set timezone = 'UTC';
set role rattail;
reset role;
create table poser_a (id integer);

-- session-constraints: honest
create table poser_a (id integer primary key, b integer unique deferrable initially deferred);
set constraints all deferred;
insert into poser_a values (1, 1), (2, 1);
update poser_a set b = 2 where id = 2;

-- session-prepared_statement: honest
prepare poser_p as select count(*) from till;
execute poser_p;
deallocate poser_p;

-- session-notify: honest
listen poser_channel;
notify poser_channel, 'x';

-- session-advisory_lock: honest
select pg_advisory_xact_lock(4711);

-- block-loop: honest
do $$ declare r record; begin
  for r in select id, code from till loop
    execute format('insert into poser_widget (uuid, code, active) values (%L, %L, true)', r.id, r.code);
  end loop;
end $$;

-- rows-core_s_of_which_none_matches: honest
update till set note = 'poser' where number > 100;
delete from till_line where id < 0;
insert into setting (name, value) values ('till.a', '2') on conflict do nothing;
create table poser_a (id integer);
