"""Rows that a revision writes, counted on servers of two releases: when the counters are set back differs."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest
from ansible.module_utils.rattail_alembic.migration.child import Outcome, in_child
from ansible.module_utils.rattail_alembic.migration.connect_hook import intercept, our_own
from ansible.module_utils.rattail_alembic.migration.written_rows import WrittenRows
from ansible.module_utils.rattail_alembic.policy.prefixes import Prefixes
from psycopg2 import sql
from psycopg2.extras import RealDictConnection, RealDictCursor
from support.postgres import Database

TABLES = """
drop table if exists a, b, own_c; create table a (n integer unique); create table b (n integer);
drop sequence if exists s; create sequence s;
create or replace function put(n integer) returns integer language sql as 'insert into b values (n) returning n';
"""
# Longer than any server waits before it sets its counters back.
LONG = "select pg_sleep(1.2)"

# What is done with a connection: a statement, or something else.
Act = Callable[[Any], Any]
Acts = list["str | Act"]


def by(method: str, *arguments: Any) -> Act:
    return lambda connection: getattr(connection.cursor(), method)(*arguments)


def commit(connection: Any) -> None:
    connection.commit()


def rollback(connection: Any) -> None:
    connection.rollback()


def with_statement(connection: Any) -> None:
    with connection:
        pass


def kept_cursor(connection: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("commit")
    cursor.execute("insert into b values (1)")


def unheard(connection: Any) -> None:
    psycopg2.extensions.cursor(connection).execute("commit")


def in_a_block(*statements: str) -> Act:
    """What Alembic and the guard do for an ``autocommit_block``."""

    def block(connection: Any) -> None:
        rows = ROWS[-1]
        rows.leave()
        connection.commit()
        connection.autocommit = True
        for statement in statements:
            connection.cursor().execute(statement)
        connection.autocommit = False
        rows.begin()

    return block


ROWS: list[WrittenRows] = []


@pytest.fixture(params=["new", "old"])
def way(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "old":
        _, target = request.getfixturevalue("old_server")
        arguments: dict[str, str] = target.connect_kwargs()
        return arguments
    database: Database = request.getfixturevalue("database")
    return {"dsn": database.url}


def run(way: dict[str, str], acts: Acts, *, refuse: bool = False, **connecting: Any) -> tuple[Outcome, dict[str, Any]]:
    """A revision that does all that; what came of it, and what was told by event."""

    @contextmanager
    def another() -> Iterator[Any]:
        with our_own(), closing(psycopg2.connect(**way)) as connection:
            connection.autocommit = True
            yield connection.cursor()

    def work(report: Any) -> None:
        def hear(connection: Any, text: str) -> None:
            if ROWS:
                ROWS[-1].hear(connection, text)

        intercept(lambda arguments: arguments, heard=hear)
        connection = psycopg2.connect(**way, **connecting)
        cursor = connection.cursor()
        cursor.execute(TABLES)
        connection.commit()
        # not the revision's, but it stays in the counters of some servers
        cursor.execute("insert into b values (0)")
        connection.commit()
        cursor.execute("select 1")
        ROWS.append(
            WrittenRows(connection, "r1", Prefixes(("own",)), report, refuse=refuse, enforce=False, other=another)
        )
        try:
            for act in acts:
                if callable(act):
                    act(connection)
                else:
                    connection.cursor().execute(act)
            rows = ROWS.pop()
            rows.end(unheard=acts[-1] is unheard)
            rows.count()
            report({"event": "refused", "refused": rows.judge(())})
        finally:
            ROWS.clear()

    outcome = in_child(work)
    return outcome, {event["event"]: event for event in outcome.events}


def found(way: dict[str, str], query: str) -> list[Any]:
    """What another session finds."""
    with closing(psycopg2.connect(**way)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        rows: list[Any] = cursor.fetchall()
        return rows


A, B = "insert into a values (1)", "insert into b values (1), (2)"

# What a revision does, the rows counted (of a, of b), and the kind of the first statement that was not counted.
COUNTED: dict[str, tuple[Acts, dict[str, int], str]] = {
    "in its transaction": ([A, LONG, B, "select put(3)"], {"a": 1, "b": 3}, ""),
    "up to a COMMIT": ([A, LONG, "commit"], {"a": 1}, ""),
    "up to an END and more in one text": ([A, "/* now */ end; select 1"], {"a": 1}, ""),
    "up to the driver's commit": ([A, commit], {"a": 1}, ""),
    "up to the driver's with": ([A, with_statement], {"a": 1}, ""),
    "not after a COMMIT": ([A, "commit", LONG, B], {"a": 1}, "INSERT"),
    "not in the text of a COMMIT": ([A, f"{B}; commit"], {"a": 1}, "INSERT"),
    "not in a transaction of its own": ([A, "commit", "begin", "delete from b", "commit"], {"a": 1}, "DELETE"),
    "not in the driver's next one": ([A, commit, B, "delete from b"], {"a": 1}, "INSERT"),
    "not by a cursor of before": ([A, kept_cursor], {"a": 1}, "INSERT"),
    "not what was rolled back": ([A, "rollback", B], {}, "INSERT"),
    "not after the driver's rollback": ([A, rollback, B], {}, "INSERT"),
    "not what was rolled back to a savepoint": (["savepoint x", B, "delete from b", "rollback to x", A], {"a": 1}, ""),
    "not what a block of PL/pgSQL took back": (
        [A, f"do $$ begin begin {B}; raise 'no'; exception when others then null; end; end $$"],
        {"a": 1},
        "",
    ),
    "what a savepoint kept": ([A, "savepoint x", B, "release x"], {"a": 1, "b": 2}, ""),
    "what a block of PL/pgSQL kept": (
        [f"do $$ begin begin {B}; exception when others then null; end; end $$"],
        {"b": 2},
        "",
    ),
    "a row that is deleted, and only that": (["delete from b", "savepoint x", A, "rollback to x"], {"b": 0}, ""),
    "not a row that is only locked": (["select from b for update", "savepoint x", B, "rollback to x"], {}, ""),
    "a sequence's next value": ([A, "select nextval('s')"], {"a": 1, "s": 0}, ""),
    "a sequence that no savepoint sets back": (["savepoint x", "select setval('s', 7)", "rollback to x"], {"s": 0}, ""),
    "not a sequence that is read": (["select last_value from s"], {}, ""),
    "not past the hook": ([A, unheard], {}, "COMMIT"),
    "before and after a block": (
        [A, in_a_block("vacuum a", "create index concurrently on a (n)"), B],
        {"a": 1, "b": 2},
        "",
    ),
    "not in a block": ([in_a_block(A, "delete from a", LONG), B], {"b": 2}, "INSERT"),
    "not in a block that takes long": ([A, in_a_block(LONG, "do 'begin end'", LONG), B], {"a": 1, "b": 2}, "DO"),
    "not what a function writes there": ([in_a_block("select put(3)"), B], {"b": 2}, ""),
}  # fmt: skip


@pytest.mark.parametrize("what", COUNTED)
def test_rows_are_counted_in_the_transaction_only(way: dict[str, str], what: str) -> None:
    acts, expected, kind = COUNTED[what]
    outcome, told = run(way, acts)
    assert outcome.error is None, outcome.error
    data = {each["table"]: each["inserted"] for each in told["data"]["tables"]} if "data" in told else {}
    assert data == {f"public.{table}": count for table, count in expected.items()}
    assert told.get("uncounted", {"kind": ""})["kind"] == kind
    assert sum(event["event"] == "uncounted" for event in outcome.events) == bool(kind)
    assert told["refused"]["refused"] is False


# Ways to execute what can write rows, each by another method or with another class.
EXECUTED: dict[str, tuple[Act | str, str]] = {
    "text": (A, "INSERT"),
    "bytes": (by("execute", A.encode()), "INSERT"),
    "by name": (lambda connection: connection.cursor().execute(query=A), "INSERT"),
    "composed": (by("execute", sql.SQL("delete from {}").format(sql.Identifier("b"))), "DELETE"),
    "executemany": (by("executemany", "insert into a values (%s)", [(6,), (7,)]), "INSERT"),
    "copy_from": (by("copy_from", io.StringIO("8\n"), "a"), "COPY FROM"),
    "copy_expert": (by("copy_expert", "copy a from stdin", io.StringIO("8\n")), "COPY FROM"),
    "a class of cursors": (
        lambda connection: connection.cursor(cursor_factory=RealDictCursor).execute(A),
        "INSERT",
    ),
    "several statements": ("create table own_c (); truncate b", "TRUNCATE"),
}  # fmt: skip


@pytest.mark.parametrize("how", EXECUTED)
def test_what_can_write_rows_outside_is_refused_before_it_runs(way: dict[str, str], how: str) -> None:
    act, kind = EXECUTED[how]
    outcome, told = run(way, [B, "commit", act])
    assert (outcome.error, told["uncounted"]["kind"]) == (None, kind)
    outcome, told = run(way, ["commit", "vacuum a", act], refuse=True)
    assert outcome.error is not None and outcome.error["type"] == "WritesOutside", outcome.error
    assert outcome.error["message"].startswith(f"{kind} outside of its transaction")
    assert not told
    assert found(way, "select (select count(*) from a), (select count(*) from b), to_regclass('own_c')") == [
        (0, 1, None)
    ]


def test_a_connection_that_gives_rows_as_dictionaries_still_does(database: Database) -> None:
    def read(connection: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("select 1 as one")
        assert cursor.fetchall() == [{"one": 1}]
        assert type(cursor).__name__ == "RealDictCursor"

    outcome, told = run({"dsn": database.url}, [read, "commit", A], connection_factory=RealDictConnection)
    assert (outcome.error, told["uncounted"]["kind"]) == (None, "INSERT")


def test_rows_that_are_refused_are_refused_before_they_are_committed(way: dict[str, str]) -> None:
    for ending in ("commit", commit, in_a_block()):
        outcome, told = run(way, [B, ending], refuse=True)
        assert outcome.error is not None and outcome.error["type"] == "Violated", outcome.error
        assert [(each["table"], each["inserted"]) for each in told["data"]["tables"]] == [("public.b", 2)]
        assert found(way, "select count(*) from b") == [(1,)]


def test_a_refusal_that_the_revision_catches_comes_again_at_its_end(database: Database) -> None:
    def catch(connection: Any) -> None:
        with pytest.raises(Exception, match="INSERT outside"):
            connection.cursor().execute(A)

    outcome, _ = run({"dsn": database.url}, ["commit", catch], refuse=True)
    assert outcome.error is not None and outcome.error["type"] == "WritesOutside", outcome.error
