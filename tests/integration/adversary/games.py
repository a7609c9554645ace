"""Revisions that are no action done in some way: version rows, prepared transactions, endings, Python's tricks."""

from __future__ import annotations

from .arena import Case
from .ways import executed

_VERSION = r"version (row|table)|alembic_version|c2ef84c99c93"
_COLUMN = "alter table product add column if not exists poser_x integer"
_MARK = "update alembic_version set version_num = '@ME@' where version_num = '@PREV@'"
_ENDING = r"\w*(Exit|Error|Interrupt|InFailed)|exit|ended|signal|kill"
_DELETE_HEAD = "delete from alembic_version where version_num = '@CORE@'"
_IN_BLOCK = "with op.get_context().autocommit_block():\n    op.execute({!r})\n"

VERSION_ROWS: dict[str, Case] = {
    "core_s_head-delete": Case(executed(_DELETE_HEAD), _VERSION),
    "core_s_head-delete_and_exit": Case(executed(_DELETE_HEAD) + "\nimport os\nos._exit(0)", _ENDING),
    "core_s_head-delete_by_a_function": Case(
        executed(
            "create function poser_do() returns void language sql as"
            " $$delete from alembic_version where version_num = '@CORE@'$$", "select poser_do()",
        ),
        _VERSION,
    ),
    "core_s_head-delete_at_the_commit": Case(
        executed(
            "create function poser_do() returns trigger language plpgsql as $$ begin"
            " delete from alembic_version where version_num = '@CORE@'; return new; end $$",
            "create table poser_q (id integer)",
            "create constraint trigger poser_t after insert on poser_q deferrable initially deferred"
            " for each row execute function poser_do()", "insert into poser_q values (1)",
        ),
        _VERSION,
    ),
    "core_s_head-delete_in_an_autocommit_block": Case(_IN_BLOCK.format(_DELETE_HEAD), _VERSION, stays=True),
    "core_s_head-delete_and_commit": Case(executed(_DELETE_HEAD, "commit"), _VERSION, stays=True),
    "core_s_head-delete_in_a_savepoint": Case(
        f"with op.get_bind().begin_nested():\n    op.execute({_DELETE_HEAD!r})", _VERSION
    ),
    "core_s_head-update": Case(
        executed("update alembic_version set version_num = 'b0b0b0b0b0b0' where version_num = '@CORE@'"), _VERSION
    ),
    "core_s_head-swap_with_an_unknown_one": Case(
        executed(_DELETE_HEAD, "insert into alembic_version values ('b0b0b0b0b0b0')"), _VERSION
    ),
    "unknown-insert": Case(executed("insert into alembic_version values ('b0b0b0b0b0b0')"), f"{_VERSION}|b0b0b0b0b0b0"),
    "unknown-insert_and_commit": Case(
        executed("insert into alembic_version values ('b0b0b0b0b0b0')", "commit"),
        f"{_VERSION}|b0b0b0b0b0b0", stays=True,
    ),
    "everything-delete": Case(executed("delete from alembic_version"), f"{_VERSION}|@PREV@"),
    "everything-truncate": Case(executed("truncate alembic_version"), f"{_VERSION}|@PREV@"),
    "own-delete": Case(
        executed("delete from alembic_version where version_num = '@PREV@'"), f"{_VERSION}|b084beb32f02"
    ),
    "own-written_and_error": Case(
        _IN_BLOCK.format(_MARK) + "raise RuntimeError('after that')\n", r"RuntimeError|version row", stays=True
    ),
    "own-written_and_table_missing": Case(
        _IN_BLOCK.format(_MARK) + "op.execute('create table poser_x (id integer)')\nop.execute('select 1/0')\n",
        r"division by zero|version row", stays=True,
    ),
    "own-written_and_exit": Case(
        _IN_BLOCK.format(_MARK) + "import os\nos._exit(0)\n", _ENDING, stays=True
    ),
    "own-written_and_sys_exit": Case(
        _IN_BLOCK.format(_MARK) + "import sys\nsys.exit(0)\n", _ENDING, stays=True
    ),
    "own-written_and_kill": Case(
        executed("create table poser_x (id integer)", _MARK, "commit") + "\nimport os\nos.kill(os.getpid(), 9)\n",
        _ENDING, stays=True,
    ),
    "temporary_table": Case(
        executed("create temp table alembic_version as select * from public.alembic_version"), _VERSION
    ),
    "temporary_view": Case(
        executed("create temp view alembic_version as select * from public.alembic_version"), _VERSION, harmless=True
    ),
    "table_in_an_own_schema_first": Case(
        executed(
            "create schema poser_v", "create table poser_v.alembic_version as select * from public.alembic_version",
            "set search_path = poser_v, public",
        ),
        _VERSION,
    ),
    "rule": Case(
        executed("create rule poser_r as on update to alembic_version do instead nothing"), "alembic_version"
    ),
    "trigger": Case(
        executed(
            "create function poser_do() returns trigger language plpgsql as 'begin return null; end'",
            "create trigger poser_t before update on alembic_version for each row execute function poser_do()",
        ),
        "alembic_version",
    ),
    "table-rename": Case(executed("alter table alembic_version rename to poser_version"), "alembic_version"),
    "table-replaced": Case(
        executed(
            "alter table alembic_version rename to poser_version",
            "create table alembic_version as select * from poser_version",
        ),
        "alembic_version",
    ),
    "table-owned_view": Case(
        executed("drop table alembic_version", "create view alembic_version as select '@PREV@' as version_num"),
        "alembic_version",
    ),
    "alembic_s_own_delete_patched_away": Case(
        "context = op.get_context()\n"
        "before = context.impl._exec\n"
        "def nothing(construct, *arguments, **more):\n"
        "    if 'alembic_version' in str(construct):\n"
        "        return type('Result', (), {'rowcount': 1})()\n"
        "    return before(construct, *arguments, **more)\n"
        "context.impl._exec = nothing",
        rf"{_VERSION}|pending", stays=True,
    ),
}  # fmt: skip

