# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What must hold before anything is written: the way to the database, the role's rights, the backup, the history."""

from __future__ import annotations

import os
import pwd
from collections.abc import Collection
from dataclasses import replace

from ..config import database_url
from ..copies import backup
from ..postgres.connection import ROLE
from ..postgres.contents import VERSION_RIGHTS, VERSION_TABLE, Contents, look_at, quoted
from ..postgres.url import Target, parse_url
from ..problem import Refused
from . import database_checks
from .database_checks import listed, place, pooled, search_path
from .observation import Ready
from .request import Request

# What a look finds missing for the revisions that are pending; what else writes asks for what it needs itself.
UPGRADES_OWN = frozenset({"rights_missing", "revision_too_long", "branch_unstamped"})
Names = Collection[str]
_WRITE_HISTORY = f"SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {ROLE}"


def judge_writable(
    contents: Contents,
    altered: Names = (),
    referenced: Names = (),
    *,
    option: str = "",
    creates: bool = True,
    rights: Names = VERSION_RIGHTS,
) -> list[str]:
    """Warnings about what is to be written to the database.

    :param altered: tables, there already, that are to be altered, dropped or renamed; bare names, or ``schema.name``.
    :param referenced: those that foreign keys are to be made to.
    :param option: the config option (``section:option``) that ``contents`` was reached by; empty for the app's own URL.
    :param creates: whether something new is to be made in the schema, as a version table is that is not there.
    :param rights: those on the version table that are needed, where it is there.
    :raises Refused: ``database_read_only``, ``database_pooled`` or ``rights_missing``.
    """
    creates = creates or not contents.version_schema
    _refuse_read_only(contents)
    refused = pooled(contents, option)
    if refused is not None:
        raise refused
    lacks = _lacks(contents, altered, referenced, rights, creates)
    if lacks:
        commands = (command for each in lacks.values() for command in each)
        raise Refused(
            "rights_missing",
            f"The role {contents.identity['user']} lacks what is needed in {place(contents)}: {'; '.join(lacks)}.",
            f"Give it, as a superuser: {'; '.join(commands)}.",
        )
    if creates and contents.version_schema and contents.schema != contents.version_schema:
        return [
            f"The version table of {place(contents)} lies in schema {contents.version_schema}, but new tables "
            f"will be made in {contents.schema}, which comes first in search_path ({search_path(contents)})."
        ]
    return []


def _refuse_read_only(contents: Contents) -> None:
    """Refuse (``database_read_only``) a standby, and a database or role that is set to read only."""
    user, name = (quoted(contents.identity[key]) for key in ("user", "name"))
    if contents.standby:
        cause = f"The database {place(contents)} is a standby, which takes no changes."
        remedy = "Lead the database URL to the primary, or name both hosts in it with target_session_attrs=read-write."
    elif contents.read_only:
        cause = (
            f"Transactions of role {contents.identity['user']} in {place(contents)} are read-only "
            "(default_transaction_read_only)."
        )
        remedy = (
            f"Take that setting back (ALTER DATABASE {name} RESET default_transaction_read_only, ALTER ROLE {user} "
            "RESET default_transaction_read_only, or the options of the database URL) where changes are wanted."
        )
    else:
        return
    raise Refused("database_read_only", cause, remedy)


def _lacks(contents: Contents, altered: Names, referenced: Names, rights: Names, creates: bool) -> dict[str, list[str]]:
    """What the role lacks, in words → the SQL that gives it; see :func:`judge_writable`."""
    role, table = quoted(contents.identity["user"]), f"{quoted(contents.version_schema)}.{VERSION_TABLE}"
    lacks: dict[str, list[str]] = {}
    if creates and not contents.may_create:
        lacks[f"CREATE on schema {contents.schema}"] = [f"GRANT CREATE ON SCHEMA {quoted(contents.schema)} TO {role}"]
    missing = ", ".join(right for right in rights if right not in contents.version_rights)
    if missing:
        lacks[f"{missing} on the version table {table}"] = [f"GRANT {missing} ON {table} TO {role}"]
    names = {each: {each.name, f"{each.schema}.{each.name}"} for each in contents.others}
    sql = {each: f"{quoted(each.schema)}.{quoted(each.name)}" for each in contents.others}
    foreign = [each for each in contents.others if names[each].intersection(altered)]
    if foreign:
        owners = listed(sorted({each.owner for each in foreign}))
        what = f"ownership of {listed(each.name for each in foreign)}, which belong to {owners}"
        lacks[what] = [f"ALTER TABLE {sql[each]} OWNER TO {role}" for each in foreign]
    closed = [each for each in contents.others if not each.may_reference and names[each].intersection(referenced)]
    if closed:
        what = f"REFERENCES on {listed(each.name for each in closed)}"
        lacks[what] = [f"GRANT REFERENCES ON {sql[each]} TO {role}" for each in closed]
    return lacks


