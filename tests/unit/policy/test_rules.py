"""Whose names are whose, and what of the changes that were seen an extension must not have made."""

from __future__ import annotations

import pytest
from ansible.module_utils.rattail_alembic.policy import prefixes, rules
from ansible.module_utils.rattail_alembic.policy.prefixes import Prefixes
from ansible.module_utils.rattail_alembic.postgres.catalog_changes import ALTERED, CREATED, DROPPED, Change, Owner
from ansible.module_utils.rattail_alembic.postgres.row_counts import Written, written_between

POSER = Prefixes(("poser",))


@pytest.mark.parametrize(
    ("schema", "name", "prefixes", "own"),
    [
        ("public", "poser", POSER, True),
        ("public", "poser_widget", POSER, True),
        ("public", "poser_widget_version", POSER, True),
        ("public", "batch_poser", POSER, True),
        ("public", "batch_poser_import_row", POSER, True),
        ("public", "poser_", POSER, True),
        ("public", "poserwidget", POSER, False),
        ("public", "Poser_widget", POSER, False),
        ("public", "my_poser_widget", POSER, False),
        ("public", "batch_poserwidget", POSER, False),
        ("public", "batch_", POSER, False),
        ("public", "batch", POSER, False),
        ("public", "product", POSER, False),
        ("public", "", POSER, False),
        ("poser", "anything", POSER, True),
        ("poser_stage", "anything", POSER, True),
        ("poserstage", "anything", POSER, False),
        ("product", "poser_widget", POSER, True),
        # several prefixes, and those of others
        ("public", "demo_x", Prefixes(("poser", "demo")), True),
        ("public", "poser_mobile_x", Prefixes(("poser",), ("poser_mobile",)), False),
        ("public", "poser_mobile", Prefixes(("poser",), ("poser_mobile",)), False),
        ("public", "batch_poser_mobile_x", Prefixes(("poser",), ("poser_mobile",)), False),
        ("public", "poser_mobility", Prefixes(("poser",), ("poser_mobile",)), True),
        ("public", "poser_mobile_x", Prefixes(("poser_mobile",), ("poser",)), True),
        ("public", "poser_x", Prefixes(("poser_mobile",), ("poser",)), False),
        ("public", "poser_x", Prefixes(("poser",), ("poser",)), True),
        ("public", "p_x", Prefixes(("p",)), True),
        # this role's own, whoever claims it
        ("rattail_schema_ext", "poser_x", POSER, False),
        ("rattail_schema_ext", "run", Prefixes(("rattail",)), False),
        ("public", "rattail_schema_ext_x", Prefixes(("rattail_schema_ext", "rattail_schema")), False),
        ("public", "rattail_schema_extra", Prefixes(("rattail",)), True),
        # core's, whatever the prefix
        ("public", "product_cost", Prefixes(("product",)), True),
        ("public", "product_cost", Prefixes(("product",), reserved=frozenset({"product", "product_cost"})), False),
        ("public", "product", Prefixes(("product",), reserved=frozenset({"product", "product_cost"})), False),
        ("public", "product_version", Prefixes(("product",), reserved=frozenset({"product"})), False),
        ("public", "product_of_ours", Prefixes(("product",), reserved=frozenset({"product", "product_cost"})), True),
        # a version table of core's, where somebody names it
        ("public", "product_version", Prefixes(("product_version",), reserved=frozenset({"product"})), True),
        ("public", "product_version", Prefixes(("product_v",), reserved=frozenset({"product"})), False),
        ("public", "product_version", Prefixes(("product_version",), reserved=frozenset({"product_version"})), False),
        ("public", "product_version", Prefixes(("product",), ("product_version",), frozenset({"product"})), False),
        # schemas that are searched before core's
        ("poser", "product", Prefixes(("poser",), searched=frozenset({"poser", "public"})), False),
        ("poser", "poser_x", Prefixes(("poser",), searched=frozenset({"poser", "public"})), True),
        ("poser_x", "product", Prefixes(("poser",), searched=frozenset({"poser", "public"})), True),
        ("public", "poser_x", Prefixes(("poser",), searched=frozenset({"poser", "public"})), True),
        ("", "poser", Prefixes(("poser",), searched=frozenset({"poser", "public"})), True),
        # nothing allows everything
        ("public", "_x", Prefixes(("",)), False),
        ("public", "batch_x", Prefixes(("",)), False),
        ("public", "product", Prefixes(()), False),
    ],
)
def test_whose_a_name_is(schema: str, name: str, prefixes: Prefixes, own: bool) -> None:
    assert prefixes.owns(schema, name) is own


