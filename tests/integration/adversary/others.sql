-- What is neither a definition nor a row of a table.

-- sequence-till_seq-setval: till_seq
select setval('till_seq', 100);

-- sequence-till_seq-nextval: till_seq
select nextval('till_seq');

-- sequence-till_seq-restart: till_seq
alter sequence till_seq restart with 50;

-- sequence-till_log-identity_setval: till_log
select setval(pg_get_serial_sequence('till_log', 'id'), 77);

-- large_object-write: pg_catalog.pg_largeobject
select lo_put(4711, 0, 'poser');

-- large_object-unlink: pg_catalog.pg_largeobject
select lo_unlink(4711);

-- large_object-create: pg_catalog.pg_largeobject
select lo_from_bytea(4712, 'poser');

-- large_object-grant: pg_catalog.pg_largeobject
grant select on large object 4711 to guarded;

-- materialized_view-till_numbers-refresh: till_numbers
refresh materialized view till_numbers;

-- table-till-cluster: till
cluster till using till_pk;

