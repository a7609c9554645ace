"""What revisions of an extension must not do: for each kind of object by Alembic's operations and by raw SQL.

A refused revision leaves the database as it was, to the last row of its catalogs; so most tests share one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support import environments
from support.catalogs import everything
from support.postgres import Database, Postgres
from support.repository import Repository
from support.server import Server, poser_template
from support.upgrades import Upgrade, Upgrades, upgrade

CORE_HEAD = "c2ef84c99c93"
POSER_HEAD = "b084beb32f02"

# Names without a prefix are core's, so that this stands for what Rattail may come to have.
CORE = """
create schema office;
create table office.desk (id integer);
create table drawer (id integer);
create type till_state as enum ('open', 'shut');
create type till_slip as (line text);
create domain till_code as varchar(8) constraint not_empty check (value <> '');
create domain till_mark as text;
create table till (
    id integer constraint till_pk primary key,
    code varchar(8) default 'a' constraint till_uq_code unique,
    state till_state not null,
    note text default 'none',
    number integer constraint till_ck_number check (number > 0)
);
create table corepos_till (id integer primary key);
comment on table till is 'where money is';
comment on column till.code is 'painted on it';
insert into till values (1, 'a', 'open', 'the first', 1), (2, 'b', 'shut', 'the second', 2);
create function till_opened() returns trigger language plpgsql as $$ begin return new; end $$;
create function till_count() returns bigint language sql as 'select count(*) from till';
create trigger till_opened before update on till for each row execute function till_opened();
create trigger till_closed before update on till for each row execute function till_opened();
create view open_tills as select id from till where state = 'open';
create view shut_tills as select id from till where state = 'shut';
create materialized view till_numbers as select number from till;
create materialized view till_notes as select note from till;
create rule till_kept as on delete to till do instead nothing;
create sequence till_seq;
create sequence slip_seq;
create statistics till_stats on code, note from till;
create policy till_seen on till using (true);
grant select on till to guarded;
create function poser_note() returns trigger language plpgsql as $$ begin return new; end $$;
"""


@dataclass
class Shared:
    """A server with the app deployed, to which revisions come and go."""

    server: Server
    upgrades: Upgrades

    def upgrade(self, name: str, *, python: str = "", sql: str = "", **options: Any) -> tuple[str, dict[str, Any]]:
        """A revision that is there for one upgrade; its id, and what came of it."""
        checkout = Repository(self.server.source_dir)
        new = checkout.add_revision(name, upgrade=python, upgrade_sql=sql, revision=_identity(), commit=False)
        try:
            return new, self.upgrades(allow_uncommitted_revisions=True, **options)
        finally:
            next(self.server.versions.glob(f"{new}*")).unlink()


_ids = iter(range(0x1000, 0x10000))


def _identity() -> str:
    return f"poser{next(_ids):x}"


@pytest.fixture(scope="module")
def shared(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    root = tmp_path_factory.mktemp("shared")
    database = postgres.create(poser_template(postgres, root))
    database.sql("drop extension plpgsql", user="postgres")
    database.sql("create extension plpgsql", user="rattail")
    database.sql(CORE)
    server = Server.make(root / "server", database, repository=Repository.of_poser(root / "poser.git"))
    server.deploy()
    upgrades = Upgrades(server)
    yield Shared(server, upgrades)
    upgrades.close()
    postgres.drop(database)


def refused(shared: Shared, name: str, *, python: str = "", sql: str = "", **options: Any) -> dict[str, Any]:
    """What is said of a revision that is refused; it has left everything as it was."""
    before = everything(shared.server.database)
    new, answer = shared.upgrade(name, python=python, sql=sql, **options)
    assert answer["failure"].startswith(f"Revision {new} ("), answer["failure"]
    assert "it is against the policy" in answer["failure"], answer["failure"]
    assert "Nothing was applied: the database is as it was." in answer["failure"]
    assert (answer["changed"], answer["applied"], answer["state"]) == (False, [], "behind")
    assert answer["failed_revision"]["revision"] == new
    assert {each["revision"] for each in answer["violations"]} <= {new}
    assert everything(shared.server.database) == before
    return answer


# For each kind of object: what a revision does, by Alembic where that can, and by SQL, and what of it is not its own
# to do.
# Each creates without its prefix or with another package's, alters core's, and drops core's.
KINDS: dict[str, tuple[str, str, list[str]]] = {
    "tables": (
        """
op.create_table("gadget", sa.Column("id", sa.Integer))
op.create_table("corepos_gadget", sa.Column("id", sa.Integer))
op.rename_table("report_code", "poser_report_code")
op.drop_table("ifps_plu")
""",
        """
create table gadget (id integer);
create table corepos_gadget (id integer);
alter table report_code rename to poser_report_code;
drop table ifps_plu;
""",
        [
            "created table public.gadget",
            "created table public.corepos_gadget",
            "altered table public.poser_report_code (was table public.report_code)",
            "dropped table public.ifps_plu",
        ],
    ),
    "columns": (
        """
op.add_column("product", sa.Column("poser_color", sa.String(20)))
op.add_column("corepos_till", sa.Column("poser_color", sa.String(20)))
op.alter_column("product", "size", type_=sa.String(90))
op.alter_column("product", "ingredients", new_column_name="poser_ingredients")
op.drop_column("product", "notes")
""",
        """
alter table product add column poser_color varchar(20), alter column size type varchar(90), drop column notes;
alter table corepos_till add column poser_color varchar(20);
alter table product rename column ingredients to poser_ingredients;
""",
        [
            "created column public.product.poser_color",
            "created column public.corepos_till.poser_color",
            "altered column public.product.size",
            "altered column public.product.poser_ingredients (was column public.product.ingredients)",
            "dropped column public.product.notes",
        ],
    ),
    "defaults": (
        """
op.alter_column("product", "item_id", server_default="poser")
op.alter_column("till", "code", server_default="b")
op.alter_column("till", "note", server_default=None)
""",
        """