def change(action: str, kind: str, *owners: Owner, table: str = "", identity: str = "it", was: str = "") -> Change:
    return Change(action, kind, table, identity, owners, was, (0, 0, 0, 0), list, 0)


def root(kind: str, name: str, schema: str = "public") -> Owner:
    return Owner(kind, schema, name)


PRODUCT, WIDGET = root("table", "product"), root("table", "poser_widget")
NAMED = (
    "table",
    "foreign table",
    "view",
    "materialized view",
    "sequence",
    "type",
    "domain",
    "enum",
    "function",
    "procedure",
    "aggregate",
    "collation",
    "conversion",
    "operator",
    "operator class",
    "operator family",
    "text search configuration",
    "text search dictionary",
)
PARTS = ("column", "default", "index", "constraint", "trigger", "rule", "policy", "statistics", "sequence", "comment",
         "grant", "security label")  # fmt: skip
EVERYBODYS = (
    "extension",
    "language",
    "access method",
    "cast",
    "transform",
    "event trigger",
    "publication",
    "subscription",
    "foreign data wrapper",
    "setting",
    "database",
    "role",
    "role membership",
    "tablespace",
    "parameter privilege",
)


@pytest.mark.parametrize("action", [CREATED, ALTERED, DROPPED])
@pytest.mark.parametrize("kind", NAMED)
def test_what_stands_alone_is_judged_by_its_name(action: str, kind: str) -> None:
    assert rules.violations("r", [change(action, kind, root(kind, "poser_x"))], POSER) == []
    assert rules.violations("r", [change(action, kind, root(kind, "x", "poser"))], POSER) == []
    (found,) = rules.violations("r", [change(action, kind, root(kind, "x"))], POSER)
    assert {**found, "rule": ""} == {"revision": "r", "action": action, "kind": kind, "object": "it", "rule": ""}
    assert "poser_" in found["rule"]
    assert ("rename it" in found["rule"]) is (action == CREATED)


@pytest.mark.parametrize("action", [CREATED, ALTERED, DROPPED])
@pytest.mark.parametrize("kind", PARTS)
def test_parts_are_judged_by_their_table(action: str, kind: str) -> None:
    own = change(action, kind, WIDGET, table="public.poser_widget", identity="it product_name")
    foreign = change(action, kind, PRODUCT, table="public.product", identity="it poser_name")
    assert rules.violations("r", [own], POSER) == []
    (found,) = rules.violations("r", [foreign], POSER)
    assert "table public.product" in found["rule"] and "foreign key" in found["rule"]


@pytest.mark.parametrize("action", [CREATED, ALTERED, DROPPED])
@pytest.mark.parametrize("kind", EVERYBODYS)
def test_what_is_the_whole_database_s_is_nobody_s_whatever_its_name(action: str, kind: str) -> None:
    (found,) = rules.violations("r", [change(action, kind, root(kind, "poser_x", ""))], POSER)
    assert kind in found["rule"].lower() and "database" in found["rule"]


