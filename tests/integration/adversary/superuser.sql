-- What only a superuser can do, in the revision's own transaction.

-- event_trigger-poser-create: event trigger poser_event
create function poser_do() returns event_trigger language plpgsql as 'begin end';
create event trigger poser_event on ddl_command_end execute function poser_do();

-- event_trigger-poser-alters_and_is_gone: product
create function poser_do() returns event_trigger language plpgsql as $p$ begin
  if not exists (select from pg_attribute where attname = 'poser_x') then
    alter table product add column poser_x integer;
  end if;
end $p$;
create event trigger poser_event on ddl_command_end execute function poser_do();
create table poser_x (id integer);
drop event trigger poser_event;

-- triggers-till_line-disable_all: till_line
alter table till_line disable trigger all;

-- replication_role-product-replica: product
set session_replication_role = replica;
alter table product add column poser_x integer;

-- extension-vector-create: extension vector
create extension vector;

-- extension-plpgsql-add: extension plpgsql
create function poser_do() returns integer language sql as 'select 1';
alter extension plpgsql add function poser_do();

-- language-plpgsql-owner: language plpgsql
alter language plpgsql owner to guarded;

-- foreign_data_wrapper-poser-create: foreign data wrapper poser_wrapper
create foreign data wrapper poser_wrapper;

-- access_method-poser-create: access method poser_method
create access method poser_method type index handler bthandler;

-- cast-integer-create: cast integer as text
create function poser_text(integer) returns text language sql as $$select 'poser'$$;
create cast (integer as text) with function poser_text(integer) as assignment;

-- function-pg_catalog-create: till_count
create function pg_catalog.till_count() returns bigint language sql as 'select 0::bigint';

-- table-pg_catalog-create: gadget
set allow_system_table_mods = on;
create table pg_catalog.gadget (id integer);

-- schema-information_schema-drop: information_schema
drop schema information_schema cascade;

-- schema-pg_catalog-grant: pg_catalog
grant create on schema pg_catalog to guarded;

-- subscription-poser-create: subscription poser_subscription
create subscription poser_subscription connection 'dbname=nowhere' publication p with (connect = false);

-- publication-poser-of_all_tables: publication poser_publication
create publication poser_publication for all tables;

-- owner-till-to_another: till
alter table till owner to guarded;

-- owner-everything-reassign: till
reassign owned by rattail to guarded;

-- grant-till-as_a_superuser: till
grant all on till to guarded;

-- security_label-till-by_hand: security label on table public.till
insert into pg_seclabel values ('till'::regclass, 'pg_class'::regclass, 0, 'poser', 'secret');

-- catalog-pg_class-rename: till
update pg_class set relname = 'poser_till' where oid = 'till'::regclass;

-- catalog-pg_attribute-nullable: till
update pg_attribute set attnotnull = false where attrelid = 'till'::regclass and attname = 'state';

-- catalog-pg_constraint-not_valid: till_line
update pg_constraint set convalidated = false where conname = 'till_line_fk';

-- catalog-pg_trigger-internal_disabled: till
update pg_trigger set tgenabled = 'D' where tgrelid in ('till'::regclass, 'till_line'::regclass);

-- catalog-pg_proc-source: till_count
update pg_proc set prosrc = 'select 0::bigint' where oid = 'till_count()'::regprocedure;

-- catalog-pg_rewrite-delete: till_log
delete from pg_rewrite where rulename = 'till_kept';

-- catalog-pg_index-not_valid: till
update pg_index set indisvalid = false where indexrelid = 'till_ix_note'::regclass;

-- catalog-pg_database-limit: database
update pg_database set datconnlimit = 50 where datname = current_database();

-- role-guarded-superuser: role guarded
alter role guarded superuser;

-- role-poser-create: role poser_role
create role poser_role superuser;

-- role-rattail-member: rattail in pg_execute_server_program
grant pg_execute_server_program to rattail;

-- role-rattail-setting: setting of rattail
alter role rattail set session_replication_role = replica;

-- role-all-setting: setting of
alter role all set work_mem = '8MB';

-- parameter-session_replication_role-grant: parameter privilege session_replication_role
grant set on parameter session_replication_role to guarded;

-- tablespace-pg_default-owner: tablespace pg_default
alter tablespace pg_default owner to guarded;

-- default_privileges-of_another: default privileges
alter default privileges for role guarded grant all on tables to public;

-- session-authorization-another_s: product
set session authorization rattail;
alter table product add column poser_x integer;

-- session-role-another_s: product
set role rattail;
alter table product add column poser_x integer;
set session authorization rattail;

