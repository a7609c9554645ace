"""Two looks, made up: what no real database shows, and must not be missed all the same."""

from __future__ import annotations

import pytest
from ansible.module_utils.rattail_alembic.postgres import catalog_changes
from ansible.module_utils.rattail_alembic.postgres.catalog import Catalog, Key, Row
from ansible.module_utils.rattail_alembic.postgres.catalog_sources import (
    CLASS,
    CONSTRAINT,
    DEPEND,
    EXTENSION,
    FUNCTION,
    INHERITS,
    NAMESPACE,
    PUBLISHED,
    TRIGGER,
    TYPE,
)

PUBLIC: dict[Key, Row] = {(NAMESPACE, 2200, 0, 0): Row("schema", "public", 0, None, "", "", 0, "")}
COLUMN: Key = (1249, 40_000, 1, 0)
POLICY: Key = (3256, 50_000, 0, 0)
COMMENT: Key = (2609, CLASS, 40_000, 0)
TABLE: Key = (CLASS, 40_000, 0, 0)


def row(
    kind: str,
    name: str = "",
    parent: Key | None = None,
    facts: str = "",
    acl: str = "",
    *,
    filenode: int = 0,
    extra: str = "",
) -> Row:
    return Row(kind, name, 2200 if kind == "table" else 0, parent, facts, acl, filenode, extra)


def found(before: dict[Key, Row], after: dict[Key, Row]) -> list[str]:
    changes = catalog_changes.difference(Catalog({**PUBLIC, **before}), Catalog({**PUBLIC, **after}))
    return [f"{change}: {', '.join(map(str, change.owners))}" for change in changes]


def test_a_part_of_something_that_was_not_found_is_reported() -> None:
    assert found({}, {POLICY: row("policy", "p", TABLE)}) == ["created policy p: policy p"]
    assert found({POLICY: row("policy", "p", TABLE)}, {}) == ["dropped policy p: policy p"]


def test_what_is_said_of_something_temporary_is_nobodys() -> None:
    assert found({}, {COMMENT: row("comment", parent=TABLE, facts="x")}) == []


def test_parts_go_with_their_whole_and_nothing_else_does() -> None:
    whole = {TABLE: row("table", "poser_x"), POLICY: row("policy", "p", TABLE), COMMENT: row("comment", "", TABLE)}
    assert found({}, whole) == ["created table public.poser_x: table public.poser_x"]
    assert found(whole, {}) == ["dropped table public.poser_x: table public.poser_x"]
    changed = {**whole, POLICY: row("policy", "p", TABLE, "other")}
    assert found(whole, changed) == ["altered policy p on public.poser_x: table public.poser_x"]


def test_what_moves_to_another_whole_concerns_both() -> None:
    other: Key = (CLASS, 40_001, 0, 0)
    tables = {TABLE: row("table", "product"), other: row("table", "poser_x")}
    assert found({**tables, POLICY: row("policy", "p", TABLE)}, {**tables, POLICY: row("policy", "p", other)}) == [
        "altered policy p on public.poser_x (was policy p on public.product):"
        " table public.product, table public.poser_x"
    ]


def test_rights_are_a_change_of_their_own() -> None:
    before, after = row("table", "product"), row("table", "product", facts="x", acl="{}")
    assert found({TABLE: before}, {TABLE: after}) == [
        "altered table public.product: table public.product",
        "altered grant on table public.product: table public.product",
    ]


def test_rights_that_stay_are_none_of_it() -> None:
    rights = "{a,b}"
    before, after = row("table", "x", acl=rights), row("table", "x", facts="y", acl=",".join(rights.split(",")))
    assert found({TABLE: before}, {TABLE: after}) == ["altered table public.x: table public.x"]


def test_a_change_says_which_table_it_is_a_part_of() -> None:
    other: Key = (CLASS, 39_000, 0, 0)
    before = Catalog({**PUBLIC, TABLE: row("table", "x")})
    after = Catalog({**before, POLICY: row("policy", "p", TABLE), other: row("table", "y"),
                     COLUMN: row("column", "c", TABLE)})  # fmt: skip
    assert [(change.kind, change.table) for change in catalog_changes.difference(before, after)] == [
        ("column", "public.x"),
        ("table", ""),
        ("policy", "public.x"),
    ]


