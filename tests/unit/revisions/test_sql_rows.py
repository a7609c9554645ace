"""Which statements can write rows, and which end a transaction, told by their words."""

from __future__ import annotations

import pytest
from ansible.module_utils.rattail_alembic.revisions import sql

WRITES = {
    "insert into x values (1)": "INSERT",
    "\n -- select\n /* select /* nested */ */ (( UPDATE x set a = 1))": "UPDATE",
    "delete from only x": "DELETE",
    "merge into x using y on true when matched then delete": "MERGE",
    "truncate x": "TRUNCATE",
    "do $$ begin end $$": "DO",
    "call p()": "CALL",
    "execute prepared(1)": "EXECUTE",
    "copy x (a, b) from stdin": "COPY FROM",
    "copy x from program 'cat'": "COPY FROM",
    "copy (delete from x returning *) to stdout": "COPY … DELETE",
    "with t as (insert into x values (1) returning *) select * from t": "WITH … INSERT",
    "with t as (select 1) delete from x": "WITH … DELETE",
    "explain (analyze, buffers) update x set a = 1": "EXPLAIN … UPDATE",
    "explain analyze execute prepared": "EXPLAIN … EXECUTE",
    "vacuum x; select 1; insert into x values (1); delete from x": "INSERT",
    "select ';'; insert into x values (1)": "INSERT",
}
LETS_PASS = [
    "",
    ";",
    "select 'insert into x values (1)'",
    "select f()",
    "values (1)",
    "vacuum analyze x",
    "create index concurrently ix on x (a)",
    "drop index concurrently ix",
    "reindex table concurrently x",
    "alter type t add value 'insert'",
    "create table x (y integer references z on delete cascade on update cascade)",
    "create table x as select 1",
    "create function f() returns void language sql begin atomic insert into x values (1); delete from x; end",
    "create function f() returns void language sql as 'delete from x'; select 1",
    "copy x to stdout",
    "copy (select a from x) to stdout",
    "with t as (select 1) select * from t",
    'with t as (select 1 as "insert") select "insert" from t',
    "explain delete from x",
    "prepare p as insert into x values (1)",
    "set lock_timeout = 0",
    "begin; commit",
    "%(update)s",
]
ENDS = {
    "commit": "COMMIT",
    "select 1; END": "COMMIT",
    "abort": "ROLLBACK",
    "rollback and chain": "ROLLBACK",
    "prepare transaction 'x'": "PREPARE TRANSACTION",
    "begin; rollback; commit": "ROLLBACK",
}
GOES_ON = [
    "begin",
    "rollback to savepoint a",
    "rollback to a",
    "release savepoint a",
    "savepoint a",
    "commit prepared 'x'",
    "prepare p as select 1",
    "select 'commit'",
    "-- commit\nselect 1",
    "do $$ begin commit; end $$",
    "create function f() returns int language sql begin atomic select case when true then 1 end; end",
]


@pytest.mark.parametrize(("text", "kind"), [*WRITES.items(), *((text, "") for text in LETS_PASS)])
def test_what_can_write_rows(text: str, kind: str) -> None:
    assert sql.writes_rows(text) == kind


@pytest.mark.parametrize(("text", "how"), [*ENDS.items(), *((text, "") for text in GOES_ON)])
def test_what_ends_a_transaction(text: str, how: str) -> None:
    assert sql.ends_transaction(text) == how


BOUNDED = [
    "",
    "create index concurrently poser_ix on poser_widget (description)",
    "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS a ON b USING btree (x desc, y) WHERE x > 3;",
    "drop index concurrently if exists a",
    "vacuum poser_widget",
    "alter type poser_mood add value 'sad' after 'glad'",
    "set lock_timeout = 0; create index concurrently on b (x) -- (y)",
]
UNBOUNDED = [
    "create table x (a integer)",
    "create index concurrently on b (lower(x))",
    "create index concurrently a on b (x) where f(x)",
    "create index concurrently a on b (x); drop table x",
    "vacuum analyze b",
    "vacuum (full) b",
    "select f()",
    "do $$ begin end $$",
    "alter type poser_mood rename to mood",
    "commit",
]


@pytest.mark.parametrize("text", BOUNDED)
def test_what_alters_nothing_but_indexes_and_enumerations(text: str) -> None:
    assert sql.alters_only(text)


@pytest.mark.parametrize("text", UNBOUNDED)
def test_what_may_alter_anything(text: str) -> None:
    assert not sql.alters_only(text)
