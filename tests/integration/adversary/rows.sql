-- Rows that are not the app's: counted and named, and refused where rattail_schema_ext_policy_data is refuse.

-- rows-setting-insert: setting
insert into setting (name, value) values ('poser.a', '1');

-- rows-till-update: till
update till set note = 'poser';

-- rows-till-update_to_the_same: till
update till set note = note;

-- rows-till_line-delete: till_line
delete from till_line;

-- rows-till_line-truncate: till_line
truncate till_line;

-- rows-setting-merge: setting
merge into setting s using (values ('till.a')) v (name) on s.name = v.name when matched then update set value = '9';

-- rows-setting-upsert: setting
insert into setting (name, value) values ('till.a', '9') on conflict (name) do update set value = excluded.value;

-- rows-drawer-with: drawer
with gone as (delete from drawer returning *) select count(*) from gone;

-- rows-open_tills-through_a_view: till
update open_tills set note = 'poser';

-- rows-ledger-through_a_partition: ledger_2026
insert into ledger values ('2026-05-05', 1);

-- rows-desk-other_schema: desk
update office.desk set label = 'elm';

-- rows-till-select_for_update_and_update: till
select * from till for update;
update till set number = 5 where id = 1;