_LOADED = "product|when it is only loaded"
_LATER = "import psycopg2\nbeside = psycopg2.connect('@URL@')\n"
_DO_LATER = f"beside.cursor().execute({_COLUMN!r})\nbeside.commit()\n"
_WRITABLE = "beside.cursor().execute('set transaction read write')\n"

PYTHON: dict[str, Case] = {
    "import-connect": Case("", _LOADED, top=_LATER + _DO_LATER, stays=True),
    "import-connect_read_write": Case("", _LOADED, top=_LATER + _WRITABLE + _DO_LATER, stays=True),
    "import-connect_autocommit": Case("", _LOADED, top=_LATER + "beside.autocommit = True\n" + _DO_LATER, stays=True),
    "import-engine": Case(
        "", _LOADED, stays=True,
        top=f"with sa.create_engine('@URL@').begin() as beside:\n    beside.exec_driver_sql({_COLUMN!r})\n",
    ),
    "import-connect_and_use_in_upgrade": Case(_DO_LATER, "product|may only read", top=_LATER, stays=True),
    "import-connect_read_write_and_use_in_upgrade": Case(
        "beside.rollback()\n" + _WRITABLE + _DO_LATER, "product|may only read", top=_LATER, stays=True
    ),
    "import-atexit": Case(
        "", "product", stays=True, harmless=True,
        top=f"import atexit\ndef later():\n    import psycopg2\n    beside = psycopg2.connect('@URL@')\n"
        f"    beside.cursor().execute({_COLUMN!r})\n    beside.commit()\natexit.register(later)\n",
    ),
    "import-guard_patched": Case(
        executed(_COLUMN), "product", stays=True,
        top="import sys\nfor module in list(sys.modules.values()):\n"
        "    if hasattr(module, 'Guard'):\n        module.Guard.after = lambda self, cursor: None\n",
    ),
    "import-judge_patched": Case(
        executed(_COLUMN), "product", stays=True,
        top="import sys\nfor module in list(sys.modules.values()):\n"
        "    if hasattr(module, 'violations') and hasattr(module, 'data_report'):\n"
        "        module.violations = lambda *arguments: []\n",
    ),
    "import-driver_unpatched": Case(
        "", "product", stays=True, told=True,
        top="import psycopg2\nfrom psycopg2._psycopg import _connect\nbeside = _connect('@URL@')\n" + _DO_LATER,
    ),
    "exit": Case(executed(_COLUMN) + "\nimport os\nos._exit(0)", _ENDING),
    "sys_exit": Case(executed(_COLUMN) + "\nimport sys\nsys.exit(0)", _ENDING),
    "sys_exit_with_text": Case(executed(_COLUMN) + "\nimport sys\nsys.exit('done')", _ENDING),
    "kill": Case(executed(_COLUMN) + "\nimport os\nos.kill(os.getpid(), 9)", _ENDING),
    "terminate": Case(executed(_COLUMN) + "\nimport os\nos.kill(os.getpid(), 15)", _ENDING),
    "abort": Case(executed(_COLUMN) + "\nimport os\nos.abort()", _ENDING),
    "interrupt": Case(executed(_COLUMN) + "\nraise KeyboardInterrupt", _ENDING),
    "generator_exit": Case(executed(_COLUMN) + "\nraise GeneratorExit", rf"{_ENDING}|Exit"),
    "recursion": Case(executed(_COLUMN) + "\ndef deep():\n    return deep()\ndeep()", _ENDING),
    "descriptors_closed": Case(executed(_COLUMN) + "\nimport os\nos.closerange(0, 64)", rf"{_ENDING}|closed|product"),
    "output_replaced": Case(
        executed(_COLUMN) + "\nimport io, sys\nsys.stdout = sys.stderr = io.StringIO()\nprint('{\"changed\": true}')",
        "product",
    ),
    "connection_closed": Case(executed(_COLUMN) + "\nop.get_bind().connection.dbapi_connection.close()", _ENDING),
    "backend_terminated": Case(
        executed(_COLUMN, "select pg_terminate_backend(pg_backend_pid())"), rf"{_ENDING}|terminat"
    ),
    "error_in_the_transaction_ignored": Case(
        executed(_COLUMN) + "\ntry:\n    op.execute('select 1/0')\nexcept sa.exc.DatabaseError:\n    pass", _ENDING
    ),
    "rollback": Case(executed(_COLUMN, "rollback"), "ROLLBACK"),
    "rollback_of_the_driver": Case(executed(_COLUMN) + "\nop.get_bind().connection.rollback()", "ROLLBACK"),
    "rollback_and_begin": Case(executed(_COLUMN, "rollback", "begin"), "ROLLBACK"),
    "signal_handlers": Case(
        "import signal\nfor number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):\n"
        "    signal.signal(number, signal.SIG_IGN)\n" + executed(_COLUMN),
        "product",
    ),
    "garbage_collector_off": Case("import gc\ngc.disable()\n" + executed(_COLUMN), "product"),
    "callbacks_replaced": Case(
        "op.get_context().on_version_apply_callbacks = ()\n" + executed(_COLUMN), "product"
    ),
    "settrace": Case(
        "import sys\nsys.settrace(lambda *arguments: None)\n" + executed(_COLUMN), "product"
    ),
}  # fmt: skip

