# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether this is the database that is meant, and one that the pending revisions can be applied to.

:func:`judge` holds for every run, :func:`judge_upgrade` only where something is pending. Both go by
what a look found (``Contents``) and speak to no server.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable

from ..postgres.contents import VERSION_RIGHTS, VERSION_TABLE, Contents, OthersTable, quoted
from ..problem import Refused

# How pg_settings says what set search_path, and how a person would.
_SOURCES = {
    "client": "by the options of the database URL",
    "user": "by ALTER ROLE",
    "database": "by ALTER DATABASE",
    "database user": "by ALTER ROLE IN DATABASE",
    "configuration file": "in postgresql.conf",
    "default": "by default",
}
_MANY = 5


def judge(contents: Contents, *, expected: str, known: Container[str]) -> list[str]:
    """Warnings about the database as it is.

    :param expected: the name that it must have; empty for any.
    :param known: the revisions of the code.
    :raises Refused: ``database_unexpected``, ``schema_missing`` or ``version_table_elsewhere``.
    """
    refuse_unexpected(contents, expected)
    return judge_schemas(contents, known)


def judge_upgrade(
    contents: Contents,
    *,
    altered: Collection[str] = (),
    referenced: Collection[str] = (),
    option: str = "",
    creates: bool = True,
    rights: Collection[str] = VERSION_RIGHTS,
) -> list[str]:
    """Warnings about an upgrade in which something is pending, or about what else writes to the database.

    :param altered: the tables, there already, that the pending revisions alter, drop or rename; bare
        names, or ``schema.name``.
    :param referenced: those that they make foreign keys to.
    :param option: the config option (``section:option``) that ``contents`` was reached by; empty for
        the app's own database URL.
    :param creates: whether something new is made in the schema, and ``rights`` what is done to the version table.
    :raises Refused: ``database_read_only``, ``database_pooled`` or ``rights_missing``.
    """
    refuse_read_only(contents)
    refuse_pooled(contents, option)
    refuse_missing_rights(contents, altered, referenced, creates=creates, rights=rights)
    if creates and contents.version_schema and contents.schema != contents.version_schema:
        return [
            f"The version table of {_place(contents)} lies in schema {contents.version_schema}, but new tables "
            f"will be made in {contents.schema}, which comes first in search_path ({_search_path(contents)})."
        ]
    return []


def refuse_unexpected(contents: Contents, expected: str) -> None:
    """Refuse (``database_unexpected``) a database that is not the one named, where one is."""
    name = contents.identity["name"]
    if expected and name != expected:
        raise Refused(
            "database_unexpected",
            f"The app's config leads to the database {_place(contents)}, and not to {expected!r}, which is expected.",
            "Correct the database URL in the config file, or rattail_schema_ext_expected_database.",
        )


def judge_schemas(contents: Contents, known: Container[str]) -> list[str]:
    """Refuse (``schema_missing``, ``version_table_elsewhere``) a search_path that may well be wrong.

    With a wrong one, ``alembic upgrade heads`` finds no version table, or another, and builds everything a
    second time. A version table of some other application's, beside ours in use, is only warned about.
    """
    user, name = (contents.identity[key] for key in ("user", "name"))
    if not contents.schema:
        raise Refused(
            "schema_missing",
            f"The search_path of role {user} in {_place(contents)}, {_search_path(contents)}, leads to no schema "
            "that is there and that the role may use.",
            f"Grant it (GRANT USAGE ON SCHEMA public TO {quoted(user)}), "
            f"or correct it (ALTER ROLE {quoted(user)} IN DATABASE {quoted(name)} SET search_path = public).",
        )
    warnings = []
    for other in contents.other_version_tables:
        table = f"{other.schema}.{VERSION_TABLE}"
        if other.rows is None:
            holds = "cannot be read"
        elif not other.rows:
            holds = "is empty"
        elif any(row in known for row in other.rows):
            holds = f"holds revisions of this code's ({_listed(row for row in other.rows if row in known)})"
        elif contents.rows:
            warnings.append(
                f"{_place(contents)} has another version table, {table}, with revisions that this code does not "
                f"know ({_listed(other.rows)}): it is taken for another application's and left alone."
            )
            continue
        else:
            holds = f"holds other revisions ({_listed(other.rows)})"
        raise _second_table(contents, other.schema, table, holds)
    return warnings


