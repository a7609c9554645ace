"""Two looks, made up: what no real database shows, and must not be missed all the same."""

from __future__ import annotations

from ansible.module_utils.rattail_alembic.postgres import catalog_changes
from ansible.module_utils.rattail_alembic.postgres.catalog import Catalog, Key, Row
from ansible.module_utils.rattail_alembic.postgres.catalog_sources import CLASS, NAMESPACE

PUBLIC: dict[Key, Row] = {(NAMESPACE, 2200, 0, 0): Row("schema", "public", 0, None, "", "", 0, "")}
POLICY: Key = (3256, 50_000, 0, 0)
COMMENT: Key = (2609, CLASS, 40_000, 0)
TABLE: Key = (CLASS, 40_000, 0, 0)


def row(kind: str, name: str = "", parent: Key | None = None, facts: str = "", acl: str = "") -> Row:
    return Row(kind, name, 2200 if kind == "table" else 0, parent, facts, acl, 0, "")


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
