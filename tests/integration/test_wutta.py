"""An app on WuttJamaican, released to a package index: Sideshow; and what packages are known to own."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from ansible.module_utils.rattail_alembic.observe import owners
from ansible.module_utils.rattail_alembic.policy import prefixes
from support import environments
from support.server import CORE_LOCATIONS, HOST, Server
from support.states import check, settled


def test_sideshow_comes_up_on_an_empty_database(make_server: Callable[..., Server]) -> None:
    server = make_server(app="sideshow", core="wutta", repository=None, content="empty")
    assert server.vars["rattail_schema_ext_core"] == "wutta"
    promised = check(server, diff=True)
    assert promised.result["state"] == "empty"

    run = server.run_role()
    assert run.rc == 0 and run.recaps[HOST].changed > 0, run.output
    announced = [each["revision"] for each in promised.result["pending"]]
    assert [each["revision"] for each in run.result["applied"]] == announced
    assert run.result["todo"] == promised.result["todo"] == ["config", "upgrade"]

    section = server.config.read_text().partition("[alembic]")[2]
    assert "version_locations = sideshow.db:alembic/versions wuttjamaican.db:alembic/versions\n" in section
    assert {"setting", "person", "role"} <= set(server.database.tables())
    orders = server.sql("select confrelid::regclass::text from pg_constraint where contype = 'f' and conrelid ="
                        " 'sideshow_order'::regclass order by 1")  # fmt: skip
    assert ("sideshow_customer_local",) in orders
    by_hand = {line.split()[0] for line in server.alembic("heads").stdout.splitlines()}
    assert server.current() == server.database.heads() == by_hand
    assert {each["branch"] for each in run.result["branches"]} == {"sideshow", "wutta"}

    settled(server)
    assert server.alembic("upgrade", "heads").returncode == 0
    settled(server)


def test_the_version_tables_of_core_s_are_its_who_makes_them(make_server: Callable[..., Server]) -> None:
    """As the manual of Wutta-Continuum has it, from nothing."""
    server = make_server(app="sideshow", core="wutta", repository=None, content="empty")
    shutil.rmtree(server.env_dir)
    environments.make_light(server.env_dir, "continuum")
    server.write_config()
    server.config.write_text(f"{server.config.read_text()}\n[wutta_continuum]\nenable_versioning = true\n")
    integrated = {"rattail_schema_ext_integrations": ["wutta_continuum"]}
    promised = check(server, integrated)
    run = server.run_role(integrated)
    assert (run.rc, run.result["state"]) == (0, "current"), run.output
    announced = [each["revision"] for each in promised.result["pending"]]
    assert [each["revision"] for each in run.result["applied"]] == announced
    assert {"person_version", "user_version", "transaction"} <= set(server.database.tables())
    settled(server, integrated)


@pytest.mark.parametrize("package", prefixes.KNOWN)
def test_what_a_package_is_known_to_own_is_its_own(package: str) -> None:
    core = "wutta" if package.startswith(("wutta", "sideshow")) else "rattail"
    versions = f"{CORE_LOCATIONS[core]}/versions".replace(":", "/").replace(".", "/")
    files = (environments.site_packages(environments.base(core)) / versions).glob("*.py")
    texts = (file.read_text() for file in files)
    tables = frozenset(name for text in texts for name in owners._CREATES.findall(text))
    assert {"setting", "person"} <= tables
    names = prefixes.of_package(package)
    own = prefixes.Prefixes(names, reserved=tables)
    assert [name for name in names if not own.owns("public", name)] == []
