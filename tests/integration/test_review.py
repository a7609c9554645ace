"""The review of a revision: what it lets through, what it does not, and what it points out."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
import rattail.db
from support.dumps import dump
from support.postgres import Postgres
from support.revisions import edit, scripts, write
from support.server import Server

WIDGETS = """
insert into poser_widget (uuid, code, description, active)
select md5(n::text), n::text, 'widget ' || n, true from generate_series(1, 100) n
"""
COLUMN = "    active = sa.Column("


def review(server: Server, message: str = "change widgets", **options: Any) -> dict[str, Any]:
    """A revision with a review, which leaves nothing behind but the script and its page."""
    before = dump(server.database)
    answer = write(server, message, review="true", **options)
    assert dump(server.database) == before
    name = "rattail\\_schema\\_ext\\_scratch%"
    assert server.sql("select datname from pg_database where datname like %s and datdba ="
                      " (select oid from pg_roles where rolname = current_user)", name) == []  # fmt: skip
    return answer


def found(answer: dict[str, Any]) -> dict[str, str]:
    """Rule → object of the findings."""
    return {each["rule"]: each["object"] for each in answer["review"]["findings"]}


def test_hazards_to_tables_with_rows_are_pointed_out_and_only_these(cloning: Server) -> None:
    models = "db/model/widgets.py"
    edit(
        cloning,
        models,
        COLUMN,
        "    weight = sa.Column(sa.Integer(), nullable=False)\n"
        "    token = sa.Column(sa.String(length=36), server_default=sa.text('gen_random_uuid()::text'))\n"
        "    product_uuid = sa.Column(sa.String(length=32), sa.ForeignKey('product.uuid'))\n"
        f"    note = sa.Column(sa.Text(), index=True)\n\n{COLUMN}",
    )
    edit(
        cloning,
        models,
        "    description = sa.Column(sa.String(length=255), nullable=True",
        "    description = sa.Column(sa.Text(), nullable=False",
    )
    calm = review(cloning)
    assert (calm["failure"], found(calm)) == ("", {})
    assert calm["review"]["rewrites"] == ["poser_widget", "poser_widget_version"]
    os.unlink(calm["revision"]["path"])

    cloning.sql(WIDGETS)
    answer = review(cloning)
    assert answer["failure"] == ""
    assert found(answer) == {
        "not-null-without-default": "poser_widget.weight",
        "set-not-null": "poser_widget.description",
        "column-type": "poser_widget.description",
        "foreign-key-validates": "poser_widget",
        "index-not-concurrent": "poser_widget",
        "table-rewrite": "poser_widget",
    }
    effects = {each["rule"]: each["effect"] for each in answer["review"]["findings"]}
    assert effects["not-null-without-default"] == "fails"
    page = Path(answer["review"]["file"]).read_text()
    assert "## Will fail on this database\n\n- **poser_widget.weight**" in page
    assert "ALTER TABLE poser_widget ADD COLUMN weight INTEGER NOT NULL;" in page
    assert any("fails: poser_widget holds rows" in line for line in answer["summary"])
    # it says so, and it is so
    done = cloning.alembic("upgrade", "heads", check=False)
    assert done.returncode and 'column "weight" of relation "poser_widget" contains null values' in done.stderr


def test_what_is_lost_and_what_breaks(cloning: Server) -> None:
    cloning.sql(WIDGETS)
    edit(cloning, "db/model/widgets.py", "    description = sa.Column(", "    remark = sa.Column(")
    edit(cloning, "db/model/widgets.py", "return self.description or", "return self.remark or")
    answer = review(cloning)
    assert (answer["failure"], found(answer)) == ("", {"drop-column": "poser_widget.description"})

    # as the hint says, by hand; and the same once more
    path = Path(answer["revision"]["path"])
    text = path.read_text()
    for table in ("poser_widget", "poser_widget_version"):
        text = "\n".join(line for line in text.splitlines() if f"_column('{table}'" not in line)
    up = "".join(
        f"    op.alter_column('{t}', 'description', new_column_name='remark')\n"
        for t in ("poser_widget", "poser_widget_version")
    )
    down = up.replace("'description', new_column_name='remark'", "'remark', new_column_name='description'")
    text = text.replace("def upgrade():\n", f"def upgrade():\n{up}").replace(
        "def downgrade():\n", f"def downgrade():\n{down}"
    )
    path.write_text(f"{text}\n")
    again = review(cloning)
    assert (again["failure"], again["changed"], again["review"]["result"]) == ("", False, "passed")
    assert again["revision"]["revision"] == answer["revision"]["revision"]
    assert found(again) == {"rename-column": "poser_widget.description"}
    assert "RENAME description TO remark" in " ".join(again["review"]["sql"])
    cloning.alembic("upgrade", "heads")
    assert cloning.sql("select count(remark) from poser_widget") == [(100,)]
    assert write(cloning, "nothing")["revision"] == {}


def test_a_way_back_that_fails_where_there_are_rows(cloning: Server) -> None:
    edit(cloning, "db/model/widgets.py", COLUMN, "    spare = sa.Column(")
    edit(cloning, "db/model/widgets.py", "nullable=False, default=True", "nullable=True")
    cloning.sql(WIDGETS)
    answer = review(cloning)
    assert answer["failure"] == ""
    assert found(answer) == {"drop-column": "poser_widget.active", "downgrade-not-null": "poser_widget.active"}
    # it says so, and it is so
    cloning.alembic("upgrade", "heads")
    done = cloning.alembic("downgrade", "b084beb32f02", check=False)
    assert done.returncode and 'column "active" of relation "poser_widget" contains null values' in done.stderr


EDITS = {
    "a downgrade that forgets something": (
        "    op.drop_column('poser_widget', 'colour')\n",
        "",
        "After downgrade() the schema is not what it was: ",
        "poser_widget",
    ),
    "a downgrade that fails": ("op.drop_column('poser_widget', 'colour')", "op.drop_column('poser_widget', 'color')",
                               "downgrade() fails", 'column "color" of relation "poser_widget" does not exist'),
    "an upgrade that fails": ("op.add_column('poser_widget',", "op.add_column('poser_gadget',",
                              "upgrade() fails", 'relation "poser_gadget" does not exist'),
    "an upgrade that is not what the models say": ("length=20", "length=21", "Models and database differ after it",
                                                   "colour"),
    "an upgrade that touches core": ("def upgrade():\n",
                                     "def upgrade():\n    op.execute('alter table product add x int')\n",
                                     "is against the policy", "column public.product.x"),
}  # fmt: skip


@pytest.mark.parametrize("case", EDITS)
def test_a_script_that_was_edited_by_hand_is_put_to_the_proof_again(cloning: Server, case: str) -> None:
    old, new, *words = EDITS[case]
    edit(cloning, "db/model/widgets.py", COLUMN, f"    colour = sa.Column(sa.String(length=20))\n\n{COLUMN}")
    path = Path(write(cloning, "change widgets")["revision"]["path"])
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    before = scripts(cloning)
    answer = review(cloning)
    assert answer["failure"].startswith(f"The review of revision {answer['revision']['revision']} ({path}) failed: ")
    for word in words:
        assert word in answer["failure"], answer["failure"]
    assert (answer["changed"], scripts(cloning)) == (False, before)
    assert "**Failed**" in Path(answer["review"]["file"]).read_text()


def test_a_draft_that_fails_is_kept_beside_its_review(cloning: Server) -> None:
    """The app's own env.py hides a table that another one refers to."""
    core = Path(rattail.db.__file__).parent / "alembic"
    own = cloning.source_dir / "poser" / "db" / "alembic"
    hidden = "target_metadata=target_metadata,\n        include_name=lambda name, kind, _parents: name != 'poser_spare'"
    text = (core / "env.py").read_text().replace("target_metadata=target_metadata", hidden)
    hide = "include_object=lambda _object, name, *_more: name != 'poser_spare'"
    (own / "env.py").write_text(text.replace("include_name=", f"{hide},\n        include_name="))
    (own / "script.py.mako").write_text((core / "script.py.mako").read_text())
    section = cloning.alembic_section().replace("script_location = rattail", "script_location = poser")
    cloning.write_config(alembic=section)
    models = "db/model/widgets.py"
    spare = "class PoserSpare(model.Base):\n    __tablename__ = 'poser_spare'\n    uuid = model.uuid_column()\n\n\n"
    edit(cloning, models, "class PoserWidget(", f"{spare}class PoserWidget(")
    edit(cloning, models, COLUMN, f"    spare_uuid = sa.Column(sa.ForeignKey('poser_spare.uuid'))\n\n{COLUMN}")
    before = scripts(cloning)
    answer = review(cloning)
    assert "did not pass its review and was not written (it is kept, with its review, in " in answer["failure"]
    assert 'relation "poser_spare" does not exist' in answer["failure"]
    assert scripts(cloning) == before
    kept = sorted(path.suffix for path in (cloning.env_dir / "app" / "schema-reviews").iterdir())
    assert kept == [".md", ".py"]


