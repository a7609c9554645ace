"""What is not written: one sentence of cause, one of remedy, and no file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import environments
from support.revisions import add_model, edit, refused, script, scripts, write
from support.server import HOST, Server
from support.states import difference, state

SHELF = """
class PoserShelf(model.Base):
    __tablename__ = {table!r}
    __versioned__ = {{}}
    uuid = model.uuid_column()
    kind = sa.Column(sa.Enum('a', 'b', name={enum!r}))
"""


def shelf(table: str = "poser_shelf", enum: str = "poser_kind") -> str:
    return SHELF.format(table=table, enum=enum)


MESSAGES = {
    "": "has no message",
    "   ": "has no message",
    'say "hello"': "has '\"' in it",
    "the store's": 'has "\'" in it',
    "two\nlines": "has '\\n' in it",
    "../../etc/passwd": "has '../' in it",
    "back\\slash": "has '\\\\' in it",
    "${message}": "has '${' in it",
    "…": "has no message",
    "x" * 300: "has 300 characters, more than 200",
}


def test_odd_messages(deployed: Server) -> None:
    add_model(deployed, shelf())
    for message, words in MESSAGES.items():
        said = refused(deployed, words, message=message)
        assert "rattail_schema_ext_revision_message" in said


def test_messages_with_ordinary_signs_are_no_trouble(deployed: Server) -> None:
    add_model(deployed, shelf())
    answer = write(deployed, "add shelves (50% wide), côté café: {x} & <y>")
    assert answer["failure"] == ""
    assert script(answer).partition('"""')[2].startswith("add shelves (50% wide), côté café: {x} & <y>\n")
    assert answer["revision"]["revision"] in deployed.alembic("heads").stdout


def test_by_the_role_nothing_is_touched(deployed: Server) -> None:
    add_model(deployed, shelf(table="shelf"))
    before = state(deployed)
    for checking in (True, False):
        run = deployed.run_role(
            {"rattail_schema_ext_revision_message": "add shelves"}, playbook="revision", check=checking
        )
        assert (run.rc, run.recaps[HOST].failed, run.recaps[HOST].changed) == (2, 1, 0), run.output
        assert "has the table shelf" in run.message and "Traceback" not in run.output
        assert difference(before, state(deployed)) == []


def models_are_broken(server: Server) -> tuple[str, ...]:
    add_model(server, "import nonsense_of_ours\n")
    said = "cannot be run: ModuleNotFoundError: No module named 'nonsense_of_ours' (in "
    return (said, f"{server.source_dir}/poser/db/model/more.py, line 7)", f"bin/alembic -c {server.config} current")


def a_table_has_no_prefix(server: Server) -> tuple[str, ...]:
    add_model(server, shelf(table="shelf"))
    return ("The model poser.db.model.more.PoserShelf has the table shelf", "__tablename__ = 'poser_shelf'")


def an_enumeration_has_no_prefix(server: Server) -> tuple[str, ...]:
    add_model(server, shelf(enum="kind"))
    return ("have the enumeration kind (in poser_shelf", "name='poser_kind'")


def the_database_is_behind(server: Server) -> tuple[str, ...]:
    new = server.repository.add_revision("of somebody else's", upgrade_sql="create table poser_else ()")
    server.git("pull", "--quiet")
    add_model(server, shelf())
    return (f"is behind: {new} is pending", "Upgrade first (site.yml)")


def the_database_is_ahead(server: Server) -> tuple[str, ...]:
    server.sql("update alembic_version set version_num = 'ffffffffffff' where version_num = 'b084beb32f02'")
    add_model(server, shelf())
    return ("has revision ffffffffffff, which the code does not know",)


def the_models_are_not_read(server: Server) -> tuple[str, ...]:
    # as Rattail's generator writes it, in a group that nothing reads
    config = server.source_dir / "poser" / "config.py"
    config.write_text(config.read_text().replace("config.setdefault('rattail.model_spec', 'poser.db.model')", "pass"))
    return ("do not have poser.db.model among them", "model_spec = poser.db.model", "wutta.config.extensions")


def the_extension_is_in_a_group_of_old(server: Server) -> tuple[str, ...]:
    # as Rattail's generator still writes it
    [file] = environments.site_packages(server.env_dir).glob("poser-*.dist-info/entry_points.txt")
    file.write_text(file.read_text().replace("wutta.config.extensions", "rattail.config.extensions"))
    said = "its config extension (poser.config:PoserConfig) is in the group rattail.config.extensions"
    return ("do not have poser.db.model among them", said, "entry point group wutta.config.extensions")


def the_section_is_not_right(server: Server) -> tuple[str, ...]:
    server.write_config()
    return ("not yet as it should be on this host (to do: config)", "Run site.yml first")


def there_are_two_heads(server: Server) -> tuple[str, ...]:
    one = server.repository.add_revision("one", down_revision="b084beb32f02")
    two = server.repository.add_revision("two", down_revision="b084beb32f02")
    server.git("pull", "--quiet")
    server.alembic("upgrade", "heads")
    return ("has 2 heads", f"{one}_one.py", f"{two}_two.py", "rattail_schema_ext_revision_merge: true", "merge ")


@pytest.mark.parametrize(
    "spoil",
    [
        models_are_broken,
        a_table_has_no_prefix,
        an_enumeration_has_no_prefix,
        the_database_is_behind,
        the_database_is_ahead,
        the_models_are_not_read,
        the_extension_is_in_a_group_of_old,
        the_section_is_not_right,
        there_are_two_heads,
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_what_cannot_be_written(deployed: Server, spoil: Callable[[Server], tuple[str, ...]]) -> None:
    refused(deployed, *spoil(deployed))


def test_a_released_package_has_no_place_for_it(make_server: Callable[..., Server]) -> None:
    server = make_server(app="sideshow", core="wutta", repository=None, content="empty")
    server.run_role()
    answer = write(server, source_enabled=False)
    assert "is a released package here, and a revision is written into the source" in answer["failure"]


def test_two_heads_are_joined_where_that_is_wished(deployed: Server) -> None:
    there_are_two_heads(deployed)
    before = scripts(deployed)
    answer = write(deployed, "join them", merge=True)
    assert (answer["failure"], answer["changed"]) == ("", True)
    assert len(answer["revision"]["down_revision"]) == 2
    [name] = scripts(deployed).keys() - before.keys()
    text = scripts(deployed)[name]
    assert "op." not in text and "import" not in text
    assert deployed.alembic("heads").stdout.count("poser") == 1
    deployed.alembic("upgrade", "heads")
    add_model(deployed, shelf())
    following = write(deployed, "go on", merge=True)
    assert following["revision"]["down_revision"] == [answer["revision"]["revision"]]


def test_a_review_that_is_asked_for_is_not_left_out(deployed: Server) -> None:
    """The role may not create databases, and there is no server to make a cluster of."""
    edit(deployed, "db/model/widgets.py", "String(length=255)", "String(length=300)")
    bare: dict[str, Any] = {"postgresql_bin_dir": str(deployed.root)}
    before = scripts(deployed)
    answer = write(deployed, "longer", review="true", **bare)
    assert "may not create a scratch database" in answer["failure"] and scripts(deployed) == before
    answer = write(deployed, "longer", review="auto", **bare)
    assert (answer["failure"], answer["review"]["result"]) == ("", "skipped")
    assert "may not create a scratch database" in answer["review"]["reason"]
    assert "modify" not in answer["failure"] and scripts(deployed) != before