def _second_table(contents: Contents, schema: str, table: str, holds: str) -> Refused:
    user, name = (quoted(contents.identity[key]) for key in ("user", "name"))
    ours = f"{contents.version_schema}.{VERSION_TABLE}" if contents.version_schema else ""
    if contents.rows:
        found = f"{ours}, which is in use"
        remedy = (
            f"Find out which of the two the app uses: drop or rename the other, "
            f"or correct search_path (ALTER ROLE {user} IN DATABASE {name} SET search_path = {quoted(schema)})."
        )
    else:
        found = f"{ours}, which is empty" if ours else f"schema {contents.schema}, which has none"
        remedy = (
            f"Correct search_path (ALTER ROLE {user} IN DATABASE {name} SET search_path = {quoted(schema)}), or, "
            f"if {table} is another application's, make the first upgrade by hand (bin/alembic upgrade heads)."
        )
    return Refused(
        "version_table_elsewhere",
        f"The version table {table} of {_place(contents)} {holds}, "
        f"while search_path, {_search_path(contents)}, leads to {found}.",
        remedy,
    )


def refuse_read_only(contents: Contents) -> None:
    """Refuse (``database_read_only``) a standby, and a database or role that is set to read only."""
    if contents.standby:
        raise Refused(
            "database_read_only",
            f"The database {_place(contents)} is a standby, which takes no changes.",
            "Lead the database URL to the primary, or name both hosts in it with target_session_attrs=read-write.",
        )
    if contents.read_only:
        user, name = (quoted(contents.identity[key]) for key in ("user", "name"))
        raise Refused(
            "database_read_only",
            f"Transactions of role {contents.identity['user']} in {_place(contents)} are read-only "
            "(default_transaction_read_only).",
            f"Take that setting back (ALTER DATABASE {name} RESET default_transaction_read_only, ALTER ROLE {user} "
            "RESET default_transaction_read_only, or the options of the database URL) where changes are meant to be.",
        )


def warn_pooled(contents: Contents) -> list[str]:
    """A warning, for where nothing is pending, that an upgrade would be refused on this connection."""
    if contents.pooling in ("", "session"):
        return []
    problem = _pooled(contents, "").problem
    return [f"{problem.cause} It is enough to look, not to upgrade. {problem.remedy}"]


def refuse_pooled(contents: Contents, option: str = "") -> None:
    """Refuse (``database_pooled``) a connection that another client's may be mixed with.

    Behind a pooler in transaction mode neither the advisory lock nor a timeout stays with the upgrade.
    """
    if contents.pooling not in ("", "session"):
        raise _pooled(contents, option)


def _pooled(contents: Contents, option: str) -> Refused:
    way = f"The URL in {option}" if option else "The database URL"
    if contents.pooling == "transaction":
        cause = (
            f"{way} leads to {_place(contents)} through a pooler that changes the server connection between "
            "transactions (PgBouncer's pool_mode = transaction), so that locks and timeouts would be lost."
        )
    else:
        cause = (
            f"{way} leads to {_place(contents)} through a pooler that gave no second connection, "
            "so that it cannot be told whether locks and timeouts would be lost."
        )
    if option:
        return Refused("database_pooled", cause, "Put a URL there that leads to the PostgreSQL server itself.")
    return Refused(
        "database_pooled",
        cause,
        "Put a URL that leads to the PostgreSQL server itself into the app's config, or a file that it includes, "
        "and name its place, e.g. rattail_schema_ext_database_option: rattail.db:migration.url.",
    )