alter table product alter item_id set default 'poser';
alter table till alter code set default 'b', alter note drop default;
""",
        [
            "created default of public.product.item_id",
            "altered default of public.till.code",
            "dropped default of public.till.note",
        ],
    ),
    "nullability": (
        """
op.alter_column("till", "note", nullable=False)
op.alter_column("product", "deleted", nullable=True)
""",
        "alter table till alter note set not null; alter table product alter deleted drop not null",
        [
            "altered column public.till.note",
            "created constraint till_note_not_null on public.till",
            "altered column public.product.deleted",
            "dropped constraint product_deleted_not_null on public.product",
        ],
    ),
    "indexes": (
        """
op.create_index("poser_ix_size", "product", ["size"])
op.create_index("poser_ix_till", "corepos_till", ["id"], unique=True)
op.drop_index("product_ix_upc", "product")
""",
        """
create index poser_ix_size on product (size);
create unique index poser_ix_till on corepos_till (id);
drop index product_ix_upc;
""",
        [
            "created index poser_ix_size on public.product",
            "created index poser_ix_till on public.corepos_till",
            "dropped index product_ix_upc on public.product",
        ],
    ),
    "unique constraints": (
        """
op.create_unique_constraint("poser_uq_item", "product", ["item_id"])
op.drop_constraint("till_uq_code", "till")
""",
        """
alter table product add constraint poser_uq_item unique (item_id);
alter table till drop constraint till_uq_code;
""",
        [
            "created constraint poser_uq_item on public.product",
            "dropped constraint till_uq_code on public.till",
        ],
    ),
    "check constraints": (
        """
op.create_check_constraint(op.f("poser_ck_size"), "product", "size <> ''")
op.drop_constraint("till_ck_number", "till")
""",
        """
alter table product add constraint poser_ck_size check (size <> '');
alter table till drop constraint till_ck_number;
""",
        [
            "created constraint poser_ck_size on public.product",
            "dropped constraint till_ck_number on public.till",
        ],
    ),
    "foreign keys": (
        """
op.create_foreign_key("poser_fk_widget", "product", "poser_widget", ["item_id"], ["uuid"])
op.drop_constraint("employee_fk_person", "employee")
""",
        """
alter table product add constraint poser_fk_widget foreign key (item_id) references poser_widget (uuid);
alter table employee drop constraint employee_fk_person;
""",
        [
            "created constraint poser_fk_widget on public.product",
            "dropped constraint employee_fk_person on public.employee",
        ],
    ),
    "primary keys": (
        """
op.drop_constraint("till_pk", "till")
op.create_primary_key("poser_pk", "till", ["number"])
""",
        "alter table till drop constraint till_pk; alter table till add constraint poser_pk primary key (number)",
        [
            "dropped constraint till_pk on public.till",
            "created constraint poser_pk on public.till",
            "created constraint till_number_not_null on public.till",
            "altered column public.till.number",
        ],
    ),
    "triggers": (
        "",
        """
create trigger poser_note before insert on product for each row execute function poser_note();
alter table till disable trigger till_opened;
drop trigger till_closed on till;
""",
        [
            "created trigger poser_note on public.product",
            "altered trigger till_opened on public.till",
            "dropped trigger till_closed on public.till",
        ],
    ),
    "views": (
        "",
        """
create view gadgets as select uuid from poser_widget;
create or replace view open_tills as select id from till;
alter view shut_tills rename to poser_tills;
""",
        [
            "created view public.gadgets",
            "altered view public.open_tills",
            "altered view public.poser_tills (was view public.shut_tills)",
        ],
    ),
    "views that are dropped": (
        "",
        "drop view open_tills; create view corepos_tills as select 1 as n",
        ["dropped view public.open_tills", "created view public.corepos_tills"],
    ),
    "materialized views": (
        "",
        """
create materialized view gadgets as select uuid from poser_widget;
alter materialized view till_numbers set (fillfactor = 50);
drop materialized view till_notes;
""",
        [
            "created materialized view public.gadgets",
            "altered materialized view public.till_numbers",
            "dropped materialized view public.till_notes",
        ],
    ),
    "rules": (
        "",
        """
create rule poser_hidden as on insert to product do instead nothing;
alter table till disable rule till_kept;
""",
        ["created rule poser_hidden on public.product", "altered rule till_kept on public.till"],
    ),
    "rules that are dropped": ("", "drop rule till_kept on till", ["dropped rule till_kept on public.till"]),
    "sequences": (
        """
op.execute(sa.schema.CreateSequence(sa.Sequence("gadget_seq")))
op.execute(sa.schema.CreateSequence(sa.Sequence("corepos_seq")))
op.execute("alter sequence till_seq increment 2")
op.execute(sa.schema.DropSequence(sa.Sequence("slip_seq")))
""",
        """
create sequence gadget_seq;
create sequence corepos_seq;
alter sequence till_seq increment 2;
drop sequence slip_seq;
""",
        [
            "created sequence public.gadget_seq",
            "created sequence public.corepos_seq",
            "altered sequence public.till_seq",
            "dropped sequence public.slip_seq",
        ],
    ),
    "enum types": (
        """
op.create_table("poser_gadget", sa.Column("kind", sa.Enum("big", "small", name="gadget_kind")))
op.execute("alter type till_state add value 'ajar'")
op.execute("drop type till_slip")
""",
        """
create type gadget_kind as enum ('big', 'small');
alter type till_state add value 'ajar';
drop type till_slip;
""",
        [
            "created enum public.gadget_kind",
            "altered enum public.till_state",
            "dropped type public.till_slip",
        ],
    ),
    "domains": (
        "",
        """
create domain gadget_code as text;
alter domain till_code add constraint poser_short check (length(value) < 3);
drop domain till_mark;
""",
        [
            "created domain public.gadget_code",
            "created constraint poser_short on public.till_code",
            "dropped domain public.till_mark",
        ],
    ),
    "functions": (
        "",
        """
