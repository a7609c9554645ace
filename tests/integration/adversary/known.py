"""What gets past the guard today: the ids of cases, by what is not caught. Whoever mends it takes the line out.

Each is a strict xfail, so that the test run says which lines are to go. Names are patterns of ``fnmatch``.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest

from .arena import Case

_MADE_TO_WRITE = ("read_write_transaction", "read_write_session", "begin_read_write", "in_a_thread")
_UNHEARD = ("bare_connection_class", "another_program", "a_fork")
# Why → the patterns.
GETS_PAST: dict[str, tuple[str, ...]] = {
    "a change of version rows that is not Alembic's is committed, and not named": (
        "version_rows-core_s_head-delete",
        "version_rows-core_s_head-delete_by_a_function",
        "version_rows-core_s_head-delete_at_the_commit",
        "version_rows-core_s_head-delete_in_an_autocommit_block",
        "version_rows-core_s_head-delete_and_commit",
        "version_rows-core_s_head-delete_in_a_savepoint",
        "version_rows-core_s_head-update",
        "version_rows-core_s_head-swap_with_an_unknown_one",
        "version_rows-unknown-insert",
    ),
    "Alembic's version row goes into a table of the revision's, and that is not named": (
        "version_rows-temporary_table",
        "version_rows-table_in_an_own_schema_first",
    ),
    "who has written its own version row is taken as applied, whatever came after": (
        "version_rows-own-written_*",
        "*-by_commit_and_own_version_row",
        "*-by_own_version_row_*",
    ),
    "what runs at the COMMIT comes after the last look": (
        "*-add-by_deferred_trigger*",
        "*-add-by_cursor_with_hold",
        "rows-*-by_deferred_trigger*",
        "rows-*-by_cursor_with_hold-*",
    ),
    "what Alembic or SQLAlchemy calls between the last look and the COMMIT is not seen": (
        "*-add-by_alembic_*",
        "*-add-by_sqlalchemy_*",
        "rows-*-by_alembic_*",
        "rows-*-by_sqlalchemy_*",
    ),
    "a statement that the guard has prepared can be prepared anew by the revision": (
        "*-add-by_prepared_statements_forged",
    ),
    "rows that were written and undone are held against the revision": (
        "honest-rows-undone",
        "honest-savepoint-rows_rolled_back",
    ),
    "the guard's own query finds the operators that the revision put first": (
        "*-by_own_operators_first*",
        "*-own_table-own_operators_first",
    ),
    "connections that the revision's file opens when it is imported may write": (
        "python-import-connect",
        "python-import-connect_read_write",
        "python-import-connect_autocommit",
        "python-import-engine",
        "python-import-driver_unpatched",
    ),
    "what a second connection that was made to write has committed is not undone, yet all is said to be as it was": (
        "python-import-connect_read_write_and_use_in_upgrade",
        *(f"*-add-by_{way}" for way in _MADE_TO_WRITE),
    ),
    "a connection of which the guard has not heard counts as another session's": (
        *(f"*-add-by_{way}" for way in _UNHEARD),
    ),
    "values of sequences that are not the extension's are neither counted nor named": (
        "sequence-till_seq-setval-*",
        "sequence-till_seq-nextval-*",
        "sequence-till_log-identity_setval-*",
    ),
    "large objects are neither counted nor named": ("large_object-*", "rows-large_object_of_the_driver-*"),
    "a schema that sessions look into before core's counts as own by its name": (
        "shadow-table-*",
        "shadow-view-*",
        "shadow-materialized_view-*",
        "shadow-sequence-*",
        "shadow-function-*",
        "shadow-procedure-*",
        "shadow-enum-*",
        "shadow-domain-*",
        "shadow-operator",
    ),
    "a transaction that was prepared stays, and nobody says so": (
        "prepared_transaction-with_*",
        "prepared_transaction-beside",
    ),
    "Python that replaces the guard's own functions is not found out": (
        "python-import-guard_patched",
        "python-import-judge_patched",
    ),
}


def parameters(cases: Mapping[str, Case]) -> list[Any]:
    """The cases for ``pytest.mark.parametrize``, by their names."""
    return [pytest.param(case, id=name, marks=_marks(name)) for name, case in cases.items()]


def _marks(name: str) -> list[pytest.MarkDecorator]:
    reasons = [why for why, patterns in GETS_PAST.items() if any(fnmatchcase(name, each) for each in patterns)]
    return [pytest.mark.xfail(strict=True, reason=reasons[0], raises=AssertionError)] if reasons else []
