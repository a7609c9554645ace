"""What is said of a database that is not the one meant, or that pending revisions cannot be applied to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible.module_utils.rattail_alembic.observe import database_checks, writable
from ansible.module_utils.rattail_alembic.postgres.contents import Contents, OthersTable, VersionTable, quoted
from ansible.module_utils.rattail_alembic.problem import Problem, Refused

IDENTITY = {
    "name": "poser",
    "host": "db1",
    "port": 5432,
    "user": "rattail",
    "server_version": "18.4",
    "search_path": '"$user", public',
}
GOOD = Contents(IDENTITY, ("c2", "b1"), True, schema="public", version_schema="public", incarnation="1/2")
KNOWN = {"c1", "c2", "b1"}


def refusal(call: Any, *args: Any, **named: Any) -> Problem:
    """What the call refuses with; cause and remedy are each one sentence."""
    with pytest.raises(Refused) as caught:
        call(*args, **named)
    problem = caught.value.problem
    for sentence in (problem.cause, problem.remedy):
        assert sentence.endswith(".") and sentence[0].isupper() and "\n" not in sentence
    return problem


def elsewhere(schema: str, *rows: str) -> VersionTable:
    return VersionTable(schema, rows)


def test_a_good_database_is_not_spoken_of() -> None:
    database_checks.refuse_unexpected(GOOD, "")
    database_checks.refuse_unexpected(GOOD, "poser")
    assert database_checks.judge_schemas(GOOD, KNOWN) == []
    assert writable.judge_writable(GOOD, altered={"product"}, referenced={"vendor"}) == []
    assert database_checks.warn_pooled(GOOD) == []


def test_another_database_than_expected() -> None:
    problem = refusal(database_checks.refuse_unexpected, GOOD, "poser_test")
    assert problem.code == "database_unexpected"
    assert "'poser' on db1, and not to 'poser_test'" in problem.cause
    assert "rattail_schema_ext_expected_database" in problem.remedy


def test_no_schema_at_all() -> None:
    contents = replace(GOOD, rows=(), schema="", version_schema="", search_path_source="database user")
    problem = refusal(database_checks.judge_schemas, contents, KNOWN)
    assert problem.code == "schema_missing"
    assert '"$user", public as set by ALTER ROLE IN DATABASE' in problem.cause
    assert "GRANT USAGE ON SCHEMA public TO rattail" in problem.remedy
    assert "ALTER ROLE rattail IN DATABASE poser SET search_path = public" in problem.remedy


IN_USE = ("c2", "b1")
SECOND = {
    "wrong search_path": ((), "", elsewhere("store", "c2"), "holds revisions of this code (c2)",
                          "leads to schema public, which has none", "SET search_path = store"),
    "the same, once it went wrong": ((), "public", elsewhere("store", "c2"), "holds revisions of this code (c2)",
                                     "leads to public.alembic_version, which is empty", "SET search_path = store"),
    "built twice": (IN_USE, "public", elsewhere("store", "x", "c1"), "holds revisions of this code (c1)",
                    "leads to public.alembic_version, which is in use", "drop or rename the other"),
    "empty": (IN_USE, "public", elsewhere("store"), "is empty", "which is in use", "drop or rename the other"),
    "closed to the role": (IN_USE, "public", VersionTable("store", None), "cannot be read", "which is in use",
                           "drop or rename the other"),
    "strangers, and none of ours": ((), "", elsewhere("store", "x"), "holds other revisions (x)",
                                    "schema public, which has none", "make the first upgrade by hand"),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "schema", "other", "holds", "leads", "remedy"), SECOND.values(), ids=list(SECOND))
def test_a_second_version_table(
    rows: tuple[str, ...], schema: str, other: VersionTable, holds: str, leads: str, remedy: str
) -> None:
    contents = replace(
        GOOD, rows=rows, version_schema=schema, other_version_tables=(other,), search_path_source="client"
    )
    problem = refusal(database_checks.judge_schemas, contents, KNOWN)
    assert problem.code == "version_table_elsewhere"
    assert f"The version table store.alembic_version of 'poser' on db1 {holds}" in problem.cause
    assert leads in problem.cause and "as set by the options of the database URL" in problem.cause
    assert remedy in problem.remedy


def test_another_application_s_version_table() -> None:
    contents = replace(GOOD, other_version_tables=(elsewhere("shop", "x1", "x2"), elsewhere("till", "y")))
    warnings = database_checks.judge_schemas(contents, KNOWN)
    assert [("shop.alembic_version" in each, "(x1, x2)" in each) for each in warnings] == [(True, True), (False, False)]
    both = replace(GOOD, other_version_tables=(elsewhere("shop", "x1"), elsewhere("store", "c1")))
    assert "store.alembic_version" in refusal(database_checks.judge_schemas, both, KNOWN).cause


def test_new_tables_elsewhere_than_the_version_table() -> None:
    contents = replace(GOOD, schema="rattail")
    assert database_checks.judge_schemas(contents, KNOWN) == []
    [warning] = writable.judge_writable(contents)
    assert "lies in schema public, but new tables will be made in rattail" in warning
    assert writable.judge_writable(replace(GOOD, schema="s", version_schema="")) == []


def test_a_standby() -> None:
    contents = replace(GOOD, standby=True, read_only=True)
    assert database_checks.judge_schemas(contents, KNOWN) == []
    problem = refusal(writable.judge_writable, contents)
    assert problem.code == "database_read_only"
    assert "'poser' on db1 is a standby" in problem.cause
    assert "target_session_attrs=read-write" in problem.remedy


def test_read_only() -> None:
    problem = refusal(writable.judge_writable, replace(GOOD, read_only=True))
    assert problem.code == "database_read_only"
    assert "role rattail in 'poser' on db1 are read-only" in problem.cause
    assert "ALTER ROLE rattail RESET default_transaction_read_only" in problem.remedy


@pytest.mark.parametrize(
    ("pooling", "says"), [("transaction", "pool_mode = transaction"), ("unknown", "gave no second connection")]
)
def test_a_pooler(pooling: str, says: str) -> None:
    contents = replace(GOOD, pooling=pooling)
    problem = refusal(writable.judge_writable, contents)
    assert problem.code == "database_pooled"
    assert problem.cause.startswith("The database URL leads to 'poser' on db1 through a pooler")
    assert says in problem.cause
    assert "rattail_schema_ext_database_option: rattail.db:migration.url" in problem.remedy
    [warning] = database_checks.warn_pooled(contents)
    assert says in warning and "not to upgrade" in warning
    direct = refusal(writable.judge_writable, contents, option="rattail.db:migration.url")
    assert direct.cause.startswith("The URL in rattail.db:migration.url leads to")
    assert direct.remedy == "Put a URL there that leads to the PostgreSQL server itself."


def test_a_pooler_in_session_mode_is_as_good_as_none() -> None:
    contents = replace(GOOD, pooling="session")
    assert writable.judge_writable(contents) == database_checks.warn_pooled(contents) == []


OTHERS = (
    OthersTable("public", "product", "bob", False),
    OthersTable("public", "user", "bob", True),
    OthersTable("store", "Vendor", "eve", False),
)
RIGHTS = {
    "create": ({"may_create": False}, (), (), ["CREATE on schema public"],
               ["GRANT CREATE ON SCHEMA public TO rattail"]),
    "version table": ({"version_rights": ("SELECT", "UPDATE")}, (), (),
                      ["INSERT, DELETE on the version table public.alembic_version"],
                      ["GRANT INSERT, DELETE ON public.alembic_version TO rattail"]),
    "altered": ({"others": OTHERS}, ("product", "user", "poser_x"), (),
                ["ownership of product, user, which belong to bob"],
                ["ALTER TABLE public.product OWNER TO rattail", 'ALTER TABLE public."user" OWNER TO rattail']),
    "altered in its schema": ({"others": OTHERS}, ("store.Vendor", "other.product"), (),
                              ["ownership of Vendor, which belong to eve"],
                              ['ALTER TABLE store."Vendor" OWNER TO rattail']),
    "referenced": ({"others": OTHERS}, (), ("product", "user"), ["REFERENCES on product"],
                   ["GRANT REFERENCES ON public.product TO rattail"]),
    "several": ({"others": OTHERS, "may_create": False}, ("user",), ("Vendor",),
                ["CREATE on schema public; ownership of user, which belong to bob; REFERENCES on Vendor"],
                ["GRANT CREATE", "ALTER TABLE", "GRANT REFERENCES"]),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "altered", "referenced", "lacks", "commands"), RIGHTS.values(), ids=list(RIGHTS))
def test_missing_rights(
    changes: dict[str, Any],
    altered: tuple[str, ...],
    referenced: tuple[str, ...],
    lacks: list[str],
    commands: list[str],
) -> None:
    contents = replace(GOOD, **changes)
    problem = refusal(writable.judge_writable, contents, altered=altered, referenced=referenced)
    assert problem.code == "rights_missing"
    assert problem.cause.startswith("The role rattail lacks what is needed in 'poser' on db1: ")
    assert all(words in problem.cause for words in lacks)
    assert all(words in problem.remedy for words in commands)
    assert problem.remedy.count(" TO rattail") == len(commands)


def test_tables_of_others_that_nothing_pending_touches() -> None:
    assert writable.judge_writable(replace(GOOD, others=OTHERS), altered={"poser_x"}, referenced={"user"}) == []


def test_a_long_list_is_shortened_but_not_its_remedy() -> None:
    others = tuple(OthersTable("public", f"t{number}", "bob", False) for number in range(8))
    problem = refusal(writable.judge_writable, replace(GOOD, others=others), altered=[t.name for t in others])
    assert "t0, t1, t2, t3, t4 and 3 more" in problem.cause
    assert problem.remedy.count("ALTER TABLE") == 8


def test_a_direct_url_has_to_lead_to_the_same_place() -> None:
    option = "rattail.db:migration.url"
    owner = replace(GOOD, identity={**IDENTITY, "user": "owner", "host": "db1.lan", "port": 5433}, may_create=False)
    writable.refuse_another_place(GOOD, owner, option)
    other = replace(owner, incarnation="1/3", identity={**owner.identity, "name": "poser_old"})
    problem = refusal(writable.refuse_another_place, GOOD, other, option)
    assert problem.code == "database_option_elsewhere"
    assert "'poser_old' on db1.lan" in problem.cause and "'poser' on db1)" in problem.cause and option in problem.cause
    for elsewhere in (
        replace(owner, schema="owner"),
        replace(owner, version_schema="owner"),
        replace(owner, schema=""),
    ):
        problem = refusal(writable.refuse_another_place, GOOD, elsewhere, option)
        assert problem.code == "database_option_elsewhere"
        assert "schema public" in problem.cause and "ALTER ROLE owner IN DATABASE poser" in problem.remedy


@pytest.mark.parametrize(
    ("name", "expected"),
    [("poser_x", "poser_x"), ("user", '"user"'), ("X", '"X"'), ('a"b', '"a""b"'), ("1a", '"1a"'), ("a-b", '"a-b"')],
)
def test_names_in_remedies_can_be_run(name: str, expected: str) -> None:
    assert quoted(name) == expected
