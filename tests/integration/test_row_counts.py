"""Rows that a revision writes, counted on servers of two releases: when the counters are set back differs."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from ansible.module_utils.rattail_alembic.migration.child import in_child
from ansible.module_utils.rattail_alembic.migration.connect_hook import intercept
from ansible.module_utils.rattail_alembic.migration.row_tally import Tally
from support.postgres import Database

TABLES = """
drop table if exists a, b; create table a (n integer unique deferrable initially deferred); create table b (n integer);
create or replace function put(n integer) returns integer language sql as 'insert into b values (n) returning n';
"""
# Longer than any server waits before it sets its counters back.
LONG = "pg_sleep(1.2)"


@pytest.fixture(params=["new", "old"])
def way(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "old":
        _, target = request.getfixturevalue("old_server")
        arguments: dict[str, str] = target.connect_kwargs()
        return arguments
    database: Database = request.getfixturevalue("database")
    return {"dsn": database.url}


def test_each_statement_that_commits_by_itself_is_counted(way: dict[str, str]) -> None:
    def work(report: Any) -> None:
        tally = Tally()
        intercept(lambda arguments: arguments, None, lambda _: tally.around)
        connection = psycopg2.connect(**way)
        cursor = connection.cursor()
        cursor.execute(TABLES)
        connection.commit()
        cursor.execute("insert into b values (0)")
        connection.commit()
        report({"event": "version", "version": connection.info.server_version})
        tally.begin(cursor)
        cursor.execute("insert into a values (-1)")
        tally.count(cursor)
        connection.commit()
        connection.autocommit = True
        for sql in (
            "insert into a values (1)",
            f"select {LONG}",
            f"insert into a select 2 from (select {LONG}) s",
            f"-- why\n/* what */ with t as (select {LONG}) insert into a select 3 from t",
            f"do $$ begin insert into a values (4); perform {LONG}; end $$",
            f"select put(5), {LONG}",
            "vacuum a",
            "create index concurrently on a (n)",
        ):
            cursor.execute(sql)
        cursor.executemany(f"insert into a select %s from (select {LONG}) s", [(6,), (7,)])
        try:
            cursor.execute("insert into a values (1)")
        except psycopg2.IntegrityError:
            report({"event": "unique", "status": connection.info.transaction_status})
        cursor.execute("select count(*) from a")
        [(rows,)] = cursor.fetchall()
        connection.autocommit = False
        tally.go_on(cursor)
        cursor.execute("delete from b")
        found = {each.table: (each.inserted, each.updated, each.deleted) for each in tally.total(cursor)}
        report({"event": "found", "found": found, "rows": rows})

    outcome = in_child(work)
    assert outcome.error is None, outcome.error
    told = {event["event"]: event for event in outcome.events}
    assert told["unique"]["status"] == 0
    # the one that was undone is counted as well, as in any transaction
    assert (told["found"]["rows"], told["found"]["found"]) == (7, {"a": [8, 0, 0], "b": [1, 0, 2]})
