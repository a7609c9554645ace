# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The two bases an app can stand on, and what differs between them."""

from __future__ import annotations

from typing import NamedTuple


class Core(NamedTuple):
    """Facts of a base package.

    ``config_prefix`` is the first word of its config sections (``[rattail.db]``) and of its
    environment variables; ``tables`` are tables that its first revision creates, by which a
    database that holds the core schema is known.
    """

    name: str
    package: str
    label: str
    config_prefix: str
    make_config: str
    script_location: str
    version_location: str
    tables: tuple[str, ...]


CORES: dict[str, Core] = {
    "rattail": Core(
        name="rattail",
        package="rattail",
        label="rattail",
        config_prefix="rattail",
        make_config="rattail.config",
        script_location="rattail.db:alembic",
        version_location="rattail.db:alembic/versions",
        tables=("setting", "person", "product", "employee"),
    ),
    "wutta": Core(
        name="wutta",
        package="wuttjamaican",
        label="wutta",
        config_prefix="wutta",
        make_config="wuttjamaican.conf",
        script_location="wuttjamaican.db:alembic",
        version_location="wuttjamaican.db:alembic/versions",
        tables=("setting", "person", "role", "upgrade"),
    ),
}
