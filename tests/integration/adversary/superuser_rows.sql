-- Rows that are not the app's, and what only a superuser can do about their being counted.

-- rows-till-not_counted: till
set track_counts = off;
update till set note = 'poser';

-- rows-till-not_counted_for_a_moment: till
set track_counts = off;
update till set note = 'poser';
set track_counts = on;

-- rows-till_line-deleted_and_not_counted: till_line
set local track_counts = off;
delete from till_line;
set local track_counts = on;

-- rows-till-counters_reset: till
update till set note = 'poser';
select pg_stat_reset();

-- rows-till-without_its_triggers: till
set session_replication_role = replica;
update till set note = 'poser';

-- rows-pg_largeobject-by_hand: pg_catalog.pg_largeobject
update pg_largeobject set data = 'poser';

-- rows-drawer-files_swapped: drawer
create table poser_drawer (id integer primary key, label text);
update pg_class set relfilenode = (select relfilenode from pg_class where oid = 'poser_drawer'::regclass)
where oid = 'drawer'::regclass;

