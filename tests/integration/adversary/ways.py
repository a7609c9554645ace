"""Ways by which a revision can do what some SQL does: SQL → the body of its ``upgrade()``."""

from __future__ import annotations

from collections.abc import Callable

from .actions import Action
from .arena import Case

Way = Callable[[str], str]
# what a comment says, a string or a name in dollar quotes of its own cannot end
_QUOTE = "$poser_sql$"


def executed(*statements: str) -> str:
    """Alembic's own way."""
    return "\n".join(f"op.execute({statement!r})" for statement in statements)


def block(sql: str) -> str:
    """A DO block that executes ``sql``, which may be several statements."""
    return f"do $poser_do$ begin execute {_QUOTE}{sql}{_QUOTE}; end $poser_do$"


def function(sql: str, returns: str = "integer") -> str:
    """CREATE FUNCTION of one that does it."""
    result = "new" if returns == "trigger" else "1"
    return (
        f"create function poser_do() returns {returns} language plpgsql as"
        f" $poser_do$ begin execute {_QUOTE}{sql}{_QUOTE}; return {result}; end $poser_do$"
    )


_TABLE = "create table poser_q (id integer)"
_INSERT = "insert into poser_q values (1)"


def _called(call: str) -> Way:
    return lambda sql: executed(function(sql), call)


def _fired(trigger: str, *then: str) -> Way:
    return lambda sql: executed(function(sql, "trigger"), _TABLE, trigger, *then)


def _python(text: str) -> Way:
    """``{sql}`` in it is a Python string."""
    return lambda sql: text.replace("{sql}", repr(sql))


_ROW = "create trigger poser_t after insert on poser_q for each row execute function poser_do()"
_DEFERRED = (
    "create constraint trigger poser_t after insert on poser_q deferrable initially deferred"
    " for each row execute function poser_do()"
)
_OTHER = "engine = op.get_bind().engine\n"
_PSYCOPG = "import psycopg2\nbeside = psycopg2.connect(op.get_bind().connection.dsn)\n"

# In the revision's own transaction: refused as a whole.
INSIDE: dict[str, Way] = {
    "sql": executed,
    "do_block": lambda sql: executed(block(sql)),
    "function": _called("select poser_do()"),
    "function_dropped": lambda sql: executed(function(sql), "select poser_do()", "drop function poser_do()"),
    "procedure": lambda sql: executed(
        f"create procedure poser_do() language plpgsql as $p$ begin execute {_QUOTE}{sql}{_QUOTE}; end $p$",
        "call poser_do()",
    ),
    "trigger": _fired(_ROW, _INSERT),
    "statement_trigger": _fired(
        "create trigger poser_t before truncate on poser_q for each statement execute function poser_do()",
        "truncate poser_q",
    ),
    "constraint_made_immediate": _fired(_DEFERRED, _INSERT, "set constraints all immediate"),
    "check_constraint": lambda sql: executed(
        function(sql), "create table poser_q (id integer check (id = poser_do()))", _INSERT
    ),
    "column_default": lambda sql: executed(
        function(sql), "create table poser_q (id integer default poser_do())", "insert into poser_q default values"
    ),
    "domain_check": lambda sql: executed(
        function(sql), "create domain poser_d as integer check (poser_do() = 1)", "select 5::poser_d"
    ),
    "rule": lambda sql: executed(
        function(sql), _TABLE, "create rule poser_r as on insert to poser_q do instead select poser_do()", _INSERT
    ),
    "view": lambda sql: executed(function(sql), "create view poser_v as select poser_do() as n", "table poser_v"),
    "create_table_as": lambda sql: executed(function(sql), "create table poser_q as select poser_do() as n"),
    "prepared_statement": lambda sql: executed(
        function(sql), "prepare poser_p as select poser_do()", "execute poser_p", "deallocate poser_p"
    ),
    "cursor": lambda sql: executed(
        function(sql), "declare poser_c cursor for select poser_do()", "fetch poser_c", "close poser_c"
    ),
    "savepoint": _python("with op.get_bind().begin_nested():\n    op.execute({sql})"),
    "savepoint_after_an_error": _python(
        "try:\n    with op.get_bind().begin_nested():\n        op.execute('drop table poser_nothing')\n"
        "except sa.exc.DatabaseError:\n    pass\nop.execute({sql})"
    ),
    "driver_cursor": _python("op.get_bind().connection.cursor().execute({sql})"),
    "driver_plain_cursor": _python(
        "import psycopg2.extensions as ext\n"
        "ext.connection.cursor(op.get_bind().connection.dbapi_connection, cursor_factory=ext.cursor).execute({sql})"
    ),
    "exec_driver_sql": _python("op.get_bind().exec_driver_sql({sql})"),
    "bytes": _python("op.get_bind().connection.cursor().execute(({sql}).encode())"),
    "thread": _python(
        "import threading\nbind = op.get_bind()\n"
        "thread = threading.Thread(target=lambda: bind.exec_driver_sql({sql}))\nthread.start()\nthread.join()"
    ),
    "deleted_object": _python(
        "class Last:\n    def __del__(self, run=op.get_bind().exec_driver_sql):\n        run({sql})\nLast()"
    ),
    "role_set": lambda sql: executed("set role rattail", sql),
    "own_tables_too": lambda sql: executed("create table poser_a (id integer)", sql, "create table poser_b ()"),
    "undone_and_done": lambda sql: executed("savepoint poser_s", sql, "rollback to savepoint poser_s", sql),
    "in_a_batch_of_many": lambda sql: executed(f"select 1; create table poser_a (); {sql}; select 2"),
}  # fmt: skip

