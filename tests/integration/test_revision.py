"""Writing revisions: what is written, what is left out, and what it is proved by."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from support.revisions import edit, scripts
from support.server import HOST, Server
from support.states import check, difference, settled, state

COLOUR = '''    colour = sa.Column(sa.String(length=20), nullable=True, doc="""
    Colour of the widget.
    """)

'''
LIES = {"rattail_schema_ext_source_repo": "", "rattail_schema_ext_source_version": None}


def add_colour(server: Server) -> None:
    edit(server, "db/model/widgets.py", "    active = sa.Column(", f"{COLOUR}    active = sa.Column(")


def test_a_column_is_written_once_proved_and_applied(cloning: Server) -> None:
    server = cloning
    add_colour(server)
    message = {"rattail_schema_ext_revision_message": "add widget colour"}
    before = scripts(server)

    promised = check(server, message, diff=True, playbook="revision")
    assert promised.recaps[HOST].changed == 1, promised.output
    assert (
        "+    op.add_column('poser_widget', sa.Column('colour', sa.String(length=20), nullable=True))"
        in promised.output
    )

    run = server.run_role(message, playbook="revision")
    assert (run.rc, run.recaps[HOST].changed) == (0, 1), run.output
    [name] = scripts(server).keys() - before.keys()
    path = server.versions / name
    written = run.result["revision"]
    assert (written["path"], written["branch"], written["down_revision"]) == (str(path), "poser", ["b084beb32f02"])
    assert re.fullmatch(rf"{written['revision']}_add_widget_colour\.py", name)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    text = path.read_text()
    assert re.findall(r"^(?:import|from) .*", text, re.M) == ["from alembic import op", "import sqlalchemy as sa"]
    assert "op.add_column('poser_widget_version'" in text and "op.drop_column('poser_widget', 'colour')" in text
    # nothing but tables of the app's
    assert set(re.findall(r"op\.\w+\('(\w+)'", text)) == {"poser_widget", "poser_widget_version"}
    [left] = run.result["left_out"]
    assert (left["owner"], left["words"]) == ("rattail", []) and left["operations"] > 80
    review = run.result["review"]
    assert (review["result"], review["sql"][0]) == ("passed", "ALTER TABLE poser_widget ADD COLUMN colour VARCHAR(20)")
    page = Path(review["file"])
    assert page.parent == server.env_dir / "app" / "schema-reviews" and "**Passed**" in page.read_text()

    # again, though nobody has applied it: the same one
    again = server.run_role(message, playbook="revision")
    assert (again.rc, again.recaps[HOST].changed) == (0, 0), again.output
    assert again.result["revision"]["revision"] == written["revision"]
    assert scripts(server).keys() == {*before, name}

    applied = server.run_role(LIES)
    assert [each["revision"] for each in applied.result["applied"]] == [written["revision"]], applied.output
    assert applied.result["drift"] == []
    assert written["revision"] in server.current()
    settled(server, LIES)

    now = state(server)
    third = server.run_role(message, playbook="revision")
    assert (third.rc, third.recaps[HOST].changed, third.result["revision"]) == (0, 0, {}), third.output
    assert difference(now, state(server)) == []
    assert "Models and database agree: there is nothing to write." in third.output
