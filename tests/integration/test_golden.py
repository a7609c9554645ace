"""What each entry point prints and returns, whole, held against the files in golden/.

A change that is wanted: run this file with RATTAIL_GOLDEN_UPDATE=1, and look through the diff of these files.
"""

from __future__ import annotations

from support.golden import Story
from support.revisions import edit
from support.server import Server

POSER_FIRST = "a010a6c92761"
POSER_HEAD = "b084beb32f02"
CRATE = "create table poser_crate (id integer primary key)"
FULL = {"rattail_schema_ext_backup": "full"}


def test_first_deployment_and_then_nothing(server: Server) -> None:
    story = Story(server)
    story.run("first deployment, check mode with --diff", check=True, diff=True)
    story.run("first deployment")
    story.run("nothing to do")
    story.run("status", playbook="status")
    story.hold("first_deployment")


def test_one_revision(deployed: Server) -> None:
    story = Story(deployed)
    row = "insert into setting (name, value) values ('poser.crates', 'yes')"
    deployed.repository.add_revision("add crates", upgrade_sql=f"{CRATE}; {row}")
    story.run("one revision is pending, check mode", FULL, check=True)
    rehearsed = {**FULL, "rattail_schema_ext_rehearsal": "transaction"}
    story.run("one revision is pending, with --diff, a rehearsal and a full backup", rehearsed, diff=True)
    story.hold("one_revision")


def test_failing_revisions(deployed: Server) -> None:
    story = Story(deployed)
    deployed.repository.add_revision("add crates", upgrade_sql=CRATE)
    deployed.repository.add_revision("fail", upgrade_sql="alter table poser_crate add made date default 'yesterweek'")
    story.run("the second of two revisions fails", FULL)
    deployed.repository.git("reset", "--quiet", "--hard", "HEAD~1")
    deployed.repository.add_revision("trespass", upgrade_sql="alter table product add column poser_colour text")
    story.run("the second of two revisions is against the policy")
    story.hold("failing_revisions")


def test_refusals(deployed: Server) -> None:
    story = Story(deployed)
    story.run("no app", {"rattail_schema_ext_app": None})
    story.run("a misspelt variable", {"rattail_schema_ext_source_versoin": "main"})
    story.run("a value that is not offered", {"rattail_schema_ext_backup": "some"})
    story.run("no such user", {"rattail_schema_ext_user": "nobody_here"})
    nowhere = str(deployed.root / "nowhere")
    story.run("no environment", {"rattail_schema_ext_env_dir": nowhere})
    story.run("no environment yet, check mode", {"rattail_schema_ext_env_dir": nowhere}, check=True)
    story.run("another database is expected", {"rattail_schema_ext_expected_database": "poser_production"})
    readme = deployed.source_dir / "README.md"
    text = readme.read_text()
    readme.write_text("changed by hand\n")
    story.run("the checkout has changes", check=True)
    readme.write_text(text)
    deployed.sql("delete from alembic_version")
    story.run("the database has no version rows")
    story.run("the database has no version rows, status", playbook="status")
    story.hold("refusals")


def test_revert(deployed: Server) -> None:
    story = Story(deployed)
    wish = {**FULL, "rattail_schema_ext_revert_to": POSER_FIRST}
    confirmed = {**wish, "rattail_schema_ext_revert_confirm": f"poser@{POSER_FIRST}"}
    story.run("revert, not confirmed", {**wish, "rattail_schema_ext_revert_confirm": ""}, playbook="revert")
    story.run("revert, check mode with --diff", confirmed, playbook="revert", check=True, diff=True)
    story.run("revert", confirmed, playbook="revert")
    story.run("revert, again", confirmed, playbook="revert")
    story.hold("revert")


def test_baseline(deployed: Server) -> None:
    story = Story(deployed)
    deployed.sql("delete from alembic_version where version_num = %s", POSER_HEAD)
    wish = {"rattail_schema_ext_baseline_revision": [POSER_HEAD]}
    heads = {"rattail_schema_ext_baseline_revision": ["heads"]}
    story.run("baseline, check mode with --diff", wish, playbook="baseline", check=True, diff=True)
    story.run("baseline", wish, playbook="baseline")
    story.run("baseline, again", heads, playbook="baseline")
    deployed.sql("delete from alembic_version where version_num = %s", POSER_HEAD)
    deployed.sql("drop table poser_widget")
    story.run("baseline, a table is missing", heads, playbook="baseline")
    story.hold("baseline")


def test_revision(cloning: Server) -> None:
    story = Story(cloning)
    wish = {"rattail_schema_ext_revision_message": "add widget weight"}
    story.run("revision, nothing to write", wish, playbook="revision")
    column = "    active = sa.Column("
    edit(cloning, "db/model/widgets.py", column, f"    weight = sa.Column(sa.Integer(), nullable=False)\n\n{column}")
    cloning.sql("insert into poser_widget (uuid, code, active) values ('1', '1', true)")
    story.run("revision with review, check mode with --diff", wish, playbook="revision", check=True, diff=True)
    story.run("revision with review", wish, playbook="revision")
    story.hold("revision")
