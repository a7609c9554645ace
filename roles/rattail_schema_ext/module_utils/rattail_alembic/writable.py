# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a database can be written to by the way that leads to it, whatever is to be written."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace

from . import right_database, settings
from .database import VERSION_RIGHTS, look_at
from .observation import Observation
from .url import parse_url

# What a look finds missing for the revisions that are pending; what else writes asks for what it needs itself.
UPGRADES_OWN = frozenset({"rights_missing"})


def ensure_writable(
    seen: Observation,
    *,
    altered: Collection[str] = (),
    referenced: Collection[str] = (),
    creates: bool = True,
    rights: Collection[str] = VERSION_RIGHTS,
) -> None:
    """Take the way past a pooler where the host's config has one, and see that the role may write there.

    ``seen.direct`` and ``seen.contents`` are of that way afterwards, and warnings are added to ``seen``.

    :param altered: tables, there already, that are to be altered, dropped or renamed.
    :param referenced: those that foreign keys are to be made to.
    :param creates: whether something new is to be made in the schema.
    :param rights: those on the version table that are needed, where it is there; else it is made.
    :raises Refused: where that way leads elsewhere, is no way for locks, or the server or the role's rights stand
        in the way.
    """
    look_past_pooler(seen)
    assert seen.contents is not None
    option = seen.request.database_option
    seen.warnings += right_database.judge_upgrade(
        seen.contents,
        altered=altered,
        referenced=referenced,
        option=option,
        creates=creates or not seen.contents.version_schema,
        rights=rights,
    )


def look_past_pooler(seen: Observation) -> None:
    """Look at the same database by the way that the host's config has for migrations, where it has one.

    :raises Refused: where that leads nowhere, or elsewhere.
    """
    request, contents = seen.request, seen.contents
    if not request.database_option or seen.direct is not None:
        return
    assert contents is not None
    url = settings.direct_url(request.config_file, request.base, os.environ, request.database_option)
    direct = parse_url(url)
    found = look_at(direct, request.base.tables)
    right_database.refuse_another_place(contents, found, request.database_option)
    seen.direct = direct
    seen.contents = replace(found, rows=contents.rows, other_version_tables=contents.other_version_tables)
