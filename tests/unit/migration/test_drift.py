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


@pytest.mark.parametrize("what", SAID)
def test_a_difference_is_said_in_a_sentence(what: str) -> None:
    difference, sentence = SAID[what]
    assert drift.words(difference) == [sentence]