@pytest.mark.parametrize(
    ("changed", "allowed"),
    [
        # a rename: own before and after
        (
            change(ALTERED, "table", root("table", "poser_a"), root("table", "poser_b"), was="table public.poser_a"),
            True,
        ),
        (
            change(ALTERED, "table", root("table", "product"), root("table", "poser_b"), was="table public.product"),
            False,
        ),
        (
            change(ALTERED, "table", root("table", "poser_a"), root("table", "product"), was="table public.poser_a"),
            False,
        ),
        # a sequence that is given to a column of one's own
        (change(ALTERED, "sequence", root("sequence", "product_seq"), WIDGET), False),
        (change(ALTERED, "sequence", WIDGET, PRODUCT), False),
        # inheritance concerns both tables
        (change(CREATED, "inheritance", WIDGET, PRODUCT), False),
        (change(CREATED, "inheritance", PRODUCT, WIDGET), False),
        (change(CREATED, "inheritance", WIDGET, root("table", "poser_base")), True),
        # schemas, and what is about them
        (change(CREATED, "schema", root("schema", "poser", "")), True),
        (change(CREATED, "schema", root("schema", "depot", "")), False),
        (change(ALTERED, "grant", root("schema", "public", "")), False),
        (change(ALTERED, "grant", root("schema", "poser", "")), True),
        (change(ALTERED, "grant", root("database", "poser", "")), False),
        (change(CREATED, "comment", root("extension", "poser", "")), False),
        # a domain's constraint
        (change(CREATED, "constraint", root("domain", "poser_d"), table="public.poser_d"), True),
        (change(CREATED, "constraint", root("domain", "product_d"), table="public.product_d"), False),
        # rights on what will be made: only where nobody else makes anything
        (change(CREATED, "default privileges", root("default privileges", "poser", "")), False),
        (change(CREATED, "default privileges", root("default privileges", "rattail", "public")), False),
        (change(CREATED, "default privileges", root("default privileges", "rattail", "poser")), True),
        (change(CREATED, "foreign server", root("foreign server", "poser_far", "")), True),
        (change(CREATED, "user mapping", root("foreign server", "far", "")), False),
        # nothing is known of it
        (change(CREATED, "gadget", root("gadget", "poser_x")), False),
    ],
)
def test_special_cases(changed: Change, allowed: bool) -> None:
    assert (rules.violations("r", [changed], POSER) == []) is allowed


def test_a_violation_says_what_was_done_and_what_may_be_done_instead() -> None:
    renamed = change(ALTERED, "table", PRODUCT, root("table", "poser_x"), identity="table public.poser_x",
                     was="table public.product")  # fmt: skip
    (found,) = rules.violations("abc123", [renamed], POSER)
    assert found == {
        "revision": "abc123",
        "action": "altered",
        "kind": "table",
        "object": "table public.poser_x (was table public.product)",
        "rule": found["rule"],
    }
    assert found["rule"].endswith(".") and "poser_…" in found["rule"]


def test_of_several_that_are_not_its_own_the_first_is_named() -> None:
    (found,) = rules.violations("r", [change(CREATED, "inheritance", PRODUCT, root("table", "customer"))], POSER)
    assert found["rule"].startswith("table public.product is not this extension's")


@pytest.mark.parametrize(
    ("package", "settings", "expected"),
    [
        ("rattail_corepos", {}, ("corepos",)),
        ("rattail-corepos", {}, ("corepos",)),
        ("rattail_corepos.db:alembic/versions", {}, ("corepos",)),
        ("rattail_tutorial", {}, ("rattail_tutorial",)),
        ("sideshow", {}, ("sideshow", "pendingcustomerstatus", "pendingproductstatus")),
        # not known: its name, and what is left of it
        ("poser", {}, ("poser",)),
        ("rattail_foo", {}, ("foo", "rattail_foo")),
        ("wutta-foo-bar", {}, ("foo_bar", "wutta_foo_bar")),
        ("Rattail-Foo", {}, ("foo", "rattail_foo")),
        ("rattail_", {}, ("rattail_",)),
        ("", {}, ()),
        # in a package that others share
        ("acme.poser", {}, ("poser", "acme_poser", "acme")),
        ("acme.rattail_till.db:alembic/versions", {}, ("till", "rattail_till", "acme_rattail_till", "acme")),
        ("acme.poser.db", {"acme.poser": ["x"], "acme": ["y"]}, ("x",)),
        ("acme.poser.db", {"acme.till": ["x"], "acme": ["y"]}, ("y",)),
        ("rattail_corepos.more", {}, ("corepos",)),
        # the user knows better
        ("rattail_corepos", {"rattail-corepos": ["cp_", "corepos"]}, ("cp", "corepos")),
        ("rattail_corepos", {"rattail_harvest": ["x"]}, ("corepos",)),
        ("rattail_harvest", {"rattail_corepos": ["x"]}, ("harvest",)),
        ("poser", {"poser": ["", "_", " a_ ", "a"]}, ("a",)),
    ],
)
def test_which_prefixes_a_package_has(package: str, settings: dict[str, list[str]], expected: tuple[str, ...]) -> None:
    assert prefixes.of_package(package, settings) == expected