def to_write(ready: Ready) -> Ready:
    """The same by the way that the host's config has for migrations, past a pooler, where it has one.

    :raises Refused: where it leads nowhere, or elsewhere.
    """
    request, seen = ready.request, ready.contents
    if not request.database_option:
        return ready
    url = database_url.direct_url(request.config_file, request.base, os.environ, request.database_option)
    direct = replace(parse_url(url), driver=ready.target.driver)
    found = look_at(direct, request.base.tables, request.app)
    database_checks.history(found)
    refuse_another_place(seen, found, request.database_option)
    searched = (*seen.before_core, *found.before_core)
    found = replace(found, rows=seen.rows, other_version_tables=seen.other_version_tables, before_core=searched)
    return replace(ready, way=direct, contents=found)


def refuse_another_place(app: Contents, direct: Contents, option: str) -> None:
    """Refuse (``database_option_elsewhere``) a URL for migrations that leads elsewhere than the app's own.

    Only the way and the role may differ: not the server, the database, or the schemas of new tables and version table.
    """
    if direct.incarnation != app.incarnation:
        differ = f"another database ({place(direct)}) than the app's own URL ({place(app)})"
        remedy = "Correct the one that is wrong."
    elif (direct.schema, direct.version_schema) != (app.schema, app.version_schema):
        differ = (
            f"schema {direct.schema or 'none'} of {place(direct)}, where its role's search_path is "
            f"{search_path(direct)}, and the app's own URL to schema {app.schema or 'none'}"
        )
        role, name = (quoted(direct.identity[key]) for key in ("user", "name"))
        remedy = f"Give its role the same (ALTER ROLE {role} IN DATABASE {name} SET search_path = …)."
    else:
        return
    raise Refused("database_option_elsewhere", f"The URL in {option} leads to {differ}.", remedy)


def refuse_without_backup(request: Request, way: Target) -> None:
    """Refuse to go on where the backup that is asked for cannot be made."""
    backup.refuse_impossible(
        way, mode=request.backup, directory=request.backup_dir, app=request.app, bin_dir=request.postgresql_bin_dir
    )


def refuse_without_history(ready: Ready) -> None:
    """Refuse (``history_unwritable``) a history that is there and not ours to write, or cannot be made."""
    history, directory = ready.contents.history, ready.request.history_dir
    if history.there and not history.writable:
        role = ready.contents.identity["user"]
        grants = (f"GRANT {what} TO {quoted(role)}" for what in (f"USAGE ON SCHEMA {ROLE}", _WRITE_HISTORY))
        raise _history_unwritable(
            f"schema {ROLE}: {role} may not write to its tables",
            f"Give it, as their owner: {'; '.join(grants)}",
        )
    if history.there or history.may_make:
        return
    place = directory
    while not os.path.lexists(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    there = os.path.isdir(place)
    if not there or not os.access(place, os.W_OK | os.X_OK):
        user = pwd.getpwuid(os.geteuid()).pw_name
        why = f"not writable for {user}" if there else "no directory"
        raise _history_unwritable(
            f"{directory}: {place} is {why}",
            f"Make it that user's, or set rattail_schema_ext_history_dir to a directory that is (now {directory})",
        )


def _history_unwritable(where: str, remedy: str) -> Refused:
    cause = f"The history of the schema cannot be written to {where}."
    return Refused("history_unwritable", cause, f"{remedy}.")