PREPARED: dict[str, Case] = {
    "with_a_definition": Case(executed(_COLUMN, "prepare transaction 'poser_p'"), "product|prepared|PREPARE"),
    "with_own_things": Case(
        executed("create table poser_x (id integer)", "prepare transaction 'poser_p'"), "prepared|PREPARE|ROLLBACK"
    ),
    "with_a_lock": Case(
        executed("lock table till in access exclusive mode", "prepare transaction 'poser_p'"),
        "prepared|PREPARE|ROLLBACK",
    ),
    "with_rows_and_begun_again": Case(
        executed("update till set number = 9", "prepare transaction 'poser_p'", "begin"), "prepared|PREPARE|ROLLBACK"
    ),
    "and_committed": Case(
        executed(_COLUMN, "prepare transaction 'poser_p'", "commit prepared 'poser_p'"),
        "product|prepared|PREPARE", stays=True,
    ),
    "beside": Case(
        "import psycopg2\nbeside = psycopg2.connect('@URL@')\nbeside.rollback()\nbeside.tpc_begin('poser_p')\n"
        f"{_WRITABLE}beside.cursor().execute({_COLUMN!r})\nbeside.tpc_prepare()\n",
        "product|prepared|PREPARE|may only read",
    ),
}  # fmt: skip