# What the guard's own statements meet in a session that the revision has prepared.
SESSION: dict[str, Way] = {
    "temporary_catalogs": lambda sql: executed(
        "create temp table pg_class as select * from pg_catalog.pg_class",
        "create temp table pg_attribute as select attrelid, attname, atttypid, attnum from pg_catalog.pg_attribute",
        "create temp table pg_locks as select * from pg_catalog.pg_locks where false",
        "create temp table pg_prepared_statements as select * from pg_catalog.pg_prepared_statements", sql,
    ),
    "search_path_of_temporary_functions": lambda sql: executed(
        "create function pg_temp.txid_current() returns bigint language sql as 'select 1::bigint'",
        "create function pg_temp.txid_status(bigint) returns text language sql as $$select 'committed'$$",
        "create function pg_temp.array_agg(anyelement) returns text language sql as $$select 'x'$$",
        "set search_path = pg_temp, public, pg_catalog", sql,
    ),
    "own_operators_first": lambda sql: executed(
        "create schema poser_ops",
        "create function poser_ops.never(oid, oid) returns boolean language sql immutable as 'select false'",
        "create operator poser_ops.= (leftarg = oid, rightarg = oid, function = poser_ops.never)",
        "create function poser_ops.never(name, name) returns boolean language sql immutable as 'select false'",
        "create operator poser_ops.= (leftarg = name, rightarg = name, function = poser_ops.never)",
        "create function poser_ops.never(oid, bigint) returns boolean language sql immutable as 'select false'",
        "create operator poser_ops.>= (leftarg = oid, rightarg = bigint, function = poser_ops.never)",
        "set search_path = poser_ops, public, pg_catalog", sql,
    ),
    "own_catalog_views_first": lambda sql: executed(
        "create schema poser_cat",
        "create view poser_cat.pg_class as select * from pg_catalog.pg_class where oid < 16384",
        "create view poser_cat.pg_attribute as select attrelid, attname, atttypid, attnum, attnotnull, attisdropped"
        " from pg_catalog.pg_attribute where attrelid < 16384",
        "create view poser_cat.pg_stat_xact_user_tables as select * from pg_catalog.pg_stat_xact_user_tables limit 0",
        "set search_path = poser_cat, pg_catalog, public", sql,
    ),
    # each of whatever statements are prepared in the session gives for ever what it gives now
    "prepared_statements_forged": _python(
        "raw = op.get_bind().connection.cursor()\n"
        "raw.execute('select name from pg_prepared_statements')\n"
        "for (name,) in raw.fetchall():\n"
        "    raw.execute(f'execute {name}')\n"
        "    rows = [raw.mogrify(f'({\", \".join([\"%s\"] * len(row))})', row).decode() for row in raw.fetchall()]\n"
        "    raw.execute(f'deallocate {name}')\n"
        "    raw.execute(f'prepare {name} as values ' + ', '.join(rows))\n"
        "op.execute({sql})"
    ),
    "prepared_statements_gone": lambda sql: executed("deallocate all", sql),
    "settings_changed": lambda sql: executed(
        "set datestyle = 'german'", "set intervalstyle = 'iso_8601'", "set bytea_output = 'escape'",
        "set extra_float_digits = 0", "set quote_all_identifiers = on", "set timezone = 'Asia/Kathmandu'",
        "set standard_conforming_strings = off", "set escape_string_warning = off",
        "set xmlbinary = hex", "set array_nulls = off", sql,
    ),
    "planner_settings": lambda sql: executed(
        "set enable_seqscan = off", "set enable_indexscan = off", "set plan_cache_mode = force_generic_plan",
        "set statement_timeout = 0", "set row_security = off", sql,
    ),
    "encoding_changed": lambda sql: executed("set client_encoding = 'LATIN1'", sql),
    "application_name": lambda sql: executed("set application_name = 'psql'", sql),
    "timeouts_off": lambda sql: executed("set lock_timeout = 0", "set statement_timeout = 0", sql),
    "read_only_afterwards": lambda sql: executed(sql, "set transaction read only"),
    "constraints_deferred": lambda sql: executed("set constraints all deferred", sql),
    "statistics_not_counted": lambda sql: executed("set stats_fetch_consistency = none", sql),
}  # fmt: skip