create function gadgets() returns integer language sql as 'select 1';
create procedure corepos_count() language sql as 'select 1';
create aggregate gadget_sum(integer) (sfunc = int4pl, stype = integer);
create or replace function till_opened() returns trigger language plpgsql as $$ begin return null; end $$;
drop function till_count();
""",
        [
            "created function public.gadgets()",
            "created procedure public.corepos_count()",
            "created aggregate public.gadget_sum(integer)",
            "altered function public.till_opened()",
            "dropped function public.till_count()",
        ],
    ),
    "comments": (
        """
op.create_table_comment("product", "poser's")
op.alter_column("product", "size", comment="poser's")
op.create_table_comment("till", "poser's", existing_comment="where money is")
op.alter_column("till", "code", comment=None, existing_comment="painted on it")
""",
        """
comment on table product is 'poser''s';
comment on column product.size is 'poser''s';
comment on table till is 'poser''s';
comment on column till.code is null;
""",
        [
            "created comment on table public.product",
            "created comment on column public.product.size",
            "altered comment on table public.till",
            "dropped comment on column public.till.code",
        ],
    ),
    "grants": (
        "",
        """
grant select on product to guarded;
grant update (size) on product to guarded;
grant usage on sequence till_seq to guarded;
revoke select on till from guarded;
revoke execute on function till_count() from public;
grant temporary on database "{database}" to guarded;
""",
        [
            "altered grant on table public.product",
            "altered grant on column public.product.size",
            "altered grant on sequence public.till_seq",
            "altered grant on table public.till",
            "altered grant on function public.till_count()",
            "altered grant on database {database}",
        ],
    ),
    "extensions": (
        "",
        "drop extension plpgsql cascade; create extension plpgsql",
        [
            "created extension plpgsql",
            "dropped extension plpgsql",
            "dropped function public.till_opened()",
            "dropped trigger till_opened on public.till",
            "dropped trigger till_closed on public.till",
        ],
    ),
    "schemas": (
        """
op.execute(sa.schema.CreateSchema("gadgets"))
op.execute(sa.schema.CreateSchema("corepos"))
op.execute("alter schema office rename to poser_office")
op.execute("alter table drawer set schema gadgets")
""",
        """
create schema gadgets;
create schema corepos;
alter schema office rename to poser_office;
alter table drawer set schema gadgets;
""",
        [
            "created schema gadgets",
            "created schema corepos",
            "altered schema poser_office (was schema office)",
            "altered table gadgets.drawer (was table public.drawer)",
        ],
    ),
    "schemas that are dropped": (
        'op.execute(sa.schema.DropSchema("office", cascade=True))',
        "drop schema office cascade",
        ["dropped schema office", "dropped table office.desk"],
    ),
    "row security": (
        "",
        """
alter table product enable row level security;
create policy poser_seen on product using (true);
alter policy till_seen on till using (id > 1);
""",
        [
            "altered table public.product",
            "created policy poser_seen on public.product",
            "altered policy till_seen on public.till",
        ],
    ),
    "policies that are dropped": ("", "drop policy till_seen on till", ["dropped policy till_seen on public.till"]),
    "storage and what else a table has": (
        "",
        """
alter table product set (fillfactor = 50);
alter table till replica identity full;
alter table till cluster on till_pk;
alter table till alter code set statistics 500;
create statistics poser_stats on size, item_id from product;
drop statistics till_stats;
create table poser_till () inherits (till);
""",
        [
            "altered table public.product",
            "altered table public.till",
            "altered index till_pk on public.till",
            "altered column public.till.code",
            "created statistics poser_stats on public.product",
            "dropped statistics till_stats on public.till",
            "created inheritance of public.poser_till from public.till",
        ],
    ),
    "what is the whole database's": (
        "",
        """
create publication poser_publication for table poser_widget;
alter default privileges grant select on tables to guarded;
alter database "{database}" set work_mem = '8MB';
create cast (till_slip as text) with inout;
""",
        [
            "created publication poser_publication",
            "created default privileges of rattail",
            "created setting of {database}",
            "created cast public.till_slip as text",
        ],
    ),
}
WAYS = [
    pytest.param(kind, way, id=f"{kind} by {way}")
    for kind, (by_op, _, _) in KINDS.items()
    for way in ("op" if by_op else "connection", "SQL")
]


@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_what_is_not_an_extension_s_own_is_refused(shared: Shared, kind: str, way: str) -> None:
    by_op, by_sql, expected = KINDS[kind]
    name = shared.server.database.name
    by_sql = by_sql.replace("{database}", name)
    if way == "SQL":
        answer = refused(shared, kind, sql=by_sql)
    else:
        # Alembic has no operation for some kinds.
        answer = refused(shared, kind, python=by_op or f"op.get_bind().execute(sa.text({by_sql!r}))")
    found = [f"{each['action']} {each['object']}" for each in answer["violations"]]
    assert sorted(found) == sorted(each.replace("{database}", name) for each in expected)
    assert any(each["object"] in answer["failure"] for each in answer["violations"])
    assert all(each["rule"] for each in answer["violations"])


# By ways that a reader of the revision would not find, and that hide from a comparison of names alone.
DETOURS: dict[str, tuple[str, list[str]]] = {
    "put together at run time": (
        """
op.execute("do $$ begin execute 'alter table pro' || 'duct add column poser_color text'; end $$")
""",
        ["created column public.product.poser_color"],
    ),
    "created under an own name and renamed": (
        """
op.create_table("poser_gadget", sa.Column("id", sa.Integer))
op.rename_table("poser_gadget", "gadget")
""",
        ["created table public.gadget"],
    ),
    "dropped and made again": (
        """
op.execute("drop table drawer; create table drawer (id integer)")
""",
        ["created table public.drawer", "dropped table public.drawer"],
    ),
    "past Alembic and SQLAlchemy": (
        """
op.get_bind().connection.cursor().execute("drop index product_ix_upc")
""",
        ["dropped index product_ix_upc on public.product"],
    ),
    "in a savepoint": (
        """
with op.get_bind().begin_nested():
    op.drop_index("product_ix_upc", "product")
