"""What the tests of ``[alembic]`` share: the role's own template rendered, and a call of ``wanted``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from ansible.module_utils.rattail_alembic.config import section
from ansible.module_utils.rattail_alembic.config.section import Section, Wanted, wanted
from ansible.module_utils.rattail_alembic.cores import CORES

TEMPLATES = Path(__file__).resolve().parents[3] / "roles" / "rattail_schema_ext" / "templates"
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
    return template.render(__rattail_schema_ext_said={"answer": {"config": {"section": section.for_template()}}})


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


def split_locations(options: Mapping[str, str], alembic_version: tuple[int, ...]) -> list[str]:
    """``version_locations`` split exactly as an Alembic of that version splits it.

    :raises ValueError: for a separator on which that Alembic fails.
    """
    text = options.get("version_locations", "")
    names = ["path_separator"] if alembic_version >= (1, 16) else []
    names += ["version_path_separator"] if alembic_version >= (1, 7) else []
    separator = next((options[name] for name in names if name in options), None)
    if not text:
        return []
    if separator is None:
        return re.split(r", *|(?: +)", text)
    strips = alembic_version >= (1, 13, 3)
    if separator not in section.SEPARATORS or (separator == "newline" and not strips):
        raise ValueError(f"an Alembic of {alembic_version} does not know the separator {separator!r}")
    pieces = [piece for piece in text.split(section.SEPARATORS[separator]) if piece]
    return [piece.strip() for piece in pieces] if strips else pieces