INDEX, ANOTHER = (CLASS, 41_000, 0, 0), (CLASS, 42_000, 0, 0)


def test_what_postgresql_makes_anew_is_altered_and_what_a_revision_does_is_not() -> None:
    table = {TABLE: row("table", "x")}
    assert found({**table, INDEX: row("index", "i", TABLE)}, {**table, ANOTHER: row("index", "i", TABLE)}) == [
        "altered index i on public.x: table public.x"
    ]
    again: Key = (POLICY[0], 50_001, 0, 0)
    assert found({**table, POLICY: row("policy", "p", TABLE)}, {**table, again: row("policy", "p", TABLE)}) == [
        "created policy p on public.x: table public.x",
        "dropped policy p on public.x: table public.x",
    ]
    indexes = {INDEX: row("index", "i", TABLE), ANOTHER: row("index", "j", TABLE)}
    assert found({**table, **indexes}, {**table, ANOTHER: row("index", "i", TABLE, "renamed")}) == [
        "altered index i on public.x (was index j on public.x): table public.x",
        "dropped index i on public.x: table public.x",
    ]


def test_one_of_the_same_name_does_not_hide_what_was_altered() -> None:
    """Statistics of one table can have the same name in two schemas."""
    first, second, third = ((3381, oid, 0, 0) for oid in (51_000, 52_000, 53_000))
    one, other = row("statistics", "s", TABLE), row("statistics", "s", TABLE, "other")
    table = {TABLE: row("table", "x")}
    assert found({**table, first: one, second: one}, {**table, first: other, third: one}) == [
        "altered statistics s on public.x: table public.x",
        "altered statistics s on public.x: table public.x",
    ]


def test_what_says_something_of_a_part_stays_where_its_part_only_moves() -> None:
    """What was there before has not come with the new table that it is a part of now."""
    sequence: Key = (CLASS, 39_000, 0, 0)
    about: Key = (2609, CLASS, 39_000, 0)
    before = {sequence: row("sequence", "s"), about: row("comment", "", sequence)}
    after = {TABLE: row("table", "x"), sequence: row("sequence", "s", TABLE)}
    assert found(before, after) == [
        "created table public.x: table public.x",
        "altered sequence s: sequence s, table public.x",
        "dropped comment on sequence s: sequence s",
    ]


def test_an_inheritance_from_or_by_something_temporary_is_nobodys() -> None:
    inherits: Key = (INHERITS, TABLE[1], 49_000, 0)
    table = {TABLE: row("table", "x")}
    assert found(table, {**table, inherits: row("inheritance", "", TABLE)}) == []


EXTENDED, HELD, HOLD = (EXTENSION, 60_000, 0, 0), (FUNCTION, 61_000, 0, 0), (DEPEND, FUNCTION, 61_000, 60_000)
HOLDS = {
    EXTENDED: row("extension", "e"),
    HELD: row("function", "f"),
    HOLD: row("", parent=EXTENDED, extra="e"),
}


def test_an_extension_comes_and_goes_with_what_it_holds() -> None:
    assert found({}, HOLDS) == ["created extension e: extension e"]
    assert found(HOLDS, {}) == ["dropped extension e: extension e"]
    update = {**HOLDS, (FUNCTION, 62_000, 0, 0): row("function", "g"),
              (DEPEND, FUNCTION, 62_000, 60_000): row("", parent=EXTENDED, extra="e"),
              (2609, FUNCTION, 61_000, 0): row("comment", "", HELD)}  # fmt: skip
    assert found(HOLDS, update) == ["altered extension e: extension e"]


def test_what_only_depends_on_an_extension_is_not_held_by_it() -> None:
    assert found({}, {**HOLDS, HOLD: row("", parent=EXTENDED, extra="x")}) == [
        "created function f: function f",
        "created extension e: extension e",
    ]


def test_what_leaves_an_extension_and_stays_alters_it() -> None:
    alone = {EXTENDED: HOLDS[EXTENDED], HELD: HOLDS[HELD]}
    held = {**alone, HOLD: HOLDS[HOLD]}
    assert found(held, alone) == ["altered extension e: extension e"]
    assert found(held, {EXTENDED: HOLDS[EXTENDED]}) == ["dropped function f: function f"]