# Work that PostgreSQL, SQLAlchemy or Alembic does at the COMMIT, or Python after the guard's last look.
LATER: dict[str, Way] = {
    "deferred_trigger": _fired(_DEFERRED, _INSERT),
    "deferred_trigger_of_a_trigger": lambda sql: executed(
        function(sql, "trigger"), _TABLE, "create table poser_r (id integer)",
        "create function poser_more() returns trigger language plpgsql as"
        " 'begin insert into poser_q values (1); return new; end'", _DEFERRED,
        _DEFERRED.replace("poser_q", "poser_r").replace("poser_do", "poser_more"),
        "insert into poser_r values (1)",
    ),
    "deferred_trigger_on_update": lambda sql: executed(
        function(sql, "trigger"), _TABLE, _INSERT, _DEFERRED.replace("insert", "update"), "update poser_q set id = 2"
    ),
    "deferred_trigger_in_a_savepoint": lambda sql: executed(
        function(sql, "trigger"), _TABLE, _DEFERRED, "savepoint poser_s", _INSERT, "release savepoint poser_s"
    ),
    "deferred_trigger_named_once": lambda sql: executed(
        function(sql, "trigger"), _TABLE, _DEFERRED.replace("deferred for", "immediate for"),
        "set constraints poser_t deferred", _INSERT,
    ),
    "deferred_trigger_by_cascade": lambda sql: executed(
        function(sql, "trigger"), "create table poser_p (id integer primary key)",
        "create table poser_q (id integer references poser_p on delete cascade)",
        _DEFERRED.replace("insert", "delete"),
        "insert into poser_p values (1)", "insert into poser_q values (1)", "delete from poser_p",
    ),
    "cursor_with_hold": lambda sql: executed(
        function(sql), "declare poser_c cursor with hold for select poser_do()"
    ),
    "alembic_callback": _python(
        "def later(ctx, **more):\n    ctx.connection.exec_driver_sql({sql})\n"
        "op.get_context().on_version_apply_callbacks += (later,)"
    ),
    "sqlalchemy_commit_event": _python(
        "sa.event.listen(op.get_bind().engine, 'commit', lambda connection: connection.exec_driver_sql({sql}))"
    ),
    "sqlalchemy_connection_event": _python(
        "sa.event.listen(op.get_bind(), 'commit', lambda connection: connection.exec_driver_sql({sql}))"
    ),
    "sqlalchemy_execute_event": _python(
        "bind = op.get_bind()\n"
        "def later(conn, cursor, statement, *more):\n"
        "    if statement.startswith(('UPDATE alembic_version', 'INSERT INTO alembic_version')):\n"
        "        cursor.execute({sql})\n"
        "sa.event.listen(bind.engine, 'before_cursor_execute', later)"
    ),
    "alembic_heads_patched": _python(
        "context = op.get_context()\nbind = op.get_bind()\nheads = context.impl._exec\n"
        "def later(construct, *arguments, **more):\n"
        "    bind.exec_driver_sql({sql})\n    context.impl._exec = heads\n"
        "    return heads(construct, *arguments, **more)\n"
        "context.impl._exec = later"
    ),
}  # fmt: skip