ONCE = """
import sys
if 'poser_ran' in sys.modules:
    {again}
sys.modules['poser_ran'] = sys
"""


@pytest.mark.parametrize("again", ["raise RuntimeError('once is enough')", "import os; os._exit(0)"])
def test_an_env_py_that_runs_only_once_in_a_process_has_several(cloning: Server, again: str) -> None:
    core = Path(rattail.db.__file__).parent / "alembic"
    own = cloning.source_dir / "poser" / "db" / "alembic"
    (own / "env.py").write_text(ONCE.format(again=again) + (core / "env.py").read_text())
    (own / "script.py.mako").write_text((core / "script.py.mako").read_text())
    section = cloning.alembic_section().replace("script_location = rattail", "script_location = poser")
    cloning.write_config(alembic=section)
    edit(cloning, "db/model/widgets.py", COLUMN, f"    colour = sa.Column(sa.String(length=20))\n\n{COLUMN}")
    answer = review(cloning)
    assert (answer["failure"], answer["review"]["result"]) == ("", "passed")
    assert "ALTER TABLE poser_widget DROP COLUMN colour" in answer["review"]["down_sql"]


NAPS = """
select query_start from pg_stat_activity
where query = 'select pg_sleep(1.5)' and state = 'active' and datname like 'rattail\\_schema\\_ext\\_scratch%%'
and usename = %s
"""


def test_a_role_that_somebody_makes_meanwhile_is_not_the_revision_s(cloning: Server, postgres: Postgres) -> None:
    edit(cloning, "db/model/widgets.py", COLUMN, f"    colour = sa.Column(sa.String(length=20))\n\n{COLUMN}")
    path = Path(write(cloning, "change widgets")["revision"]["path"])
    text = path.read_text()
    for each in ("upgrade", "downgrade"):
        text = text.replace(f"def {each}():\n", f"def {each}():\n    op.execute('select pg_sleep(1.5)')\n")
    path.write_text(text)
    made: dict[Any, str] = {}
    ended = threading.Event()

    def somebody() -> None:
        while not ended.wait(0.1):
            for (when,) in postgres.admin.sql(NAPS, cloning.database.user):
                if when not in made:
                    made[when] = f"other{os.getpid()}_{len(made)}"
                    postgres.admin.sql(f"create role {made[when]}")

    thread = threading.Thread(target=somebody)
    thread.start()
    try:
        answer = review(cloning)
    finally:
        ended.set()
        thread.join()
        for name in made.values():
            postgres.admin.sql(f"drop role {name}")
    assert len(made) == 3
    assert (answer["failure"], answer["review"]["result"]) == ("", "passed")