""",
        ["dropped index product_ix_upc on public.product"],
    ),
    "by another search_path": (
        """
op.execute("set search_path = office")
op.execute("drop table desk; create table poser_desk (id integer)")
""",
        ["dropped table office.desk"],
    ),
    "in a batch": (
        """
with op.batch_alter_table("product", recreate="never") as batch:
    batch.add_column(sa.Column("poser_color", sa.String(20)))
    batch.drop_index("product_ix_upc")
""",
        ["created column public.product.poser_color", "dropped index product_ix_upc on public.product"],
    ),
    "by a cascade": (
        """
op.execute("drop type till_state cascade")
""",
        [
            "dropped enum public.till_state",
            "dropped column public.till.state",
            "dropped view public.open_tills",
            "dropped view public.shut_tills",
        ],
    ),
    "by a function of its own": (
        """
op.execute("create function poser_mend() returns void language plpgsql"
           " as $$ begin alter table product alter size type text; end $$")
op.execute("select poser_mend()")
op.execute("drop function poser_mend()")
""",
        ["altered column public.product.size"],
    ),
    "with its error ignored": (
        """
try:
    with op.get_bind().begin_nested():
        op.execute("drop table product")
except sa.exc.DatabaseError:
    pass
op.execute("drop table drawer")
""",
        ["dropped table public.drawer"],
    ),
}


@pytest.mark.parametrize("how", DETOURS)
def test_no_detour_leads_around_it(shared: Shared, how: str) -> None:
    python, expected = DETOURS[how]
    answer = refused(shared, how, python=python)
    assert sorted(f"{each['action']} {each['object']}" for each in answer["violations"]) == sorted(expected)


OWN = """
create table poser_recipe (
    uuid varchar(32) primary key,
    number serial,
    product_uuid varchar(32) constraint of_a_product references product (uuid) on delete cascade,
    constraint at_least_one check (number > 0)
);
create table poser_recipe_version (uuid varchar(32), transaction_id bigint);
create table batch_poser_recipe (uuid varchar(32) primary key, id integer unique);
create index recipes_by_product on poser_recipe (product_uuid);
create sequence recipe_numbers owned by poser_recipe.number;
create statistics recipes on uuid, number from poser_recipe;
create trigger noted before insert on poser_recipe for each row execute function poser_note();
alter table poser_recipe enable row level security;
create policy everybody on poser_recipe using (true);
create type poser_taste as enum ('sweet', 'sour');
create domain poser_grams as integer check (value > 0);
create view poser_recipes as select uuid from poser_recipe join product using (uuid);
create materialized view poser_tastes as select uuid from poser_recipe;
create rule kept as on delete to poser_recipe do instead nothing;
create schema poser_kitchen;
create table poser_kitchen.pot (id integer);
comment on table poser_recipe is 'how to cook it';
grant select on poser_recipe to guarded;
insert into poser_recipe (uuid) values ('soup');
"""


def test_what_is_an_extension_s_own_is_applied(deployed: Server) -> None:
    note = "create function poser_note() returns trigger language plpgsql as $$ begin return new; end $$;"
    new = deployed.repository.add_revision("recipes", upgrade_sql=note + OWN)
    undo = "drop index recipes_by_product; drop view poser_recipes; alter table poser_recipe drop column product_uuid"
    last = deployed.repository.add_revision("less", upgrade_sql=undo)
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed, policy_data="refuse")
    assert (answer["failure"], answer["violations"], answer["data"]) == ("", [], [])
    assert not [each for each in answer["warnings"] if " created " in each]
    assert [each["revision"] for each in answer["applied"]] == [new, last]
    assert deployed.sql("select uuid, number from poser_recipe") == [("soup", 1)]


TRESPASS = "create table gadget (id integer); alter table product add column color text"


def test_policy_warn_applies_and_says_so_and_off_is_silent(deployed: Server) -> None:
    insert = "insert into setting (name, value) values ('poser.a', '1')"
    new = deployed.repository.add_revision("trespass", upgrade_sql=f"{TRESPASS}; {insert}")
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed, policy="warn", policy_data="refuse")
    assert (answer["failure"], answer["changed"], answer["state"]) == ("", True, "current")
    assert [(each["table"], each["inserted"]) for each in answer["data"]] == [("public.setting", 1)]
    objects = ["column public.product.color", "table public.gadget"]
    assert sorted(each["object"] for each in answer["violations"]) == objects
    for each in objects:
        assert any(f"Revision {new} created {each}" in warning for warning in answer["warnings"])
    assert deployed.database.tables("gadget") == ["gadget"]
    deployed.repository.add_revision("more", upgrade_sql="drop table gadget; update setting set value = name")
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed, policy="off")
    assert (answer["failure"], answer["changed"], answer["state"]) == ("", True, "current")
    assert (answer["violations"], answer["warnings"], answer["data"]) == ([], [], [])
    assert deployed.database.tables("gadget") == []


def test_where_the_policy_is_off_a_revision_may_leave_its_transaction(deployed: Server) -> None:
    block = 'with op.get_context().autocommit_block():\n    op.execute("update setting set value = name")'
    deployed.repository.add_revision("leaves", upgrade=block)
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed, policy="off", policy_data="refuse")
    assert (answer["failure"], answer["violations"], answer["data"], answer["state"]) == ("", [], [], "current")


WRITES = """
insert into setting (name, value) values ('poser.a', '1'), ('poser.b', '2'), ('poser.c', '3');
update setting set value = '4' where name <> 'poser.c';
delete from setting where name = 'poser.b';
truncate ifps_plu;
insert into poser_widget (uuid, code, active) values ('w', 'w', true);
"""
WRITTEN = {
    "public.ifps_plu": {"inserted": 0, "updated": 0, "deleted": 0, "rewritten": True},
    "public.setting": {"inserted": 3, "updated": 2, "deleted": 1, "rewritten": False},
}


def test_rows_written_to_core_s_tables_are_counted_and_refused_only_if_asked(deployed: Server) -> None:
    deployed.sql("delete from setting")
    deployed.sql("insert into ifps_plu (uuid, plu) values ('i', 1)")
    new = deployed.repository.add_revision("settings", upgrade_sql=WRITES)
    deployed.git("pull", "--quiet")
    before = everything(deployed.database)
    answer = upgrade(deployed, policy_data="refuse")
    assert f"Revision {new} (" in answer["failure"] and not answer["changed"]
    assert "public.setting" in answer["failure"] and "3 inserted, 2 updated, 1 deleted" in answer["failure"]
    assert "public.ifps_plu" in answer["failure"]
    assert everything(deployed.database) == before
    told = [{"revision": new, "table": table, **counts} for table, counts in WRITTEN.items()]
    assert answer["data"] == told
    answer = upgrade(deployed)
    assert (answer["failure"], answer["violations"], answer["data"]) == ("", [], told)
    assert any(
        warning.startswith(f"Revision {new} wrote rows of public.setting, ") and "3 inserted" in warning
        for warning in answer["warnings"]
    )
    assert deployed.sql("select name from setting order by 1") == [("poser.a",), ("poser.c",)]


def test_rows_that_a_superuser_keeps_from_being_counted_are_told_of_who_wrote_them(
    make_server: Callable[..., Server], make_database: Callable[..., Database]
) -> None:
    server = make_server(deployed=True, content=replace(make_database("poser"), user="postgres"))
    steps = {
        "counted": "insert into setting (name) values ('poser.a')",
        "none": "update ifps_plu set plu = 1; create table poser_crate ()",
        "uncounted": "set track_counts = off; insert into ifps_plu (uuid, plu) values ('i', 1)",
        "none any more": "create table poser_box ()",
    }
    made = {name: server.repository.add_revision(name, upgrade_sql=sql) for name, sql in steps.items()}
    server.git("pull", "--quiet")
    answer = upgrade(server)
    data = [(each["revision"], each["table"], each["inserted"]) for each in answer["data"]]
    assert data == [(made["counted"], "public.setting", 1), (made["uncounted"], "public.ifps_plu", 0)]
    said = f"Revision {made['uncounted']} wrote rows of public.ifps_plu, which is not this extension's: not counted."
    assert said in answer["warnings"]


BLOCK = """
op.execute("insert into setting (name, value) values ('poser.a', '1'), ('poser.b', '2')")
with op.get_context().autocommit_block():
    op.execute("create index concurrently on poser_widget (code)")
    op.execute("insert into setting (name, value) values ('poser.e', '5')")
    op.get_bind().connection.cursor().execute("do $$ begin delete from setting where name = 'poser.a'; end $$")
    op.execute("select pg_sleep(1.2)")