# Ways that commit before anybody has looked, or write where the guard's transaction is not.
COMMITTED: dict[str, Way] = {
    "commit": lambda sql: executed(sql, "commit"),
    "commit_and_begin": lambda sql: executed(sql, "commit", "begin"),
    "commit_and_chain": lambda sql: executed(sql, "commit and chain"),
    "commit_before": lambda sql: executed("commit", sql),
    "commit_in_text": lambda sql: executed(f"{sql}; commit; begin"),
    "commit_of_the_driver": _python("op.execute({sql})\nop.get_bind().connection.commit()"),
    "end": lambda sql: executed(sql, "end"),
    "autocommit_block": _python("with op.get_context().autocommit_block():\n    op.execute({sql})"),
    "autocommit_block_after": _python(
        "op.execute({sql})\nwith op.get_context().autocommit_block():\n    op.execute('select 1')"
    ),
    "autocommit_of_the_driver": _python(
        "raw = op.get_bind().connection\nraw.commit()\nraw.dbapi_connection.autocommit = True\n"
        "raw.cursor().execute({sql})"
    ),
    "procedure_that_commits": lambda sql: executed(
        "commit", f"create procedure poser_do() language plpgsql as $p$ begin execute {_QUOTE}{sql}{_QUOTE}; commit;"
        " end $p$", "call poser_do()", "drop procedure poser_do()",
    ),
    "commit_and_error": lambda sql: executed(sql, "commit", "select 1/0"),
    "commit_and_exit": _python("op.execute({sql})\nop.execute('commit')\nimport os\nos._exit(0)"),
    "commit_and_sys_exit": _python("op.execute({sql})\nop.execute('commit')\nimport sys\nsys.exit(0)"),
    "commit_and_kill": _python("op.execute({sql})\nop.execute('commit')\nimport os\nos.kill(os.getpid(), 9)"),
    "commit_and_own_version_row": lambda sql: executed(
        sql, "update alembic_version set version_num = '@ME@' where version_num = '@PREV@'", "commit"
    ),
    "own_version_row_and_exit": lambda sql: executed(
        sql, "update alembic_version set version_num = '@ME@' where version_num = '@PREV@'", "commit"
    ) + "\nimport os\nos._exit(0)",
    "own_version_row_and_sys_exit": lambda sql: executed(
        sql, "update alembic_version set version_num = '@ME@' where version_num = '@PREV@'", "commit"
    ) + "\nimport sys\nsys.exit(0)",
    "own_version_row_and_kill": lambda sql: executed(
        sql, "update alembic_version set version_num = '@ME@' where version_num = '@PREV@'", "commit"
    ) + "\nimport os\nos.kill(os.getpid(), 9)",
    "own_version_row_in_a_block_and_error": lambda sql: executed(
        sql
    ) + "\nwith op.get_context().autocommit_block():\n    op.execute(\"update alembic_version set version_num ="
    " '@ME@' where version_num = '@PREV@'\")\nraise RuntimeError('after that')",
    "rollback_and_autocommit": lambda sql: executed("rollback", sql),
    "rollback_commit": lambda sql: executed("rollback", "begin", sql, "commit", "begin"),
}  # fmt: skip