def refuse_another_place(app: Contents, direct: Contents, option: str) -> None:
    """Refuse (``database_option_elsewhere``) a URL for migrations that leads elsewhere than the app's own.

    It has to be the same database of the same server, with the same schema for new tables and the same
    version table; only the way to it and the role may differ.
    """
    if direct.incarnation != app.incarnation:
        differ = f"another database ({_place(direct)}) than the app's own URL ({_place(app)})"
        remedy = "Correct the one that is wrong"
    elif (direct.schema, direct.version_schema) != (app.schema, app.version_schema):
        differ = (
            f"schema {direct.schema or 'none'} of {_place(direct)}, where its role's search_path is "
            f"{_search_path(direct)}, and the app's own URL to schema {app.schema or 'none'}"
        )
        role, name = (quoted(direct.identity[key]) for key in ("user", "name"))
        remedy = f"Give its role the same (ALTER ROLE {role} IN DATABASE {name} SET search_path = …)"
    else:
        return
    raise Refused("database_option_elsewhere", f"The URL in {option} leads to {differ}.", f"{remedy}.")


def refuse_missing_rights(
    contents: Contents,
    altered: Collection[str],
    referenced: Collection[str],
    *,
    creates: bool = True,
    rights: Collection[str] = VERSION_RIGHTS,
) -> None:
    """Refuse (``rights_missing``) where the role lacks a right that is needed.

    :param altered: tables that it must own.
    :param referenced: tables that it needs ``REFERENCES`` on.
    :param creates: whether it needs ``CREATE`` on the schema, and ``rights`` what it needs on the version table.
    """
    user = contents.identity["user"]
    role = quoted(user)
    lacks, commands = [], []
    if creates and not contents.may_create:
        schema = quoted(contents.schema)
        lacks.append(f"CREATE on schema {contents.schema}")
        commands.append(f"GRANT CREATE ON SCHEMA {schema} TO {role}")
    missing = [right for right in VERSION_RIGHTS if right in rights and right not in contents.version_rights]
    if missing:
        what, table = ", ".join(missing), f"{quoted(contents.version_schema)}.{VERSION_TABLE}"
        lacks.append(f"{what} on the version table {table}")
        commands.append(f"GRANT {what} ON {table} TO {role}")
    foreign = [table for table in contents.others if _named(table, altered)]
    if foreign:
        owners = _listed(sorted({table.owner for table in foreign}))
        lacks.append(f"ownership of {_listed(table.name for table in foreign)}, which belong to {owners}")
        commands += [f"ALTER TABLE {_qualified(table)} OWNER TO {role}" for table in foreign]
    closed = [table for table in contents.others if not table.may_reference and _named(table, referenced)]
    if closed:
        lacks.append(f"REFERENCES on {_listed(table.name for table in closed)}")
        commands += [f"GRANT REFERENCES ON {_qualified(table)} TO {role}" for table in closed]
    if lacks:
        raise Refused(
            "rights_missing",
            f"The role {user} lacks what is needed in {_place(contents)}: {'; '.join(lacks)}.",
            f"Give it, as a superuser: {'; '.join(commands)}.",
        )


def _named(table: OthersTable, names: Collection[str]) -> bool:
    return table.name in names or f"{table.schema}.{table.name}" in names


def _qualified(table: OthersTable) -> str:
    return f"{quoted(table.schema)}.{quoted(table.name)}"


def _search_path(contents: Contents) -> str:
    source = _SOURCES.get(contents.search_path_source, "")
    return f"{contents.identity['search_path'] or 'empty'}{' as set ' + source if source else ''}"


def _place(contents: Contents) -> str:
    host = contents.identity["host"] or "the local socket"
    return f"{contents.identity['name']!r} on {host}"


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every[:_MANY]) + (f" and {len(every) - _MANY} more" if len(every) > _MANY else "")