_RAW = "raw = op.get_bind().connection\n"
ROW_GAMES: dict[str, Case] = {
    name: Case(python, word, told=True, options={"policy_data": data})
    for data in ("report", "refuse")
    for name, python, word in (
        (f"copy_expert-{data}", _RAW + "import io\n"
         "raw.cursor().copy_expert('copy till_line from stdin', io.StringIO('9\\t1\\tpears\\n'))", "till_line"),
        (f"copy_from-{data}", _RAW + "import io\n"
         "raw.cursor().copy_from(io.StringIO('9\\t1\\tpears\\n'), 'till_line')", "till_line"),
        (f"executemany-{data}", _RAW +
         "raw.cursor().executemany('insert into drawer values (%s, %s)', [(8, 'a'), (9, 'b')])", "drawer"),
        (f"execute_values-{data}", _RAW + "from psycopg2.extras import execute_values\n"
         "execute_values(raw.cursor(), 'insert into drawer values %s', [(8, 'a'), (9, 'b')])", "drawer"),
        (f"bulk_insert-{data}", "table = sa.table('drawer', sa.column('id'), sa.column('label'))\n"
         "op.bulk_insert(table, [{'id': 8, 'label': 'a'}])", "drawer"),
        (f"large_object_of_the_driver-{data}", _RAW + "raw.lobject(4711, 'wb').write(b'poser')", "pg_largeobject"),
        (f"cascade_from_own_delete-{data}", executed(
            "create table poser_p (id integer)",
            "create function poser_do() returns trigger language plpgsql as"
            " 'begin delete from till_line; return old; end'",
            "create trigger poser_t after delete on poser_p for each row execute function poser_do()",
            "insert into poser_p values (1)", "delete from poser_p"), "till_line"),
        (f"trigger_of_core_s-{data}", executed("update till set note = 'x' where id = 1"), "till"),
        (f"own_rule-{data}", executed(
            "create table poser_p (id integer)",
            "create rule poser_r as on insert to poser_p do instead update drawer set label = 'x'",
            "insert into poser_p values (1)"), "drawer"),
        (f"own_view-{data}", executed(
            "create view poser_v as select * from drawer", "update poser_v set label = 'x'"), "drawer"),
        (f"own_cursor-{data}", executed(
            "declare poser_c cursor for select * from drawer for update", "fetch poser_c",
            "update drawer set label = 'x' where current of poser_c"), "drawer"),
        (f"savepoint_released-{data}", executed(
            "savepoint poser_s", "delete from till_line", "release savepoint poser_s"), "till_line"),
        (f"before_an_autocommit_block-{data}", "op.execute('delete from till_line')\n"
         "with op.get_context().autocommit_block():\n    op.execute('select 1')", "till_line"),
        (f"before_a_commit-{data}", executed("delete from till_line", "commit"), "till_line"),
    )
}  # fmt: skip

SHADOWS: dict[str, Case] = {
    name: Case(executed("create schema poser", *sql), word)
    for name, word, *sql in (
        ("table-product", "product", "create table poser.product (uuid varchar(32))"),
        ("table-setting_as", "setting", "create table poser.setting as select * from public.setting"),
        ("view-till", "till", "create view poser.till as select * from public.till limit 0"),
        ("materialized_view-till", "till", "create materialized view poser.till as select 1 as id"),
        ("sequence-till_seq", "till_seq", "create sequence poser.till_seq"),
        ("function-till_count", "till_count",
         "create function poser.till_count() returns bigint language sql as 'select 0::bigint'"),
        ("procedure-till_close", "till_close", "create procedure poser.till_close() language sql as 'select 0'"),
        ("function-lower", "lower", "create function poser.lower(varchar) returns text language sql as 'select $1'"),
        ("enum-till_state", "till_state", "create type poser.till_state as enum ('ajar')"),
        ("domain-till_code", "till_code", "create domain poser.till_code as text"),
        ("operator", "###", "create operator poser.### (leftarg = integer, rightarg = integer, function = int4mi)"),
        ("table-renamed", "product", "create table poser.poser_x (id integer)",
         "alter table poser.poser_x rename to product"),
        ("table-moved", "drawer", "create table poser_x (id integer)", "alter table poser_x set schema poser",
         "alter table poser.poser_x rename to drawer"),
        ("version_table", "alembic_version", "create table poser.alembic_version (version_num varchar(32))"),
    )
}  # fmt: skip
SHADOWS["honest"] = Case(executed("create schema poser", "create table poser.poser_crate (id integer)"))

