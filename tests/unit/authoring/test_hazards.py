"""What statements do to a store in operation: one hazard each, and none where there is none."""

from __future__ import annotations

import pytest
from ansible.module_utils.rattail_alembic.authoring import hazards
from ansible.module_utils.rattail_alembic.observe.answer import Review

FILLED = {"poser_widget", "product", "Odd Name"}

CASES = [
    ("CREATE INDEX ix ON poser_widget (code)", "index-not-concurrent", "poser_widget"),
    ("CREATE UNIQUE INDEX IF NOT EXISTS ix ON public.poser_widget (code);", "index-not-concurrent", "poser_widget"),
    ("create index on only poser_widget (code)", "index-not-concurrent", "poser_widget"),
    ("CREATE INDEX CONCURRENTLY ix ON poser_widget (code)", "", ""),
    ("CREATE INDEX ix ON poser_empty (code)", "", ""),
    ("ALTER TABLE poser_widget ADD CONSTRAINT u UNIQUE (code)", "unique-constraint", "poser_widget"),
    ("ALTER TABLE poser_widget ADD CONSTRAINT u UNIQUE USING INDEX ix", "", ""),
    ("ALTER TABLE poser_widget ADD PRIMARY KEY (code)", "unique-constraint", "poser_widget"),
    ("ALTER TABLE poser_widget ADD FOREIGN KEY(a) REFERENCES product (uuid)", "foreign-key-validates", "poser_widget"),
    ("ALTER TABLE poser_widget ADD CONSTRAINT f FOREIGN KEY(a) REFERENCES product (uuid) NOT VALID", "", ""),
    ("ALTER TABLE ONLY poser_widget ADD CONSTRAINT c CHECK (a > 0)", "check-validates", "poser_widget"),
    ("ALTER TABLE poser_widget ADD CONSTRAINT c CHECK (a > 0) NOT VALID", "", ""),
    ("ALTER TABLE poser_widget ADD COLUMN weight INTEGER NOT NULL", "not-null-without-default", "poser_widget.weight"),
    ("ALTER TABLE poser_widget ADD weight INTEGER NOT NULL", "not-null-without-default", "poser_widget.weight"),
    ('ALTER TABLE "Odd Name" ADD COLUMN "a b" INTEGER NOT NULL', "not-null-without-default", "Odd Name.a b"),
    ("ALTER TABLE poser_widget ADD COLUMN weight INTEGER DEFAULT 0 NOT NULL", "", ""),
    ("ALTER TABLE poser_widget ADD COLUMN n INTEGER GENERATED ALWAYS AS IDENTITY NOT NULL", "", ""),
    ("ALTER TABLE poser_widget ADD COLUMN weight INTEGER", "", ""),
    ("ALTER TABLE poser_widget ALTER COLUMN code SET NOT NULL", "set-not-null", "poser_widget.code"),
    ("ALTER TABLE poser_widget ALTER COLUMN code DROP NOT NULL", "", ""),
    ("ALTER TABLE poser_widget ALTER COLUMN code TYPE TEXT", "column-type", "poser_widget.code"),
    ("ALTER TABLE poser_widget ALTER code SET DATA TYPE TEXT USING code::text", "column-type", "poser_widget.code"),
    ("ALTER TABLE poser_widget DROP COLUMN code", "drop-column", "poser_widget.code"),
    ("ALTER TABLE poser_widget DROP CONSTRAINT u", "", ""),
    ("DROP TABLE poser_widget", "drop-table", "poser_widget"),
    ("DROP TABLE IF EXISTS public.poser_widget", "drop-table", "poser_widget"),
    ("DROP TABLE poser_empty", "", ""),
    ("ALTER TABLE poser_widget RENAME TO poser_gadget", "rename-table", "poser_widget"),
    ("ALTER TABLE poser_widget RENAME code TO number", "rename-column", "poser_widget.code"),
    ("ALTER TABLE poser_widget RENAME COLUMN code TO number", "rename-column", "poser_widget.code"),
    ("ALTER TABLE poser_widget RENAME CONSTRAINT a TO b", "", ""),
    ("CREATE TABLE poser_new (id INTEGER NOT NULL)", "", ""),
    ("INSERT INTO poser_widget (code) VALUES (1)", "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "rule", "thing"), CASES)
def test_each_statement_has_its_hazard(statement: str, rule: str, thing: str) -> None:
    found = hazards.find(Review(sql=[statement]), FILLED)
    assert [(each.rule, each.object) for each in found] == ([(rule, thing)] if rule else [])
    assert all(each.message and each.safer and "{" not in each.message for each in found)


def test_white_space_and_repetition_change_nothing() -> None:
    twice = ["ALTER TABLE\n  poser_widget\tDROP COLUMN code;"] * 2
    assert len(hazards.find(Review(sql=twice), FILLED)) == 1


def test_rewrites_and_locks_are_found_once_on_tables_with_rows() -> None:
    tables = ("public.poser_widget", "product", '"Odd Name"', "poser_empty")
    locks = ["ShareLock on poser_widget", *(f"AccessExclusiveLock on {table}" for table in tables)]
    found = hazards.find(Review(rewrites=["poser_widget", "poser_empty"], locks=locks), FILLED)
    assert [(each.rule, each.object) for each in found] == [
        ("table-rewrite", "poser_widget"), ("lock", "Odd Name"), ("lock", "product"),
    ]  # fmt: skip


def test_a_downgrade_fails_where_it_has_no_value_for_rows() -> None:
    statements = [statement for statement, *_ in CASES]
    found = hazards.find(Review(down_sql=statements), FILLED)
    assert {(each.rule, each.object) for each in found} == {
        ("downgrade-not-null", "poser_widget.weight"), ("downgrade-not-null", "Odd Name.a b"),
    }  # fmt: skip


def test_names_are_read_with_and_without_quotes() -> None:
    assert [hazards.bare(name) for name in ("public.Poser_X", '"Odd ""Name"', 'a."B c"', "")] == [
        "poser_x", 'Odd "Name', "B c", "",
    ]  # fmt: skip
