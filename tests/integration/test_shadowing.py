"""Schemas in which the app's sessions look for core's tables: there a schema's own name does not make a table own."""

from __future__ import annotations

from typing import Any

import pytest
from support.catalogs import everything
from support.server import Server
from support.upgrades import upgrade

CORE_HEAD = "c2ef84c99c93"


def run(server: Server, name: str, sql: str, **options: Any) -> tuple[str, dict[str, Any]]:
    """A revision's id, and what came of an upgrade to it; the database user's name is a prefix of the app's."""
    new = server.repository.add_revision(name, upgrade_sql=sql.format(user=server.database.user))
    server.git("pull", "--quiet")
    return new, upgrade(server, prefixes=["poser", server.database.user], **options)


# The database user is called like the app, and search_path is PostgreSQL's own: "$user", public
SHADOWS = {
    "a table": ("create table {user}.product (uuid text)", ["created table {user}.product"]),
    "a view": ("create view {user}.product as select 1 as n", ["created view {user}.product"]),
    "a function": (
        "create function {user}.total(integer) returns integer language sql as 'select 1'",
        ["created function {user}.total(integer)"],
    ),
    "a type": ("create type {user}.color as enum ('red')", ["created enum {user}.color"]),
    "a table by another path": (
        "set search_path = {user}; create table product (uuid text); reset search_path",
        ["created table {user}.product"],
    ),
    "a table that is moved there": (
        "create table public.{user}_x (); alter table public.{user}_x set schema {user};"
        " alter table {user}.{user}_x rename to department",
        ["created table {user}.department"],
    ),
    "a copy of the version table": (
        "create table {user}.gone as select * from alembic_version", ["created table {user}.gone"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", SHADOWS)
def test_what_would_be_found_in_the_place_of_core_s_is_refused(cloning: Server, what: str) -> None:
    before = everything(cloning.database)
    user = cloning.database.user
    new, answer = run(cloning, what, "create schema {user};" + SHADOWS[what][0])
    assert answer["failure"].startswith(f"Revision {new} (") and "against the policy" in answer["failure"]
    found = [f"{each['action']} {each['object']}" for each in answer["violations"]]
    assert found == [each.format(user=user) for each in SHADOWS[what][1]]
    assert f"search_path finds what is in schema {user} in the place of core's" in answer["violations"][0]["rule"]
    assert everything(cloning.database) == before


def test_in_such_a_schema_names_with_the_prefix_are_its_own(cloning: Server) -> None:
    new, answer = run(
        cloning,
        "kitchen",
        "create schema {user}; create table {user}.{user}_pot (id serial primary key);"
        " create type {user}.poser_taste as enum ('sweet'); insert into {user}.{user}_pot default values;"
        " alter default privileges in schema {user} grant select on tables to guarded",
        policy_data="refuse",
    )
    assert (answer["failure"], answer["violations"], answer["data"]) == ("", [], [])
    assert cloning.database.heads() == {CORE_HEAD, new}


def test_a_schema_that_no_search_path_leads_through_is_own_by_its_name(cloning: Server) -> None:
    sql = "create schema poser; create table poser.product (id integer); create schema {user}_x;"
    new, answer = run(cloning, "apart", sql + " create table {user}_x.product (id integer)")
    assert (answer["failure"], answer["violations"]) == ("", [])
    assert cloning.database.heads() == {CORE_HEAD, new}
    before = everything(cloning.database)
    _, answer = run(cloning, "renamed", "alter schema {user}_x rename to {user}")
    [found] = answer["violations"]
    assert found["object"] == f"schema {cloning.database.user} (was schema {cloning.database.user}_x)"
    assert f"search_path finds what is in schema {cloning.database.user}" in found["rule"]
    assert everything(cloning.database) == before


@pytest.mark.parametrize("how", ["role", "database", "url"])
def test_whatever_sets_the_search_path(cloning: Server, how: str) -> None:
    user, name = cloning.database.user, cloning.database.name
    if how == "url":
        url = f"{cloning.database.url}&options=-csearch_path%%3Dposer,public"
        cloning.write_config(url=url, alembic=cloning.alembic_section())
    else:
        which = f"role {user} in database {name}" if how == "role" else f"database {name}"
        cloning.database.sql(f"alter {which} set search_path = poser, public", user="postgres")
    before = everything(cloning.database)
    _, answer = run(cloning, how, "create schema poser; create table poser.product (id integer)")
    assert [each["object"] for each in answer["violations"]] == ["table poser.product"], answer["failure"]
    assert everything(cloning.database) == before


def test_behind_core_s_own_schema_nothing_is_shadowed(cloning: Server) -> None:
    cloning.sql(
        f'alter role {cloning.database.user} in database "{cloning.database.name}" set search_path = public, poser'
    )
    _, answer = run(cloning, "behind", "create schema poser; create table poser.pot (id integer)")
    assert (answer["failure"], answer["violations"]) == ("", [])


@pytest.mark.parametrize("which", ["role {user}", "role {user} in database {name}"])
def test_a_revision_does_not_set_it_for_the_sessions_to_come(cloning: Server, which: str) -> None:
    before = everything(cloning.database)
    which = which.format(user="{user}", name=cloning.database.name)
    _, answer = run(cloning, "sets", f"alter {which} set search_path = poser_x, public")
    assert [each["kind"] for each in answer["violations"]] == ["setting"], answer["failure"]
    assert everything(cloning.database) == before


def test_nor_for_the_revisions_to_come(cloning: Server) -> None:
    cloning.repository.add_revision("sets", upgrade_sql="create schema poser_x; set search_path = poser_x, public")
    _, answer = run(cloning, "next", "create table poser_pot (id integer)")
    assert (answer["failure"], answer["violations"]) == ("", [])
    assert cloning.database.tables("poser\\_pot") == ["poser_pot"]
