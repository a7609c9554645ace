"""What a written revision holds, and what it leaves to others; judged by its text and by Alembic itself."""

from __future__ import annotations

import ast
import datetime
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.revisions import add_model, edit, script, scripts, write
from support.server import Server

SHELF = """
class PoserShelf(model.Base):
    __tablename__ = 'poser_shelf'
    uuid = model.uuid_column()
    product_uuid = sa.Column(sa.String(length=32), sa.ForeignKey('product.uuid'))
    code = sa.Column(sa.String(length=8), nullable=False, unique=True, index=True)
"""


def names_in(text: str) -> set[str]:
    """The tables that a script's operations are on."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("create_table", "drop_table", "add_column", "drop_column", "alter_column"):
                found.add(ast.literal_eval(node.args[0]))
            elif node.func.attr in ("create_index", "create_unique_constraint", "create_foreign_key"):
                found.add(ast.literal_eval(node.args[1]))
            elif node.func.attr in ("drop_index", "drop_constraint"):
                named = {each.arg: each.value for each in node.keywords}
                found.add(ast.literal_eval(named["table_name"] if "table_name" in named else node.args[1]))
    return found


def test_the_first_revision_has_a_base_a_label_and_what_it_depends_on(make_server: Callable[..., Server]) -> None:
    server = make_server()
    for path in server.repository.versions.glob("*.py"):
        path.unlink()
    (server.repository.versions / ".keep").touch()
    server.repository.commit({}, "Begin without revisions")
    server.deploy()
    answer = write(server, "initial Poser tables")
    assert (answer["failure"], answer["changed"]) == ("", True)
    text = script(answer)
    assert "down_revision = None\nbranch_labels = ('poser',)\n" in text
    [needed] = answer["revision"]["depends_on"]
    assert f"depends_on = {needed['revision']!r}\n" in text
    assert needed["reason"] == (
        f"poser_product has a foreign key to product, which revision {needed['revision']} makes."
    )
    # that one, and not a later one: what an older Rattail has as well
    core = Path(server.alembic("show", needed["revision"]).stdout.partition("Path: ")[2].split()[0]).read_text()
    assert re.search(r"rename_table\(\s*['\"]products['\"],\s*['\"]product['\"]", core)
    assert names_in(text) == {"poser_product", "poser_widget", "poser_widget_version"}
    assert set(answer["revision"]["tables"]) == names_in(text)
    # Alembic agrees, and core need not be listed last any more
    server.alembic("upgrade", "heads")
    assert server.database.tables("poser%") == ["poser_product", "poser_widget", "poser_widget_version"]
    again = write(server, "once more")
    assert (again["failure"], again["changed"], again["revision"]) == ("", False, {})


def test_a_later_one_that_has_core_behind_it_depends_on_nothing_more(deployed: Server) -> None:
    add_model(deployed, SHELF)
    first = write(deployed, "add shelves")
    assert [each["reason"].split(",")[0] for each in first["revision"]["depends_on"]] == [
        "poser_shelf has a foreign key to product"
    ]
    deployed.alembic("upgrade", "heads")
    edit(
        deployed,
        "db/model/more.py",
        "    code = ",
        "    other_uuid = sa.Column(sa.ForeignKey('product.uuid'))\n    code = ",
    )
    second = write(deployed, "add another product")
    assert second["revision"]["depends_on"] == []
    assert second["revision"]["down_revision"] == [first["revision"]["revision"]]
    text = script(second)
    assert "op.create_foreign_key(op.f('fk_poser_shelf_other_uuid_product'), 'poser_shelf', 'product'" in text
    assert "op.drop_constraint(op.f('fk_poser_shelf_other_uuid_product'), 'poser_shelf'" in text


def test_what_is_not_the_app_s_is_left_out_and_told(deployed: Server) -> None:
    deployed.sql(
        "create table corepos_nobody_s_model (id integer)",
    )
    deployed.sql("create table stray (id integer)")
    with (deployed.source_dir / "poser" / "db" / "model" / "__init__.py").open("a") as file:
        file.write("import sqlalchemy as sa\nProduct.__table__.append_column(sa.Column('grade', sa.Boolean()))\n")
    add_model(deployed, SHELF)
    answer = write(deployed, integrations=["rattail_corepos"])
    # the location of an integration that is not in the section yet
    assert "(to do: config)" in answer["failure"]
    answer = write(deployed, fresh=True)
    assert answer["failure"] == ""
    assert names_in(script(answer)) == {"poser_shelf"}
    left = {each["owner"]: each for each in answer["left_out"]}
    assert sorted(left["rattail"]["words"]) == [
        "The models have the column product.grade, the database has not.",
        "The models have the column product_version.grade, the database has not.",
    ]
    assert left["rattail"]["operations"] > 80
    assert left["others"]["operations"] == 2
    assert "The database has the table stray, the models have not." in left["others"]["words"]


def test_tables_of_an_integration_appear_in_no_script(deployed: Server) -> None:
    deployed.write_config(alembic=deployed.alembic_section("rattail_corepos.db:alembic/versions"))
    deployed.alembic("upgrade", "heads")
    assert deployed.database.tables("corepos%")
    add_model(deployed, SHELF)
    answer = write(deployed, integrations=["rattail_corepos"])
    assert answer["failure"] == ""
    assert "corepos" not in script(answer)
    left = {each["owner"]: each for each in answer["left_out"]}
    # its models are not among the app's, so to Alembic its tables are to be dropped
    assert any("corepos_" in word for word in left["rattail_corepos"]["words"])


ODD_TYPES = """
import enum
import sqlalchemy_utils
from rattail.db.types import GPCType