def test_what_goes_with_another_alters_nothing_unless_it_was_made_for_it() -> None:
    constraint, trigger = (CONSTRAINT, 70_000, 0, 0), (TRIGGER, 71_000, 0, 0)
    publication, published = (6104, 72_000, 0, 0), (PUBLISHED, 73_000, 0, 0)
    before = {TABLE: row("table", "x"), INDEX: row("table", "y"), publication: row("publication", "p")}
    key = {constraint: row("constraint", "k", INDEX, extra="40000"), trigger: row("", "", TABLE, extra="70000")}
    assert found(before, {**before, **key}) == ["created constraint k on public.y: table public.y"]
    assert found({**before, **key}, before) == ["dropped constraint k on public.y: table public.y"]
    new = {ANOTHER: row("table", "z"), published: row("", "", publication, extra="42000")}
    assert found(before, {**before, **new}) == [
        "created table public.z: table public.z",
        "altered publication p: publication p",
    ]
    assert found({**before, **new}, before) == ["dropped table public.z: table public.z"]


def test_an_owner_is_what_something_is_a_part_of_in_the_end() -> None:
    of_policy, of_nothing = (2609, 3256, 50_000, 0), (2609, CLASS, 1, 0)
    rows: dict[Key, Row] = {TABLE: row("table", "x"), POLICY: row("policy", "p", TABLE)}
    rows |= {of_policy: row("comment", "", POLICY), of_nothing: row("comment", "", INDEX)}
    owners = [str(catalog_changes.owner_of(Catalog({**PUBLIC, **rows}), key)) for key in (of_policy, of_nothing)]
    assert owners == ["table public.x", "comment "]


REPLACED = [
    # before, now; what another session saw before and now; whether it is ours
    (10, 20, None, True),
    (20, 10, None, True),
    (10, 10, None, False),
    (10, 20, (10, 20), False),
    (30, 20, (30, 20), False),
    (10, 15, (10, 20), True),
    (10, 25, (10, 20), True),
    (10, 20, (10, 10), True),
]


@pytest.mark.parametrize(("before", "now", "others", "ours"), REPLACED)
def test_whose_replacement_of_all_rows_it_is(before: int, now: int, others: tuple[int, int] | None, ours: bool) -> None:
    def look(number: int, facts: str = "") -> Catalog:
        return Catalog({**PUBLIC, TABLE: row("table", "x", facts=facts, filenode=1_000 * number)})

    looks = (look(others[0]), look(others[1])) if others else None
    owners = catalog_changes.rewritten(look(before), look(now, "other"), looks)
    assert [owner.name for owner in owners] == ["x"] * ours


def test_each_is_told_by_what_says_more_about_it_and_by_nothing_else() -> None:
    """Three enums, of which two get a label here and the one between them by another session."""
    enums: dict[Key, Row] = {(TYPE, oid, 0, 0): row("enum", f"e{oid}") for oid in (1_000, 2_000, 3_000)}
    labels: dict[Key, Row] = {(3501, each[1] + 1, 0, 0): row("", "", each) for each in enums}
    before = Catalog({**PUBLIC, **enums})
    after = Catalog({**before, **labels})
    others_after = Catalog({**before, (3501, 2_001, 0, 0): labels[3501, 2_001, 0, 0]})
    changes = catalog_changes.difference(before, after)
    ours, others = catalog_changes.made_by_others(changes, after, before, others_after)
    assert [str(each) for each in ours] == ["altered enum e1000", "altered enum e3000"]
    assert [str(each) for each in others] == ["altered enum e2000"]


def undo(before: dict[Key, Row], after: dict[Key, Row]) -> list[str]:
    changes = catalog_changes.difference(Catalog({**PUBLIC, **before}), Catalog({**PUBLIC, **after}))
    statements: list[str] = catalog_changes.undo_sql(changes)
    return statements


def test_only_what_was_created_is_undone() -> None:
    before = {TABLE: row("table", "x"), INDEX: row("table", "y"), POLICY: row("policy", "p", TABLE)}
    assert undo(before, {TABLE: row("table", "x", facts="other", acl="{}")}) == []


