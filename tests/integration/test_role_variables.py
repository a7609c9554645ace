"""What variables do by way of the role, where a module alone would not show it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support import environments
from support.server import Server
from support.states import brought, check, left_by_a_run, state

CORE_HEAD = "c2ef84c99c93"
POSER_FIRST = "a010a6c92761"
TRESPASS = "alter table product add column poser_colour text"
_INTEGRATION = """\
revision = 'acme00000001'
down_revision = None
branch_labels = ('rattail_acme',)
depends_on = None

from alembic import op


def upgrade():
    op.execute('create table shelf_label (id integer primary key)')


def downgrade():
    op.execute('drop table shelf_label')
"""


def given(directory: Path, text: str) -> list[str]:
    """The arguments that give variables as a person writes them: YAML, quoted or not."""
    file = directory / "given.yml"
    file.write_text(text + "\n")
    return ["--extra-vars", f"@{file}"]


@pytest.mark.parametrize("word", ["off", "no", "'off'"])
def test_the_policy_is_off_however_yaml_takes_the_word(deployed: Server, tmp_path: Path, word: str) -> None:
    """Without quotes it is a boolean."""
    new = deployed.repository.add_revision("trespass", upgrade_sql=TRESPASS)
    run = deployed.run_role(args=given(tmp_path, f"rattail_schema_ext_policy: {word}"))
    assert run.rc == 0, run.output
    assert (run.result["violations"], [each["revision"] for each in run.result["applied"]]) == ([], [new])
    assert new in deployed.database.heads()


@pytest.mark.parametrize(
    ("variable", "choices", "words"),
    [
        ("policy", "enforce, warn, off", ["on", "yes", "'no'", "none"]),
        ("policy_data", "report, refuse", ["off"]),
        ("backup", "full, schema, none", ["no"]),
        ("rehearsal", "none, clone, transaction", ["off"]),
    ],
)
def test_a_word_that_yaml_makes_something_else_of_is_refused_with_the_right_ones(
    server: Server, tmp_path: Path, variable: str, choices: str, words: list[str]
) -> None:
    for word in words:
        run = server.run_role(args=given(tmp_path, f"rattail_schema_ext_{variable}: {word}"))
        assert (run.rc, run.executions) == (2, []), run.output
        assert f"which is none of {choices}. Choose one of them." in run.message, run.message


def test_prefixes_of_an_integration_can_be_set(deployed: Server) -> None:
    versions = environments.site_packages(deployed.env_dir) / "rattail_acme" / "db" / "alembic" / "versions"
    versions.mkdir(parents=True)
    for package in (versions.parents[1], versions.parents[2]):
        (package / "__init__.py").touch()
    (versions / "acme00000001_labels.py").write_text(_INTEGRATION)
    deployed.vars["rattail_schema_ext_integrations"] = ["rattail_acme"]
    before = state(deployed)
    run = deployed.run_role()
    assert run.rc == 2 and "shelf_label" in run.message, run.output
    assert [each["object"] for each in run.result["violations"]] == ["table public.shelf_label"]
    assert left_by_a_run(before, state(deployed)) == ["env/app/rattail.conf"]

    deployed.vars["rattail_schema_ext_integration_prefixes"] = {"rattail-acme": ["shelf_"]}
    run = brought(deployed)
    assert [each["revision"] for each in run.result["applied"]] == ["acme00000001"]
    assert deployed.database.tables("shelf%") == ["shelf_label"]
    # it is the integration's, not the app's
    deployed.repository.add_revision("labels of mine", upgrade_sql="drop table shelf_label")
    run = deployed.run_role()
    assert run.rc == 2 and "shelf_label" in run.message, run.output
    assert deployed.database.tables("shelf%") == ["shelf_label"]


def test_a_foreign_key_that_only_the_order_provides_for_is_warned_about(make_server: Callable[..., Server]) -> None:
    server = make_server()
    warned = [f"Revision {POSER_FIRST} of poser (", "makes a foreign key to product", "has no depends_on"]
    for run in (check(server), server.run_role()):
        assert run.rc == 0, run.output
        shown = " ".join(run.output.split())
        for word in warned:
            assert word in shown, run.output
            assert any(word in warning for warning in run.result["warnings"]), run.result["warnings"]

    key = "create table poser_crate (uuid varchar(32) references product (uuid))"
    server.repository.add_revision("crates", upgrade_sql=key, depends_on=CORE_HEAD)
    run = server.run_role()
    assert run.rc == 0 and len(run.result["applied"]) == 1, run.output
    assert "depends_on" not in " ".join([run.output, *run.result["warnings"]]), run.output
