# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether this is the database that is meant. All goes by what a look found (``Contents``); no server is asked."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from ..postgres.connection import ROLE
from ..postgres.contents import SESSION, TRANSACTION, VERSION_TABLE, Contents, VersionTable, quoted
from ..problem import Refused
from ..revisions import applied
from ..revisions.applied import Applied

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


def refuse_unexpected(contents: Contents, expected: str) -> None:
    """Refuse (``database_unexpected``) a database that is not the one named; an empty name allows any."""
    if expected and contents.identity["name"] != expected:
        raise Refused(
            "database_unexpected",
            f"The app's config leads to the database {place(contents)}, and not to {expected!r}, which is expected.",
            "Correct the database URL in the config file, or rattail_schema_ext_expected_database.",
        )


def history(contents: Contents) -> dict[str, Applied]:
    """What the role's own schema holds of the app's revisions.

    :raises Refused: ``history_foreign`` where it is not to be believed.
    """
    found = contents.history
    if found.strangers:
        why = f"{listed(found.strangers)} may write there, or owns a part of it"
    elif not found.plain:
        why = "what is there acts by itself (a view, a trigger, a rule, row security)"
    else:
        try:
            return applied.read(found.entries)
        except ValueError as error:
            why = f"what it holds is not the role's ({error})"
    raise Refused(
        "history_foreign",
        f"The history in schema {ROLE} of {place(contents)} is not to be believed: {why}.",
        f"Put it aside, as a superuser, if you cannot mend that: ALTER SCHEMA {ROLE} RENAME TO {ROLE}_aside.",
    )


def judge_schemas(contents: Contents, known: Container[str]) -> list[str]:
    """Refuse (``schema_missing``, ``version_table_elsewhere``) a search_path that may well be wrong.

    With a wrong one, ``alembic upgrade heads`` finds no version table, or another, and builds everything anew.

    :param known: the revisions of the code.
    :returns: warnings about version tables of other applications, beside ours in use.
    """
    user, name = (quoted(contents.identity[key]) for key in ("user", "name"))
    if not contents.schema:
        raise Refused(
            "schema_missing",
            f"The search_path of role {contents.identity['user']} in {place(contents)}, {search_path(contents)}, "
            "leads to no schema that is there and that the role may use.",
            f"Grant it (GRANT USAGE ON SCHEMA public TO {user}), "
            f"or correct it (ALTER ROLE {user} IN DATABASE {name} SET search_path = public).",
        )
    warnings = []
    for other in contents.other_version_tables:
        ours = [row for row in other.rows or () if row in known]
        if not contents.rows or not other.rows or ours:
            raise _second_table(contents, other, ours)
        warnings.append(
            f"{place(contents)} has another version table, {other.schema}.{VERSION_TABLE}, with revisions that this "
            f"code does not know ({listed(other.rows)}): it seems to be another application's and is left alone."
        )
    return warnings


def _second_table(contents: Contents, other: VersionTable, known: Sequence[str]) -> Refused:
    if other.rows is None:
        holds = "cannot be read"
    elif known:
        holds = f"holds revisions of this code ({listed(known)})"
    else:
        holds = f"holds other revisions ({listed(other.rows)})" if other.rows else "is empty"
    user, name, schema = map(quoted, (contents.identity["user"], contents.identity["name"], other.schema))
    table, ours = (f"{each}.{VERSION_TABLE}" for each in (other.schema, contents.version_schema))
    search_path_to_it = f"search_path (ALTER ROLE {user} IN DATABASE {name} SET search_path = {schema})"
    if contents.rows:
        found = f"{ours}, which is in use"
        remedy = f"Find out which of the two the app uses: drop or rename the other, or correct {search_path_to_it}."
    else:
        found = f"{ours}, which is empty" if contents.version_schema else f"schema {contents.schema}, which has none"
        remedy = (
            f"Correct {search_path_to_it}, or, if {table} is another application's, make the first upgrade by hand "
            "(bin/alembic upgrade heads)."
        )
    return Refused(
        "version_table_elsewhere",
        f"The version table {table} of {place(contents)} {holds}, "
        f"while search_path, {search_path(contents)}, leads to {found}.",
        remedy,
    )


def refuse_too_long(contents: Contents, table: str, revisions: Iterable[str]) -> None:
    """Refuse (``revision_too_long``) revisions that the version table, which ``env.py`` calls so, has no room for."""
    width = contents.version_width
    long = sorted((name for name in revisions if 0 < width < len(name)), key=len)
    if not long:
        return
    column = f"varchar({len(long[-1])})"
    if contents.version_schema or table != VERSION_TABLE:
        widen = f"ALTER TABLE {table} ALTER version_num TYPE {column}"
    else:
        widen = f"CREATE TABLE {table} (version_num {column} PRIMARY KEY)"
    raise Refused(
        "revision_too_long",
        f"The version table of {place(contents)} takes revisions of {width} characters, and these have more: "
        f"{listed(long)}.",
        f"Give them shorter ones, or have it take more, as its owner: {widen}.",
    )


def pooled(contents: Contents, option: str = "") -> Refused | None:
    """The refusal (``database_pooled``) of a connection that may be shared with other clients; None where it is not.

    Behind a pooler in transaction mode neither the advisory lock nor a timeout stays with the upgrade.

    :param option: the config option (``section:option``) that ``contents`` was reached by; empty for the app's own URL.
    """
    if contents.pooling in ("", SESSION):
        return None
    if contents.pooling == TRANSACTION:
        why = (
            "changes the server connection between transactions (PgBouncer's pool_mode = transaction), "
            "so that locks and timeouts would be lost"
        )
    else:
        why = "gave no second connection, so it is not known whether locks and timeouts would be lost"
    return Refused(
        "database_pooled",
        f"{f'The URL in {option}' if option else 'The database URL'} leads to {place(contents)} through a pooler that "
        f"{why}.",
        "Put a URL there that leads to the PostgreSQL server itself."
        if option
        else "Put a URL that leads to the PostgreSQL server itself into the app's config, or a file that it includes, "
        "and name its place, e.g. rattail_schema_ext_database_option: rattail.db:migration.url.",
    )


def warn_pooled(contents: Contents) -> list[str]:
    """A warning, for where nothing is pending, that an upgrade would be refused on this connection."""
    refused = pooled(contents)
    if refused is None:
        return []
    return [f"{refused.problem.cause} It is enough to look, not to upgrade. {refused.problem.remedy}"]


def search_path(contents: Contents) -> str:
    """The search_path, and what set it."""
    source = _SOURCES.get(contents.search_path_source, "")
    return f"{contents.identity['search_path'] or 'empty'}{' as set ' + source if source else ''}"


def place(contents: Contents) -> str:
    """The database's name and its server."""
    return f"{contents.identity['name']!r} on {contents.identity['host'] or 'the local socket'}"


def listed(names: Iterable[str]) -> str:
    """The first five names, and how many more there are."""
    every = list(names)
    return ", ".join(every[:_MANY]) + (f" and {len(every) - _MANY} more" if len(every) > _MANY else "")