def test_it_is_undone_in_an_order_that_works() -> None:
    def key(oid: int) -> tuple[Key, Row]:
        # to an older table, whose index may be newer: REINDEX CONCURRENTLY gives it another oid
        return (CONSTRAINT, oid, 0, 0), row("constraint", f"k{oid}", TABLE, extra="39000")

    created = {
        (NAMESPACE, 49_000, 0, 0): row("schema", "s"),
        (CLASS, 41_000, 0, 0): row("view", "v"),
        (CONSTRAINT, 45_000, 0, 0): row("constraint", "c", TABLE),
        (CLASS, 48_000, 0, 0): row("index", "i", TABLE),
        (TRIGGER, 46_000, 0, 0): row("trigger", "t", TABLE),
        COLUMN: row("column", "d", TABLE),
        (CLASS, 44_000, 0, 0): row("table", "y"),
        **dict(map(key, (43_000, 47_000))),
    }
    assert undo({TABLE: row("table", "x")}, {TABLE: row("table", "x"), **created}) == [
        'ALTER TABLE "public"."x" DROP CONSTRAINT "k47000";',
        'DROP TRIGGER "t" ON "public"."x";',
        'ALTER TABLE "public"."x" DROP CONSTRAINT "k43000";',
        'DROP VIEW "v";',
        'DROP INDEX "i";',
        'ALTER TABLE "public"."x" DROP CONSTRAINT "c";',
        'ALTER TABLE "public"."x" DROP COLUMN "d";',
        'DROP TABLE "public"."y";',
        'DROP SCHEMA "s";',
    ]


def test_foreign_keys_to_newer_tables_are_dropped_first_and_others_go_with_their_table() -> None:
    tables: dict[Key, Row] = {(CLASS, oid, 0, 0): row("table", f"t{oid}") for oid in (39_000, 40_000, 41_000, 42_000)}
    keys: dict[Key, Row] = {
        (CONSTRAINT, number, 0, 0): row("constraint", f"k{number}", TABLE, extra=f"{number}000")
        for number in (39, 40, 41, 42)
    }
    keys[CONSTRAINT, 43, 0, 0] = row("constraint", "k43", (CLASS, 41_000, 0, 0), extra="42000")
    before = {key: each for key, each in tables.items() if key[1] < TABLE[1]}
    assert undo(before, {**tables, **keys}) == [
        'ALTER TABLE "public"."t41000" DROP CONSTRAINT "k43";',
        'ALTER TABLE "public"."t40000" DROP CONSTRAINT "k42";',
        'ALTER TABLE "public"."t40000" DROP CONSTRAINT "k41";',
        'DROP TABLE "public"."t42000";',
        'DROP TABLE "public"."t41000";',
        'DROP TABLE "public"."t40000";',
    ]


def test_the_constraint_of_a_trigger_goes_with_it() -> None:
    table = {TABLE: row("table", "x")}
    both = {(CONSTRAINT, 45_000, 0, 0): row("constraint", "c", TABLE, extra="trigger"),
            (TRIGGER, 46_000, 0, 0): row("trigger", "c", TABLE)}  # fmt: skip
    assert undo(table, {**table, **both}) == ['DROP TRIGGER "c" ON "public"."x";']


def test_a_domain_is_altered_as_a_domain() -> None:
    domain: dict[Key, Row] = {(TYPE, 40_000, 0, 0): row("domain", "d")}
    check: dict[Key, Row] = {(CONSTRAINT, 45_000, 0, 0): row("constraint", "c", (TYPE, 40_000, 0, 0))}
    assert undo(domain, {**domain, **check}) == ['ALTER DOMAIN "d" DROP CONSTRAINT "c";']


def test_a_comment_is_undone_where_there_is_a_statement_for_it() -> None:
    domain, database = (TYPE, 40_000, 0, 0), (1262, 1, 0, 0)
    check: Key = (CONSTRAINT, 45_000, 0, 0)
    there = {domain: row("domain", "d"), check: row("constraint", "c", domain), database: row("database", "b")}
    comments = {(2609, key[0], key[1], 0): row("comment", "", key) for key in (check, database)}
    assert undo(there, {**there, **comments}) == ['COMMENT ON CONSTRAINT "c" ON DOMAIN "d" IS NULL;']
