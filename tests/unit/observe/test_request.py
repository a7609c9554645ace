"""What the modules' parameters mean."""

from __future__ import annotations

from ansible.module_utils.rattail_alembic.observe.request import Request


def test_an_integration_may_be_named_as_pip_names_it() -> None:
    places = {"env_dir": "/srv/envs/poser", "source_dir": "/srv/envs/poser/src/poser"}
    given = {"app": "poser", **places, "prefixes": [], "integrations": ["rattail-corepos", "rattail_harvest "]}
    assert Request.from_parameters(given).integrations == ("rattail_corepos", "rattail_harvest")