_LOCKS = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'"
SUPERUSER_GAMES: dict[str, Case] = {
    "lock_s_session_ended": Case(executed(_COLUMN, _LOCKS), "lock was lost"),
    "lock_s_session_ended_after_a_commit": Case(executed(_COLUMN, "commit", _LOCKS), "lock was lost", stays=True),
    "all_sessions_ended": Case(
        executed(_COLUMN, "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"),
        "lock was lost",
    ),
    "lock_s_session_cancelled": Case(
        executed(_COLUMN, _LOCKS.replace("terminate", "cancel")), "product"
    ),
    "advisory_locks_released": Case(executed(_COLUMN, "select pg_advisory_unlock_all()"), "product"),
    "program-psql": Case(
        executed(f"""copy (select 1) to program 'psql -Xqc "{_COLUMN}" "@URL@"'"""), "product", told=True, stays=True
    ),
    "role-commit": Case(executed("create role poser_committed", "commit"), "role poser_committed", stays=True),
    "setting-commit": Case(
        executed("alter role guarded set work_mem = '9MB'", "commit"), "setting of guarded", stays=True
    ),
    "tablespace-autocommit_block": Case(
        "op.execute('set allow_in_place_tablespaces = on')\n"
        + _IN_BLOCK.format("create tablespace poser_space location ''"), "tablespace poser_space", stays=True,
    ),
    "version_rows-in_a_replica": Case(
        executed("set session_replication_role = replica", _DELETE_HEAD), _VERSION
    ),
    "version_table-owner": Case(executed("alter table alembic_version owner to guarded"), "alembic_version"),
    "deferred-in_a_replica": Case(
        executed(
            "create function poser_do() returns trigger language plpgsql as"
            f" 'begin {_COLUMN}; return new; end'",
            "create table poser_q (id integer)",
            "create constraint trigger poser_t after insert on poser_q deferrable initially deferred"
            " for each row execute function poser_do()", "alter table poser_q enable always trigger poser_t",
            "set session_replication_role = replica", "insert into poser_q values (1)",
        ),
        "product",
    ),
    "deferred-another_s_session": Case(
        executed(
            "create function poser_do() returns trigger language plpgsql security definer as"
            f" 'begin {_COLUMN}; return new; end'",
            "create table poser_q (id integer)", "grant all on poser_q to rattail",
            "create constraint trigger poser_t after insert on poser_q deferrable initially deferred"
            " for each row execute function poser_do()",
            "set session authorization rattail", "insert into poser_q values (1)",
        ),
        "product",
    ),
    "no_superuser_any_more": Case(
        executed("create role poser_last superuser", "update pg_authid set rolsuper = false where oid = 10"),
        "role postgres|poser_last|superuser",
    ),
    "schema_that_looks_temporary": Case(
        executed("set allow_system_table_mods = on", "create schema pg_toast_gadget"), "pg_toast_gadget"
    ),
    "login_trigger-commit": Case(
        executed(
            "create function poser_do() returns event_trigger language plpgsql as 'begin end'",
            "create event trigger poser_login on login execute function poser_do()", "commit",
        ),
        "event trigger poser_login", stays=True,
    ),
    "honest-left_as_another": Case(executed("create table poser_x (id integer)", "set session authorization rattail")),
}  # fmt: skip