op.execute("insert into setting (name, value) values ('poser.c', '3'), ('poser.d', '4')")
"""
COMMITTED = """
op.execute("insert into setting (name, value) values ('poser.a', '1'), ('poser.b', '2')")
{commit}
op.execute("delete from setting where name = 'poser.b'")
"""
# What leaves its transaction, what is counted of it (inserted rows), and the first kind that is not.
LEAVING = {
    "an autocommit_block": (BLOCK, 4, "INSERT"),
    "a COMMIT": (COMMITTED.format(commit='op.execute("commit")'), 2, "DELETE"),
    "a COMMIT that its text does not show": (
        COMMITTED.format(commit='op.execute(bytes.fromhex("636f6d6d6974").decode())'), 2, "DELETE"
    ),
    "the driver's commit": (COMMITTED.format(commit="op.get_bind().connection.commit()"), 2, "DELETE"),
    "an autocommit_block that writes no rows": (
        'with op.get_context().autocommit_block():\n    op.execute("vacuum poser_widget")\n'
        "op.execute(\"insert into setting (name) values ('poser.a')\")", 1, ""
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", LEAVING)
def test_rows_are_counted_in_the_transaction_and_what_was_not_is_said_once(deployed: Server, how: str) -> None:
    python, inserted, kind = LEAVING[how]
    new = deployed.repository.add_revision(how, upgrade=python)
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed)
    assert (answer["failure"], answer["state"]) == ("", "current")
    assert [(each["table"], each["inserted"], each["deleted"]) for each in answer["data"]] == [
        ("public.setting", inserted, 0)
    ]  # fmt: skip
    said = [warning for warning in answer["warnings"] if "not counted" in warning]
    ran = f"Revision {new} ran {kind} outside of its transaction: rows that it wrote there were not counted."
    assert said == ([ran] if kind else [])
    again = upgrade(deployed)
    assert (again["changed"], again["data"]) == (False, [])


@pytest.mark.parametrize("how", LEAVING)
def test_rows_of_core_s_are_refused_before_they_are_committed(deployed: Server, how: str) -> None:
    python, _, _ = LEAVING[how]
    new = deployed.repository.add_revision(how, upgrade=python)
    deployed.git("pull", "--quiet")
    deployed.sql("insert into setting (name) values ('before')")
    answer = upgrade(deployed, policy_data="refuse")
    assert answer["failure"].startswith(f"Revision {new} ("), answer["failure"]
    assert "wrote rows of public.setting" in answer["failure"], answer["failure"]
    assert deployed.sql("select name from setting order by 1") == [("before",)]


# A statement outside of the transaction, and what it is called.
OUTSIDE = {
    "update setting set value = 'x'": "UPDATE",
    "truncate setting": "TRUNCATE",
    "do $$ begin delete from setting; end $$": "DO",
    "with gone as (delete from setting returning *) select * from gone": "WITH … DELETE",
    "select 1; delete from setting": "DELETE",
    "insert into poser_widget (uuid, code, active) values ('w', 'w', true)": "INSERT",
}
LEFT = {
    "autocommit_block": 'with op.get_context().autocommit_block():\n    op.execute("""{sql}""")',
    "COMMIT": 'op.execute("commit")\nop.execute("""{sql}""")',
    "isolation level": (
        "raw = op.get_bind().connection\nraw.rollback()\nraw.dbapi_connection.autocommit = True\n"
        'raw.cursor().execute("""{sql}""")'
    ),
    "error ignored": (
        'with op.get_context().autocommit_block():\n    try:\n        op.execute("""{sql}""")\n'
        "    except Exception:\n        pass"
    ),
}


@pytest.mark.parametrize("left", LEFT)
def test_rows_written_outside_of_the_transaction_are_refused_by_kind(shared: Shared, left: str) -> None:
    before = everything(shared.server.database)
    for sql, kind in OUTSIDE.items():
        new, answer = shared.upgrade("outside", python=LEFT[left].format(sql=sql), policy_data="refuse")
        assert answer["failure"].startswith(f"Revision {new} ("), answer["failure"]
        assert f"{kind} outside of its transaction, where rows are not counted" in answer["failure"], answer["failure"]
        assert f"in the statement: {sql}" in answer["failure"], answer["failure"]
        assert "rattail_schema_ext_policy_data: report" in answer["failure"]
        assert everything(shared.server.database) == before
    for sql in ("vacuum poser_widget", "select count(*) from product"):
        python = LEFT[left].format(sql=sql) + '\nraise KeyError("ran")'
        assert "ran" in shared.upgrade("outside", python=python, policy_data="refuse")[1]["failure"]


def test_the_remedies_for_rows_outside_of_the_transaction_work(deployed: Server) -> None:
    block = 'with op.get_context().autocommit_block():\n    op.execute("vacuum poser_widget")\n'
    sql = "op.execute(\"insert into poser_widget (uuid, code, active) values ('{0}', '{0}', true)\")\n"
    new = deployed.repository.add_revision("outside", upgrade=block + "    " + sql.format("w"))
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed, policy_data="refuse")
    assert "INSERT outside of its transaction" in answer["failure"], answer["failure"]
    assert "before it leaves it, or after an autocommit_block" in answer["failure"]
    path = next(deployed.versions.glob(f"{new}*"))
    text = path.read_text()
    path.write_text(text.replace("    " + sql.format("w").strip(), sql.format("w").strip()))
    assert path.read_text() != text
    answer = upgrade(deployed, policy_data="refuse", allow_uncommitted_revisions=True)
    assert (answer["failure"], answer["state"], answer["data"]) == ("", "current", [])
    deployed.git("checkout", "--quiet", ".")
    deployed.repository.add_revision("more", upgrade=block + "    " + sql.format("v"))
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed)
    assert (answer["failure"], answer["state"]) == ("", "current")
    assert deployed.sql("select uuid from poser_widget order by 1") == [("v",), ("w",)]


def while_a_revision_runs(server: Server, **options: Any) -> tuple[str, Upgrade]:
    """An upgrade whose revision takes its time now; that revision's id."""
    sql = "create table poser_slow (); select pg_sleep(3)"
    new = server.repository.add_revision("slow", upgrade_sql=sql)
    server.git("pull", "--quiet")
    run = Upgrade(server, **options)
    sleeps = f"application_name like '% {new}' and wait_event = 'PgSleep'"
    running = f"select 1 from pg_stat_activity where {sleeps} and datname = current_database()"
    deadline = time.monotonic() + 60
    while not server.sql(running):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return new, run