class Mood(enum.Enum):
    glad = 1
    so_so = 2


class PoserOddity(model.Base):
    __tablename__ = 'poser_oddity'
    __table_args__ = (
        sa.CheckConstraint('amount > 0', name='amount_positive'),
        sa.Index('poser_oddity_ix_lower', sa.text('lower(name)')),
        sa.ForeignKeyConstraint(['store_uuid'], ['store.uuid'], name='poser_oddity_fk_store'),
    )
    __versioned__ = {}
    uuid = model.uuid_column()
    store_uuid = sa.Column(sa.String(length=32))
    name = sa.Column(sa.String(length=20), nullable=False, server_default='nobody')
    amount = sa.Column(sa.Numeric(precision=8, scale=2))
    mood = sa.Column(sa.Enum(Mood, name='poser_mood'))
    moods = sa.Column(postgresql.ARRAY(sa.Enum(Mood, name='poser_mood')))
    tags = sa.Column(postgresql.ARRAY(sa.String(length=10)))
    extra = sa.Column(postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"))
    plain = sa.Column(sa.JSON())
    upc = sa.Column(GPCType())
    secret = sa.Column(sqlalchemy_utils.types.json.JSONType())
    at = sa.Column(sa.DateTime(), server_default=sa.func.now())


class PoserOther(model.Base):
    __tablename__ = 'poser_other'
    uuid = model.uuid_column()
    mood = sa.Column(sa.Enum(Mood, name='poser_mood'), nullable=False)
"""


def test_types_of_every_kind_go_there_and_back_and_there_again(cloning: Server) -> None:
    add_model(cloning, ODD_TYPES)
    answer = write(cloning, "add oddities", review="true")
    assert (answer["failure"], answer["review"]["result"]) == ("", "passed")
    text = script(answer)
    assert (
        text.count("CREATE TYPE poser_mood AS ENUM ('glad', 'so_so')") == 1 and text.count("DROP TYPE poser_mood") == 1
    )
    imports = set(re.findall(r"^(?:import|from) .*", text, re.M))
    assert {"import rattail.db.types", "import sqlalchemy_utils.types.json"} <= imports
    assert "from sqlalchemy.dialects import postgresql" in imports
    compile(text, "script", "exec")
    # by hand, with Alembic alone
    from support.dumps import dump

    before = dump(cloning.database)
    cloning.alembic("upgrade", "heads")
    there = dump(cloning.database)
    cloning.alembic("downgrade", "b084beb32f02")
    assert dump(cloning.database) == before
    cloning.alembic("upgrade", "heads")
    assert dump(cloning.database) == there
    assert write(cloning, "nothing")["revision"] == {}

    # an enumeration that is there, in a table and in a column more; and a table that goes
    edit(cloning, "db/model/more.py", "class PoserOther(", "class PoserThird(")
    edit(cloning, "db/model/more.py", "'poser_other'", "'poser_third'")
    edit(
        cloning,
        "db/model/more.py",
        "    tags = ",
        "    second = sa.Column(sa.Enum(Mood, name='poser_mood'))\n    tags = ",
    )
    more = write(cloning, "more of it", review="true")
    assert (more["failure"], more["review"]["result"]) == ("", "passed")
    assert "CREATE TYPE" not in script(more)
    assert any(
        "poser_other is dropped and poser_third created with the same columns" in h for h in more["revision"]["hints"]
    )


def test_an_enumeration_in_a_column_that_is_added(cloning: Server) -> None:
    edit(
        cloning,
        "db/model/widgets.py",
        "    active = sa.Column(",
        "    size = sa.Column(sa.Enum('small', 'it''s \\'big\\': yes', name='poser_size'))\n\n    active = sa.Column(",
    )
    answer = write(cloning, "add size", review="true")
    assert (answer["failure"], answer["review"]["result"]) == ("", "passed")
    cloning.alembic("upgrade", "heads")
    [labels] = cloning.sql("select array_agg(enumlabel::text order by enumsortorder) from pg_enum join pg_type t on"
                           " t.oid = enumtypid where typname = 'poser_size'")  # fmt: skip
    assert labels == (["small", "its 'big': yes"],)
    edit(cloning, "db/model/widgets.py", "'small', ", "'small', 'medium', ")
    more = write(cloning, "another size")
    # Alembic sees nothing, so it is said
    assert more["revision"] == {}
    assert any("ALTER TYPE poser_size ADD VALUE 'medium'" in warning for warning in more["warnings"])


KNOT = r"""
class PoserKnot(model.Base):
    __tablename__ = 'poser_knot'
    __table_args__ = (
        sa.CheckConstraint(r"name not like '5%' and name <> '\:x'", name='plain'),
        sa.Index('poser_knot_ix_lower', sa.text("lower(name || '%:x')")),
        sa.Index('poser_knot_ix_upper', sa.func.upper(sa.text('name')), unique=True),
        sa.Index('poser_knot_ix_some', 'name', postgresql_where=sa.text("name like '5%'")),
    )
    uuid = model.uuid_column()
    name = sa.Column(sa.String(length=20), server_default=sa.text(r"'5%' || '\:x'"))
    extra = sa.Column(sa.JSON(), server_default='{"a":1}')
    loop_uuid = sa.Column(sa.ForeignKey('poser_loop.uuid', name='poser_knot_fk_loop', use_alter=True))
    bow_uuid = sa.Column(sa.ForeignKey('poser_bow.uuid'))


class PoserLoop(model.Base):
    __tablename__ = 'poser_loop'
    uuid = model.uuid_column()
    up_uuid = sa.Column(sa.ForeignKey('poser_loop.uuid'))
    knot_uuid = sa.Column(sa.ForeignKey('poser_knot.uuid'))


class PoserBow(model.Base):
    __tablename__ = 'poser_bow'
    uuid = model.uuid_column()
    knot_uuid = sa.Column(sa.ForeignKey('poser_knot.uuid'))
"""


def test_tables_that_refer_to_each_other_and_sql_as_it_is_in_the_models(cloning: Server) -> None:
    add_model(cloning, KNOT)
    answer = write(cloning, "tie them", review="true")
    assert (answer["failure"], answer["review"]["result"]) == ("", "passed")
    cloning.alembic("upgrade", "heads")
    keys = "select conname from pg_constraint where contype = 'f' and conname ~ 'poser_(knot|loop|bow)'"
    assert {name for (name,) in cloning.sql(keys)} == {
        "fk_poser_knot_bow_uuid_poser_bow",
        "poser_knot_fk_loop",
        "fk_poser_loop_up_uuid_poser_loop",
        "fk_poser_loop_knot_uuid_poser_knot",
        "fk_poser_bow_knot_uuid_poser_knot",
    }
    definitions = dict(cloning.sql("select indexname, indexdef from pg_indexes where tablename = 'poser_knot'"))
    assert "lower(((name)::text || '%:x'::text))" in definitions["poser_knot_ix_lower"]
    assert "UNIQUE" in definitions["poser_knot_ix_upper"] and "upper(" in definitions["poser_knot_ix_upper"]
    assert "~~ '5%'::text" in definitions["poser_knot_ix_some"]
    checks = "select pg_get_constraintdef(oid) from pg_constraint where conname = 'ck_poser_knot_plain'"
    [(check,)] = cloning.sql(checks)
    assert "'5%'::text" in check and "':x'::text" in check
    columns = "select column_name, column_default from information_schema.columns where table_name = 'poser_knot'"
    assert dict(cloning.sql(columns))["name"] == "('5%'::text || ':x'::text)"
    again = write(cloning, "nothing")
    assert (again["revision"], again["warnings"]) == ({}, [])

    # and away with them
    (cloning.source_dir / "poser" / "db" / "model" / "more.py").write_text("")
    answer = write(cloning, "untie them", review="true")
    assert (answer["failure"], answer["review"]["result"]) == ("", "passed")
    cloning.alembic("upgrade", "heads")
    assert cloning.database.tables("poser%") == ["poser_product", "poser_widget", "poser_widget_version"]


def test_what_alembic_does_not_compare_is_told(deployed: Server) -> None:
    edit(
        deployed,
        "db/model/widgets.py",
        "        sa.UniqueConstraint(",
        "        sa.CheckConstraint('length(code) > 1', name='long'),\n"
        "        sa.Index('poser_widget_ix_lower', sa.text('lower(code)')),\n        sa.UniqueConstraint(",
    )
    edit(deployed, "db/model/widgets.py", "nullable=False, default=True", "nullable=False, server_default=sa.true()")
    deployed.sql("create index by_hand on poser_widget (upper(code))")
    deployed.sql("alter table poser_widget add constraint by_hand check (code <> '')")
    deployed.sql("alter table poser_product alter grower set default 'nobody'")
    answer = write(deployed, "look closer")
    assert answer["failure"] == ""
    # of what is certain a script is made
    assert re.findall(r"op\.\w+\('(\w+)'", script(answer)) == ["poser_widget_ix_lower", "poser_widget_ix_lower"]
    told = [hint.partition(", which Alembic does not compare")[0] for hint in answer["revision"]["hints"]]
    assert told == [
        "The database has the index by_hand on poser_widget, the models have not",
        "The models have the check constraint ck_poser_widget_long of poser_widget, the database has not",
        "The database has the check constraint by_hand of poser_widget, the models have not",
        "The database has a default of poser_product.grower, the models have not",
        "The models have a default of poser_widget.active, the database has not",
        "The models have a default of poser_widget_version.active, the database has not",
    ]
    deployed.alembic("upgrade", "heads")
    again = write(deployed, "look closer")
    assert again["revision"] == {} and len(again["warnings"]) == len(told)
    assert again["summary"][0] == "There is nothing to write, but something to decide."
    assert sum("to decide: " in line for line in again["summary"]) == len(told)


def test_what_looks_like_a_rename_is_pointed_out(deployed: Server) -> None:
    edit(deployed, "db/model/widgets.py", "    description = sa.Column(", "    remark = sa.Column(")
    edit(deployed, "db/model/widgets.py", "return self.description or", "return self.remark or")
    answer = write(deployed, "rename description")
    [hint, *_] = answer["revision"]["hints"]
    assert "column poser_widget.description is dropped and remark added with the same type" in hint
    assert "op.alter_column('poser_widget', 'description', new_column_name='remark')" in hint


def test_a_table_is_renamed_by_the_lines_that_are_told(cloning: Server) -> None:
    edit(cloning, "db/model/widgets.py", "'poser_widget'", "'poser_thing'")
    # its constraint keeps its name, so that there cannot be both tables
    drafted = write(cloning, "call widgets things", review="true")
    assert "poser_widget_uq_code" in drafted["failure"]
    assert '(rattail_schema_ext_revision_review: "false"), correct it, and run again' in drafted["failure"]
    answer = write(cloning, "call widgets things", review="false")
    told = " ".join(answer["revision"]["hints"])
    tables = re.findall(r"op.rename_table\('(\w+)', '(\w+)'\)", told)
    indexes = re.findall(r'op.execute\("ALTER INDEX (\w+) RENAME TO (\w+)"\)', told)
    assert (len(tables), len(indexes)) == (2, 5)
    path = Path(answer["revision"]["path"])
    text = path.read_text().partition("def upgrade():\n")[0]
    for function, old, new in (("upgrade", 0, 1), ("downgrade", 1, 0)):
        text += f"def {function}():\n"
        text += "".join(f"    op.rename_table({pair[old]!r}, {pair[new]!r})\n" for pair in tables)
        text += "".join(f'    op.execute("ALTER INDEX {pair[old]} RENAME TO {pair[new]}")\n' for pair in indexes)
    path.write_text(text)
    again = write(cloning, "call widgets things", review="true")
    assert (again["failure"], again["review"]["result"]) == ("", "passed")


def test_imports_of_core_s_template_that_nothing_uses_are_taken_out(deployed: Server) -> None:
    add_model(deployed, SHELF)
    assert "import rattail.db.types" not in script(write(deployed))


def test_hooks_format_the_script_where_it_belongs(deployed: Server) -> None:
    deployed.write_config(
        alembic=deployed.alembic_section()
        + "\n[post_write_hooks]\nhooks = note\nnote.type = exec\nnote.executable = sh\n"
        "note.options = -c 'echo \"# formatted $0\" >> $0' REVISION_SCRIPT_FILENAME\n"
    )
    add_model(deployed, SHELF)
    answer = write(deployed)
    assert answer["revision"]["hooks"] == ["note"]
    assert script(answer).endswith(f"# formatted {answer['revision']['path']}\n")


def test_a_hook_that_spoils_the_script_leaves_none(deployed: Server) -> None:
    deployed.write_config(
        alembic=deployed.alembic_section()
        + "\n[post_write_hooks]\nhooks = spoil\nspoil.type = exec\nspoil.executable = sh\n"
        "spoil.options = -c 'echo \"(\" >> $0' REVISION_SCRIPT_FILENAME\n"
    )
    add_model(deployed, SHELF)
    before = scripts(deployed)
    answer = write(deployed)
    assert "After the hooks of [post_write_hooks] the script" in answer["failure"]
    assert scripts(deployed) == before
    # nor does one that cannot be run
    deployed.config.write_text(deployed.config.read_text().replace("executable = sh", "executable = /nowhere/sh"))
    answer = write(deployed)
    assert "A hook of [post_write_hooks] in " in answer["failure"] and "/nowhere/sh" in answer["failure"]
    assert answer["failure"].endswith("Correct the hook or remove it, then run again.")
    assert scripts(deployed) == before


def test_the_model_that_the_manual_s_command_spoils_is_written_clean(deployed: Server) -> None:
    """Side by side: the manual's literal command touches core's tables and is refused, ours passes."""
    from support.upgrades import upgrade

    add_model(deployed, SHELF)
    before = set(scripts(deployed))
    deployed.alembic("revision", "--autogenerate", "--head", "poser@head", "-m", "by the manual")
    [manual] = set(scripts(deployed)) - before
    answer = upgrade(deployed)
    assert "is against the policy" in answer["failure"]
    core = {each["object"].rpartition(" on ")[2] for each in answer["violations"]}
    assert len(core) > 30 and not any("poser" in name for name in core)
    for name in sorted(core)[:3]:
        assert name.partition(".")[2] in scripts(deployed)[manual]
    (deployed.versions / manual).unlink()

    ours = write(deployed, "by the role")
    assert ours["failure"] == ""
    applied = upgrade(deployed)
    assert (applied["failure"], applied["violations"]) == ("", [])
    assert deployed.database.tables("poser_shelf") == ["poser_shelf"]


@pytest.mark.parametrize("recursive", [True, False])
def test_a_file_template_with_directories_is_followed_where_alembic_looks_there(
    deployed: Server, recursive: bool
) -> None:
    options = f"file_template = %%(year)d/%%(slug)s/%%(rev)s\nrecursive_version_locations = {str(recursive).lower()}\n"
    deployed.write_config(alembic=deployed.alembic_section() + options)
    add_model(deployed, SHELF)
    answer = write(deployed, "add coupons")
    assert answer["failure"] == "", answer
    path, new = Path(answer["revision"]["path"]), answer["revision"]["revision"]
    below = Path(str(datetime.date.today().year), "add_coupons") if recursive else Path()
    assert path == deployed.versions / below / f"{new}.py" and path.exists()
    deployed.alembic("upgrade", "heads")
    assert new in deployed.database.heads()
