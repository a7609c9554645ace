"""What Alembic's comparison found, as a person is told it."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from ansible.module_utils.rattail_alembic.migration import drift

TABLE = sa.Table(
    "poser_x", sa.MetaData(), sa.Column("id", sa.Integer()), sa.Column("p", sa.ForeignKey("product.uuid", name="fk_p"))
)
[KEY] = TABLE.foreign_key_constraints
UNIQUE = sa.UniqueConstraint(TABLE.c.id)
DEFAULT = sa.DefaultClause(sa.text("now()"))

SAID: dict[str, tuple[Any, str]] = {
    "a table": (("add_table", TABLE), "The models have the table poser_x, the database has not."),
    "a column": (
        ("remove_column", None, "poser_x", TABLE.c.id),
        "The database has the column poser_x.id, the models have not.",
    ),
    "a key": (("add_fk", KEY), "The models have the foreign key fk_p of table poser_x, the database has not."),
    "without a name": (
        ("remove_constraint", UNIQUE),
        "The database has the constraint on (id) of table poser_x, the models have not.",
    ),
    "the comment of a table": (
        ("add_table_comment", TABLE, None),
        "The models have the comment of table poser_x, the database has not.",
    ),
    "what a column is like": (
        [("modify_default", None, "poser_x", "id", {}, None, DEFAULT)],
        "Column poser_x.id differs in server default: None in the database, now() in the models.",
    ),
}


def test_of_a_table_that_is_missing_altogether_nothing_more_is_said() -> None:
    other = sa.Table("poser_y", TABLE.metadata, sa.Column("id", sa.Integer()))
    of_table = sa.Index("ix_poser_x", TABLE.c.id)
    of_other = sa.Index("ix_poser_y", other.c.id)
    for verb in ("add", "remove"):
        found = [
            (f"{verb}_table", TABLE),
            (f"{verb}_index", of_table),
            (f"{verb}_fk", KEY),
            (f"{verb}_index", of_other),
        ]
        assert drift.sentences(found) == [*drift.words(found[0]), *drift.words(found[3])]
    assert drift.sentences(found[1:]) == [each for one in found[1:] for each in drift.words(one)]


@pytest.mark.parametrize("what", SAID)
def test_a_difference_is_said_in_a_sentence(what: str) -> None:
    difference, sentence = SAID[what]
    assert drift.words(difference) == [sentence]