def test_what_another_session_makes_meanwhile_is_not_blamed_on_the_revision(deployed: Server) -> None:
    _, run = while_a_revision_runs(deployed)
    deployed.sql("create table clerk_notes (id integer); insert into setting (name, value) values ('clerk', '1')")
    answer = run.finish()
    assert (answer["failure"], answer["violations"], answer["data"]) == ("", [], [])
    [warning] = [each for each in answer["warnings"] if "clerk_notes" in each]
    assert "another session, as far as can be told, created table public.clerk_notes" in warning


def test_nor_are_rows_that_another_session_replaces_meanwhile(deployed: Server) -> None:
    deployed.sql("insert into ifps_plu (uuid, plu) values ('i', 1)")
    _, run = while_a_revision_runs(deployed, policy_data="refuse")
    deployed.sql("truncate ifps_plu")
    with deployed.database.connect() as connection:
        connection.cursor().execute("vacuum full setting")
    answer = run.finish()
    assert (answer["failure"], answer["violations"], answer["data"]) == ("", [], [])


BESIDE = """
engine = op.get_bind().engine
with {begin} as beside:
    beside.execute(sa.text("{sql}"))
"""
OWN_CONNECTION = "it opened a connection of its own, on which it may only read"


@pytest.mark.parametrize(
    "begin",
    ["engine.begin()", "engine.connect().execution_options(isolation_level='AUTOCOMMIT')"],
    ids=["transaction", "autocommit"],
)
def test_on_a_connection_of_its_own_a_revision_may_only_read(shared: Shared, begin: str) -> None:
    before = everything(shared.server.database)
    for sql in ("alter table product add poser_x integer", "create table poser_beside ()", "truncate till"):
        new, answer = shared.upgrade("beside", python=BESIDE.format(begin=begin, sql=sql))
        assert answer["failure"].startswith(f"Revision {new} ("), answer["failure"]
        assert OWN_CONNECTION in answer["failure"] and sql in answer["failure"], answer["failure"]
        assert "Nothing was applied: the database is as it was." in answer["failure"]
        assert "op.get_bind()" in answer["failure"]
        assert everything(shared.server.database) == before


CONNECT = """
import psycopg2
from psycopg2.extras import RealDictConnection
from psycopg2 import connect
dsn = op.get_bind().connection.dsn
{connect}
cursor = beside.cursor()
cursor.execute("{sql}")
beside.commit()
"""
# Past SQLAlchemy's engine, or past the arguments that it would connect with.
CONNECTIONS = {
    "psycopg2": "beside = psycopg2.connect(dsn)",
    "by another name": "beside = connect(dsn)",
    "autocommit": "beside = connect(dsn); beside.autocommit = True",
    "a class of its own": "beside = connect(dsn, connection_factory=RealDictConnection)",
    "creator": 'beside = sa.create_engine("postgresql://", creator=lambda: connect(dsn)).raw_connection()',
}