# On another connection, which may only read while a guarded revision runs.
CONFINED: dict[str, Way] = {
    "engine_begin": _python(_OTHER + "with engine.begin() as beside:\n    beside.exec_driver_sql({sql})"),
    "engine_autocommit": _python(
        _OTHER + "with engine.connect().execution_options(isolation_level='AUTOCOMMIT') as beside:\n"
        "    beside.exec_driver_sql({sql})"
    ),
    "psycopg2": _python(_PSYCOPG + "beside.cursor().execute({sql})\nbeside.commit()"),
    "psycopg2_autocommit": _python(_PSYCOPG + "beside.autocommit = True\nbeside.cursor().execute({sql})"),
}  # fmt: skip
# On another one that is made to write, or by another process.
UNCONFINED: dict[str, Way] = {
    "read_write_transaction": _python(
        _PSYCOPG + "cursor = beside.cursor()\ncursor.execute('set transaction read write')\n"
        "cursor.execute({sql})\nbeside.commit()"
    ),
    "read_write_session": _python(
        _PSYCOPG + "beside.set_session(readonly=False, autocommit=True)\n"
        "beside.cursor().execute('set default_transaction_read_only = off')\nbeside.cursor().execute({sql})"
    ),
    "begin_read_write": _python(
        _PSYCOPG + "beside.autocommit = True\nbeside.cursor().execute('begin read write')\n"
        "beside.cursor().execute({sql})\nbeside.cursor().execute('commit')"
    ),
    "in_a_thread": _python(
        "import threading, psycopg2\ndsn = op.get_bind().connection.dsn\ndef work():\n"
        "    beside = psycopg2.connect(dsn)\n    beside.cursor().execute('set transaction read write')\n"
        "    beside.cursor().execute({sql})\n    beside.commit()\n"
        "thread = threading.Thread(target=work)\nthread.start()\nthread.join()"
    ),
    "another_program": _python(
        "import subprocess, sys\nprogram = 'import sys, psycopg2; c = psycopg2.connect(sys.argv[1]); '"
        " 'c.cursor().execute(sys.argv[2]); c.commit()'\n"
        "subprocess.run([sys.executable, '-c', program, op.get_bind().connection.dsn, {sql}], check=True)"
    ),
    "a_fork": _python(
        "import os\ndsn = op.get_bind().connection.dsn\nchild = os.fork()\nif child == 0:\n    try:\n"
        "        import psycopg2\n        beside = psycopg2.connect(dsn)\n"
        "        beside.cursor().execute('set transaction read write')\n"
        "        beside.cursor().execute({sql})\n        beside.commit()\n    finally:\n        os._exit(0)\n"
        "os.waitpid(child, 0)"
    ),
}  # fmt: skip
# On one of which the guard has not heard: it is another session's, for all that can be told, and so it is reported.
UNHEARD: dict[str, Way] = {
    "bare_connection_class": _python(
        "import psycopg2.extensions as ext\nbeside = ext.connection(op.get_bind().connection.dsn)\n"
        "beside.cursor().execute({sql})\nbeside.commit()"
    ),
}
WAYS: dict[str, Way] = {**INSIDE, **SESSION, **LATER, **COMMITTED, **CONFINED, **UNCONFINED, **UNHEARD}


def done(action: Action, way: str) -> Case:
    """A revision that does it in that way."""
    # by those that were not allowed to write, nothing was done that could be named
    word = f"{action.word}|may only read" if way in {*CONFINED, *UNCONFINED} else action.word
    stays = way in {*COMMITTED, *UNCONFINED, *UNHEARD}
    return Case(WAYS[way](action.sql), word, stays=stays, told=way in UNHEARD)