def test_what_is_known_of_packages_can_be_used_as_it_is() -> None:
    for package, known in prefixes.KNOWN.items():
        assert prefixes.of_package(package) == prefixes.clean(known) == known


def test_rows_of_other_tables_are_reported_by_table() -> None:
    written = [
        Written("public", "product", 1, 2, 3),
        Written("public", "poser_widget", 9, 9, 9),
        Written("poser", "x", 9, 9, 9),
        Written("public", "alembic_version", 1, 1, 0),
        Written("depot", "shelf", 0, 0, 1),
        Written("public", "aisle", 1, 0, 0),
    ]
    rewritten = [PRODUCT, root("table", "customer"), WIDGET]
    assert rules.data_report(written, rewritten, POSER) == [
        {"table": "depot.shelf", "inserted": 0, "updated": 0, "deleted": 1, "rewritten": False},
        {"table": "public.aisle", "inserted": 1, "updated": 0, "deleted": 0, "rewritten": False},
        {"table": "public.customer", "inserted": 0, "updated": 0, "deleted": 0, "rewritten": True},
        {"table": "public.product", "inserted": 1, "updated": 2, "deleted": 3, "rewritten": True},
    ]
    assert rules.data_report([], [], POSER) == []


def test_counters_that_a_commit_set_back_count_from_there() -> None:
    before = {1: Written("public", "a", 10, 0, 0), 2: Written("public", "b", 1, 1, 1)}
    after = {1: Written("public", "a", 4, 0, 0), 2: Written("public", "b", 1, 3, 1), 3: Written("public", "c", 0, 0, 1)}
    assert written_between(before, after) == [
        Written("public", "a", 4, 0, 0),
        Written("public", "b", 0, 2, 0),
        Written("public", "c", 0, 0, 1),
    ]


SEARCHED = Prefixes(("poser",), searched=frozenset({"poser", "public"}))


@pytest.mark.parametrize("kind", NAMED)
def test_in_a_schema_that_is_searched_before_core_s_a_name_needs_its_prefix(kind: str) -> None:
    assert rules.violations("r", [change(CREATED, kind, root(kind, "poser_x", "poser"))], SEARCHED) == []
    (found,) = rules.violations("r", [change(CREATED, kind, root(kind, "x", "poser"))], SEARCHED)
    assert "search_path" in found["rule"] and "poser_" in found["rule"]
    (found,) = rules.violations("r", [change(CREATED, kind, root(kind, "x"))], SEARCHED)
    assert "search_path" not in found["rule"]
    renamed = change(ALTERED, kind, root(kind, "poser_x"), root(kind, "poser"), was="it before")
    assert rules.violations("r", [renamed], SEARCHED) == []


def test_the_schema_itself_may_be_made_but_not_take_its_place_with_what_is_in_it() -> None:
    schema, privileges = root("schema", "poser", ""), root("default privileges", "poser", "poser")
    assert rules.violations("r", [change(CREATED, "schema", schema)], SEARCHED) == []
    assert rules.violations("r", [change(CREATED, "default privileges", privileges)], SEARCHED) == []
    renamed = change(ALTERED, "schema", root("schema", "poser_x", ""), schema, was="schema poser_x")
    (found,) = rules.violations("r", [renamed], SEARCHED)
    assert "search_path" in found["rule"]
    assert rules.violations("r", [renamed], POSER) == []