@pytest.mark.parametrize("way", CONNECTIONS)
def test_nor_may_it_write_on_one_that_is_not_an_engine_s(shared: Shared, way: str) -> None:
    before = everything(shared.server.database)
    python = CONNECT.format(connect=CONNECTIONS[way], sql="alter table product add poser_x integer")
    new, answer = shared.upgrade("beside", python=python)
    assert answer["failure"].startswith(f"Revision {new} ("), answer["failure"]
    assert OWN_CONNECTION in answer["failure"] and "Nothing was applied" in answer["failure"], answer["failure"]
    read = CONNECT.format(connect=CONNECTIONS[way], sql="select count(*) from product") + "raise KeyError('has read')"
    assert "has read" in shared.upgrade("reads", python=read)[1]["failure"]
    assert everything(shared.server.database) == before


def test_nor_open_one_that_cannot_be_kept_from_it(shared: Shared) -> None:
    python = CONNECT.format(connect="beside = connect(dsn, async_=True)", sql="select 1")
    assert "asynchronous connection" in shared.upgrade("asynchronous", python=python)[1]["failure"]
    waits = CONNECT.format(
        connect="beside = connect(dsn, async_=True); psycopg2.extras.wait_select(beside); raise KeyError('has opened')",
        sql="select 1",
    )
    assert "has opened" in shared.upgrade("asynchronous", python=waits, policy="warn")[1]["failure"]


def test_a_revision_that_has_itself_write_beside_is_found_out(shared: Shared) -> None:
    """Nothing keeps it from making its own transaction writable, so that nothing is put down to others then."""
    python = BESIDE.format(
        begin="engine.begin()", sql="set transaction read write; create index poser_beside on till (note)"
    )
    try:
        new, answer = shared.upgrade("beside", python=python)
    finally:
        shared.server.sql("drop index if exists poser_beside")
    assert answer["failure"].startswith(f"Revision {new} (") and "against the policy" in answer["failure"]
    assert [each["object"] for each in answer["violations"]] == ["index poser_beside on public.till"]
    assert any("poser_beside" in each and "second connection" in each for each in answer["warnings"])


def test_where_the_policy_warns_what_is_done_beside_is_the_revision_s_all_the_same(deployed: Server) -> None:
    sql = "alter table product add poser_x integer; truncate ifps_plu"
    new = deployed.repository.add_revision("beside", upgrade=BESIDE.format(begin="engine.begin()", sql=sql))
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed, policy="warn")
    assert (answer["failure"], answer["state"]) == ("", "current")
    assert [each["object"] for each in answer["violations"]] == ["column public.product.poser_x"]
    assert [(each["table"], each["rewritten"]) for each in answer["data"]] == [("public.ifps_plu", True)]
    [warning] = [each for each in answer["warnings"] if "second connection" in each]
    assert new in warning and "column public.product.poser_x" in warning


# An app's own env.py, with the packaged one's text changed.
def own_env(repository: Repository, old: str, new: str) -> None:
    packaged = environments.site_packages(environments.base("rattail")) / "rattail" / "db" / "alembic"
    text = (packaged / "env.py").read_text()
    assert old in text
    repository.commit({
        "poser/db/alembic/env.py": text.replace(old, new),
        "poser/db/alembic/script.py.mako": (packaged / "script.py.mako").read_text(),
    })  # fmt: skip


def use_own_env(server: Server) -> None:
    section = server.alembic_section().replace("= rattail.db:alembic\n", "= poser.db:alembic\n")
    server.write_config(alembic=section)


POOLED = """
    import sqlalchemy as sa
    first, connection = engine.connect(), engine.connect()
    first.close()
"""
AFTERWARDS = """
        connection.close()
        with engine.begin() as after:
            after.execute(sa.text("create table if not exists poser_after ()"))
"""


