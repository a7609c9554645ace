"""What the draft of a revision depends on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.rattail_alembic.authoring.draft import Draft
from ansible.module_utils.rattail_alembic.observe import owners
from ansible.module_utils.rattail_alembic.observe.request import Request
from ansible.module_utils.rattail_alembic.revisions.graph import Graph, RevisionFile
from ansible.module_utils.rattail_alembic.revisions.locations import Location, standard

CORE, COREPOS, APP = (standard(package) for package in ("rattail", "rattail_corepos", "poser"))


def revision(location: str, name: str, down: str | None, body: str) -> RevisionFile:
    head = f"from alembic import op\nrevision = {name!r}\ndown_revision = {down!r}\n"
    return RevisionFile(f"/srv/{name}.py", location, f"{head}def upgrade():\n    {body}\n")


FILES = (
    revision(COREPOS, "i1", None, "for name in NAMES: op.create_table(name)"),
    revision(COREPOS, "i2", "i1", "op.create_table('corepos_vendor')"),
    revision(COREPOS, "i3", "i2", "pass"),
    revision(CORE, "c1", None, "op.create_table('product')"),
    revision(CORE, "c2", "c1", "pass"),
)
READ = "poser_x has a foreign key to {to}, which revision {revision} makes."
GUESSED = (
    "poser_x has a foreign key to {to}, and no revision could be read that makes it: "
    "{revision} is the newest of its branch."
)


@pytest.mark.parametrize(
    ("to", "needed", "reason"),
    [
        ("product", "c1", READ),
        ("corepos_vendor", "i2", READ),
        ("corepos_member", "i3", GUESSED),
        ("employee", "c2", GUESSED),
    ],
)
def test_the_revision_that_makes_a_table_or_else_the_newest_of_its_branch(to: str, needed: str, reason: str) -> None:
    locations = [Location(spec, spec.partition(":")[0], f"/srv/{spec}") for spec in (APP, COREPOS, CORE)]
    request = Request(
        app="poser", env_dir="/srv", config_file="/srv/rattail.conf", source_dir="/srv/poser", prefixes=("poser",)
    )
    texts = {file.path: file.text for file in FILES}
    # what a draft reads of it
    ready: Any = SimpleNamespace(request=request, locations=locations, texts=texts, graph=Graph.from_files(FILES))
    ready.contents = SimpleNamespace(before_core=("public",))
    ready.file = lambda revision: next(file for file in FILES if file.path == revision.path)
    draft = Draft(ready, owners.of_locations(ready), (), "", "add x", head=(), label="poser", trim=True)
    [found] = draft.depends_on([("poser_x", to)])
    assert (found.revision, found.reason) == (needed, reason.format(to=to, revision=needed))
