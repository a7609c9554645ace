"""What the tests of ``[alembic]`` share: the role's own template rendered, and a call of ``wanted``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from ansible.module_utils.rattail_alembic.cores import CORES
from ansible.module_utils.rattail_alembic.section import Section, Wanted, wanted

TEMPLATES = Path(__file__).resolve().parents[2] / "roles" / "rattail_schema_ext" / "templates"
APP = "poser.db:alembic/versions"
COREPOS = "rattail_corepos.db:alembic/versions"
CORE = "rattail.db:alembic/versions"
MANUAL = f"""\
[alembic]
script_location = rattail.db:alembic
version_locations = {APP} {CORE}
path_separator = space
"""
NEW = (1, 19, 2)
OLD = (1, 15, 2)


def rendered(section: Wanted) -> str:
    """The text that the role's template gives, with Ansible's settings for templates."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(loader=loader, trim_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.get_template("alembic.conf.j2")
    return template.render(__rattail_schema_ext_section=section.as_dict())


def wanted_for(section: Section, **changes: Any) -> Wanted:
    """``wanted`` for an app named poser on Rattail with a new Alembic, unless told otherwise."""
    arguments: dict[str, Any] = {
        "core": CORES["rattail"],
        "app_location": APP,
        "integration_locations": [],
        "script_location": None,
        "alembic_version": NEW,
    }
    return wanted(section, **{**arguments, **changes})