def test_nor_may_it_write_on_one_that_was_open_before_which_is_free_again_afterwards(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    repository = Repository.of_poser(tmp_path / "poser.git")
    own_env(repository, "    connection = engine.connect()\n", POOLED)
    sql = "alter table product add poser_x integer"
    new = repository.add_revision("beside", upgrade=BESIDE.format(begin="engine.begin()", sql=sql))
    server = make_server(content="poser", repository=repository)
    server.deploy()
    use_own_env(server)
    before = everything(server.database)
    answer = upgrade(server)
    assert answer["failure"].startswith(f"Revision {new} (") and OWN_CONNECTION in answer["failure"], answer["failure"]
    assert everything(server.database) == before
    answer = upgrade(server, rehearsal="transaction")
    assert "cannot be rehearsed in a transaction" in answer["failure"], answer["failure"]
    assert everything(server.database) == before
    answer = upgrade(server, policy="warn")
    assert (answer["failure"], answer["state"]) == ("", "current")
    assert [each["object"] for each in answer["violations"]] == ["column public.product.poser_x"]
    env = server.source_dir / "poser/db/alembic/env.py"
    env.write_text(env.read_text().replace("        connection.close()\n", AFTERWARDS))
    read = BESIDE.format(begin="engine.begin()", sql="select count(*) from product")
    Repository(server.source_dir).add_revision("reads", upgrade=read, commit=False)
    answer = upgrade(server, allow_uncommitted_revisions=True)
    assert (answer["failure"], answer["violations"], answer["state"]) == ("", [], "current")
    assert server.database.tables("poser\\_after") == ["poser_after"]


HELD = """
    connection = engine.connect()
    held = engine.connect()
    transaction = held.begin()
    held.execute("select 1")
    connection.info["held"] = held
"""
HELD_AFTERWARDS = """
        goes_on = connection.info.get("goes on")
        connection.close()
        if goes_on:
            held.execute("create table poser_after ()")
            transaction.commit()
"""


def test_nor_in_a_transaction_that_was_open_before_which_can_go_on_afterwards(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    repository = Repository.of_poser(tmp_path / "poser.git")
    own_env(repository, "    connection = engine.connect()\n", HELD)
    env = repository.path / "poser/db/alembic/env.py"
    repository.commit({str(env.relative_to(repository.path)):
                       env.read_text().replace("        connection.close()\n", HELD_AFTERWARDS)})  # fmt: skip
    server = make_server(content="poser", repository=repository)
    server.deploy()
    use_own_env(server)
    shared = Shared(server, Upgrades(server))
    before = everything(server.database)
    find = 'held = op.get_bind().info["held"]\n'
    for write in ("", "held.get_transaction().rollback()\n", "held.get_transaction().commit()\n"):
        python = find + write + 'held.execute("drop table product cascade")'
        new, answer = shared.upgrade("beside", python=python)
        assert answer["failure"].startswith(f"Revision {new} (") and OWN_CONNECTION in answer["failure"], write
        assert everything(server.database) == before
    read = 'held.execute("select count(*) from product")\nop.get_bind().info["goes on"] = True'
    answer = shared.upgrade("reads", python=find + read)[1]
    shared.upgrades.close()
    assert (answer["failure"], answer["violations"]) == ("", [])
    assert server.database.tables("poser\\_after") == ["poser_after"]


COREPOS = "rattail_corepos.db:alembic/versions"


def test_the_real_revisions_of_an_integration_pass_and_its_tables_are_not_the_app_s(deployed: Server) -> None:
    deployed.write_config(alembic=deployed.alembic_section(COREPOS))
    answer = upgrade(deployed, integrations=["rattail_corepos"])
    assert (answer["failure"], answer["violations"], len(answer["applied"])) == ("", [], 18)
    assert "corepos_vendor" in deployed.database.tables()
    sql = "create table corepos_gadget (id integer); alter table corepos_vendor add column poser_note text"
    new = deployed.repository.add_revision("gadget", upgrade_sql=sql)
    deployed.git("pull", "--quiet")
    before = everything(deployed.database)
    answer = upgrade(deployed, integrations=["rattail_corepos"])
    assert answer["failure"].startswith(f"Revision {new} (")
    assert sorted(each["object"] for each in answer["violations"]) == [
        "column public.corepos_vendor.poser_note", "table public.corepos_gadget",
    ]  # fmt: skip
    assert everything(deployed.database) == before


def test_a_branch_that_grows_from_core_s_is_the_app_s_all_the_same(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    """It bears core's label, which runs along a branch, and is judged by where its file lies."""
    repository = Repository.of_poser(tmp_path / "poser.git")
    repository.commit({str(file.relative_to(repository.path)): None for file in repository.versions.glob("*.py")})
    new = repository.add_revision("crates", upgrade_sql=TRESPASS, down_revision=CORE_HEAD)
    server = make_server(content="core", repository=repository)
    server.deploy()
    before = everything(server.database)
    answer = upgrade(server)
    assert answer["failure"].startswith(f"Revision {new} ("), answer["failure"]
    objects = ["column public.product.color", "table public.gadget"]
    assert sorted(each["object"] for each in answer["violations"]) == objects
    assert everything(server.database) == before
    file = next(server.versions.glob(f"{new}*"))
    file.write_text(file.read_text().replace(TRESPASS, "create table poser_crate (id integer)"))
    answer = upgrade(server)
    assert (answer["failure"], answer["state"]) == ("", "current")
    assert server.database.heads() == {new}


ONE_BY_ONE = (
    "target_metadata=target_metadata)\n\n    try",
    "target_metadata=target_metadata,\n        transaction_per_migration=True)\n\n    try",
)


def test_what_an_earlier_attempt_committed_is_told_after_the_one_that_came_through(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    repository = Repository.of_poser(tmp_path / "poser.git")
    own_env(repository, *ONE_BY_ONE)
    first = repository.add_revision("first", upgrade_sql="insert into setting (name, value) values ('poser.a', '1')")
    second = repository.add_revision("second", upgrade_sql="alter table poser_widget add column crates integer")
    server = make_server(content="poser", repository=repository)
    server.deploy()
    use_own_env(server)
    with server.database.connect() as reader:
        reader.autocommit = False
        reader.cursor().execute("select count(*) from poser_widget")
        run = Upgrade(server, lock_timeout_seconds=1, lock_retries=20)
        retries = "application_name like '% retries (1) %' and datname = current_database()"
        deadline = time.monotonic() + 60
        while not server.sql(f"select 1 from pg_stat_activity where {retries}"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        reader.commit()
    answer = run.finish()
    assert (answer["failure"], answer["state"]) == ("", "current")
    assert answer["retries"] >= 1
    assert [(each["revision"], each["table"], each["inserted"]) for each in answer["data"]] == [
        (first, "public.setting", 1)
    ]
    assert [each["revision"] for each in answer["applied"]] == [first, second]
    assert all(each["seconds"] is not None for each in answer["applied"]), answer["applied"]


def test_where_each_revision_has_its_own_transaction_the_trespass_alone_is_undone(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    repository = Repository.of_poser(tmp_path / "poser.git")
    own_env(repository, *ONE_BY_ONE)
    good = repository.add_revision("crates", upgrade_sql="create table poser_crate (id integer)")
    bad = repository.add_revision("trespass", upgrade_sql=f"create table poser_late (); {TRESPASS}")
    last = repository.add_revision("last", upgrade_sql="create table poser_last ()")
    server = make_server(content="poser", repository=repository)
    server.deploy()
    use_own_env(server)
    answer = upgrade(server)
    assert answer["failure"].startswith(f"Revision {bad} ("), answer["failure"]
    assert "1 revision was applied and committed before it." in answer["failure"]
    assert [each["revision"] for each in answer["applied"]] == [good]
    assert server.database.heads() == {CORE_HEAD, good}
    assert server.database.tables("poser\\_%") == [
        "poser_crate",
        "poser_product",
        "poser_widget",
        "poser_widget_version",
    ]
    assert server.sql("select to_regclass('gadget')") == [(None,)] and last not in answer["failure"]
